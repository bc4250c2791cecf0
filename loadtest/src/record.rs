//! What is counted while a run goes on.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::pace::Window;

/// Longest latency that is told apart, nanoseconds: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Width of a step of the throughput over time.
pub const STEP: Duration = Duration::from_millis(250);
/// Most steps kept; what comes later adds to the last.
const STEPS_MAX: usize = 100_000;
/// Most different error texts kept.
const SAMPLES_MAX: usize = 5;

/// Latencies with three significant digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        // The bounds are constants that `Histogram` accepts, as every test of this crate shows.
        Self(
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .unwrap_or_else(|_| unreachable!("constant bounds")),
        )
    }

    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns.max(1));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing is out of range.
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// How many took longer than `bound`.
    pub fn count_above(&self, bound: Duration) -> u64 {
        let ns = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        self.0.len() - self.0.count_between(0, ns)
    }

    /// The latency that `percent` of them do not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percent))
    }

    /// Highest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// Average.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }
}

/// One kind of latency.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its latencies.
    pub latencies: Latencies,
    /// What the operations achieved: messages appended, else the operations themselves.
    pub units: u64,
    /// Units in each [`STEP`] since counting began.
    pub steps: Vec<u64>,
}

/// What went wrong, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Commands answered NO.
    pub no: u64,
    /// Commands answered BAD.
    pub bad: u64,
    /// Answers with fewer untagged responses than the profile wants.
    pub thin: u64,
    /// Connections that failed.
    pub lost: u64,
    /// Operations without an answer when the run was given up.
    pub unanswered: u64,
    /// Operations of an open loop that were due but never sent.
    pub unsent: u64,
    /// Texts of a few of them.
    pub samples: Vec<String>,
}

impl Errors {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.no + self.bad + self.thin + self.lost + self.unanswered + self.unsent
    }

    /// Keeps `text` as a sample if there is room and it is new.
    pub fn sample(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.samples.len() < SAMPLES_MAX && !self.samples.contains(&text) {
            self.samples.push(text);
        }
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.no += other.no;
        self.bad += other.bad;
        self.thin += other.thin;
        self.lost += other.lost;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        for text in &other.samples {
            self.sample(text.as_str());
        }
    }
}

/// Everything one worker thread counted.
#[derive(Debug, Clone)]
pub struct Record {
    /// One for each name of [`crate::profile::Profile::series`].
    pub series: Vec<Series>,
    /// What went wrong.
    pub errors: Errors,
    /// When the last operation that counts ended.
    pub last_end: Option<Instant>,
    /// Time that operations with uncounted parts between them took, summed over connections.
    pub busy: Duration,
}

impl Record {
    /// Nothing yet.
    pub fn new(series: usize) -> Self {
        Self {
            series: vec![Series::default(); series],
            errors: Errors::default(),
            last_end: None,
            busy: Duration::ZERO,
        }
    }

    /// Counts an operation of `units` that was due at `start` and ended at `end`, if it counts: in open loop when it was
    /// due inside the window, in closed loop when it ended there.
    pub fn operation(
        &mut self,
        which: usize,
        window: &Window,
        open: bool,
        start: Instant,
        end: Instant,
        units: u32,
    ) {
        let at = if open { start } else { end };
        if at < window.from || at >= window.to {
            return;
        }
        let series = &mut self.series[which];
        let latency = end.saturating_duration_since(start);
        series.latencies.record(latency);
        series.units += u64::from(units);
        let step = ((end - window.from).as_nanos() / STEP.as_nanos()) as usize;
        let step = step.min(STEPS_MAX - 1);
        if series.steps.len() <= step {
            series.steps.resize(step + 1, 0);
        }
        series.steps[step] += u64::from(units);
        self.busy += latency;
        self.last_end = self.last_end.max(Some(end));
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.series.iter_mut().zip(&other.series) {
            mine.latencies.add(&theirs.latencies);
            mine.units += theirs.units;
            if mine.steps.len() < theirs.steps.len() {
                mine.steps.resize(theirs.steps.len(), 0);
            }
            for (sum, step) in mine.steps.iter_mut().zip(&theirs.steps) {
                *sum += step;
            }
        }
        self.errors.add(&other.errors);
        self.last_end = self.last_end.max(other.last_end);
        self.busy += other.busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_into_the_window_counts() {
        let now = Instant::now();
        let s = Duration::from_secs;
        let window = Window { load_from: now, from: now + s(1), to: now + s(3) };
        let mut closed = Record::new(1);
        for (start, end) in [(0, 0), (0, 1), (2, 2), (2, 3), (2, 9)] {
            closed.operation(0, &window, false, now + s(start), now + s(end), 1);
        }
        assert_eq!(closed.series[0].units, 2);
        assert_eq!(closed.series[0].steps, [1, 0, 0, 0, 1]);
        let mut open = Record::new(1);
        for (start, end) in [(0, 2), (2, 9), (3, 3)] {
            open.operation(0, &window, true, now + s(start), now + s(end), 1);
        }
        assert_eq!(open.series[0].latencies.count(), 1);
        assert_eq!(open.series[0].latencies.max().as_secs(), 7);
        closed.add(&open);
        assert_eq!(closed.series[0].units, 3);
        assert_eq!(closed.last_end, Some(now + s(9)));
    }

    #[test]
    fn percentiles_are_good_to_three_digits() {
        let mut latencies = Latencies::new();
        (1..=10_000).for_each(|us| latencies.record(Duration::from_micros(us)));
        for (percent, us) in [(50.0, 5_000.0), (99.0, 9_900.0), (99.9, 9_990.0)] {
            let found = latencies.percentile(percent).as_secs_f64() * 1e6;
            assert!((found / us - 1.0).abs() < 0.002, "p{percent}: {found}");
        }
    }
}
