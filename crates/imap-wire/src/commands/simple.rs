//! Commands without arguments, or with one.
//!
//! ```abnf
//! capability   = "CAPABILITY"          ; and so NOOP LOGOUT STARTTLS UNAUTHENTICATE NAMESPACE
//!                                      ; IDLE CHECK CLOSE UNSELECT EXPUNGE LISTA
//! compress     = "COMPRESS" SP algorithm
//! algorithm    = "DEFLATE" / atom
//! delete       = "DELETE" SP mailbox   ; and so SUBSCRIBE UNSUBSCRIBE
//! uid-expunge  = "UID" SP "EXPUNGE" SP sequence-set
//! ```
//!
//! Source: RFC 9051 §9, RFC 3501 §9, RFC 4978 §3, RFC 8437.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;

macro_rules! without_arguments {
    ($($name:ident => $variant:ident,)*) => {
        $(pub(crate) fn $name(_: &mut Cursor<'_>) -> Parse<Command> {
            Ok(Command::$variant)
        })*
    };
}

without_arguments! {
    capability => Capability,
    noop => Noop,
    logout => Logout,
    starttls => StartTls,
    unauthenticate => Unauthenticate,
    namespace => Namespace,
    idle => Idle,
    check => Check,
    close => Close,
    unselect => Unselect,
    expunge => Expunge,
    lista => ListA,
}

pub(crate) fn compress(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a compression algorithm")?;
    c.atom("a compression algorithm").map(Command::Compress)
}

pub(crate) fn delete(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    c.mailbox().map(Command::Delete)
}

pub(crate) fn subscribe(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    c.mailbox().map(Command::Subscribe)
}

pub(crate) fn unsubscribe(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    c.mailbox().map(Command::Unsubscribe)
}

pub(crate) fn uid_expunge(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a set of UIDs")?;
    c.sequence_set().map(Command::UidExpunge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse, set};

    #[test]
    fn table() {
        check("NOOP", Command::Noop);
        check("noop", Command::Noop);
        check("CAPABILITY", Command::Capability);
        check("LOGOUT", Command::Logout);
        check("STARTTLS", Command::StartTls);
        check("UNAUTHENTICATE", Command::Unauthenticate);
        check("NAMESPACE", Command::Namespace);
        check("IDLE", Command::Idle);
        check("CHECK", Command::Check);
        check("CLOSE", Command::Close);
        check("UNSELECT", Command::Unselect);
        check("EXPUNGE", Command::Expunge);
        check("LISTA", Command::ListA);
        check("COMPRESS DEFLATE", Command::Compress("DEFLATE".into()));
        check("DELETE \"a b\"", Command::Delete("a b".into()));
        check("SUBSCRIBE inbox", Command::Subscribe("inbox".into()));
        check("UNSUBSCRIBE {1}\r\nx", Command::Unsubscribe("x".into()));
        check("UID EXPUNGE 3000:3002,*", Command::UidExpunge(set(&[(3000, 3002), (0, 0)])));
        check("uid expunge $", Command::UidExpunge(crate::SequenceSet::Saved));
    }

    #[test]
    fn refused() {
        refuse("NOOP ", "more arguments");
        refuse("NOOP 1", "more arguments");
        refuse("LISTA \"\"", "more arguments");
        refuse("NOOP\"", "end of the command");
        refuse("NOOPS", "not known");
        refuse("", "a command name");
        refuse(" NOOP", "a command name");
        refuse("UID", "UIDs");
        refuse("UID NOOP", "not known");
        refuse("UID  FETCH 1 FLAGS", "UIDs");
        refuse("COMPRESS", "compression algorithm");
        refuse("DELETE", "ends where a mailbox name");
        refuse("DELETE a b", "more arguments");
        refuse("DELETE  a", "expected a mailbox name");
        refuse("DELETE {2}\r\nx", "last thing on its line");
        refuse("DELETE {1}x", "last thing on its line");
        refuse("DELETE {1", "expected a mailbox name");
        refuse("DELETE {+}\r\n", "expected a mailbox name");
        refuse("DELETE {1}\r\n\0", "NUL");
        refuse("DELETE {99999999999999999999}\r\n", "expected a mailbox name");
        refuse("DELETE ~{1}\r\nx", "end of the command");
        refuse("DELETE \"a", "no closing quote");
        refuse("DELETE \"a\\\"", "no closing quote");
        refuse("DELETE \"a\\n\"", "backslash");
        refuse("DELETE \"a\rb\"", "CR or LF");
        refuse("DELETE ü", "expected a mailbox name");
        refuse("UID EXPUNGE 0", "cannot be zero");
        refuse("UID EXPUNGE 01", "cannot be zero");
        refuse("UID EXPUNGE 1:", "a message number");
        refuse("UID EXPUNGE 1,", "a message number");
        refuse("UID EXPUNGE 4294967296", "too large");
        refuse("UID EXPUNGE 99999999999999999999", "too large");
        refuse("UID EXPUNGE $,1", "end of the command");
    }

    #[test]
    fn tags() {
        let parse = |text: &'static str| {
            crate::parse_command(&bytes::Bytes::from_static(text.as_bytes()), &crate::Limits::default())
        };
        assert_eq!(parse("a.1] NOOP").unwrap().tag.as_str(), "a.1]");
        for text in ["", " NOOP", "+ NOOP", "a+ NOOP", "a", "a\"b NOOP", "* NOOP", "ü NOOP", "(a NOOP"] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.tag, error.kind), (None, crate::ParseErrorKind::Tag), "{text}");
        }
    }
}
