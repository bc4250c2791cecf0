//! `loadtest`: see `loadtest --help`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use loadtest::cli::{Cli, Command, CompareArgs, DovecotArgs, LoadArgs, RunArgs};
use loadtest::dovecot::{Dovecot, Settings};
use loadtest::profile::{Profile, SHIPPED};
use loadtest::report::{html, table};
use loadtest::target::Target;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare(args) => compare(&args),
        Command::List { name } => list(name.as_deref()),
        Command::Dovecot(args) => dovecot(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    let (target, profiles) = (args.target()?, args.load.profiles()?);
    let mut reports = Vec::new();
    for profile in &profiles {
        match loadtest::run(&target, profile, &args.load.options()) {
            Ok(report) => reports.push(report),
            // The others may still be worth their time.
            Err(error) if profiles.len() > 1 => eprintln!("loadtest: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    print(&table::reports(&reports))?;
    write(&args.load, || Ok(serde_json::to_string_pretty(&reports)?), || html::reports(&reports))
}

fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let (a, b) = (Target::parse(&args.a)?, Target::parse(&args.b)?);
    let profiles = args.load.profiles()?;
    let comparison = loadtest::compare(&a, &b, &profiles, usize::from(args.rounds), &args.load.options())?;
    print(&table::comparison(&comparison))?;
    write(&args.load, || Ok(serde_json::to_string_pretty(&comparison)?), || html::comparison(&comparison))
}

fn write(
    args: &LoadArgs,
    json: impl FnOnce() -> anyhow::Result<String>,
    html: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let save = |file: &Path, text: String| {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    if let Some(file) = &args.json {
        save(file, json()?)?;
    }
    if let Some(file) = &args.html {
        save(file, html())?;
    }
    Ok(())
}

fn list(name: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = name {
        let text = SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| *text);
        return print(text.with_context(|| format!("{name:?} is no built-in profile"))?);
    }
    let mut text = String::new();
    for (name, source) in SHIPPED {
        let profile = Profile::parse(source)?;
        text.push_str(&format!("{name:<20} {}\n", profile.about));
    }
    print(&text)
}

fn dovecot(args: DovecotArgs) -> anyhow::Result<()> {
    let tls = match (args.tls_port, args.cert, args.key) {
        (Some(port), Some(cert), Some(key)) => Some((port, cert.canonicalize()?, key.canonicalize()?)),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut server = Dovecot::start(&Settings {
            dir: args.dir,
            port: args.port,
            tls,
            users: args.user_pattern,
            count: args.users,
            password: args.password,
            scheme: args.scheme,
            fsync: args.fsync,
            layout: args.layout,
            plugins: args.plugins,
            connections: args.connections,
        })?;
        print(&format!("dovecot is ready on 127.0.0.1:{}, pid {}\n", args.port, server.pid()))?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {
                    anyhow::ensure!(!server.ended()?, "dovecot ended by itself; see its log");
                }
            }
        }
    })
}

/// A reader that closed the pipe wants no more; that is no failure of ours.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
