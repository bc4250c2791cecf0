//! `AUTHENTICATE mechanism [initial-response]`: a login by SASL.
//!
//! Source: RFC 9051 §6.2.2, RFC 4959 (initial response), RFC 5802 and RFC 7677 (SCRAM), RFC 4616 (PLAIN),
//! RFC 4422 appendix A (EXTERNAL), RFC 7628 (OAUTHBEARER).
//! Answers OK `[CAPABILITY …]`; NO `[AUTHENTICATIONFAILED]`, `[AUTHORIZATIONFAILED]`, `[EXPIRED]`, `[PRIVACYREQUIRED]`,
//! `[UNAVAILABLE]`, `[LIMIT]`, and NO without a code for a mechanism that is not offered; BAD for what is not base64 or
//! does not follow the mechanism, and for `*`, by which a client cancels.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imap_wire::command::Authenticate;
use imap_wire::{Mode, Step};
use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroizing;
use store_api::Credentials;
use vouch::oauth::Refusal;

use crate::auth::attempt::Attempt;
use crate::auth::oauth::BearerFirst;
use crate::auth::sasl::{Bindings, Exchange, Progress, ScramFirst};
use crate::auth::{self, Failure, Mechanism, Principal};
use crate::commands::login::privacy_required;
use crate::connection::{Input, Output};
use crate::reply::{After, Reply};
use crate::session::Session;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    command: Authenticate,
) -> Result<Reply, Reply> {
    let mechanism = offered(session, out, &command.mechanism)?;
    input.reader().set_mode(Mode::Auth);
    let result = exchange(session, out, input, mechanism, command.initial_response.as_deref()).await;
    input.reader().set_mode(Mode::Command);
    if result.is_ok() {
        input.logged_in(session);
    }
    result
}

/// The mechanism of that name, if it can be used here.
fn offered(session: &Session, out: &Output, name: &[u8]) -> Result<Mechanism, Reply> {
    match Mechanism::parse(name) {
        Some(mechanism) if mechanism.is_offered(session, out) => Ok(mechanism),
        Some(mechanism) if mechanism.is_cleartext() => Err(privacy_required(session, out)),
        Some(Mechanism::External) => Err(Reply::no(
            "this mechanism needs TLS with a client certificate, or a key, that names an account",
        )),
        Some(Mechanism::OAuthBearer) if session.server.options.tokens.is_none() => {
            Err(unsupported(session, out))
        }
        Some(Mechanism::OAuthBearer) => {
            Err(Reply::no_code("PRIVACYREQUIRED", "tokens are not taken without TLS"))
        }
        Some(_) => Err(Reply::no("this mechanism needs TLS")),
        None => Err(unsupported(session, out)),
    }
}

fn unsupported(session: &Session, out: &Output) -> Reply {
    let offered = Mechanism::ALL.into_iter().filter(|m| m.is_offered(session, out));
    let names: Vec<_> = offered.map(Mechanism::name).collect();
    Reply::no(format!("this mechanism is not supported; use one of {}", names.join(", ")))
}

async fn exchange(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    mechanism: Mechanism,
    initial: Option<&[u8]>,
) -> Result<Reply, Reply> {
    let mut began = Instant::now();
    let mut initial = initial.map(decode_initial).transpose()?;
    let bindings = out.tls().map(|tls| {
        let certificate = out.shown().and_then(|shown| shown.certificate.as_ref());
        Bindings::new(tls, certificate.map(AsRef::as_ref))
    });
    let broken = || Reply::bad("the response does not follow the mechanism");

    if mechanism == Mechanism::External {
        let name = match initial.take() {
            Some(name) => name,
            None => ask(out, input, b"").await?,
        };
        let name = std::str::from_utf8(&name).map_err(|_| broken())?;
        return auth::certificate_login(session, out, name).await;
    }
    if mechanism == Mechanism::OAuthBearer {
        let first = match initial.take() {
            Some(first) => first,
            None => ask(out, input, b"").await?,
        };
        return bearer(session, out, input, &first).await;
    }
    let mut principal = None;
    let mut scram = None;
    let mut message = None;
    let mut verifier = None;
    if mechanism != Mechanism::Login {
        // The client speaks first.
        let first = match initial.take() {
            Some(first) => first,
            None => ask(out, input, b"").await?,
        };
        if !mechanism.is_cleartext() {
            let said = ScramFirst::parse(&first).ok_or_else(broken)?;
            let plus = mechanism == Mechanism::ScramSha256Plus;
            if said.binding.is_some() != plus {
                return Err(Reply::bad(
                    "channel binding is used with the -PLUS form of the mechanism, and only with it",
                ));
            }
            if said.binding.as_ref().is_some_and(|name| !bindings.as_ref().is_some_and(|b| b.has(name))) {
                return Err(Reply::no("this channel binding is not supported; use tls-exporter"));
            }
            let attempt = Attempt::of(mechanism.name(), &said.user);
            auth::check_rate(session, &attempt)?;
            principal = auth::find_principal(session, &attempt, &said.user).await?;
            verifier = Some(match principal.as_ref().map(Principal::credentials) {
                Some(Credentials::Scram(verifier)) => verifier.clone(),
                _ => session.server.auth.decoy(&attempt.counted_by),
            });
            scram = Some((attempt, said.authorize_as));
        }
        message = Some(first);
    }

    let mut exchange = Exchange::new(mechanism, verifier, bindings)
        .ok_or_else(|| Reply::no_code("SERVERBUG", "the mechanism could not be started"))?;
    loop {
        if let Some((attempt, _)) = &scram {
            // Exchanges may have begun together, before the first of them failed.
            auth::check_rate(session, attempt)?;
        }
        match exchange.step(message.as_deref().map(Vec::as_slice)) {
            Progress::Challenge(challenge) => {
                message = Some(match initial.take() {
                    // Some clients send the user name ahead with LOGIN, though the server speaks first in it.
                    Some(ahead) => ahead,
                    None => ask(out, input, &challenge).await?,
                });
                // What the client took to answer is not the server's time.
                began = Instant::now();
            }
            Progress::Password { user, authorize_as, password } => {
                let (by, authorize_as) = (mechanism.name(), authorize_as.as_deref());
                return auth::password_login(session, out, by, &user, authorize_as, password).await;
            }
            Progress::Proven(last) => {
                if !ask(out, input, &last).await?.is_empty() {
                    return Err(broken());
                }
                let (Some(principal), Some((attempt, authorize_as))) = (principal, scram) else {
                    return Err(Reply::no_code("SERVERBUG", "a login without an account"));
                };
                let attempt = attempt.since(began);
                return auth::admit(session, out, &principal, authorize_as.as_deref(), &attempt).await;
            }
            Progress::Refused => {
                let unnamed = || Attempt::of(mechanism.name(), "");
                let attempt = scram.map_or_else(unnamed, |(attempt, _)| attempt);
                return Err(auth::refuse(session, out, &attempt.since(began), Failure::Credentials).await);
            }
            Progress::Malformed => return Err(broken()),
        }
    }
}

/// A login by a token. One that is not taken is answered with why, in JSON, which the client takes note of with a message
/// that says nothing (RFC 7628 §3.2.3).
async fn bearer(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    first: &[u8],
) -> Result<Reply, Reply> {
    let said =
        BearerFirst::parse(first).ok_or_else(|| Reply::bad("the response does not follow the mechanism"))?;
    let server = session.server.clone();
    let Some(tokens) = &server.options.tokens else { return Err(unsupported(session, out)) };
    let named = said.authorize_as.as_deref();
    let attempt = Attempt::of_token(Mechanism::OAuthBearer.name(), named, said.counted_by());
    auth::check_rate(session, &attempt)?;
    let refusal = match tokens.check(said.token.expose_secret()).await {
        Ok(subject) => {
            return auth::token_login(session, out, &subject, named, attempt).await;
        }
        Err(Refusal::NoKeys) => {
            return Err(Reply::no_code("UNAVAILABLE", "tokens cannot be checked now, try again later"));
        }
        Err(refusal) => refusal,
    };
    tracing::debug!(connection = session.id, refusal = refusal.name(), "a token was refused");
    let failure = match refusal {
        Refusal::Expired => Failure::Expired,
        Refusal::Scope => Failure::Scope,
        _ => Failure::Token,
    };
    let heard = ask(out, input, tokens.challenge(refusal).as_bytes()).await;
    // Whatever the client makes of it, and if it is gone, it failed.
    let refused = auth::refuse(session, out, &attempt, failure).await;
    match heard {
        Err(ended) if ended.after != After::Continue => Err(ended),
        Err(cancelled) => Err(cancelled.then(refused.after)),
        Ok(_) => Err(refused),
    }
}

/// Sends a challenge and reads the answer.
async fn ask(out: &mut Output, input: &mut Input, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reply> {
    out.line(format_args!("+ {}", STANDARD.encode(challenge)));
    match input.step(out).await? {
        Step::AuthLine(line) if &line[..] == b"*" => Err(Reply::bad("AUTHENTICATE cancelled")),
        Step::AuthLine(line) => decode(&line),
        Step::Bad(error) => Err(error.into()),
        Step::Fatal(error) => {
            out.untagged(format_args!("BYE [TOOBIG] {}", error.message));
            Err(Reply::bad(error.message).then(After::Close))
        }
        _ => Err(Reply::bad("expected a line of base64")),
    }
}

/// An initial response; `=` stands for an empty one (RFC 4959 §3).
fn decode_initial(line: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reply> {
    if line == b"=" { Ok(Zeroizing::default()) } else { decode(line) }
}

fn decode(line: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reply> {
    STANDARD.decode(line).map(Zeroizing::new).map_err(|_| Reply::bad("the response is not base64"))
}
