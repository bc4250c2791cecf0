//! One piece of the sweeper's work, a step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::BODY_CHUNK_BYTES;
use model::{AccountId, Block, BodyId, MailboxId, ModSeq};

use crate::combiner::Combiner;
use crate::failure::{Failure, corrupt};
use crate::keyspace::{KeyRange, PendingKind};
use crate::limits::{SWEEP_BLOCKS_MAX, SWEEP_BODIES_MAX, SWEEP_CHUNKS_MAX, SWEEP_LOGS_MAX};
use crate::mutations::append::indexed_headers;
use crate::mutations::marks::TrimLog;
use crate::records::{LogBatch, Pending, StateRecord};
use crate::retry::{Retry, reading};
use crate::shared::Shared;

/// Pause after each transaction, so that a sweep takes a part of the engine at most.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// What is to be done, a step at a time.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// Clear a body that was written ahead and never used, unless its writer wrote since.
    Staged { body: BodyId, touched_at: i64 },
    /// Take a reference from each of the bodies that the note names.
    Released,
    /// Clear the rows of a deleted folder, with the bodies they point at, then its log.
    Folder(MailboxId),
    /// Clear what was restored of a folder that was never finished, unless it was written to since.
    Restore(MailboxId, i64),
    /// Clear all data of a removed account.
    Account,
    /// Only clear the note.
    Nothing,
}

/// What a step leaves.
enum Left {
    /// Nothing; the note is to be cleared.
    Nothing,
    /// More; the note stays. With the key to go on from, where the step knows one.
    More(Option<Bytes>),
    /// More, but not now.
    Later,
}

/// One piece of work.
pub(super) struct Work<'s> {
    shared: &'s Shared,
    account: AccountId,
    note: Bytes,
}

impl<'s> Work<'s> {
    /// The work under the key `note`.
    pub(super) fn new(shared: &'s Shared, account: AccountId, note: Bytes) -> Self {
        Self { shared, account, note }
    }

    /// Does all steps of a task, each in a transaction; the note is read with a conflict, and cleared with the last
    /// step. Work whose note is gone was done by another. Returns how many bodies were cleared.
    pub(super) async fn run(&self, task: Task) -> Result<u64, Failure> {
        let (mut cleared, mut from) = (0, None);
        let mut retry = Retry::idempotent(None);
        loop {
            let mut trx = self.shared.begin_batch("sweep");
            let failure = match self.step(trx.as_mut(), task, from.as_ref()).await {
                Ok(None) => return Ok(cleared),
                Ok(Some((left, cleared_now))) => match trx.commit().await {
                    Ok(_) => {
                        cleared += cleared_now;
                        tokio::time::sleep(PAUSE).await;
                        match left {
                            Left::Nothing | Left::Later => return Ok(cleared),
                            Left::More(next) => {
                                from = next;
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

    /// One step, from where the last one of this run ended, and how many bodies it clears; none when the note is gone.
    async fn step(
        &self,
        trx: &mut dyn Transaction,
        task: Task,
        from: Option<&Bytes>,
    ) -> Result<Option<(Left, u64)>, Failure> {
        let Some(note) = trx.get(&self.note, ReadMode::Serializable).await? else { return Ok(None) };
        let (left, cleared) = match task {
            Task::Staged { body, touched_at } => {
                let touched_now = Pending::decode(&note).and_then(|pending| match pending {
                    Pending::Staged { touched_at, .. } => Some(touched_at),
                    _ => None,
                });
                if touched_now == Some(touched_at) {
                    tracing::info!(account = %self.account, %body, "sweeps a body that was never used");
                    clear_body(self.shared, trx, self.account, body).await?;
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
                let (done, cleared) = self.give_up(trx, &bodies).await?;
                let rest = &bodies[done..];
                if rest.is_empty() {
                    (Left::Nothing, cleared)
                } else {
                    trx.set_bytes(self.note.clone(), Pending::Released(rest.to_vec()).encode().into());
                    (Left::More(None), cleared)
                }
            }
            Task::Folder(mailbox) => self.clear_folder(trx, mailbox, from).await?,
            Task::Restore(mailbox, touched_at) => match Pending::decode(&note) {
                Some(Pending::Restoring(now)) if now.touched_at == touched_at => {
                    // From here on it is a folder like any other that was deleted.
                    let key = self.shared.keys.pending(self.account, PendingKind::Folder, mailbox.0);
                    trx.set_bytes(key, Pending::Marked.encode().into());
                    (Left::Nothing, 0)
                }
                _ => (Left::Later, 0),
            },
            Task::Account => {
                let all = self.shared.keys.account(self.account);
                (self.clear_page(trx, all, from).await?, 0)
            }
            Task::Nothing => (Left::Nothing, 0),
        };
        if matches!(left, Left::Nothing) {
            trx.clear(&self.note);
        }
        Ok(Some((left, cleared)))
    }

    /// Clears a page of a range without a bound.
    async fn clear_page(
        &self,
        trx: &mut dyn Transaction,
        range: KeyRange,
        from: Option<&Bytes>,
    ) -> Result<Left, Failure> {
        let rest = trx.clear_page(from.unwrap_or(&range.begin), &range.end).await?;
        self.shared.telemetry.swept_ranges.increment(1);
        Ok(rest.map_or(Left::Nothing, |rest| Left::More(Some(rest))))
    }

    /// Takes one reference from each of the first of `bodies`: from how many, and how many of them went with it.
    /// Two reads, whatever their number.
    async fn give_up(&self, trx: &mut dyn Transaction, bodies: &[BodyId]) -> Result<(usize, u64), Failure> {
        let (keys, account) = (&self.shared.keys, self.account);
        let page = &bodies[..bodies.len().min(SWEEP_BODIES_MAX)];
        let mut taken: BTreeMap<BodyId, u64> = BTreeMap::new();
        for body in page {
            *taken.entry(*body).or_default() += 1;
        }
        let share_keys: Vec<Bytes> = taken.keys().map(|body| keys.shares(account, *body)).collect();
        let values = trx.get_many(&share_keys, ReadMode::Serializable).await?;
        let mut shares: BTreeMap<BodyId, u64> = BTreeMap::new();
        for ((body, key), value) in taken.keys().zip(&share_keys).zip(values) {
            let count = match value {
                None => 0,
                Some(raw) => u64::from_le_bytes(raw.as_ref().try_into().map_err(|_| corrupt("shares", key))?),
            };
            shares.insert(*body, count);
        }
        let lost: Vec<BodyId> =
            taken.iter().filter(|(body, taken)| shares[body] < **taken).map(|(body, _)| *body).collect();
        let infos = read_infos(self.shared, trx, account, &lost).await?;
        let (mut done, mut chunks) = (0, 0);
        let mut gone: BTreeSet<BodyId> = BTreeSet::new();
        let mut shared_still: BTreeMap<BodyId, u64> = BTreeMap::new();
        for body in page {
            // Octets bound the step, too: on some engines each chunk costs.
            if done > 0 && chunks > SWEEP_CHUNKS_MAX {
                break;
            }
            done += 1;
            match shares.get_mut(body) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    shared_still.insert(*body, *count);
                }
                _ => {
                    let info = infos.get(body);
                    chunks += 1 + info.map_or(0, |info| info.size() / BODY_CHUNK_BYTES as u64);
                    if gone.insert(*body) {
                        clear_known_body(self.shared, trx, account, *body, info);
                    }
                }
            }
        }
        for (body, count) in shared_still.into_iter().filter(|(body, _)| !gone.contains(body)) {
            let key = keys.shares(account, body);
            if count == 0 {
                trx.clear(&key);
            } else {
                trx.set(&key, &count.to_le_bytes());
            }
        }
        Ok((done, gone.len() as u64))
    }

    async fn clear_folder(
        &self,
        trx: &mut dyn Transaction,
        mailbox: MailboxId,
        from: Option<&Bytes>,
    ) -> Result<(Left, u64), Failure> {
        let keys = &self.shared.keys;
        let range = keys.blocks(self.account, mailbox);
        let request = RangeRequest::new(range.begin, range.end).limit(SWEEP_BLOCKS_MAX);
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        if page.pairs.is_empty() {
            let logs = keys.logs(self.account, mailbox);
            return Ok((self.clear_page(trx, logs, from).await?, 0));
        }
        let mut cleared = 0;
        for pair in &page.pairs {
            let block = Block::decode(&pair.value).ok_or_else(|| corrupt("block", &pair.key))?;
            let bodies: Vec<BodyId> = block.rows().iter().map(|row| row.body).collect();
            let (done, gone) = self.give_up(trx, &bodies).await?;
            cleared += gone;
            if done < bodies.len() {
                let rest = Block::new(block.rows()[done..].to_vec());
                trx.set_bytes(pair.key.clone(), rest.encode().into());
                break;
            }
            trx.clear(&pair.key);
            if let Some(number) = keys.block_of(&pair.key) {
                trx.clear(&keys.identities(self.account, mailbox, number));
                let annotations = keys.annotations_of_block(self.account, mailbox, number);
                trx.clear_range(&annotations.begin, &annotations.end);
            }
        }
        Ok((Left::More(None), cleared))
    }

    /// Trims the log of a folder: what is older than the retention, or too much. A page at a time.
    pub(super) async fn trim_log(&self, combiner: &Arc<Combiner>, mailbox: MailboxId) -> Result<(), Failure> {
        loop {
            let found = reading!(self.log_to_trim(mailbox).await);
            let Some((log_from, more)) = found else { return Ok(()) };
            match combiner.submit(self.account, None, Arc::new(TrimLog { mailbox, log_from })).await {
                Ok(()) if more => tokio::time::sleep(PAUSE).await,
                Ok(()) => return Ok(()),
                // The folder or the account went meanwhile, and the log with it.
                Err(error)
                    if matches!(
                        error.kind(),
                        model::ErrorKind::NoSuchMailbox | model::ErrorKind::NoSuchAccount
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where the log may begin, as far as one page of it tells, and whether to look at the next; none when it may stay.
    async fn log_to_trim(&self, mailbox: MailboxId) -> Result<Option<(ModSeq, bool)>, Failure> {
        let keys = &self.shared.keys;
        let mut trx = self.shared.begin_batch("sweep");
        let state_key = keys.state(self.account, mailbox);
        let KeyRange { begin, end } = keys.logs(self.account, mailbox);
        let request = RangeRequest::new(begin, end).limit(SWEEP_LOGS_MAX);
        let (values, pages) =
            trx.get_together(std::slice::from_ref(&state_key), &[request], ReadMode::Snapshot).await?;
        let Some(raw) = values.into_iter().next().flatten() else { return Ok(None) };
        let state = StateRecord::decode(&raw).ok_or_else(|| corrupt("state", &state_key))?;
        let oldest = self.shared.now() - self.shared.options.log_days as i64 * 86_400;
        let floor = state.folder.highest_modseq.0.saturating_sub(self.shared.options.log_changes_max);
        let page = pages.into_iter().next().unwrap_or_default();
        let (mut log_from, mut more) = (state.marks.log_from, page.more);
        for pair in &page.pairs {
            let batch = LogBatch::decode(&pair.value).ok_or_else(|| corrupt("log", &pair.key))?;
            let last = batch.entries.last().map_or(ModSeq(0), |entry| entry.modseq);
            if batch.at >= oldest && last.0 > floor {
                more = false;
                break;
            }
            log_from = log_from.max(last);
        }
        Ok((log_from > state.marks.log_from).then_some((log_from, more)))
    }
}

async fn read_infos(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    bodies: &[BodyId],
) -> Result<BTreeMap<BodyId, MessageIndex>, Failure> {
    let keys: Vec<Bytes> = bodies.iter().map(|body| shared.keys.info(account, *body)).collect();
    let values = trx.get_many(&keys, ReadMode::Snapshot).await?;
    let mut infos = BTreeMap::new();
    for ((body, key), value) in bodies.iter().zip(&keys).zip(values) {
        let Some(value) = value else { continue };
        infos.insert(*body, MessageIndex::decode(value).map_err(|_| corrupt("info", key))?);
    }
    Ok(infos)
}

/// Clears a body with all that belongs to it.
pub(crate) async fn clear_body(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    body: BodyId,
) -> Result<(), Failure> {
    let infos = read_infos(shared, trx, account, &[body]).await?;
    clear_known_body(shared, trx, account, body, infos.get(&body));
    Ok(())
}

fn clear_known_body(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    body: BodyId,
    info: Option<&MessageIndex>,
) {
    let keys = &shared.keys;
    for (header, value) in info.into_iter().flat_map(indexed_headers) {
        trx.clear(&keys.header(account, header, value, body));
    }
    if let Some(imdn) = info.and_then(MessageIndex::imdn) {
        trx.clear(&keys.notified(account, imdn.message_id.as_bytes(), body));
    }
    trx.clear(&keys.info(account, body));
    trx.clear(&keys.shares(account, body));
    let chunks = keys.chunks(account, body);
    trx.clear_range(&chunks.begin, &chunks.end);
    shared.caches.forget_body(account, body);
}
