//! `ENABLE`.
//!
//! ```abnf
//! enable     = "ENABLE" 1*(SP capability)
//! capability = atom
//! ```
//!
//! Source: RFC 9051 §9, RFC 5161 §4.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a capability name")?;
    let mut names = Vec::new();
    loop {
        if names.len() >= c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooMany, "too many capability names"));
        }
        names.push(c.atom("a capability name")?);
        if !c.eat(b' ') {
            return Ok(Command::Enable(names));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        check("ENABLE CONDSTORE", Command::Enable(vec!["CONDSTORE".into()]));
        check("ENABLE QRESYNC UTF8=ACCEPT x", {
            Command::Enable(vec!["QRESYNC".into(), "UTF8=ACCEPT".into(), "x".into()])
        });
    }

    #[test]
    fn refused() {
        refuse("ENABLE", "capability name");
        refuse("ENABLE ", "capability name");
        refuse("ENABLE a  b", "capability name");
        refuse(&format!("ENABLE{}", " a".repeat(2000)), "too many");
    }
}
