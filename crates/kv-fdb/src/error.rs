//! What went wrong at opening, and the one place where FoundationDB's error codes become kinds of [`kv::ErrorKind`].

use std::path::PathBuf;
use std::time::Duration;

use foundationdb::FdbError;
use kv::{Error, ErrorKind};

use crate::limits;

/// Why the engine could not be opened. Each says what to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The client library is missing, or is none.
    #[error("the FoundationDB client library {0}")]
    Library(foundationdb_sys::LoadError),
    /// The library speaks only older versions of the interface.
    #[error(
        "the FoundationDB client library {} speaks API versions up to {spoken}, and {asked} is asked for: install the \
         client of release 7.3, or ask for an older version",
        library.display()
    )]
    LibraryTooOld {
        /// The library.
        library: PathBuf,
        /// The newest version it speaks.
        spoken: i32,
        /// The version asked for.
        asked: i32,
    },
    /// The version asked for is not one this engine can use.
    #[error(
        "the FoundationDB API version is {asked}, but must be from {} to {}",
        limits::API_VERSION_MIN,
        limits::API_VERSION_MAX
    )]
    ApiVersion {
        /// The version asked for.
        asked: i32,
    },
    /// The client was started with other options before; a process has one client.
    #[error(
        "this process has started the FoundationDB client with API version {running}, and {asked} is asked for"
    )]
    AnotherClient {
        /// The version in use.
        running: i32,
        /// The version asked for.
        asked: i32,
    },
    /// The client was stopped; it starts once in a process.
    #[error("the FoundationDB client was stopped in this process and cannot start again")]
    Stopped,
    /// The client could not be started.
    #[error("the FoundationDB client cannot start: {action}: {detail}")]
    Start {
        /// What was tried.
        action: &'static str,
        /// The reason.
        detail: String,
    },
    /// There is no cluster file, or it cannot be read.
    #[error("the FoundationDB cluster file {} cannot be read", file.display())]
    ClusterFile {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The cluster file is not one.
    #[error(
        "{} is no FoundationDB cluster file: {problem}; it must be one line DESCRIPTION:ID@HOST:PORT[,HOST:PORT...]",
        file.display()
    )]
    ClusterFileMalformed {
        /// The file.
        file: PathBuf,
        /// What is wrong in it.
        problem: String,
    },
    /// The key prefix cannot be used.
    #[error(
        "the FoundationDB key prefix has {bytes} bytes{}; it may have {} and must not begin with 0xFF",
        if *system { " and begins with 0xFF" } else { "" },
        limits::PREFIX_BYTES_MAX
    )]
    Prefix {
        /// Its length.
        bytes: usize,
        /// Whether it reaches into the system's keys.
        system: bool,
    },
    /// No answer from the cluster in time.
    #[error(
        "no answer from the FoundationDB cluster of {} within {} s (coordinators {coordinators}): either they cannot be \
         reached, or the database is not configured, or the library is of another release than the cluster{status}",
        file.display(),
        waited.as_secs()
    )]
    Unreachable {
        /// The cluster file.
        file: PathBuf,
        /// The coordinators in it.
        coordinators: String,
        /// How long it was waited.
        waited: Duration,
        /// What the client knows of its connections; empty if nothing.
        status: String,
    },
    /// The cluster or the client refused.
    #[error("the FoundationDB cluster of {} cannot be used: {detail}", file.display())]
    Cluster {
        /// The cluster file.
        file: PathBuf,
        /// The client's words and code.
        detail: String,
    },
}

/// When a call failed decides what an unclear failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing can have been written.
    Before,
    /// The commit was on its way.
    Commit,
}

/// FoundationDB's error as the trait's.
///
/// Every code by which the client says that nothing was written is named; at commit whatever else may hide a commit
/// that happened is [`ErrorKind::CommitUnknown`].
pub(crate) fn engine_error(error: FdbError, phase: Phase) -> Error {
    let kind = kind(error.code(), phase);
    Error::new(kind, format!("{} ({})", error.message(), error.code()))
}

fn kind(code: i32, phase: Phase) -> ErrorKind {
    match code {
        // not_committed
        1020 => ErrorKind::Conflict,
        // transaction_too_old
        1007 => ErrorKind::TooOld,
        // future_version, process_behind: a storage server is behind. The memory limits of commit and read version
        // proxies, batch_transaction_throttled, tag_throttled, proxy_tag_throttled: come back later.
        1009 | 1037 | 1042 | 1051 | 1078 | 1213 | 1223 => ErrorKind::Busy,
        // transaction_too_large, key_too_large, value_too_large
        2101..=2103 => ErrorKind::TooLarge,
        // database_locked: by an operator, for a restore. too_many_watches
        1032 | 1038 => ErrorKind::Unavailable,
        // commit_unknown_result, cluster_version_changed
        1021 | 1039 if phase == Phase::Commit => ErrorKind::CommitUnknown,
        1039 => ErrorKind::Busy,
        // The client refuses what is called wrongly, before anything is sent: accessed_unreadable,
        // watches_disabled, and all of its own.
        1034 | 1036 | 2000..=2999 => ErrorKind::Internal,
        // transaction_timed_out, transaction_cancelled, operation_cancelled, and what is not foreseen: it may be on its
        // way all the same.
        _ if phase == Phase::Commit => ErrorKind::CommitUnknown,
        1000..=1999 => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_not_to_have_happened_is_told_so() {
        use ErrorKind::*;
        for (code, before, commit) in [
            (1020, Conflict, Conflict),
            (1007, TooOld, TooOld),
            (1009, Busy, Busy),
            (1213, Busy, Busy),
            (2101, TooLarge, TooLarge),
            (1021, Unavailable, CommitUnknown),
            (1039, Busy, CommitUnknown),
            (1031, Unavailable, CommitUnknown),
            (1025, Unavailable, CommitUnknown),
            (1101, Unavailable, CommitUnknown),
            (1036, Internal, Internal),
            (2004, Internal, Internal),
            (4000, Internal, CommitUnknown),
            (4100, Internal, CommitUnknown),
        ] {
            assert_eq!(kind(code, Phase::Before), before, "{code}");
            assert_eq!(kind(code, Phase::Commit), commit, "{code}");
        }
    }
}
