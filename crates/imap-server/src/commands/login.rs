//! `LOGIN userid password`: a login by address (`tel:` and `sip:` may be left out) and password.
//!
//! Source: RFC 9051 §6.2.3. Answers OK `[CAPABILITY …]`; NO `[AUTHENTICATIONFAILED]`, `[AUTHORIZATIONFAILED]`,
//! `[PRIVACYREQUIRED]`, `[UNAVAILABLE]`, `[LIMIT]`.

use imap_wire::command::Login;

use crate::auth;
use crate::connection::{Input, Output};
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    login: Login,
) -> Result<Reply, Reply> {
    if !session.may_send_password(out) {
        return Err(privacy_required(session, out));
    }
    // What is not text is nobody's name; the log shows that something was there.
    let user = String::from_utf8_lossy(login.user.as_bytes()).into_owned();
    let password = login.password.as_bytes().to_vec().into();
    let reply = auth::password_login(session, out, "LOGIN command", &user, None, password).await?;
    input.logged_in(session);
    Ok(reply)
}

/// The refusal of a password in clear.
pub(crate) fn privacy_required(session: &Session, out: &Output) -> Reply {
    let way = if session.may_start_tls(out) { "use STARTTLS first" } else { "connect with TLS" };
    Reply::no_code("PRIVACYREQUIRED", format!("passwords are not taken without TLS here; {way}"))
}
