//! A full disk: commits are refused, nothing is lost, reads go on, and all is well once there is room.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fs4::fs_std::FileExt;
use kv::{Engine, Error, ErrorKind, ReadMode, TransactionOptions};
use kv_embedded::{EmbeddedEngine, Options};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tokio::time::timeout;

async fn put(engine: &EmbeddedEngine, key: &str, value: &Bytes) -> Result<(), Error> {
    let mut trx = engine.begin(TransactionOptions::default());
    // Reads too, so that it holds on to the store that it read from.
    trx.get(b"before", ReadMode::Serializable).await?;
    trx.set_bytes(Bytes::copy_from_slice(key.as_bytes()), value.clone());
    trx.commit().await.map(drop)
}

async fn get(engine: &EmbeddedEngine, key: &str) -> Result<Option<Bytes>, Error> {
    engine.begin(TransactionOptions::default()).get(key.as_bytes(), ReadMode::Serializable).await
}

#[tokio::test]
async fn commits_are_refused_below_the_floor() {
    const GIB: u64 = 1 << 30;
    let directory = tempfile::tempdir().unwrap();
    let free = fs4::available_space(directory.path()).unwrap();
    if free < 8 * GIB {
        eprintln!("not run: needs 8 GiB free, found {free} bytes");
        return;
    }
    let options = Options { free_bytes_min: free - 2 * GIB, ..Options::default() };
    let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
    put(&engine, "before", &Bytes::from_static(b"1")).await.unwrap();

    let ballast = directory.path().join("ballast");
    File::create(&ballast).unwrap().allocate(4 * GIB).unwrap();
    let refused = put(&engine, "during", &Bytes::from_static(b"1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(get(&engine, "before").await.unwrap().as_deref(), Some(&b"1"[..]), "reads go on");
    assert_eq!(get(&engine, "during").await.unwrap(), None, "nothing of it was written");

    std::fs::remove_file(&ballast).unwrap();
    put(&engine, "after", &Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(get(&engine, "during").await.unwrap(), None);
}

/// A file system of its own; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let size = format!("size={megabytes}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => None,
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// No floor at all, so that the store itself meets the full disk: in its journal, its flushes, its merges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_met_a_full_disk_comes_back() {
    const MIB: u64 = 1 << 20;
    let Some(mounted) = Mounted::new(400) else {
        eprintln!("not run: needs the right to mount a tmpfs");
        return;
    };
    let options = Options { free_bytes_min: 0, memtable_bytes: 2 * MIB, ..Options::default() };
    let directory = mounted.path().join("kv");
    let mut engine = EmbeddedEngine::open(&directory, options.clone()).unwrap();
    let ballast = mounted.path().join("ballast");
    let mut answered = Vec::new();
    for round in 0..4u64 {
        // Room for a little more than what is there already, another amount each time.
        let leave = 24 * MIB + round * 7_654_321;
        let free = fs4::available_space(mounted.path()).unwrap();
        File::create(&ballast).unwrap().allocate(free.saturating_sub(leave)).unwrap();
        let tasks: Vec<_> =
            (0..8).map(|task| tokio::spawn(fill(engine.clone(), format!("{round}/{task}")))).collect();
        for task in tasks {
            let (keys, failure) =
                timeout(PATIENCE, task).await.expect("a full disk hangs no commit").unwrap();
            assert_eq!(failure.kind(), ErrorKind::StorageFull, "{failure}");
            answered.extend(keys);
        }
        check(&engine, &answered, "while the disk is full").await;

        std::fs::remove_file(&ballast).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = put(&engine, "after", &value("after")).await {
            assert!(Instant::now() < deadline, "writes do not come back: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        check(&engine, &answered, "with room again").await;
        if round % 2 == 1 {
            engine.close();
            drop(engine);
            engine = EmbeddedEngine::open(&directory, options.clone()).unwrap();
            check(&engine, &answered, "reopened").await;
            remove_all(&engine).await;
            answered.clear();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes until the disk is full: the keys answered, and the error that ended it.
async fn fill(engine: Arc<EmbeddedEngine>, prefix: String) -> (Vec<String>, Error) {
    let mut answered = Vec::new();
    for number in 0..10_000 {
        let key = format!("k/{prefix}/{number:05}");
        match put(&engine, &key, &value(&key)).await {
            Ok(()) => answered.push(key),
            // Unavailable: just being opened again, which another task's failure brought about.
            Err(error) if matches!(error.kind(), ErrorKind::CommitUnknown | ErrorKind::Unavailable) => {}
            Err(error) => return (answered, error),
        }
    }
    panic!("the disk never fills");
}

/// A value for a key: not compressible, so that it takes the room it seems to take.
fn value(key: &str) -> Bytes {
    let mut seed = [0; 32];
    seed[..key.len()].copy_from_slice(key.as_bytes());
    let mut value = vec![0; 1000 + key.len() * 3000];
    SmallRng::from_seed(seed).fill_bytes(&mut value);
    value.into()
}

async fn check(engine: &EmbeddedEngine, answered: &[String], when: &str) {
    for key in answered {
        assert!(get(engine, key).await.unwrap().is_some_and(|found| found == value(key)), "{key} {when}");
    }
}

async fn remove_all(engine: &EmbeddedEngine) {
    let mut trx = engine.begin(TransactionOptions::default());
    trx.clear_range(b"k/", b"k0");
    trx.commit().await.unwrap();
}
