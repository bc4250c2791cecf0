//! The simulation as continuous integration runs it, and proofs that it can fail and repeat itself.
//!
//! More seeds: `MSS_SIM_SEEDS` and `MSS_SIM_START`, or `cargo xtask sim --seeds N --start S`.

use std::process::{Command, Output};

/// Seeds of a default run.
const SEEDS: u64 = 24;
/// Seeds within which every defect that is put in must be found.
const SEEDS_TO_FIND: u64 = 24;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the simulation starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_promise_is_kept() {
    let seeds = std::env::var("MSS_SIM_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    let output = sim(&["run", "--seeds", &seeds]);
    assert!(output.status.success(), "{}", text(&output));
    println!("{}", text(&output));
}

/// The fingerprint covers every octet of every session and every key read and written, in order.
#[test]
fn a_seed_is_the_same_every_time() {
    let mut fingerprints = Vec::new();
    for seed in ["1", "2", "3"] {
        let runs: Vec<String> = (0..3).map(|_| text(&sim(&["one", "--seed", seed]))).collect();
        assert!(runs[0].contains("fingerprint"), "{}", runs[0]);
        assert_eq!(runs[0], runs[1]);
        assert_eq!(runs[1], runs[2]);
        fingerprints.push(runs[0].clone());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3, "other seeds are other simulations");
}

/// A simulation that cannot fail proves nothing: each of these defects breaks a promise.
#[test]
fn defects_are_found() {
    for (sabotage, broken) in [
        ("lost-conflict", "BROKEN"),
        ("early-answer", "BROKEN"),
        ("stale-reads", "BROKEN"),
        ("deaf", "in IDLE it was told"),
    ] {
        let found = (1..=SEEDS_TO_FIND).find_map(|seed| {
            let output = sim(&["one", "--seed", &seed.to_string(), "--sabotage", sabotage]);
            // A defect may show in another way first; it must show in the one that it is there for.
            let (failed, output) = (!output.status.success(), text(&output));
            (failed && output.contains(broken)).then_some((seed, output))
        });
        let (seed, output) =
            found.unwrap_or_else(|| panic!("{sabotage} was not found in {SEEDS_TO_FIND} seeds"));
        let line = output.lines().find(|line| line.contains("BROKEN")).unwrap_or_default();
        println!("{sabotage}: seed {seed}: {line:.160}");
    }
}

/// What fails is made small: the command line that is printed fails, too, and is shorter than the first.
#[test]
fn a_failure_is_made_small() {
    let seeds = SEEDS_TO_FIND.to_string();
    let output = sim(&["run", "--seeds", &seeds, "--sabotage", "early-answer"]);
    let output = text(&output);
    let again =
        output.lines().find_map(|line| line.strip_prefix("again: sim ")).expect("how to see it again");
    let arguments: Vec<&str> = again.split(' ').collect();
    let steps = arguments.iter().position(|argument| *argument == "--steps").map(|at| arguments[at + 1]);
    assert!(steps.and_then(|steps| steps.parse::<u64>().ok()).is_some_and(|steps| steps < 400), "{again}");
    assert!(!sim(&arguments).status.success(), "{again}");
}
