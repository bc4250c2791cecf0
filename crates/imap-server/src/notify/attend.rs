//! Between two commands: what NOTIFY wants told is told as it happens.

use std::time::Duration;

use tokio::time::Instant;

use crate::accounts;
use crate::connection::{Ended, Input, Output};
use crate::heard::{News, RETRY};
use crate::notify::{self, Notify};
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::sync::{Removals, Told, sync, unless_withdrawn};

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
    // What was heard since the account was last looked at may be that it was shut. None was heard of when the last look
    // was before the feed was listened to.
    let mut to_check = true;
    loop {
        // What arrived already is a command: it is not held up.
        if input.has_received() {
            return Ok(());
        }
        if session.login.as_ref().is_some_and(|login| login.addresses.wants_check()) {
            Box::pin(accounts::check(session, out)).await;
            to_check = false;
            unless_withdrawn(session, out).map_err(|_| Ended::Said)?;
        }
        let check_at =
            session.login.as_ref().filter(|_| to_check).and_then(|login| login.addresses.next_check());
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
        let until = again.into_iter().chain(check_at).fold(beat, Instant::min);
        let woken = loop {
            let Some(notify) = session.notify.as_deref_mut() else { return Ok(()) };
            tokio::select! {
                biased;
                arrived = input.arrived(out) => return arrived,
                () = notify.woken() => {
                    if notify::hears(session).await {
                        to_check = true;
                        break true;
                    }
                }
                () = tokio::time::sleep_until(until) => break false,
            }
        };
        if !woken && Instant::now() >= beat {
            out.untagged(format_args!("OK still here"));
        }
    }
}

impl Notify {
    /// Notes that who reaches what was found to have changed: all mailboxes are looked at again.
    pub(crate) fn look_at_all(&mut self) {
        if self.wishes.of_others() {
            self.watches.iter_mut().for_each(|watch| watch.note(News::Anything));
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
