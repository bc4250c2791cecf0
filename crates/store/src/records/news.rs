//! The record of what changed of an account's folders that no MODSEQ tells of.

use std::ops::BitOr;

use model::MailboxId;
use model::limits::CHANGES_REMEMBERED_MAX;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// What changed of a folder, or of the account itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewsOf(u8);

impl NewsOf {
    /// The folder came, went, or has another name, kind or access control list.
    pub const NAME: Self = Self(1);
    /// Its metadata.
    pub const METADATA: Self = Self(2);
    /// The names subscribed to; of the account alone.
    pub const SUBSCRIPTIONS: Self = Self(4);

    /// Whether it includes all of `other`.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for NewsOf {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The last such change of each folder, of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewsRecord {
    /// It has all of them after this change.
    pub from: u64,
    /// The change, the folder (none for the account itself), and what it was: ascending by change, each of a folder
    /// once, at most [`CHANGES_REMEMBERED_MAX`].
    pub entries: Vec<(u64, Option<MailboxId>, NewsOf)>,
}

impl NewsRecord {
    /// Notes a change, which is not before any that was noted. The oldest makes room.
    pub fn note(&mut self, change: u64, folder: Option<MailboxId>, of: NewsOf) {
        self.entries.retain(|(_, known, what)| (*known, *what) != (folder, of));
        self.entries.push((change, folder, of));
        while self.entries.len() > CHANGES_REMEMBERED_MAX {
            self.from = self.entries.remove(0).0;
        }
    }

    /// The stored form: of each change the distance from the one before.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 16 + self.entries.len() * 6);
        out.number(self.from).number(self.entries.len() as u64);
        let mut before = self.from;
        for (change, folder, of) in &self.entries {
            out.number(change - before).number(folder.map_or(0, |folder| folder.0)).u8(of.0);
            before = *change;
        }
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let from = input.number()?;
        let count = usize::try_from(input.number()?).ok().filter(|count| *count <= CHANGES_REMEMBERED_MAX)?;
        let mut entries = Vec::with_capacity(count.min(input.left() / 3));
        let mut change = from;
        for _ in 0..count {
            change = change.checked_add(input.number()?)?;
            let folder = Some(input.number()?).filter(|folder| *folder > 0).map(MailboxId);
            let of = NewsOf(input.u8()?);
            [NewsOf::NAME, NewsOf::METADATA, NewsOf::SUBSCRIPTIONS].contains(&of).then_some(())?;
            entries.push((change, folder, of));
        }
        let mut distinct: Vec<_> = entries.iter().map(|(_, folder, of)| (*folder, of.0)).collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < entries.len() {
            return None;
        }
        input.end(Self { from, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut record = NewsRecord { from: 3, entries: Vec::new() };
        for (change, folder, of) in [
            (4, None, NewsOf::SUBSCRIPTIONS),
            (4, Some(7), NewsOf::NAME),
            (900, Some(u64::MAX), NewsOf::METADATA),
        ] {
            record.note(change, folder.map(MailboxId), of);
            let stored = record.encode();
            assert_eq!(NewsRecord::decode(&stored), Some(record.clone()));
            assert!((0..stored.len()).all(|cut| NewsRecord::decode(&stored[..cut]).is_none()));
        }
    }

    #[test]
    fn each_change_of_a_folder_stands_once() {
        let mut record = NewsRecord::default();
        record.note(1, Some(MailboxId(5)), NewsOf::METADATA);
        record.note(2, Some(MailboxId(6)), NewsOf::NAME);
        record.note(3, Some(MailboxId(5)), NewsOf::NAME);
        record.note(4, Some(MailboxId(6)), NewsOf::NAME);
        let expected = [(1, 5, NewsOf::METADATA), (3, 5, NewsOf::NAME), (4, 6, NewsOf::NAME)];
        assert_eq!(
            record.entries,
            expected.map(|(change, folder, of)| (change, Some(MailboxId(folder)), of))
        );
        let both = NewsOf::NAME | NewsOf::METADATA;
        assert!(both.has(NewsOf::NAME) && !NewsOf::NAME.has(both));
        let twice = NewsRecord { from: 0, entries: vec![record.entries[0], record.entries[0]] };
        assert_eq!(NewsRecord::decode(&twice.encode()), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut record = NewsRecord::default();
        let most = CHANGES_REMEMBERED_MAX as u64;
        for change in 1..=most + 2 {
            record.note(change << 40, Some(MailboxId(change << 50 | change)), NewsOf::NAME);
        }
        assert_eq!((record.from, record.entries.len()), (2 << 40, CHANGES_REMEMBERED_MAX));
        let stored = record.encode();
        assert!(stored.len() < 24_000, "{}", stored.len());
        assert_eq!(NewsRecord::decode(&stored), Some(record));
    }
}
