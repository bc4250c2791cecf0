//! `RENAME`.
//!
//! ```abnf
//! rename = "RENAME" SP mailbox SP mailbox
//! ```
//!
//! Source: RFC 9051 §9.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;
use crate::mailbox::MailboxArg;

/// Arguments of `RENAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The existing name.
    pub from: MailboxArg,
    /// The new name.
    pub to: MailboxArg,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("the mailbox's name")?;
    let from = c.mailbox()?;
    c.space("the mailbox's new name")?;
    let to = c.mailbox()?;
    Ok(Command::Rename(Rename { from, to }))
}
