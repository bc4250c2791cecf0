//! Range reads: order, pages, own writes, cleared ranges.

use bytes::Bytes;

use super::{Ground, read_all, strings};
use crate::ReadMode::{Serializable, Snapshot};
use crate::{Error, RangeRequest, Transaction};

async fn keys(
    trx: &mut dyn Transaction,
    ground: &Ground,
    request: RangeRequest,
) -> Result<Vec<String>, Error> {
    let pairs = read_all(trx, request, Snapshot).await?;
    Ok(pairs.iter().map(|(key, _)| String::from_utf8_lossy(&ground.strip(key)).into_owned()).collect())
}

pub(super) async fn pages_ascend_and_descend(ground: Ground) {
    let names: Vec<String> = (0..25).map(|i| format!("k{i:02}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    ground.put(&pairs).await;
    for limit in [0, 1, 2, 7, 24, 25, 26] {
        for reverse in [false, true] {
            let (found, _) = ground
                .retry(|trx, _| {
                    let mut request = ground.all().limit(limit);
                    request.reverse = reverse;
                    let ground = ground.clone();
                    Box::pin(async move {
                        let first = trx.get_range(&request, Serializable).await?;
                        if limit > 0 {
                            assert!(first.pairs.len() <= limit, "limit {limit}");
                        }
                        if first.pairs.len() < 25 {
                            assert!(first.more, "limit {limit}");
                        }
                        keys(trx, &ground, request).await
                    })
                })
                .await
                .unwrap();
            let mut expected = names.clone();
            if reverse {
                expected.reverse();
            }
            assert_eq!(found, expected, "limit {limit} reverse {reverse}");
        }
    }
}

pub(super) async fn pages_end_by_bytes(ground: Ground) {
    let value = "v".repeat(1000);
    let names: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    ground.put(&pairs).await;
    for bytes in [1, 2500, 1_000_000] {
        let (found, _) = ground
            .retry(|trx, _| {
                let request = RangeRequest { bytes, ..ground.all() };
                let ground = ground.clone();
                Box::pin(async move {
                    let first = trx.get_range(&request, Snapshot).await?;
                    assert!(!first.pairs.is_empty(), "at least one pair a page");
                    assert!(
                        first.pairs.len() <= bytes / 1000 + 1,
                        "{bytes} bytes: {} pairs",
                        first.pairs.len()
                    );
                    keys(trx, &ground, request).await
                })
            })
            .await
            .unwrap();
        assert_eq!(found, names, "bytes {bytes}");
    }
}

pub(super) async fn bounds_are_half_open(ground: Ground) {
    ground.put(&[("a", ""), ("b", ""), ("b\0", ""), ("c", "")]).await;
    let check = async |begin: &'static str, end: &'static str, expected: &'static [&'static str]| {
        for reverse in [false, true] {
            let (mut found, _) = ground
                .retry(|trx, _| {
                    let mut request = RangeRequest::new(ground.key(begin), ground.key(end));
                    request.reverse = reverse;
                    let ground = ground.clone();
                    Box::pin(async move { keys(trx, &ground, request).await })
                })
                .await
                .unwrap();
            if reverse {
                found.reverse();
            }
            assert_eq!(found, expected, "[{begin:?}, {end:?})");
        }
    };
    check("a", "c", &["a", "b", "b\0"]).await;
    check("a", "b", &["a"]).await;
    check("b", "b\0", &["b"]).await;
    check("a\0", "d", &["b", "b\0", "c"]).await;
    check("d", "e", &[]).await;
    check("b", "b", &[]).await;
    check("c", "a", &[]).await;
}

pub(super) async fn own_writes_merge_into_ranges(ground: Ground) {
    ground.put(&[("b", "0"), ("d", "0"), ("f", "0"), ("h", "0")]).await;
    let (found, _) = ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                trx.set(&ground.key("a"), b"1");
                trx.set(&ground.key("d"), b"1");
                trx.clear(&ground.key("f"));
                trx.set(&ground.key("g"), b"1");
                trx.clear(&ground.key("nothing"));
                trx.set(&ground.key("z"), b"1");
                let mut forward = read_all(trx, ground.all(), Serializable).await?;
                for limit in 1..4 {
                    let paged = read_all(trx, ground.all().limit(limit), Serializable).await?;
                    assert_eq!(paged, forward, "pages of {limit}");
                    let mut reverse =
                        read_all(trx, ground.all().limit(limit).reverse(), Serializable).await?;
                    reverse.reverse();
                    assert_eq!(reverse, forward, "reverse pages of {limit}");
                }
                for pair in &mut forward {
                    pair.0 = ground.strip(&pair.0);
                }
                Ok(forward)
            })
        })
        .await
        .unwrap();
    let expected = [("a", "1"), ("b", "0"), ("d", "1"), ("g", "1"), ("h", "0"), ("z", "1")];
    assert_eq!(found, expected.map(|(key, value)| (Bytes::from(key), Bytes::from(value))));
    assert_eq!(ground.dump().await, strings(&expected));
}

pub(super) async fn clear_range_removes_what_it_covers(ground: Ground) {
    ground.put(&[("a", "0"), ("b", "0"), ("c", "0"), ("d", "0"), ("e", "0")]).await;
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                trx.set(&ground.key("bb"), b"1");
                trx.clear_range(&ground.key("b"), &ground.key("d"));
                trx.clear_range(&ground.key("x"), &ground.key("b"));
                assert_eq!(trx.get(&ground.key("b"), Serializable).await?, None);
                assert_eq!(trx.get(&ground.key("bb"), Serializable).await?, None);
                assert!(trx.get(&ground.key("d"), Serializable).await?.is_some(), "the end is exclusive");
                assert_eq!(keys(trx, &ground, ground.all()).await?, ["a", "d", "e"]);
                assert_eq!(keys(trx, &ground, ground.all().reverse().limit(1)).await?, ["e", "d", "a"]);
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(ground.dump().await, strings(&[("a", "0"), ("d", "0"), ("e", "0")]));
}

pub(super) async fn clear_range_then_set_keeps_the_set(ground: Ground) {
    ground.put(&[("a", "0"), ("b", "0"), ("c", "0")]).await;
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                trx.clear_range(&ground.key("a"), &ground.key("d"));
                trx.set(&ground.key("b"), b"1");
                trx.set(&ground.key("bb"), b"1");
                trx.clear_range(&ground.key("bb"), &ground.key("bc"));
                assert_eq!(keys(trx, &ground, ground.all()).await?, ["b"]);
                assert_eq!(trx.get(&ground.key("b"), Serializable).await?.as_deref(), Some(&b"1"[..]));
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(ground.dump().await, strings(&[("b", "1")]));
}

pub(super) async fn together_answers_as_one_by_one(ground: Ground) {
    ground.put(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    let keys = [ground.key("c"), ground.key("x"), ground.key("a")];
    let ranges = [ground.all().limit(2).reverse(), ground.all(), ground.all().limit(1)];
    for mode in [Serializable, Snapshot] {
        let (found, _) = ground
            .retry(|trx, _| {
                let (keys, ranges, own) = (keys.clone(), ranges.clone(), ground.key("b"));
                Box::pin(async move {
                    trx.clear(&own);
                    let (values, pages) = trx.get_together(&keys, &ranges, mode).await?;
                    trx.set(&own, b"2");
                    Ok((values, pages))
                })
            })
            .await
            .unwrap();
        let (values, pages) = found;
        assert_eq!(values, [Some(Bytes::from("3")), None, Some(Bytes::from("1"))]);
        let names: Vec<Vec<_>> = pages
            .iter()
            .map(|page| page.pairs.iter().map(|pair| ground.strip(&pair.key)).collect())
            .collect();
        assert_eq!(names, [vec!["d", "c"], vec!["a", "c", "d"], vec!["a"]]);
        assert_eq!(pages.iter().map(|page| page.more).collect::<Vec<_>>(), [true, false, true]);
    }
}

pub(super) async fn clear_page_ends_with_nothing_left(ground: Ground) {
    const KEYS: usize = 12_000;
    for from in (0..KEYS).step_by(4_000) {
        ground
            .retry(|trx, _| {
                for n in from..from + 4_000 {
                    trx.set(&ground.key(format!("m{n:06}")), b"");
                }
                Box::pin(async { Ok(()) })
            })
            .await
            .unwrap();
    }
    ground.put(&[("l", "before"), ("n", "after")]).await;
    let (mut begin, end) = (ground.key("m"), ground.key("n"));
    let mut pages = 0;
    loop {
        let (rest, _) = ground
            .retry(|trx, _| {
                let (begin, end) = (begin.clone(), end.clone());
                Box::pin(async move { trx.clear_page(&begin, &end).await })
            })
            .await
            .unwrap();
        pages += 1;
        let Some(rest) = rest else { break };
        assert!(rest > begin && rest <= end && pages < KEYS);
        begin = rest;
    }
    assert_eq!(ground.dump().await, strings(&[("l", "before"), ("n", "after")]));
}
