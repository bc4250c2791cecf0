//! A wrapper that measures every call that a caller of any engine waits for: `mss_kv_call_seconds`, by engine and call.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{Counter, Histogram};

use crate::{
    AtomicOp, Committed, ConflictKind, Engine, Error, RangePage, RangeRequest, ReadMode, Transaction,
    TransactionOptions, Watch,
};

/// The histograms, one a call, and the failures.
struct Meters {
    read_version: Histogram,
    get: Histogram,
    get_many: Histogram,
    get_range: Histogram,
    get_together: Histogram,
    clear_page: Histogram,
    watch: Histogram,
    commit: Histogram,
    failures: Counter,
}

/// An engine whose calls are measured.
pub struct MeteredEngine {
    inner: Arc<dyn Engine>,
    meters: Arc<Meters>,
}

impl MeteredEngine {
    /// Wraps `inner`. The process's metrics recorder must be there already.
    pub fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        metrics::describe_histogram!(
            "mss_kv_call_seconds",
            metrics::Unit::Seconds,
            "Time of a call of the engine, as its caller waits for it."
        );
        metrics::describe_counter!(
            "mss_kv_call_failures_total",
            "Calls of the engine that failed, conflicts included."
        );
        let engine = inner.name();
        let of = |call: &'static str| metrics::histogram!("mss_kv_call_seconds", "engine" => engine, "call" => call);
        let meters = Meters {
            read_version: of("read_version"),
            get: of("get"),
            get_many: of("get_many"),
            get_range: of("get_range"),
            get_together: of("get_together"),
            clear_page: of("clear_page"),
            watch: of("watch"),
            commit: of("commit"),
            failures: metrics::counter!("mss_kv_call_failures_total", "engine" => engine),
        };
        Arc::new(Self { inner, meters: Arc::new(meters) })
    }
}

impl Engine for MeteredEngine {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(MeteredTransaction { inner: self.inner.begin(options), meters: self.meters.clone() })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct MeteredTransaction {
    inner: Box<dyn Transaction>,
    meters: Arc<Meters>,
}

/// Awaits `$call` and notes its time under `$name`.
macro_rules! metered {
    ($self:ident, $name:ident, $call:expr) => {{
        let began = Instant::now();
        let outcome = $call.await;
        $self.meters.$name.record(began.elapsed());
        if outcome.is_err() {
            $self.meters.failures.increment(1);
        }
        outcome
    }};
}

#[async_trait]
impl Transaction for MeteredTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        metered!(self, read_version, self.inner.read_version())
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        metered!(self, get, self.inner.get(key, mode))
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        metered!(self, get_many, self.inner.get_many(keys, mode))
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        metered!(self, get_range, self.inner.get_range(request, mode))
    }

    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        metered!(self, get_together, self.inner.get_together(keys, ranges, mode))
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

    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        metered!(self, clear_page, self.inner.clear_page(begin, end))
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
        metered!(self, watch, self.inner.watch(key))
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        let Self { inner, meters } = *self;
        let began = Instant::now();
        let outcome = inner.commit().await;
        meters.commit.record(began.elapsed());
        if outcome.is_err() {
            meters.failures.increment(1);
        }
        outcome
    }
}
