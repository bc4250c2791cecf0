//! Random changes from several callers and two processes at once, under faults, against a simple model of folders.
//!
//! Changes of a phase run together, so their order is the store's to choose. The change feed says which it chose in
//! each folder; changes are replayed in an order that agrees with all folders, and must have given there what the
//! callers were told and what is stored. After each phase every snapshot ever taken must lead to the present one by
//! what changed and vanished since, which is what a client that syncs relies on (RFC 7162 §3.2.5).
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kv::fault::{FaultEngine, Faults};
use kv::{Engine, RangeRequest, ReadMode, TransactionOptions};
use kv_embedded::EmbeddedEngine;
use model::{
    AccountId, CpmAddress, ErrorKind, Flags, FolderSnapshot, Keyword, MailboxId, MailboxName, Partition, Uid,
    UidSet,
};
use proptest::prelude::*;
use store::keyspace::Keyspace;
use store::records::FeedEntry;
use store::{Options, Store};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, CopyMode, CopyRequest, Credentials, Ctx, FlagAction,
    FlagChange, MailStore, Missing, NewAccount, QuotaLimits, ReplaceRequest, Requestor, StoreFlags,
};

const FOLDERS: [&str; 3] = ["INBOX", "Default", "RCSMessageStore"];
const WORDS: [&str; 3] = ["one", "two", "three"];

#[derive(Clone, Debug)]
enum Change {
    Append { folder: usize, count: u8, flags: u64 },
    Replace { from: usize, uid: u32, to: usize },
    Flags { folder: usize, first: u32, last: u32, action: FlagAction, flags: u64, words: Vec<usize> },
    Copy { from: usize, first: u32, last: u32, to: usize, mode: CopyMode },
    Expunge { folder: usize, within: Option<(u32, u32)> },
}

/// A change, by which process, and whether its caller gives up on it.
#[derive(Clone, Debug)]
struct Call {
    change: Change,
    second: bool,
    dropped: bool,
}

fn change() -> impl Strategy<Value = Change> {
    let folder = 0..FOLDERS.len();
    let uid = 1..60u32;
    let action = prop_oneof![
        Just(FlagAction::Add),
        Just(FlagAction::Add),
        Just(FlagAction::Remove),
        Just(FlagAction::Replace)
    ];
    let mode = prop_oneof![Just(CopyMode::Copy), Just(CopyMode::Move)];
    prop_oneof![
        4 => (folder.clone(), 1..40u8, 0..64u64)
            .prop_map(|(folder, count, flags)| Change::Append { folder, count, flags }),
        1 => (folder.clone(), uid.clone(), folder.clone())
            .prop_map(|(from, uid, to)| Change::Replace { from, uid, to }),
        5 => (folder.clone(), uid.clone(), 1..200u32, action, 0..64u64, prop::collection::vec(0..3usize, 0..2))
            .prop_map(|(folder, first, last, action, flags, words)| {
                Change::Flags { folder, first, last, action, flags, words }
            }),
        3 => (folder.clone(), uid.clone(), 1..200u32, folder.clone(), mode)
            .prop_map(|(from, first, last, to, mode)| Change::Copy { from, first, last, to, mode }),
        2 => (folder, prop::option::of((uid, 1..200u32)))
            .prop_map(|(folder, within)| Change::Expunge { folder, within }),
    ]
}

fn phases() -> impl Strategy<Value = Vec<Vec<Call>>> {
    let call = (change(), any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(change, second, dropped)| {
        // When a copy read its source, only its caller learns.
        let dropped = dropped && !matches!(change, Change::Copy { mode: CopyMode::Copy, .. });
        Call { change, second, dropped }
    });
    prop::collection::vec(prop::collection::vec(call, 1..10), 1..8)
}

/// What a caller was told, as far as the model can tell it too.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Appended(UidSet),
    Changed(UidSet),
    /// With the MODSEQ of the source at that time, which only the store can tell.
    Copied(Vec<(Uid, Uid)>, Option<u64>),
    Removed(UidSet),
    Gone,
}

/// A message in the model: its flags by name, its octets, its last change.
type Row = (BTreeSet<String>, String, u64);

#[derive(Default)]
struct Model {
    folders: [BTreeMap<u32, Row>; 3],
    next: [u32; 3],
}

fn set(first: u32, last: u32) -> UidSet {
    UidSet::from_ranges([(first.min(last), first.max(last))])
}

fn names(flags: u64, words: &[usize]) -> BTreeSet<String> {
    let system = Flags::SYSTEM.iter().filter(|(flag, _)| Flags(flags).contains(*flag));
    system.map(|(_, name)| (*name).to_owned()).chain(words.iter().map(|at| WORDS[*at].to_owned())).collect()
}

fn octets(request: u64, n: u8) -> String {
    format!("Subject: {request}.{n}\r\nConversation-ID: c{}\r\n\r\n{request}", request % 3)
}

impl Model {
    fn add(&mut self, folder: usize, row: Row) -> Uid {
        self.next[folder] += 1;
        self.folders[folder].insert(self.next[folder], row);
        Uid::new(self.next[folder]).unwrap()
    }

    /// `modseqs`: what the change got in each folder.
    fn apply(&mut self, change: &Change, request: u64, modseqs: [u64; 3]) -> Told {
        match change {
            Change::Append { folder, count, flags } => {
                let rows = (0..*count).map(|n| (names(*flags, &[]), octets(request, n), modseqs[*folder]));
                Told::Appended(
                    rows.collect::<Vec<_>>().into_iter().map(|row| self.add(*folder, row)).collect(),
                )
            }
            Change::Replace { from, uid, to } => {
                if self.folders[*from].remove(uid).is_none() {
                    return Told::Gone;
                }
                let row = (BTreeSet::new(), octets(request, 0), modseqs[*to]);
                Told::Appended(self.add(*to, row).into_iter_set())
            }
            Change::Flags { folder, first, last, action, flags, words } => {
                let given = names(*flags, words);
                let mut changed = UidSet::new();
                let range = (*first).min(*last)..=(*first).max(*last);
                for (uid, row) in self.folders[*folder].range_mut(range) {
                    let new: BTreeSet<String> = match action {
                        FlagAction::Add => row.0.union(&given).cloned().collect(),
                        FlagAction::Remove => row.0.difference(&given).cloned().collect(),
                        FlagAction::Replace => given.clone(),
                    };
                    if new != row.0 {
                        row.0 = new;
                        row.2 = modseqs[*folder];
                        changed.insert(Uid::new(*uid).unwrap());
                    }
                }
                Told::Changed(changed)
            }
            Change::Copy { from, first, last, to, mode } => {
                let range = (*first).min(*last)..=(*first).max(*last);
                let found: Vec<(u32, Row)> =
                    self.folders[*from].range(range).map(|(uid, row)| (*uid, row.clone())).collect();
                let mut pairs = Vec::new();
                for (uid, row) in found {
                    if *mode == CopyMode::Move {
                        self.folders[*from].remove(&uid);
                    }
                    pairs.push((Uid::new(uid).unwrap(), self.add(*to, (row.0, row.1, modseqs[*to]))));
                }
                Told::Copied(pairs, None)
            }
            Change::Expunge { folder, within } => {
                let within = within.map(|(first, last)| set(first, last));
                let gone: UidSet = self.folders[*folder]
                    .iter()
                    .filter(|(_, row)| row.0.contains("\\Deleted"))
                    .map(|(uid, _)| Uid::new(*uid).unwrap())
                    .filter(|uid| within.as_ref().is_none_or(|within| within.contains(*uid)))
                    .collect();
                for uid in gone.iter() {
                    self.folders[*folder].remove(&uid.get());
                }
                Told::Removed(gone)
            }
        }
    }
}

trait IntoSet {
    fn into_iter_set(self) -> UidSet;
}

impl IntoSet for Uid {
    fn into_iter_set(self) -> UidSet {
        UidSet::range(self, self)
    }
}

struct World {
    engine: Arc<dyn Engine>,
    stores: [Arc<Store>; 2],
    account: AccountId,
    mailboxes: [MailboxId; 3],
    _directory: tempfile::TempDir,
}

fn ctx(request_id: u64) -> Ctx {
    Ctx { request_id, deadline: None, requestor: Requestor::Operator }
}

impl World {
    async fn new(faults: Faults, caches: bool, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        let engine: Arc<dyn Engine> = EmbeddedEngine::open(directory.path(), options).unwrap();
        let faulty: Arc<dyn Engine> = FaultEngine::new(engine.clone(), seed, faults);
        let options = || {
            let mut options = Options { sweep: true, ..Options::default() };
            if !caches {
                options.folder_cache_bytes = 0;
                options.tree_cache_bytes = 0;
                options.info_cache_bytes = 0;
                options.header_cache_bytes = 0;
                options.body_cache_bytes = 0;
            }
            options
        };
        let stores = [
            Store::open(faulty.clone(), options()).await.unwrap(),
            Store::open(faulty, options()).await.unwrap(),
        ];
        let new = NewAccount {
            address: CpmAddress::parse("+15550001").unwrap(),
            credentials: Credentials::None,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        let account = stores[0].create_account(&ctx(0), new).await.unwrap();
        let tree = stores[1].folders(&ctx(0), account).await.unwrap();
        let mailboxes = FOLDERS.map(|name| tree.find(&MailboxName::parse(name).unwrap()).unwrap().id);
        Self { engine, stores, account, mailboxes, _directory: directory }
    }

    async fn call(&self, call: &Call, request: u64) -> Result<Told, ErrorKind> {
        let (store, account) = (&self.stores[usize::from(call.second)], self.account);
        let name = |folder: usize| MailboxName::parse(FOLDERS[folder]).unwrap();
        let message = |n: u8, flags: u64| AppendMessage {
            flags: Flags(flags),
            keywords: Vec::new(),
            internal_date: None,
            annotations: Vec::new(),
            body: AppendBody::Inline(octets(request, n).into()),
        };
        let ctx = ctx(request);
        let told = match &call.change {
            Change::Append { folder, count, flags } => {
                let messages = (0..*count).map(|n| message(n, *flags)).collect();
                let request = AppendRequest { mailbox: name(*folder), messages };
                store.append(&ctx, account, request).await.map(|done| Told::Appended(done.uids.to_set()))
            }
            Change::Replace { from, uid, to } => {
                let request = ReplaceRequest {
                    source: self.mailboxes[*from],
                    uid: Uid::new(*uid).unwrap(),
                    target: name(*to),
                    message: message(0, 0),
                };
                store.replace(&ctx, account, request).await.map(|done| Told::Appended(done.uids.to_set()))
            }
            Change::Flags { folder, first, last, action, flags, words } => {
                let keywords = words.iter().map(|at| Keyword::parse(WORDS[*at]).unwrap()).collect();
                let change = FlagChange { action: *action, flags: Flags(*flags), keywords };
                let request = StoreFlags {
                    mailbox: self.mailboxes[*folder],
                    uids: set(*first, *last),
                    change,
                    unchanged_since: None,
                };
                store.store_flags(&ctx, account, request).await.map(|done| Told::Changed(done.changed))
            }
            Change::Copy { from, first, last, to, mode } => {
                let request = CopyRequest {
                    mode: *mode,
                    source: self.mailboxes[*from],
                    uids: set(*first, *last),
                    target: name(*to),
                    missing: Missing::Skip,
                };
                store.copy(&ctx, account, request).await.map(|done| {
                    let read_only = *mode == CopyMode::Copy && from != to;
                    Told::Copied(done.pairs, read_only.then_some(done.source_modseq.0))
                })
            }
            Change::Expunge { folder, within } => {
                let within = within.map(|(first, last)| set(first, last));
                let mailbox = self.mailboxes[*folder];
                store.expunge(&ctx, account, mailbox, within).await.map(|done| Told::Removed(done.uids))
            }
        };
        told.map_err(|error| error.kind())
    }

    /// What the feed says of each request from `first` on: its MODSEQ in each folder, 0 where it changed nothing.
    async fn fed(&self, first: u64) -> BTreeMap<u64, [u64; 3]> {
        let keys = Keyspace::new(&[]);
        let range = keys.feed_log_after(Partition(self.account.partition().0), None);
        let mut trx = self.engine.begin(TransactionOptions::default());
        let mut request = RangeRequest::new(range.begin, range.end);
        let mut fed: BTreeMap<u64, [u64; 3]> = BTreeMap::new();
        let mut last = [1u64; 3];
        loop {
            let page = trx.get_range(&request, ReadMode::Snapshot).await.unwrap();
            for pair in &page.pairs {
                for item in FeedEntry::decode(&pair.value).unwrap().items {
                    let Some(folder) = self.mailboxes.iter().position(|id| Some(*id) == item.mailbox) else {
                        continue;
                    };
                    assert_eq!(item.modseq.0, last[folder] + 1, "in order within a folder, none left out");
                    last[folder] = item.modseq.0;
                    if item.request >= first {
                        let old = std::mem::replace(
                            &mut fed.entry(item.request).or_default()[folder],
                            item.modseq.0,
                        );
                        assert_eq!(old, 0, "request {} was done twice", item.request);
                    }
                }
            }
            let Some(pair) = page.pairs.last().filter(|_| page.more) else { return fed };
            request.begin = [&pair.key[..], &[0]].concat().into();
        }
    }

    /// The folder as both processes see it.
    async fn folder(&self, folder: usize) -> Arc<FolderSnapshot> {
        let mailbox = self.mailboxes[folder];
        let seen = self.stores[0].folder(&ctx(0), self.account, mailbox).await.unwrap();
        let other = self.stores[1].folder(&ctx(0), self.account, mailbox).await.unwrap();
        assert!(seen.rows().eq(other.rows()) && seen.state == other.state);
        seen
    }
}

/// An order of requests that agrees with the MODSEQs of every folder, and with what copies read: `reads` has the folder
/// and the MODSEQ at which they did.
fn replay_order(fed: &BTreeMap<u64, [u64; 3]>, mut reads: BTreeMap<u64, (usize, u64)>) -> Vec<u64> {
    let mut queues: [Vec<(u64, u64)>; 3] = Default::default();
    for (request, modseqs) in fed {
        for folder in 0..3 {
            if modseqs[folder] > 0 {
                queues[folder].push((modseqs[folder], *request));
            }
        }
    }
    for queue in &mut queues {
        queue.sort_unstable_by(|a, b| b.cmp(a));
    }
    let mut order = Vec::new();
    while order.len() < fed.len() {
        let ready = fed.iter().find(|(request, modseqs)| {
            let next = |folder: usize| queues[folder].last().copied();
            !order.contains(*request)
                && (0..3).all(|folder| modseqs[folder] == 0 || next(folder).unwrap().1 == **request)
                && reads
                    .get(request)
                    .is_none_or(|(folder, at)| next(*folder).is_none_or(|(modseq, _)| modseq > *at))
                && reads.iter().all(|(other, (folder, at))| other == *request || modseqs[*folder] <= *at)
        });
        let (request, modseqs) = ready.expect("the orders of two folders contradict each other");
        for folder in 0..3 {
            if modseqs[folder] > 0 {
                queues[folder].pop();
            }
        }
        reads.remove(request);
        order.push(*request);
    }
    order
}

async fn run(phases: Vec<Vec<Call>>, faults: Faults, caches: bool, seed: u64) {
    let world = Arc::new(World::new(faults, caches, seed).await);
    let mut model = Model::default();
    let mut history: [Vec<Arc<FolderSnapshot>>; 3] = Default::default();
    let mut request = 1;
    for phase in phases {
        let first = request;
        let mut tasks = Vec::new();
        for call in &phase {
            let (world, call, id) = (world.clone(), call.clone(), request);
            request += 1;
            tasks.push(tokio::spawn(async move {
                if call.dropped {
                    let _ = tokio::time::timeout(Duration::from_micros(200), world.call(&call, id)).await;
                    return None;
                }
                Some(world.call(&call, id).await)
            }));
        }
        let mut told = BTreeMap::new();
        for (id, task) in (first..).zip(tasks) {
            told.insert(id, task.await.unwrap());
        }
        // What was given up may still be on its way: an account has one leader, so what comes after it waits for it.
        for store in &world.stores {
            for folder in 0..3 {
                store.claim_recent(&ctx(0), world.account, world.mailboxes[folder], u64::MAX).await.unwrap();
            }
            let nothing = StoreFlags {
                mailbox: world.mailboxes[0],
                uids: UidSet::new(),
                change: FlagChange { action: FlagAction::Add, flags: Flags::SEEN, keywords: Vec::new() },
                unchanged_since: None,
            };
            store.store_flags(&ctx(0), world.account, nothing).await.unwrap();
        }

        let fed = world.fed(first).await;
        let mut reads = BTreeMap::new();
        for (id, told) in &mut told {
            let call = &phase[(id - first) as usize];
            if let (Change::Copy { from, .. }, Some(Ok(Told::Copied(_, at)))) = (&call.change, told)
                && let Some(at) = at.take()
                && fed.contains_key(id)
            {
                reads.insert(*id, (*from, at));
            }
        }
        for id in replay_order(&fed, reads) {
            let call = &phase[(id - first) as usize];
            let expected = model.apply(&call.change, id, fed[&id]);
            match told.remove(&id).unwrap() {
                Some(Ok(told)) => assert_eq!(told, expected, "{call:?}"),
                // It happened, and its caller does not know.
                None | Some(Err(ErrorKind::CommitUnknown)) => {}
                Some(Err(kind)) => panic!("{call:?} happened, but its caller was told {kind:?}"),
            }
        }
        for (id, told) in told {
            let nothing = match told {
                None | Some(Err(ErrorKind::Expunged | ErrorKind::CommitUnknown)) => true,
                Some(Ok(Told::Changed(set) | Told::Removed(set))) => set.is_empty(),
                Some(Ok(Told::Copied(pairs, _))) => pairs.is_empty(),
                Some(Ok(Told::Appended(_) | Told::Gone) | Err(_)) => false,
            };
            assert!(nothing, "{:?} is not in the feed", phase[(id - first) as usize]);
        }

        for folder in 0..3 {
            let now = world.folder(folder).await;
            let mut stored: BTreeMap<u32, Row> = BTreeMap::new();
            for row in now.rows() {
                let body = world.stores[row.uid.get() as usize % 2]
                    .body(&ctx(0), world.account, now.mailbox, row.body, None)
                    .await;
                let store_api::BodyData::Whole(octets) = body.unwrap() else {
                    panic!("a small body in pieces")
                };
                let mut flags = names(row.flags.0 & Flags::SYSTEM_MASK, &[]);
                let words = row.flags.keyword_indexes();
                flags.extend(words.map(|at| now.state.keywords.get(at).unwrap().as_str().to_owned()));
                let octets = String::from_utf8(octets.to_vec()).unwrap();
                stored.insert(row.uid.get(), (flags, octets, row.modseq.0));
            }
            assert_eq!(stored, model.folders[folder], "{}", FOLDERS[folder]);
            assert_eq!(now.state.uid_next, u64::from(model.next[folder]) + 1);
            for earlier in &history[folder] {
                let since = earlier.state.highest_modseq;
                assert!(since <= now.state.highest_modseq);
                let vanished = world.stores[0]
                    .vanished(&ctx(0), world.account, world.mailboxes[folder], since)
                    .await
                    .unwrap();
                let mut client: BTreeMap<Uid, u64> =
                    earlier.rows().map(|row| (row.uid, row.flags.0)).collect();
                client.retain(|uid, _| !vanished.contains(*uid));
                client.extend(now.rows_changed_since(since).map(|row| (row.uid, row.flags.0)));
                let present: BTreeMap<Uid, u64> = now.rows().map(|row| (row.uid, row.flags.0)).collect();
                assert_eq!(client, present, "a client that synced at {since}");
            }
            history[folder].push(now);
        }
        assert_eq!(world.stores[1].check().await.unwrap(), []);
    }
    for store in &world.stores {
        while store.sweep_all().await.unwrap().works > 0 {}
    }
    assert_eq!(world.stores[0].check().await.unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("STORE_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn folders_are_what_their_changes_made_them(phases in phases(), faulty: bool, caches: bool, seed: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let faults = if faulty { Faults::survivable() } else { Faults::none() };
        runtime.block_on(run(phases, faults, caches, seed));
    }
}
