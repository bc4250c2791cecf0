//! Tells the operator's PUSH enabler of changes, so that it wakes the devices that did not make them.
//!
//! A [`Pusher`] is a durable consumer of the change feed. It shares the partitions with others of its kind by the
//! same rendezvous as the storage nodes. For each of its partitions it reads the log from a cursor that is kept in the
//! database, looks up what a device wants to know of the objects, posts a notice for each run of changes of an account,
//! and moves the cursor when all before it was accepted or given up.
//!
//! - **At least once, in order for each account.** A cursor never passes what is not dealt with; what was told beyond it is
//!   told again after a restart. Two processes that take themselves for the owner at once tell twice and lose nothing.
//!   Every object carries its MODSEQ, by which a receiver knows what it has seen.
//! - **Nobody hears of what they did themselves.** The device that made a change is named in the notice and is not among
//!   its targets. Where the operator made the devices of an account known, each other one is a target; a change made
//!   by the only one is told to nobody. Where not, the notice goes to the account's address, and the enabler leaves
//!   out the device that is named.
//! - **An enabler that is down costs nothing but time.** A circuit lets one request try it now and then; cursors stay, and
//!   what is in memory is bounded. When it is back, changes older than their time to live, and those of accounts with
//!   many of them, are told as folders to look at again. Where the log was cleared meanwhile, so is each account of the
//!   partition.
//! - **A notice that the enabler will not take is given up**, kept among the dead letters and counted; the next one of the
//!   account follows.
//!
//! A partition without a cursor begins at the end of its log: what was changed before anybody was there to tell is not
//! told.
//!
//! Deliberately absent: a queue of its own. The log is the queue.
//!
//! Source: OMA-TS-CPM_MessageStorage §5.4 (notices to the PUSH enabler: what changed, and the identity of the device).

mod circuit;
mod client;
mod database;
mod deliver;
mod encode;
mod limits;
mod notice;
mod options;
mod partition;
mod resend;
mod resolve;
mod telemetry;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kv::Engine;
use model::{PARTITIONS, Partition, Result};
use store::keyspace::Keyspace;
use store_api::{MailStore, Members, Membership, NodeId};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use client::{Authorization, ClientError, ClientOptions, Verdict};
pub use encode::{Encoded, Encoding, Style, encode};
pub use notice::{Event, FolderPlace, Notice, NoticeKind, Object, Place, Target};
pub use options::Options;
pub use resend::Resender;

use circuit::Circuit;
use client::Client;
use database::Database;
use limits::ENTRIES_MAX;
use telemetry::Telemetry;

/// Tells the enabler of changes until it is stopped. Dropping it stops it without waiting.
pub struct Pusher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What partitions share.
struct Shared {
    database: Database,
    store: Arc<dyn MailStore>,
    client: Client,
    circuit: Circuit,
    /// Posts that may be under way.
    workers: Semaphore,
    /// Entries that may be in memory.
    room: Arc<Semaphore>,
    options: Options,
    telemetry: Telemetry,
    backlog: Box<[Backlog]>,
    /// Names this life of the process in the ids of notices.
    instance: u64,
    sequence: AtomicU64,
    stop: CancellationToken,
}

/// What of a partition is read and not dealt with.
struct Backlog {
    oldest_millis: AtomicI64,
    entries: AtomicUsize,
}

impl Backlog {
    fn set(&self, oldest_millis: i64, entries: usize) {
        self.oldest_millis.store(oldest_millis, Ordering::Relaxed);
        self.entries.store(entries, Ordering::Relaxed);
    }
}

impl Shared {
    fn now_millis(&self) -> i64 {
        self.options.environment.now_millis()
    }

    fn refresh_gauges(&self) {
        let entries: usize = self.backlog.iter().map(|b| b.entries.load(Ordering::Relaxed)).sum();
        let oldest = self.backlog.iter().map(|b| b.oldest_millis.load(Ordering::Relaxed)).min();
        let age = self.now_millis().saturating_sub(oldest.unwrap_or(i64::MAX)).max(0);
        self.telemetry.backlog_entries.set(entries as f64);
        self.telemetry.backlog_seconds.set(age as f64 / 1_000.0);
    }
}

impl Pusher {
    /// Begins to tell of the partitions that `membership` says are those of `own`, from now on or from the cursors that
    /// are there. When it returns, every partition has a cursor: what is changed from then on is told. Must be called
    /// within a runtime.
    ///
    /// # Errors
    /// `InvalidRequest` with [`ClientError`] in its detail, if the enabler cannot be spoken to as the options say;
    /// whatever the engine fails with.
    pub async fn start(
        engine: Arc<dyn Engine>,
        store: Arc<dyn MailStore>,
        membership: Arc<dyn Membership>,
        own: NodeId,
        options: Options,
    ) -> Result<Self> {
        let client = Client::new(&options.client).map_err(|error| {
            model::Error::new(model::ErrorKind::InvalidRequest, "the PUSH enabler cannot be spoken to")
                .with_detail(error)
        })?;
        let database = Database { engine, keys: Keyspace::new(&options.prefix) };
        database.address_accounts().await.map_err(unavailable)?;
        database.begin_cursors().await.map_err(unavailable)?;
        let backlog = |_| Backlog { oldest_millis: AtomicI64::new(i64::MAX), entries: AtomicUsize::new(0) };
        let shared = Arc::new(Shared {
            database,
            store,
            client,
            circuit: Circuit::new(options.retry_pause_max),
            workers: Semaphore::new(options.workers),
            room: Arc::new(Semaphore::new(ENTRIES_MAX)),
            telemetry: Telemetry::new(),
            backlog: (0..PARTITIONS).map(backlog).collect(),
            instance: options.environment.random(),
            sequence: AtomicU64::new(0),
            stop: CancellationToken::new(),
            options,
        });
        let task = tokio::spawn(follow(shared.clone(), membership, own));
        Ok(Self { shared, task })
    }

    /// Sets the gauges that nothing else sets as they change, each time it is called. Cheap; for whoever is about to read
    /// them.
    pub fn gauges(&self) -> impl Fn() + Send + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.refresh_gauges();
            }
        }
    }

    /// Begins no notice any more, waits for those under way at most `patience`, and writes the cursors.
    pub async fn shut_down(mut self, patience: Duration) {
        self.shared.stop.cancel();
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            tracing::warn!("notices under way are cut off; they are sent again");
        }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.task.abort();
    }
}

/// Runs the partitions that are ours, as others come and go.
async fn follow(shared: Arc<Shared>, membership: Arc<dyn Membership>, own: NodeId) {
    let mut watch = membership.watch();
    let mut running: HashMap<Partition, (CancellationToken, JoinHandle<()>)> = HashMap::new();
    let mut ending: Vec<JoinHandle<()>> = Vec::new();
    // A partition that ended by a failure is begun anew.
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.stop.is_cancelled() {
        let members = watch.borrow_and_update().clone();
        ending.retain(|task| !task.is_finished());
        running.retain(|_, (_, task)| !task.is_finished());
        let gone: Vec<Partition> =
            running.keys().filter(|partition| !owns(&members, own, **partition)).copied().collect();
        for partition in gone {
            if let Some((end, task)) = running.remove(&partition) {
                end.cancel();
                ending.push(task);
            }
        }
        for partition in (0..PARTITIONS).map(Partition).filter(|partition| owns(&members, own, *partition)) {
            running.entry(partition).or_insert_with(|| {
                let end = shared.stop.child_token();
                (end.clone(), tokio::spawn(partition::run(shared.clone(), partition, end)))
            });
        }
        shared.telemetry.partitions.set(running.len() as f64);
        tokio::select! {
            () = shared.stop.cancelled() => {}
            _ = sweep.tick() => {}
            changed = watch.changed() => if changed.is_err() { shared.stop.cancelled().await },
        }
    }
    for (_, (_, task)) in running {
        let _ = task.await;
    }
    for task in ending {
        let _ = task.await;
    }
}

fn owns(members: &Members, own: NodeId, partition: Partition) -> bool {
    members.owner(partition).is_some_and(|owner| owner.id == own)
}

fn unavailable(error: kv::Error) -> model::Error {
    model::Error::new(model::ErrorKind::Unavailable, "the storage cannot serve now").with_detail(error)
}
