//! Which transactions must be refused, and which must not.

use super::{Ground, kind, strings};
use crate::ReadMode::{Serializable, Snapshot};
use crate::{AtomicOp, ConflictKind, ErrorKind, RangeRequest};

const CONFLICT: Option<ErrorKind> = Some(ErrorKind::Conflict);

pub(super) async fn a_stale_read_conflicts(ground: Ground) {
    ground.put(&[("a", "1")]).await;
    let mut trx = ground.begin();
    trx.get(&ground.key("a"), Serializable).await.unwrap();
    trx.set(&ground.key("out"), b"1");
    ground.put(&[("a", "2")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT);

    let mut trx = ground.begin();
    trx.get_many(&[ground.key("z"), ground.key("a")], Serializable).await.unwrap();
    trx.set(&ground.key("out"), b"1");
    ground.put(&[("a", "2")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT, "the same value written again is a write");
}

pub(super) async fn a_stale_absence_conflicts(ground: Ground) {
    let mut trx = ground.begin();
    assert_eq!(trx.get(&ground.key("a"), Serializable).await.unwrap(), None);
    trx.set(&ground.key("out"), b"1");
    ground.put(&[("a", "1")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT);
}

pub(super) async fn blind_writes_never_conflict(ground: Ground) {
    let mut first = ground.begin();
    first.read_version().await.unwrap();
    first.set(&ground.key("a"), b"first");
    let mut second = ground.begin();
    second.read_version().await.unwrap();
    second.set(&ground.key("a"), b"second");
    second.clear_range(&ground.key("b"), &ground.key("c"));
    second.commit().await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(ground.get("a").await.as_deref(), Some(&b"first"[..]), "the last commit wins");
}

pub(super) async fn own_writes_are_no_reads(ground: Ground) {
    let mut trx = ground.begin();
    trx.read_version().await.unwrap();
    trx.set(&ground.key("a"), b"mine");
    assert_eq!(trx.get(&ground.key("a"), Serializable).await.unwrap().as_deref(), Some(&b"mine"[..]));
    ground.put(&[("a", "theirs")]).await;
    trx.commit().await.unwrap();
    assert_eq!(ground.get("a").await.as_deref(), Some(&b"mine"[..]));
}

pub(super) async fn read_only_transactions_never_conflict(ground: Ground) {
    ground.put(&[("a", "1")]).await;
    let mut trx = ground.begin();
    let version = trx.read_version().await.unwrap();
    trx.get(&ground.key("a"), Serializable).await.unwrap();
    trx.get_range(&ground.all(), Serializable).await.unwrap();
    ground.put(&[("a", "2")]).await;
    assert_eq!(trx.commit().await.unwrap().version, version);
}

pub(super) async fn write_skew_is_refused(ground: Ground) {
    ground.put(&[("x", "1"), ("y", "1")]).await;
    let (mut first, mut second) = (ground.begin(), ground.begin());
    for trx in [&mut first, &mut second] {
        trx.get(&ground.key("x"), Serializable).await.unwrap();
        trx.get(&ground.key("y"), Serializable).await.unwrap();
    }
    first.set(&ground.key("x"), b"0");
    second.set(&ground.key("y"), b"0");
    let (first, second) = futures::join!(first.commit(), second.commit());
    assert!(first.is_ok() != second.is_ok(), "one of two: {first:?} {second:?}");
    assert_eq!(first.and(second).unwrap_err().kind(), ErrorKind::Conflict);
}

pub(super) async fn snapshot_reads_allow_write_skew(ground: Ground) {
    ground.put(&[("x", "1"), ("y", "1")]).await;
    let (mut first, mut second) = (ground.begin(), ground.begin());
    for trx in [&mut first, &mut second] {
        trx.get(&ground.key("x"), Snapshot).await.unwrap();
        trx.get(&ground.key("y"), Snapshot).await.unwrap();
        trx.get_range(&ground.all(), Snapshot).await.unwrap();
    }
    first.set(&ground.key("x"), b"0");
    second.set(&ground.key("y"), b"0");
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(ground.dump().await, strings(&[("x", "0"), ("y", "0")]));
}

pub(super) async fn a_phantom_in_a_range_conflicts(ground: Ground) {
    ground.put(&[("a", "1"), ("m", "1")]).await;
    for (reverse, phantom) in [(false, "b"), (true, "c"), (false, "zz"), (true, "A")] {
        let mut request = ground.all();
        request.reverse = reverse;
        let mut trx = ground.begin();
        trx.get_range(&request, Serializable).await.unwrap();
        trx.set(&ground.key("a"), b"out");
        ground.put(&[(phantom, "1")]).await;
        assert_eq!(kind(trx.commit().await), CONFLICT, "{phantom} reverse {reverse}");
    }
    // An empty range is read too.
    let mut trx = ground.begin();
    trx.get_range(&RangeRequest::prefix(&ground.key("none/")), Serializable).await.unwrap();
    trx.set(&ground.key("a"), b"out");
    ground.put(&[("none/1", "1")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT);
}

pub(super) async fn beyond_a_page_is_no_conflict(ground: Ground) {
    ground.put(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]).await;
    let page = async |reverse: bool, written: &str| {
        let mut request = ground.all().limit(2);
        request.reverse = reverse;
        let mut trx = ground.begin();
        assert_eq!(trx.get_range(&request, Serializable).await.unwrap().pairs.len(), 2);
        trx.set(&ground.key("out"), b"1");
        ground.put(&[(written, "2")]).await;
        kind(trx.commit().await)
    };
    assert_eq!(page(false, "c").await, None, "after a page in order");
    assert_eq!(page(false, "b").await, CONFLICT, "the last of a page");
    ground.remove("out").await;
    assert_eq!(page(true, "b").await, None, "before a page in reverse");
    ground.remove("out").await;
    assert_eq!(page(true, "c").await, CONFLICT, "the last of a page in reverse");
}

pub(super) async fn clear_range_conflicts_with_reads_inside(ground: Ground) {
    ground.put(&[("a", "1"), ("m", "1"), ("z", "1")]).await;
    let check = async |read: &str, expected: Option<ErrorKind>| {
        let mut trx = ground.begin();
        trx.get(&ground.key(read), Serializable).await.unwrap();
        trx.set(&ground.key("out"), b"1");
        ground
            .retry(|trx, _| {
                let (begin, end) = (ground.key("b"), ground.key("n"));
                Box::pin(async move {
                    trx.clear_range(&begin, &end);
                    Ok(())
                })
            })
            .await
            .unwrap();
        assert_eq!(kind(trx.commit().await), expected, "read of {read}");
    };
    check("m", CONFLICT).await;
    check("absent too: c", None).await;
    check("c", CONFLICT).await;
    check("n", None).await;
    check("z", None).await;
}

pub(super) async fn explicit_ranges_conflict(ground: Ground) {
    let mut trx = ground.begin();
    trx.read_version().await.unwrap();
    trx.add_conflict_range(&ground.key("a"), &ground.key("c"), ConflictKind::Read);
    trx.set(&ground.key("out"), b"1");
    ground.put(&[("b", "1")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT, "a read range by hand");

    let mut reader = ground.begin();
    reader.get(&ground.key("k"), Serializable).await.unwrap();
    reader.set(&ground.key("out"), b"1");
    let mut writer = ground.begin();
    writer.add_conflict_range(&ground.key("j"), &ground.key("l"), ConflictKind::Write);
    let committed = writer.commit().await.unwrap();
    assert!(committed.version > reader.read_version().await.unwrap(), "a write range alone is a commit");
    assert_eq!(kind(reader.commit().await), CONFLICT, "a write range by hand");
    assert_eq!(ground.get("k").await, None, "and nothing is written");
}

pub(super) async fn atomics_do_not_conflict(ground: Ground) {
    let (mut first, mut second) = (ground.begin(), ground.begin());
    for trx in [&mut first, &mut second] {
        trx.read_version().await.unwrap();
        trx.atomic(AtomicOp::Add, &ground.key("n"), &1u64.to_le_bytes());
    }
    let mut reader = ground.begin();
    reader.get(&ground.key("n"), Serializable).await.unwrap();
    reader.set(&ground.key("out"), b"1");
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(ground.get("n").await.as_deref(), Some(&2u64.to_le_bytes()[..]));
    assert_eq!(kind(reader.commit().await), CONFLICT, "but it is a write to those who read");
}

pub(super) async fn a_refused_commit_leaves_nothing(ground: Ground) {
    ground.put(&[("a", "1"), ("b", "1")]).await;
    let mut trx = ground.begin();
    trx.get(&ground.key("a"), Serializable).await.unwrap();
    trx.set(&ground.key("b"), b"2");
    trx.clear_range(&ground.key("a"), &ground.key("b"));
    trx.atomic(AtomicOp::Add, &ground.key("n"), &[1]);
    trx.set_versionstamped_key(&ground.key("s"), b"", b"1");
    ground.put(&[("a", "2")]).await;
    assert_eq!(kind(trx.commit().await), CONFLICT);
    assert_eq!(ground.dump().await, strings(&[("a", "2"), ("b", "1")]));
}
