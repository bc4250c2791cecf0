//! `NOOP`: nothing, but what changed in the selected folder is told at its end.
//!
//! Source: RFC 9051 §6.1.2. Answers OK; NO `[UNAVAILABLE]` when the selected folder cannot be read now.

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;
use crate::sync;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Result<Reply, Reply> {
    sync::tell_all(session, out).await.map(|after| Reply::ok("NOOP completed").then(after))
}
