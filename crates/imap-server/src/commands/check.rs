//! `CHECK`: a checkpoint, of which there is none to make: what was answered OK is durable already.
//!
//! Source: RFC 3501 §6.4.1. Answers OK.

use crate::reply::Reply;

pub(crate) async fn run() -> Reply {
    Reply::ok("CHECK completed")
}
