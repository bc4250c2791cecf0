//! The conflict window: what was written recently, to find out whether a transaction read something stale.
//!
//! Three structures, each for one question a commit asks:
//! - *Was this key written after version r?* One hash lookup: key → version of its last write, whatever the age
//!   of the reader.
//! - *Was any key of this range written after r?* The written keys stand in one sorted run a batch; only the
//!   runs after r are searched, a binary search each. A transaction is commonly a batch or two old.
//! - *Does a cleared range written after r cover this?* Those are few and stand in one list by version.
//!
//! What no open transaction can ask for any more is dropped with its run, so that the window is as long as the
//! oldest open transaction is old, and no longer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::limits;

/// What a transaction read.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    pub(crate) points: Vec<Bytes>,
    /// `[begin, end)` each.
    pub(crate) ranges: Vec<(Bytes, Bytes)>,
}

impl ReadSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }
}

/// Why a transaction may not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something it read was written since.
    Conflict,
    /// The window no longer reaches back to its read version.
    TooOld,
}

/// The keys one batch wrote.
struct Run {
    /// Version of the last commit of the batch.
    version: u64,
    /// Sorted.
    keys: Vec<Bytes>,
    bytes: usize,
    made: Instant,
}

struct RangeWrite {
    version: u64,
    begin: Bytes,
    end: Bytes,
}

/// The window.
pub(crate) struct Window {
    last_write: HashMap<Bytes, u64>,
    runs: VecDeque<Run>,
    ranges: VecDeque<RangeWrite>,
    bytes: usize,
    /// Transactions that read before this version cannot be judged.
    floor: u64,
}

/// Fixed cost accounted for a key in the window, bytes: its places in the map and in its run.
const KEY_OVERHEAD: usize = 96;

impl Window {
    /// An empty window that knows all writes after `version`.
    pub(crate) fn new(version: u64) -> Self {
        Self {
            last_write: HashMap::new(),
            runs: VecDeque::new(),
            ranges: VecDeque::new(),
            bytes: 0,
            floor: version,
        }
    }

    /// Whether a transaction that read `reads` at `read_version` may commit after the batches in the window and
    /// the `open` writes of the batch being made.
    pub(crate) fn check<V>(
        &self,
        read_version: u64,
        reads: &ReadSet,
        open: &BTreeMap<Bytes, V>,
    ) -> Result<(), Refusal> {
        if reads.is_empty() {
            return Ok(());
        }
        if read_version < self.floor {
            return Err(Refusal::TooOld);
        }
        let stale_point = |key: &Bytes| {
            self.last_write.get(key).is_some_and(|&version| version > read_version)
                || self.ranges_after(read_version).any(|range| range.begin <= *key && *key < range.end)
        };
        if reads.points.iter().any(stale_point) {
            return Err(Refusal::Conflict);
        }
        let stale_range = |(begin, end): &(Bytes, Bytes)| {
            open.range::<Bytes, _>(begin..end).next().is_some()
                || self.ranges_after(read_version).any(|range| range.begin < *end && *begin < range.end)
                || self.runs_after(read_version).any(|run| {
                    run.keys.get(run.keys.partition_point(|key| key < begin)).is_some_and(|key| key < end)
                })
        };
        if reads.ranges.iter().any(stale_range) {
            return Err(Refusal::Conflict);
        }
        Ok(())
    }

    fn runs_after(&self, version: u64) -> impl Iterator<Item = &Run> {
        self.runs.iter().rev().take_while(move |run| run.version > version)
    }

    fn ranges_after(&self, version: u64) -> impl Iterator<Item = &RangeWrite> {
        self.ranges.iter().rev().take_while(move |range| range.version > version)
    }

    /// Records that commit `version` wrote `key`.
    pub(crate) fn wrote(&mut self, key: Bytes, version: u64) {
        self.last_write.insert(key, version);
    }

    /// Records that commit `version` wrote all of `[begin, end)`.
    pub(crate) fn wrote_range(&mut self, begin: Bytes, end: Bytes, version: u64) {
        self.bytes += KEY_OVERHEAD + begin.len() + end.len();
        self.ranges.push_back(RangeWrite { version, begin, end });
    }

    /// Ends a batch whose last commit is `version` and that wrote the sorted `keys`.
    pub(crate) fn end_batch(&mut self, version: u64, keys: Vec<Bytes>, now: Instant) {
        let bytes = keys.iter().map(|key| KEY_OVERHEAD + key.len()).sum();
        self.bytes += bytes;
        self.runs.push_back(Run { version, keys, bytes, made: now });
    }

    /// Drops what no transaction that reads at `oldest` or later needs, and what is over the bounds.
    pub(crate) fn trim(&mut self, oldest: u64, now: Instant) {
        while let Some(run) = self.runs.front() {
            let needed = run.version > oldest;
            let expired = now.duration_since(run.made) > Duration::from_millis(limits::WINDOW_MS_MAX);
            if needed && !expired && self.bytes <= limits::WINDOW_BYTES_MAX {
                return;
            }
            if needed {
                self.floor = self.floor.max(run.version);
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.bytes -= run.bytes;
        for key in &run.keys {
            if self.last_write.get(key).is_some_and(|&version| version <= run.version) {
                self.last_write.remove(key);
            }
        }
        while let Some(range) = self.ranges.pop_front_if(|range| range.version <= run.version) {
            self.bytes -= KEY_OVERHEAD + range.begin.len() + range.end.len();
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn reads(points: &[&'static str], ranges: &[(&'static str, &'static str)]) -> ReadSet {
        ReadSet {
            points: points.iter().map(|key| b(key)).collect(),
            ranges: ranges.iter().map(|(begin, end)| (b(begin), b(end))).collect(),
        }
    }

    fn window() -> Window {
        let mut window = Window::new(10);
        for (version, key) in [(11, "c"), (12, "m"), (13, "c")] {
            window.wrote(b(key), version);
            window.end_batch(version, vec![b(key)], Instant::now());
        }
        window.wrote_range(b("r"), b("t"), 14);
        window.end_batch(14, vec![], Instant::now());
        window
    }

    #[test]
    fn conflicts() {
        let window = window();
        let none = BTreeMap::<Bytes, u8>::new();
        let check = |version, points: &[&'static str], ranges: &[(&'static str, &'static str)], expected| {
            let got = window.check(version, &reads(points, ranges), &none);
            assert_eq!(got, expected, "{version} {points:?} {ranges:?}");
        };
        let conflict = Err(Refusal::Conflict);
        check(9, &[], &[], Ok(()));
        check(9, &["zz"], &[], Err(Refusal::TooOld));
        check(10, &["m"], &[], conflict);
        check(12, &["m"], &[], Ok(()));
        check(12, &["c"], &[], conflict);
        check(13, &["c", "d"], &[], Ok(()));
        check(13, &["s"], &[], conflict);
        check(14, &["s"], &[], Ok(()));
        check(13, &["t"], &[], Ok(()));
        check(12, &[], &[("a", "b"), ("d", "r")], Ok(()));
        check(12, &[], &[("a", "c\0")], conflict);
        check(11, &[], &[("d", "z")], conflict);
        check(13, &[], &[("a", "r"), ("t", "z")], Ok(()));
        check(13, &[], &[("a", "r\0")], conflict);
        let open = BTreeMap::from([(b("k"), 0)]);
        assert_eq!(window.check(14, &reads(&[], &[("j", "l")]), &open), conflict);
        assert_eq!(window.check(14, &reads(&[], &[("a", "k"), ("k\0", "z")]), &open), Ok(()));
    }

    #[test]
    fn trimmed_to_the_oldest_reader() {
        let mut window = window();
        window.trim(12, Instant::now());
        assert_eq!(window.runs.len(), 2);
        assert_eq!(window.last_write.len(), 1);
        let none = BTreeMap::<Bytes, u8>::new();
        assert_eq!(window.check(12, &reads(&["c"], &[]), &none), Err(Refusal::Conflict));
        window.trim(14, Instant::now());
        assert!(window.runs.is_empty() && window.ranges.is_empty() && window.last_write.is_empty());
        assert_eq!(window.bytes(), 0);
    }

    #[test]
    fn expired_runs_make_older_readers_too_old() {
        let mut window = window();
        let later = Instant::now() + Duration::from_millis(limits::WINDOW_MS_MAX + 1);
        window.trim(10, later);
        let none = BTreeMap::<Bytes, u8>::new();
        assert_eq!(window.check(13, &reads(&["a"], &[]), &none), Err(Refusal::TooOld));
        assert_eq!(window.check(14, &reads(&["a"], &[]), &none), Ok(()));
        assert_eq!(window.bytes(), 0);
    }
}
