//! What changed in a folder, by MODSEQ.

use model::{AccountId, AnnotationName, ModSeq, UidSet};

use super::codec::{Reader, Writer};

/// Version 2 says of each entry which annotations were changed. A batch that has none is written as version 1.
const VERSION: u8 = 2;

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
    /// Folders were created, deleted or renamed, or the rights on them changed: an item without a folder. One with a
    /// folder says that it was deleted or renamed.
    Folders = 7,
    /// Subscriptions changed.
    Subscriptions = 8,
    /// The account was removed.
    Removed = 9,
    /// Metadata entries changed.
    Metadata = 10,
    /// Annotations of messages changed.
    Annotations = 11,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
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
        Self::Annotations,
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
    /// The entries that changed, for [`ChangeKind::Annotations`].
    pub annotated: Option<Annotated>,
}

/// Which annotations were changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotated {
    /// Who changed them: nobody else sees `private`.
    pub by: AccountId,
    /// Entries of which what that account has for itself changed.
    pub private: Vec<AnnotationName>,
    /// Entries of which what all see changed.
    pub shared: Vec<AnnotationName>,
}

impl Annotated {
    /// Octets it takes at most.
    pub fn size(&self) -> usize {
        self.private.iter().chain(&self.shared).map(|name| name.as_str().len() + 2).sum::<usize>() + 16
    }

    fn encode(&self, out: &mut Writer) {
        out.number(self.by.0);
        for names in [&self.private, &self.shared] {
            out.number(names.len() as u64);
            for name in names {
                out.counted(name.as_str().as_bytes());
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let by = AccountId(input.number()?);
        let mut names = || {
            let count = usize::try_from(input.number()?).ok()?;
            // The shortest name has three octets, counted.
            if count > input.left() / 3 {
                return None;
            }
            (0..count).map(|_| AnnotationName::parse(input.counted()?).ok()).collect::<Option<Vec<_>>>()
        };
        Some(Self { by, private: names()?, shared: names()? })
    }
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
        let annotated = self.entries.iter().any(|entry| entry.annotated.is_some());
        let version = if annotated { VERSION } else { 1 };
        let mut out = Writer::new(version, 16 + self.entries.len() * 24);
        out.signed(self.at).number(self.entries.len() as u64);
        let mut last = 0;
        for entry in &self.entries {
            out.number(entry.modseq.0 - last).u8(entry.kind as u8).number(entry.request);
            entry.changed.encode(out.buffer());
            entry.removed.encode(out.buffer());
            if annotated {
                out.u8(u8::from(entry.annotated.is_some()));
                if let Some(annotated) = &entry.annotated {
                    annotated.encode(&mut out);
                }
            }
            last = entry.modseq.0;
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
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
            let annotated = match if version > 1 { input.u8()? } else { 0 } {
                0 => None,
                1 => Some(Annotated::decode(&mut input)?),
                _ => return None,
            };
            entries.push(LogEntry { modseq: ModSeq(last), kind, changed, removed, request, annotated });
        }
        input.end(Self { at, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_forms_stay_as_they_are() {
        let name = |text: &str| AnnotationName::parse(text.as_bytes()).unwrap();
        let flags = LogEntry {
            modseq: ModSeq(4),
            kind: ChangeKind::Flags,
            changed: UidSet::from_ranges([(7, 7)]),
            removed: UidSet::new(),
            request: 9,
            annotated: None,
        };
        let annotated = LogEntry {
            modseq: ModSeq(6),
            kind: ChangeKind::Annotations,
            annotated: Some(Annotated { by: AccountId(5), private: vec![name("/a")], shared: vec![] }),
            ..flags.clone()
        };
        for (entries, stored) in [
            (vec![flags.clone()], &b"\x01\x0a\x01\x04\x02\x09\x01\x07\x00\x00"[..]),
            (
                vec![flags, annotated],
                b"\x02\x0a\x02\x04\x02\x09\x01\x07\x00\x00\x00\
                  \x02\x0b\x09\x01\x07\x00\x00\x01\x05\x01\x02/a\x00",
            ),
        ] {
            let batch = LogBatch { at: 5, entries };
            assert_eq!(batch.encode().escape_ascii().to_string(), stored.escape_ascii().to_string());
            assert_eq!(LogBatch::decode(stored), Some(batch));
            assert_eq!(LogBatch::decode(&stored[..stored.len() - 1]), None);
        }
    }
}
