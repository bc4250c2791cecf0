//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::Options;
use crate::profile::Profile;
use crate::target::{Target, Tls};
use crate::users::UserPattern;

/// Load generator and comparer for IMAP servers.
///
/// Runs profiles against any IMAP server and reports rates, latency percentiles (HDR histograms), and the CPU time and
/// memory of the server's processes where they run on this machine. Folders that a profile needs are made and filled
/// beforehand and not counted.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs profiles against one server.
    #[command(after_help = "Example:\n  loadtest run --target 127.0.0.1:1143 --users 'tel:+1555{n:07}' \
        --user-count 64 --password secret \\\n      --profile append-64 --profile fetch-16 --html report.html")]
    Run(RunArgs),
    /// Runs profiles against two servers in alternation (A B A B ...) and prints medians and ratios.
    ///
    /// A profile may state what A shall reach; the table says whether it was met. That is never an error.
    #[command(after_help = "A server is a TOML file (name ending in .toml) or\n  \
        HOST:PORT[,name=TEXT][,users=PATTERN][,count=N][,password=TEXT][,tls=none|implicit|starttls]\n           \
        [,pid=auto|none|match:TEXT|12+34][,data=DIR][,quickack][,push=HOST:PORT]\n\n\
        Example:\n  loadtest compare --a 127.0.0.1:1143,name=mss,users='tel:+1555{n:07}',count=64,password=secret \\\n      \
        --b 127.0.0.1:2143,name=dovecot,users='user{n}',count=64,password=secret --profile append-64")]
    Compare(CompareArgs),
    /// Lists the built-in profiles, or prints one as a start for another.
    List {
        /// Print this profile's file.
        name: Option<String>,
    },
    /// Runs Debian's Dovecot in a directory of its own on loopback, to compare with, until Ctrl-C or SIGTERM.
    ///
    /// Needs the package dovecot-imapd. Prints one line when ready. What is in the directory is kept, so that later runs
    /// find their folders again. As root the mail belongs to `nobody`.
    Dovecot(DovecotArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The server: HOST:PORT, or a whole description as `compare` takes it.
    #[arg(long, value_name = "SERVER")]
    pub target: String,
    /// TLS from the first octet. The certificate is not verified.
    #[arg(long)]
    pub tls: bool,
    /// The accounts' names; {n} is the number from 1, {n:07} with at least seven digits.
    #[arg(long, value_name = "PATTERN")]
    pub users: Option<UserPattern>,
    /// How many accounts there are.
    #[arg(long, value_name = "N")]
    pub user_count: Option<u32>,
    /// The password of all accounts.
    #[arg(long, env = "LOADTEST_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// The server's processes: auto (who listens on the port), none, match:TEXT (name or command line), or 12+34.
    /// Each counts with all its descendants.
    #[arg(long, value_name = "WHICH")]
    pub pid: Option<crate::processes::ProcessSource>,
    /// The server's data directory, for profiles that drop its files from the page cache.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What, how much, and where to.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The server that is judged.
    #[arg(long, value_name = "SERVER")]
    pub a: String,
    /// The server it is judged against.
    #[arg(long, value_name = "SERVER")]
    pub b: String,
    /// How often each server runs each profile.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// What, how much, and where to.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What, how much, and where to.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// A built-in profile, a file, or `all`; may be given more than once.
    #[arg(long = "profile", required = true, value_name = "NAME_OR_FILE")]
    pub profiles: Vec<String>,
    /// Connections, instead of the profile's.
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,
    /// Measured seconds, instead of the profile's.
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Unmeasured seconds before, instead of the profile's.
    #[arg(long, value_name = "SECONDS")]
    pub warmup: Option<f64>,
    /// Operations a second in open loop, instead of the profile's; 0 for closed loop.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Commands under way on each connection, instead of the profile's.
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,
    /// Number of operations, instead of a duration.
    #[arg(long, value_name = "N")]
    pub operations: Option<u64>,
    /// Messages in each folder, instead of the profile's; of a sweep, the only size.
    #[arg(long, value_name = "N")]
    pub messages: Option<u32>,
    /// Octets of each message, instead of the profile's.
    #[arg(long, value_name = "N")]
    pub bytes: Option<usize>,
    /// Threads of this client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Decides which messages are chosen.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one self-contained page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No progress on the terminal.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `dovecot`.
#[derive(Debug, Args)]
pub struct DovecotArgs {
    /// Everything it writes is below; made when missing.
    #[arg(long)]
    pub dir: PathBuf,
    /// Cleartext port on 127.0.0.1.
    #[arg(long, default_value_t = 2143)]
    pub port: u16,
    /// TLS port on 127.0.0.1; needs --cert and --key.
    #[arg(long, requires_all = ["cert", "key"])]
    pub tls_port: Option<u16>,
    /// Certificate chain, PEM.
    #[arg(long, requires = "tls_port")]
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    #[arg(long, requires = "tls_port")]
    pub key: Option<PathBuf>,
    /// How many users.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub users: u32,
    /// Their names; a colon is not possible.
    #[arg(long, default_value = "user{n}")]
    pub user_pattern: UserPattern,
    /// Their password.
    #[arg(long, env = "LOADTEST_PASSWORD", hide_env_values = true, default_value = "secret")]
    pub password: String,
    /// Password scheme: SHA512-CRYPT, BLF-CRYPT, ARGON2ID, PLAIN, ... (see `doveadm pw -l`).
    #[arg(long, default_value = "SHA512-CRYPT")]
    pub scheme: String,
    /// mail_fsync; the package's default is optimized.
    #[arg(long, default_value = "optimized", value_parser = ["optimized", "always", "never"])]
    pub fsync: String,
    /// Mailbox format.
    #[arg(long, default_value = "sdbox", value_parser = ["sdbox", "mdbox", "maildir"])]
    pub layout: String,
    /// With ACL, METADATA and URLAUTH, for the profiles about these.
    #[arg(long)]
    pub plugins: bool,
    /// Connections to make room for.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
}

impl RunArgs {
    /// The server they describe.
    ///
    /// # Errors
    /// See [`Target::parse`].
    pub fn target(&self) -> anyhow::Result<Target> {
        let mut target = Target::parse(&self.target)?;
        if self.tls {
            target.tls = Tls::Implicit;
        }
        if let Some(users) = &self.users {
            target.users = users.clone();
        }
        if let Some(count) = self.user_count {
            anyhow::ensure!(count > 0, "--user-count must be at least 1");
            target.count = count;
        }
        if let Some(password) = &self.password {
            target.password.clone_from(password);
        }
        if let Some(pid) = &self.pid {
            target.pid = pid.clone();
        }
        if self.data.is_some() {
            target.data.clone_from(&self.data);
        }
        Ok(target)
    }
}

impl LoadArgs {
    /// The profiles, with the overrides applied and checked.
    ///
    /// # Errors
    /// See [`Profile::load`] and [`Profile::check`].
    pub fn profiles(&self) -> anyhow::Result<Vec<Profile>> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.profiles {
            if name == "all" {
                names.extend(crate::profile::SHIPPED.iter().map(|(name, _)| *name));
            } else {
                names.push(name);
            }
        }
        names.into_iter().map(|name| self.applied(Profile::load(name)?)).collect()
    }

    fn applied(&self, mut profile: Profile) -> anyhow::Result<Profile> {
        let load = &mut profile.load;
        if let Some(connections) = self.connections {
            load.connections = connections;
        }
        if let Some(duration) = self.duration {
            load.duration_s = duration;
            load.operations = None;
        }
        if let Some(warmup) = self.warmup {
            load.warmup_s = warmup;
        }
        if let Some(rate) = self.rate {
            load.rate = (rate > 0.0).then_some(rate);
            load.operations = None;
        }
        if let Some(depth) = self.depth {
            load.depth = depth;
        }
        if let Some(operations) = self.operations {
            load.operations = Some(operations);
        }
        if let Some(messages) = self.messages {
            profile.folder.messages = messages;
            profile.sweep.clear();
        }
        if let Some(bytes) = self.bytes {
            profile.folder.bytes = bytes;
        }
        profile.check()?;
        Ok(profile)
    }

    /// How to run.
    pub fn options(&self) -> Options {
        Options { threads: self.threads, quiet: self.quiet, seed: self.seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn overrides_apply_and_are_checked() {
        let parse = |extra: &[&str]| {
            let given = ["loadtest", "run", "--target", "h:1,count=3", "--tls", "--profile", "multiappend"];
            let Command::Run(run) = Cli::try_parse_from(given.iter().chain(extra)).unwrap().command else {
                panic!()
            };
            run
        };
        let run = parse(&["--duration", "2", "--connections", "5", "--user-count", "9"]);
        let profile = &run.load.profiles().unwrap()[0];
        assert_eq!((profile.load.operations, profile.load.connections), (None, 5));
        let target = run.target().unwrap();
        assert_eq!((target.count, target.tls), (9, Tls::Implicit));
        assert!(parse(&["--depth", "0"]).load.profiles().is_err());
    }
}
