//! Between two commands: what NOTIFY wants told is told as it happens.

use std::time::Duration;

use tokio::time::Instant;

use crate::accounts;
use crate::connection::{Ended, Input, Output};
use crate::heard::RETRY;
use crate::notify;
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::sync::{Removals, Told, sync};

/// Tells what happens until the client sends something.
///
/// # Errors
/// Why nothing more comes.
pub(crate) async fn attend(session: &mut Session, out: &mut Output, input: &mut Input) -> Result<(), Ended> {
    let keepalive = session.server.options.limits.idle_keepalive;
    // Without a keep-alive, once a day does no harm.
    let pause = if keepalive.is_zero() { Duration::from_secs(86_400) } else { keepalive };
    input.note_silence();
    let mut beat = Instant::now() + pause;
    loop {
        // What arrived already is a command: it is not held up.
        if input.has_received() {
            return Ok(());
        }
        if session.login.as_ref().is_some_and(|login| login.addresses.wants_check()) {
            Box::pin(accounts::check(session, out)).await;
        }
        let again = tell(session, out).await.map_err(|reply| match reply.after {
            After::Lost => Ended::Gone,
            _ => Ended::Said,
        })?;
        if out.pending() > 0 {
            beat = Instant::now() + pause;
            out.flush().await.map_err(|_| Ended::Gone)?;
        }
        let Some(notify) = session.notify.as_deref_mut().filter(|notify| notify.listens()) else {
            return Ok(());
        };
        notify.note_sent();
        let woken = loop {
            let Some(notify) = session.notify.as_deref_mut() else { return Ok(()) };
            tokio::select! {
                biased;
                arrived = input.arrived(out) => return arrived,
                () = notify.woken() => {
                    if notify::hears(session).await {
                        break true;
                    }
                }
                () = tokio::time::sleep_until(again.unwrap_or(beat).min(beat)) => break false,
            }
        };
        if !woken && Instant::now() >= beat {
            out.untagged(format_args!("OK still here"));
        }
    }
}

/// Tells what there is to tell. Returns when to try again.
///
/// # Errors
/// The reply with which the connection ends.
async fn tell(session: &mut Session, out: &mut Output) -> Result<Option<Instant>, Reply> {
    let Some(notify) = session.notify.as_deref_mut() else { return Ok(None) };
    let delayed = notify.selected().delayed;
    let mut again = None;
    if notify.is_selected_due() {
        let removals = if delayed { Removals::Hold } else { Removals::Tell };
        let told = Box::pin(sync(session, out, removals)).await?;
        session.fresh = None;
        if let (Told::Unread(_), Some(notify)) = (told, session.notify.as_deref_mut()) {
            notify.note_unread();
            again = Some(Instant::now() + RETRY);
        }
    }
    let later = notify::tell(session, out).await?;
    Ok(again.into_iter().chain(later).min())
}
