//! Since when a folder has messages with \Deleted.

use model::ModSeq;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;
const DAY_SECONDS: i64 = 86_400;

/// That a folder has messages with \Deleted, for the sweeper: one note a folder, under its day.
///
/// It says nothing of single messages. What has a MODSEQ up to the noted one was at that time as it is now, so that of
/// those messages the ones with \Deleted have had it since then at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedNote {
    /// The folder's HIGHESTMODSEQ at that time, or one before it.
    pub modseq: ModSeq,
    /// The time, seconds since 1970-01-01 UTC.
    pub at: i64,
}

impl DeletedNote {
    /// The day under which it stands.
    pub fn day(&self) -> u32 {
        day_of(self.at)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 16);
        out.number(self.modseq.0).signed(self.at);
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let modseq = ModSeq(input.number().filter(|modseq| *modseq <= ModSeq::MAX.0)?);
        let at = input.signed()?;
        input.end(Self { modseq, at })
    }
}

/// The day of a time, days since 1970-01-01 UTC. Never 0, by which a folder's state says that it has no note.
pub fn day_of(at: i64) -> u32 {
    u32::try_from(at.div_euclid(DAY_SECONDS).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (modseq, at, day) in [(7, 1_700_000_000, 19_675), (0, -5, 1), (1, i64::MAX, u32::MAX)] {
            let note = DeletedNote { modseq: ModSeq(modseq), at };
            let stored = note.encode();
            assert_eq!((DeletedNote::decode(&stored), note.day()), (Some(note), day));
            assert_eq!(DeletedNote::decode(&stored[..stored.len() - 1]), None);
        }
    }
}
