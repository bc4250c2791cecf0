//! `mss function`: who may act for subscribers.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use imap_server::credentials::derive_scram;
use imap_server::functions::{FunctionName, Functions, NetworkFunction, parse_network};
use ipnet::IpNet;

use super::account::{Password, read_password};
use crate::settings::{Overrides, Settings};

/// Add, change, list and remove network functions: programs of the operator that may act for every subscriber.
///
/// A network function logs in by SASL PLAIN or SCRAM-SHA-256 with its own name and password, and names the subscriber
/// as authorization identity. They stand in a text file, a line each, that the front ends read, also when it changes; it holds
/// SCRAM keys, no passwords, and is still a secret.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The file [default: network_functions.file of the settings]
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    /// TOML file of settings, for network_functions.file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a network function; the file is made if it is not there.
    Add {
        /// Letters, digits, '-', '_' and '.', a letter first.
        name: FunctionName,
        #[command(flatten)]
        password: Password,
        /// Where it connects from, as 192.0.2.0/24 or an address; may be given again [default: anywhere]
        #[arg(long, value_name = "NETWORK", value_parser = network)]
        from: Vec<IpNet>,
    },
    /// Set a new password.
    Passwd {
        /// Its name.
        name: FunctionName,
        #[command(flatten)]
        password: Password,
    },
    /// Print every name and where it may connect from, one a line.
    List,
    /// Remove a network function. Its open sessions stay until they end.
    Remove {
        /// Its name.
        name: FunctionName,
    },
}

fn network(text: &str) -> anyhow::Result<IpNet> {
    parse_network(text).context("it must be a network as 192.0.2.0/24 or 2001:db8::/32, or an address")
}

/// Runs one action.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(arguments.config.as_deref(), Overrides::default())?;
    let file = arguments.file.or(settings.network_functions.file).context(
        "network_functions.file is not set: name the file there, or by --file, as the front ends have it",
    )?;
    let adds = matches!(arguments.action, Action::Add { .. });
    let text = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && adds => String::new(),
        read => read.with_context(|| format!("{} cannot be read", file.display()))?,
    };
    check(&file, &text)?;
    let missing = |name: &FunctionName| anyhow::anyhow!("there is no network function {name}");
    match arguments.action {
        Action::Add { name, password, from } => {
            anyhow::ensure!(find(&text, &name).is_none(), "the network function {name} is there already");
            let line = NetworkFunction::line(&name, &derive_scram(&read_password(&password)?)?, &from);
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            write(&file, &format!("{text}{gap}{line}\n"))?;
            println!("{name}");
        }
        Action::Passwd { name, password } => {
            let function = find(&text, &name).ok_or_else(|| missing(&name))?;
            let verifier = derive_scram(&read_password(&password)?)?;
            write(
                &file,
                &replace(&text, &name, Some(&NetworkFunction::line(&name, &verifier, &function.from))),
            )?;
        }
        Action::List => {
            for function in functions(&text) {
                let from: Vec<_> = function.from.iter().map(IpNet::to_string).collect();
                let from = if from.is_empty() { "anywhere".to_owned() } else { from.join(",") };
                println!("{}\t{from}", function.name);
            }
        }
        Action::Remove { name } => {
            find(&text, &name).ok_or_else(|| missing(&name))?;
            write(&file, &replace(&text, &name, None))?;
        }
    }
    Ok(())
}

/// The network functions of a file.
///
/// # Errors
/// One sentence that names the file and the line.
pub fn load(file: &Path) -> anyhow::Result<Functions> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    check(file, &text)
}

fn check(file: &Path, text: &str) -> anyhow::Result<Functions> {
    Functions::parse(text).map_err(|(line, error)| anyhow::anyhow!("{} line {line}: {error}", file.display()))
}

fn functions(text: &str) -> impl Iterator<Item = NetworkFunction> {
    text.lines().filter_map(|line| NetworkFunction::parse(line).ok())
}

fn find(text: &str, name: &FunctionName) -> Option<NetworkFunction> {
    functions(text).find(|function| function.name == *name)
}

/// The text with another line for this name, or none; remarks stay.
fn replace(text: &str, name: &FunctionName, line: Option<&str>) -> String {
    let mut replaced = String::with_capacity(text.len() + 256);
    for old in text.lines() {
        let is_it = old.split_ascii_whitespace().next() == Some(name.as_str());
        if let Some(kept) = if is_it { line } else { Some(old) } {
            replaced.push_str(kept);
            replaced.push('\n');
        }
    }
    replaced
}

/// Puts the text in the file's place, whole or not at all, for those who could read it before: its owner, its mode. A
/// new file is its maker's alone.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let told = || format!("{} cannot be written", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(told)?;
    if let Ok(old) = std::fs::metadata(file) {
        new.as_file().set_permissions(old.permissions()).with_context(told)?;
        let made = new.as_file().metadata().with_context(told)?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid())).with_context(told)?;
        }
    }
    new.write_all(text.as_bytes()).with_context(told)?;
    new.as_file().sync_all().with_context(told)?;
    new.persist(file).with_context(told)?;
    Ok(())
}
