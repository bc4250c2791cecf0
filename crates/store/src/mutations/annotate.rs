//! STORE ANNOTATION: annotations of messages change.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
use kv::ReadMode;
use model::limits::ANNOTATIONS_BYTES_MAX;
use model::{AccountId, Error, ErrorKind, MailboxId, MessageRow, Uid, UidSet};
use store_api::{AnnotationChange, StoreAnnotations, StoreOutcome};

use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, corrupt};
use crate::keyspace::Annotator;
use crate::limits::{PAGE_ANNOTATED_MAX, PAGE_ANNOTATION_BYTES_MAX};
use crate::records::{Annotated, ChangeKind};
use crate::shared::Shared;
use crate::work::Work;
use crate::work::annotations::{Copied, differing, size_of};
use crate::work::folder::entry;
use crate::work::origin::Origin;
use crate::work::page::PageRoom;

/// A change of annotations; at most a page of it is done.
pub(crate) struct Annotate {
    pub(crate) request: StoreAnnotations,
    /// Whose the private ones are.
    pub(crate) annotator: AccountId,
    pub(crate) by: Origin,
}

/// What a page of it did.
pub(crate) struct AnnotatePage {
    pub(crate) outcome: StoreOutcome,
    /// Messages still to come.
    pub(crate) rest: UidSet,
}

#[async_trait]
impl Mutation for Annotate {
    type Outcome = AnnotatePage;

    fn cost(&self) -> Cost {
        // The records of a message are written whole.
        let messages = self.request.uids.len().min(PAGE_ANNOTATED_MAX as u64) as usize;
        let bytes = (messages * ANNOTATIONS_BYTES_MAX).min(PAGE_ANNOTATION_BYTES_MAX) + 4_096;
        Cost { bytes, messages, blocks: messages }
    }

    fn folders(&self, _: &Shared, _: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.request.mailbox);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<AnnotatePage, Failure> {
        // Read.
        let StoreAnnotations { mailbox, ref uids, ref changes, unchanged_since } = self.request;
        work.load_rows(mailbox, Some(uids)).await?;
        let folder = work.folder(mailbox)?;
        let before = folder.state.highest_modseq;
        let mut outcome = StoreOutcome { modseq: before, modseq_before: before, ..StoreOutcome::default() };
        let mut rows: Vec<MessageRow> = Vec::new();
        let (mut room, mut page_end) = (PageRoom::default(), None);
        folder.for_rows(Some(uids), |row| {
            if rows.len() == PAGE_ANNOTATED_MAX || !room.take(row.uid) {
                page_end = Some(row.uid);
                return false;
            }
            // RFC 7162 §3.1.3.
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                outcome.modified.insert(row.uid);
            } else {
                rows.push(*row);
            }
            true
        });
        let named: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        let loaded = work.load_annotations(mailbox, &named).await?;
        page_end = named.get(loaded).copied().or(page_end);
        rows.truncate(loaded);
        check_parts(work, changes, &rows).await?;

        // Check.
        let owner = work.account;
        let annotations = &work.folder(mailbox)?.annotations;
        let mut put: Vec<(MessageRow, Copied)> = Vec::new();
        let (mut written, mut grown) = (0, 0i64);
        let mut names = [BTreeSet::new(), BTreeSet::new()];
        for row in rows {
            if written >= PAGE_ANNOTATION_BYTES_MAX {
                page_end = Some(row.uid);
                break;
            }
            let records = annotations.changed_by(row.uid, changes, self.annotator, owner)?;
            if records.is_empty() {
                continue;
            }
            for (annotator, record) in &records {
                let before = annotations.record(row.uid, *annotator);
                grown -= before.map_or(0, |before| before.size() as i64);
                names[usize::from(*annotator == Annotator::All)].extend(differing(before, record));
            }
            let size = size_of(&records);
            written += size;
            grown += size as i64;
            put.push((row, records));
        }
        work.check_quota(u64::try_from(grown).unwrap_or(0), 0)?;

        // Change.
        if let Some(uid) = page_end {
            // They come with a later page.
            outcome.modified = outcome.modified.difference(&UidSet::range(uid, Uid::MAX));
        }
        if !put.is_empty() {
            let folder = work.folder(mailbox)?;
            let modseq = folder.next_modseq();
            let mut rows = Vec::with_capacity(put.len());
            for (row, records) in put {
                folder.annotations.put(row.uid, records);
                rows.push(MessageRow { modseq, ..row });
            }
            folder.replace_rows(&rows);
            outcome.changed = rows.iter().map(|row| row.uid).collect();
            outcome.modseq = modseq;
            let noted =
                entry(modseq, ChangeKind::Annotations, outcome.changed.clone(), UidSet::new(), &self.by);
            let [private, shared] = names.map(|names| names.into_iter().collect());
            folder.note(noted.with_annotated(Annotated { by: self.annotator, private, shared }));
            work.count_annotations(mailbox)?;
        }
        let rest = match page_end {
            Some(uid) => uids.intersection(&UidSet::range(uid, Uid::MAX)),
            None => UidSet::new(),
        };
        Ok(AnnotatePage { outcome, rest })
    }
}

/// Answers `NoSuchPart` when a change is of a part that one of these messages does not have (RFC 5257 §3.2.1).
async fn check_parts(
    work: &mut Work<'_>,
    changes: &[AnnotationChange],
    rows: &[MessageRow],
) -> Result<(), Failure> {
    if changes.iter().all(|change| change.name.part().is_none()) {
        return Ok(());
    }
    let keys: Vec<Bytes> = rows.iter().map(|row| work.shared.keys.info(work.account, row.body)).collect();
    for (key, raw) in keys.iter().zip(work.trx.get_many(&keys, ReadMode::Snapshot).await?) {
        let index = raw.and_then(|raw| MessageIndex::decode(raw).ok());
        check_parts_of(changes, &index.ok_or_else(|| corrupt("info", key))?)?;
    }
    Ok(())
}

/// Answers `NoSuchPart` when a change is of a part that a message does not have.
pub(crate) fn check_parts_of(changes: &[AnnotationChange], index: &MessageIndex) -> Result<(), Error> {
    for part in changes.iter().filter_map(|change| change.name.part()) {
        let path: Option<Vec<u32>> = part.split('.').map(|number| number.parse().ok()).collect();
        if path.and_then(|path| index.part(&path)).is_none() {
            let text = format!("an annotation is of part {part}, which the message does not have");
            return Err(Error::new(ErrorKind::NoSuchPart, text));
        }
    }
    Ok(())
}
