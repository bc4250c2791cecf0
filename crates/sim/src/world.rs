//! One simulation, from an empty engine to the last check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imap_server::credentials::derive_scram_with;
use kv::memory::MemoryEngine;
use model::{AccountId, CpmAddress, PARTITIONS, Partition};
use secrecy::SecretSlice;
use store_api::{
    Credentials, Ctx, DeleteRule, MailStore, Membership, NewAccount, QuotaLimits, Requestor, ServiceClass,
};
use tokio::sync::watch;

use crate::chaos;
use crate::disk::Disk;
use crate::history::History;
use crate::idler::Idler;
use crate::machine;
use crate::net::{FRONT_ENDS, NODES, Net};
use crate::phone::Phone;
use crate::plan::Plan;
use crate::trace::Trace;

/// The password of every account.
pub const PASSWORD: &str = "secret";
const USERS: [&str; 2] = ["+15550001", "+15550002"];
/// Clients of each account that change it.
const PHONES: usize = 2;
/// Clients of each account that wait for news.
const IDLERS: usize = 2;
/// Time until everybody must have heard everything: longer than a feed trusts a silent watch.
const QUIET_AFTER: Duration = Duration::from_secs(60);

const CTX: Ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::Operator };

/// How far the simulation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Troubled,
    /// Nothing fails any more.
    Healed,
    /// Nothing changes any more, and there was time to hear of everything.
    Quiet,
}

/// What all of it shares.
pub struct World {
    pub plan: Plan,
    pub trace: Arc<Trace>,
    pub history: Arc<History>,
    pub net: Arc<Net>,
    pub accounts: Vec<(AccountId, &'static str)>,
    steps: AtomicU64,
    phase: watch::Sender<Phase>,
    /// Changes of folders under way and begun so far, by account.
    folder_changes: Mutex<BTreeMap<AccountId, (u64, u64)>>,
    together: Mutex<Vec<(AccountId, Vec<Arc<str>>)>>,
    never: Mutex<Vec<(AccountId, Arc<str>)>>,
}

impl World {
    /// Whether there is a command left to give.
    pub fn take_step(&self) -> bool {
        self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Whether it is as far as that.
    pub fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// Waits until it is as far as that.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as the world.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// The names of an account's folders now.
    pub fn names_now(&self, account: AccountId) -> BTreeSet<String> {
        let now = self.history.now();
        self.history
            .names(account, (now, now))
            .last()
            .map(|names| names.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// A client begins to change folders: the number of the change, if it is the only one.
    pub fn folder_change_begins(&self, account: AccountId) -> Option<u64> {
        let mut changes = self.folder_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (active, begun) = changes.entry(account).or_default();
        *active += 1;
        *begun += 1;
        (*active == 1).then_some(*begun)
    }

    /// It has ended; whether it was the only one all the time. `number`: as its beginning gave it.
    pub fn folder_change_ends(&self, account: AccountId, number: Option<u64>) -> bool {
        let mut changes = self.folder_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (active, begun) = changes.entry(account).or_default();
        *active -= 1;
        number == Some(*begun)
    }

    /// These messages come in one commit, or none of them.
    pub fn together(&self, account: AccountId, tokens: &[Arc<str>]) {
        let mut together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        together.push((account, tokens.to_vec()));
    }

    /// These messages were refused for certain.
    pub fn never(&self, account: AccountId, tokens: &[Arc<str>]) {
        let mut never = self.never.lock().unwrap_or_else(PoisonError::into_inner);
        never.extend(tokens.iter().map(|token| (account, token.clone())));
    }
}

/// Runs the simulation that `plan` describes; a broken promise ends the process.
pub async fn run(plan: Plan) {
    let trace = Arc::new(Trace::new(plan.trace));
    let memory = MemoryEngine::new();
    let history = History::new(memory.clone(), trace.clone()).await;
    let disk = Disk::new(memory.clone(), history.clone(), trace.clone(), plan.sabotage, plan.seed);
    let net = Net::new(plan.clone(), disk, trace.clone());
    for node in 0..NODES {
        net.start_node(node).await;
    }
    for front_end in 0..FRONT_ENDS {
        net.start_front_end(front_end);
        tokio::spawn(net.clone().follow_members(front_end));
    }
    let mut accounts = Vec::new();
    for user in USERS {
        accounts.push((create(&net, &trace, user).await, user));
    }
    let world = Arc::new(World {
        steps: AtomicU64::new(plan.steps),
        plan,
        trace,
        history,
        net,
        accounts,
        phase: watch::Sender::new(Phase::Troubled),
        folder_changes: Mutex::default(),
        together: Mutex::default(),
        never: Mutex::default(),
    });

    let (mut phones, mut idlers) = (Vec::new(), Vec::new());
    for (owner, (account, user)) in world.accounts.clone().into_iter().enumerate() {
        for number in 0..PHONES {
            let phone = Phone::new(&world, owner * 10 + number, account, user);
            phones.push(tokio::spawn(phone.work()));
        }
        for number in 0..IDLERS {
            let idler = Idler::new(&world, owner * 10 + PHONES + number, account, user);
            idlers.push(tokio::spawn(idler.wait()));
        }
    }
    let trouble = tokio::spawn(chaos::make(world.clone()));
    while world.steps.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    trouble.abort();
    chaos::heal(&world).await;
    // What was on its way when the troubles ended: nodes and front ends that were to start again.
    tokio::time::sleep(Duration::from_secs(10)).await;
    chaos::heal(&world).await;
    world.phase.send_replace(Phase::Healed);
    ended(&world, phones, "phones").await;
    tokio::time::sleep(QUIET_AFTER).await;
    world.phase.send_replace(Phase::Quiet);
    ended(&world, idlers, "idle clients").await;
    last_checks(&world).await;

    let (fingerprint, events) = world.trace.fingerprint();
    let held: u64 = memory.dump().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    println!(
        "ok seed {} fingerprint {fingerprint:016x} events {events} commits {} bytes {held} simulated {:.0} s",
        world.plan.seed,
        world.history.now().0,
        machine::elapsed().as_secs_f64(),
    );
}

async fn create(net: &Net, trace: &Trace, user: &str) -> AccountId {
    let secret = SecretSlice::from(PASSWORD.as_bytes().to_vec());
    // One iteration: checked in place, on this thread.
    let credentials = derive_scram_with(&secret, vec![7; 16], 1).map(Credentials::Scram);
    let (Ok(credentials), Ok(address), Some(node)) = (credentials, CpmAddress::parse(user), net.node(0))
    else {
        trace.broken("no account can be made");
    };
    let new = NewAccount {
        address,
        credentials,
        limits: QuotaLimits::default(),
        service: ServiceClass { delete: DeleteRule::Recursive, ..ServiceClass::default() },
    };
    node.store.create_account(&CTX, new).await.unwrap_or_else(|error| trace.broken(error))
}

/// Waits for the end of clients, which must come.
async fn ended(world: &World, clients: Vec<tokio::task::JoinHandle<()>>, who: &str) {
    let all = async {
        for client in clients {
            if client.await.is_err() {
                world.trace.broken("a client panicked");
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(3_600), all).await.is_err() {
        world.trace.broken(format_args!("the {who} come to no end"));
    }
}

async fn last_checks(world: &World) {
    let trace = &world.trace;
    let node = world.net.node(0).map(|node| node.membership.now());
    for front_end in 0..FRONT_ENDS {
        let members = world.net.members(front_end);
        let serving = members.serving().count();
        let agree = node.as_ref().is_some_and(|node| {
            (0..PARTITIONS)
                .map(Partition)
                .all(|p| node.owner(p).map(|m| m.id) == members.owner(p).map(|m| m.id))
        });
        if members.all().len() != NODES || serving != NODES || !agree {
            trace.broken(format_args!("in the end front end {front_end} knows {members:?}, a node {node:?}"));
        }
    }
    for (account, tokens) in world.together.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let arrivals = world.history.arrivals(*account);
        let came: BTreeSet<_> = tokens.iter().map(|token| arrivals.get(token)).collect();
        if came.len() != 1 || came.iter().flatten().any(|(_, bodies)| *bodies != 1) {
            trace.broken(format_args!("{tokens:?} did not come once and together: {came:?}"));
        }
    }
    for (account, token) in world.never.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if let Some(arrival) = world.history.arrivals(*account).get(token) {
            trace.broken(format_args!("{token} was refused, and came all the same at {arrival:?}"));
        }
    }
    for front_end in 0..FRONT_ENDS {
        let Some(server) = world.net.kill_front_end(front_end, Duration::from_secs(30)).await else {
            continue;
        };
        if server.connections() != 0 {
            trace.broken(format_args!(
                "front end {front_end} still counts {} connections",
                server.connections()
            ));
        }
    }
    // Tails without a listener end when they look the next time.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for number in 0..NODES {
        let Some(node) = world.net.node(number) else { continue };
        if node.feed.tails() != 0 {
            trace.broken(format_args!(
                "node {number} tails {} logs that nobody listens to",
                node.feed.tails()
            ));
        }
    }
    let witness = world.history.witness();
    loop {
        match witness.sweep_all().await {
            Ok(swept) if swept.works == 0 => break,
            Ok(_) => {}
            Err(error) => trace.broken(format_args!("a sweep without faults failed: {error}")),
        }
    }
    match witness.check().await {
        Ok(findings) => {
            // What a node wrote whose clock was ahead by months is what it is; only that may be found.
            let ahead = "the note of its messages with \\Deleted is of a time to come";
            let findings: Vec<String> = findings
                .iter()
                .map(ToString::to_string)
                .filter(|finding| !finding.ends_with(ahead))
                .collect();
            if !findings.is_empty() {
                trace.broken(format_args!("the check of the store found: {}", findings.join("; ")));
            }
        }
        Err(error) => trace.broken(format_args!("the store cannot be checked: {error}")),
    }
}
