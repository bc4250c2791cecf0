//! SASL exchanges as `rsasl` runs them: octets in, challenge out, and in the end who it is said to be.
//!
//! `rsasl` asks for a verifier in the middle of a step, which cannot wait. So the user name of a SCRAM exchange is
//! read ahead from its first message, the account looked up, and the exchange then begun with the verifier at hand.

use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechname::Mechname;
use rsasl::prelude::{ChannelBindingCallback, Registry, SASLConfig, SASLServer, SessionError, Validation};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, ValidationError};
use secrecy::SecretSlice;
use sha2::{Digest, Sha256, Sha384, Sha512};
use store_api::ScramVerifier;

use super::Mechanism;

/// What a finished exchange says.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Who, to act for whom, and a password to check.
    Password { user: String, authorize_as: Option<String>, password: SecretSlice<u8> },
    /// The verifier at hand was satisfied.
    Proven,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Send the challenge and step again with the answer.
    Challenge(Vec<u8>),
    /// Send the octets as a last challenge, take an empty answer, and all is well (RFC 9051 §6.2.2).
    Proven(Vec<u8>),
    /// Check the password.
    Password { user: String, authorize_as: Option<String>, password: SecretSlice<u8> },
    /// The proof was wrong.
    Refused,
    /// The client's message does not follow the mechanism.
    Malformed,
}

/// How the TLS session around the exchange can be told from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    exporter: Option<Vec<u8>>,
    end_point: Option<Vec<u8>>,
}

impl Bindings {
    /// Of a TLS session whose client was shown `certificate` (DER).
    pub fn new(tls: &rustls::ServerConnection, certificate: Option<&[u8]>) -> Self {
        // RFC 9266 §2: 32 octets, this label, an empty context.
        let exporter = tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
        Self { exporter: exporter.ok().map(Vec::from), end_point: certificate.and_then(end_point) }
    }

    /// Whether the binding that a client names is one of these.
    pub fn has(&self, name: &str) -> bool {
        self.get_cb_data(name).is_some()
    }
}

impl ChannelBindingCallback for Bindings {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }
}

/// tls-server-end-point: the certificate's hash by the hash of its signature, SHA-256 in place of weaker ones
/// (RFC 5929 §4.1). None for signatures whose hash is not told by their name.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, signature }
    let (_, inside, _) = der(certificate)?;
    let (_, _, after_tbs) = der(inside)?;
    let (_, algorithm, _) = der(after_tbs)?;
    let (_, oid, _) = der(algorithm)?;
    match oid {
        // sha1, sha224 and sha256WithRSAEncryption; ecdsa-with-SHA1, -SHA224 and -SHA256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5 | 11 | 14]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1 | 2] => Some(Sha256::digest(certificate).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            Some(Sha384::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            Some(Sha512::digest(certificate).to_vec())
        }
        // RSASSA-PSS has it in parameters, EdDSA has none that is defined here.
        _ => None,
    }
}

/// The first DER value: its tag, its contents, what follows it.
fn der(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |n, &b| n << 8 | usize::from(b)), rest)
        }
        _ => return None,
    };
    let (contents, after) = rest.split_at_checked(length)?;
    Some((tag, contents, after))
}

/// What the first message of a SCRAM exchange says (RFC 5802 §7, `client-first-message`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScramFirst {
    /// The channel binding used; none for `n` and `y`.
    pub binding: Option<String>,
    pub authorize_as: Option<String>,
    pub user: String,
}

impl ScramFirst {
    /// Reads the message as far as needed; none when it does not follow the grammar.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut parts = text.splitn(4, ',');
        let binding = match parts.next()? {
            "n" | "y" => None,
            flag => Some(flag.strip_prefix("p=")?.to_owned()),
        };
        let authorize_as = match parts.next()? {
            "" => None,
            id => Some(saslname(id.strip_prefix("a=")?)?),
        };
        let user = saslname(parts.next()?.strip_prefix("n=")?)?;
        parts.next()?;
        Some(Self { binding, authorize_as, user })
    }
}

/// A `saslname` without its escapes.
pub(super) fn saslname(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        name.push_str(&rest[..at]);
        name.push(match rest.get(at..at + 3)? {
            "=2C" => ',',
            "=3D" => '=',
            _ => return None,
        });
        rest = &rest[at + 3..];
    }
    name.push_str(rest);
    Some(name)
}

/// A running exchange.
pub(crate) struct Exchange {
    mechanism: Mechanism,
    session: rsasl::prelude::Session<Proof, Bindings>,
    /// Challenges made.
    challenges: usize,
}

impl Exchange {
    /// Begins one. `verifier`: of the account that SCRAM is about to name; `bindings`: with TLS.
    pub fn new(
        mechanism: Mechanism,
        verifier: Option<ScramVerifier>,
        bindings: Option<Bindings>,
    ) -> Option<Self> {
        // Offering the -PLUS form is what lets rsasl notice a client that was made to believe it is not offered.
        let registry = match bindings {
            Some(_) => Registry::with_mechanisms(&WITH_BINDING),
            None => Registry::with_mechanisms(&WITHOUT_BINDING),
        };
        let config =
            SASLConfig::builder().with_registry(registry).with_callback(Callback { verifier }).ok()?;
        let server = SASLServer::<Proof, Bindings>::with_cb(config, bindings.unwrap_or_default());
        let name = Mechname::parse(mechanism.name().as_bytes()).ok()?;
        Some(Self { mechanism, session: server.start_suggested(name).ok()?, challenges: 0 })
    }

    /// Takes the client's message; none before its first one, where the server speaks first.
    pub fn step(&mut self, message: Option<&[u8]>) -> Progress {
        let mut challenge = Vec::new();
        let Ok(state) = self.session.step(message, &mut challenge) else {
            // Why is not told: the library's words may quote a password.
            tracing::debug!(mechanism = self.mechanism.name(), "a SASL message was refused");
            return Progress::Malformed;
        };
        if state.is_running() {
            self.challenges += 1;
            if self.mechanism == Mechanism::Login {
                // What all clients of this mechanism, which never became a standard, have seen before.
                challenge = if self.challenges == 1 { b"Username:".to_vec() } else { b"Password:".to_vec() };
            }
            return Progress::Challenge(challenge);
        }
        match self.session.validation() {
            Some(Claim::Password { user, authorize_as, password }) => {
                Progress::Password { user, authorize_as, password }
            }
            Some(Claim::Proven) => Progress::Proven(challenge),
            None => Progress::Refused,
        }
    }
}

static WITH_BINDING: [rsasl::prelude::Mechanism; 4] = [
    rsasl::mechanisms::scram::SCRAM_SHA256_PLUS,
    rsasl::mechanisms::scram::SCRAM_SHA256,
    rsasl::mechanisms::plain::PLAIN,
    rsasl::mechanisms::login::LOGIN,
];

static WITHOUT_BINDING: [rsasl::prelude::Mechanism; 3] = [
    rsasl::mechanisms::scram::SCRAM_SHA256,
    rsasl::mechanisms::plain::PLAIN,
    rsasl::mechanisms::login::LOGIN,
];

/// How the callback hands the claim to the exchange.
struct Proof;

impl Validation for Proof {
    type Value = Claim;
}

struct Callback {
    verifier: Option<ScramVerifier>,
}

impl SessionCallback for Callback {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if let Some(verifier) = &self.verifier {
            request.satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(
                verifier.iterations,
                &verifier.salt,
                &verifier.stored_key,
                &verifier.server_key,
            ))?;
        }
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let claim = match context.get_ref::<Password>() {
            None => Claim::Proven,
            Some(password) => Claim::Password {
                user: context.get_ref::<AuthId>().unwrap_or_default().to_owned(),
                authorize_as: context.get_ref::<AuthzId>().filter(|id| !id.is_empty()).map(str::to_owned),
                password: password.to_vec().into(),
            },
        };
        validate.finalize::<Proof>(claim);
        Ok(())
    }
}

/// Kept so that exchanges can be held while a client thinks.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Exchange>();
    is_send::<Arc<SASLConfig>>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let read = |text: &str| ScramFirst::parse(text.as_bytes());
        assert_eq!(
            read("n,,n=user,r=abc"),
            Some(ScramFirst { binding: None, authorize_as: None, user: "user".into() })
        );
        assert_eq!(
            read("p=tls-exporter,a=x=2Cy,n=a=3Db,r=abc,e=1"),
            Some(ScramFirst {
                binding: Some("tls-exporter".into()),
                authorize_as: Some("x,y".into()),
                user: "a=b".into()
            })
        );
        for bad in ["", "n,,", "n,,n=user", "x,,n=u,r=a", "n,b,n=u,r=a", "n,,n=a=2c,r=a", "n,,n=a=,r=a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn end_points() {
        // SEQUENCE { SEQUENCE {}, SEQUENCE { OID sha384WithRSAEncryption }, BIT STRING {} }
        let certificate =
            [0x30, 0x11, 0x30, 0, 0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12, 3, 0];
        assert_eq!(end_point(&certificate), Some(Sha384::digest(certificate).to_vec()));
        for cut in 0..certificate.len() {
            assert_eq!(end_point(&certificate[..cut]), None);
        }
    }
}
