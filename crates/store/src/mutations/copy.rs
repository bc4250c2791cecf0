//! COPY and MOVE: rows come into another folder; bodies are shared.

use async_trait::async_trait;
use kv::AtomicOp;
use model::{
    AccountId, Error, ErrorKind, Flags, Keyword, MailboxId, MailboxName, MessageRow, ModSeq, Uid, UidSet,
};
use store_api::{CopyMode, CopyOutcome, CopyRequest, Identities, Missing};

use super::append::{check_room, take_uid, uids_from};
use super::expunge::removal;
use super::folders::CreateFolder;
use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, no_such_mailbox};
use crate::records::{ChangeKind, MoveRecord, Place};
use crate::rules;
use crate::shared::Shared;
use crate::work::Work;
use crate::work::annotations::{Carried, Copied, size_of};
use crate::work::folder::{Tally, entry};
use crate::work::origin::Origin;
use crate::work::page::{self, PageRoom};

/// Messages to copy or move; at most a page of them is.
pub(crate) struct Copy {
    pub(crate) request: CopyRequest,
    /// Room is asked for all of `request` here, so that a COPY that cannot be done whole is not begun
    /// (RFC 9051 §6.4.7).
    pub(crate) first: bool,
    /// Flags that who copies may not set in the target: the copies come without.
    pub(crate) dropped: Flags,
    /// The annotations that go along.
    pub(crate) carried: Carried,
    pub(crate) by: Origin,
}

/// What a page of it did.
pub(crate) struct CopyPage {
    pub(crate) outcome: CopyOutcome,
    /// Messages still to come.
    pub(crate) rest: UidSet,
    /// Where they come from.
    pub(crate) source: MailboxId,
}

#[async_trait]
impl Mutation for Copy {
    type Outcome = CopyPage;

    fn cost(&self) -> Cost {
        page::cost(Some(&self.request.uids), 8_192, 100)
    }

    fn folders(&self, shared: &Shared, account: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.request.source);
        let tree = shared.caches.tree(account);
        hints.extend(tree.and_then(|tree| tree.find(&self.request.target).map(|entry| entry.id)));
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<CopyPage, Failure> {
        // Read.
        let CopyRequest { mode, source, ref uids, ref target, missing } = self.request;
        let moving = mode == CopyMode::Move;
        if rules::binds(work, &self.by) {
            let tree = work.tree().await?;
            let from = tree.by_id(source).ok_or_else(no_such_mailbox)?;
            rules::may_copy(work, (&from.name, target), moving, &self.by)?;
        }
        let target = work.resolve(target).await?;
        work.load_rows(source, Some(uids)).await?;
        work.load_end(target).await?;
        let mut rows: Vec<MessageRow> = Vec::new();
        let (mut page_end, mut all_count, mut all_bytes) = (None, 0u64, 0u64);
        let mut room = PageRoom::default();
        work.folder(source)?.for_rows(Some(uids), |row| {
            all_count += 1;
            all_bytes += u64::from(row.size);
            if page_end.is_none() {
                if room.take(row.uid) {
                    rows.push(*row);
                } else {
                    page_end = Some(row.uid);
                }
            }
            self.first || page_end.is_none()
        });
        let named: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        let loaded = work.load_annotations(source, &named).await?;
        page_end = named.get(loaded).copied().or(page_end);
        rows.truncate(loaded);
        let annotations = &work.folder(source)?.annotations;
        let annotations: Vec<Copied> =
            rows.iter().map(|row| annotations.copied(row.uid, self.carried)).collect();
        let annotation_bytes: usize = annotations.iter().map(size_of).sum();
        let flags = self.map_flags(work, target, &rows).await?;

        work.load_identities(source, rows.iter().map(|row| row.uid)).await?;
        let folder = work.folder(source)?;
        let identities: Vec<Identities> = if folder.identities.any() {
            rows.iter().map(|row| folder.identities.get(row.uid)).collect()
        } else {
            Vec::new()
        };
        if identities.iter().any(|it| !it.is_empty()) {
            let first = work.folder(target)?.state.uid_next;
            work.load_identities(target, uids_from(first, rows.len())).await?;
        }

        // Check.
        if self.first && missing == Missing::Refuse && all_count < uids.len() {
            return Err(
                Error::new(ErrorKind::Expunged, "some of the messages are gone, nothing was done").into()
            );
        }
        let (flags, keywords) =
            flags.ok_or_else(|| Error::new(ErrorKind::Limit, "the mailbox has no room for more keywords"))?;
        if !moving {
            work.check_quota(all_bytes + annotation_bytes as u64, all_count)?;
        }
        let more = if moving && source == target { 0 } else { all_count };
        check_room(work.folder(target)?, more, all_count)?;

        // Change.
        let folder = work.folder(target)?;
        let uid_validity = folder.state.uid_validity;
        let mut pairs = Vec::with_capacity(rows.len());
        let mut modseq_in_source = None;
        if !rows.is_empty() {
            let modseq = folder.next_modseq();
            let mut uid_next = folder.state.uid_next;
            let now = work.now;
            let mut new = Vec::with_capacity(rows.len());
            let mut tally = Tally::default();
            for (row, flags) in rows.iter().zip(flags) {
                let uid = take_uid(&mut uid_next)?;
                pairs.push((row.uid, uid));
                let copy = MessageRow { uid, flags, modseq, saved_at: now, ..*row };
                tally.count(&copy, 1);
                new.push(copy);
            }
            let folder = work.folder(target)?;
            folder.state.uid_next = uid_next;
            folder.state.keywords = keywords;
            folder.push_rows(&new);
            for (copy, identities) in new.iter().zip(identities).filter(|(_, it)| !it.is_empty()) {
                folder.identities.set(copy.uid, identities);
            }
            for (copy, annotations) in new.iter().zip(annotations) {
                folder.annotations.give(copy.uid, annotations);
            }
            work.tally(target, tally)?;
            let changed: UidSet = new.iter().map(|row| row.uid).collect();
            let kind = if moving { ChangeKind::Move } else { ChangeKind::Copy };
            let mut removed_here = UidSet::new();
            if moving {
                let (gone, gone_set, lost) = removal(&rows);
                let folder = work.folder(source)?;
                folder.remove_rows(&gone);
                folder.identities.forget(&gone);
                folder.annotations.forget(&gone);
                if source == target {
                    removed_here = gone_set;
                } else {
                    let modseq = folder.next_modseq();
                    modseq_in_source = Some(modseq);
                    folder.note(entry(modseq, kind, UidSet::new(), gone_set, &self.by));
                }
                work.tally(source, lost)?;
                note_move(work, source, modseq_in_source.unwrap_or(modseq), target, &pairs);
            } else {
                for row in &rows {
                    let key = work.shared.keys.shares(work.account, row.body);
                    work.trx.atomic(AtomicOp::Add, &key, &1u64.to_le_bytes());
                }
            }
            work.folder(target)?.note(entry(modseq, kind, changed, removed_here, &self.by));
            work.count_annotations(source)?;
            work.count_annotations(target)?;
        }
        let source_modseq = modseq_in_source.unwrap_or(work.folder(source)?.state.highest_modseq);
        let rest = match page_end {
            Some(uid) => uids.intersection(&UidSet::range(uid, Uid::MAX)),
            None => UidSet::new(),
        };
        Ok(CopyPage { outcome: CopyOutcome { target, uid_validity, pairs, source_modseq }, rest, source })
    }
}

/// Notes where messages went, for the notification about one of them that comes later.
fn note_move(
    work: &mut Work<'_>,
    source: MailboxId,
    modseq: ModSeq,
    target: MailboxId,
    pairs: &[(Uid, Uid)],
) {
    let Some((_, first)) = pairs.first() else { return };
    let from = pairs.iter().map(|(uid, _)| *uid).collect();
    let record = MoveRecord { from, to: Place { mailbox: target, uid: *first } };
    work.trx.set_bytes(work.shared.keys.moved(work.account, source, modseq), record.encode().into());
}

/// RENAME of INBOX (RFC 9051 §6.3.6): INBOX stays, empty, and so do the folders below it; its messages move to a new
/// folder. The folder is made, and a page of the messages moved, in one step: for most that is all.
pub(crate) struct RenameInbox {
    pub(crate) to: MailboxName,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for RenameInbox {
    type Outcome = CopyPage;

    fn cost(&self) -> Cost {
        page::cost(None, 16_384, 100)
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<CopyPage, Failure> {
        // All that may fail is read and checked before the folder is made; a new folder has room for all of another.
        rules::may_rename(work, &self.to, &self.by)?;
        let source = work.resolve(&MailboxName::inbox()).await?;
        work.load_rows(source, None).await?;
        let last = u32::try_from(work.folder(source)?.state.uid_next - 1).unwrap_or(u32::MAX);
        let uids = UidSet::from_ranges((last > 0).then_some((1, last)));
        let create = CreateFolder { name: self.to.clone(), special_use: None, by: self.by.clone() };
        create.run(work).await?;
        let request = CopyRequest {
            mode: CopyMode::Move,
            source,
            uids,
            target: self.to.clone(),
            missing: Missing::Skip,
        };
        let (dropped, carried) = (Flags::default(), Carried::All);
        Copy { request, first: true, dropped, carried, by: self.by.clone() }.run(work).await
    }
}

type MappedFlags = Option<(Vec<Flags>, std::sync::Arc<model::KeywordTable>)>;

impl Copy {
    /// The flags of `rows` in the target's numbering of keywords; none when it has no room for them.
    async fn map_flags(
        &self,
        work: &mut Work<'_>,
        target: MailboxId,
        rows: &[MessageRow],
    ) -> Result<MappedFlags, Failure> {
        let source = self.request.source;
        let names = work.folder(source)?.state.keywords.clone();
        let flags_of = |row: &MessageRow| row.flags.without(self.dropped);
        let used = rows.iter().fold(Flags::default(), |used, row| used.union(flags_of(row)));
        let indexes: Vec<usize> = used.keyword_indexes().collect();
        if source == target || indexes.is_empty() {
            let table = work.folder(target)?.state.keywords.clone();
            return Ok(Some((rows.iter().map(flags_of).collect(), table)));
        }
        for attempt in 0..2 {
            if attempt > 0 {
                work.load_rows(target, None).await?;
            }
            let folder = work.folder(target)?;
            let mut table = folder.state.keywords.clone();
            let mut map = [Flags::default(); 64];
            let mut keep = Flags::default();
            let mut complete = true;
            for index in &indexes {
                let Some(keyword): Option<&Keyword> = names.get(*index) else { continue };
                let Some(flag) = folder.keyword_flags(std::slice::from_ref(keyword), keep, &mut table) else {
                    complete = false;
                    break;
                };
                keep = keep.union(flag);
                map[*index] = flag;
            }
            if complete {
                let mapped = rows.iter().map(|row| {
                    let flags = flags_of(row);
                    flags.keyword_indexes().fold(flags.system_only(), |flags, index| flags.union(map[index]))
                });
                return Ok(Some((mapped.collect(), table)));
            }
        }
        Ok(None)
    }
}
