//! `CREATE`.
//!
//! ```abnf
//! create       = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]
//! create-param = "USE" SP "(" [use-attr *(SP use-attr)] ")"
//! use-attr     = "\All" / "\Archive" / "\Drafts" / "\Flagged" / "\Junk" / "\Sent" / "\Trash" /
//!                "\" atom
//! ```
//!
//! Source: RFC 9051 §9, RFC 4466 §2.2, RFC 6154 §6.

use bytes::Bytes;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, once};
use crate::mailbox::MailboxArg;

/// Arguments of `CREATE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The name; a hierarchy separator at its end says that children will follow.
    pub mailbox: MailboxArg,
    /// What the mailbox is for: attributes as sent, `\Sent` for example, in any case. Unknown ones are answered
    /// with `USEATTR`.
    pub special_use: Vec<Bytes>,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    let mailbox = c.mailbox()?;
    let mut special_use = Vec::new();
    if c.eat(b' ') {
        let mut given = false;
        c.list1("CREATE parameters", |c| {
            if !c.eat_word(b"USE") {
                return Err(Fail::syntax("CREATE takes the parameter USE only"));
            }
            once(given)?;
            given = true;
            c.space("a list of special-use attributes")?;
            c.list("special-use attributes", |c| {
                special_use.push(attribute(c)?);
                Ok(())
            })
        })?;
    }
    Ok(Command::Create(Create { mailbox, special_use }))
}

fn attribute(c: &mut Cursor<'_>) -> Parse<Bytes> {
    if c.peek() != Some(b'\\') {
        return Err(Fail::syntax("a special-use attribute begins with a backslash"));
    }
    c.backslash_atom("a special-use attribute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let create = |name: &'static str, special_use: &[&'static str]| {
            let special_use = special_use.iter().map(|&attribute| attribute.into()).collect();
            Command::Create(Create { mailbox: name.into(), special_use })
        };
        check("CREATE owatagusiam/", create("owatagusiam/", &[]));
        check("CREATE MySpecial (USE (\\Drafts \\sent))", create("MySpecial", &["\\Drafts", "\\sent"]));
        check("CREATE x (USE ())", create("x", &[]));
    }

    #[test]
    fn refused() {
        refuse("CREATE", "mailbox name");
        refuse("CREATE x ()", "at least one");
        refuse("CREATE x (USE)", "special-use attributes");
        refuse("CREATE x (USE (Drafts))", "backslash");
        refuse("CREATE x (QUOTA 5)", "USE only");
        refuse("CREATE x (USE (\\Sent)", "closing parenthesis");
        refuse("CREATE x (USE (\\Sent) USE (\\Sent))", "once");
        refuse("CREATE x USE", "in parentheses");
    }
}
