//! A full disk: commits are refused, nothing is lost, reads go on, and all is well once there is room.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fs4::fs_std::FileExt;
use kv::{Engine, Error, ErrorKind, RangeRequest, ReadMode, TransactionOptions};
use kv_embedded::{EmbeddedEngine, Options};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

async fn put(engine: &EmbeddedEngine, key: &str, value: &Bytes) -> Result<(), Error> {
    let mut trx = engine.begin(TransactionOptions::default());
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

/// No floor at all, so that the store itself meets the full disk: in its journal, its flushes, wherever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_met_a_full_disk_comes_back() {
    let Some(mounted) = Mounted::new(240) else {
        eprintln!("not run: needs the right to mount a tmpfs");
        return;
    };
    let options = Options { free_bytes_min: 0, memtable_bytes: 4 << 20, ..Options::default() };
    let engine = EmbeddedEngine::open(mounted.path().join("kv"), options.clone()).unwrap();
    let ballast = mounted.path().join("ballast");
    File::create(&ballast).unwrap().allocate(100 << 20).unwrap();
    // Not compressible, so that it takes the room it seems to take.
    let mut value = vec![0; 90_000];
    SmallRng::seed_from_u64(1).fill_bytes(&mut value);
    let value = Bytes::from(value);

    let mut answered = Vec::new();
    let mut unknown = Vec::new();
    let failure = loop {
        let key = format!("k{:05}", answered.len() + unknown.len());
        assert!(answered.len() < 10_000, "240 MiB never fill");
        match put(&engine, &key, &value).await {
            Ok(()) => answered.push(key),
            Err(error) if error.kind() == ErrorKind::CommitUnknown => unknown.push(key),
            Err(error) => break error,
        }
    };
    assert_eq!(failure.kind(), ErrorKind::StorageFull, "{failure}");
    assert!(answered.len() > 100, "{}", answered.len());
    assert!(unknown.len() <= 1, "{unknown:?}");
    for key in &answered {
        assert_eq!(
            get(&engine, key).await.unwrap().as_ref(),
            Some(&value),
            "{key} is read while the disk is full"
        );
    }

    std::fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match put(&engine, "after", &value).await {
            Ok(()) => break,
            Err(error) => assert!(Instant::now() < deadline, "writes do not come back: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for reopened in [false, true] {
        let engine = if reopened {
            engine.close();
            &EmbeddedEngine::open(mounted.path().join("kv"), options.clone()).unwrap()
        } else {
            &engine
        };
        for key in &answered {
            assert_eq!(get(engine, key).await.unwrap().as_ref(), Some(&value), "{key} reopened {reopened}");
        }
        let mut trx = engine.begin(TransactionOptions::default());
        let request = RangeRequest { bytes: 1 << 30, ..RangeRequest::prefix(b"k") };
        let found = trx.get_range(&request, ReadMode::Snapshot).await.unwrap().pairs.len();
        assert!((answered.len()..=answered.len() + unknown.len()).contains(&found), "{found}");
    }
}
