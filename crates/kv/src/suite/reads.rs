//! Point reads, own writes, and the version reads see.

use bytes::Bytes;

use super::Ground;
use crate::ReadMode::{Serializable, Snapshot};

pub(super) async fn absent_keys_are_none(ground: Ground) {
    assert_eq!(ground.get("nothing").await, None);
}

pub(super) async fn a_committed_value_is_read(ground: Ground) {
    ground.put(&[("a", "1"), ("b", "2")]).await;
    assert_eq!(ground.get("a").await.as_deref(), Some(&b"1"[..]));
    ground.put(&[("a", "3")]).await;
    assert_eq!(ground.get("a").await.as_deref(), Some(&b"3"[..]));
    assert_eq!(ground.get("b").await.as_deref(), Some(&b"2"[..]));
}

pub(super) async fn empty_values_are_values(ground: Ground) {
    ground.put(&[("", ""), ("a", "")]).await;
    assert_eq!(ground.get("").await.as_deref(), Some(&b""[..]));
    assert_eq!(ground.get("a").await.as_deref(), Some(&b""[..]));
}

pub(super) async fn get_many_answers_in_order(ground: Ground) {
    ground.put(&[("a", "1"), ("c", "3")]).await;
    let keys: Vec<Bytes> = ["c", "b", "a", "c"].iter().map(|key| ground.key(key)).collect();
    let (values, _) = ground
        .retry(|trx, _| {
            let keys = keys.clone();
            Box::pin(async move { trx.get_many(&keys, Serializable).await })
        })
        .await
        .unwrap();
    let expected = [Some("3"), None, Some("1"), Some("3")].map(|value| value.map(Bytes::from));
    assert_eq!(values, expected);
}

pub(super) async fn a_transaction_reads_its_own_writes(ground: Ground) {
    ground.put(&[("old", "0"), ("gone", "0")]).await;
    let (old, gone, new) = (ground.key("old"), ground.key("gone"), ground.key("new"));
    ground
        .retry(|trx, _| {
            let (old, gone, new) = (old.clone(), gone.clone(), new.clone());
            Box::pin(async move {
                for mode in [Serializable, Snapshot] {
                    trx.set(&old, b"1");
                    trx.set_bytes(new.clone(), Bytes::from_static(b"2"));
                    trx.clear(&gone);
                    assert_eq!(trx.get(&old, mode).await?.as_deref(), Some(&b"1"[..]));
                    assert_eq!(trx.get(&new, mode).await?.as_deref(), Some(&b"2"[..]));
                    assert_eq!(trx.get(&gone, mode).await?, None);
                    trx.clear(&new);
                    assert_eq!(trx.get(&new, mode).await?, None);
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(ground.dump().await, super::strings(&[("old", "1")]));
}

pub(super) async fn the_read_version_is_fixed_by_the_first_read(ground: Ground) {
    ground.put(&[("a", "1"), ("b", "1")]).await;
    let (a, b) = (ground.key("a"), ground.key("b"));
    let mut unread = ground.begin();
    let mut trx = ground.begin();
    let version = trx.read_version().await.unwrap();
    let committed = ground.put(&[("a", "2"), ("b", "2"), ("c", "2")]).await;
    assert!(committed.version > version);
    assert_eq!(trx.get(&a, Snapshot).await.unwrap().as_deref(), Some(&b"1"[..]));
    ground.put(&[("b", "3")]).await;
    assert_eq!(trx.get(&b, Snapshot).await.unwrap().as_deref(), Some(&b"1"[..]));
    let page = trx.get_range(&ground.all(), Snapshot).await.unwrap();
    assert_eq!(page.pairs.len(), 2, "neither new keys nor new values: {:?}", page.pairs);
    assert!(page.pairs.iter().all(|pair| pair.value == "1"));
    assert_eq!(trx.read_version().await.unwrap(), version);
    assert_eq!(
        unread.get(&a, Snapshot).await.unwrap().as_deref(),
        Some(&b"2"[..]),
        "begin alone fixes nothing"
    );
    assert!(unread.read_version().await.unwrap() >= committed.version);
}

pub(super) async fn an_uncommitted_transaction_leaves_nothing(ground: Ground) {
    let mut trx = ground.begin();
    trx.set(&ground.key("a"), b"1");
    assert_eq!(ground.get("a").await, None, "visible before its commit");
    drop(trx);
    assert_eq!(ground.get("a").await, None);
}

pub(super) async fn read_versions_do_not_go_back(ground: Ground) {
    let mut last = 0;
    for round in 0..20 {
        let committed = ground.put(&[("a", &round.to_string())]).await;
        assert!(committed.version > last, "commit versions ascend");
        let ((), read) =
            ground.retry(|trx, _| Box::pin(async { trx.read_version().await.map(drop) })).await.unwrap();
        assert!(read.version >= committed.version, "a later transaction sees an earlier commit");
        assert_eq!(read.versionstamp, None);
        last = committed.version;
    }
}
