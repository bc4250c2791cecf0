//! One folder: its rows against its counters, its marks and its log.
//!
//! Blocks are read in pages, each in a transaction of its own; what each adds up to is kept, not its rows. The last
//! transaction reads what the log says has changed since the first page, so that all sums stand as of that version,
//! and there they are compared with the counters, and repaired.

use std::collections::{BTreeMap, BTreeSet};

use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BlockNo, Flags, MailboxId, ModSeq, Uid, UidSet};
use store_api::{Finding, FindingKind};

use super::references::Counts;
use super::{Check, remedied, transaction, wake};
use crate::failure::Failure;
use crate::records::{DeletedNote, FolderMarks, Ledger, LogBatch, LogEntry, StateRecord};
use crate::retry::reading;
use crate::snapshot::after;

/// Blocks read in one transaction of a look through a folder.
pub(super) const BLOCKS_PER_PAGE: usize = 256;
/// Blocks that the last transaction reads again; when more changed, they are read in pages first.
pub(super) const BLOCKS_SETTLED_MAX: usize = 1_024;
/// How often a folder is begun anew, or brought up to date, before it counts as changing too fast.
pub(super) const ROUNDS_MAX: usize = 16;
/// Rows whose MODSEQ is held against the log in one pass over it.
const EXPLAINED_MAX: usize = 1 << 20;
/// How far the clock that dated a note may be ahead of this one.
const NOTE_AHEAD_SECONDS_MAX: i64 = 86_400;
/// Batches of the log read in one transaction.
const BATCHES_PER_PAGE: usize = 512;

/// What the rows of a block add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    messages: u64,
    unseen: u64,
    deleted: u64,
    bytes: u64,
    deleted_bytes: u64,
    uid_max: u32,
    modseq_max: ModSeq,
}

impl Sum {
    fn of(block: &Block) -> Self {
        let mut sum = Self { modseq_max: block.modseq_max(), ..Self::default() };
        for row in block.rows() {
            sum.messages += 1;
            sum.bytes += u64::from(row.size);
            sum.unseen += u64::from(!row.flags.contains(Flags::SEEN));
            if row.flags.contains(Flags::DELETED) {
                sum.deleted += 1;
                sum.deleted_bytes += u64::from(row.size);
            }
            sum.uid_max = sum.uid_max.max(row.uid.get());
        }
        sum
    }

    fn add(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            unseen: self.unseen + other.unseen,
            deleted: self.deleted + other.deleted,
            bytes: self.bytes + other.bytes,
            deleted_bytes: self.deleted_bytes + other.deleted_bytes,
            uid_max: self.uid_max.max(other.uid_max),
            modseq_max: self.modseq_max.max(other.modseq_max),
        }
    }
}

/// A folder while it is looked through.
#[derive(Default)]
struct Look {
    /// The folder's last change when the first page was read. Nothing up to it changes any more.
    start: ModSeq,
    sums: BTreeMap<BlockNo, Sum>,
    /// Blocks that cannot be read: no sum is told of such a folder.
    unreadable: BTreeSet<BlockNo>,
    findings: Vec<Finding>,
    /// Rows that the log must explain.
    rows: Vec<(Uid, ModSeq)>,
    /// What is wrong with the log or the marks, so that repair begins the log anew.
    begin_log_anew: bool,
    /// The last removal that the log tells of, up to `start`.
    last_removal: ModSeq,
}

/// Checks a folder; counts the bodies its rows point at.
pub(super) async fn check(
    check: &mut Check,
    account: AccountId,
    mailbox: MailboxId,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut look = Look::default();
    let Some(()) = rows(check, account, mailbox, &mut look, counts).await? else { return Ok(()) };
    for _ in 0..ROUNDS_MAX {
        match settle(check, account, mailbox, &mut look).await? {
            Settled::Gone => return Ok(()),
            Settled::Done(findings) => return check.tell(findings).await,
            Settled::Further => {}
            Settled::Anew => {
                // The log was trimmed past the start. The bodies are counted already.
                look = Look::default();
                let mut uncounted = Counts::none();
                let again = rows(check, account, mailbox, &mut look, &mut uncounted).await?;
                if again.is_none() {
                    return Ok(());
                }
            }
        }
    }
    let text = "the folder changed too fast to be verified; check it again";
    look.findings.push(check.subject.of_mailbox(FindingKind::Unsettled, mailbox, text));
    check.tell(look.findings).await
}

/// Reads all rows, and holds them against the log. None when the folder is gone.
async fn rows(
    check: &mut Check,
    account: AccountId,
    mailbox: MailboxId,
    look: &mut Look,
    counts: &mut Counts,
) -> Result<Option<()>, Failure> {
    let shared = check.shared.clone();
    let range = shared.keys.blocks(account, mailbox);
    let (mut begin, mut first, mut log_looked_at) = (range.begin, true, false);
    loop {
        let request = RangeRequest::new(begin, range.end.clone()).limit(BLOCKS_PER_PAGE);
        let (raw, page) = reading!({
            let mut trx = shared.begin_batch("check");
            let key = [shared.keys.state(account, mailbox)];
            let requests = std::slice::from_ref(&request);
            let (raw, pages) = trx.get_together(&key, requests, ReadMode::Snapshot).await?;
            Ok((raw.into_iter().next().flatten(), pages.into_iter().next().unwrap_or_default()))
        });
        let Some(state) = raw.as_deref().and_then(StateRecord::decode) else { return Ok(None) };
        if first {
            look.start = state.folder.highest_modseq;
            first = false;
        }
        for pair in &page.pairs {
            let number = shared.keys.block_of(&pair.key);
            let block = Block::decode(&pair.value).filter(|block| {
                let fits = block.rows().first().map(|row| BlockNo::of(row.uid));
                fits.is_some() && fits == number
            });
            let (Some(number), Some(block)) = (number, block) else {
                let text = format_args!("the rows at {} cannot be read", pair.key.escape_ascii());
                look.findings.push(check.subject.of_mailbox(FindingKind::Rows, mailbox, text));
                look.unreadable.extend(number);
                check.blind = true;
                continue;
            };
            look.sums.insert(number, Sum::of(&block));
            let mut nameless = 0;
            for row in block.rows() {
                counts.add(row.body);
                let known = |index: usize| state.folder.keywords.get(index).is_some();
                nameless += u64::from(!row.flags.keyword_indexes().all(known));
                if row.modseq > state.marks.log_from && row.modseq <= look.start {
                    look.rows.push((row.uid, row.modseq));
                }
            }
            if nameless > 0 {
                let text =
                    format_args!("{nameless} messages of block {} have keywords without a name", number.0);
                look.findings.push(check.subject.of_mailbox(FindingKind::Rows, mailbox, text));
            }
        }
        check.read(page.pairs.len() + 1).await?;
        let last = !page.more || page.pairs.is_empty();
        if look.rows.len() >= EXPLAINED_MAX || last {
            log(check, account, mailbox, look, !log_looked_at).await?;
            log_looked_at = true;
        }
        match page.pairs.last() {
            Some(pair) if !last => begin = after(&pair.key),
            _ => return Ok(Some(())),
        }
    }
}

/// Reads the log up to the start of the look, and holds the rows at hand against it. The first time also looks for
/// gaps in it.
async fn log(
    check: &mut Check,
    account: AccountId,
    mailbox: MailboxId,
    look: &mut Look,
    first: bool,
) -> Result<(), Failure> {
    let shared = check.shared.clone();
    let mut rows = std::mem::take(&mut look.rows);
    rows.sort_unstable();
    // What the log says of each row: its last change.
    let mut logged = vec![ModSeq(0); rows.len()];
    let uids: UidSet = rows.iter().map(|(uid, _)| *uid).collect();
    let mut suspects: BTreeSet<Uid> = BTreeSet::new();
    let range = shared.keys.logs(account, mailbox);
    let (mut begin, mut last, mut log_from, mut broken) = (range.begin, ModSeq(0), ModSeq(0), None);
    loop {
        let request = RangeRequest::new(begin, range.end.clone()).limit(BATCHES_PER_PAGE);
        let (raw, page) = reading!({
            let mut trx = shared.begin_batch("check");
            let key = [shared.keys.state(account, mailbox)];
            let requests = std::slice::from_ref(&request);
            let (raw, pages) = trx.get_together(&key, requests, ReadMode::Snapshot).await?;
            Ok((raw.into_iter().next().flatten(), pages.into_iter().next().unwrap_or_default()))
        });
        let Some(state) = raw.as_deref().and_then(StateRecord::decode) else { return Ok(()) };
        // What was trimmed since the last page is no gap.
        log_from = log_from.max(state.marks.log_from);
        last = last.max(log_from);
        let mut past_start = false;
        for pair in &page.pairs {
            let key_modseq = shared.keys.log_modseq_of(&pair.key);
            if key_modseq.is_some_and(|modseq| modseq <= log_from) {
                // Trimmed, and not cleared yet.
                continue;
            }
            let Some(batch) = LogBatch::decode(&pair.value) else {
                broken
                    .get_or_insert_with(|| format!("the log at {} cannot be read", pair.key.escape_ascii()));
                last = last.max(key_modseq.unwrap_or_default());
                continue;
            };
            if key_modseq != batch.entries.last().map(|entry| entry.modseq) {
                broken.get_or_insert_with(|| {
                    format!("the log at {} has entries of another key", pair.key.escape_ascii())
                });
            }
            for entry in &batch.entries {
                if entry.modseq <= log_from {
                    continue;
                }
                if entry.modseq != last.next() {
                    broken.get_or_insert_with(|| format!("the log goes from {last} to {}", entry.modseq));
                }
                last = entry.modseq;
                past_start |= entry.modseq > look.start;
                if past_start {
                    break;
                }
                if !entry.removed.is_empty() {
                    look.last_removal = entry.modseq;
                    suspects.extend(entry.removed.intersection(&uids).iter());
                }
                for uid in entry.changed.intersection(&uids).iter() {
                    if let Ok(at) = rows.binary_search_by_key(&uid, |(uid, _)| *uid) {
                        logged[at] = entry.modseq;
                    }
                }
            }
        }
        check.read(page.pairs.len() + 1).await?;
        match page.pairs.last() {
            Some(pair) if page.more && !past_start => begin = after(&pair.key),
            _ => break,
        }
    }
    if first && last < look.start {
        broken.get_or_insert_with(|| format!("the log ends at {last}, HIGHESTMODSEQ is {}", look.start));
    }
    if let Some(text) = broken.filter(|_| first) {
        // A gap is told once, and alone: it explains the rest.
        look.begin_log_anew = true;
        let finding = check.subject.of_mailbox(FindingKind::Log, mailbox, text);
        look.findings.push(remedied(finding, false));
    }
    if look.begin_log_anew {
        return Ok(());
    }
    let unexplained =
        rows.iter().zip(&logged).filter(|((_, modseq), logged)| *modseq > log_from && modseq != *logged);
    suspects.extend(unexplained.map(|((uid, _), _)| *uid));
    for uid in suspects {
        let wrong = reading!(
            is_unexplained(check, account, mailbox, uid, shared.begin_batch("check").as_mut()).await
        );
        if let Some(modseq) = wrong {
            let text = format_args!("the log does not explain MODSEQ {modseq} of UID {uid}");
            let finding = check.subject.of_mailbox(FindingKind::Log, mailbox, text);
            look.findings.push(remedied(finding, false));
            look.begin_log_anew = true;
            break;
        }
    }
    Ok(())
}

/// Whether the row of `uid` has a MODSEQ at which the log does not name it: within one transaction.
async fn is_unexplained(
    check: &Check,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
    trx: &mut dyn Transaction,
) -> Result<Option<ModSeq>, Failure> {
    let keys = &check.shared.keys;
    let heads = [keys.state(account, mailbox), keys.block(account, mailbox, BlockNo::of(uid))];
    let values = trx.get_many(&heads, ReadMode::Snapshot).await?;
    let state = values[0].as_deref().and_then(StateRecord::decode);
    let block = values[1].as_deref().and_then(Block::decode);
    let (Some(state), Some(block)) = (state, block) else { return Ok(None) };
    let Some(row) = block.row(uid).filter(|row| row.modseq > state.marks.log_from) else { return Ok(None) };
    let begin = keys.log(account, mailbox, row.modseq);
    let mut request = RangeRequest::new(begin, keys.logs(account, mailbox).end);
    let mut named = false;
    for _ in 0..super::PAGES_MAX {
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        for entry in
            page.pairs.iter().filter_map(|pair| LogBatch::decode(&pair.value)).flat_map(|it| it.entries)
        {
            named |= entry.modseq == row.modseq && entry.changed.contains(uid);
            let later = entry.modseq > row.modseq && entry.changed.contains(uid);
            if later || entry.modseq >= row.modseq && entry.removed.contains(uid) {
                return Ok(Some(row.modseq));
            }
        }
        match page.pairs.last() {
            Some(pair) if page.more => request.begin = after(&pair.key),
            _ => break,
        }
    }
    Ok((!named).then_some(row.modseq))
}

/// How a look ends.
enum Settled {
    /// The folder is gone.
    Gone,
    /// This is wrong, as of one version.
    Done(Vec<Finding>),
    /// Much had changed, and is taken in now.
    Further,
    /// The log no longer tells what changed.
    Anew,
}

async fn settle(
    check: &mut Check,
    account: AccountId,
    mailbox: MailboxId,
    look: &mut Look,
) -> Result<Settled, Failure> {
    let (settled, sums, start) = transaction!(check, trx, {
        let mut sums = look.sums.clone();
        let mut start = look.start;
        let (settled, wrote) =
            compare(check, account, mailbox, look, &mut sums, &mut start, trx.as_mut()).await?;
        Ok(((settled, sums, start), wrote))
    });
    look.sums = sums;
    look.start = start;
    Ok(settled)
}

/// The entries of the log after `since`, and the blocks they name, within one transaction; none when they are too many
/// for one, with how far it came.
pub(super) async fn changed_since(
    check: &Check,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    trx: &mut dyn Transaction,
) -> Result<(Vec<LogEntry>, BTreeSet<BlockNo>, bool), Failure> {
    let range = check.shared.keys.log_after(account, mailbox, since);
    let mut request = RangeRequest::new(range.begin, range.end);
    let (mut entries, mut blocks) = (Vec::new(), BTreeSet::new());
    loop {
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        for batch in page.pairs.iter().filter_map(|pair| LogBatch::decode(&pair.value)) {
            for entry in batch.entries.into_iter().filter(|entry| entry.modseq > since) {
                for (first, last) in entry.changed.ranges().chain(entry.removed.ranges()) {
                    let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) else { continue };
                    blocks.extend((BlockNo::of(first).0..=BlockNo::of(last).0).map(BlockNo));
                }
                entries.push(entry);
            }
            if blocks.len() > BLOCKS_SETTLED_MAX {
                return Ok((entries, blocks, true));
            }
        }
        match page.pairs.last() {
            Some(pair) if page.more => request.begin = after(&pair.key),
            _ => return Ok((entries, blocks, false)),
        }
    }
}

/// Takes in what changed since the look began; when that is all, compares, and repairs.
async fn compare(
    check: &Check,
    account: AccountId,
    mailbox: MailboxId,
    look: &Look,
    sums: &mut BTreeMap<BlockNo, Sum>,
    start: &mut ModSeq,
    trx: &mut dyn Transaction,
) -> Result<(Settled, bool), Failure> {
    let keys = &check.shared.keys;
    let heads = [keys.ledger(account), keys.state(account, mailbox)];
    let [ledger, raw] = &trx.get_many(&heads, check.mode()).await?[..] else {
        return Ok((Settled::Gone, false));
    };
    let (Some(mut ledger), Some(record)) =
        (ledger.as_deref().and_then(Ledger::decode), raw.as_deref().and_then(StateRecord::decode))
    else {
        return Ok((Settled::Gone, false));
    };
    let mut last_removal = look.last_removal;
    if record.folder.highest_modseq != *start && !look.begin_log_anew {
        if record.marks.log_from > *start {
            return Ok((Settled::Anew, false));
        }
        let (entries, blocks, partly) = changed_since(check, account, mailbox, *start, trx).await?;
        let numbers: Vec<BlockNo> = blocks.into_iter().collect();
        let block_keys: Vec<_> = numbers.iter().map(|number| keys.block(account, mailbox, *number)).collect();
        let values = trx.get_many(&block_keys, ReadMode::Snapshot).await?;
        for (number, value) in numbers.into_iter().zip(values) {
            match value.as_deref().and_then(Block::decode) {
                Some(block) => sums.insert(number, Sum::of(&block)),
                None => sums.remove(&number),
            };
        }
        if partly {
            // What was read is as of now; the log up to the last entry need not be asked again.
            *start = entries.last().map_or(*start, |entry| entry.modseq);
            return Ok((Settled::Further, false));
        }
        last_removal =
            entries.iter().rev().find(|entry| !entry.removed.is_empty()).map_or(last_removal, |it| it.modseq);
        *start = record.folder.highest_modseq;
    } else if look.begin_log_anew && record.folder.highest_modseq != *start {
        // A broken log cannot tell what changed: only a folder that holds still can be compared.
        return Ok((Settled::Anew, false));
    }

    let found = sums.values().fold(Sum::default(), |all, sum| all.add(*sum));
    let state = &record.folder;
    let (mut findings, repair) = (look.findings.clone(), check.repair());
    let mut repairable = look.begin_log_anew;
    let mut wrong = |kind, text: String| {
        findings.push(remedied(check.subject.of_mailbox(kind, mailbox, text), false));
        repairable = true;
    };
    if look.unreadable.is_empty() {
        let counters = [state.messages, state.unseen, state.deleted, state.bytes, state.deleted_bytes];
        let summed = [found.messages, found.unseen, found.deleted, found.bytes, found.deleted_bytes];
        if counters != summed {
            let text = format!(
                "messages, unseen, \\Deleted, octets, octets \\Deleted are {counters:?} by the counters, \
                 {summed:?} by the rows"
            );
            wrong(FindingKind::Counters, text);
        }
    }
    if u64::from(found.uid_max) >= state.uid_next {
        wrong(
            FindingKind::FolderMarks,
            format!("UIDNEXT is {}, but UID {} is there", state.uid_next, found.uid_max),
        );
    }
    if found.modseq_max > state.highest_modseq {
        let text = format!("HIGHESTMODSEQ is {}, but {} is there", state.highest_modseq, found.modseq_max);
        wrong(FindingKind::FolderMarks, text);
    }
    if last_removal > state.expunge_modseq || state.expunge_modseq > state.highest_modseq {
        let text = format!("the last removal is {last_removal}, noted is {}", state.expunge_modseq);
        wrong(FindingKind::FolderMarks, text);
    }
    if record.marks.log_from > state.highest_modseq {
        let text =
            format!("the log begins at {}, HIGHESTMODSEQ is {}", record.marks.log_from, state.highest_modseq);
        wrong(FindingKind::FolderMarks, text);
    }
    let mut note_anew = false;
    if look.unreadable.is_empty()
        && let Some(text) =
            note_is_wrong(check, (account, mailbox), &record.marks, found.deleted, trx).await?
    {
        let finding = check.subject.of_mailbox(FindingKind::DeletedNotes, mailbox, text);
        findings.push(remedied(finding, false));
        note_anew = true;
    }
    if !repair || !repairable && !note_anew {
        return Ok((Settled::Done(findings), false));
    }

    let mut record = record;
    if repairable {
        count_anew(check, (account, mailbox), &mut record, &mut ledger, (look, &found), trx).await?;
    }
    if note_anew {
        put_note(check, (account, mailbox), &mut record, found.deleted, trx);
    }
    trx.set_bytes(heads[1].clone(), record.encode().into());
    // Written, so that it conflicts with every other change.
    ledger.remember(check.shared.environment().random());
    trx.set_bytes(heads[0].clone(), ledger.encode().into());
    for finding in &mut findings {
        if finding.remedy == store_api::Remedy::Repairable {
            finding.remedy = store_api::Remedy::Repaired;
        }
    }
    Ok((Settled::Done(findings), true))
}

/// What is wrong with the note of \Deleted of a folder that has `deleted` such messages.
async fn note_is_wrong(
    check: &Check,
    (account, mailbox): (AccountId, MailboxId),
    marks: &FolderMarks,
    deleted: u64,
    trx: &mut dyn Transaction,
) -> Result<Option<String>, Failure> {
    let day = marks.deleted_day;
    let note = match day {
        0 => None,
        _ => trx.get(&check.shared.keys.deleted(day, account, mailbox), check.mode()).await?,
    };
    let note = note.as_deref().and_then(DeletedNote::decode).filter(|note| note.day() == day);
    Ok(match (deleted, note) {
        (0, _) if day > 0 => Some("no message has \\Deleted, but a note says so".to_owned()),
        // By a clock that was ahead: it would not come due for as long.
        (1.., Some(note)) if note.at > check.shared.now().saturating_add(NOTE_AHEAD_SECONDS_MAX) => {
            Some("the note of its messages with \\Deleted is of a time to come".to_owned())
        }
        (0, _) | (1.., Some(_)) => None,
        (1.., None) => Some(format!("{deleted} messages have \\Deleted, and no note tells the sweeper so")),
    })
}

/// Puts the note of \Deleted in its place, or takes it away. What was not noted counts from now on.
fn put_note(
    check: &Check,
    (account, mailbox): (AccountId, MailboxId),
    record: &mut StateRecord,
    deleted: u64,
    trx: &mut dyn Transaction,
) {
    let keys = &check.shared.keys;
    let stood = std::mem::take(&mut record.marks.deleted_day);
    if stood > 0 {
        trx.clear(&keys.deleted(stood, account, mailbox));
    }
    if deleted > 0 {
        let note = DeletedNote { modseq: record.folder.highest_modseq, at: check.shared.now() };
        record.marks.deleted_day = note.day();
        trx.set_bytes(keys.deleted(note.day(), account, mailbox), note.encode().into());
    }
}

/// Writes the counters and marks that the rows add up to. Clients and caches must learn the folder anew: it gets a MODSEQ
/// above all, and no log before it.
async fn count_anew(
    check: &Check,
    (account, mailbox): (AccountId, MailboxId),
    record: &mut StateRecord,
    ledger: &mut Ledger,
    (look, found): (&Look, &Sum),
    trx: &mut dyn Transaction,
) -> Result<(), Failure> {
    let keys = &check.shared.keys;
    let (folder, marks) = (&mut record.folder, &mut record.marks);
    folder.highest_modseq =
        folder.highest_modseq.max(found.modseq_max).max(folder.expunge_modseq).max(marks.log_from).next();
    folder.expunge_modseq = folder.highest_modseq;
    folder.uid_next = folder.uid_next.max(u64::from(found.uid_max) + 1);
    if look.unreadable.is_empty() {
        (folder.messages, folder.unseen, folder.deleted) = (found.messages, found.unseen, found.deleted);
        (folder.bytes, folder.deleted_bytes) = (found.bytes, found.deleted_bytes);
    }
    let highest = folder.highest_modseq;
    (marks.log_from, marks.changed) = (highest, ledger.next_change(check.shared.environment().random()));
    // As much as one transaction may; nobody reads what is left.
    let (begin, end) = (keys.logs(account, mailbox).begin, keys.log_after(account, mailbox, highest).begin);
    trx.clear_page(&begin, &end).await?;
    wake(&check.shared, trx, account, Some(mailbox), highest);
    Ok(())
}
