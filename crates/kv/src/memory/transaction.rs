//! A transaction of the engine in memory.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::state::{Range, Seen, Unarmed, after};
use super::{AGE_MAX, Shared};
use crate::writes::{self, Merge, Own, WriteSet, unreadable};
use crate::{
    AtomicOp, Committed, ConflictKind, Error, ErrorKind, RangePage, RangeRequest, ReadMode, Transaction,
    Watch, limits,
};

/// What the conflict range of one key counts: from the key to the first after it.
fn conflict_bytes(key_bytes: usize) -> usize {
    2 * key_bytes + 1
}

/// The first byte of keys that are the engine's own.
const SYSTEM: u8 = 0xFF;

pub(super) struct MemoryTransaction {
    shared: Arc<Shared>,
    /// The version it reads at, and since when.
    base: Option<(u64, Instant)>,
    reads: Vec<Range>,
    writes: WriteSet,
    write_conflicts: Vec<Range>,
    watches: Vec<Unarmed>,
    size: usize,
    /// The first write that broke a limit.
    refused: Option<Error>,
}

impl MemoryTransaction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            base: None,
            reads: Vec::new(),
            writes: WriteSet::default(),
            write_conflicts: Vec::new(),
            watches: Vec::new(),
            size: 0,
            refused: None,
        }
    }

    /// The version it reads at, fixed by the first call.
    fn base(&mut self) -> Result<u64, Error> {
        match self.base {
            Some((_, since)) if since.elapsed() > AGE_MAX => Err(too_old()),
            Some((version, _)) => Ok(version),
            None => {
                let version = self.shared.state().version();
                self.base = Some((version, Instant::now()));
                Ok(version)
            }
        }
    }

    fn read_point(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        let version = self.base()?;
        match self.writes.own(key) {
            Own::Value(value) => return Ok(Some(value.clone())),
            Own::Absent => return Ok(None),
            Own::Unreadable => return Err(unreadable()),
            Own::Atomic(_) | Own::Untouched => {}
        }
        check_key(key)?;
        let value = self.shared.state().get(key, version);
        if mode == ReadMode::Serializable {
            self.size += conflict_bytes(key.len());
            self.reads.push((Bytes::copy_from_slice(key), after(key)));
        }
        Ok(match self.writes.own(key) {
            Own::Atomic(ops) => writes::fold(value, ops),
            _ => value,
        })
    }

    fn read_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        let version = self.base()?;
        let (begin, end) = (&request.begin, &request.end);
        if begin >= end {
            return Ok(RangePage::default());
        }
        if end.as_ref() != [SYSTEM] {
            check_key(end)?;
        }
        let page = {
            let state = self.shared.state();
            let pairs = state.scan(begin, end, version).map(Ok);
            if request.reverse {
                Merge::new(pairs.rev(), &self.writes, request).page(request)?
            } else {
                Merge::new(pairs, &self.writes, request).page(request)?
            }
        };
        // What the page says something about: up to its last key if there may be more, else the whole range.
        let (low, high) = match page.pairs.last() {
            Some(last) if page.more && request.reverse => (last.key.clone(), end.clone()),
            Some(last) if page.more => (begin.clone(), after(&last.key)),
            _ => (begin.clone(), end.clone()),
        };
        if self.writes.touches_stamped(&low, &high, version) {
            return Err(unreadable());
        }
        if mode == ReadMode::Serializable {
            self.size += low.len() + high.len();
            self.reads.push((low, high));
        }
        Ok(page)
    }

    /// Accounts a write, and tells whether to keep it. `reach`: its greatest key's first byte.
    fn admit(&mut self, key_bytes: usize, reach: Option<u8>, value_bytes: usize) -> bool {
        if self.refused.is_some() {
            return false;
        }
        self.size += key_bytes + value_bytes + conflict_bytes(key_bytes);
        self.refused = if key_bytes > limits::KEY_BYTES_MAX {
            Some(Error::new(ErrorKind::TooLarge, "a key is too long"))
        } else if value_bytes > limits::VALUE_BYTES_MAX {
            Some(Error::new(ErrorKind::TooLarge, "a value is too long"))
        } else if self.size > limits::TRANSACTION_BYTES_MAX {
            Some(Error::new(ErrorKind::TooLarge, "the transaction is too large"))
        } else if reach == Some(SYSTEM) {
            Some(Error::new(ErrorKind::Internal, "a key is outside the user key space"))
        } else {
            None
        };
        self.refused.is_none()
    }
}

#[async_trait]
impl Transaction for MemoryTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        self.base()
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        tokio::task::coop::consume_budget().await;
        self.read_point(key, mode)
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        tokio::task::coop::consume_budget().await;
        keys.iter().map(|key| self.read_point(key, mode)).collect()
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        tokio::task::coop::consume_budget().await;
        self.read_range(request, mode)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.set_bytes(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
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
        let reach = if end == [SYSTEM] { begin.first() } else { end.first() };
        if self.admit(begin.len().max(end.len()), reach.copied(), 0) {
            self.size += begin.len().min(end.len());
            self.writes.clear_range(Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        }
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        if self.admit(key.len(), key.first().copied(), operand.len()) {
            self.writes.atomic(op, Bytes::copy_from_slice(key), Bytes::copy_from_slice(operand));
        }
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        if self.admit(prefix.len() + 10 + suffix.len(), prefix.first().copied(), value.len()) {
            let [prefix, suffix, value] = [prefix, suffix, value].map(Bytes::copy_from_slice);
            self.writes.set_stamped_key(prefix, suffix, value);
        }
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        let value_bytes = prefix.len() + 10 + limits::STAMP_POSITION_BYTES;
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
            ConflictKind::Read => self.reads.push(range),
            ConflictKind::Write => self.write_conflicts.push(range),
        }
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        let version = self.base()?;
        check_key(key)?;
        let mut state = self.shared.state();
        let seen = match self.writes.own(key) {
            Own::Value(value) => Seen::Value(Some(value.clone())),
            Own::Absent => Seen::Value(None),
            Own::Atomic(_) | Own::Unreadable => Seen::AfterCommit,
            Own::Untouched => Seen::Value(state.get(key, version)),
        };
        let id = state.create_watch()?;
        drop(state);
        let key = Bytes::copy_from_slice(key);
        let (wake, fired) = oneshot::channel();
        let held = Held { shared: self.shared.clone(), key: key.clone(), id };
        self.watches.push(Unarmed { key, id, seen, wake });
        Ok(Box::pin(MemoryWatch { fired, _held: held }))
    }

    fn approximate_size(&self) -> usize {
        self.size
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.size > limits::TRANSACTION_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the transaction is too large"));
        }
        let mut state = self.shared.state();
        let committed = if self.writes.is_empty() && self.write_conflicts.is_empty() {
            let version = self.base.map_or(state.version(), |(version, _)| version);
            Committed { version, versionstamp: None }
        } else {
            if let Some((version, since)) = self.base {
                if since.elapsed() > AGE_MAX {
                    return Err(too_old());
                }
                state.check(version, &self.reads)?;
            }
            let (version, stamp) = state.apply(self.writes, self.write_conflicts);
            Committed { version, versionstamp: Some(stamp) }
        };
        for watch in self.watches {
            state.arm(watch);
        }
        Ok(committed)
    }
}

/// Ends when the channel does: fired, or its transaction or the engine gone.
struct MemoryWatch {
    fired: oneshot::Receiver<()>,
    _held: Held,
}

struct Held {
    shared: Arc<Shared>,
    key: Bytes,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.state().end_watch(&self.key, self.id);
    }
}

impl Future for MemoryWatch {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.fired).poll(cx).map(|fired| {
            fired.map_err(|_| {
                Error::new(ErrorKind::Unavailable, "the watch ended: its transaction did not commit")
            })
        })
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.first() == Some(&SYSTEM) {
        return Err(Error::new(ErrorKind::Internal, "a key is outside the user key space"));
    }
    Ok(())
}

fn too_old() -> Error {
    Error::new(ErrorKind::TooOld, "the transaction lived too long")
}
