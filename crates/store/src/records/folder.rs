//! The record of a folder in the tree.

use model::{MailboxId, MailboxName, SpecialUse};
use store_api::FolderEntry;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;
const NOSELECT: u8 = 1;

/// A folder's name and kind; its id stands in the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRecord {
    /// Its name.
    pub name: MailboxName,
    /// What CREATE said it is for.
    pub special_use: Option<SpecialUse>,
    /// Only a name.
    pub noselect: bool,
}

impl FolderRecord {
    /// The record of an entry of the tree.
    pub fn of(entry: &FolderEntry) -> Self {
        Self { name: entry.name.clone(), special_use: entry.special_use, noselect: entry.noselect }
    }

    /// The entry of the tree.
    pub fn into_entry(self, id: MailboxId) -> FolderEntry {
        FolderEntry { id, name: self.name, special_use: self.special_use, noselect: self.noselect }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 8 + self.name.as_str().len());
        let special_use = self.special_use.and_then(|special_use| {
            SpecialUse::ALL
                .iter()
                .find(|(candidate, ..)| *candidate == special_use)
                .map(|(.., number, _)| *number)
        });
        out.u8(if self.noselect { NOSELECT } else { 0 }).u8(special_use.unwrap_or(0));
        out.counted(self.name.as_str().as_bytes());
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let flags = input.u8()?;
        if flags & !NOSELECT != 0 {
            return None;
        }
        let special_use = match input.u8()? {
            0 => None,
            number => Some(SpecialUse::ALL.iter().find(|(_, _, n, _)| *n == number).map(|(u, ..)| *u)?),
        };
        let name = MailboxName::parse(input.text()?).ok()?;
        input.end(Self { name, special_use, noselect: flags & NOSELECT != 0 })
    }
}
