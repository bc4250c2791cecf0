//! The engine's metrics, with their handles kept: recording one is an atomic operation or two.

use metrics::{Counter, Gauge, Histogram, Unit};

/// All metrics of one engine.
pub(crate) struct Telemetry {
    pub(crate) commit_seconds: Histogram,
    pub(crate) batch_commits: Histogram,
    pub(crate) sync_seconds: Histogram,
    pub(crate) queue_commits: Gauge,
    pub(crate) conflicts: Counter,
    pub(crate) too_old: Counter,
    pub(crate) storage_full: Counter,
    pub(crate) reads: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) writes: Counter,
    pub(crate) write_bytes: Counter,
    pub(crate) window_bytes: Gauge,
    pub(crate) watches: Gauge,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        use metrics::{
            counter, describe_counter as count, describe_gauge as level, describe_histogram as spread, gauge,
            histogram,
        };
        spread!(
            "mss_kv_commit_seconds",
            Unit::Seconds,
            "From a commit's arrival in the queue to its answer."
        );
        spread!("mss_kv_batch_commits", Unit::Count, "Commits that shared one sync.");
        spread!("mss_kv_sync_seconds", Unit::Seconds, "Writing one batch to the journal and syncing it.");
        level!("mss_kv_queue_commits", Unit::Count, "Commits that wait for a batch.");
        count!("mss_kv_conflicts_total", Unit::Count, "Commits refused for a conflict.");
        count!("mss_kv_too_old_total", Unit::Count, "Commits refused because the transaction was too old.");
        count!("mss_kv_storage_full_total", Unit::Count, "Commits refused because the disk is full.");
        count!("mss_kv_reads_total", Unit::Count, "Keys and pairs read.");
        count!("mss_kv_read_bytes_total", Unit::Bytes, "Bytes of keys and values read.");
        count!("mss_kv_writes_total", Unit::Count, "Keys written, by set, clear or atomic operation.");
        count!("mss_kv_write_bytes_total", Unit::Bytes, "Bytes of keys and values written.");
        level!("mss_kv_window_bytes", Unit::Bytes, "Recently written keys held to find conflicts.");
        level!("mss_kv_watches", Unit::Count, "Watches outstanding.");
        Self {
            commit_seconds: histogram!("mss_kv_commit_seconds"),
            batch_commits: histogram!("mss_kv_batch_commits"),
            sync_seconds: histogram!("mss_kv_sync_seconds"),
            queue_commits: gauge!("mss_kv_queue_commits"),
            conflicts: counter!("mss_kv_conflicts_total"),
            too_old: counter!("mss_kv_too_old_total"),
            storage_full: counter!("mss_kv_storage_full_total"),
            reads: counter!("mss_kv_reads_total"),
            read_bytes: counter!("mss_kv_read_bytes_total"),
            writes: counter!("mss_kv_writes_total"),
            write_bytes: counter!("mss_kv_write_bytes_total"),
            window_bytes: gauge!("mss_kv_window_bytes"),
            watches: gauge!("mss_kv_watches"),
        }
    }
}
