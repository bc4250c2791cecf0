//! `LOGOUT`: untagged BYE, OK, and the connection ends.
//!
//! Source: RFC 9051 §6.1.3.

use crate::connection::Output;
use crate::reply::{After, Reply};
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Reply {
    session.deselect();
    out.untagged(format_args!("BYE logging out"));
    Reply::ok("LOGOUT completed").then(After::Close)
}
