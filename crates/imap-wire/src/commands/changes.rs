//! `XCPMCHANGES`.
//!
//! ```abnf
//! xcpmchanges = "XCPMCHANGES" [SP since [SP "RETURN" SP "(" status-att *(SP status-att) ")"]]
//! since       = string / nil        ; a token that the server gave; NIL: from the beginning
//! ```
//!
//! Source: this server's own (`XCPM-CHANGES`). The items are those of STATUS.

use crate::command::Command;
use crate::commands::status::{self, StatusItem};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};
use crate::string::IString;

/// Arguments of `XCPMCHANGES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XcpmChanges {
    /// Nothing: where the account is now.
    Now,
    /// What changed since.
    Since {
        /// The token as sent; none for `NIL`.
        token: Option<IString>,
        /// What to tell of each mailbox; absent without `RETURN`.
        items: Option<Vec<StatusItem>>,
    },
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    if !c.eat(b' ') {
        return Ok(Command::XcpmChanges(XcpmChanges::Now));
    }
    let token = c.nstring("a token in quotes, or NIL")?;
    let mut items = None;
    if c.eat(b' ') {
        if !c.eat_word(b"RETURN") {
            return Err(Fail::syntax("after the token XCPMCHANGES takes RETURN and a list of status items"));
        }
        c.space("a list of status items")?;
        items = Some(status::items(c)?);
    }
    Ok(Command::XcpmChanges(XcpmChanges::Since { token, items }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    fn since(token: Option<&'static str>, items: Option<Vec<StatusItem>>) -> Command {
        Command::XcpmChanges(XcpmChanges::Since { token: token.map(Into::into), items })
    }

    #[test]
    fn table() {
        check("XCPMCHANGES", Command::XcpmChanges(XcpmChanges::Now));
        check("xcpmchanges \"0a\"", since(Some("0a"), None));
        check("XCPMCHANGES {2}\r\n0a", since(Some("0a"), None));
        check("XCPMCHANGES nil", since(None, None));
        let items = vec![StatusItem::Messages, StatusItem::Size];
        check("XCPMCHANGES NIL RETURN (MESSAGES SIZE)", since(None, Some(items.clone())));
        check("XCPMCHANGES \"\" return (messages size)", since(Some(""), Some(items)));
    }

    #[test]
    fn refused() {
        refuse("XCPMCHANGES ", "a token");
        refuse("XCPMCHANGES 0a", "a token");
        refuse("XCPMCHANGES RETURN (MESSAGES)", "a token");
        refuse("XCPMCHANGES \"0a\" ", "RETURN");
        refuse("XCPMCHANGES \"0a\" (MESSAGES)", "RETURN");
        refuse("XCPMCHANGES NIL RETURN", "status items");
        refuse("XCPMCHANGES NIL RETURN ()", "at least one");
        refuse("XCPMCHANGES NIL RETURN (FOO)", "not known");
        refuse("XCPMCHANGES NIL RETURN (MESSAGES) x", "more arguments");
    }
}
