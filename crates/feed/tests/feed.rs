//! What listeners hear, over the embedded engine, with and without faults.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use feed::{Feed, Options, log};
use kv::Engine;
use kv::fault::{FaultEngine, Faults};
use kv_embedded::EmbeddedEngine;
use model::{AccountId, CpmAddress, DeviceId, Flags, MailboxId, MailboxName, UidSet};
use store::keyspace::Keyspace;
use store::{Environment, Store};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Appended, ChangeFeed, Credentials, Ctx, FlagAction, FlagChange,
    MailStore, NewAccount, QuotaLimits, Requestor, StoreFlags, Subscription, User,
};

struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        // Enough for a test: distinct numbers, with a well-filled lower part.
        static NEXT: AtomicI64 = AtomicI64::new(1);
        (NEXT.fetch_add(1, Ordering::Relaxed) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

struct Bench {
    engine: Arc<dyn Engine>,
    store: Arc<Store>,
    clock: Arc<Clock>,
    _directory: tempfile::TempDir,
}

const CTX: Ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };

impl Bench {
    async fn new(faults: Faults) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        let engine: Arc<dyn Engine> = EmbeddedEngine::open(directory.path(), options).unwrap();
        let engine: Arc<dyn Engine> = FaultEngine::new(engine, 7, faults);
        let clock = Arc::new(Clock(AtomicI64::new(1_700_000_000)));
        let options =
            store::Options { sweep: false, environment: clock.clone(), ..store::Options::default() };
        let store = Store::open(engine.clone(), options).await.unwrap();
        Self { engine, store, clock, _directory: directory }
    }

    fn feed(&self, recheck: Duration) -> Arc<Feed> {
        let options = Options {
            recheck,
            trim: false,
            retention_seconds: KEPT_SECONDS as u64,
            environment: self.clock.clone(),
            ..Options::default()
        };
        Feed::new(self.engine.clone(), options)
    }

    async fn account(&self, n: u32) -> AccountId {
        let new = NewAccount {
            address: CpmAddress::parse(&format!("+1555{n:07}")).unwrap(),
            credentials: Credentials::None,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        self.store.create_account(&CTX, new).await.unwrap()
    }

    async fn append(&self, account: AccountId) -> Appended {
        self.append_by(&CTX, account).await
    }

    async fn append_by(&self, ctx: &Ctx, account: AccountId) -> Appended {
        let message = AppendMessage {
            flags: Flags::default(),
            keywords: Vec::new(),
            internal_date: None,
            annotations: Vec::new(),
            body: AppendBody::Inline("x".into()),
        };
        let request = AppendRequest { mailbox: MailboxName::inbox(), messages: vec![message] };
        self.store.append(ctx, account, request).await.unwrap()
    }
}

/// What entries are kept here; not the default, so that the option is what counts.
const KEPT_SECONDS: i64 = 5 * 86_400;
const LONG: Duration = Duration::from_secs(3_600);

/// Waits for a change; a test that hears nothing fails rather than hangs.
async fn hear(subscription: &mut Subscription) -> store_api::Pulse {
    assert!(tokio::time::timeout(Duration::from_secs(20), subscription.changed()).await.unwrap());
    subscription.pulse()
}

async fn silent(subscription: &mut Subscription) -> bool {
    tokio::time::timeout(Duration::from_millis(50), subscription.changed()).await.is_err()
}

/// A consumer that keeps its position sees every entry once and in order, in pages of any size, and sleeps at the end.
#[tokio::test]
async fn the_log_is_read_from_where_it_was_left() {
    let b = Bench::new(Faults::none()).await;
    let keys = Keyspace::new(&[]);
    let account = b.account(1).await;
    let (engine, partition) = (b.engine.as_ref(), account.partition());
    assert_eq!(log::end(engine, &keys, partition).await.unwrap(), None);
    assert!(log::watch_after(engine, &keys, partition, None).await.unwrap().is_some());
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.push(b.append(account).await.modseq);
    }
    assert!(log::watch_after(engine, &keys, partition, None).await.unwrap().is_none());
    for limit in [1, 2, 3, 100] {
        let (mut position, mut seen) = (None, Vec::new());
        loop {
            let page = log::read_after(engine, &keys, partition, position, limit).await.unwrap();
            assert!(page.entries.len() <= limit);
            for logged in page.entries {
                assert!(position < Some(logged.position));
                position = Some(logged.position);
                seen.extend(logged.entry.unwrap().items.iter().map(|item| item.modseq));
            }
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, expected);
        assert!(position <= log::end(engine, &keys, partition).await.unwrap());
        for from_end in [false, true] {
            if from_end {
                position = log::end(engine, &keys, partition).await.unwrap();
            }
            let watch = log::watch_after(engine, &keys, partition, position).await.unwrap().unwrap();
            let appended = b.append(account).await.modseq;
            tokio::time::timeout(Duration::from_secs(20), watch).await.unwrap().unwrap();
            expected.push(appended);
            let page = log::read_after(engine, &keys, partition, position, 10).await.unwrap();
            assert_eq!(page.entries[0].entry.as_ref().unwrap().items[0].modseq, appended);
            position = page.entries.last().map(|logged| logged.position);
        }
    }
}

#[tokio::test]
async fn a_change_is_heard_by_who_listens_to_its_account() {
    let b = Bench::new(Faults::none()).await;
    let feed = b.feed(LONG);
    let (one, two) = (b.account(1).await, b.account(2).await);
    b.append(one).await;
    let mut first = feed.subscribe(one).await.unwrap();
    let mut second = feed.subscribe(two).await.unwrap();
    assert!(silent(&mut first).await, "what was before is no news");
    for _ in 0..20 {
        let appended = b.append(one).await;
        let pulse = hear(&mut first).await;
        assert_eq!((pulse.mailbox, pulse.modseq), (Some(appended.mailbox), appended.modseq));
    }
    let mut again = first.clone();
    let appended = b.append(one).await;
    assert_eq!(hear(&mut first).await.modseq, appended.modseq);
    assert_eq!(hear(&mut again).await.modseq, appended.modseq);
    assert!(silent(&mut second).await);
    b.store.subscribe(&CTX, two, &MailboxName::inbox(), true).await.unwrap();
    assert_eq!(hear(&mut second).await.mailbox, None);
}

#[tokio::test]
async fn nothing_between_subscribing_and_hearing_is_lost() {
    let b = Arc::new(Bench::new(Faults::none()).await);
    let feed = b.feed(LONG);
    let account = b.account(1).await;
    for _ in 0..100 {
        let mut subscription = feed.subscribe(account).await.unwrap();
        let writer = tokio::spawn({
            let b = b.clone();
            async move { b.append(account).await }
        });
        hear(&mut subscription).await;
        let appended = writer.await.unwrap();
        let state = b.store.status(&CTX, account, &[appended.mailbox]).await.unwrap();
        assert!(state[0].as_ref().unwrap().highest_modseq >= appended.modseq);
    }
}

#[tokio::test]
async fn a_tail_ends_when_nobody_listens() {
    let b = Bench::new(Faults::none()).await;
    let feed = b.feed(Duration::from_millis(20));
    let account = b.account(1).await;
    let subscription = feed.subscribe(account).await.unwrap();
    let other = feed.subscribe(account).await.unwrap();
    assert_eq!(feed.tails(), 1);
    drop(subscription);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(feed.tails(), 1);
    drop(other);
    for _ in 0..500 {
        if feed.tails() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(feed.tails(), 0);
    let mut subscription = feed.subscribe(account).await.unwrap();
    b.append(account).await;
    hear(&mut subscription).await;
}

#[tokio::test]
async fn the_end_of_the_feed_is_told() {
    let b = Bench::new(Faults::none()).await;
    let feed = b.feed(LONG);
    let mut subscription = feed.subscribe(b.account(1).await).await.unwrap();
    drop(feed);
    assert!(!tokio::time::timeout(Duration::from_secs(20), subscription.changed()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_no_change() {
    let faults = Faults { read_unavailable: 0.05, watch_lost: 0.3, ..Faults::survivable() };
    let b = Arc::new(Bench::new(Faults::none()).await);
    let accounts = [b.account(1).await, b.account(2).await, b.account(3).await];
    let faulty = FaultEngine::new(b.engine.clone(), 11, faults);
    let options = Options {
        recheck: Duration::from_millis(30),
        trim: false,
        environment: b.clock.clone(),
        ..Options::default()
    };
    let feed = Feed::new(faulty.clone(), options);
    let mut listeners = Vec::new();
    for account in accounts {
        let mut subscription = loop {
            // A position may be out of reach for a while; then the front end tries again.
            if let Ok(subscription) = feed.subscribe(account).await {
                break subscription;
            }
        };
        let b = b.clone();
        listeners.push(tokio::spawn(async move {
            let inbox: MailboxId =
                b.store.folders(&CTX, account).await.unwrap().find(&MailboxName::inbox()).unwrap().id;
            loop {
                let state = b.store.status(&CTX, account, &[inbox]).await.unwrap();
                if state[0].as_ref().unwrap().messages == 200 {
                    break;
                }
                hear(&mut subscription).await;
            }
        }));
    }
    for round in 0..200 {
        for account in accounts {
            b.append(account).await;
        }
        if round % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    for listener in listeners {
        listener.await.unwrap();
    }
    assert!(faulty.injected(kv::fault::Fault::WatchLost) + faulty.injected(kv::fault::Fault::ReadTooOld) > 0);
}

#[tokio::test]
async fn old_entries_are_cleared() {
    let b = Bench::new(Faults::none()).await;
    let feed = b.feed(LONG);
    let accounts = [b.account(1).await, b.account(2).await];
    for _ in 0..30 {
        b.append(accounts[0]).await;
        b.append(accounts[1]).await;
    }
    assert_eq!(feed.trim().await.unwrap(), 0);
    b.clock.0.fetch_add(KEPT_SECONDS, Ordering::Relaxed);
    for _ in 0..5 {
        b.append(accounts[0]).await;
    }
    assert_eq!(feed.trim().await.unwrap(), 0, "exactly as old as allowed");
    b.clock.0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(feed.trim().await.unwrap(), 60);
    assert_eq!(feed.trim().await.unwrap(), 0);
    let mut subscription = feed.subscribe(accounts[0]).await.unwrap();
    b.append(accounts[0]).await;
    hear(&mut subscription).await;
}

/// What a long retention costs: octets of key and value for each change by a device that says who it is.
/// `deploy/sizing.toml` reckons with them.
#[tokio::test]
async fn a_change_takes_few_octets() {
    let sizing = include_str!("../../../deploy/sizing.toml");
    let line = sizing.lines().find_map(|line| line.strip_prefix("feed_change_bytes = ")).unwrap();
    let reckoned: usize = line.split_whitespace().next().unwrap().parse().unwrap();

    let b = Bench::new(Faults::none()).await;
    let account = b.account(1).await;
    let device = DeviceId::parse(b"<urn:gsma:imei:90420156-025763-0>").ok();
    let requestor = Requestor::User(Arc::new(User { device, ..User::owner(account) }));
    let ctx = Ctx { request_id: u64::MAX, requestor, ..CTX };
    let mailbox = b.append_by(&ctx, account).await.mailbox;
    let deleted = FlagChange { action: FlagAction::Add, flags: Flags::DELETED, keywords: Vec::new() };
    let uids = UidSet::from_ranges([(1, 1)]);
    let request = StoreFlags { mailbox, uids, change: deleted, unchanged_since: None };
    b.store.store_flags(&ctx, account, request).await.unwrap();
    b.store.expunge(&ctx, account, mailbox, None).await.unwrap();

    let range = Keyspace::new(&[]).feed_log_after(account.partition(), None);
    let request = kv::RangeRequest::new(range.begin, range.end);
    let mut trx = b.engine.begin(kv::TransactionOptions::default());
    let page = trx.get_range(&request, kv::ReadMode::Snapshot).await.unwrap();
    let taken: Vec<usize> = page.pairs.iter().map(|pair| pair.key.len() + pair.value.len()).collect();
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|octets| (reckoned / 2..=reckoned).contains(octets)), "{taken:?}");
}

/// One look at the oldest entries of a log says that all is to be kept, however many there are.
#[tokio::test]
async fn what_is_kept_is_hardly_read() {
    let b = Bench::new(Faults::none()).await;
    let account = b.account(1).await;
    for _ in 0..50 {
        b.append(account).await;
    }
    let counted = kv::count::CountingEngine::new(b.engine.clone());
    let options = Options { trim: false, environment: b.clock.clone(), ..Options::default() };
    let feed = Feed::new(counted.clone(), options);
    assert_eq!(feed.trim().await.unwrap(), 0);
    let read = counted.take().keys_read;
    assert!((1..20).contains(&read), "{read} keys");
}

#[tokio::test]
async fn what_a_later_release_wrote_stays_until_it_is_old() {
    let b = Bench::new(Faults::none()).await;
    let feed = b.feed(LONG);
    let account = b.account(1).await;
    b.append(account).await;
    let keys = Keyspace::new(&[]);
    let mut trx = b.engine.begin(kv::TransactionOptions::default());
    trx.set_versionstamped_key(&keys.feed_log_prefix(account.partition()), &[0, 0], &[99, 1, 2, 3]);
    trx.commit().await.unwrap();
    b.clock.0.fetch_add(KEPT_SECONDS + 1, Ordering::Relaxed);
    assert_eq!(feed.trim().await.unwrap(), 1, "nobody knows how old the other is");
    b.append(account).await;
    assert_eq!(feed.trim().await.unwrap(), 0);
    b.clock.0.fetch_add(KEPT_SECONDS + 1, Ordering::Relaxed);
    assert_eq!(feed.trim().await.unwrap(), 2, "it is older than what follows");
}
