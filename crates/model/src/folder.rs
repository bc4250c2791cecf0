//! A folder as all readers share it: rows of messages in packed blocks, and the state around them.

use std::sync::Arc;

use crate::limits::BLOCK_UIDS;
use crate::{BodyId, Flags, KeywordTable, MailboxId, ModSeq, Uid, UidSet, UidValidity, varint};

/// What changes of a message, and what points to what does not: about 16 bytes stored, 48 in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its UID.
    pub uid: Uid,
    /// Its flags and keywords.
    pub flags: Flags,
    /// Its last change.
    pub modseq: ModSeq,
    /// Its octets. RFC822.SIZE.
    pub size: u32,
    /// INTERNALDATE, seconds since 1970-01-01 UTC.
    pub internal_date: i64,
    /// The zone in which INTERNALDATE is shown, minutes east of UTC.
    pub zone_minutes: i16,
    /// When it came into this folder, seconds since 1970-01-01 UTC. SAVEDATE (RFC 8514).
    pub saved_at: i64,
    /// Its octets' id.
    pub body: BodyId,
}

/// The number of the block that a UID's row stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNo(pub u32);

impl BlockNo {
    /// The block of `uid`.
    pub fn of(uid: Uid) -> Self {
        Self(uid.get() / BLOCK_UIDS)
    }
}

/// The rows of up to [`BLOCK_UIDS`] neighbouring UIDs, ascending. Never empty in a stored folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    rows: Vec<MessageRow>,
    modseq_max: ModSeq,
}

/// Version byte of a packed block.
const BLOCK_VERSION: u8 = 1;

impl Block {
    /// A block of these rows, which must be ascending by UID and of one block.
    pub fn new(rows: Vec<MessageRow>) -> Self {
        debug_assert!(rows.windows(2).all(|w| w[0].uid < w[1].uid));
        let modseq_max = rows.iter().map(|r| r.modseq).max().unwrap_or_default();
        Self { rows, modseq_max }
    }

    /// The rows, ascending by UID.
    pub fn rows(&self) -> &[MessageRow] {
        &self.rows
    }

    /// The row of `uid`.
    pub fn row(&self, uid: Uid) -> Option<&MessageRow> {
        self.rows.binary_search_by_key(&uid, |r| r.uid).ok().map(|i| &self.rows[i])
    }

    /// The largest MODSEQ of its rows.
    pub fn modseq_max(&self) -> ModSeq {
        self.modseq_max
    }

    /// The packed form: a version byte, then each row as differences to the one before it, as varints.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.rows.len() * 18);
        out.push(BLOCK_VERSION);
        varint::put(&mut out, self.rows.len() as u64);
        let (mut uid, mut modseq, mut date, mut saved, mut body) = (0i64, 0i64, 0i64, 0i64, 0i64);
        for row in &self.rows {
            varint::put(&mut out, (i64::from(row.uid.get()) - uid) as u64);
            varint::put(&mut out, row.flags.0);
            varint::put_signed(&mut out, row.modseq.0 as i64 - modseq);
            varint::put(&mut out, u64::from(row.size));
            varint::put_signed(&mut out, row.internal_date.wrapping_sub(date));
            varint::put_signed(&mut out, i64::from(row.zone_minutes));
            varint::put_signed(&mut out, row.saved_at.wrapping_sub(saved));
            varint::put_signed(&mut out, (row.body.0 as i64).wrapping_sub(body));
            uid = i64::from(row.uid.get());
            modseq = row.modseq.0 as i64;
            date = row.internal_date;
            saved = row.saved_at;
            body = row.body.0 as i64;
        }
        out
    }

    /// Reads a packed block of any version ever written; none if it is not one.
    pub fn decode(mut input: &[u8]) -> Option<Self> {
        let (&version, rest) = input.split_first()?;
        if version != BLOCK_VERSION {
            return None;
        }
        input = rest;
        let count = varint::take(&mut input)?;
        if count > u64::from(BLOCK_UIDS) {
            return None;
        }
        let mut rows = Vec::with_capacity(count as usize);
        let (mut uid, mut modseq, mut date, mut saved, mut body) = (0u32, 0i64, 0i64, 0i64, 0i64);
        for i in 0..count {
            let gap = u32::try_from(varint::take(&mut input)?).ok()?;
            uid = uid.checked_add(gap)?;
            if gap == 0 && i > 0 {
                return None;
            }
            let flags = Flags(varint::take(&mut input)?);
            modseq = modseq.checked_add(varint::take_signed(&mut input)?)?;
            let size = u32::try_from(varint::take(&mut input)?).ok()?;
            date = date.wrapping_add(varint::take_signed(&mut input)?);
            let zone_minutes = i16::try_from(varint::take_signed(&mut input)?).ok()?;
            saved = saved.wrapping_add(varint::take_signed(&mut input)?);
            body = body.wrapping_add(varint::take_signed(&mut input)?);
            rows.push(MessageRow {
                uid: Uid::new(uid)?,
                flags,
                modseq: ModSeq(u64::try_from(modseq).ok()?),
                size,
                internal_date: date,
                zone_minutes,
                saved_at: saved,
                body: BodyId(body as u64),
            });
        }
        if !input.is_empty() || rows.windows(2).any(|w| BlockNo::of(w[0].uid) != BlockNo::of(w[1].uid)) {
            return None;
        }
        Some(Self::new(rows))
    }
}

/// The counters and marks of a folder: what STATUS and the head of SELECT answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderState {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The UID that the next message will get at least, 1 to 2^32 (the latter: no more can be given).
    pub uid_next: u64,
    /// The last change; at least 1.
    pub highest_modseq: ModSeq,
    /// The last change that removed a message; 0 if none ever did.
    pub expunge_modseq: ModSeq,
    /// Messages.
    pub messages: u64,
    /// Messages without \Seen.
    pub unseen: u64,
    /// Messages with \Deleted.
    pub deleted: u64,
    /// Octets of all messages.
    pub bytes: u64,
    /// Octets of messages with \Deleted.
    pub deleted_bytes: u64,
    /// Messages from this UID on have been shown to no session as \Recent (RFC 3501 §2.3.2).
    pub recent_uid: u64,
    /// The keywords in use.
    pub keywords: Arc<KeywordTable>,
}

/// A folder at one point of its history, immutable and shared by all who read it.
#[derive(Clone, Debug)]
pub struct FolderSnapshot {
    /// Its identity, for ever.
    pub mailbox: MailboxId,
    /// Its counters and marks.
    pub state: FolderState,
    blocks: Vec<(BlockNo, Arc<Block>)>,
}

impl FolderSnapshot {
    /// A snapshot of these blocks, ascending by number, none empty.
    pub fn new(mailbox: MailboxId, state: FolderState, blocks: Vec<(BlockNo, Arc<Block>)>) -> Self {
        debug_assert!(blocks.windows(2).all(|w| w[0].0 < w[1].0));
        debug_assert!(blocks.iter().all(|(_, b)| !b.rows().is_empty()));
        Self { mailbox, state, blocks }
    }

    /// A snapshot with the blocks of `changed` in place of this one's; an empty block removes.
    pub fn with_changes(&self, state: FolderState, changed: Vec<(BlockNo, Arc<Block>)>) -> Self {
        let mut blocks = self.blocks.clone();
        for (no, block) in changed {
            match (blocks.binary_search_by_key(&no, |b| b.0), block.rows().is_empty()) {
                (Ok(at), true) => {
                    blocks.remove(at);
                }
                (Ok(at), false) => blocks[at].1 = block,
                (Err(_), true) => {}
                (Err(at), false) => blocks.insert(at, (no, block)),
            }
        }
        Self { mailbox: self.mailbox, state, blocks }
    }

    /// The blocks, ascending.
    pub fn blocks(&self) -> &[(BlockNo, Arc<Block>)] {
        &self.blocks
    }

    /// The block of that number.
    pub fn block(&self, no: BlockNo) -> Option<&Arc<Block>> {
        self.blocks.binary_search_by_key(&no, |b| b.0).ok().map(|at| &self.blocks[at].1)
    }

    /// The row of `uid`; logarithmic.
    pub fn row(&self, uid: Uid) -> Option<&MessageRow> {
        self.block(BlockNo::of(uid))?.row(uid)
    }

    /// All rows, ascending by UID.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &MessageRow> {
        self.blocks.iter().flat_map(|(_, b)| b.rows())
    }

    /// The rows from `uid` on.
    pub fn rows_from(&self, uid: Uid) -> impl Iterator<Item = &MessageRow> {
        let at = self.blocks.partition_point(|b| b.0 < BlockNo::of(uid));
        self.blocks[at..].iter().flat_map(|(_, b)| b.rows()).skip_while(move |r| r.uid < uid)
    }

    /// The rows changed after `modseq`, ascending by UID; unchanged blocks are skipped.
    pub fn rows_changed_since(&self, modseq: ModSeq) -> impl Iterator<Item = &MessageRow> {
        self.blocks
            .iter()
            .filter(move |(_, b)| b.modseq_max() > modseq)
            .flat_map(|(_, b)| b.rows())
            .filter(move |r| r.modseq > modseq)
    }

    /// The rows of the UIDs of `uids` that exist, ascending.
    pub fn rows_in<'a>(&'a self, uids: &'a UidSet) -> impl Iterator<Item = &'a MessageRow> {
        uids.ranges().flat_map(move |(first, last)| {
            let first = Uid::new(first).unwrap_or(Uid::MIN);
            self.rows_from(first).take_while(move |r| r.uid.get() <= last)
        })
    }

    /// All UIDs.
    pub fn uids(&self) -> UidSet {
        self.rows().map(|r| r.uid).collect()
    }

    /// Heap bytes it stands for, for the bound of a cache; blocks shared with other snapshots count too.
    pub fn weight(&self) -> usize {
        let rows: usize = self.blocks.iter().map(|(_, b)| b.rows().len()).sum();
        size_of::<Self>()
            + rows * size_of::<MessageRow>()
            + self.blocks.len() * 64
            + self.state.keywords.slots().len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(uid: u32, modseq: u64) -> MessageRow {
        MessageRow {
            uid: Uid::new(uid).expect("positive"),
            flags: Flags(u64::from(uid % 7)),
            modseq: ModSeq(modseq),
            size: uid * 31,
            internal_date: 1_700_000_000 - i64::from(uid),
            zone_minutes: if uid.is_multiple_of(2) { -330 } else { 60 },
            saved_at: 1_700_000_000 + i64::from(uid),
            body: BodyId(u64::from(uid) << 20),
        }
    }

    #[test]
    fn packed_form() {
        let block = Block::new((128..256).map(|u| row(u, 9000 - u64::from(u))).collect());
        let packed = block.encode();
        assert_eq!(Block::decode(&packed), Some(block));
        for cut in 0..packed.len() {
            assert_eq!(Block::decode(&packed[..cut]), None);
        }
        assert_eq!(Block::decode(&Block::default().encode()), Some(Block::default()));
        assert_eq!(Block::decode(&Block::new(vec![row(127, 1), row(128, 1)]).encode()), None);
    }

    #[test]
    fn reading() {
        let state = FolderState {
            uid_validity: UidValidity::new(1).expect("positive"),
            uid_next: 1000,
            highest_modseq: ModSeq(10),
            expunge_modseq: ModSeq(0),
            messages: 3,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
            recent_uid: 1,
            keywords: Arc::default(),
        };
        let block = |rows: Vec<MessageRow>| (BlockNo::of(rows[0].uid), Arc::new(Block::new(rows)));
        let blocks = vec![block(vec![row(1, 5), row(9, 8)]), block(vec![row(300, 7)])];
        let folder = FolderSnapshot::new(MailboxId(1), state.clone(), blocks);
        let uids =
            |rows: &mut dyn Iterator<Item = &MessageRow>| rows.map(|r| r.uid.get()).collect::<Vec<_>>();
        assert_eq!(uids(&mut folder.rows()), [1, 9, 300]);
        assert_eq!(uids(&mut folder.rows_from(Uid::new(2).expect("positive"))), [9, 300]);
        assert_eq!(uids(&mut folder.rows_changed_since(ModSeq(6))), [9, 300]);
        assert_eq!(
            uids(&mut folder.rows_in(&UidSet::from_ranges([(1, 1), (5, 299), (300, u32::MAX)]))),
            [1, 9, 300]
        );
        assert_eq!(folder.row(Uid::new(9).expect("positive")), Some(&row(9, 8)));
        let changed =
            folder.with_changes(state, vec![(BlockNo(2), Arc::default()), block(vec![row(140, 11)])]);
        assert_eq!(uids(&mut changed.rows()), [1, 9, 140]);
    }
}
