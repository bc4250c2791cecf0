//! The line that ends a command.

use std::borrow::Cow;

use imap_wire::ParseError;

use crate::telemetry::is_fault;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It was done.
    Ok,
    /// It could not be done.
    No,
    /// It was not understood, or not in this state.
    Bad,
}

impl Status {
    /// As it stands in the response.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

/// What happens to the connection after the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum After {
    /// The next command.
    #[default]
    Continue,
    /// TLS begins; what the client sent ahead is thrown away.
    StartTls,
    /// DEFLATE begins in both directions.
    Deflate,
    /// DEFLATE ends in both directions.
    EndDeflate,
    /// The connection ends, the line having been sent.
    Close,
    /// The connection is lost: nothing can be sent any more.
    Lost,
}

/// The tagged response of a command: status, response code, text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: Status,
    /// Without brackets.
    pub code: Option<Cow<'static, str>>,
    pub text: Cow<'static, str>,
    pub after: After,
    /// What went wrong, for the metric of the command; `ok`, `no`, `bad` or the kind of the store's error.
    pub cause: &'static str,
    /// The store's error, if the operator must know of it: logged where the command ends, with its request id.
    pub fault: Option<Box<model::Error>>,
}

impl Reply {
    /// `OK text`.
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: Status::Ok,
            code: None,
            text: text.into(),
            after: After::Continue,
            cause: "ok",
            fault: None,
        }
    }

    /// `OK [code] text`.
    pub fn ok_code(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code.into()), ..Self::ok(text) }
    }

    /// `NO text`.
    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: Status::No,
            code: None,
            text: text.into(),
            after: After::Continue,
            cause: "no",
            fault: None,
        }
    }

    /// `NO [code] text`.
    pub fn no_code(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code.into()), ..Self::no(text) }
    }

    /// `BAD text`.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: Status::Bad,
            code: None,
            text: text.into(),
            after: After::Continue,
            cause: "bad",
            fault: None,
        }
    }

    /// No line: the client is gone or takes nothing.
    pub fn lost() -> Self {
        Self { after: After::Lost, cause: "lost", ..Self::no("") }
    }

    /// The same with what happens next.
    pub fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    /// The same with a response code in place of the one it has, for example TRYCREATE.
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(Cow::Borrowed(code));
        self
    }
}

/// Handlers may end early with `?`: both arms are replies.
impl From<Result<Reply, Reply>> for Reply {
    fn from(result: Result<Reply, Reply>) -> Self {
        match result {
            Ok(reply) | Err(reply) => reply,
        }
    }
}

/// The one place where errors of the store become responses. What the client cannot act on is the operator's, too.
impl From<model::Error> for Reply {
    fn from(error: model::Error) -> Self {
        let (code, _, _) = error.kind().wire();
        let cause = error.kind().name();
        let reply = Self { cause, ..Self::no_code(code, one_line(error.text().to_owned())) };
        Self { fault: is_fault(error.kind()).then(|| Box::new(error)), ..reply }
    }
}

impl From<ParseError> for Reply {
    fn from(error: ParseError) -> Self {
        Self::bad(error.message)
    }
}

/// A text without what would end the line it stands in, and ASCII as RFC 3501 wants it.
fn one_line(text: String) -> String {
    if text.is_empty() {
        return "failed".to_owned();
    }
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return text;
    }
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use model::ErrorKind;

    use super::*;

    #[test]
    fn errors_of_the_store_have_their_codes_and_stay_on_one_line() {
        let reply = Reply::from(model::Error::new(ErrorKind::NoSuchMailbox, "no \"é\"\r\nhere"));
        assert_eq!(reply.status, Status::No);
        assert_eq!(reply.code.as_deref(), Some("NONEXISTENT"));
        assert_eq!(reply.text, "no \"?\"??here");
        for kind in ErrorKind::ALL {
            assert!(Reply::from(model::Error::new(kind, "x")).code.is_some(), "{kind:?}");
        }
    }
}
