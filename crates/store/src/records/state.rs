//! A folder's counters and marks.

use std::sync::Arc;

use model::limits::KEYWORDS_PER_FOLDER_MAX;
use model::{FolderState, Keyword, KeywordTable, ModSeq, UidValidity};

use super::codec::{Reader, Writer};

/// Version 2 adds a byte of marks, version 3 the octets of annotations after it, version 4 the last change behind these,
/// version 5 the day of a note at its end. A folder is written as the first that says all of it: without the note, and as
/// long as no change of it was counted, one without any marks as version 1, and one without annotations as version 2.
const VERSION: u8 = 5;
/// The mark of a folder with identities.
const HAS_IDENTITIES: u8 = 1;

/// What only the store's own work asks of a folder's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderMarks {
    /// The log has every change after this one.
    pub log_from: ModSeq,
    /// Some message has, or had, identities of devices beside its row.
    pub identities: bool,
    /// Octets of all annotations of its messages, as the quota counts them; 0 without any.
    pub annotation_bytes: u64,
    /// Which of the account's changes gave it the last MODSEQ ([`Ledger::changes`](super::Ledger::changes)); 0 for one
    /// that had none since changes are counted.
    pub changed: u64,
    /// The day under which stands the note of its messages with \Deleted, as [`DeletedNote::day`](super::DeletedNote::day)
    /// has it; 0 for no note.
    pub deleted_day: u32,
}

/// A folder's state, with what readers of the folder do not see. Its key exists as long as the folder can be
/// selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// What readers see.
    pub folder: FolderState,
    /// What they do not see.
    pub marks: FolderMarks,
}

impl StateRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let folder = &self.folder;
        let FolderMarks { log_from, identities, annotation_bytes, changed, deleted_day } = self.marks;
        let version = match (identities, annotation_bytes, changed, deleted_day) {
            (false, 0, 0, 0) => 1,
            (true, 0, 0, 0) => 2,
            (_, _, 0, 0) => 3,
            (_, _, _, 0) => 4,
            _ => VERSION,
        };
        let mut out = Writer::new(version, 64 + folder.keywords.slots().len() * 16);
        out.number(u64::from(folder.uid_validity.get())).number(folder.uid_next);
        out.number(folder.highest_modseq.0).number(folder.expunge_modseq.0).number(log_from.0);
        out.number(folder.messages).number(folder.unseen).number(folder.deleted);
        out.number(folder.bytes).number(folder.deleted_bytes).number(folder.recent_uid);
        out.u8(folder.keywords.slots().len() as u8);
        for slot in folder.keywords.slots() {
            out.counted(slot.as_ref().map_or(b"", |keyword| keyword.as_str().as_bytes()));
        }
        if version > 1 {
            out.u8(if identities { HAS_IDENTITIES } else { 0 });
        }
        if version > 2 {
            out.number(annotation_bytes);
        }
        if version > 3 {
            out.number(changed);
        }
        if version > 4 {
            out.number(u64::from(deleted_day));
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
        let uid_validity = UidValidity::new(input.u32()?)?;
        let uid_next = input.number()?;
        let (highest_modseq, expunge_modseq) = (ModSeq(input.number()?), ModSeq(input.number()?));
        let log_from = ModSeq(input.number()?);
        let (messages, unseen, deleted) = (input.number()?, input.number()?, input.number()?);
        let (bytes, deleted_bytes, recent_uid) = (input.number()?, input.number()?, input.number()?);
        let count = usize::from(input.u8()?);
        if !(1..=1 << 32).contains(&uid_next)
            || highest_modseq > ModSeq::MAX
            || count > KEYWORDS_PER_FOLDER_MAX
        {
            return None;
        }
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            slots.push(match input.text()? {
                "" => None,
                text => Some(Keyword::parse(text).ok()?),
            });
        }
        let folder = FolderState {
            uid_validity,
            uid_next,
            highest_modseq,
            expunge_modseq,
            messages,
            unseen,
            deleted,
            bytes,
            deleted_bytes,
            recent_uid,
            keywords: Arc::new(KeywordTable::from_slots(slots)),
        };
        let identities = match version {
            1 => false,
            2 => (input.u8()? == HAS_IDENTITIES).then_some(true)?,
            _ => match input.u8()? {
                0 => false,
                HAS_IDENTITIES => true,
                _ => return None,
            },
        };
        let annotation_bytes = match version {
            1 | 2 => 0,
            3 => Some(input.number()?).filter(|bytes| *bytes > 0)?,
            _ => input.number()?,
        };
        let changed = match version {
            4 => Some(input.number()?).filter(|changed| *changed > 0)?,
            5 => input.number()?,
            _ => 0,
        };
        let deleted_day = match version {
            5 => Some(input.u32()?).filter(|day| *day > 0)?,
            _ => 0,
        };
        let marks = FolderMarks { log_from, identities, annotation_bytes, changed, deleted_day };
        input.end(Self { folder, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_take_the_version_that_they_need() {
        let folder = FolderState {
            uid_validity: UidValidity::new(7).unwrap(),
            uid_next: 3,
            highest_modseq: ModSeq(9),
            expunge_modseq: ModSeq(0),
            messages: 2,
            unseen: 1,
            deleted: 0,
            bytes: 20,
            deleted_bytes: 0,
            recent_uid: 1,
            keywords: Arc::default(),
        };
        for (identities, annotation_bytes, changed, deleted_day, version, end) in [
            (false, 0, 0, 0, 1, &b"\x01\x00"[..]),
            (true, 0, 0, 0, 2, b"\x00\x01"),
            (false, 5, 0, 0, 3, b"\x00\x00\x05"),
            (true, 5, 0, 0, 3, b"\x00\x01\x05"),
            (false, 0, 7, 0, 4, b"\x00\x00\x00\x07"),
            (true, 5, 7, 0, 4, b"\x00\x01\x05\x07"),
            (false, 0, 0, 9, 5, b"\x00\x00\x00\x00\x09"),
            (true, 5, 7, 9, 5, b"\x00\x01\x05\x07\x09"),
        ] {
            let marks =
                FolderMarks { log_from: ModSeq(1), identities, annotation_bytes, changed, deleted_day };
            let record = StateRecord { folder: folder.clone(), marks };
            let stored = record.encode();
            assert_eq!((stored[0], stored.ends_with(end)), (version, true), "{stored:?}");
            assert_eq!(StateRecord::decode(&stored), Some(record));
            assert_eq!(StateRecord::decode(&stored[..stored.len() - 1]), None);
        }
    }
}
