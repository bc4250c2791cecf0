//! The engine trait and the values that cross it.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, whole.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// Whether a read takes part in conflict detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// The commit fails if another transaction wrote what was read after this one's read version.
    Serializable,
    /// The read sees the same version but adds no conflict range.
    Snapshot,
}

/// One page of a range read: keys in `[begin, end)`.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    /// First key, inclusive.
    pub begin: Bytes,
    /// Last key, exclusive.
    pub end: Bytes,
    /// Most pairs to return; 0 for no bound by count.
    pub limit: usize,
    /// Most bytes of keys and values to return, at least one pair; 0 for [`crate::limits::RANGE_PAGE_BYTES`].
    pub bytes: usize,
    /// From the last key to the first.
    pub reverse: bool,
}

impl RangeRequest {
    /// All keys of `[begin, end)`, in ascending order, paged by the default size.
    pub fn new(begin: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { begin: begin.into(), end: end.into(), limit: 0, bytes: 0, reverse: false }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self::new(Bytes::copy_from_slice(prefix), prefix_end(prefix))
    }

    /// The same request for at most `limit` pairs.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same request from the last key to the first.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

/// The first key after all keys that start with `prefix`. For an empty or all-0xFF prefix: the end of the
/// user key space, `0xFF`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(&[0xFF])
}

/// A page of a range read. `more` says that pairs may follow beyond the last one returned; an empty page has no more.
#[derive(Clone, Debug, Default)]
pub struct RangePage {
    /// The pairs, in the order asked for.
    pub pairs: Vec<KeyValue>,
    /// Whether the range may hold more; go on from after the last key (before it, in reverse).
    pub more: bool,
}

/// A read-modify-write done by the engine at commit, without a read conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    /// Little-endian addition, wrapping, in the width of the operand; an absent value counts as zero.
    Add,
    /// The larger of the two as little-endian unsigned integers; an absent value gives the operand.
    Max,
    /// The smaller of the two as little-endian unsigned integers; an absent value gives the operand.
    Min,
    /// The larger of the two as byte strings; an absent value gives the operand.
    ByteMax,
    /// The smaller of the two as byte strings; an absent value gives the operand.
    ByteMin,
}

/// What an explicit conflict range stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// As if the range had been read.
    Read,
    /// As if the range had been written.
    Write,
}

/// How urgent a transaction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Work that a subscriber waits for.
    #[default]
    Default,
    /// Work that may wait: sweeps, trims, checks.
    Batch,
}

/// Options of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionOptions {
    /// How urgent it is.
    pub priority: Priority,
    /// A short name of the kind of work, for tags and metrics.
    pub tag: Option<&'static str>,
}

/// Ten bytes that order all commits of an engine: eight of the commit version, two of the place in its batch,
/// big-endian. Followed by a two-byte user version in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp(pub [u8; 10]);

/// What a successful commit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Commit version; ascends with every commit of the engine. A read-only transaction gives its read version.
    pub version: u64,
    /// The versionstamp written into versionstamped keys and values; none for a read-only transaction.
    pub versionstamp: Option<Versionstamp>,
}

/// Resolves once the value of the watched key has changed from what the transaction that made the watch saw,
/// or spuriously; the caller re-reads. Fails with [`crate::ErrorKind::Unavailable`] when the engine stops.
/// Active only after its transaction committed.
pub type Watch = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'static>>;

/// An ordered transactional key-value engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Begins a transaction; costs nothing until its first read.
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction>;

    /// A short stable name: `embedded`, `fdb`.
    fn name(&self) -> &'static str;
}

/// One attempt of a transaction. Reads see the database at the read version plus this transaction's own
/// writes; nothing is visible to others before [`Transaction::commit`] succeeds. Dropping it discards it.
///
/// Writes are checked against the limits when made; an over-long key or value fails the commit with
/// [`crate::ErrorKind::TooLarge`].
#[async_trait]
pub trait Transaction: Send {
    /// The version all reads of this transaction see.
    async fn read_version(&mut self) -> Result<u64, Error>;

    /// The value of `key`, if there is one.
    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error>;

    /// The values of many keys, read together; one answer a key, in order.
    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error>;

    /// One page of the pairs of a range.
    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error>;

    /// Keys and pages of ranges, read together: the time of one exchange with a distant database, not of one for
    /// each. One answer a key and one a range, in order.
    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        let values = self.get_many(keys, mode).await?;
        let mut pages = Vec::with_capacity(ranges.len());
        for range in ranges {
            pages.push(self.get_range(range, mode).await?);
        }
        Ok((values, pages))
    }

    /// Writes a value.
    fn set(&mut self, key: &[u8], value: &[u8]);

    /// Writes a value without copying it.
    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.set(&key, &value);
    }

    /// Removes a key.
    fn clear(&mut self, key: &[u8]);

    /// Removes all keys of `[begin, end)`. An engine for which each stored key costs may refuse to remove very many
    /// at once, with [`crate::ErrorKind::TooLarge`]; for ranges without a bound there is
    /// [`Transaction::clear_page`].
    fn clear_range(&mut self, begin: &[u8], end: &[u8]);

    /// Removes keys of `[begin, end)` from `begin` on: as many as suit one transaction of this engine, which is all
    /// where a range costs no more than a key. Returns where to go on, in another transaction once this one has
    /// committed; none when nothing is left. Reads without a conflict.
    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        self.clear_range(begin, end);
        Ok(None)
    }

    /// A read-modify-write at commit.
    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]);

    /// Writes `prefix ‖ versionstamp (10 bytes) ‖ suffix` = `value`, the versionstamp being that of the commit.
    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]);

    /// Writes `key` = `prefix ‖ versionstamp (10 bytes)`. Counts as [`crate::limits::STAMP_POSITION_BYTES`] more.
    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]);

    /// Adds a conflict range `[begin, end)` by hand.
    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind);

    /// A watch on `key`, armed by a successful commit of this transaction (a read-only one commits too).
    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error>;

    /// Bytes written so far, as the limit counts them.
    fn approximate_size(&self) -> usize;

    /// Commits. When it returns `Ok`, the writes are durable and visible to every later transaction.
    async fn commit(self: Box<Self>) -> Result<Committed, Error>;
}
