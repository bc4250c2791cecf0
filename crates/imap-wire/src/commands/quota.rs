//! `GETQUOTA`, `GETQUOTAROOT`, `SETQUOTA`.
//!
//! ```abnf
//! getquota        = "GETQUOTA" SP quota-root-name
//! getquotaroot    = "GETQUOTAROOT" SP mailbox
//! setquota        = "SETQUOTA" SP quota-root-name SP setquota-list
//! setquota-list   = "(" [setquota-resource *(SP setquota-resource)] ")"
//! setquota-resource = resource-name SP resource-limit
//! quota-root-name = astring
//! resource-name   = "STORAGE" / "MESSAGE" / "MAILBOX" / "ANNOTATION-STORAGE" / atom
//! resource-limit  = number64
//! ```
//!
//! Source: RFC 9208 §7.

use bytes::Bytes;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;
use crate::string::IString;

/// Arguments of `SETQUOTA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetQuota {
    /// The quota root.
    pub root: IString,
    /// Resource names as sent and their limits; `STORAGE` in units of 1024 octets.
    pub limits: Vec<(Bytes, u64)>,
}

pub(crate) fn get_quota(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a quota root")?;
    c.astring("a quota root").map(Command::GetQuota)
}

pub(crate) fn get_quota_root(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    c.mailbox().map(Command::GetQuotaRoot)
}

pub(crate) fn set_quota(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a quota root")?;
    let root = c.astring("a quota root")?;
    c.space("a list of resources and limits")?;
    let mut limits = Vec::new();
    c.list("resources and limits", |c| {
        let name = c.atom("a resource name")?;
        c.space("the resource's limit")?;
        limits.push((name, c.number63("a resource limit")?));
        Ok(())
    })?;
    Ok(Command::SetQuota(SetQuota { root, limits }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        check("GETQUOTA \"\"", Command::GetQuota("".into()));
        check("GETQUOTA !partition/sda4", Command::GetQuota("!partition/sda4".into()));
        check("GETQUOTAROOT INBOX", Command::GetQuotaRoot("INBOX".into()));
        check("SETQUOTA \"\" (STORAGE 512 message 9)", {
            let limits = vec![("STORAGE".into(), 512), ("message".into(), 9)];
            Command::SetQuota(SetQuota { root: "".into(), limits })
        });
        check("SETQUOTA x ()", Command::SetQuota(SetQuota { root: "x".into(), limits: vec![] }));
    }

    #[test]
    fn refused() {
        refuse("GETQUOTA", "quota root");
        refuse("GETQUOTAROOT", "mailbox name");
        refuse("SETQUOTA x", "resources");
        refuse("SETQUOTA x (STORAGE)", "limit");
        refuse("SETQUOTA x (STORAGE -1)", "a number");
        refuse("SETQUOTA x (STORAGE 9223372036854775808)", "too large");
    }
}
