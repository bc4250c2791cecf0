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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let rename = |from: &'static str, to: &'static str| {
            Command::Rename(Rename { from: from.into(), to: to.into() })
        };
        check("RENAME blurdybloop sarasoop", rename("blurdybloop", "sarasoop"));
        check("RENAME {3}\r\na b \"c d\"", rename("a b", "c d"));
    }

    #[test]
    fn refused() {
        refuse("RENAME a", "new name");
        refuse("RENAME a ", "a mailbox name");
        refuse("RENAME a b c", "more arguments");
    }
}
