//! `DELETE mailbox`: a mailbox and its messages. One with children stays as a name that cannot be selected.
//!
//! Source: RFC 9051 §6.3.5, RFC 3501 §6.3.4. Answers OK; NO `[NONEXISTENT]`, `[CANNOT]` (INBOX, system folders),
//! `[HASCHILDREN]`. The selected mailbox may be deleted too; then none is selected. Sessions elsewhere that have it
//! selected are told by BYE (RFC 2180 §3.3).

use imap_wire::MailboxArg;
use model::ErrorKind;

use crate::connection::Output;
use crate::notify::names::OwnChange;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, arg: MailboxArg) -> Result<Reply, Reply> {
    let name = match session.mailbox_name(&arg) {
        Err(reply) if reply.code.as_deref() == Some("CANNOT") => {
            return Err(reply.with_code(ErrorKind::NoSuchMailbox.wire().0));
        }
        other => other?,
    };
    let account = session.account()?;
    session.store().delete_folder(&session.ctx(), account, &name).await?;
    session.note_own(OwnChange::Deleted(name));
    let selected = session.view.as_ref().map(|view| view.mailbox);
    if let Some(mailbox) = selected {
        let tree = session.folders().await?;
        if tree.by_id(mailbox).is_none_or(|entry| entry.noselect) {
            session.view = None;
            if session.enabled.qresync || session.enabled.rev2 {
                out.untagged(format_args!("OK [CLOSED] the selected mailbox is deleted"));
            }
        }
    }
    Ok(Reply::ok("DELETE completed"))
}
