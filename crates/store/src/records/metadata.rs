//! The record of a folder's metadata entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::EntryName;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// All entries of one scope of a folder, or of the account itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataRecord {
    /// The values, by name.
    pub entries: BTreeMap<EntryName, Bytes>,
}

impl MetadataRecord {
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
            let name = EntryName::parse(input.counted()?).ok()?;
            entries.insert(name, Bytes::copy_from_slice(input.counted()?));
        }
        (entries.len() == count).then_some(())?;
        input.end(Self { entries })
    }
}
