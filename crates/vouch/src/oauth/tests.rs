//! Tokens that `ring` signs, so that each algorithm is tried; those of strangers are in the tests of the whole server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;

fn coded(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

struct Signer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
        }
    }

    fn set(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "alg": "EdDSA",
             "x": coded(self.ed.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": coded(&point[1..33]), "y": coded(&point[33..])},
            {"kty": "oct", "kid": "both", "k": coded("a key that both sides know")},
            {"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc", "x": coded(&point[1..33]), "y": coded(&point[33..])},
            {"kty": "of the future"},
        ]})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", coded(header.to_string()), coded(claims.to_string()));
        let signature = if header["alg"] == "ES256" {
            self.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
        } else {
            self.ed.sign(signed.as_bytes()).as_ref().to_vec()
        };
        format!("{signed}.{}", coded(signature))
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims() -> Value {
    json!({"iss": "https://as.example", "aud": ["x", "mss"], "exp": now() + 60, "scope": "openid imap",
        "phone_number": "+1-555-000-0001"})
}

struct Bench {
    signer: Signer,
    tokens: Tokens,
    file: tempfile::NamedTempFile,
}

impl Bench {
    async fn new() -> Self {
        let (signer, file) = (Signer::new(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(file.path(), signer.set().to_string()).unwrap();
        let tokens = Tokens::new(Options {
            issuer: "https://as.example".into(),
            audiences: vec!["mss".into(), "mail".into()],
            algorithms: vec!["EdDSA".into(), "ES256".into()],
            leeway: Duration::from_secs(5),
            address_claim: "phone_number".into(),
            scope: Some("imap".into()),
            configuration: Some("https://as.example/.well-known/openid-configuration".into()),
            keys: Source::File(file.path().to_owned()),
            refresh: Duration::from_secs(60),
        })
        .unwrap();
        tokens.refresh().await.unwrap();
        Self { signer, tokens, file }
    }

    async fn check(&self, header: Value, claims: Value) -> Result<String, Refusal> {
        let token = self.signer.token(&header, &claims);
        self.tokens.check(&token).await.map(|subject| subject.address.to_string())
    }
}

#[tokio::test]
async fn each_algorithm_and_header() {
    let bench = Bench::new().await;
    let good = || Ok("tel:+15550000001".to_owned());
    for (header, expected) in [
        (json!({"alg": "EdDSA", "kid": "ed"}), good()),
        (json!({"alg": "ES256", "kid": "ec", "typ": "at+JWT"}), good()),
        // Without a name, by the only key that fits.
        (json!({"alg": "ES256", "typ": "JWT"}), good()),
        (json!({"alg": "EdDSA", "kid": "ec"}), Err(Refusal::UnknownKey)),
        (json!({"alg": "ES256", "kid": "enc"}), Err(Refusal::UnknownKey)),
        (json!({"alg": "HS256", "kid": "both"}), Err(Refusal::Algorithm)),
        (json!({"alg": "RS256", "kid": "ed"}), Err(Refusal::Algorithm)),
        (json!({"alg": "none"}), Err(Refusal::Algorithm)),
        (json!({"alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false}), Err(Refusal::Malformed)),
        (json!({"alg": "EdDSA", "kid": "ed", "typ": "logout+jwt"}), Err(Refusal::Malformed)),
    ] {
        assert_eq!(bench.check(header.clone(), claims()).await, expected, "{header}");
    }
}

#[tokio::test]
async fn each_claim() {
    let bench = Bench::new().await;
    let with = |name: &str, value: Value| {
        let mut all = claims();
        all[name] = value;
        all
    };
    for (name, value, expected) in [
        ("exp", json!(now() - 3), None),
        ("exp", json!(now() - 30), Some(Refusal::Expired)),
        ("exp", json!("tomorrow"), Some(Refusal::Malformed)),
        ("exp", Value::Null, Some(Refusal::Malformed)),
        ("nbf", json!(now() + 3), None),
        ("nbf", json!(now() + 30), Some(Refusal::Early)),
        ("nbf", json!("soon"), Some(Refusal::Malformed)),
        ("iss", json!("https://as.example/"), Some(Refusal::Issuer)),
        ("iss", Value::Null, Some(Refusal::Issuer)),
        ("aud", json!("mail"), None),
        ("aud", json!("mailx"), Some(Refusal::Audience)),
        ("aud", json!([]), Some(Refusal::Audience)),
        ("aud", Value::Null, Some(Refusal::Audience)),
        ("scope", json!("imaps openid"), Some(Refusal::Scope)),
        ("scope", json!(["imap"]), None),
        ("scope", Value::Null, Some(Refusal::Scope)),
        ("phone_number", json!("alice"), Some(Refusal::Address)),
        ("phone_number", json!(15550000001_u64), Some(Refusal::Address)),
    ] {
        let checked = bench.check(json!({"alg": "EdDSA", "kid": "ed"}), with(name, value.clone())).await;
        assert_eq!(checked.err(), expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn what_is_no_token() {
    let bench = Bench::new().await;
    let good = bench.signer.token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    assert!(bench.tokens.check(&good).await.is_ok());
    for cut in 0..good.len() {
        assert!(bench.tokens.check(&good[..cut]).await.is_err(), "{cut}");
    }
    let (head, tail) = good.rsplit_once('.').unwrap();
    let other = bench.signer.token(&json!({"alg": "EdDSA", "kid": "ed"}), &json!({}));
    let foreign = format!("{head}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(bench.tokens.check(&foreign).await, Err(Refusal::Signature));
    for text in ["", "..", "a.b.c", &format!("{good}.{tail}"), &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert!(bench.tokens.check(text).await.is_err(), "{text}");
    }
}

/// Time is the test's own.
#[tokio::test(start_paused = true)]
async fn keys_change() {
    let bench = Bench::new().await;
    let next = Signer::new();
    let token = |kid: &str| next.token(&json!({"alg": "EdDSA", "kid": kid}), &claims());
    let mut set = next.set();
    set["keys"][0]["kid"] = "next".into();
    std::fs::write(bench.file.path(), set.to_string()).unwrap();
    // A look was just had: tokens of unknown keys do not make another at once.
    assert_eq!(bench.tokens.check(&token("next")).await, Err(Refusal::UnknownKey));
    tokio::time::advance(limits::KEYS_PAUSE_MIN).await;
    assert!(bench.tokens.check(&token("next")).await.is_ok());
    let old = bench.check(json!({"alg": "EdDSA", "kid": "ed"}), claims()).await;
    assert_eq!(old, Err(Refusal::UnknownKey), "a key that was taken back");

    // What cannot be used takes nothing away, for a while.
    std::fs::write(bench.file.path(), "{}").unwrap();
    assert!(matches!(bench.tokens.refresh().await, Err(KeysError::Unusable(_))));
    assert!(bench.tokens.check(&token("next")).await.is_ok());
    tokio::time::advance(limits::KEYS_AGE_MAX + Duration::from_secs(1)).await;
    assert_eq!(bench.tokens.check(&token("next")).await, Err(Refusal::NoKeys));
}

#[tokio::test]
async fn what_is_no_key_set() {
    let bench = Bench::new().await;
    let many = json!({"keys": vec![bench.signer.set()["keys"][0].clone(); limits::KEYS_MAX + 1]});
    let symmetric = json!({"keys": [{"kty": "oct", "k": "AAAA"}]});
    let long = " ".repeat(limits::KEY_SET_BYTES_MAX + 1);
    for text in ["", "[]", "{}", "<html>", &many.to_string(), &symmetric.to_string(), &long] {
        std::fs::write(bench.file.path(), text).unwrap();
        assert!(matches!(bench.tokens.refresh().await, Err(KeysError::Unusable(_))), "{text:.40}");
    }
    std::fs::remove_file(bench.file.path()).unwrap();
    assert!(matches!(bench.tokens.refresh().await, Err(KeysError::Unreachable(_))));
}

#[tokio::test]
async fn what_a_refusal_tells() {
    let bench = Bench::new().await;
    let told: Value = serde_json::from_str(&bench.tokens.challenge(Refusal::Expired)).unwrap();
    assert_eq!(
        told,
        json!({"status": "invalid_token", "scope": "imap",
            "openid-configuration": "https://as.example/.well-known/openid-configuration"})
    );
    let told: Value = serde_json::from_str(&bench.tokens.challenge(Refusal::Scope)).unwrap();
    assert_eq!(told["status"], "insufficient_scope");
}
