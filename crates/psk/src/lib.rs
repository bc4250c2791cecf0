//! TLS with keys that client and server both know: RFC 4279 in TLS 1.2, external keys in TLS 1.3 (RFC 8446 §2.2).
//!
//! Keys come from [`KeySource`]s: [`FileKeys`], which may be replaced while clients are served, and
//! [`gba::Bootstrapping`], which asks the operator's. [`Acceptor`] takes part in handshakes by OpenSSL, since rustls has no
//! such keys. Without the feature `openssl` there is none to be had ([`IS_BUILT`]), and all else compiles.
//!
//! An identity that nobody has gets a key that nobody has, made from it by a secret of this process (RFC 4279 §2 allows it):
//! its handshake goes as far, and fails as, that of a wrong key. Time tells them apart only where it is a bootstrapping
//! function that is asked, whose names are made by chance.
//!
//! Who calls bounds the time of a handshake and how many there are at once, as of any connection before login.
//!
//! Deliberately absent: certificates on these listeners; tickets, since a name of one would be taken for an identity.

#[cfg(feature = "openssl")]
mod acceptor;
#[cfg(not(feature = "openssl"))]
#[path = "acceptor_absent.rs"]
mod acceptor;
pub mod gba;
mod keys;
pub mod limits;
mod source;

pub use acceptor::{Acceptor, Stream};
pub use keys::{Entry, FileKeys, Keys, KeysError};
pub use source::{KeySource, UaProtocol};

/// Whether this program can serve such clients at all.
pub const IS_BUILT: bool = cfg!(feature = "openssl");

/// Why there is no acceptor.
#[derive(Debug, thiserror::Error)]
pub enum AcceptorError {
    /// The program was built without it.
    #[error("this program was built without the feature psk (cargo build --features psk)")]
    Absent,
    /// The hint is too long, or has a NUL.
    #[error("the hint must have 1 to {max} bytes and no NUL", max = limits::HINT_BYTES_MAX)]
    Hint,
    /// OpenSSL refuses.
    #[error("OpenSSL: {0}")]
    Library(String),
}
