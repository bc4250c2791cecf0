//! Metrics of the notices.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::notice::NoticeKind;

/// Handles made once.
pub(crate) struct Telemetry {
    pub(crate) retried: Counter,
    pub(crate) refused: Counter,
    pub(crate) exhausted: Counter,
    pub(crate) suppressed: Counter,
    pub(crate) collapsed: Counter,
    pub(crate) gaps: Counter,
    pub(crate) letters_lost: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) circuit_open: Gauge,
    pub(crate) backlog_entries: Gauge,
    pub(crate) backlog_seconds: Gauge,
    pub(crate) partitions: Gauge,
    pub(crate) answer_seconds: Histogram,
    pub(crate) latency_seconds: Histogram,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        describe_counter!("mss_push_sent_total", "Notices that the PUSH enabler accepted, by kind.");
        describe_counter!(
            "mss_push_failed_total",
            "Posts of a notice that the PUSH enabler did not accept, by what it means."
        );
        describe_counter!("mss_push_retried_total", "Posts of a notice that had been posted before.");
        describe_counter!("mss_push_dead_total", "Notices that were given up, by reason.");
        describe_counter!(
            "mss_push_dead_letters_lost_total",
            "Given up notices that gave way to later ones."
        );
        describe_counter!(
            "mss_push_suppressed_total",
            "Changes told to nobody: the account's only device made them."
        );
        describe_counter!(
            "mss_push_collapsed_total",
            "Times that the changes of an account were collapsed to one notice a folder."
        );
        describe_counter!(
            "mss_push_gaps_total",
            "Partitions whose log was cleared before it was read: all their accounts are told to look again."
        );
        describe_counter!(
            "mss_push_store_failures_total",
            "Readings and writings of the database that failed and were tried again."
        );
        describe_gauge!(
            "mss_push_circuit_open",
            "1 while the PUSH enabler takes nothing and is only tried now and then."
        );
        describe_gauge!("mss_push_backlog_entries", "Changes read and not yet dealt with.");
        describe_gauge!(
            "mss_push_backlog_seconds",
            metrics::Unit::Seconds,
            "Age of the oldest change read and not yet dealt with."
        );
        describe_gauge!("mss_push_partitions", "Partitions whose changes this process tells.");
        describe_histogram!(
            "mss_push_answer_seconds",
            metrics::Unit::Seconds,
            "From a post to the enabler's answer."
        );
        describe_histogram!(
            "mss_push_latency_seconds",
            metrics::Unit::Seconds,
            "From the time of a change, by its writer's clock, to the enabler's acceptance."
        );
        for kind in NoticeKind::ALL {
            counter!("mss_push_sent_total", "kind" => kind.name()).increment(0);
        }
        for reason in ["refused", "failed", "unavailable"] {
            counter!("mss_push_failed_total", "reason" => reason).increment(0);
        }
        Self {
            retried: counter!("mss_push_retried_total"),
            refused: counter!("mss_push_dead_total", "reason" => "refused"),
            exhausted: counter!("mss_push_dead_total", "reason" => "attempts"),
            suppressed: counter!("mss_push_suppressed_total"),
            collapsed: counter!("mss_push_collapsed_total"),
            gaps: counter!("mss_push_gaps_total"),
            letters_lost: counter!("mss_push_dead_letters_lost_total"),
            store_failures: counter!("mss_push_store_failures_total"),
            circuit_open: gauge!("mss_push_circuit_open"),
            backlog_entries: gauge!("mss_push_backlog_entries"),
            backlog_seconds: gauge!("mss_push_backlog_seconds"),
            partitions: gauge!("mss_push_partitions"),
            answer_seconds: histogram!("mss_push_answer_seconds"),
            latency_seconds: histogram!("mss_push_latency_seconds"),
        }
    }
}

/// Notes a notice that was accepted.
pub(crate) fn sent(kind: NoticeKind) {
    counter!("mss_push_sent_total", "kind" => kind.name()).increment(1);
}

/// Notes a post that was not.
pub(crate) fn failed(reason: &'static str) {
    counter!("mss_push_failed_total", "reason" => reason).increment(1);
}
