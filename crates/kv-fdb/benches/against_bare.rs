//! What the engine costs over the bare client: the same keys and bytes in the same transactions, in alternation, on the
//! cluster that `MSS_FDB_CLUSTER_FILE` names (`MSS_FDB_LIBRARY`: the client library, if the loader does not find it).
//!
//! `MSS_FDB_CLUSTER_FILE=FILE cargo bench -p kv-fdb --profile fast [-- --tasks N --seconds N --rounds N]`
#![allow(clippy::unwrap_used, reason = "a bench ends where it is surprised")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foundationdb::{Database, RangeOption, Transaction as Bare};
use futures::TryStreamExt as _;
use futures::future::{BoxFuture, try_join_all};
use kv::{Engine as _, RangeRequest, ReadMode, Transaction, TransactionOptions};
use kv_fdb::{FdbEngine, NetworkGuard, Options};

const PREFIX: &[u8] = b"kv-fdb bench/";
const KEYS: u64 = 10_000;
/// Pairs of the range that is read.
const RANGE_PAIRS: u64 = 1_000;
/// Keys read together.
const MANY: u64 = 16;

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(default, |value| value.parse().unwrap())
}

fn key(number: u64) -> Vec<u8> {
    [PREFIX, format!("{:08}", number % KEYS).as_bytes()].concat()
}

#[derive(Clone)]
struct Sides {
    engine: Arc<FdbEngine>,
    bare: Arc<Database>,
}

impl Sides {
    fn begin(&self) -> Box<dyn Transaction> {
        self.engine.begin(TransactionOptions::default())
    }

    fn trx(&self) -> Bare {
        self.bare.create_trx().unwrap()
    }
}

type Work = fn(Sides, u64) -> BoxFuture<'static, bool>;

/// A kind of transaction, through the engine and without it. False for a conflict.
struct Row {
    name: &'static str,
    engine: Work,
    bare: Work,
}

const ROWS: &[Row] = &[
    Row {
        name: "commit: 3 reads, 8 small writes, one of 2 kB",
        engine: |sides, number| {
            Box::pin(async move {
                let mut trx = sides.begin();
                let keys: Vec<Bytes> = (0..3).map(|i| key(number * 31 + i).into()).collect();
                trx.get_many(&keys, ReadMode::Serializable).await.unwrap();
                for i in 0..8 {
                    trx.set(&key(number * 31 + i), &number.to_le_bytes());
                }
                trx.set(&key(number * 31 + 9), &[7; 2048]);
                trx.commit().await.is_ok()
            })
        },
        bare: |sides, number| {
            Box::pin(async move {
                let trx = sides.trx();
                try_join_all((0..3).map(|i| trx.get(&key(number * 31 + i), false))).await.unwrap();
                for i in 0..8 {
                    trx.set(&key(number * 31 + i), &number.to_le_bytes());
                }
                trx.set(&key(number * 31 + 9), &[7; 2048]);
                trx.commit().await.is_ok()
            })
        },
    },
    Row {
        name: "one read",
        engine: |sides, number| {
            Box::pin(async move { sides.begin().get(&key(number * 31), ReadMode::Snapshot).await.is_ok() })
        },
        bare: |sides, number| {
            Box::pin(async move {
                let value = sides.trx().get(&key(number * 31), true).await.unwrap();
                std::hint::black_box(value.map(|value| value.to_vec()));
                true
            })
        },
    },
    Row {
        name: "16 reads together",
        engine: |sides, number| {
            Box::pin(async move {
                let keys: Vec<Bytes> = (0..MANY).map(|i| key(number * 31 + i).into()).collect();
                sides.begin().get_many(&keys, ReadMode::Snapshot).await.is_ok()
            })
        },
        bare: |sides, number| {
            Box::pin(async move {
                let trx = sides.trx();
                let values =
                    try_join_all((0..MANY).map(|i| trx.get(&key(number * 31 + i), true))).await.unwrap();
                std::hint::black_box(values.iter().flatten().map(|value| value.to_vec()).collect::<Vec<_>>());
                true
            })
        },
    },
    Row {
        name: "a range of 1 000 pairs",
        engine: |sides, number| {
            Box::pin(async move {
                let first = number * 31 % (KEYS - RANGE_PAIRS);
                let request = RangeRequest::new(key(first), key(first + RANGE_PAIRS));
                let page = sides.begin().get_range(&request, ReadMode::Snapshot).await.unwrap();
                !page.pairs.is_empty()
            })
        },
        bare: |sides, number| {
            Box::pin(async move {
                let first = number * 31 % (KEYS - RANGE_PAIRS);
                let option = RangeOption {
                    mode: foundationdb::options::StreamingMode::WantAll,
                    ..RangeOption::from((key(first), key(first + RANGE_PAIRS)))
                };
                let trx = sides.trx();
                let pairs: Vec<_> = trx
                    .get_ranges_keyvalues(option, true)
                    .map_ok(|pair| (pair.key().to_vec(), pair.value().to_vec()))
                    .try_collect()
                    .await
                    .unwrap();
                !pairs.is_empty()
            })
        },
    },
];

/// Transactions a second, and how many conflicted a thousand.
async fn measure(sides: &Sides, work: Work, tasks: u64, time: Duration) -> (f64, f64) {
    let (done, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let running = (0..tasks).map(|task| {
        let (sides, done, refused) = (sides.clone(), done.clone(), refused.clone());
        tokio::spawn(async move {
            let mut number = task * 1_000_003;
            while began.elapsed() < time {
                let counter = if work(sides.clone(), number).await { &done } else { &refused };
                counter.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
        })
    });
    try_join_all(running.collect::<Vec<_>>()).await.unwrap();
    let (done, refused) = (done.load(Ordering::Relaxed) as f64, refused.load(Ordering::Relaxed) as f64);
    (done / began.elapsed().as_secs_f64(), refused * 1000.0 / (done + refused).max(1.0))
}

async fn clear(sides: &Sides) {
    let trx = sides.trx();
    trx.clear_range(PREFIX, &kv::prefix_end(PREFIX));
    trx.commit().await.unwrap();
}

async fn fill(sides: &Sides) {
    for page in 0..KEYS / 500 {
        let trx = sides.trx();
        for number in page * 500..(page + 1) * 500 {
            trx.set(&key(number), &[number as u8; 200]);
        }
        trx.commit().await.unwrap();
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(work);
}

fn main() {
    // `cargo test` runs benches too, to see that they run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(cluster_file) = std::env::var_os("MSS_FDB_CLUSTER_FILE") else {
        println!("MSS_FDB_CLUSTER_FILE names no FoundationDB cluster");
        return;
    };
    let (tasks, seconds, rounds) =
        (argument("--tasks", 64), argument("--seconds", 3), argument("--rounds", 3));
    let _network = NetworkGuard::new();
    block_on(async {
        let options = Options {
            cluster_file: Some(cluster_file.clone().into()),
            library: std::env::var_os("MSS_FDB_LIBRARY").map(Into::into),
            ..Options::default()
        };
        let engine = FdbEngine::open(options).await.unwrap();
        let bare = Arc::new(Database::from_path(cluster_file.to_str().unwrap()).unwrap());
        let sides = Sides { engine, bare };
        println!("{tasks} tasks, {rounds} rounds of {seconds} s, medians");
        println!(
            "| transaction | engine /s | bare /s | ratio | conflicts ‰, engine, bare |\n|---|---|---|---|---|"
        );
        for row in ROWS {
            clear(&sides).await;
            fill(&sides).await;
            let (mut engine, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                engine.push(measure(&sides, row.engine, tasks, Duration::from_secs(seconds)).await);
                bare.push(measure(&sides, row.bare, tasks, Duration::from_secs(seconds)).await);
            }
            let median = |runs: &mut Vec<(f64, f64)>| {
                runs.sort_by(|a, b| a.0.total_cmp(&b.0));
                runs[runs.len() / 2]
            };
            let (engine, bare) = (median(&mut engine), median(&mut bare));
            let (name, ratio) = (row.name, engine.0 / bare.0);
            println!(
                "| {name} | {:.0} | {:.0} | {ratio:.2} | {:.1}, {:.1} |",
                engine.0, bare.0, engine.1, bare.1
            );
        }
        clear(&sides).await;
    });
}
