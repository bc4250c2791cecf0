//! What is kept of a password, and how a password is checked against it. For login and for who provisions accounts.
//!
//! Passwords are prepared by SASLprep (RFC 4013) first, so that one typed on another keyboard is the same. Making and
//! checking take milliseconds of processor time by design: do both off the threads that serve connections.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use hmac::{Hmac, Mac};
use model::limits::PASSWORD_BYTES_MAX;
use rand::RngCore;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use store_api::{Credentials, ScramVerifier};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Rounds of PBKDF2 in new verifiers: what RFC 7677 §4 asks for at least. More would guard passwords that people
/// choose against whoever steals the store; subscribers' are long random texts that the network provisions, and after
/// an outage every device of a region logs in at once. A verifier keeps the number that it was made with.
pub const SCRAM_ITERATIONS: u32 = 4_096;

/// Octets of salt in new verifiers.
pub const SALT_BYTES: usize = 16;

/// Why a password cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// No characters, or none left by SASLprep.
    #[error("a password must not be empty")]
    Empty,
    /// Longer than [`PASSWORD_BYTES_MAX`].
    #[error("a password may have {PASSWORD_BYTES_MAX} bytes at most")]
    TooLong,
    /// Not UTF-8, or with characters that SASLprep forbids.
    #[error("a password must be UTF-8 without control, private-use and unassigned characters (RFC 4013)")]
    Forbidden,
    /// The hash function refused its input.
    #[error("the password could not be hashed")]
    Hash,
}

/// A password as it is hashed.
fn prepare(password: &[u8]) -> Result<Zeroizing<String>, PasswordError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    let text = std::str::from_utf8(password).map_err(|_| PasswordError::Forbidden)?;
    let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Forbidden)?;
    if prepared.is_empty() {
        return Err(PasswordError::Empty);
    }
    Ok(Zeroizing::new(prepared.into_owned()))
}

/// The SCRAM-SHA-256 verifier of a password, with a new random salt.
///
/// # Errors
/// What is wrong with the password.
/// Source: RFC 5802 §3, RFC 7677.
pub fn derive_scram(password: &SecretSlice<u8>) -> Result<ScramVerifier, PasswordError> {
    let mut salt = vec![0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    derive_scram_with(password, salt, SCRAM_ITERATIONS)
}

/// The SCRAM-SHA-256 verifier of a password for a salt and a number of rounds, 1 or more.
///
/// # Errors
/// What is wrong with the password.
pub fn derive_scram_with(
    password: &SecretSlice<u8>,
    salt: Vec<u8>,
    iterations: u32,
) -> Result<ScramVerifier, PasswordError> {
    let password = prepare(password.expose_secret())?;
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, iterations.max(1), &mut *salted);
    let client_key = Zeroizing::new(hmac(&*salted, b"Client Key"));
    Ok(ScramVerifier {
        iterations,
        salt,
        stored_key: Sha256::digest(*client_key).into(),
        server_key: hmac(&*salted, b"Server Key"),
    })
}

/// The Argon2id hash of a password in PHC string form, with a new random salt.
///
/// # Errors
/// What is wrong with the password.
pub fn hash_argon2(password: &SecretSlice<u8>) -> Result<String, PasswordError> {
    let password = prepare(password.expose_secret())?;
    let mut salt = [0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|_| PasswordError::Hash)?;
    let hash =
        Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|_| PasswordError::Hash)?;
    Ok(hash.to_string())
}

/// Whether a string is an Argon2 hash in PHC form that [`verify`] can check: for imports.
pub fn is_argon2(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some() && hash.salt.is_some()
    })
}

/// Whether `password` is the one that `credentials` were made of. Takes the time of the hash, whatever the answer.
pub fn verify(credentials: &Credentials, password: &SecretSlice<u8>) -> bool {
    match credentials {
        Credentials::None => false,
        Credentials::Scram(verifier) => {
            derive_scram_with(password, verifier.salt.clone(), verifier.iterations)
                .is_ok_and(|given| given.stored_key.ct_eq(&verifier.stored_key).into())
        }
        Credentials::Argon2(hash) => {
            let (Ok(hash), Ok(password)) = (PasswordHash::new(hash), prepare(password.expose_secret()))
            else {
                return false;
            };
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        }
    }
}

/// HMAC-SHA-256.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    hmac_of(key, [message])
}

/// HMAC-SHA-256 of parts one after the other.
pub(crate) fn hmac_of<'a>(key: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    // HMAC takes keys of any length: the constructor's error belongs to other MACs.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn secret(text: &str) -> SecretSlice<u8> {
        text.as_bytes().to_vec().into()
    }

    #[test]
    fn scram_known_answer() {
        // The exchange of RFC 7677 §3: user "user", password "pencil".
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = derive_scram_with(&secret("pencil"), salt, 4096).expect("a password");
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_signature = hmac(&verifier.server_key, auth_message.as_bytes());
        assert_eq!(STANDARD.encode(server_signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let client_signature = hmac(&verifier.stored_key, auth_message.as_bytes());
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").expect("base64");
        let client_key: Vec<u8> = proof.iter().zip(client_signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(client_key)), verifier.stored_key);
    }

    #[test]
    fn right_and_wrong_passwords() {
        let scram = Credentials::Scram(
            derive_scram_with(&secret("pass\u{AD}word"), b"salt".to_vec(), 4096).expect("a password"),
        );
        let argon2 = Credentials::Argon2(hash_argon2(&secret("password")).expect("a password"));
        for credentials in [scram, argon2] {
            assert!(verify(&credentials, &secret("password")), "{credentials:?}");
            assert!(!verify(&credentials, &secret("Password")), "{credentials:?}");
            assert!(!verify(&credentials, &secret("")), "{credentials:?}");
        }
        assert!(!verify(&Credentials::None, &secret("")));
        assert!(!verify(&Credentials::Argon2("nonsense".into()), &secret("password")));
    }

    #[test]
    fn passwords_that_are_refused() {
        for (password, error) in [
            (secret(""), PasswordError::Empty),
            (secret("\u{AD}"), PasswordError::Empty),
            (secret("a\u{7}"), PasswordError::Forbidden),
            (vec![0xff].into(), PasswordError::Forbidden),
            (secret(&"a".repeat(PASSWORD_BYTES_MAX + 1)), PasswordError::TooLong),
        ] {
            assert_eq!(derive_scram(&password).err(), Some(error));
            assert_eq!(hash_argon2(&password).err(), Some(error));
        }
    }

    #[test]
    fn argon2_strings() {
        assert!(is_argon2(&hash_argon2(&secret("x")).expect("a password")));
        assert!(!is_argon2("$2b$12$abc") && !is_argon2("$argon2id$v=19$m=8,t=1,p=1"));
    }
}
