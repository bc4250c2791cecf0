//! The behaviour every engine must show, as one suite run unchanged on each.
//!
//! A case is an async function that panics where the engine is wrong; [`CASES`] names them all. Each case works
//! under a random key prefix of its own, so that the suite can run on a database that others use, in any order
//! and in parallel, and it leaves nothing behind.
//!
//! Faults are part of an engine's rules: a commit may conflict without reason and may end unknown. Cases
//! therefore retry as any caller must, and assert what holds all the same. The few that can assert nothing
//! under injected faults (that a lone transaction does not conflict, say) are marked [`Needs::Calm`].

#![allow(
    clippy::unwrap_used,
    reason = "a case fails by panicking: this is test code that several crates run"
)]

mod atomics;
mod concurrency;
mod conflicts;
mod ranges;
mod reads;
mod rules;
mod stamps;
mod watches;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use rand::RngCore;

use crate::{
    Attempt, BodyFuture, Committed, Engine, Error, ErrorKind, RangeRequest, ReadMode, RetryPolicy,
    Transaction, TransactionOptions, prefix_end, run,
};

/// What a case asks of the engine beside its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it holds under injected faults too.
    Nothing,
    /// No injected faults.
    Calm,
    /// No injected faults, and seconds of real time.
    CalmAndTime,
}

type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One named behaviour.
pub struct Case {
    /// A stable name.
    pub name: &'static str,
    /// What it asks for.
    pub needs: Needs,
    run: fn(Ground) -> CaseFuture,
}

macro_rules! cases {
    ($($module:ident :: $name:ident $needs:ident),* $(,)?) => {
        /// All cases.
        pub const CASES: &[Case] = &[
            $(Case {
                name: concat!(stringify!($module), "::", stringify!($name)),
                needs: Needs::$needs,
                run: |ground| Box::pin($module::$name(ground)),
            }),*
        ];
    };
}

cases! {
    reads::absent_keys_are_none Nothing,
    reads::a_committed_value_is_read Nothing,
    reads::empty_values_are_values Nothing,
    reads::get_many_answers_in_order Nothing,
    reads::a_transaction_reads_its_own_writes Nothing,
    reads::the_read_version_is_fixed_by_the_first_read Calm,
    reads::an_uncommitted_transaction_leaves_nothing Calm,
    reads::read_versions_do_not_go_back Nothing,
    ranges::pages_ascend_and_descend Nothing,
    ranges::pages_end_by_bytes Nothing,
    ranges::bounds_are_half_open Nothing,
    ranges::own_writes_merge_into_ranges Nothing,
    ranges::clear_range_removes_what_it_covers Nothing,
    ranges::clear_range_then_set_keeps_the_set Nothing,
    ranges::together_answers_as_one_by_one Nothing,
    ranges::clear_page_ends_with_nothing_left Nothing,
    conflicts::a_stale_read_conflicts Calm,
    conflicts::a_stale_absence_conflicts Calm,
    conflicts::blind_writes_never_conflict Calm,
    conflicts::own_writes_are_no_reads Calm,
    conflicts::read_only_transactions_never_conflict Calm,
    conflicts::write_skew_is_refused Calm,
    conflicts::snapshot_reads_allow_write_skew Calm,
    conflicts::a_phantom_in_a_range_conflicts Calm,
    conflicts::beyond_a_page_is_no_conflict Calm,
    conflicts::clear_range_conflicts_with_reads_inside Calm,
    conflicts::explicit_ranges_conflict Calm,
    conflicts::atomics_do_not_conflict Calm,
    conflicts::a_refused_commit_leaves_nothing Calm,
    atomics::every_operation Nothing,
    atomics::own_atomics_are_read Calm,
    atomics::reading_what_an_atomic_changes_conflicts Calm,
    atomics::concurrent_adds_are_all_counted Calm,
    stamps::keys_and_values_carry_the_stamp_of_the_commit Calm,
    stamps::stamps_ascend_with_commits Nothing,
    stamps::concurrent_stamps_are_unique Calm,
    stamps::unwritten_stamps_are_unreadable Calm,
    stamps::a_later_clear_removes_a_stamped_key Nothing,
    watches::a_watch_fires_on_a_change Nothing,
    watches::a_watch_fires_on_a_cleared_range Nothing,
    watches::a_watch_sees_a_change_before_its_commit Nothing,
    watches::a_watch_survives_its_own_write Calm,
    watches::an_unarmed_watch_ends_with_its_transaction Calm,
    watches::a_watch_that_missed_nothing_stays_quiet Calm,
    watches::dropped_watches_cost_nothing Calm,
    watches::a_tailer_misses_nothing Nothing,
    rules::long_keys_and_values_are_refused Calm,
    rules::large_transactions_are_refused Calm,
    rules::conflict_ranges_count_towards_the_limit Calm,
    rules::the_largest_of_each_is_accepted Nothing,
    rules::the_size_counts_writes Nothing,
    rules::the_system_keys_are_out_of_reach Calm,
    rules::old_transactions_are_refused CalmAndTime,
    rules::a_foreign_failure_is_not_retried Nothing,
    concurrency::a_cycle_stays_a_cycle Nothing,
    concurrency::transfers_keep_the_sum Nothing,
    concurrency::a_register_is_linearizable Nothing,
    concurrency::idempotent_retries_apply_once Nothing,
    concurrency::range_counts_stay_exact Nothing,
}

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs the cases that `select` picks, one after another, each on an engine that `make` gives (the same one or a
/// fresh one), and tells the outcome of each.
pub async fn run_selected<E: Engine + ?Sized>(
    make: impl Fn() -> Arc<E>,
    select: impl Fn(&Case) -> bool,
) -> Vec<Outcome>
where
    Arc<E>: IntoEngine,
{
    let mut outcomes = Vec::new();
    for case in CASES.iter().filter(|case| select(case)) {
        let ground = Ground::new(make().into_engine());
        let started = Instant::now();
        let result = AssertUnwindSafe((case.run)(ground.clone())).catch_unwind().await;
        let failure = result.err().map(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
        });
        ground.clean().await;
        outcomes.push(Outcome { name: case.name, failure, elapsed: started.elapsed() });
    }
    outcomes
}

/// Runs all cases; see [`run_selected`].
pub async fn run_all<E: Engine + ?Sized>(make: impl Fn() -> Arc<E>) -> Vec<Outcome>
where
    Arc<E>: IntoEngine,
{
    run_selected(make, |_| true).await
}

/// Prints each outcome by name, and panics with the names of those that failed.
pub fn report(outcomes: &[Outcome]) {
    let mut failed = Vec::new();
    for Outcome { name, failure, elapsed } in outcomes {
        let millis = elapsed.as_millis();
        match failure {
            None => println!("ok      {name} ({millis} ms)"),
            Some(failure) => {
                println!("FAILED  {name} ({millis} ms): {failure}");
                failed.push(*name);
            }
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), outcomes.len());
}

/// A shared engine, whatever its type.
pub trait IntoEngine {
    /// The engine behind the trait.
    fn into_engine(self) -> Arc<dyn Engine>;
}

impl<E: Engine> IntoEngine for Arc<E> {
    fn into_engine(self) -> Arc<dyn Engine> {
        self
    }
}

impl IntoEngine for Arc<dyn Engine> {
    fn into_engine(self) -> Arc<dyn Engine> {
        self
    }
}

/// An engine, and the prefix under which a case may do as it likes.
#[derive(Clone)]
pub(crate) struct Ground {
    engine: Arc<dyn Engine>,
    prefix: Bytes,
}

/// The bound on anything that should happen at once; generous, since it only delays a failure.
const SOON: Duration = Duration::from_secs(20);

impl Ground {
    fn new(engine: Arc<dyn Engine>) -> Self {
        let mut prefix = b"suite/................/".to_vec();
        for byte in &mut prefix[6..22] {
            *byte = b'a' + (rand::rng().next_u32() % 26) as u8;
        }
        Self { engine, prefix: prefix.into() }
    }

    async fn clean(&self) {
        let (begin, end) = (self.prefix.clone(), prefix_end(&self.prefix));
        // Best effort: a failed case may have left the engine unusable.
        let _ = self
            .retry(|trx, _| {
                let (begin, end) = (begin.clone(), end.clone());
                Box::pin(async move {
                    trx.clear_range(&begin, &end);
                    Ok(())
                })
            })
            .await;
    }

    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// A key of this ground.
    fn key(&self, rest: impl AsRef<[u8]>) -> Bytes {
        [self.prefix.as_ref(), rest.as_ref()].concat().into()
    }

    /// A key without the prefix of this ground.
    fn strip(&self, key: &Bytes) -> Bytes {
        assert!(key.starts_with(&self.prefix), "{key:?} is not under {:?}", self.prefix);
        key.slice(self.prefix.len()..)
    }

    /// All of this ground.
    fn all(&self) -> RangeRequest {
        RangeRequest::prefix(&self.prefix)
    }

    fn begin(&self) -> Box<dyn Transaction> {
        self.engine.begin(TransactionOptions::default())
    }

    /// Runs a body that may run twice, until it commits.
    async fn retry<T, F>(&self, body: F) -> Result<(T, Committed), Error>
    where
        F: for<'a> FnMut(&'a mut dyn Transaction, Attempt) -> BodyFuture<'a, T, Error>,
    {
        let policy = RetryPolicy { attempts_max: 1000, backoff_ms_max: 20, ..RetryPolicy::idempotent() };
        run(self.engine(), TransactionOptions::default(), policy, body).await
    }

    /// Sets keys of this ground, in one transaction.
    async fn put(&self, pairs: &[(&str, &str)]) -> Committed {
        let pairs: Vec<(Bytes, Bytes)> = pairs
            .iter()
            .map(|(key, value)| (self.key(key), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        self.retry(|trx, _| {
            let pairs = pairs.clone();
            Box::pin(async move {
                for (key, value) in pairs {
                    trx.set(&key, &value);
                }
                Ok(())
            })
        })
        .await
        .expect("a put commits")
        .1
    }

    /// Removes a key of this ground.
    async fn remove(&self, key: &str) {
        let key = self.key(key);
        self.retry(|trx, _| {
            let key = key.clone();
            Box::pin(async move {
                trx.clear(&key);
                Ok(())
            })
        })
        .await
        .expect("a removal commits");
    }

    /// The value of a key of this ground, by a transaction of its own.
    async fn get(&self, key: &str) -> Option<Bytes> {
        let key = self.key(key);
        self.retry(|trx, _| {
            let key = key.clone();
            Box::pin(async move { trx.get(&key, ReadMode::Serializable).await })
        })
        .await
        .expect("a get succeeds")
        .0
    }

    /// All pairs of this ground, without its prefix, by a transaction of its own.
    async fn dump(&self) -> Vec<(String, String)> {
        let pairs = self
            .retry(|trx, _| {
                let request = self.all();
                Box::pin(async move { read_all(trx, request, ReadMode::Snapshot).await })
            })
            .await
            .expect("a range read succeeds")
            .0;
        pairs
            .into_iter()
            .map(|(key, value)| {
                let key = self.strip(&key);
                (String::from_utf8_lossy(&key).into_owned(), String::from_utf8_lossy(&value).into_owned())
            })
            .collect()
    }
}

/// All pages of a range.
async fn read_all(
    trx: &mut dyn Transaction,
    mut request: RangeRequest,
    mode: ReadMode,
) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let mut pairs = Vec::new();
    loop {
        let page = trx.get_range(&request, mode).await?;
        let last = page.pairs.last().map(|pair| pair.key.clone());
        pairs.extend(page.pairs.into_iter().map(|pair| (pair.key, pair.value)));
        match last {
            Some(last) if page.more && request.reverse => request.end = last,
            Some(last) if page.more => request.begin = [last.as_ref(), &[0]].concat().into(),
            _ => return Ok(pairs),
        }
    }
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}
