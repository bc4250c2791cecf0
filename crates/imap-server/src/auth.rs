//! Who may log in: the checks of passwords, the slow-down, and what a failed login is told.
//!
//! A login that fails says the same, after the same time, whether the account exists, has no password, or the
//! password is wrong: an address without an account is checked against a decoy, and every failure is held for a time
//! that is longer than a check. Network functions (see [`crate::functions`]) are checked the same way; one that proved who
//! it is may name any account as its authorization identity, which subscribers may not. A right password spares the derivation for a while: what is kept is an HMAC of it
//! under a key of this process, together with the verifier, so that a changed password is checked anew.

pub(crate) mod attempt;
pub(crate) mod certificate;
pub(crate) mod limiter;
pub(crate) mod oauth;
pub(crate) mod sasl;

use std::net::IpAddr;
use std::sync::Arc;

use imap_wire::Capability;
use model::{CpmAddress, ErrorKind};
use moka::sync::Cache;
use rand::RngCore;
use secrecy::{ExposeSecret, SecretSlice};
use store_api::{Account, AccountState, Credentials, Ctx, Requestor, ScramVerifier};
use tokio::sync::Semaphore;

use crate::config::Options;
use crate::connection::Output;
use crate::credentials::{SALT_BYTES, SCRAM_ITERATIONS, hmac_of, verify};
use crate::functions::NetworkFunction;
use crate::reply::{After, Reply};
use crate::session::{Session, SessionOf};
use crate::telemetry;
use attempt::Attempt;
use limiter::Limiter;

/// Passwords that were right lately, at most; about 100 bytes each.
const REMEMBERED_MAX: u64 = 200_000;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// RFC 4422 appendix A: the client's certificate.
    External,
    /// RFC 7628: a bearer token.
    OAuthBearer,
    /// RFC 7677 with channel binding (RFC 5802 §6).
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login-00.
    Login,
}

impl Mechanism {
    /// All, the one to prefer first.
    pub const ALL: [Self; 6] = [
        Self::External,
        Self::OAuthBearer,
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::Plain,
        Self::Login,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// How it is offered.
    pub fn capability(self) -> Capability {
        match self {
            Self::External => Capability::AuthExternal,
            Self::OAuthBearer => Capability::AuthOAuthBearer,
            Self::ScramSha256Plus => Capability::AuthScramSha256Plus,
            Self::ScramSha256 => Capability::AuthScramSha256,
            Self::Plain => Capability::AuthPlain,
            Self::Login => Capability::AuthLogin,
        }
    }

    /// The mechanism of that name, compared without case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|m| name.eq_ignore_ascii_case(m.name().as_bytes()))
    }

    /// Whether it sends the password itself.
    pub fn is_cleartext(self) -> bool {
        matches!(self, Self::Plain | Self::Login)
    }

    /// Whether it is offered on this connection.
    pub fn is_offered(self, session: &Session, out: &Output) -> bool {
        match self {
            // A certificate that names a device only logs nobody in.
            Self::External => session.certificate.as_ref().is_some_and(|c| !c.addresses.is_empty()),
            // RFC 7628 §4: who sees a token has it. Not on loopback either, where passwords may go in clear for trying out.
            Self::OAuthBearer => session.server.options.tokens.is_some() && out.is_private(),
            Self::ScramSha256Plus => out.tls().is_some(),
            Self::ScramSha256 => true,
            Self::Plain | Self::Login => session.may_send_password(out),
        }
    }
}

/// Who a user name names.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    /// The owner of an account.
    Subscriber(Arc<Account>),
    /// A program of the operator's.
    Function(Arc<NetworkFunction>),
}

impl Principal {
    pub fn credentials(&self) -> &Credentials {
        match self {
            Self::Subscriber(account) => &account.credentials,
            Self::Function(function) => &function.credentials,
        }
    }

    /// What failures are counted by.
    fn name(&self) -> &str {
        match self {
            Self::Subscriber(account) => account.address.as_str(),
            Self::Function(function) => function.name.as_str(),
        }
    }
}

/// Why a login failed, for the metric and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No such account, no such password: the client cannot tell which.
    Credentials,
    /// The account is disabled; told only after the password was right.
    Disabled,
    /// To act for another.
    Authorization,
    /// The token was good once.
    Expired,
    /// The token is none of those taken.
    Token,
    /// The token does not allow this.
    Scope,
}

/// What all logins share.
pub(crate) struct Authenticator {
    decoy_key: SecretSlice<u8>,
    memory_key: [u8; 32],
    remembered: Cache<[u8; 32], ()>,
    checks: Arc<Semaphore>,
    pub limiter: Limiter,
}

impl Authenticator {
    pub fn new(options: &Options) -> Self {
        let random = || {
            let mut key = [0; 32];
            rand::rng().fill_bytes(&mut key);
            key
        };
        let limits = &options.limits;
        Self {
            decoy_key: options.decoy_key.clone().unwrap_or_else(|| random().to_vec().into()),
            memory_key: random(),
            remembered: Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(limits.password_memory)
                .build(),
            checks: Arc::new(Semaphore::new(limits.password_checks_max.max(1))),
            limiter: Limiter::new(limits),
        }
    }

    /// The verifier that an address without an account is checked against: always the same for the same address, and
    /// of the form that accounts are given.
    pub fn decoy(&self, address: &str) -> ScramVerifier {
        let part = |label: &[u8]| hmac_of(self.decoy_key.expose_secret(), [label, b"\0", address.as_bytes()]);
        ScramVerifier {
            iterations: SCRAM_ITERATIONS,
            salt: part(b"salt")[..SALT_BYTES].to_vec(),
            stored_key: part(b"stored key"),
            server_key: part(b"server key"),
        }
    }

    /// Whether `password` is the principal's; without one it takes as long and is not. None when so many logins failed
    /// while this one waited that it is not looked at.
    async fn check(
        &self,
        principal: Option<&Principal>,
        (peer, address): (IpAddr, &str),
        password: SecretSlice<u8>,
    ) -> Option<bool> {
        let credentials = match principal.map(Principal::credentials) {
            None | Some(Credentials::None) => Credentials::Scram(self.decoy(address)),
            Some(credentials) => credentials.clone(),
        };
        let mark = principal.map(|principal| self.mark(principal, &credentials, &password));
        if mark.is_some_and(|mark| self.remembered.contains_key(&mark)) {
            return Some(true);
        }
        if costs_nothing(&credentials) {
            return Some(verify(&credentials, &password) && principal.is_some());
        }
        // The semaphore is never closed.
        let permit = self.checks.clone().acquire_owned().await.ok()?;
        // Guesses that came all at once were let in together.
        if self.limiter.is_blocked(peer, address) {
            return None;
        }
        let right = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify(&credentials, &password)
        })
        .await
        .unwrap_or(false);
        let right = right && principal.is_some();
        if let Some(mark) = mark.filter(|_| right) {
            self.remembered.insert(mark, ());
        }
        Some(right)
    }

    /// What is remembered of a right password: nothing that helps to find it without the key of this process.
    fn mark(&self, principal: &Principal, credentials: &Credentials, password: &SecretSlice<u8>) -> [u8; 32] {
        let id = match principal {
            Principal::Subscriber(account) => account.id.0.to_be_bytes().to_vec(),
            Principal::Function(function) => [b"function ", function.name.as_str().as_bytes()].concat(),
        };
        let verifier: &[u8] = match credentials {
            Credentials::None => &[],
            Credentials::Scram(verifier) => &verifier.stored_key,
            Credentials::Argon2(hash) => hash.as_bytes(),
        };
        let lengths = [id.len() as u64, verifier.len() as u64].map(u64::to_be_bytes);
        let parts = [lengths.as_flattened(), &id, verifier, password.expose_secret()];
        hmac_of(&self.memory_key, parts)
    }
}

/// Whether a check takes less than handing it to another thread: no verifier that guards anything does.
fn costs_nothing(credentials: &Credentials) -> bool {
    /// About five microseconds.
    const ITERATIONS_IN_PLACE: u32 = 8;
    matches!(credentials, Credentials::Scram(verifier) if verifier.iterations <= ITERATIONS_IN_PLACE)
}

/// Who a user name names, if anybody.
///
/// # Errors
/// NO when the store cannot tell.
pub(crate) async fn find_principal(
    session: &Session,
    attempt: &Attempt,
    user: &str,
) -> Result<Option<Principal>, Reply> {
    // No name of a function is an address.
    match session.server.functions.load().find(user, session.peer.ip()) {
        Some(function) => Ok(Some(Principal::Function(function))),
        None => Ok(find_account(session, attempt, user).await?.map(Principal::Subscriber)),
    }
}

/// The account of a user name, if there is one. A name that is no address has none.
///
/// # Errors
/// NO when the store cannot tell.
async fn find_account(
    session: &Session,
    attempt: &Attempt,
    user: &str,
) -> Result<Option<Arc<Account>>, Reply> {
    let Ok(address) = CpmAddress::parse(user) else { return Ok(None) };
    let ctx = Ctx { requestor: Requestor::Operator, ..session.ctx() };
    session.store().account(&ctx, &address).await.map_err(|error| {
        attempt.failed(session, "store");
        let reply = match error.kind() {
            // Waiting does not help.
            ErrorKind::Corrupt | ErrorKind::Bug => {
                Reply::no_code("CONTACTADMIN", "this login cannot be checked, ask your operator")
            }
            _ => Reply::no_code("UNAVAILABLE", "logins cannot be checked now, try again later"),
        };
        Reply { fault: Some(Box::new(error)), ..reply }
    })
}

/// What user names are counted and decoyed by: the canonical address where it is one.
pub(crate) fn canonical(user: &str) -> String {
    CpmAddress::parse(user).map_or_else(|_| user.to_owned(), |address| address.to_string())
}

/// Checks a user name and a password and logs in.
///
/// # Errors
/// The reply that ends the command.
pub(crate) async fn password_login(
    session: &mut Session,
    out: &mut Output,
    mechanism: &'static str,
    user: &str,
    authorize_as: Option<&str>,
    password: SecretSlice<u8>,
) -> Result<Reply, Reply> {
    let attempt = Attempt::of(mechanism, user);
    check_rate(session, &attempt)?;
    let principal = find_principal(session, &attempt, user).await?;
    let server = session.server.clone();
    let by = (session.peer.ip(), &*attempt.counted_by);
    let checked = server.auth.check(principal.as_ref(), by, password).await;
    let right = checked.ok_or_else(|| blocked(session, &attempt))?;
    match principal {
        Some(principal) if right => admit(session, out, &principal, authorize_as, &attempt).await,
        _ => Err(refuse(session, out, &attempt, Failure::Credentials).await),
    }
}

/// Logs in whom the client's certificate names: the account that the client asks for, or the first. A name in a
/// certificate is as good as a password: the authority vouches for it.
///
/// # Errors
/// The reply that ends the command.
pub(crate) async fn certificate_login(
    session: &mut Session,
    out: &mut Output,
    authorize_as: &str,
) -> Result<Reply, Reply> {
    let attempt = Attempt::of(Mechanism::External.name(), authorize_as);
    let named = session.certificate.as_ref().map_or(&[][..], |certificate| &certificate.addresses);
    let asked = CpmAddress::parse(authorize_as);
    let chosen = match (authorize_as, &asked) {
        ("", _) => named.first(),
        (_, Ok(address)) => named.iter().find(|named| *named == address),
        (_, Err(_)) => None,
    };
    let Some(address) = chosen.cloned() else {
        return Err(refuse(session, out, &attempt, Failure::Authorization).await);
    };
    let attempt = attempt.named(address.as_str());
    check_rate(session, &attempt)?;
    match find_account(session, &attempt, address.as_str()).await? {
        Some(account) => admit(session, out, &Principal::Subscriber(account), None, &attempt).await,
        None => Err(refuse(session, out, &attempt, Failure::Credentials).await),
    }
}

/// Logs in whom a token names, which its authorization server vouches for.
///
/// # Errors
/// The reply that ends the command.
pub(crate) async fn token_login(
    session: &mut Session,
    out: &mut Output,
    subject: &vouch::oauth::Subject,
    authorize_as: Option<&str>,
    attempt: Attempt,
) -> Result<Reply, Reply> {
    let address = subject.address.as_str();
    let attempt = attempt.named(address);
    check_rate(session, &attempt)?;
    match find_account(session, &attempt, address).await? {
        Some(account) => admit(session, out, &Principal::Subscriber(account), authorize_as, &attempt).await,
        None => Err(refuse(session, out, &attempt, Failure::Token).await),
    }
}

/// Refuses to look at a login after too many failures.
///
/// # Errors
/// NO `[UNAVAILABLE]`: the password need not be wrong, so the client should not ask for another.
pub(crate) fn check_rate(session: &mut Session, attempt: &Attempt) -> Result<(), Reply> {
    if session.server.auth.limiter.is_blocked(session.peer.ip(), &attempt.counted_by) {
        return Err(blocked(session, attempt));
    }
    Ok(())
}

fn blocked(session: &mut Session, attempt: &Attempt) -> Reply {
    attempt.blocked(session);
    Reply::no_code("UNAVAILABLE", "too many failed logins from your address, try again later")
}

/// Logs in a principal that proved who it is: a subscriber as itself, a network function as the account that it names.
///
/// # Errors
/// NO when the account is disabled, or may not be acted for, or has too many sessions.
pub(crate) async fn admit(
    session: &mut Session,
    out: &mut Output,
    principal: &Principal,
    authorize_as: Option<&str>,
    attempt: &Attempt,
) -> Result<Reply, Reply> {
    let other = authorize_as.filter(|id| !id.is_empty());
    let (account, by) = match principal {
        Principal::Subscriber(account) => {
            if other.is_some_and(|id| CpmAddress::parse(id).as_ref() != Ok(&account.address)) {
                return Err(refuse(session, out, attempt, Failure::Authorization).await);
            }
            (account.clone(), SessionOf::Owner)
        }
        Principal::Function(_) => {
            let account = match other {
                None => return Err(refuse_function(session, attempt, "nobody")),
                Some(id) => match find_account(session, attempt, id).await? {
                    Some(account) => account,
                    None => return Err(refuse_function(session, attempt, "unknown")),
                },
            };
            (account, SessionOf::NetworkFunction)
        }
    };
    if account.state == AccountState::Disabled {
        return Err(match principal {
            Principal::Subscriber(_) => refuse(session, out, attempt, Failure::Disabled).await,
            Principal::Function(_) => refuse_function(session, attempt, "disabled"),
        });
    }
    session.log_in(&account, by).await?;
    if let Principal::Function(function) = principal {
        telemetry::function_logged_in(function.name.as_str());
    }
    session.server.auth.limiter.forget(session.peer.ip(), principal.name());
    let list = crate::capabilities::list(session, out);
    Ok(Reply::ok_code(list, "logged in"))
}

/// The answer to a network function that proved who it is and names nobody whom it could act for. Nothing is guessed
/// here, so it is neither held back nor counted: a function that delivers for one subscriber who is gone must not be shut
/// out from the others.
fn refuse_function(session: &Session, attempt: &Attempt, reason: &'static str) -> Reply {
    let text = match reason {
        "nobody" => "name the subscriber to act for as authorization identity",
        "disabled" => "the account to act for is disabled",
        _ => "there is no account of the authorization identity",
    };
    attempt.failed(session, "authorization");
    Reply::no_code("AUTHORIZATIONFAILED", text)
}

/// Holds back and gives the answer of a failed login.
pub(crate) async fn refuse(
    session: &mut Session,
    out: &mut Output,
    attempt: &Attempt,
    failure: Failure,
) -> Reply {
    let (reason, reply) = match failure {
        Failure::Credentials => {
            ("credentials", Reply::no_code("AUTHENTICATIONFAILED", "the address or the password is wrong"))
        }
        Failure::Disabled => {
            ("disabled", Reply::no_code("AUTHORIZATIONFAILED", "this account is disabled, ask your operator"))
        }
        Failure::Expired => {
            ("expired", Reply::no_code("EXPIRED", "the token is not good any more, get a new one"))
        }
        Failure::Token => ("token", Reply::no_code("AUTHENTICATIONFAILED", "the token is not taken here")),
        Failure::Scope => (
            "authorization",
            Reply::no_code("AUTHORIZATIONFAILED", "the token does not allow to read messages"),
        ),
        Failure::Authorization => {
            ("authorization", Reply::no_code("AUTHORIZATIONFAILED", "you may log in as yourself only"))
        }
    };
    attempt.failed(session, reason);
    session.login_failures += 1;
    let server = session.server.clone();
    let delay = server.auth.limiter.note_failure(session.peer.ip(), &attempt.counted_by);
    tokio::time::sleep_until((attempt.began + delay).into()).await;
    if session.login_failures >= server.options.limits.login_failures_per_connection_max {
        out.untagged(format_args!("BYE too many failed logins on this connection"));
        return reply.then(After::Close);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_is_always_the_same_and_looks_like_a_verifier() {
        let key: SecretSlice<u8> = vec![7; 32].into();
        let made = |_| Authenticator::new(&Options { decoy_key: Some(key.clone()), ..Options::default() });
        let (one, two) = (made(1), made(2));
        let decoy = one.decoy("tel:+1");
        assert!(decoy == two.decoy("tel:+1") && decoy.salt != two.decoy("tel:+2").salt);
        assert_eq!((decoy.salt.len(), decoy.iterations), (SALT_BYTES, SCRAM_ITERATIONS));
    }

    #[test]
    fn mechanisms_by_name() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse(b"CRAM-MD5"), None);
    }
}
