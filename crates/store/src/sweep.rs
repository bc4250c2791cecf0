//! The sweeper: does in the background what a request left to it, a small transaction at a time.
//!
//! Each piece of work stands under a key of its own, written in the transaction that made it necessary and cleared in
//! the one that ends it; what stands between is resumable, since progress is what is no longer there. Every step is
//! safe to run twice: it clears what it read in the same transaction, with a conflict on the note of the work.
//!
//! What has been \Deleted for long is no work that a request left: it is found by day (`reap`).
//!
//! A piece of work that fails keeps none of the others from being done; only an engine that serves nobody ends a round.

mod quiet;
mod reap;
pub(crate) mod work;

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use kv::{KeyValue, RangeRequest, ReadMode};
use model::limits::STAGED_SECONDS_MAX;
use model::{BodyId, MailboxId, PARTITIONS, Partition};
use store_api::RESTORE_SECONDS_MAX;
use tokio::sync::Notify;

use crate::combiner::Combiner;
use crate::failure::{Failure, corrupt};
use crate::keyspace::{KeyRange, PendingKind};
use crate::records::Pending;
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::after;
use crate::store::refresh_gauges;
pub(crate) use quiet::Quiet;
pub(crate) use reap::Reaping;
use work::{Task, Work};

/// Works looked at in one go.
const PAGE: usize = 256;
/// Works done side by side, so that they share syncs.
const WORKS_AT_ONCE: usize = 16;
/// Time between rounds when nobody asks for one: staged bodies grow old, and another process may have left work.
const ROUND: Duration = Duration::from_secs(60);
/// Time left for more to come in after being asked: works of one burst are then swept together.
const GATHER: Duration = Duration::from_millis(50);

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Works done whole.
    pub works: u64,
    /// Bodies cleared.
    pub bodies: u64,
    /// Messages expunged that had \Deleted for long ([`Options::deleted_days`](crate::Options::deleted_days)).
    pub messages: u64,
}

/// Sweeps until the store is gone.
pub(crate) async fn run(asked: Arc<Notify>, shared: Weak<Shared>, combiner: Weak<Combiner>) {
    loop {
        // The wait holds nothing of the store, so that one that is closed lets go of its engine.
        let _ = tokio::time::timeout(ROUND, asked.notified()).await;
        tokio::time::sleep(GATHER).await;
        let (Some(shared), Some(combiner)) = (shared.upgrade(), combiner.upgrade()) else { return };
        refresh_gauges(&shared, &combiner);
        if let Err(failure) = round(&shared, &combiner, Partition(0), Partition(PARTITIONS - 1)).await {
            let error = model::Error::from(failure);
            tracing::warn!(%error, "a sweep stopped early; it goes on with the next one");
        }
    }
}

/// Does all work that is due in a range of partitions, and of what was \Deleted for long a bounded part. Fails with the first failure, after all else was tried.
pub(crate) async fn round(
    shared: &Shared,
    combiner: &Arc<Combiner>,
    first: Partition,
    last: Partition,
) -> Result<Swept, Failure> {
    let mut swept = Swept::default();
    let mut failed = None;
    // First, so that the bodies of what goes are among the works.
    match reap::round(shared, combiner, first, last).await {
        Ok(reaped) => {
            swept.messages = reaped.messages;
            if reaped.more {
                shared.sweep.notify_one();
            }
        }
        Err(failure) => failed = Some(failure),
    }
    let KeyRange { mut begin, end } = shared.keys.pending_of_partitions(first, last);
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(PAGE);
        let page = reading!(Ok(shared.begin_batch("sweep").get_range(&request, ReadMode::Snapshot).await?));
        let works = page.pairs.iter().cloned().map(|pair| one(shared, combiner, pair));
        let mut works = stream::iter(works).buffer_unordered(WORKS_AT_ONCE);
        while let Some(done) = works.next().await {
            match done {
                Ok(Some(bodies)) => {
                    swept.works += 1;
                    swept.bodies += bodies;
                }
                Ok(None) => {}
                Err(failure) if serves_nobody(&failure) => return Err(failure),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        drop(works);
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return failed.map_or(Ok(swept), Err),
        }
    }
}

fn serves_nobody(failure: &Failure) -> bool {
    let Failure::Engine(error) = failure else { return false };
    matches!(error.kind(), kv::ErrorKind::Unavailable | kv::ErrorKind::StorageFull)
}

/// Does one piece of work, if it is due. Returns how many bodies it cleared.
async fn one(shared: &Shared, combiner: &Arc<Combiner>, pair: KeyValue) -> Result<Option<u64>, Failure> {
    let Some((account, kind, id)) = shared.keys.pending_of(&pair.key) else {
        tracing::error!(key = %pair.key.escape_ascii(), "work of the sweeper cannot be read");
        return Ok(None);
    };
    let work = Work::new(shared, account, pair.key.clone());
    let done = match (kind, Pending::decode(&pair.value)) {
        (PendingKind::Staged, Some(Pending::Staged { touched_at, .. })) => {
            let old = shared.now() >= touched_at.saturating_add(STAGED_SECONDS_MAX as i64);
            if !old || !shared.quiet.is_quiet(&pair.key, touched_at, shared.environment().elapsed()) {
                return Ok(None);
            }
            work.run(Task::Staged { body: BodyId(id), touched_at }).await
        }
        (PendingKind::Released, Some(Pending::Released(_))) => work.run(Task::Released).await,
        (PendingKind::Folder, Some(_)) => work.run(Task::Folder(MailboxId(id))).await,
        (PendingKind::Account, Some(_)) => work.run(Task::Account).await,
        (PendingKind::Restore, Some(Pending::Restoring(restoring))) => {
            if shared.now() < restoring.touched_at.saturating_add(RESTORE_SECONDS_MAX) {
                return Ok(None);
            }
            work.run(Task::Restore(MailboxId(id), restoring.touched_at)).await
        }
        (PendingKind::Log, Some(_)) => match work.trim_log(combiner, MailboxId(id)).await {
            Ok(()) => work.run(Task::Nothing).await,
            Err(failure) => Err(failure),
        },
        _ => Err(corrupt("pending", &pair.key)),
    };
    match done {
        Ok(bodies) => {
            shared.telemetry.swept_works.increment(1);
            shared.telemetry.swept_bodies.increment(bodies);
            Ok(Some(bodies))
        }
        // Only an answer about this work.
        Err(Failure::Request(error)) => {
            tracing::error!(%error, %account, ?kind, "work of the sweeper failed");
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}
