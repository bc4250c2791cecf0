//! The retry loop of this crate, as a value that a loop asks after each attempt.
//!
//! [`kv::run`] takes a closure that must own what it uses. Batches of mutations lend their state to the attempt
//! instead, stop at a deadline, and mix engine errors with answers; so they keep the loop and ask [`Retry`].

use std::time::{Duration, Instant};

use kv::{ErrorKind, RetryPolicy};
use rand::Rng;

use crate::failure::{Failure, deadline};

/// Counts the attempts of one transaction.
#[derive(Debug)]
pub(crate) struct Retry {
    policy: RetryPolicy,
    deadline: Option<Instant>,
    attempts: u32,
    maybe_committed: bool,
}

impl Retry {
    /// For a body that is idempotent, or finds out whether it already happened.
    pub(crate) fn idempotent(deadline: Option<Instant>) -> Self {
        Self { policy: RetryPolicy::idempotent(), deadline, attempts: 0, maybe_committed: false }
    }

    /// Whether an attempt before this one may have committed.
    pub(crate) fn maybe_committed(&self) -> bool {
        self.maybe_committed
    }

    /// Waits until the next attempt is due, or fails when there shall be none: with `failure`, or saying that nobody
    /// knows, if an attempt may have committed and this one did not find out.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        let Failure::Engine(error) = &failure else { return Err(failure) };
        let unknown = error.kind() == ErrorKind::CommitUnknown;
        self.attempts += 1;
        let again = error.kind().is_retryable() || unknown;
        if !again || self.attempts >= self.policy.attempts_max {
            return Err(self.last(failure));
        }
        self.maybe_committed |= unknown;
        metrics::counter!("mss_store_retries_total", "reason" => error.kind().name()).increment(1);
        if self.attempts > 1 {
            let ceiling =
                (self.policy.backoff_ms_min << (self.attempts - 2).min(16)).min(self.policy.backoff_ms_max);
            let wait = Duration::from_millis(rand::rng().random_range(0..=ceiling));
            if self.deadline.is_some_and(|deadline| Instant::now() + wait >= deadline) {
                return Err(self.last(deadline().into()));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// What the caller is told when there is no further attempt after `failure`.
    pub(crate) fn last(&self, failure: Failure) -> Failure {
        if !self.maybe_committed {
            return failure;
        }
        let detail = match &failure {
            Failure::Engine(error) => error.to_string(),
            Failure::Request(error) => error.to_string(),
        };
        kv::Error::new(ErrorKind::CommitUnknown, format!("after an unknown commit: {detail}")).into()
    }
}

/// Runs a block that only reads, again when its transaction grew too old: it must begin one itself.
macro_rules! reading {
    ($body:expr) => {{
        let mut retry = $crate::retry::Retry::idempotent(None);
        loop {
            let attempt: Result<_, $crate::failure::Failure> = async { $body }.await;
            match attempt {
                Ok(value) => break value,
                Err(failure) => retry.again(failure).await?,
            }
        }
    }};
}

pub(crate) use reading;
