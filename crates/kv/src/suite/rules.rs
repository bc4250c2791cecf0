//! The limits, which are FoundationDB's on every engine, and the rules of the retry loop.

use std::time::Duration;

use bytes::Bytes;

use super::{Ground, kind};
use crate::ReadMode::{Serializable, Snapshot};
use crate::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_MS_MAX, VALUE_BYTES_MAX};
use crate::{AsEngineError, AtomicOp, Error, ErrorKind, RetryPolicy, Transaction, TransactionOptions, run};

const TOO_LARGE: Option<ErrorKind> = Some(ErrorKind::TooLarge);

/// A key of this ground with exactly `bytes` bytes.
fn long_key(ground: &Ground, bytes: usize) -> Bytes {
    let prefix = ground.key("");
    [prefix.as_ref(), &vec![b'k'; bytes - prefix.len()]].concat().into()
}

pub(super) async fn long_keys_and_values_are_refused(ground: Ground) {
    let writes: &[fn(&mut dyn Transaction, &Ground)] = &[
        |trx, ground| trx.set(&long_key(ground, KEY_BYTES_MAX + 1), b""),
        |trx, ground| trx.set_bytes(long_key(ground, KEY_BYTES_MAX + 1), Bytes::new()),
        |trx, ground| trx.clear(&long_key(ground, KEY_BYTES_MAX + 1)),
        |trx, ground| trx.atomic(AtomicOp::Add, &long_key(ground, KEY_BYTES_MAX + 1), &[1]),
        |trx, ground| trx.set_versionstamped_key(&long_key(ground, KEY_BYTES_MAX - 9), b"", b""),
        |trx, ground| trx.set(&ground.key("a"), &vec![0; VALUE_BYTES_MAX + 1]),
        |trx, ground| trx.set_versionstamped_value(&ground.key("a"), &vec![0; VALUE_BYTES_MAX - 13]),
        |trx, ground| trx.atomic(AtomicOp::ByteMax, &ground.key("a"), &vec![0; VALUE_BYTES_MAX + 1]),
    ];
    for (number, write) in writes.iter().enumerate() {
        let mut trx = ground.begin();
        trx.set(&ground.key("fine"), b"1");
        write(trx.as_mut(), &ground);
        trx.set(&ground.key("fine too"), b"1");
        assert_eq!(kind(trx.commit().await), TOO_LARGE, "write {number}");
    }
    assert_eq!(ground.dump().await, [], "nothing of a refused transaction is written");
}

pub(super) async fn large_transactions_are_refused(ground: Ground) {
    let value = vec![7; VALUE_BYTES_MAX];
    let mut trx = ground.begin();
    for number in 0..=TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX {
        trx.set(&ground.key(number.to_be_bytes()), &value);
    }
    assert_eq!(kind(trx.commit().await), TOO_LARGE);
    assert_eq!(ground.dump().await, []);
}

/// Many small keys reach the limit by their conflict ranges, not by what is written.
pub(super) async fn conflict_ranges_count_towards_the_limit(ground: Ground) {
    let mut trx = ground.begin();
    let mut written = 0;
    let mut number = 0u64;
    while written < TRANSACTION_BYTES_MAX / 2 {
        let key = ground.key(number.to_be_bytes());
        written += key.len();
        trx.set_bytes(key, Bytes::new());
        number += 1;
    }
    assert_eq!(kind(trx.commit().await), TOO_LARGE);
    assert_eq!(ground.dump().await, []);
}

pub(super) async fn the_largest_of_each_is_accepted(ground: Ground) {
    let key = long_key(&ground, KEY_BYTES_MAX);
    let value = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    for key in [ground.key("short"), key] {
        ground
            .retry(|trx, _| {
                let (key, value) = (key.clone(), value.clone());
                Box::pin(async move {
                    trx.set_bytes(key, value);
                    Ok(())
                })
            })
            .await
            .unwrap();
        let (found, _) = ground
            .retry(|trx, _| {
                let key = key.clone();
                Box::pin(async move { trx.get(&key, Serializable).await })
            })
            .await
            .unwrap();
        assert_eq!(found.as_ref(), Some(&value));
    }
}

pub(super) async fn the_size_counts_writes(ground: Ground) {
    let mut trx = ground.begin();
    assert_eq!(trx.approximate_size(), 0);
    trx.set(&ground.key("a"), &[0; 1000]);
    let one = trx.approximate_size();
    assert!((1000..2000).contains(&one), "{one}");
    trx.set(&ground.key("b"), &[0; 1000]);
    assert!((2000..4000).contains(&trx.approximate_size()), "{}", trx.approximate_size());
}

pub(super) async fn the_system_keys_are_out_of_reach(ground: Ground) {
    let mut trx = ground.begin();
    assert_eq!(kind(trx.get(b"\xFF/version", Snapshot).await), Some(ErrorKind::Internal));
    let request = crate::RangeRequest::new(&b"\xFF"[..], &b"\xFF\xFF"[..]);
    assert_eq!(kind(trx.get_range(&request, Snapshot).await), Some(ErrorKind::Internal));
    let mut trx = ground.begin();
    trx.set(&ground.key("a"), b"");
    trx.set(b"\xFF/version", b"");
    assert_eq!(kind(trx.commit().await), Some(ErrorKind::Internal));
    assert_eq!(ground.dump().await, []);
}

pub(super) async fn old_transactions_are_refused(ground: Ground) {
    ground.put(&[("a", "1")]).await;
    let mut reader = ground.begin();
    reader.get(&ground.key("a"), Serializable).await.unwrap();
    let mut writer = ground.begin();
    writer.get(&ground.key("a"), Serializable).await.unwrap();
    writer.set(&ground.key("out"), b"1");
    let waited = Duration::from_millis(TRANSACTION_MS_MAX + 1500);
    let until = tokio::time::Instant::now() + waited;
    let mut round = 0;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ground.put(&[("busy", &round.to_string())]).await;
        round += 1;
    }
    assert_eq!(kind(reader.get(&ground.key("a"), Serializable).await), Some(ErrorKind::TooOld));
    assert_eq!(kind(writer.commit().await), Some(ErrorKind::TooOld));
    assert_eq!(ground.get("out").await, None);
}

#[derive(Debug)]
enum Failure {
    Engine(Error),
    Own,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl AsEngineError for Failure {
    fn engine_error(&self) -> Option<&Error> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Own => None,
        }
    }
}

pub(super) async fn a_foreign_failure_is_not_retried(ground: Ground) {
    let key = ground.key("a");
    let mut attempts = 0;
    let result: Result<((), _), Failure> =
        run(ground.engine(), TransactionOptions::default(), RetryPolicy::default(), |trx, _| {
            attempts += 1;
            let key = key.clone();
            Box::pin(async move {
                trx.set(&key, b"1");
                Err(Failure::Own)
            })
        })
        .await;
    assert!(matches!(result, Err(Failure::Own)), "{result:?}");
    assert_eq!(attempts, 1);
    assert_eq!(ground.get("a").await, None);
}
