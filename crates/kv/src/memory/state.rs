//! What the engine holds: keys with their versions, recent writes, watches.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::AGE_MAX;
use crate::writes::{self, Write, WriteSet};
use crate::{Error, ErrorKind, Versionstamp, limits};

/// Distance of two commit versions: callers must not take them for consecutive, which FoundationDB's are not.
const STEP: u64 = 10;

/// A range `[begin, end)`.
pub(super) type Range = (Bytes, Bytes);

/// What a commit wrote, for as long as an open transaction may conflict with it.
struct Recent {
    version: u64,
    at: Instant,
    ranges: Vec<Range>,
}

struct Armed {
    id: u64,
    seen: Option<Bytes>,
    wake: oneshot::Sender<()>,
}

/// A watch whose transaction has not committed yet.
pub(super) struct Unarmed {
    pub(super) key: Bytes,
    pub(super) id: u64,
    pub(super) seen: Seen,
    pub(super) wake: oneshot::Sender<()>,
}

/// What a transaction that watches a key saw there.
pub(super) enum Seen {
    Value(Option<Bytes>),
    /// What its own commit makes of it.
    AfterCommit,
}

#[derive(Default)]
pub(super) struct State {
    /// Versions ascend; none for a key that was removed.
    keys: BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>,
    recent: VecDeque<Recent>,
    version: u64,
    /// Nobody may read at versions below.
    floor: u64,
    watches: BTreeMap<Bytes, Vec<Armed>>,
    /// Watches that are held by someone.
    watching: usize,
    next_watch: u64,
}

impl State {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    #[cfg(test)]
    pub(super) fn versions_of(&self, key: &[u8]) -> usize {
        self.keys.get(key).map_or(0, Vec::len)
    }

    /// The value of a key at a version.
    pub(super) fn get(&self, key: &[u8], version: u64) -> Option<Bytes> {
        self.keys.get(key).and_then(|versions| at(versions, version))
    }

    /// The pairs of `[begin, end)` at a version.
    pub(super) fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        version: u64,
    ) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        self.keys
            .range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)))
            .filter_map(move |(key, versions)| Some((key.clone(), at(versions, version)?)))
    }

    /// Whether a transaction that read these ranges at `version` may still commit.
    pub(super) fn check(&self, version: u64, reads: &[Range]) -> Result<(), Error> {
        if version < self.floor {
            return Err(Error::new(ErrorKind::TooOld, "the transaction lived too long"));
        }
        let stale = self.recent.iter().rev().take_while(|recent| recent.version > version).any(|recent| {
            recent.ranges.iter().any(|(begin, end)| reads.iter().any(|(low, high)| begin < high && low < end))
        });
        if stale {
            return Err(Error::new(ErrorKind::Conflict, "another transaction wrote what this one read"));
        }
        Ok(())
    }

    /// Applies a commit, and fires the watches of what it changed.
    pub(super) fn apply(&mut self, writes: WriteSet, conflicts: Vec<Range>) -> (u64, Versionstamp) {
        let now = Instant::now();
        self.forget(now);
        self.version += STEP;
        let version = self.version;
        let mut stamp = Versionstamp([0; 10]);
        stamp.0[..8].copy_from_slice(&version.to_be_bytes());

        let mut changed: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        let mut ranges = conflicts;
        let (points, cleared, stamped) = writes.into_parts();
        for (begin, end) in cleared {
            changed.extend(self.scan(&begin, &end, version).map(|(key, _)| (key, None)));
            ranges.push((begin, end));
        }
        for (key, write) in points {
            let value = match write {
                Write::Set(value) => Some(value),
                Write::Clear => None,
                Write::Stamped(prefix) => Some([&prefix[..], &stamp.0[..]].concat().into()),
                Write::Atomic(ops) => writes::fold(self.get(&key, version), &ops),
            };
            ranges.push((key.clone(), after(&key)));
            changed.insert(key, value);
        }
        for stamped_key in stamped {
            if let Some(key) = stamped_key.key(stamp) {
                ranges.push((key.clone(), after(&key)));
                changed.insert(key, Some(stamped_key.value));
            }
        }
        self.recent.push_back(Recent { version, at: now, ranges });
        let floor = self.floor;
        for (key, value) in changed {
            if let Some(armed) = self.watches.get_mut(&key) {
                for fired in armed.extract_if(.., |armed| armed.seen != value) {
                    let _ = fired.wake.send(());
                }
            }
            let versions = self.keys.entry(key).or_default();
            // The newest of those that nobody reads below stays: it is what those above see.
            let old = versions.partition_point(|(version, _)| *version <= floor);
            versions.drain(..old.saturating_sub(1));
            versions.push((version, value));
        }
        (version, stamp)
    }

    /// Drops what only transactions that are too old could ask for.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.recent.front() {
            if now.duration_since(first.at) <= AGE_MAX {
                break;
            }
            self.floor = first.version;
            // What is gone is gone for everybody: its key goes, too.
            for (begin, end) in &first.ranges {
                let gone: Vec<Bytes> = self
                    .keys
                    .range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)))
                    .filter(
                        |(_, versions)| matches!(versions[..], [(version, None)] if version <= first.version),
                    )
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in gone {
                    self.keys.remove(&key);
                }
            }
            self.recent.pop_front();
        }
    }

    /// A place for a watch.
    pub(super) fn create_watch(&mut self) -> Result<u64, Error> {
        if self.watching >= limits::WATCHES_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "too many watches"));
        }
        self.watching += 1;
        self.next_watch += 1;
        Ok(self.next_watch)
    }

    /// Arms a watch of a committed transaction, or fires it at once if the value has changed meanwhile.
    pub(super) fn arm(&mut self, watch: Unarmed) {
        let Unarmed { key, id, seen, wake } = watch;
        let current = self.get(&key, self.version);
        match seen {
            _ if wake.is_closed() => {}
            Seen::Value(seen) if seen != current => {
                let _ = wake.send(());
            }
            _ => self.watches.entry(key).or_default().push(Armed { id, seen: current, wake }),
        }
    }

    /// Gives the place of a watch back.
    pub(super) fn end_watch(&mut self, key: &Bytes, id: u64) {
        self.watching -= 1;
        if let Some(armed) = self.watches.get_mut(key) {
            armed.retain(|armed| armed.id != id);
            if armed.is_empty() {
                self.watches.remove(key);
            }
        }
    }
}

fn at(versions: &[(u64, Option<Bytes>)], version: u64) -> Option<Bytes> {
    let seen = versions.partition_point(|(written, _)| *written <= version);
    versions[..seen].last().and_then(|(_, value)| value.clone())
}

/// The first key after `key`.
pub(super) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
