//! A folder within a transaction: as it was read, and as the operations so far leave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Block, BlockNo, DeviceId, Flags, FolderSnapshot, FolderState, Keyword, MailboxId, MessageRow, ModSeq,
    Uid, UidSet,
};

use crate::records::{
    Annotated, ChangeKind, DeletedNote, FeedItem, FeedUids, FlagNames, FolderMarks, LogEntry,
};
use crate::work::annotations::FolderAnnotations;
use crate::work::identities::FolderIdentities;
use crate::work::origin::Origin;

/// What a change does to the counters of a folder and its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) messages: i64,
    pub(crate) bytes: i64,
    pub(crate) unseen: i64,
    pub(crate) deleted: i64,
    pub(crate) deleted_bytes: i64,
}

impl Tally {
    /// Counts `row` `times` times: 1 when it comes, -1 when it goes.
    pub(crate) fn count(&mut self, row: &MessageRow, times: i64) {
        let size = i64::from(row.size) * times;
        self.messages += times;
        self.bytes += size;
        if !row.flags.contains(Flags::SEEN) {
            self.unseen += times;
        }
        if row.flags.contains(Flags::DELETED) {
            self.deleted += times;
            self.deleted_bytes += size;
        }
    }
}

/// A counter moved by a difference. Counters never run below zero: what is subtracted was added before.
pub(crate) fn moved(counter: u64, by: i64) -> u64 {
    debug_assert!(counter.checked_add_signed(by).is_some(), "a counter would run below zero");
    counter.saturating_add_signed(by)
}

/// Rows of a block within a transaction.
enum Rows {
    /// As read; empty when there is no such block.
    Read(Arc<Block>),
    /// Changed.
    Changed(Vec<MessageRow>),
}

impl Rows {
    fn rows(&self) -> &[MessageRow] {
        match self {
            Self::Read(block) => block.rows(),
            Self::Changed(rows) => rows,
        }
    }
}

/// A folder within a transaction.
pub(crate) struct FolderWork {
    /// The folder.
    pub(crate) mailbox: MailboxId,
    /// Its counters and marks, as they will be.
    pub(crate) state: FolderState,
    /// The log has every change after this one.
    pub(crate) log_from: ModSeq,
    /// Which devices read and deleted its messages.
    pub(crate) identities: FolderIdentities,
    /// The annotations of its messages.
    pub(crate) annotations: FolderAnnotations,
    /// Which of the account's changes it had last.
    changed: u64,
    /// The day under which the note of its \Deleted messages stands; 0 for none.
    pub(crate) deleted_day: u32,
    /// The note that is to take the place of that one.
    pub(crate) deleted_note: Option<DeletedNote>,
    /// It has a MODSEQ that it did not have, or is new: the batch counts as a change of the account.
    pub(crate) moved: bool,
    /// Whether the state is to be written.
    pub(crate) dirty: bool,
    /// Deleted by this transaction.
    pub(crate) deleted: bool,
    /// All rows as they were read, if they are known.
    base: Option<Arc<FolderSnapshot>>,
    /// Blocks read or changed; they come before those of `base`.
    blocks: BTreeMap<BlockNo, Rows>,
    /// What this transaction did.
    pub(crate) entries: Vec<Noted>,
}

impl FolderWork {
    pub(crate) fn new(
        mailbox: MailboxId,
        state: FolderState,
        marks: FolderMarks,
        base: Option<Arc<FolderSnapshot>>,
    ) -> Self {
        Self {
            mailbox,
            state,
            log_from: marks.log_from,
            identities: FolderIdentities::of(marks.identities),
            annotations: FolderAnnotations::of(marks.annotation_bytes),
            changed: marks.changed,
            deleted_day: marks.deleted_day,
            deleted_note: None,
            moved: false,
            dirty: false,
            deleted: false,
            base,
            blocks: BTreeMap::new(),
            entries: Vec::new(),
        }
    }

    /// What its state will say beside what readers see.
    pub(crate) fn marks(&self) -> FolderMarks {
        FolderMarks {
            log_from: self.log_from,
            identities: self.identities.any(),
            annotation_bytes: self.annotations.bytes(),
            changed: self.changed,
            deleted_day: self.deleted_day,
        }
    }

    /// Says which of the account's changes this is, where it is one.
    pub(crate) fn stamp(&mut self, change: u64) {
        if self.moved {
            self.changed = change;
        }
    }

    /// Whether all rows are known.
    pub(crate) fn is_whole(&self) -> bool {
        self.base.is_some()
    }

    /// All rows as read, if they are known.
    pub(crate) fn base(&self) -> Option<&Arc<FolderSnapshot>> {
        self.base.as_ref()
    }

    /// Learns all rows as they were before this transaction.
    pub(crate) fn learn_all(&mut self, base: Arc<FolderSnapshot>) {
        self.blocks.retain(|_, rows| matches!(rows, Rows::Changed(_)));
        self.base = Some(base);
    }

    /// Learns a block as it was before this transaction.
    pub(crate) fn learn(&mut self, number: BlockNo, block: Arc<Block>) {
        self.blocks.entry(number).or_insert(Rows::Read(block));
    }

    /// Whether the rows of that block are known.
    pub(crate) fn knows(&self, number: BlockNo) -> bool {
        self.base.is_some() || self.blocks.contains_key(&number)
    }

    fn rows_of(&self, number: BlockNo) -> &[MessageRow] {
        match self.blocks.get(&number) {
            Some(rows) => rows.rows(),
            None => self.base.as_ref().and_then(|base| base.block(number)).map_or(&[], |block| block.rows()),
        }
    }

    /// The first known block at or after `number`.
    fn next_block(&self, number: BlockNo) -> Option<BlockNo> {
        let overlay = self.blocks.range(number..).next().map(|(number, _)| *number);
        let base = self.base.as_ref().and_then(|base| {
            let at = base.blocks().partition_point(|(candidate, _)| *candidate < number);
            base.blocks().get(at).map(|(number, _)| *number)
        });
        match (overlay, base) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Calls `each` with the rows of `uids` (all, for none) that exist, ascending, until it says stop.
    pub(crate) fn for_rows(&self, uids: Option<&UidSet>, mut each: impl FnMut(&MessageRow) -> bool) {
        let everything = UidSet::range(Uid::MIN, Uid::MAX);
        for (first, last) in uids.unwrap_or(&everything).ranges() {
            let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) else { continue };
            let mut number = BlockNo::of(first);
            while let Some(found) = self.next_block(number)
                && found <= BlockNo::of(last)
            {
                let rows = self.rows_of(found);
                let from = rows.partition_point(|row| row.uid < first);
                for row in &rows[from..] {
                    if row.uid > last {
                        break;
                    }
                    if !each(row) {
                        return;
                    }
                }
                number = BlockNo(found.0 + 1);
            }
        }
    }

    /// The row of `uid`; its block must be known.
    pub(crate) fn row(&self, uid: Uid) -> Option<&MessageRow> {
        debug_assert!(self.knows(BlockNo::of(uid)) || u64::from(uid.get()) >= self.state.uid_next);
        let rows = self.rows_of(BlockNo::of(uid));
        rows.binary_search_by_key(&uid, |row| row.uid).ok().map(|at| &rows[at])
    }

    fn edit(&mut self, number: BlockNo) -> &mut Vec<MessageRow> {
        let rows = self.blocks.entry(number).or_insert_with(|| {
            let read = self.base.as_ref().and_then(|base| base.block(number)).cloned();
            Rows::Read(read.unwrap_or_default())
        });
        if let Rows::Read(block) = rows {
            let mut changed = Vec::with_capacity(block.rows().len() + 1);
            changed.extend_from_slice(block.rows());
            *rows = Rows::Changed(changed);
        }
        match rows {
            Rows::Changed(rows) => rows,
            Rows::Read(_) => unreachable!("turned into changed rows above"),
        }
    }

    /// Puts rows in place of those of their UIDs, which must exist; ascending.
    pub(crate) fn replace_rows(&mut self, new: &[MessageRow]) {
        for part in new.chunk_by(|a, b| BlockNo::of(a.uid) == BlockNo::of(b.uid)) {
            let rows = self.edit(BlockNo::of(part[0].uid));
            for row in part {
                if let Ok(at) = rows.binary_search_by_key(&row.uid, |row| row.uid) {
                    rows[at] = *row;
                }
            }
        }
    }

    /// Adds rows above all others, ascending. Their blocks must be known.
    pub(crate) fn push_rows(&mut self, new: &[MessageRow]) {
        for part in new.chunk_by(|a, b| BlockNo::of(a.uid) == BlockNo::of(b.uid)) {
            self.edit(BlockNo::of(part[0].uid)).extend_from_slice(part);
        }
    }

    /// Removes the rows of `uids`, which must exist.
    pub(crate) fn remove_rows(&mut self, uids: &[Uid]) {
        for part in uids.chunk_by(|a, b| BlockNo::of(*a) == BlockNo::of(*b)) {
            self.edit(BlockNo::of(part[0])).retain(|row| part.binary_search(&row.uid).is_err());
        }
    }

    /// Begins a change: gives it a MODSEQ.
    pub(crate) fn next_modseq(&mut self) -> ModSeq {
        self.state.highest_modseq = self.state.highest_modseq.next();
        (self.moved, self.dirty) = (true, true);
        self.state.highest_modseq
    }

    /// Notes what the change of `modseq` was.
    pub(crate) fn note(&mut self, noted: Noted) {
        if !noted.entry.removed.is_empty() {
            self.state.expunge_modseq = noted.entry.modseq;
        }
        self.entries.push(noted);
    }

    /// Moves the counters.
    pub(crate) fn tally(&mut self, tally: Tally) {
        let state = &mut self.state;
        state.messages = moved(state.messages, tally.messages);
        state.bytes = moved(state.bytes, tally.bytes);
        state.unseen = moved(state.unseen, tally.unseen);
        state.deleted = moved(state.deleted, tally.deleted);
        state.deleted_bytes = moved(state.deleted_bytes, tally.deleted_bytes);
    }

    /// The flags of keywords, with those new to the folder added to `table`. None when the table is full; then the
    /// caller learns all rows and asks again, and what is neither in a row nor in `keep` makes room.
    pub(crate) fn keyword_flags(
        &self,
        keywords: &[Keyword],
        keep: Flags,
        table: &mut Arc<model::KeywordTable>,
    ) -> Option<Flags> {
        let mut flags = Flags::default();
        for keyword in keywords {
            let flag = match table.find(keyword) {
                Some(flag) => flag,
                None => self.add_keyword(keyword, keep.union(flags), table)?,
            };
            flags = flags.union(flag);
        }
        Some(flags)
    }

    fn add_keyword(
        &self,
        keyword: &Keyword,
        keep: Flags,
        table: &mut Arc<model::KeywordTable>,
    ) -> Option<Flags> {
        let table = Arc::make_mut(table);
        if table.is_full() {
            if !self.is_whole() {
                return None;
            }
            let mut used = keep;
            self.for_rows(None, |row| {
                used = used.union(row.flags);
                true
            });
            table.retain(used);
        }
        table.find_or_add(keyword)
    }

    /// The blocks this transaction changed; an empty one is to be removed.
    pub(crate) fn changed_blocks(&mut self) -> Vec<(BlockNo, Arc<Block>)> {
        let mut changed = Vec::new();
        for (number, rows) in &mut self.blocks {
            if let Rows::Changed(new) = rows {
                let block = Arc::new(Block::new(std::mem::take(new)));
                *rows = Rows::Read(block.clone());
                changed.push((*number, block));
            }
        }
        changed
    }
}

/// A change of a folder: what its log says, and what only the feed says.
pub(crate) struct Noted {
    /// For the folder's log.
    pub(crate) entry: LogEntry,
    /// The device that asked.
    device: Option<DeviceId>,
    /// Flags given and taken.
    flags: (FlagNames, FlagNames),
}

/// A change of a folder.
pub(crate) fn entry(
    modseq: ModSeq,
    kind: ChangeKind,
    changed: UidSet,
    removed: UidSet,
    by: &Origin,
) -> Noted {
    let entry = LogEntry { modseq, kind, changed, removed, request: by.request, annotated: None };
    Noted { entry, device: by.device.clone(), flags: Default::default() }
}

impl Noted {
    /// Says which annotations were changed.
    pub(crate) fn with_annotated(mut self, annotated: Annotated) -> Self {
        self.entry.annotated = Some(annotated);
        self
    }

    /// Says which flags were given to and taken from at least one message.
    pub(crate) fn with_flags(self, added: FlagNames, removed: FlagNames) -> Self {
        Self { flags: (added, removed), ..self }
    }

    /// What the feed says of it, and the rest for the folder's log.
    pub(crate) fn split(self, mailbox: MailboxId) -> (FeedItem, LogEntry) {
        let Self { entry, device, flags } = self;
        let item = FeedItem {
            device,
            changed: FeedUids::of(&entry.changed),
            removed: FeedUids::of(&entry.removed),
            flags_added: flags.0,
            flags_removed: flags.1,
            ..FeedItem::new(Some(mailbox), entry.modseq, entry.kind, entry.request)
        };
        (item, entry)
    }
}
