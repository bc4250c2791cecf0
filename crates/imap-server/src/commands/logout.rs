//! `LOGOUT`: untagged BYE, OK, and the connection ends.
//!
//! Source: RFC 9051 §6.1.3. What NOTIFY told a device is noted, so that next time it is told of what changed since.

use crate::connection::Output;
use crate::notify::away;
use crate::reply::{After, Reply};
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Reply {
    Box::pin(away::leave(session)).await;
    session.deselect();
    out.untagged(format_args!("BYE logging out"));
    Reply::ok("LOGOUT completed").then(After::Close)
}
