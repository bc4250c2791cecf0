//! Where keys come from.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Entry;

/// How a handshake uses the key, in the words of GBA: the protocol identifier that goes into the derivation of a key
/// (3GPP TS 33.220 annex H). Sources whose keys are of no protocol do not look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UaProtocol(pub(crate) [u8; 5]);

impl UaProtocol {
    /// A key of TLS 1.3 (3GPP TS 33.222 §5.4.0.2).
    pub const TLS13: Self = Self([1, 0, 0, 0, 7]);

    /// A key of TLS 1.2 with the suite of that number.
    pub const fn tls12(suite: u16) -> Self {
        let [high, low] = suite.to_be_bytes();
        Self([1, 0, 1, high, low])
    }
}

impl std::fmt::Display for UaProtocol {
    /// Ten hexadecimal digits, as 3GPP TS 29.309 writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Knows keys by the identity that a client offers, which anybody can make up.
#[async_trait]
pub trait KeySource: Send + Sync + std::fmt::Debug {
    /// The key of `identity`, and whom it names; none for one that nobody has, or of which nothing can be told now. Bounded
    /// in time: a client waits, and a thread with it, unless the answer is there at once.
    async fn find(&self, identity: &[u8], protocol: UaProtocol) -> Option<Arc<Entry>>;
}
