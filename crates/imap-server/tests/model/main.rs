//! Random programs of IMAP commands from several connections, on two front ends over one engine with faults, against a
//! simple model of an account's folders.
//!
//! Each client believes only what it is told ([`mirror`]); each step is explained by some order of its commands
//! ([`world`]); what the engine holds is read by a store of its own, without caches ([`bench`]).

mod bench;
mod client;
mod mirror;
mod program;
mod regressions;
mod run;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Programs in a default run, which takes some seconds; `MSS_MODEL_CASES` asks for more, and for others each time.
const CASES: u32 = 200;
/// Steps of a program, at most.
const STEPS: usize = 40;

#[test]
fn views_agree_with_the_model() {
    let asked: Option<u32> = std::env::var("MSS_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: asked.unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_iters: 600,
        ..Config::default()
    };
    // The default run has the same programs every time, so that a red build means a change; a long one has new ones.
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let outcome =
        runner.run(&program::programs(STEPS), |program| run::check(&program).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, program)) => panic!("{reason}\n{program}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn programs_that_failed_once() {
    for program in regressions::programs() {
        if let Err(wrong) = run::check(&program) {
            panic!("{wrong}\n{program}");
        }
    }
}
