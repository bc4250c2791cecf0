//! The store on FoundationDB against the client alone, which does the same transactions again: the same keys and octets.
//!
//! `MSS_FDB_CLUSTER_FILE=F [MSS_FDB_LIBRARY=L] cargo bench -p kv-fdb --profile fast --bench store_against_bare --
//! [--seconds N] [--rounds N]`. Rounds alternate, so that both sides see the machine in the same moods; figures are
//! medians. Everything is written under a key prefix of the run's own, and removed at the end.
#![allow(clippy::unwrap_used, reason = "a measurement that fails shall say where")]

mod record;
mod replay;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feed::Feed;
use foundationdb::Database;
use kv::Engine;
use kv_fdb::{FdbEngine, NetworkGuard, Options};
use model::{AccountId, CpmAddress, Flags, MailboxId, MailboxName};
use rand::Rng;
use store::Store;
use store_api::{
    AppendBody, AppendMessage, AppendRequest, ChangeFeed, Credentials, Ctx, MailStore, NewAccount,
    QuotaLimits, Requestor,
};

use crate::record::{Record, Recorded, Recorder};
use crate::replay::{What, replay};

const CTX: Ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };
/// Connections of the measured appends and reads.
const TASKS: usize = 64;
/// Appenders on one folder.
const APPENDERS: usize = 16;
/// Changes whose notices are timed.
const NOTICES: usize = 500;

struct Arguments {
    step: Duration,
    rounds: usize,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments { step: Duration::from_secs(5), rounds: 3 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        match name.as_str() {
            "--bench" => {}
            "--seconds" => parsed.step = Duration::from_secs_f64(value().parse().expect("seconds")),
            "--rounds" => parsed.rounds = value().parse().expect("a number"),
            _ => panic!("unknown argument {name}"),
        }
    }
    parsed
}

fn main() {
    let arguments = arguments();
    let Some(cluster_file) = std::env::var_os("MSS_FDB_CLUSTER_FILE") else {
        eprintln!("==== NOT MEASURED: MSS_FDB_CLUSTER_FILE names no FoundationDB cluster ====");
        return;
    };
    let _network = NetworkGuard::new();
    let prefix = format!("bench{:08x}/", rand::random::<u32>());
    let options = Options {
        cluster_file: Some(PathBuf::from(&cluster_file)),
        library: std::env::var_os("MSS_FDB_LIBRARY").map(PathBuf::from),
        prefix: format!("{prefix}s/").into_bytes(),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = FdbEngine::open(options).await.unwrap();
        let path = cluster_file.to_str().expect("a name in UTF-8");
        let database = Arc::new(Database::from_path(path).unwrap());
        let bench = Bench { recorder: Recorder::new(engine.clone()), database, prefix: prefix.clone() };
        bench.run(&arguments).await;
        let trx = bench.database.create_trx().unwrap();
        trx.clear_range(prefix.as_bytes(), &kv::prefix_end(prefix.as_bytes()));
        trx.commit().await.unwrap();
        engine.close();
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}

struct Bench {
    recorder: Arc<Recorder>,
    database: Arc<Database>,
    prefix: String,
}

impl Bench {
    async fn run(&self, arguments: &Arguments) {
        let store = self.store().await;
        let accounts = self.accounts(&store, TASKS).await;
        let mut appends = Compared::default();
        for round in 0..arguments.rounds {
            let (count, took, record) = self.append(&store, &accounts, arguments.step).await;
            println!(
                "round {round}: {:.2} appends a commit, {:.1} writes and {:.1} groups of reads each",
                count as f64 / record.commits as f64,
                per_transaction(&record, |one| one.writes.len()),
                per_transaction(&record, |one| one.reads.len()),
            );
            let bare = |name, what| self.bare(record.clone(), format!("{name}{round}/"), what);
            appends.add(count, took, bare("w", What::Writes).await, bare("r", What::ReadsAndWrites).await);
        }
        appends.print("APPEND of 2 kB, 64 tasks, an account each", "its writes", "its reads and writes");

        let mut reads = Compared::default();
        for _ in 0..arguments.rounds {
            let (count, took, record) = self.read(&accounts, arguments.step).await;
            let before = self.bare(record.clone(), "s/".into(), What::Reads).await;
            reads.add(count, took, before, self.bare(record, "s/".into(), What::Reads).await);
        }
        reads.print("FETCH of a body of 2 kB, 64 tasks, nothing cached", "its reads", "its reads, again");
        self.read_cached(&store, &accounts).await;

        for nodes in [1, 2] {
            self.contend(nodes, arguments.step).await;
        }
        self.notices().await;
    }

    /// A storage node over the recorded engine.
    async fn store(&self) -> Arc<Store> {
        let options = store::Options { sweep: false, ..store::Options::default() };
        Store::open(self.recorder.clone(), options).await.unwrap()
    }

    async fn accounts(&self, store: &Store, count: usize) -> Vec<AccountId> {
        let mut accounts = Vec::new();
        for _ in 0..count {
            let number: u32 = rand::rng().random_range(0..10_000_000);
            let new = NewAccount {
                address: CpmAddress::parse(&format!("+1{:03}{number:07}", accounts.len())).unwrap(),
                credentials: Credentials::None,
                limits: QuotaLimits::default(),
                service: store_api::ServiceClass::default(),
            };
            accounts.push(store.create_account(&CTX, new).await.unwrap());
        }
        accounts
    }

    /// The record done again by the client alone.
    async fn bare(&self, record: Arc<Record>, below: String, what: What) -> Duration {
        let prefix = format!("{}{below}", self.prefix);
        replay(&self.database, &record, prefix.as_bytes(), TASKS, what).await
    }

    /// Appends for the time of a step: how many, how long it took, and what the engine was asked.
    async fn append(
        &self,
        store: &Arc<Store>,
        accounts: &[AccountId],
        step: Duration,
    ) -> (u64, Duration, Arc<Record>) {
        self.recorder.start();
        let (count, took) = in_loops(accounts, step, |account, n| {
            let store = store.clone();
            async move { append(&store, account, n).await }
        })
        .await;
        (count, took, Arc::new(self.recorder.stop()))
    }

    /// Reads the bodies of all messages, by a node that has seen none of them, for the time of a step at most.
    async fn read(&self, accounts: &[AccountId], step: Duration) -> (u64, Duration, Arc<Record>) {
        let options = store::Options {
            sweep: false,
            folder_cache_bytes: 64 << 20,
            body_cache_bytes: 0,
            ..store::Options::default()
        };
        let store = Store::open(self.recorder.clone(), options).await.unwrap();
        for account in accounts {
            let inbox = inbox(&store, *account).await;
            store.folder(&CTX, *account, inbox).await.unwrap();
        }
        self.recorder.start();
        let (count, took) = in_loops(accounts, step, |account, n| {
            let store = store.clone();
            async move { fetch(&store, account, n).await }
        })
        .await;
        (count, took, Arc::new(self.recorder.stop()))
    }

    /// Reads a few bodies twice: the second time none may come from the database.
    async fn read_cached(&self, store: &Arc<Store>, accounts: &[AccountId]) {
        const BODIES: u64 = 10;
        for _ in 0..2 {
            self.recorder.start();
            for account in accounts {
                for n in 0..BODIES {
                    fetch(store, *account, n).await;
                }
            }
        }
        let record = self.recorder.stop();
        let keys: usize = record.transactions.iter().flat_map(|one| &one.reads).map(|g| g.keys.len()).sum();
        let ranges: usize =
            record.transactions.iter().flat_map(|one| &one.reads).map(|g| g.ranges.len()).sum();
        let fetches = BODIES as usize * accounts.len();
        println!(
            "FETCH of a cached body: {:.2} keys and {:.2} ranges read a FETCH",
            keys as f64 / fetches as f64,
            ranges as f64 / fetches as f64
        );
    }

    /// Appenders on one folder, spread over nodes.
    async fn contend(&self, nodes: usize, step: Duration) {
        let mut stores = Vec::new();
        for _ in 0..nodes {
            stores.push(self.store().await);
        }
        let account = self.accounts(&stores[0], 1).await[0];
        self.recorder.start();
        let tasks: Vec<usize> = (0..APPENDERS).collect();
        let (count, took) = in_loops(&tasks, step, |task, n| {
            let store = stores[task % nodes].clone();
            async move { append(&store, account, n).await }
        })
        .await;
        let Record { commits, conflicts, .. } = self.recorder.stop();
        println!(
            "{APPENDERS} appenders on one folder, {nodes} node(s): {:.0} appends/s, {:.1} a commit, {:.1} conflicts a \
             thousand commits",
            count as f64 / took.as_secs_f64(),
            count as f64 / commits as f64,
            conflicts as f64 * 1000.0 / commits as f64,
        );
    }

    /// From the OK of an append on one node to the notice on another, whose listeners know nothing of the first.
    async fn notices(&self) {
        let stores = [self.store().await, self.store().await];
        let options = feed::Options { trim: false, ..feed::Options::default() };
        let engine: Arc<dyn Engine> = self.recorder.clone();
        let feed = Feed::new(engine, options);
        let account = self.accounts(&stores[0], 1).await[0];
        let mut subscription = feed.subscribe(account).await.unwrap();
        let mut waits = Vec::new();
        for n in 0..NOTICES as u64 {
            let heard = async {
                assert!(subscription.changed().await, "the feed ended");
                subscription.pulse();
                Instant::now()
            };
            let told = async {
                append(&stores[0], account, n).await;
                Instant::now()
            };
            let (heard, told) = tokio::join!(heard, told);
            waits.push(heard.saturating_duration_since(told));
        }
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "from OK on one node to the notice on another: p50 {:.2} ms, p99 {:.2} ms",
            at(0.5),
            at(0.99)
        );
    }
}

/// Rates of one kind of work, round by round: by the store, and by the client in two ways.
#[derive(Default)]
struct Compared {
    rates: [Vec<f64>; 3],
}

impl Compared {
    fn add(&mut self, count: u64, store: Duration, first: Duration, second: Duration) {
        for (rates, took) in self.rates.iter_mut().zip([store, first, second]) {
            rates.push(count as f64 / took.as_secs_f64());
        }
    }

    fn print(&self, what: &str, first: &str, second: &str) {
        let [store, one, two] = self.rates.each_ref().map(|rates| {
            let mut rates = rates.clone();
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        });
        println!("{what}: {store:.0} /s");
        println!("  the client alone, {first}: {one:.0} /s, so the store reaches {:.2}", store / one);
        println!("  the client alone, {second}: {two:.0} /s, so the store reaches {:.2}", store / two);
    }
}

fn per_transaction(record: &Record, measure: impl Fn(&Recorded) -> usize) -> f64 {
    record.transactions.iter().map(measure).sum::<usize>() as f64 / record.transactions.len() as f64
}

/// A loop for each item until the time is over; how many times they went round, and how long it took.
async fn in_loops<I, F, W>(items: &[I], step: Duration, work: W) -> (u64, Duration)
where
    I: Copy + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    W: Fn(I, u64) -> F,
{
    let began = Instant::now();
    let loops = items.iter().map(|item| async {
        let mut n = 0;
        while began.elapsed() < step {
            // A task of its own, as a connection is.
            tokio::spawn(work(*item, n)).await.unwrap();
            n += 1;
        }
        n
    });
    let counts = futures::future::join_all(loops).await;
    (counts.into_iter().sum(), began.elapsed())
}

async fn append(store: &Store, account: AccountId, n: u64) {
    let message = AppendMessage {
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: None,
        annotations: Vec::new(),
        body: AppendBody::Inline(text(n).into()),
    };
    let request = AppendRequest { mailbox: MailboxName::inbox(), messages: vec![message] };
    store.append(&CTX, account, request).await.unwrap();
}

/// What FETCH BODY.PEEK[] of the n-th message asks of the tier.
async fn fetch(store: &Store, account: AccountId, n: u64) {
    let inbox = inbox(store, account).await;
    let snapshot = store.folder(&CTX, account, inbox).await.unwrap();
    let count = snapshot.rows().count() as u64;
    let row = *snapshot.rows().nth((n * 7919 % count) as usize).unwrap();
    store.body(&CTX, account, inbox, row.body, None).await.unwrap();
}

async fn inbox(store: &Store, account: AccountId) -> MailboxId {
    store.folders(&CTX, account).await.unwrap().find(&MailboxName::inbox()).unwrap().id
}

fn text(n: u64) -> String {
    let mut text = format!(
        "From: <tel:+15550001>\r\nTo: <tel:+15550002>\r\nDate: Wed, 17 Jul 2024 02:23:25 +0000\r\n\
         Conversation-ID: f81d4fae-7dec-11d0-a765-{:012x}\r\nIMDN-Message-ID: m{n:016x}\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        n % 50,
    );
    while text.len() < 2_000 {
        text.push_str("The quick brown fox jumps over the lazy dog.\r\n");
    }
    text.truncate(2_000);
    text
}
