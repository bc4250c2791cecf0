//! An account that is watched for a session: its folders as the client was last told, and what is told of them now.
//!
//! Of another user's account, what is told takes the rights `l` and `r` (RFC 5465 §5). It is the store that knows them: each
//! look asks it for the folders that the client may see now, and it answers for no others. What the feed says of an account
//! is never told, and where nothing is shown, nothing is told of its being heard.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use imap_wire::command::StatusItem;
use imap_wire::response::{self, ListData};
use model::limits::METADATA_PER_REQUEST_MAX;
use model::{
    AccountId, CpmAddress, EntryName, ErrorKind, FolderState, HIERARCHY_SEPARATOR, MailboxId, MailboxName,
    ModSeq, Rights, UidSet,
};
use store_api::{Checkpoint, FolderEntry, FolderTree, Metadata};
use tokio::time::Instant;

use super::fresh::{Fresh, named, part_of};
use super::names::{self, OwnChange};
use super::watched::{Look, Watched};
use super::wishes::{Wants, Wishes};
use super::{OWN_MAX, away};
use crate::commands::{metadata, status};
use crate::connection::Output;
use crate::heard::{Heard, News};
use crate::others;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::View;

/// Mailboxes whose counters are asked of the store at once.
const STATUS_PAGE: usize = 256;
/// How long all counters are left alone after they were compared, for each of the mailboxes: of 5000, two looks a second
/// at most. One that changes alone is looked at as it changes.
const PAUSE_PER_FOLDER: Duration = Duration::from_micros(100);

/// How long the folders of another user are left alone at least after all of them were looked at: who shows a client
/// nothing, or one folder of a busy account, must not cost a look for each of its changes.
const PAUSE_OF_OTHERS: Duration = Duration::from_millis(50);

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

/// What the watches of a session have in common.
#[derive(Clone, Copy)]
pub(super) struct Common<'n> {
    pub wishes: &'n Wishes,
    pub own_changes: &'n [OwnChange],
    /// The names that the client subscribed to.
    pub subscribed: &'n BTreeSet<MailboxName>,
}

/// An account that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    /// Whose it is, if not the session's own.
    pub owner: Option<CpmAddress>,
    /// It is listened to only because the selected folder is one of it.
    pub for_selected: bool,
    /// Its mailboxes are asked for no more: it ends once the client was told all up to then.
    pub is_unwanted: bool,
    pub feed: Heard,
    /// The folders as the client was last told, by the names that it knows. Of another user's, those that it may look up,
    /// and what it subscribed to among them.
    pub tree: Arc<FolderTree>,
    /// Those of them whose names it was told, or is taken to know. Empty of one's own, which it knows all.
    named: BTreeSet<MailboxId>,
    /// Those whose counters or metadata are told, ascending by id.
    pub watched: Vec<Watched>,
    /// The metadata as the client was last told, the server's under none.
    metadata: BTreeMap<Option<MailboxId>, Entries>,
    hasher: RandomState,
    pub look: Look,
    own_arrivals: Vec<OwnArrivals>,
    all_not_before: Instant,
}

impl Watch {
    /// Watches the account of a feed, the session's own or that of another user. Nothing is known of its folders.
    pub fn new(owner: Option<CpmAddress>, feed: Heard) -> Self {
        Self {
            owner,
            for_selected: false,
            is_unwanted: false,
            feed,
            tree: Arc::default(),
            named: BTreeSet::new(),
            watched: Vec::new(),
            metadata: BTreeMap::new(),
            hasher: RandomState::new(),
            look: Look::Nothing,
            own_arrivals: Vec::new(),
            all_not_before: Instant::now(),
        }
    }

    /// Whose account it is.
    pub fn account(&self) -> AccountId {
        self.feed.account()
    }

    /// Whether it is watched under the number of an account that is not there.
    pub fn is_of_nobody(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| others::nobody(owner) == self.account())
    }

    /// Reads the folders there are, which the client is taken to know.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn learn(&mut self, session: &Session, common: Common<'_>) -> Result<(), Reply> {
        self.tree = self.read(session, common.subscribed).await?.tree;
        self.named = self.ids_of(&named(&self.tree, &BTreeSet::new()));
        self.resolve(common.wishes);
        Ok(())
    }

    /// The folders of a tree, where it is another user's.
    fn ids_of(&self, tree: &FolderTree) -> BTreeSet<MailboxId> {
        let folders = tree.folders().iter().filter(|_| self.owner.is_some());
        folders.map(|entry| entry.id).collect()
    }

    /// The client is taken to know of no folder, and of what it subscribed to.
    pub fn learn_nothing(&mut self, subscribed: &BTreeSet<MailboxName>) {
        let subscribed = self.owner.as_ref().map(|owner| part_of(owner, subscribed)).unwrap_or_default();
        self.tree = Arc::new(FolderTree::new(0, Vec::new(), subscribed));
        self.named = BTreeSet::new();
    }

    /// What the client knows was of another account: it is none of what there is now, though the numbers be the same.
    fn estrange(&mut self) {
        let other = |id: MailboxId| MailboxId(!id.0);
        let folders = self.tree.folders().iter();
        let folders = folders.map(|entry| FolderEntry { id: other(entry.id), ..entry.clone() }).collect();
        self.tree = Arc::new(FolderTree::new(0, folders, self.tree.subscribed().clone()));
        self.named = self.named.iter().copied().map(other).collect();
        self.watched = Vec::new();
        self.metadata = BTreeMap::new();
    }

    /// Reads the folders there are.
    async fn read(&mut self, session: &Session, subscribed: &BTreeSet<MailboxName>) -> Result<Fresh, Reply> {
        let Some(owner) = self.owner.clone() else {
            return Ok(Fresh::of_own(session.folders().await?));
        };
        let (mut account, mut found) = session.seen_of(&owner).await?;
        while account != self.account() {
            // The address is another account's now, had none before, or has none any more. Listened to before it is read.
            self.feed = Heard::listen(session, account).await;
            self.estrange();
            (account, found) = session.seen_of(&owner).await?;
        }
        let found = found.unwrap_or_default();
        Ok(Fresh::of_other(&owner, &found, part_of(&owner, subscribed)))
    }

    /// Whether the client subscribed to other names of this account than it was last told.
    pub fn subscribed_other(&self, subscribed: &BTreeSet<MailboxName>) -> bool {
        self.owner.as_ref().is_some_and(|owner| part_of(owner, subscribed) != *self.tree.subscribed())
    }

    /// The folders of which counters and metadata may be told.
    fn selectable(&self) -> impl Iterator<Item = &FolderEntry> {
        self.tree.folders().iter().filter(|entry| !entry.noselect && entry.rights.has(Rights::READ))
    }

    /// Reads counters and metadata, which the client is taken to know. With `status` it is told the counters; a device
    /// that was here before, of the folders that changed since `last`.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn begin(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        wishes: &Wishes,
        status: bool,
        last: Option<&Checkpoint>,
    ) -> Result<(), Reply> {
        // The checkpoint is of the session's own account.
        let last = last.filter(|_| self.owner.is_none());
        let selected = session.selected_in(self.account());
        let shown = self.shown(selected, wishes, status);
        for page in shown.chunks(STATUS_PAGE) {
            let states = self.states(session, page).await?;
            for (id, state) in page.iter().zip(states) {
                let (Some(state), Some(entry)) = (state, self.tree.by_id(*id)) else { continue };
                let wants = wishes.of(&self.tree, &entry.name);
                let meanwhile = away::changed_meanwhile(last, *id, wants, state.highest_modseq);
                let is_shown = wants.counters() || wishes.shows_once(&self.tree, &entry.name);
                if (meanwhile || status && is_shown) && selected != Some(*id) {
                    let modseq = meanwhile || wants.has(Wants::FLAGS) || session.enabled.condstore;
                    let items = items(wants, modseq);
                    status::told(session, out, *id, &entry.name, &state, &items);
                    out.relieve().await?;
                }
                if let Ok(at) = self.watched.binary_search_by_key(id, |watched| watched.id) {
                    self.watched[at].told(&state);
                }
            }
        }
        self.look_at_metadata(session, None, wishes, &Look::All).await
    }

    /// Folders whose counters are read when NOTIFY SET is executed.
    fn shown(&self, selected: Option<MailboxId>, wishes: &Wishes, status: bool) -> Vec<MailboxId> {
        let counted = |watched: &&Watched| watched.wants.counters();
        let mut shown: BTreeSet<_> = self.watched.iter().filter(counted).map(|watched| watched.id).collect();
        if status {
            let once = self.selectable().filter(|entry| wishes.shows_once(&self.tree, &entry.name));
            shown.extend(once.map(|entry| entry.id).filter(|id| selected != Some(*id)));
        }
        shown.into_iter().collect()
    }

    /// Works out which folders are watched, and keeps what the client knows of them.
    fn resolve(&mut self, wishes: &Wishes) {
        let mut watched = Vec::new();
        for entry in self.selectable() {
            let wants = wishes.of(&self.tree, &entry.name);
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

    /// Octets that the remembered names of metadata entries take.
    pub fn metadata_bytes(&self) -> usize {
        let entries = self.metadata.values().flat_map(BTreeMap::keys);
        entries.map(|name| name.as_str().len() + size_of::<(EntryName, u64)>()).sum()
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

    /// The folder of `view` is no longer selected: from now on it is told of like the others. `told`: it was told of
    /// while it was.
    pub fn left(&mut self, view: &View, told: bool) {
        let at = self.watched.binary_search_by_key(&view.mailbox, |watched| watched.id);
        if let Some(at) = at.ok().filter(|_| told) {
            self.watched[at].left(view);
        }
        self.look.add(News::Folder(view.mailbox, ModSeq(0)));
    }

    /// Takes up what the feed said.
    pub fn note(&mut self, news: News) {
        let concerns = match news {
            _ if self.for_selected => false,
            // What else happens in another user's account is not for the client to know.
            News::Folder(id, _) if self.owner.is_some() => self.at(id).is_some(),
            News::Folder(..) | News::Anything => true,
        };
        if concerns {
            self.look.add(news);
        }
    }

    fn at(&self, id: MailboxId) -> Option<usize> {
        self.watched.binary_search_by_key(&id, |watched| watched.id).ok()
    }

    /// Tells what is new of the account's mailboxes, their names and their metadata. Returns when to look again, if not
    /// only when the feed says so.
    ///
    /// # Errors
    /// What the store answers; what was not told then is told the next time.
    pub async fn tell(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        common: Common<'_>,
    ) -> Result<Option<Instant>, Reply> {
        if self.look == Look::All && Instant::now() < self.all_not_before && common.own_changes.is_empty() {
            return Ok(Some(self.all_not_before));
        }
        let look = std::mem::take(&mut self.look);
        let told = self.tell_of(session, out, common, &look).await;
        if told.is_err() {
            self.look = Look::All;
        }
        told.map(|()| None)
    }

    async fn tell_of(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        common: Common<'_>,
        look: &Look,
    ) -> Result<(), Reply> {
        if *look == Look::All {
            self.tell_names(session, out, common).await?;
            let pause = PAUSE_PER_FOLDER * self.watched.len() as u32;
            let least = if self.owner.is_some() { PAUSE_OF_OTHERS } else { Duration::ZERO };
            self.all_not_before = Instant::now() + pause.max(least);
        }
        self.tell_counters(session, out, look).await?;
        self.look_at_metadata(session, Some(out), common.wishes, look).await
    }

    /// Tells which names came, went or changed, and watches what is there now.
    async fn tell_names(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        common: Common<'_>,
    ) -> Result<(), Reply> {
        let fresh = self.read(session, common.subscribed).await?;
        let own: Vec<_> =
            common.own_changes.iter().filter(|own| self.has_name(own.name())).cloned().collect();
        if self.is_same(&fresh.tree) && own.is_empty() {
            return Ok(());
        }
        let wishes = common.wishes;
        let (before, now) = (named(&self.tree, &self.named), named(&fresh.tree, &self.named));
        for (name, affected) in names::affected(&before, &now, &own) {
            // What the client subscribed to of another user's is told with what that one has.
            if !self.has_name(&name) {
                continue;
            }
            let old_name = affected.old_name.as_ref();
            let wants = wishes.of(&fresh.tree, &name).with(wishes.of(&self.tree, old_name.unwrap_or(&name)));
            if wants.has(affected.by) {
                let data = ListData {
                    attributes: &fresh.attributes(&name),
                    separator: Some(HIERARCHY_SEPARATOR),
                    name: name.as_str(),
                    old_name: old_name.map(MailboxName::as_str),
                    ..ListData::default()
                };
                response::list(out.text(), &data, session.mailbox_encoding());
                out.relieve().await?;
            }
        }
        self.tree = fresh.tree;
        self.named = self.ids_of(&now);
        self.resolve(wishes);
        for watched in &mut self.watched {
            let name = self.tree.by_id(watched.id).map(|entry| &entry.name);
            let other = name.and_then(|name| before.find(name)).is_some_and(|old| old.id != watched.id);
            watched.anew |= other && watched.modseq == ModSeq(0);
        }
        Ok(())
    }

    /// Whether a name is, or would be, one of this account.
    pub fn has_name(&self, name: &MailboxName) -> bool {
        others::owner(name) == self.owner
    }

    /// Whether a tree has nothing that the client does not know.
    fn is_same(&self, tree: &FolderTree) -> bool {
        match self.owner {
            None => tree.version == self.tree.version,
            // What is shown of another user's has no version.
            Some(_) => tree.folders() == self.tree.folders() && tree.subscribed() == self.tree.subscribed(),
        }
    }

    /// Tells of counters that changed.
    async fn tell_counters(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        look: &Look,
    ) -> Result<(), Reply> {
        let selected = session.selected_in(self.account());
        let ids: Vec<_> = self
            .watched
            .iter()
            .filter(|watched| watched.wants.counters() && look.includes(watched.id))
            // RFC 5465 §3.1: of the selected mailbox only what is wished for it.
            .filter(|watched| selected != Some(watched.id))
            .map(|watched| watched.id)
            .collect();
        let condstore = session.enabled.condstore;
        for page in ids.chunks(STATUS_PAGE) {
            for (id, state) in page.iter().zip(self.states(session, page).await?) {
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
        wishes: &Wishes,
        look: &Look,
    ) -> Result<(), Reply> {
        let mut scopes: Vec<Option<MailboxId>> = self
            .watched
            .iter()
            .filter(|watched| watched.wants.has(Wants::METADATA) && look.includes(watched.id))
            .map(|watched| Some(watched.id))
            .collect();
        if wishes.server_metadata && self.owner.is_none() && *look == Look::All {
            scopes.push(None);
        }
        for page in scopes.chunks(METADATA_PER_REQUEST_MAX) {
            let found = match metadata::read(session, self.account(), page).await {
                // Nothing is shown any more.
                Err(reply) if self.owner.is_some() && reply.code.as_deref() == Some("NONEXISTENT") => break,
                found => found?,
            };
            for (scope, found) in page.iter().zip(found) {
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

    async fn states(&self, session: &Session, ids: &[MailboxId]) -> Result<Vec<Option<FolderState>>, Reply> {
        match session.store().status(&session.ctx(), self.account(), ids).await {
            // Nothing is shown any more.
            Err(error) if self.owner.is_some() && error.kind() == ErrorKind::NoSuchMailbox => Ok(Vec::new()),
            states => Ok(states?),
        }
    }
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
