//! The writes a transaction has made and not yet committed, and how they change what it reads: for engines that
//! keep them in the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{AtomicOp, Versionstamp};
use bytes::{BufMut, Bytes, BytesMut};

mod atomic;
mod merge;

pub use merge::{Merge, pair_bytes, unreadable};

/// A write of one key.
#[derive(Clone, Debug)]
pub enum Write {
    /// The key gets this value.
    Set(Bytes),
    /// The key is removed.
    Clear,
    /// Read-modify-writes of a value that is not known before the commit, in order.
    Atomic(Vec<(AtomicOp, Bytes)>),
    /// The key gets this prefix and the versionstamp of the commit.
    Stamped(Bytes),
}

/// A key that holds the versionstamp of the commit.
#[derive(Clone, Debug)]
pub struct StampedKey {
    prefix: Bytes,
    suffix: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Ranges cleared after this write.
    later_clears: Vec<(Bytes, Bytes)>,
}

impl StampedKey {
    /// The key with its versionstamp, unless it was cleared again later in the transaction.
    pub fn key(&self, stamp: Versionstamp) -> Option<Bytes> {
        let mut key = BytesMut::with_capacity(self.prefix.len() + stamp.0.len() + self.suffix.len());
        key.put_slice(&self.prefix);
        key.put_slice(&stamp.0);
        key.put_slice(&self.suffix);
        let key = key.freeze();
        let cleared = self.later_clears.iter().any(|(begin, end)| *begin <= key && key < *end);
        (!cleared).then_some(key)
    }
}

/// What a transaction knows of a key from its own writes.
#[derive(Debug, PartialEq, Eq)]
pub enum Own<'a> {
    /// It has this value.
    Value(&'a Bytes),
    /// It is absent.
    Absent,
    /// It is what these make of the value in the database.
    Atomic(&'a [(AtomicOp, Bytes)]),
    /// Its value is not known before the commit.
    Unreadable,
    /// It was not written.
    Untouched,
}

/// Writes in the order that matters: first the cleared ranges, then the points (each made after any clear that
/// covers it), then the versionstamped keys.
#[derive(Debug, Default)]
pub struct WriteSet {
    points: BTreeMap<Bytes, Write>,
    /// Disjoint and not touching: begin → end.
    cleared: BTreeMap<Bytes, Bytes>,
    stamped: Vec<StampedKey>,
}

impl WriteSet {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.cleared.is_empty() && self.stamped.is_empty()
    }

    /// Writes a value.
    pub fn set(&mut self, key: Bytes, value: Bytes) {
        self.points.insert(key, Write::Set(value));
    }

    /// Removes a key.
    pub fn clear(&mut self, key: Bytes) {
        self.points.insert(key, Write::Clear);
    }

    /// Writes `prefix ‖ versionstamp` under `key`.
    pub fn set_stamped_value(&mut self, key: Bytes, prefix: Bytes) {
        self.points.insert(key, Write::Stamped(prefix));
    }

    /// Writes `value` under `prefix ‖ versionstamp ‖ suffix`.
    pub fn set_stamped_key(&mut self, prefix: Bytes, suffix: Bytes, value: Bytes) {
        self.stamped.push(StampedKey { prefix, suffix, value, later_clears: Vec::new() });
    }

    /// A read-modify-write; done at once where the value is known here.
    pub fn atomic(&mut self, op: AtomicOp, key: Bytes, operand: Bytes) {
        let covered = self.is_cleared(&key);
        match self.points.get_mut(&key) {
            Some(Write::Set(value)) => *value = atomic::apply(op, Some(value), &operand),
            Some(write @ Write::Clear) => *write = Write::Set(atomic::apply(op, None, &operand)),
            Some(Write::Atomic(ops)) => ops.push((op, operand)),
            // The stamped value is unknown here: FoundationDB has no such combination either.
            Some(write @ Write::Stamped(_)) => *write = Write::Set(operand),
            None if covered => {
                self.points.insert(key, Write::Set(atomic::apply(op, None, &operand)));
            }
            None => {
                self.points.insert(key, Write::Atomic(vec![(op, operand)]));
            }
        }
    }

    /// Removes all keys of `[begin, end)`, those written before included.
    pub fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        if begin >= end {
            return;
        }
        let inside: Vec<Bytes> =
            self.points.range(begin.clone()..end.clone()).map(|(key, _)| key.clone()).collect();
        for key in inside {
            self.points.remove(&key);
        }
        for stamped in &mut self.stamped {
            stamped.later_clears.push((begin.clone(), end.clone()));
        }
        let (mut low, mut high) = (begin, end);
        // Merge with every range that overlaps or touches.
        while let Some((other_begin, other_end)) = self
            .cleared
            .range((Bound::Unbounded, Bound::Included(high.clone())))
            .next_back()
            .filter(|(_, other_end)| **other_end >= low)
            .map(|(b, e)| (b.clone(), e.clone()))
        {
            self.cleared.remove(&other_begin);
            low = low.min(other_begin);
            high = high.max(other_end);
        }
        self.cleared.insert(low, high);
    }

    /// Whether a range clear of this transaction covers `key`.
    pub fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared_until(key).is_some()
    }

    /// The end of the cleared range that covers `key`.
    pub fn cleared_until(&self, key: &[u8]) -> Option<&Bytes> {
        if self.cleared.is_empty() {
            return None;
        }
        let (_, end) = self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        (key < end.as_ref()).then_some(end)
    }

    /// What is known of `key`.
    pub fn own(&self, key: &[u8]) -> Own<'_> {
        match self.points.get(key) {
            Some(write) => own(write),
            None if self.is_cleared(key) => Own::Absent,
            None => Own::Untouched,
        }
    }

    /// The points written in `[begin, end)`, in order.
    pub fn points_in(
        &self,
        begin: &Bytes,
        end: &Bytes,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, Own<'_>)> {
        self.points.range(begin.clone()..end.clone()).map(|(key, write)| (key, own(write)))
    }

    /// Whether `[begin, end)` may hold a key whose versionstamp is not known before the commit. Such keys sort
    /// after those that carry `read_version` or an earlier one.
    pub fn touches_stamped(&self, begin: &[u8], end: &[u8], read_version: u64) -> bool {
        self.stamped.iter().any(|stamped| {
            let mut low = stamped.prefix.to_vec();
            low.extend_from_slice(&read_version.to_be_bytes());
            low.extend_from_slice(&[0xFF; 2]);
            let mut high = stamped.prefix.to_vec();
            high.extend_from_slice(&[0xFF; 11]);
            low.as_slice() < end && begin < high.as_slice()
        })
    }

    /// The cleared ranges, disjoint: begin → end.
    pub fn cleared(&self) -> &BTreeMap<Bytes, Bytes> {
        &self.cleared
    }

    #[cfg(test)]
    pub(crate) fn stamped(&self) -> &[StampedKey] {
        &self.stamped
    }

    /// Points, cleared ranges and stamped keys, to be applied in the order that [`WriteSet`] says.
    pub fn into_parts(self) -> (BTreeMap<Bytes, Write>, BTreeMap<Bytes, Bytes>, Vec<StampedKey>) {
        (self.points, self.cleared, self.stamped)
    }
}

fn own(write: &Write) -> Own<'_> {
    match write {
        Write::Set(value) => Own::Value(value),
        Write::Clear => Own::Absent,
        Write::Atomic(ops) => Own::Atomic(ops),
        Write::Stamped(_) => Own::Unreadable,
    }
}

/// What `ops` make of `base`.
pub fn fold(base: Option<Bytes>, ops: &[(AtomicOp, Bytes)]) -> Option<Bytes> {
    ops.iter().fold(base, |value, (op, operand)| Some(atomic::apply(*op, value.as_deref(), operand)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn cleared_ranges_merge() {
        let mut writes = WriteSet::default();
        for (begin, end) in [("b", "d"), ("f", "h"), ("d", "e"), ("x", "x"), ("a", "g")] {
            writes.clear_range(b(begin), b(end));
        }
        assert_eq!(writes.cleared().iter().collect::<Vec<_>>(), [(&b("a"), &b("h"))]);
        assert!(writes.is_cleared(b"a") && writes.is_cleared(b"gz"));
        assert!(!writes.is_cleared(b"h") && !writes.is_cleared(b"A"));
    }

    #[test]
    fn later_writes_win() {
        let mut writes = WriteSet::default();
        writes.set(b("k"), b("1"));
        writes.clear_range(b("a"), b("z"));
        assert_eq!(writes.own(b"k"), Own::Absent);
        writes.atomic(AtomicOp::Add, b("k"), b("\x01"));
        assert_eq!(writes.own(b"k"), Own::Value(&b("\x01")));
        writes.atomic(AtomicOp::Add, b("k"), b("\x02"));
        assert_eq!(writes.own(b"k"), Own::Value(&b("\x03")));
        writes.atomic(AtomicOp::Add, b("zz"), b("\x02"));
        assert!(matches!(writes.own(b"zz"), Own::Atomic(_)));
        writes.clear(b("zz"));
        writes.atomic(AtomicOp::Max, b("zz"), b("\x07"));
        assert_eq!(writes.own(b"zz"), Own::Value(&b("\x07")));
    }

    #[test]
    fn a_clear_after_a_stamped_key_removes_it() {
        let mut writes = WriteSet::default();
        writes.clear_range(b("p"), b("q"));
        writes.set_stamped_key(b("p"), b("s"), b("v"));
        let stamp = Versionstamp([7; 10]);
        assert!(writes.stamped()[0].key(stamp).is_some());
        writes.clear_range(b("p"), b("q"));
        assert!(writes.stamped()[0].key(stamp).is_none());
    }
}
