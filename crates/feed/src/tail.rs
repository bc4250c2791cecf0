//! The tail of one partition's log.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kv::{Error, ErrorKind, RangeRequest, ReadMode, TransactionOptions, Versionstamp, Watch};
use model::{AccountId, ModSeq, Partition};
use parking_lot::Mutex;
use store::records::FeedEntry;
use store_api::Pulse;
use tokio::sync::watch;

use crate::Shared;

/// Entries read in one transaction.
const ENTRIES_MAX: usize = 1_000;
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Failures in a row after which those who wait for a position are told.
const POSITION_FAILURES_MAX: u32 = 8;

/// Where a tail is.
#[derive(Clone)]
enum Position {
    /// Looking for it.
    Open,
    /// It has one: what is committed from now on is heard.
    Known,
    /// It cannot get one for now.
    Failed(Error),
}

/// The tail of one partition.
pub(crate) struct Tail {
    partition: Partition,
    listeners: Mutex<Listeners>,
    position: watch::Sender<Position>,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Default)]
struct Listeners {
    senders: HashMap<AccountId, watch::Sender<Pulse>>,
    /// Senders that were left when it was last looked through.
    pruned_to: usize,
}

impl Listeners {
    /// Forgets accounts that nobody listens to any more. Returns how many.
    fn prune(&mut self) -> usize {
        let before = self.senders.len();
        self.senders.retain(|_, sender| !sender.is_closed());
        self.pruned_to = self.senders.len();
        before - self.senders.len()
    }
}

/// The first key after the last one read: a position in the log.
type Cursor = Option<Versionstamp>;

impl Tail {
    /// Starts to tail a partition.
    pub(crate) fn start(shared: &Arc<Shared>, partition: Partition) -> Arc<Self> {
        let tail = Arc::new(Self {
            partition,
            listeners: Mutex::default(),
            position: watch::Sender::new(Position::Open),
            task: Mutex::default(),
        });
        let task = tokio::spawn(run(Arc::downgrade(shared), tail.clone()));
        *tail.task.lock() = Some(task.abort_handle());
        shared.telemetry.tails.increment(1.0);
        tail
    }

    /// Ends it at once; listeners see that the feed has ended.
    pub(crate) fn end(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.listeners.lock().senders.clear();
    }

    /// Listens to an account.
    pub(crate) fn listen(&self, account: AccountId) -> watch::Receiver<Pulse> {
        let mut listeners = self.listeners.lock();
        if listeners.senders.len() > 16 + 2 * listeners.pruned_to {
            listeners.prune();
        }
        let sender = listeners.senders.entry(account).or_default();
        let mut receiver = sender.subscribe();
        // What was told before is not news to who comes now.
        receiver.mark_unchanged();
        receiver
    }

    /// How many accounts are listened to.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.lock().senders.len()
    }

    /// Waits until what is committed from now on is heard.
    pub(crate) async fn positioned(&self) -> Result<(), Error> {
        let mut position = self.position.subscribe();
        let known = position.wait_for(|position| !matches!(position, Position::Open)).await;
        match known.as_deref() {
            Ok(Position::Known) => Ok(()),
            Ok(Position::Failed(error)) => Err(error.clone()),
            Ok(Position::Open) | Err(_) => Err(Error::new(ErrorKind::Unavailable, "the feed has ended")),
        }
    }

    /// Tells the listeners of an account.
    fn tell(&self, shared: &Shared, entry: &FeedEntry) {
        let mut listeners = self.listeners.lock();
        let Some(sender) = listeners.senders.get(&entry.account) else { return };
        if sender.is_closed() {
            listeners.senders.remove(&entry.account);
            return;
        }
        let (mailbox, modseq) = match entry.items.split_last() {
            Some((last, others)) if others.iter().all(|item| item.mailbox == last.mailbox) => {
                (last.mailbox, last.modseq)
            }
            _ => (None, ModSeq(0)),
        };
        sender.send_modify(|pulse| *pulse = Pulse { generation: pulse.generation + 1, mailbox, modseq });
        shared.telemetry.pulses.increment(1);
    }

    /// Tells everybody to look: something may have been missed.
    fn tell_all(&self) {
        for sender in self.listeners.lock().senders.values() {
            sender.send_modify(|pulse| {
                *pulse = Pulse { generation: pulse.generation + 1, mailbox: None, modseq: ModSeq(0) };
            });
        }
    }
}

/// Tails a partition until nobody listens, or the feed is gone.
async fn run(shared: Weak<Shared>, tail: Arc<Tail>) {
    let Some((gauge, rechecks)) =
        shared.upgrade().map(|s| (s.telemetry.tails.clone(), s.telemetry.rechecks.clone()))
    else {
        return;
    };
    let _ending = Ending { gauge, shared: shared.clone(), tail: tail.clone() };
    let mut cursor: Option<Cursor> = None;
    let mut failures = 0;
    let mut lost = 0;
    let mut silent = false;
    loop {
        let result = {
            let Some(shared) = shared.upgrade() else { return };
            read(&shared, &tail, &mut cursor).await
        };
        match result {
            Ok((watch, entries)) => {
                if silent && entries > 0 {
                    rechecks.increment(1);
                }
                if failures > 0 {
                    failures = 0;
                    tail.tell_all();
                }
                tail.position.send_replace(Position::Known);
                let recheck = {
                    let Some(shared) = shared.upgrade() else { return };
                    shared.options.recheck
                };
                silent = match tokio::time::timeout(recheck, watch).await {
                    Ok(Ok(())) => {
                        lost = 0;
                        false
                    }
                    // The watch ended with an error: what it may have seen is found by reading. An engine that has
                    // no room for watches is not asked ever faster.
                    Ok(Err(_)) => {
                        tokio::time::sleep(pause(lost)).await;
                        lost += 1;
                        false
                    }
                    Err(_) => {
                        lost = 0;
                        true
                    }
                };
                if silent {
                    let Some(shared) = shared.upgrade() else { return };
                    if ends(&shared, &tail) {
                        return;
                    }
                }
            }
            Err(error) => {
                failures += 1;
                if let Some(shared) = shared.upgrade() {
                    shared.telemetry.failures.increment(1);
                    if ends(&shared, &tail) {
                        return;
                    }
                }
                if failures == POSITION_FAILURES_MAX {
                    tracing::warn!(partition = tail.partition.0, %error, "the log of a partition cannot be read");
                    tail.position.send_if_modified(|position| {
                        let open = !matches!(position, Position::Known);
                        if open {
                            *position = Position::Failed(error.clone());
                        }
                        open
                    });
                }
                tokio::time::sleep(pause(failures)).await;
            }
        }
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    (PAUSE_MIN * 2u32.pow(failures.min(10))).min(PAUSE_MAX)
}

/// However a tail ends, also by a panic: it leaves its slot, and its listeners see that the feed has ended for them.
struct Ending {
    gauge: metrics::Gauge,
    shared: Weak<Shared>,
    tail: Arc<Tail>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
        if let Some(shared) = self.shared.upgrade() {
            let mut slot = shared.slot(self.tail.partition).lock();
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.tail)) {
                *slot = None;
            }
        }
        self.tail.listeners.lock().senders.clear();
    }
}

/// Whether nobody listens any more; then the tail is taken out of its slot, so that the next one starts anew.
fn ends(shared: &Shared, tail: &Arc<Tail>) -> bool {
    let mut slot = shared.slot(tail.partition).lock();
    let mut listeners = tail.listeners.lock();
    listeners.prune();
    let nobody = listeners.senders.is_empty();
    if nobody && slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, tail)) {
        *slot = None;
    }
    nobody
}

/// Reads the log from the cursor to its end, tells who listens, and sets a watch for what comes after. Without a
/// cursor it takes the end of the log for one.
async fn read(shared: &Shared, tail: &Tail, cursor: &mut Option<Cursor>) -> Result<(Watch, usize), Error> {
    let head = shared.keys.feed_head(tail.partition);
    let mut entries = 0;
    loop {
        let mut trx =
            shared.engine.begin(TransactionOptions { tag: Some("feed"), ..TransactionOptions::default() });
        let Some(from) = *cursor else {
            let stamp = trx.get(&head, ReadMode::Snapshot).await?;
            let watch = trx.watch(&head).await?;
            trx.commit().await?;
            *cursor = Some(stamp.and_then(|stamp| stamp.as_ref().try_into().ok().map(Versionstamp)));
            return Ok((watch, 0));
        };
        let range = shared.keys.feed_log_after(tail.partition, from);
        let request = RangeRequest::new(range.begin, range.end).limit(ENTRIES_MAX);
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        let watch = if page.more { None } else { Some(trx.watch(&head).await?) };
        trx.commit().await?;
        entries += page.pairs.len();
        for pair in &page.pairs {
            deliver(shared, tail, &pair.key, &pair.value);
        }
        if let Some(last) = page.pairs.last() {
            // All entries of a commit share its stamp, and a page may end between them: those are told again.
            let at_end = !page.more;
            *cursor = Some(step(shared, from, &last.key, at_end));
        }
        if let Some(watch) = watch {
            return Ok((watch, entries));
        }
    }
}

/// The position after a page that ends with `last`.
fn step(shared: &Shared, from: Cursor, last: &Bytes, at_end: bool) -> Cursor {
    let Some(stamp) = shared.keys.feed_stamp_of(last) else { return from };
    if at_end {
        return Some(stamp);
    }
    // Just before the last commit of the page, unless the page has no other.
    let before = Versionstamp(
        (u128::from_be_bytes(widen(stamp.0)) - 1).to_be_bytes()[6..].try_into().unwrap_or(stamp.0),
    );
    if from.is_some_and(|from| before <= from) { Some(stamp) } else { Some(before) }
}

fn widen(stamp: [u8; 10]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[6..].copy_from_slice(&stamp);
    wide
}

fn deliver(shared: &Shared, tail: &Tail, key: &[u8], value: &[u8]) {
    shared.telemetry.entries.increment(1);
    match FeedEntry::decode(value) {
        Some(entry) => {
            let lag = shared.options.environment.now_millis().saturating_sub(entry.at_millis).max(0);
            shared.telemetry.lag_seconds.record(lag as f64 / 1_000.0);
            tail.tell(shared, &entry);
        }
        None => {
            // It cannot be told whom it concerns.
            tracing::error!(key = %key.escape_ascii(), "an entry of the log cannot be read");
            tail.tell_all();
        }
    }
}
