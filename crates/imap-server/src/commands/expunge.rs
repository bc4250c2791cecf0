//! `EXPUNGE`, `UID EXPUNGE set`: removes the messages that have \Deleted.
//!
//! Source: RFC 9051 §6.4.3, §6.4.9, RFC 4315 §2.1, RFC 7162 §3.2.7 (`HIGHESTMODSEQ` in the answer).
//! Answers: OK, with `[HIGHESTMODSEQ]` where CONDSTORE is enabled and something was removed; NO `[READ-ONLY]`.

use imap_wire::{Code, SequenceSet};
use model::UidSet;

use crate::connection::Output;
use crate::encode;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;

/// `uids`: of `UID EXPUNGE`; none for all messages.
pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    uids: Option<SequenceSet>,
) -> Result<Reply, Reply> {
    let view = session.writable_view()?;
    let within = uids.map(|set| view.resolve(&set, true)).transpose()?;
    if within.as_ref().is_some_and(UidSet::is_empty) {
        return Ok(Reply::ok("EXPUNGE completed, there are no such messages"));
    }
    let (account, mailbox) = (view.account, view.mailbox);
    let ctx = session.ctx();
    let outcome = patiently(session, out, session.store().expunge(&ctx, account, mailbox, within)).await??;
    if session.enabled.condstore && !outcome.uids.is_empty() {
        let code = encode::code(&Code::HighestModSeq(session.known_with(outcome.modseq).0));
        return Ok(Reply::ok_code(code, "EXPUNGE completed"));
    }
    Ok(Reply::ok("EXPUNGE completed"))
}
