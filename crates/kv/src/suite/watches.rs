//! Watches.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Ground, SOON};
use crate::ReadMode::Snapshot;
use crate::{ErrorKind, Watch};

/// An armed watch on a key, and the value its transaction saw.
async fn armed(ground: &Ground, key: &str) -> (Watch, Option<Bytes>) {
    let key = ground.key(key);
    ground
        .retry(|trx, _| {
            let key = key.clone();
            Box::pin(async move {
                let value = trx.get(&key, Snapshot).await?;
                Ok((trx.watch(&key).await?, value))
            })
        })
        .await
        .unwrap()
        .0
}

/// Waits as a caller does, who takes a wake-up for a hint: reads again until the value is not `old`.
async fn changed_from(ground: &Ground, key: &str, mut watch: Watch, old: Option<&[u8]>) -> Option<Bytes> {
    let wait = async {
        loop {
            // A lost wake-up is within an engine's rules only under faults; whoever cares looks again.
            let _ = timeout(Duration::from_millis(500), &mut watch).await;
            let (next, value) = armed(ground, key).await;
            if value.as_deref() != old {
                return value;
            }
            watch = next;
        }
    };
    timeout(SOON, wait).await.expect("the change is seen")
}

pub(super) async fn a_watch_fires_on_a_change(ground: Ground) {
    for (old, new) in [(None, "1"), (Some("1"), "2")] {
        let (watch, value) = armed(&ground, "a").await;
        assert_eq!(value.as_deref(), old.map(str::as_bytes));
        ground.put(&[("b", "x"), ("a", new)]).await;
        let seen = changed_from(&ground, "a", watch, old.map(str::as_bytes)).await;
        assert_eq!(seen.as_deref(), Some(new.as_bytes()));
    }
}

pub(super) async fn a_watch_fires_on_a_cleared_range(ground: Ground) {
    ground.put(&[("m", "1")]).await;
    let (watch, _) = armed(&ground, "m").await;
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                trx.clear_range(&ground.key("a"), &ground.key("z"));
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(changed_from(&ground, "m", watch, Some(b"1")).await, None);
}

pub(super) async fn a_watch_sees_a_change_before_its_commit(ground: Ground) {
    ground.put(&[("a", "1")]).await;
    let mut trx = ground.begin();
    let Ok(watch) = trx.watch(&ground.key("a")).await else { return };
    ground.put(&[("a", "2")]).await;
    if trx.commit().await.is_ok() {
        assert_eq!(changed_from(&ground, "a", watch, Some(b"1")).await.as_deref(), Some(&b"2"[..]));
    }
}

pub(super) async fn a_watch_survives_its_own_write(ground: Ground) {
    let mut trx = ground.begin();
    trx.set(&ground.key("a"), b"mine");
    let mut watch = trx.watch(&ground.key("a")).await.unwrap();
    let mut counter = ground.begin();
    counter.atomic(crate::AtomicOp::Add, &ground.key("n"), &[1]);
    let mut counted = counter.watch(&ground.key("n")).await.unwrap();
    trx.commit().await.unwrap();
    counter.commit().await.unwrap();
    assert!(timeout(Duration::from_millis(100), &mut watch).await.is_err(), "its own write is what it saw");
    assert!(timeout(Duration::from_millis(100), &mut counted).await.is_err(), "its own addition too");
    ground.put(&[("a", "theirs"), ("n", "theirs")]).await;
    timeout(SOON, watch).await.expect("fires").unwrap();
    timeout(SOON, counted).await.expect("fires").unwrap();
}

pub(super) async fn an_unarmed_watch_ends_with_its_transaction(ground: Ground) {
    let mut trx = ground.begin();
    let watch = trx.watch(&ground.key("a")).await.unwrap();
    drop(trx);
    let ended = timeout(SOON, watch).await.expect("ends").unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Unavailable);
}

pub(super) async fn a_watch_that_missed_nothing_stays_quiet(ground: Ground) {
    ground.put(&[("a", "1")]).await;
    let (mut watch, _) = armed(&ground, "a").await;
    ground.put(&[("b", "1"), ("A", "1"), ("a\0", "1")]).await;
    assert!(timeout(Duration::from_millis(100), &mut watch).await.is_err(), "others' keys are not its own");
    // Through B and back to A: it may fire or not, but whoever waits learns of what comes after.
    ground.put(&[("a", "2")]).await;
    ground.put(&[("a", "1")]).await;
    ground.put(&[("a", "3")]).await;
    assert_eq!(changed_from(&ground, "a", watch, Some(b"1")).await.as_deref(), Some(&b"3"[..]));
}

pub(super) async fn dropped_watches_cost_nothing(ground: Ground) {
    // Side by side, since each takes an exchange with a distant engine.
    const TASKS: usize = 64;
    let tasks = (0..TASKS).map(|_| {
        let ground = ground.clone();
        tokio::spawn(async move {
            for _ in 0..3 * crate::limits::WATCHES_MAX / TASKS {
                let mut trx = ground.begin();
                let watch = trx.watch(&ground.key("a")).await.expect("places are given back");
                trx.commit().await.unwrap();
                drop(watch);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

pub(super) async fn a_tailer_misses_nothing(ground: Ground) {
    const ENTRIES: u64 = 50;
    let writer = {
        let ground = ground.clone();
        tokio::spawn(async move {
            for entry in 1..=ENTRIES {
                ground.put(&[("head", &entry.to_string())]).await;
                if entry % 7 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        })
    };
    let mut seen: Option<Bytes> = None;
    while seen.as_deref() != Some(ENTRIES.to_string().as_bytes()) {
        let (watch, value) = armed(&ground, "head").await;
        let number = |value: &Option<Bytes>| {
            value.as_ref().map_or(0, |value| String::from_utf8_lossy(value).parse::<u64>().unwrap())
        };
        assert!(number(&value) >= number(&seen), "the head goes back");
        seen =
            if value == seen { changed_from(&ground, "head", watch, seen.as_deref()).await } else { value };
    }
    writer.await.unwrap();
}
