//! `CHECK`: a checkpoint, of which there is none to make: what was answered OK is durable already.
//!
//! Source: RFC 3501 §6.4.1. Answers OK; NO `[UNAVAILABLE]` when the selected folder cannot be read now.

use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session) -> Result<Reply, Reply> {
    session.look().await?;
    Ok(Reply::ok("CHECK completed"))
}
