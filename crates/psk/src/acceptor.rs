//! The server's side of handshakes, by OpenSSL.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use foreign_types::ForeignTypeRef as _;
use futures::FutureExt as _;
use hmac::{Hmac, Mac as _};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode,
    SslVersion,
};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_openssl::SslStream;

use crate::limits::HINT_BYTES_MAX;
use crate::{AcceptorError, Entry, KeySource, UaProtocol};

/// Suites of TLS 1.2: authenticated encryption, those with a secret of the moment first.
const SUITES_12: &str = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:PSK-CHACHA20-POLY1305";
/// Suites of TLS 1.3: those of SHA-256, which is the hash of these keys.
const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

/// A connection with TLS.
pub type Stream = SslStream<TcpStream>;

/// Takes part in handshakes.
pub struct Acceptor {
    context: SslContext,
    answered: Index<Ssl, Answered>,
}

/// Whom the identity that was last asked for names; none for one that nobody has.
type Answered = Option<Arc<Entry>>;

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

#[expect(unsafe_code, reason = "declared as OpenSSL declares them")]
unsafe extern "C" {
    // OpenSSL has them since 1.0 and 1.1.1; the bindings leave them out.
    fn SSL_CTX_use_psk_identity_hint(context: *mut c_void, hint: *const c_char) -> c_int;
    fn SSL_get_pending_cipher(ssl: *const c_void) -> *const c_void;
    fn SSL_CIPHER_get_protocol_id(cipher: *const c_void) -> u16;
}

impl Acceptor {
    /// `sources`: where keys are looked for, one after another. `hint`: what clients of TLS 1.2 are told
    /// before they choose an identity (RFC 4279 §5.2), as [`crate::gba::HINT`].
    ///
    /// # Errors
    /// [`AcceptorError`]
    pub fn new(sources: Vec<Arc<dyn KeySource>>, hint: Option<&str>) -> Result<Self, AcceptorError> {
        let refused = |error: ErrorStack| AcceptorError::Library(error.to_string());
        let answered = Ssl::new_ex_index().map_err(refused)?;
        let mut builder = SslContextBuilder::new(SslMethod::tls_server()).map_err(refused)?;
        configure(&mut builder).map_err(refused)?;
        if let Some(hint) = hint {
            if hint.is_empty() || hint.len() > HINT_BYTES_MAX {
                return Err(AcceptorError::Hint);
            }
            let hint = CString::new(hint).map_err(|_| AcceptorError::Hint)?;
            // SAFETY: the context lives as long as its builder, the text ends with a NUL and is copied by the call.
            #[expect(unsafe_code, reason = "the proof stands above")]
            let set = unsafe { SSL_CTX_use_psk_identity_hint(builder.as_ptr().cast(), hint.as_ptr()) };
            if set != 1 {
                return Err(AcceptorError::Hint);
            }
        }
        let secret: [u8; 32] = rand::random();
        builder.set_psk_server_callback(move |ssl, identity, room| {
            let identity = identity.unwrap_or_default();
            let found = look(&sources, identity, protocol(ssl));
            let length = answer(found.as_deref(), &secret, identity, room);
            // Asked twice in one handshake (RFC 8446 §4.1.4), the last answer counts.
            ssl.set_ex_data(answered, found);
            Ok(length)
        });
        Ok(Self { context: builder.build(), answered })
    }

    /// Takes part in a handshake, and says whom the client's identity names. Who calls bounds the time.
    ///
    /// # Errors
    /// What the connection or the handshake fails with: a key that nobody has as a wrong one.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<(Stream, Arc<Entry>)> {
        let mut stream = SslStream::new(Ssl::new(&self.context)?, tcp)?;
        Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
        // A handshake that names nobody would be by a key that only this process has.
        let entry = stream.ssl().ex_data(self.answered).cloned().flatten();
        entry.map(|entry| (stream, entry)).ok_or_else(|| io::Error::other("no identity"))
    }
}

fn configure(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_cipher_list(SUITES_12)?;
    builder.set_ciphersuites(SUITES_13)?;
    builder.set_options(
        SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    builder.set_num_tickets(0)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // A silent connection holds no buffers.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(())
}

/// What the key is for. TLS has chosen its version and, in 1.2, the suite before it asks for a key.
fn protocol(ssl: &SslRef) -> UaProtocol {
    if ssl.version2() == Some(SslVersion::TLS1_3) {
        return UaProtocol::TLS13;
    }
    // SAFETY: `ssl` is alive for as long as it is borrowed; the call only reads it, and gives null or a suite of OpenSSL's
    // own table, which is static.
    #[expect(unsafe_code, reason = "the proof stands above")]
    let suite = unsafe {
        let chosen = SSL_get_pending_cipher(ssl.as_ptr().cast());
        if chosen.is_null() { 0 } else { SSL_CIPHER_get_protocol_id(chosen) }
    };
    UaProtocol::tls12(suite)
}

/// Asks the sources. OpenSSL waits for the answer, and so does this thread where a source must: the runtime is told, so that
/// no other connection waits. Sources bound how many and how long.
fn look(sources: &[Arc<dyn KeySource>], identity: &[u8], protocol: UaProtocol) -> Option<Arc<Entry>> {
    let mut found = pin!(async {
        for source in sources {
            if let Some(entry) = source.find(identity, protocol).await {
                return Some(entry);
            }
        }
        None
    });
    if let Some(found) = found.as_mut().now_or_never() {
        return found;
    }
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| runtime.block_on(found))
        }
        _ => {
            tracing::error!("keys can be asked for in a runtime of many threads alone");
            None
        }
    }
}

/// Writes the key to `room`, or one that nobody has; how many octets. Both are made always, so that time does not tell them
/// apart.
fn answer(found: Option<&Entry>, secret: &[u8], identity: &[u8], room: &mut [u8]) -> usize {
    // HMAC takes keys of any length: there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return 0 };
    mac.update(identity);
    let nobodys = mac.finalize().into_bytes();
    let key: &[u8] = found.map_or(&nobodys[..], |entry| &entry.key);
    // No key, no handshake: OpenSSL's room has 256 octets at least, ours 64 at most.
    let Some(room) = room.get_mut(..key.len()) else { return 0 };
    room.copy_from_slice(key);
    key.len()
}
