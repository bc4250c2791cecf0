//! `ID`.
//!
//! ```abnf
//! id             = "ID" SP id-params-list
//! id-params-list = "(" [string SP nstring *(SP string SP nstring)] ")" / nil
//! ```
//!
//! Source: RFC 2971 §4: at most 30 pairs, names of at most 30 octets, values of at most 1024.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a list of names and values, or NIL")?;
    let mut fields = Vec::new();
    if !c.eat_word(b"NIL") {
        c.list("names and values", |c| {
            let name = c.string("a field name as a quoted string")?;
            c.space("the field's value")?;
            let value = c.nstring("the field's value as a quoted string or NIL")?;
            if fields.len() == 30 || name.len() > 30 || value.as_ref().is_some_and(|v| v.len() > 1024) {
                return Err(Fail::syntax("ID takes 30 fields, names of 30 octets and values of 1024"));
            }
            fields.push((name, value));
            Ok(())
        })?;
    }
    Ok(Command::Id(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        check("ID NIL", Command::Id(vec![]));
        check("ID ()", Command::Id(vec![]));
        check(
            "ID (\"name\" \"sodr\" \"version\" NIL \"x\" {1}\r\ny)",
            Command::Id(vec![
                ("name".into(), Some("sodr".into())),
                ("version".into(), None),
                ("x".into(), Some("y".into())),
            ]),
        );
    }

    #[test]
    fn refused() {
        refuse("ID", "list of names");
        refuse("ID name", "in parentheses");
        refuse("ID (name \"x\")", "quoted string");
        refuse("ID (\"name\")", "value");
        refuse("ID (\"name\" NIL", "closing parenthesis");
        refuse(&format!("ID (\"{}\" NIL)", "n".repeat(31)), "30 octets");
        refuse(&format!("ID (\"n\" \"{}\")", "v".repeat(1025)), "1024");
        refuse(&format!("ID ({})", ["\"n\" NIL"; 31].join(" ")), "30 fields");
    }
}
