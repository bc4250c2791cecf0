//! Many seeds, a process each; and how to make one that fails small.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::BROKEN;
use crate::plan::{Plan, Trouble};

/// Longest a simulation may take before it counts as failed, real time.
const LONGEST: Duration = Duration::from_secs(300);
/// Simulations spent on making a failure small.
const SHRINK_RUNS_MAX: u32 = 60;

/// Which seeds.
#[derive(Args)]
pub struct Seeds {
    /// How many.
    #[arg(long, default_value_t = 100, env = "MSS_SIM_SEEDS")]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 1, env = "MSS_SIM_START")]
    start: u64,
    /// At a time.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(2, |n| n.get() as u64))]
    jobs: u64,
    #[command(flatten)]
    plan: Plan,
}

/// How a simulation ended.
struct Outcome {
    failed: bool,
    output: String,
}

/// Simulates in a process of its own.
fn simulate(plan: &Plan) -> Outcome {
    let failed = |why: String| Outcome { failed: true, output: why };
    let Ok(program) = std::env::current_exe() else { return failed("this program has no path".to_owned()) };
    let mut command = Command::new(program);
    command.args(plan.arguments()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("the simulation does not start: {error}")),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        text
    });
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.map(|mut stdout| stdout.read_to_string(&mut text));
        text
    });
    let until = Instant::now() + LONGEST;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.code(),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let mut text = output.join().unwrap_or_default();
    text.push_str(&errors.join().unwrap_or_default());
    match status {
        Some(0) => Outcome { failed: false, output: text },
        Some(BROKEN) => Outcome { failed: true, output: text },
        other => failed(format!("{text}\nended with {other:?}, within {LONGEST:?}")),
    }
}

/// Runs all seeds.
pub fn run(seeds: &Seeds) -> ExitCode {
    let next = AtomicU64::new(seeds.start);
    let end = seeds.start.saturating_add(seeds.seeds);
    let broken: Mutex<Option<(Plan, Outcome)>> = Mutex::new(None);
    let done = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..seeds.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || broken.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        return;
                    }
                    let plan = Plan { seed, ..seeds.plan.clone() };
                    let outcome = simulate(&plan);
                    if outcome.failed {
                        let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
                        broken.get_or_insert((plan, outcome));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let done = done.into_inner();
    match broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => {
            println!("{done} seeds from {} held every promise, {seconds:.1} s", seeds.start);
            ExitCode::SUCCESS
        }
        Some((plan, outcome)) => {
            println!("seed {} failed after {done} seeds, {seconds:.1} s", plan.seed);
            let (plan, outcome) = shrink(plan, outcome);
            println!("{}", outcome.output);
            println!("again: sim {}", plan.arguments().join(" "));
            ExitCode::from(BROKEN as u8)
        }
    }
}

/// The same failure with fewer troubles and fewer commands, as far as it can be found.
fn shrink(mut plan: Plan, mut outcome: Outcome) -> (Plan, Outcome) {
    let mut runs = 0;
    let mut fails = |candidate: &Plan| {
        runs += 1;
        (runs <= SHRINK_RUNS_MAX).then(|| simulate(candidate)).filter(|outcome| outcome.failed)
    };
    for trouble in Trouble::value_variants() {
        let mut candidate = plan.clone();
        if !candidate.without.contains(trouble) {
            candidate.without.push(*trouble);
            if let Some(smaller) = fails(&candidate) {
                (plan, outcome) = (candidate, smaller);
            }
        }
    }
    let mut cut = plan.steps / 2;
    while cut > 0 {
        let candidate = Plan { steps: plan.steps - cut, ..plan.clone() };
        match fails(&candidate) {
            Some(smaller) => (plan, outcome) = (candidate, smaller),
            None => cut /= 2,
        }
        cut = cut.min(plan.steps / 2);
    }
    (plan, outcome)
}
