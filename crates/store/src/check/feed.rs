//! The change logs: every entry can be read, and each head says what its last entry is.

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, PARTITIONS, Partition};
use store_api::{Finding, FindingKind};

use super::{Check, Subject, in_pages, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::KeyRange;
use crate::records::FeedEntry;

/// Partitions whose heads are compared in one transaction.
const HEADS_PER_PAGE: u16 = 64;
/// Entries read in one transaction.
const ENTRIES_PER_PAGE: usize = 512;

/// Checks the change logs of all partitions.
pub(super) async fn check(check: &mut Check) -> Result<(), Failure> {
    for first in (0..PARTITIONS).step_by(usize::from(HEADS_PER_PAGE)) {
        let last = PARTITIONS.min(first + HEADS_PER_PAGE);
        let partitions: Vec<Partition> = (first..last).map(Partition).collect();
        let findings = transaction!(check, trx, heads(check, &partitions, trx.as_mut()).await);
        check.tell(findings).await?;
        check.read(2 * partitions.len()).await?;
    }
    let keys = &check.shared.keys;
    let range = KeyRange {
        begin: keys.feed_log_after(Partition(0), None).begin,
        end: keys.feed_log_after(Partition(PARTITIONS - 1), None).end,
    };
    in_pages!(check, range, ENTRIES_PER_PAGE, ReadMode::Snapshot, |pairs, trx| Ok::<_, Failure>(entries(
        check, pairs, trx
    )));
    Ok(())
}

/// A head is written with each entry, and so is the stamp of the last one.
async fn heads(
    check: &Check,
    partitions: &[Partition],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let heads: Vec<Bytes> = partitions.iter().map(|partition| keys.feed_head(*partition)).collect();
    let lasts: Vec<RangeRequest> = partitions
        .iter()
        .map(|partition| {
            let KeyRange { begin, end } = keys.feed_log_after(*partition, None);
            RangeRequest::new(begin, end).limit(1).reverse()
        })
        .collect();
    let (values, pages) = trx.get_together(&heads, &lasts, ReadMode::Snapshot).await?;
    let (mut findings, mut wrote) = (Vec::new(), false);
    for ((partition, value), page) in partitions.iter().zip(values).zip(pages) {
        let Some(last) = page.pairs.first().and_then(|pair| keys.feed_stamp_of(&pair.key)) else { continue };
        if value.as_deref() == Some(&last.0[..]) {
            continue;
        }
        if check.repair() {
            touch(check, *partition, trx);
            wrote = true;
        }
        let text = format!("the head of partition {} is not its last entry", partition.0);
        findings.push(remedied(Subject::default().finding(FindingKind::Feed, text), check.repair()));
    }
    Ok((findings, wrote))
}

/// Writes an entry of nothing, and the head with it: whoever watches reads the log.
fn touch(check: &Check, partition: Partition, trx: &mut dyn Transaction) {
    let keys = &check.shared.keys;
    let account = AccountId(u64::from(partition.0) << 52);
    let entry = FeedEntry { account, at_millis: check.shared.environment().now_millis(), items: Vec::new() };
    trx.set_versionstamped_key(&keys.feed_log_prefix(partition), &[0, 0], &entry.encode());
    trx.set_versionstamped_value(&keys.feed_head(partition), &[]);
}

fn entries(check: &Check, pairs: &[kv::KeyValue], trx: &mut dyn Transaction) -> (Vec<Finding>, bool) {
    let keys = &check.shared.keys;
    let (mut findings, mut wrote) = (Vec::new(), false);
    for pair in pairs {
        let entry = FeedEntry::decode(&pair.value);
        let partition = keys.feed_partition_of(&pair.key);
        if entry.is_some_and(|entry| Some(entry.account.partition()) == partition) {
            continue;
        }
        if check.repair() {
            // Nobody could have read it: whoever was to hear of it looks again.
            trx.clear(&pair.key);
            if let Some(partition) = partition.filter(|partition| partition.0 < PARTITIONS) {
                touch(check, partition, trx);
            }
            wrote = true;
        }
        let text = format!("the entry at {} cannot be read", pair.key.escape_ascii());
        findings.push(remedied(Subject::default().finding(FindingKind::Feed, text), check.repair()));
    }
    (findings, wrote)
}
