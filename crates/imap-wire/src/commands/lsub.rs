//! `LSUB`.
//!
//! ```abnf
//! lsub = "LSUB" SP mailbox SP list-mailbox
//! ```
//!
//! Source: RFC 3501 §9.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;
use crate::mailbox::MailboxArg;

/// Arguments of `LSUB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lsub {
    /// Goes before the pattern.
    pub reference: MailboxArg,
    /// With `%` and `*`.
    pub pattern: MailboxArg,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a reference name")?;
    let reference = c.mailbox()?;
    c.space("a mailbox pattern")?;
    let pattern = c.list_mailbox()?;
    Ok(Command::Lsub(Lsub { reference, pattern }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let lsub = |reference: &'static str, pattern: &'static str| {
            Command::Lsub(Lsub { reference: reference.into(), pattern: pattern.into() })
        };
        check("LSUB \"#news.\" \"comp.mail.*\"", lsub("#news.", "comp.mail.*"));
        check("LSUB \"\" comp.%", lsub("", "comp.%"));
        check("LSUB \"\" *", lsub("", "*"));
    }

    #[test]
    fn refused() {
        refuse("LSUB \"\"", "mailbox pattern");
        refuse("LSUB % *", "expected a mailbox name");
        refuse("LSUB \"\" (a b)", "mailbox pattern");
    }
}
