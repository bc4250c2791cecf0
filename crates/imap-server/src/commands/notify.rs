//! `NOTIFY SET [STATUS] (mailboxes events) …`, `NOTIFY NONE`: what the client is told without asking, also between
//! commands, also of mailboxes that it has not selected.
//!
//! Source: RFC 5465 §3.1. SET ends as NOOP does: what changed in the selected mailbox is told, as far as it is wished
//! for. Answers OK; NO `[BADEVENT]` with the events that there are, `[NOTIFICATIONOVERFLOW]` for too many mailboxes; what
//! was set before stays then. A device that said who it is, by ID or certificate, is told of the mailboxes that changed since
//! it was last told; `OK [XCPM-RESYNC]` says that names changed meanwhile, and that it is to list them.

use imap_wire::command::Notify as Arguments;

use crate::connection::Output;
use crate::notify::{Notify, away};
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    arguments: Arguments,
) -> Result<Reply, Reply> {
    let notify = match arguments {
        Arguments::None => {
            away::leave(session).await;
            Notify::default()
        }
        Arguments::Set { status, groups } => Notify::set(session, out, groups, status).await?,
    };
    session.notify = Some(Box::new(notify));
    Ok(Reply::ok("NOTIFY completed"))
}
