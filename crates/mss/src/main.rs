//! `mss`: the message store of a mobile operator, every role a subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line was wrong.

mod admin;
mod archive;
mod commands;
mod engine;
mod front;
mod keys;
mod logging;
mod node;
mod oauth;
mod process;
mod push;
mod reload;
mod rpc;
mod settings;
mod storage;
mod tier;
mod tls;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The message store of a mobile operator: an OMA CPM Message Storage Server.
///
/// Phones reach it by IMAP4; every device of a subscriber sees each change at once. `mss serve` runs all of it in one
/// process on the directory ./mss-data.
#[derive(Debug, Parser)]
#[command(
    name = "mss",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(commands::serve::Arguments),
    Store(commands::store::Arguments),
    Imap(commands::imap::Arguments),
    Push(commands::push::Arguments),
    Cluster(commands::cluster::Arguments),
    Account(commands::account::Arguments),
    Function(commands::function::Arguments),
    Check(commands::check::Arguments),
    #[command(hide = true)]
    ConvertWorker(commands::convert_worker::Arguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // A worker takes from its process what it does not need before anything in it has begun.
    if let Command::ConvertWorker(arguments) = &command {
        return ended(commands::convert_worker::run(arguments));
    }
    // Dropped last: the FoundationDB client must not run when the process ends.
    let _network = kv_fdb::NetworkGuard::new();
    // Another part of the process may have chosen the provider already; it can only be this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match command {
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::Store(arguments) => commands::store::run(arguments),
        Command::Imap(arguments) => commands::imap::run(arguments),
        Command::Push(arguments) => commands::push::run(arguments),
        Command::Cluster(arguments) => commands::cluster::run(arguments),
        Command::Account(arguments) => commands::account::run(arguments),
        Command::Function(arguments) => commands::function::run(arguments),
        Command::Check(arguments) => commands::check::run(arguments),
        Command::ConvertWorker(arguments) => commands::convert_worker::run(&arguments),
    };
    ended(outcome)
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mss: {error:#}");
            ExitCode::FAILURE
        }
    }
}
