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
