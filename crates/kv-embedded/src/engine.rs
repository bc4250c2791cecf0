//! The engine: opening a directory, beginning transactions, stopping.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use kv::{Engine, Error, ErrorKind, Transaction, TransactionOptions};
use parking_lot::Mutex;

use crate::directory::Directory;
use crate::pipeline::Pipeline;
use crate::shared::{Published, Shared};
use crate::storage::Storage;
use crate::transaction::EmbeddedTransaction;
use crate::{OpenError, Options};

/// An engine over one directory. All that hold it share one pipeline; dropping the last one stops it cleanly.
pub struct EmbeddedEngine {
    shared: Arc<Shared>,
    pipeline: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedEngine {
    /// Whether `directory` holds a store, for tools that must not begin one by mistake. Looks only, locks nothing.
    pub fn is_in(directory: impl AsRef<Path>) -> bool {
        Directory::is_in(directory.as_ref())
    }

    /// Opens the engine in `directory`, which is created if it does not exist. Replays what a process that was
    /// killed left in the journal; blocks until that is done.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another process has the directory open, [`OpenError::Format`] when another
    /// version wrote it, and whatever the file system says.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::lock(directory.as_ref())?;
        if !directory.check_format()? {
            directory.create_store(|path| {
                let storage = Storage::open_in(path, &options, directory.path())?;
                storage
                    .persist_all()
                    .map_err(|error| OpenError::Store { directory: path.to_owned(), source: error.into() })
            })?;
        }
        let storage = Storage::open_in(&directory.store(), &options, directory.path())?;
        let version = storage.version().map_err(|error| OpenError::Store {
            directory: directory.path().to_owned(),
            source: error.into(),
        })?;
        tracing::info!(directory = %directory.path().display(), version, "embedded engine open");
        let published = Arc::new(Published { version, snapshot: storage.snapshot() });
        let shared = Shared::new(published.clone());
        let path = directory.path().to_owned();
        let pipeline = Pipeline::new(shared.clone(), storage, directory, options, published);
        let thread = std::thread::Builder::new()
            .name("kv-commit".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    if catch_unwind(AssertUnwindSafe(|| pipeline.run())).is_err() {
                        shared.fail("the commit thread panicked");
                    }
                }
            })
            .map_err(OpenError::io("start the commit thread for", &path))?;
        Ok(Arc::new(Self { shared, pipeline: Mutex::new(Some(thread)) }))
    }

    /// Stops the engine: commits that wait are served, later calls fail with [`ErrorKind::Unavailable`], watches
    /// end. Returns when all is on the disk; the directory is free once the last open transaction is dropped.
    /// Blocks for about the time of a commit.
    pub fn close(&self) {
        let closed = Error::new(ErrorKind::Unavailable, "the engine is closed");
        self.shared.close_queue(closed.clone());
        if let Some(thread) = self.pipeline.lock().take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
        self.shared.publish(Err(closed));
        self.shared.watches.close();
    }

    /// Resolves, with the reason, once the engine has failed for good: its store refused a write or a sync, and
    /// what it holds in memory can no longer be trusted to be on the disk. All calls fail from then on; the
    /// process should exit and open the directory again. Never resolves otherwise.
    pub async fn fatal(&self) -> String {
        self.shared.fatal().await
    }
}

impl Engine for EmbeddedEngine {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(EmbeddedTransaction::new(self.shared.clone(), options))
    }

    fn name(&self) -> &'static str {
        "embedded"
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv::ReadMode;

    use super::*;

    #[tokio::test]
    async fn a_failed_engine_says_so_and_refuses_everything() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { free_bytes_min: 0, ..Options::default() };
        let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
        let begin = || engine.begin(TransactionOptions::default());
        let mut watcher = begin();
        let watch = watcher.watch(b"k").await.unwrap();
        watcher.commit().await.unwrap();
        let mut open = begin();
        open.get(b"k", ReadMode::Serializable).await.unwrap();
        open.set(b"k", b"1");
        assert!(tokio::time::timeout(Duration::from_millis(20), engine.fatal()).await.is_err());

        engine.shared.fail("a test");

        assert_eq!(engine.fatal().await, "a test");
        assert_eq!(open.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(begin().read_version().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(watch.await.unwrap_err().kind(), ErrorKind::Unavailable);
        let mut blind = begin();
        blind.set(b"k", b"1");
        assert_eq!(blind.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
        engine.close();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn closing_serves_the_commits_that_wait() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { free_bytes_min: 0, ..Options::default() };
        let engine = EmbeddedEngine::open(directory.path(), options.clone()).unwrap();
        let mut commits = Vec::new();
        for number in 0..200u8 {
            let mut trx = engine.begin(TransactionOptions::default());
            trx.set(&[number], b"1");
            commits.push(tokio::spawn(trx.commit()));
        }
        // Each is queued by its first poll.
        while commits.iter().any(|commit| !commit.is_finished()) && engine.shared.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        engine.close();
        let mut answered = Vec::new();
        for (number, commit) in commits.into_iter().enumerate() {
            match commit.await.unwrap() {
                Ok(_) => answered.push(number as u8),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "came too late, and is told so");
                }
            }
        }
        drop(engine);
        let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
        let mut trx = engine.begin(TransactionOptions::default());
        for number in 0..200u8 {
            let found = trx.get(&[number], ReadMode::Snapshot).await.unwrap().is_some();
            assert_eq!(found, answered.contains(&number), "{number}");
        }
    }
}
