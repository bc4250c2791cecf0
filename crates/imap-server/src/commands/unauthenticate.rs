//! `UNAUTHENTICATE`: back to the state before login, on the same connection.
//!
//! Source: RFC 8437. Answers OK. The selected folder is left without expunge, all that was enabled is off; TLS and
//! COMPRESS stay, being the connection's and not the login's. Failed logins before it still count.

use crate::connection::Input;
use crate::reply::Reply;
use crate::session::{Enabled, Session};

pub(crate) async fn run(session: &mut Session, input: &mut Input) -> Reply {
    session.deselect();
    session.login = None;
    session.enabled = Enabled::default();
    input.logged_out(session);
    Reply::ok("logged out of the account, the connection stays")
}
