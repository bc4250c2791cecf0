//! What is wrong with a command, in words its sender can act on.

use std::borrow::Cow;

use crate::string::Tag;

/// Why a command could not be read. Every kind is answered with `BAD`, tagged where the tag was legible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseErrorKind {
    /// No tag, or one with characters that a tag may not have.
    Tag,
    /// A command name that is not known.
    UnknownCommand,
    /// Arguments that do not follow the command's grammar.
    Syntax,
    /// The command line, or the command with its literals, is longer than the limit.
    LineTooLong,
    /// A literal is larger than the limit, or a non-synchronizing one exceeds 4096 octets where `LITERAL-` is
    /// offered; for APPEND the BAD needs `TOOBIG` then (RFC 7888 §5).
    LiteralTooBig,
    /// Parentheses or search keys nested deeper than the limit.
    TooDeep,
    /// More parts in a set or a list than the limit.
    TooMany,
    /// An octet that IMAP does not allow where it stood: NUL, a bare CR or LF, or text that is not UTF-8.
    BadOctet,
}

/// A command that cannot be understood. The reader has already arranged to continue at the next command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What kind of mistake.
    pub kind: ParseErrorKind,
    /// What was wrong and what is allowed, ASCII without line ends, fit for the text of a response. Never repeats
    /// argument values, which may be secret.
    pub message: Cow<'static, str>,
    /// The tag to answer with; without one the response is untagged (RFC 9051 §7.1.3).
    pub tag: Option<Tag>,
}

/// An error inside the grammar, before the tag is attached.
#[derive(Debug)]
pub(crate) struct Fail {
    /// Nothing when the text ends where a literal's octets have to follow.
    pub kind: Option<ParseErrorKind>,
    pub message: Cow<'static, str>,
}

/// Result of one grammar rule.
pub(crate) type Parse<T> = Result<T, Fail>;

impl Fail {
    /// Arguments that break the grammar.
    #[cold]
    pub fn syntax(message: impl Into<Cow<'static, str>>) -> Self {
        Fail { kind: Some(ParseErrorKind::Syntax), message: message.into() }
    }

    /// Any other kind.
    #[cold]
    pub fn new(kind: ParseErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Fail { kind: Some(kind), message: message.into() }
    }

    /// The text ends with a literal's announcement.
    #[cold]
    pub fn incomplete() -> Self {
        Fail { kind: None, message: Cow::Borrowed("the octets of a literal are missing") }
    }

    /// Whether there is nothing wrong but that a literal's octets have not come yet.
    pub fn is_incomplete(&self) -> bool {
        self.kind.is_none()
    }

    /// The public error, to be answered under `tag`.
    pub fn with_tag(self, tag: Option<Tag>) -> ParseError {
        ParseError { kind: self.kind.unwrap_or(ParseErrorKind::Syntax), message: self.message, tag }
    }
}

/// Refuses what was `given` before: no parameter, modifier or option may be repeated (RFC 4466).
pub(crate) fn once(given: bool) -> Parse<()> {
    if given { Err(Fail::syntax("each parameter, modifier or option can be given once")) } else { Ok(()) }
}
