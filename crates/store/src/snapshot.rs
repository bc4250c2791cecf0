//! How a folder is read: from the cache when it is current, by what changed since when it is not, else whole.
//!
//! A folder may be larger than one transaction can read. It is then read in parts, each as of its own version, and
//! brought to one version at the end by what changed since the first: what did not change is the same in all of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kv::{RangePage, RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BlockNo, ErrorKind, FolderSnapshot, MailboxId, ModSeq, Uid, UidSet};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cache::CachedFolder;
use crate::failure::{Failure, bug, contended, corrupt, no_such_mailbox};
use crate::keyspace::KeyRange;
use crate::limits::{
    BLOCKS_READ_SINGLY_MAX, COLD_ATTEMPTS_MAX, COLD_PART_MS_MAX, LOG_PAGES_MAX, SEARCH_FOLDERS_AT_ONCE,
};
use crate::records::{LogBatch, LogEntry, StateRecord};
use crate::retry::{Retry, reading};
use crate::shared::Shared;

/// Who reads something of which folder whole: one at a time, since the others then find it in the cache.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<(AccountId, MailboxId), Weak<tokio::sync::Mutex<()>>>>);

impl Flights {
    pub(crate) async fn enter(&self, folder: (AccountId, MailboxId)) -> tokio::sync::OwnedMutexGuard<()> {
        let flight = {
            let mut flights = self.0.lock();
            // Those that are over leave an empty place each.
            if flights.len() >= flights.capacity().max(64) {
                flights.retain(|_, flight| flight.strong_count() > 0);
            }
            match flights.get(&folder).and_then(Weak::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = Arc::default();
                    flights.insert(folder, Arc::downgrade(&flight));
                    flight
                }
            }
        };
        flight.lock_owned().await
    }
}

/// A folder as of now: one key is read when the cached one is current.
pub(crate) async fn read_folder(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Arc<CachedFolder>, Failure> {
    let cached = shared.caches.folder(account, mailbox);
    if cached.is_some() {
        let current = reading!({
            let mut trx = shared.begin("folder");
            read_current(shared, trx.as_mut(), account, mailbox, None).await
        });
        if let Some(folder) = current {
            return Ok(folder);
        }
    }
    read_whole(shared, account, mailbox, cached.as_ref()).await
}

/// Folders as of now, in the order of `mailboxes`; none for one that is not there. Of the first ones only, and of one at
/// least, where the next would make it more than `messages_max` messages. One transaction tells which of the cached ones
/// are current; the others are read some at a time.
pub(crate) async fn read_folders(
    shared: &Shared,
    account: AccountId,
    mailboxes: &[MailboxId],
    messages_max: u64,
) -> Result<Vec<Option<Arc<FolderSnapshot>>>, Failure> {
    let keys: Vec<Bytes> = mailboxes.iter().map(|mailbox| shared.keys.state(account, *mailbox)).collect();
    let values = reading!(Ok(shared.begin("folders").get_many(&keys, ReadMode::Snapshot).await?));
    let mut reads = Vec::with_capacity(keys.len());
    let mut messages = 0_u64;
    for ((mailbox, key), raw) in mailboxes.iter().zip(&keys).zip(values) {
        let mut current = None;
        if let Some(raw) = &raw {
            current = shared.caches.folder(account, *mailbox).filter(|cached| cached.raw == *raw);
            let more = match &current {
                Some(cached) => cached.snapshot.state.messages,
                None => StateRecord::decode(raw).ok_or_else(|| corrupt("state", key))?.folder.messages,
            };
            messages = messages.saturating_add(more);
            if messages > messages_max && !reads.is_empty() {
                break;
            }
        }
        let (mailbox, is_there) = (*mailbox, raw.is_some());
        reads.push(async move {
            match current {
                Some(cached) => {
                    shared.telemetry.folder_hits.increment(1);
                    Ok(Some(cached.snapshot.clone()))
                }
                None if !is_there => Ok(None),
                None => match read_folder(shared, account, mailbox).await {
                    Ok(folder) => Ok(Some(folder.snapshot.clone())),
                    // It went meanwhile.
                    Err(Failure::Request(error)) if error.kind() == ErrorKind::NoSuchMailbox => Ok(None),
                    Err(failure) => Err(failure),
                },
            }
        });
    }
    stream::iter(reads).buffered(SEARCH_FOLDERS_AT_ONCE).try_collect().await
}

/// The UIDs removed from a folder after `since`.
pub(crate) async fn read_vanished(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<UidSet, Failure> {
    let mut whole = None;
    if shared.caches.folder(account, mailbox).is_none() {
        whole = Some(read_whole(shared, account, mailbox, None).await?);
    }
    for _ in 0..COLD_ATTEMPTS_MAX {
        let tried = shared.caches.folder(account, mailbox);
        let gone = reading!({
            let mut trx = shared.begin("vanished");
            match read_current(shared, trx.as_mut(), account, mailbox, whole.as_ref()).await? {
                Some(folder) => vanished(shared, trx.as_mut(), account, &folder, since).await.map(Some),
                None => Ok(None),
            }
        });
        match gone {
            Some(gone) => return Ok(gone),
            None => whole = Some(read_whole(shared, account, mailbox, tried.as_ref()).await?),
        }
    }
    Err(contended().into())
}

/// The folder as of the transaction, if the cached one or `known` leads there; none when it is to be read whole.
async fn read_current(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    known: Option<&Arc<CachedFolder>>,
) -> Result<Option<Arc<CachedFolder>>, Failure> {
    let key = shared.keys.state(account, mailbox);
    let raw = trx.get(&key, ReadMode::Snapshot).await?.ok_or_else(no_such_mailbox)?;
    current(shared, trx, account, mailbox, &raw, known).await
}

/// The folder whose stored state is `raw`, read in the same transaction, if the cached one or `known` leads there.
/// Reads add no conflict: a writer has read the state itself, which every change of the folder writes.
pub(crate) async fn current(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    raw: &Bytes,
    known: Option<&Arc<CachedFolder>>,
) -> Result<Option<Arc<CachedFolder>>, Failure> {
    let cached = shared.caches.folder(account, mailbox);
    let newest =
        [cached.as_ref(), known].into_iter().flatten().max_by_key(|it| it.snapshot.state.highest_modseq);
    let Some(cached) = newest else { return Ok(None) };
    if cached.raw == *raw {
        shared.telemetry.folder_hits.increment(1);
        return Ok(Some(cached.clone()));
    }
    let record =
        StateRecord::decode(raw).ok_or_else(|| corrupt("state", &shared.keys.state(account, mailbox)))?;
    let Some(snapshot) = refresh(shared, trx, account, cached, &record).await? else { return Ok(None) };
    shared.telemetry.folder_refreshes.increment(1);
    Ok(Some(keep(shared, account, raw, &record, snapshot)))
}

/// Reads a folder whole within one transaction: for those that one can read.
pub(crate) async fn load_folder(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    raw: &Bytes,
) -> Result<Arc<CachedFolder>, Failure> {
    let record =
        StateRecord::decode(raw).ok_or_else(|| corrupt("state", &shared.keys.state(account, mailbox)))?;
    shared.telemetry.folder_loads.increment(1);
    let mut range = shared.keys.blocks(account, mailbox);
    let mut blocks = Vec::new();
    while read_blocks_page(shared, trx, &mut range, &mut blocks).await? {}
    let snapshot = FolderSnapshot::new(mailbox, record.folder.clone(), blocks);
    Ok(keep(shared, account, raw, &record, snapshot))
}

fn keep(
    shared: &Shared,
    account: AccountId,
    raw: &Bytes,
    record: &StateRecord,
    snapshot: FolderSnapshot,
) -> Arc<CachedFolder> {
    // A copy, since what an engine gives may be part of a larger buffer.
    let raw = Bytes::copy_from_slice(raw);
    let folder = Arc::new(CachedFolder { raw, marks: record.marks, snapshot: Arc::new(snapshot) });
    shared.caches.put_folder(account, folder.clone());
    folder
}

/// Reads a folder of any size whole, in as many transactions as it takes. One caller does; those that come meanwhile
/// wait, and begin from what it found. `tried`: a cached one from which there is no way to the present.
pub(crate) async fn read_whole(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
    tried: Option<&Arc<CachedFolder>>,
) -> Result<Arc<CachedFolder>, Failure> {
    let _flight = shared.flights.enter((account, mailbox)).await;
    for _ in 0..COLD_ATTEMPTS_MAX {
        if let Some(folder) = read_in_parts(shared, account, mailbox, tried).await? {
            return Ok(folder);
        }
    }
    // So much changed while it was read, each time, that the log does not tell it.
    Err(contended().into())
}

async fn read_in_parts(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
    tried: Option<&Arc<CachedFolder>>,
) -> Result<Option<Arc<CachedFolder>>, Failure> {
    let part_max = Duration::from_millis(COLD_PART_MS_MAX);
    let state_key = shared.keys.state(account, mailbox);
    let mut range = shared.keys.blocks(account, mailbox);
    let mut blocks = Vec::new();
    let mut first_raw: Option<Bytes> = None;
    let (mut in_one, mut more) = (true, true);
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("folder");
        let begun = Instant::now();
        let blocks_before = blocks.len();
        let part = async {
            let first = RangeRequest::new(range.begin.clone(), range.end.clone());
            // What the one before us in the flight has read is in the cache now.
            let cached = shared.caches.folder(account, mailbox);
            let is_new = cached.is_some_and(|cached| tried.is_none_or(|tried| tried.raw != cached.raw));
            let known = first_raw.is_none() && is_new;
            let ranges = if more && !known { std::slice::from_ref(&first) } else { &[] };
            let (raw, pages) =
                trx.get_together(std::slice::from_ref(&state_key), ranges, ReadMode::Snapshot).await?;
            let raw = raw.into_iter().next().flatten().ok_or_else(no_such_mailbox)?;
            if known && let Some(folder) = current(shared, trx.as_mut(), account, mailbox, &raw, None).await?
            {
                return Ok(Some(folder));
            }
            let raw_of_first = first_raw.get_or_insert_with(|| Bytes::copy_from_slice(&raw)).clone();
            for page in pages {
                more = take_page(shared, page, &mut range, &mut blocks)?;
            }
            while more && begun.elapsed() < part_max {
                more = read_blocks_page(shared, trx.as_mut(), &mut range, &mut blocks).await?;
            }
            if more {
                return Ok(None);
            }
            let record = StateRecord::decode(&raw_of_first).ok_or_else(|| corrupt("state", &state_key))?;
            let snapshot = FolderSnapshot::new(mailbox, record.folder.clone(), blocks.clone());
            shared.telemetry.folder_loads.increment(1);
            if in_one || raw == raw_of_first {
                return Ok(Some(keep(shared, account, &raw, &record, snapshot)));
            }
            // Parts of several versions: what changed since the first is read again, as of this one.
            let mixed = CachedFolder { raw: raw_of_first, marks: record.marks, snapshot: Arc::new(snapshot) };
            let now = StateRecord::decode(&raw).ok_or_else(|| corrupt("state", &state_key))?;
            let refreshed = refresh(shared, trx.as_mut(), account, &mixed, &now).await?;
            Ok(refreshed.map(|snapshot| keep(shared, account, &raw, &now, snapshot)))
        };
        match part.await {
            Ok(Some(folder)) => return Ok(Some(folder)),
            Ok(None) if !more => return Ok(None),
            Ok(None) => retry = Retry::idempotent(None),
            // What was read stays: the next transaction goes on from there, or joins the parts again.
            Err(failure) => {
                if blocks.len() > blocks_before {
                    retry = Retry::idempotent(None);
                }
                retry.again(failure).await?;
            }
        }
        in_one = false;
    }
}

/// Brings a cached folder up to `record`; none when reading it whole is better, or the only way.
async fn refresh(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    cached: &CachedFolder,
    record: &StateRecord,
) -> Result<Option<FolderSnapshot>, Failure> {
    let since = cached.snapshot.state.highest_modseq;
    if since > record.folder.highest_modseq || since < record.marks.log_from {
        return Ok(None);
    }
    let mailbox = cached.snapshot.mailbox;
    if since == record.folder.highest_modseq {
        // Only marks differ, not the rows.
        return Ok(Some(cached.snapshot.with_changes(record.folder.clone(), Vec::new())));
    }
    // Most changes are messages that came: the block where they stand is read along with the log.
    let last =
        BlockNo((record.folder.uid_next.saturating_sub(1) / u64::from(model::limits::BLOCK_UIDS)) as u32);
    let last_key = shared.keys.block(account, mailbox, last);
    let KeyRange { begin, end } = shared.keys.log_after(account, mailbox, since);
    let (last_value, pages) = trx
        .get_together(std::slice::from_ref(&last_key), &[RangeRequest::new(begin, end)], ReadMode::Snapshot)
        .await?;
    let first = pages.into_iter().next().unwrap_or_default();
    let Some(entries) = log_from_page(shared, trx, account, mailbox, since, first).await? else {
        return Ok(None);
    };
    let mut numbers = BTreeSet::new();
    for entry in &entries {
        for (first, last) in entry.changed.ranges().chain(entry.removed.ranges()) {
            let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) else { continue };
            numbers.extend((BlockNo::of(first).0..=BlockNo::of(last).0).map(BlockNo));
        }
        if numbers.len() > BLOCKS_READ_SINGLY_MAX.max(cached.snapshot.blocks().len() / 2) {
            return Ok(None);
        }
    }
    let has_last = numbers.remove(&last);
    let numbers: Vec<BlockNo> = numbers.into_iter().collect();
    let mut changed = read_blocks(shared, trx, account, mailbox, &numbers).await?;
    if has_last {
        let value = last_value.into_iter().next().flatten();
        changed.push((last, Arc::new(block_of_value(&last_key, value, last)?)));
    }
    Ok(Some(cached.snapshot.with_changes(record.folder.clone(), changed)))
}

/// The changes after `since`, ascending; none when there are too many to read.
pub(crate) async fn log_since(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<Option<Vec<LogEntry>>, Failure> {
    let KeyRange { begin, end } = shared.keys.log_after(account, mailbox, since);
    let first = trx.get_range(&RangeRequest::new(begin, end), ReadMode::Snapshot).await?;
    log_from_page(shared, trx, account, mailbox, since, first).await
}

/// As [`log_since`], its first page read already.
async fn log_from_page(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    first: RangePage,
) -> Result<Option<Vec<LogEntry>>, Failure> {
    let end = shared.keys.log_after(account, mailbox, since).end;
    let mut page = first;
    let mut entries = Vec::new();
    for _ in 0..LOG_PAGES_MAX {
        for pair in &page.pairs {
            let batch = LogBatch::decode(&pair.value).ok_or_else(|| corrupt("log", &pair.key))?;
            entries.extend(batch.entries.into_iter().filter(|entry| entry.modseq > since));
        }
        let Some(last) = page.pairs.last().filter(|_| page.more) else { return Ok(Some(entries)) };
        let request = RangeRequest::new(after(&last.key), end.clone());
        page = trx.get_range(&request, ReadMode::Snapshot).await?;
    }
    Ok(None)
}

/// The first key after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The blocks of these numbers; one that does not exist is empty.
pub(crate) async fn read_blocks(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    numbers: &[BlockNo],
) -> Result<Vec<(BlockNo, Arc<Block>)>, Failure> {
    let keys: Vec<Bytes> = numbers.iter().map(|no| shared.keys.block(account, mailbox, *no)).collect();
    let values = trx.get_many(&keys, ReadMode::Snapshot).await?;
    let mut blocks = Vec::with_capacity(numbers.len());
    for ((number, key), value) in numbers.iter().zip(&keys).zip(values) {
        blocks.push((*number, Arc::new(block_of_value(key, value, *number)?)));
    }
    Ok(blocks)
}

fn block_of_value(key: &[u8], value: Option<Bytes>, number: BlockNo) -> Result<Block, Failure> {
    match value {
        Some(value) => decode_block(key, &value, number),
        None => Ok(Block::default()),
    }
}

fn decode_block(key: &[u8], value: &[u8], number: BlockNo) -> Result<Block, Failure> {
    Block::decode(value)
        .filter(|block| block.rows().first().is_some_and(|row| BlockNo::of(row.uid) == number))
        .ok_or_else(|| corrupt("block", key))
}

/// Reads a page of blocks, and moves `range` behind them. Whether there may be more.
async fn read_blocks_page(
    shared: &Shared,
    trx: &mut dyn Transaction,
    range: &mut KeyRange,
    blocks: &mut Vec<(BlockNo, Arc<Block>)>,
) -> Result<bool, Failure> {
    let request = RangeRequest::new(range.begin.clone(), range.end.clone());
    let page = trx.get_range(&request, ReadMode::Snapshot).await?;
    take_page(shared, page, range, blocks)
}

fn take_page(
    shared: &Shared,
    page: RangePage,
    range: &mut KeyRange,
    blocks: &mut Vec<(BlockNo, Arc<Block>)>,
) -> Result<bool, Failure> {
    for pair in &page.pairs {
        let number = shared.keys.block_of(&pair.key).ok_or_else(|| corrupt("block key", &pair.key))?;
        blocks.push((number, Arc::new(decode_block(&pair.key, &pair.value, number)?)));
    }
    match page.pairs.last() {
        Some(last) if page.more => {
            range.begin = after(&last.key);
            Ok(true)
        }
        None if page.more => Err(bug("an empty page with more to come")),
        _ => Ok(false),
    }
}

/// The UIDs removed after `since` from `folder`, read in the same transaction. Never one that exists; more than were removed when the
/// log does not reach back, or is too long to read.
async fn vanished(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    folder: &CachedFolder,
    since: ModSeq,
) -> Result<UidSet, Failure> {
    let snapshot = &folder.snapshot;
    if since >= snapshot.state.expunge_modseq {
        return Ok(UidSet::new());
    }
    if since >= folder.marks.log_from
        && let Some(entries) = log_since(shared, trx, account, snapshot.mailbox, since).await?
    {
        let ranges = entries.iter().flat_map(|entry| entry.removed.ranges());
        return Ok(UidSet::from_ranges(ranges));
    }
    // RFC 7162 §3.2.7 lets a server name every UID below UIDNEXT that is not there.
    let last = u32::try_from(snapshot.state.uid_next - 1).unwrap_or(u32::MAX);
    let all = UidSet::from_ranges((last > 0).then_some((1, last)));
    Ok(all.difference(&snapshot.uids()))
}
