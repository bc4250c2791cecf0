//! Asking a provider without waiting for it longer than a bound.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::CpmAddress;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::limits::{BUDGET_MAX, REMEMBERED_MAX, RETRIES_AT_ONCE_MAX, RETRY_ATTEMPTS_MAX, RETRY_PAUSE};
use crate::provider::{Departure, Provider, ProviderError, Provisioned};
use crate::set::RegistrationSet;
use crate::telemetry;

/// How a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest that a caller waits, at most [`BUDGET_MAX`].
    pub budget: Duration,
    /// How long a set counts for while the provider cannot tell.
    pub remembered: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { budget: BUDGET_MAX, remembered: Duration::from_secs(3_600) }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The addresses.
    pub set: RegistrationSet,
    /// Whether the provider has just said so. Else the set is what it said before, or the address alone: no ground to
    /// take from a session what it has.
    pub current: bool,
}

/// Registration sets, with a bound on waiting for them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Registrations {
    inner: Arc<Inner>,
}

struct Inner {
    provider: Arc<dyn Provider>,
    options: Options,
    /// What was heard last, of addresses with others.
    remembered: Cache<CpmAddress, RegistrationSet>,
    /// Addresses that are being asked for behind a login's back.
    retrying: Mutex<HashSet<CpmAddress>>,
}

impl Default for Registrations {
    /// What the operator linked.
    fn default() -> Self {
        Self::new(Arc::new(Provisioned), Options::default())
    }
}

impl Registrations {
    /// Those that `provider` knows.
    pub fn new(provider: Arc<dyn Provider>, options: Options) -> Self {
        telemetry::describe();
        let options = Options { budget: options.budget.min(BUDGET_MAX), ..options };
        let remembered =
            Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(options.remembered).build();
        Self { inner: Arc::new(Inner { provider, options, remembered, retrying: Mutex::default() }) }
    }

    /// Longest that [`Registrations::ask`] takes.
    pub fn budget(&self) -> Duration {
        self.inner.options.budget
    }

    /// Devices that depart from now on; none if the provider hears of none.
    pub fn departures(&self) -> Option<broadcast::Receiver<Departure>> {
        self.inner.provider.departures()
    }

    /// The addresses registered with `address`, with which the operator linked `linked`. Never fails: without an answer
    /// in time it is what was heard last, or the address alone, and the provider is asked again in the background.
    pub async fn ask(&self, address: &CpmAddress, linked: &[CpmAddress]) -> Known {
        let began = Instant::now();
        let inner = &self.inner;
        match inner.ask(address, linked).await {
            Ok(set) => {
                telemetry::asked("ok", began.elapsed());
                return Known { set, current: true };
            }
            Err(Failure::Late) => {
                telemetry::asked("timeout", began.elapsed());
                tracing::warn!("the registration set of an address was not known in time");
            }
            Err(Failure::Provider(error)) => {
                telemetry::asked("failed", began.elapsed());
                tracing::warn!(%error, "the registration set of an address could not be asked for");
            }
        }
        self.retry(address, linked);
        let earlier = inner.remembered.get(address);
        Known { set: earlier.unwrap_or_else(|| RegistrationSet::alone(address.clone())), current: false }
    }

    /// Asks again in the background, so that the next who asks may be told at once.
    fn retry(&self, address: &CpmAddress, linked: &[CpmAddress]) {
        let inner = self.inner.clone();
        {
            let mut retrying = inner.retrying.lock();
            if retrying.len() >= RETRIES_AT_ONCE_MAX || !retrying.insert(address.clone()) {
                return;
            }
        }
        let (address, linked) = (address.clone(), linked.to_vec());
        tokio::spawn(async move {
            let place = Place { inner: &inner, address: &address };
            let mut pause = RETRY_PAUSE;
            for _ in 0..RETRY_ATTEMPTS_MAX {
                tokio::time::sleep(pause).await;
                pause *= 2;
                if inner.ask(&address, &linked).await.is_ok() {
                    break;
                }
            }
            drop(place);
        });
    }
}

/// An address's place among those that are asked for again, given back however the task ends.
struct Place<'a> {
    inner: &'a Inner,
    address: &'a CpmAddress,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inner.retrying.lock().remove(self.address);
    }
}

enum Failure {
    Late,
    Provider(ProviderError),
}

impl Inner {
    /// Asks within the budget and remembers the answer.
    async fn ask(&self, address: &CpmAddress, linked: &[CpmAddress]) -> Result<RegistrationSet, Failure> {
        let asked = self.provider.ask(address, linked);
        let answer = tokio::time::timeout(self.options.budget, asked).await.map_err(|_| Failure::Late)?;
        let set = answer.map_err(Failure::Provider)?;
        if set.has_others() {
            self.remembered.insert(address.clone(), set.clone());
        } else if self.remembered.contains_key(address) {
            self.remembered.invalidate(address);
        }
        Ok(set)
    }
}

impl fmt::Debug for Registrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrations").field("options", &self.inner.options).finish_non_exhaustive()
    }
}
