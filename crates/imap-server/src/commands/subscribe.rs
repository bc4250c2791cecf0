//! `SUBSCRIBE mailbox` and `UNSUBSCRIBE mailbox`.
//!
//! Source: RFC 9051 §6.3.7 and §6.3.8. Answers OK, also for a name that does not exist, or is subscribed or not already:
//! clients subscribe to what they are about to make. NO `[CANNOT]` for a name that no mailbox can have; `[LIMIT]`.

use imap_wire::MailboxArg;

use crate::notify::names::OwnChange;
use crate::others::canonical;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn subscribe(session: &mut Session, arg: MailboxArg) -> Result<Reply, Reply> {
    change(session, arg, true).await?;
    Ok(Reply::ok("SUBSCRIBE completed"))
}

pub(crate) async fn unsubscribe(session: &mut Session, arg: MailboxArg) -> Result<Reply, Reply> {
    change(session, arg, false).await?;
    Ok(Reply::ok("UNSUBSCRIBE completed"))
}

async fn change(session: &mut Session, arg: MailboxArg, subscribed: bool) -> Result<(), Reply> {
    let name = session.mailbox_name(&arg)?;
    session.store().subscribe(&session.ctx(), session.account()?, &name, subscribed).await?;
    session.note_own(OwnChange::Subscribed(canonical(name), subscribed));
    Ok(())
}
