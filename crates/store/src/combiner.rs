//! Changes of one account that wait for each other's commit are made together, in one transaction.
//!
//! Each account with a change under way has a queue and one task that leads it: it takes what waits, runs it in one
//! transaction, commits, answers, and takes what came meanwhile. Sixteen appenders of one folder so share a
//! transaction and a sync, and never conflict with each other. Accounts share nothing but a shard of the map, held for
//! a few instructions. When a queue is empty it is gone, with its task.
//!
//! That makes it fast, not right: right it is by the engine's conflicts, also with another process writing the same
//! account.
//!
//! Why the task and not the first caller leads: a caller's future may be dropped at any point, and with it the others'
//! changes would be lost or their outcome unknown. One that is dropped before its batch began is left out; after that
//! its change happens, and nobody is told.
//!
//! Why it is safe to run a batch's transaction twice: after a conflict nothing was written. After an unknown commit
//! the ledger says what happened: each batch that writes leaves its random number there. If ours is there, it
//! committed, with the outcomes of that attempt. If it is not, and the newest number that attempt had seen still is,
//! then all batches since are known and ours is not among them: it did not commit, and runs again. If so many others
//! came between that neither is there, nobody can know, and the callers are told so.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use model::{AccountId, Error, ErrorKind, MailboxId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::failure::{Failure, bug, deadline};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, PAGE_BLOCKS_MAX, PAGE_MESSAGES_MAX, QUEUE_BYTES_MAX,
    QUEUE_OPERATIONS_MAX,
};
use crate::retry::Retry;
use crate::shared::Shared;
use crate::work::{Prepared, Work};

/// What an operation will take of a transaction, at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Octets it writes.
    pub(crate) bytes: usize,
    /// Messages it changes.
    pub(crate) messages: usize,
    /// Blocks of rows in which they stand, where they stand far apart: what is written of each is the block.
    pub(crate) blocks: usize,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            messages: self.messages + other.messages,
            blocks: self.blocks + other.blocks,
        }
    }

    fn fits(self) -> bool {
        self.bytes <= BATCH_BYTES_MAX && self.messages <= PAGE_MESSAGES_MAX && self.blocks <= PAGE_BLOCKS_MAX
    }
}

/// A change of one account.
#[async_trait]
pub(crate) trait Mutation: Send + Sync + 'static {
    /// What its caller is told.
    type Outcome: Send + 'static;

    /// What it will take of a transaction.
    fn cost(&self) -> Cost;

    /// Folders whose state it will ask for, so that all are read together.
    fn folders(&self, _shared: &Shared, _account: AccountId, _hints: &mut Vec<MailboxId>) {}

    /// Reads, checks, then changes. With an answer to the caller as its failure it must have changed nothing.
    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Outcome, Failure>;
}

/// A mutation with its caller, whatever the type of its outcome.
#[async_trait]
trait Job: Send {
    fn cost(&self) -> Cost;
    fn folders(&self, shared: &Shared, account: AccountId, hints: &mut Vec<MailboxId>);
    /// Whether nobody waits for it any more, or not long enough. Answers in the latter case.
    fn is_over(&mut self) -> bool;
    /// Runs it behind others of the attempt; `alone` if none of them changed anything. Whether this one did not either.
    async fn run(&mut self, work: &mut Work<'_>, alone: bool) -> Result<bool, Failure>;
    /// Answers with what the last run gave, or with the failure of the whole.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

struct Typed<M: Mutation> {
    mutation: Arc<M>,
    deadline: Option<Instant>,
    outcome: Option<Result<M::Outcome, Error>>,
    /// The outcome follows from what is stored, and from no change that is still to be committed.
    alone: bool,
    caller: Option<oneshot::Sender<Result<M::Outcome, Error>>>,
}

#[async_trait]
impl<M: Mutation> Job for Typed<M> {
    fn cost(&self) -> Cost {
        self.mutation.cost()
    }

    fn folders(&self, shared: &Shared, account: AccountId, hints: &mut Vec<MailboxId>) {
        self.mutation.folders(shared, account, hints);
    }

    fn is_over(&mut self) -> bool {
        if self.caller.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return true;
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            if let Some(caller) = self.caller.take() {
                let _ = caller.send(Err(deadline()));
            }
            return true;
        }
        false
    }

    async fn run(&mut self, work: &mut Work<'_>, alone: bool) -> Result<bool, Failure> {
        let outcome = match self.mutation.run(work).await {
            Ok(outcome) => Ok(outcome),
            Err(Failure::Request(error)) => Err(error),
            Err(failure @ Failure::Engine(_)) => return Err(failure),
        };
        let refused = outcome.is_err();
        (self.outcome, self.alone) = (Some(outcome), alone);
        Ok(refused)
    }

    fn answer(mut self: Box<Self>, failure: Option<&Failure>) {
        let Some(caller) = self.caller.take() else { return };
        let result = match (failure, self.outcome.take()) {
            // What was refused for what is stored was refused, whatever became of the others. What was refused for a change
            // that then did not happen, as of messages that it would have taken away, was not.
            (Some(_), Some(Err(error))) if self.alone => Err(error),
            (Some(failure), _) => Err(failure.clone().into()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(bug("an operation was answered before it ran").into()),
        };
        let _ = caller.send(result);
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    bytes: usize,
}

/// Shards of the map of queues; a power of two.
const SHARDS: usize = 64;

/// The queues of all accounts that have changes under way.
pub(crate) struct Combiner {
    shared: Arc<Shared>,
    shards: Vec<Mutex<HashMap<AccountId, Queue>>>,
}

/// Removes the queue of an account when its leader ends, however it ends: callers then learn that it died.
struct Leadership {
    combiner: Arc<Combiner>,
    account: AccountId,
    /// The queue is gone already, and perhaps another leader has come.
    over: bool,
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let abandoned = self.combiner.shard(self.account).lock().remove(&self.account);
        drop(abandoned);
    }
}

impl Combiner {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, shards: (0..SHARDS).map(|_| Mutex::default()).collect() })
    }

    /// Accounts with changes under way, and operations that wait for their turn.
    pub(crate) fn depth(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(accounts, waiting), shard| {
            let queues = shard.lock();
            (accounts + queues.len(), waiting + queues.values().map(|queue| queue.jobs.len()).sum::<usize>())
        })
    }

    fn shard(&self, account: AccountId) -> &Mutex<HashMap<AccountId, Queue>> {
        &self.shards[(account.0 ^ (account.0 >> 52)) as usize % SHARDS]
    }

    /// Makes a change, together with others of the account that wait. It is durable when this returns `Ok`.
    pub(crate) fn submit<M: Mutation>(
        self: &Arc<Self>,
        account: AccountId,
        deadline_at: Option<Instant>,
        mutation: Arc<M>,
    ) -> impl Future<Output = Result<M::Outcome, Error>> + Send + use<M> {
        let (caller, answer) = oneshot::channel();
        let job =
            Typed { mutation, deadline: deadline_at, outcome: None, alone: false, caller: Some(caller) };
        let admitted = self.enqueue(account, Box::new(job));
        async move {
            admitted?;
            let answered = match deadline_at {
                None => answer.await,
                Some(at) => tokio::time::timeout_at(at.into(), answer).await.map_err(|_| deadline())?,
            };
            answered.unwrap_or_else(|_| Err(bug("a batch ended without an answer").into()))
        }
    }

    fn enqueue(self: &Arc<Self>, account: AccountId, job: Box<dyn Job>) -> Result<(), Error> {
        let bytes = job.cost().bytes;
        let mut queues = self.shard(account).lock();
        match queues.entry(account) {
            Entry::Occupied(mut entry) => {
                let queue = entry.get_mut();
                if queue.jobs.len() >= QUEUE_OPERATIONS_MAX || queue.bytes + bytes > QUEUE_BYTES_MAX {
                    return Err(Error::new(ErrorKind::Contended, "too many changes wait; try again"));
                }
                queue.bytes += bytes;
                queue.jobs.push_back(job);
            }
            Entry::Vacant(entry) => {
                entry.insert(Queue { jobs: VecDeque::from([job]), bytes });
                drop(queues);
                tokio::spawn(self.clone().lead(account));
            }
        }
        Ok(())
    }

    async fn lead(self: Arc<Self>, account: AccountId) {
        let mut leadership = Leadership { combiner: self.clone(), account, over: false };
        while let Some(jobs) = self.take(account) {
            self.execute(account, jobs).await;
        }
        leadership.over = true;
    }

    /// The next batch; none, and no queue any more, when nothing waits.
    fn take(&self, account: AccountId) -> Option<Vec<Box<dyn Job>>> {
        let mut queues = self.shard(account).lock();
        let queue = queues.get_mut(&account)?;
        let mut batch = Vec::new();
        let mut total = Cost::default();
        while let Some(job) = queue.jobs.front_mut() {
            let cost = job.cost();
            if job.is_over() {
                queue.bytes -= cost.bytes;
                queue.jobs.pop_front();
                continue;
            }
            let more = total.and(cost);
            if !batch.is_empty() && (batch.len() >= BATCH_OPERATIONS_MAX || !more.fits()) {
                break;
            }
            total = more;
            queue.bytes -= cost.bytes;
            batch.extend(queue.jobs.pop_front());
        }
        if batch.is_empty() {
            queues.remove(&account);
            return None;
        }
        Some(batch)
    }

    async fn execute(&self, account: AccountId, mut jobs: Vec<Box<dyn Job>>) {
        self.shared.telemetry.batch_operations.record(jobs.len() as f64);
        match self.commit(account, &mut jobs).await {
            Ok(()) => jobs.into_iter().for_each(|job| job.answer(None)),
            Err(Failure::Engine(error)) if error.kind() == kv::ErrorKind::TooLarge && jobs.len() > 1 => {
                // Together they were too much; alone each may fit, and one that does not fails alone.
                for job in jobs {
                    let mut alone = vec![job];
                    let failure = self.commit(account, &mut alone).await.err();
                    for job in alone {
                        job.answer(failure.as_ref());
                    }
                }
            }
            Err(failure) => jobs.into_iter().for_each(|job| job.answer(Some(&failure))),
        }
    }

    /// Runs the jobs in one transaction until it commits or cannot.
    async fn commit(&self, account: AccountId, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let batch = self.shared.environment().random();
        let mut hints = Vec::new();
        for job in jobs.iter() {
            job.folders(&self.shared, account, &mut hints);
        }
        hints.sort_unstable();
        hints.dedup();
        let mut retry = Retry::idempotent(None);
        let prepared = Prepared::default();
        // The newest batch that an attempt of unknown outcome had seen.
        let mut witness: Option<Option<u64>> = None;
        loop {
            let mut trx = self
                .shared
                .engine
                .begin(kv::TransactionOptions { priority: kv::Priority::Default, tag: Some("change") });
            let attempt = async {
                let mut work = Work::open(&self.shared, trx.as_mut(), account, &hints, &prepared).await?;
                if retry.maybe_committed() {
                    let known = &work.ledger.batches;
                    if known.contains(&batch) {
                        return Ok(None);
                    }
                    let nothing_missed = match witness.flatten() {
                        Some(seen) => known.contains(&seen),
                        None => known.len() < crate::records::BATCHES_REMEMBERED,
                    };
                    if !nothing_missed {
                        return Err(Failure::Request(Error::new(
                            ErrorKind::CommitUnknown,
                            "the change may or may not have happened",
                        )));
                    }
                }
                let seen = work.ledger.batches.last().copied();
                let mut alone = true;
                for job in jobs.iter_mut() {
                    alone &= job.run(&mut work, alone).await?;
                }
                Ok(Some((work.finish(batch), seen)))
            };
            let failure = match attempt.await {
                Ok(None) => {
                    // Committed before. The caches learn nothing: what they hold is checked when used.
                    self.shared.sweep.notify_one();
                    return Ok(());
                }
                Ok(Some((learned, _))) if !learned.wrote => return Ok(()),
                Ok(Some((learned, seen))) => match trx.commit().await {
                    Ok(_) => {
                        learned.apply(&self.shared, account);
                        return Ok(());
                    }
                    Err(error) => {
                        match error.kind() {
                            kv::ErrorKind::Conflict => self.shared.telemetry.conflicts.increment(1),
                            kv::ErrorKind::CommitUnknown => {
                                self.shared.telemetry.unknown_commits.increment(1);
                                witness = Some(seen);
                            }
                            _ => {}
                        }
                        error.into()
                    }
                },
                Err(failure) => failure,
            };
            retry.again(failure).await?;
            if let Err(failure) = prepared.fetch(&self.shared, account).await {
                return Err(retry.last(failure));
            }
        }
    }
}
