//! What changed in a whole account since a token: a client that holds nothing but a token and what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use kv::{ReadMode, Transaction, TransactionOptions};
use model::limits::CHANGES_REMEMBERED_MAX;
use model::{
    AccountId, AclAction, AclChange, EntryName, ErrorKind, Flags, FolderState, Identifier, MailboxId,
    MailboxName, Rights,
};
use rand::prelude::*;
use rand::rngs::StdRng;
use store::Store;
use store::keyspace::Keyspace;
use store::records::{FolderMarks, Ledger, NewsOf, NewsRecord, StateRecord};
use store_api::{
    ChangeToken, Changes, ChangesSince, CheckRequest, CopyMode, Ctx, FindingKind, MailStore, Maintenance,
    Metadata, NewAccount, Requestor,
};

use crate::harness::{Harness, address, kind, message, name, operator};

/// A folder as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: MailboxName,
    noselect: bool,
    /// MODSEQ, UIDNEXT, UIDVALIDITY, messages, unseen.
    counters: Option<[u64; 5]>,
    metadata: Metadata,
}

/// What a client knows of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mirror {
    folders: BTreeMap<MailboxId, Known>,
    subscribed: BTreeSet<MailboxName>,
    metadata: Metadata,
}

fn counters(state: &FolderState) -> [u64; 5] {
    let validity = state.uid_validity.get().into();
    [state.highest_modseq.0, state.uid_next, validity, state.messages, state.unseen]
}

async fn metadata_of(store: &Store, ctx: &Ctx, account: AccountId, of: Option<MailboxId>) -> Metadata {
    store.metadata(ctx, account, &[of]).await.unwrap().remove(0)
}

/// What is true.
async fn truth(store: &Store, ctx: &Ctx, account: AccountId) -> Mirror {
    let tree = store.folders(ctx, account).await.unwrap();
    let ids: Vec<_> = tree.folders().iter().map(|entry| entry.id).collect();
    let states = store.status(ctx, account, &ids).await.unwrap();
    let mut folders = BTreeMap::new();
    for (entry, state) in tree.folders().iter().zip(states) {
        let known = Known {
            name: entry.name.clone(),
            noselect: entry.noselect,
            counters: state.as_ref().map(counters),
            metadata: metadata_of(store, ctx, account, Some(entry.id)).await,
        };
        folders.insert(entry.id, known);
    }
    let metadata = metadata_of(store, ctx, account, None).await;
    Mirror { folders, subscribed: tree.subscribed().clone(), metadata }
}

impl Mirror {
    /// Takes in what is told; what is told to have changed and cannot be told itself is asked for.
    async fn learn(&mut self, store: &Store, ctx: &Ctx, account: AccountId, changes: &Changes) {
        if changes.whole {
            *self = Self::default();
        }
        for gone in &changes.gone {
            self.folders.remove(gone);
        }
        for folder in &changes.folders {
            let known = self.folders.entry(folder.entry.id).or_insert_with(|| {
                assert!(folder.named, "a new folder has a name: {folder:?}");
                Known {
                    name: folder.entry.name.clone(),
                    noselect: folder.entry.noselect,
                    counters: None,
                    metadata: Metadata::default(),
                }
            });
            assert!(folder.named || known.name == folder.entry.name, "a name changed silently: {folder:?}");
            (known.name, known.noselect) = (folder.entry.name.clone(), folder.entry.noselect);
            if let Some(state) = &folder.state {
                known.counters = Some(counters(state));
            }
            if folder.metadata {
                known.metadata = metadata_of(store, ctx, account, Some(folder.entry.id)).await;
            }
        }
        if changes.metadata {
            self.metadata = metadata_of(store, ctx, account, None).await;
        }
        if changes.subscriptions {
            let tree = store.folders(ctx, account).await.unwrap();
            self.subscribed.clone_from(tree.subscribed());
        }
    }
}

impl Harness {
    async fn changes(&self, since: ChangesSince) -> Changes {
        self.store.changes(&self.ctx(), self.account, since).await.unwrap()
    }

    async fn now(&self) -> ChangeToken {
        let changes = self.changes(ChangesSince::Now).await;
        assert_eq!(changes, Changes { token: changes.token, ..Changes::default() });
        changes.token
    }

    async fn since(&self, token: ChangeToken) -> Changes {
        self.changes(ChangesSince::Token(token)).await
    }

    /// Names of the folders that changed.
    async fn told(&self, token: ChangeToken) -> Vec<String> {
        let changes = self.since(token).await;
        assert!(!changes.whole);
        changes.folders.iter().map(|folder| folder.entry.name.to_string()).collect()
    }
}

#[tokio::test]
async fn each_kind_of_change_is_told_and_nothing_else() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    let box_id = h.create("box").await;
    let token = h.now().await;
    assert_eq!(h.since(token).await, Changes { token, ..Changes::default() });
    h.add_flags("INBOX", "2", Flags::SEEN).await;
    let changes = h.since(token).await;
    let [inbox] = &changes.folders[..] else { panic!("{changes:?}") };
    assert_eq!((inbox.entry.name.as_str(), inbox.named, inbox.metadata), ("INBOX", false, false));
    assert_eq!(inbox.state.as_ref().map(|state| (state.messages, state.unseen)), Some((3, 2)));
    assert!(!changes.whole && changes.gone.is_empty() && !changes.subscriptions);
    // What was shown as \Recent is no change, nor is a flag that stays as it was.
    let token = changes.token;
    let inbox = h.id("INBOX").await;
    h.store.claim_recent(&h.ctx(), h.account, inbox, 4).await.unwrap();
    h.add_flags("INBOX", "2", Flags::SEEN).await;
    assert_eq!(h.since(token).await, Changes { token, ..Changes::default() });

    h.store.rename_folder(&h.ctx(), h.account, &name("box"), &name("work/box")).await.unwrap();
    assert_eq!(h.told(token).await, ["work", "work/box"]);
    let changes = h.since(token).await;
    assert!(changes.folders.iter().all(|folder| folder.named && folder.state.is_some()));
    assert_eq!((changes.folders[1].entry.id, changes.folders[0].has_children), (box_id, true));
    let token = changes.token;
    // A name with others below it stays, as another.
    let work = h.id("work").await;
    h.store.delete_folder(&h.ctx(), h.account, &name("work")).await.unwrap();
    let changes = h.since(token).await;
    assert_eq!(changes.gone, [work]);
    assert!(changes.folders[0].entry.noselect && changes.folders[0].state.is_none());
    let token = changes.token;
    h.store.delete_folder(&h.ctx(), h.account, &name("work/box")).await.unwrap();
    let changes = h.since(token).await;
    assert_eq!((changes.gone, changes.folders), (vec![box_id], vec![]));
    let token = changes.token;

    h.store.subscribe(&h.ctx(), h.account, &name("INBOX"), true).await.unwrap();
    let changes = h.since(token).await;
    assert!(changes.subscriptions && changes.folders.is_empty() && !changes.metadata);
    let token = changes.token;
    let entry = || vec![(EntryName::parse(b"/private/comment").unwrap(), Some(Bytes::from_static(b"x")))];
    h.store.set_metadata(&h.ctx(), h.account, Some(inbox), entry()).await.unwrap();
    let changes = h.since(token).await;
    assert!(changes.folders[0].metadata && !changes.folders[0].named && changes.folders[0].state.is_none());
    let token = changes.token;
    h.store.set_metadata(&h.ctx(), h.account, None, entry()).await.unwrap();
    let changes = h.since(token).await;
    assert!(changes.metadata && changes.folders.is_empty());
    let token = changes.token;
    // Nothing that would change: no change.
    h.store.set_metadata(&h.ctx(), h.account, None, entry()).await.unwrap();
    h.store.subscribe(&h.ctx(), h.account, &name("INBOX"), true).await.unwrap();
    assert_eq!(h.since(token).await.token, token);
    h.check().await;
}

#[tokio::test]
async fn a_token_that_says_nothing_starts_over() {
    let h = Harness::new().await;
    h.fill("INBOX", 1).await;
    let token = h.now().await;
    let all = h.changes(ChangesSince::Beginning).await;
    assert!(all.whole && all.token == token);
    assert_eq!(all.folders.len(), 3);
    for forged in [
        ChangeToken::default(),
        ChangeToken { era: token.era ^ 1, ..token },
        ChangeToken { change: token.change + 1, ..token },
        ChangeToken { change: u64::MAX, ..token },
        ChangeToken { change: 0, ..token },
    ] {
        assert_eq!(h.since(forged).await, all, "{forged:?}");
    }
    // That of another account, and that of one that was removed and made again.
    let new = |n| NewAccount {
        address: address(n),
        credentials: store_api::Credentials::None,
        limits: store_api::QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    let mut tokens = vec![token];
    for _ in 0..2 {
        let other = h.store.create_account(&operator(), new(1)).await.unwrap();
        let ctx = Ctx { requestor: Requestor::owner(other), ..h.ctx() };
        for token in &tokens {
            let told = h.store.changes(&ctx, other, ChangesSince::Token(*token)).await.unwrap();
            assert!(told.whole);
        }
        tokens.push(h.store.changes(&ctx, other, ChangesSince::Now).await.unwrap().token);
        assert_eq!(kind(h.store.changes(&ctx, h.account, ChangesSince::Now).await), ErrorKind::NoSuchMailbox);
        h.store.remove_account(&operator(), &address(1)).await.unwrap();
    }
    // On any node.
    let sibling = h.sibling().await;
    h.fill("Default", 1).await;
    let told = sibling.changes(&h.ctx(), h.account, ChangesSince::Token(token)).await.unwrap();
    assert_eq!((told.whole, told.folders.len()), (false, 1));
}

/// Changes what is stored of an account behind the store's back.
async fn rewrite(h: &Harness, change: impl AsyncFn(&mut dyn Transaction, &Keyspace)) {
    let mut trx = h.engine.begin(TransactionOptions::default());
    change(trx.as_mut(), &Keyspace::new(&h.options.prefix)).await;
    trx.commit().await.unwrap();
}

async fn ledger(h: &Harness, trx: &mut dyn Transaction, keys: &Keyspace) -> Ledger {
    let raw = trx.get(&keys.ledger(h.account), ReadMode::Snapshot).await.unwrap().unwrap();
    Ledger::decode(&raw).unwrap()
}

async fn state(h: &Harness, trx: &mut dyn Transaction, keys: &Keyspace, of: MailboxId) -> StateRecord {
    let raw = trx.get(&keys.state(h.account, of), ReadMode::Snapshot).await.unwrap().unwrap();
    StateRecord::decode(&raw).unwrap()
}

/// An account as releases left it that did not count changes.
#[tokio::test]
async fn an_account_from_before_changes_were_counted() {
    let mut h = Harness::new().await;
    let box_id = h.create("box").await;
    h.fill("box", 2).await;
    let ids = [h.id("INBOX").await, h.id("Default").await, h.id("RCSMessageStore").await, box_id];
    rewrite(&h, async |trx, keys| {
        let old = Ledger { changes: 0, era: 0, ..ledger(&h, trx, keys).await };
        let raw = old.encode();
        assert_eq!(raw[0], 1);
        trx.set(&keys.ledger(h.account), &raw);
        trx.clear(&keys.news(h.account));
        for id in ids {
            let old = state(&h, trx, keys, id).await;
            let old = StateRecord { marks: FolderMarks { changed: 0, ..old.marks }, ..old };
            trx.set(&keys.state(h.account, id), &old.encode());
        }
    })
    .await;
    h.store = h.sibling().await;
    h.check().await;
    // A token of that time says nothing: what wrote the account so far may still have written it since.
    let before = h.now().await;
    assert!(h.since(before).await.whole);
    h.fill("INBOX", 1).await;
    assert!(h.since(before).await.whole);
    // From then on it is as with any other.
    let token = h.now().await;
    assert_eq!(h.told(token).await, [""; 0]);
    h.fill("Default", 1).await;
    h.create("new").await;
    assert_eq!(h.told(token).await, ["Default", "new"]);
    h.store.delete_folder(&h.ctx(), h.account, &name("box")).await.unwrap();
    let changes = h.since(token).await;
    assert_eq!((changes.whole, changes.gone), (false, vec![box_id]));
    h.check().await;
}

#[tokio::test]
async fn what_is_no_longer_remembered_starts_over() {
    let h = Harness::new().await;
    let old = h.now().await;
    h.create("box").await;
    let after = h.now().await;
    // As after so many other changes of folders that came and went.
    rewrite(&h, async |trx, keys| {
        let key = keys.news(h.account);
        let raw = trx.get(&key, ReadMode::Snapshot).await.unwrap().unwrap();
        let mut news = NewsRecord::decode(&raw).unwrap();
        assert_eq!(news.entries.len(), 1);
        for n in 0..CHANGES_REMEMBERED_MAX as u64 {
            news.note(after.change, Some(MailboxId(1_000 + n)), NewsOf::NAME);
        }
        assert_eq!(news.from, after.change);
        trx.set(&key, &news.encode());
    })
    .await;
    assert!(h.since(old).await.whole);
    assert!(!h.since(after).await.whole);
    h.create("other").await;
    assert_eq!(h.told(after).await, ["other"]);
    // One that cannot be read remembers nothing, and begins anew with the next change; the check sees it.
    rewrite(&h, async |trx, keys| trx.set(&keys.news(h.account), b"\xff")).await;
    assert!(h.since(after).await.whole);
    assert_eq!(h.store.check().await.unwrap()[0].kind, FindingKind::LedgerMarks);
    let token = h.now().await;
    h.create("third").await;
    assert_eq!(h.told(token).await, ["third"]);
    assert!(h.since(after).await.whole);
    h.store.sweep_all().await.unwrap();
}

/// A repair that cannot say what it changed makes everybody start over; one of a folder is told as a change of it.
#[tokio::test]
async fn repairs_are_told() {
    let h = Harness::new().await;
    h.fill("INBOX", 2).await;
    let inbox = h.id("INBOX").await;
    let repair = async || {
        let request = CheckRequest { repair: true, ..CheckRequest::default() };
        let mut events = h.store.inspect(&operator(), request).await.unwrap();
        while let Some(event) = events.next().await {
            event.unwrap();
        }
        assert_eq!(h.store.check().await.unwrap(), []);
    };
    let token = h.now().await;
    rewrite(&h, async |trx, keys| {
        let mut record = state(&h, trx, keys, inbox).await;
        record.folder.unseen = 0;
        trx.set(&keys.state(h.account, inbox), &record.encode());
    })
    .await;
    repair().await;
    assert_eq!(h.told(token).await, ["INBOX"]);
    for broken in [0, 1, 2] {
        let token = h.now().await;
        rewrite(&h, async |trx, keys| match broken {
            0 => trx.set(&keys.news(h.account), b"\xff"),
            1 => {
                let mut news = NewsRecord::default();
                news.note(token.change + 50, Some(inbox), NewsOf::METADATA);
                trx.set(&keys.news(h.account), &news.encode());
            }
            _ => {
                let record = state(&h, trx, keys, inbox).await;
                let marks = FolderMarks { changed: token.change + 100, ..record.marks };
                trx.set(&keys.state(h.account, inbox), &StateRecord { marks, ..record }.encode());
            }
        })
        .await;
        assert_eq!(h.store.check().await.unwrap()[0].kind, FindingKind::LedgerMarks, "{broken}");
        repair().await;
        assert!(h.since(token).await.whole, "{broken}");
        let token = h.now().await;
        h.fill("Default", 1).await;
        assert_eq!(h.told(token).await, ["Default"], "{broken}");
    }
}

const NAMES: [&str; 8] = ["a", "b", "a/c", "b/d", "a/c/e", "f", "g/h", "INBOX"];

/// One random change, which may fail.
async fn change(h: &Harness, store: &Store, random: &mut StdRng) {
    let (ctx, account) = (h.ctx(), h.account);
    let some = |random: &mut StdRng| name(NAMES.choose(random).unwrap());
    let folder = some(random);
    let tree = store.folders(&ctx, account).await.unwrap();
    let id = tree.find(&folder).map(|entry| entry.id);
    let sets = |random: &mut StdRng| {
        let value = random.random_bool(0.7).then(|| Bytes::from(random.random::<u32>().to_string()));
        vec![(EntryName::parse(b"/shared/comment").unwrap(), value)]
    };
    let _: model::Result<()> = match random.random_range(0..12) {
        0 | 1 => {
            let request = store_api::AppendRequest {
                mailbox: folder,
                messages: (0..random.random_range(1..4)).map(|_| message("Subject: x\r\n\r\nx")).collect(),
            };
            store.append(&ctx, account, request).await.map(drop)
        }
        2 | 3 => {
            let Some(mailbox) = id else { return };
            let flags = *[Flags::SEEN, Flags::DELETED].choose(random).unwrap();
            let change =
                store_api::FlagChange { action: store_api::FlagAction::Add, flags, keywords: Vec::new() };
            let uids = crate::harness::uids(&random.random_range(1..6).to_string());
            let request = store_api::StoreFlags { mailbox, uids, change, unchanged_since: None };
            store.store_flags(&ctx, account, request).await.map(drop)
        }
        4 => {
            let Some(mailbox) = id else { return };
            store.expunge(&ctx, account, mailbox, None).await.map(drop)
        }
        5 => {
            let Some(source) = id else { return };
            let request = store_api::CopyRequest {
                mode: if random.random() { CopyMode::Copy } else { CopyMode::Move },
                source,
                uids: crate::harness::uids("1:5"),
                target: some(random),
                missing: store_api::Missing::Skip,
            };
            store.copy(&ctx, account, request).await.map(drop)
        }
        6 | 7 => store.create_folder(&ctx, account, &folder, None).await.map(drop),
        8 => store.delete_folder(&ctx, account, &folder).await,
        9 => store.rename_folder(&ctx, account, &folder, &some(random)).await,
        10 => match random.random_range(0..3) {
            0 => store.subscribe(&ctx, account, &folder, random.random()).await,
            _ => store.set_metadata(&ctx, account, id, sets(random)).await,
        },
        _ => {
            let Some(mailbox) = id else { return };
            let change = AclChange {
                identifier: Identifier::parse("anyone").unwrap(),
                action: AclAction::Set,
                rights: if random.random() { Rights::LOOKUP } else { Rights::NONE },
            };
            store.set_acl(&ctx, account, &address(0), mailbox, &change).await
        }
    };
}

/// Whatever changed between two questions, and through whichever node, a client ends with what is true.
#[tokio::test]
async fn a_client_with_any_token_ends_with_what_is_true() {
    let seed: u64 = std::env::var("SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let h = Harness::new().await;
    let stores = [h.store.clone(), h.sibling().await];
    let (ctx, account) = (h.ctx(), h.account);
    // Points of the past, each with what its client knew then.
    let mut points: Vec<(ChangesSince, Mirror)> = vec![(ChangesSince::Beginning, Mirror::default())];
    for _ in 0..400 {
        for _ in 0..random.random_range(0..4) {
            let store = stores.choose(&mut random).unwrap().clone();
            change(&h, &store, &mut random).await;
        }
        let (since, mut mirror) = points.choose(&mut random).unwrap().clone();
        let store = stores.choose(&mut random).unwrap();
        let changes = store.changes(&ctx, account, since).await.unwrap();
        assert_eq!(changes.whole, since == ChangesSince::Beginning, "nothing is forgotten here");
        mirror.learn(store, &ctx, account, &changes).await;
        let is = truth(store, &ctx, account).await;
        assert_eq!(mirror, is, "since {since:?}: {changes:#?}");
        points.push((ChangesSince::Token(changes.token), mirror));
    }
    h.check().await;
}

/// While many write to many folders through two nodes, a client that asks again and again misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_while_others_write() {
    let h = Harness::new().await;
    for folder in ["a", "b", "c", "d"] {
        h.create(folder).await;
    }
    let stores = [h.store.clone(), h.sibling().await];
    let (ctx, account) = (h.ctx(), h.account);
    let left = Arc::new(AtomicUsize::new(8));
    let writers = (0..8).map(|writer: usize| {
        let (h, store, left) = (h.clone(), stores[writer % 2].clone(), left.clone());
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(writer as u64);
            for n in 0..60 {
                if n % 10 == 9 {
                    change(&h, &store, &mut random).await;
                    continue;
                }
                let request = store_api::AppendRequest {
                    mailbox: name(["a", "b", "c", "d", "Default"][(writer + n) % 5]),
                    messages: vec![message(format!("Subject: {writer} {n}\r\n\r\nx"))],
                };
                let _ = store.append(&h.ctx(), h.account, request).await;
            }
            left.fetch_sub(1, Ordering::SeqCst);
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut since, mut mirror) = (ChangesSince::Beginning, Mirror::default());
    let mut asked = 0;
    loop {
        let ended = left.load(Ordering::SeqCst) == 0;
        let store = &stores[asked % 2];
        let changes = store.changes(&ctx, account, since).await.unwrap();
        // Only names and counters: what is asked for afterwards may be of a later time.
        let told = Changes { metadata: false, ..changes };
        mirror.learn(store, &ctx, account, &told).await;
        since = ChangesSince::Token(told.token);
        asked += 1;
        if ended {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(asked > 2, "the client asked while others wrote");
    let mut is = truth(&stores[0], &ctx, account).await;
    for known in is.folders.values_mut().chain(mirror.folders.values_mut()) {
        known.metadata = Metadata::default();
    }
    is.metadata = Metadata::default();
    assert_eq!(mirror, is);
    h.check().await;
}
