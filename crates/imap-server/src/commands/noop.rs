//! `NOOP`: nothing, but what changed in the selected folder is told at its end.
//!
//! Source: RFC 9051 §6.1.2. Answers OK; NO `[UNAVAILABLE]` when the selected folder cannot be read now.

use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session) -> Result<Reply, Reply> {
    session.look().await?;
    Ok(Reply::ok("NOOP completed"))
}
