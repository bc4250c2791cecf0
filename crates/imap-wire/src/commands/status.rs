//! `STATUS`.
//!
//! ```abnf
//! status     = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
//! status-att = "MESSAGES" / "RECENT" / "UIDNEXT" / "UIDVALIDITY" / "UNSEEN" / "DELETED" / "SIZE" /
//!              "HIGHESTMODSEQ" / "APPENDLIMIT" / "MAILBOXID" / "DELETED-STORAGE"
//! ```
//!
//! Source: RFC 9051 §9, RFC 3501 §9 (RECENT), RFC 7162 §7, RFC 7889 §5, RFC 8474 §7, RFC 8438 §4, RFC 9208 §7.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};
use crate::mailbox::MailboxArg;

/// Arguments of `STATUS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The mailbox.
    pub mailbox: MailboxArg,
    /// What to tell, in the client's order, each once.
    pub items: Vec<StatusItem>,
}

macro_rules! status_items {
    ($($variant:ident $name:literal $source:literal,)*) => {
        /// A data item of `STATUS`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StatusItem {
            $(#[doc = concat!("`", $name, "` (", $source, ").")] $variant,)*
        }

        impl StatusItem {
            /// Every item, in the order of the specifications.
            pub const ALL: &[StatusItem] = &[$(StatusItem::$variant,)*];

            /// The item's name, in upper case.
            pub fn name(self) -> &'static str {
                match self {
                    $(StatusItem::$variant => $name,)*
                }
            }
        }
    };
}

status_items! {
    Messages "MESSAGES" "RFC 9051 §6.3.11",
    Recent "RECENT" "RFC 3501 §6.3.10",
    UidNext "UIDNEXT" "RFC 9051 §6.3.11",
    UidValidity "UIDVALIDITY" "RFC 9051 §6.3.11",
    Unseen "UNSEEN" "RFC 9051 §6.3.11",
    Deleted "DELETED" "RFC 9051 §6.3.11",
    Size "SIZE" "RFC 9051 §6.3.11, RFC 8438",
    HighestModSeq "HIGHESTMODSEQ" "RFC 7162 §3.1.7",
    AppendLimit "APPENDLIMIT" "RFC 7889 §4",
    MailboxId "MAILBOXID" "RFC 8474 §4.3",
    DeletedStorage "DELETED-STORAGE" "RFC 9208 §4.1.4",
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    let mailbox = c.mailbox()?;
    c.space("a list of status items")?;
    Ok(Command::Status(Status { mailbox, items: items(c)? }))
}

/// `"(" status-att *(SP status-att) ")"`, as in LIST RETURN (STATUS ...) too.
pub(crate) fn items(c: &mut Cursor<'_>) -> Parse<Vec<StatusItem>> {
    let mut items = Vec::with_capacity(6);
    c.list1("status items", |c| {
        let name = c.word("a status item")?;
        let known = StatusItem::ALL.iter().find(|item| name.eq_ignore_ascii_case(item.name().as_bytes()));
        let item = *known.ok_or_else(|| Fail::syntax("one of the status items is not known"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let status =
            |items: &[StatusItem]| Command::Status(Status { mailbox: "box".into(), items: items.to_vec() });
        check("STATUS box (UIDNEXT messages)", status(&[StatusItem::UidNext, StatusItem::Messages]));
        check("STATUS \"box\" (SIZE SIZE)", status(&[StatusItem::Size]));
        let all: Vec<_> = StatusItem::ALL.iter().map(|item| item.name()).collect();
        check(&format!("STATUS box ({})", all.join(" ")), status(StatusItem::ALL));
    }

    #[test]
    fn refused() {
        refuse("STATUS box", "status items");
        refuse("STATUS box ()", "at least one");
        refuse("STATUS box MESSAGES", "in parentheses");
        refuse("STATUS box (FOO)", "not known");
        refuse("STATUS box (MESSAGES  RECENT)", "a status item");
        refuse("STATUS box (MESSAGES )", "a status item");
        refuse("STATUS box (MESSAGES", "closing parenthesis");
    }
}
