//! The log of a partition, for who must miss nothing of it: a durable consumer, which keeps its own position.
//!
//! A consumer reads pages with [`read_after`], does what it must with the entries, and stores the [`Position`] of the
//! last one where it outlives the process. After that it waits with [`watch_after`] and reads on. What it did since the
//! position it stored, it does again after a restart: at least once, in the order of the log. Entries of one account
//! are in the order in which they were committed; those of several accounts of a partition stand between each other.
//!
//! Entries are cleared after [`Options::retention_seconds`](crate::Options::retention_seconds). A consumer that was
//! away longer is not told by the log that something is gone: it compares when it last was at the end
//! ([`Page::more`] false) with the clock, and looks at the store instead.

use kv::{Engine, Error, RangeRequest, ReadMode, TransactionOptions, Versionstamp, Watch};
use model::Partition;
use store::keyspace::Keyspace;
use store::records::FeedEntry;

/// Most entries of a page.
pub const PAGE_ENTRIES_MAX: usize = 1_000;

/// A place in the log of a partition: right after an entry. Ordered as the log is. Its octets stand for it where it is
/// stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub [u8; 12]);

impl Position {
    /// Right after all that was committed with this stamp or before.
    fn after_commit(stamp: Versionstamp) -> Self {
        let mut position = [0xFF; 12];
        position[..10].copy_from_slice(&stamp.0);
        Self(position)
    }

    /// The stamp of the commit it stands in or after.
    fn stamp(self) -> Versionstamp {
        let mut stamp = [0; 10];
        stamp.copy_from_slice(&self.0[..10]);
        Versionstamp(stamp)
    }
}

/// An entry, and the position right after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where to go on from, once this entry is dealt with.
    pub position: Position,
    /// What it says; none for one that cannot be read. It cannot be told whom that concerns.
    pub entry: Option<FeedEntry>,
}

/// Entries in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries; the last one's position is where the next page begins.
    pub entries: Vec<Logged>,
    /// Whether there were more when it was read.
    pub more: bool,
}

fn begin(engine: &dyn Engine) -> Box<dyn kv::Transaction> {
    engine.begin(TransactionOptions { tag: Some("feed_log"), ..TransactionOptions::default() })
}

/// The end of the log as of now; none for a log that never had an entry. What is committed later stands behind it.
///
/// # Errors
/// Whatever the engine fails with.
pub async fn end(
    engine: &dyn Engine,
    keys: &Keyspace,
    partition: Partition,
) -> Result<Option<Position>, Error> {
    let head = begin(engine).get(&keys.feed_head(partition), ReadMode::Snapshot).await?;
    Ok(head_position(head.as_deref()))
}

/// Up to `limit` entries after a position, or from the beginning for none; at most [`PAGE_ENTRIES_MAX`], and fewer where
/// they are large. One range read.
///
/// # Errors
/// Whatever the engine fails with.
pub async fn read_after(
    engine: &dyn Engine,
    keys: &Keyspace,
    partition: Partition,
    after: Option<Position>,
    limit: usize,
) -> Result<Page, Error> {
    let range = keys.feed_log_after_entry(partition, after.map(|position| position.0));
    let request = RangeRequest::new(range.begin, range.end).limit(limit.clamp(1, PAGE_ENTRIES_MAX));
    let page = begin(engine).get_range(&request, ReadMode::Snapshot).await?;
    let entries = page.pairs.iter().filter_map(|pair| {
        let position = Position(keys.feed_entry_of(&pair.key)?);
        Some(Logged { position, entry: FeedEntry::decode(&pair.value) })
    });
    Ok(Page { entries: entries.collect(), more: page.more })
}

/// Something to wait for when a page had no more; none when there is more to be read already. A watch that fires, fails
/// or stays silent for long all say the same: read on.
///
/// # Errors
/// Whatever the engine fails with, as when it has no room for more watches.
pub async fn watch_after(
    engine: &dyn Engine,
    keys: &Keyspace,
    partition: Partition,
    after: Option<Position>,
) -> Result<Option<Watch>, Error> {
    let key = keys.feed_head(partition);
    let mut trx = begin(engine);
    let head = trx.get(&key, ReadMode::Snapshot).await?;
    let watch = trx.watch(&key).await?;
    trx.commit().await?;
    let head = head_position(head.as_deref());
    // A consumer that stands anywhere in the commit of the head has perhaps not seen all of it; one page tells.
    let behind = match (head, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(head), Some(after)) => after.stamp() < head.stamp(),
    };
    Ok((!behind).then_some(watch))
}

fn head_position(head: Option<&[u8]>) -> Option<Position> {
    Some(Position::after_commit(Versionstamp(head?.try_into().ok()?)))
}
