//! One transaction: the client's own, with the trait's checks before it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, MutationType, TransactionOption};
use foundationdb::{FdbResult, Transaction as Inner};
use futures::StreamExt as _;
use futures::future::{Either, join, join3, ready};
use futures::stream;
use kv::{
    AtomicOp, Committed, ConflictKind, Error, ErrorKind, Priority, RangePage, RangeRequest, ReadMode,
    Transaction, TransactionOptions, Versionstamp, Watch,
};
use tokio::time::Instant;

use crate::engine::Shared;
use crate::error::{Phase, engine_error};
use crate::{limits, range, watches};

/// First byte of the keys that are FoundationDB's own, and of the trait's keys that are nobody's.
const SYSTEM: u8 = 0xFF;
/// Stands where the versionstamp will stand.
const STAMP: [u8; 10] = [0xFF; 10];

/// How long reads and the commit of a transaction succeed after its first read.
const MAX_AGE: Duration = Duration::from_millis(kv::limits::TRANSACTION_MS_MAX);

/// A transaction of the FoundationDB engine.
pub(crate) struct FdbTransaction {
    shared: Arc<Shared>,
    /// The client's, or why there is none.
    inner: Result<Inner, Error>,
    /// When it got its read version.
    since: Option<Instant>,
    /// Whether its commit is more than an end.
    writes: bool,
    watches: bool,
    size: usize,
    keys_written: u64,
    /// The first write that broke a limit.
    refused: Option<Error>,
}

impl FdbTransaction {
    pub(crate) fn new(shared: Arc<Shared>, options: TransactionOptions) -> Self {
        let inner = shared
            .check_open()
            .and_then(|()| begin(&shared, options).map_err(|e| engine_error(e, Phase::Before)));
        Self {
            shared,
            inner,
            since: None,
            writes: false,
            watches: false,
            size: 0,
            keys_written: 0,
            refused: None,
        }
    }

    /// The client's transaction, while this one may still be used.
    fn inner(&self) -> Result<&Inner, Error> {
        self.shared.check_open()?;
        if self.since.is_some_and(|since| since.elapsed() > MAX_AGE) {
            // The client itself would go on to answer what it has read before, from its memory.
            return Err(Error::new(ErrorKind::TooOld, "the transaction lived too long"));
        }
        self.inner.as_ref().map_err(Clone::clone)
    }

    /// Waits for the read version beside the first read, which makes the client ask for it: when it came. Nothing to
    /// wait for later.
    fn version(&self) -> Result<impl Future<Output = Option<Instant>> + Send + use<>, Error> {
        if self.since.is_some() {
            return Ok(Either::Left(ready(None)));
        }
        let asked = Instant::now();
        let version = self.inner()?.get_read_version();
        let shared = self.shared.clone();
        Ok(Either::Right(async move {
            version.await.ok()?;
            shared.telemetry.read_version_seconds.record(asked.elapsed());
            Some(Instant::now())
        }))
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.shared.prefix.as_ref(), key].concat()
    }

    fn count_point(&mut self, key: &[u8], mode: ReadMode, value: Option<&Bytes>) {
        if mode == ReadMode::Serializable {
            self.size += key.len();
        }
        let telemetry = &self.shared.telemetry;
        telemetry.reads.increment(1);
        telemetry.read_bytes.increment((key.len() + value.map_or(0, Bytes::len)) as u64);
    }

    fn count_page(&mut self, request: &RangeRequest, mode: ReadMode, page: &RangePage) {
        if mode == ReadMode::Serializable {
            self.size += request.begin.len() + request.end.len();
        }
        let bytes: usize = page.pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
        self.shared.telemetry.reads.increment(page.pairs.len() as u64);
        self.shared.telemetry.read_bytes.increment(bytes as u64);
    }

    fn read_error(&self, error: foundationdb::FdbError) -> Error {
        let error = engine_error(error, Phase::Before);
        self.shared.telemetry.failed(&error);
        error
    }

    /// Accounts a write of `key` and `value_bytes`; hands it on unless a limit is broken, now or before.
    fn write(
        &mut self,
        key_bytes: usize,
        first: Option<u8>,
        value_bytes: usize,
        write: impl FnOnce(&Inner, &[u8]),
    ) {
        if self.refused.is_some() {
            return;
        }
        self.writes = true;
        self.size += key_bytes + value_bytes;
        self.keys_written += 1;
        let problem = if key_bytes > kv::limits::KEY_BYTES_MAX {
            Some((ErrorKind::TooLarge, "a key is too long"))
        } else if value_bytes > kv::limits::VALUE_BYTES_MAX {
            Some((ErrorKind::TooLarge, "a value is too long"))
        } else if self.size > kv::limits::TRANSACTION_BYTES_MAX {
            Some((ErrorKind::TooLarge, "the transaction is too large"))
        } else if first.is_some_and(|byte| byte == SYSTEM) {
            Some((ErrorKind::Internal, "a key is outside the user key space"))
        } else {
            None
        };
        self.refused = problem.map(|(kind, detail)| Error::new(kind, detail));
        if let (None, Ok(inner)) = (&self.refused, &self.inner) {
            write(inner, &self.shared.prefix);
        }
    }

    async fn finish(&mut self) -> Result<Committed, Error> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        if self.size > kv::limits::TRANSACTION_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the transaction is too large"));
        }
        if !self.writes {
            return self.finish_read_only().await;
        }
        self.inner()?;
        let inner = std::mem::replace(&mut self.inner, Err(Error::new(ErrorKind::Internal, "committed")))?;
        // Asked for before the commit, answered after it.
        let stamp = inner.get_versionstamp();
        let committed = inner.commit().await.map_err(|error| engine_error(*error, Phase::Commit))?;
        // It has committed: what cannot be told any more makes the outcome unknown, not failed.
        let unknown =
            |error| Error::new(ErrorKind::CommitUnknown, format!("committed, but not told when: {error}"));
        let version = committed.committed_version().map_err(unknown)?;
        let stamp = stamp.await.map_err(unknown)?;
        let stamp = <[u8; 10]>::try_from(&*stamp).map_err(|_| {
            Error::new(ErrorKind::CommitUnknown, "committed, but the versionstamp has another form")
        })?;
        self.shared.telemetry.writes.increment(self.keys_written);
        self.shared.telemetry.write_bytes.increment(self.size as u64);
        Ok(Committed { version: version.max(0) as u64, versionstamp: Some(Versionstamp(stamp)) })
    }

    /// Its commit writes nothing and cannot conflict; it arms the watches.
    async fn finish_read_only(&mut self) -> Result<Committed, Error> {
        self.shared.check_open()?;
        let inner = std::mem::replace(&mut self.inner, Err(Error::new(ErrorKind::Internal, "committed")))?;
        let version = inner.get_read_version().await.map_err(|error| engine_error(error, Phase::Before))?;
        if self.watches {
            inner.commit().await.map_err(|error| engine_error(*error, Phase::Before))?;
        }
        Ok(Committed { version: version.max(0) as u64, versionstamp: None })
    }
}

#[async_trait]
impl Transaction for FdbTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        let version = self.version()?;
        let read = self.inner()?.get_read_version();
        let (read, since) = join(read, version).await;
        self.since = self.since.or(since);
        let version = read.map_err(|error| self.read_error(error))?;
        Ok(version.max(0) as u64)
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        check_readable(key)?;
        let version = self.version()?;
        let read = self.inner()?.get(&self.key(key), mode == ReadMode::Snapshot);
        let (value, since) = join(read, version).await;
        self.since = self.since.or(since);
        let value =
            value.map_err(|error| self.read_error(error))?.map(|value| Bytes::copy_from_slice(&value));
        self.count_point(key, mode, value.as_ref());
        Ok(value)
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        Ok(self.get_together(keys, &[], mode).await?.0)
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        let (_, mut pages) = self.get_together(&[], std::slice::from_ref(request), mode).await?;
        Ok(pages.pop().unwrap_or_default())
    }

    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        for key in keys {
            check_readable(key)?;
        }
        for range in ranges {
            check_readable_range(&range.begin, &range.end)?;
        }
        let version = self.version()?;
        let inner = self.inner()?;
        let snapshot = mode == ReadMode::Snapshot;
        // A read is on its way once it is made, and up to the bound are made before the first is waited for.
        let points = stream::iter(0..keys.len())
            .map(|number| {
                let read = inner.get(&self.key(&keys[number]), snapshot);
                async move { FdbResult::Ok(read.await?.map(|value| Bytes::copy_from_slice(&value))) }
            })
            .buffered(limits::READS_AT_ONCE_MAX)
            .collect::<Vec<_>>();
        let pages = stream::iter(0..ranges.len())
            .map(|number| range::page(inner, &self.shared.prefix, &ranges[number], snapshot))
            .buffered(limits::RANGES_AT_ONCE_MAX)
            .collect::<Vec<_>>();
        let (values, pages, since) = join3(points, pages, version).await;
        self.since = self.since.or(since);
        let values: FdbResult<Vec<_>> = values.into_iter().collect();
        let pages: FdbResult<Vec<_>> = pages.into_iter().collect();
        let values = values.map_err(|error| self.read_error(error))?;
        let pages = pages.map_err(|error| self.read_error(error))?;
        for (key, value) in keys.iter().zip(&values) {
            self.count_point(key, mode, value.as_ref());
        }
        for (request, page) in ranges.iter().zip(&pages) {
            self.count_page(request, mode, page);
        }
        Ok((values, pages))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.write(key.len(), key.first().copied(), value.len(), |inner, prefix| {
            inner.set(&[prefix, key].concat(), value);
        });
    }

    fn clear(&mut self, key: &[u8]) {
        self.write(key.len(), key.first().copied(), 0, |inner, prefix| inner.clear(&[prefix, key].concat()));
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        if begin >= end {
            return;
        }
        // The end may stand at the very end of the user key space.
        let first = if end == [SYSTEM] { begin.first() } else { begin.first().max(end.first()) };
        let longest = begin.len().max(end.len());
        let value_bytes = begin.len() + end.len() - longest;
        self.write(longest, first.copied(), value_bytes, |inner, prefix| {
            inner.clear_range(&[prefix, begin].concat(), &[prefix, end].concat());
        });
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        let op = match op {
            AtomicOp::Add => MutationType::Add,
            AtomicOp::Max => MutationType::Max,
            AtomicOp::Min => MutationType::Min,
            AtomicOp::ByteMax => MutationType::ByteMax,
            AtomicOp::ByteMin => MutationType::ByteMin,
        };
        self.write(key.len(), key.first().copied(), operand.len(), |inner, prefix| {
            inner.atomic_op(&[prefix, key].concat(), operand, op);
        });
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let key_bytes = prefix.len() + STAMP.len() + suffix.len();
        self.write(key_bytes, prefix.first().copied(), value.len(), |inner, installation| {
            let position = installation.len() + prefix.len();
            let key = [installation, prefix, &STAMP, suffix, &little_endian(position)].concat();
            inner.atomic_op(&key, value, MutationType::SetVersionstampedKey);
        });
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        let value_bytes = prefix.len() + STAMP.len() + kv::limits::STAMP_POSITION_BYTES;
        self.write(key.len(), key.first().copied(), value_bytes, |inner, installation| {
            let value = [prefix, &STAMP, &little_endian(prefix.len())].concat();
            inner.atomic_op(&[installation, key].concat(), &value, MutationType::SetVersionstampedValue);
        });
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        if begin >= end || self.refused.is_some() {
            return;
        }
        self.size += begin.len() + end.len();
        self.writes |= kind == ConflictKind::Write;
        let kind = match kind {
            ConflictKind::Read => ConflictRangeType::Read,
            ConflictKind::Write => ConflictRangeType::Write,
        };
        if let Ok(inner) = &self.inner {
            let added = inner.add_conflict_range(&self.key(begin), &self.key(end), kind);
            self.refused = added.err().map(|error| engine_error(error, Phase::Before));
        }
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        check_readable(key)?;
        let place = watches::Place::take(&self.shared)?;
        let version = self.version()?;
        // Reads the key as the transaction sees it now, own writes included.
        let fires = self.inner()?.watch(&self.key(key));
        self.watches = true;
        self.since = self.since.or(version.await);
        Ok(watches::watch(place, fires))
    }

    fn approximate_size(&self) -> usize {
        self.size
    }

    async fn commit(mut self: Box<Self>) -> Result<Committed, Error> {
        let began = Instant::now();
        let outcome = self.finish().await;
        if self.writes {
            self.shared.telemetry.commit_seconds.record(began.elapsed());
        }
        if let Err(error) = &outcome {
            self.shared.telemetry.failed(error);
        }
        outcome
    }
}

fn begin(shared: &Shared, options: TransactionOptions) -> FdbResult<Inner> {
    let inner = shared.database.create_trx()?;
    if options.priority == Priority::Batch {
        inner.set_option(TransactionOption::PriorityBatch)?;
    }
    if let Some(tag) = options.tag {
        let tag: String = tag.chars().filter(char::is_ascii).take(limits::TAG_BYTES_MAX).collect();
        inner.set_option(TransactionOption::AutoThrottleTag(tag))?;
    }
    Ok(inner)
}

/// Where in a key or value the versionstamp goes. What is longer than this can say was refused before.
fn little_endian(position: usize) -> [u8; kv::limits::STAMP_POSITION_BYTES] {
    u32::try_from(position).unwrap_or(u32::MAX).to_le_bytes()
}

fn check_readable(key: &[u8]) -> Result<(), Error> {
    if key.first().is_some_and(|&byte| byte == SYSTEM) {
        return Err(Error::new(ErrorKind::Internal, "a key is outside the user key space"));
    }
    Ok(())
}

fn check_readable_range(begin: &[u8], end: &[u8]) -> Result<(), Error> {
    if begin < end && end != [SYSTEM] {
        check_readable(end)?;
    }
    Ok(())
}
