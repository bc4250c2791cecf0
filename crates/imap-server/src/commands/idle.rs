//! `IDLE`: waits, and tells what changes in the selected folder as it changes, until `DONE`.
//!
//! Source: RFC 9051 §6.3.13, RFC 2177. Answers OK; BAD for any line but `DONE`; NO `[AUTHORIZATIONFAILED]` when the account
//! was taken from the subscriber meanwhile, of which nothing more is told then. Woken by the change feed alone, and only
//! by changes that this folder's client does not know. After NOTIFY it tells what that asks for (RFC 5465 §4). Now and then an untagged OK keeps the way through middle
//! boxes open, and finds out clients that went away without a word.

use std::time::Duration;

use imap_wire::{Mode, Step};
use tokio::time::Instant;

use crate::accounts;
use crate::connection::{Ended, Input, Output};
use crate::heard::{Heard, News, RETRY};
use crate::notify::{self, Notify};
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::sync::{Removals, Told, sync};
use crate::telemetry::Stage;

pub(crate) async fn run(session: &mut Session, out: &mut Output, input: &mut Input) -> Result<Reply, Reply> {
    input.reader().set_mode(Mode::Idle);
    out.push(b"+ idling\r\n");
    session.stage.set(Stage::Idle);
    input.idle_until = Some(Instant::now() + session.server.options.limits.idle_max);
    let result = idle(session, out, input).await;
    input.idle_until = None;
    // An end that was not the client's line leaves the reader waiting for one; the connection ends then, too.
    input.reader().set_mode(Mode::Command);
    let reply = result?;
    accounts::active(session)?;
    Ok(reply)
}

async fn idle(session: &mut Session, out: &mut Output, input: &mut Input) -> Result<Reply, Reply> {
    let keepalive = session.server.options.limits.idle_keepalive;
    // Without a keep-alive, once a day does no harm.
    let pause = if keepalive.is_zero() { Duration::from_secs(86_400) } else { keepalive };
    let beat = Instant::now() + pause;
    let mut feed = subscribe(session).await;
    watch(session, out, input, &mut feed, beat, pause).await
}

/// Tells what happens until the client ends it.
async fn watch(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    feed: &mut Option<Heard>,
    mut beat: Instant,
    pause: Duration,
) -> Result<Reply, Reply> {
    // What was heard since the accounts were last looked at may be that one was shut. None was heard of when the last look
    // was before the feed was listened to.
    let mut to_check = true;
    loop {
        if session.login.as_ref().is_some_and(|login| login.addresses.wants_check()) {
            Box::pin(accounts::check(session, out)).await;
            to_check = false;
        }
        let check_at =
            session.login.as_ref().filter(|_| to_check).and_then(|login| login.addresses.next_check());
        // Boxed, so that what it needs is given back while the client waits.
        let told = Box::pin(sync(session, out, Removals::Tell)).await?;
        session.fresh = None;
        // What could not be read is read again soon: no other change need come.
        let again = (told != Told::All).then(|| Instant::now() + RETRY);
        let later = if session.notify.is_some() { notify::tell(session, out).await? } else { None };
        let again = again.into_iter().chain(later).chain(check_at).min();
        if out.pending() > 0 {
            beat = Instant::now() + pause;
            out.flush().await?;
        }
        let woken = loop {
            tokio::select! {
                biased;
                step = input.next(out) => return ended(out, step),
                () = woken(session.notify.as_deref_mut(), feed.as_mut()) => {
                    if hears(session, feed).await {
                        to_check = true;
                        break true;
                    }
                }
                () = tokio::time::sleep_until(again.map_or(beat, |again| again.min(beat))) => break false,
            }
        };
        if !woken && Instant::now() >= beat {
            out.untagged(format_args!("OK still here"));
        }
    }
}

/// Without NOTIFY: the selected folder's feed, listened to before the folder is looked at, so that nothing falls between.
async fn subscribe(session: &Session) -> Option<Heard> {
    let view = session.view.as_ref().filter(|_| session.notify.is_none())?;
    Some(Heard::listen(session, view.account).await)
}

/// Waits until a feed may have said something; for ever where nothing is to be told.
async fn woken(notify: Option<&mut Notify>, feed: Option<&mut Heard>) {
    match (notify, feed) {
        (Some(notify), _) => notify.woken().await,
        (None, Some(feed)) => feed.woken().await,
        (None, None) => std::future::pending().await,
    }
}

/// Whether what changed may be something that the client does not know.
async fn hears(session: &mut Session, feed: &mut Option<Heard>) -> bool {
    if session.notify.is_some() {
        return notify::hears(session).await;
    }
    let (Some(feed), Some(view)) = (feed, &session.view) else { return false };
    feed.news_or_again(session).await.is_some_and(|news| match news {
        News::Folder(mailbox, modseq) => mailbox == view.mailbox && modseq > view.known_modseq,
        News::Anything => true,
    })
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
        Err(Ended::Gone | Ended::Said) => Err(Reply::lost()),
        Err(Ended::TimedOut) => bye(out, "IDLE was not renewed in time"),
        Err(Ended::ShuttingDown) => bye(out, "[UNAVAILABLE] the server is stopping, connect again soon"),
    }
}
