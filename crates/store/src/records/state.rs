//! A folder's counters and marks.

use std::sync::Arc;

use model::limits::KEYWORDS_PER_FOLDER_MAX;
use model::{FolderState, Keyword, KeywordTable, ModSeq, UidValidity};

use super::codec::{Reader, Writer};

/// Version 2 adds a byte of marks. A folder without any is written as version 1, which is all of it.
const VERSION: u8 = 2;
/// The mark of a folder with identities.
const HAS_IDENTITIES: u8 = 1;

/// A folder's state, with what readers of the folder do not see. Its key exists as long as the folder can be
/// selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// What readers see.
    pub folder: FolderState,
    /// The log has every change after this one.
    pub log_from: ModSeq,
    /// Some message has, or had, identities of devices beside its row.
    pub identities: bool,
}

impl StateRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let folder = &self.folder;
        let mut out =
            Writer::new(if self.identities { VERSION } else { 1 }, 64 + folder.keywords.slots().len() * 16);
        out.number(u64::from(folder.uid_validity.get())).number(folder.uid_next);
        out.number(folder.highest_modseq.0).number(folder.expunge_modseq.0).number(self.log_from.0);
        out.number(folder.messages).number(folder.unseen).number(folder.deleted);
        out.number(folder.bytes).number(folder.deleted_bytes).number(folder.recent_uid);
        out.u8(folder.keywords.slots().len() as u8);
        for slot in folder.keywords.slots() {
            out.counted(slot.as_ref().map_or(b"", |keyword| keyword.as_str().as_bytes()));
        }
        if self.identities {
            out.u8(HAS_IDENTITIES);
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
            _ => (input.u8()? == HAS_IDENTITIES).then_some(true)?,
        };
        input.end(Self { folder, log_from, identities })
    }
}
