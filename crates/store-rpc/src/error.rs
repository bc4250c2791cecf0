//! Failures across the wire: `model::Error` to `tonic::Status` and back.

use model::error::GrpcCode;
use model::{Error, ErrorKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata that names the kind of a failure.
const ERROR_KEY: &str = "mss-error";

/// As the server sends it: the kind by name, the subscriber's text; the log's text stays here and is logged.
pub(crate) fn to_status(error: &Error) -> Status {
    let (_, code, _) = error.kind().wire();
    if matches!(error.kind(), ErrorKind::Bug | ErrorKind::Corrupt) {
        tracing::error!(%error, "storage call failed");
    }
    let mut status = Status::new(code_of(code), error.text());
    status.metadata_mut().insert(ERROR_KEY, MetadataValue::from_static(error.kind().name()));
    status
}

/// What a call does, as far as its failure tells whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It changes nothing that anybody sees: after any failure it did not happen.
    Read,
    /// It changes something: when the connection breaks under it nobody knows whether it happened.
    Write,
}

/// As the client understands it. A status without a kind comes from the transport.
pub(crate) fn from_status(status: &Status, call: Call) -> Error {
    let named = status.metadata().get(ERROR_KEY).and_then(|v| v.to_str().ok()).and_then(ErrorKind::from_name);
    if let Some(kind) = named {
        return Error::new(kind, status.message());
    }
    let lost = || match call {
        Call::Read => (ErrorKind::Unavailable, "the storage tier did not answer; try again later"),
        Call::Write => (ErrorKind::CommitUnknown, "the change may or may not have happened"),
    };
    let (kind, text) = if never_sent(status) {
        (ErrorKind::Unavailable, "the storage tier cannot be reached; try again later")
    } else if caused_by(status, <dyn std::error::Error>::is::<tonic::TimeoutExpired>) {
        (ErrorKind::Deadline, "the request took too long; try again later")
    } else if std::error::Error::source(status).is_some() {
        lost()
    } else {
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => {
                (ErrorKind::Deadline, "the request took too long; try again later")
            }
            Code::InvalidArgument | Code::OutOfRange => {
                (ErrorKind::InvalidRequest, "the storage tier refused the request")
            }
            Code::Internal | Code::Unimplemented | Code::DataLoss => (ErrorKind::Bug, "internal error"),
            _ => lost(),
        }
    };
    Error::new(kind, text).with_detail(format_args!("{:?}: {}", status.code(), status.message()))
}

/// Whether the request never left: there was no connection, or it ended before the request's turn came.
fn never_sent(status: &Status) -> bool {
    caused_by(status, |error| {
        error.is::<tonic::ConnectError>()
            || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    })
}

fn caused_by(status: &Status, is: impl Fn(&(dyn std::error::Error + 'static)) -> bool) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if is(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A failure of a caller that does not keep to the contract.
pub(crate) fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, what)
}

fn code_of(code: GrpcCode) -> Code {
    match code {
        GrpcCode::Unknown => Code::Unknown,
        GrpcCode::InvalidArgument => Code::InvalidArgument,
        GrpcCode::DeadlineExceeded => Code::DeadlineExceeded,
        GrpcCode::NotFound => Code::NotFound,
        GrpcCode::AlreadyExists => Code::AlreadyExists,
        GrpcCode::PermissionDenied => Code::PermissionDenied,
        GrpcCode::ResourceExhausted => Code::ResourceExhausted,
        GrpcCode::FailedPrecondition => Code::FailedPrecondition,
        GrpcCode::Aborted => Code::Aborted,
        GrpcCode::Internal => Code::Internal,
        GrpcCode::Unavailable => Code::Unavailable,
        GrpcCode::Unauthenticated => Code::Unauthenticated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let sent = to_status(&Error::new(kind, "a text").with_detail("secret"));
            for call in [Call::Read, Call::Write] {
                let back = from_status(&sent, call);
                assert_eq!((back.kind(), back.text(), back.detail()), (kind, "a text", ""));
            }
        }
    }

    /// A write is told "it did not happen" only when that is certain.
    #[test]
    fn what_the_transport_says() {
        let refused = || Status::from_error(Box::new(tonic::ConnectError("refused".into())));
        let broken = || Status::from_error(Box::new(std::io::Error::other("reset")));
        for (status, read, write) in [
            (refused(), ErrorKind::Unavailable, ErrorKind::Unavailable),
            (broken(), ErrorKind::Unavailable, ErrorKind::CommitUnknown),
            (Status::unavailable("a proxy"), ErrorKind::Unavailable, ErrorKind::CommitUnknown),
            (Status::deadline_exceeded("late"), ErrorKind::Deadline, ErrorKind::Deadline),
        ] {
            assert_eq!(from_status(&status, Call::Read).kind(), read, "{status}");
            assert_eq!(from_status(&status, Call::Write).kind(), write, "{status}");
        }
    }
}
