//! Transactions that were written down, done again by the client alone: no engine, no store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foundationdb::options::{MutationType, StreamingMode};
use foundationdb::{Database, FdbResult, KeySelector, RangeOption, Transaction};
use futures::future::{try_join, try_join_all};
use kv::{AtomicOp, RangeRequest};

use crate::record::{Group, Record, Recorded, Write};

/// What of a transaction is done again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    Writes,
    ReadsAndWrites,
    Reads,
}

/// Does all transactions again, in as many loops as `tasks`, with `prefix` before every key; how long it took. Conflicts
/// cannot be: nothing is read for the commit's sake.
pub async fn replay(
    database: &Arc<Database>,
    record: &Arc<Record>,
    prefix: &[u8],
    tasks: usize,
    what: What,
) -> Duration {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (database, record, next) = (database.clone(), record.clone(), next.clone());
            let prefix = prefix.to_vec();
            tokio::spawn(async move {
                while let Some(one) = record.transactions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut trx = database.create_trx().expect("a transaction");
                    loop {
                        let error = match run(&trx, one, &prefix, what).await {
                            Ok(()) if what == What::Reads => break,
                            Ok(()) => match trx.commit().await {
                                Ok(_) => break,
                                Err(error) => {
                                    trx = error.on_error().await.expect("an error that may pass");
                                    continue;
                                }
                            },
                            Err(error) => error,
                        };
                        trx = trx.on_error(error).await.expect("an error that may pass");
                    }
                }
            })
        })
        .collect();
    for handle in handles {
        handle.await.expect("a loop");
    }
    began.elapsed()
}

async fn run(trx: &Transaction, one: &Recorded, prefix: &[u8], what: What) -> FdbResult<()> {
    if what != What::Writes {
        for group in &one.reads {
            read(trx, group, prefix, what).await?;
        }
    }
    if what != What::Reads {
        for write in &one.writes {
            apply(trx, write, prefix);
        }
    }
    Ok(())
}

async fn read(trx: &Transaction, group: &Group, prefix: &[u8], what: What) -> FdbResult<()> {
    // Another's writes must not make a conflict of what the first run did not have as one.
    let snapshot = group.snapshot || what == What::ReadsAndWrites;
    let keys = group.keys.iter().map(|key| trx.get(&with(prefix, key), snapshot));
    let ranges = group.ranges.iter().map(|range| page(trx, range, prefix, snapshot));
    try_join(try_join_all(keys), try_join_all(ranges)).await?;
    Ok(())
}

async fn page(trx: &Transaction, range: &RangeRequest, prefix: &[u8], snapshot: bool) -> FdbResult<()> {
    let option = RangeOption {
        begin: KeySelector::first_greater_or_equal(with(prefix, &range.begin)),
        end: KeySelector::first_greater_or_equal(with(prefix, &range.end)),
        limit: (range.limit > 0).then_some(range.limit),
        reverse: range.reverse,
        mode: StreamingMode::WantAll,
        ..RangeOption::default()
    };
    trx.get_range(&option, 1, snapshot).await?;
    Ok(())
}

fn apply(trx: &Transaction, write: &Write, prefix: &[u8]) {
    const STAMP: [u8; 10] = [0xFF; 10];
    match write {
        Write::Set(key, value) => trx.set(&with(prefix, key), value),
        Write::Clear(key) => trx.clear(&with(prefix, key)),
        Write::ClearRange(begin, end) => trx.clear_range(&with(prefix, begin), &with(prefix, end)),
        Write::Atomic(op, key, operand) => {
            let op = match op {
                AtomicOp::Add => MutationType::Add,
                AtomicOp::Max => MutationType::Max,
                AtomicOp::Min => MutationType::Min,
                AtomicOp::ByteMax => MutationType::ByteMax,
                AtomicOp::ByteMin => MutationType::ByteMin,
            };
            trx.atomic_op(&with(prefix, key), operand, op);
        }
        Write::StampedKey(before, after, value) => {
            let position = (prefix.len() + before.len()) as u32;
            let key = [prefix, before, &STAMP, after, &position.to_le_bytes()].concat();
            trx.atomic_op(&key, value, MutationType::SetVersionstampedKey);
        }
        Write::StampedValue(key, before) => {
            let position = before.len() as u32;
            let value = [before.as_ref(), &STAMP, &position.to_le_bytes()].concat();
            trx.atomic_op(&with(prefix, key), &value, MutationType::SetVersionstampedValue);
        }
    }
}

fn with(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    [prefix, key].concat()
}
