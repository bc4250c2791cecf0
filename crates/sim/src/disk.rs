//! The engine that all nodes share, watched: every commit goes into the history before anybody learns of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kv::{
    AtomicOp, Committed, ConflictKind, Engine, Error, RangePage, RangeRequest, ReadMode, Transaction,
    TransactionOptions, Versionstamp, Watch,
};
use model::AccountId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::history::History;
use crate::plan::Sabotage;
use crate::trace::Trace;

/// The engine, with a witness at its door.
pub struct Disk {
    inner: Arc<dyn Engine>,
    shared: Arc<Shared>,
}

struct Shared {
    history: Arc<History>,
    trace: Arc<Trace>,
    /// A defect put in on purpose, to see whether it is found.
    sabotage: Option<Sabotage>,
    chance: Mutex<SmallRng>,
    /// What was read last of each key, for stale reads.
    read: Mutex<BTreeMap<Bytes, Option<Bytes>>>,
}

impl Shared {
    fn strikes(&self, sabotage: Sabotage, probability: f64) -> bool {
        self.sabotage == Some(sabotage)
            && self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_bool(probability)
    }
}

impl Disk {
    /// `inner`, of which `history` learns.
    pub fn new(
        inner: Arc<dyn Engine>,
        history: Arc<History>,
        trace: Arc<Trace>,
        sabotage: Option<Sabotage>,
        seed: u64,
    ) -> Arc<Self> {
        let chance = Mutex::new(SmallRng::seed_from_u64(seed));
        let read = Mutex::default();
        Arc::new(Self { inner, shared: Arc::new(Shared { history, trace, sabotage, chance, read }) })
    }
}

impl Engine for Disk {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(DiskTransaction {
            inner: self.inner.begin(options),
            shared: self.shared.clone(),
            blind: self.shared.strikes(Sabotage::LostConflict, 0.5),
            tag: options.tag.unwrap_or_default(),
            accounts: BTreeSet::new(),
            wrote: false,
        })
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

struct DiskTransaction {
    inner: Box<dyn Transaction>,
    shared: Arc<Shared>,
    /// It forgets what it has read (sabotage).
    blind: bool,
    tag: &'static str,
    accounts: BTreeSet<AccountId>,
    wrote: bool,
}

impl DiskTransaction {
    fn wrote(&mut self, key: &[u8]) {
        self.wrote = true;
        // Keys of other parts of the key space, too, have something where an account would stand.
        let keys = self.shared.history.keys();
        let account = keys.account_of(key).filter(|account| {
            let all = keys.account(*account);
            *all.begin <= *key && *key < *all.end
        });
        self.accounts.extend(account);
    }

    fn mode(&self, mode: ReadMode) -> ReadMode {
        if self.blind { ReadMode::Snapshot } else { mode }
    }
}

#[async_trait]
impl Transaction for DiskTransaction {
    async fn read_version(&mut self) -> Result<u64, Error> {
        self.inner.read_version().await
    }

    async fn get(&mut self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, Error> {
        self.shared.trace.mix(key);
        let value = self.inner.get(key, self.mode(mode)).await?;
        if self.tag == "folder" && self.shared.sabotage == Some(Sabotage::StaleReads) {
            let key = Bytes::copy_from_slice(key);
            let mut read = self.shared.read.lock().unwrap_or_else(PoisonError::into_inner);
            let before = read.insert(key, value.clone()).flatten();
            // What has not changed is not stale.
            if before.is_some() && before != value && self.shared.strikes(Sabotage::StaleReads, 0.3) {
                return Ok(before);
            }
        }
        Ok(value)
    }

    async fn get_many(&mut self, keys: &[Bytes], mode: ReadMode) -> Result<Vec<Option<Bytes>>, Error> {
        for key in keys {
            self.shared.trace.mix(key);
        }
        self.inner.get_many(keys, self.mode(mode)).await
    }

    async fn get_range(&mut self, request: &RangeRequest, mode: ReadMode) -> Result<RangePage, Error> {
        self.shared.trace.mix(&request.begin);
        self.inner.get_range(request, self.mode(mode)).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.wrote(key);
        self.shared.trace.mix(value);
        self.inner.set(key, value);
    }

    fn set_bytes(&mut self, key: Bytes, value: Bytes) {
        self.wrote(&key);
        self.shared.trace.mix(&value);
        self.inner.set_bytes(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.wrote(key);
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.wrote(begin);
        self.inner.clear_range(begin, end);
    }

    fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.wrote(key);
        self.inner.atomic(op, key, operand);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.wrote(prefix);
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.wrote(key);
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) {
        self.inner.add_conflict_range(begin, end, kind);
    }

    async fn watch(&mut self, key: &[u8]) -> Result<Watch, Error> {
        let watch = self.inner.watch(key).await?;
        if self.shared.strikes(Sabotage::Deaf, 1.0) {
            return Ok(Box::pin(async move {
                watch.await?;
                std::future::pending().await
            }));
        }
        Ok(watch)
    }

    fn approximate_size(&self) -> usize {
        self.inner.approximate_size()
    }

    async fn commit(self: Box<Self>) -> Result<Committed, Error> {
        let Self { inner, shared, accounts, wrote, tag, .. } = *self;
        if !wrote {
            return inner.commit().await;
        }
        if tag == "change" && shared.strikes(Sabotage::EarlyAnswer, 0.02) {
            let version = shared.history.now().0;
            return Ok(Committed { version, versionstamp: Some(Versionstamp([0; 10])) });
        }
        let committed = inner.commit().await;
        match &committed {
            Ok(committed) => {
                shared.trace.mix(&committed.version.to_be_bytes());
                shared.history.committed(&accounts).await;
            }
            Err(error) => shared.trace.mix(error.kind().name().as_bytes()),
        }
        committed
    }
}
