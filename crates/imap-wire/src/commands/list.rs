//! `LIST`, basic and extended.
//!
//! ```abnf
//! list             = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat
//!                    [SP "RETURN" SP "(" [return-option *(SP return-option)] ")"]
//! list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"
//! list-select-opt  = "SUBSCRIBED" / "REMOTE" / "RECURSIVEMATCH" / "SPECIAL-USE"
//! mbox-or-pat      = list-mailbox / "(" list-mailbox *(SP list-mailbox) ")"
//! return-option    = "SUBSCRIBED" / "CHILDREN" / "SPECIAL-USE" /
//!                    "STATUS" SP "(" status-att *(SP status-att) ")" /
//!                    "METADATA" SP "(" entry *(SP entry) ")"
//! ```
//!
//! Source: RFC 9051 §9, RFC 5258 §6, RFC 5819 §4, RFC 6154 §6, RFC 9590 §5.

use model::EntryName;

use crate::command::Command;
use crate::commands::metadata;
use crate::commands::status::{self, StatusItem};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};
use crate::mailbox::MailboxArg;

/// Arguments of `LIST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Which mailboxes; absent in the basic form, present if parentheses were sent, even empty.
    pub selection: Option<ListSelection>,
    /// Goes before each pattern.
    pub reference: MailboxArg,
    /// One or more, with `%` and `*`.
    pub patterns: Vec<MailboxArg>,
    /// What to tell of each mailbox; absent without `RETURN`.
    pub returns: Option<ListReturn>,
}

impl List {
    /// Whether this is the extended form (RFC 9051 §6.3.9): selection options, several patterns or `RETURN`.
    pub fn is_extended(&self) -> bool {
        self.selection.is_some() || self.patterns.len() > 1 || self.returns.is_some()
    }
}

/// Selection options of `LIST`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelection {
    /// `SUBSCRIBED`: the subscribed names, whether or not they exist.
    pub subscribed: bool,
    /// `REMOTE`: remote mailboxes too.
    pub remote: bool,
    /// `RECURSIVEMATCH`: parents of what the other options select, with CHILDINFO.
    pub recursive_match: bool,
    /// `SPECIAL-USE`: mailboxes with a use only.
    pub special_use: bool,
}

/// Return options of `LIST`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (...)`
    pub status: Option<Vec<StatusItem>>,
    /// `METADATA (...)`: these entries.
    pub metadata: Option<Vec<EntryName>>,
    /// `MYRIGHTS` (RFC 8440 §3).
    pub my_rights: bool,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a reference name")?;
    let mut selection = None;
    if c.peek() == Some(b'(') {
        selection = Some(select_options(c)?);
        c.space("a reference name")?;
    }
    let reference = c.mailbox()?;
    c.space("a mailbox pattern")?;
    let mut patterns = Vec::with_capacity(1);
    if c.peek() == Some(b'(') {
        c.list1("mailbox patterns", |c| {
            patterns.push(c.list_mailbox()?);
            Ok(())
        })?;
    } else {
        patterns.push(c.list_mailbox()?);
    }
    let mut returns = None;
    if c.eat(b' ') {
        if !c.eat_word(b"RETURN") {
            return Err(Fail::syntax("after the patterns LIST takes RETURN and a list of options"));
        }
        c.space("return options")?;
        returns = Some(return_options(c)?);
    }
    Ok(Command::List(List { selection, reference, patterns, returns }))
}

fn select_options(c: &mut Cursor<'_>) -> Parse<ListSelection> {
    let mut options = ListSelection::default();
    c.list("selection options", |c| {
        let name = c.word("a selection option")?.to_ascii_uppercase();
        match name.as_slice() {
            b"SUBSCRIBED" => options.subscribed = true,
            b"REMOTE" => options.remote = true,
            b"RECURSIVEMATCH" => options.recursive_match = true,
            b"SPECIAL-USE" => options.special_use = true,
            _ => return Err(Fail::syntax("one of the LIST selection options is not known")),
        }
        Ok(())
    })?;
    // RFC 9051 §6.3.9.1 and §9: it modifies a base option, which REMOTE and SPECIAL-USE (RFC 6154 §6) are not.
    if options.recursive_match && !options.subscribed {
        return Err(Fail::syntax("RECURSIVEMATCH needs the selection option SUBSCRIBED"));
    }
    Ok(options)
}

fn return_options(c: &mut Cursor<'_>) -> Parse<ListReturn> {
    let mut options = ListReturn::default();
    c.list("return options", |c| {
        let name = c.word("a return option")?.to_ascii_uppercase();
        match name.as_slice() {
            b"SUBSCRIBED" => options.subscribed = true,
            b"CHILDREN" => options.children = true,
            b"SPECIAL-USE" => options.special_use = true,
            b"MYRIGHTS" => options.my_rights = true,
            b"STATUS" => {
                c.space("status items")?;
                options.status = Some(status::items(c)?);
            }
            b"METADATA" => {
                c.space("names of metadata entries")?;
                options.metadata = Some(metadata::entry_list(c)?);
            }
            _ => return Err(Fail::syntax("one of the LIST return options is not known")),
        }
        Ok(())
    })?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    fn basic(reference: &'static str, patterns: &[&'static str]) -> List {
        List {
            selection: None,
            reference: reference.into(),
            patterns: patterns.iter().map(|&pattern| pattern.into()).collect(),
            returns: None,
        }
    }

    #[test]
    fn table() {
        let subscribed = ListSelection { subscribed: true, ..ListSelection::default() };
        let all_returns = ListReturn {
            subscribed: true,
            children: true,
            special_use: true,
            status: Some(vec![StatusItem::Messages, StatusItem::Size]),
            metadata: None,
            my_rights: false,
        };
        check("LIST \"\" \"\"", Command::List(basic("", &[""])));
        check("LIST /usr/staff/jones \"\"", Command::List(basic("/usr/staff/jones", &[""])));
        check("LIST ~/Mail/ %", Command::List(basic("~/Mail/", &["%"])));
        check("LIST \"\" {1}\r\n*", Command::List(basic("", &["*"])));
        check("LIST \"\" (INBOX \"Drafts\" Sent/%)", {
            Command::List(basic("", &["INBOX", "Drafts", "Sent/%"]))
        });
        check("LIST () \"\" *", {
            Command::List(List { selection: Some(ListSelection::default()), ..basic("", &["*"]) })
        });
        check("LIST (SUBSCRIBED) \"\" *", {
            Command::List(List { selection: Some(subscribed), ..basic("", &["*"]) })
        });
        check("list (remote special-use recursivematch SUBSCRIBED) \"\" *", {
            let selection =
                ListSelection { remote: true, special_use: true, recursive_match: true, ..subscribed };
            Command::List(List { selection: Some(selection), ..basic("", &["*"]) })
        });
        check("LIST \"\" % RETURN ()", {
            Command::List(List { returns: Some(ListReturn::default()), ..basic("", &["%"]) })
        });
        check("LIST \"\" % RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES SIZE))", {
            Command::List(List { returns: Some(all_returns), ..basic("", &["%"]) })
        });
    }

    #[test]
    fn my_rights() {
        let returns = ListReturn { my_rights: true, ..ListReturn::default() };
        let list = List { returns: Some(returns), ..basic("", &["*"]) };
        check("LIST \"\" * RETURN (MyRights)", Command::List(list));
    }

    #[test]
    fn metadata() {
        let entry = |text: &str| EntryName::parse(text.as_bytes()).expect("an entry");
        let entries = vec![entry("/private/a"), entry("/shared/b")];
        let returns = ListReturn { metadata: Some(entries), ..ListReturn::default() };
        check("LIST \"\" * RETURN (METADATA (/private/a \"/shared/b\"))", {
            Command::List(List { returns: Some(returns), ..basic("", &["*"]) })
        });
        refuse("LIST \"\" * RETURN (METADATA)", "names of metadata entries");
        refuse("LIST \"\" * RETURN (METADATA (a))", "a path");
    }

    #[test]
    fn extended() {
        assert!(!basic("", &["*"]).is_extended());
        assert!(basic("", &["a", "b"]).is_extended());
        assert!(List { selection: Some(ListSelection::default()), ..basic("", &["*"]) }.is_extended());
        assert!(List { returns: Some(ListReturn::default()), ..basic("", &["*"]) }.is_extended());
    }

    #[test]
    fn refused() {
        refuse("LIST", "reference name");
        refuse("LIST \"\"", "mailbox pattern");
        refuse("LIST \"\" ()", "at least one");
        refuse("LIST (FOO) \"\" *", "selection options");
        refuse("LIST (RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH needs");
        refuse("LIST (RECURSIVEMATCH REMOTE) \"\" *", "RECURSIVEMATCH needs");
        refuse("LIST (SPECIAL-USE RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH needs");
        refuse("LIST \"\" ((INBOX))", "mailbox pattern");
        refuse("LIST (SUBSCRIBED (x)) \"\" *", "selection option");
        refuse("LIST \"\" * RETURNS (CHILDREN)", "takes RETURN");
        refuse("LIST \"\" * CHILDREN", "takes RETURN");
        refuse("LIST \"\" * RETURN", "return options");
        refuse("LIST \"\" * RETURN (FOO)", "not known");
        refuse("LIST \"\" * RETURN (STATUS)", "status items");
        refuse("LIST \"\" * RETURN (STATUS ())", "at least one");
    }
}
