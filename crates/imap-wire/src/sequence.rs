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
