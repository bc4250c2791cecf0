//! The public keys of an authorization server, as they were last seen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Uri};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Refusal;
use crate::limits::{KEY_SET_BYTES_MAX, KEYS_AGE_MAX, KEYS_MAX, KEYS_PAUSE_MIN};

/// Where a key set (RFC 7517 §5) is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// At an HTTP server.
    Url(Box<outbound::Client>, Uri),
}

/// Why keys are not known, or not known anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Nothing came.
    #[error("the keys cannot be fetched: {0}")]
    Unreachable(String),
    /// What came is no key set that can be used.
    #[error("the keys cannot be used: {0}")]
    Unusable(String),
}

struct Key {
    id: Option<String>,
    /// The algorithm that it is for, where it says so.
    algorithm: Option<String>,
    key: DecodingKey,
}

struct KeySet {
    keys: Vec<Key>,
    seen: Instant,
}

/// The keys, and when they were looked at.
pub(super) struct Keys {
    source: Source,
    current: ArcSwapOption<KeySet>,
    /// One look at a time; when the last one began.
    look: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Keys {
    pub fn new(source: Source) -> Self {
        describe_counter!("mss_oauth_key_fetches_total", "Looks at the keys of tokens, by outcome.");
        describe_gauge!(
            "mss_oauth_keys_seen_seconds",
            "When the keys of tokens were last seen, in Unix time."
        );
        for outcome in ["done", "failed"] {
            counter!("mss_oauth_key_fetches_total", "outcome" => outcome).increment(0);
        }
        // Until they were seen once, for ever ago.
        gauge!("mss_oauth_keys_seen_seconds").set(0.0);
        Self { source, current: ArcSwapOption::empty(), look: Mutex::default() }
    }

    /// Keys that a token may be of; never empty.
    pub async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<DecodingKey>, Refusal> {
        let before = self.current.load_full();
        let known = before.as_ref().filter(|set| set.seen.elapsed() <= KEYS_AGE_MAX);
        let found = known.map(|set| set.find(id, algorithm)).unwrap_or_default();
        if !found.is_empty() {
            return Ok(found);
        }
        let mut last = self.look.lock().await;
        let now = self.current.load_full();
        let looked_meanwhile = match (&before, &now) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (before, now) => before.is_some() != now.is_some(),
        };
        if !looked_meanwhile && last.is_none_or(|last| last.elapsed() >= KEYS_PAUSE_MIN) {
            *last = Some(Instant::now());
            // Told and counted there. What was known is still known.
            let _ = self.fetch().await;
        }
        drop(last);
        match self.current.load_full() {
            Some(set) if set.seen.elapsed() <= KEYS_AGE_MAX => {
                let found = set.find(id, algorithm);
                if found.is_empty() { Err(Refusal::UnknownKey) } else { Ok(found) }
            }
            _ => Err(Refusal::NoKeys),
        }
    }

    /// Looks now.
    pub async fn refresh(&self) -> Result<(), KeysError> {
        let mut last = self.look.lock().await;
        *last = Some(Instant::now());
        self.fetch().await
    }

    async fn fetch(&self) -> Result<(), KeysError> {
        let fetched = match self.source.read().await {
            Ok(octets) => KeySet::parse(&octets),
            Err(error) => Err(error),
        };
        let outcome = if fetched.is_ok() { "done" } else { "failed" };
        counter!("mss_oauth_key_fetches_total", "outcome" => outcome).increment(1);
        match fetched {
            Ok(set) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                gauge!("mss_oauth_keys_seen_seconds").set(now.as_secs_f64());
                self.current.store(Some(Arc::new(set)));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(source = %self.source, "the keys of tokens: {error}");
                Err(error)
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(_, url) => url.fmt(f),
        }
    }
}

impl Source {
    async fn read(&self) -> Result<Bytes, KeysError> {
        let unreachable = |error: &dyn std::fmt::Display| KeysError::Unreachable(error.to_string());
        match self {
            Self::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|error| unreachable(&error))?;
                let mut octets = Vec::new();
                let read = file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut octets).await;
                read.map_err(|error| unreachable(&error))?;
                if octets.len() > KEY_SET_BYTES_MAX {
                    return Err(KeysError::Unusable(format!("it has more than {KEY_SET_BYTES_MAX} bytes")));
                }
                Ok(octets.into())
            }
            Self::Url(client, url) => {
                let request = Request::get(url.clone())
                    .header(http::header::ACCEPT, "application/jwk-set+json, application/json")
                    .header(http::header::USER_AGENT, concat!("mss/", env!("CARGO_PKG_VERSION")))
                    .body(Bytes::new().into())
                    .map_err(|error| unreachable(&error))?;
                let answer =
                    client.send(request, KEY_SET_BYTES_MAX).await.map_err(|error| unreachable(&error))?;
                if !answer.status().is_success() {
                    return Err(KeysError::Unreachable(format!(
                        "the server answered {}",
                        answer.status().as_u16()
                    )));
                }
                answer.into_body().map_err(|error| unreachable(&error))
            }
        }
    }
}

impl KeySet {
    /// Keys that say that they are for something else, or that the library does not know, are passed over
    /// (RFC 7517 §5).
    fn parse(octets: &[u8]) -> Result<Self, KeysError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_slice(octets).map_err(|error| KeysError::Unusable(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeysError::Unusable(format!("it has more than {KEYS_MAX} keys")));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeysError::Unusable("it has no public key for signatures".into()));
        }
        Ok(Self { keys, seen: Instant::now() })
    }

    /// Keys of that name; for a token without one, all that fit its algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let name = format!("{algorithm:?}");
        let fits = |key: &&Key| {
            id.is_none_or(|id| key.id.as_deref() == Some(id))
                && key.key.family() == algorithm.family()
                && key.algorithm.as_ref().is_none_or(|only| *only == name)
        };
        self.keys.iter().filter(fits).map(|key| key.key.clone()).collect()
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let algorithm = value.get("alg").and_then(serde_json::Value::as_str).map(str::to_owned);
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        // A key that both sides know is none to verify by.
        let public = matches!(
            jwk.algorithm,
            AlgorithmParameters::RSA(_)
                | AlgorithmParameters::EllipticCurve(_)
                | AlgorithmParameters::OctetKeyPair(_)
        );
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| signs && public)?;
        Some(Self { id: jwk.common.key_id, algorithm, key })
    }
}
