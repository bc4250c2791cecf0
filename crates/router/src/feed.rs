//! The change feed of all nodes: which account is listened to where.
//!
//! One task a node keeps one stream open. Under one lock stand the accounts that somebody listens to, with the node that
//! was asked to tell of each; whenever nodes or streams come or go that is worked out anew, and what differs is asked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use model::{AccountId, Error, ErrorKind, ModSeq, PARTITIONS, Partition, Result};
use parking_lot::Mutex;
use store_api::{ChangeFeed, Members, NodeId, Pulse, Subscription};
use store_rpc::{Asks, Heard, listen};
use tokio::sync::{Notify, watch};

use crate::fleet::{Fleet, Node};
use crate::limits::{CONFIRM_WAIT, STREAM_PAUSE, TIDY_EVERY};
use crate::{Router, Shared, pause, telemetry};

/// Who listens to what, and where.
pub(crate) struct Switchboard {
    state: Mutex<State>,
    reached: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    members: Arc<Members>,
    listeners: HashMap<AccountId, Listener>,
    links: HashMap<NodeId, Link>,
    /// By partition: the first node in rendezvous order whose stream is up.
    homes: Vec<Option<NodeId>>,
    closed: bool,
}

/// Somebody who listens to an account.
struct Listener {
    pulses: watch::Sender<Pulse>,
    confirmed: watch::Sender<bool>,
    /// The node that was asked.
    asked: Option<NodeId>,
}

/// A node's stream.
struct Link {
    up: bool,
    /// What is still to be asked of it; the last word on an account counts.
    asks: HashMap<AccountId, Ask>,
    wanted: Arc<Notify>,
    task: tokio::task::AbortHandle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Add,
    Remove,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Switchboard {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), reached: watch::Sender::new(false) })
    }

    pub(crate) fn reached(&self) -> watch::Receiver<bool> {
        self.reached.subscribe()
    }

    /// Keeps a stream to each node of the fleet, and none to others.
    pub(crate) fn connect(self: &Arc<Self>, shared: &Arc<Shared>, fleet: &Fleet) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.members = fleet.members.clone();
        let gone: Vec<NodeId> =
            state.links.keys().filter(|id| !fleet.nodes.contains_key(id)).copied().collect();
        for id in gone {
            state.links.remove(&id);
            state.forget(id);
        }
        for (id, node) in &fleet.nodes {
            state.links.entry(*id).or_insert_with(|| {
                let wanted = Arc::new(Notify::new());
                let run = keep_listening(Arc::downgrade(shared), node.clone(), wanted.clone());
                Link { up: false, asks: HashMap::new(), wanted, task: tokio::spawn(run).abort_handle() }
            });
        }
        state.settle();
        self.note(&state);
    }

    /// Ends every stream; whoever listens sees that the feed has ended.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.links.clear();
        state.listeners.clear();
        self.note(&state);
    }

    fn set_up(&self, id: NodeId, up: bool) {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(&id) else { return };
        link.up = up;
        link.asks.clear();
        state.forget(id);
        state.settle();
        self.note(&state);
    }

    fn note(&self, state: &State) {
        let up = state.links.values().filter(|link| link.up).count();
        telemetry::reached(up);
        self.reached.send_if_modified(|reached| std::mem::replace(reached, up > 0) != (up > 0));
    }

    fn take_asks(&self, id: NodeId) -> HashMap<AccountId, Ask> {
        self.state.lock().links.get_mut(&id).map(|link| std::mem::take(&mut link.asks)).unwrap_or_default()
    }

    fn deliver(&self, heard: &Heard) {
        let state = self.state.lock();
        let Some(listener) = state.listeners.get(&heard.account) else { return };
        // Also for a confirmation: what happened before it, while nobody listened, is looked up.
        listener.pulses.send_modify(|pulse| {
            *pulse = Pulse {
                generation: pulse.generation + 1,
                mailbox: if heard.confirms { None } else { heard.mailbox },
                modseq: if heard.confirms { ModSeq(0) } else { heard.modseq },
            };
        });
        if heard.confirms {
            listener.confirmed.send_replace(true);
        }
    }
}

impl State {
    /// A stream is gone, or new: it tells of nobody.
    fn forget(&mut self, id: NodeId) {
        for listener in self.listeners.values_mut().filter(|listener| listener.asked == Some(id)) {
            listener.asked = None;
            listener.confirmed.send_replace(false);
        }
    }

    /// Asks for each account at its home, and no more where it was.
    fn settle(&mut self) {
        let up: HashSet<NodeId> = self.links.iter().filter(|(_, link)| link.up).map(|(id, _)| *id).collect();
        let home = |partition| {
            let partition = Partition(partition);
            let owner = self.members.owner(partition).map(|member| member.id);
            owner.filter(|id| up.contains(id)).or_else(|| {
                self.members.ranking(partition).iter().map(|member| member.id).find(|id| up.contains(id))
            })
        };
        self.homes = (0..PARTITIONS).map(home).collect();
        let mut moved = 0;
        for (account, listener) in &mut self.listeners {
            let home = self.homes[usize::from(account.partition().0)];
            if listener.asked == home {
                continue;
            }
            moved += 1;
            listener.confirmed.send_replace(false);
            if let Some(link) = listener.asked.and_then(|id| self.links.get_mut(&id)) {
                link.ask(*account, Ask::Remove);
            }
            if let Some(link) = home.and_then(|id| self.links.get_mut(&id)) {
                link.ask(*account, Ask::Add);
            }
            listener.asked = home;
        }
        telemetry::moved(moved);
    }

    fn listen(&mut self, account: AccountId) -> (watch::Receiver<Pulse>, watch::Receiver<bool>) {
        let home = self.homes.get(usize::from(account.partition().0)).copied().flatten();
        let links = &mut self.links;
        let listener = self.listeners.entry(account).or_insert_with(|| {
            if let Some(link) = home.and_then(|id| links.get_mut(&id)) {
                link.ask(account, Ask::Add);
            }
            Listener {
                pulses: watch::Sender::new(Pulse::default()),
                confirmed: watch::Sender::new(false),
                asked: home,
            }
        });
        (listener.pulses.subscribe(), listener.confirmed.subscribe())
    }

    /// Gives back accounts that nobody listens to any more.
    fn tidy(&mut self) {
        let idle = |l: &Listener| l.pulses.receiver_count() == 0 && l.confirmed.receiver_count() == 0;
        for (account, listener) in self.listeners.extract_if(|_, listener| idle(listener)) {
            if let Some(link) = listener.asked.and_then(|id| self.links.get_mut(&id)) {
                link.ask(account, Ask::Remove);
            }
        }
    }
}

impl Link {
    fn ask(&mut self, account: AccountId, ask: Ask) {
        self.asks.insert(account, ask);
        self.wanted.notify_one();
    }
}

#[async_trait]
impl ChangeFeed for Router {
    async fn subscribe(&self, account: AccountId) -> Result<Subscription> {
        let (pulses, mut confirmed) = self.shared.switchboard.state.lock().listen(account);
        match tokio::time::timeout(CONFIRM_WAIT, confirmed.wait_for(|yes| *yes)).await {
            Ok(Ok(_)) => Ok(Subscription::new(pulses)),
            _ => Err(Error::new(ErrorKind::Unavailable, "the change feed does not answer; try again later")),
        }
    }
}

/// Gives back what nobody listens to, from time to time.
pub(crate) async fn tidy(switchboard: Weak<Switchboard>) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        let Some(switchboard) = switchboard.upgrade() else { return };
        switchboard.state.lock().tidy();
    }
}

/// Keeps one stream to a node open until the link is dropped.
async fn keep_listening(router: Weak<Shared>, node: Arc<Node>, wanted: Arc<Notify>) {
    let mut failures = 0;
    loop {
        if let Err(error) = stream(&router, &node, &wanted, &mut failures).await {
            tracing::debug!(node = node.name, %error, "the feed stream of a node is lost");
        }
        let Some(shared) = router.upgrade() else { return };
        shared.switchboard.set_up(node.id, false);
        drop(shared);
        telemetry::stream_lost();
        let wait = pause(failures, STREAM_PAUSE.0, STREAM_PAUSE.1);
        failures += 1;
        tokio::time::sleep(wait).await;
    }
}

/// One life of a stream.
async fn stream(router: &Weak<Shared>, node: &Node, wanted: &Notify, failures: &mut u32) -> Result<()> {
    let (asks, mut pulses) = match listen(node.channel()).await {
        Ok(opened) => opened,
        Err(error) => {
            // Nobody else would find out while no call is made.
            node.circuit.failed();
            return Err(error);
        }
    };
    *failures = 0;
    {
        let Some(shared) = router.upgrade() else { return Ok(()) };
        shared.switchboard.set_up(node.id, true);
        if node.circuit.answered() {
            shared.revived.notify_waiters();
        }
    }
    loop {
        tokio::select! {
            heard = pulses.next() => match heard? {
                None => return Ok(()),
                Some(heard) => match router.upgrade() {
                    None => return Ok(()),
                    Some(shared) => shared.switchboard.deliver(&heard),
                },
            },
            () = wanted.notified() => {
                let Some(shared) = router.upgrade() else { return Ok(()) };
                let changes = shared.switchboard.take_asks(node.id);
                drop(shared);
                if !tell(&asks, changes).await {
                    return Ok(());
                }
            }
        }
    }
}

async fn tell(asks: &Asks, changes: HashMap<AccountId, Ask>) -> bool {
    let of = |wanted| {
        changes
            .iter()
            .filter(move |(_, ask)| **ask == wanted)
            .map(|(account, _)| *account)
            .collect::<Vec<_>>()
    };
    asks.remove(&of(Ask::Remove)).await && asks.add(&of(Ask::Add)).await
}
