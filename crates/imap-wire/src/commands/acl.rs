//! `SETACL`, `DELETEACL`, `GETACL`, `LISTRIGHTS`, `MYRIGHTS`.
//!
//! ```abnf
//! setacl     = "SETACL" SP mailbox SP identifier SP mod-rights
//! deleteacl  = "DELETEACL" SP mailbox SP identifier
//! getacl     = "GETACL" SP mailbox
//! listrights = "LISTRIGHTS" SP mailbox SP identifier
//! myrights   = "MYRIGHTS" SP mailbox
//! identifier = astring
//! mod-rights = astring            ; rights, with "+" or "-" before them or neither
//! ```
//!
//! Source: RFC 4314 §7.

use model::{AclAction, Rights};

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};
use crate::mailbox::MailboxArg;
use crate::string::IString;

/// Arguments of `SETACL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAcl {
    /// The mailbox.
    pub mailbox: MailboxArg,
    /// Whom it is about.
    pub identifier: IString,
    /// How their rights change.
    pub action: AclAction,
    /// Which rights.
    pub rights: Rights,
}

/// Arguments of `DELETEACL` and `LISTRIGHTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxIdentifier {
    /// The mailbox.
    pub mailbox: MailboxArg,
    /// Whom it is about.
    pub identifier: IString,
}

pub(crate) fn set(c: &mut Cursor<'_>) -> Parse<Command> {
    let MailboxIdentifier { mailbox, identifier } = both(c)?;
    c.space("rights")?;
    let text = c.astring("rights")?;
    let (action, letters) = match text.as_bytes() {
        [b'+', rest @ ..] => (AclAction::Add, rest),
        [b'-', rest @ ..] => (AclAction::Remove, rest),
        rest => (AclAction::Set, rest),
    };
    let rights = std::str::from_utf8(letters).ok().and_then(|letters| Rights::parse(letters).ok());
    let rights = rights.ok_or_else(|| Fail::syntax("the rights are letters of lrswipkxtean, c and d"))?;
    Ok(Command::SetAcl(SetAcl { mailbox, identifier, action, rights }))
}

pub(crate) fn delete(c: &mut Cursor<'_>) -> Parse<Command> {
    Ok(Command::DeleteAcl(both(c)?))
}

pub(crate) fn get(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    Ok(Command::GetAcl(c.mailbox()?))
}

pub(crate) fn list_rights(c: &mut Cursor<'_>) -> Parse<Command> {
    Ok(Command::ListRights(both(c)?))
}

pub(crate) fn my_rights(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    Ok(Command::MyRights(c.mailbox()?))
}

fn both(c: &mut Cursor<'_>) -> Parse<MailboxIdentifier> {
    c.space("a mailbox name")?;
    let mailbox = c.mailbox()?;
    c.space("an identifier")?;
    Ok(MailboxIdentifier { mailbox, identifier: c.astring("an identifier")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let set = |action, rights| {
            let rights = Rights::parse(rights).expect("rights");
            Command::SetAcl(SetAcl { mailbox: "INBOX".into(), identifier: "+331".into(), action, rights })
        };
        check("SETACL INBOX +331 lrs", set(AclAction::Set, "lrs"));
        check("SETACL INBOX \"+331\" +cd", set(AclAction::Add, "kxte"));
        check("setacl INBOX +331 -w", set(AclAction::Remove, "w"));
        check("SETACL INBOX +331 \"\"", set(AclAction::Set, ""));
        let both = || MailboxIdentifier { mailbox: "a b".into(), identifier: "-anyone".into() };
        check("DELETEACL \"a b\" -anyone", Command::DeleteAcl(both()));
        check("LISTRIGHTS \"a b\" -anyone", Command::ListRights(both()));
        check("GETACL INBOX", Command::GetAcl("INBOX".into()));
        check("MYRIGHTS INBOX", Command::MyRights("INBOX".into()));
    }

    #[test]
    fn refused() {
        refuse("SETACL INBOX", "identifier");
        refuse("SETACL INBOX anyone", "rights");
        refuse("SETACL INBOX anyone lrz", "lrswipkxtean");
        refuse("SETACL INBOX anyone LR", "lrswipkxtean");
        refuse("SETACL INBOX anyone +-l", "lrswipkxtean");
        refuse("DELETEACL INBOX", "identifier");
        refuse("GETACL", "mailbox name");
        refuse("MYRIGHTS", "mailbox name");
    }
}
