//! The one file that knows the storage engine: ordered bytes on disk, snapshots, atomic durable batches.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
};
use kv::{Error, ErrorKind};

use crate::{OpenError, Options, Sync};

/// First byte of keys that are the engine's own; user keys sort before.
pub(crate) const SYSTEM: u8 = 0xFF;
/// Where the version of the last commit stands, big-endian.
const VERSION_KEY: &[u8] = b"\xFF/version";
const KEYSPACE: &str = "kv";
/// Tables in memory that may wait for their flush when a batch begins.
const SEALED_MAX: usize = 2;
/// Flushed tables not yet merged that there may be when a batch begins.
const UNMERGED_MAX: usize = 24;
/// Wait between two looks at the above.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// An open store.
#[derive(Clone)]
pub(crate) struct Storage {
    database: Database,
    keyspace: Keyspace,
    persist: PersistMode,
}

/// The store as of one commit version.
#[derive(Clone)]
pub(crate) struct Snapshot {
    inner: fjall::Snapshot,
    keyspace: Keyspace,
}

/// A page iterator over a snapshot.
pub(crate) struct Scan {
    inner: fjall::Iter,
    reverse: bool,
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(crate) struct ApplyError {
    /// Whether the reason is a full disk.
    pub(crate) storage_full: bool,
    /// The reason, for the log.
    pub(crate) detail: String,
}

impl Storage {
    /// Opens or creates the store at `path`.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes_max.max(64 * 1024 * 1024))
            .worker_threads(options.worker_threads.max(1))
            .manual_journal_persist(true)
            .open()?;
        let keyspace = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(options.memtable_bytes)
                .with_kv_separation(
                    options
                        .separate_bytes_min
                        .map(|bytes| KvSeparationOptions::default().separation_threshold(bytes)),
                )
        })?;
        let persist = match options.sync {
            Sync::Always => PersistMode::SyncData,
            Sync::TestsOnlyNever => PersistMode::Buffer,
        };
        Ok(Self { database, keyspace, persist })
    }

    /// [`Storage::open`], with an error that names the directory.
    pub(crate) fn open_in(path: &Path, options: &Options, directory: &Path) -> Result<Self, OpenError> {
        Self::open(path, options).map_err(|error| match error {
            // Another engine of this process that still has an open transaction.
            fjall::Error::Locked => OpenError::Locked { directory: directory.to_owned(), holder: None },
            error => OpenError::Store { directory: directory.to_owned(), source: Box::new(error) },
        })
    }

    /// Makes what was written so far durable.
    pub(crate) fn persist_all(&self) -> Result<(), fjall::Error> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// The version of the last commit; 0 in a new store.
    pub(crate) fn version(&self) -> Result<u64, fjall::Error> {
        let value = self.keyspace.get(VERSION_KEY)?;
        Ok(value.and_then(|v| v.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// All that was applied so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { inner: self.database.snapshot(), keyspace: self.keyspace.clone() }
    }

    /// Applies all of `writes` (a value, or none to remove) and `version`, atomically, and returns once they
    /// are durable. The keys are distinct: the store orders writes by batch, not within one.
    pub(crate) fn apply(
        &self,
        version: u64,
        writes: impl ExactSizeIterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Result<(), ApplyError> {
        self.wait_for_workers()?;
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), writes.len() + 1)
            .durability(Some(self.persist));
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.insert(&self.keyspace, VERSION_KEY, version.to_be_bytes());
        batch.commit().map_err(ApplyError::from)
    }

    /// Holds writes up while flushes or merges lag behind.
    ///
    /// fjall would do so itself, inside the commit, with sleeps of 100 ms, and for ever if the worker that it
    /// waits for has died of a full disk. Below these bounds one batch cannot take it there.
    fn wait_for_workers(&self) -> Result<(), ApplyError> {
        while self.keyspace.sealed_memtable_count() > SEALED_MAX
            || self.keyspace.tree.l0_run_count() > UNMERGED_MAX
        {
            // Fails once a worker has died.
            self.database.persist(PersistMode::Buffer)?;
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl From<fjall::Error> for ApplyError {
    fn from(error: fjall::Error) -> Self {
        Self { storage_full: is_storage_full(&error), detail: error.to_string() }
    }
}

impl Snapshot {
    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.inner.get(&self.keyspace, key).map_err(read_error)?.map(Bytes::from))
    }

    /// The pairs of `[begin, end)`, from either end.
    pub(crate) fn scan(&self, begin: &[u8], end: &[u8], reverse: bool) -> Scan {
        debug_assert!(begin < end);
        Scan { inner: self.inner.range(&self.keyspace, begin..end), reverse }
    }
}

impl Scan {
    /// The next key and value.
    pub(crate) fn next_pair(&mut self) -> Result<Option<(Bytes, Bytes)>, Error> {
        match self.next_guard() {
            None => Ok(None),
            Some(guard) => {
                let (key, value) = guard.into_inner().map_err(read_error)?;
                Ok(Some((key.into(), value.into())))
            }
        }
    }

    /// The next key, without its value.
    pub(crate) fn next_key(&mut self) -> Result<Option<Bytes>, Error> {
        self.next_guard().map(|guard| guard.key().map(Bytes::from).map_err(read_error)).transpose()
    }

    fn next_guard(&mut self) -> Option<fjall::Guard> {
        if self.reverse { self.inner.next_back() } else { self.inner.next() }
    }
}

fn read_error(error: fjall::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("read failed: {error}"))
}

fn is_storage_full(error: &fjall::Error) -> bool {
    let io = match error {
        fjall::Error::Io(io) => io,
        fjall::Error::Storage(fjall::LsmError::Io(io)) => io,
        _ => return false,
    };
    matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
