//! Repository tasks. `cargo xtask check` is all of continuous integration.

mod checks;
mod deploy;
mod layers;
mod licences;
mod metadata;
mod size;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask TASK

  check      everything that continuous integration checks: format, lints, layers, licences, docs, tests, short fuzz
  test       install what the tests need, then run all of them
  deps       install what the tests need: Debian packages and npm clients
  conformance [--oracle | HOST:PORT]
             play the transcripts against our server, judge them by Dovecot, or play them against a server that runs
             (MSS_IMAP_USER, MSS_IMAP_PASSWORD name its accounts; MSS_TRANSCRIPT chooses by name)
  foundationdb
             play transcripts, clients and deaths of processes on the FoundationDB of MSS_FDB_CLUSTER_FILE
  fuzz       run every fuzz target for some seconds (MSS_FUZZ_SECONDS, 20 by default)
  sim [--seeds N] [--start S]
             simulate many seeds of the whole under faults, and make the first that fails small (`sim run --help` has
             the rest); a few run with the tests
  deploy     check what stands in deploy/: alerts and their cases by promtool, units by systemd-analyze
  size [--subscribers N] [NAME=VALUE ...]
             how many nodes, disks and how much network for so many subscribers, from deploy/sizing.toml
  layers     check that crates depend only on what crates/xtask/layers.toml allows
  licences   check licences and duplicate versions against crates/xtask/licences.toml
  tidy       list the longest files, for whoever looks";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "check" => checks::check(),
        "test" => checks::test(),
        "deps" => checks::deps(),
        "conformance" => checks::conformance(&std::env::args().skip(2).collect::<Vec<_>>()),
        "foundationdb" => checks::foundationdb(),
        "fuzz" => checks::fuzz(),
        "sim" => checks::sim(&std::env::args().skip(2).collect::<Vec<_>>()),
        "deploy" => deploy::check(),
        "size" => size::print(&std::env::args().skip(2).collect::<Vec<_>>()),
        "layers" => layers::check(),
        "licences" => licences::check(),
        "tidy" => tidy::list(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
