//! What was true when: every state of every folder, commit by commit, as a witness without caches reads it.
//!
//! A step of a client has a window: the commits that had happened when it was asked, and those when it was answered.
//! What it was told must be the state after one of them. What a folder may become from one commit to the next is judged
//! here, at each commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv::{Engine, ReadMode, TransactionOptions};
use model::{AccountId, BodyId, Flags, Keyword, MailboxId};
use store::Store;
use store::keyspace::Keyspace;
use store_api::{BodyData, Ctx, MailStore, Requestor};

use crate::trace::Trace;

const CTX: Ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::Operator };

/// A message as a client may be shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Flags and keywords in order, with a space between.
    pub flags: String,
    pub modseq: u64,
    /// What its subject says: each APPEND of the workload has one of its own.
    pub token: Arc<str>,
}

/// A folder after a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    pub uid_validity: u32,
    pub uid_next: u64,
    pub highest: u64,
    pub rows: BTreeMap<u32, Row>,
}

/// Which commits had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// From when a client asked to when it was answered.
pub type Window = (Moment, Moment);

type States<T> = Vec<(Moment, T)>;
/// Names of folders, with their ids.
pub type Names = BTreeMap<String, MailboxId>;

#[derive(Default)]
struct State {
    now: u64,
    folders: BTreeMap<(AccountId, MailboxId), States<Option<Arc<Folder>>>>,
    names: BTreeMap<AccountId, States<Arc<Names>>>,
    raw: BTreeMap<(AccountId, MailboxId), bytes::Bytes>,
    tokens: BTreeMap<(AccountId, BodyId), Arc<str>>,
}

/// The history of everything.
pub struct History {
    engine: Arc<dyn Engine>,
    witness: Arc<Store>,
    keys: Keyspace,
    trace: Arc<Trace>,
    state: Mutex<State>,
}

/// The states of `all` within a window: the last one before it, and those in it.
fn within<T>(all: &[(Moment, T)], (from, to): Window) -> &[(Moment, T)] {
    let first = all.partition_point(|(at, _)| *at <= from).saturating_sub(1);
    let last = all.partition_point(|(at, _)| *at <= to);
    &all[first..last.max(first)]
}

impl History {
    /// The history of what `engine` holds, which must suffer no faults.
    pub async fn new(engine: Arc<dyn Engine>, trace: Arc<Trace>) -> Arc<Self> {
        let options = store::Options {
            sweep: false,
            folder_cache_bytes: 0,
            tree_cache_bytes: 0,
            info_cache_bytes: 0,
            header_cache_bytes: 0,
            body_cache_bytes: 0,
            ..store::Options::default()
        };
        let opened = Store::open(engine.clone(), options).await;
        let witness = opened.unwrap_or_else(|error| trace.broken(format_args!("the witness: {error}")));
        Arc::new(Self { engine, witness, keys: Keyspace::new(&[]), trace, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store that sees what is, by no cache and under no fault.
    pub fn witness(&self) -> &Arc<Store> {
        &self.witness
    }

    /// The keys of what is observed.
    pub fn keys(&self) -> &Keyspace {
        &self.keys
    }

    /// The commits that have happened.
    pub fn now(&self) -> Moment {
        Moment(self.state().now)
    }

    /// The states that a folder had within a window; none where it was not there.
    pub fn folder(&self, account: AccountId, mailbox: MailboxId, window: Window) -> Vec<Option<Arc<Folder>>> {
        let state = self.state();
        let Some(all) = state.folders.get(&(account, mailbox)) else { return Vec::new() };
        within(all, window).iter().map(|(_, folder)| folder.clone()).collect()
    }

    /// The names of the folders of an account within a window.
    pub fn names(&self, account: AccountId, window: Window) -> Vec<Arc<Names>> {
        let state = self.state();
        let Some(all) = state.names.get(&account) else { return Vec::new() };
        within(all, window).iter().map(|(_, names)| names.clone()).collect()
    }

    /// When each token first appeared in any folder of an account, and as how many bodies.
    pub fn arrivals(&self, account: AccountId) -> BTreeMap<Arc<str>, (Moment, usize)> {
        let state = self.state();
        let mut arrivals: BTreeMap<Arc<str>, (Moment, usize)> = BTreeMap::new();
        for ((_, _), states) in state.folders.iter().filter(|((owner, _), _)| *owner == account) {
            for (at, folder) in states {
                for row in folder.iter().flat_map(|folder| folder.rows.values()) {
                    let arrival = arrivals.entry(row.token.clone()).or_insert((*at, 0));
                    arrival.0 = arrival.0.min(*at);
                }
            }
        }
        for ((owner, _), token) in &state.tokens {
            if let Some(arrival) = arrivals.get_mut(token).filter(|_| *owner == account) {
                arrival.1 += 1;
            }
        }
        arrivals
    }

    /// When a folder first had a message, and when it first no longer had it.
    pub fn life(&self, account: AccountId, mailbox: MailboxId, uid: u32) -> (Option<Moment>, Option<Moment>) {
        let state = self.state();
        let Some(all) = state.folders.get(&(account, mailbox)) else { return (None, None) };
        let has = |folder: &Option<Arc<Folder>>| {
            folder.as_ref().is_some_and(|folder| folder.rows.contains_key(&uid))
        };
        let born = all.iter().position(|(_, folder)| has(folder));
        let died = born.and_then(|born| all[born..].iter().find(|(_, folder)| !has(folder)));
        (born.map(|born| all[born].0), died.map(|(at, _)| *at))
    }

    /// Notes a commit that wrote to some accounts. Called at once after it, before anything else happens.
    pub async fn committed(&self, accounts: &BTreeSet<AccountId>) {
        let now = {
            let mut state = self.state();
            state.now += 1;
            Moment(state.now)
        };
        for account in accounts {
            // Not to be interrupted: the runtime would give others a turn now and then.
            tokio::task::unconstrained(self.look(*account, now)).await;
        }
    }

    async fn look(&self, account: AccountId, now: Moment) {
        let names: Names = match self.witness.folders(&CTX, account).await {
            Ok(tree) => {
                let real = tree.folders().iter().filter(|folder| !folder.noselect);
                real.map(|folder| (folder.name.as_str().to_owned(), folder.id)).collect()
            }
            Err(error) if error.kind() == model::ErrorKind::NoSuchMailbox => Names::new(),
            Err(error) => self.trace.broken(format_args!("the folders of {account} cannot be read: {error}")),
        };
        let known: BTreeSet<MailboxId> = {
            let mut state = self.state();
            let states = state.names.entry(account).or_default();
            if states.last().is_none_or(|(_, last)| **last != names) {
                states.push((now, Arc::new(names.clone())));
            }
            state.folders.keys().filter(|(owner, _)| *owner == account).map(|(_, mailbox)| *mailbox).collect()
        };
        for mailbox in names.values() {
            self.look_at(account, *mailbox, now).await;
        }
        let present: BTreeSet<MailboxId> = names.values().copied().collect();
        for gone in known.difference(&present) {
            self.note(account, *gone, now, None);
        }
    }

    async fn look_at(&self, account: AccountId, mailbox: MailboxId, now: Moment) {
        let key = self.keys.state(account, mailbox);
        let raw = self.engine.begin(TransactionOptions::default()).get(&key, ReadMode::Snapshot).await;
        let Ok(Some(raw)) = raw else {
            self.trace.broken(format_args!("folder {mailbox} of {account} has no state: {raw:?}"));
        };
        if self.state().raw.insert((account, mailbox), raw.clone()).is_some_and(|last| last == raw) {
            return;
        }
        let snapshot = match self.witness.folder(&CTX, account, mailbox).await {
            Ok(snapshot) => snapshot,
            Err(error) => self.trace.broken(format_args!("folder {mailbox} cannot be read: {error}")),
        };
        let state = &snapshot.state;
        let mut rows = BTreeMap::new();
        for row in snapshot.rows() {
            let system = Flags::SYSTEM.into_iter().filter(|(flag, _)| row.flags.contains(*flag));
            let keywords = row.flags.keyword_indexes().filter_map(|at| state.keywords.get(at));
            let flags = flag_list(system.map(|(_, name)| name).chain(keywords.map(Keyword::as_str)));
            let token = self.token(account, row.body).await;
            rows.insert(row.uid.get(), Row { flags, modseq: row.modseq.0, token });
        }
        if state.messages != rows.len() as u64 {
            self.trace.broken(format_args!(
                "{mailbox} counts {} messages, has {}",
                state.messages,
                rows.len()
            ));
        }
        let folder = Folder {
            uid_validity: state.uid_validity.get(),
            uid_next: state.uid_next,
            highest: state.highest_modseq.0,
            rows,
        };
        self.note(account, mailbox, now, Some(Arc::new(folder)));
    }

    /// What the message of a body says of itself.
    async fn token(&self, account: AccountId, body: BodyId) -> Arc<str> {
        if let Some(token) = self.state().tokens.get(&(account, body)) {
            return token.clone();
        }
        let octets = match self.witness.body(&CTX, account, MailboxId(0), body, None).await {
            Ok(BodyData::Whole(octets)) => octets,
            Ok(BodyData::Pieces(..)) => self.trace.broken("a small body comes in pieces"),
            Err(error) => {
                self.trace.broken(format_args!("body {body} of a committed message cannot be read: {error}"))
            }
        };
        let text = String::from_utf8_lossy(&octets);
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
        let token: Arc<str> = subject.into();
        self.state().tokens.insert((account, body), token.clone());
        token
    }

    fn note(&self, account: AccountId, mailbox: MailboxId, now: Moment, folder: Option<Arc<Folder>>) {
        let mut state = self.state();
        let states = state.folders.entry((account, mailbox)).or_default();
        match (states.last().map(|(_, last)| last), &folder) {
            (Some(Some(last)), Some(folder)) => {
                if let Err(wrong) = follows(last, folder) {
                    self.trace.broken(format_args!("folder {mailbox}: {wrong}: {last:?} became {folder:?}"));
                }
                if last == folder {
                    return;
                }
            }
            (Some(None), Some(_)) => {
                self.trace.broken(format_args!("folder {mailbox} was deleted, and is there again"));
            }
            (Some(None) | None, None) => return,
            (Some(Some(_)), None) | (None, Some(_)) => {}
        }
        states.push((now, folder));
    }
}

/// What every folder keeps from one commit to the next.
fn follows(before: &Folder, after: &Folder) -> Result<(), &'static str> {
    if before.uid_validity != after.uid_validity {
        return Err("UIDVALIDITY changed");
    }
    if after.uid_next < before.uid_next {
        return Err("UIDNEXT went back");
    }
    if after.highest < before.highest {
        return Err("HIGHESTMODSEQ went back");
    }
    if after.highest == before.highest && after.rows != before.rows {
        return Err("the same HIGHESTMODSEQ, and another folder");
    }
    for (uid, row) in &after.rows {
        match before.rows.get(uid) {
            None if u64::from(*uid) < before.uid_next => return Err("a message came below UIDNEXT"),
            None => {}
            Some(old) if old.token != row.token => return Err("a UID is of another message"),
            Some(old) if row.modseq < old.modseq => return Err("the MODSEQ of a message went back"),
            Some(old) if row.modseq == old.modseq && old.flags != row.flags => {
                return Err("flags changed, and the MODSEQ did not");
            }
            Some(_) => {}
        }
        if u64::from(*uid) >= after.uid_next {
            return Err("a message is not below UIDNEXT");
        }
        if row.modseq > after.highest {
            return Err("a message has a MODSEQ above HIGHESTMODSEQ");
        }
    }
    Ok(())
}

/// Flags in order, without \Recent, which is a session's own.
pub fn flag_list<'a>(flags: impl Iterator<Item = &'a str>) -> String {
    let flags: BTreeSet<&str> = flags.filter(|flag| *flag != "\\Recent").collect();
    flags.into_iter().collect::<Vec<_>>().join(" ")
}
