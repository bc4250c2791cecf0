//! Sets of message sequence numbers or UIDs, as a client writes them.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// `seq-number = nz-number / "*"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeqNo {
    /// A sequence number or a UID.
    Number(NonZeroU32),
    /// `*`, the largest number in use.
    Star,
}

impl SeqNo {
    /// The number, where `*` stands for `largest`.
    pub fn resolve(self, largest: u32) -> u32 {
        match self {
            SeqNo::Number(n) => n.get(),
            SeqNo::Star => largest,
        }
    }
}

/// One part of a set: `a`, or `a:b` in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqRange {
    /// The number before the colon.
    pub first: SeqNo,
    /// The number after the colon; the same as `first` for a single number.
    pub last: SeqNo,
}

impl SeqRange {
    /// The range with its ends in order, where `*` stands for `largest`.
    pub fn resolve(self, largest: u32) -> RangeInclusive<u32> {
        let (a, b) = (self.first.resolve(largest), self.last.resolve(largest));
        a.min(b)..=a.max(b)
    }
}

/// `sequence-set`, in the client's order; whether it means sequence numbers or UIDs is the command's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// `$`, the result of the last `SEARCH RETURN (SAVE)` (RFC 5182).
    Saved,
    /// One or more parts, as sent.
    Ranges(Vec<SeqRange>),
}

impl SequenceSet {
    /// The set as ascending, disjoint, non-adjacent ranges, where `*` stands for `largest`. Numbers above
    /// `largest` are kept: for UIDs they are no error (RFC 9051 §6.4.9). A `*` in an empty mailbox
    /// (`largest` 0) names nothing. Empty for [`SequenceSet::Saved`].
    ///
    /// Costs a sort of the parts, nothing for the usual ascending set.
    pub fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let SequenceSet::Ranges(parts) = self else { return Vec::new() };
        let mut ranges: Vec<_> =
            parts.iter().map(|part| part.resolve(largest)).filter(|range| *range.start() > 0).collect();
        if !ranges.is_sorted_by_key(|range| *range.start()) {
            ranges.sort_unstable_by_key(|range| *range.start());
        }
        ranges.dedup_by(|next, kept| {
            let joins = *next.start() <= kept.end().saturating_add(1);
            if joins {
                *kept = *kept.start()..=*kept.end().max(next.end());
            }
            joins
        });
        ranges
    }

    /// Whether `number` is in the set, where `*` stands for `largest`.
    pub fn contains(&self, number: u32, largest: u32) -> bool {
        match self {
            SequenceSet::Saved => false,
            SequenceSet::Ranges(parts) => parts.iter().any(|part| part.resolve(largest).contains(&number)),
        }
    }

    /// Whether the set is `$`.
    pub fn is_saved(&self) -> bool {
        matches!(self, SequenceSet::Saved)
    }

    /// Whether `*` occurs.
    pub fn has_star(&self) -> bool {
        match self {
            SequenceSet::Saved => false,
            SequenceSet::Ranges(parts) => {
                parts.iter().any(|part| part.first == SeqNo::Star || part.last == SeqNo::Star)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::set;

    #[test]
    fn resolved() {
        let check = |parts: &[(u32, u32)], largest: u32, expected: &[RangeInclusive<u32>]| {
            assert_eq!(set(parts).resolve(largest), expected, "{parts:?} of {largest}");
        };
        check(&[(1, 5)], 9, &[1..=5]);
        check(&[(5, 1)], 9, &[1..=5]);
        check(&[(7, 0)], 9, &[7..=9]);
        // RFC 9051 §9: 559:* holds the largest even if that is below 559.
        check(&[(559, 0)], 10, &[10..=559]);
        check(&[(0, 0)], 4, &[4..=4]);
        check(&[(0, 0)], 0, &[]);
        check(&[(3, 3), (1, 1), (2, 2)], 9, &[1..=3]);
        check(&[(1, 9), (2, 3), (11, 12)], 20, &[1..=9, 11..=12]);
        check(&[(1, 4), (3, 8), (10, 10)], 20, &[1..=8, 10..=10]);
        check(&[(4294967295, 4294967295), (1, 4294967295)], 1, &[1..=4294967295]);
        assert!(SequenceSet::Saved.resolve(9).is_empty() && SequenceSet::Saved.is_saved());
    }

    #[test]
    fn members() {
        let numbers = set(&[(2, 4), (9, 0)]);
        let members: Vec<_> = (1..=12).filter(|&n| numbers.contains(n, 11)).collect();
        assert_eq!(members, [2, 3, 4, 9, 10, 11]);
        assert!(numbers.has_star() && !set(&[(2, 4)]).has_star());
        assert!(!SequenceSet::Saved.contains(1, 1) && !SequenceSet::Saved.has_star());
    }

    proptest::proptest! {
        #[test]
        fn resolve_agrees_with_contains(
            parts in proptest::collection::vec((0u32..30, 0u32..30), 1..8),
            largest in 1u32..30,
        ) {
            let numbers = set(&parts);
            let ranges = numbers.resolve(largest);
            assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
            for n in 1..40 {
                assert_eq!(ranges.iter().any(|range| range.contains(&n)), numbers.contains(n, largest));
            }
        }
    }
}
