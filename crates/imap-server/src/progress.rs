//! What a client hears while a long command is at work: what is known already, and notices that the server is at it (RFC
//! 9585), so that clients and middle boxes do not give it up.

use std::pin::pin;
use std::time::{Duration, Instant};

use imap_wire::Code;

use crate::connection::Output;
use crate::encode;
use crate::reply::Reply;
use crate::session::Session;

/// How long what a command has to say waits for more of it, while the command waits for the store.
const UNSENT_MAX: Duration = Duration::from_millis(100);

/// The pace of one command's notices, where the command knows how far it is.
pub(crate) struct Progress {
    interval: Duration,
    noticed: Instant,
}

impl Progress {
    /// Of a command that begins now.
    pub fn new(session: &Session) -> Self {
        Self { interval: session.server.options.limits.progress_interval, noticed: Instant::now() }
    }

    /// Says that `done` of `goal` messages or mailboxes are done, if some are left and the last notice is long enough ago.
    ///
    /// # Errors
    /// The reply with which a handler ends when the client is lost.
    pub async fn at(
        &mut self,
        session: &Session,
        out: &mut Output,
        done: u64,
        goal: u64,
    ) -> Result<(), Reply> {
        if self.noticed.elapsed() < self.interval || done >= goal {
            return Ok(());
        }
        self.noticed = Instant::now();
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        tell(session, out, Some((count(done), Some(count(goal))))).await
    }
}

/// Waits for `work`, of which nobody knows how far it is, and says now and then that the server is at it. What was to be
/// sent before is sent meanwhile.
///
/// # Errors
/// The reply with which a handler ends when the client is lost; `work` is given up then.
pub(crate) async fn patiently<T>(
    session: &Session,
    out: &mut Output,
    work: impl Future<Output = T>,
) -> Result<T, Reply> {
    let interval = session.server.options.limits.progress_interval;
    let mut work = pin!(work);
    if out.pending() > 0 {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(UNSENT_MAX.min(interval)) => out.flush().await?,
        }
    }
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(interval) => tell(session, out, None).await?,
        }
    }
}

async fn tell(
    session: &Session,
    out: &mut Output,
    progress: Option<(u32, Option<u32>)>,
) -> Result<(), Reply> {
    let code = encode::code(&Code::InProgress(Some((session.tag.as_bytes(), progress))));
    out.untagged(format_args!("OK [{code}] at work"));
    out.flush().await
}
