//! An account that is watched for a session: its folders as the client was last told, and what is told of them now.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use imap_wire::command::StatusItem;
use imap_wire::response::{self, ListData};
use model::limits::METADATA_PER_REQUEST_MAX;
use model::{AccountId, EntryName, FolderState, HIERARCHY_SEPARATOR, MailboxId, MailboxName, ModSeq, UidSet};
use store_api::{Checkpoint, FolderTree, Metadata};
use tokio::time::Instant;

use super::names::{self, OwnChange};
use super::watched::{Look, Watched};
use super::wishes::{Wants, Wishes};
use super::{OWN_MAX, away};
use crate::commands::{list, metadata, status};
use crate::connection::Output;
use crate::heard::{Heard, News};
use crate::reply::Reply;
use crate::session::Session;
use crate::view::View;

/// Mailboxes whose counters are asked of the store at once.
const STATUS_PAGE: usize = 256;
/// How long all counters are left alone after they were compared, for each of the mailboxes: of 5000, two looks a second
/// at most. One that changes alone is looked at as it changes.
const PAUSE_PER_FOLDER: Duration = Duration::from_micros(100);

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

/// An account that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    pub feed: Heard,
    /// The folders as the client was last told.
    pub tree: Arc<FolderTree>,
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
    /// Watches the account of a feed. Nothing is known of its folders.
    pub fn new(feed: Heard) -> Self {
        Self {
            feed,
            tree: Arc::default(),
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

    /// Reads the folders there are, which the client is taken to know.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn learn(&mut self, session: &Session, wishes: &Wishes) -> Result<(), Reply> {
        self.tree = session.folders().await?;
        self.resolve(wishes);
        Ok(())
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
        let selected = session.selected();
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
            let folders = self.tree.folders().iter().filter(|entry| !entry.noselect);
            let once = folders.filter(|entry| wishes.shows_once(&self.tree, &entry.name));
            shown.extend(once.map(|entry| entry.id).filter(|id| selected != Some(*id)));
        }
        shown.into_iter().collect()
    }

    /// Works out which folders are watched, and keeps what the client knows of them.
    fn resolve(&mut self, wishes: &Wishes) {
        let mut watched = Vec::new();
        for entry in self.tree.folders().iter().filter(|entry| !entry.noselect) {
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

    /// Tells what is new of the account's mailboxes, their names and their metadata. Returns when to look again, if not
    /// only when the feed says so.
    ///
    /// # Errors
    /// What the store answers; what was not told then is told the next time.
    pub async fn tell(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        wishes: &Wishes,
        own_changes: &[OwnChange],
    ) -> Result<Option<Instant>, Reply> {
        if self.look == Look::All && Instant::now() < self.all_not_before && own_changes.is_empty() {
            return Ok(Some(self.all_not_before));
        }
        let look = std::mem::take(&mut self.look);
        let told = self.tell_of(session, out, wishes, own_changes, &look).await;
        if told.is_err() {
            self.look = Look::All;
        }
        told.map(|()| None)
    }

    async fn tell_of(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        wishes: &Wishes,
        own_changes: &[OwnChange],
        look: &Look,
    ) -> Result<(), Reply> {
        if *look == Look::All {
            self.tell_names(session, out, wishes, own_changes).await?;
            self.all_not_before = Instant::now() + PAUSE_PER_FOLDER * self.watched.len() as u32;
        }
        self.tell_counters(session, out, look).await?;
        self.look_at_metadata(session, Some(out), wishes, look).await
    }

    /// Tells which names came, went or changed, and watches what is there now.
    async fn tell_names(
        &mut self,
        session: &mut Session,
        out: &mut Output,
        wishes: &Wishes,
        own_changes: &[OwnChange],
    ) -> Result<(), Reply> {
        let tree = session.folders().await?;
        if tree.version == self.tree.version && own_changes.is_empty() {
            return Ok(());
        }
        for (name, affected) in names::affected(&self.tree, &tree, own_changes) {
            let before = affected.old_name.as_ref();
            let wants = wishes.of(&tree, &name).with(wishes.of(&self.tree, before.unwrap_or(&name)));
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
        self.resolve(wishes);
        for watched in &mut self.watched {
            let name = self.tree.by_id(watched.id).map(|entry| &entry.name);
            let other = name.and_then(|name| before.find(name)).is_some_and(|old| old.id != watched.id);
            watched.anew |= other && watched.modseq == ModSeq(0);
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
        let selected = session.selected();
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
        if wishes.server_metadata && *look == Look::All {
            scopes.push(None);
        }
        for page in scopes.chunks(METADATA_PER_REQUEST_MAX) {
            for (scope, found) in page.iter().zip(metadata::read(session, self.account(), page).await?) {
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
        Ok(session.store().status(&session.ctx(), self.account(), ids).await?)
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
