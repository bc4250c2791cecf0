//! The network: which nodes and front ends run, who reaches whom, and what each front end believes of the nodes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imap_server::Server;
use kv::Engine;
use kv::fault::Faults;
use model::Partition;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store_api::{Member, Members, Membership, NodeState};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use crate::link::Link;
use crate::node::{Node, name_of};
use crate::plan::Plan;
use crate::trace::Trace;

/// Storage nodes.
pub const NODES: usize = 3;
/// Front ends.
pub const FRONT_ENDS: usize = 2;
/// Octets that a connection holds in each direction.
const PIPE_BYTES: usize = 16 * 1024;

/// How a front end reaches a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// It does.
    Fair,
    /// It is refused.
    Cut,
    /// This part of its requests is lost on the way there, and as many answers on the way back.
    Lossy(f64),
}

struct Way {
    weather: Weather,
    /// Ends what flows over it when it is cut.
    flow: CancellationToken,
    /// The front end may take the node for one that serves, if it is told so.
    believed: bool,
}

struct State {
    nodes: [Option<Arc<Node>>; NODES],
    front_ends: [Option<Server>; FRONT_ENDS],
    ways: Vec<Way>,
    /// The nodes that each front end was last told of.
    members: [Arc<Members>; FRONT_ENDS],
    faults: Faults,
    chance: SmallRng,
}

/// The network and what runs on it.
pub struct Net {
    plan: Plan,
    disk: Arc<dyn Engine>,
    trace: Arc<Trace>,
    state: Mutex<State>,
}

impl Net {
    /// A network without a node.
    pub fn new(plan: Plan, disk: Arc<dyn Engine>, trace: Arc<Trace>) -> Arc<Self> {
        let way = || Way { weather: Weather::Fair, flow: CancellationToken::new(), believed: true };
        let state = State {
            nodes: std::array::from_fn(|_| None),
            front_ends: std::array::from_fn(|_| None),
            ways: (0..NODES * FRONT_ENDS).map(|_| way()).collect(),
            members: Default::default(),
            faults: calm(),
            chance: SmallRng::seed_from_u64(plan.seed ^ 0x006E_6574),
        };
        Arc::new(Self { plan, disk, trace, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `bound`, which is positive.
    pub fn draw(&self, bound: u64) -> u64 {
        self.state().chance.random_range(0..bound)
    }

    /// Whether something of this probability happens.
    pub fn happens(&self, probability: f64) -> bool {
        self.state().chance.random_bool(probability)
    }

    /// Takes some milliseconds, up to `most`.
    pub async fn pause(&self, most: u64) {
        let pause = Duration::from_millis(self.draw(most + 1));
        tokio::time::sleep(pause).await;
    }

    // --- nodes -------------------------------------------------------------------------------------------------

    /// Starts a node, or starts it again.
    pub async fn start_node(&self, number: usize) {
        self.kill_node(number);
        let (seed, faults) = {
            let mut state = self.state();
            (state.chance.random(), state.faults)
        };
        while let node = Node::start(&self.plan, number, self.disk.clone(), seed, faults).await
            && self.state().nodes[number].is_none()
        {
            if node.is_some() {
                self.trace.say(format_args!("node {number}"), format_args!("starts"));
                self.state().nodes[number] = node;
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends a node, wherever it stands.
    pub fn kill_node(&self, number: usize) {
        let Some(node) = self.state().nodes[number].take() else { return };
        self.trace.say(format_args!("node {number}"), format_args!("dies"));
        node.kill();
    }

    /// Ends a node in order: it tells the others that it takes no more, then that it leaves.
    pub async fn drain_node(&self, number: usize, patience: Duration) {
        let Some(node) = self.node(number) else { return };
        self.trace.say(format_args!("node {number}"), format_args!("drains"));
        let drained = async {
            let _ = node.membership.set_state(NodeState::Draining).await;
            tokio::time::sleep(patience).await;
            let _ = node.membership.leave().await;
        };
        tokio::select! {
            biased;
            () = node.dead.cancelled() => return,
            () = drained => {}
        }
        // Unless it died meanwhile and another runs in its place.
        if self.node(number).is_some_and(|now| Arc::ptr_eq(&now, &node)) {
            self.kill_node(number);
        }
    }

    /// The process of a node, if it runs.
    pub fn node(&self, number: usize) -> Option<Arc<Node>> {
        self.state().nodes[number].clone()
    }

    /// What transactions of all nodes suffer from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        for node in state.nodes.iter().flatten() {
            node.engine.set_faults(faults);
        }
    }

    // --- front ends --------------------------------------------------------------------------------------------

    /// Starts a front end.
    pub fn start_front_end(self: &Arc<Self>, number: usize) {
        let link = Link::new(number, self.clone());
        let mut options = imap_server::Options::default();
        // With every beat a session looks for itself, which would hide news that never came.
        options.limits.idle_keepalive = Duration::ZERO;
        let server = Server::new(link.clone(), link, options);
        self.trace.say(format_args!("front end {number}"), format_args!("starts"));
        self.state().front_ends[number] = Some(server);
    }

    /// Ends a front end with all its sessions. Returns what is left of it.
    pub async fn kill_front_end(&self, number: usize, patience: Duration) -> Option<Server> {
        let server = self.state().front_ends[number].take()?;
        self.trace.say(format_args!("front end {number}"), format_args!("dies"));
        server.shut_down(patience).await;
        Some(server)
    }

    /// A connection to a front end, if it runs.
    pub fn connect(&self, front_end: usize) -> Option<DuplexStream> {
        let server = self.state().front_ends[front_end].clone()?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        server.attach(far);
        Some(near)
    }

    // --- ways --------------------------------------------------------------------------------------------------

    /// How a front end reaches a node, and what ends when it no longer does.
    pub fn way(&self, front_end: usize, node: usize) -> (Weather, CancellationToken) {
        let state = self.state();
        let way = &state.ways[front_end * NODES + node];
        (way.weather, way.flow.clone())
    }

    /// Changes how a front end reaches a node.
    pub fn set_weather(&self, front_end: usize, node: usize, weather: Weather) {
        let flow = {
            let mut state = self.state();
            let way = &mut state.ways[front_end * NODES + node];
            way.weather = weather;
            std::mem::take(&mut way.flow)
        };
        flow.cancel();
    }

    /// Lets a front end believe that a node is there, or that it is not.
    pub fn set_belief(&self, front_end: usize, node: usize, believed: bool) {
        self.state().ways[front_end * NODES + node].believed = believed;
    }

    /// The nodes that a front end would ask for a partition, the one it takes for the owner first.
    pub fn ranking(&self, front_end: usize, partition: Partition) -> Vec<usize> {
        let state = self.state();
        let believed = |node: &usize| state.ways[front_end * NODES + node].believed;
        let ranking = state.members[front_end].ranking(partition);
        ranking.into_iter().filter_map(number_of).filter(believed).collect()
    }

    // --- members -----------------------------------------------------------------------------------------------

    /// The nodes that a front end was last told of.
    pub fn members(&self, front_end: usize) -> Arc<Members> {
        self.state().members[front_end].clone()
    }

    /// Keeps what a front end knows of the nodes, by what any of them tells that it reaches.
    pub async fn follow_members(self: Arc<Self>, front_end: usize) {
        loop {
            for number in 0..NODES {
                let (weather, flow) = self.way(front_end, number);
                let Some(node) = self.node(number).filter(|_| weather == Weather::Fair) else { continue };
                tokio::select! {
                    biased;
                    () = node.dead.cancelled() => {}
                    () = flow.cancelled() => {}
                    () = self.hear(front_end, &node) => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Takes over what a node tells of the nodes, for as long as it tells.
    async fn hear(&self, front_end: usize, node: &Node) {
        let mut told = node.membership.watch();
        loop {
            self.pause(3).await;
            let members = told.borrow_and_update().clone();
            let epoch = members.epoch;
            let before = std::mem::replace(&mut self.state().members[front_end], members);
            if before.epoch != epoch {
                self.trace.say(
                    format_args!("front end {front_end}"),
                    format_args!("hears of nodes, epoch {epoch}"),
                );
            }
            if told.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The number of a node.
fn number_of(member: &Member) -> Option<usize> {
    (0..NODES).find(|number| name_of(*number) == member.name)
}

/// No faults, and the little delays that there always are.
pub fn calm() -> Faults {
    Faults { commit_slow: 0.5, read_slow: 0.3, delay_ms_max: 4, ..Faults::none() }
}
