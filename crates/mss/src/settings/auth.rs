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
    /// Keys that client and server both know.
    pub psk: PskKeys,
}

/// `[auth.psk]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PskKeys {
    /// File of identities, their keys, and whom they name.
    pub file: Option<PathBuf>,
    /// API root of the bootstrapping server function that is asked for keys; empty for none.
    pub bsf: String,
    /// PEM file of the authorities one of which must have signed its certificate.
    pub bsf_ca_file: PathBuf,
    /// The name by which phones know this service, a part of their keys.
    pub naf: String,
    /// The service whose user settings tell a subscriber's public identities (GSID, 3GPP TS 29.109 annex B).
    pub gsid: u32,
    /// What clients of TLS 1.2 are told before they choose an identity; empty for that of bootstrapped keys, where they are
    /// taken, else for nothing.
    pub hint: String,
}

impl Default for PskKeys {
    fn default() -> Self {
        Self {
            file: None,
            bsf: String::new(),
            bsf_ca_file: AUTHORITIES.into(),
            naf: String::new(),
            gsid: 0,
            hint: String::new(),
        }
    }
}

/// Where Debian keeps the authorities that it believes.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

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
            ca_file: AUTHORITIES.into(),
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

/// What the listener and its keys must have of each other.
pub fn check_psk(listen: &str, keys: &PskKeys) -> anyhow::Result<()> {
    // First of all: no key that is missing would help.
    anyhow::ensure!(
        listen.is_empty() || psk::IS_BUILT,
        "imap.psk_listen is set, but this program was built without the feature psk (cargo build --features psk)"
    );
    let hint = &keys.hint;
    anyhow::ensure!(
        hint.len() <= psk::limits::HINT_BYTES_MAX && !hint.contains('\0'),
        "auth.psk.hint has {} bytes, but must have {} at most and no NUL",
        hint.len(),
        psk::limits::HINT_BYTES_MAX
    );
    anyhow::ensure!(
        !listen.is_empty() || (keys.file.is_none() && keys.bsf.is_empty()),
        "auth.psk.file or auth.psk.bsf is set, so imap.psk_listen must be, too"
    );
    anyhow::ensure!(
        listen.is_empty() || keys.file.is_some() || !keys.bsf.is_empty(),
        "imap.psk_listen is set, so auth.psk.file or auth.psk.bsf must be, too"
    );
    anyhow::ensure!(
        keys.bsf.is_empty() || keys.bsf.parse().is_ok_and(|url| is_safe(&url)),
        "auth.psk.bsf is {:?}, but must be an https URL, http only on this machine",
        keys.bsf
    );
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    anyhow::ensure!(keys.naf.bytes().all(in_name), "auth.psk.naf is {:?}, but must be a host name", keys.naf);
    anyhow::ensure!(
        keys.bsf.is_empty() == keys.naf.is_empty(),
        "auth.psk.bsf and auth.psk.naf must be set both or neither"
    );
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A program without OpenSSL says so before anything is begun.
    #[test]
    fn what_was_not_built_is_refused_by_its_name() {
        let file = PskKeys { file: Some("/etc/mss/psk".into()), ..PskKeys::default() };
        let bsf = PskKeys { bsf: "https://bsf".into(), naf: "imap".into(), ..PskKeys::default() };
        for keys in [file, bsf, PskKeys::default()] {
            let is_whole = keys != PskKeys::default();
            let told = check_psk("127.0.0.1:1", &keys).map_err(|error| error.to_string());
            assert_eq!(told.is_ok(), psk::IS_BUILT && is_whole, "{told:?}");
            if let Err(told) = told {
                assert!(told.contains("imap.psk_listen"), "{told}");
                assert_eq!(told.contains("feature psk"), !psk::IS_BUILT, "{told}");
            }
        }
        assert!(check_psk("", &PskKeys::default()).is_ok(), "nothing is wanted of who wants nothing");
    }
}
