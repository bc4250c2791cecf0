//! Commands without arguments, or with one.
//!
//! ```abnf
//! capability   = "CAPABILITY"          ; and so NOOP LOGOUT STARTTLS UNAUTHENTICATE NAMESPACE
//!                                      ; IDLE CHECK CLOSE UNSELECT EXPUNGE
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
