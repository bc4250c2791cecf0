//! Metrics of the feed.

use metrics::{Counter, Gauge, Histogram};

/// Handles made once.
pub(crate) struct Telemetry {
    pub(crate) entries: Counter,
    pub(crate) pulses: Counter,
    pub(crate) failures: Counter,
    pub(crate) trimmed: Counter,
    pub(crate) rechecks: Counter,
    pub(crate) tails: Gauge,
    pub(crate) listeners: Gauge,
    pub(crate) oldest_seconds: Gauge,
    pub(crate) lag_seconds: Histogram,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!("mss_feed_entries_total", "Entries read from the logs of partitions.");
        metrics::describe_counter!("mss_feed_pulses_total", "Pulses sent to the listeners of an account.");
        metrics::describe_counter!("mss_feed_failures_total", "Readings of a log that failed.");
        metrics::describe_counter!("mss_feed_trimmed_total", "Entries cleared past their retention.");
        metrics::describe_counter!("mss_feed_rechecks_total", "Entries found although no watch had told.");
        metrics::describe_gauge!("mss_feed_tails", "Partitions that are tailed.");
        metrics::describe_gauge!("mss_feed_listeners", "Accounts that are listened to.");
        metrics::describe_gauge!(
            "mss_feed_oldest_seconds",
            metrics::Unit::Seconds,
            "Age of the oldest entry kept in any log."
        );
        metrics::describe_histogram!(
            "mss_feed_lag_seconds",
            metrics::Unit::Seconds,
            "From the time of a change, by its writer's clock, to its pulse."
        );
        Self {
            entries: metrics::counter!("mss_feed_entries_total"),
            pulses: metrics::counter!("mss_feed_pulses_total"),
            failures: metrics::counter!("mss_feed_failures_total"),
            trimmed: metrics::counter!("mss_feed_trimmed_total"),
            rechecks: metrics::counter!("mss_feed_rechecks_total"),
            tails: metrics::gauge!("mss_feed_tails"),
            listeners: metrics::gauge!("mss_feed_listeners"),
            oldest_seconds: metrics::gauge!("mss_feed_oldest_seconds"),
            lag_seconds: metrics::histogram!("mss_feed_lag_seconds"),
        }
    }
}
