//! What a run found, as data: the same for the table, the JSON file and the page.

pub mod html;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::drive::Outcome;
use crate::plan::Plan;
use crate::processes::Memory;
use crate::profile::{Action, Profile};
use crate::record::{Errors, STEP, Series};
use crate::report::table::short;
use crate::target::Target;

/// Percentiles of the curve, percent.
const CURVE: [f64; 25] = [
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.0, 98.0, 99.0,
    99.5, 99.7, 99.9, 99.95, 99.97, 99.99, 99.999, 100.0,
];

/// One profile on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whom.
    pub target: Target,
    /// What, with all overrides applied.
    pub profile: Profile,
    /// Seconds since 1970 at the start.
    pub started_unix: u64,
    /// One for each folder size.
    pub variants: Vec<Measured>,
}

/// One run with one folder size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Messages in each folder before the measurement.
    pub messages: u32,
    /// Counted time, seconds.
    pub seconds: f64,
    /// Connections that were open.
    pub connections: u32,
    /// Time to open them, seconds.
    pub opening_s: f64,
    /// One for each latency.
    pub series: Vec<SeriesReport>,
    /// What went wrong.
    pub errors: Errors,
    /// CPU of the server's processes per unit (operation, or message appended), microseconds. Absent without its pids,
    /// and where parts that are not measured would be in it.
    pub server_cpu_us: Option<f64>,
    /// Processors the server kept busy.
    pub server_cores: Option<f64>,
    /// Processors this program kept busy.
    pub client_cores: f64,
    /// The server's memory, where the profile is about it.
    pub memory: Option<MemoryReport>,
}

/// Latencies, in milliseconds, and rate of one kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesReport {
    /// What.
    pub name: String,
    /// Operations counted.
    pub operations: u64,
    /// Units a second: operations, or messages appended.
    pub rate: f64,
    /// The rate counts only the time of the operations themselves, since there are parts between them that are not
    /// measured.
    pub rate_of_busy_time: bool,
    /// Percentiles.
    pub p50_ms: f64,
    #[doc(hidden)]
    pub p90_ms: f64,
    #[doc(hidden)]
    pub p99_ms: f64,
    #[doc(hidden)]
    pub p999_ms: f64,
    /// Highest.
    pub max_ms: f64,
    /// Average.
    pub mean_ms: f64,
    /// Percent and latency, ascending.
    pub curve: Vec<(f64, f64)>,
    /// Units a second in each step of [`STEP`].
    pub over_time: Vec<f64>,
}

/// What connections add to the server's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Before the first connection.
    pub before: Memory,
    /// With all of them.
    pub after: Memory,
    /// Private memory added by one connection, KiB.
    pub private_kib: f64,
    /// Proportional share of resident memory added by one connection, KiB.
    pub pss_kib: f64,
    /// Resident memory added by one connection, KiB.
    pub rss_kib: f64,
}

impl MemoryReport {
    fn new(before: Memory, after: Memory, connections: u32) -> Self {
        let each =
            |before: u64, after: u64| (after as f64 - before as f64) / 1024.0 / f64::from(connections.max(1));
        Self {
            before,
            after,
            private_kib: each(before.private, after.private),
            pss_kib: each(before.pss, after.pss),
            rss_kib: each(before.rss, after.rss),
        }
    }
}

impl Report {
    /// One line: who, what, and the first latency of each size.
    pub fn in_short(&self) -> String {
        let mut text = format!("{} {}", self.target.name, self.profile.name);
        for measured in &self.variants {
            if let Some(series) = measured.series.first() {
                let rate = measured.rate(self.profile.work.len() > 1);
                let (rate, p50, p99) = (short(rate), short(series.p50_ms), short(series.p99_ms));
                text.push_str(&format!("; {rate}/s, p50 {p50} ms, p99 {p99} ms"));
            }
            if measured.errors.total() > 0 {
                text.push_str(&format!(", {} errors", measured.errors.total()));
            }
        }
        text
    }
}

impl Measured {
    /// Makes what a run counted readable.
    pub fn new(plan: &Plan, outcome: Outcome) -> Self {
        let record = &outcome.record;
        let seconds = outcome.counted.as_secs_f64().max(1e-9);
        let units: u64 = record.series.first().map_or(0, |s| s.units)
            + if plan.tasks.len() > 1 { record.series.iter().skip(1).map(|s| s.units).sum() } else { 0 };
        let gaps = plan.has_gaps();
        // Connections that only idle have done their work before the counting.
        let idle = plan.tasks.iter().any(|task| task.work.action == Action::Idle);
        let active = if idle { outcome.opening.as_secs_f64().max(1e-9) } else { seconds };
        let series = plan
            .profile
            .series()
            .into_iter()
            .zip(&record.series)
            .map(|(name, series)| SeriesReport::new(name, series, active, gaps, &outcome))
            .collect();
        Self {
            messages: plan.messages,
            seconds,
            connections: outcome.connections,
            opening_s: outcome.opening.as_secs_f64(),
            series,
            errors: record.errors.clone(),
            server_cpu_us: outcome
                .server_cpu
                .filter(|_| !gaps && !idle && units > 0)
                .map(|cpu| cpu * 1e6 / units as f64),
            server_cores: outcome.server_cpu.map(|cpu| cpu / seconds),
            client_cores: outcome.client_cpu / seconds,
            memory: outcome
                .memory
                .map(|(before, after)| MemoryReport::new(before, after, outcome.connections)),
        }
    }

    /// Units a second over all kinds of operation.
    pub fn rate(&self, mixed: bool) -> f64 {
        if mixed {
            self.series.iter().map(|s| s.rate).sum()
        } else {
            self.series.first().map_or(0.0, |s| s.rate)
        }
    }
}

impl SeriesReport {
    fn new(name: String, series: &Series, seconds: f64, gaps: bool, outcome: &Outcome) -> Self {
        let latencies = &series.latencies;
        let ms = |percent: f64| latencies.percentile(percent).as_secs_f64() * 1e3;
        let empty = latencies.count() == 0;
        let mean_s = latencies.mean().as_secs_f64();
        let time = if gaps {
            mean_s * latencies.count() as f64 / f64::from(outcome.connections.max(1))
        } else {
            seconds
        };
        Self {
            name,
            operations: latencies.count(),
            rate: if empty { 0.0 } else { series.units as f64 / time.max(1e-9) },
            rate_of_busy_time: gaps,
            p50_ms: ms(50.0),
            p90_ms: ms(90.0),
            p99_ms: ms(99.0),
            p999_ms: ms(99.9),
            max_ms: latencies.max().as_secs_f64() * 1e3,
            mean_ms: mean_s * 1e3,
            curve: if empty {
                Vec::new()
            } else {
                CURVE.iter().map(|&percent| (percent, ms(percent))).collect()
            },
            over_time: series.steps.iter().map(|&units| units as f64 / STEP.as_secs_f64()).collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::Record;
    use std::time::Duration;

    /// A report as a run of `profile` would give it, with one operation for each of `latencies_ms`.
    pub(crate) fn made_up(name: &str, profile: &str, latencies_ms: &[u64]) -> Report {
        let target = Target::parse(&format!("127.0.0.1:1,name={name}")).unwrap();
        let profile = Profile::load(profile).unwrap();
        let variants = profile
            .sizes()
            .into_iter()
            .map(|messages| {
                let plan = Plan::new(target.clone(), profile.clone(), messages, "r".into(), 1).unwrap();
                let mut record = Record::new(profile.series().len());
                for series in &mut record.series {
                    for &ms in latencies_ms {
                        series.latencies.record(Duration::from_millis(ms));
                        series.units += 1;
                    }
                    series.steps = vec![latencies_ms.len() as u64];
                }
                let memory = Memory { processes: 1, rss: 1 << 20, pss: 1 << 20, private: 1 << 20 };
                Measured::new(
                    &plan,
                    Outcome {
                        record,
                        counted: Duration::from_secs(2),
                        server_cpu: Some(1.0),
                        client_cpu: 0.5,
                        memory: Some((Memory::default(), memory)),
                        connections: 4,
                        opening: Duration::from_millis(3),
                    },
                )
            })
            .collect();
        Report { target, profile, started_unix: 1_770_000_000, variants }
    }

    #[test]
    fn a_report_has_the_rates_the_counts_give() {
        let report = made_up("a", "append-64", &[1, 2, 3, 40]);
        let measured = &report.variants[0];
        assert!((measured.series[0].rate - 2.0).abs() < 1e-9);
        assert!((measured.server_cpu_us.unwrap() - 250_000.0).abs() < 1e-6);
        assert!((measured.memory.unwrap().private_kib - 256.0).abs() < 1e-9);
        assert!((measured.series[0].p50_ms / 2.0 - 1.0).abs() < 0.01);
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(again.variants[0].series[0].name, report.variants[0].series[0].name);
    }

    #[test]
    fn work_with_gaps_is_rated_by_its_own_time() {
        let report = made_up("a", "select-hot", &[10, 10]);
        let series = &report.variants[0].series[0];
        assert!(series.rate_of_busy_time);
        assert!((series.rate / 400.0 - 1.0).abs() < 0.01, "{}", series.rate);
        assert_eq!(report.variants[0].server_cpu_us, None);
    }
}
