//! An account within a transaction: what a batch of operations reads and changes before it is written as one.
//!
//! The ledger is read with a conflict, and so is the state of each folder touched; every change writes the ledger.
//! So all changes of an account stand in one order, whoever makes them, and blocks need no conflicts of their own.
//!
//! An operation first reads and checks, then changes; so one that fails leaves no trace in the batch it is part of.

pub(crate) mod annotations;
pub(crate) mod folder;
pub(crate) mod identities;
pub(crate) mod objects;
pub(crate) mod origin;
pub(crate) mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::FOLDERS_PER_ACCOUNT_MAX;
use model::{
    AccountId, BlockNo, BodyId, Error, ErrorKind, FolderSnapshot, FolderState, KeywordTable, MailboxId,
    MailboxName, ModSeq, UidSet, UidValidity,
};
use parking_lot::Mutex;
use store_api::{FolderEntry, FolderTree};

use crate::cache::CachedFolder;
use crate::failure::{Failure, bug, corrupt, no_such_account, no_such_mailbox};
use crate::keyspace::PendingKind;
use crate::limits::{
    BLOCKS_READ_SINGLY_MAX, FEED_VALUE_BYTES_MAX, HEAD_BYTES, LOG_TRIM_INTERVAL, LOG_VALUE_BYTES_MAX,
    WHOLE_IN_PLACE_MAX,
};
use crate::records::{
    Annotated, ChangeKind, DeletedNote, FeedEntry, FeedItem, FolderMarks, FolderRecord, Ledger, LogBatch,
    NewsOf, NewsRecord, Pending, StateRecord,
};
use crate::shared::Shared;
use crate::snapshot::{current, load_folder, read_blocks, read_whole};
use crate::tree::{TreeBuilder, load_tree};
use folder::{FolderWork, Tally, moved};
use origin::Origin;

/// Large folders that were read in parts before the transaction that needs them whole; it lasts over its attempts.
#[derive(Default)]
pub(crate) struct Prepared {
    folders: Mutex<Vec<Arc<CachedFolder>>>,
    /// A folder that the last attempt found missing here.
    missing: Mutex<Option<MailboxId>>,
    /// Folders that cannot be read, and why.
    failed: Mutex<Vec<(MailboxId, Error)>>,
}

impl Prepared {
    fn find(&self, mailbox: MailboxId) -> Option<Arc<CachedFolder>> {
        self.folders.lock().iter().find(|folder| folder.snapshot.mailbox == mailbox).cloned()
    }

    /// Reads what the last attempt missed, if that is why it failed.
    pub(crate) async fn fetch(&self, shared: &Shared, account: AccountId) -> Result<(), Failure> {
        let Some(mailbox) = self.missing.lock().take() else { return Ok(()) };
        let folder = match read_whole(shared, account, mailbox, None).await {
            Ok(folder) => folder,
            // For who asked for it, not for the others of the batch.
            Err(Failure::Request(error)) => {
                self.failed.lock().push((mailbox, error));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let mut folders = self.folders.lock();
        folders.retain(|other| other.snapshot.mailbox != mailbox);
        folders.push(folder);
        Ok(())
    }
}

/// An account within a transaction.
pub(crate) struct Work<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) trx: &'t mut dyn Transaction,
    pub(crate) account: AccountId,
    /// The time of the batch, seconds since 1970-01-01 UTC.
    pub(crate) now: i64,
    /// The account's counters and limits.
    pub(crate) ledger: Ledger,
    ledger_dirty: bool,
    folders: BTreeMap<MailboxId, FolderWork>,
    tree: Option<Arc<FolderTree>>,
    tree_changed: bool,
    feed: Vec<FeedItem>,
    /// What changes of folders that has no MODSEQ, and what is known of such changes before.
    news: Vec<(Option<MailboxId>, NewsOf)>,
    news_before: Option<NewsRecord>,
    released: Vec<BodyId>,
    /// Other accounts whose listeners are to look again.
    woken: BTreeSet<AccountId>,
    sweep: bool,
    prepared: &'t Prepared,
}

/// What the caches learn once the transaction has committed.
#[derive(Default)]
pub(crate) struct Learned {
    folders: Vec<Arc<CachedFolder>>,
    gone: Vec<MailboxId>,
    tree: Option<Arc<FolderTree>>,
    sweep: bool,
    /// Whether anything was written.
    pub(crate) wrote: bool,
}

impl Learned {
    pub(crate) fn apply(self, shared: &Shared, account: AccountId) {
        for folder in self.folders {
            shared.caches.put_folder(account, folder);
        }
        for mailbox in self.gone {
            shared.caches.forget_folder(account, mailbox);
        }
        if let Some(tree) = self.tree {
            shared.caches.put_tree(account, tree);
        }
        if self.sweep {
            shared.sweep.notify_one();
        }
    }
}

impl<'t> Work<'t> {
    /// Reads the account's ledger, and the state of folders that will be asked for.
    pub(crate) async fn open(
        shared: &'t Shared,
        trx: &'t mut dyn Transaction,
        account: AccountId,
        hints: &[MailboxId],
        prepared: &'t Prepared,
    ) -> Result<Self, Failure> {
        let mut keys = Vec::with_capacity(hints.len() + 1);
        keys.push(shared.keys.ledger(account));
        keys.extend(hints.iter().map(|mailbox| shared.keys.state(account, *mailbox)));
        // Of an account that was not used lately all that stands beside the ledger is read along, if it is little:
        // the folders' names, then their states. What conflicts with that conflicts with the ledger, too.
        let head = shared.caches.tree(account).is_none().then(|| {
            let range = shared.keys.tree_and_states(account);
            RangeRequest { bytes: HEAD_BYTES, ..RangeRequest::new(range.begin, range.end) }
        });
        let (values, pages) = trx.get_together(&keys, head.as_slice(), ReadMode::Serializable).await?;
        let mut values = values.into_iter();
        let raw = values.next().flatten().ok_or_else(no_such_account)?;
        let ledger = Ledger::decode(&raw).ok_or_else(|| corrupt("ledger", &keys[0]))?;
        let mut work = Self {
            shared,
            trx,
            account,
            now: shared.now(),
            ledger,
            ledger_dirty: false,
            folders: BTreeMap::new(),
            tree: None,
            tree_changed: false,
            feed: Vec::new(),
            news: Vec::new(),
            news_before: None,
            released: Vec::new(),
            woken: BTreeSet::new(),
            sweep: false,
            prepared,
        };
        for (mailbox, value) in hints.iter().zip(values) {
            if let Some(raw) = value {
                work.admit(*mailbox, &raw)?;
            }
        }
        if let Some(page) = pages.into_iter().next().filter(|page| !page.more) {
            let mut tree = TreeBuilder::default();
            for pair in page.pairs {
                if let Some(mailbox) = shared.keys.state_of(&pair.key) {
                    work.admit(mailbox, &pair.value)?;
                } else {
                    tree.take(shared, &pair)?;
                }
            }
            work.tree = Some(tree.done(shared, account, work.ledger.tree_version));
        }
        Ok(work)
    }

    /// Takes in the stored state of a folder.
    fn admit(&mut self, mailbox: MailboxId, raw: &Bytes) -> Result<(), Failure> {
        if self.folders.contains_key(&mailbox) {
            return Ok(());
        }
        let cached = self.shared.caches.folder(self.account, mailbox).filter(|cached| cached.raw == *raw);
        let folder = match cached {
            Some(cached) => FolderWork::new(
                mailbox,
                cached.snapshot.state.clone(),
                cached.marks,
                Some(cached.snapshot.clone()),
            ),
            None => {
                let record = StateRecord::decode(raw)
                    .ok_or_else(|| corrupt("state", &self.shared.keys.state(self.account, mailbox)))?;
                FolderWork::new(mailbox, record.folder, record.marks, None)
            }
        };
        self.folders.insert(mailbox, folder);
        Ok(())
    }

    /// The folder, its state read. Answers `NoSuchMailbox` for one that is gone.
    pub(crate) async fn open_folder(&mut self, mailbox: MailboxId) -> Result<&mut FolderWork, Failure> {
        if !self.folders.contains_key(&mailbox) {
            let key = self.shared.keys.state(self.account, mailbox);
            let raw = self.trx.get(&key, ReadMode::Serializable).await?.ok_or_else(no_such_mailbox)?;
            self.admit(mailbox, &raw)?;
        }
        self.folder(mailbox)
    }

    /// Opens folders that are about to be deleted, all at once. Adds no conflicts, of which there may be many: who changes
    /// what a state counts writes the ledger.
    pub(crate) async fn open_folders(&mut self, mailboxes: &[MailboxId]) -> Result<(), Failure> {
        let missing: Vec<MailboxId> =
            mailboxes.iter().copied().filter(|mailbox| !self.folders.contains_key(mailbox)).collect();
        let keys: Vec<Bytes> =
            missing.iter().map(|mailbox| self.shared.keys.state(self.account, *mailbox)).collect();
        let states = self.trx.get_many(&keys, ReadMode::Snapshot).await?;
        for (mailbox, raw) in missing.into_iter().zip(states) {
            self.admit(mailbox, &raw.ok_or_else(no_such_mailbox)?)?;
        }
        Ok(())
    }

    /// A folder opened before.
    pub(crate) fn folder(&mut self, mailbox: MailboxId) -> Result<&mut FolderWork, Failure> {
        match self.folders.get_mut(&mailbox) {
            Some(folder) if folder.deleted => Err(no_such_mailbox().into()),
            Some(folder) => Ok(folder),
            None => Err(bug("a folder is used that was not opened")),
        }
    }

    /// Reads the rows of `uids`, or all for none, unless they are known.
    pub(crate) async fn load_rows(
        &mut self,
        mailbox: MailboxId,
        uids: Option<&UidSet>,
    ) -> Result<(), Failure> {
        let (shared, account) = (self.shared, self.account);
        let folder = self.open_folder(mailbox).await?;
        if folder.is_whole() {
            return Ok(());
        }
        let numbers = uids.and_then(|uids| {
            let last_uid = u32::try_from(folder.state.uid_next - 1).unwrap_or(u32::MAX);
            blocks_of(uids, last_uid, BLOCKS_READ_SINGLY_MAX)
        });
        if let Some(mut numbers) = numbers {
            numbers.retain(|number| !folder.knows(*number));
            if !numbers.is_empty() {
                let blocks = read_blocks(shared, self.trx, account, mailbox, &numbers).await?;
                let folder = self.folder(mailbox)?;
                for (number, block) in blocks {
                    folder.learn(number, block);
                }
            }
            return Ok(());
        }
        let key = shared.keys.state(account, mailbox);
        // Of the state as stored: what this batch changed is not written before the end.
        let raw = self.trx.get(&key, ReadMode::Snapshot).await?.ok_or_else(no_such_mailbox)?;
        let known = self.prepared.find(mailbox);
        let whole = match current(shared, self.trx, account, mailbox, &raw, known.as_ref()).await? {
            Some(whole) => whole,
            None if self.folder(mailbox)?.state.messages <= WHOLE_IN_PLACE_MAX => {
                load_folder(shared, self.trx, account, mailbox, &raw).await?
            }
            None => {
                // Too much for one transaction: it is read in others, and this one comes again.
                let failed = self.prepared.failed.lock();
                if let Some((_, error)) = failed.iter().find(|(failed, _)| *failed == mailbox) {
                    return Err(error.clone().into());
                }
                *self.prepared.missing.lock() = Some(mailbox);
                return Err(kv::Error::new(kv::ErrorKind::TooOld, "a large folder must be read first").into());
            }
        };
        self.folder(mailbox)?.learn_all(whole.snapshot.clone());
        Ok(())
    }

    /// Reads the block where the next messages of a folder go, unless it is known.
    pub(crate) async fn load_end(&mut self, mailbox: MailboxId) -> Result<(), Failure> {
        let folder = self.open_folder(mailbox).await?;
        let number = BlockNo((folder.state.uid_next / u64::from(model::limits::BLOCK_UIDS)) as u32);
        if !folder.knows(number) {
            let (shared, account) = (self.shared, self.account);
            let blocks = read_blocks(shared, self.trx, account, mailbox, &[number]).await?;
            let folder = self.folder(mailbox)?;
            for (number, block) in blocks {
                if block.rows().len() as u64 == folder.state.messages && !folder.dirty {
                    // That is all of it: a small folder is known whole without more.
                    let rows =
                        if block.rows().is_empty() { Vec::new() } else { vec![(number, block.clone())] };
                    folder.learn_all(Arc::new(FolderSnapshot::new(mailbox, folder.state.clone(), rows)));
                }
                folder.learn(number, block);
            }
        }
        Ok(())
    }

    /// The tree as this batch has left it so far.
    pub(crate) async fn tree(&mut self) -> Result<Arc<FolderTree>, Failure> {
        if let Some(tree) = &self.tree {
            return Ok(tree.clone());
        }
        let tree = load_tree(self.shared, self.trx, self.account, self.ledger.tree_version).await?;
        self.tree = Some(tree.clone());
        Ok(tree)
    }

    /// The folder of a name that can hold messages.
    pub(crate) async fn resolve(&mut self, name: &MailboxName) -> Result<MailboxId, Failure> {
        let tree = self.tree().await?;
        match tree.find(name) {
            Some(entry) if !entry.noselect => Ok(entry.id),
            _ => Err(no_such_mailbox().into()),
        }
    }

    /// Puts another tree in place: writes what differs in `put` and `gone`.
    pub(crate) async fn change_tree(
        &mut self,
        folders: Vec<FolderEntry>,
        put: &[FolderEntry],
        gone: &[MailboxId],
        kind: ChangeKind,
        by: &Origin,
    ) -> Result<(), Failure> {
        let old = self.tree.clone().ok_or_else(|| bug("a tree is changed that was not read"))?;
        self.read_news().await?;
        let named = put.iter().map(|entry| entry.id).chain(gone.iter().copied());
        self.news.extend(named.map(|mailbox| (Some(mailbox), NewsOf::NAME)));
        for mailbox in gone {
            self.trx.clear(&self.shared.keys.folder(self.account, *mailbox));
            let metadata = self.shared.keys.metadata_of_folder(self.account, *mailbox);
            self.trx.clear_range(&metadata.begin, &metadata.end);
            self.trx.clear(&self.shared.keys.reference_key(self.account, *mailbox));
            let moves = self.shared.keys.moves(self.account, *mailbox);
            self.trx.clear_range(&moves.begin, &moves.end);
        }
        for entry in put {
            let key = self.shared.keys.folder(self.account, entry.id);
            self.trx.set_bytes(key, FolderRecord::of(entry).encode().into());
        }
        // Who has no right on any folder any more finds the account no more.
        let before: BTreeSet<AccountId> = grantees(old.folders()).collect();
        if !before.is_empty() {
            let after: BTreeSet<AccountId> = grantees(&folders).collect();
            for grantee in before.difference(&after) {
                self.trx.clear(&self.shared.keys.sharer(*grantee, self.account));
            }
        }
        self.next_tree(folders, old.subscribed().clone(), kind, by);
        Ok(())
    }

    /// Subscribes to a name or ends it.
    pub(crate) async fn change_subscription(
        &mut self,
        name: &MailboxName,
        subscribed: bool,
        by: &Origin,
    ) -> Result<(), Failure> {
        let old = self.tree.clone().ok_or_else(|| bug("a tree is changed that was not read"))?;
        self.read_news().await?;
        self.news.push((None, NewsOf::SUBSCRIPTIONS));
        let key = self.shared.keys.subscription(self.account, name);
        let mut names = old.subscribed().clone();
        if subscribed {
            self.trx.set_bytes(key, Bytes::new());
            names.insert(name.clone());
        } else {
            self.trx.clear(&key);
            names.remove(name);
        }
        self.next_tree(old.folders().to_vec(), names, ChangeKind::Subscriptions, by);
        Ok(())
    }

    fn next_tree(
        &mut self,
        folders: Vec<FolderEntry>,
        subscribed: BTreeSet<MailboxName>,
        kind: ChangeKind,
        by: &Origin,
    ) {
        self.ledger.tree_version += 1;
        self.tree_changed = true;
        self.tree = Some(Arc::new(FolderTree::new(self.ledger.tree_version, folders, subscribed)));
        self.note(None, kind, by);
    }

    /// Notes that metadata of a folder changed, or of the account itself.
    pub(crate) async fn note_metadata(
        &mut self,
        mailbox: Option<MailboxId>,
        by: &Origin,
    ) -> Result<(), Failure> {
        self.read_news().await?;
        self.news.push((mailbox, NewsOf::METADATA));
        self.note(mailbox, ChangeKind::Metadata, by);
        Ok(())
    }

    /// Reads what is known of changes without a MODSEQ, which this batch adds to. Adds no conflict: the ledger orders it.
    async fn read_news(&mut self) -> Result<(), Failure> {
        if self.news_before.is_none() {
            let key = self.shared.keys.news(self.account);
            let raw = self.trx.get(&key, ReadMode::Snapshot).await?;
            // One that cannot be read says nothing: it begins anew, and who holds a token is told of everything.
            let unreadable = || NewsRecord { from: self.ledger.changes, entries: Vec::new() };
            let record = raw.map(|raw| NewsRecord::decode(&raw).unwrap_or_else(unreadable));
            self.news_before = Some(record.unwrap_or_default());
        }
        Ok(())
    }

    /// Notes a change that has no MODSEQ, of a folder or of the account itself.
    pub(crate) fn note(&mut self, mailbox: Option<MailboxId>, kind: ChangeKind, by: &Origin) {
        self.ledger_dirty = true;
        let item = FeedItem::new(mailbox, ModSeq(0), kind, by.request);
        self.feed.push(FeedItem { device: by.device.clone(), ..item });
    }

    /// Makes whoever listens to another account look again, once this is committed.
    pub(crate) fn wake(&mut self, account: AccountId) {
        self.woken.insert(account);
    }

    /// Whether the tree has room for `more` folders.
    pub(crate) fn check_room(tree: &FolderTree, more: usize) -> Result<(), Failure> {
        if tree.folders().len() + more > FOLDERS_PER_ACCOUNT_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("an account may have at most {FOLDERS_PER_ACCOUNT_MAX} mailboxes"),
            )
            .into());
        }
        Ok(())
    }

    /// A number never given before in this account.
    pub(crate) fn take_id(&mut self) -> u64 {
        self.ledger_dirty = true;
        self.ledger.take_id()
    }

    /// Makes an empty folder that can hold messages; its entry in the tree is the caller's.
    pub(crate) fn new_folder(&mut self) -> MailboxId {
        let mailbox = MailboxId(self.take_id());
        let state = new_state(&mut self.ledger, self.now);
        let empty = Arc::new(FolderSnapshot::new(mailbox, state.clone(), Vec::new()));
        let marks = FolderMarks { log_from: state.highest_modseq, ..FolderMarks::default() };
        let mut folder = FolderWork::new(mailbox, state, marks, Some(empty));
        (folder.moved, folder.dirty) = (true, true);
        self.folders.insert(mailbox, folder);
        mailbox
    }

    /// Takes in a folder whose rows were written before under a number of its own; its entry in the tree is the
    /// caller's.
    pub(crate) fn adopt_folder(&mut self, mailbox: MailboxId, record: StateRecord) {
        let StateRecord { folder: state, marks } = record;
        let given = state.uid_validity.get();
        self.ledger.last_uid_validity = self.ledger.last_uid_validity.max(given);
        self.use_up(Tally {
            messages: state.messages as i64,
            bytes: (state.bytes + marks.annotation_bytes) as i64,
            unseen: 0,
            deleted: state.deleted as i64,
            deleted_bytes: state.deleted_bytes as i64,
        });
        let mut folder = FolderWork::new(mailbox, state, marks, None);
        (folder.moved, folder.dirty) = (true, true);
        self.folders.insert(mailbox, folder);
    }

    /// Says that the batch wrote something beside folders and the tree.
    pub(crate) fn touch(&mut self) {
        self.ledger_dirty = true;
    }

    /// Deletes a folder that was opened, with all it holds; its entry in the tree is the caller's. What it used is
    /// free at once, its rows and bodies go with the sweeper.
    pub(crate) fn delete_folder(&mut self, mailbox: MailboxId) -> Result<(), Failure> {
        let folder = self.folder(mailbox)?;
        folder.deleted = true;
        folder.dirty = false;
        let state = folder.state.clone();
        let annotation_bytes = folder.annotations.bytes();
        let deleted_day = folder.deleted_day;
        // Rows that this batch wrote before stand in blocks that the sweeper will find.
        let gone = Tally {
            messages: -(state.messages as i64),
            bytes: -((state.bytes + annotation_bytes) as i64),
            unseen: 0,
            deleted: -(state.deleted as i64),
            deleted_bytes: -(state.deleted_bytes as i64),
        };
        self.use_up(gone);
        self.trx.clear(&self.shared.keys.state(self.account, mailbox));
        if deleted_day > 0 {
            self.trx.clear(&self.shared.keys.deleted(deleted_day, self.account, mailbox));
        }
        let key = self.shared.keys.pending(self.account, PendingKind::Folder, mailbox.0);
        self.trx.set_bytes(key, Pending::Marked.encode().into());
        self.sweep = true;
        Ok(())
    }

    /// Moves the account's counters.
    pub(crate) fn use_up(&mut self, tally: Tally) {
        let usage = &mut self.ledger.usage;
        usage.bytes = moved(usage.bytes, tally.bytes);
        usage.messages = moved(usage.messages, tally.messages);
        usage.deleted_bytes = moved(usage.deleted_bytes, tally.deleted_bytes);
        usage.deleted_messages = moved(usage.deleted_messages, tally.deleted);
        self.ledger_dirty = true;
    }

    /// Moves the counters of a folder and of the account.
    pub(crate) fn tally(&mut self, mailbox: MailboxId, tally: Tally) -> Result<(), Failure> {
        self.folder(mailbox)?.tally(tally);
        self.use_up(tally);
        Ok(())
    }

    /// Answers `OverQuota` when that much more may not be used.
    pub(crate) fn check_quota(&self, bytes: u64, messages: u64) -> Result<(), Failure> {
        let (limits, usage) = (&self.ledger.limits, &self.ledger.usage);
        let over = |limit: Option<u64>, used: u64, more: u64| {
            more > 0 && limit.is_some_and(|limit| used.saturating_add(more) > limit)
        };
        if over(limits.bytes, usage.bytes, bytes) || over(limits.messages, usage.messages, messages) {
            return Err(Error::new(ErrorKind::OverQuota, "the quota would be exceeded").into());
        }
        Ok(())
    }

    /// Gives up one reference to each body; the sweeper does the rest.
    pub(crate) fn release(&mut self, bodies: impl IntoIterator<Item = BodyId>) {
        self.released.extend(bodies);
    }

    /// Writes what the batch did. `batch` names it in the ledger.
    pub(crate) fn finish(mut self, batch: u64) -> Learned {
        let mut learned = Learned::default();
        let folders = std::mem::take(&mut self.folders);
        let moved = folders.values().any(|folder| folder.moved && !folder.deleted);
        if moved || !self.news.is_empty() {
            self.ledger.next_change(self.shared.environment().random());
            self.ledger_dirty = true;
        }
        self.write_news();
        for (mailbox, mut folder) in folders {
            if folder.deleted {
                learned.gone.push(mailbox);
                // Blocks changed before the folder was deleted are written all the same: the sweeper reads them to
                // give up their bodies.
                self.write_blocks(&mut folder);
                continue;
            }
            if !folder.dirty {
                continue;
            }
            self.write_folder(folder, &mut learned);
        }
        if !self.released.is_empty() {
            let id = self.take_id();
            let key = self.shared.keys.pending(self.account, PendingKind::Released, id);
            let bodies = std::mem::take(&mut self.released);
            self.trx.set_bytes(key, Pending::Released(bodies).encode().into());
            self.sweep = true;
        }
        if !self.feed.is_empty() {
            self.write_feed();
        }
        if self.ledger_dirty {
            self.ledger.remember(batch);
            self.trx.set_bytes(self.shared.keys.ledger(self.account), self.ledger.encode().into());
            learned.wrote = true;
        }
        learned.tree = self.tree.filter(|_| self.tree_changed);
        learned.sweep = self.sweep;
        learned
    }

    fn write_blocks(&mut self, folder: &mut FolderWork) -> Vec<(BlockNo, Arc<model::Block>)> {
        let changed = folder.changed_blocks();
        for (number, block) in &changed {
            let key = self.shared.keys.block(self.account, folder.mailbox, *number);
            if block.rows().is_empty() {
                self.trx.clear(&key);
            } else {
                self.trx.set_bytes(key, block.encode().into());
            }
        }
        changed
    }

    fn write_folder(&mut self, mut folder: FolderWork, learned: &mut Learned) {
        let mailbox = folder.mailbox;
        folder.stamp(self.ledger.changes);
        // Every change of a folder is ordered by the ledger.
        self.ledger_dirty = true;
        let changed = self.write_blocks(&mut folder);
        let highest = folder.state.highest_modseq.0;
        if highest / LOG_TRIM_INTERVAL != (highest - folder.entries.len() as u64) / LOG_TRIM_INTERVAL {
            let key = self.shared.keys.pending(self.account, PendingKind::Log, mailbox.0);
            self.trx.set_bytes(key, Pending::Marked.encode().into());
            self.sweep = true;
        }
        let noted = std::mem::take(&mut folder.entries);
        let (items, entries): (Vec<_>, Vec<_>) = noted.into_iter().map(|noted| noted.split(mailbox)).unzip();
        self.feed.extend(items);
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut batch = LogBatch { at: self.now, entries: Vec::new() };
            let mut bytes = 0;
            let mut last = ModSeq(0);
            while let Some(entry) = entries.next_if(|_| bytes < LOG_VALUE_BYTES_MAX) {
                bytes += 24 + 6 * (entry.changed.ranges().len() + entry.removed.ranges().len());
                bytes += entry.annotated.as_ref().map_or(0, Annotated::size);
                last = entry.modseq;
                batch.entries.push(entry);
            }
            self.trx.set_bytes(self.shared.keys.log(self.account, mailbox, last), batch.encode().into());
        }
        let base = folder.base().cloned();
        for (number, block) in folder.identities.changed() {
            let key = self.shared.keys.identities(self.account, mailbox, number);
            if block.is_empty() {
                self.trx.clear(&key);
            } else {
                self.trx.set_bytes(key, block.encode().into());
            }
        }
        for (uid, annotator, record) in folder.annotations.changed() {
            let key = self.shared.keys.annotations(self.account, mailbox, uid, annotator);
            if record.entries.is_empty() {
                self.trx.clear(&key);
            } else {
                self.trx.set_bytes(key, record.encode().into());
            }
        }
        self.write_deleted_note(&mut folder);
        let record = StateRecord { marks: folder.marks(), folder: folder.state };
        let raw = Bytes::from(record.encode());
        self.trx.set_bytes(self.shared.keys.state(self.account, mailbox), raw.clone());
        if let Some(base) = base {
            let snapshot = Arc::new(base.with_changes(record.folder, changed));
            learned.folders.push(Arc::new(CachedFolder { raw, marks: record.marks, snapshot }));
        }
    }

    /// Keeps the note of a folder's \Deleted messages: there is one as long as there are any. It stays where it is until
    /// the sweeper moves it, or the last such message goes. Costs no read: the state says where it stands.
    fn write_deleted_note(&mut self, folder: &mut FolderWork) {
        let stands = folder.deleted_day;
        let note = match (folder.state.deleted, folder.deleted_note.take()) {
            (0, _) => None,
            (_, None) if stands > 0 => return,
            (_, None) => Some(DeletedNote { modseq: folder.state.highest_modseq, at: self.now }),
            (_, moved) => moved,
        };
        let keys = &self.shared.keys;
        folder.deleted_day = note.map_or(0, |note| note.day());
        if stands > 0 && stands != folder.deleted_day {
            self.trx.clear(&keys.deleted(stands, self.account, folder.mailbox));
        }
        if let Some(note) = note {
            let key = keys.deleted(folder.deleted_day, self.account, folder.mailbox);
            self.trx.set_bytes(key, note.encode().into());
        }
    }

    fn write_news(&mut self) {
        if self.news.is_empty() {
            return;
        }
        let mut record = self.news_before.take().unwrap_or_default();
        for (folder, of) in std::mem::take(&mut self.news) {
            record.note(self.ledger.changes, folder, of);
        }
        self.trx.set_bytes(self.shared.keys.news(self.account), record.encode().into());
    }

    fn write_feed(&mut self) {
        let partition = self.account.partition();
        let keys = &self.shared.keys;
        let prefix = keys.feed_log_prefix(partition);
        let mut items = std::mem::take(&mut self.feed).into_iter().peekable();
        let at_millis = self.shared.environment().now_millis();
        let mut part = 0u16;
        while items.peek().is_some() {
            let mut entry = FeedEntry { account: self.account, at_millis, items: Vec::new() };
            let mut bytes = 0;
            while let Some(item) = items.next_if(|_| bytes < FEED_VALUE_BYTES_MAX) {
                bytes += item.size();
                entry.items.push(item);
            }
            self.trx.set_versionstamped_key(&prefix, &part.to_be_bytes(), &entry.encode());
            part += 1;
        }
        self.trx.set_versionstamped_value(&keys.feed_head(partition), &[]);
        for account in std::mem::take(&mut self.woken) {
            // It may be of the same partition: the parts of a commit go on.
            let item = FeedItem::new(None, ModSeq(0), ChangeKind::Folders, 0);
            let entry = FeedEntry { account, at_millis, items: vec![item] };
            let prefix = keys.feed_log_prefix(account.partition());
            self.trx.set_versionstamped_key(&prefix, &part.to_be_bytes(), &entry.encode());
            self.trx.set_versionstamped_value(&keys.feed_head(account.partition()), &[]);
            part += 1;
        }
    }
}

/// The accounts that the lists of these folders give something to.
fn grantees(folders: &[FolderEntry]) -> impl Iterator<Item = AccountId> {
    folders.iter().flat_map(|entry| entry.acl.grantees())
}

/// The state of a new, empty folder.
pub(crate) fn new_state(ledger: &mut Ledger, now: i64) -> FolderState {
    // UIDVALIDITY ascends within the account, so that a name given again never shows an old value.
    let clock = u32::try_from(now).unwrap_or(1).max(1);
    let value = clock.max(ledger.last_uid_validity.saturating_add(1));
    ledger.last_uid_validity = value;
    FolderState {
        uid_validity: UidValidity::new(value).unwrap_or(UidValidity(std::num::NonZeroU32::MAX)),
        uid_next: 1,
        highest_modseq: ModSeq(1),
        expunge_modseq: ModSeq(0),
        messages: 0,
        unseen: 0,
        deleted: 0,
        bytes: 0,
        deleted_bytes: 0,
        recent_uid: 1,
        keywords: Arc::new(KeywordTable::default()),
    }
}

/// The blocks in which `uids` up to `last_uid` may stand, ascending; none when more than `most`.
fn blocks_of(uids: &UidSet, last_uid: u32, most: usize) -> Option<Vec<BlockNo>> {
    let mut numbers: Vec<BlockNo> = Vec::new();
    for (first, last) in uids.ranges() {
        if first > last_uid {
            break;
        }
        let begin = first / model::limits::BLOCK_UIDS;
        let end = last.min(last_uid) / model::limits::BLOCK_UIDS;
        let begin = numbers.last().map_or(begin, |previous| begin.max(previous.0 + 1));
        if begin > end {
            continue;
        }
        if numbers.len() + (end - begin) as usize + 1 > most {
            return None;
        }
        numbers.extend((begin..=end).map(BlockNo));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_sets() {
        let check = |ranges: &[(u32, u32)], last: u32, expected: Option<&[u32]>| {
            let set = UidSet::from_ranges(ranges.iter().copied());
            let found = blocks_of(&set, last, 4).map(|blocks| blocks.iter().map(|b| b.0).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{set} below {last}");
        };
        check(&[(1, 3), (5, 127), (128, 128)], 1000, Some(&[0, 1]));
        check(&[(1, u32::MAX)], 300, Some(&[0, 1, 2]));
        check(&[(1, u32::MAX)], 3000, None);
        check(&[(1, 1), (1000, 1001), (1020, 1025)], 3000, Some(&[0, 7, 8]));
        check(&[(400, 500)], 300, Some(&[]));
        check(&[(1, 5)], 0, Some(&[]));
    }
}
