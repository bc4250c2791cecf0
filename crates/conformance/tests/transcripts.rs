//! Every transcript against the server under test. `MSS_TRANSCRIPT=move/` runs those whose name contains that.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use conformance::foundationdb;
use conformance::run::{Outcome, play};
use conformance::server::{Layout, Options, Server};
use conformance::transcript::{Transcript, all, root};

/// What is not offered by default: LITERAL- and LITERAL+ exclude each other (RFC 7888 §5).
const WITH_LITERAL_MINUS: [&str; 1] = ["literal-minus/too-big"];
/// Transcripts played at a time.
const THREADS: usize = 8;

#[test]
fn every_transcript_holds() {
    let transcripts = chosen();
    let server = Server::under_test(accounts(&transcripts)).expect("a server under test");
    hold(&transcripts, &server);
}

/// Connections of one transcript go to two front ends in turn, which have nothing in common but their storage node.
#[test]
fn every_transcript_holds_on_processes_apart() {
    let transcripts = chosen();
    let server = Server::for_tests(Layout::Apart { fronts: 2 }, accounts(&transcripts));
    hold(&transcripts, &server.expect("a server under test"));
}

/// The same with two storage nodes.
#[test]
#[ignore = "wants a FoundationDB; `cargo xtask foundationdb` runs it"]
fn every_transcript_holds_on_foundationdb() {
    let cluster_file = foundationdb::cluster_file().unwrap_or_else(|why| panic!("{why}"));
    let transcripts = chosen();
    let layout = Layout::OnFoundationDb { cluster_file, stores: 2, fronts: 2 };
    let server = Server::for_tests(layout, accounts(&transcripts)).expect("a server under test");
    hold(&transcripts, &server);
}

fn hold(transcripts: &[Transcript], server: &Server) {
    let outcomes = play_all(transcripts, server);
    let mut failures = Vec::new();
    let (mut passed, mut skipped) = (0, Vec::new());
    for (transcript, outcome) in transcripts.iter().zip(outcomes) {
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Skipped(_) if WITH_LITERAL_MINUS.contains(&transcript.name.as_str()) => {}
            Outcome::Skipped(missing) => skipped.push(format!("{} (lacks {missing})", transcript.name)),
            Outcome::Failed(report) => failures.push(report),
        }
    }
    for failure in &failures {
        println!("{failure}");
    }
    println!("{passed} passed, {} failed, {} skipped", failures.len(), skipped.len());
    for line in &skipped {
        println!("  skipped {line}");
    }
    assert!(failures.is_empty(), "{} transcripts failed", failures.len());
    // Ours has every extension that the transcripts are about; another server may lack some.
    assert!(!server.is_ours() || skipped.is_empty(), "skipped: {skipped:#?}");
}

/// The other way to take literals, by its setting.
#[test]
fn literals_with_literal_minus() {
    let transcripts = all(&root()).expect("transcripts that can be read");
    let chosen = |t: &Transcript| t.name.starts_with("literal-") || t.name.starts_with("multiappend/");
    let (chosen, _): (Vec<_>, Vec<_>) = transcripts.into_iter().partition(chosen);
    let settings = vec![("MSS_IMAP__LITERAL_MINUS".to_owned(), "true".to_owned())];
    let options = Options { settings, accounts: accounts(&chosen), ..Options::default() };
    let server = Server::start(&options).expect("a server with LITERAL-");
    let mut played = Vec::new();
    for (transcript, outcome) in chosen.iter().zip(play_all(&chosen, &server)) {
        match outcome {
            Outcome::Passed => played.push(transcript.name.as_str()),
            Outcome::Skipped(_) => {}
            Outcome::Failed(report) => panic!("{report}"),
        }
    }
    assert!(WITH_LITERAL_MINUS.iter().all(|name| played.contains(name)), "{played:?}");
}

/// Dovecot judges the transcripts: what it breaks is wrong in the transcript, or listed with the reason.
///
/// Wants the package dovecot-imapd, which `cargo xtask test` installs, and root.
#[test]
fn dovecot_agrees() {
    let transcripts = chosen();
    let server = conformance::oracle::dovecot().expect("a Dovecot");
    let known = include_str!("../oracles/dovecot-2.3.tsv");
    let known: Vec<&str> = known.lines().filter_map(|line| line.split('\t').next()).collect();
    let outcomes = play_all(&transcripts, &server);
    let (mut passed, mut skipped, mut excused, mut failed) = (0, 0, 0, 0);
    for (transcript, outcome) in transcripts.iter().zip(outcomes) {
        let listed = known.contains(&transcript.name.as_str());
        match outcome {
            Outcome::Passed if listed => {
                failed += 1;
                println!("{} holds but is listed", transcript.name);
            }
            Outcome::Passed => passed += 1,
            Outcome::Skipped(_) => skipped += 1,
            Outcome::Failed(_) if listed => excused += 1,
            Outcome::Failed(report) => {
                failed += 1;
                println!("{report}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {excused} excused, {skipped} skipped");
    assert_eq!(failed, 0);
}

/// One for each, and one more for those of several accounts.
fn accounts(transcripts: &[Transcript]) -> u32 {
    transcripts.iter().map(|transcript| transcript.accounts() as u32).sum()
}

fn chosen() -> Vec<Transcript> {
    let filter = std::env::var("MSS_TRANSCRIPT").unwrap_or_default();
    let transcripts = all(&root()).expect("transcripts that can be read");
    let chosen: Vec<_> = transcripts.into_iter().filter(|t| t.name.contains(&filter)).collect();
    assert!(!chosen.is_empty(), "no transcript is named like {filter:?}");
    chosen
}

fn play_all(transcripts: &[Transcript], server: &Server) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(transcripts.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(transcript) = transcripts.get(at) else { return };
                    let outcome = play(transcript, server);
                    outcomes.lock().expect("no thread panics").push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panics");
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
