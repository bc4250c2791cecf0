//! Several storage nodes over one engine, and a router over them: where calls go, and what becomes of them when nodes
//! stop, die and come back.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use feed::Feed;
use futures::StreamExt as _;
use kv_embedded::EmbeddedEngine;
use model::{AccountId, CpmAddress, ErrorKind, Flags, MailboxName};
use router::{Options, Router};
use store::Store;
use store_api::{
    AppendBody, AppendMessage, AppendRequest, BodyData, ChangeFeed, Credentials, Ctx, MailStore, NewAccount,
    NodeState, QuotaLimits, Requestor,
};
use store_rpc::{ClusterSide, Endpoint, Gate, Services, ServicesOptions, Tls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Longest wait for what must happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

struct Tier {
    engine: Arc<EmbeddedEngine>,
    _directory: tempfile::TempDir,
}

/// A storage node, in a runtime of its own so that it can be killed.
struct Storage {
    runtime: Option<tokio::runtime::Runtime>,
    member: Arc<cluster::Node>,
    gate: Gate,
    stop: CancellationToken,
    endpoint: Endpoint,
}

impl Tier {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        Self { engine: EmbeddedEngine::open(directory.path(), options).unwrap(), _directory: directory }
    }

    async fn node(&self, name: &str, tls: Option<Tls>) -> Storage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (engine, name) = (self.engine.clone(), name.to_owned());
        let started = runtime.spawn(async move {
            let store = Store::open(engine.clone(), store::Options::default()).await.unwrap();
            let feed = Feed::new(engine.clone(), feed::Options::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let scheme = if tls.is_some() { "https" } else { "http" };
            let address = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
            let options = cluster::Options {
                group: cluster::Group::Storage,
                prefix: Vec::new(),
                name,
                address: address.clone(),
                version: "test".to_owned(),
                renew: Duration::from_millis(100),
                lease: Duration::from_secs(2),
                sole: false,
            };
            let decoy_key = cluster::installation(engine.as_ref(), b"", None).await.unwrap().decoy_key;
            let member = cluster::Node::join(engine, options).await.unwrap();
            let (gate, stop) = (Gate::new(), CancellationToken::new());
            let options = ServicesOptions { tls, ..ServicesOptions::default() };
            let side = ClusterSide { membership: member.clone(), own: member.id(), decoy_key };
            let services = Services::new(store, feed, gate.clone(), options).with_cluster(side);
            let router = services.router().await.unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
            member.set_state(NodeState::Serving).await.unwrap();
            (member, gate, stop, address.parse().unwrap())
        });
        let (member, gate, stop, endpoint) = started.await.unwrap();
        Storage { runtime: Some(runtime), member, gate, stop, endpoint }
    }
}

impl Storage {
    /// As kill -9: connections break, no word to anybody.
    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// As the role does on SIGTERM.
    async fn drain(mut self) {
        self.member.set_state(NodeState::Draining).await.unwrap();
        self.gate.close();
        tokio::time::timeout(PATIENCE, self.gate.empty()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.stop.cancel();
        self.member.leave().await.unwrap();
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn router(nodes: &[&Storage], tls: Option<Tls>) -> Arc<Router> {
    let endpoints = nodes.iter().map(|node| node.endpoint.clone()).collect();
    let router = Router::new(Options { tls, ..Options::new(endpoints) });
    let mut reached = router.reaches_a_node();
    tokio::time::timeout(PATIENCE, reached.wait_for(|yes| *yes)).await.unwrap().unwrap();
    router
}

async fn serving(router: &Router, count: usize) {
    let mut members = router.members();
    let known = members.wait_for(|members| members.serving().count() == count);
    tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap();
}

fn ctx(requestor: Requestor) -> Ctx {
    Ctx { request_id: 7, deadline: Some(Instant::now() + PATIENCE), requestor }
}

fn owner(account: AccountId) -> Ctx {
    ctx(Requestor::owner(account))
}

async fn account(router: &Router, number: usize) -> AccountId {
    let address = CpmAddress::parse(&format!("tel:+1555{number:07}")).unwrap();
    let new = NewAccount {
        address,
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    router.create_account(&ctx(Requestor::Operator), new).await.unwrap()
}

fn message(text: &str) -> AppendRequest {
    let message = AppendMessage {
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: None,
        annotations: Vec::new(),
        body: AppendBody::Inline(Bytes::from(format!("Subject: {text}\r\n\r\n{text}\r\n"))),
    };
    AppendRequest { mailbox: MailboxName::parse("INBOX").unwrap(), messages: vec![message] }
}

async fn uids(router: &Router, account: AccountId) -> BTreeSet<u32> {
    let tree = router.folders(&owner(account), account).await.unwrap();
    let inbox = tree.find(&MailboxName::parse("INBOX").unwrap()).unwrap().id;
    let folder = router.folder(&owner(account), account, inbox).await.unwrap();
    folder.rows().map(|row| row.uid.get()).collect()
}

/// An appender that notes what it was answered, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<(AccountId, BTreeSet<u32>, Vec<model::Error>)>>,
}

impl Load {
    fn start(router: &Arc<Router>, accounts: &[AccountId]) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = accounts.iter().map(|&account| {
            let (router, stop, done) = (router.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let (mut known, mut failures) = (BTreeSet::new(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    match router.append(&owner(account), account, message("load")).await {
                        Ok(done) => known.extend(done.uids.iter().map(model::Uid::get)),
                        Err(error) => failures.push(error),
                    }
                    if let Err(error) = router.quota(&owner(account), account).await {
                        failures.push(error);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                (account, known, failures)
            })
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    async fn more(&self, rounds: usize) {
        let until = self.done.load(Ordering::Relaxed) + rounds;
        let began = Instant::now();
        while self.done.load(Ordering::Relaxed) < until {
            assert!(began.elapsed() < PATIENCE, "the load stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it. All that was answered must be there, and nothing twice; returns what failed.
    async fn end(self, router: &Router) -> Vec<model::Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            let (account, known, failures) = task.await.unwrap();
            let held = uids(router, account).await;
            assert!(known.is_subset(&held), "an answered message is gone");
            let unknown = failures.iter().filter(|error| error.kind() == ErrorKind::CommitUnknown).count();
            assert!(held.len() <= known.len() + unknown, "a message is there twice");
            all.extend(failures);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_for_any_account_and_caches_are_shared() {
    let tier = Tier::new();
    let (a, b) = (tier.node("a", None).await, tier.node("b", None).await);
    let router = router(&[&a], None).await;
    serving(&router, 2).await;
    let accounts = {
        let mut accounts = Vec::new();
        for number in 0..8 {
            accounts.push(account(&router, number).await);
        }
        accounts
    };
    let members = router.members().borrow().clone();
    let owners: BTreeSet<String> =
        accounts.iter().filter_map(|id| Some(members.owner(id.partition())?.name.clone())).collect();
    assert_eq!(owners.len(), 2, "the accounts of this test belong to both");
    for &id in &accounts {
        router.append(&owner(id), id, message("one")).await.unwrap();
        assert_eq!(uids(&router, id).await.len(), 1);
    }
    assert_eq!(router.decoy_key().await.unwrap(), router.decoy_key().await.unwrap());
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_one_node_after_the_other_fails_nothing() {
    let tier = Tier::new();
    let mut nodes = vec![tier.node("a", None).await, tier.node("b", None).await];
    let router = router(&[&nodes[0], &nodes[1]], None).await;
    serving(&router, 2).await;
    let mut accounts = Vec::new();
    for number in 0..8 {
        accounts.push(account(&router, number).await);
    }
    let load = Load::start(&router, &accounts);
    for name in ["a", "b", "a"] {
        load.more(40).await;
        nodes.remove(0).drain().await;
        load.more(40).await;
        nodes.push(tier.node(name, None).await);
        serving(&router, 2).await;
    }
    load.more(40).await;
    let failures = load.end(&router).await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_costs_at_most_the_calls_under_way() {
    let tier = Tier::new();
    let (a, b) = (tier.node("a", None).await, tier.node("b", None).await);
    let router = router(&[&a, &b], None).await;
    serving(&router, 2).await;
    let mut accounts = Vec::new();
    for number in 0..8 {
        accounts.push(account(&router, number).await);
    }
    let load = Load::start(&router, &accounts);
    load.more(40).await;
    a.kill();
    load.more(200).await;
    let failures = load.end(&router).await;
    assert!(failures.len() <= accounts.len(), "{failures:?}");
    assert!(failures.iter().all(|error| error.kind() == ErrorKind::CommitUnknown), "{failures:?}");
    serving(&router, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_node_answers_calls_wait_and_then_say_so() {
    let tier = Tier::new();
    let a = tier.node("a", None).await;
    let router = router(&[&a], None).await;
    let id = account(&router, 1).await;
    a.kill();
    let mut reached = router.reaches_a_node();
    tokio::time::timeout(PATIENCE, reached.wait_for(|yes| !*yes)).await.unwrap().unwrap();
    let soon = Ctx { deadline: Some(Instant::now() + Duration::from_millis(300)), ..owner(id) };
    let began = Instant::now();
    let error = router.append(&soon, id, message("late")).await.expect_err("nobody is there");
    assert!(error.kind() == ErrorKind::Unavailable && began.elapsed() < Duration::from_secs(10), "{error}");
    assert_eq!(began.elapsed().as_secs(), 0, "within its deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_of_every_change_wherever_they_listen() {
    let tier = Tier::new();
    let mut nodes = vec![tier.node("a", None).await, tier.node("b", None).await];
    let hears = router(&[&nodes[0]], None).await;
    let writes = router(&[&nodes[1]], None).await;
    for router in [&hears, &writes] {
        serving(router, 2).await;
    }
    let id = account(&writes, 5).await;
    let mut subscription = ChangeFeed::subscribe(hears.as_ref(), id).await.unwrap();
    let mut known = 0;
    for round in 0..12 {
        let text = format!("round {round}");
        match round {
            // The node where it is listened to stops, dies, and another comes.
            3 => nodes.remove(0).drain().await,
            5 => nodes.push(tier.node("c", None).await),
            7 => nodes.remove(0).kill(),
            9 => nodes.push(tier.node("a", None).await),
            _ => {}
        }
        let done = loop {
            match writes.append(&owner(id), id, message(&text)).await {
                Ok(done) => break done,
                // The call was under way to the node that died.
                Err(error) => assert_eq!(error.kind(), ErrorKind::CommitUnknown),
            }
        };
        let last = done.uids.iter().last().unwrap().get();
        // A pulse says to look; what is there then counts.
        let began = Instant::now();
        while known < last {
            assert!(began.elapsed() < PATIENCE, "never heard of {text}");
            let heard = tokio::time::timeout(PATIENCE, subscription.changed()).await;
            assert_eq!(heard, Ok(true), "{text}");
            let _ = subscription.pulse();
            known = uids(&hears, id).await.last().copied().unwrap_or(0);
        }
    }
}

/// A large body moves to another node half-way, when it is read and when it is written.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_outlive_their_node() {
    let tier = Tier::new();
    let (a, b) = (tier.node("a", None).await, tier.node("b", None).await);
    let router = router(&[&a, &b], None).await;
    serving(&router, 2).await;
    let id = account(&router, 1).await;
    let text: Vec<u8> = (0..6_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let mut writer = router.stage_body(&owner(id), id, text.len() as u64).await.unwrap();
    for piece in text.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let body = writer.finish().await.unwrap();
    let BodyData::Pieces(total, mut pieces) =
        router.body(&owner(id), id, model::MailboxId(0), body, None).await.unwrap()
    else {
        panic!("a large body comes in pieces")
    };
    let mut read = pieces.next().await.unwrap().unwrap().to_vec();
    let own = router.members().borrow().owner(id.partition()).unwrap().name.clone();
    let (owns, other) = if own == "a" { (a, b) } else { (b, a) };
    owns.kill();
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read.len() as u64 == total && read == text, "the octets differ");
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_lets_in_only_who_was_signed() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let signed = |issuer: &rcgen::Issuer<'_, rcgen::KeyPair>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        Tls {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: authority.pem().into_bytes(),
        }
    };
    let tier = Tier::new();
    let node = tier.node("a", Some(signed(&issuer))).await;
    let friend = router(&[&node], Some(signed(&issuer))).await;
    let id = account(&friend, 1).await;
    assert_eq!(uids(&friend, id).await.len(), 0);
    // Another authority's signature, over the same names.
    let other_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let stranger = signed(&rcgen::Issuer::new(parameters, other_key));
    let stranger = Router::new(Options { tls: Some(stranger), ..Options::new(vec![node.endpoint.clone()]) });
    let mut reached = stranger.reaches_a_node();
    let let_in = tokio::time::timeout(Duration::from_secs(1), reached.wait_for(|yes| *yes)).await;
    assert!(let_in.is_err(), "a stranger is refused");
}
