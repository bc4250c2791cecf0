//! `STARTTLS`: TLS begins behind the tagged OK.
//!
//! Source: RFC 9051 §6.2.1. Answers OK; BAD when TLS is on, NO when there is no certificate. What the client sent
//! ahead of the handshake is thrown away by the connection, which may be what somebody put in on the way.

use crate::connection::Output;
use crate::reply::{After, Reply};
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Reply {
    if session.may_start_tls(out) {
        return Reply::ok("begin the TLS handshake now").then(After::StartTls);
    }
    if out.tls().is_some() {
        return Reply::bad("TLS is on already");
    }
    if out.is_deflated() {
        return Reply::bad("STARTTLS cannot follow COMPRESS");
    }
    Reply::no("TLS is not configured here")
}
