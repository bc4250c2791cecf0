//! `CANCELUPDATE`.
//!
//! ```abnf
//! cancelupdate = "CANCELUPDATE" 1*(SP quoted)
//! ```
//!
//! Source: RFC 5267 §5.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::string::Tag;

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut tags = Vec::with_capacity(1);
    c.space("the tag of a search, quoted")?;
    loop {
        if tags.len() >= c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooMany, "CANCELUPDATE has more tags than allowed"));
        }
        if c.peek() != Some(b'"') {
            return Err(Fail::syntax("expected the tag of a search, quoted"));
        }
        let text = c.string("the tag of a search, quoted")?;
        tags.push(Tag::new(text.as_bytes()).ok_or_else(|| Fail::syntax("this is not a tag"))?);
        if !c.eat(b' ') {
            return Ok(Command::CancelUpdate(tags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let tag = |text: &str| Tag::new(text.as_bytes()).expect("a tag");
        check("CANCELUPDATE \"B01\"", Command::CancelUpdate(vec![tag("B01")]));
        check("cancelupdate \"a\" \"b.2\"", Command::CancelUpdate(vec![tag("a"), tag("b.2")]));
    }

    #[test]
    fn refused() {
        refuse("CANCELUPDATE", "the tag of a search");
        refuse("CANCELUPDATE B01", "quoted");
        refuse("CANCELUPDATE {1}\r\na", "quoted");
        refuse("CANCELUPDATE \"\"", "not a tag");
        refuse("CANCELUPDATE \"a b\"", "not a tag");
        refuse("CANCELUPDATE \"a\" ", "quoted");
    }
}
