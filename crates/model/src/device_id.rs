//! The names of devices.

use std::fmt;
use std::sync::Arc;

use crate::limits::DEVICE_ID_BYTES_MAX;

/// The identity of a device of a subscriber, as the network knows it: a `+sip.instance` such as
/// `<urn:gsma:imei:90420156-025763-0>`, a GRUU, or another token. Values are compared octet by octet. Printable ASCII
/// without spaces, 1 to [`DEVICE_ID_BYTES_MAX`] octets. Source: OMA CPM Message Storage (Message-seen-identity),
/// RFC 5626 §4.1, RFC 5627.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

/// Why a text is not the identity of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a device identity is 1 to {DEVICE_ID_BYTES_MAX} printable ASCII characters without spaces")]
pub struct DeviceIdError;

impl DeviceId {
    /// Reads an identity.
    ///
    /// # Errors
    /// [`DeviceIdError`] says what is allowed.
    pub fn parse(text: &[u8]) -> Result<Self, DeviceIdError> {
        if text.is_empty() || text.len() > DEVICE_ID_BYTES_MAX || !text.iter().all(u8::is_ascii_graphic) {
            return Err(DeviceIdError);
        }
        std::str::from_utf8(text).map(|text| Self(text.into())).map_err(|_| DeviceIdError)
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_calls_devices() {
        for text in [
            "<urn:gsma:imei:90420156-025763-0>",
            "sip:alice@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "tablet",
        ] {
            assert_eq!(
                DeviceId::parse(text.as_bytes()).map(|id| id.as_str().to_owned()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "two words", "tab\there", "caf\u{e9}", &"x".repeat(DEVICE_ID_BYTES_MAX + 1)] {
            assert_eq!(DeviceId::parse(text.as_bytes()), Err(DeviceIdError), "{text:?}");
        }
    }
}
