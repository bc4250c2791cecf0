//! Deaths of single processes while the others work on: front ends, storage nodes, the database.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use conformance::foundationdb;
use conformance::malformed::Chance;
use conformance::process::Process;
use conformance::server::{Layout, Options, Server, User};

use crate::account::{Account, check, notices_come};
use crate::worker::{Answers, Worker};

/// Faults without `MSS_KILL_ROUNDS`: each kind comes.
const ROUNDS: usize = 10;
const ACCOUNTS: usize = 3;
const WORKERS_PER_ACCOUNT: usize = 4;
/// Most answers before a fault.
const ANSWERS_MAX: usize = 400;
/// Answers that must come while what died is not back, where others can serve, and again afterwards.
const ANSWERS_AFTER: usize = 100;

/// What dies.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Front,
    Store,
    /// All of ours at once.
    Everything,
    /// A process of the database, by SIGKILL.
    DatabaseProcess,
    /// All of the database, by `fdbcli`.
    Database,
}

#[test]
fn any_process_dies() {
    survive(Layout::Apart { fronts: 2 }, &[Fault::Front, Fault::Store, Fault::Everything]);
}

#[test]
#[ignore = "wants a FoundationDB; `cargo xtask foundationdb` runs it"]
fn any_process_dies_on_foundationdb() {
    let cluster_file = foundationdb::cluster_file().unwrap_or_else(|why| panic!("{why}"));
    let faults = [Fault::Front, Fault::Store, Fault::DatabaseProcess, Fault::Everything, Fault::Database];
    survive(Layout::OnFoundationDb { cluster_file, stores: 2, fronts: 2 }, &faults);
}

fn survive(layout: Layout, faults: &[Fault]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = number("MSS_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("MSS_KILL_SEED").unwrap_or(1);
    let mut chance = Chance::new(seed);
    let options = Options { layout: layout.clone(), accounts: ACCOUNTS as u32, ..Options::default() };
    let mut server = Server::start(&options).expect("a server");
    let users: Vec<User> = (0..ACCOUNTS).map(|_| server.fresh_user()).collect();
    let prepare = |user| Account::prepare(server.imap, user, WORKERS_PER_ACCOUNT);
    let mut accounts: Vec<Account> = users.iter().map(prepare).collect();
    let mut answered = 0;
    for round in 0..rounds {
        let fault = faults[round % faults.len()];
        let before = 1 + chance.below(ANSWERS_MAX);
        let (answers, names, stop) = (Answers::default(), AtomicUsize::new(0), AtomicBool::new(false));
        let troubles: Vec<String> = std::thread::scope(|scope| {
            let mut workers = Vec::new();
            for (at, (account, user)) in accounts.iter_mut().zip(&users).enumerate() {
                for (number, record) in account.records.iter_mut().enumerate() {
                    let prefix = format!("r{round}a{at}w{number}");
                    let (address, chance) = (server.front(number), Chance::new(chance.draw()));
                    let (answers, names, stop) = (&answers, &names, &stop);
                    workers.push(scope.spawn(move || {
                        Worker { address, user, record, chance, answers, names, prefix }.until_told(stop)
                    }));
                }
            }
            answers.wait_for(before);
            strike(fault, &layout, &mut server, &answers, chance.below(1000));
            answers.wait_for(answers.count() + ANSWERS_AFTER);
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().flat_map(|worker| worker.join().expect("the worker")).collect()
        });
        answered += answers.count();
        println!("round {round}: {fault:?}, {} answers, {} troubles", answers.count(), troubles.len());
        for trouble in &troubles {
            println!("  {trouble}");
        }
        for (at, (user, account)) in users.iter().zip(&mut accounts).enumerate() {
            check(server.front(round + at), user, account).unwrap_or_else(|why| {
                panic!("round {round}, {fault:?}, seed {seed}, {}: {why}\n{}", user.name, server.log())
            });
        }
        let at = round % ACCOUNTS;
        let fronts = [server.front(round), server.front(round + 1)];
        notices_come(fronts, &users[at], &mut accounts[at], format!("notice{round}"));
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    println!("{rounds} faults, {answered} answers");
}

/// Kills, sees that those left serve if they can, and starts again what was killed.
fn strike(fault: Fault, layout: &Layout, server: &mut Server, answers: &Answers, which: usize) {
    match fault {
        Fault::Front => without(&mut server.fronts, which, || {
            answers.wait_for(answers.count() + ANSWERS_AFTER);
        }),
        Fault::Store => {
            let others = server.stores.len() > 1;
            without(&mut server.stores, which, || {
                if others {
                    answers.wait_for(answers.count() + ANSWERS_AFTER);
                }
            });
        }
        Fault::Everything => server.restart().expect("all processes start again"),
        Fault::DatabaseProcess | Fault::Database => {
            let Layout::OnFoundationDb { cluster_file, .. } = layout else {
                panic!("{fault:?} without a database")
            };
            match fault {
                Fault::Database => foundationdb::kill_all(cluster_file),
                _ => foundationdb::kill_one(cluster_file, which),
            }
            .unwrap_or_else(|why| panic!("{why}"));
        }
    }
}

fn without(processes: &mut [Process], which: usize, meanwhile: impl FnOnce()) {
    let process = &mut processes[which % processes.len()];
    process.kill();
    meanwhile();
    process.restart().expect("it starts again");
}
