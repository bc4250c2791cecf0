//! What changed in a folder, by MODSEQ.

use model::{ModSeq, UidSet};

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// What a change was. Numbers are stored: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChangeKind {
    /// Messages were appended.
    Append = 1,
    /// Flags or keywords changed.
    Flags = 2,
    /// Messages were removed.
    Expunge = 3,
    /// Messages were copied here.
    Copy = 4,
    /// Messages were moved here or from here.
    Move = 5,
    /// A message took the place of another.
    Replace = 6,
    /// Folders were created, deleted or renamed.
    Folders = 7,
    /// Subscriptions changed.
    Subscriptions = 8,
    /// The account was removed.
    Removed = 9,
    /// Metadata entries changed.
    Metadata = 10,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Flags,
        Self::Expunge,
        Self::Copy,
        Self::Move,
        Self::Replace,
        Self::Folders,
        Self::Subscriptions,
        Self::Removed,
        Self::Metadata,
    ];

    /// The kind of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One change of a folder: all that got one MODSEQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its MODSEQ.
    pub modseq: ModSeq,
    /// What it was.
    pub kind: ChangeKind,
    /// Messages that are new or whose flags changed.
    pub changed: UidSet,
    /// Messages that went.
    pub removed: UidSet,
    /// The request that did it.
    pub request: u64,
}

/// Changes that were committed together, ascending by MODSEQ; the last one's stands in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// When, seconds since 1970-01-01 UTC.
    pub at: i64,
    /// The changes.
    pub entries: Vec<LogEntry>,
}

impl LogBatch {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 16 + self.entries.len() * 24);
        out.signed(self.at).number(self.entries.len() as u64);
        let mut last = 0;
        for entry in &self.entries {
            out.number(entry.modseq.0 - last).u8(entry.kind as u8).number(entry.request);
            entry.changed.encode(out.buffer());
            entry.removed.encode(out.buffer());
            last = entry.modseq.0;
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let at = input.signed()?;
        let count = usize::try_from(input.number()?).ok()?;
        // The shortest entry has five octets.
        if count > input.left() / 5 {
            return None;
        }
        let mut entries = Vec::with_capacity(count);
        let mut last = 0u64;
        for _ in 0..count {
            let step = input.number()?;
            last = last.checked_add(step).filter(|_| step > 0)?;
            let kind = ChangeKind::from_number(input.u8()?)?;
            let request = input.number()?;
            let changed = UidSet::decode(input.input())?;
            let removed = UidSet::decode(input.input())?;
            entries.push(LogEntry { modseq: ModSeq(last), kind, changed, removed, request });
        }
        input.end(Self { at, entries })
    }
}
