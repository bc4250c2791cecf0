//! `IDLE`: waits, and tells what changes in the selected folder as it changes, until `DONE`.
//!
//! Source: RFC 9051 §6.3.13, RFC 2177. Answers OK; BAD for any line but `DONE`. Woken by the change feed alone, and only
//! by changes that this folder's client does not know. Now and then an untagged OK keeps the way through middle
//! boxes open, and finds out clients that went away without a word.

use std::time::Duration;

use imap_wire::{Mode, Step};
use store_api::Subscription;
use tokio::time::Instant;

use crate::connection::{Ended, Input, Output};
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::sync::{Removals, Told, sync};
use crate::telemetry::Stage;

/// How long to wait before subscribing again to a feed that ended or could not be had, and before reading a folder again
/// that could not be read.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) async fn run(session: &mut Session, out: &mut Output, input: &mut Input) -> Result<Reply, Reply> {
    input.reader().set_mode(Mode::Idle);
    out.push(b"+ idling\r\n");
    session.stage.set(Stage::Idle);
    input.idle_until = Some(Instant::now() + session.server.options.limits.idle_max);
    let result = idle(session, out, input).await;
    input.idle_until = None;
    // An end that was not the client's line leaves the reader waiting for one; the connection ends then, too.
    input.reader().set_mode(Mode::Command);
    result
}

async fn idle(session: &mut Session, out: &mut Output, input: &mut Input) -> Result<Reply, Reply> {
    let keepalive = session.server.options.limits.idle_keepalive;
    // Without a keep-alive, once a day does no harm.
    let pause = if keepalive.is_zero() { Duration::from_secs(86_400) } else { keepalive };
    let mut beat = Instant::now() + pause;
    let mut feed = subscribe(session).await;
    loop {
        // Boxed, so that what it needs is given back while the client waits.
        let told = Box::pin(sync(session, out, Removals::Tell)).await?;
        session.fresh = None;
        // What could not be read is read again soon: no other change need come.
        let again = (told != Told::All).then(|| Instant::now() + RETRY);
        if out.pending() > 0 {
            beat = Instant::now() + pause;
            out.flush().await?;
        }
        let woken = loop {
            tokio::select! {
                biased;
                step = input.next(out) => return ended(out, step),
                alive = changed(&mut feed, session.view.is_some()) => {
                    if !alive {
                        feed = subscribe(session).await;
                        break true;
                    }
                    if feed.as_mut().is_some_and(|feed| feed.concerns(session)) {
                        break true;
                    }
                }
                () = tokio::time::sleep_until(again.unwrap_or(beat)) => break again.is_some(),
            }
        };
        if !woken {
            out.untagged(format_args!("OK still here"));
        }
    }
}

/// The account's feed, listened to before the folder is looked at, so that nothing falls between. Without a selected
/// folder nothing is to be told.
async fn subscribe(session: &Session) -> Option<Heard> {
    let account = session.view.as_ref()?.account;
    match session.server.feed.subscribe(account).await {
        Ok(mut feed) => {
            let generation = feed.pulse().generation;
            Some(Heard { feed, generation })
        }
        Err(error) => {
            tracing::warn!(%account, %error, "the change feed cannot be had");
            None
        }
    }
}

/// Waits for a change; false, after a pause, when the feed must be subscribed to again.
async fn changed(feed: &mut Option<Heard>, wanted: bool) -> bool {
    if let Some(heard) = feed {
        if heard.feed.changed().await {
            return true;
        }
    } else if !wanted {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(RETRY).await;
    false
}

/// The feed, and how much of it was heard.
struct Heard {
    feed: Subscription,
    generation: u64,
}

impl Heard {
    /// Whether what changed may be something that the client does not know.
    fn concerns(&mut self, session: &Session) -> bool {
        let pulse = self.feed.pulse();
        // A pulse names its own folder alone: those that came before it and were not heard may have named another.
        let missed = pulse.generation != self.generation.wrapping_add(1);
        self.generation = pulse.generation;
        let Some(view) = &session.view else { return false };
        match pulse.mailbox {
            Some(mailbox) if !missed => mailbox == view.mailbox && pulse.modseq > view.known_modseq,
            _ => true,
        }
    }
}

fn ended(out: &mut Output, step: Result<Step, Ended>) -> Result<Reply, Reply> {
    let bye = |out: &mut Output, text: &str| {
        out.untagged(format_args!("BYE {text}"));
        Err(Reply::no("IDLE was ended by the server").then(After::Close))
    };
    match step {
        Ok(Step::IdleDone) => Ok(Reply::ok("IDLE completed")),
        Ok(Step::Bad(error)) => Err(error.into()),
        Ok(Step::Fatal(error)) => bye(out, &error.message),
        Ok(_) => bye(out, "[SERVERBUG] the server lost its place"),
        Err(Ended::Gone) => Err(Reply::lost()),
        Err(Ended::TimedOut) => bye(out, "IDLE was not renewed in time"),
        Err(Ended::ShuttingDown) => bye(out, "[UNAVAILABLE] the server is stopping, connect again soon"),
    }
}
