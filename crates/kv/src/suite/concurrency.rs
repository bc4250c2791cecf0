//! Invariants under contention. They hold under injected faults too: that is what they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::Rng;

use super::{Ground, read_all};
use crate::ReadMode::Serializable;
use crate::{AtomicOp, Error, RangeRequest, Transaction};

const TASKS: usize = 8;

/// Runs `body` in so many tasks, and joins them.
async fn in_tasks<F, Fut>(body: F)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(body(task))).collect();
    for task in tasks {
        if let Err(error) = task.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn number(trx: &mut dyn Transaction, key: &[u8]) -> Result<u64, Error> {
    let value = trx.get(key, Serializable).await?.unwrap_or_else(|| panic!("{key:?} is absent"));
    Ok(u64::from_be_bytes(value[..].try_into().expect("eight bytes")))
}

fn node(ground: &Ground, index: u64) -> Bytes {
    ground.key([b"node/", &index.to_be_bytes()[..]].concat())
}

/// Nodes of a ring, each holding its successor, are swapped by transactions that each read and write three of
/// them. Any lost update or non-serializable read breaks the ring into several. The idea is FoundationDB's.
pub(super) async fn a_cycle_stays_a_cycle(ground: Ground) {
    const NODES: u64 = 12;
    const SWAPS: usize = 40;
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                for index in 0..NODES {
                    trx.set(&node(&ground, index), &((index + 1) % NODES).to_be_bytes());
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    let swapper = ground.clone();
    in_tasks(move |_| {
        let ground = swapper.clone();
        async move {
            for _ in 0..SWAPS {
                let start = rand::rng().random_range(0..NODES);
                ground
                    .retry(|trx, _| {
                        let ground = ground.clone();
                        Box::pin(async move {
                            // start → a → b → c becomes start → b → a → c.
                            let a = number(trx, &node(&ground, start)).await?;
                            let b = number(trx, &node(&ground, a)).await?;
                            let c = number(trx, &node(&ground, b)).await?;
                            trx.set(&node(&ground, start), &b.to_be_bytes());
                            trx.set(&node(&ground, b), &a.to_be_bytes());
                            trx.set(&node(&ground, a), &c.to_be_bytes());
                            Ok(())
                        })
                    })
                    .await
                    .unwrap();
                let (ring, _) = ground
                    .retry(|trx, _| {
                        let ground = ground.clone();
                        Box::pin(async move {
                            let prefix = RangeRequest::prefix(&ground.key("node/"));
                            read_all(trx, prefix, Serializable).await
                        })
                    })
                    .await
                    .unwrap();
                let next: Vec<u64> =
                    ring.iter().map(|(_, value)| u64::from_be_bytes(value[..].try_into().unwrap())).collect();
                let mut at = 0;
                for step in 1..=NODES {
                    at = next[at as usize];
                    assert_eq!(at == 0, step == NODES, "a ring of {NODES}: {next:?}");
                }
            }
        }
    })
    .await;
}

/// Transfers between accounts keep the sum, for whoever reads all of them at any time.
pub(super) async fn transfers_keep_the_sum(ground: Ground) {
    const ACCOUNTS: u64 = 8;
    const EACH: u64 = 100;
    let account = |ground: &Ground, index: u64| ground.key([b"account/", &index.to_be_bytes()[..]].concat());
    ground
        .retry(|trx, _| {
            let ground = ground.clone();
            Box::pin(async move {
                for index in 0..ACCOUNTS {
                    trx.set(&account(&ground, index), &EACH.to_be_bytes());
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    let shared = ground.clone();
    in_tasks(move |task| {
        let ground = shared.clone();
        async move {
            for _ in 0..40 {
                if task % 4 == 0 {
                    let (pairs, _) = ground
                        .retry(|trx, _| {
                            let request = RangeRequest::prefix(&ground.key("account/")).limit(3);
                            Box::pin(async move { read_all(trx, request, Serializable).await })
                        })
                        .await
                        .unwrap();
                    let sum: u64 = pairs
                        .iter()
                        .map(|(_, value)| u64::from_be_bytes(value[..].try_into().unwrap()))
                        .sum();
                    assert_eq!(sum, ACCOUNTS * EACH, "a consistent view");
                    continue;
                }
                let (from, to) =
                    (rand::rng().random_range(0..ACCOUNTS), rand::rng().random_range(0..ACCOUNTS));
                let amount = rand::rng().random_range(1..=EACH / 2);
                ground
                    .retry(|trx, _| {
                        let (from, to) = (account(&ground, from), account(&ground, to));
                        Box::pin(async move {
                            let has = number(trx, &from).await?;
                            if from == to || has < amount {
                                return Ok(());
                            }
                            let other = number(trx, &to).await?;
                            trx.set(&from, &(has - amount).to_be_bytes());
                            trx.set(&to, &(other + amount).to_be_bytes());
                            Ok(())
                        })
                    })
                    .await
                    .unwrap();
            }
        }
    })
    .await;
}

/// A register that is only ever incremented: whoever begins after a write was answered reads it or a later one,
/// and nobody reads what is not written yet.
pub(super) async fn a_register_is_linearizable(ground: Ground) {
    let begun = Arc::new(AtomicU64::new(0));
    let answered = Arc::new(AtomicU64::new(0));
    let key = ground.key("register");
    ground
        .retry(|trx, _| {
            let key = key.clone();
            Box::pin(async move {
                trx.set(&key, &0u64.to_be_bytes());
                Ok(())
            })
        })
        .await
        .unwrap();
    in_tasks(move |task| {
        let (ground, key) = (ground.clone(), key.clone());
        let (begun, answered) = (begun.clone(), answered.clone());
        async move {
            for _ in 0..60 {
                let at_least = answered.load(Ordering::SeqCst);
                let write = task % 2 == 0;
                let (value, _) = ground
                    .retry(|trx, _| {
                        let (key, begun) = (key.clone(), begun.clone());
                        Box::pin(async move {
                            let mut value = number(trx, &key).await?;
                            if write {
                                value += 1;
                                begun.fetch_max(value, Ordering::SeqCst);
                                trx.set(&key, &value.to_be_bytes());
                            }
                            Ok(value)
                        })
                    })
                    .await
                    .unwrap();
                assert!(value >= at_least, "read {value} after {at_least} was answered");
                assert!(value <= begun.load(Ordering::SeqCst), "read {value} before it was written");
                answered.fetch_max(value, Ordering::SeqCst);
            }
        }
    })
    .await;
}

/// A body that looks whether it already happened applies exactly once, whatever the commits answer.
pub(super) async fn idempotent_retries_apply_once(ground: Ground) {
    const ROUNDS: usize = 25;
    let shared = ground.clone();
    in_tasks(move |task| {
        let ground = shared.clone();
        async move {
            for round in 0..ROUNDS {
                let done = ground.key(format!("done/{task}/{round}"));
                let counter = ground.key("counter");
                ground
                    .retry(|trx, attempt| {
                        let (done, counter) = (done.clone(), counter.clone());
                        Box::pin(async move {
                            if attempt.maybe_committed && trx.get(&done, Serializable).await?.is_some() {
                                return Ok(());
                            }
                            trx.set(&done, b"");
                            trx.atomic(AtomicOp::Add, &counter, &1u64.to_le_bytes());
                            Ok(())
                        })
                    })
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let expected = (TASKS * ROUNDS) as u64;
    assert_eq!(ground.get("counter").await.as_deref(), Some(&expected.to_le_bytes()[..]));
}

/// Tasks add and remove keys and keep their number beside them; every reader finds the two equal.
pub(super) async fn range_counts_stay_exact(ground: Ground) {
    let shared = ground.clone();
    in_tasks(move |task| {
        let ground = shared.clone();
        async move {
            for round in 0..25 {
                let item = ground.key(format!("item/{:02}", rand::rng().random_range(0..20)));
                let sweep = task == 0 && round % 8 == 7;
                ground
                    .retry(|trx, _| {
                        let (ground, item) = (ground.clone(), item.clone());
                        Box::pin(async move {
                            let items = RangeRequest::prefix(&ground.key("item/"));
                            let counter = ground.key("count");
                            let found = read_all(trx, items.clone(), Serializable).await?;
                            let counted = match trx.get(&counter, Serializable).await? {
                                Some(value) => u64::from_be_bytes(value[..].try_into().unwrap()),
                                None => 0,
                            };
                            assert_eq!(found.len() as u64, counted, "the count and the items");
                            let now = if sweep {
                                trx.clear_range(&items.begin, &items.end);
                                0
                            } else if found.iter().any(|(key, _)| *key == item) {
                                trx.clear(&item);
                                counted - 1
                            } else {
                                trx.set(&item, b"");
                                counted + 1
                            };
                            trx.set(&counter, &now.to_be_bytes());
                            Ok(())
                        })
                    })
                    .await
                    .unwrap();
            }
        }
    })
    .await;
}
