//! What all parts of a store share.

use std::sync::Arc;

use kv::{Engine, Priority, Transaction, TransactionOptions};
use model::AccountId;
use store_api::{Ctx, Requestor};
use tokio::sync::Notify;

use crate::cache::Caches;
use crate::failure::{Failure, no_such_mailbox};
use crate::keyspace::Keyspace;
use crate::snapshot::Flights;
use crate::sweep::{Quiet, Reaping};
use crate::telemetry::Telemetry;
use crate::{Environment, Options};

/// Engine, keys, caches, clock and metrics of a store.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) keys: Keyspace,
    pub(crate) caches: Caches,
    pub(crate) flights: Flights,
    /// Who packs the headers of which folder.
    pub(crate) header_flights: Flights,
    pub(crate) quiet: Quiet,
    pub(crate) reaping: Reaping,
    pub(crate) telemetry: Telemetry,
    pub(crate) options: Options,
    /// Told when there is work for the sweeper.
    pub(crate) sweep: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(engine: Arc<dyn Engine>, options: Options) -> Self {
        Self {
            engine,
            keys: Keyspace::new(&options.prefix),
            caches: Caches::new(&options),
            flights: Flights::default(),
            header_flights: Flights::default(),
            quiet: Quiet::default(),
            reaping: Reaping::new(options.environment.as_ref()),
            telemetry: Telemetry::new(),
            options,
            sweep: Arc::default(),
        }
    }

    pub(crate) fn environment(&self) -> &dyn Environment {
        self.options.environment.as_ref()
    }

    pub(crate) fn now(&self) -> i64 {
        self.environment().now()
    }

    /// A transaction of work that a subscriber waits for.
    pub(crate) fn begin(&self, tag: &'static str) -> Box<dyn Transaction> {
        self.engine.begin(TransactionOptions { priority: Priority::Default, tag: Some(tag) })
    }

    /// A transaction of work that may wait.
    pub(crate) fn begin_batch(&self, tag: &'static str) -> Box<dyn Transaction> {
        self.engine.begin(TransactionOptions { priority: Priority::Batch, tag: Some(tag) })
    }
}

/// Whether `ctx` may touch `account`. The answer for what is another's is that for what is not there.
pub(crate) fn authorize(ctx: &Ctx, account: AccountId) -> Result<(), Failure> {
    match &ctx.requestor {
        Requestor::Operator => Ok(()),
        Requestor::User(user) if user.account == account => Ok(()),
        Requestor::User(_) | Requestor::Nobody => Err(no_such_mailbox().into()),
    }
}
