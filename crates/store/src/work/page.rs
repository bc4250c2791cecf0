//! How much of an operation one transaction does.

use model::limits::BLOCK_UIDS;
use model::{BlockNo, Uid, UidSet};

use crate::combiner::Cost;
use crate::limits::{PAGE_BLOCKS_MAX, PAGE_MESSAGES_MAX};

/// The room of a transaction for the messages of one operation, which come in ascending order.
#[derive(Debug, Default)]
pub(crate) struct PageRoom {
    messages: usize,
    blocks: usize,
    last: Option<BlockNo>,
}

impl PageRoom {
    /// Whether the message of `uid` has room; it then takes it.
    pub(crate) fn take(&mut self, uid: Uid) -> bool {
        let block = Some(BlockNo::of(uid));
        let new = usize::from(block != self.last);
        if self.messages == PAGE_MESSAGES_MAX || self.blocks + new > PAGE_BLOCKS_MAX {
            return false;
        }
        self.messages += 1;
        self.blocks += new;
        self.last = block;
        true
    }
}

/// Whether an operation on `uids` may take more than one transaction.
pub(crate) fn spans_pages(uids: &UidSet) -> bool {
    uids.len() > PAGE_MESSAGES_MAX as u64 || cost(Some(uids), 0, 0).blocks >= PAGE_BLOCKS_MAX
}

/// What an operation on the messages of `uids` (all, for none) takes of a transaction, at most: `bytes`, and
/// `message_bytes` for each message.
pub(crate) fn cost(uids: Option<&UidSet>, bytes: usize, message_bytes: usize) -> Cost {
    let messages = uids.map_or(u64::MAX, UidSet::len).min(PAGE_MESSAGES_MAX as u64) as usize;
    let blocks = uids.map_or(usize::MAX, |uids| {
        uids.ranges().fold(0usize, |blocks, (first, last)| {
            blocks.saturating_add((last / BLOCK_UIDS - first / BLOCK_UIDS) as usize + 1)
        })
    });
    Cost {
        bytes: bytes + messages * message_bytes,
        messages,
        blocks: blocks.min(messages).min(PAGE_BLOCKS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(uids: impl Iterator<Item = u32>) -> usize {
        let mut room = PageRoom::default();
        uids.take_while(|uid| room.take(Uid::new(*uid).unwrap())).count()
    }

    #[test]
    fn a_page_ends_by_messages_or_by_blocks() {
        assert_eq!(taken(1..=20_000), PAGE_MESSAGES_MAX);
        assert_eq!(taken((1..).step_by(BLOCK_UIDS as usize)), PAGE_BLOCKS_MAX);
        assert_eq!(taken((1..).step_by(BLOCK_UIDS as usize / 2)), 2 * PAGE_BLOCKS_MAX);
    }

    #[test]
    fn costs() {
        let check = |ranges: &[(u32, u32)], messages: usize, blocks: usize| {
            let found = cost(Some(&UidSet::from_ranges(ranges.iter().copied())), 10, 2);
            assert_eq!((found.messages, found.blocks, found.bytes), (messages, blocks, 10 + 2 * messages));
        };
        check(&[(1, 1)], 1, 1);
        check(&[(1, 127), (200, 300)], 228, 3);
        check(&[(1, u32::MAX)], PAGE_MESSAGES_MAX, PAGE_BLOCKS_MAX);
        assert_eq!(cost(None, 0, 0).messages, PAGE_MESSAGES_MAX);
    }
}
