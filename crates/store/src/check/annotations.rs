//! The records of annotations, and the octets that a folder's state says it has of them.

use kv::{KeyValue, RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BlockNo, MailboxId, ModSeq};
use store_api::{Finding, FindingKind, Remedy};

use super::account::Outline;
use super::folder::ROUNDS_MAX;
use super::{Check, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::{PendingKind, Subspace};
use crate::limits::ANNOTATION_READ_BYTES;
use crate::records::{AnnotationRecord, FolderMarks, StateRecord};
use crate::snapshot::after;

/// Records that cannot be read, those of messages or folders that are not there, and folders whose state counts other
/// octets than there are: without any, changes would not look for them.
pub(super) async fn check(check: &mut Check, account: AccountId, outline: &Outline) -> Result<(), Failure> {
    for mailbox in &outline.folders {
        folder(check, account, *mailbox).await?;
    }
    strays(check, account, outline).await
}

/// Where the look through a folder stands.
#[derive(Clone, Copy, Default)]
struct Look {
    /// The folder's last change when the first page was read.
    start: Option<ModSeq>,
    octets: u64,
    /// Records that cannot be read: nobody knows what they count.
    unreadable: u64,
}

/// What a page says.
enum Page {
    /// The folder is gone.
    Gone,
    /// It has changed since the first page.
    Changed,
    /// There are more.
    More(Look, bytes::Bytes),
    /// That was all.
    Last,
}

async fn folder(check: &mut Check, account: AccountId, mailbox: MailboxId) -> Result<(), Failure> {
    let range = check.shared.keys.annotations_of_folder(account, mailbox);
    let mut findings: Vec<Finding> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        // What was put right stays told.
        findings.retain(|finding| finding.remedy == Remedy::Repaired);
        let (mut look, mut begin) = (Look::default(), range.begin.clone());
        loop {
            let request =
                RangeRequest { bytes: ANNOTATION_READ_BYTES, ..RangeRequest::new(begin, range.end.clone()) };
            let (page, more, records) = transaction!(check, trx, {
                let page = trx.get_range(&request, ReadMode::Snapshot).await?;
                let last = page.pairs.last().filter(|_| page.more).map(|pair| after(&pair.key));
                let (next, findings, wrote) =
                    records(check, account, mailbox, (&page.pairs, last), look, trx.as_mut()).await?;
                Ok(((next, findings, page.pairs.len()), wrote))
            });
            findings.extend(more);
            check.read(records + 1).await?;
            match page {
                Page::Gone => return Ok(()),
                Page::Last => return check.tell(findings).await,
                Page::Changed => break,
                Page::More(next, key) => (look, begin) = (next, key),
            }
        }
    }
    let text = "the folder changed too fast to verify its annotations; check it again";
    findings.push(check.subject.of_mailbox(FindingKind::Unsettled, mailbox, text));
    check.tell(findings).await
}

async fn records(
    check: &Check,
    account: AccountId,
    mailbox: MailboxId,
    (pairs, next): (&[KeyValue], Option<bytes::Bytes>),
    look: Look,
    trx: &mut dyn Transaction,
) -> Result<(Page, Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let named: Vec<_> =
        pairs.iter().filter_map(|pair| Some((pair, keys.annotations_of(&pair.key)?))).collect();
    let mut numbers: Vec<BlockNo> = named.iter().map(|(_, (_, uid, _))| BlockNo::of(*uid)).collect();
    numbers.dedup();
    let mut wanted = vec![keys.state(account, mailbox)];
    wanted.extend(numbers.iter().map(|number| keys.block(account, mailbox, *number)));
    let values = trx.get_many(&wanted, check.mode()).await?;
    let Some(state) = values.first().and_then(|raw| StateRecord::decode(raw.as_deref()?)) else {
        return Ok((Page::Gone, Vec::new(), false));
    };
    let highest = state.folder.highest_modseq;
    if look.start.is_some_and(|start| start != highest) {
        return Ok((Page::Changed, Vec::new(), false));
    }
    let mut look = Look { start: Some(highest), ..look };
    let blocks: Vec<Block> =
        values[1..].iter().map(|raw| raw.as_deref().and_then(Block::decode).unwrap_or_default()).collect();
    let (mut strays, mut unreadable, mut wrote) = (0u64, 0u64, false);
    for (pair, (_, uid, _)) in &named {
        let block = numbers.binary_search(&BlockNo::of(*uid)).ok().map(|at| &blocks[at]);
        if block.is_none_or(|block| block.row(*uid).is_none()) {
            strays += 1;
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            continue;
        }
        match AnnotationRecord::decode(&pair.value) {
            Some(record) => look.octets += record.size() as u64,
            None => unreadable += 1,
        }
    }
    look.unreadable += unreadable;
    let mut findings = Vec::new();
    let of = |text: String| check.subject.of_mailbox(FindingKind::Annotations, mailbox, text);
    if strays > 0 {
        let text = format!("{strays} records of annotations are there, but not the messages");
        findings.push(remedied(of(text), check.repair()));
    }
    if unreadable > 0 {
        findings.push(of(format!("{unreadable} records of annotations cannot be read")));
    }
    if let Some(key) = next {
        return Ok((Page::More(look, key), findings, wrote));
    }
    if look.unreadable == 0 && look.octets != state.marks.annotation_bytes {
        let text = format!(
            "by its state its annotations have {} octets, by their records {}",
            state.marks.annotation_bytes, look.octets
        );
        findings.push(remedied(of(text), check.repair()));
        if check.repair() {
            let marks = FolderMarks { annotation_bytes: look.octets, ..state.marks };
            let state = StateRecord { marks, ..state };
            trx.set_bytes(keys.state(account, mailbox), state.encode().into());
            wrote = true;
        }
    }
    Ok((Page::Last, findings, wrote))
}

/// Records of folders that are not there.
async fn strays(check: &mut Check, account: AccountId, outline: &Outline) -> Result<(), Failure> {
    let range = check.shared.keys.subspace(account, Subspace::Annotations);
    let mut begin = range.begin;
    loop {
        let request = RangeRequest::new(begin, range.end.clone()).limit(1);
        let looked_at = transaction!(check, trx, {
            let page = trx.get_range(&request, ReadMode::Snapshot).await?;
            let named = page.pairs.first().and_then(|pair| check.shared.keys.id_of(&pair.key));
            let Some(mailbox) = named.map(MailboxId) else { return Ok((None, false)) };
            let is_stray = !outline.folders.contains(&mailbox)
                && !outline.stateless.contains(&mailbox)
                && is_nowhere(check, account, mailbox, trx.as_mut()).await?;
            let mut finding = None;
            if is_stray {
                if check.repair() {
                    let all = check.shared.keys.annotations_of_folder(account, mailbox);
                    // As much as one transaction may; nobody reads what is left.
                    trx.clear_page(&all.begin, &all.end).await?;
                }
                let text = "annotations of its messages are there, but not the mailbox";
                let found = check.subject.of_mailbox(FindingKind::Annotations, mailbox, text);
                finding = Some(remedied(found, check.repair()));
            }
            Ok((Some((mailbox, finding)), is_stray && check.repair()))
        });
        let Some((mailbox, finding)) = looked_at else { return Ok(()) };
        check.tell(finding.into_iter().collect()).await?;
        check.read(1).await?;
        begin = check.shared.keys.annotations_of_folder(account, mailbox).end;
    }
}

/// Whether no folder has that number: neither one that is there, nor one that is deleted or restored just now.
async fn is_nowhere(
    check: &Check,
    account: AccountId,
    mailbox: MailboxId,
    trx: &mut dyn Transaction,
) -> Result<bool, Failure> {
    let keys = &check.shared.keys;
    let heads = [
        keys.ledger(account),
        keys.state(account, mailbox),
        keys.pending(account, PendingKind::Folder, mailbox.0),
        keys.pending(account, PendingKind::Restore, mailbox.0),
    ];
    let values = trx.get_many(&heads, check.mode()).await?;
    Ok(values[0].is_some() && values[1..].iter().all(Option::is_none))
}
