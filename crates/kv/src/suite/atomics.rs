//! Atomic operations.

use std::sync::Arc;

use bytes::Bytes;

use super::{Ground, kind, read_all};
use crate::ReadMode::{Serializable, Snapshot};
use crate::{AtomicOp, ErrorKind};

/// Operation, value before, operand, value after.
type Row = (AtomicOp, Option<&'static [u8]>, &'static [u8], &'static [u8]);

const TABLE: &[Row] = &[
    (AtomicOp::Add, None, &[5, 0, 0, 0], &[5, 0, 0, 0]),
    (AtomicOp::Add, Some(&[0xFF, 0]), &[1, 0], &[0, 1]),
    (AtomicOp::Add, Some(&[0xFF, 0xFF]), &[2, 0], &[1, 0]),
    (AtomicOp::Add, Some(&[10, 0]), &[0xFF, 0xFF], &[9, 0]),
    (AtomicOp::Add, Some(&[1]), &[1, 0, 0, 1], &[2, 0, 0, 1]),
    (AtomicOp::Add, Some(&[1, 7]), &[1], &[2]),
    (AtomicOp::Add, Some(&[]), &[1, 2], &[1, 2]),
    (AtomicOp::Max, None, &[3, 0], &[3, 0]),
    (AtomicOp::Max, Some(&[0, 1]), &[0xFF, 0], &[0, 1]),
    (AtomicOp::Max, Some(&[0xFF, 0]), &[0, 1], &[0, 1]),
    (AtomicOp::Max, Some(&[9]), &[8, 0], &[9, 0]),
    (AtomicOp::Min, None, &[3, 0], &[3, 0]),
    (AtomicOp::Min, Some(&[0, 1]), &[0xFF, 0], &[0xFF, 0]),
    (AtomicOp::Min, Some(&[0xFF, 0]), &[0, 1], &[0xFF, 0]),
    (AtomicOp::ByteMax, None, b"x", b"x"),
    (AtomicOp::ByteMax, Some(b"b"), b"abc", b"b"),
    (AtomicOp::ByteMax, Some(b"ab"), b"abc", b"abc"),
    (AtomicOp::ByteMin, None, b"x", b"x"),
    (AtomicOp::ByteMin, Some(b"b"), b"abc", b"abc"),
    (AtomicOp::ByteMin, Some(b"ab"), b"abc", b"ab"),
];

pub(super) async fn every_operation(ground: Ground) {
    for (number, row) in TABLE.iter().enumerate() {
        let key = ground.key(format!("{number:02}"));
        // An atomic operation is not idempotent: where the outcome is unknown, the whole row is done again.
        loop {
            let prepared = key.clone();
            ground
                .retry(|trx, _| {
                    let key = prepared.clone();
                    Box::pin(async move {
                        match row.1 {
                            Some(value) => trx.set(&key, value),
                            None => trx.clear(&key),
                        }
                        Ok(())
                    })
                })
                .await
                .unwrap();
            let mut trx = ground.begin();
            trx.atomic(row.0, &key, row.2);
            match trx.commit().await {
                Ok(_) => break,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::CommitUnknown) || error.kind().is_retryable(),
                    "{error}"
                ),
            }
        }
        let value = ground.get(&format!("{number:02}")).await;
        assert_eq!(value.as_deref(), Some(row.3), "{row:?}");
    }
}

pub(super) async fn own_atomics_are_read(ground: Ground) {
    for (number, row) in TABLE.iter().enumerate() {
        let stored = ground.key(format!("stored/{number:02}"));
        let fresh = ground.key(format!("fresh/{number:02}"));
        ground
            .retry(|trx, _| {
                let stored = stored.clone();
                Box::pin(async move {
                    match row.1 {
                        Some(value) => trx.set(&stored, value),
                        None => trx.clear(&stored),
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
        ground
            .retry(|trx, _| {
                let (ground, stored, fresh) = (ground.clone(), stored.clone(), fresh.clone());
                Box::pin(async move {
                    trx.atomic(row.0, &stored, row.2);
                    assert_eq!(trx.get(&stored, Serializable).await?.as_deref(), Some(row.3), "{row:?}");
                    if let Some(value) = row.1 {
                        trx.set(&fresh, value);
                    }
                    trx.atomic(row.0, &fresh, row.2);
                    assert_eq!(
                        trx.get(&fresh, Snapshot).await?.as_deref(),
                        Some(row.3),
                        "over an own write: {row:?}"
                    );
                    trx.clear(&fresh);
                    trx.atomic(row.0, &fresh, row.2);
                    assert_eq!(
                        trx.get(&fresh, Snapshot).await?.as_deref(),
                        Some(row.2),
                        "over a clear: {row:?}"
                    );
                    let pairs = read_all(trx, ground.all(), Snapshot).await?;
                    assert!(pairs.contains(&(stored, Bytes::from_static(row.3))), "in a range: {row:?}");
                    assert!(pairs.contains(&(fresh, Bytes::from_static(row.2))), "in a range: {row:?}");
                    Ok(())
                })
            })
            .await
            .unwrap();
    }
}

pub(super) async fn reading_what_an_atomic_changes_conflicts(ground: Ground) {
    let mut trx = ground.begin();
    trx.atomic(AtomicOp::Add, &ground.key("n"), &[1]);
    trx.get(&ground.key("n"), Serializable).await.unwrap();
    ground.put(&[("n", "x")]).await;
    assert_eq!(kind(trx.commit().await), Some(ErrorKind::Conflict));
}

pub(super) async fn concurrent_adds_are_all_counted(ground: Ground) {
    const TASKS: u64 = 16;
    const ADDS: u64 = 20;
    let ground = Arc::new(ground);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let ground = ground.clone();
            tokio::spawn(async move {
                for _ in 0..ADDS {
                    let mut trx = ground.begin();
                    trx.atomic(AtomicOp::Add, &ground.key("n"), &1u64.to_le_bytes());
                    trx.atomic(AtomicOp::Max, &ground.key("max"), &task.to_le_bytes());
                    trx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(ground.get("n").await.as_deref(), Some(&(TASKS * ADDS).to_le_bytes()[..]));
    assert_eq!(ground.get("max").await.as_deref(), Some(&(TASKS - 1).to_le_bytes()[..]));
}
