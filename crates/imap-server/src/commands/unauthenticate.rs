//! `UNAUTHENTICATE`: back to the state before login, on the same connection.
//!
//! Source: RFC 8437. Answers OK. The selected folder is left without expunge, all that was enabled is off, `$` is empty,
//! and COMPRESS ends behind the OK (§4.1), for the client behind its command; only TLS stays (§3). Failed logins before
//! it still count.

use crate::connection::{Input, Output};
use crate::reply::{After, Reply};
use crate::session::{Enabled, Session};

pub(crate) async fn run(session: &mut Session, out: &Output, input: &mut Input) -> Reply {
    session.deselect();
    session.notify = None;
    session.login = None;
    session.device = session.proven_device().cloned();
    session.enabled = Enabled::default();
    input.logged_out(session);
    let reply = Reply::ok("logged out of the account, the connection stays");
    if out.is_deflated() { reply.then(After::EndDeflate) } else { reply }
}
