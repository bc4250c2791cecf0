//! A wrapper that counts what is asked of any engine: what an operation costs, independent of where it runs.
//!
//! A *round trip* is a call that a caller waits for: a read, a group of reads issued together, a commit that writes.
//! On FoundationDB each is one exchange with the cluster; the read version of a transaction, which the client gets
//! along with its first read, is counted apart, as `transactions`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    AtomicOp, Committed, ConflictKind, Engine, Error, RangePage, RangeRequest, ReadMode, Transaction,
    TransactionOptions, Watch,
};

/// What was asked of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions that read or committed something.
    pub transactions: u64,
    /// Calls one after another that a caller waited for.
    pub round_trips: u64,
    /// Range reads, a page each.
    pub ranges: u64,
    /// Keys read, alone or in a range.
    pub keys_read: u64,
    /// Octets of the keys and values read.
    pub bytes_read: u64,
    /// Keys written or cleared, and ranges cleared, by transactions that committed.
    pub keys_written: u64,
    /// Octets of them.
    pub bytes_written: u64,
    /// Commits that wrote.
    pub commits: u64,
}

impl Counts {
    /// Each number with its name.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("transactions", self.transactions),
            ("round_trips", self.round_trips),
            ("ranges", self.ranges),
            ("keys_read", self.keys_read),
            ("bytes_read", self.bytes_read),
            ("keys_written", self.keys_written),
            ("bytes_written", self.bytes_written),
            ("commits", self.commits),
        ]
    }
}

#[derive(Default)]
struct Tally {
    transactions: AtomicU64,
    round_trips: AtomicU64,
    ranges: AtomicU64,
    keys_read: AtomicU64,
    bytes_read: AtomicU64,
    keys_written: AtomicU64,
    bytes_written: AtomicU64,
    commits: AtomicU64,
    /// The first byte strings of keys read whose reading is noted, and how many were.
    noted: Mutex<Vec<(Bytes, u64)>>,
}

impl Tally {
    fn add(counter: &AtomicU64, amount: usize) {
        counter.fetch_add(amount as u64, Ordering::Relaxed);
    }

    fn read(&self, key: &[u8], value_bytes: usize) {
        Self::add(&self.keys_read, 1);
        Self::add(&self.bytes_read, key.len() + value_bytes);
        for (prefix, count) in self.noted.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if key.starts_with(prefix) {
                *count += 1;
            }
        }
    }
}

/// An engine whose calls are counted.
pub struct CountingEngine {
    inner: Arc<dyn Engine>,
    tally: Arc<Tally>,
}

impl CountingEngine {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self { inner, tally: Arc::default() })
    }

    /// What was counted since it was last taken.
    pub fn take(&self) -> Counts {
        let tally = &self.tally;
        let [transactions, round_trips, ranges, keys_read, bytes_read, keys_written, bytes_written, commits] =
            [
                &tally.transactions,
                &tally.round_trips,
                &tally.ranges,
                &tally.keys_read,
                &tally.bytes_read,
                &tally.keys_written,
                &tally.bytes_written,
                &tally.commits,
            ]
            .map(|counter| counter.swap(0, Ordering::Relaxed));
        Counts {
            transactions,
            round_trips,
            ranges,
            keys_read,
            bytes_read,
            keys_written,
            bytes_written,
            commits,
        }
    }

    /// Counts from now on how many keys that start with `prefix` are read.
    pub fn note(&self, prefix: impl Into<Bytes>) {
        self.tally.noted.lock().unwrap_or_else(PoisonError::into_inner).push((prefix.into(), 0));
    }

    /// How many keys were read since of each prefix noted, in the order in which they were.
    pub fn noted(&self) -> Vec<u64> {
        self.tally.noted.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, n)| *n).collect()
    }
}

impl Engine for CountingEngine {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(CountingTransaction {
            inner: self.inner.begin(options),
            tally: self.tally.clone(),
            used: false,
            keys: 0,
            bytes: 0,
        })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct CountingTransaction {
    inner: Box<dyn Transaction>,
    tally: Arc<Tally>,
    used: bool,
    keys: usize,
    bytes: usize,
}

impl CountingTransaction {
    fn used(&mut self) {
        if !std::mem::replace(&mut self.used, true) {
            Tally::add(&self.tally.transactions, 1);
        }
    }

    fn trip(&mut self) {
        self.used();
        Tally::add(&self.tally.round_trips, 1);
    }

    fn wrote(&mut self, bytes: usize) {
        self.keys += 1;
        self.bytes += bytes;
    }
}

#[async_trait]
impl Transaction for CountingTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        self.used();
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        self.trip();
        let value = self.inner.get(key, mode).await?;
        self.tally.read(key, value.as_ref().map_or(0, Bytes::len));
        Ok(value)
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        if !keys.is_empty() {
            self.trip();
        }
        let values = self.inner.get_many(keys, mode).await?;
        for (key, value) in keys.iter().zip(&values) {
            self.tally.read(key, value.as_ref().map_or(0, Bytes::len));
        }
        Ok(values)
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        self.trip();
        Tally::add(&self.tally.ranges, 1);
        let page = self.inner.get_range(request, mode).await?;
        for pair in &page.pairs {
            self.tally.read(&pair.key, pair.value.len());
        }
        Ok(page)
    }

    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        if !keys.is_empty() || !ranges.is_empty() {
            self.trip();
        }
        Tally::add(&self.tally.ranges, ranges.len());
        let (values, pages) = self.inner.get_together(keys, ranges, mode).await?;
        for (key, value) in keys.iter().zip(&values) {
            self.tally.read(key, value.as_ref().map_or(0, Bytes::len));
        }
        for pair in pages.iter().flat_map(|page| &page.pairs) {
            self.tally.read(&pair.key, pair.value.len());
        }
        Ok((values, pages))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.wrote(key.len() + value.len());
        self.inner.set(key, value);
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.wrote(key.len() + value.len());
        self.inner.set_bytes(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.wrote(key.len());
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.wrote(begin.len() + end.len());
        self.inner.clear_range(begin, end);
    }

    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        self.used();
        self.wrote(begin.len() + end.len());
        self.inner.clear_page(begin, end).await
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.wrote(key.len() + operand.len());
        self.inner.atomic(op, key, operand);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.wrote(prefix.len() + 10 + suffix.len() + value.len());
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.wrote(key.len() + prefix.len() + 10);
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        self.inner.add_conflict_range(begin, end, kind);
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        self.used();
        self.inner.watch(key).await
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(mut self: Box<Self>) -> Result<Committed, Error> {
        let Self { inner, tally, keys, bytes, .. } = {
            if self.keys > 0 {
                self.trip();
            }
            *self
        };
        let committed = inner.commit().await?;
        if keys > 0 {
            Tally::add(&tally.keys_written, keys);
            Tally::add(&tally.bytes_written, bytes);
            Tally::add(&tally.commits, 1);
        }
        Ok(committed)
    }
}
