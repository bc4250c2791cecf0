//! A load generator for IMAP servers.
//!
//! It runs *profiles* (TOML files: so many connections, such commands, a folder of such a size) against *targets*
//! (any IMAP server, cleartext or TLS), in closed loop (the next command when the last is answered) or open loop (a
//! fixed schedule; latencies count from the scheduled time), and reports rates, latency percentiles, and the CPU
//! time and memory of the server's processes where they run on this machine. Two servers can be compared in
//! alternation.
//!
//! The client is kept cheap, since it mostly shares the processors with the server: one thread, one task a
//! connection, no parsing beyond line ends, literals and tags ([`scan`]).
//!
//! Deliberately absent: any knowledge of a particular server; verification of TLS certificates; a verdict that
//! fails a build. What a profile wants of a server is printed as met or missed.

pub mod cli;
pub mod compare;
pub mod connection;
pub mod dovecot;
pub mod drive;
pub mod enabler;
pub mod eviction;
pub mod message;
pub mod pace;
pub mod plan;
pub mod prepare;
pub mod processes;
pub mod profile;
pub mod progress;
pub mod random;
pub mod record;
pub mod report;
pub mod scan;
pub mod target;
pub mod template;
pub mod transport;
pub mod users;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::compare::{Comparison, Side};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::report::{Measured, Report};
use crate::target::Target;

/// How to run, beside what and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Worker threads of the client.
    pub threads: u32,
    /// No progress on the terminal.
    pub quiet: bool,
    /// Decides which messages are chosen.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, quiet: false, seed: 1 }
    }
}

/// Runs one profile on one target, once for each folder size, and removes the folders that grew.
///
/// Blocks; starts its own runtime, so it must not be called from within one.
///
/// # Errors
/// When the server cannot be reached, refuses the preparation, or no connection could be opened. Errors of single
/// operations are counted in the report instead.
pub fn run(target: &Target, profile: &Profile, options: &Options) -> anyhow::Result<Report> {
    profile.check()?;
    raise_open_files(profile.load.connections)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run_id = format!("{:x}-{:x}", since_1970.as_millis(), std::process::id());
    let mut variants = Vec::new();
    for messages in profile.sizes() {
        let plan = Plan::new(target.clone(), profile.clone(), messages, run_id.clone(), options.seed)?;
        let plan = Arc::new(plan);
        let progress = Progress::new(format!("{} {}", target.name, profile.name), options.quiet);
        let measured = runtime.block_on(async {
            let capabilities = prepare::prepare(&plan, &progress).await?;
            let outcome = drive::drive(&plan, capabilities, options.threads, &progress).await;
            prepare::remove(&plan, &progress).await;
            outcome
        });
        progress.end();
        let outcome = measured.with_context(|| format!("{} on {}", profile.name, target.name))?;
        variants.push(Measured::new(&plan, outcome));
    }
    let mut target = target.clone();
    target.password.clear();
    Ok(Report { target, profile: profile.clone(), started_unix: since_1970.as_secs(), variants })
}

/// Runs each profile `rounds` times on both targets, A B A B …, and puts the medians side by side.
///
/// # Errors
/// As [`run`], when there is one profile; of several, those that fail are told in the notes.
pub fn compare(
    a: &Target,
    b: &Target,
    profiles: &[Profile],
    rounds: usize,
    options: &Options,
) -> anyhow::Result<Comparison> {
    let mut pairs = Vec::new();
    let mut failures = Vec::new();
    for profile in profiles {
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        for round in 1..=rounds.max(1) {
            for (target, reports) in [(a, &mut of_a), (b, &mut of_b)] {
                match run(target, profile, options) {
                    Ok(report) => {
                        if !options.quiet {
                            eprintln!("round {round}: {}", report.in_short());
                        }
                        reports.push(report);
                    }
                    Err(error) if profiles.len() == 1 => return Err(error),
                    Err(error) => failures.push(format!("failed: {error:#}")),
                }
            }
        }
        pairs.push((profile.clone(), of_a, of_b));
    }
    let side = |target: &Target| Side { name: target.name.clone(), address: target.address.clone() };
    let mut comparison = Comparison::new(side(a), side(b), &pairs);
    comparison.notes.append(&mut failures);
    Ok(comparison)
}

/// Allows this process a file descriptor for each connection.
fn raise_open_files(connections: u32) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(connections) * 2 + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let current = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })
        .context("cannot raise the limit of open files")
}
