//! Reports as one page that needs nothing else: styles and drawings are in it.

use std::fmt::Write as _;

use crate::compare::Comparison;
use crate::record::STEP;
use crate::report::table::{self, short};
use crate::report::{Report, SeriesReport};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;\
color:#1d2430;background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2.5rem 0 .2rem}p{margin:.3rem 0;color:#49566a}\
pre{overflow-x:auto;background:#f5f7fa;padding:1rem;border-radius:6px;font:12px/1.5 ui-monospace,monospace}\
.plots{display:flex;flex-wrap:wrap;gap:1rem}svg{background:#fff;border:1px solid #dde3ec;border-radius:6px}\
svg text{font:11px system-ui,sans-serif;fill:#49566a}.grid{stroke:#e6ebf2}.axis{stroke:#9aa7ba}\
.met{color:#0a7a3d}.missed{color:#b3261e;font-weight:600}table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.2rem .8rem;border-bottom:1px solid #dde3ec;text-align:right}td:first-child,th:first-child,\
td:nth-child(2),th:nth-child(2){text-align:left}";
/// Told apart without red against green.
const COLOURS: [&str; 8] =
    ["#0b62c4", "#d9730d", "#18837e", "#8a3ffc", "#b28600", "#c2185b", "#5c6b80", "#2e7d32"];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
/// Space for the labels: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (58.0, 14.0, 16.0, 40.0);
/// Most points of a line; more would not be seen.
const POINTS_MAX: usize = 600;

/// A page for reports of single runs.
pub fn reports(reports: &[Report]) -> String {
    let mut body = format!("<h1>Load on an IMAP server</h1><pre>{}</pre>", escaped(&table::reports(reports)));
    for report in reports {
        body.push_str(&section(&report.profile.name, &report.profile.about, &[report]));
    }
    page("Load on an IMAP server", &body)
}

/// A page for a comparison: the tables, then each profile's plots with both servers in them.
pub fn comparison(comparison: &Comparison) -> String {
    let title = format!("{} against {}", comparison.a.name, comparison.b.name);
    let mut body = format!(
        "<h1>{}</h1><pre>{}</pre>{}",
        escaped(&title),
        escaped(&table::comparison(comparison)),
        verdicts(comparison)
    );
    let mut shown: Vec<&str> = Vec::new();
    for report in &comparison.reports {
        let profile = &report.profile;
        if shown.contains(&profile.name.as_str()) {
            continue;
        }
        shown.push(&profile.name);
        let of_profile: Vec<&Report> =
            comparison.reports.iter().filter(|other| other.profile.name == profile.name).collect();
        body.push_str(&section(&profile.name, &profile.about, &of_profile));
    }
    page(&title, &body)
}

fn verdicts(comparison: &Comparison) -> String {
    if comparison.verdicts.is_empty() {
        return String::new();
    }
    let mut text =
        "<table><tr><th>profile</th><th>what</th><th>bar</th><th>found</th><th></th></tr>".to_owned();
    for verdict in &comparison.verdicts {
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}</td></tr>",
            escaped(&verdict.profile),
            escaped(&verdict.what),
            escaped(&verdict.bar_text()),
            verdict.found.map_or_else(|| "-".to_owned(), short),
            verdict.word().to_lowercase(),
            verdict.word(),
        );
    }
    text.push_str("</table>");
    text
}

/// The plots of one profile. Runs of the same target, round after round, share a colour.
fn section(name: &str, about: &str, reports: &[&Report]) -> String {
    let (mut curves, mut over_time) = (Vec::new(), Vec::new());
    let mut labels: Vec<String> = Vec::new();
    for report in reports {
        for measured in &report.variants {
            for series in measured.series.iter().filter(|series| series.operations > 0) {
                let size = if report.profile.sweep.is_empty() {
                    String::new()
                } else {
                    format!(" @{}", measured.messages)
                };
                let label = format!("{}: {}{size}", report.target.name, series.name);
                let colour = labels.iter().position(|l| *l == label).unwrap_or_else(|| {
                    labels.push(label.clone());
                    labels.len() - 1
                });
                curves.push(Line::new(colour, curve_points(series)));
                over_time.push(Line::new(colour, time_points(series)));
            }
        }
    }
    let mut text = format!("<h2>{}</h2><p>{}</p>", escaped(name), escaped(about));
    if curves.is_empty() {
        text.push_str("<p>No operation was measured.</p>");
        return text;
    }
    text.push_str("<p>");
    for (nth, label) in labels.iter().enumerate() {
        let _ =
            write!(text, "<span style=\"color:{}\">&#9632; {}</span> &nbsp; ", colour(nth), escaped(label));
    }
    text.push_str("</p><div class=\"plots\">");
    text.push_str(&latency_plot(&curves));
    if over_time.iter().any(|line| line.points.len() > 1) {
        text.push_str(&time_plot(&over_time));
    }
    text.push_str("</div>");
    text
}

struct Line {
    colour: usize,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(colour: usize, points: Vec<(f64, f64)>) -> Self {
        let step = points.len().div_ceil(POINTS_MAX).max(1);
        Self { colour, points: points.into_iter().step_by(step).collect() }
    }
}

/// Percentiles stand so that each nine is as wide as the one before: at -log10(1 - p), up to 99.99 %.
fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(1e-4).log10()
}

fn curve_points(series: &SeriesReport) -> Vec<(f64, f64)> {
    series
        .curve
        .iter()
        .filter(|(percent, _)| *percent <= 99.99)
        .map(|&(percent, ms)| (nines(percent), ms.max(1e-4).log10()))
        .collect()
}

/// The last step is left out: the run ended somewhere in it.
fn time_points(series: &SeriesReport) -> Vec<(f64, f64)> {
    let whole = series.over_time.len().saturating_sub(1);
    series.over_time[..whole]
        .iter()
        .enumerate()
        .map(|(nth, &rate)| ((nth as f64 + 0.5) * STEP.as_secs_f64(), rate))
        .collect()
}

fn latency_plot(lines: &[Line]) -> String {
    let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let low = values().fold(f64::INFINITY, f64::min).floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let frame = Frame { x: (0.0, 4.0), y: (low, high) };
    let mut text = Frame::open("latency by percentile, ms");
    for percent in [0.0, 50.0, 90.0, 99.0, 99.9, 99.99] {
        text.push_str(&frame.mark_x(nines(percent), &format!("{percent}%")));
    }
    let mut power = low;
    while power <= high {
        text.push_str(&frame.mark_y(power, &short(10f64.powf(power))));
        power += 1.0;
    }
    frame.close(text, lines)
}

fn time_plot(lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let seconds = points().map(|point| point.0).fold(STEP.as_secs_f64(), f64::max);
    let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.05;
    let frame = Frame { x: (0.0, seconds), y: (0.0, top) };
    let mut text = Frame::open("throughput a second over time, s");
    for nth in 0..=4 {
        let part = f64::from(nth) / 4.0;
        text.push_str(&frame.mark_x(seconds * part, &short(seconds * part)));
        text.push_str(&frame.mark_y(top * part, &short(top * part)));
    }
    frame.close(text, lines)
}

/// Ranges of a plot's values.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn at_x(&self, value: f64) -> f64 {
        let (left, right, ..) = MARGINS;
        left + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - left - right)
    }

    fn at_y(&self, value: f64) -> f64 {
        let (.., top, bottom) = MARGINS;
        HEIGHT - bottom - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - top - bottom)
    }

    fn open(title: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\"><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{title}</text>",
            WIDTH / 2.0,
            HEIGHT - 6.0
        )
    }

    fn mark_x(&self, value: f64, label: &str) -> String {
        let (x, bottom) = (self.at_x(value), HEIGHT - MARGINS.3);
        format!(
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            MARGINS.2,
            bottom + 15.0
        )
    }

    fn mark_y(&self, value: f64, label: &str) -> String {
        let y = self.at_y(value);
        format!(
            "<line class=\"grid\" x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            MARGINS.0,
            WIDTH - MARGINS.1,
            MARGINS.0 - 5.0,
            y + 4.0
        )
    }

    fn close(&self, mut text: String, lines: &[Line]) -> String {
        for line in lines {
            let _ = write!(
                text,
                "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" stroke-opacity=\".8\" points=\"",
                colour(line.colour)
            );
            for &(x, y) in &line.points {
                let _ = write!(text, "{:.1},{:.1} ", self.at_x(x), self.at_y(y));
            }
            text.push_str("\"/>");
        }
        text.push_str("</svg>");
        text
    }
}

fn colour(nth: usize) -> &'static str {
    COLOURS[nth % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>\n",
        escaped(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Side;
    use crate::profile::Profile;
    use crate::report::tests::made_up;

    #[test]
    fn a_page_needs_nothing_else_and_draws_every_series() {
        let mut report = made_up("a<b", "mixed-phones", &[1, 20]);
        report.variants[0].series[0].over_time = vec![8.0, 4.0, 8.0];
        let page = reports(&[report]);
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("<script"));
        assert!(!page.contains("a<b"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        // Seven series as curves, and over time.
        assert_eq!(page.matches("<polyline").count(), 14);
        assert!(!page.contains("NaN") && !page.contains("inf"));
        for points in page.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            for point in points.split_ascii_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point} is outside");
            }
        }
    }

    #[test]
    fn a_run_without_operations_makes_a_page_as_well() {
        assert!(reports(&[made_up("a", "append-64", &[])]).contains("No operation was measured"));
    }

    #[test]
    fn a_comparison_shows_both_servers_and_the_verdicts() {
        let side = |name: &str| Side { name: name.into(), address: "h:1".into() };
        let reports = |name: &str, ms: u64| vec![made_up(name, "append-64", &[ms; 9]); 2];
        let pair = (Profile::load("append-64").unwrap(), reports("one", 1), reports("two", 9));
        let page = comparison(&Comparison::new(side("one"), side("two"), &[pair]));
        assert!(page.contains("one: APPEND") && page.contains("two: APPEND"));
        assert!(page.contains("class=\"missed\">MISSED"));
        assert_eq!(page.matches("<polyline").count(), 4);
    }

    #[test]
    fn nines_are_equally_wide() {
        for (percent, at) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0), (100.0, 4.0)] {
            assert!((nines(percent) - at).abs() < 1e-9);
        }
    }
}
