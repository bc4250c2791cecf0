//! Two servers in alternation: A B A B …, so that what else the machine does meets both alike.

use serde::{Deserialize, Serialize};

use crate::profile::{Profile, Want};
use crate::report::{Measured, Report};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The server that is judged.
    pub a: Side,
    /// The server it is judged against.
    pub b: Side,
    /// How often each ran.
    pub rounds: usize,
    /// One for each latency of each profile and size.
    pub lines: Vec<Line>,
    /// What the profiles want of A.
    pub verdicts: Vec<Verdict>,
    /// Errors, and what the bars are meant against.
    pub notes: Vec<String>,
    /// Every run, A's and B's in alternation.
    pub reports: Vec<Report>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
}

/// Medians over the rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Medians {
    /// Units a second.
    pub rate: f64,
    #[doc(hidden)]
    pub p50_ms: f64,
    #[doc(hidden)]
    pub p90_ms: f64,
    #[doc(hidden)]
    pub p99_ms: f64,
    #[doc(hidden)]
    pub p999_ms: f64,
    /// Server CPU per unit, microseconds; on the first line of a profile.
    pub server_cpu_us: Option<f64>,
    /// Private memory of a connection.
    pub private_kib: Option<f64>,
    /// Proportional share of memory of a connection.
    pub pss_kib: Option<f64>,
    /// Errors of all rounds together.
    pub errors: u64,
}

/// One latency of one profile and size, on both servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The profile, with `@messages` in a sweep.
    pub profile: String,
    /// The operation.
    pub operation: String,
    /// The judged server.
    pub a: Medians,
    /// The other.
    pub b: Medians,
}

/// One bar of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The profile.
    pub profile: String,
    /// What is measured.
    pub what: String,
    /// The bar.
    pub bar: f64,
    /// Must it not be exceeded? Else it must be reached.
    pub at_most: bool,
    /// What was found; nothing where it could not be measured.
    pub found: Option<f64>,
}

impl Verdict {
    /// Is the bar met?
    pub fn met(&self) -> Option<bool> {
        self.found.map(|found| if self.at_most { found <= self.bar } else { found >= self.bar })
    }

    /// `met`, `MISSED` or `unknown`.
    pub fn word(&self) -> &'static str {
        match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "unknown",
        }
    }

    /// The bar with its direction.
    pub fn bar_text(&self) -> String {
        format!("{} {}", if self.at_most { "<=" } else { ">=" }, self.bar)
    }
}

impl Line {
    /// Rate of A over rate of B.
    pub fn rate_ratio(&self) -> Option<f64> {
        ratio(self.a.rate, self.b.rate)
    }

    /// p50 latency of B over that of A.
    pub fn speedup_p50(&self) -> Option<f64> {
        ratio(self.b.p50_ms, self.a.p50_ms)
    }

    /// Server CPU per unit of A over that of B.
    pub fn cpu_ratio(&self) -> Option<f64> {
        ratio(self.a.server_cpu_us?, self.b.server_cpu_us?)
    }
}

fn ratio(above: f64, below: f64) -> Option<f64> {
    (below > 0.0 && above > 0.0).then(|| above / below)
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl Comparison {
    /// Puts the rounds together. `pairs`: for each profile, A's and B's reports of every round.
    pub fn new(a: Side, b: Side, pairs: &[(Profile, Vec<Report>, Vec<Report>)]) -> Self {
        let mut comparison = Self {
            a,
            b,
            rounds: pairs.iter().map(|(_, a, _)| a.len()).max().unwrap_or(0),
            lines: Vec::new(),
            verdicts: Vec::new(),
            notes: Vec::new(),
            reports: Vec::new(),
        };
        for (profile, of_a, of_b) in pairs {
            comparison.add(profile, of_a, of_b);
        }
        comparison
    }

    fn add(&mut self, profile: &Profile, of_a: &[Report], of_b: &[Report]) {
        let mut of_profile = Vec::new();
        let mixed = profile.work.len() > 1;
        for (variant, size) in profile.sizes().into_iter().enumerate() {
            let name = if profile.sweep.is_empty() {
                profile.name.clone()
            } else {
                format!("{} @{size}", profile.name)
            };
            if mixed {
                of_profile.push(Line {
                    profile: name.clone(),
                    operation: "all together".to_owned(),
                    a: medians(of_a, variant, None),
                    b: medians(of_b, variant, None),
                });
            }
            for (which, operation) in profile.series().into_iter().enumerate() {
                of_profile.push(Line {
                    profile: name.clone(),
                    operation,
                    a: medians(of_a, variant, Some(which)),
                    b: medians(of_b, variant, Some(which)),
                });
            }
        }
        self.judge(profile, &of_profile, of_a);
        self.lines.extend(of_profile);
        if !profile.against.is_empty() && profile.want != Want::default() {
            self.notes.push(format!("{}: the bars are meant against {}", profile.name, profile.against));
        }
        for (side, reports) in [("A", of_a), ("B", of_b)] {
            let samples = reports.iter().flat_map(|r| &r.variants).flat_map(|m| &m.errors.samples);
            let mut seen: Vec<&String> = samples.collect();
            seen.sort_unstable();
            seen.dedup();
            self.notes
                .extend(seen.iter().take(5).map(|text| format!("{}: error of {side}: {text}", profile.name)));
        }
        for (a, b) in of_a.iter().zip(of_b) {
            self.reports.extend([a.clone(), b.clone()]);
        }
    }

    fn judge(&mut self, profile: &Profile, lines: &[Line], of_a: &[Report]) {
        let Some(first) = lines.first() else { return };
        let want = &profile.want;
        let tls = of_a.first().is_some_and(|report| report.target.tls != crate::target::Tls::None);
        let flat = lines
            .iter()
            .filter(|line| line.operation == first.operation)
            .filter_map(|line| ratio(line.a.p50_ms, first.a.p50_ms))
            .reduce(f64::max);
        let private = first.a.private_kib;
        let bars = [
            ("rate, A/B", want.rate, false, first.rate_ratio()),
            ("p50 latency, B/A", want.speedup_p50, false, first.speedup_p50()),
            ("server CPU an operation, A/B", want.cpu, true, first.cpu_ratio()),
            ("p50 latency, ms", want.p50_ms, true, Some(first.a.p50_ms)),
            ("p99 latency, ms", want.p99_ms, true, Some(first.a.p99_ms)),
            ("private memory a connection, KiB", want.memory_kib.filter(|_| !tls), true, private),
            ("private memory a TLS connection, KiB", want.memory_tls_kib.filter(|_| tls), true, private),
            ("p50 latency, largest size / first", want.flat, true, flat),
        ];
        for (what, bar, at_most, found) in bars {
            let Some(bar) = bar else { continue };
            // What did not run at all proves nothing.
            let found = found.filter(|_| first.a.rate > 0.0);
            self.verdicts.push(Verdict {
                profile: profile.name.clone(),
                what: what.to_owned(),
                bar,
                at_most,
                found,
            });
        }
    }
}

/// Medians of one latency; of all together when `which` is none, with the latencies left at those of the first.
fn medians(reports: &[Report], variant: usize, which: Option<usize>) -> Medians {
    let measured: Vec<&Measured> = reports.iter().filter_map(|report| report.variants.get(variant)).collect();
    let of = |value: &dyn Fn(&Measured) -> Option<f64>| median(measured.iter().filter_map(|m| value(m)));
    let series = which.unwrap_or(0);
    let latency = |value: fn(&crate::report::SeriesReport) -> f64| {
        of(&|m| m.series.get(series).filter(|s| s.operations > 0).map(value)).unwrap_or(0.0)
    };
    let first = series == 0;
    Medians {
        rate: of(&|m| match which {
            None => Some(m.rate(true)),
            Some(which) => m.series.get(which).map(|s| s.rate),
        })
        .unwrap_or(0.0),
        p50_ms: latency(|s| s.p50_ms),
        p90_ms: latency(|s| s.p90_ms),
        p99_ms: latency(|s| s.p99_ms),
        p999_ms: latency(|s| s.p999_ms),
        server_cpu_us: of(&|m| m.server_cpu_us).filter(|_| first),
        private_kib: of(&|m| m.memory.map(|memory| memory.private_kib)).filter(|_| first),
        pss_kib: of(&|m| m.memory.map(|memory| memory.pss_kib)).filter(|_| first),
        errors: if first { measured.iter().map(|m| m.errors.total()).sum() } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::made_up;

    fn compared(profile: &str, a_ms: &[u64], b_ms: &[u64]) -> Comparison {
        let side = |name: &str| Side { name: name.into(), address: "h:1".into() };
        let pair = (
            Profile::load(profile).unwrap(),
            vec![made_up("a", profile, a_ms); 3],
            vec![made_up("b", profile, b_ms); 3],
        );
        Comparison::new(side("a"), side("b"), &[pair])
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn bars_are_met_or_missed() {
        let seven_times = compared("append-64", &[1; 70], &[7; 10]);
        assert_eq!(seven_times.verdicts.len(), 1);
        assert_eq!(seven_times.verdicts[0].word(), "met");
        assert_eq!(compared("append-64", &[1; 50], &[7; 10]).verdicts[0].word(), "MISSED");
        assert_eq!(compared("append-64", &[], &[7; 10]).verdicts[0].word(), "unknown");
        let select = compared("select-hot", &[1, 1], &[2, 2]);
        assert!((select.verdicts[0].found.unwrap() - 2.0).abs() < 0.01);
        let fetch = compared("fetch-16", &[1; 40], &[2; 10]);
        let words: Vec<&str> = fetch.verdicts.iter().map(Verdict::word).collect();
        assert_eq!(words, ["met", "met"], "{:?}", fetch.verdicts);
    }

    #[test]
    fn the_table_has_every_line_and_verdict() {
        let text = crate::report::table::comparison(&compared("mixed-phones", &[1], &[2]));
        for wanted in ["all together", "STORE one flag", "wanted of A", "MISSED"] {
            assert!(text.contains(wanted), "{text}");
        }
    }
}
