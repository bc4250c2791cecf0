//! The commit pipeline: one thread that orders, resolves, writes, syncs and publishes all commits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kv::writes::{self, Write};
use kv::{Committed, Error, ErrorKind, Versionstamp};

use crate::directory::Directory;
use crate::resolver::{Refusal, Window};
use crate::rhythm::Rhythm;
use crate::shared::{Published, Request, Shared};
use crate::storage::{ApplyError, Snapshot, Storage};
use crate::watches::Unarmed;
use crate::{Options, limits};

/// The thread's state.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    storage: Storage,
    directory: Directory,
    options: Options,
    window: Window,
    /// Version of the last commit.
    version: u64,
    /// Published states that may still be held, oldest first.
    held: VecDeque<(u64, Weak<Published>)>,
    current: Arc<Published>,
    /// Commits are refused for want of room.
    full: bool,
    /// The store ran into a full disk and takes no writes before it is opened again.
    broken: bool,
}

/// How often a broken store looks for room while no commit comes.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);
/// Room that a broken store wants before it is opened again, bytes, however low the configured floor.
const REOPEN_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// What a batch writes: the last write of each key.
type Overlay = BTreeMap<Bytes, Option<Bytes>>;

/// A commit that passed the resolver.
struct Accepted {
    committed: Committed,
    queued: Instant,
    watches: Vec<Unarmed>,
    answer: tokio::sync::oneshot::Sender<Result<Committed, Error>>,
}

impl Pipeline {
    pub(crate) fn new(
        shared: Arc<Shared>,
        storage: Storage,
        directory: Directory,
        options: Options,
        current: Arc<Published>,
    ) -> Self {
        let version = current.version;
        Self {
            shared,
            storage,
            directory,
            options,
            window: Window::new(version),
            version,
            held: VecDeque::from([(version, Arc::downgrade(&current))]),
            current,
            full: false,
            broken: false,
        }
    }

    /// Serves commits until the queue is closed and empty, or the store fails.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        let mut rhythm = Rhythm::default();
        while self.shared.take_batch(&mut batch, self.broken.then_some(LOOK_FOR_ROOM)) {
            let room = self.has_room();
            if !room || self.broken {
                for request in batch.drain(..) {
                    self.shared.telemetry.storage_full.increment(1);
                    let _ = request.answer.send(Err(storage_full()));
                }
            }
            if self.broken && room {
                self = match self.reopen() {
                    Ok(pipeline) => pipeline,
                    Err((shared, detail)) => {
                        shared.fail(&detail);
                        return;
                    }
                };
            }
            if batch.is_empty() {
                continue;
            }
            let started = Instant::now();
            let commits = batch.len();
            let served = self.serve(&mut batch);
            if served.is_ok() {
                rhythm.gather(&self.shared, commits, started.elapsed());
            }
            if let Err(failure) = served {
                if !failure.storage_full && !self.is_short_of_room() {
                    self.shared.fail(&failure.detail);
                    return;
                }
                tracing::error!(
                    directory = %self.directory.path().display(),
                    detail = failure.detail,
                    "disk full: the store stopped; reads go on, and it is opened again when there is room"
                );
                self.broken = true;
                self.full = true;
            }
        }
        if self.broken {
            return;
        }
        if let Err(error) = self.storage.persist_all() {
            tracing::error!(%error, "the last sync at shutdown failed; what was answered before it is safe");
        }
    }

    /// Bytes that must be free for commits to be taken.
    fn room_wanted(&self) -> u64 {
        if self.broken {
            self.options.free_bytes_min.max(REOPEN_BYTES_MIN)
        } else {
            self.options.free_bytes_min
        }
    }

    /// Whether a failure without a reason of its own (the store's workers only leave a mark) is one of room.
    fn is_short_of_room(&self) -> bool {
        let wanted = self.options.free_bytes_min.max(REOPEN_BYTES_MIN);
        fs4::available_space(self.directory.path()).is_ok_and(|free| free < wanted)
    }

    /// Whether the file system has room for more commits; logs when that changes.
    fn has_room(&mut self) -> bool {
        let wanted = self.room_wanted();
        // Not to know is no reason to stop: a full disk shows itself at the write.
        let full = fs4::available_space(self.directory.path()).is_ok_and(|free| free < wanted);
        if full != self.full {
            self.full = full;
            let directory = self.directory.path().display();
            if full {
                tracing::error!(%directory, free_bytes_min = wanted, "disk full: commits are refused, reads go on");
            } else {
                tracing::info!(%directory, free_bytes_min = wanted, "there is room on the disk again");
            }
        }
        !full
    }

    /// Opens the store again after a full disk stopped it. What was answered is in its journal; what was not
    /// may be, and becomes visible now if it is.
    ///
    /// The old store must be gone first: transactions that still read from it are waited for as long as they
    /// may live, and new ones are refused meanwhile.
    fn reopen(self) -> Result<Self, (Arc<Shared>, String)> {
        let Self { shared, storage, directory, options, held, current, .. } = self;
        shared.publish(Err(Error::new(ErrorKind::Unavailable, "the store is being opened again")));
        drop((storage, current));
        let deadline = Instant::now() + Duration::from_millis(limits::WINDOW_MS_MAX);
        while held.iter().any(|(_, state)| state.strong_count() > 0) {
            // Commits that wait hold what they read from, too.
            shared.refuse_waiting(&storage_full());
            if Instant::now() > deadline {
                return Err((
                    shared,
                    "a transaction outlived its time while the store had to be reopened".to_owned(),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let opened = Storage::open(&directory.store(), &options).and_then(|storage| {
            let version = storage.version()?;
            Ok((storage, version))
        });
        let (storage, version) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err((shared, format!("the store cannot be opened again: {error}"))),
        };
        let published = Arc::new(Published { version, snapshot: storage.snapshot() });
        tracing::info!(directory = %directory.path().display(), version, "the store is open again");
        shared.publish(Ok(published.clone()));
        Ok(Self::new(shared, storage, directory, options, published))
    }

    /// Takes one batch from the resolver to the answers.
    fn serve(&mut self, batch: &mut Vec<Request>) -> Result<(), ApplyError> {
        let mut overlay = Overlay::new();
        let mut accepted = Vec::with_capacity(batch.len());
        for request in batch.drain(..) {
            let reads_from = request.base.as_ref().map_or(self.version, |base| base.version);
            if let Err(refusal) = self.window.check(reads_from, &request.reads, &overlay) {
                self.refuse(request, refusal);
                continue;
            }
            match self.keys_in(request.writes.cleared())? {
                Some(removed) => accepted.push(self.accept(request, removed, &mut overlay)?),
                None => {
                    let _ = request
                        .answer
                        .send(Err(Error::new(ErrorKind::TooLarge, "a range clear removes too much")));
                }
            }
        }
        if accepted.is_empty() {
            return Ok(());
        }

        let started = Instant::now();
        let keys: Vec<Bytes> = overlay.keys().cloned().collect();
        let writes = overlay.iter().map(|(key, value)| (key.clone(), value.clone()));
        if let Err(error) = self.storage.apply(self.version, writes) {
            let unknown = Error::new(ErrorKind::CommitUnknown, format!("the write failed: {}", error.detail));
            for commit in accepted {
                let _ = commit.answer.send(Err(unknown.clone()));
            }
            return Err(error);
        }
        let now = Instant::now();
        self.window.end_batch(self.version, keys, now);
        self.publish(self.storage.snapshot());
        let oldest = self.oldest_held();
        self.window.trim(oldest, now);

        let telemetry = &self.shared.telemetry;
        telemetry.sync_seconds.record(now.duration_since(started).as_secs_f64());
        telemetry.batch_commits.record(accepted.len() as f64);
        telemetry.window_bytes.set(self.window.bytes() as f64);
        telemetry.watches.set(self.shared.watches.outstanding() as f64);

        self.shared.watches.announce(overlay.iter().map(|(key, value)| (key, value.as_ref())));
        for commit in accepted {
            telemetry.commit_seconds.record(commit.queued.elapsed().as_secs_f64());
            for watch in commit.watches {
                self.shared.watches.arm(watch, |key| self.current_hash(key));
            }
            let _ = commit.answer.send(Ok(commit.committed));
        }
        Ok(())
    }

    fn refuse(&self, request: Request, refusal: Refusal) {
        let telemetry = &self.shared.telemetry;
        let error = match refusal {
            Refusal::Conflict => {
                telemetry.conflicts.increment(1);
                Error::new(ErrorKind::Conflict, "another transaction wrote what this one read")
            }
            Refusal::TooOld => {
                telemetry.too_old.increment(1);
                Error::new(ErrorKind::TooOld, "the writes since the read version are no longer known")
            }
        };
        let _ = request.answer.send(Err(error));
    }

    /// The stored keys of some ranges; none if there are more than may be removed at once.
    fn keys_in(&self, ranges: &BTreeMap<Bytes, Bytes>) -> Result<Option<Vec<Bytes>>, ApplyError> {
        let mut keys = Vec::new();
        for (begin, end) in ranges {
            let mut scan = self.current.snapshot.scan(begin, end, false);
            while let Some(key) = scan.next_key().map_err(read_failed)? {
                if keys.len() >= self.options.cleared_keys_max {
                    return Ok(None);
                }
                keys.push(key);
            }
        }
        Ok(Some(keys))
    }

    /// Gives a commit its version, and adds its writes to the batch and to the window. `removed` are the stored
    /// keys that its range clears cover.
    fn accept(
        &mut self,
        request: Request,
        removed: Vec<Bytes>,
        overlay: &mut Overlay,
    ) -> Result<Accepted, ApplyError> {
        self.version += 1;
        let version = self.version;
        let stamp = stamp(version);
        let (points, cleared, stamped) = request.writes.into_parts();

        for (begin, end) in cleared {
            for (_, value) in overlay.range_mut(begin.clone()..end.clone()) {
                *value = None;
            }
            self.window.wrote_range(begin, end, version);
        }
        overlay.extend(removed.into_iter().map(|key| (key, None)));
        for (key, write) in points {
            let value = match write {
                Write::Set(value) => Some(value),
                Write::Clear => None,
                Write::Stamped(prefix) => Some(stamped_value(&prefix, stamp)),
                Write::Atomic(ops) => {
                    let base = match overlay.get(&key) {
                        Some(value) => value.clone(),
                        None => self.current.snapshot.get(&key).map_err(read_failed)?,
                    };
                    writes::fold(base, &ops)
                }
            };
            self.window.wrote(key.clone(), version);
            overlay.insert(key, value);
        }
        for stamped_key in stamped {
            if let Some(key) = stamped_key.key(stamp) {
                self.window.wrote(key.clone(), version);
                overlay.insert(key, Some(stamped_key.value));
            }
        }
        for (begin, end) in request.write_conflicts {
            self.window.wrote_range(begin, end, version);
        }
        let mut watches = request.watches;
        for watch in &mut watches {
            if watch.seen.is_none() {
                let value = overlay.get(&watch.key).and_then(Option::as_deref);
                watch.seen = Some(self.shared.watches.hash(value));
            }
        }
        let committed = Committed { version, versionstamp: Some(stamp) };
        Ok(Accepted { committed, queued: request.queued, watches, answer: request.answer })
    }

    /// Makes the applied batch what transactions read.
    fn publish(&mut self, snapshot: Snapshot) {
        let published = Arc::new(Published { version: self.version, snapshot });
        self.held.push_back((self.version, Arc::downgrade(&published)));
        self.current = published.clone();
        self.shared.publish(Ok(published));
    }

    /// The oldest version that an open transaction reads at. Nobody can begin to hold a state that was
    /// replaced, so what is found unheld stays so.
    fn oldest_held(&mut self) -> u64 {
        while let Some((version, state)) = self.held.front() {
            if state.strong_count() > 0 {
                return *version;
            }
            self.held.pop_front();
        }
        self.version
    }

    fn current_hash(&self, key: &Bytes) -> Option<u64> {
        let value = self.current.snapshot.get(key).ok()?;
        Some(self.shared.watches.hash(value.as_deref()))
    }
}

fn storage_full() -> Error {
    Error::new(ErrorKind::StorageFull, "the disk is full")
}

/// A read that failed while a commit was resolved: the store cannot be trusted any more.
fn read_failed(error: Error) -> ApplyError {
    ApplyError { storage_full: false, detail: error.to_string() }
}

/// The versionstamp of a commit. Each commit has a version of its own, so that its place in a batch is always 0.
fn stamp(version: u64) -> Versionstamp {
    let mut stamp = [0; 10];
    stamp[..8].copy_from_slice(&version.to_be_bytes());
    Versionstamp(stamp)
}

fn stamped_value(prefix: &[u8], stamp: Versionstamp) -> Bytes {
    let mut value = BytesMut::with_capacity(prefix.len() + stamp.0.len());
    value.put_slice(prefix);
    value.put_slice(&stamp.0);
    value.freeze()
}
