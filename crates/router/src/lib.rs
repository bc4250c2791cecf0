//! The storage tier as a front end sees it: many nodes as one store and one feed.
//!
//! A [`Router`] begins with some addresses, asks any node for all of them and hears from it when they change. Each call
//! goes to the node on which the account's partition is warm; when that one does not answer, to the next in rendezvous
//! order. Where a call goes decides how fast it is answered, never what: nodes check their caches in the database.
//!
//! - **What is asked again.** A failure of kind `Unavailable` says that nothing happened: the request never left, or the
//!   node refused it before it began. Such a call goes to the next node, a write too. When the connection broke under a
//!   call, a read is asked again; a write is not, unless doing it twice is doing it once, and its caller is told that
//!   nobody knows. Nothing is asked of two nodes at once.
//! - **How long.** Until the caller's deadline, at most [`Options::patience`] while no node answers at all. Rounds over
//!   all nodes are spaced by an exponential back-off with jitter; calls that wait are woken when a node comes back.
//! - **A circuit a node.** One that failed is passed over for a while that doubles with each failure; then one call tries
//!   it while the others go on elsewhere.
//! - **The feed.** One stream a node. An account is listened to at its owner, or at the next node whose stream is up;
//!   when that changes it is asked for anew, and the listener hears a pulse once the new node listens, so that whatever
//!   came between is looked up. Views are compared with the store, so nothing is told twice.
//! - A large body whose node goes away half-way is read on from the next one: bodies never change.
//!
//! Deliberately absent: hedged requests, and any state that another front end could not rebuild.

mod circuit;
mod feed;
mod fleet;
mod follow;
mod limits;
mod options;
mod route;
mod staging;
mod store;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::{Error, ErrorKind, Result};
use rand::Rng as _;
use store_api::{Ctx, Members, Requestor};
use store_rpc::{ClientCaches, RemoteCluster};
use tokio::sync::{Notify, watch};

pub use options::Options;

use feed::Switchboard;
use fleet::Fleet;

/// The storage tier: a [`MailStore`](store_api::MailStore) and a [`ChangeFeed`](store_api::ChangeFeed). Its tasks end
/// with it.
pub struct Router {
    shared: Arc<Shared>,
    follower: tokio::task::AbortHandle,
    tidier: tokio::task::AbortHandle,
}

struct Shared {
    options: Options,
    caches: Arc<ClientCaches>,
    fleet: ArcSwap<Fleet>,
    switchboard: Arc<Switchboard>,
    /// Told when a node comes back or the nodes change: whoever waits for one looks again.
    revived: Notify,
    members: watch::Sender<Arc<Members>>,
}

impl Router {
    /// A router that begins with the addresses of `options`. Must be called within a runtime. It can be used at once:
    /// calls wait for the first node.
    pub fn new(options: Options) -> Arc<Self> {
        telemetry::describe();
        let shared = Arc::new(Shared {
            caches: ClientCaches::new(options.caches),
            options,
            fleet: ArcSwap::default(),
            switchboard: Switchboard::new(),
            revived: Notify::new(),
            members: watch::Sender::new(Arc::default()),
        });
        let follower = tokio::spawn(follow::run(Arc::downgrade(&shared))).abort_handle();
        let tidier = tokio::spawn(feed::tidy(Arc::downgrade(&shared.switchboard))).abort_handle();
        Arc::new(Self { shared, follower, tidier })
    }

    /// Whether at least one node that serves is reached: its feed stream is up.
    pub fn reaches_a_node(&self) -> watch::Receiver<bool> {
        self.shared.switchboard.reached()
    }

    /// The nodes as last heard.
    pub fn members(&self) -> watch::Receiver<Arc<Members>> {
        self.shared.members.subscribe()
    }

    /// The key of answers about addresses without an account, the same at every front end. A secret.
    ///
    /// # Errors
    /// `Unavailable` when no node answers.
    pub async fn decoy_key(&self) -> Result<[u8; 32]> {
        let deadline = std::time::Instant::now() + self.shared.options.patience;
        let ctx = Ctx {
            request_id: rand::rng().random(),
            deadline: Some(deadline),
            requestor: Requestor::Operator,
        };
        let asked = |node: Arc<fleet::Node>| {
            let ctx = &ctx;
            async move { RemoteCluster::new(node.channel()).decoy_key(ctx).await }
        };
        self.shared.route(&ctx, model::Partition(0), route::Effect::None, asked).await
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.follower.abort();
        self.tidier.abort();
        self.shared.fleet.store(Arc::default());
        self.shared.switchboard.close();
    }
}

/// The pause before try `number` (from 0) of something that failed: doubles, with full jitter.
fn pause(number: u32, first: Duration, longest: Duration) -> Duration {
    let ceiling = first.saturating_mul(1 << number.min(16)).min(longest);
    ceiling.mul_f64(rand::rng().random_range(0.25..=1.0))
}

fn nobody_answers() -> Error {
    Error::new(ErrorKind::Unavailable, "the storage tier cannot be reached; try again later")
}
