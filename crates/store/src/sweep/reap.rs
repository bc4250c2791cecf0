//! Folders whose messages have been \Deleted for long: what clients leave to the network.
//!
//! Each folder with such messages has one note, under the day since which it has any. So a round reads what is due, and
//! when nothing is, one empty range, whatever the number of accounts. What the note leads to is done by the account's
//! combiner, as every change ([`Reap`]); it is safe to do twice, and several sweepers only share the work: each begins
//! elsewhere in a page, and what another did costs a look at the state.
//!
//! A round does a bounded number of folders, so that all else is swept between, and the next goes on behind them. So
//! folders that cannot be changed, a broken one say, do not keep the others from their turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use kv::{KeyValue, RangeRequest, ReadMode};
use model::{AccountId, Error, ErrorKind, MailboxId, Partition};
use parking_lot::Mutex;

use super::work::PAUSE;
use crate::Environment;
use crate::combiner::Combiner;
use crate::failure::Failure;
use crate::keyspace::KeyRange;
use crate::limits::REAP_FOLDERS_MAX;
use crate::mutations::reap::Reap;
use crate::records::day_of;
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::snapshot::after;

/// Notes read in one go.
const PAGE: usize = 256;
/// Folders looked at side by side: each is read whole, beside what subscribers wait for.
const FOLDERS_AT_ONCE: usize = 4;
const DAY_SECONDS: i64 = 86_400;

/// What the reaper keeps in mind between rounds.
pub(crate) struct Reaping {
    /// Wall clock and time passed, as the store was opened.
    opened: (i64, Duration),
    /// Where the last round ended, if it left notes that are due.
    from: Mutex<Option<Bytes>>,
}

impl Reaping {
    /// For a store that is opened now.
    pub(crate) fn new(environment: &dyn Environment) -> Self {
        Self { opened: (environment.now(), environment.elapsed()), from: Mutex::default() }
    }

    /// The time, but not past what passed here since the store was opened: a clock that jumps ahead makes nothing old.
    fn now(&self, environment: &dyn Environment) -> i64 {
        let (opened_at, elapsed) = self.opened;
        let passed = environment.elapsed().saturating_sub(elapsed).as_secs();
        environment.now().min(opened_at.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }
}

/// What a round did.
#[derive(Debug, Default)]
pub(super) struct Reaped {
    /// Messages expunged.
    pub(super) messages: u64,
    /// Whether notes are left that are due.
    pub(super) more: bool,
}

/// Expunges what is due in a range of partitions. Fails with the first failure, after all else was tried.
pub(super) async fn round(
    shared: &Shared,
    combiner: &Arc<Combiner>,
    first: Partition,
    last: Partition,
) -> Result<Reaped, Failure> {
    let days = i64::try_from(shared.options.deleted_days).unwrap_or(i64::MAX);
    if days == 0 {
        return Ok(Reaped::default());
    }
    let now = shared.reaping.now(shared.environment());
    let before = now.saturating_sub(days.saturating_mul(DAY_SECONDS));
    // A day's notes are due when all of it is old enough: each folder is then looked at once a day at most.
    let KeyRange { begin, end } = shared.keys.deleted_before(day_of(before));
    let mut begin = shared.reaping.from.lock().take().map_or(begin.clone(), |from| from.max(begin));
    let (mut reaped, mut folders, mut failed) = (Reaped::default(), 0, None);
    while begin < end {
        if folders >= REAP_FOLDERS_MAX {
            *shared.reaping.from.lock() = Some(begin);
            reaped.more = true;
            break;
        }
        let request = RangeRequest::new(begin, end.clone()).limit(PAGE);
        let page = reading!(Ok(shared.begin_batch("reap").get_range(&request, ReadMode::Snapshot).await?));
        let Some(behind) = page.pairs.last().map(|pair| after(&pair.key)) else { break };
        let mut pairs = page.pairs;
        let at = shared.environment().random() % pairs.len() as u64;
        pairs.rotate_left(at as usize);
        let due = pairs.into_iter().filter_map(|pair| {
            let (day, account, mailbox) = named(shared, &pair)?;
            let within = (first..=last).contains(&account.partition());
            within.then_some((Note { account, mailbox, key: pair.key }, day))
        });
        let works = due.map(|(note, day)| async move { note.reap(shared, combiner, day, before).await });
        let mut works = stream::iter(works).buffer_unordered(FOLDERS_AT_ONCE);
        while let Some(done) = works.next().await {
            folders += 1;
            match done {
                Ok(messages) => reaped.messages += messages,
                Err(Failure::Request(error)) if is_down(&error) => return Err(error.into()),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        drop(works);
        begin = if page.more { behind } else { end.clone() };
    }
    if reaped.messages > 0 {
        tracing::info!(messages = reaped.messages, folders, days, "expunged what was \\Deleted for long");
    }
    failed.map_or(Ok(reaped), Err)
}

/// What the key of a note names.
fn named(shared: &Shared, pair: &KeyValue) -> Option<(u32, AccountId, MailboxId)> {
    let named = shared.keys.deleted_of(&pair.key);
    if named.is_none() {
        tracing::error!(key = %pair.key.escape_ascii(), "a note of \\Deleted cannot be read");
    }
    named
}

/// Whether the engine serves nobody, or takes no writes.
fn is_down(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::StorageFull)
}

/// A note that is due.
struct Note {
    account: AccountId,
    mailbox: MailboxId,
    key: Bytes,
}

impl Note {
    /// Expunges what is old enough in its folder, a transaction at a time. Returns how many messages went.
    async fn reap(
        &self,
        shared: &Shared,
        combiner: &Arc<Combiner>,
        day: u32,
        before: i64,
    ) -> Result<u64, Failure> {
        let Self { account, mailbox, .. } = *self;
        let (mut messages, mut further) = (0, Some(day));
        while let Some(day) = further {
            match combiner.submit(account, None, Arc::new(Reap { mailbox, day, before })).await {
                Ok(page) => {
                    messages += page.messages;
                    further = page.further;
                    shared.telemetry.reaped_messages.increment(page.messages);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if matches!(error.kind(), ErrorKind::NoSuchMailbox | ErrorKind::NoSuchAccount) => {
                    self.forget(shared).await?;
                    break;
                }
                Err(error) if is_down(&error) => return Err(error.into()),
                // Its note stays, and the next round tries again.
                Err(error) if error.kind() == ErrorKind::Contended => break,
                Err(error) => {
                    tracing::error!(%error, %account, %mailbox, "what was \\Deleted for long cannot be expunged");
                    break;
                }
            }
        }
        tracing::debug!(%account, %mailbox, messages, "expunged what was \\Deleted for long in a mailbox");
        Ok(messages)
    }

    /// Clears the note of a folder that is not there: ids are never given again.
    async fn forget(&self, shared: &Shared) -> Result<(), Failure> {
        let state = shared.keys.state(self.account, self.mailbox);
        let mut retry = Retry::idempotent(None);
        loop {
            let mut trx = shared.begin_batch("reap");
            let attempt = async {
                if trx.get(&state, ReadMode::Serializable).await?.is_some() {
                    return Ok(());
                }
                trx.clear(&self.key);
                trx.commit().await.map(drop)
            };
            match attempt.await {
                Ok(()) => return Ok(()),
                Err(error) => retry.again(error.into()).await?,
            }
        }
    }
}
