//! Brings committers that answer each other into step.
//!
//! Committers that come back at once after their answer fall into two halves: while one half is synced the other
//! queues, and each waits for both syncs. A short wait after a batch, while others already wait, lets the half
//! just answered join them: each sync then serves all. It is only worth its time where they do come back that
//! soon, which is found out by trying, and it never delays a commit that finds the pipeline idle.

use std::time::Duration;

use crate::limits;
use crate::shared::Shared;

/// The wait for more commits is this part of the time of the batch before it.
const GATHER_SHARE: u32 = 4;
/// Longest wait for more commits.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// Where syncs are so fast that the wait would be shorter than this, there is none.
const GATHER_MIN: Duration = Duration::from_micros(100);

/// When to wait for committers that were just answered; see the module.
#[derive(Default)]
pub(crate) struct Rhythm {
    /// Batches to go until the next try; grows while trying does not pay.
    skip: u32,
    misses: u32,
}

impl Rhythm {
    /// After a batch of `commits` that took `took`: waits for as many to come back, if that has paid before.
    pub(crate) fn gather(&mut self, shared: &Shared, commits: usize, took: Duration) {
        let patience = (took / GATHER_SHARE).min(GATHER_MAX);
        if patience < GATHER_MIN {
            return;
        }
        let waiting = shared.waiting();
        if waiting + commits < 2 {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let came = shared.gather((waiting + commits).min(limits::BATCH_COMMITS_MAX), patience);
        // It pays if the commits that came spare more syncs than the wait cost.
        if came * (GATHER_SHARE as usize - 1) >= waiting {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(4);
            self.skip = 1 << self.misses;
        }
    }
}
