//! Who is dead, by what one observer saw. No engine and no clock: it is told what was seen, and when.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use store_api::NodeId;
use tokio::time::Instant;

/// What an observer knows of the heartbeats of others.
pub(crate) struct Observer {
    own: NodeId,
    /// The most that the time between two looks counts.
    step_max: Duration,
    lease: Duration,
    looked: Option<Instant>,
    hearts: HashMap<NodeId, Heart>,
}

struct Heart {
    beat: u64,
    silent: Duration,
}

impl Observer {
    /// An observer that looks about every `renew`.
    pub(crate) fn new(own: NodeId, renew: Duration, lease: Duration) -> Self {
        Self { own, step_max: renew * 2, lease, looked: None, hearts: HashMap::new() }
    }

    /// Notes what a look saw. Returns who has been silent for the lease, with the number at which the heart stands.
    ///
    /// Time in which nobody looked counts only up to a bound: an observer that was stopped, or had no database, has not
    /// seen anybody being silent.
    pub(crate) fn see(&mut self, beats: &BTreeMap<NodeId, u64>, now: Instant) -> Vec<(NodeId, u64)> {
        let step = self
            .looked
            .map_or(Duration::ZERO, |before| now.saturating_duration_since(before))
            .min(self.step_max);
        self.looked = Some(now);
        self.hearts.retain(|node, _| beats.contains_key(node));
        let mut dead = Vec::new();
        for (&node, &beat) in beats {
            let heart = self.hearts.entry(node).or_insert(Heart { beat, silent: Duration::ZERO });
            if heart.beat == beat {
                heart.silent += step;
            } else {
                *heart = Heart { beat, silent: Duration::ZERO };
            }
            if heart.silent >= self.lease && node != self.own {
                dead.push((node, beat));
            }
        }
        dead
    }

    /// How long a node has been silent.
    pub(crate) fn silence(&self, node: NodeId, now: Instant) -> Duration {
        let since = self.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        self.hearts.get(&node).map_or(Duration::ZERO, |heart| heart.silent) + since.min(self.step_max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RENEW: Duration = Duration::from_millis(2_000);
    const LEASE: Duration = Duration::from_millis(10_000);
    const OWN: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Looks at these times after the start, and the other's number at each; when it was first held for dead.
    fn dead_at(looks: &[(u64, u64)]) -> Option<u64> {
        let start = Instant::now();
        let mut observer = Observer::new(OWN, RENEW, LEASE);
        looks.iter().find_map(|(at, beat)| {
            let beats = BTreeMap::from([(OWN, 0), (OTHER, *beat)]);
            let dead = observer.see(&beats, start + ms(*at));
            assert!(dead.iter().all(|(node, n)| *node == OTHER && n == beat), "never oneself");
            (!dead.is_empty()).then_some(*at)
        })
    }

    #[test]
    fn silence_for_the_lease_is_death() {
        let looks: Vec<_> = (0..20).map(|n| (n * 2_000, 7)).collect();
        assert_eq!(dead_at(&looks), Some(10_000));
        let beats: Vec<_> = (0..40).map(|n| (n * 2_000, n / 4)).collect();
        assert_eq!(dead_at(&beats), None, "slow, but it beats");
    }

    /// Ten minutes between two looks, because this process was stopped or had no database, prove nothing.
    #[test]
    fn an_observer_that_slept_saw_nothing() {
        assert_eq!(dead_at(&[(0, 7), (2_000, 7), (600_000, 7), (602_000, 8), (604_000, 8)]), None);
        assert_eq!(dead_at(&[(0, 7), (600_000, 7), (1_200_000, 7), (1_202_000, 7)]), Some(1_202_000));
    }

    proptest! {
        /// A heart that beats at least every half of the lease, as seen, is never held for dead; and one that stops is,
        /// within the lease and two looks, if looks come as they should.
        #[test]
        fn the_living_live_and_the_dead_are_found(
            gaps in prop::collection::vec((1u64..4_000, any::<bool>()), 1..200),
            stops_after in 0usize..100,
        ) {
            let start = Instant::now();
            let mut observer = Observer::new(OWN, RENEW, LEASE);
            let (mut at, mut beat, mut seen_at, mut stopped_at) = (0u64, 0u64, 0u64, None);
            for (number, (gap, beats)) in gaps.iter().enumerate() {
                at += gap;
                let stopped = number >= stops_after;
                if !stopped && (*beats || at - seen_at > 1_000) {
                    beat += 1;
                    seen_at = at;
                }
                if stopped && stopped_at.is_none() {
                    stopped_at = Some(at);
                }
                let dead = observer.see(&BTreeMap::from([(OTHER, beat)]), start + ms(at));
                match stopped_at {
                    None => prop_assert!(dead.is_empty()),
                    Some(since) if at >= since + 10_000 => prop_assert!(!dead.is_empty()),
                    Some(_) => {}
                }
            }
        }

        /// Whatever the looks, a heart seen to move is not dead at that look, and nobody dies before the lease.
        #[test]
        fn nobody_dies_early(looks in prop::collection::vec((0u64..100_000, 0u64..4), 1..100)) {
            let start = Instant::now();
            let mut observer = Observer::new(OWN, RENEW, LEASE);
            let (mut at, mut last, mut since) = (0, None, 0);
            for (gap, beat) in looks {
                at += gap;
                if last != Some(beat) {
                    since = at;
                }
                let dead = observer.see(&BTreeMap::from([(OTHER, beat)]), start + ms(at));
                prop_assert!(dead.is_empty() || at - since >= 10_000);
                last = Some(beat);
            }
        }
    }
}
