//! The restoring of an exported folder: its rows are written under a new number that nothing leads to, a page at a
//! time, and one last step puts the folder in its place.
//!
//! What will be its state stands meanwhile in the note by which the sweeper finds it if it is given up. The note says
//! how far it came, and every page is written with it: a page that comes twice is skipped the second time.

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
use kv::{RangeRequest, ReadMode};
use model::limits::MESSAGES_PER_FOLDER_MAX;
use model::{
    Acl, Block, BlockNo, BodyId, Error, ErrorKind, Flags, FolderState, Keyword, MailboxId, MailboxName,
    MessageRow, ModSeq, Uid,
};
use store_api::{AnnotationChange, FolderEntry, FolderTree, Identities, RestoreFolder, RestoreProgress};

use super::append::{NewBody, write_body, write_place};
use super::folders::{inherited, missing_levels, new_entry};
use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, bug, corrupt, invalid, no_such_mailbox};
use crate::keyspace::PendingKind;
use crate::records::{
    ChangeKind, FolderMarks, FolderRecord, IdentityBlock, Pending, Place, Restoring, StateRecord,
};
use crate::snapshot::after;
use crate::work::Work;
use crate::work::annotations::{Copied, first_records, size_of};
use crate::work::folder::Tally;
use crate::work::origin::Origin;

/// Begins to restore a folder, or finds out how far it came.
pub(crate) struct BeginRestore {
    pub(crate) folder: RestoreFolder,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for BeginRestore {
    type Outcome = RestoreProgress;

    fn cost(&self) -> Cost {
        Cost { bytes: 8_192, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<RestoreProgress, Failure> {
        let wanted = &self.folder;
        let tree = work.tree().await?;
        let existing = tree.find(&wanted.name).cloned();
        if wanted.noselect {
            if existing.is_none() {
                let missing = missing_levels(&tree, &wanted.name);
                Work::check_room(&tree, missing.len() + 1)?;
                let id = MailboxId(work.take_id());
                let entry = FolderEntry { noselect: true, ..FolderEntry::own(id, wanted.name.clone(), None) };
                place(work, &tree, missing, entry, None, &self.by).await?;
            }
            return Ok(RestoreProgress::Done);
        }
        if let Some((restore, restoring)) = begun(work, wanted).await? {
            return Ok(RestoreProgress::Open { restore, next_uid: restoring.next_uid });
        }
        match existing {
            Some(entry) if !entry.noselect => {
                let state = &work.open_folder(entry.id).await?.state;
                let done = state.uid_validity == wanted.uid_validity
                    && state.uid_next >= wanted.uid_next
                    && state.highest_modseq >= wanted.highest_modseq;
                if done {
                    return Ok(RestoreProgress::Done);
                }
                refuse_messages(&wanted.name, state)?;
            }
            _ => Work::check_room(&tree, 1)?,
        }

        let restore = MailboxId(work.take_id());
        let highest_modseq = wanted.highest_modseq.max(ModSeq(1));
        let folder = FolderState {
            uid_validity: wanted.uid_validity,
            uid_next: wanted.uid_next,
            highest_modseq,
            // The log of what was removed stays behind: who asks is told every UID that is not there.
            expunge_modseq: highest_modseq,
            messages: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
            recent_uid: wanted.recent_uid.min(wanted.uid_next),
            keywords: std::sync::Arc::default(),
        };
        let restoring = Restoring {
            touched_at: work.now,
            next_uid: 1,
            folder: FolderRecord {
                name: wanted.name.clone(),
                special_use: wanted.special_use,
                noselect: false,
                acl: Acl::default(),
            },
            state: StateRecord {
                folder,
                marks: FolderMarks { log_from: highest_modseq, ..FolderMarks::default() },
            },
        };
        put_note(work, restore, restoring);
        Ok(RestoreProgress::Open { restore, next_uid: 1 })
    }
}

/// A message ready to be restored: parsed before it came into the queue.
pub(crate) struct Restored {
    pub(crate) uid: Uid,
    pub(crate) modseq: ModSeq,
    pub(crate) flags: Flags,
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) internal_date: (i64, i16),
    pub(crate) saved_at: i64,
    pub(crate) identities: Identities,
    pub(crate) annotations: Vec<AnnotationChange>,
    pub(crate) body: NewBody,
}

/// A page of messages, ascending by UID.
pub(crate) struct RestorePage {
    pub(crate) restore: MailboxId,
    pub(crate) messages: Vec<Restored>,
}

#[async_trait]
impl Mutation for RestorePage {
    type Outcome = u64;

    fn cost(&self) -> Cost {
        let bytes = self.messages.iter().map(|message| match &message.body {
            NewBody::Inline { octets, index } => octets.len() + index.encode().len() + 256,
            NewBody::Staged(_) => 256,
        });
        Cost { bytes: bytes.sum(), messages: self.messages.len(), ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<u64, Failure> {
        // Read.
        let mut restoring = note(work, self.restore).await?;
        let from = self.messages.partition_point(|message| u64::from(message.uid.get()) < restoring.next_uid);
        let messages = &self.messages[from..];
        let Some(last) = messages.last() else { return Ok(restoring.next_uid) };
        let mut sizes = Vec::with_capacity(messages.len());
        let mut objects = Vec::new();
        for message in messages {
            let size = match &message.body {
                NewBody::Inline { octets, .. } => octets.len() as u64,
                NewBody::Staged(body) => {
                    let (size, facts_matter) = staged(work, *body).await?;
                    if facts_matter {
                        objects.push((*body, message.uid));
                    }
                    size
                }
            };
            sizes.push(u32::try_from(size).map_err(|_| bug("a body above the limit of a message"))?);
        }
        let account = work.account;
        let mut numbers: Vec<BlockNo> = messages.iter().map(|message| BlockNo::of(message.uid)).collect();
        numbers.dedup();
        let keys: Vec<Bytes> =
            numbers.iter().map(|number| work.shared.keys.block(account, self.restore, *number)).collect();
        let named = messages.iter().filter(|message| !message.identities.is_empty());
        let mut noted: Vec<BlockNo> = named.clone().map(|message| BlockNo::of(message.uid)).collect();
        noted.dedup();
        let noted_keys: Vec<Bytes> =
            noted.iter().map(|number| work.shared.keys.identities(account, self.restore, *number)).collect();
        let noted_values = work.trx.get_many(&noted_keys, ReadMode::Snapshot).await?;
        let mut identities = Vec::with_capacity(noted.len());
        for ((number, key), value) in noted.into_iter().zip(noted_keys).zip(noted_values) {
            let block = match value {
                Some(value) => IdentityBlock::decode(&value).ok_or_else(|| corrupt("identities", &key))?,
                None => IdentityBlock::default(),
            };
            identities.push((number, key, block));
        }
        // Only what restores this folder writes these, and that is ordered by the note.
        let stored = work.trx.get_many(&keys, ReadMode::Snapshot).await?;

        let info_keys: Vec<Bytes> =
            objects.iter().map(|(body, _)| work.shared.keys.info(account, *body)).collect();
        let infos = work.trx.get_many(&info_keys, ReadMode::Snapshot).await?;

        // Check.
        let state = &mut restoring.state.folder;
        let ascending = messages.windows(2).all(|pair| pair[0].uid < pair[1].uid);
        if !ascending || u64::from(last.uid.get()) >= state.uid_next {
            return Err(invalid("the UIDs must ascend and stay below UIDNEXT").into());
        }
        if messages.iter().any(|it| it.modseq > state.highest_modseq || it.modseq < ModSeq(1)) {
            return Err(invalid("a MODSEQ must be at least 1 and at most HIGHESTMODSEQ").into());
        }
        if state.messages + messages.len() as u64 > MESSAGES_PER_FOLDER_MAX {
            return Err(Error::new(ErrorKind::Limit, "the mailbox has no room for more messages").into());
        }
        let mut table = state.keywords.clone();
        let mut flags = Vec::with_capacity(messages.len());
        for message in messages {
            let mut all = message.flags.system_only();
            for keyword in &message.keywords {
                let flag = std::sync::Arc::make_mut(&mut table).find_or_add(keyword).ok_or_else(|| {
                    Error::new(ErrorKind::Limit, "the mailbox has no room for more keywords")
                })?;
                all = all.union(flag);
            }
            flags.push(all);
        }
        let annotations: Vec<Copied> = messages
            .iter()
            .map(|message| first_records(&message.annotations, account))
            .collect::<Result<_, _>>()?;
        let mut blocks = Vec::with_capacity(numbers.len());
        for ((number, key), value) in numbers.iter().zip(&keys).zip(stored) {
            let block = match value {
                Some(value) => Block::decode(&value).ok_or_else(|| corrupt("block", key))?,
                None => Block::default(),
            };
            blocks.push((*number, block.rows().to_vec()));
        }

        // Change.
        for ((body, uid), info) in objects.into_iter().zip(infos) {
            if let Some(index) = info.and_then(|raw| MessageIndex::decode(raw).ok()) {
                write_place(work, body, &index, Place { mailbox: self.restore, uid });
            }
        }
        state.keywords = table;
        let mut tally = Tally::default();
        for ((message, size), flags) in messages.iter().zip(sizes).zip(flags) {
            let body = match &message.body {
                NewBody::Inline { octets, index } => {
                    let body = BodyId(work.take_id());
                    let place = Place { mailbox: self.restore, uid: message.uid };
                    write_body(work, body, octets, index, place);
                    body
                }
                NewBody::Staged(body) => {
                    work.trx.clear(&work.shared.keys.pending(account, PendingKind::Staged, body.0));
                    *body
                }
            };
            let row = MessageRow {
                uid: message.uid,
                flags,
                modseq: message.modseq,
                size,
                internal_date: message.internal_date.0,
                zone_minutes: message.internal_date.1,
                saved_at: message.saved_at,
                body,
            };
            tally.count(&row, 1);
            let number = BlockNo::of(row.uid);
            if let Ok(at) = blocks.binary_search_by_key(&number, |(number, _)| *number) {
                blocks[at].1.push(row);
            }
        }
        for ((_, rows), key) in blocks.into_iter().zip(keys) {
            work.trx.set_bytes(key, Block::new(rows).encode().into());
        }
        for message in messages.iter().filter(|message| !message.identities.is_empty()) {
            let number = BlockNo::of(message.uid);
            if let Ok(at) = identities.binary_search_by_key(&number, |(number, ..)| *number) {
                identities[at].2.set(message.uid, message.identities.clone());
            }
        }
        restoring.state.marks.identities |= !identities.is_empty();
        for (_, key, block) in identities {
            work.trx.set_bytes(key, block.encode().into());
        }
        for (message, records) in messages.iter().zip(annotations) {
            restoring.state.marks.annotation_bytes += size_of(&records) as u64;
            for (annotator, record) in records {
                let key = work.shared.keys.annotations(account, self.restore, message.uid, annotator);
                work.trx.set_bytes(key, record.encode().into());
            }
        }
        let state = &mut restoring.state.folder;
        state.messages += tally.messages as u64;
        state.unseen += tally.unseen as u64;
        state.deleted += tally.deleted as u64;
        state.bytes += tally.bytes as u64;
        state.deleted_bytes += tally.deleted_bytes as u64;
        restoring.next_uid = u64::from(last.uid.get()) + 1;
        restoring.touched_at = work.now;
        let next_uid = restoring.next_uid;
        put_note(work, self.restore, restoring);
        Ok(next_uid)
    }
}

/// Puts a restored folder in its place.
pub(crate) struct FinishRestore {
    pub(crate) restore: MailboxId,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for FinishRestore {
    type Outcome = ();

    fn cost(&self) -> Cost {
        Cost { bytes: 16_384, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let restoring = note(work, self.restore).await?;
        let tree = work.tree().await?;
        let FolderRecord { name, special_use, .. } = restoring.folder;
        let existing = tree.find(&name).cloned();
        if let Some(entry) = existing.as_ref().filter(|entry| !entry.noselect) {
            refuse_messages(&name, &work.open_folder(entry.id).await?.state)?;
        }
        let missing = missing_levels(&tree, &name);
        Work::check_room(&tree, missing.len() + usize::from(existing.is_none()))?;

        if let Some(entry) = existing.as_ref().filter(|entry| !entry.noselect) {
            work.delete_folder(entry.id)?;
        }
        let acl = inherited(&tree, &name);
        let entry = FolderEntry { acl, ..FolderEntry::own(self.restore, name, special_use) };
        place(work, &tree, missing, entry, existing.map(|entry| entry.id), &self.by).await?;
        work.adopt_folder(self.restore, restoring.state);
        let key = work.shared.keys.pending(work.account, PendingKind::Restore, self.restore.0);
        work.trx.clear(&key);
        Ok(())
    }
}

/// Puts an entry into the tree in the place of `gone`, with the levels above it that are missing.
async fn place(
    work: &mut Work<'_>,
    tree: &FolderTree,
    missing: Vec<MailboxName>,
    entry: FolderEntry,
    gone: Option<MailboxId>,
    by: &Origin,
) -> Result<(), Failure> {
    let mut put: Vec<FolderEntry> =
        missing.into_iter().map(|name| new_entry(work, tree, name, None)).collect();
    put.push(entry);
    let gone: Vec<MailboxId> = gone.into_iter().collect();
    let kept = tree.folders().iter().filter(|entry| !gone.contains(&entry.id));
    let folders = kept.chain(&put).cloned().collect();
    work.change_tree(folders, &put, &gone, ChangeKind::Folders, by).await
}

fn refuse_messages(name: &MailboxName, state: &FolderState) -> Result<(), Failure> {
    if state.messages == 0 {
        return Ok(());
    }
    let text =
        format!("{name} has {} messages; a folder is restored only where there are none", state.messages);
    Err(Error::new(ErrorKind::MailboxExists, text).into())
}

/// The restore of that folder which was begun before.
async fn begun(
    work: &mut Work<'_>,
    wanted: &RestoreFolder,
) -> Result<Option<(MailboxId, Box<Restoring>)>, Failure> {
    let keys = &work.shared.keys;
    let begin = keys.pending(work.account, PendingKind::Restore, 0);
    let end = after(&keys.pending(work.account, PendingKind::Restore, u64::MAX));
    let mut request = RangeRequest::new(begin, end.clone());
    loop {
        let page = work.trx.get_range(&request, ReadMode::Serializable).await?;
        for pair in &page.pairs {
            let (Some((_, _, id)), Some(Pending::Restoring(restoring))) =
                (keys.pending_of(&pair.key), Pending::decode(&pair.value))
            else {
                return Err(corrupt("pending", &pair.key));
            };
            let of_same = restoring.folder.name == wanted.name
                && restoring.state.folder.uid_validity == wanted.uid_validity
                && restoring.state.folder.uid_next == wanted.uid_next
                && restoring.state.folder.highest_modseq == wanted.highest_modseq.max(ModSeq(1));
            if of_same {
                return Ok(Some((MailboxId(id), restoring)));
            }
        }
        match page.pairs.last() {
            Some(last) if page.more => request.begin = after(&last.key),
            _ => return Ok(None),
        }
    }
}

async fn note(work: &mut Work<'_>, restore: MailboxId) -> Result<Box<Restoring>, Failure> {
    let key = work.shared.keys.pending(work.account, PendingKind::Restore, restore.0);
    let raw = work.trx.get(&key, ReadMode::Serializable).await?.ok_or_else(no_such_mailbox)?;
    match Pending::decode(&raw) {
        Some(Pending::Restoring(restoring)) => Ok(restoring),
        _ => Err(corrupt("pending", &key)),
    }
}

/// The size of a body that was written ahead and waits for its message, and whether its facts matter.
async fn staged(work: &mut Work<'_>, body: BodyId) -> Result<(u64, bool), Failure> {
    let key = work.shared.keys.pending(work.account, PendingKind::Staged, body.0);
    let raw = work.trx.get(&key, ReadMode::Serializable).await?;
    let raw = raw.ok_or_else(|| invalid("the staged body is gone or used already"))?;
    match Pending::decode(&raw) {
        Some(Pending::Staged { size, finished: true, facts_matter, .. }) => Ok((size, facts_matter)),
        Some(_) => Err(invalid("the staged body is not finished").into()),
        None => Err(corrupt("pending", &key)),
    }
}

fn put_note(work: &mut Work<'_>, restore: MailboxId, restoring: impl Into<Box<Restoring>>) {
    let key = work.shared.keys.pending(work.account, PendingKind::Restore, restore.0);
    work.trx.set_bytes(key, Pending::Restoring(restoring.into()).encode().into());
    work.touch();
}
