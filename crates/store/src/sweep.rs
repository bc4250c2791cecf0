//! The sweeper: does in the background what a request left to it, a small transaction at a time.
//!
//! Each piece of work stands under a key of its own, written in the transaction that made it necessary and cleared in
//! the one that ends it; what stands between is resumable, since progress is what is no longer there. Every step is
//! safe to run twice: it clears what it read in the same transaction, with a conflict on the note of the work.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use futures::{StreamExt, stream};
use kv::{KeyValue, RangeRequest, ReadMode, Transaction};
use model::limits::STAGED_SECONDS_MAX;
use model::{AccountId, Block, BodyId, MailboxId, ModSeq, PARTITIONS, Partition};

use tokio::sync::Notify;

use crate::combiner::Combiner;
use crate::failure::{Failure, corrupt};
use crate::keyspace::{KeyRange, PendingKind};
use crate::limits::{SWEEP_BLOCKS_MAX, SWEEP_BODIES_MAX, SWEEP_KEYS_MAX};
use crate::mutations::append::indexed_headers;
use crate::mutations::marks::TrimLog;
use crate::records::{LogBatch, Pending, StateRecord};
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::snapshot::after;

/// Works looked at in one go.
const PAGE: usize = 256;
/// Works done side by side, so that they share syncs.
const WORKS_AT_ONCE: usize = 16;
/// Time between rounds when nobody asks for one: staged bodies grow old, and another process may have left work.
const ROUND: Duration = Duration::from_secs(60);
/// Pause after each transaction, so that a sweep takes a part of the engine at most.
const PAUSE: Duration = Duration::from_millis(2);
/// Time left for more to come in after being asked: works of one burst are then swept together.
const GATHER: Duration = Duration::from_millis(50);

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Works done whole.
    pub works: u64,
    /// Bodies cleared.
    pub bodies: u64,
}

/// Sweeps until the store is gone.
pub(crate) async fn run(asked: Arc<Notify>, shared: Weak<Shared>, combiner: Weak<Combiner>) {
    loop {
        // The wait holds nothing of the store, so that one that is closed lets go of its engine.
        let _ = tokio::time::timeout(ROUND, asked.notified()).await;
        tokio::time::sleep(GATHER).await;
        let (Some(shared), Some(combiner)) = (shared.upgrade(), combiner.upgrade()) else { return };
        report(&shared, &combiner);
        if let Err(failure) = round(&shared, &combiner, Partition(0), Partition(PARTITIONS - 1)).await {
            let error = model::Error::from(failure);
            tracing::warn!(%error, "a sweep stopped early; it goes on with the next one");
        }
    }
}

fn report(shared: &Shared, combiner: &Combiner) {
    let (accounts, waiting) = combiner.depth();
    metrics::gauge!("mss_store_accounts_changing").set(accounts as f64);
    metrics::gauge!("mss_store_changes_waiting").set(waiting as f64);
    for (cache, entries, bytes) in shared.caches.sizes() {
        metrics::gauge!("mss_store_cache_entries", "cache" => cache).set(entries as f64);
        metrics::gauge!("mss_store_cache_bytes", "cache" => cache).set(bytes as f64);
    }
}

/// Does all work that is due in a range of partitions.
pub(crate) async fn round(
    shared: &Shared,
    combiner: &Arc<Combiner>,
    first: Partition,
    last: Partition,
) -> Result<Swept, Failure> {
    let mut swept = Swept::default();
    let KeyRange { mut begin, end } = shared.keys.pending_of_partitions(first, last);
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(PAGE);
        let page = reading!(Ok(shared.begin_batch("sweep").get_range(&request, ReadMode::Snapshot).await?));
        let works = page.pairs.iter().cloned().map(|pair| one(shared, combiner, pair));
        let mut works = stream::iter(works).buffer_unordered(WORKS_AT_ONCE);
        while let Some(done) = works.next().await {
            if let Some(bodies) = done? {
                swept.works += 1;
                swept.bodies += bodies;
            }
        }
        drop(works);
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(swept),
        }
    }
}

/// Does one piece of work, if it is due. Returns how many bodies it cleared.
async fn one(shared: &Shared, combiner: &Arc<Combiner>, pair: KeyValue) -> Result<Option<u64>, Failure> {
    let Some((account, kind, id)) = shared.keys.pending_of(&pair.key) else {
        return Err(corrupt("pending key", &pair.key));
    };
    let work = Work { shared, account, note: pair.key.clone() };
    let done = match (kind, Pending::decode(&pair.value)) {
        (PendingKind::Staged, Some(Pending::Staged { touched_at, .. })) => {
            if shared.now() < touched_at.saturating_add(STAGED_SECONDS_MAX as i64) {
                return Ok(None);
            }
            work.run(Task::Staged { body: BodyId(id), touched_at }).await
        }
        (PendingKind::Released, Some(Pending::Released(_))) => work.run(Task::Released).await,
        (PendingKind::Folder, Some(_)) => work.run(Task::Folder(MailboxId(id))).await,
        (PendingKind::Account, Some(_)) => work.run(Task::Account).await,
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
        // Only an answer about this work, which must not keep the others from being done.
        Err(Failure::Request(error)) => {
            tracing::error!(%error, %account, ?kind, "work of the sweeper failed");
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// What is to be done, a step at a time.
#[derive(Clone, Copy)]
enum Task {
    /// Clear a body that was written ahead and never used, unless its writer wrote since.
    Staged { body: BodyId, touched_at: i64 },
    /// Take a reference from each of the bodies that the note names.
    Released,
    /// Clear the rows of a deleted folder, with the bodies they point at, then its log.
    Folder(MailboxId),
    /// Clear all data of a removed account.
    Account,
    /// Only clear the note.
    Nothing,
}

/// What a step leaves.
enum Left {
    /// Nothing; the note is to be cleared.
    Nothing,
    /// More; the note stays.
    More,
    /// More, but not now.
    Later,
}

/// One piece of work.
struct Work<'s> {
    shared: &'s Shared,
    account: AccountId,
    note: Bytes,
}

impl Work<'_> {
    /// Does all steps of a task, each in a transaction; the note is read with a conflict, and cleared with the last
    /// step. Work whose note is gone was done by another. Returns how many bodies were cleared.
    async fn run(&self, task: Task) -> Result<u64, Failure> {
        let mut cleared = 0;
        let mut retry = Retry::idempotent(None);
        loop {
            let mut trx = self.shared.begin_batch("sweep");
            let failure = match self.step(trx.as_mut(), task).await {
                Ok(None) => return Ok(cleared),
                Ok(Some((left, cleared_now))) => match trx.commit().await {
                    Ok(_) => {
                        cleared += cleared_now;
                        tokio::time::sleep(PAUSE).await;
                        match left {
                            Left::Nothing | Left::Later => return Ok(cleared),
                            Left::More => {
                                retry = Retry::idempotent(None);
                                continue;
                            }
                        }
                    }
                    Err(error) => error.into(),
                },
                Err(failure) => failure,
            };
            retry.again(failure).await?;
        }
    }

    /// One step, and how many bodies it clears; none when the note is gone.
    async fn step(&self, trx: &mut dyn Transaction, task: Task) -> Result<Option<(Left, u64)>, Failure> {
        let Some(note) = trx.get(&self.note, ReadMode::Serializable).await? else { return Ok(None) };
        let (left, cleared) = match task {
            Task::Staged { body, touched_at } => {
                let touched_now = Pending::decode(&note).and_then(|pending| match pending {
                    Pending::Staged { touched_at, .. } => Some(touched_at),
                    _ => None,
                });
                if touched_now == Some(touched_at) {
                    tracing::info!(account = %self.account, %body, "sweeps a body that was never used");
                    self.clear_body(trx, body).await?;
                    (Left::Nothing, 1)
                } else {
                    (Left::Later, 0)
                }
            }
            Task::Released => {
                // The note says what is left.
                let Some(Pending::Released(bodies)) = Pending::decode(&note) else {
                    return Err(corrupt("pending", &self.note));
                };
                let (page, rest) = bodies.split_at(bodies.len().min(SWEEP_BODIES_MAX));
                let cleared = self.give_up(trx, page).await?;
                if rest.is_empty() {
                    (Left::Nothing, cleared)
                } else {
                    trx.set_bytes(self.note.clone(), Pending::Released(rest.to_vec()).encode().into());
                    (Left::More, cleared)
                }
            }
            Task::Folder(mailbox) => self.clear_folder(trx, mailbox).await?,
            Task::Account => (self.clear_account(trx).await?, 0),
            Task::Nothing => (Left::Nothing, 0),
        };
        if matches!(left, Left::Nothing) {
            trx.clear(&self.note);
        }
        Ok(Some((left, cleared)))
    }

    /// Takes one reference from each body.
    async fn give_up(&self, trx: &mut dyn Transaction, bodies: &[BodyId]) -> Result<u64, Failure> {
        let keys = &self.shared.keys;
        let mut cleared = 0;
        for body in bodies {
            // One by one, since a body may be named twice.
            let key = keys.shares(self.account, *body);
            let shares = match trx.get(&key, ReadMode::Serializable).await? {
                None => 0,
                Some(raw) => {
                    u64::from_le_bytes(raw.as_ref().try_into().map_err(|_| corrupt("shares", &key))?)
                }
            };
            match shares {
                0 => {
                    self.clear_body(trx, *body).await?;
                    cleared += 1;
                }
                1 => trx.clear(&key),
                more => trx.set(&key, &(more - 1).to_le_bytes()),
            }
        }
        Ok(cleared)
    }

    async fn clear_body(&self, trx: &mut dyn Transaction, body: BodyId) -> Result<(), Failure> {
        let keys = &self.shared.keys;
        let info_key = keys.info(self.account, body);
        if let Some(raw) = trx.get(&info_key, ReadMode::Snapshot).await? {
            let index = MessageIndex::decode(raw).map_err(|_| corrupt("info", &info_key))?;
            for (header, value) in indexed_headers(&index) {
                trx.clear(&keys.header(self.account, header, value, body));
            }
        }
        trx.clear(&info_key);
        trx.clear(&keys.shares(self.account, body));
        let chunks = keys.chunks(self.account, body);
        trx.clear_range(&chunks.begin, &chunks.end);
        self.shared.caches.forget_body(self.account, body);
        Ok(())
    }

    async fn clear_folder(
        &self,
        trx: &mut dyn Transaction,
        mailbox: MailboxId,
    ) -> Result<(Left, u64), Failure> {
        let keys = &self.shared.keys;
        let range = keys.blocks(self.account, mailbox);
        let request = RangeRequest::new(range.begin, range.end).limit(SWEEP_BLOCKS_MAX);
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        if page.pairs.is_empty() {
            let logs = keys.logs(self.account, mailbox);
            trx.clear_range(&logs.begin, &logs.end);
            return Ok((Left::Nothing, 0));
        }
        let mut cleared = 0;
        for pair in &page.pairs {
            let block = Block::decode(&pair.value).ok_or_else(|| corrupt("block", &pair.key))?;
            let bodies: Vec<BodyId> = block.rows().iter().map(|row| row.body).collect();
            cleared += self.give_up(trx, &bodies).await?;
            trx.clear(&pair.key);
        }
        Ok((Left::More, cleared))
    }

    async fn clear_account(&self, trx: &mut dyn Transaction) -> Result<Left, Failure> {
        let KeyRange { begin, end } = self.shared.keys.account(self.account);
        let request = RangeRequest::new(begin.clone(), end).limit(SWEEP_KEYS_MAX);
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        let Some(last) = page.pairs.last() else { return Ok(Left::Nothing) };
        trx.clear_range(&begin, &after(&last.key));
        self.shared.telemetry.swept_keys.increment(page.pairs.len() as u64);
        Ok(Left::More)
    }

    /// Trims the log of a folder: what is older than the retention, or too much.
    async fn trim_log(&self, combiner: &Arc<Combiner>, mailbox: MailboxId) -> Result<(), Failure> {
        let keys = &self.shared.keys;
        let mut trx = self.shared.begin_batch("sweep");
        let state_key = keys.state(self.account, mailbox);
        if let Some(raw) = trx.get(&state_key, ReadMode::Snapshot).await? {
            let state = StateRecord::decode(&raw).ok_or_else(|| corrupt("state", &state_key))?;
            let oldest = self.shared.now() - self.shared.options.log_days as i64 * 86_400;
            let floor = state.folder.highest_modseq.0.saturating_sub(self.shared.options.log_changes_max);
            let mut log_from = state.log_from;
            let KeyRange { mut begin, end } = keys.logs(self.account, mailbox);
            'pages: loop {
                let request = RangeRequest::new(begin, end.clone()).limit(SWEEP_KEYS_MAX);
                let page = trx.get_range(&request, ReadMode::Snapshot).await?;
                for pair in &page.pairs {
                    let batch = LogBatch::decode(&pair.value).ok_or_else(|| corrupt("log", &pair.key))?;
                    let last = batch.entries.last().map_or(ModSeq(0), |entry| entry.modseq);
                    if batch.at >= oldest && last.0 > floor {
                        break 'pages;
                    }
                    log_from = log_from.max(last);
                }
                match page.pairs.last() {
                    Some(last) if page.more => begin = after(&last.key),
                    _ => break,
                }
            }
            drop(trx);
            if log_from > state.log_from {
                let trim = Arc::new(TrimLog { mailbox, log_from });
                match combiner.submit(self.account, None, trim).await {
                    Ok(()) => {}
                    // The folder went meanwhile, and its log with it.
                    Err(error) if error.kind() == model::ErrorKind::NoSuchMailbox => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
