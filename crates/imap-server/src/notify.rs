//! What a session is told without asking, as NOTIFY has it (RFC 5465): of other mailboxes than the selected one, their
//! names and metadata; and whether, and when, it is told of the selected one.
//!
//! Nothing is queued. The feed says that something changed; then what the client was last told is compared with what
//! is: the tree of folders with the one it knows, counters of the watched folders with those it was shown. So a slow
//! client costs no memory, and what happened twice is told once. Per watched folder a session holds 32 bytes.
//!
//! Each account is watched by itself: the session's own, and those of other users whose mailboxes the client names
//! (`Other/…`), subscribed to, or asks for all of that are shared. Who they are is worked out again when one's own account
//! says that something changed: a user who shares something for the first time makes the store say so there.
//!
//! What others share never costs the client what it has itself. Both have bounds of their own: beyond that of one's own,
//! NOTIFY ends (RFC 5465 §5.8). Beyond that of all others together, whoever takes most of it is left out until NOTIFY SET is
//! given anew, and the client is told so by an untagged NO (RFC 3501 §7.1.2): NOTIFICATIONOVERFLOW would say that all of
//! NOTIFY has ended.

pub(crate) mod attend;
pub(crate) mod away;
mod fresh;
pub(crate) mod names;
pub(crate) mod owners;
mod watch;
mod watched;
pub(crate) mod wishes;

use std::collections::BTreeSet;
use std::ops::Range;

use futures::future::{join_all, select_all};
use imap_wire::command::EventGroup;
use model::{AccountId, CpmAddress, MailboxId, UidSet};
use store_api::FolderTree;
use tokio::time::Instant;

use self::names::OwnChange;
use self::owners::{OWNERS_MAX, owners};
use self::watch::{Common, Watch};
use self::watched::Look;
use self::wishes::{OfSelected, Wishes};
use crate::connection::Output;
use crate::heard::{Heard, News, RETRY};
use crate::others;
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::view::View;

/// Octets of names of metadata entries, values counted as 8, that a session remembers of its own account; beyond,
/// NOTIFICATIONOVERFLOW. As many of all others together; beyond, some of those are left out.
const METADATA_BYTES_MAX: usize = 1024 * 1024;
/// Changes of its own that a session remembers between two looks, which follow each command: one is enough, APPEND and
/// COPY by a pipeline may add some. What is forgotten is told.
const OWN_MAX: usize = 16;

/// What NOTIFY set up.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    wishes: Wishes,
    /// The accounts that are watched, the session's own first; none where nothing is told.
    watches: Vec<Watch>,
    /// The selected folder is to be looked at.
    selected_due: bool,
    /// Removals in the selected folder wait for a moment at which they may be told.
    held: bool,
    own_changes: Vec<OwnChange>,
    /// There are more other users to watch than may be.
    has_too_many_owners: bool,
    /// Other users who were left out because they share too much.
    left_out: BTreeSet<CpmAddress>,
    /// What the device's checkpoint is to become.
    unconfirmed: Option<Box<away::Unconfirmed>>,
}

impl Notify {
    /// Begins to watch, from now on. With `status` the client is told how the mailboxes are; a device that was here
    /// before, of those that changed since.
    ///
    /// # Errors
    /// NO `[BADEVENT]`; NO `[NOTIFICATIONOVERFLOW]` when that is too much; NO `[UNAVAILABLE]` without a feed; what the
    /// store answers.
    pub async fn set(
        session: &mut Session,
        out: &mut Output,
        groups: Vec<EventGroup>,
        status: bool,
    ) -> Result<Self, Reply> {
        let mut new = Self { wishes: Wishes::new(session, groups)?, ..Self::default() };
        let account = session.account()?;
        // Listened to before anything is read, so that nothing falls between.
        let feed = if new.listens() {
            let feed = Heard::listen(session, account).await;
            if !feed.is_heard() {
                return Err(unheard());
            }
            feed
        } else {
            Heard::of(account)
        };
        let last = if new.listens() { away::last_told(session).await? } else { None };
        let mut own = Watch::new(None, feed);
        let nothing = BTreeSet::new();
        let common = Common { wishes: &new.wishes, own_changes: &[], subscribed: &nothing };
        own.learn(session, common).await?;
        let tree = own.tree.clone();
        let owners = owners(session, new.wishes.whose(), &tree).await?;
        if owners.len() > OWNERS_MAX {
            return Err(overflow());
        }
        new.watches = new.others_of(session, owners).await?;
        if new.listens() && new.watches.iter().any(|watch| !watch.feed.is_heard()) {
            return Err(unheard());
        }
        for watch in &mut new.watches {
            watch.learn(session, Common { subscribed: tree.subscribed(), ..common }).await?;
        }
        new.watches.insert(0, own);
        if new.is_too_much(session) {
            return Err(overflow());
        }
        new.leave_out(session, out);
        new.tell_of_names(out, last.as_ref());
        for watch in &mut new.watches {
            watch.begin(session, out, &new.wishes, status, last.as_ref()).await?;
        }
        if new.is_too_much(session) {
            return Err(overflow());
        }
        new.leave_out(session, out);
        new.begin(session, last.as_ref()).await?;
        if !new.listens() {
            new.watches = Vec::new();
        }
        Ok(new)
    }

    /// Whether anything is told between commands.
    pub fn listens(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// What is told of the selected mailbox.
    pub fn selected(&self) -> &OfSelected {
        &self.wishes.selected
    }

    /// Notes whether removals in the selected mailbox could not be told yet.
    pub fn note_held(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether there may be something to tell of the selected mailbox between two commands. It is looked at then.
    pub fn is_selected_due(&mut self) -> bool {
        let removals = self.held && !self.wishes.selected.delayed;
        std::mem::take(&mut self.selected_due) || removals
    }

    /// Notes that the selected mailbox could not be read: it is looked at again.
    pub fn note_unread(&mut self) {
        self.selected_due = true;
    }

    /// Waits until a feed may have said something; for ever, where nothing is told. Cancel-safe.
    pub async fn woken(&mut self) {
        match self.watches.as_mut_slice() {
            [] => std::future::pending().await,
            [own] => own.feed.woken().await,
            all => _ = select_all(all.iter_mut().map(|watch| Box::pin(watch.feed.woken()))).await,
        }
    }

    /// Takes up what the feeds said, or others in place of those that ended.
    async fn hear(&mut self, session: &Session) {
        for at in 0..self.watches.len() {
            if let Some(news) = self.watches[at].feed.news_or_again(session).await {
                self.note(at, news, session.view.as_deref());
            }
        }
    }

    /// Notes what the feed of an account said.
    fn note(&mut self, at: usize, news: News, view: Option<&View>) {
        let watch = &mut self.watches[at];
        if self.wishes.of_others() {
            watch.note(news);
        }
        let view = view.filter(|view| view.account == watch.account() && self.wishes.selected.messages);
        if let Some(view) = view {
            self.selected_due |= match news {
                News::Folder(id, modseq) => id == view.mailbox && modseq > view.known_modseq,
                News::Anything => true,
            };
        }
    }

    /// Whether there is something to look at.
    fn is_due(&self) -> bool {
        self.selected_due || self.has_looks()
    }

    /// Whether there is something to look at beside the selected folder.
    fn has_looks(&self) -> bool {
        self.watches.iter().any(|watch| watch.look != Look::Nothing)
    }

    /// Notes what the session did itself.
    pub fn note_own(&mut self, change: OwnChange) {
        if self.own_changes.len() >= OWN_MAX || !self.wishes.of_others() {
            return;
        }
        // Subscriptions are in one's own account, whoever's the mailbox is.
        let is_subscription = matches!(change, OwnChange::Subscribed(..));
        for watch in &mut self.watches {
            if watch.has_name(change.name()) || is_subscription && watch.owner.is_none() {
                watch.look = Look::All;
            }
        }
        self.own_changes.push(change);
    }

    /// Notes messages that the session itself brought to a folder.
    pub fn note_own_arrivals(&mut self, account: AccountId, folder: MailboxId, uids: &UidSet) {
        if let Some(watch) = self.watches.iter_mut().find(|watch| watch.account() == account) {
            watch.note_own_arrivals(folder, uids);
        }
    }

    /// The folder of `view` is no longer selected: from now on it is told of like the others.
    pub fn left(&mut self, view: &View) {
        let told = self.wishes.selected.messages;
        if let Some(watch) = self.watches.iter_mut().find(|watch| watch.account() == view.account) {
            watch.left(view, told);
        }
    }

    /// Whether this is more than a session may have watched for it, whatever others share.
    fn is_too_much(&self, session: &Session) -> bool {
        let own = self.watches.first();
        self.has_too_many_owners
            || own.is_some_and(|own| own.watched.len() > session.server.options.limits.notify_folders_max)
            || own.is_some_and(|own| own.metadata_bytes() > METADATA_BYTES_MAX)
    }

    /// The watch of another user that takes most, if all of them take more than they may.
    fn beyond(&self, session: &Session) -> Option<usize> {
        let folders_max = session.server.options.limits.notify_folders_max;
        let most = |of: fn(&Watch) -> usize, max: usize| {
            let others = || self.watches.iter().enumerate().skip(1).map(|(at, watch)| (of(watch), at));
            let all: usize = others().map(|(taken, _)| taken).sum();
            others().max().filter(|_| all > max).map(|(_, at)| at)
        };
        most(|watch| watch.watched.len(), folders_max)
            .or_else(|| most(Watch::metadata_bytes, METADATA_BYTES_MAX))
    }

    /// Leaves out other users who share too much, and tells so.
    fn leave_out(&mut self, session: &Session, out: &mut Output) {
        let selected = session.view.as_ref().filter(|_| self.wishes.selected.messages);
        let selected = selected.map(|view| view.account);
        while let Some(at) = self.beyond(session) {
            let watch = self.watches.remove(at);
            let Some(owner) = watch.owner else { continue };
            let name = format!("{}{}", others::PREFIX, others::encode(&owner));
            out.untagged(format_args!(
                "NO {name} has more to watch than can be; nothing more is told of its mailboxes"
            ));
            if selected == Some(watch.feed.account()) {
                let mut only = Watch::new(Some(owner.clone()), watch.feed);
                only.for_selected = true;
                self.watches.push(only);
            }
            self.left_out.insert(owner);
        }
    }

    /// Tells what is new of mailboxes, their names and their metadata. Returns when to look again, if not only when a
    /// feed says so.
    ///
    /// # Errors
    /// What the store answers; what was not told then is told the next time.
    async fn tell(&mut self, session: &mut Session, out: &mut Output) -> Result<Option<Instant>, Reply> {
        let Some(own) = self.watches.first() else { return Ok(None) };
        let (everything, before) = (own.look == Look::All, own.tree.clone());
        let mut pass = Pass::default();
        self.tell_each(session, out, &mut pass, 0..1).await?;
        if everything
            && pass.is_done()
            && let Err(reply) = self.follow(session, &before).await
        {
            self.watches[0].look = Look::All;
            pass.failed = Some(reply);
        }
        self.tell_each(session, out, &mut pass, 1..self.watches.len()).await?;
        // Who is watched no more is told of to the end: that they show nothing, too.
        self.watches.retain(|watch| !watch.is_unwanted || watch.for_selected || watch.look != Look::Nothing);
        if let Some(reply) = pass.failed {
            return Err(reply);
        }
        self.own_changes.clear();
        Ok(pass.again)
    }

    /// Tells what is new of some of the accounts. One that cannot be read holds up no other.
    async fn tell_each(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        pass: &mut Pass,
        which: Range<usize>,
    ) -> Result<(), Reply> {
        let Some(mine) = self.watches.first().map(|own| own.tree.clone()) else { return Ok(()) };
        let common =
            Common { wishes: &self.wishes, own_changes: &self.own_changes, subscribed: mine.subscribed() };
        for watch in &mut self.watches[which] {
            match watch.tell(session, out, common).await {
                Ok(later) => pass.again = pass.again.into_iter().chain(later).min(),
                Err(lost) if lost.after != After::Continue => return Err(lost),
                Err(reply) => pass.failed = Some(reply),
            }
        }
        Ok(())
    }

    /// Watches the other users whose mailboxes are asked for as things are in one's own account now. Those that are to be
    /// watched no more are so once they were told of.
    ///
    /// # Errors
    /// What the store answers.
    async fn follow(&mut self, session: &Session, before: &FolderTree) -> Result<(), Reply> {
        let Some(mine) = self.watches.first().map(|own| own.tree.clone()) else { return Ok(()) };
        let mut wanted = owners(session, self.wishes.whose(), &mine).await?;
        wanted.retain(|owner| !self.left_out.contains(owner));
        if wanted.len() > OWNERS_MAX {
            self.has_too_many_owners = true;
            return Ok(());
        }
        let selected = session.view.as_ref().filter(|_| self.wishes.selected.messages);
        let selected = selected.map(|view| view.account);
        for watch in &mut self.watches {
            let Some(owner) = &watch.owner else { continue };
            let is_wanted = wanted.remove(owner);
            let is_new = is_wanted && watch.for_selected;
            let is_left = !is_wanted && !watch.for_selected && !watch.is_unwanted;
            watch.is_unwanted = !is_wanted;
            watch.for_selected = !is_wanted && selected == Some(watch.account());
            let is_other = is_wanted && watch.is_of_nobody() || watch.subscribed_other(mine.subscribed());
            // Its own feed may not have said yet why it is left.
            if is_new || is_left || is_other {
                watch.look = Look::All;
            }
        }
        let mut added = self.others_of(session, wanted).await?;
        for watch in &mut added {
            watch.learn_nothing(before.subscribed());
            // What was only subscribed to was there before. What is shared for the first time was not.
            if watch.subscribed_other(mine.subscribed()) {
                let common =
                    Common { wishes: &self.wishes, own_changes: &[], subscribed: before.subscribed() };
                watch.learn(session, common).await?;
            }
            watch.look = Look::All;
        }
        self.watches.append(&mut added);
        Ok(())
    }

    /// Watches for these other users. One's own account is watched already, whatever it is called.
    ///
    /// # Errors
    /// What the store answers.
    async fn others_of(&self, session: &Session, owners: BTreeSet<CpmAddress>) -> Result<Vec<Watch>, Reply> {
        let own = session.account()?;
        let watch = async |owner: CpmAddress| {
            let account = session.account_of(&owner).await?;
            let feed =
                if self.listens() { Heard::listen(session, account).await } else { Heard::of(account) };
            Ok::<_, Reply>((account != own).then(|| Watch::new(Some(owner), feed)))
        };
        let watches = join_all(owners.into_iter().map(watch)).await;
        watches.into_iter().filter_map(Result::transpose).collect()
    }

    /// Listens to the account of the selected folder, if that is not heard of anyway.
    async fn follow_selected(&mut self, session: &Session) {
        let view = session.view.as_deref().filter(|_| self.wishes.selected.messages);
        let is_of = |watch: &Watch| view.is_some_and(|view| view.account == watch.account());
        self.watches.retain(|watch| !watch.for_selected || is_of(watch) || watch.look != Look::Nothing);
        if let Some(view) = view
            && let Some(owner) = view.owner.as_deref()
            && !self.watches.iter().any(is_of)
        {
            let mut watch = Watch::new(Some(owner.clone()), Heard::listen(session, view.account).await);
            watch.for_selected = true;
            self.watches.push(watch);
            // It may have changed before it was listened to.
            self.selected_due = true;
        }
    }
}

/// What came of telling of all accounts.
#[derive(Default)]
struct Pass {
    /// When to look again.
    again: Option<Instant>,
    /// Why some could not be told of.
    failed: Option<Reply>,
}

impl Pass {
    fn is_done(&self) -> bool {
        self.again.is_none() && self.failed.is_none()
    }
}

fn overflow() -> Reply {
    Reply::no_code("NOTIFICATIONOVERFLOW", "this is more than can be watched; name fewer mailboxes")
}

fn unheard() -> Reply {
    Reply::no_code("UNAVAILABLE", "changes cannot be listened to now, try again later")
}

/// Takes up what the feeds said while the session waited. Returns whether there is something to tell.
pub(crate) async fn hears(session: &mut Session) -> bool {
    let Some(mut notify) = session.notify.take() else { return false };
    notify.hear(session).await;
    let is_due = notify.is_due();
    session.notify = Some(notify);
    is_due
}

/// Tells a session what NOTIFY wants it told of other mailboxes than the selected one, if something is to be looked at.
/// Returns when to look again, if not only when a feed says so.
///
/// # Errors
/// The reply with which a connection ends that is lost.
pub(crate) async fn tell(session: &mut Session, out: &mut Output) -> Result<Option<Instant>, Reply> {
    let Some(mut notify) = session.notify.take_if(|notify| notify.has_looks()) else {
        return Ok(None);
    };
    let told = Box::pin(notify.tell(session, out)).await;
    notify.leave_out(session, out);
    let too_much = notify.is_too_much(session);
    if too_much {
        // RFC 5465 §5.8.
        out.untagged(format_args!(
            "OK [NOTIFICATIONOVERFLOW] there is more to watch than can be; nothing more is told"
        ));
        *notify = Notify::default();
    }
    session.notify = Some(notify);
    match told {
        Ok(again) => Ok(again),
        Err(reply) if reply.after != After::Continue => Err(reply),
        Err(reply) => {
            tracing::debug!(text = %reply.text, "what changed in other mailboxes could not be read");
            Ok((!too_much).then(|| Instant::now() + RETRY))
        }
    }
}

/// At the end of a command: tells what the feeds have said since.
///
/// # Errors
/// As [`tell`].
pub(crate) async fn catch_up(session: &mut Session, out: &mut Output) -> Result<(), Reply> {
    let Some(mut notify) = session.notify.take_if(|notify| notify.listens()) else { return Ok(()) };
    notify.follow_selected(session).await;
    for at in 0..notify.watches.len() {
        if let Some(news) = notify.watches[at].feed.news() {
            notify.note(at, news, session.view.as_deref());
        }
    }
    session.notify = Some(notify);
    tell(session, out).await.map(|_| ())
}
