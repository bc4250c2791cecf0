//! Several nodes over one engine that fails as engines do, in time that stands still until a test lets it pass.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Node, Options, installation};
use kv::fault::{FaultEngine, Faults};
use kv::{Engine, RangeRequest, ReadMode, TransactionOptions};
use kv_embedded::EmbeddedEngine;
use model::{PARTITIONS, Partition};
use store::keyspace::{Group, Keyspace};
use store_api::{Members, Membership, NodeId, NodeState};

const RENEW: Duration = Duration::from_millis(2_000);
const LEASE: Duration = Duration::from_millis(10_000);
/// Longest, in real time, that something may take that needs no time to pass.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    engine: Arc<FaultEngine>,
    /// The same without faults, for what a test does itself.
    sound: Arc<EmbeddedEngine>,
    _directory: tempfile::TempDir,
    /// While a blocking task runs, tokio's paused clock does not advance by itself.
    _still: std::sync::mpsc::Sender<()>,
}

impl Bench {
    fn new(seed: u64, faults: Faults) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
        let (still, ends) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || ends.recv());
        Self {
            engine: FaultEngine::new(engine.clone(), seed, faults),
            sound: engine,
            _directory: directory,
            _still: still,
        }
    }

    async fn join(&self, name: &str, port: u16) -> Arc<Node> {
        let options = Options {
            group: Group::Storage,
            prefix: Vec::new(),
            name: name.to_owned(),
            address: format!("http://127.0.0.1:{port}"),
            version: "test".to_owned(),
            renew: RENEW,
            lease: LEASE,
            sole: false,
        };
        let joining = tokio::spawn(Node::join(self.engine.clone(), options));
        until("a node joins", || joining.is_finished()).await;
        joining.await.unwrap().unwrap()
    }

    async fn serve(&self, name: &str, port: u16) -> Arc<Node> {
        let node = self.join(name, port).await;
        state(&node, NodeState::Serving).await;
        node
    }

    /// The numbers at which hearts stand.
    async fn beats(&self) -> BTreeMap<NodeId, u64> {
        let keys = Keyspace::new(b"");
        let range = keys.heartbeats(Group::Storage);
        let mut trx = self.sound.begin(TransactionOptions::default());
        let range = RangeRequest::new(range.begin, range.end);
        let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
        let page = trx.get_range(&range, ReadMode::Snapshot).await.unwrap();
        page.pairs.iter().map(|p| (keys.node_of(&p.key).unwrap(), number(&p.value))).collect()
    }

    /// Lets so much time pass, a heartbeat at a time, each of which all of `living` get done.
    async fn pass(&self, time: Duration, living: &[&Arc<Node>]) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(RENEW);
            let before = self.beats().await;
            tokio::time::advance(step).await;
            left -= step;
            if step < RENEW {
                continue;
            }
            let began = std::time::Instant::now();
            loop {
                let now = self.beats().await;
                if living.iter().all(|node| now.get(&node.id()) > before.get(&node.id())) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "a heart that should beat does not: {now:?}");
                settle().await;
            }
        }
    }
}

/// Lets everything happen that needs no time; retries need some milliseconds of it.
async fn settle() {
    std::thread::sleep(Duration::from_micros(200));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_millis(1)).await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        settle().await;
    }
}

async fn state(node: &Arc<Node>, state: NodeState) {
    let telling = tokio::spawn({
        let node = node.clone();
        async move { node.set_state(state).await }
    });
    until("a state is told", || telling.is_finished()).await;
    telling.await.unwrap().unwrap();
}

async fn leave(node: Arc<Node>) {
    let leaving = tokio::spawn(async move { node.leave().await });
    until("a node leaves", || leaving.is_finished()).await;
    leaving.await.unwrap().unwrap();
}

fn seen(node: &Node) -> Arc<Members> {
    node.watch().borrow().clone()
}

fn serving(node: &Node) -> Vec<String> {
    let mut names: Vec<_> = seen(node).serving().map(|member| member.name.clone()).collect();
    names.sort();
    names
}

/// Fails if an epoch that a node tells ever goes back.
fn epochs_ascend(node: &Node) -> tokio::task::JoinHandle<u64> {
    let mut members = node.watch();
    tokio::spawn(async move {
        let mut last = members.borrow_and_update().epoch;
        while members.changed().await.is_ok() {
            let now = members.borrow_and_update().epoch;
            assert!(now >= last, "the epoch went from {last} to {now}");
            last = now;
        }
        last
    })
}

/// Waits until `observer` sees the node in that state. Time passes only if watches may get lost: then a change is known
/// with the next look.
async fn known(bench: &Bench, observer: &Node, id: NodeId, state: Option<NodeState>) {
    let lost = bench.engine.faults().watch_lost > 0.0;
    for _ in 0..50 {
        let began = std::time::Instant::now();
        while began.elapsed() < if lost { Duration::from_millis(50) } else { PATIENCE } {
            if seen(observer).get(id).map(|member| member.state) == state {
                return;
            }
            settle().await;
        }
        assert!(lost, "never: {id} is {state:?}");
        tokio::time::advance(RENEW).await;
    }
    panic!("never: {id} is {state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_life_as_others_see_it() {
    for faults in [Faults::none(), Faults::survivable()] {
        let bench = Bench::new(3, faults);
        let a = bench.serve("a", 1).await;
        let epochs = epochs_ascend(&a);
        let b = bench.join("b", 2).await;
        known(&bench, &a, b.id(), Some(NodeState::Joining)).await;
        assert_eq!(seen(&a).owned(a.id()), usize::from(PARTITIONS));
        state(&b, NodeState::Serving).await;
        known(&bench, &a, b.id(), Some(NodeState::Serving)).await;
        let members = seen(&a);
        assert_eq!(members.owned(a.id()) + members.owned(b.id()), usize::from(PARTITIONS));
        assert!(members.owned(b.id()) > 1_500);
        state(&b, NodeState::Draining).await;
        known(&bench, &a, b.id(), Some(NodeState::Draining)).await;
        assert_eq!(seen(&a).owned(a.id()), usize::from(PARTITIONS));
        let gone = b.id();
        leave(b).await;
        known(&bench, &a, gone, None).await;
        drop(a);
        assert!(epochs.await.unwrap() >= 5);
    }
}

#[tokio::test(start_paused = true)]
async fn who_dies_is_removed_after_the_lease_and_nobody_else() {
    let bench = Bench::new(5, Faults::none());
    let (a, b, c) = (bench.serve("a", 1).await, bench.serve("b", 2).await, bench.serve("c", 3).await);
    bench.pass(LEASE * 3, &[&a, &b, &c]).await;
    assert_eq!((serving(&a), serving(&b)), (vec!["a".into(), "b".into(), "c".into()], serving(&c)));
    let owners: Vec<_> = (0..PARTITIONS).map(|p| seen(&a).owner(Partition(p)).map(|m| m.id)).collect();
    // As kill -9 does: no word to anybody.
    let dead = c.id();
    drop(c);
    bench.pass(RENEW * 3, &[&a, &b]).await;
    assert_eq!(serving(&a).len(), 3, "not before the lease");
    bench.pass(RENEW * 4, &[&a, &b]).await;
    until("the dead is removed", || serving(&a) == ["a", "b"] && serving(&b) == ["a", "b"]).await;
    for (p, before) in (0..PARTITIONS).zip(owners) {
        let now = seen(&a).owner(Partition(p)).map(|m| m.id);
        assert!(now == before || before == Some(dead), "only the partitions of the dead move");
        assert_eq!(now, seen(&b).owner(Partition(p)).map(|m| m.id), "everybody agrees");
    }
    assert!(!bench.beats().await.contains_key(&dead));
}

/// The machine of all nodes stood still for ten minutes, or all clocks jumped: nobody was silent.
#[tokio::test(start_paused = true)]
async fn time_that_nobody_saw_kills_nobody() {
    let bench = Bench::new(7, Faults::none());
    let (a, b) = (bench.serve("a", 1).await, bench.serve("b", 2).await);
    bench.pass(RENEW * 2, &[&a, &b]).await;
    let epoch = seen(&a).epoch;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(600)).await;
        for _ in 0..20 {
            settle().await;
        }
        bench.pass(RENEW * 2, &[&a, &b]).await;
    }
    assert_eq!((seen(&a).epoch, serving(&a).len(), serving(&b).len()), (epoch, 2, 2));
}

/// A node that was stopped for longer than the lease is removed, finds that out, and is back as it was.
#[tokio::test(start_paused = true)]
async fn one_taken_for_dead_comes_back() {
    let bench = Bench::new(9, Faults::none());
    let (a, b) = (bench.serve("a", 1).await, bench.serve("b", 2).await);
    let keys = Keyspace::new(b"");
    let mut trx = bench.sound.begin(TransactionOptions::default());
    trx.clear(&keys.node(Group::Storage, b.id()));
    trx.clear(&keys.heartbeat(Group::Storage, b.id()));
    trx.atomic(kv::AtomicOp::Add, &keys.cluster_epoch(Group::Storage), &1u64.to_le_bytes());
    trx.commit().await.unwrap();
    until("it is gone", || serving(&a) == ["a"]).await;
    tokio::time::advance(RENEW).await;
    until("it is back", || serving(&a) == ["a", "b"] && serving(&b) == ["a", "b"]).await;
    assert!(*b.standing().borrow());
}

#[tokio::test(start_paused = true)]
async fn without_the_database_a_node_knows_that_it_is_not_known() {
    let bench = Bench::new(11, Faults::none());
    let (a, b) = (bench.serve("a", 1).await, bench.serve("b", 2).await);
    bench.pass(RENEW * 2, &[&a, &b]).await;
    bench.engine.set_faults(Faults { commit_unavailable: 1.0, ..Faults::none() });
    for _ in 0..7 {
        tokio::time::advance(RENEW).await;
        for _ in 0..10 {
            settle().await;
        }
    }
    until("both know", || !*a.standing().borrow() && !*b.standing().borrow()).await;
    bench.engine.set_faults(Faults::none());
    tokio::time::advance(RENEW).await;
    until("both are back", || *a.standing().borrow() && *b.standing().borrow()).await;
    bench.pass(LEASE * 2, &[&a, &b]).await;
    assert_eq!((serving(&a), serving(&b)), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
}

/// Nodes that come and go in every way, under faults: epochs ascend, and in the end all who live agree.
#[tokio::test(start_paused = true)]
async fn flapping_ends_in_agreement() {
    let bench = Bench::new(13, Faults { watch_lost: 0.0, ..Faults::survivable() });
    let a = bench.serve("a", 1).await;
    let b = bench.serve("b", 2).await;
    let epochs = [epochs_ascend(&a), epochs_ascend(&b)];
    for round in 0..6 {
        let flapper = bench.serve("c", 3).await;
        match round % 3 {
            0 => leave(flapper).await,
            // Killed, and started again at once in the same place: the next one takes its record away.
            1 => drop(flapper),
            _ => {
                state(&flapper, NodeState::Draining).await;
                drop(flapper);
            }
        }
        bench.pass(RENEW, &[&a, &b]).await;
    }
    let c = bench.serve("c", 3).await;
    bench.pass(LEASE * 2, &[&a, &b, &c]).await;
    let agreed = || {
        let views = [seen(&a), seen(&b), seen(&c)];
        views[0] == views[1] && views[1] == views[2] && serving(&a) == ["a", "b", "c"]
    };
    until("all agree", agreed).await;
    assert_eq!(bench.beats().await.len(), 3, "nothing is left of who went");
    drop((a, b, c));
    for epochs in epochs {
        assert!(epochs.await.unwrap() > 10);
    }
}

/// One place, one node: who starts where another had listened takes its record away at once.
#[tokio::test(start_paused = true)]
async fn a_restart_takes_the_place_of_its_predecessor() {
    let bench = Bench::new(15, Faults::none());
    let killed = bench.serve("a", 1).await;
    let id = killed.id();
    drop(killed);
    let again = bench.serve("a", 1).await;
    until("it serves", || serving(&again) == ["a"]).await;
    assert!(again.id() != id && seen(&again).all().len() == 1);
    let other = bench.serve("b", 2).await;
    until("both serve", || serving(&again) == ["a", "b"]).await;
    assert_eq!(seen(&other).all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_installation_is_made_once() {
    let bench = Bench::new(17, Faults::none());
    let first = installation(bench.engine.as_ref(), b"x", Some([7; 32])).await.unwrap();
    let again = installation(bench.engine.as_ref(), b"x", Some([8; 32])).await.unwrap();
    assert!(first == again && first.decoy_key == [7; 32] && first.id != 0);
    let other = installation(bench.engine.as_ref(), b"y", None).await.unwrap();
    assert!(other.id != first.id && other.decoy_key != first.decoy_key);
    assert!(!format!("{first:?}").contains("decoy"), "a secret");
}
