//! A wrapper that injects faults under any engine.
//!
//! What code above an engine must survive is what [`FaultEngine`] does to it: conflicts without a reason, commits
//! whose outcome stays unknown (and that happened, or did not), commits and reads that are slow or fail, watches
//! that fire late, for nothing, or never. Each has a probability in [`Faults`], which can be changed at any time.
//!
//! Chance comes from the seed alone: every transaction draws from a generator of its own, seeded by the engine's
//! seed and the number of the transaction, so that its fate does not depend on how tasks interleave, only on the
//! order in which transactions begin. Time is tokio's and can be paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::{
    AtomicOp, Committed, ConflictKind, Engine, Error, ErrorKind, RangePage, RangeRequest, ReadMode,
    Transaction, TransactionOptions, Watch,
};

/// How likely each fault is, from 0 to 1, and how long delays are.
///
/// Only transactions that write are refused or left unknown at commit: those that only read do not fail there on
/// any engine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// A commit fails with [`ErrorKind::Conflict`]; nothing was written.
    pub conflict: f64,
    /// A commit happens and answers [`ErrorKind::CommitUnknown`].
    pub unknown_committed: f64,
    /// A commit does not happen and answers [`ErrorKind::CommitUnknown`].
    pub unknown_lost: f64,
    /// A commit fails with [`ErrorKind::Unavailable`]; nothing was written.
    pub commit_unavailable: f64,
    /// A commit fails with [`ErrorKind::StorageFull`]; nothing was written.
    pub storage_full: f64,
    /// A commit is delayed, before it happens or before it is answered.
    pub commit_slow: f64,
    /// A read fails with [`ErrorKind::TooOld`].
    pub read_too_old: f64,
    /// A read fails with [`ErrorKind::Unavailable`].
    pub read_unavailable: f64,
    /// A read is delayed.
    pub read_slow: f64,
    /// A watch never fires.
    pub watch_lost: f64,
    /// A watch fires late.
    pub watch_late: f64,
    /// A watch fires although nothing changed.
    pub watch_spurious: f64,
    /// Longest delay, milliseconds; delays are spread evenly up to it.
    pub delay_ms_max: u64,
}

impl Faults {
    /// None at all: the engine as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// All that a caller who retries as [`crate::run`] does, and looks again at what it watches, must survive.
    pub fn survivable() -> Self {
        Self {
            conflict: 0.1,
            unknown_committed: 0.05,
            unknown_lost: 0.05,
            commit_slow: 0.05,
            read_too_old: 0.01,
            read_slow: 0.02,
            watch_lost: 0.1,
            watch_late: 0.2,
            watch_spurious: 0.2,
            delay_ms_max: 5,
            ..Self::default()
        }
    }
}

/// What a transaction was or is to be hit by; also the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// See [`Faults::conflict`].
    Conflict,
    /// See [`Faults::unknown_committed`].
    UnknownCommitted,
    /// See [`Faults::unknown_lost`].
    UnknownLost,
    /// See [`Faults::commit_unavailable`].
    CommitUnavailable,
    /// See [`Faults::storage_full`].
    StorageFull,
    /// See [`Faults::commit_slow`].
    CommitSlow,
    /// See [`Faults::read_too_old`].
    ReadTooOld,
    /// See [`Faults::read_unavailable`].
    ReadUnavailable,
    /// See [`Faults::read_slow`].
    ReadSlow,
    /// See [`Faults::watch_lost`].
    WatchLost,
    /// See [`Faults::watch_late`].
    WatchLate,
    /// See [`Faults::watch_spurious`].
    WatchSpurious,
}

const FAULT_KINDS: usize = Fault::WatchSpurious as usize + 1;

/// An engine whose transactions suffer faults.
pub struct FaultEngine {
    inner: Arc<dyn Engine>,
    control: Arc<Control>,
    seed: u64,
    begun: AtomicU64,
}

struct Control {
    faults: std::sync::Mutex<Faults>,
    injected: [AtomicU64; FAULT_KINDS],
}

impl Control {
    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn count(&self, fault: Fault) {
        self.injected[fault as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl FaultEngine {
    /// Wraps `inner`; all chance follows from `seed`.
    pub fn new(inner: Arc<dyn Engine>, seed: u64, faults: Faults) -> Arc<Self> {
        let control = Arc::new(Control {
            faults: std::sync::Mutex::new(faults),
            injected: std::array::from_fn(|_| AtomicU64::new(0)),
        });
        Arc::new(Self { inner, control, seed, begun: AtomicU64::new(0) })
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.control.faults()
    }

    /// Changes the faults for all that transactions do from now on, open ones included.
    pub fn set_faults(&self, faults: Faults) {
        *self.control.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = faults;
    }

    /// How often a fault was injected so far.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.control.injected[fault as usize].load(Ordering::Relaxed)
    }
}

impl Engine for FaultEngine {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        // Spread by a large odd number, so that neighbouring seeds and numbers share no sequence.
        let seed = self.seed ^ number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Box::new(FaultTransaction {
            inner: self.inner.begin(options),
            dice: Dice { random: SmallRng::seed_from_u64(seed), control: self.control.clone() },
            writes: false,
        })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct Dice {
    random: SmallRng,
    control: Arc<Control>,
}

impl Dice {
    /// The first fault of `choices` that comes up, if one does. One draw, whatever the probabilities, so that
    /// changing one leaves the later draws as they are.
    fn pick(&mut self, choices: &[(Fault, f64)]) -> Option<Fault> {
        let mut drawn: f64 = self.random.random();
        for &(fault, probability) in choices {
            if drawn < probability {
                self.control.count(fault);
                return Some(fault);
            }
            drawn -= probability;
        }
        None
    }

    fn delay(&mut self, faults: &Faults) -> Duration {
        Duration::from_millis(self.random.random_range(0..=faults.delay_ms_max))
    }

    async fn before_read(&mut self) -> Result<(), Error> {
        let faults = self.control.faults();
        let delay = self.delay(&faults);
        match self.pick(&[
            (Fault::ReadTooOld, faults.read_too_old),
            (Fault::ReadUnavailable, faults.read_unavailable),
            (Fault::ReadSlow, faults.read_slow),
        ]) {
            Some(Fault::ReadTooOld) => Err(injected(ErrorKind::TooOld)),
            Some(Fault::ReadUnavailable) => Err(injected(ErrorKind::Unavailable)),
            Some(_) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn injected(kind: ErrorKind) -> Error {
    Error::new(kind, "injected")
}

struct FaultTransaction {
    inner: Box<dyn Transaction>,
    dice: Dice,
    writes: bool,
}

#[async_trait]
impl Transaction for FaultTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        self.dice.before_read().await?;
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        self.dice.before_read().await?;
        self.inner.get(key, mode).await
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        self.dice.before_read().await?;
        self.inner.get_many(keys, mode).await
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        self.dice.before_read().await?;
        self.inner.get_range(request, mode).await
    }

    async fn get_together(
        &mut self,
        keys: &[Bytes],
        ranges: &[RangeRequest],
        mode: ReadMode,
    ) -> Result<(Vec<Option<Bytes>>, Vec<RangePage>), Error> {
        self.dice.before_read().await?;
        self.inner.get_together(keys, ranges, mode).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.writes = true;
        self.inner.set(key, value);
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.writes = true;
        self.inner.set_bytes(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.writes = true;
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.writes = true;
        self.inner.clear_range(begin, end);
    }

    async fn clear_page(&mut self, begin: &[u8], end: &[u8]) -> Result<Option<Bytes>, Error> {
        self.dice.before_read().await?;
        self.writes = true;
        self.inner.clear_page(begin, end).await
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.writes = true;
        self.inner.atomic(op, key, operand);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.writes = true;
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.writes = true;
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        self.writes |= kind == ConflictKind::Write;
        self.inner.add_conflict_range(begin, end, kind);
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        self.dice.before_read().await?;
        let watch = self.inner.watch(key).await?;
        let faults = self.dice.control.faults();
        let delay = self.dice.delay(&faults);
        Ok(
            match self.dice.pick(&[
                (Fault::WatchLost, faults.watch_lost),
                (Fault::WatchLate, faults.watch_late),
                (Fault::WatchSpurious, faults.watch_spurious),
            ]) {
                // An engine that stops still ends it.
                Some(Fault::WatchLost) => Box::pin(async move {
                    watch.await?;
                    std::future::pending().await
                }),
                Some(Fault::WatchLate) => Box::pin(async move {
                    let fired = watch.await;
                    tokio::time::sleep(delay).await;
                    fired
                }),
                Some(_) => Box::pin(first(watch, delay)),
                None => watch,
            },
        )
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        let Self { inner, mut dice, writes } = *self;
        let faults = dice.control.faults();
        let delay = dice.delay(&faults);
        let delay_after: bool = dice.random.random();
        let slow = dice.pick(&[(Fault::CommitSlow, faults.commit_slow)]).is_some();
        if slow && !delay_after {
            tokio::time::sleep(delay).await;
        }
        let fate = if writes {
            dice.pick(&[
                (Fault::Conflict, faults.conflict),
                (Fault::UnknownCommitted, faults.unknown_committed),
                (Fault::UnknownLost, faults.unknown_lost),
                (Fault::CommitUnavailable, faults.commit_unavailable),
                (Fault::StorageFull, faults.storage_full),
            ])
        } else {
            None
        };
        let outcome = match fate {
            Some(Fault::Conflict) => Err(injected(ErrorKind::Conflict)),
            Some(Fault::UnknownLost) => Err(injected(ErrorKind::CommitUnknown)),
            Some(Fault::CommitUnavailable) => Err(injected(ErrorKind::Unavailable)),
            Some(Fault::StorageFull) => Err(injected(ErrorKind::StorageFull)),
            Some(_) => match inner.commit().await {
                Ok(_) => Err(injected(ErrorKind::CommitUnknown)),
                Err(error) => Err(error),
            },
            None => inner.commit().await,
        };
        if slow && delay_after {
            tokio::time::sleep(delay).await;
        }
        outcome
    }
}

/// The watch, or nothing but the passing of time, whichever is first.
async fn first(watch: Watch, delay: Duration) -> Result<(), Error> {
    let spurious = std::pin::pin!(tokio::time::sleep(delay));
    match futures::future::select(watch, spurious).await {
        futures::future::Either::Left((fired, _)) => fired,
        futures::future::Either::Right(((), _)) => Ok(()),
    }
}
