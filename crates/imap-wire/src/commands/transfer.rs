//! `COPY`, `MOVE`, and their UID forms.
//!
//! ```abnf
//! copy = "COPY" SP sequence-set SP mailbox     ; and so MOVE
//! ```
//!
//! Source: RFC 9051 §9.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;
use crate::mailbox::MailboxArg;
use crate::sequence::SequenceSet;

/// Arguments of `COPY` and `MOVE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// The destination.
    pub mailbox: MailboxArg,
}

pub(crate) fn copy(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false).map(Command::Copy)
}

pub(crate) fn uid_copy(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true).map(Command::Copy)
}

pub(crate) fn r#move(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false).map(Command::Move)
}

pub(crate) fn uid_move(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true).map(Command::Move)
}

fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Transfer> {
    c.space("a set of messages")?;
    let set = c.sequence_set()?;
    c.space("a mailbox name")?;
    Ok(Transfer { uid, set, mailbox: c.mailbox()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse, set};

    #[test]
    fn table() {
        let transfer = |uid| Transfer { uid, set: set(&[(2, 4), (0, 9)]), mailbox: "MEETING".into() };
        check("COPY 2:4,*:9 MEETING", Command::Copy(transfer(false)));
        check("UID COPY 2:4,*:9 MEETING", Command::Copy(transfer(true)));
        check("MOVE 2:4,*:9 \"MEETING\"", Command::Move(transfer(false)));
        check("uid move 2:4,*:9 MEETING", Command::Move(transfer(true)));
        check("MOVE $ x", {
            Command::Move(Transfer { uid: false, set: SequenceSet::Saved, mailbox: "x".into() })
        });
    }

    #[test]
    fn refused() {
        refuse("COPY", "set of messages");
        refuse("COPY 1", "mailbox name");
        refuse("COPY x y", "a message number");
        refuse("MOVE 1 a b", "more arguments");
        refuse("COPY 1:2:3 a", "one space");
    }
}
