//! Versionstamps.

use std::sync::Arc;

use bytes::Bytes;

use super::{Ground, kind, read_all};
use crate::ReadMode::Snapshot;
use crate::{ErrorKind, Versionstamp};

pub(super) async fn keys_and_values_carry_the_stamp_of_the_commit(ground: Ground) {
    let mut trx = ground.begin();
    trx.set_versionstamped_key(&ground.key("log/"), b"/end", b"entry");
    trx.set_versionstamped_value(&ground.key("last"), b"stamp:");
    let committed = trx.commit().await.unwrap();
    let stamp = committed.versionstamp.expect("a commit that writes has a versionstamp");
    assert_eq!(stamp.0[..8], committed.version.to_be_bytes(), "eight bytes of the commit version");
    let key = ground.key([b"log/", &stamp.0[..], b"/end"].concat());
    let value = Bytes::from([b"stamp:", &stamp.0[..]].concat());
    let mut trx = ground.begin();
    assert_eq!(trx.get(&key, Snapshot).await.unwrap().as_deref(), Some(&b"entry"[..]));
    assert_eq!(trx.get(&ground.key("last"), Snapshot).await.unwrap(), Some(value));
    assert_eq!(read_all(trx.as_mut(), ground.all(), Snapshot).await.unwrap().len(), 2);
}

pub(super) async fn stamps_ascend_with_commits(ground: Ground) {
    let mut last = None;
    for round in 0..20 {
        let ((), committed) = ground
            .retry(|trx, _| {
                let prefix = ground.key("log/");
                Box::pin(async move {
                    trx.set_versionstamped_key(&prefix, b"", format!("{round}").as_bytes());
                    Ok(())
                })
            })
            .await
            .unwrap();
        assert!(committed.versionstamp > last, "{:?} after {last:?}", committed.versionstamp);
        last = committed.versionstamp;
    }
    // A commit that ended unknown may have left its entry twice, but never out of order.
    let rounds: Vec<u32> = ground.dump().await.iter().map(|(_, round)| round.parse().unwrap()).collect();
    assert!(rounds.is_sorted(), "{rounds:?}");
    assert_eq!(rounds.last(), Some(&19));
}

pub(super) async fn concurrent_stamps_are_unique(ground: Ground) {
    let ground = Arc::new(ground);
    let tasks: Vec<_> = (0..16)
        .map(|task: u32| {
            let ground = ground.clone();
            tokio::spawn(async move {
                let mut mine: Vec<(Versionstamp, u32)> = Vec::new();
                for _ in 0..20 {
                    let mut trx = ground.begin();
                    trx.set_versionstamped_key(&ground.key("log/"), b"", &task.to_be_bytes());
                    mine.push((trx.commit().await.unwrap().versionstamp.unwrap(), task));
                }
                assert!(mine.is_sorted(), "one task's stamps ascend");
                mine
            })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.unwrap());
    }
    told.sort_unstable();
    let mut trx = ground.begin();
    let pairs = read_all(trx.as_mut(), ground.all(), Snapshot).await.unwrap();
    let written: Vec<(Versionstamp, u32)> = pairs
        .iter()
        .map(|(key, value)| {
            let stamp = ground.strip(key)[b"log/".len()..].try_into().unwrap();
            (Versionstamp(stamp), u32::from_be_bytes(value[..].try_into().unwrap()))
        })
        .collect();
    assert_eq!(written, told, "each commit wrote under the stamp it was told, in that order");
}

pub(super) async fn unwritten_stamps_are_unreadable(ground: Ground) {
    let mut trx = ground.begin();
    trx.set_versionstamped_value(&ground.key("v"), b"");
    assert_eq!(kind(trx.get(&ground.key("v"), Snapshot).await), Some(ErrorKind::Internal));
    let mut trx = ground.begin();
    trx.set_versionstamped_key(&ground.key("log/"), b"", b"");
    assert_eq!(kind(trx.get_range(&ground.all(), Snapshot).await), Some(ErrorKind::Internal));
}

pub(super) async fn a_later_clear_removes_a_stamped_key(ground: Ground) {
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                trx.set_versionstamped_key(&ground.key("log/"), b"", b"early");
                trx.clear_range(&ground.key("log/"), &ground.key("log0"));
                trx.set_versionstamped_key(&ground.key("kept/"), b"", b"late");
                Ok(())
            })
        })
        .await
        .unwrap();
    let values: Vec<String> = ground.dump().await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values.first().map(String::as_str), Some("late"));
    assert!(values.iter().all(|value| value == "late"), "{values:?}");
}
