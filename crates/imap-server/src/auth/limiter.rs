//! The slow-down: failures by origin, and by origin and account, in bounded memory.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use moka::sync::Cache;

use crate::config::Limits;
use crate::server::origin;

/// Origins, and pairs of origin and account, remembered at most. When more fail at once, the least used are
/// forgotten: memory stays bounded while a whole network guesses.
const REMEMBERED_MAX: u64 = 100_000;

/// Counts failures. A window begins with the first failure and ends a fixed time after the last one.
pub(crate) struct Limiter {
    by_origin: Cache<IpAddr, u32>,
    /// By a hash of the name, so that long names cost no more than short ones; two names with one hash would share
    /// their count, and nobody outside can choose such.
    by_account: Cache<(IpAddr, u64), u32>,
    names: RandomState,
    origin_max: u32,
    account_max: u32,
    delay: Duration,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        let window = limits.login_failure_window;
        Self {
            by_origin: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(window).build(),
            by_account: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(window).build(),
            names: RandomState::new(),
            origin_max: limits.login_failures_per_address_max,
            account_max: limits.login_failures_per_account_max,
            delay: limits.login_failure_delay,
        }
    }

    /// Whether so many logins failed that no further one is looked at.
    pub fn is_blocked(&self, peer: IpAddr, name: &str) -> bool {
        let peer = origin(peer);
        self.by_origin.get(&peer).unwrap_or(0) >= self.origin_max
            || self.by_account.get(&(peer, self.names.hash_one(name))).unwrap_or(0) >= self.account_max
    }

    /// Counts a failure; how long after its beginning the login may be answered.
    pub fn note_failure(&self, peer: IpAddr, name: &str) -> Duration {
        let peer = origin(peer);
        let add = |count: Option<moka::Entry<_, u32>>| count.map_or(1, |e| e.into_value().saturating_add(1));
        self.by_origin
            .entry(peer)
            .and_upsert_with(|count| count.map_or(1, |e| e.into_value().saturating_add(1)));
        let count =
            self.by_account.entry((peer, self.names.hash_one(name))).and_upsert_with(add).into_value();
        self.delay * (1 << (count - 1).min(4))
    }

    /// Forgets the failures of one who logged in after all. Those of the origin stay: one good account does not buy
    /// guesses at others.
    pub fn forget(&self, peer: IpAddr, name: &str) {
        self.by_account.invalidate(&(origin(peer), self.names.hash_one(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_delays_and_blocks() {
        let limits = Limits {
            login_failures_per_address_max: 5,
            login_failures_per_account_max: 3,
            login_failure_delay: Duration::from_millis(100),
            ..Limits::default()
        };
        let limiter = Limiter::new(&limits);
        let (peer, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let delays: Vec<_> = (0..3).map(|_| limiter.note_failure(peer, "a").as_millis()).collect();
        assert_eq!(delays, [100, 200, 400]);
        assert!(
            limiter.is_blocked(peer, "a")
                && !limiter.is_blocked(peer, "b")
                && !limiter.is_blocked(other, "a")
        );
        limiter.forget(peer, "a");
        assert!(!limiter.is_blocked(peer, "a"));
        limiter.note_failure(peer, "b");
        limiter.note_failure(peer, "c");
        assert!(limiter.is_blocked(peer, "z") && !limiter.is_blocked(other, "z"));
        let longest = (0..40).map(|_| limiter.note_failure(other, "d")).max();
        assert_eq!(longest, Some(Duration::from_millis(1600)));
    }
}
