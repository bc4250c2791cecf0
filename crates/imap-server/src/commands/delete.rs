//! `DELETE mailbox`: a mailbox and its messages. One with children stays as a name that cannot be selected; or, where the
//! account's class of service says so, the children go along, all or none: those of a conversation. A client that asked for
//! NOTIFY is told of those, which it did not name.
//!
//! Source: RFC 9051 §6.3.5, RFC 3501 §6.3.4. Answers OK; NO `[NONEXISTENT]`, `[CANNOT]` (INBOX, system folders),
//! `[HASCHILDREN]`, `[NOPERM]` (also for one of the children), `[LIMIT]` (too many children). The selected mailbox may be
//! deleted too; then none is selected. Sessions elsewhere that have one of them selected are told by BYE (RFC 2180 §3.3).

use std::sync::Arc;

use imap_wire::MailboxArg;
use model::ErrorKind;

use crate::connection::Output;
use crate::notify::names::OwnChange;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, arg: MailboxArg) -> Result<Reply, Reply> {
    let place = match session.place(&arg).await {
        Err(reply) if reply.code.as_deref() == Some("CANNOT") => {
            return Err(reply.with_code(ErrorKind::NoSuchMailbox.wire().0));
        }
        other => other?,
    };
    session.store().delete_folder(&session.ctx(), place.account, &place.name).await?;
    if let Some(name) = place.shown() {
        session.note_own(OwnChange::Deleted(name));
    }
    let selected = session.view.as_ref().filter(|view| view.account == place.account);
    if let Some(mailbox) = selected.map(|view| view.mailbox) {
        let tree = match session.store().folders(&session.ctx(), place.account).await {
            // It was the last that another user showed.
            Err(error) if error.kind() == ErrorKind::NoSuchMailbox => Arc::default(),
            tree => tree?,
        };
        if tree.by_id(mailbox).is_none_or(|entry| entry.noselect) {
            session.view = None;
            if session.enabled.qresync || session.enabled.rev2 {
                out.untagged(format_args!("OK [CLOSED] the selected mailbox is deleted"));
            }
        }
    }
    Ok(Reply::ok("DELETE completed"))
}
