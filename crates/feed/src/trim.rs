//! Clears entries past their retention.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use kv::{AtomicOp, Engine, Error, Priority, RangeRequest, ReadMode, TransactionOptions};
use model::{PARTITIONS, Partition};
use store::records::FeedEntry;

use crate::Shared;

/// Entries cleared in one transaction.
const ENTRIES_MAX: usize = 1_000;
/// Entries read of a log at first: mostly the oldest is still to be kept, and that is all there is to know.
const ENTRIES_AT_FIRST: usize = 8;
/// Pause after each transaction that cleared something.
const PAUSE: Duration = Duration::from_millis(5);

/// Clears from time to time until the feed is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(interval) = shared.upgrade().map(|shared| shared.options.trim_interval) else { return };
        tokio::time::sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = round(&shared).await {
            tracing::warn!(%error, "clearing of old entries stopped early; it goes on with the next round");
        }
        shared.refresh_gauges();
    }
}

/// Clears what is past its retention in all logs, a page at a time. Safe to run twice, and by several processes: an
/// entry past its retention stays so.
pub(crate) async fn round(shared: &Shared) -> Result<u64, Error> {
    let now = shared.options.environment.now();
    let oldest_kept = now - i64::try_from(shared.options.retention_seconds).unwrap_or(i64::MAX);
    let (mut cleared, mut oldest) = (0, now);
    let mut partition = 0;
    while let Some(next) = next_partition(shared, partition).await? {
        let mut limit = ENTRIES_AT_FIRST;
        loop {
            let (page, first_kept) = clear_page(shared, next, oldest_kept, limit).await?;
            cleared += page;
            if let Some(at) = first_kept {
                oldest = oldest.min(at);
            }
            if first_kept.is_some() || page == 0 && limit == ENTRIES_MAX {
                break;
            }
            limit = ENTRIES_MAX;
            if page > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        partition = next.0 + 1;
    }
    shared.telemetry.trimmed.increment(cleared);
    shared.telemetry.oldest_seconds.set((now - oldest) as f64);
    Ok(cleared)
}

fn begin(engine: &dyn Engine) -> Box<dyn kv::Transaction> {
    engine.begin(TransactionOptions { priority: Priority::Batch, tag: Some("feed_trim") })
}

/// The first partition from `from` on that has entries.
async fn next_partition(shared: &Shared, from: u16) -> Result<Option<Partition>, Error> {
    if from >= PARTITIONS {
        return Ok(None);
    }
    let first = shared.keys.feed_log_after(Partition(from), None);
    let last = shared.keys.feed_log_after(Partition(PARTITIONS - 1), None);
    let request = RangeRequest::new(first.begin, last.end).limit(1);
    let page = begin(shared.engine.as_ref()).get_range(&request, ReadMode::Snapshot).await?;
    Ok(page.pairs.first().and_then(|pair| shared.keys.feed_partition_of(&pair.key)))
}

/// Clears the old ones of the first `limit` entries; how many, and the time of the first entry that stays, if one was
/// seen.
async fn clear_page(
    shared: &Shared,
    partition: Partition,
    oldest_kept: i64,
    limit: usize,
) -> Result<(u64, Option<i64>), Error> {
    let range = shared.keys.feed_log_after(partition, None);
    let mut trx = begin(shared.engine.as_ref());
    let request = RangeRequest::new(range.begin.clone(), range.end).limit(limit);
    let page = trx.get_range(&request, ReadMode::Snapshot).await?;
    let (mut old, mut first_kept, mut last) = (0, None, None);
    for (at, pair) in page.pairs.iter().enumerate() {
        match FeedEntry::decode(&pair.value) {
            Some(entry) if entry.at_millis >= oldest_kept.saturating_mul(1_000) => {
                first_kept = Some(entry.at_millis / 1_000);
                break;
            }
            Some(_) => (old, last) = (at as u64 + 1, Some(&pair.key)),
            // A later release may have written it, and others may have to read it yet: it goes with those after it.
            None => {}
        }
    }
    if let Some(last) = last {
        trx.clear_range(&range.begin, &after(last));
        // A consumer that was not as far as this has missed something. It never goes back, so twice is as once.
        if let Some(stamp) = shared.keys.feed_stamp_of(last) {
            trx.atomic(AtomicOp::ByteMax, &shared.keys.feed_trimmed(partition), &stamp.0);
        }
        trx.commit().await?;
    }
    Ok((old, first_kept))
}

/// The first key after `key`.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
