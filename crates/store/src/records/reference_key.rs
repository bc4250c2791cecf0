//! The record of the key that signs references to messages of a folder.

use std::fmt;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// Octets of a key: as many as the hash that it is used with gives.
pub const REFERENCE_KEY_BYTES: usize = 32;

/// The key of a folder. It leaves the store in no form.
#[derive(Clone, PartialEq, Eq)]
pub struct ReferenceKey(pub [u8; REFERENCE_KEY_BYTES]);

impl ReferenceKey {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 1 + REFERENCE_KEY_BYTES);
        out.fixed(&self.0);
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let key = input.fixed(REFERENCE_KEY_BYTES)?.try_into().ok()?;
        input.end(Self(key))
    }
}

impl fmt::Debug for ReferenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReferenceKey(..)")
    }
}
