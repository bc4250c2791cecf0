//! What asking tells of itself.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};

/// How a question ended, by its word in the metric.
pub(crate) const RESULTS: [&str; 3] = ["ok", "timeout", "failed"];

pub(crate) fn describe() {
    describe_counter!(
        "mss_registration_requests_total",
        "Questions for the addresses registered with one, by how they ended."
    );
    describe_histogram!(
        "mss_registration_seconds",
        metrics::Unit::Seconds,
        "Time that a login or SELECTA waited for the addresses registered with its own."
    );
    for result in RESULTS {
        counter!("mss_registration_requests_total", "result" => result).increment(0);
    }
}

pub(crate) fn asked(result: &'static str, took: Duration) {
    counter!("mss_registration_requests_total", "result" => result).increment(1);
    histogram!("mss_registration_seconds").record(took);
}
