//! Errors of an engine, by what the caller should do.

use std::fmt;

/// What kind of failure it was: the retry loop and the callers act on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Another transaction wrote what this one read. Nothing was written. Retry.
    Conflict,
    /// The transaction lived longer than [`crate::limits::TRANSACTION_MS_MAX`]. Nothing was written. Retry,
    /// with less work.
    TooOld,
    /// The engine is behind or throttles this kind of work. Nothing was written. Retry, after a pause.
    Busy,
    /// The commit may or may not have happened (`commit_unknown_result`), and may even happen a little later. Retry only
    /// what is idempotent, or what reads, in [`crate::ReadMode::Serializable`], whether it happened: then one of the
    /// two conflicts.
    CommitUnknown,
    /// A key, value or transaction is over its limit. Nothing was written. Do not retry.
    TooLarge,
    /// The engine cannot serve now (storage full, cluster unreachable, shutting down). Nothing was written.
    Unavailable,
    /// The disk is full. Nothing was written; reads go on, and writes come back when there is room.
    StorageFull,
    /// The engine was used against its rules, or its data cannot be read. Do not retry.
    Internal,
}

impl ErrorKind {
    /// Whether a fresh attempt of the same transaction may succeed, and no attempt before it can have
    /// committed.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Conflict | Self::TooOld | Self::Busy)
    }

    /// A short stable name for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::TooOld => "too_old",
            Self::Busy => "busy",
            Self::CommitUnknown => "commit_unknown",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::Internal => "internal",
        }
    }
}

/// A failed engine call: its kind, and a text for the log.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    detail: String,
}

impl Error {
    /// An error of `kind`; `detail` goes to the log, never to a client.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for the log.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl std::error::Error for Error {}
