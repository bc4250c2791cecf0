//! What can go wrong inside: an engine's error, which a retry may cure, or an answer to the caller.

use model::{Error, ErrorKind};

/// Why an attempt did not succeed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The engine failed; the kind says whether to try again.
    Engine(kv::Error),
    /// The request cannot be done; the answer to its caller.
    Request(Error),
}

impl From<kv::Error> for Failure {
    fn from(error: kv::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(error) => error,
            Failure::Engine(error) => engine_error(&error),
        }
    }
}

/// What an engine's error means to a caller: the only place where one becomes the other.
fn engine_error(error: &kv::Error) -> Error {
    let (kind, text) = match error.kind() {
        kv::ErrorKind::Conflict | kv::ErrorKind::TooOld | kv::ErrorKind::Busy => {
            return contended().with_detail(error);
        }
        kv::ErrorKind::CommitUnknown => (ErrorKind::CommitUnknown, "the change may or may not have happened"),
        kv::ErrorKind::TooLarge => (ErrorKind::Limit, "the request is too large for one step"),
        kv::ErrorKind::Unavailable => (ErrorKind::Unavailable, "the storage cannot serve now"),
        kv::ErrorKind::StorageFull => (ErrorKind::StorageFull, "the storage is full"),
        kv::ErrorKind::Internal => (ErrorKind::Bug, "internal error"),
    };
    Error::new(kind, text).with_detail(error)
}

/// A stored value that cannot be read.
pub(crate) fn corrupt(what: &'static str, key: &[u8]) -> Failure {
    Failure::Request(
        Error::new(ErrorKind::Corrupt, "stored data cannot be read")
            .with_detail(format_args!("{what} at {}", key.escape_ascii())),
    )
}

/// A broken invariant of this crate.
pub(crate) fn bug(what: &'static str) -> Failure {
    Failure::Request(Error::new(ErrorKind::Bug, "internal error").with_detail(what))
}

/// A request that breaks the contract.
pub(crate) fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidRequest, text)
}

/// The answer for a folder that is not there, or not the caller's.
pub(crate) fn no_such_mailbox() -> Error {
    Error::new(ErrorKind::NoSuchMailbox, "no such mailbox")
}

/// The answer when others changed too much for this to get through.
pub(crate) fn contended() -> Error {
    Error::new(ErrorKind::Contended, "too many changes at once; try again")
}

/// The answer for an account that is not there.
pub(crate) fn no_such_account() -> Error {
    Error::new(ErrorKind::NoSuchAccount, "no such account")
}

/// The answer when the caller's deadline has passed.
pub(crate) fn deadline() -> Error {
    Error::new(ErrorKind::Deadline, "the request took too long")
}
