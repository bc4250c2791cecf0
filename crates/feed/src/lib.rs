//! The change feed: tails each partition's log and wakes who subscribed.
//!
//! The store writes what it changed to the log of the account's partition, in the transaction of the change. A
//! [`Feed`] tails the logs of the partitions in which somebody in this process listens: one watch a partition, not one
//! an account, and no polling. It reads the log from where it last was and sends a [`Pulse`] to the listeners of each
//! account it names.
//!
//! Why nothing is missed: a tail reads the log and sets its watch on the partition's head in one transaction, so the
//! watch sees any commit that the reading did not. A subscription is given out once its tail has a position, and a
//! commit after that stands behind the position. An error keeps the position. A watch may be lost without a word
//! (FoundationDB's may); so a tail also looks, without one, every [`Options::recheck`].
//!
//! Deliberately absent: what changed. A pulse says where to look; the store says what is there. So pulses may be
//! merged, repeated and forgotten, as long as the last one arrives. Who must see each change reads the [`log`] itself.
//!
//! [`Pulse`]: store_api::Pulse

pub mod log;
mod options;
mod tail;
mod telemetry;
mod trim;

use std::sync::Arc;

use async_trait::async_trait;
use kv::Engine;
use model::{AccountId, PARTITIONS, Partition, Result};
use parking_lot::Mutex;
use store::keyspace::Keyspace;
use store_api::{ChangeFeed, Subscription};

pub use options::Options;
use tail::Tail;
use telemetry::Telemetry;

/// The feed of an engine's partitions. Its tasks end with it.
pub struct Feed {
    shared: Arc<Shared>,
    trimmer: Option<tokio::task::JoinHandle<()>>,
}

/// What tails share.
struct Shared {
    engine: Arc<dyn Engine>,
    keys: Keyspace,
    options: Options,
    telemetry: Telemetry,
    /// The tails that run, by partition.
    slots: Box<[Mutex<Option<Arc<Tail>>>]>,
}

impl Shared {
    fn slot(&self, partition: Partition) -> &Mutex<Option<Arc<Tail>>> {
        &self.slots[usize::from(partition.0 % PARTITIONS)]
    }

    fn refresh_gauges(&self) {
        let listeners: usize =
            self.slots.iter().filter_map(|slot| slot.lock().as_ref().map(|tail| tail.listeners())).sum();
        self.telemetry.listeners.set(listeners as f64);
    }
}

impl Feed {
    /// Sets the gauges that nothing else sets as they change. Cheap; for whoever is about to read them.
    pub fn refresh_gauges(&self) {
        self.shared.refresh_gauges();
    }

    /// A feed over `engine`. Must be called within a runtime.
    pub fn new(engine: Arc<dyn Engine>, options: Options) -> Arc<Self> {
        let shared = Arc::new(Shared {
            engine,
            keys: Keyspace::new(&options.prefix),
            options,
            telemetry: Telemetry::new(),
            slots: (0..PARTITIONS).map(|_| Mutex::default()).collect(),
        });
        let trimmer = shared.options.trim.then(|| tokio::spawn(trim::run(Arc::downgrade(&shared))));
        Arc::new(Self { shared, trimmer })
    }

    /// Clears entries past their retention from all logs. Returns how many were cleared.
    ///
    /// # Errors
    /// Whatever the engine fails with; what was cleared stays cleared.
    pub async fn trim(&self) -> Result<u64> {
        trim::round(&self.shared).await.map_err(unavailable)
    }

    /// Partitions that are tailed now.
    pub fn tails(&self) -> usize {
        self.shared.slots.iter().filter(|slot| slot.lock().is_some()).count()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(trimmer) = &self.trimmer {
            trimmer.abort();
        }
        for slot in &self.shared.slots {
            if let Some(tail) = slot.lock().take() {
                tail.end();
            }
        }
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn subscribe(&self, account: AccountId) -> Result<Subscription> {
        let (tail, receiver) = {
            let mut slot = self.shared.slot(account.partition()).lock();
            let tail = slot.get_or_insert_with(|| Tail::start(&self.shared, account.partition()));
            // Under the lock of the slot: a tail that finds nobody listening ends under it.
            (tail.clone(), tail.listen(account))
        };
        tail.positioned().await.map_err(unavailable)?;
        Ok(Subscription::new(receiver))
    }
}

fn unavailable(error: kv::Error) -> model::Error {
    model::Error::new(model::ErrorKind::Unavailable, "the storage cannot serve now").with_detail(error)
}
