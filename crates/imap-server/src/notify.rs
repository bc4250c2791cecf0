//! What a session is told without asking, as NOTIFY has it (RFC 5465): of other mailboxes than the selected one, their
//! names and metadata; and whether, and when, it is told of the selected one.
//!
//! Nothing is queued. The feed says that something changed; then what the client was last told is compared with what
//! is: the tree of folders with the one it knows, counters of the watched folders with those it was shown. So a slow
//! client costs no memory, and what happened twice is told once. Per watched folder a session holds 32 bytes.
//!
//! Deliberately absent: folders of other accounts.

pub(crate) mod attend;
pub(crate) mod away;
pub(crate) mod names;
pub(crate) mod wishes;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use imap_wire::command::{EventGroup, StatusItem};
use imap_wire::response::{self, ListData};
use model::limits::METADATA_PER_REQUEST_MAX;
use model::{EntryName, FolderState, HIERARCHY_SEPARATOR, MailboxId, MailboxName, ModSeq, UidSet};
use store_api::{FolderTree, Metadata};
use tokio::time::Instant;

use self::names::OwnChange;
use self::wishes::{OfSelected, Wants, Wishes};
use crate::commands::{list, metadata, status};
use crate::connection::Output;
use crate::heard::{Heard, News, RETRY};
use crate::reply::Reply;
use crate::session::Session;
use crate::view::View;

/// Mailboxes whose counters are asked of the store at once.
const STATUS_PAGE: usize = 256;
/// Mailboxes that are looked at by themselves; when more changed, all are.
const FOLDERS_AT_ONCE: usize = 16;
/// How long all counters are left alone after they were compared, for each of the mailboxes: of 5000, two looks a second
/// at most. One that changes alone is looked at as it changes.
const PAUSE_PER_FOLDER: Duration = Duration::from_micros(100);
/// Octets of names of metadata entries, values counted as 8, that a session remembers. Beyond, NOTIFICATIONOVERFLOW.
const METADATA_BYTES_MAX: usize = 1024 * 1024;
/// Changes of its own that a session remembers between two looks, which follow each command: one is enough, APPEND and
/// COPY by a pipeline may add some. What is forgotten is told.
const OWN_MAX: usize = 16;

/// A watched mailbox: as the client was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    id: MailboxId,
    modseq: ModSeq,
    /// UIDNEXT, or the largest UID when there is no next.
    uid_next: u32,
    /// Unread messages; [`UNSEEN_UNKNOWN`] when what the client knows has changed since it was told.
    unseen: u32,
    wants: Wants,
    /// Its counters are to be told whatever they are: the name had another mailbox before.
    anew: bool,
}

const UNSEEN_UNKNOWN: u32 = u32::MAX;

impl Watched {
    fn new(id: MailboxId, wants: Wants) -> Self {
        Self { id, modseq: ModSeq(0), uid_next: 1, unseen: 0, wants, anew: false }
    }

    /// The client knows `state`.
    fn told(&mut self, state: &FolderState) {
        self.modseq = state.highest_modseq;
        self.uid_next = cut(state.uid_next);
        self.unseen = cut(state.unseen);
        self.anew = false;
    }

    /// Whether `state` has something to tell.
    fn differs(&self, state: &FolderState, condstore: bool) -> bool {
        let messages = cut(state.uid_next) > self.uid_next || state.expunge_modseq > self.modseq;
        // RFC 5465 §5.1: without CONDSTORE a change of flags shows in UNSEEN only.
        let flags = state.highest_modseq > self.modseq
            && (condstore || (self.unseen != UNSEEN_UNKNOWN && cut(state.unseen) != self.unseen));
        self.wants.counters() && self.anew
            || self.wants.has(Wants::MESSAGES) && messages
            || self.wants.has(Wants::FLAGS) && flags
    }
}

fn cut(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Look {
    #[default]
    Nothing,
    Folders(BTreeSet<MailboxId>),
    All,
}

impl Look {
    fn add(&mut self, news: News) {
        match (news, &mut *self) {
            (News::Anything, _) => *self = Self::All,
            (_, Self::All) => {}
            (News::Folder(id, _), Self::Folders(folders)) => {
                folders.insert(id);
                if folders.len() > FOLDERS_AT_ONCE {
                    *self = Self::All;
                }
            }
            (News::Folder(id, _), Self::Nothing) => *self = Self::Folders([id].into()),
        }
    }

    /// Whether a folder is among what is looked at.
    fn includes(&self, id: MailboxId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Folders(folders) => folders.contains(&id),
            Self::All => true,
        }
    }
}

/// Names of metadata entries, each with a hash of its value.
type Entries = BTreeMap<EntryName, u64>;

/// Messages that the session itself brought to a folder that it has not selected.
#[derive(Clone, Copy, Debug)]
struct OwnArrivals {
    folder: MailboxId,
    first: u32,
    last: u32,
    /// Commands, each of which raised the folder's MODSEQ by one.
    commands: u64,
}

/// What NOTIFY set up.
#[derive(Debug)]
pub(crate) struct Notify {
    wishes: Wishes,
    feed: Option<Heard>,
    /// The folders as the client was last told.
    tree: Arc<FolderTree>,
    /// Those whose counters or metadata are told, ascending by id.
    watched: Vec<Watched>,
    /// The metadata as the client was last told, the server's under none.
    metadata: BTreeMap<Option<MailboxId>, Entries>,
    hasher: RandomState,
    look: Look,
    /// The selected folder is to be looked at.
    selected_due: bool,
    /// Removals in the selected folder wait for a moment at which they may be told.
    held: bool,
    own_changes: Vec<OwnChange>,
    own_arrivals: Vec<OwnArrivals>,
    all_not_before: Instant,
    /// What the device's checkpoint is to become.
    unconfirmed: Option<Box<away::Unconfirmed>>,
}

impl Notify {
    /// After NOTIFY NONE: nothing is told.
    pub fn none() -> Self {
        Self {
            wishes: Wishes::default(),
            feed: None,
            tree: Arc::default(),
            watched: Vec::new(),
            metadata: BTreeMap::new(),
            hasher: RandomState::new(),
            look: Look::Nothing,
            selected_due: false,
            held: false,
            own_changes: Vec::new(),
            own_arrivals: Vec::new(),
            all_not_before: Instant::now(),
            unconfirmed: None,
        }
    }

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
        let mut new = Self { wishes: Wishes::new(session, groups)?, ..Self::none() };
        // Listened to before anything is read, so that nothing falls between.
        if !new.wishes.is_empty() {
            let Some(feed) = Heard::subscribe(session, session.account()?).await else {
                return Err(Reply::no_code(
                    "UNAVAILABLE",
                    "changes cannot be listened to now, try again later",
                ));
            };
            new.feed = Some(feed);
        }
        let last = if new.listens() { away::last_told(session).await? } else { None };
        new.tree = session.folders().await?;
        new.resolve();
        if new.is_too_much(session) {
            return Err(overflow());
        }
        new.tell_of_names(out, last.as_ref());
        let shown = new.shown(session, status);
        for page in shown.chunks(STATUS_PAGE) {
            let states = states(session, page).await?;
            for (id, state) in page.iter().zip(states) {
                let (Some(state), Some(entry)) = (state, new.tree.by_id(*id)) else { continue };
                let wants = new.wishes.of(&new.tree, &entry.name);
                let meanwhile = Self::changed_meanwhile(last.as_ref(), *id, wants, state.highest_modseq);
                let told = meanwhile || status && is_shown(&new, &entry.name, wants);
                if told && session.selected() != Some(*id) {
                    let modseq = meanwhile || wants.has(Wants::FLAGS) || session.enabled.condstore;
                    let items = items(wants, modseq);
                    status::told(session, out, *id, &entry.name, &state, &items);
                    out.relieve().await?;
                }
                if let Ok(at) = new.watched.binary_search_by_key(id, |watched| watched.id) {
                    new.watched[at].told(&state);
                }
            }
        }
        new.look_at_metadata(session, None, &Look::All).await?;
        if new.is_too_much(session) {
            return Err(overflow());
        }
        new.begin(session, last.as_ref()).await?;
        Ok(new)
    }

    /// Folders whose counters are read when NOTIFY SET is executed.
    fn shown(&self, session: &Session, status: bool) -> Vec<MailboxId> {
        let counted = |watched: &&Watched| watched.wants.counters();
        let mut shown: BTreeSet<_> = self.watched.iter().filter(counted).map(|watched| watched.id).collect();
        if status {
            let folders = self.tree.folders().iter().filter(|entry| !entry.noselect);
            let once = folders.filter(|entry| self.wishes.shows_once(&self.tree, &entry.name));
            shown.extend(once.map(|entry| entry.id).filter(|id| session.selected() != Some(*id)));
        }
        shown.into_iter().collect()
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

    /// Lends the feed to a command that waits itself.
    pub fn take_feed(&mut self) -> Option<Heard> {
        self.feed.take()
    }

    /// Takes the feed back.
    pub fn give_feed(&mut self, feed: Option<Heard>) {
        self.feed = feed;
    }

    /// Notes what the feed said. Returns whether there is something to look at.
    pub fn note(&mut self, news: News, view: Option<&View>) -> bool {
        if self.wishes.of_others() {
            self.look.add(news);
        }
        if let Some(view) = view.filter(|_| self.wishes.selected.messages) {
            self.selected_due |= match news {
                News::Folder(id, modseq) => id == view.mailbox && modseq > view.known_modseq,
                News::Anything => true,
            };
        }
        self.selected_due || self.look != Look::Nothing
    }

    /// Notes what the session did itself.
    pub fn note_own(&mut self, change: OwnChange) {
        if self.own_changes.len() < OWN_MAX && self.wishes.of_others() {
            self.own_changes.push(change);
            self.look = Look::All;
        }
    }

    /// Notes messages that the session itself brought to a folder.
    pub fn note_own_arrivals(&mut self, folder: MailboxId, uids: &UidSet) {
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return };
        let (first, last) = (first.get(), last.get());
        let room = self.own_arrivals.len() < OWN_MAX;
        match self.own_arrivals.iter_mut().find(|own| own.folder == folder) {
            Some(own) if own.last + 1 == first => {
                own.last = last;
                own.commands += 1;
            }
            // Others came between: all is told.
            Some(own) => own.commands = u64::MAX,
            None if room => {
                self.own_arrivals.push(OwnArrivals { folder, first, last, commands: 1 });
            }
            None => {}
        }
    }

    /// The folder of `view` is no longer selected: from now on it is told of like the others.
    pub fn left(&mut self, view: &View) {
        let told = self.wishes.selected.messages;
        let at = self.watched.binary_search_by_key(&view.mailbox, |watched| watched.id);
        if let Some(at) = at.ok().filter(|_| told) {
            let watched = &mut self.watched[at];
            watched.modseq = view.known_modseq;
            watched.uid_next = cut(view.uid_next_known);
            watched.unseen = UNSEEN_UNKNOWN;
        }
        self.look.add(News::Folder(view.mailbox, ModSeq(0)));
    }

    /// Works out which folders are watched, and keeps what the client knows of them.
    fn resolve(&mut self) {
        let mut watched = Vec::new();
        for entry in self.tree.folders().iter().filter(|entry| !entry.noselect) {
            let wants = self.wishes.of(&self.tree, &entry.name);
            if wants.counters() || wants.has(Wants::METADATA) {
                let known = self.watched.binary_search_by_key(&entry.id, |watched| watched.id);
                watched.push(match known {
                    Ok(at) => Watched { wants, ..self.watched[at] },
                    Err(_) => Watched::new(entry.id, wants),
                });
            }
        }
        watched.sort_unstable_by_key(|watched| watched.id);
        watched.shrink_to_fit();
        self.watched = watched;
        self.metadata.retain(|id, _| match id {
            None => true,
            Some(id) => self.watched.binary_search_by_key(id, |watched| watched.id).is_ok(),
        });
    }

    /// Whether this is more than a session may have watched for it.
    fn is_too_much(&self, session: &Session) -> bool {
        let entries = self.metadata.values().flat_map(BTreeMap::keys);
        let octets: usize = entries.map(|name| name.as_str().len() + size_of::<(EntryName, u64)>()).sum();
        self.watched.len() > session.server.options.limits.notify_folders_max || octets > METADATA_BYTES_MAX
    }

    /// Tells what is new of mailboxes, their names and their metadata. Returns when to look again, if not only when the
    /// feed says so.
    ///
    /// # Errors
    /// What the store answers; what was not told then is told the next time.
    async fn tell(&mut self, session: &mut Session, out: &mut Output) -> Result<Option<Instant>, Reply> {
        if self.look == Look::All && Instant::now() < self.all_not_before && self.own_changes.is_empty() {
            return Ok(Some(self.all_not_before));
        }
        let look = std::mem::take(&mut self.look);
        let told = self.tell_of(session, out, &look).await;
        if told.is_err() {
            self.look = Look::All;
        }
        told.map(|()| None)
    }

    async fn tell_of(&mut self, session: &mut Session, out: &mut Output, look: &Look) -> Result<(), Reply> {
        if *look == Look::All {
            self.tell_names(session, out).await?;
            self.all_not_before = Instant::now() + PAUSE_PER_FOLDER * self.watched.len() as u32;
        }
        self.tell_counters(session, out, look).await?;
        self.look_at_metadata(session, Some(out), look).await
    }

    /// Tells which names came, went or changed, and watches what is there now.
    async fn tell_names(&mut self, session: &mut Session, out: &mut Output) -> Result<(), Reply> {
        let tree = session.folders().await?;
        if tree.version != self.tree.version || !self.own_changes.is_empty() {
            let own = std::mem::take(&mut self.own_changes);
            for (name, affected) in names::affected(&self.tree, &tree, &own) {
                let before = affected.old_name.as_ref();
                let wants =
                    self.wishes.of(&tree, &name).with(self.wishes.of(&self.tree, before.unwrap_or(&name)));
                if wants.has(affected.by) {
                    let show = list::Show { subscribed: true, non_existent: true };
                    let data = ListData {
                        attributes: &list::attributes(&tree, &name, show),
                        separator: Some(HIERARCHY_SEPARATOR),
                        name: name.as_str(),
                        old_name: before.map(MailboxName::as_str),
                        ..ListData::default()
                    };
                    response::list(out.text(), &data, session.mailbox_encoding());
                    out.relieve().await?;
                }
            }
            let before = std::mem::replace(&mut self.tree, tree);
            self.resolve();
            for watched in &mut self.watched {
                let name = self.tree.by_id(watched.id).map(|entry| &entry.name);
                let other = name.and_then(|name| before.find(name)).is_some_and(|old| old.id != watched.id);
                watched.anew |= other && watched.modseq == ModSeq(0);
            }
        }
        Ok(())
    }

    /// Tells of counters that changed.
    async fn tell_counters(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        look: &Look,
    ) -> Result<(), Reply> {
        let ids: Vec<_> = self
            .watched
            .iter()
            .filter(|watched| watched.wants.counters() && look.includes(watched.id))
            // RFC 5465 §3.1: of the selected mailbox only what is wished for it.
            .filter(|watched| session.selected() != Some(watched.id))
            .map(|watched| watched.id)
            .collect();
        let condstore = session.enabled.condstore;
        for page in ids.chunks(STATUS_PAGE) {
            for (id, state) in page.iter().zip(states(session, page).await?) {
                let Ok(at) = self.watched.binary_search_by_key(id, |watched| watched.id) else { continue };
                let Some(state) = state else { continue };
                let mut watched = self.watched[at];
                if watched.differs(&state, condstore)
                    && !self.is_own(&watched, &state)
                    && let Some(entry) = self.tree.by_id(*id)
                {
                    let items = items(watched.wants, condstore);
                    status::told(session, out, *id, &entry.name, &state, &items);
                    out.relieve().await?;
                }
                watched.told(&state);
                self.watched[at] = watched;
            }
        }
        self.own_arrivals.clear();
        Ok(())
    }

    /// Whether all that happened in a folder is what the session itself did.
    fn is_own(&self, watched: &Watched, state: &FolderState) -> bool {
        self.own_arrivals.iter().any(|own| {
            own.folder == watched.id
                && own.first == watched.uid_next
                && u64::from(own.last) + 1 == state.uid_next
                && watched.modseq.0.checked_add(own.commands) == Some(state.highest_modseq.0)
        })
    }

    /// Reads metadata, and with `out` tells which entries are not as the client was told.
    async fn look_at_metadata(
        &mut self,
        session: &mut Session,
        mut out: Option<&mut Output>,
        look: &Look,
    ) -> Result<(), Reply> {
        let mut scopes: Vec<Option<MailboxId>> = self
            .watched
            .iter()
            .filter(|watched| watched.wants.has(Wants::METADATA) && look.includes(watched.id))
            .map(|watched| Some(watched.id))
            .collect();
        if self.wishes.server_metadata && *look == Look::All {
            scopes.push(None);
        }
        for page in scopes.chunks(METADATA_PER_REQUEST_MAX) {
            for (scope, found) in page.iter().zip(metadata::read(session, session.account()?, page).await?) {
                let now = self.entries(&found);
                let known = self.metadata.insert(*scope, now).unwrap_or_default();
                let Some(now) = self.metadata.get(scope) else { continue };
                let changed: BTreeSet<&EntryName> = known
                    .keys()
                    .chain(now.keys())
                    .filter(|entry| known.get(*entry) != now.get(*entry))
                    .collect();
                let name = match scope {
                    None => Some(""),
                    Some(id) => self.tree.by_id(*id).map(|entry| entry.name.as_str()),
                };
                if let (Some(out), Some(name), false) = (&mut out, name, changed.is_empty()) {
                    response::metadata_changed(out.text(), name, session.mailbox_encoding(), changed);
                    out.relieve().await?;
                }
            }
        }
        Ok(())
    }

    fn entries(&self, metadata: &Metadata) -> Entries {
        metadata.iter().map(|(name, value)| (name.clone(), self.hasher.hash_one(value))).collect()
    }
}

/// Whether NOTIFY SET STATUS shows a mailbox.
fn is_shown(notify: &Notify, name: &MailboxName, wants: Wants) -> bool {
    wants.counters() || notify.wishes.shows_once(&notify.tree, name)
}

fn overflow() -> Reply {
    Reply::no_code("NOTIFICATIONOVERFLOW", "this is more than can be watched; name fewer mailboxes")
}

/// What STATUS tells of a mailbox.
fn items(wants: Wants, modseq: bool) -> Vec<StatusItem> {
    let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
    if wants.has(Wants::FLAGS) {
        items.push(StatusItem::Unseen);
    }
    if modseq {
        items.push(StatusItem::HighestModSeq);
    }
    items
}

async fn states(session: &Session, ids: &[MailboxId]) -> Result<Vec<Option<FolderState>>, Reply> {
    Ok(session.store().status(&session.ctx(), session.account()?, ids).await?)
}

/// Tells a session what NOTIFY wants it told of other mailboxes than the selected one, if something is to be looked at.
/// Returns when to look again, if not only when the feed says so.
///
/// # Errors
/// The reply with which a connection ends that is lost.
pub(crate) async fn tell(session: &mut Session, out: &mut Output) -> Result<Option<Instant>, Reply> {
    let Some(mut notify) = session.notify.take_if(|notify| notify.look != Look::Nothing) else {
        return Ok(None);
    };
    let told = Box::pin(notify.tell(session, out)).await;
    let too_much = notify.is_too_much(session);
    if too_much {
        // RFC 5465 §5.8.
        out.untagged(format_args!(
            "OK [NOTIFICATIONOVERFLOW] there is more to watch than can be; nothing more is told"
        ));
        *notify = Notify::none();
    }
    session.notify = Some(notify);
    match told {
        Ok(again) => Ok(again),
        Err(reply) if reply.after != crate::reply::After::Continue => Err(reply),
        Err(reply) => {
            tracing::debug!(text = %reply.text, "what changed in other mailboxes could not be read");
            Ok((!too_much).then(|| Instant::now() + RETRY))
        }
    }
}

/// At the end of a command: tells what the feed has said since.
///
/// # Errors
/// As [`tell`].
pub(crate) async fn catch_up(session: &mut Session, out: &mut Output) -> Result<(), Reply> {
    let Some(notify) = session.notify.as_deref_mut().filter(|notify| notify.listens()) else { return Ok(()) };
    if let Some(news) = notify.feed.as_mut().and_then(Heard::news) {
        // It listens to one's own account.
        let own = session.login.as_ref().map(|login| login.account);
        notify.note(news, session.view.as_deref().filter(|view| Some(view.account) == own));
    }
    tell(session, out).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(uid_next: u64, modseq: u64, expunge_modseq: u64, unseen: u64) -> FolderState {
        FolderState {
            uid_validity: model::UidValidity::new(1).expect("positive"),
            uid_next,
            highest_modseq: ModSeq(modseq),
            expunge_modseq: ModSeq(expunge_modseq),
            messages: 0,
            unseen,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
            recent_uid: 1,
            keywords: Arc::default(),
        }
    }

    #[test]
    fn what_is_told_of_counters() {
        let mut messages = Watched::new(MailboxId(1), Wants::MESSAGES);
        messages.told(&state(5, 9, 3, 2));
        assert!(!messages.differs(&state(5, 9, 3, 2), true));
        assert!(messages.differs(&state(6, 10, 3, 3), false));
        assert!(messages.differs(&state(5, 10, 10, 2), false));
        assert!(!messages.differs(&state(5, 10, 3, 1), true), "flags were not asked for");
        let flags = Watched { wants: Wants::MESSAGES.with(Wants::FLAGS), ..messages };
        assert!(flags.differs(&state(5, 10, 3, 2), true));
        assert!(!flags.differs(&state(5, 10, 3, 2), false));
        assert!(flags.differs(&state(5, 10, 3, 1), false));
        assert!(!Watched { unseen: UNSEEN_UNKNOWN, ..flags }.differs(&state(5, 10, 3, 1), false));
        assert!(Watched { anew: true, ..messages }.differs(&state(5, 9, 3, 2), false));
        assert!(size_of::<Watched>() <= 32);
    }

    #[test]
    fn looks_add_up_to_a_bound() {
        let mut look = Look::Nothing;
        for n in 0..FOLDERS_AT_ONCE as u64 {
            look.add(News::Folder(MailboxId(n), ModSeq(1)));
        }
        assert!(look.includes(MailboxId(0)) && !look.includes(MailboxId(99)));
        look.add(News::Folder(MailboxId(99), ModSeq(1)));
        assert_eq!(look, Look::All);
        look.add(News::Folder(MailboxId(1), ModSeq(1)));
        assert_eq!(look, Look::All);
    }
}
