//! The record of a message's annotations.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::AnnotationName;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// The annotations of a message that all see, or that one account has for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationRecord {
    /// The values, by name.
    pub entries: BTreeMap<AnnotationName, Bytes>,
}

impl AnnotationRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 8 + self.size());
        out.number(self.entries.len() as u64);
        for (name, value) in &self.entries {
            out.counted(name.as_str().as_bytes()).counted(value);
        }
        out.done()
    }

    /// Octets of all names and values, and what each needs beside.
    pub fn size(&self) -> usize {
        self.entries.iter().map(|(name, value)| name.as_str().len() + value.len() + 8).sum()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let count = usize::try_from(input.number()?).ok()?;
        // The shortest entry has more than two octets.
        if count > input.left() / 2 {
            return None;
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let name = AnnotationName::parse(input.counted()?).ok()?;
            entries.insert(name, Bytes::copy_from_slice(input.counted()?));
        }
        (entries.len() == count).then_some(())?;
        input.end(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let name = |text: &str| AnnotationName::parse(text.as_bytes()).unwrap();
        let mut record = AnnotationRecord::default();
        record.entries.insert(name("/comment"), Bytes::from_static(b"a\0b"));
        record.entries.insert(name("/1/comment"), Bytes::new());
        let stored = record.encode();
        assert_eq!(stored, b"\x01\x02\x0a/1/comment\x00\x08/comment\x03a\0b");
        assert_eq!(AnnotationRecord::decode(&stored), Some(record.clone()));
        assert!(stored.len() <= record.size() + 8);
        for cut in 0..stored.len() {
            assert_eq!(AnnotationRecord::decode(&stored[..cut]), None);
        }
    }
}
