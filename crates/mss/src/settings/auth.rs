//! Settings of the ways to log in that others vouch for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::roles;

/// `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Bearer tokens (SASL OAUTHBEARER).
    pub oauth: OAuth,
}

/// `[auth.oauth]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth {
    /// Public keys of the authorization server: an https URL, or a file; empty for no tokens.
    pub jwks: String,
    /// PEM file of the authorities one of which must have signed the certificate of the keys' server.
    pub ca_file: PathBuf,
    /// Seconds between two looks at the keys.
    pub refresh_seconds: u64,
    /// `iss` of every token.
    pub issuer: String,
    /// What this service is called in `aud`. A list, or one text with commas.
    #[serde(deserialize_with = "roles::list_or_text")]
    pub audiences: Vec<String>,
    /// Algorithms of signatures that are taken. A list, or one text with commas.
    #[serde(deserialize_with = "roles::list_or_text")]
    pub algorithms: Vec<String>,
    /// Seconds that the clocks of both servers may be apart.
    pub leeway_seconds: u64,
    /// The claim that holds the CPM address.
    pub address_claim: String,
    /// A scope that every token must have; empty for none.
    pub scope: String,
    /// Where clients learn of the authorization server (RFC 8414); empty for nowhere.
    pub configuration_url: String,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            jwks: String::new(),
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            refresh_seconds: 300,
            issuer: String::new(),
            audiences: Vec::new(),
            algorithms: ["RS256", "PS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            leeway_seconds: 60,
            address_claim: "sub".into(),
            scope: String::new(),
            configuration_url: String::new(),
        }
    }
}

/// A URL that a secret or a key may come from: https, or http to this machine.
pub fn is_safe(url: &http::Uri) -> bool {
    let local = url.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme_str() {
        Some("https") => url.host().is_some(),
        Some("http") => local,
        _ => false,
    }
}

/// Bounds that a type alone does not tell.
pub fn check(auth: &Auth) -> anyhow::Result<()> {
    let oauth = &auth.oauth;
    if oauth.jwks.contains("://") {
        let safe = oauth.jwks.parse().is_ok_and(|url| is_safe(&url));
        anyhow::ensure!(
            safe,
            "auth.oauth.jwks is {:?}, but must be an https URL, http only on this machine, or a file",
            oauth.jwks
        );
    }
    let given = [
        ("auth.oauth.issuer", !oauth.issuer.is_empty()),
        ("auth.oauth.audiences", !oauth.audiences.is_empty()),
        ("auth.oauth.jwks", !oauth.jwks.is_empty()),
    ];
    if let Some((set, _)) = given.iter().find(|(_, given)| *given)
        && let Some((missing, _)) = given.iter().find(|(_, given)| !*given)
    {
        anyhow::bail!("{set} is set, so {missing} must be, too");
    }
    anyhow::ensure!(
        !oauth.address_claim.is_empty(),
        "auth.oauth.address_claim is empty, but must name a claim"
    );
    anyhow::ensure!(
        !oauth.algorithms.is_empty(),
        "auth.oauth.algorithms is empty, but must have some of {}",
        vouch::oauth::ALGORITHMS.join(", ")
    );
    if let Some(other) =
        oauth.algorithms.iter().find(|name| !vouch::oauth::ALGORITHMS.contains(&name.as_str()))
    {
        anyhow::bail!(
            "auth.oauth.algorithms has {other:?}, but must have some of {}",
            vouch::oauth::ALGORITHMS.join(", ")
        );
    }
    let word = oauth.scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    anyhow::ensure!(word, "auth.oauth.scope is {:?}, but must be one scope (RFC 6749 §3.3)", oauth.scope);
    Ok(())
}
