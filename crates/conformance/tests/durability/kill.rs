//! SIGKILL at random moments.

use std::sync::atomic::AtomicUsize;

use conformance::client::ClientError;
use conformance::malformed::Chance;
use conformance::server::{Options, Server, User};

use crate::account::{Account, check, notices_come};
use crate::worker::{Answers, Worker};

/// Kills without `MSS_KILL_ROUNDS`; the long form is 100.
const ROUNDS: usize = 8;
const ACCOUNTS: usize = 3;
const WORKERS_PER_ACCOUNT: usize = 4;
/// Most answers between two kills.
const ANSWERS_MAX: usize = 600;

#[test]
fn what_was_answered_survives_kills() {
    let rounds = std::env::var("MSS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let seed = std::env::var("MSS_KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut chance = Chance::new(seed);
    let mut server =
        Server::start(&Options { accounts: ACCOUNTS as u32, ..Options::default() }).expect("a server");
    let users: Vec<User> = (0..ACCOUNTS).map(|_| server.fresh_user()).collect();
    let prepare = |user| Account::prepare(server.imap, user, WORKERS_PER_ACCOUNT);
    let mut accounts: Vec<Account> = users.iter().map(prepare).collect();
    let mut answered = 0;
    for round in 0..rounds {
        let answers = Answers::default();
        let wanted = 1 + chance.below(ANSWERS_MAX);
        let kill_jitter = chance.below(200_000);
        let address = server.imap;
        let names = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let mut workers = Vec::new();
            for (at, (account, user)) in accounts.iter_mut().zip(&users).enumerate() {
                for (number, record) in account.records.iter_mut().enumerate() {
                    let prefix = format!("r{round}a{at}w{number}");
                    let chance = Chance::new(chance.draw());
                    let (answers, names) = (&answers, &names);
                    workers.push(scope.spawn(move || {
                        let mut worker = Worker { address, user, record, chance, answers, names, prefix };
                        worker.until_broken()
                    }));
                }
            }
            answers.wait_for(wanted);
            // A moment that no answer is the signal for.
            for _ in 0..kill_jitter {
                std::hint::spin_loop();
            }
            server.kill();
            for worker in workers {
                let error = worker.join().expect("the worker");
                assert!(matches!(error, ClientError::Closed | ClientError::Io(_)), "round {round}: {error}");
            }
        });
        answered += answers.count();
        server.restart().unwrap_or_else(|error| panic!("round {round}, seed {seed}: {error}"));
        for (user, account) in users.iter().zip(&mut accounts) {
            check(server.imap, user, account).unwrap_or_else(|why| {
                panic!("round {round}, seed {seed}, {}: {why}\n{}", user.name, server.log())
            });
        }
        let at = round % ACCOUNTS;
        notices_come([server.imap; 2], &users[at], &mut accounts[at], format!("notice{round}"));
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    println!("{rounds} kills, {answered} answers");
}
