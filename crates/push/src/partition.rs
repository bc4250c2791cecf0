//! One partition: its log is read, each account's changes are told in order, and the cursor follows.
//!
//! Entries that were read stand in a window. Those of one account go to one job at a time, so they are told in order;
//! jobs of different accounts run side by side, so that one account at which the enabler fails does not keep the others.
//! The cursor goes to the first entry that is not dealt with, and is written before more work is waited for. What
//! was told beyond the cursor is told again after a restart: at least once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use feed::log::{self, Logged, Position};
use futures::StreamExt as _;
use model::{AccountId, Partition};
use store::records::FeedEntry;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::deliver::{self, Stopped};
use crate::limits::{
    ACCOUNTS_PAGE, PAGE_ENTRIES, RECHECK, RESYNC_AT_ONCE, STORE_PAUSE_MAX, WINDOW_ENTRIES_MAX,
};
use crate::resolve;

/// An entry that was read.
struct Mark {
    position: Position,
    at_millis: i64,
    done: bool,
}

/// An entry that waits for its turn. Its place in memory is given back when it is done.
struct Waiting {
    number: u64,
    entry: FeedEntry,
    room: OwnedSemaphorePermit,
}

/// What waits for one account.
#[derive(Default)]
struct Queue {
    /// A job of the account is under way.
    running: bool,
    waiting: Vec<Waiting>,
}

/// Entries that were read and are not behind the cursor.
#[derive(Default)]
struct Window {
    marks: VecDeque<Mark>,
    /// The number of the first mark.
    first: u64,
    queues: HashMap<AccountId, Queue>,
}

/// A place in the log, with what is to be told there.
type Step = (Position, Option<(FeedEntry, OwnedSemaphorePermit)>);
type Reading = Pin<Box<dyn Future<Output = Result<Vec<Step>, Stopped>> + Send>>;
type Jobs = JoinSet<(AccountId, Vec<u64>, Result<(), Stopped>)>;

impl Window {
    /// Takes in what was read. Accounts that have something to be told.
    fn take(&mut self, steps: Vec<Step>) -> Vec<AccountId> {
        let mut accounts = Vec::new();
        for (position, told) in steps {
            let number = self.first + self.marks.len() as u64;
            let at_millis = told.as_ref().map_or(i64::MAX, |(entry, _)| entry.at_millis);
            self.marks.push_back(Mark { position, at_millis, done: told.is_none() });
            if let Some((entry, room)) = told {
                accounts.push(entry.account);
                let queue = self.queues.entry(entry.account).or_default();
                queue.waiting.push(Waiting { number, entry, room });
            }
        }
        accounts
    }

    /// All that waits for an account of which no job is under way.
    fn next(&mut self, account: AccountId) -> Option<Vec<Waiting>> {
        let queue = self.queues.get_mut(&account).filter(|queue| !queue.running)?;
        let waiting = std::mem::take(&mut queue.waiting);
        if waiting.is_empty() {
            self.queues.remove(&account);
            return None;
        }
        queue.running = true;
        Some(waiting)
    }

    /// A job has ended; what it told counts as done.
    fn end(&mut self, account: AccountId, numbers: &[u64]) {
        for number in numbers {
            if let Some(mark) = self.marks.get_mut((number - self.first) as usize) {
                mark.done = true;
            }
        }
        if let Some(queue) = self.queues.get_mut(&account) {
            queue.running = false;
        }
    }

    /// Takes off what is dealt with; where the cursor goes then.
    fn advance(&mut self) -> Option<Position> {
        let mut to = None;
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.done) {
            self.first += 1;
            to = Some(mark.position);
        }
        to
    }

    fn has_room(&self) -> bool {
        self.marks.len() + PAGE_ENTRIES <= WINDOW_ENTRIES_MAX
    }
}

/// Tells of a partition's changes until `end`, or until the process stops.
pub(crate) async fn run(shared: Arc<Shared>, partition: Partition, end: CancellationToken) {
    let _ = tell(&shared, partition, &end).await;
    shared.backlog[usize::from(partition.0)].set(i64::MAX, 0);
}

async fn tell(shared: &Arc<Shared>, partition: Partition, end: &CancellationToken) -> Result<(), Stopped> {
    let look = || async { shared.database.cursor(partition).await.map_err(|error| error.to_string()) };
    let mut read_to = shared.until_it_works("reading of a cursor", look).await?;
    let mut window = Window::default();
    let mut jobs = Jobs::new();
    let mut reading: Option<Reading> = None;
    loop {
        let ends = end.is_cancelled();
        if ends && jobs.is_empty() {
            return Ok(());
        }
        if !ends && reading.is_none() && window.has_room() {
            reading = Some(Box::pin(read(shared.clone(), partition, read_to)));
        }
        let mut ready = Vec::new();
        tokio::select! {
            done = jobs.join_next(), if !jobs.is_empty() => match done {
                Some(Ok((account, numbers, Ok(())))) => {
                    window.end(account, &numbers);
                    ready.push(account);
                }
                // The process ends: what was to be told stays before the cursor.
                Some(Ok((_, _, Err(Stopped)))) | None => {}
                Some(Err(failure)) => {
                    // Nothing of it may count as done. The partition is begun anew, at its cursor.
                    tracing::error!(partition = partition.0, %failure, "telling of a partition's changes failed");
                    return Ok(());
                }
            },
            steps = next(&mut reading) => {
                reading = None;
                let steps = steps?;
                if let Some((position, _)) = steps.last() {
                    read_to = *position;
                }
                ready = window.take(steps);
            }
            () = end.cancelled(), if !ends => reading = None,
        }
        if !end.is_cancelled() {
            for account in ready {
                if let Some(waiting) = window.next(account) {
                    jobs.spawn(job(shared.clone(), partition, account, waiting));
                }
            }
        }
        let advanced = window.advance();
        let oldest = window.marks.front().map_or(i64::MAX, |mark| mark.at_millis);
        shared.backlog[usize::from(partition.0)].set(oldest, window.marks.len());
        if let Some(to) = advanced {
            write_cursor(shared, partition, to).await;
        }
    }
}

async fn next(reading: &mut Option<Reading>) -> Result<Vec<Step>, Stopped> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Tells what waited for an account.
async fn job(
    shared: Arc<Shared>,
    partition: Partition,
    account: AccountId,
    waiting: Vec<Waiting>,
) -> (AccountId, Vec<u64>, Result<(), Stopped>) {
    let (mut numbers, mut entries, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
    for Waiting { number, entry, room } in waiting {
        numbers.push(number);
        entries.push(entry);
        rooms.push(room);
    }
    let told = deliver::entries(&shared, partition, account, &entries).await;
    (account, numbers, told)
}

/// Writes where the cursor is now. Also when the process ends, but then once: what is lost is told again.
async fn write_cursor(shared: &Arc<Shared>, partition: Partition, to: Position) {
    let write = || async { shared.database.advance(partition, to).await.map_err(|error| error.to_string()) };
    if shared.until_it_works("writing of a cursor", write).await.is_err()
        && let Err(error) = write().await
    {
        tracing::warn!(
            partition = partition.0,
            error,
            "a cursor was not written: its last notices are sent again"
        );
    }
}

/// The next entries after `after`; waits for them. Empty only with a place to go on from.
async fn read(shared: Arc<Shared>, partition: Partition, after: Position) -> Result<Vec<Step>, Stopped> {
    let (engine, keys) = (shared.database.engine.as_ref(), &shared.database.keys);
    loop {
        let rooms = shared.room.clone().acquire_many_owned(PAGE_ENTRIES as u32);
        // The semaphore is never closed.
        let Ok(mut rooms) = shared.stoppable(rooms).await? else { return Err(Stopped) };
        let look = || async {
            let page = log::read_after(engine, keys, partition, Some(after), PAGE_ENTRIES).await;
            let page = page.map_err(|error| error.to_string())?;
            // After the page: what was cleared since then was read.
            let gap = shared.database.gap(partition, after).await.map_err(|error| error.to_string())?;
            Ok((page, gap))
        };
        let (page, gap) = shared.until_it_works("reading of a log", look).await?;
        if let Some(cleared) = gap {
            drop(rooms);
            resync(&shared, partition).await?;
            return Ok(vec![(cleared, None)]);
        }
        if !page.entries.is_empty() {
            let step = |Logged { position, entry }| {
                if entry.is_none() {
                    tracing::error!(
                        partition = partition.0,
                        "an entry of the log cannot be read: it is told to nobody"
                    );
                }
                let told = entry.filter(resolve::concerns_anybody);
                (position, told.and_then(|entry| Some((entry, rooms.split(1)?))))
            };
            return Ok(page.entries.into_iter().map(step).collect());
        }
        drop(rooms);
        let look = || async {
            log::watch_after(engine, keys, partition, Some(after)).await.map_err(|error| error.to_string())
        };
        if let Some(watch) = shared.until_it_works("watching of a log", look).await? {
            match shared.stoppable(tokio::time::timeout(RECHECK, watch)).await? {
                // Fired, or silent for long enough.
                Ok(Ok(())) | Err(_) => {}
                // An engine that has no room for watches is not asked ever faster.
                Ok(Err(_)) => shared.stoppable(tokio::time::sleep(STORE_PAUSE_MAX)).await?,
            }
        }
    }
}

/// The log was cleared before it was read: every account of the partition is told to look again. Begun anew where it was
/// cut short.
async fn resync(shared: &Arc<Shared>, partition: Partition) -> Result<(), Stopped> {
    shared.telemetry.gaps.increment(1);
    tracing::warn!(
        partition = partition.0,
        "the log was cleared before its changes were told; the partition's accounts are told to look again"
    );
    let mut after = None;
    loop {
        let look =
            || async { shared.database.accounts(partition, after).await.map_err(|error| error.to_string()) };
        let accounts = shared.until_it_works("reading of accounts", look).await?;
        let mut told = futures::stream::iter(accounts.clone())
            .map(|account| deliver::resync(shared, partition, account))
            .buffer_unordered(RESYNC_AT_ONCE);
        while let Some(told) = told.next().await {
            told?;
        }
        match accounts.last() {
            Some(last) if accounts.len() == ACCOUNTS_PAGE => after = Some(*last),
            _ => return Ok(()),
        }
    }
}
