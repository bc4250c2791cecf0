//! `NOOP`: nothing, but what changed in the selected folder is told at its end.
//!
//! Source: RFC 9051 §6.1.2. Answers OK.

use crate::reply::Reply;

pub(crate) async fn run() -> Reply {
    Reply::ok("NOOP completed")
}
