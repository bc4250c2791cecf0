//! `GETQUOTA root`, `GETQUOTAROOT mailbox`, `SETQUOTA root (…)`: what an account may use.
//!
//! One root, named `""`, for all mailboxes of an account, with the resources STORAGE (units of 1024 octets) and
//! MESSAGE; a resource without a limit is not listed, and an account without any has no root. Limits are the
//! operator's to set.
//!
//! Source: RFC 9208 §4 and §5. Answers OK; NO `[NONEXISTENT]` for another root, `[NOPERM]` for SETQUOTA.

use imap_wire::{IString, MailboxArg};
use store_api::Quota;

use crate::connection::Output;
use crate::encode;
use crate::others;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn get_quota(
    session: &mut Session,
    out: &mut Output,
    root: IString,
) -> Result<Reply, Reply> {
    let missing = || Reply::no_code("NONEXISTENT", "there is no quota root of that name");
    if !root.is_empty() {
        return Err(missing());
    }
    let quota = session.store().quota(&session.ctx(), session.account()?).await?;
    let line = quota_line(&quota).ok_or_else(missing)?;
    out.untagged(format_args!("{line}"));
    Ok(Reply::ok("GETQUOTA completed"))
}

pub(crate) async fn get_quota_root(
    session: &mut Session,
    out: &mut Output,
    mailbox: MailboxArg,
) -> Result<Reply, Reply> {
    // It need not exist: RFC 9208 §4.1.2 lets a client ask which root a mailbox would come under.
    let name = session.mailbox_name(&mailbox)?;
    // What another user may use is theirs to know.
    let line = match others::split(name.as_str()) {
        Some(_) => None,
        None => quota_line(&session.store().quota(&session.ctx(), session.account()?).await?),
    };
    out.push(b"* QUOTAROOT ");
    encode::mailbox(out.text(), name.as_str(), session.mailbox_encoding());
    out.push(if line.is_some() { b" \"\"\r\n" } else { b"\r\n" });
    if let Some(line) = line {
        out.untagged(format_args!("{line}"));
    }
    Ok(Reply::ok("GETQUOTAROOT completed"))
}

pub(crate) async fn set_quota() -> Reply {
    Reply::no_code("NOPERM", "only the operator sets quotas")
}

/// The QUOTA response; none without limits.
fn quota_line(quota: &Quota) -> Option<String> {
    let mut resources = Vec::new();
    if let Some(limit) = quota.limits.bytes {
        // Whole units: what is used is not less, what is left not more than it is.
        resources.push(format!("STORAGE {} {}", quota.usage.bytes.div_ceil(1024), limit / 1024));
    }
    if let Some(limit) = quota.limits.messages {
        resources.push(format!("MESSAGE {} {limit}", quota.usage.messages));
    }
    (!resources.is_empty()).then(|| format!("QUOTA \"\" ({})", resources.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_api::{QuotaLimits, QuotaUsage};

    #[test]
    fn lines() {
        let usage = QuotaUsage { bytes: 1025, messages: 3, ..QuotaUsage::default() };
        let line = |bytes, messages| quota_line(&Quota { usage, limits: QuotaLimits { bytes, messages } });
        assert_eq!(line(None, None), None);
        assert_eq!(line(Some(4096), None).as_deref(), Some(r#"QUOTA "" (STORAGE 2 4)"#));
        assert_eq!(line(Some(4096), Some(9)).as_deref(), Some(r#"QUOTA "" (STORAGE 2 4 MESSAGE 3 9)"#));
    }
}
