//! UIDs in an order of their own.

use std::fmt;

use crate::uid_set::UidRanges;
use crate::{Uid, UidSet};

/// UIDs in the order of what they are told of, as runs that ascend by one. Unlike those of a [`UidSet`] they need not
/// ascend, and one may come twice: two deposits of one object have one UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UidList(Vec<(u32, u32)>);

impl UidList {
    /// Of runs, inclusive; none if one of them has 0 or does not ascend.
    pub fn from_runs(runs: impl IntoIterator<Item = (u32, u32)>) -> Option<Self> {
        let mut list = Self::default();
        for (first, last) in runs {
            if first == 0 || first > last {
                return None;
            }
            list.push_run(first, last);
        }
        Some(list)
    }

    /// Its runs, in order.
    pub fn runs(&self) -> UidRanges<'_> {
        self.0.iter().copied()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many UIDs, each as often as it comes.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The first one told of.
    pub fn first(&self) -> Option<Uid> {
        self.0.first().and_then(|(first, _)| Uid::new(*first))
    }

    /// The last one told of.
    pub fn last(&self) -> Option<Uid> {
        self.0.last().and_then(|(_, last)| Uid::new(*last))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last).filter_map(Uid::new)
    }

    /// All of them, in no order.
    pub fn to_set(&self) -> UidSet {
        UidSet::from_ranges(self.runs())
    }

    fn push_run(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some(run) if run.1.checked_add(1) == Some(first) => run.1 = last,
            _ => self.0.push((first, last)),
        }
    }
}

impl FromIterator<Uid> for UidList {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut list = Self::default();
        for uid in uids {
            list.push_run(uid.get(), uid.get());
        }
        list
    }
}

impl From<&UidSet> for UidList {
    fn from(set: &UidSet) -> Self {
        Self(set.ranges().collect())
    }
}

/// As in IMAP: `1:3,5`.
impl fmt::Display for UidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}:{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        let uids = [5, 6, 7, 2, 3, 3, 4, 9];
        let list: UidList = uids.iter().filter_map(|uid| Uid::new(*uid)).collect();
        assert_eq!(list.to_string(), "5:7,2:3,3:4,9");
        assert_eq!(list.iter().map(Uid::get).collect::<Vec<_>>(), uids);
        assert_eq!((list.len(), list.to_set().to_string()), (8, "2:7,9".to_owned()));
        assert_eq!((list.first(), list.last()), (Uid::new(5), Uid::new(9)));
        assert_eq!(UidList::from_runs(list.runs()), Some(list.clone()));
        assert_eq!(UidList::from(&list.to_set()).to_string(), "2:7,9");
        assert!(UidList::default().is_empty() && !list.is_empty());
    }

    #[test]
    fn what_is_no_run() {
        assert_eq!(UidList::from_runs([(0, 3)]), None);
        assert_eq!(UidList::from_runs([(3, 2)]), None);
        assert_eq!(UidList::from_runs([(u32::MAX, u32::MAX), (1, 1)]).map(|list| list.len()), Some(2));
    }
}
