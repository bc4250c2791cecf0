//! Random transactions, interleaved, against a serial model: a map that each commit is applied to whole.
//!
//! Several transactions are open at once and do random things to few keys, so that they meet often. Every read is
//! compared with what the model had at the transaction's read version, changed by its own writes. At a commit
//! the model knows the exact verdict: refused if and only if something it read serializably was written by a
//! commit after its read version.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::{
    AtomicOp, Committed, Engine, Error, ErrorKind, RangeRequest, ReadMode, Transaction, TransactionOptions,
    Watch,
};
use kv_embedded::{EmbeddedEngine, Options, Sync};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

type Map = BTreeMap<Bytes, Bytes>;
/// `[begin, end)`.
type Range = (Bytes, Bytes);

#[derive(Clone, Debug)]
enum Step {
    Get {
        key: u8,
        mode: ReadMode,
    },
    Scan {
        from: u8,
        to: u8,
        limit: usize,
        reverse: bool,
        mode: ReadMode,
    },
    Set {
        key: u8,
        value: u8,
    },
    Clear {
        key: u8,
    },
    ClearRange {
        from: u8,
        to: u8,
    },
    Atomic {
        op: AtomicOp,
        key: u8,
        operand: u8,
    },
    StampedKey {
        key: u8,
    },
    StampedValue {
        key: u8,
    },
    ReadConflict {
        from: u8,
        to: u8,
    },
    WriteConflict {
        from: u8,
        to: u8,
    },
    Watch {
        key: u8,
    },
    Commit,
    /// All open transactions at once, so that they share a batch; in the order of their slots.
    CommitAll,
    Abandon,
}

const KEYS: u8 = 12;
const SLOTS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let key = || 0..KEYS;
    let mode = || prop_oneof![3 => Just(ReadMode::Serializable), 1 => Just(ReadMode::Snapshot)];
    let op = prop_oneof![
        Just(AtomicOp::Add),
        Just(AtomicOp::Max),
        Just(AtomicOp::Min),
        Just(AtomicOp::ByteMax),
        Just(AtomicOp::ByteMin)
    ];
    let step = prop_oneof![
        6 => (key(), mode()).prop_map(|(key, mode)| Step::Get { key, mode }),
        4 => (key(), key(), 0..4usize, any::<bool>(), mode())
            .prop_map(|(from, to, limit, reverse, mode)| Step::Scan { from, to, limit, reverse, mode }),
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Set { key, value }),
        2 => key().prop_map(|key| Step::Clear { key }),
        2 => (key(), key()).prop_map(|(from, to)| Step::ClearRange { from, to }),
        3 => (op, key(), any::<u8>()).prop_map(|(op, key, operand)| Step::Atomic { op, key, operand }),
        1 => key().prop_map(|key| Step::StampedKey { key }),
        1 => key().prop_map(|key| Step::StampedValue { key }),
        1 => (key(), key()).prop_map(|(from, to)| Step::ReadConflict { from, to }),
        1 => (key(), key()).prop_map(|(from, to)| Step::WriteConflict { from, to }),
        1 => key().prop_map(|key| Step::Watch { key }),
        6 => Just(Step::Commit),
        2 => Just(Step::CommitAll),
        1 => Just(Step::Abandon),
    ];
    prop::collection::vec((0..SLOTS, step), 1..120)
}

fn key(number: u8) -> Bytes {
    // Of different lengths, some prefixes of others.
    Bytes::from([&b"m/"[..], &vec![number / 3; 1 + number as usize % 3]].concat())
}

fn after(key: &Bytes) -> Bytes {
    [key.as_ref(), &[0]].concat().into()
}

/// A write as the model keeps it: in order, applied one by one at commit.
#[derive(Clone)]
enum Write {
    Set(Bytes, Bytes),
    ClearRange(Bytes, Bytes),
    Atomic(AtomicOp, Bytes, u8),
    StampedKey(Bytes),
    StampedValue(Bytes),
}

/// The model of one-byte atomics, told apart from the engine's arithmetic on purpose.
fn atomic(op: AtomicOp, old: Option<&Bytes>, operand: u8) -> Bytes {
    let Some(old) = old else { return Bytes::from(vec![operand]) };
    let low = old.first().copied().unwrap_or(0);
    match op {
        AtomicOp::Add => vec![low.wrapping_add(operand)].into(),
        AtomicOp::Max => vec![low.max(operand)].into(),
        AtomicOp::Min => vec![low.min(operand)].into(),
        AtomicOp::ByteMax => old.clone().max(vec![operand].into()),
        AtomicOp::ByteMin => old.clone().min(vec![operand].into()),
    }
}

/// Applies writes; a stamp, where one is needed, is `stamp`.
fn apply(map: &mut Map, writes: &[Write], stamp: &[u8; 10]) {
    for write in writes {
        match write {
            Write::Set(key, value) => {
                map.insert(key.clone(), value.clone());
            }
            Write::ClearRange(begin, end) => map.retain(|key, _| key < begin || key >= end),
            Write::Atomic(op, key, operand) => {
                let value = atomic(*op, map.get(key), *operand);
                map.insert(key.clone(), value);
            }
            Write::StampedKey(prefix) => {
                map.insert([prefix.as_ref(), &stamp[..]].concat().into(), Bytes::from_static(b"stamped"));
            }
            Write::StampedValue(key) => {
                map.insert(key.clone(), Bytes::copy_from_slice(stamp));
            }
        }
    }
}

/// The value that a watch waits to see changed.
enum Seen {
    Value(Option<Bytes>),
    /// What the own writes make of it at the commit.
    AtCommit,
}

struct Open {
    trx: Box<dyn Transaction>,
    /// The model at the read version, and how many commits came before it.
    base: Option<(Map, usize)>,
    reads: Vec<Range>,
    writes: Vec<Write>,
    write_conflicts: Vec<Range>,
    watches: Vec<(Bytes, Seen, Watch)>,
}

impl Open {
    /// Whether what it sees of `key` is what it will have seen: not so after an atomic over a value that others
    /// may still change.
    fn sees(&self, key: &Bytes) -> bool {
        let atomic = |write: &Write| matches!(write, Write::Atomic(_, written, _) if written == key);
        self.decided(key) || !self.writes.iter().any(atomic)
    }

    /// What the transaction itself should see; none where a stamp is not known yet.
    fn view(&self) -> Map {
        let (base, _) = self.base.as_ref().expect("has read");
        let mut map = base.clone();
        apply(&mut map, &self.writes, &[0xFF; 10]);
        map
    }

    fn stamped(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::StampedKey(_) | Write::StampedValue(_)))
    }

    /// Whether own writes alone decide what a read of `key` gives, so that it is no read of the database.
    fn decided(&self, key: &Bytes) -> bool {
        self.writes.iter().any(|write| match write {
            Write::Set(written, _) => written == key,
            Write::ClearRange(begin, end) => begin <= key && key < end,
            _ => false,
        })
    }
}

/// What is left of a transaction once its commit was asked for.
struct Ended {
    since: Option<usize>,
    reads: Vec<Range>,
    writes: Vec<Write>,
    write_conflicts: Vec<Range>,
    watches: Vec<(Bytes, Seen, Watch)>,
}

fn written(writes: &[Write], write_conflicts: Vec<Range>) -> Vec<Range> {
    let mut ranges = write_conflicts;
    for write in writes {
        match write {
            Write::Set(key, _) | Write::Atomic(_, key, _) | Write::StampedValue(key) => {
                ranges.push((key.clone(), after(key)));
            }
            Write::ClearRange(begin, end) => ranges.push((begin.clone(), end.clone())),
            // Under a prefix that nothing else reads.
            Write::StampedKey(_) => {}
        }
    }
    ranges
}

struct World {
    engine: std::sync::Arc<EmbeddedEngine>,
    map: Map,
    /// What each commit wrote.
    history: Vec<Vec<Range>>,
    last_version: u64,
    slots: [Option<Open>; SLOTS],
    /// Armed watches, with the value they wait to see changed.
    armed: Vec<(Bytes, Option<Bytes>, Watch)>,
}

impl World {
    fn open(&mut self, slot: usize) -> &mut Open {
        self.slots[slot].get_or_insert_with(|| Open {
            trx: self.engine.begin(TransactionOptions::default()),
            base: None,
            reads: Vec::new(),
            writes: Vec::new(),
            write_conflicts: Vec::new(),
            watches: Vec::new(),
        })
    }

    async fn step(&mut self, slot: usize, step: Step) -> TestCaseResult {
        let base = (self.map.clone(), self.history.len());
        let open = self.open(slot);
        match step {
            Step::Get { key: number, mode } => {
                let key = key(number);
                if open.stamped() {
                    return Ok(());
                }
                open.base.get_or_insert(base);
                let found = open.trx.get(&key, mode).await.expect("a read");
                prop_assert_eq!(found, open.view().remove(&key));
                if mode == ReadMode::Serializable && !open.decided(&key) {
                    open.reads.push((key.clone(), after(&key)));
                }
            }
            Step::Scan { from, to, limit, reverse, mode } => {
                if open.stamped() {
                    return Ok(());
                }
                open.base.get_or_insert(base);
                let (begin, end) = (key(from), key(to));
                let request =
                    RangeRequest { begin: begin.clone(), end: end.clone(), limit, bytes: 0, reverse };
                let page = open.trx.get_range(&request, mode).await.expect("a range read");
                let found: Vec<_> = page.pairs.into_iter().map(|pair| (pair.key, pair.value)).collect();
                if begin >= end {
                    prop_assert!(found.is_empty());
                    return Ok(());
                }
                let view = open.view();
                let all =
                    view.range(begin.clone()..end.clone()).map(|(key, value)| (key.clone(), value.clone()));
                let mut expected: Vec<_> = if reverse { all.rev().collect() } else { all.collect() };
                if limit > 0 {
                    expected.truncate(limit);
                }
                prop_assert_eq!(&found, &expected);
                if mode == ReadMode::Serializable {
                    open.reads.push(match found.last() {
                        Some((last, _)) if page.more && reverse => (last.clone(), end),
                        Some((last, _)) if page.more => (begin, after(last)),
                        _ => (begin, end),
                    });
                }
            }
            Step::Set { key: number, value } => {
                open.trx.set(&key(number), &[value]);
                open.writes.push(Write::Set(key(number), vec![value].into()));
            }
            Step::Clear { key: number } => {
                let key = key(number);
                open.trx.clear(&key);
                let end = after(&key);
                open.writes.push(Write::ClearRange(key, end));
            }
            Step::ClearRange { from, to } => {
                open.trx.clear_range(&key(from), &key(to));
                if key(from) < key(to) {
                    open.writes.push(Write::ClearRange(key(from), key(to)));
                }
            }
            Step::Atomic { op, key: number, operand } => {
                // An atomic over an own stamped value is not defined.
                let key = key(number);
                if !open.stamped() {
                    open.trx.atomic(op, &key, &[operand]);
                    open.writes.push(Write::Atomic(op, key, operand));
                }
            }
            Step::StampedKey { key: number } => {
                let prefix = Bytes::from(vec![b'z', number]);
                open.trx.set_versionstamped_key(&prefix, b"", b"stamped");
                open.writes.push(Write::StampedKey(prefix));
            }
            Step::StampedValue { key: number } => {
                open.trx.set_versionstamped_value(&key(number), b"");
                open.writes.push(Write::StampedValue(key(number)));
            }
            Step::ReadConflict { from, to } => {
                open.base.get_or_insert(base);
                open.trx.read_version().await.expect("a read version");
                open.trx.add_conflict_range(&key(from), &key(to), kv::ConflictKind::Read);
                if key(from) < key(to) {
                    open.reads.push((key(from), key(to)));
                }
            }
            Step::WriteConflict { from, to } => {
                open.trx.add_conflict_range(&key(from), &key(to), kv::ConflictKind::Write);
                if key(from) < key(to) {
                    open.write_conflicts.push((key(from), key(to)));
                }
            }
            Step::Watch { key: number } => {
                if !open.stamped() {
                    open.base.get_or_insert(base);
                    let key = key(number);
                    let watch = open.trx.watch(&key).await.expect("a watch");
                    let seen =
                        if open.sees(&key) { Seen::Value(open.view().remove(&key)) } else { Seen::AtCommit };
                    open.watches.push((key, seen, watch));
                }
            }
            Step::Abandon => self.slots[slot] = None,
            Step::Commit => self.commit(&[slot]).await?,
            Step::CommitAll => self.commit(&std::array::from_fn::<_, SLOTS, _>(|slot| slot)).await?,
        }
        Ok(())
    }

    async fn commit(&mut self, slots: &[usize]) -> TestCaseResult {
        let mut ended = Vec::new();
        let mut commits = Vec::new();
        for &slot in slots {
            if let Some(Open { trx, base, reads, writes, write_conflicts, watches }) = self.slots[slot].take()
            {
                commits.push(trx.commit());
                ended.push(Ended {
                    since: base.map(|(_, since)| since),
                    reads,
                    writes,
                    write_conflicts,
                    watches,
                });
            }
        }
        // Polled, and so queued, in this order.
        let outcomes = futures::future::join_all(commits).await;
        for (ended, outcome) in ended.into_iter().zip(outcomes) {
            self.judge(ended, outcome).await?;
        }
        Ok(())
    }

    /// Compares the outcome of a commit with what it should be, and applies it.
    async fn judge(&mut self, ended: Ended, outcome: Result<Committed, Error>) -> TestCaseResult {
        let read_only = ended.writes.is_empty() && ended.write_conflicts.is_empty();
        let since = ended.since.unwrap_or(self.history.len());
        let stale = self.history[since..].iter().flatten().any(|(begin, end)| {
            ended.reads.iter().any(|(read_begin, read_end)| read_begin < end && begin < read_end)
        });
        if !read_only && stale {
            prop_assert_eq!(outcome.map_err(|error| error.kind()).err(), Some(ErrorKind::Conflict));
            for (_, _, watch) in ended.watches {
                prop_assert!(watch.await.is_err(), "the watch of a refused transaction ends");
            }
            return Ok(());
        }
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
        let committed = outcome.expect("checked");
        if !read_only {
            prop_assert!(committed.version > self.last_version);
            self.last_version = committed.version;
            let stamp = committed.versionstamp.expect("a commit that writes has one");
            apply(&mut self.map, &ended.writes, &stamp.0);
            self.history.push(written(&ended.writes, ended.write_conflicts));
        }
        for (key, seen, watch) in ended.watches {
            let seen = match seen {
                Seen::Value(value) => value,
                Seen::AtCommit => self.map.get(&key).cloned(),
            };
            self.armed.push((key, seen, watch));
        }
        Ok(())
    }

    /// The whole state, and all armed watches, against the model.
    async fn check(&mut self) -> TestCaseResult {
        let mut trx = self.engine.begin(TransactionOptions::default());
        for begin in ["m", "z"] {
            let request = RangeRequest { bytes: 1 << 20, ..RangeRequest::prefix(begin.as_bytes()) };
            let page = trx.get_range(&request, ReadMode::Snapshot).await.expect("a range read");
            let found: Map = page.pairs.into_iter().map(|pair| (pair.key, pair.value)).collect();
            let expected: Map = self
                .map
                .iter()
                .filter(|(key, _)| key.starts_with(begin.as_bytes()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            prop_assert_eq!(found, expected);
        }
        for (key, seen, watch) in self.armed.drain(..) {
            if self.map.get(&key) != seen.as_ref() {
                let fired = tokio::time::timeout(std::time::Duration::from_secs(10), watch).await;
                prop_assert!(
                    matches!(fired, Ok(Ok(()))),
                    "a watch on {:?} missed a change from {:?}",
                    key,
                    seen
                );
            }
        }
        Ok(())
    }
}

fn options() -> Options {
    // A tiny table, so that reads also meet flushed and compacted ones.
    Options { free_bytes_min: 0, memtable_bytes: 1 << 10, sync: Sync::TestsOnlyNever, ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_behave_as_if_alone(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
            let mut world = World {
                engine,
                map: Map::new(),
                history: Vec::new(),
                last_version: 0,
                slots: std::array::from_fn(|_| None),
                armed: Vec::new(),
            };
            for (slot, step) in steps {
                world.step(slot, step).await?;
            }
            world.check().await?;
            world.slots = std::array::from_fn(|_| None);
            world.engine.close();
            world.engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
            world.armed.clear();
            world.check().await
        })?;
    }
}
