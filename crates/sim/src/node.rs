//! A storage node: a store, a feed and a place among the nodes, over the shared engine, with a clock of its own, until
//! it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use feed::Feed;
use kv::fault::{FaultEngine, Faults};
use kv::{
    AtomicOp, Committed, ConflictKind, Engine, Error, RangePage, RangeRequest, ReadMode, Transaction,
    TransactionOptions, Watch,
};
use store::{Environment, Store};
use store_api::NodeState;
use tokio_util::sync::CancellationToken;

use crate::machine;
use crate::plan::{Plan, Sabotage};

/// Time between two heartbeats of a node.
const RENEW: Duration = Duration::from_secs(2);
/// How long the others wait for one.
const LEASE: Duration = Duration::from_secs(10);

/// The name of a node, the same each time it starts.
pub fn name_of(number: usize) -> String {
    format!("node-{number}")
}

/// A node for the life of its process.
pub struct Node {
    pub store: Arc<Store>,
    pub feed: Arc<Feed>,
    /// What the others know of it, and it of them.
    pub membership: Arc<cluster::Node>,
    /// Its process has ended.
    pub dead: CancellationToken,
    /// What its transactions suffer.
    pub engine: Arc<FaultEngine>,
    /// Its wall clock.
    pub clock: Arc<Clock>,
}

impl Node {
    /// Starts a node over the shared engine. None if the engine could not be had.
    pub async fn start(
        plan: &Plan,
        number: usize,
        disk: Arc<dyn Engine>,
        seed: u64,
        faults: Faults,
    ) -> Option<Arc<Self>> {
        let dead = CancellationToken::new();
        let mortal = Arc::new(Mortal { inner: disk, dead: dead.clone() });
        let engine = FaultEngine::new(mortal, seed, faults);
        let clock = Arc::new(Clock { skew: AtomicI64::new(0) });
        let options = store::Options { environment: clock.clone(), ..store::Options::default() };
        let store = Store::open(engine.clone(), options).await.ok()?;
        let mut options = feed::Options { environment: clock.clone(), ..feed::Options::default() };
        if plan.sabotage == Some(Sabotage::Deaf) {
            options.recheck = Duration::from_secs(86_400);
        }
        let feed = Feed::new(engine.clone(), options);
        let options = cluster::Options {
            group: cluster::Group::Storage,
            prefix: Vec::new(),
            name: name_of(number),
            address: format!("sim:{number}"),
            version: String::new(),
            renew: RENEW,
            lease: LEASE,
            sole: false,
        };
        let membership = cluster::Node::join(engine.clone(), options).await.ok()?;
        // If it fails, it is told with the next heartbeat.
        let _ = membership.set_state(NodeState::Serving).await;
        Some(Arc::new(Self { store, feed, membership, dead, engine, clock }))
    }

    /// Ends its process: nothing of it does anything any more, wherever it stands.
    pub fn kill(&self) {
        self.dead.cancel();
    }
}

/// The wall clock of one node.
pub struct Clock {
    skew: AtomicI64,
}

impl Clock {
    /// Sets it to so many seconds from the truth.
    pub fn jump(&self, seconds: i64) {
        self.skew.store(seconds, Ordering::Relaxed);
    }
}

impl Environment for Clock {
    fn now(&self) -> i64 {
        machine::wall_seconds() + self.skew.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

/// The way from a node to the engine, which ends with the node's process: whoever still waits there waits for ever.
struct Mortal {
    inner: Arc<dyn Engine>,
    dead: CancellationToken,
}

impl Engine for Mortal {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(MortalTransaction { inner: self.inner.begin(options), dead: self.dead.clone() })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct MortalTransaction {
    inner: Box<dyn Transaction>,
    dead: CancellationToken,
}

/// Never returns once the process has ended.
async fn alive(dead: &CancellationToken) {
    if dead.is_cancelled() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Transaction for MortalTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        alive(&self.dead).await;
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        alive(&self.dead).await;
        self.inner.get(key, mode).await
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        alive(&self.dead).await;
        self.inner.get_many(keys, mode).await
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        alive(&self.dead).await;
        self.inner.get_range(request, mode).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.inner.set_bytes(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.clear_range(begin, end);
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.inner.atomic(op, key, operand);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        self.inner.add_conflict_range(begin, end, kind);
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        alive(&self.dead).await;
        self.inner.watch(key).await
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        if self.dead.is_cancelled() {
            // What was on its way when the process ended may have arrived; nobody is there to learn of it.
            if rand::random() {
                let _ = self.inner.commit().await;
            }
            return std::future::pending().await;
        }
        self.inner.commit().await
    }
}
