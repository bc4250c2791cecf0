//! Errors as callers act on them: one kind, one mapping to IMAP and to gRPC.

use std::fmt;

/// The result of an operation of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether and how a caller may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// After a pause.
    Backoff,
    /// Only with the idempotency key of the first try.
    SameIdempotencyKey,
}

/// A gRPC status code, by its number (grpc/grpc, `statuscodes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum GrpcCode {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// What went wrong, as far as any caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such folder, or none that the caller may know of.
    NoSuchMailbox,
    /// CREATE or RENAME onto a name that is taken.
    MailboxExists,
    /// The operation can never work on this object: DELETE of INBOX, RENAME of `Default`, SELECT of a \Noselect name.
    Cannot,
    /// The folder still has children.
    HasChildren,
    /// The account's quota would be exceeded.
    OverQuota,
    /// A message is larger than APPENDLIMIT.
    TooBig,
    /// A count limit (keywords, folders, messages) is reached.
    Limit,
    /// No such account, or none that the caller may know of.
    NoSuchAccount,
    /// The account exists already.
    AccountExists,
    /// The account exists but may not be used now.
    AccountDisabled,
    /// The caller may see the folder but not do this.
    NoPermission,
    /// A message the request names is gone.
    Expunged,
    /// An annotation is of a part that the message does not have.
    NoSuchPart,
    /// A request is malformed: a programming error of a front end, or a stranger on the RPC port.
    InvalidRequest,
    /// Lost against other changes too many times.
    Contended,
    /// The deadline passed before the work was done.
    Deadline,
    /// The commit may or may not have happened.
    CommitUnknown,
    /// The storage cannot serve now.
    Unavailable,
    /// The disk is full: writes are refused, reads go on.
    StorageFull,
    /// A stored value cannot be read.
    Corrupt,
    /// A broken invariant of our own.
    Bug,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 21] = [
        Self::NoSuchMailbox,
        Self::MailboxExists,
        Self::Cannot,
        Self::HasChildren,
        Self::OverQuota,
        Self::TooBig,
        Self::Limit,
        Self::NoSuchAccount,
        Self::AccountExists,
        Self::AccountDisabled,
        Self::NoPermission,
        Self::Expunged,
        Self::NoSuchPart,
        Self::InvalidRequest,
        Self::Contended,
        Self::Deadline,
        Self::CommitUnknown,
        Self::Unavailable,
        Self::StorageFull,
        Self::Corrupt,
        Self::Bug,
    ];

    /// The response code of the tagged NO (RFC 5530, RFC 9051 §7.1, RFC 7889), the gRPC status and the retry rule.
    pub fn wire(self) -> (&'static str, GrpcCode, Retry) {
        use Retry::{Backoff, Never, SameIdempotencyKey};
        match self {
            Self::NoSuchMailbox => ("NONEXISTENT", GrpcCode::NotFound, Never),
            Self::MailboxExists => ("ALREADYEXISTS", GrpcCode::AlreadyExists, Never),
            Self::Cannot => ("CANNOT", GrpcCode::FailedPrecondition, Never),
            Self::HasChildren => ("HASCHILDREN", GrpcCode::FailedPrecondition, Never),
            Self::OverQuota => ("OVERQUOTA", GrpcCode::ResourceExhausted, Never),
            Self::TooBig => ("TOOBIG", GrpcCode::ResourceExhausted, Never),
            Self::Limit => ("LIMIT", GrpcCode::ResourceExhausted, Never),
            Self::NoSuchAccount => ("NONEXISTENT", GrpcCode::NotFound, Never),
            Self::AccountExists => ("ALREADYEXISTS", GrpcCode::AlreadyExists, Never),
            Self::AccountDisabled => ("AUTHORIZATIONFAILED", GrpcCode::PermissionDenied, Never),
            Self::NoPermission => ("NOPERM", GrpcCode::PermissionDenied, Never),
            Self::Expunged => ("EXPUNGEISSUED", GrpcCode::NotFound, Never),
            Self::NoSuchPart => ("CLIENTBUG", GrpcCode::InvalidArgument, Never),
            Self::InvalidRequest => ("CLIENTBUG", GrpcCode::InvalidArgument, Never),
            Self::Contended => ("INUSE", GrpcCode::Aborted, Backoff),
            Self::Deadline => ("UNAVAILABLE", GrpcCode::DeadlineExceeded, Backoff),
            Self::CommitUnknown => ("UNAVAILABLE", GrpcCode::Unknown, SameIdempotencyKey),
            Self::Unavailable => ("UNAVAILABLE", GrpcCode::Unavailable, Backoff),
            Self::StorageFull => ("UNAVAILABLE", GrpcCode::ResourceExhausted, Backoff),
            Self::Corrupt => ("CORRUPTION", GrpcCode::Internal, Never),
            Self::Bug => ("SERVERBUG", GrpcCode::Internal, Never),
        }
    }

    /// A short stable name for logs, metric labels and the RPC's error detail.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSuchMailbox => "no_such_mailbox",
            Self::MailboxExists => "mailbox_exists",
            Self::Cannot => "cannot",
            Self::HasChildren => "has_children",
            Self::OverQuota => "over_quota",
            Self::TooBig => "too_big",
            Self::Limit => "limit",
            Self::NoSuchAccount => "no_such_account",
            Self::AccountExists => "account_exists",
            Self::AccountDisabled => "account_disabled",
            Self::NoPermission => "no_permission",
            Self::Expunged => "expunged",
            Self::NoSuchPart => "no_such_part",
            Self::InvalidRequest => "invalid_request",
            Self::Contended => "contended",
            Self::Deadline => "deadline",
            Self::CommitUnknown => "commit_unknown",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::Corrupt => "corrupt",
            Self::Bug => "bug",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A failed operation: what to do, what to tell the client, and what only the log may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    detail: String,
}

impl Error {
    /// An error whose `text` the client sees: it says what was wrong and what is allowed, and nothing secret.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), detail: String::new() }
    }

    /// The same error with a text for the log alone.
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the client is told.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What only the log is told.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn names_are_distinct_and_found_again() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.name()), Some(kind));
        }
    }
}
