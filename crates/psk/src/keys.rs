//! Keys in a file, a line for each: `identity key [address…] [device=urn]`, the key in hexadecimal digits.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use model::{CpmAddress, DeviceId};
use zeroize::Zeroizing;

use crate::limits::{ADDRESSES_MAX, FILE_BYTES_MAX, IDENTITY_BYTES_MAX, KEY_BYTES, KEYS_MAX};
use crate::{KeySource, UaProtocol};

/// Whom one identity names.
#[derive(PartialEq, Eq)]
pub struct Entry {
    pub(crate) key: Zeroizing<Vec<u8>>,
    /// Accounts that its holder may log in to by SASL EXTERNAL.
    pub addresses: Vec<CpmAddress>,
    /// The device that has the key.
    pub device: Option<DeviceId>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Why keys cannot be used. Never says what a key is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// Others than its owner and group may read it.
    #[error("everybody may read or write it, but only its owner and group should (chmod o-rwx)")]
    Open,
    /// It is larger than any file of keys.
    #[error("it has more than {FILE_BYTES_MAX} bytes or {KEYS_MAX} keys")]
    TooLarge,
    /// A line is wrong: which, and what.
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
}

/// Keys by identity.
#[derive(Debug, Default)]
pub struct Keys(HashMap<Box<[u8]>, Arc<Entry>>);

impl Keys {
    /// Reads a file that not everybody may read.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn load(file: &Path) -> Result<Self, KeysError> {
        let unreadable = |error: std::io::Error| KeysError::Read(error.to_string());
        let open = std::fs::File::open(file).map_err(unreadable)?;
        let metadata = open.metadata().map_err(unreadable)?;
        if metadata.permissions().mode() & 0o007 != 0 {
            return Err(KeysError::Open);
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(KeysError::TooLarge);
        }
        let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
        open.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text)
    }

    /// Reads lines; empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// [`KeysError::Line`] for the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut keys = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (identity, entry) = parse_line(line).map_err(|what| KeysError::Line(number, what))?;
            if keys.len() == KEYS_MAX {
                return Err(KeysError::TooLarge);
            }
            if keys.insert(identity.as_bytes().into(), Arc::new(entry)).is_some() {
                return Err(KeysError::Line(number, "the identity has a line already"));
            }
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, identity: &[u8]) -> Option<Arc<Entry>> {
        self.0.get(identity).cloned()
    }
}

/// The keys of a file, as it was last read.
#[derive(Debug, Default)]
pub struct FileKeys(ArcSwap<Keys>);

impl FileKeys {
    /// With these to begin with.
    pub fn new(keys: Keys) -> Self {
        Self(ArcSwap::from_pointee(keys))
    }

    /// From now on these are the keys; connections that are there stay.
    pub fn set(&self, keys: Keys) {
        self.0.store(Arc::new(keys));
    }
}

#[async_trait]
impl KeySource for FileKeys {
    async fn find(&self, identity: &[u8], _: UaProtocol) -> Option<Arc<Entry>> {
        self.0.load().find(identity)
    }
}

fn parse_line(line: &str) -> Result<(&str, Entry), &'static str> {
    let mut words = line.split_whitespace();
    let identity = words.next().unwrap_or_default();
    if identity.len() > IDENTITY_BYTES_MAX {
        return Err("the identity has more than 128 bytes");
    }
    let digits = words.next().ok_or("an identity and its key in hexadecimal digits are wanted")?;
    let key = unhex(digits).ok_or("the key must be hexadecimal digits, two for a byte")?;
    if !KEY_BYTES.contains(&key.len()) {
        return Err("the key must have 16 to 64 bytes");
    }
    let mut entry = Entry { key, addresses: Vec::new(), device: None };
    for word in words {
        if let Some(device) = word.strip_prefix("device=") {
            let device =
                DeviceId::parse(device.as_bytes()).map_err(|_| "what follows device= is no identity")?;
            if entry.device.replace(device).is_some() {
                return Err("it names two devices");
            }
        } else {
            let address = CpmAddress::parse(word).map_err(|_| "a word is neither an address nor device=")?;
            if entry.addresses.len() == ADDRESSES_MAX {
                return Err("it has more than 64 addresses");
            }
            entry.addresses.push(address);
        }
    }
    Ok((identity, entry))
}

pub(crate) fn unhex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        octets.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn lines() {
        let line = format!(
            "# phones\n\n3GPP-bootstrapping;YWJj@bsf.example {KEY} tel:+15550000001 sip:a@example.com device=urn:gsma:imei:90420156-025763-0\nbare {KEY}\n"
        );
        let keys = Keys::parse(&line).unwrap();
        let entry = keys.find(b"3GPP-bootstrapping;YWJj@bsf.example").unwrap();
        assert_eq!((entry.addresses.len(), entry.key[..2].to_vec(), keys.len()), (2, vec![0, 0x11], 2));
        assert!(entry.device.is_some() && keys.find(b"nobody").is_none());
        assert!(!format!("{keys:?}").contains("key"), "no key is shown");
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        for text in [
            "a".to_owned(),
            format!("a {}", &KEY[1..]),
            "a 0011".to_owned(),
            format!("a {}", KEY.repeat(5)),
            format!("a {} x", KEY.replace('0', "g")),
            format!("{} {KEY}", "a".repeat(129)),
            format!("a {KEY} alice"),
        ] {
            let error = Keys::parse(&format!("\n{text}\n")).map(|keys| keys.len()).unwrap_err();
            assert!(matches!(error, KeysError::Line(2, _)), "{text}: {error}");
            assert!(!error.to_string().contains(KEY), "{error}");
        }
        let twice = format!("a {KEY}\na {KEY}\n");
        assert!(matches!(Keys::parse(&twice).map(|keys| keys.len()), Err(KeysError::Line(2, _))));
    }

    #[test]
    fn not_for_everybody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("a {KEY}\n")).unwrap();
        let allow =
            |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o644);
        assert_eq!(Keys::load(file.path()).map(|keys| keys.len()), Err(KeysError::Open));
        allow(0o440);
        assert_eq!(Keys::load(file.path()).map(|keys| keys.len()), Ok(1));
    }
}
