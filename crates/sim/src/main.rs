//! Deterministic simulation of the whole: sessions, front ends, storage nodes and an engine, under faults.
//!
//! One process simulates one seed: accounts on three storage nodes over one engine in memory, two front ends, clients
//! that change folders and clients in IDLE, all of it the real code over pipes, and troubles: conflicts, commits of
//! unknown outcome, lost watches, nodes and front ends that die wherever they stand, ways that are cut or lose
//! messages, front ends that disagree about the nodes, clocks that jump. Time is virtual, and everything follows from
//! the seed ([`machine`] says how, and what is left). What was true when is kept, commit by commit ([`history`]), and
//! every answer is held against it ([`phone`]):
//!
//! - What was answered OK is there at once, for everybody; what was refused never comes; what was left open came whole
//!   or not at all, and at most once.
//! - UIDs and MODSEQs only go forward, and the same HIGHESTMODSEQ means the same folder, at each commit.
//! - After NOOP, SELECT, STATUS, SEARCH, LIST the client knows a state that was true between its asking and the answer,
//!   through whichever front end and node it asked.
//! - A sync by QRESYNC from any earlier point gives exactly the state.
//! - A client in IDLE knows all once it is quiet, without asking.
//! - Another's folders are answered as if they were not there.
//! - At the end no connection and no tail is left, and the check of the store finds nothing.
//!
//! `sim run --seeds N --start S` runs many seeds, a process each; a seed that fails is run again with fewer commands
//! and fewer kinds of trouble, and the smallest that still fails is printed with its last events.

mod chaos;
mod disk;
mod history;
mod idler;
mod link;
mod machine;
mod net;
mod node;
mod phone;
mod plan;
mod seeds;
mod trace;
mod view;
mod wire;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code of a simulation in which a promise was broken.
pub const BROKEN: i32 = 3;

#[derive(Parser)]
#[command(about = "Deterministic simulation under faults")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Simulate one seed.
    One(plan::Plan),
    /// Simulate many seeds, and make the first that fails small.
    Run(seeds::Seeds),
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::One(plan) => {
            let seed = plan.seed;
            machine::run(seed, move || world::run(plan));
            ExitCode::SUCCESS
        }
        Task::Run(seeds) => seeds::run(&seeds),
    }
}
