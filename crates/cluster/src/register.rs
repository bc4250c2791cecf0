//! The records and heartbeats in the database: every transaction of this crate but that of the installation.
//!
//! Each is safe to run twice, so an unknown commit is tried again: what it writes is a fixed value, and an epoch that
//! counts up twice has still only ascended.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kv::{
    AtomicOp, Engine, Error, ErrorKind, RangeRequest, ReadMode, RetryPolicy, Transaction, TransactionOptions,
    Watch,
};
use store::keyspace::{Group, KeyRange, Keyspace};
use store_api::NodeId;

use crate::limits::NODES_MAX;
use crate::record::Record;

/// What a look sees.
pub(crate) struct Seen {
    pub(crate) epoch: u64,
    pub(crate) records: BTreeMap<NodeId, Record>,
    pub(crate) heartbeats: BTreeMap<NodeId, u64>,
}

/// The records and heartbeats of all nodes.
pub(crate) struct Register {
    engine: Arc<dyn Engine>,
    keys: Keys,
}

/// The keys of one group.
#[derive(Clone)]
struct Keys {
    space: Keyspace,
    group: Group,
}

impl Keys {
    fn epoch(&self) -> Bytes {
        self.space.cluster_epoch(self.group)
    }

    fn node(&self, node: NodeId) -> Bytes {
        self.space.node(self.group, node)
    }

    fn nodes(&self) -> KeyRange {
        self.space.nodes(self.group)
    }

    fn heartbeat(&self, node: NodeId) -> Bytes {
        self.space.heartbeat(self.group, node)
    }

    fn heartbeats(&self) -> KeyRange {
        self.space.heartbeats(self.group)
    }

    fn node_of(&self, key: &[u8]) -> Option<NodeId> {
        self.space.node_of(key)
    }
}

const OPTIONS: TransactionOptions =
    TransactionOptions { priority: kv::Priority::Default, tag: Some("cluster") };

impl Register {
    pub(crate) fn new(engine: Arc<dyn Engine>, prefix: &[u8], group: Group) -> Self {
        Self { engine, keys: Keys { space: Keyspace::new(prefix), group } }
    }

    async fn run<T: Send>(
        &self,
        body: impl for<'a> FnMut(&'a mut dyn Transaction, kv::Attempt) -> kv::BodyFuture<'a, T, Error>,
    ) -> Result<T, Error> {
        Ok(kv::run(self.engine.as_ref(), OPTIONS, RetryPolicy::idempotent(), body).await?.0)
    }

    /// Writes the first record of a node. Takes away, and returns, the records of processes that must be gone: all of
    /// them if `sole`, else those of the same name and address.
    pub(crate) async fn join(
        &self,
        id: NodeId,
        record: &Record,
        sole: bool,
    ) -> Result<Vec<(NodeId, Record)>, Error> {
        self.run(|trx, _| {
            let (keys, record) = (self.keys.clone(), record.clone());
            Box::pin(async move {
                let all = records(&keys, trx, ReadMode::Serializable).await?;
                let (gone, others): (Vec<_>, Vec<_>) =
                    all.into_iter().filter(|(other, _)| *other != id).partition(|(_, other)| {
                        sole || (&other.name, &other.address) == (&record.name, &record.address)
                    });
                if others.len() >= NODES_MAX {
                    return Err(Error::new(ErrorKind::TooLarge, format!("there are {NODES_MAX} nodes already")));
                }
                if let Some((other, _)) = others.iter().find(|(_, other)| other.name == record.name) {
                    tracing::warn!(node = %other, name = record.name, "another node has the name of this one: only one of them will own partitions");
                }
                for (node, _) in &gone {
                    trx.clear(&keys.node(*node));
                    trx.clear(&keys.heartbeat(*node));
                }
                trx.set(&keys.node(id), &record.encode());
                trx.set(&keys.heartbeat(id), &1u64.to_le_bytes());
                count_up(&keys, trx);
                Ok(gone)
            })
        })
        .await
    }

    /// Writes a changed record.
    pub(crate) async fn write(&self, id: NodeId, record: &Record) -> Result<(), Error> {
        self.run(|trx, _| {
            let (keys, record) = (self.keys.clone(), record.clone());
            Box::pin(async move {
                trx.set(&keys.node(id), &record.encode());
                // So that a record never stands without one.
                trx.atomic(AtomicOp::Add, &keys.heartbeat(id), &1u64.to_le_bytes());
                count_up(&keys, trx);
                Ok(())
            })
        })
        .await
    }

    /// One heartbeat. Writes the record, too, if it is not what it should be: another node removed it, or a change of
    /// state failed. Returns whether it was gone.
    pub(crate) async fn beat(&self, id: NodeId, record: &Record) -> Result<bool, Error> {
        self.run(|trx, _| {
            let (keys, record) = (self.keys.clone(), record.clone());
            Box::pin(async move {
                let stored = trx.get(&keys.node(id), ReadMode::Serializable).await?;
                let wanted = record.encode();
                if stored.as_deref() != Some(&wanted[..]) {
                    trx.set(&keys.node(id), &wanted);
                    count_up(&keys, trx);
                }
                trx.atomic(AtomicOp::Add, &keys.heartbeat(id), &1u64.to_le_bytes());
                Ok(stored.is_none())
            })
        })
        .await
    }

    /// Removes a node; one taken for dead only if its heartbeat still stands at that number. Whether it was there to be
    /// removed.
    pub(crate) async fn remove(&self, id: NodeId, dead_at: Option<u64>) -> Result<bool, Error> {
        self.run(|trx, _| {
            let keys = self.keys.clone();
            Box::pin(async move {
                let record = trx.get(&keys.node(id), ReadMode::Serializable).await?;
                if let Some(dead_at) = dead_at {
                    let beat = trx.get(&keys.heartbeat(id), ReadMode::Serializable).await?;
                    if beat.as_deref().map(number) != Some(Some(dead_at)) {
                        return Ok(false);
                    }
                }
                if record.is_none() {
                    return Ok(false);
                }
                trx.clear(&keys.node(id));
                trx.clear(&keys.heartbeat(id));
                count_up(&keys, trx);
                Ok(true)
            })
        })
        .await
    }

    /// All of it at one moment, and a watch for what changes after it.
    pub(crate) async fn read(&self) -> Result<(Seen, Watch), Error> {
        self.run(|trx, _| {
            let keys = self.keys.clone();
            Box::pin(async move {
                let epoch = trx.get(&keys.epoch(), ReadMode::Snapshot).await?;
                let watch = trx.watch(&keys.epoch()).await?;
                let records = records(&keys, trx, ReadMode::Snapshot).await?;
                let mut heartbeats = BTreeMap::new();
                for pair in range(trx, keys.heartbeats(), ReadMode::Snapshot).await? {
                    if let (Some(node), Some(beat)) = (keys.node_of(&pair.key), number(&pair.value)) {
                        heartbeats.insert(node, beat);
                    }
                }
                let epoch = epoch.as_deref().and_then(number).unwrap_or(0);
                Ok((Seen { epoch, records, heartbeats }, watch))
            })
        })
        .await
    }
}

fn count_up(keys: &Keys, trx: &mut dyn Transaction) {
    trx.atomic(AtomicOp::Add, &keys.epoch(), &1u64.to_le_bytes());
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

async fn records(
    keys: &Keys,
    trx: &mut dyn Transaction,
    mode: ReadMode,
) -> Result<BTreeMap<NodeId, Record>, Error> {
    let mut records = BTreeMap::new();
    for pair in range(trx, keys.nodes(), mode).await? {
        match (keys.node_of(&pair.key), Record::decode(&pair.value)) {
            (Some(node), Some(record)) => {
                records.insert(node, record);
            }
            _ => tracing::warn!(key = %pair.key.escape_ascii(), "the record of a node cannot be read"),
        }
    }
    Ok(records)
}

/// A range of few small values; at most twice the bound of nodes.
async fn range(
    trx: &mut dyn Transaction,
    range: KeyRange,
    mode: ReadMode,
) -> Result<Vec<kv::KeyValue>, Error> {
    let request = RangeRequest::new(range.begin, range.end).limit(2 * NODES_MAX);
    Ok(trx.get_range(&request, mode).await?.pairs)
}

/// What an engine's failure means to who starts or stops a node.
pub(crate) fn told(error: Error) -> model::Error {
    let (kind, text) = match error.kind() {
        ErrorKind::TooLarge => (model::ErrorKind::Limit, "the cluster has too many nodes"),
        ErrorKind::StorageFull => (model::ErrorKind::StorageFull, "the storage is full"),
        ErrorKind::Internal => (model::ErrorKind::Bug, "internal error"),
        ErrorKind::CommitUnknown => {
            (model::ErrorKind::CommitUnknown, "the membership may or may not have changed")
        }
        _ => (model::ErrorKind::Unavailable, "the storage cannot serve now"),
    };
    model::Error::new(kind, text).with_detail(error)
}
