//! Reports as text.

use std::fmt::Write as _;

use crate::compare::Comparison;
use crate::report::Report;

/// A number in four significant digits or so, without more decimals than that needs.
pub fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 1.0 => format!("{number:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{number:.3}"),
    }
}

/// Rows under headings, the first column to the left and the others to the right.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column == 0 {
                let _ = write!(line, "{cell:<width$}");
            } else {
                let _ = write!(line, "  {cell:>width$}");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.iter().map(|&cell| cell.to_owned()).collect()
}

/// Reports of one or more profiles, one row for each latency.
pub fn reports(reports: &[Report]) -> String {
    let mut rows = vec![cells([
        "profile",
        "operation",
        "ops",
        "rate/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "srv us/op",
        "srv cores",
        "cli cores",
        "errors",
    ])];
    let mut notes = String::new();
    for report in reports {
        for measured in &report.variants {
            for (nth, series) in measured.series.iter().enumerate() {
                let optional = |value: Option<f64>| match value {
                    Some(value) if nth == 0 => short(value),
                    _ => String::new(),
                };
                let name = if report.profile.sweep.is_empty() {
                    report.profile.name.clone()
                } else {
                    format!("{} @{}", report.profile.name, measured.messages)
                };
                rows.push(vec![
                    if nth == 0 { name } else { String::new() },
                    series.name.clone(),
                    series.operations.to_string(),
                    format!("{}{}", short(series.rate), if series.rate_of_busy_time { "*" } else { "" }),
                    short(series.p50_ms),
                    short(series.p90_ms),
                    short(series.p99_ms),
                    short(series.p999_ms),
                    short(series.max_ms),
                    optional(measured.server_cpu_us),
                    optional(measured.server_cores),
                    optional(Some(measured.client_cores)),
                    if nth == 0 { measured.errors.total().to_string() } else { String::new() },
                ]);
            }
            if let Some(memory) = &measured.memory {
                let _ = writeln!(
                    notes,
                    "{}: {} connections opened in {} s; each adds {} KiB private, {} KiB PSS, {} KiB RSS; \
                     {} -> {} processes, {} -> {} MiB PSS",
                    report.profile.name,
                    measured.connections,
                    short(measured.opening_s),
                    short(memory.private_kib),
                    short(memory.pss_kib),
                    short(memory.rss_kib),
                    memory.before.processes,
                    memory.after.processes,
                    short(memory.before.pss as f64 / 1_048_576.0),
                    short(memory.after.pss as f64 / 1_048_576.0),
                );
            }
            for sample in &measured.errors.samples {
                let _ = writeln!(notes, "{}: error: {sample}", report.profile.name);
            }
            if measured.series.iter().any(|series| series.operations == 0) {
                let _ = writeln!(notes, "{}: a series without operations", report.profile.name);
            }
        }
    }
    let mut text = columns(&rows);
    if rows.iter().any(|row| row.get(3).is_some_and(|cell| cell.ends_with('*'))) {
        text.push_str("* parts between the operations are not measured; the rate is of their own time\n");
    }
    text.push_str(&notes);
    text
}

/// A comparison: medians of both, ratios, and what was wanted.
pub fn comparison(comparison: &Comparison) -> String {
    let (a, b) = (&comparison.a, &comparison.b);
    let mut text = format!(
        "A = {} ({})   B = {} ({})   {} rounds in alternation, medians\n\n",
        a.name, a.address, b.name, b.address, comparison.rounds
    );
    let mut rows = vec![cells([
        "profile",
        "operation",
        "A rate/s",
        "B rate/s",
        "A/B",
        "A p50 ms",
        "B p50",
        "B/A",
        "A p99",
        "B p99",
        "A us/op",
        "B us/op",
        "A/B",
        "A err",
        "B err",
    ])];
    let optional = |value: Option<f64>| value.map_or_else(String::new, short);
    for line in &comparison.lines {
        rows.push(vec![
            line.profile.clone(),
            line.operation.clone(),
            short(line.a.rate),
            short(line.b.rate),
            optional(line.rate_ratio()),
            short(line.a.p50_ms),
            short(line.b.p50_ms),
            optional(line.speedup_p50()),
            short(line.a.p99_ms),
            short(line.b.p99_ms),
            optional(line.a.server_cpu_us),
            optional(line.b.server_cpu_us),
            optional(line.cpu_ratio()),
            line.a.errors.to_string(),
            line.b.errors.to_string(),
        ]);
    }
    text.push_str(&columns(&rows));
    let memory: Vec<Vec<String>> = comparison
        .lines
        .iter()
        .filter(|line| line.a.private_kib.or(line.b.private_kib).is_some())
        .map(|line| {
            vec![
                line.profile.clone(),
                optional(line.a.private_kib),
                optional(line.b.private_kib),
                optional(line.a.pss_kib),
                optional(line.b.pss_kib),
            ]
        })
        .collect();
    if !memory.is_empty() {
        let head = cells(["memory a connection, KiB", "A private", "B private", "A PSS", "B PSS"]);
        text.push('\n');
        text.push_str(&columns(&[vec![head], memory].concat()));
    }
    if !comparison.verdicts.is_empty() {
        let mut rows = vec![cells(["wanted of A", "what", "bar", "found", ""])];
        for verdict in &comparison.verdicts {
            rows.push(vec![
                verdict.profile.clone(),
                verdict.what.clone(),
                verdict.bar_text(),
                verdict.found.map_or_else(|| "-".to_owned(), short),
                verdict.word().to_owned(),
            ]);
        }
        text.push('\n');
        text.push_str(&columns(&rows));
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::made_up;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
        assert_eq!(columns(&rows), "a        1\nlong  1000\n");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in
            [(0.0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn every_series_has_a_row() {
        let text = reports(&[made_up("a", "mixed-phones", &[1]), made_up("a", "flat-fetch", &[2])]);
        for wanted in ["STORE one flag", "NOOP", "flat-fetch @100000"] {
            assert!(text.contains(wanted), "{text}");
        }
        assert_eq!(text.lines().filter(|line| line.contains("FETCH BODY.PEEK[]")).count(), 4);
    }
}
