//! Bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519, as access tokens RFC 9068) of one authorization server.
//!
//! A token is checked here, by the server's public keys (RFC 7517), which are fetched ahead and looked at again every so
//! often. A token of an unknown key has them fetched at once, within a bound, so that a server may change its keys at any
//! time. While the keys cannot be fetched, those that were last seen hold on for [`limits::KEYS_AGE_MAX`].
//!
//! What a token must have: a signature by one of the allowed algorithms, which are all of public keys; the issuer; one of
//! the audiences; an end that is not past and a beginning that is; the scope, if one is wanted; and a claim with the
//! CPM address. Source: RFC 8725 §3.

mod keys;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use metrics::{counter, describe_counter};
use model::CpmAddress;
use serde_json::Value;

use crate::limits::{self, TOKEN_BYTES_MAX};
use keys::Keys;
pub use keys::{KeysError, Source};

/// Algorithms that may be allowed, by their names (RFC 7518 §3.1, RFC 8037 §3.1).
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Which tokens are taken.
#[derive(Clone, Debug)]
pub struct Options {
    /// `iss` of every token.
    pub issuer: String,
    /// What this service is called in `aud`; one of them must be there.
    pub audiences: Vec<String>,
    /// Of [`ALGORITHMS`], by name.
    pub algorithms: Vec<String>,
    /// How far the clocks of both servers may be apart.
    pub leeway: Duration,
    /// The claim that holds the CPM address.
    pub address_claim: String,
    /// A scope that a token must have (`scope` of RFC 8693 §4.2, or `scp`).
    pub scope: Option<String>,
    /// Where clients learn of the authorization server (RFC 8414), told with a refusal.
    pub configuration: Option<String>,
    /// Where the keys are.
    pub keys: Source,
    /// Between two looks at the keys.
    pub refresh: Duration,
}

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The address that its claim has.
    pub address: CpmAddress,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no JSON Web Token, or too long, or has a header that must be understood and is not.
    Malformed,
    /// Its algorithm is not allowed.
    Algorithm,
    /// The server has no such key.
    UnknownKey,
    /// Its signature is not the key's.
    Signature,
    /// It was good once.
    Expired,
    /// It is not good yet.
    Early,
    /// It is another server's.
    Issuer,
    /// It is for another service.
    Audience,
    /// It does not allow what is wanted here.
    Scope,
    /// It names no CPM address.
    Address,
    /// The keys are not known now: the token may be good.
    NoKeys,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::Early,
        Self::Issuer,
        Self::Audience,
        Self::Scope,
        Self::Address,
        Self::NoKeys,
    ];

    /// Its word in the metric and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Scope => "scope",
            Self::Address => "address",
            Self::NoKeys => "no_keys",
        }
    }
}

/// Why no tokens can be checked as the options say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An algorithm that is none of [`ALGORITHMS`].
    #[error("{0:?} is none of {list}", list = ALGORITHMS.join(", "))]
    Algorithm(String),
}

/// Checks tokens.
#[derive(Debug)]
pub struct Tokens {
    options: Options,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

impl Tokens {
    /// Nothing is fetched yet: see [`Tokens::refresh`] and [`Tokens::keep_fresh`].
    ///
    /// # Errors
    /// [`OptionsError`] for what the options cannot mean.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        describe_counter!("mss_oauth_tokens_total", "Bearer tokens checked, by outcome.");
        for outcome in Refusal::ALL.map(Refusal::name).into_iter().chain(["accepted"]) {
            counter!("mss_oauth_tokens_total", "outcome" => outcome).increment(0);
        }
        verify::install();
        let named = |name: &String| {
            let known = ALGORITHMS.contains(&name.as_str()).then(|| name.parse().ok()).flatten();
            known.ok_or_else(|| OptionsError::Algorithm(name.clone()))
        };
        let algorithms = options.algorithms.iter().map(named).collect::<Result<_, _>>()?;
        Ok(Self { keys: Keys::new(options.keys.clone()), algorithms, options })
    }

    /// What a client is told whose token is not taken (RFC 7628 §3.2.2), as JSON.
    pub fn challenge(&self, refusal: Refusal) -> String {
        let status = if refusal == Refusal::Scope { "insufficient_scope" } else { "invalid_token" };
        let mut told = serde_json::Map::new();
        told.insert("status".into(), status.into());
        if let Some(scope) = &self.options.scope {
            told.insert("scope".into(), scope.as_str().into());
        }
        if let Some(configuration) = &self.options.configuration {
            told.insert("openid-configuration".into(), configuration.as_str().into());
        }
        Value::Object(told).to_string()
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// [`KeysError`]; the keys that were there stay.
    pub async fn refresh(&self) -> Result<(), KeysError> {
        self.keys.refresh().await
    }

    /// Looks at the keys again and again; for a task of its own.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut waits = self.options.refresh;
        loop {
            tokio::time::sleep(waits).await;
            waits = self.options.refresh;
            if self.refresh().await.is_err() {
                // Told where it was counted. Sooner than usual: there is an end to how long the old ones hold.
                waits = waits.min(6 * limits::KEYS_PAUSE_MIN);
            }
        }
    }

    /// Whom a token names.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn check(&self, token: &str) -> Result<Subject, Refusal> {
        let checked = self.verify(token).await;
        let outcome = checked.as_ref().map_or_else(|refusal| refusal.name(), |_| "accepted");
        counter!("mss_oauth_tokens_total", "outcome" => outcome).increment(1);
        checked
    }

    async fn verify(&self, token: &str) -> Result<Subject, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            // An algorithm that the library does not know is a name that it cannot read.
            ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName => Refusal::Algorithm,
            _ => Refusal::Malformed,
        })?;
        // RFC 7515 §4.1.11: nothing that must be understood is.
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(Refusal::Malformed);
        }
        // RFC 8725 §3.11: what says that it is something else is.
        let typ = header.typ.as_deref().unwrap_or("jwt").to_ascii_lowercase();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&typ.as_str()) {
            return Err(Refusal::Malformed);
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm);
        }
        let candidates = self.keys.find(header.kid.as_deref(), header.alg).await?;
        let validation = self.validation(header.alg);
        let mut refusal = Refusal::UnknownKey;
        for key in &candidates {
            match jsonwebtoken::decode::<Value>(token, key, &validation) {
                Ok(data) => return self.subject(&data.claims),
                Err(error) => refusal = refusal_of(error.kind()),
            }
            if refusal != Refusal::Signature {
                break;
            }
        }
        Err(refusal)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_audience(&self.options.audiences);
        validation.leeway = self.options.leeway.as_secs();
        validation.validate_nbf = true;
        validation
    }

    fn subject(&self, claims: &Value) -> Result<Subject, Refusal> {
        if let Some(wanted) = &self.options.scope
            && !has_scope(claims, wanted)
        {
            return Err(Refusal::Scope);
        }
        let claim = claims.get(&self.options.address_claim).and_then(Value::as_str).unwrap_or_default();
        CpmAddress::parse(claim).map(|address| Subject { address }).map_err(|_| Refusal::Address)
    }
}

fn refusal_of(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::Early,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Refusal::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Refusal::Audience,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::UnsupportedAlgorithm => Refusal::Signature,
        _ => Refusal::Malformed,
    }
}

/// Scopes are words of one text (`scope`), or a list (`scp`, and `scope` of some servers).
fn has_scope(claims: &Value, wanted: &str) -> bool {
    ["scope", "scp"].into_iter().filter_map(|name| claims.get(name)).any(|claim| match claim {
        Value::String(words) => words.split(' ').any(|word| word == wanted),
        Value::Array(words) => words.iter().any(|word| word == wanted),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
