//! Results of SEARCH and SORT as ESEARCH shows them, and parts of them by position.
//!
//! Source: RFC 9051 §7.3.4, RFC 9394 §3.1, RFC 5267 §3 (SORT: the order is kept), RFC 7162 §3.1.10.

use std::ops::Range;

use imap_wire::command::{PartialRange, ResultOptions};
use imap_wire::response::ESearch;
use model::UidSet;

/// Numbers in the order in which they are shown, as inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results(Vec<(u32, u32)>);

impl Results {
    /// Of ranges in the order in which they are shown.
    pub fn new(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// Of numbers in any order, which is kept: only neighbours that ascend by one become a range.
    pub fn in_order(numbers: &[u32]) -> Self {
        let runs = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        Self(runs.filter_map(|run| Some((*run.first()?, *run.last()?))).collect())
    }

    /// The ranges in which they are shown.
    pub fn into_ranges(self) -> Vec<(u32, u32)> {
        self.0
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The numbers, one by one.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// What `SAVE` keeps of these UIDs as `$` (RFC 9051 §6.4.4.1, RFC 9394 §3.2): all of them, unless only ends or
    /// a part were asked for.
    pub fn saved(&self, options: &ResultOptions) -> UidSet {
        let some = options.min || options.max || options.partial.is_some();
        if !some || options.all || options.count {
            return UidSet::from_ranges(self.0.iter().copied());
        }
        let part =
            options.partial.map(|range| self.slice(positions(range, self.count()))).unwrap_or_default();
        let min = self.0.first().map(|range| (range.0, range.0)).filter(|_| options.min);
        let max = self.0.last().map(|range| (range.1, range.1)).filter(|_| options.max);
        UidSet::from_ranges(part.0.into_iter().chain(min).chain(max))
    }

    /// Those at `positions`, from 0.
    fn slice(&self, positions: Range<u64>) -> Self {
        Self(slice(self.0.iter().copied(), positions).collect())
    }
}

/// Of a set of numbers, ascending.
impl From<&UidSet> for Results {
    fn from(set: &UidSet) -> Self {
        Self(set.ranges().collect())
    }
}

/// The positions, from 0, that `range` names among `count` results.
fn positions(range: PartialRange, count: u64) -> Range<u64> {
    let (first, last) = (u64::from(range.first.get()), u64::from(range.last.get()));
    if range.from_end {
        // -1 is the last result; -1:-3 the last three.
        count.saturating_sub(last)..(count + 1).saturating_sub(first)
    } else {
        (first - 1).min(count)..last.min(count)
    }
}

fn slice(
    ranges: impl Iterator<Item = (u32, u32)>,
    positions: Range<u64>,
) -> impl Iterator<Item = (u32, u32)> {
    let mut before = 0;
    ranges.filter_map(move |(first, last)| {
        let count = u64::from(last - first) + 1;
        let (from, to) = (positions.start.max(before), positions.end.min(before + count));
        let part = (from < to).then(|| (first + (from - before) as u32, first + (to - before - 1) as u32));
        before += count;
        part
    })
}

/// The part of `set` that `range` names.
pub(crate) fn part(set: &UidSet, range: PartialRange) -> UidSet {
    at_positions(set, positions(range, set.len()))
}

/// The members of `set` at `positions`, from 0.
pub(crate) fn at_positions(set: &UidSet, positions: Range<u64>) -> UidSet {
    UidSet::from_ranges(slice(set.ranges(), positions))
}

/// Hands the response for `results` to `write`. `mod_seq` is that of the results, if one is to be shown.
pub(crate) fn esearch(
    uid: bool,
    options: &ResultOptions,
    results: &Results,
    mod_seq: Option<u64>,
    write: impl FnOnce(&ESearch<'_>),
) {
    let partial = options.partial.map(|range| (range, results.slice(positions(range, results.count()))));
    write(&ESearch {
        uid,
        min: results.0.first().map(|range| range.0).filter(|_| options.min),
        max: results.0.last().map(|range| range.1).filter(|_| options.max),
        all: Some(results.0.as_slice()).filter(|_| options.all),
        count: options.count.then(|| u32::try_from(results.count()).unwrap_or(u32::MAX)),
        partial: partial.as_ref().map(|(range, part)| (*range, part.0.as_slice())),
        mod_seq: mod_seq.filter(|_| !results.0.is_empty()),
        ..ESearch::default()
    });
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use imap_wire::{Tag, response};

    use super::*;

    fn set(text: &str) -> UidSet {
        UidSet::from_ranges(text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (a, b) = part.split_once(':').unwrap_or((part, part));
            (a.parse().expect("number"), b.parse().expect("number"))
        }))
    }

    fn range(text: &str) -> PartialRange {
        let mut ends: Vec<u32> =
            text.split(':').map(|n| n.trim_start_matches('-').parse().expect("number")).collect();
        ends.sort_unstable();
        let n = |at: usize| NonZeroU32::new(ends[at]).expect("positive");
        PartialRange { first: n(0), last: n(1), from_end: text.starts_with('-') }
    }

    #[test]
    fn parts_by_position() {
        let check = |of: &str, text: &str, expected: &str| {
            assert_eq!(part(&set(of), range(text)), set(expected), "{text}");
        };
        check("2:5,9,20:22", "1:3", "2:4");
        check("2:5,9,20:22", "4:6", "5,9,20");
        check("2:5,9,20:22", "8:100", "22");
        check("2:5,9,20:22", "9:100", "");
        check("2:5,9,20:22", "-1:-1", "22");
        check("2:5,9,20:22", "-4:-1", "9,20:22");
        check("2:5,9,20:22", "-100:-8", "2");
        check("2:5,9,20:22", "-100:-9", "");
        check("", "1:1", "");
    }

    #[test]
    fn lines() {
        let check = |options: ResultOptions, results: &Results, mod_seq, expected: &str| {
            let mut out = Vec::new();
            let tag = Tag::new(b"a1").expect("a tag");
            esearch(true, &options, results, mod_seq, |data| response::esearch(&mut out, &tag, data));
            assert_eq!(String::from_utf8_lossy(&out), format!("* ESEARCH (TAG \"a1\") UID{expected}\r\n"));
        };
        let none = ResultOptions::default();
        let some = Results::from(&set("3,5:7"));
        check(ResultOptions { all: true, ..none }, &some, Some(12), " ALL 3,5:7 MODSEQ 12");
        check(
            ResultOptions { min: true, max: true, count: true, ..none },
            &some,
            None,
            " MIN 3 MAX 7 COUNT 4",
        );
        check(ResultOptions { partial: Some(range("2:3")), ..none }, &some, None, " PARTIAL (2:3 5:6)");
        check(ResultOptions { partial: Some(range("-9:-5")), ..none }, &some, None, " PARTIAL (-5:-9 NIL)");
        let every = ResultOptions { min: true, max: true, all: true, count: true, ..none };
        check(every, &Results::default(), Some(9), " COUNT 0");
        let sorted = Results::in_order(&[5, 6, 7, 2, 9, 10]);
        check(every, &sorted, None, " MIN 5 MAX 10 ALL 5:7,2,9:10 COUNT 6");
        check(ResultOptions { partial: Some(range("3:5")), ..none }, &sorted, None, " PARTIAL (3:5 7,2,9)");
    }

    #[test]
    fn what_is_saved() {
        let found = Results::from(&set("3,5:7"));
        let check = |options: ResultOptions, expected: &str| assert_eq!(found.saved(&options), set(expected));
        let save = ResultOptions { save: true, ..Default::default() };
        check(save, "3,5:7");
        check(ResultOptions { min: true, ..save }, "3");
        check(ResultOptions { min: true, max: true, ..save }, "3,7");
        check(ResultOptions { min: true, count: true, ..save }, "3,5:7");
        check(ResultOptions { partial: Some(range("2:3")), ..save }, "5:6");
        check(ResultOptions { partial: Some(range("2:3")), max: true, ..save }, "5:7");
        let sorted = Results::in_order(&[9, 2, 3, 7]);
        assert_eq!(sorted.saved(&ResultOptions { min: true, max: true, ..save }), set("7,9"));
    }
}
