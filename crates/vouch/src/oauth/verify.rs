//! Signatures by `ring`, which the tree has for TLS: the token library brings none of its own.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as algorithms;
use ring::signature::{RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory,
    // For private keys and thumbprints, of which there are none here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the library verify by this. A process has one such setting; a second call finds it made.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8>, parameters: &'static RsaParameters },
    Other { octets: Vec<u8>, parameters: &'static dyn VerificationAlgorithm },
}

struct ByRing {
    algorithm: Algorithm,
    key: Key,
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let rsa = |parameters| match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            Ok(Key::Rsa { n: n.clone(), e: e.clone(), parameters })
        }
        DecodingKeyKind::SecretOrDer(_) => Err(Error::from(ErrorKind::InvalidKeyFormat)),
    };
    let other = |parameters: &'static dyn VerificationAlgorithm| -> Result<Key, Error> {
        Ok(Key::Other { octets: key.try_get_as_bytes()?.to_vec(), parameters })
    };
    let key = match algorithm {
        // 2048 bits or more (RFC 7518 §3.3).
        Algorithm::RS256 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256)?,
        Algorithm::RS384 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384)?,
        Algorithm::RS512 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512)?,
        Algorithm::PS256 => rsa(&algorithms::RSA_PSS_2048_8192_SHA256)?,
        Algorithm::PS384 => rsa(&algorithms::RSA_PSS_2048_8192_SHA384)?,
        Algorithm::PS512 => rsa(&algorithms::RSA_PSS_2048_8192_SHA512)?,
        Algorithm::ES256 => other(&algorithms::ECDSA_P256_SHA256_FIXED)?,
        Algorithm::ES384 => other(&algorithms::ECDSA_P384_SHA384_FIXED)?,
        Algorithm::EdDSA => other(&algorithms::ED25519)?,
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(ByRing { algorithm: *algorithm, key }))
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match &self.key {
            Key::Rsa { n, e, parameters } => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Key::Other { octets, parameters } => {
                UnparsedPublicKey::new(*parameters, octets).verify(message, signature)
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}
