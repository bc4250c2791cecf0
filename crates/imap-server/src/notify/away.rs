//! What changed while a device was away (OMA CPM: once notification is enabled, all changes since the client's last
//! de-registration are told).
//!
//! The store keeps a checkpoint for each device that says who it is: of each folder, the MODSEQ up to which the device was
//! told. NOTIFY SET compares it with what is, and tells the counters of each watched folder that changed since; what the
//! log of changes still has does not matter, so that a device may be away for any time. Names are compared by the
//! version of the tree alone: that they changed is told by `[XCPM-RESYNC]`, and the client lists them.
//!
//! The checkpoint follows at LOGOUT and NOTIFY NONE, to what the client was told by then; and at the first command after
//! NOTIFY SET was answered, to what its answer told: a device that is cut off has perhaps not seen what came after that, and
//! is told again. So is one whose front end was killed. Nothing is ever told too little.

use model::limits::CHECKPOINT_FOLDERS_MAX;
use model::{MailboxId, ModSeq};
use store_api::Checkpoint;

use super::Notify;
use super::watch::Watch;
use super::wishes::Wants;
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

/// What is noted of the device once the client shows that it was told.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    told: Checkpoint,
    /// The client has all of it, as far as can be seen from here.
    sent: bool,
}

/// Whether the session's device said who it is.
fn has_device(session: &Session) -> bool {
    session.login.as_ref().is_some_and(|login| login.user.device.is_some())
}

/// What the session's device was last told; none for a session without device, and for a device that never was told.
///
/// # Errors
/// What the store answers.
pub(super) async fn last_told(session: &Session) -> Result<Option<Checkpoint>, Reply> {
    if !has_device(session) {
        return Ok(None);
    }
    Ok(session.store().checkpoint(&session.ctx(), session.account()?).await?)
}

/// Whether a folder is told of because it changed while the device was away.
pub(super) fn changed_meanwhile(
    last: Option<&Checkpoint>,
    folder: MailboxId,
    wants: Wants,
    now: ModSeq,
) -> bool {
    wants.counters() && last.is_some_and(|told| now > told.of(folder))
}

impl Notify {
    /// Says that names changed while the device was away, where it wishes to be told of names.
    pub(super) fn tell_of_names(&self, out: &mut Output, last: Option<&Checkpoint>) {
        let version = self.watches.first().map(|own| own.tree.version);
        let changed = last.is_some_and(|told| Some(told.tree_version) != version);
        if changed && self.wishes.of_names() {
            out.untagged(format_args!(
                "OK [XCPM-RESYNC] mailboxes came, went or changed their names or subscriptions since this device was \
                 last told; list them"
            ));
        }
    }

    /// What the device has been told when the client has seen all that it was sent.
    fn told(&self, session: &Session, own: &Watch, before: Option<&Checkpoint>) -> Checkpoint {
        let mut folders: Vec<_> = own
            .tree
            .folders()
            .iter()
            .filter(|entry| !entry.noselect)
            .filter_map(|entry| {
                let watched = own.watched.binary_search_by_key(&entry.id, |watched| watched.id);
                let watched = watched.ok().map(|at| &own.watched[at]);
                let mut modseq = before.map_or(ModSeq(0), |before| before.of(entry.id));
                if let Some(watched) = watched.filter(|watched| watched.wants.counters()) {
                    modseq = modseq.max(watched.modseq);
                }
                let is_selected = session.selected_in(own.account()) == Some(entry.id);
                if let Some(view) = session.view.as_ref().filter(|_| is_selected) {
                    modseq = view.known_modseq.max(before.map_or(ModSeq(0), |before| before.of(entry.id)));
                }
                (modseq > ModSeq(0)).then_some((entry.id, modseq))
            })
            .collect();
        folders.sort_unstable_by_key(|(id, _)| *id);
        folders.truncate(CHECKPOINT_FOLDERS_MAX);
        let tree_version = match before {
            // Who does not wish to be told of names has not been told of them.
            Some(before) if !self.wishes.of_names() => before.tree_version,
            _ => own.tree.version,
        };
        Checkpoint { tree_version, folders }
    }

    /// At the end of NOTIFY SET: a device that is told for the first time gets its checkpoint, so that from now on nothing
    /// is missed; that of others follows when the client shows that it was told.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) async fn begin(&mut self, session: &Session, last: Option<&Checkpoint>) -> Result<(), Reply> {
        let Some(own) = self.watches.first().filter(|_| has_device(session) && self.listens()) else {
            return Ok(());
        };
        let told = self.told(session, own, last);
        if last.is_none() {
            session.store().set_checkpoint(&session.ctx(), session.account()?, &told).await?;
        } else if last != Some(&told) {
            self.unconfirmed = Some(Box::new(Unconfirmed { told, sent: false }));
        }
        Ok(())
    }

    /// Notes that all was sent, and that the client has sent nothing since.
    pub fn note_sent(&mut self) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.sent = true;
        }
    }

    /// Whether a command that comes now shows that the client was told.
    pub fn is_confirmed(&self) -> bool {
        self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.sent)
    }
}

/// A command came after the answer of NOTIFY SET was sent: what that told is noted.
pub(crate) async fn confirm(session: &mut Session) {
    let unconfirmed = session.notify.as_mut().and_then(|notify| notify.unconfirmed.take());
    if let Some(unconfirmed) = unconfirmed {
        write(session, &unconfirmed.told).await;
    }
}

/// The device ends being told, by its own wish: what it was told is noted.
pub(crate) async fn leave(session: &mut Session) {
    if !has_device(session) || session.notify.as_ref().is_none_or(|notify| !notify.listens()) {
        return;
    }
    let before = match last_told(session).await {
        Ok(before) => before,
        Err(reply) => {
            tracing::warn!(text = %reply.text, "what a device was told could not be read, it is told again");
            return;
        }
    };
    let notify = session.notify.as_ref();
    let told = notify.and_then(|notify| Some(notify.told(session, notify.watches.first()?, before.as_ref())));
    let Some(told) = told else { return };
    if before.as_ref() != Some(&told) {
        write(session, &told).await;
    }
}

async fn write(session: &Session, told: &Checkpoint) {
    let Ok(account) = session.account() else { return };
    if let Err(error) = session.store().set_checkpoint(&session.ctx(), account, told).await {
        tracing::warn!(%error, "what a device was told could not be noted, it is told again");
    }
}
