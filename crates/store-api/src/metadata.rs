//! Metadata of folders: named values that clients and network functions keep beside messages (RFC 5464).

use std::collections::BTreeMap;

use bytes::Bytes;
use model::EntryName;

/// The entries of a folder, or of the account itself, that its reader may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: BTreeMap<EntryName, Bytes>,
}

impl Metadata {
    /// The value of an entry.
    pub fn get(&self, name: &EntryName) -> Option<&Bytes> {
        self.entries.get(name)
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&EntryName, &Bytes)> {
        self.entries.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(EntryName, Bytes)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (EntryName, Bytes)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

impl Extend<(EntryName, Bytes)> for Metadata {
    fn extend<I: IntoIterator<Item = (EntryName, Bytes)>>(&mut self, entries: I) {
        self.entries.extend(entries);
    }
}

/// A new value of an entry; none removes it.
pub type MetadataChange = (EntryName, Option<Bytes>);
