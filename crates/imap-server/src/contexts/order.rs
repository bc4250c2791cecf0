//! The results of a SORT that is kept up to date (RFC 5267 §4.3.2): in the order that was asked for.
//!
//! What messages are ordered by never changes, so they never change places: some are taken out, some come between. Only
//! their UIDs are kept, 4 octets each. A message that comes looks for its place by halves and the keys of those that it
//! meets on the way are read then; when many come at once, all keys are.

use std::collections::HashMap;
use std::sync::Arc;

use imap_wire::command::SortCriterion;
use model::{Uid, UidSet};

use crate::commands::sort::{self, Keyed};
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

/// Results in order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    criteria: Arc<[SortCriterion]>,
    uids: Vec<u32>,
}

/// A result that comes, and the one that it comes before; none at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub before: Option<u32>,
    pub uid: u32,
}

/// Results next to each other, as they come or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The place of the first, from 1, when the runs before it have come or gone.
    pub position: u32,
    /// In order.
    pub uids: Vec<u32>,
}

impl Order {
    pub fn new(criteria: Arc<[SortCriterion]>, uids: Vec<u32>) -> Self {
        Self { criteria, uids }
    }

    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// Takes results out; those that are none are passed over.
    pub fn remove(&mut self, lost: &UidSet) -> Vec<Run> {
        let mut runs = Runs::default();
        let mut kept = Vec::with_capacity(self.uids.len());
        for uid in self.uids.drain(..) {
            if Uid::new(uid).is_some_and(|uid| lost.contains(uid)) {
                runs.add(kept.len(), uid);
            } else {
                runs.end();
                kept.push(uid);
            }
        }
        self.uids = kept;
        runs.done
    }

    /// Puts results in their places, which are those that [`Order::places`] found.
    pub fn insert(&mut self, places: &[Place]) -> Vec<Run> {
        let mut runs = Runs::default();
        let mut all: Vec<u32> = Vec::with_capacity(self.uids.len() + places.len());
        let mut places = places.iter().peekable();
        for next in self.uids.drain(..).map(Some).chain([None]) {
            let mut at = all.len();
            while let Some(place) = places.next_if(|place| place.before == next) {
                runs.add(at, place.uid);
                all.push(place.uid);
                at = all.len();
            }
            runs.end();
            all.extend(next);
        }
        self.uids = all;
        runs.done
    }

    /// Where messages belong, in order; those that are gone already belong nowhere.
    ///
    /// # Errors
    /// What the store answers; NO `[LIMIT]` when there is too much to sort.
    pub async fn places(
        &self,
        session: &mut Session,
        out: &mut Output,
        added: &UidSet,
    ) -> Result<Vec<Place>, Reply> {
        let criteria = &self.criteria;
        let mut new = sort::keyed(session, out, criteria, added).await?;
        new.sort_by(|a, b| sort::compare(criteria, a, b));
        let there = session.snapshot().await?.uids();
        let is_there = |uid: &u32| Uid::new(*uid).is_some_and(|uid| there.contains(uid));
        // Those that are gone, which the client still counts, have no keys.
        let mut others: Vec<u32> = self.uids.iter().copied().filter(is_there).collect();
        let mut keys: HashMap<u32, Keyed> = HashMap::new();
        if new.len() * others.len().checked_ilog2().unwrap_or(0) as usize >= others.len() {
            let all = UidSet::from_ranges(others.iter().map(|uid| (*uid, *uid)));
            let all = sort::keyed(session, out, criteria, &all).await?;
            keys.extend(all.into_iter().map(|message| (message.uid, message)));
            others.retain(|uid| keys.contains_key(uid));
        }
        let mut places = Vec::with_capacity(new.len());
        let mut low = 0;
        for message in &new {
            let mut high = others.len();
            while low < high {
                let middle = low.midpoint(high);
                let uid = others[middle];
                if let std::collections::hash_map::Entry::Vacant(vacant) = keys.entry(uid) {
                    let one = UidSet::from_ranges([(uid, uid)]);
                    match sort::keyed(session, out, criteria, &one).await?.pop() {
                        Some(key) => _ = vacant.insert(key),
                        None => {
                            others.remove(middle);
                            high -= 1;
                            continue;
                        }
                    }
                }
                if sort::compare(criteria, &keys[&uid], message).is_lt() {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            places.push(Place { before: others.get(low).copied(), uid: message.uid });
        }
        Ok(places)
    }
}

/// Runs as they are found.
#[derive(Default)]
struct Runs {
    done: Vec<Run>,
    open: bool,
}

impl Runs {
    /// A result behind `before` others.
    fn add(&mut self, before: usize, uid: u32) {
        match self.done.last_mut().filter(|_| self.open) {
            Some(run) => run.uids.push(uid),
            None => {
                let position = u32::try_from(before + 1).unwrap_or(u32::MAX);
                self.done.push(Run { position, uids: vec![uid] });
                self.open = true;
            }
        }
    }

    fn end(&mut self) {
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a client makes of runs (RFC 5267 §4.3.3, §4.3.4).
    fn as_told(mut known: Vec<u32>, removed: &[Run], added: &[Run]) -> Vec<u32> {
        for run in removed {
            let at = run.position as usize - 1;
            let gone: Vec<u32> = known.drain(at..at + run.uids.len()).collect();
            assert_eq!(gone, run.uids);
        }
        for run in added {
            let at = run.position as usize - 1;
            known.splice(at..at, run.uids.iter().copied());
        }
        known
    }

    proptest! {
        #[test]
        fn a_client_ends_with_the_same_order(
            is_known in prop::collection::vec(any::<bool>(), 0..40),
            goes in prop::collection::vec(any::<bool>(), 40),
            comes in prop::collection::vec(any::<bool>(), 40),
        ) {
            // All that there will be, in order: numbers that do not ascend.
            let all: Vec<u32> = (0..is_known.len() as u32).map(|n| (n * 23) % 97 + 1).collect();
            let flags = all.iter().zip(is_known.iter().zip(goes.iter().zip(&comes)));
            let flags: Vec<(u32, bool, bool, bool)> =
                flags.map(|(uid, (known, (goes, comes)))| (*uid, *known, *goes, *comes)).collect();
            let known: Vec<u32> = flags.iter().filter(|f| f.1).map(|f| f.0).collect();
            let lost = flags.iter().filter(|f| f.1 && f.2).filter_map(|f| Uid::new(f.0)).collect();
            let expected: Vec<u32> =
                flags.iter().filter(|f| (f.1 && !f.2) || (!f.1 && f.3)).map(|f| f.0).collect();
            let mut order = Order::new(Arc::default(), known.clone());
            let removed = order.remove(&lost);
            let kept = order.uids.clone();
            let places: Vec<Place> = expected
                .iter()
                .enumerate()
                .filter(|(_, uid)| !kept.contains(uid))
                .map(|(at, uid)| Place {
                    before: expected[at..].iter().find(|uid| kept.contains(uid)).copied(),
                    uid: *uid,
                })
                .collect();
            let added = order.insert(&places);
            prop_assert_eq!(&order.uids, &expected);
            prop_assert_eq!(as_told(known, &removed, &added), expected);
        }
    }

    #[test]
    fn neighbours_are_one_run() {
        let mut order = Order::new(Arc::default(), vec![5, 4, 3, 9]);
        let gone = order.remove(&UidSet::from_ranges([(3, 4), (9, 9)]));
        assert_eq!(gone, [Run { position: 2, uids: vec![4, 3, 9] }]);
        let come = order.insert(&[
            Place { before: Some(5), uid: 7 },
            Place { before: Some(5), uid: 6 },
            Place { before: None, uid: 1 },
        ]);
        assert_eq!(come, [Run { position: 1, uids: vec![7, 6] }, Run { position: 4, uids: vec![1] }]);
    }
}
