//! The record of what a device was last told of an account.

use model::limits::CHECKPOINT_FOLDERS_MAX;
use model::{MailboxId, ModSeq};
use store_api::Checkpoint;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// A device's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// When it was noted, seconds since 1970-01-01 UTC.
    pub at: i64,
    /// What the device was told.
    pub told: Checkpoint,
}

impl CheckpointRecord {
    /// The stored form: of each folder the distance from the one before.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 24 + self.told.folders.len() * 6);
        out.signed(self.at).number(self.told.tree_version).number(self.told.folders.len() as u64);
        let mut before = 0;
        for (folder, modseq) in &self.told.folders {
            out.number(folder.0 - before).number(modseq.0);
            before = folder.0;
        }
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let (at, tree_version) = (input.signed()?, input.number()?);
        let count = usize::try_from(input.number()?).ok().filter(|count| *count <= CHECKPOINT_FOLDERS_MAX)?;
        let mut folders = Vec::with_capacity(count.min(input.left() / 2));
        let mut before = 0u64;
        for nth in 0..count {
            let distance = input.number()?;
            if distance == 0 && nth > 0 {
                return None;
            }
            before = before.checked_add(distance)?;
            let modseq = Some(ModSeq(input.number()?)).filter(|modseq| *modseq <= ModSeq::MAX)?;
            folders.push((MailboxId(before), modseq));
        }
        input.end(Self { at, told: Checkpoint { tree_version, folders } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(folders: &[(u64, u64)]) -> CheckpointRecord {
        let folders = folders.iter().map(|(id, modseq)| (MailboxId(*id), ModSeq(*modseq))).collect();
        CheckpointRecord { at: 1_700_000_000, told: Checkpoint { tree_version: 7, folders } }
    }

    #[test]
    fn there_and_back() {
        for folders in [&[][..], &[(0, 1)], &[(1, 5), (2, 0), (900, u64::MAX >> 1)]] {
            let stored = record(folders).encode();
            assert_eq!(CheckpointRecord::decode(&stored), Some(record(folders)));
            for cut in 0..stored.len() {
                assert_eq!(CheckpointRecord::decode(&stored[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn the_largest_is_a_value() {
        let modseq = u64::MAX >> 1;
        let largest: Vec<_> = (0..CHECKPOINT_FOLDERS_MAX as u64).map(|n| (n << 50, modseq)).collect();
        let stored = record(&largest).encode();
        assert!(stored.len() < 90_000, "{}", stored.len());
        assert_eq!(CheckpointRecord::decode(&stored), Some(record(&largest)));
    }

    #[test]
    fn out_of_order() {
        let mut stored = record(&[(3, 5), (4, 5)]).encode();
        let last = stored.len() - 2;
        stored[last] = 0;
        assert_eq!(CheckpointRecord::decode(&stored), None);
    }
}
