//! The suite under injected faults, the wrapper that injects them, and the retry loop.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use kv::fault::{Fault, FaultEngine, Faults};
use kv::suite::{self, Needs};
use kv::{Engine, ErrorKind, ReadMode, TransactionOptions};
use kv_embedded::{EmbeddedEngine, Options};
use tokio::time::timeout;

/// Seeds beyond those asked for. A fault that so many runs do not show is not injected.
const SEEDS_MORE_MAX: u64 = 20;

fn engine(directory: &tempfile::TempDir) -> Arc<EmbeddedEngine> {
    EmbeddedEngine::open(directory.path(), Options { free_bytes_min: 0, ..Options::default() })
        .expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_holds_under_survivable_faults() {
    let directory = tempfile::tempdir().unwrap();
    let inner = engine(&directory);
    let seeds = std::env::var("MSS_FAULT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2);
    let mut missing = vec![
        Fault::Conflict,
        Fault::UnknownCommitted,
        Fault::UnknownLost,
        Fault::ReadTooOld,
        Fault::WatchLost,
    ];
    // A few watches only are set in a run, and how often depends on the machine: on until each fault came up.
    let mut seed = 0;
    while seed < seeds || !missing.is_empty() {
        assert!(seed < seeds + SEEDS_MORE_MAX, "{missing:?} never came up");
        let faulty = FaultEngine::new(inner.clone(), seed, Faults::survivable());
        println!("seed {seed}");
        suite::report(&suite::run_selected(|| faulty.clone(), |case| case.needs == Needs::Nothing).await);
        missing.retain(|fault| faulty.injected(*fault) == 0);
        seed += 1;
    }
}

#[tokio::test]
async fn a_wrapper_without_faults_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let calm = FaultEngine::new(engine(&directory), 1, Faults::none());
    suite::report(&suite::run_selected(|| calm.clone(), |case| case.needs != Needs::CalmAndTime).await);
}

/// The fate of so many transactions, each with a read and a write.
async fn fates(engine: &FaultEngine, count: u32) -> Vec<String> {
    let mut fates = Vec::new();
    for number in 0..count {
        let mut trx = engine.begin(TransactionOptions::default());
        trx.set(b"n", &number.to_be_bytes());
        let read = trx.get(b"other", ReadMode::Serializable).await.err().map(|error| error.kind());
        let commit = trx.commit().await.err().map(|error| error.kind());
        fates.push(format!("{read:?} {commit:?}"));
    }
    fates
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides() {
    let directory = tempfile::tempdir().unwrap();
    let inner = engine(&directory);
    let wrapped =
        |seed| FaultEngine::new(inner.clone(), seed, Faults { read_too_old: 0.2, ..Faults::survivable() });
    let first = fates(&wrapped(7), 200).await;
    assert_eq!(first, fates(&wrapped(7), 200).await);
    assert_ne!(first, fates(&wrapped(8), 200).await);
}

#[tokio::test]
async fn faults_change_at_run_time_and_do_what_they_say() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = FaultEngine::new(engine(&directory), 1, Faults::none());
    let commit = async |value: &[u8]| {
        let mut trx = faulty.begin(TransactionOptions::default());
        trx.set(b"k", value);
        trx.commit().await.err().map(|error| error.kind())
    };
    let value = async || {
        let trx = &mut faulty.begin(TransactionOptions::default());
        trx.get(b"k", ReadMode::Snapshot).await.unwrap()
    };
    assert_eq!(commit(b"0").await, None);
    let check = async |faults: Faults, expected: ErrorKind, fault: Fault, written: bool| {
        assert_eq!(commit(b"before").await, None);
        faulty.set_faults(faults);
        assert_eq!(commit(b"after").await, Some(expected));
        let mut reader = faulty.begin(TransactionOptions::default());
        reader.get(b"k", ReadMode::Serializable).await.unwrap();
        reader.commit().await.expect("what only reads does not fail at commit");
        faulty.set_faults(Faults::none());
        assert_eq!(
            value().await.as_deref(),
            Some(if written { &b"after"[..] } else { b"before" }),
            "{faults:?}"
        );
        assert_eq!(faulty.injected(fault), 1);
    };
    let none = Faults::none();
    check(Faults { conflict: 1.0, ..none }, ErrorKind::Conflict, Fault::Conflict, false).await;
    check(Faults { unknown_lost: 1.0, ..none }, ErrorKind::CommitUnknown, Fault::UnknownLost, false).await;
    check(Faults { unknown_committed: 1.0, ..none }, ErrorKind::CommitUnknown, Fault::UnknownCommitted, true)
        .await;
    check(
        Faults { commit_unavailable: 1.0, ..none },
        ErrorKind::Unavailable,
        Fault::CommitUnavailable,
        false,
    )
    .await;
    check(Faults { storage_full: 1.0, ..none }, ErrorKind::StorageFull, Fault::StorageFull, false).await;

    faulty.set_faults(Faults { read_unavailable: 1.0, ..none });
    let failed = faulty.begin(TransactionOptions::default()).get(b"k", ReadMode::Snapshot).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    faulty.set_faults(none);
    assert_eq!(faulty.faults(), none);
}

#[tokio::test]
async fn watches_are_lost_late_and_spurious() {
    let directory = tempfile::tempdir().unwrap();
    let faulty = FaultEngine::new(engine(&directory), 1, Faults::none());
    let watch = async |faults: Faults| {
        faulty.set_faults(faults);
        let mut trx = faulty.begin(TransactionOptions::default());
        let watch = trx.watch(b"k").await.unwrap();
        trx.commit().await.unwrap();
        faulty.set_faults(Faults::none());
        vec![watch]
    };
    let touch = async |value: &[u8]| {
        let mut trx = faulty.begin(TransactionOptions::default());
        trx.set(b"k", value);
        trx.commit().await.unwrap();
    };
    let none = Faults::none();
    let mut quiet = watch(none).await.remove(0);
    let spurious = watch(Faults { watch_spurious: 1.0, delay_ms_max: 5, ..none }).await.remove(0);
    timeout(Duration::from_secs(10), spurious).await.expect("fires for nothing").unwrap();
    assert!(timeout(Duration::from_millis(20), &mut quiet).await.is_err());
    let lost = watch(Faults { watch_lost: 1.0, ..none }).await.remove(0);
    let late = watch(Faults { watch_late: 1.0, delay_ms_max: 50, ..none }).await.remove(0);
    touch(b"1").await;
    timeout(Duration::from_secs(10), quiet).await.expect("fires").unwrap();
    timeout(Duration::from_secs(10), late).await.expect("fires, late").unwrap();
    assert!(timeout(Duration::from_millis(50), lost).await.is_err(), "never fires");
}

/// How often a body that writes runs, and how it ends, when every commit fails in one way.
async fn attempts(faults: Faults, policy: kv::RetryPolicy) -> (u32, Option<ErrorKind>) {
    let directory = tempfile::tempdir().unwrap();
    let faulty = FaultEngine::new(engine(&directory), 1, faults);
    let mut attempts = Vec::new();
    let result = kv::run::<(), kv::Error, _>(
        faulty.as_ref(),
        TransactionOptions::default(),
        policy,
        |trx, attempt| {
            attempts.push(attempt);
            trx.set(b"k", b"v");
            Box::pin(async { Ok(()) })
        },
    )
    .await;
    for (index, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.number as usize, index + 1);
        let unknown = faults.unknown_lost > 0.0 && index > 0;
        assert_eq!(attempt.maybe_committed, unknown, "attempt {}", attempt.number);
    }
    (attempts.len() as u32, result.err().map(|error| error.kind()))
}

#[tokio::test]
async fn the_retry_loop_goes_on_as_long_as_it_may_and_no_longer() {
    let few = kv::RetryPolicy { attempts_max: 5, ..kv::RetryPolicy::default() };
    let idempotent = kv::RetryPolicy { attempts_max: 5, ..kv::RetryPolicy::idempotent() };
    let none = Faults::none();
    let conflict = Faults { conflict: 1.0, ..none };
    let unknown = Faults { unknown_lost: 1.0, ..none };
    assert_eq!(attempts(none, few).await, (1, None));
    assert_eq!(attempts(conflict, few).await, (5, Some(ErrorKind::Conflict)));
    assert_eq!(attempts(unknown, few).await, (1, Some(ErrorKind::CommitUnknown)));
    assert_eq!(attempts(unknown, idempotent).await, (5, Some(ErrorKind::CommitUnknown)));
    let full = Faults { storage_full: 1.0, ..none };
    assert_eq!(attempts(full, idempotent).await, (1, Some(ErrorKind::StorageFull)));
}
