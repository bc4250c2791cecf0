//! What transactions and the pipeline share: the published state, the queue of commits, the watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::writes::WriteSet;
use kv::{Committed, Error, ErrorKind};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::limits;
use crate::resolver::ReadSet;
use crate::storage::Snapshot;
use crate::telemetry::Telemetry;
use crate::watches::{Unarmed, Watches};

/// The state as of a commit version, durable, as transactions read it. One value a batch, shared by all who
/// read at its version; that it is still held tells the pipeline how far back the conflict window must reach.
pub(crate) struct Published {
    pub(crate) version: u64,
    pub(crate) snapshot: Snapshot,
}

/// A commit on its way through the pipeline.
pub(crate) struct Request {
    /// What the transaction read from; none if it read nothing.
    pub(crate) base: Option<Arc<Published>>,
    pub(crate) reads: ReadSet,
    pub(crate) writes: WriteSet,
    /// Ranges that count as written.
    pub(crate) write_conflicts: Vec<(Bytes, Bytes)>,
    pub(crate) watches: Vec<Unarmed>,
    /// Bytes written, as the limits count them.
    pub(crate) bytes: usize,
    pub(crate) queued: Instant,
    pub(crate) answer: oneshot::Sender<Result<Committed, Error>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    bytes: usize,
    /// Why no more commits are taken.
    closed: Option<Error>,
    /// How many commits must wait for the pipeline to be woken.
    wake_at: usize,
}

/// Shared by the engine, its transactions and its pipeline.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    published: RwLock<Result<Arc<Published>, Error>>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) telemetry: Telemetry,
    fatal: watch::Sender<Option<String>>,
}

impl Shared {
    pub(crate) fn new(published: Arc<Published>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            published: RwLock::new(Ok(published)),
            watches: Watches::new(),
            telemetry: Telemetry::new(),
            fatal: watch::Sender::new(None),
        })
    }

    /// The newest durable state.
    pub(crate) fn published(&self) -> Result<Arc<Published>, Error> {
        self.published.read().clone()
    }

    /// Makes a new state, or the reason why there is none, what transactions read from now on.
    pub(crate) fn publish(&self, published: Result<Arc<Published>, Error>) {
        *self.published.write() = published;
    }

    /// Queues a commit, or gives the reason why not.
    pub(crate) fn submit(&self, request: Request) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        if let Some(reason) = &queue.closed {
            return Err(reason.clone());
        }
        if queue.waiting.len() >= limits::QUEUE_COMMITS_MAX
            || queue.bytes + request.bytes > limits::QUEUE_BYTES_MAX
        {
            return Err(Error::new(ErrorKind::Unavailable, "too many commits wait"));
        }
        queue.bytes += request.bytes;
        queue.waiting.push_back(request);
        let waiting = queue.waiting.len();
        let wake = waiting >= queue.wake_at;
        drop(queue);
        self.telemetry.queue_commits.set(waiting as f64);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits, at most for `patience`, until `commits` wait. Returns how many came meanwhile.
    pub(crate) fn gather(&self, commits: usize, patience: Duration) -> usize {
        let until = Instant::now() + patience;
        let mut queue = self.queue.lock();
        let before = queue.waiting.len();
        queue.wake_at = commits;
        while queue.waiting.len() < commits && queue.closed.is_none() {
            if self.arrived.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.wake_at = 0;
        queue.waiting.len() - before
    }

    /// How many commits wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Waits for commits, for `patience` if given, and moves the next batch of them to `batch`. `false` once the
    /// queue is closed and empty.
    pub(crate) fn take_batch(&self, batch: &mut Vec<Request>, patience: Option<Duration>) -> bool {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.closed.is_some() {
                return false;
            }
            match patience {
                None => self.arrived.wait(&mut queue),
                Some(patience) => {
                    if self.arrived.wait_for(&mut queue, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        let mut bytes = 0;
        while batch.len() < limits::BATCH_COMMITS_MAX && (batch.is_empty() || bytes < limits::BATCH_BYTES_MAX)
        {
            let Some(request) = queue.waiting.pop_front() else { break };
            bytes += request.bytes;
            batch.push(request);
        }
        queue.bytes -= bytes;
        self.telemetry.queue_commits.set(queue.waiting.len() as f64);
        true
    }

    /// Answers all commits that wait with an error.
    pub(crate) fn refuse_waiting(&self, error: &Error) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.bytes = 0;
            std::mem::take(&mut queue.waiting)
        };
        for request in waiting {
            let _ = request.answer.send(Err(error.clone()));
        }
    }

    /// Takes no more commits; those that wait are still served.
    pub(crate) fn close_queue(&self, reason: Error) {
        let mut queue = self.queue.lock();
        queue.closed.get_or_insert(reason);
        drop(queue);
        self.arrived.notify_all();
    }

    /// Ends everything for good: later calls fail, and whoever waits for [`Shared::fatal`] learns why.
    pub(crate) fn fail(&self, detail: &str) {
        tracing::error!(detail, "the embedded engine failed and must be opened again");
        let error = Error::new(ErrorKind::Unavailable, format!("the engine failed: {detail}"));
        self.close_queue(error.clone());
        self.publish(Err(error.clone()));
        self.refuse_waiting(&error);
        self.watches.close();
        self.fatal.send_replace(Some(detail.to_owned()));
    }

    /// Why the engine failed, once it has.
    pub(crate) async fn fatal(&self) -> String {
        let mut receiver = self.fatal.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }
}
