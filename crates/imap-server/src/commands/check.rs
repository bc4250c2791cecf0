//! `CHECK`: a checkpoint, of which there is none to make: what was answered OK is durable already.
//!
//! Source: RFC 3501 §6.4.1. Answers OK; NO `[UNAVAILABLE]` when the selected folder cannot be read now.

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;
use crate::sync;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Result<Reply, Reply> {
    sync::tell_all(session, out).await.map(|after| Reply::ok("CHECK completed").then(after))
}
