//! Sets of UIDs, kept as ascending ranges.

use std::fmt;

use crate::{Uid, varint};

/// A set of UIDs as ascending, disjoint, non-adjacent inclusive ranges: 8 bytes a range, however many UIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UidSet(Vec<(u32, u32)>);

/// The ranges of a [`UidSet`], inclusive, ascending.
pub type UidRanges<'a> = std::iter::Copied<std::slice::Iter<'a, (u32, u32)>>;

impl UidSet {
    /// No UIDs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every UID from `first` to `last`, in either order.
    pub fn range(first: Uid, last: Uid) -> Self {
        Self(vec![(first.get().min(last.get()), first.get().max(last.get()))])
    }

    /// Of ranges in any order, overlapping or not; a range with 0 loses it.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> =
            ranges.into_iter().map(|(a, b)| (a.min(b).max(1), a.max(b))).filter(|r| r.1 > 0).collect();
        all.sort_unstable();
        let mut set = Self::new();
        for (a, b) in all {
            set.push_range(a, b);
        }
        set
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many UIDs.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(a, b)| u64::from(b - a) + 1).sum()
    }

    /// The smallest.
    pub fn first(&self) -> Option<Uid> {
        self.0.first().and_then(|r| Uid::new(r.0))
    }

    /// The largest.
    pub fn last(&self) -> Option<Uid> {
        self.0.last().and_then(|r| Uid::new(r.1))
    }

    /// Whether `uid` is in it; logarithmic in the ranges.
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.0.partition_point(|r| r.1 < uid.get());
        self.0.get(at).is_some_and(|r| r.0 <= uid.get())
    }

    /// Adds a UID; constant time for one above all others.
    pub fn insert(&mut self, uid: Uid) {
        let n = uid.get();
        if self.0.last().is_none_or(|r| r.1 < n) {
            self.push_range(n, n);
        } else if !self.contains(uid) {
            *self = self.union(&Self(vec![(n, n)]));
        }
    }

    /// Removes a UID, if it is there.
    pub fn remove(&mut self, uid: Uid) {
        let n = uid.get();
        let at = self.0.partition_point(|r| r.1 < n);
        let Some(&(a, b)) = self.0.get(at) else { return };
        match (a.cmp(&n), b == n) {
            (std::cmp::Ordering::Greater, _) => {}
            (std::cmp::Ordering::Equal, true) => {
                self.0.remove(at);
            }
            (std::cmp::Ordering::Equal, false) => self.0[at].0 = n + 1,
            (std::cmp::Ordering::Less, true) => self.0[at].1 = n - 1,
            (std::cmp::Ordering::Less, false) => {
                self.0[at].1 = n - 1;
                self.0.insert(at + 1, (n + 1, b));
            }
        }
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.0.iter().flat_map(|&(a, b)| a..=b).filter_map(Uid::new)
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> UidRanges<'_> {
        self.0.iter().copied()
    }

    /// UIDs in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut set = Self::new();
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) => {
                    if x.0 <= y.0 {
                        a.next()
                    } else {
                        b.next()
                    }
                }
                (Some(_), None) => a.next(),
                (None, _) => b.next(),
            };
            match next {
                Some(&(first, last)) => set.push_range(first, last),
                None => return set,
            }
        }
    }

    /// UIDs in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut set = Self::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                set.push_range(first, last);
            }
            if a.1 < b.1 { i += 1 } else { j += 1 }
        }
        set
    }

    /// UIDs in this but not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        let mut set = Self::new();
        let mut j = 0;
        for &(first, last) in &self.0 {
            let mut from = u64::from(first);
            while other.0.get(j).is_some_and(|r| u64::from(r.1) < from) {
                j += 1;
            }
            let mut k = j;
            while let Some(&(a, b)) = other.0.get(k) {
                if a > last {
                    break;
                }
                if u64::from(a) > from {
                    set.push_range(from as u32, a - 1);
                }
                from = from.max(u64::from(b) + 1);
                k += 1;
            }
            if from <= u64::from(last) {
                set.push_range(from as u32, last);
            }
        }
        set
    }

    /// Appends the packed form: number of ranges, then gap and length of each, as varints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.0.len() as u64);
        let mut at = 0;
        for &(a, b) in &self.0 {
            varint::put(out, u64::from(a - at));
            varint::put(out, u64::from(b - a));
            at = b;
        }
    }

    /// Takes the packed form off the front of `input`; none if it is not one.
    pub fn decode(input: &mut &[u8]) -> Option<Self> {
        let ranges = varint::take(input)?;
        let mut set = Self::new();
        let mut at = 0u32;
        for _ in 0..ranges {
            let first = at.checked_add(u32::try_from(varint::take(input)?).ok()?)?;
            let last = first.checked_add(u32::try_from(varint::take(input)?).ok()?)?;
            if first == 0 || (first == at) {
                return None;
            }
            set.push_range(first, last);
            at = last;
        }
        Some(set)
    }

    /// Adds a range that starts no earlier than the last one does.
    fn push_range(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some(r) if first <= r.1.saturating_add(1) => r.1 = r.1.max(last),
            _ => self.0.push((first, last)),
        }
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut set = Self::new();
        let mut rest = Vec::new();
        for uid in uids {
            match set.0.last() {
                Some(r) if r.1 >= uid.get() => rest.push((uid.get(), uid.get())),
                _ => set.push_range(uid.get(), uid.get()),
            }
        }
        if rest.is_empty() { set } else { set.union(&Self::from_ranges(rest)) }
    }
}

/// As in IMAP: `1:3,5`.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (a, b)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if a == b { write!(f, "{a}")? } else { write!(f, "{a}:{b}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().filter_map(|n| Uid::new(*n)).collect()
    }

    /// A small generator, so that the sets below differ without a random source.
    fn sample(seed: u32) -> BTreeSet<u32> {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        (0..seed % 40)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                1 + state % 50
            })
            .collect()
    }

    #[test]
    fn agrees_with_a_tree_set() {
        for seed in 0..400 {
            let (a, b) = (sample(seed), sample(seed * 7 + 3));
            let v = |s: &BTreeSet<u32>| set(&s.iter().copied().collect::<Vec<_>>());
            let back = |s: UidSet| s.iter().map(Uid::get).collect::<BTreeSet<_>>();
            assert_eq!(back(v(&a).union(&v(&b))), &a | &b);
            assert_eq!(back(v(&a).intersection(&v(&b))), &a & &b);
            assert_eq!(back(v(&a).difference(&v(&b))), &a - &b);
            let mut removed = v(&a);
            for n in &b {
                removed.remove(Uid::new(*n).expect("positive"));
            }
            assert_eq!(removed, v(&a).difference(&v(&b)));
            let mut out = Vec::new();
            v(&a).encode(&mut out);
            assert_eq!(UidSet::decode(&mut &out[..]), Some(v(&a)));
            assert_eq!(v(&a).len(), a.len() as u64);
        }
    }

    #[test]
    fn text_and_order() {
        assert_eq!(set(&[5, 1, 3, 2, 9]).to_string(), "1:3,5,9");
        assert_eq!(UidSet::from_ranges([(9, 7), (1, 2), (3, 3), (0, 0)]).to_string(), "1:3,7:9");
        assert_eq!(UidSet::range(Uid::MAX, Uid::MAX).len(), 1);
        assert_eq!(UidSet::decode(&mut &[1u8, 0, 5][..]), None);
    }
}
