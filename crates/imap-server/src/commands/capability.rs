//! `CAPABILITY`: what works in the present state.
//!
//! Source: RFC 9051 §6.1.1. Answers OK.

use crate::capabilities;
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Reply {
    let list = capabilities::list(session, out);
    out.untagged(format_args!("{list}"));
    Reply::ok("CAPABILITY completed")
}
