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

/// As the client understands it. A status without a kind comes from the transport.
pub(crate) fn from_status(status: &Status) -> Error {
    let named = status.metadata().get(ERROR_KEY).and_then(|v| v.to_str().ok()).and_then(ErrorKind::from_name);
    if let Some(kind) = named {
        return Error::new(kind, status.message());
    }
    let kind = match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Deadline,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidRequest,
        Code::Internal | Code::Unimplemented | Code::DataLoss => ErrorKind::Bug,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the storage tier did not answer; try again later").with_detail(format_args!(
        "{:?}: {}",
        status.code(),
        status.message()
    ))
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
            let back = from_status(&to_status(&Error::new(kind, "a text").with_detail("secret")));
            assert_eq!((back.kind(), back.text(), back.detail()), (kind, "a text", ""));
        }
        assert_eq!(from_status(&Status::unavailable("x")).kind(), ErrorKind::Unavailable);
    }
}
