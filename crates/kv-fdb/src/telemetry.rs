//! The engine's metrics, with their handles kept. Those that the embedded engine has too have its names; the time of
//! every call is measured around the engine, by [`kv::meter`].

use metrics::{Counter, Gauge, Histogram, Unit};

/// All metrics of one engine.
pub(crate) struct Telemetry {
    pub(crate) commit_seconds: Histogram,
    pub(crate) read_version_seconds: Histogram,
    pub(crate) conflicts: Counter,
    pub(crate) too_old: Counter,
    pub(crate) busy: Counter,
    pub(crate) commit_unknown: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) reads: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) writes: Counter,
    pub(crate) write_bytes: Counter,
    pub(crate) watches: Gauge,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        use metrics::{
            counter, describe_counter as count, describe_gauge as level, describe_histogram as spread, gauge,
            histogram,
        };
        spread!("mss_kv_commit_seconds", Unit::Seconds, "From a commit's call to its answer.");
        spread!(
            "mss_kv_read_version_seconds",
            Unit::Seconds,
            "From a transaction's first read to its read version."
        );
        count!("mss_kv_conflicts_total", Unit::Count, "Commits refused for a conflict.");
        count!("mss_kv_too_old_total", Unit::Count, "Calls refused because the transaction was too old.");
        count!("mss_kv_busy_total", Unit::Count, "Calls that the cluster asked to come back with later.");
        count!("mss_kv_commit_unknown_total", Unit::Count, "Commits whose outcome is unknown.");
        count!("mss_kv_unavailable_total", Unit::Count, "Calls that the cluster could not serve.");
        count!("mss_kv_reads_total", Unit::Count, "Keys and pairs read.");
        count!("mss_kv_read_bytes_total", Unit::Bytes, "Bytes of keys and values read.");
        count!("mss_kv_writes_total", Unit::Count, "Keys written, by set, clear or atomic operation.");
        count!("mss_kv_write_bytes_total", Unit::Bytes, "Bytes of keys and values written.");
        level!("mss_kv_watches", Unit::Count, "Watches outstanding.");
        Self {
            commit_seconds: histogram!("mss_kv_commit_seconds"),
            read_version_seconds: histogram!("mss_kv_read_version_seconds"),
            conflicts: counter!("mss_kv_conflicts_total"),
            too_old: counter!("mss_kv_too_old_total"),
            busy: counter!("mss_kv_busy_total"),
            commit_unknown: counter!("mss_kv_commit_unknown_total"),
            unavailable: counter!("mss_kv_unavailable_total"),
            reads: counter!("mss_kv_reads_total"),
            read_bytes: counter!("mss_kv_read_bytes_total"),
            writes: counter!("mss_kv_writes_total"),
            write_bytes: counter!("mss_kv_write_bytes_total"),
            watches: gauge!("mss_kv_watches"),
        }
    }

    /// Counts a failed call.
    pub(crate) fn failed(&self, error: &kv::Error) {
        use kv::ErrorKind as K;
        match error.kind() {
            K::Conflict => self.conflicts.increment(1),
            K::TooOld => self.too_old.increment(1),
            K::Busy => self.busy.increment(1),
            K::CommitUnknown => self.commit_unknown.increment(1),
            K::Unavailable => self.unavailable.increment(1),
            K::TooLarge | K::StorageFull | K::Internal => {}
        }
    }
}
