//! One transaction: reads at a fixed version merged with its own writes, and what it must tell the resolver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use kv::writes::{self, Merge, Own, WriteSet, pair_bytes, unreadable};
use kv::{
    AtomicOp, Committed, ConflictKind, Error, ErrorKind, RangePage, RangeRequest, ReadMode, Transaction,
    TransactionOptions, Watch,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits;
use crate::resolver::ReadSet;
use crate::shared::{Published, Request, Shared};
use crate::storage::SYSTEM;
use crate::watches::Unarmed;

/// A transaction of the embedded engine.
pub(crate) struct EmbeddedTransaction {
    shared: Arc<Shared>,
    /// What it reads from, and since when.
    base: Option<(Arc<Published>, Instant)>,
    reads: ReadSet,
    writes: WriteSet,
    write_conflicts: Vec<(Bytes, Bytes)>,
    watches: Vec<Unarmed>,
    size: usize,
    keys_written: u64,
    bytes_written: u64,
    /// The first write that broke a limit.
    refused: Option<Error>,
}

/// How long reads and the commit of a transaction succeed after its first read.
const MAX_AGE: Duration = Duration::from_millis(kv::limits::TRANSACTION_MS_MAX);

impl EmbeddedTransaction {
    pub(crate) fn new(shared: Arc<Shared>, _options: TransactionOptions) -> Self {
        Self {
            shared,
            base: None,
            reads: ReadSet::default(),
            writes: WriteSet::default(),
            write_conflicts: Vec::new(),
            watches: Vec::new(),
            size: 0,
            keys_written: 0,
            bytes_written: 0,
            refused: None,
        }
    }

    /// What this transaction reads from, fixed by the first call.
    fn base(&mut self) -> Result<Arc<Published>, Error> {
        match &self.base {
            Some((_, since)) if since.elapsed() > MAX_AGE => Err(too_old()),
            Some((base, _)) => Ok(base.clone()),
            None => {
                let base = self.shared.published()?;
                self.base = Some((base.clone(), Instant::now()));
                Ok(base)
            }
        }
    }

    fn read_point(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        let base = self.base()?;
        match self.writes.own(key) {
            Own::Value(value) => return Ok(Some(value.clone())),
            Own::Absent => return Ok(None),
            Own::Unreadable => return Err(unreadable()),
            Own::Atomic(_) | Own::Untouched => {}
        }
        check_readable(key)?;
        let value = base.snapshot.get(key)?;
        if mode == ReadMode::Serializable {
            self.size += conflict_bytes(key.len());
            self.reads.points.push(Bytes::copy_from_slice(key));
        }
        let telemetry = &self.shared.telemetry;
        telemetry.reads.increment(1);
        telemetry.read_bytes.increment((key.len() + value.as_ref().map_or(0, Bytes::len)) as u64);
        Ok(match self.writes.own(key) {
            Own::Atomic(ops) => writes::fold(value, ops),
            _ => value,
        })
    }

    fn read_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        let base = self.base()?;
        check_readable_range(&request.begin, &request.end)?;
        if request.begin >= request.end {
            return Ok(RangePage::default());
        }
        let mut scan = base.snapshot.scan(&request.begin, &request.end, request.reverse);
        let stored = std::iter::from_fn(|| scan.next_pair().transpose());
        let page = Merge::new(stored, &self.writes, request).page(request)?;
        // What the page says something about: up to its last key if there may be more, else the whole range.
        let (begin, end) = match (page.pairs.last(), request.reverse) {
            (Some(last), false) if page.more => (request.begin.clone(), after(&last.key)),
            (Some(last), true) if page.more => (last.key.clone(), request.end.clone()),
            _ => (request.begin.clone(), request.end.clone()),
        };
        if self.writes.touches_stamped(&begin, &end, base.version) {
            return Err(unreadable());
        }
        if mode == ReadMode::Serializable {
            self.size += begin.len() + end.len();
            self.reads.ranges.push((begin, end));
        }
        let bytes: usize = page.pairs.iter().map(pair_bytes).sum();
        self.shared.telemetry.reads.increment(page.pairs.len() as u64);
        self.shared.telemetry.read_bytes.increment(bytes as u64);
        Ok(page)
    }

    /// Accounts a write of `key` and `value_bytes`, and tells whether to keep it.
    fn admit(&mut self, key_bytes: usize, first: Option<u8>, value_bytes: usize) -> bool {
        if self.refused.is_some() {
            return false;
        }
        self.size += key_bytes + value_bytes + conflict_bytes(key_bytes);
        self.bytes_written += (key_bytes + value_bytes) as u64;
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
        self.refused.is_none()
    }

    fn finish_read_only(&mut self) -> Result<Committed, Error> {
        let version = match &self.base {
            Some((base, _)) => base.version,
            None => self.shared.published()?.version,
        };
        for watch in self.watches.drain(..) {
            let shared = &self.shared;
            self.shared.watches.arm(watch, |key| {
                let value = shared.published().ok()?.snapshot.get(key).ok()?;
                Some(shared.watches.hash(value.as_deref()))
            });
        }
        Ok(Committed { version, versionstamp: None })
    }
}

#[async_trait]
impl Transaction for EmbeddedTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        Ok(self.base()?.version)
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        tokio::task::coop::consume_budget().await;
        self.read_point(key, mode)
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            tokio::task::coop::consume_budget().await;
            values.push(self.read_point(key, mode)?);
        }
        Ok(values)
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        tokio::task::coop::consume_budget().await;
        self.read_range(request, mode)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        if self.admit(key.len(), key.first().copied(), value.len()) {
            self.writes.set(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        if self.admit(key.len(), key.first().copied(), value.len()) {
            self.writes.set(key, value);
        }
    }

    fn clear(&mut self, key: &[u8]) {
        if self.admit(key.len(), key.first().copied(), 0) {
            self.writes.clear(Bytes::copy_from_slice(key));
        }
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        if begin >= end {
            return;
        }
        // The end may stand at the very end of the user key space.
        let first = if end == [SYSTEM] { begin.first() } else { begin.first().max(end.first()) };
        let longest = begin.len().max(end.len());
        if longest > kv::limits::KEY_BYTES_MAX {
            self.admit(longest, None, 0);
        } else if self.admit(begin.len(), first.copied(), end.len()) {
            self.writes.clear_range(Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        }
    }

    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        check_readable_range(begin, end)?;
        if begin >= end {
            return Ok(None);
        }
        let base = self.base()?;
        let mut last = None;
        {
            let mut scan = base.snapshot.scan(begin, end, false);
            for _ in 0..limits::CLEAR_PAGE_KEYS {
                last = scan.next_key()?;
                if last.is_none() {
                    break;
                }
            }
        }
        tokio::task::coop::consume_budget().await;
        let rest = last.map(|last| after(&last));
        self.clear_range(begin, rest.as_deref().unwrap_or(end));
        Ok(rest)
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        if self.admit(key.len(), key.first().copied(), operand.len()) {
            self.writes.atomic(op, Bytes::copy_from_slice(key), Bytes::copy_from_slice(operand));
        }
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        if self.admit(prefix.len() + 10 + suffix.len(), prefix.first().copied(), value.len()) {
            self.writes.set_stamped_key(
                Bytes::copy_from_slice(prefix),
                Bytes::copy_from_slice(suffix),
                Bytes::copy_from_slice(value),
            );
        }
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        let value_bytes = prefix.len() + 10 + kv::limits::STAMP_POSITION_BYTES;
        if self.admit(key.len(), key.first().copied(), value_bytes) {
            self.writes.set_stamped_value(Bytes::copy_from_slice(key), Bytes::copy_from_slice(prefix));
        }
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        if begin >= end || !self.admit(begin.len() + end.len(), None, 0) {
            return;
        }
        let range = (Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        match kind {
            ConflictKind::Read => self.reads.ranges.push(range),
            ConflictKind::Write => self.write_conflicts.push(range),
        }
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        let base = self.base()?;
        check_readable(key)?;
        let hash = |value: Option<&[u8]>| Some(self.shared.watches.hash(value));
        let seen = match self.writes.own(key) {
            Own::Value(value) => hash(Some(value)),
            Own::Absent => hash(None),
            Own::Atomic(_) | Own::Unreadable => None,
            Own::Untouched => hash(base.snapshot.get(key)?.as_deref()),
        };
        let (unarmed, watch) = self.shared.watches.create(Bytes::copy_from_slice(key), seen)?;
        self.watches.push(unarmed);
        Ok(watch)
    }

    fn approximate_size(&self) -> usize {
        self.size
    }

    async fn commit(mut self: Box<Self>) -> Result<Committed, Error> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.size > kv::limits::TRANSACTION_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the transaction is too large"));
        }
        if self.writes.is_empty() && self.write_conflicts.is_empty() {
            return self.finish_read_only();
        }
        if self.base.as_ref().is_some_and(|(_, since)| since.elapsed() > MAX_AGE) {
            return Err(too_old());
        }
        let (answer, answered) = oneshot::channel();
        self.shared.telemetry.writes.increment(self.keys_written);
        self.shared.telemetry.write_bytes.increment(self.bytes_written);
        self.shared.submit(Request {
            base: self.base.map(|(base, _)| base),
            reads: self.reads,
            writes: self.writes,
            write_conflicts: self.write_conflicts,
            watches: self.watches,
            bytes: self.size,
            queued: std::time::Instant::now(),
            answer,
        })?;
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, "the commit thread ended before it answered"))
        })
    }
}

/// What the conflict range of one key counts: from the key to the first after it.
fn conflict_bytes(key_bytes: usize) -> usize {
    2 * key_bytes + 1
}

/// The first key after `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
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

fn too_old() -> Error {
    Error::new(ErrorKind::TooOld, "the transaction lived too long")
}
