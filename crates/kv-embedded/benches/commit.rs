//! Commits a second by number of tasks, against one sync a commit, and reads a second.
//!
//! `cargo bench -p kv-embedded --profile fast --bench commit -- [--seconds N] [--dir DIR] [--separate BYTES|none]
//! [--memtable MIB] [--only commit|read|grow]`. CPU is that of the whole process, user and system, from /proc/self/stat.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::ReadMode::{Serializable, Snapshot};
use kv::{AtomicOp, Engine, Error, RangeRequest, RetryPolicy, TransactionOptions};
use kv_embedded::{EmbeddedEngine, Options};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

struct Arguments {
    seconds: f64,
    dir: Option<PathBuf>,
    options: Options,
    only: Option<String>,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments { seconds: 3.0, dir: None, options: Options::default(), only: None };
    parsed.options.free_bytes_min = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        match name.as_str() {
            "--bench" => {}
            "--seconds" => parsed.seconds = value().parse().expect("seconds"),
            "--dir" => parsed.dir = Some(value().into()),
            "--separate" => {
                let text = value();
                parsed.options.separate_bytes_min = (text != "none").then(|| text.parse().expect("bytes"));
            }
            "--memtable" => parsed.options.memtable_bytes = value().parse::<u64>().expect("MiB") << 20,
            "--only" => parsed.only = Some(value()),
            _ => panic!("unknown argument {name}"),
        }
    }
    parsed
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Bytes this process had written to the disk so far.
fn disk_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc/self/io");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}

fn row_key(account: u64, folder: u8, uid: u32) -> Bytes {
    [&b"\x03acct"[..], &account.to_be_bytes(), &[folder], &uid.to_be_bytes(), b"row"].concat().into()
}

/// What storing a small message costs: three reads, eight small writes, one value of 2 kB.
async fn append(engine: &EmbeddedEngine, account: u64, uid: u32, body: &Bytes) -> Result<(), Error> {
    kv::run(engine, TransactionOptions::default(), RetryPolicy::default(), |trx, _| {
        let body = body.clone();
        Box::pin(async move {
            let head = row_key(account, 0, 0);
            let keys = [head.clone(), row_key(account, 1, 0), row_key(account, 2, uid)];
            trx.get_many(&keys, Serializable).await?;
            trx.set(&head, &[uid as u8; 60]);
            trx.set_bytes(row_key(account, 3, uid), body.slice(..200));
            trx.set_bytes(row_key(account, 4, uid), body.slice(..150));
            for index in 5..8 {
                trx.set_bytes(row_key(account, index, uid), body.slice(..30));
            }
            trx.atomic(AtomicOp::Add, &row_key(account, 8, 0), &1u64.to_le_bytes());
            trx.set_versionstamped_key(&row_key(account % 16, 9, 0), b"", &body[..40]);
            trx.set_bytes(row_key(account, 10, uid), body);
            Ok(())
        })
    })
    .await
    .map(drop)
}

struct Measured {
    rate: f64,
    p50: Duration,
    p99: Duration,
    max: Duration,
    cpu_each: Duration,
}

async fn commits(engine: &Arc<EmbeddedEngine>, tasks: u64, seconds: f64, one_sync_each: bool) -> Measured {
    let stop = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(tokio::sync::Mutex::new(()));
    let (cpu_before, started) = (cpu(), Instant::now());
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (engine, stop, gate) = (engine.clone(), stop.clone(), gate.clone());
            tokio::spawn(async move {
                let mut random = SmallRng::from_os_rng();
                let account = random.random_range(0..u64::MAX / 2);
                let mut latencies = Vec::new();
                let mut uid = 1;
                while !stop.load(Ordering::Relaxed) {
                    let mut body = vec![0; 2048];
                    random.fill_bytes(&mut body);
                    let body = Bytes::from(body);
                    let begun = Instant::now();
                    let held = if one_sync_each { Some(gate.lock().await) } else { None };
                    append(&engine, account, uid, &body).await.expect("an append commits");
                    drop(held);
                    latencies.push(begun.elapsed());
                    uid += 1;
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for handle in handles {
        latencies.extend(handle.await.expect("a task ends"));
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Measured {
        rate: latencies.len() as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        cpu_each: cpu().saturating_sub(cpu_before) / u32::try_from(latencies.len()).expect("fewer than 2^32"),
    }
}

/// What a sync costs here: a page overwritten or appended, then `fdatasync`.
fn sync_cost(directory: &std::path::Path, append: bool) -> Duration {
    use std::io::{Seek, Write};
    let path = directory.join("sync-cost");
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(&vec![1; 1 << 20]).expect("a write");
    file.sync_all().expect("a sync");
    let rounds = 200;
    let started = Instant::now();
    for _ in 0..rounds {
        if !append {
            file.rewind().expect("a seek");
        }
        file.write_all(&[2; 8192]).expect("a write");
        file.sync_data().expect("a sync");
    }
    let each = started.elapsed() / rounds;
    let _ = std::fs::remove_file(path);
    each
}

async fn reads(engine: &Arc<EmbeddedEngine>) {
    let mut random = SmallRng::seed_from_u64(7);
    let mut body = vec![0; 2048];
    random.fill_bytes(&mut body);
    let body = Bytes::from(body);
    for start in (0..20_000).step_by(200) {
        let mut trx = engine.begin(TransactionOptions::default());
        for uid in start..start + 200 {
            trx.set_bytes(row_key(1, 3, uid), body.slice(..200));
            trx.set_bytes(row_key(1, 10, uid), body.clone());
        }
        trx.commit().await.expect("a commit");
    }
    let mut next = || row_key(1, 3, random.random_range(0..20_000));
    time("point read of 200 B, a transaction each", 200_000, || {
        let key = next();
        async move {
            let mut trx = engine.begin(TransactionOptions::default());
            assert!(trx.get(&key, Serializable).await.expect("a read").is_some());
        }
    })
    .await;
    let mut random = SmallRng::seed_from_u64(8);
    let mut next = || row_key(1, 10, random.random_range(0..20_000));
    time("point read of 2 kB, a transaction each", 200_000, || {
        let key = next();
        async move {
            let mut trx = engine.begin(TransactionOptions::default());
            assert!(trx.get(&key, Snapshot).await.expect("a read").is_some());
        }
    })
    .await;
    let request =
        RangeRequest { bytes: 64 << 20, ..RangeRequest::new(row_key(1, 3, 0), row_key(1, 3, 10_000)) };
    time("range read of 10 000 pairs of 200 B", 50, || async {
        let mut trx = engine.begin(TransactionOptions::default());
        assert_eq!(trx.get_range(&request, Serializable).await.expect("a read").pairs.len(), 10_000);
    })
    .await;
    let request = RangeRequest::new(row_key(1, 3, 500), row_key(1, 3, 501));
    time("range read of 1 pair", 100_000, || async {
        let mut trx = engine.begin(TransactionOptions::default());
        assert_eq!(trx.get_range(&request, Serializable).await.expect("a read").pairs.len(), 1);
    })
    .await;
}

async fn time<F: Future<Output = ()>>(name: &str, rounds: u32, mut body: impl FnMut() -> F) {
    let started = Instant::now();
    for _ in 0..rounds {
        body().await;
    }
    println!("{name}: {:?}", started.elapsed() / rounds);
}

/// Writes for a while and shows what the directory and the rate come to.
async fn grow(engine: &Arc<EmbeddedEngine>, directory: &std::path::Path, seconds: f64) {
    let written = AtomicU64::new(0);
    for round in 1..=3 {
        let before = disk_bytes();
        let measured = commits(engine, 64, seconds, false).await;
        let disk = (disk_bytes() - before) as f64 / (measured.rate * seconds);
        written.fetch_add((measured.rate * seconds) as u64, Ordering::Relaxed);
        println!(
            "grow {round}: {:.0} commits/s, p99 {:?}, max {:?}, cpu {:?} and {:.0} bytes to disk a commit, directory {} MiB for {} commits",
            measured.rate,
            measured.p99,
            measured.max,
            measured.cpu_each,
            disk,
            size(directory) >> 20,
            written.load(Ordering::Relaxed)
        );
    }
}

fn size(path: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = arguments();
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = arguments.dir.unwrap_or_else(|| temporary.path().join("kv"));
    let engine = EmbeddedEngine::open(&directory, arguments.options).expect("opens");
    let wanted = |what: &str| arguments.only.as_ref().is_none_or(|only| only == what);
    println!(
        "fdatasync of 8 kB: appended {:?}, in place {:?}",
        sync_cost(&directory, true),
        sync_cost(&directory, false)
    );
    if wanted("commit") {
        for tasks in [1, 16, 64, 256] {
            let naive = commits(&engine, tasks, arguments.seconds / 2.0, true).await;
            let measured = commits(&engine, tasks, arguments.seconds, false).await;
            println!(
                "{tasks:>3} tasks: {:>6.0} commits/s ({:.1}x one sync each), p50 {:.2?}, p99 {:.2?}, max {:.2?}, cpu {:?} a commit (one sync each: {:?})",
                measured.rate,
                measured.rate / naive.rate,
                measured.p50,
                measured.p99,
                measured.max,
                measured.cpu_each,
                naive.cpu_each,
            );
        }
    }
    if wanted("read") {
        reads(&engine).await;
    }
    if wanted("grow") {
        grow(&engine, &directory, arguments.seconds).await;
    }
    engine.close();
    println!("directory after closing: {} MiB", size(&directory) >> 20);
}
