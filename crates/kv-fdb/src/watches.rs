//! Watches: the client's, counted, and ended when the engine closes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foundationdb::{FdbError, FdbResult};
use futures::future::{Either, select};
use kv::{Error, ErrorKind, Watch};

use crate::engine::Shared;
use crate::error::{Phase, engine_error};

/// One of the places for watches, given back when dropped.
pub(crate) struct Place(Arc<Shared>);

impl Place {
    /// Takes a place.
    pub(crate) fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let taken = shared.watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |watches| {
            (watches < kv::limits::WATCHES_MAX).then_some(watches + 1)
        });
        if taken.is_err() {
            return Err(Error::new(ErrorKind::Unavailable, "too many watches"));
        }
        shared.telemetry.watches.increment(1);
        Ok(Self(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
        self.0.telemetry.watches.decrement(1);
    }
}

/// The client's watch as the trait's: it ends with the engine, and with what the client says otherwise.
pub(crate) fn watch(
    place: Place,
    fires: impl Future<Output = FdbResult<()>> + Send + Unpin + 'static,
) -> Watch {
    let mut closed = place.0.closed.subscribe();
    Box::pin(async move {
        let closing = std::pin::pin!(closed.wait_for(|closed| *closed));
        let fired = match select(fires, closing).await {
            Either::Left((Ok(()), _)) => Ok(()),
            Either::Left((Err(error), _)) => failed(error),
            Either::Right(_) => Err(Error::new(ErrorKind::Unavailable, "the engine is closed")),
        };
        drop(place);
        fired
    })
}

/// What a watch that failed means to who waits for it.
fn failed(error: FdbError) -> Result<(), Error> {
    /// `transaction_cancelled`, `operation_cancelled`, `watch_cancelled`: its transaction ended without a commit.
    const ENDED: [i32; 3] = [1025, 1101, 1029];
    if ENDED.contains(&error.code()) {
        return Err(Error::new(ErrorKind::Unavailable, "the watch's transaction did not commit"));
    }
    // After a commit that is unknown, or a failure that passes, it may or may not be armed: the caller looks again,
    // as after any wake-up.
    if error.is_retryable() {
        return Ok(());
    }
    Err(engine_error(error, Phase::Before))
}
