//! The figures of conversions (RFC 5259 §11): which, how long, what went wrong.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::Refusal;
use crate::plan::{Job, conversions};

/// A worker's death, by what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It used up its processor time.
    Time,
    /// It asked for more memory than it may have, or a decoder gave up.
    Abort,
    /// It was killed because its answer took too long.
    Slow,
    /// Somebody else ended it, or it could not begin.
    Other,
}

impl Death {
    const ALL: [Self; 4] = [Self::Time, Self::Abort, Self::Slow, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Abort => "abort",
            Self::Slow => "slow",
            Self::Other => "other",
        }
    }
}

pub(crate) fn describe() {
    describe_histogram!(
        "mss_convert_seconds",
        metrics::Unit::Seconds,
        "Time of a conversion by a worker, by media types and result."
    );
    describe_counter!("mss_convert_lookups_total", "Conversions asked for, by whether the answer was kept.");
    describe_counter!("mss_convert_worker_deaths_total", "Workers that ended in a conversion, by cause.");
    describe_counter!("mss_convert_busy_total", "Conversions for which no worker was free in time.");
    describe_gauge!("mss_convert_busy_workers", "Workers that convert something now.");
    for kept in ["yes", "no"] {
        counter!("mss_convert_lookups_total", "kept" => kept).increment(0);
    }
    for death in Death::ALL {
        counter!("mss_convert_worker_deaths_total", "cause" => death.name()).increment(0);
    }
    counter!("mss_convert_busy_total").increment(0);
    gauge!("mss_convert_busy_workers").set(0.0);
    debug_assert!(conversions().count() < 32, "labels are few");
}

pub(crate) fn looked_up(kept: bool) {
    counter!("mss_convert_lookups_total", "kept" => if kept { "yes" } else { "no" }).increment(1);
}

pub(crate) fn converted(job: &Job, took: Duration, result: &'static str) {
    let (from, to) = job.names();
    histogram!("mss_convert_seconds", "from" => from, "to" => to, "result" => result).record(took);
}

pub(crate) fn refused(job: &Job, refusal: Refusal) {
    converted(job, Duration::ZERO, refusal.name());
}

pub(crate) fn died(death: Death) {
    counter!("mss_convert_worker_deaths_total", "cause" => death.name()).increment(1);
}

pub(crate) fn busy() {
    counter!("mss_convert_busy_total").increment(1);
}

/// Counts a worker as busy for as long as it lives.
pub(crate) struct Busy;

impl Busy {
    pub fn new() -> Self {
        gauge!("mss_convert_busy_workers").increment(1.0);
        Self
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        gauge!("mss_convert_busy_workers").decrement(1.0);
    }
}
