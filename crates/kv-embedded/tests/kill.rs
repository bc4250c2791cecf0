//! A process killed at any moment loses nothing it answered, and leaves no transaction in part.
//!
//! The test starts itself as a child (`KILL_CHILD` names the directory) that commits from several tasks and
//! prints what was answered; kills it; opens the directory; compares. `MSS_KILL_ROUNDS` sets the number of
//! kills, over the same directory, so that recoveries follow recoveries.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::ReadMode::{Serializable, Snapshot};
use kv::{AtomicOp, Engine, RangeRequest, TransactionOptions};
use kv_embedded::{EmbeddedEngine, Options};
use rand::Rng;

const CHILD: &str = "KILL_CHILD";
const TASKS: u32 = 8;
/// Keys each transaction writes; all or none of them must be there.
const PARTS: u32 = 5;

fn options() -> Options {
    // Small, so that flushes, compactions and journal rotations happen within a round.
    Options { free_bytes_min: 0, memtable_bytes: 1 << 20, ..Options::default() }
}

fn part_key(task: u32, number: u32, part: u32) -> Bytes {
    [&b"part/"[..], &task.to_be_bytes(), &number.to_be_bytes(), &part.to_be_bytes()].concat().into()
}

/// A value that tells which transaction wrote it, of a size that varies from tiny to beyond a page.
fn part_value(task: u32, number: u32, part: u32) -> Bytes {
    let bytes = [10, 100, 3000, 200, 9000][part as usize % 5] + number as usize % 50;
    let mut seed = task.wrapping_mul(31).wrapping_add(number).wrapping_mul(31).wrapping_add(part) | 1;
    (0..bytes)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as u8
        })
        .collect()
}

/// The child: each task goes on from where its counter stands.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn child(directory: &Path) {
    let engine = EmbeddedEngine::open(directory, options()).unwrap();
    println!("open");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let head = Bytes::from([&b"head/"[..], &task.to_be_bytes()].concat());
                loop {
                    let mut trx = engine.begin(TransactionOptions::default());
                    let value = trx.get(&head, Serializable).await.unwrap();
                    let number =
                        value.map_or(0, |value| u32::from_be_bytes(value[..].try_into().unwrap())) + 1;
                    for part in 0..PARTS {
                        trx.set_bytes(part_key(task, number, part), part_value(task, number, part));
                    }
                    // Every tenth removes an earlier one, whole.
                    if number % 10 == 0 {
                        trx.clear_range(&part_key(task, number - 5, 0), &part_key(task, number - 5, PARTS));
                    }
                    trx.set(&head, &number.to_be_bytes());
                    trx.atomic(AtomicOp::Add, b"total", &1u64.to_le_bytes());
                    let committed = trx.commit().await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{task} {number} {}", committed.version).unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    // They end with the process, or with a failure.
    futures::future::select_all(tasks).await.0.unwrap();
}

/// Checks all promises against what was answered: task → (number, version).
async fn check(directory: &Path, answered: &BTreeMap<u32, (u32, u64)>) -> u64 {
    let engine = EmbeddedEngine::open(directory, options()).unwrap();
    // A transaction a read: nobody writes, and after many kills there is more than one may read in its time.
    let begin = || engine.begin(TransactionOptions::default());
    let version = begin().read_version().await.unwrap();
    let mut total = 0;
    for task in 0..TASKS {
        let head = begin().get(&[&b"head/"[..], &task.to_be_bytes()].concat(), Snapshot).await.unwrap();
        let last = head.map_or(0, |value| u32::from_be_bytes(value[..].try_into().unwrap()));
        let (number, at) = answered.get(&task).copied().unwrap_or_default();
        assert!(last >= number, "task {task} was answered {number}, and {last} is there");
        assert!(version >= at, "commit version {at} was answered, and {version} is there");
        total += u64::from(last);
        let mut request = RangeRequest::new(part_key(task, 0, 0), part_key(task + 1, 0, 0));
        let mut found = BTreeMap::new();
        loop {
            let page = begin().get_range(&request, Snapshot).await.unwrap();
            let next = page.pairs.last().map(|pair| Bytes::from([&pair.key[..], &[0]].concat()));
            found.extend(page.pairs.into_iter().map(|pair| (pair.key, pair.value)));
            match next {
                Some(next) if page.more => request.begin = next,
                _ => break,
            }
        }
        for number in 1..=last {
            let removed = number % 10 == 5 && number + 5 <= last;
            for part in 0..PARTS {
                let value = found.remove(&part_key(task, number, part));
                let expected = (!removed).then(|| part_value(task, number, part));
                assert!(value == expected, "task {task} number {number} of {last} part {part}");
            }
        }
        assert!(found.is_empty(), "task {task}: {} parts of what its head does not count", found.len());
    }
    let counted = begin().get(b"total", Snapshot).await.unwrap();
    let counted = counted.map_or(0, |value| u64::from_le_bytes(value[..].try_into().unwrap()));
    assert_eq!(counted, total, "the counter and what it counts");
    engine.close();
    total
}

/// Runs the child for a while, kills it, and returns what it answered.
fn run_and_kill(directory: &Path, for_ms: u64) -> BTreeMap<u32, (u32, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_answered_is_lost_by_a_kill", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, read) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in out.lines() {
            let Ok(line) = line else { break };
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let mut answered = BTreeMap::new();
    let mut take = |line: String| {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [task, number, version] = fields[..]
            && let (Ok(task), Ok(number), Ok(version)) = (task.parse(), number.parse(), version.parse())
        {
            answered.insert(task, (number, version));
        }
    };
    let mut until = Instant::now() + Duration::from_secs(60);
    let mut open = false;
    while let Ok(line) = read.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if !open && line.ends_with("open") {
            open = true;
            until = Instant::now() + Duration::from_millis(for_ms);
        }
        take(line);
        if Instant::now() >= until {
            break;
        }
    }
    assert!(open, "the child opens the directory");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    // What it had printed and the pipe still held was answered too; a line cut short was not.
    while let Ok(line) = read.try_recv() {
        take(line);
    }
    answered
}

#[test]
fn nothing_answered_is_lost_by_a_kill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        child(Path::new(&directory));
        return;
    }
    let rounds = std::env::var("MSS_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut answered = BTreeMap::new();
    let mut total = 0;
    for round in 0..rounds {
        answered.extend(run_and_kill(directory.path(), rand::rng().random_range(20..400)));
        let found = runtime.block_on(check(directory.path(), &answered));
        assert!(found >= total, "round {round}");
        total = found;
    }
    assert!(total > 0, "something was committed");
    println!("{rounds} kills, {total} commits");
}

/// Kills that hit the creation of a directory leave one that opens.
#[test]
fn a_kill_while_the_directory_is_made_leaves_one_that_opens() {
    for half_made in [&["store.new"][..], &["store.new", "FORMAT"]] {
        let directory = tempfile::tempdir().unwrap();
        for name in half_made {
            match *name {
                "FORMAT" => std::fs::write(directory.path().join(name), "mss-kv-embedded 1\n").unwrap(),
                _ => {
                    std::fs::create_dir(directory.path().join(name)).unwrap();
                    std::fs::write(directory.path().join(name).join("0.jnl"), "half").unwrap();
                }
            }
        }
        drop(EmbeddedEngine::open(directory.path(), options()).unwrap());
    }
}

/// What a power cut leaves at the end of a journal (a batch cut short, or blocks never written) is not data.
#[test]
fn a_torn_journal_tail_is_dropped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tails: [&[u8]; 4] =
        [&[0; 4096], &[0xFF; 4096], b"\x01\x00\x00\x00\x01garbage that is no batch", &[1]];
    for tail in tails {
        let directory = tempfile::tempdir().unwrap();
        let answered = run_and_kill(directory.path(), 50);
        let journal = newest_journal(&directory.path().join("store"));
        let mut file = std::fs::OpenOptions::new().append(true).open(journal).unwrap();
        file.write_all(tail).unwrap();
        drop(file);
        let first = runtime.block_on(check(directory.path(), &answered));
        // And what is written after the recovery is found by the next.
        let answered = run_and_kill(directory.path(), 50);
        assert!(runtime.block_on(check(directory.path(), &answered)) > first);
    }
}

/// A batch cut short at any place is dropped whole, and those before it stay.
#[test]
fn a_cut_journal_keeps_what_is_whole() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
        for number in 0..10u8 {
            let mut trx = engine.begin(TransactionOptions::default());
            for part in 0..3u8 {
                trx.set(&[b'k', number, part], &vec![number; 500]);
            }
            trx.commit().await.unwrap();
        }
        // As if killed: what the close would tidy up is cut off below.
        engine.close();
    });
    let journal = newest_journal(&directory.path().join("store"));
    let whole = std::fs::read(&journal).unwrap();
    let end = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let mut last_complete = 10;
    for cut in [end - 1, end - 3, end - 400, end - 1700, end - 4000, end / 2, 100] {
        std::fs::write(&journal, &whole[..cut]).unwrap();
        let complete = runtime.block_on(async {
            let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
            let mut trx = engine.begin(TransactionOptions::default());
            let pairs = trx.get_range(&RangeRequest::prefix(b"k"), Snapshot).await.unwrap().pairs;
            drop(trx);
            engine.close();
            assert_eq!(pairs.len() % 3, 0, "cut at {cut} of {end}: a transaction in part");
            for (index, pair) in pairs.iter().enumerate() {
                let (number, part) = ((index / 3) as u8, (index % 3) as u8);
                assert_eq!(pair.key, [b'k', number, part][..], "cut at {cut} of {end}");
            }
            pairs.len() / 3
        });
        assert!(complete <= last_complete && complete < 10, "cut at {cut} of {end}: {complete}");
        last_complete = complete;
    }
}

fn newest_journal(store: &Path) -> std::path::PathBuf {
    let journals = std::fs::read_dir(store).unwrap().flatten().map(|entry| entry.path());
    let number = |path: &Path| path.file_stem()?.to_str()?.parse::<u64>().ok();
    journals
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .max_by_key(|path| number(path))
        .unwrap()
}

/// Two processes: the second is told who has the directory, and which.
#[test]
fn a_second_process_is_refused_by_name() {
    if let Some(directory) = std::env::var_os("LOCK_CHILD") {
        match EmbeddedEngine::open(Path::new(&directory), options()) {
            Ok(_) => println!("opened"),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let second = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_second_process_is_refused_by_name", "--nocapture"])
            .env("LOCK_CHILD", directory.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
    let said = second();
    let name = directory.path().display().to_string();
    let pid = format!("process {}", std::process::id());
    assert!(said.contains("refused") && said.contains(&name) && said.contains(&pid), "{said}");
    engine.close();
    drop(engine);
    assert!(second().contains("opened"));
}
