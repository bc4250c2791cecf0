//! `CLOSE`: removes the messages with \Deleted, silently, and leaves the mailbox. `UNSELECT`: leaves it only.
//!
//! Source: RFC 9051 §6.4.1 and §6.4.2, RFC 7162 §3.2.8 (HIGHESTMODSEQ). Answers OK; NO when the messages could not be
//! removed, and the mailbox then stays selected.

use crate::connection::Output;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn close(session: &mut Session, out: &mut Output) -> Result<Reply, Reply> {
    let view = session.view()?;
    let account = view.account;
    let mut reply = Reply::ok("CLOSE completed");
    // EXAMINE: nothing is removed, and that is no error (RFC 9051 §6.4.1).
    // Nor without the right to expunge (RFC 4314 §4).
    if !view.read_only && view.rights.has(model::Rights::EXPUNGE) {
        let (ctx, mailbox) = (session.ctx(), view.mailbox);
        let outcome =
            patiently(session, out, session.store().expunge(&ctx, account, mailbox, None)).await??;
        if session.enabled.condstore && !outcome.uids.is_empty() {
            // What others changed is not told any more: the client knows of the removal only when it knew of all
            // before it (RFC 7162 §3.2).
            let known = session.view()?.known_modseq;
            let modseq = if known.next() == outcome.modseq { outcome.modseq } else { known };
            reply.code = Some(format!("HIGHESTMODSEQ {modseq}").into());
        }
    }
    session.deselect();
    Ok(reply)
}

pub(crate) async fn unselect(session: &mut Session) -> Reply {
    session.deselect();
    Reply::ok("UNSELECT completed")
}
