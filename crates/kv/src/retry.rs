//! The retry loop: runs a transaction body until it commits, or fails for good.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rand::Rng;

use crate::{Committed, Engine, Error, ErrorKind, Transaction, TransactionOptions, limits};

/// How often and how long apart [`run`] tries.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts, the first one included.
    pub attempts_max: u32,
    /// Longest wait before the second attempt, milliseconds; doubles with each attempt, with full jitter.
    pub backoff_ms_min: u64,
    /// Longest wait between two attempts, milliseconds.
    pub backoff_ms_max: u64,
    /// Whether an attempt whose commit is unknown may be followed by another: only for bodies that are
    /// idempotent, or that read whether they already happened.
    pub retry_unknown: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: limits::ATTEMPTS_MAX,
            backoff_ms_min: 1,
            backoff_ms_max: 200,
            retry_unknown: false,
        }
    }
}

impl RetryPolicy {
    /// The default policy for bodies that may safely run again after an unknown commit.
    pub fn idempotent() -> Self {
        Self { retry_unknown: true, ..Self::default() }
    }
}

/// What a transaction body learns of the attempt it is.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// 1 for the first attempt.
    pub number: u32,
    /// An earlier attempt may have committed: the body must look before it writes again.
    pub maybe_committed: bool,
}

/// A boxed transaction body.
pub type BodyFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Runs `body` in a transaction and commits it, again after every conflict.
///
/// The body gets a fresh transaction each time and must have no side effect beyond it. A failure of the body
/// that is not an engine error ends the loop at once, uncommitted.
///
/// # Errors
/// Whatever the body fails with; the engine's error once `policy` is exhausted or the kind does not permit a
/// retry.
pub async fn run<T, E, F>(
    engine: &dyn Engine,
    options: TransactionOptions,
    policy: RetryPolicy,
    mut body: F,
) -> Result<(T, Committed), E>
where
    E: From<Error> + AsEngineError,
    F: for<'a> FnMut(&'a mut dyn Transaction, Attempt) -> BodyFuture<'a, T, E>,
{
    let mut attempt = Attempt { number: 1, maybe_committed: false };
    loop {
        let mut trx = engine.begin(options);
        let failure: E = match body(trx.as_mut(), attempt).await {
            Ok(value) => match trx.commit().await {
                Ok(committed) => return Ok((value, committed)),
                Err(error) => error.into(),
            },
            Err(error) => error,
        };
        let Some(kind) = failure.engine_error().map(Error::kind) else { return Err(failure) };
        let unknown = kind == ErrorKind::CommitUnknown;
        let again = kind.is_retryable() || (unknown && policy.retry_unknown);
        if !again || attempt.number >= policy.attempts_max {
            return Err(failure);
        }
        metrics::counter!("mss_kv_retries_total", "reason" => kind.name()).increment(1);
        let ceiling = policy
            .backoff_ms_min
            .saturating_mul(1 << (attempt.number - 1).min(16))
            .min(policy.backoff_ms_max);
        let wait_ms = rand::rng().random_range(0..=ceiling);
        if attempt.number > 1 && wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        attempt = Attempt { number: attempt.number + 1, maybe_committed: attempt.maybe_committed || unknown };
    }
}

/// An error type that can say which engine error it carries, if any.
pub trait AsEngineError {
    /// The engine error inside, if that is what it is.
    fn engine_error(&self) -> Option<&Error>;
}

impl AsEngineError for Error {
    fn engine_error(&self) -> Option<&Error> {
        Some(self)
    }
}
