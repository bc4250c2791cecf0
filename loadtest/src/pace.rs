//! When operations start: closed loop (the next when the last is done) or open loop (a fixed schedule).
//!
//! In open loop each operation has a time at which it should start, whatever the server does. When the server
//! stalls, the operations that should have started meanwhile start late, and their latency is counted from the
//! time they should have started: the stall is charged to all that it delayed, not only to the one that was under
//! way (coordinated omission).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The times of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Load begins, not yet counted.
    pub load_from: Instant,
    /// Counting begins.
    pub from: Instant,
    /// Counting and load end; with a fixed number of operations far away.
    pub to: Instant,
}

/// One connection's share of the load.
#[derive(Debug)]
pub enum Pace<'a> {
    /// The next operation starts when there is room; `left` operations are shared by all connections.
    Closed {
        /// When no more are started.
        until: Instant,
        /// Operations still to start over all connections; `None` for as many as the time allows.
        left: Option<&'a AtomicU64>,
    },
    /// Operation n of this connection starts at `first + n * every`.
    Open {
        /// When the first is due.
        first: Instant,
        /// Time between two of this connection.
        every: Duration,
        /// Started so far.
        started: u32,
        /// None is due from here on.
        until: Instant,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start one; its latency counts from this time.
    Start(Instant),
    /// Nothing is due before this time.
    Wait(Instant),
    /// No more.
    Over,
}

impl<'a> Pace<'a> {
    /// The share of connection `index` of `connections`.
    pub fn new(
        window: Window,
        rate: Option<f64>,
        left: Option<&'a AtomicU64>,
        index: u32,
        connections: u32,
    ) -> Self {
        match rate {
            None => Self::Closed { until: window.to, left },
            Some(rate) => Self::Open {
                first: window.load_from + Duration::from_secs_f64(f64::from(index) / rate),
                every: Duration::from_secs_f64(f64::from(connections) / rate),
                started: 0,
                until: window.to,
            },
        }
    }

    /// Asks to start one operation at `now`; a `Start` counts as started.
    pub fn next(&mut self, now: Instant) -> Next {
        match self {
            Self::Closed { until, left } => {
                let room = now < *until
                    && left.is_none_or(|left| {
                        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
                    });
                if room { Next::Start(now) } else { Next::Over }
            }
            Self::Open { first, every, started, until } => {
                let due = *first + *every * *started;
                if due >= *until {
                    Next::Over
                } else if due > now {
                    Next::Wait(due)
                } else {
                    *started += 1;
                    Next::Start(due)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latencies;

    fn window(now: Instant, seconds: u64) -> Window {
        Window { load_from: now, from: now, to: now + Duration::from_secs(seconds) }
    }

    #[test]
    fn the_schedules_of_all_connections_make_one_even_schedule() {
        let now = Instant::now();
        let mut due: Vec<Duration> = (0..4)
            .flat_map(|index| {
                let mut pace = Pace::new(window(now, 1), Some(100.0), None, index, 4);
                std::iter::from_fn(move || match pace.next(now + Duration::from_secs(9)) {
                    Next::Start(at) => Some(at - now),
                    _ => None,
                })
                .collect::<Vec<_>>()
            })
            .collect();
        due.sort_unstable();
        assert_eq!(due.len(), 100);
        for (nth, at) in due.iter().enumerate() {
            assert!(at.abs_diff(Duration::from_millis(10 * nth as u64)) < Duration::from_micros(1));
        }
    }

    /// A server that answers in 1 ms but once stalls for a second, asked 100 times a second for 10 seconds.
    #[test]
    fn a_stall_is_charged_to_every_operation_it_delayed() {
        let now = Instant::now();
        let mut pace = Pace::new(window(now, 10), Some(100.0), None, 0, 1);
        let mut clock = now;
        let mut latencies = Latencies::new();
        let mut operations = 0;
        loop {
            match pace.next(clock) {
                Next::Wait(until) => clock = until,
                Next::Over => break,
                Next::Start(due) => {
                    operations += 1;
                    clock += Duration::from_millis(if operations == 500 { 1_000 } else { 1 });
                    latencies.record(clock - due);
                }
            }
        }
        assert_eq!(operations, 1_000);
        // One in a thousand took long in itself. Counted from the schedule, about 111 were late: the backlog of 100
        // is worked off at 9 ms each.
        let late = latencies.count_above(Duration::from_millis(10));
        assert!((105..=115).contains(&late), "{late}");
        assert!(latencies.percentile(95.0) > Duration::from_millis(400));
    }

    #[test]
    fn a_number_of_operations_is_shared() {
        let now = Instant::now();
        let left = AtomicU64::new(3);
        let mut one = Pace::new(window(now, 1), None, Some(&left), 0, 2);
        let mut two = Pace::new(window(now, 1), None, Some(&left), 1, 2);
        assert_eq!(one.next(now), Next::Start(now));
        assert_eq!(two.next(now), Next::Start(now));
        assert_eq!(one.next(now), Next::Start(now));
        assert_eq!(two.next(now), Next::Over);
        assert_eq!(one.next(now), Next::Over);
    }
}
