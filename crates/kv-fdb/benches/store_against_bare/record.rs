//! An engine that writes down what committed transactions read and wrote, to have it done again by the bare client.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use kv::{
    AtomicOp, Committed, ConflictKind, Engine, Error, ErrorKind, RangePage, RangeRequest, ReadMode,
    Transaction, TransactionOptions, Watch,
};

/// One write, as it was asked for.
pub enum Write {
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
    Atomic(AtomicOp, Bytes, Bytes),
    /// Prefix and suffix of the key, and the value.
    StampedKey(Bytes, Bytes, Bytes),
    /// Key, and prefix of the value.
    StampedValue(Bytes, Bytes),
}

/// Reads that were issued together.
#[derive(Default)]
pub struct Group {
    pub keys: Vec<Bytes>,
    pub ranges: Vec<RangeRequest>,
    pub snapshot: bool,
}

/// One transaction that committed.
#[derive(Default)]
pub struct Recorded {
    /// Groups of reads, one after the other.
    pub reads: Vec<Group>,
    pub writes: Vec<Write>,
}

/// What is written down; shared by the engine and its transactions.
#[derive(Default)]
struct Book {
    open: AtomicBool,
    transactions: Mutex<Vec<Recorded>>,
    conflicts: AtomicU64,
    commits: AtomicU64,
}

/// Wraps an engine. Nothing is written down until [`Recorder::start`].
pub struct Recorder {
    inner: Arc<dyn Engine>,
    book: Arc<Book>,
}

/// What was written down.
pub struct Record {
    /// Transactions in the order of their commits.
    pub transactions: Vec<Recorded>,
    /// Commits that wrote and succeeded.
    pub commits: u64,
    /// Attempts that failed because another transaction wrote what they had read.
    pub conflicts: u64,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self { inner, book: Arc::default() })
    }

    /// Writes down from now on.
    pub fn start(&self) {
        drop(self.stop());
        self.book.open.store(true, Ordering::Release);
    }

    /// Stops, and gives what was written down since the start.
    pub fn stop(&self) -> Record {
        self.book.open.store(false, Ordering::Release);
        Record {
            transactions: mem::take(&mut *self.book.transactions.lock().unwrap()),
            commits: self.book.commits.swap(0, Ordering::Relaxed),
            conflicts: self.book.conflicts.swap(0, Ordering::Relaxed),
        }
    }
}

impl Engine for Recorder {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        let noted = self.book.open.load(Ordering::Acquire).then(Recorded::default);
        let notes = Notes { book: self.book.clone(), noted };
        Box::new(Recording { inner: self.inner.begin(options), notes })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct Recording {
    inner: Box<dyn Transaction>,
    notes: Notes,
}

/// What a transaction did so far, if that is written down.
struct Notes {
    book: Arc<Book>,
    noted: Option<Recorded>,
}

impl Drop for Notes {
    fn drop(&mut self) {
        // A transaction that only read is dropped when it has what it wanted.
        if let Some(noted) = self.noted.take()
            && noted.writes.is_empty()
            && !noted.reads.is_empty()
        {
            self.book.transactions.lock().unwrap().push(noted);
        }
    }
}

impl Recording {
    fn read(&mut self, keys: &[Bytes], ranges: &[RangeRequest], mode: ReadMode) {
        if let Some(noted) = &mut self.notes.noted {
            let snapshot = mode == ReadMode::Snapshot;
            noted.reads.push(Group { keys: keys.to_vec(), ranges: ranges.to_vec(), snapshot });
        }
    }

    fn write(&mut self, write: impl FnOnce() -> Write) {
        if let Some(noted) = &mut self.notes.noted {
            noted.writes.push(write());
        }
    }
}

fn copy(octets: &[u8]) -> Bytes {
    Bytes::copy_from_slice(octets)
}

#[async_trait]
impl Transaction for Recording {
    async fn read_version(&mut self) -> Result<u64, Error> {
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        self.read(&[copy(key)], &[], mode);
        self.inner.get(key, mode).await
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        self.read(keys, &[], mode);
        self.inner.get_many(keys, mode).await
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        self.read(&[], std::slice::from_ref(request), mode);
        self.inner.get_range(request, mode).await
    }

    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        self.read(keys, ranges, mode);
        self.inner.get_together(keys, ranges, mode).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.write(|| Write::Set(copy(key), copy(value)));
        self.inner.set(key, value);
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.write(|| Write::Set(key.clone(), value.clone()));
        self.inner.set_bytes(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.write(|| Write::Clear(copy(key)));
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.write(|| Write::ClearRange(copy(begin), copy(end)));
        self.inner.clear_range(begin, end);
    }

    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        self.write(|| Write::ClearRange(copy(begin), copy(end)));
        self.inner.clear_page(begin, end).await
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.write(|| Write::Atomic(op, copy(key), copy(operand)));
        self.inner.atomic(op, key, operand);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.write(|| Write::StampedKey(copy(prefix), copy(suffix), copy(value)));
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.write(|| Write::StampedValue(copy(key), copy(prefix)));
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        self.inner.add_conflict_range(begin, end, kind);
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        // Waits of the feed are not work that anybody asked for.
        self.notes.noted = None;
        self.inner.watch(key).await
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        let Self { inner, mut notes } = *self;
        let outcome = inner.commit().await;
        let wrote = notes.noted.take_if(|noted| !noted.writes.is_empty());
        match (&outcome, wrote) {
            (Ok(_), Some(wrote)) => {
                notes.book.commits.fetch_add(1, Ordering::Relaxed);
                notes.book.transactions.lock().unwrap().push(wrote);
            }
            (Err(error), Some(_)) if error.kind() == ErrorKind::Conflict => {
                notes.book.conflicts.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        outcome
    }
}
