//! An engine in memory: what simulation and tests of cost run on.
//!
//! It keeps every rule of the trait (strict serializability, versionstamps, watches, FoundationDB's limits) and has
//! neither a disk nor a thread: every call does its work at once, on the task that makes it, so that what happens
//! depends on the order of calls alone, and time is tokio's and may be paused. Nothing is durable.
//!
//! Keys hold their versions, newest last. Versions that no transaction may read any more are dropped when their key
//! is written again, and so is what was kept to find conflicts.

mod state;
mod transaction;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::{Engine, Transaction, TransactionOptions, limits};
use state::State;
use transaction::MemoryTransaction;

/// How long reads and the commit of a transaction succeed after its first read.
const AGE_MAX: Duration = Duration::from_millis(limits::TRANSACTION_MS_MAX);

/// An engine that lives as long as it is referred to.
#[derive(Default)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Everything it holds now, in order: for fingerprints and comparisons.
    pub fn dump(&self) -> Vec<(Bytes, Bytes)> {
        let state = self.shared.state();
        let version = state.version();
        state.scan(&Bytes::new(), &Bytes::from_static(&[0xFF]), version).collect()
    }
}

impl Engine for MemoryEngine {
    fn begin(&self, _options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(MemoryTransaction::new(self.shared.clone()))
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_every_rule_of_an_engine() {
        let engine = MemoryEngine::new();
        suite::report(&suite::run_all(|| engine.clone()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_them_in_virtual_time() {
        let started = std::time::Instant::now();
        let engine = MemoryEngine::new();
        suite::report(&suite::run_all(|| engine.clone()).await);
        assert!(started.elapsed() < Duration::from_secs(60), "its time is tokio's");
    }

    #[tokio::test(start_paused = true)]
    async fn survives_faults() {
        let engine =
            crate::fault::FaultEngine::new(MemoryEngine::new(), 1, crate::fault::Faults::survivable());
        let calm = |case: &suite::Case| case.needs == suite::Needs::Nothing;
        suite::report(&suite::run_selected(|| engine.clone(), calm).await);
    }

    #[tokio::test(start_paused = true)]
    async fn old_versions_are_dropped() {
        let engine = MemoryEngine::new();
        for round in 0..1_000u32 {
            let mut trx = engine.begin(TransactionOptions::default());
            trx.set(b"k", &round.to_be_bytes());
            trx.commit().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(engine.shared.state().versions_of(b"k") < 200);
    }
}
