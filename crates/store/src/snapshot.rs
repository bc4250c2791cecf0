//! How a folder is read: from the cache when it is current, by what changed since when it is not, else whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BlockNo, FolderSnapshot, MailboxId, ModSeq, Uid, UidSet};

use crate::cache::CachedFolder;
use crate::failure::{Failure, bug, corrupt};
use crate::keyspace::KeyRange;
use crate::limits::{BLOCKS_READ_SINGLY_MAX, LOG_PAGES_MAX};
use crate::records::{LogBatch, LogEntry, StateRecord};
use crate::shared::Shared;

/// The folder whose stored state is `raw`, read in the same transaction. Reads add no conflict: a writer has read the
/// state itself, which every change of the folder writes.
pub(crate) async fn load_folder(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    raw: Bytes,
) -> Result<Arc<CachedFolder>, Failure> {
    let cached = shared.caches.folder(account, mailbox);
    if let Some(cached) = &cached
        && cached.raw == raw
    {
        shared.telemetry.folder_hits.increment(1);
        return Ok(cached.clone());
    }
    let record =
        StateRecord::decode(&raw).ok_or_else(|| corrupt("state", &shared.keys.state(account, mailbox)))?;
    let refreshed = match &cached {
        Some(cached) => refresh(shared, trx, account, cached, &record).await?,
        None => None,
    };
    let snapshot = if let Some(snapshot) = refreshed {
        shared.telemetry.folder_refreshes.increment(1);
        snapshot
    } else {
        shared.telemetry.folder_loads.increment(1);
        FolderSnapshot::new(mailbox, record.folder, load_blocks(shared, trx, account, mailbox).await?)
    };
    let raw = Bytes::copy_from_slice(&raw);
    let folder = Arc::new(CachedFolder { raw, log_from: record.log_from, snapshot: Arc::new(snapshot) });
    shared.caches.put_folder(account, folder.clone());
    Ok(folder)
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
    if since > record.folder.highest_modseq || since < record.log_from {
        return Ok(None);
    }
    let mailbox = cached.snapshot.mailbox;
    let Some(entries) = log_since(shared, trx, account, mailbox, since).await? else { return Ok(None) };
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
    let numbers: Vec<BlockNo> = numbers.into_iter().collect();
    let changed = read_blocks(shared, trx, account, mailbox, &numbers).await?;
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
    let KeyRange { mut begin, end } = shared.keys.log_after(account, mailbox, since);
    let mut entries = Vec::new();
    for _ in 0..LOG_PAGES_MAX {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            let batch = LogBatch::decode(&pair.value).ok_or_else(|| corrupt("log", &pair.key))?;
            entries.extend(batch.entries.into_iter().filter(|entry| entry.modseq > since));
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(Some(entries)),
        }
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
        let block = match value {
            Some(value) => decode_block(key, &value, *number)?,
            None => Block::default(),
        };
        blocks.push((*number, Arc::new(block)));
    }
    Ok(blocks)
}

fn decode_block(key: &[u8], value: &[u8], number: BlockNo) -> Result<Block, Failure> {
    Block::decode(value)
        .filter(|block| block.rows().first().is_some_and(|row| BlockNo::of(row.uid) == number))
        .ok_or_else(|| corrupt("block", key))
}

async fn load_blocks(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Vec<(BlockNo, Arc<Block>)>, Failure> {
    let KeyRange { mut begin, end } = shared.keys.blocks(account, mailbox);
    let mut blocks = Vec::new();
    loop {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            let number = shared.keys.block_of(&pair.key).ok_or_else(|| corrupt("block key", &pair.key))?;
            blocks.push((number, Arc::new(decode_block(&pair.key, &pair.value, number)?)));
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            None if page.more => return Err(bug("an empty page with more to come")),
            _ => return Ok(blocks),
        }
    }
}

/// The UIDs removed after `since` from a folder at `snapshot`. Never one that exists; more than were removed when the
/// log does not reach back, or is too long to read.
pub(crate) async fn vanished(
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
    if since >= folder.log_from
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
