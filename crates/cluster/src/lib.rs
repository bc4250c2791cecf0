//! The storage nodes of an installation: who is there, who serves, who died. Other groups of processes that share the
//! partitions find each other in the same way, each under keys of its own ([`Group`]).
//!
//! Each storage node writes a record of itself into the database that all share, and counts up a heartbeat beside it.
//! Every node reads all records and heartbeats, and so knows the others; front ends ask any node. There is no leader
//! and no second system to run: the database that holds the mail is the register, and its transactions order what
//! happens.
//!
//! - **No clocks are compared.** A heartbeat is a number that moves. A node is dead to an observer when the number has
//!   stood still for the lease, by the observer's own monotonic clock; and of the time between two looks no more counts
//!   than two looks should be apart, so that an observer that was stopped itself, or could not reach the database,
//!   does not take its own silence for that of others. Jumps of wall clocks do not matter.
//! - **Whoever notices a death removes the record**, in a transaction that fails if the heart beat after all. A node that
//!   finds its own record gone (it was stopped for longer than the lease) writes it again.
//! - **Every change of a record counts up the epoch**, one key that every node watches: a join or a drain is known
//!   everywhere within a commit's time.
//! - **Who is owner of what is not written anywhere.** It follows from the records ([`store_api::Members`]), and it decides
//!   where caches are warm, never who is right; so for a moment two nodes may hold themselves for the owner.
//! - A process that starts where another had its address and name takes that other's record away: it listens there, so
//!   the other is gone.
//!
//! Deliberately absent: leases that give rights, fencing, elections. Nothing above needs them, since every answer of the
//! store is checked in the transaction that serves it.

mod installation;
mod limits;
mod observer;
mod options;
mod record;
mod register;
mod telemetry;

use std::sync::Arc;

use kv::{Engine, Watch};
use model::Result;
use parking_lot::Mutex;
use store_api::{Member, Members, Membership, NodeId, NodeState};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

pub use installation::{Installation, installation};
pub use options::Options;
pub use store::keyspace::Group;

use observer::Observer;
use record::Record;
use register::Register;
use telemetry::Telemetry;

/// This process as a storage node among others. Dropping it stops the heartbeat; [`Node::leave`] says so to the others.
pub struct Node {
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
}

struct Shared {
    id: NodeId,
    installation: u64,
    options: Options,
    register: Register,
    /// What this node says of itself; held while it is written.
    own: tokio::sync::Mutex<Record>,
    observer: Mutex<Observer>,
    members: watch::Sender<Arc<Members>>,
    /// Whether the others can know this node: its heartbeat was written within the lease.
    standing: watch::Sender<bool>,
    /// Asks for a look before the next one is due.
    look: Notify,
    telemetry: Telemetry,
}

impl Node {
    /// Makes this process known as a node that joins, and watches the others from now on. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// `Limit` when there are too many nodes; `Unavailable` or whatever else the engine fails with.
    pub async fn join(engine: Arc<dyn Engine>, options: Options) -> Result<Arc<Self>> {
        let installation = installation(engine.as_ref(), &options.prefix, None).await?.id;
        let group = options.group;
        let id = NodeId(rand::random::<u64>().max(1));
        let register = Register::new(engine, &options.prefix, options.group);
        let own = Record {
            state: NodeState::Joining,
            name: options.name.clone(),
            address: options.address.clone(),
            version: options.version.clone(),
        };
        let removed = register.join(id, &own, options.sole).await.map_err(register::told)?;
        for (gone, record) in &removed {
            tracing::info!(node = %gone, name = record.name, "the record of an earlier process was removed");
        }
        let shared = Arc::new(Shared {
            id,
            installation,
            observer: Mutex::new(Observer::new(id, options.renew, options.lease)),
            options,
            register,
            own: tokio::sync::Mutex::new(own),
            members: watch::Sender::new(Arc::new(Members::default())),
            standing: watch::Sender::new(true),
            look: Notify::new(),
            telemetry: Telemetry::new(group),
        });
        let first = shared.look().await;
        let watch = first.map_err(register::told)?;
        let task = tokio::spawn(run(shared.clone(), watch)).abort_handle();
        tracing::info!(node = %id, name = shared.options.name, address = shared.options.address, "joined");
        Ok(Arc::new(Self { shared, task }))
    }

    /// Its identity, for the life of this process.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Tells the others what this node may be asked from now on. When it returns they know, or hear of it within a
    /// commit's time.
    ///
    /// # Errors
    /// Whatever the engine fails with; the state is told with the next heartbeat that succeeds.
    pub async fn set_state(&self, state: NodeState) -> Result<()> {
        let shared = &self.shared;
        let written = {
            let mut own = shared.own.lock().await;
            own.state = state;
            shared.register.write(shared.id, &own).await
        };
        shared.look.notify_one();
        tracing::info!(node = %shared.id, state = state.name(), "state told");
        written.map_err(register::told)
    }

    /// Takes this node's record away and stops its heartbeat.
    ///
    /// # Errors
    /// Whatever the engine fails with; the others then find out when the lease is over.
    pub async fn leave(&self) -> Result<()> {
        let _own = self.shared.own.lock().await;
        self.task.abort();
        let left = self.shared.register.remove(self.shared.id, None).await;
        self.shared.standing.send_replace(false);
        tracing::info!(node = %self.shared.id, "left");
        left.map(drop).map_err(register::told)
    }

    /// Whether the others can know this node: false once its heartbeat could not be written for the lease. They take
    /// it for dead then, and it should not be asked.
    pub fn standing(&self) -> watch::Receiver<bool> {
        self.shared.standing.subscribe()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Membership for Node {
    fn watch(&self) -> watch::Receiver<Arc<Members>> {
        self.shared.members.subscribe()
    }

    fn now(&self) -> Arc<Members> {
        let members = self.shared.members.borrow().clone();
        let observer = self.shared.observer.lock();
        let told = members.all().iter().map(|member| {
            let silent = observer.silence(member.id, Instant::now());
            Member { silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX), ..member.clone() }
        });
        Arc::new(Members::new(members.installation, members.epoch, told.collect()))
    }
}

/// Beats and looks until the node is gone.
async fn run(shared: Arc<Shared>, watch: Watch) {
    let mut ticks = tokio::time::interval(shared.options.renew);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Some(watch);
    let mut beaten = Instant::now();
    // An engine that hangs must not keep the loop from seeing that time passes.
    let patience = (shared.options.lease / 2).max(shared.options.renew);
    loop {
        let beat = tokio::select! {
            _ = ticks.tick() => true,
            () = shared.look.notified() => false,
            fired = fired(&mut watch) => {
                watch = None;
                if fired.is_err() {
                    // What it may have seen is found by the next look; not at once, lest this spins.
                    tokio::time::sleep(shared.options.renew / 4).await;
                }
                false
            }
        };
        if beat {
            let began = Instant::now();
            match tokio::time::timeout(patience, shared.beat()).await {
                Ok(Ok(())) => beaten = began,
                Ok(Err(error)) => shared.failed("heartbeat", &error),
                Err(_) => shared.failed("heartbeat", &"it takes too long"),
            }
        }
        let stands = beaten.elapsed() < shared.options.lease;
        if shared.standing.send_if_modified(|standing| std::mem::replace(standing, stands) != stands) {
            if stands {
                tracing::info!(node = %shared.id, "the database answers again");
            } else {
                tracing::error!(node = %shared.id, "the database does not answer: the others take this node for dead");
            }
        }
        match tokio::time::timeout(patience, shared.look()).await {
            Ok(Ok(next)) => watch = Some(next),
            Ok(Err(error)) => shared.failed("look", &error),
            Err(_) => shared.failed("look", &"it takes too long"),
        }
    }
}

async fn fired(watch: &mut Option<Watch>) -> std::result::Result<(), kv::Error> {
    match watch {
        Some(watch) => watch.await,
        None => std::future::pending().await,
    }
}

impl Shared {
    async fn beat(&self) -> std::result::Result<(), kv::Error> {
        let own = self.own.lock().await;
        if self.register.beat(self.id, &own).await? {
            self.telemetry.rejoins.increment(1);
            tracing::warn!(node = %self.id, "the others had taken this node for dead; it is back");
        }
        Ok(())
    }

    /// Reads records and heartbeats, removes who died, tells what is new. The watch fires at the next change.
    async fn look(&self) -> std::result::Result<Watch, kv::Error> {
        let (seen, watch) = self.register.read().await?;
        let dead = self.observer.lock().see(&seen.heartbeats, Instant::now());
        for (node, heartbeat) in &dead {
            let Some(record) = seen.records.get(node) else { continue };
            match self.register.remove(*node, Some(*heartbeat)).await {
                Ok(true) => {
                    self.telemetry.deaths.increment(1);
                    tracing::warn!(node = %node, name = record.name, "a node died: its record was removed");
                }
                Ok(false) => {}
                Err(error) => self.failed("removal", &error),
            }
        }
        let living = seen.records.iter().filter(|(id, _)| !dead.iter().any(|(gone, _)| gone == *id));
        let members = living.map(|(id, record)| record.member(*id)).collect();
        self.publish(Members::new(self.installation, seen.epoch, members));
        Ok(watch)
    }

    fn publish(&self, members: Members) {
        let before = self.members.borrow().clone();
        if *before == members {
            return;
        }
        self.telemetry.note(&before, &members, self.id);
        self.members.send_replace(Arc::new(members));
    }

    fn failed(&self, what: &'static str, error: &dyn std::fmt::Display) {
        self.telemetry.failed(what);
        tracing::warn!(node = %self.id, %error, "a {what} failed; it is tried again");
    }
}
