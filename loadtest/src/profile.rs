//! Profiles: what is asked of a server, as data.
//!
//! A profile is one TOML file. It says how many connections do what, on a folder of which size, for how long, and
//! may state what the measured server shall reach against the other one of a comparison. `loadtest list` shows
//! those that are built in; a path to another file serves as well.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::template::Template;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each built-in profile.
        pub const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../profiles/", $name, ".toml")))),*
        ];
    };
}

shipped![
    "append-1",
    "append-64",
    "append-shared-16",
    "multiappend",
    "fetch-16",
    "fetch-pipelined",
    "flag-64",
    "flag-all",
    "select-hot",
    "select-again",
    "select-cold",
    "flags-10k",
    "changed-since",
    "qresync",
    "status",
    "search-unseen",
    "search-header",
    "search-body",
    "login",
    "idle-notify",
    "idle-many",
    "mixed-phones",
    "mixed-phones-open",
    "flat-append",
    "flat-fetch",
    "flat-status",
    "list-status",
    "search-imdn",
    "search-text",
    "sort",
    "thread",
    "acl-get",
    "acl-set",
    "metadata-get",
    "metadata-set",
    "urlauth-make",
    "urlauth-fetch",
    "notify-status",
    "push-latency",
    "push-64",
];

/// Most connections of one run.
const CONNECTIONS_MAX: u32 = 60_000;
/// Most commands under way on one connection.
const DEPTH_MAX: u32 = 256;

/// One kind of load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it does and what its numbers mean, in a sentence or two.
    pub about: String,
    /// Which settings of the other server the bars are meant against, when not its defaults.
    #[serde(default)]
    pub against: String,
    /// How much and how long.
    #[serde(default)]
    pub load: Load,
    /// On which messages.
    #[serde(default)]
    pub folder: Folder,
    /// What each connection does, chosen by weight.
    pub work: Vec<Work>,
    /// The whole profile runs once for each of these folder sizes, instead of `folder.messages`.
    #[serde(default)]
    pub sweep: Vec<u32>,
    /// What the first server of a comparison shall reach.
    #[serde(default)]
    pub want: Want,
}

/// How much and how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Connections.
    pub connections: u32,
    /// Commands under way on each connection.
    pub depth: u32,
    /// Measured time, seconds.
    pub duration_s: f64,
    /// Time before it that is not measured, seconds.
    pub warmup_s: f64,
    /// Open loop: operations a second over all connections, on a fixed schedule. Absent: closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Closed loop: stop after so many operations over all connections, whatever the time; `duration_s` and
    /// `warmup_s` then do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// Commands after each login.
    pub session: Vec<String>,
    /// Commands once a connection, before the measurement, after `session`.
    pub setup: Vec<String>,
    /// Least pause between two operations of one connection, milliseconds; up to twice as long, at random.
    pub pause_ms: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 16,
            depth: 1,
            duration_s: 10.0,
            warmup_s: 1.0,
            rate: None,
            operations: None,
            session: Vec::new(),
            setup: Vec::new(),
            pause_ms: 0,
        }
    }
}

/// How a folder gets its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Each is appended; all differ.
    #[default]
    Append,
    /// The first thousand are appended, then copied within the folder until there are enough.
    Copy,
}

/// Which messages the work finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Folder {
    /// Messages in the folder before the measurement.
    pub messages: u32,
    /// Octets of each message, and of appended ones.
    pub bytes: usize,
    /// How it is filled.
    pub fill: Fill,
    /// One folder of the first account for all connections; else each connection has its own account, as far as
    /// there are accounts, and its own folder.
    pub shared: bool,
    /// Empty folders below it.
    pub children: u32,
    /// The work adds messages: the folder is made for one run and removed after it. Other folders are kept and
    /// found again by later runs.
    pub grows: bool,
}

impl Default for Folder {
    fn default() -> Self {
        Self { messages: 0, bytes: 2_048, fill: Fill::Append, shared: false, children: 0, grows: false }
    }
}

/// What one operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// APPEND of `messages` messages, more than one by MULTIAPPEND.
    Append,
    /// `command`.
    Command,
    /// Connect, LOGIN, LOGOUT, close; each time as another account.
    Login,
    /// Two connections on one folder: one idles, the other appends. With a `command`, such as NOTIFY, the first sends
    /// that with no folder selected, and hears of the message by STATUS.
    Notify,
    /// APPEND, and then the notice of it that the server posts to this program as its PUSH enabler.
    Push,
    /// The connection logs in, selects its folder, starts IDLE and stays: memory is what is measured.
    Idle,
}

/// One kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Its name in tables.
    pub name: String,
    /// What it is.
    pub action: Action,
    /// How often it is chosen, against the others of the profile.
    #[serde(default = "one")]
    pub weight: u32,
    /// The command to time; see [`Template`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Messages in one APPEND.
    #[serde(default = "one")]
    pub messages: u32,
    /// Commands before each operation; their time does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// After `before`, and before the command, a new session is opened; its time does not count.
    #[serde(default)]
    pub fresh_session: bool,
    /// The server's files are dropped from the page cache before the command, where its data directory is given.
    #[serde(default)]
    pub evict: bool,
    /// An answer with fewer untagged responses counts as an error: guards against measuring nothing.
    #[serde(default)]
    pub untagged_min: u32,
}

fn one() -> u32 {
    1
}

impl Work {
    /// Has it parts that are not measured, so that its operations cannot follow each other without a gap?
    pub fn has_gaps(&self) -> bool {
        !self.before.is_empty() || self.fresh_session || self.evict
    }

    /// Names of the latencies it gives.
    pub fn series(&self) -> Vec<String> {
        match self.action {
            Action::Notify if !self.command.is_empty() => {
                vec![format!("{}: OK to STATUS", self.name), format!("{}: sent to STATUS", self.name)]
            }
            Action::Notify => {
                vec![format!("{}: OK to EXISTS", self.name), format!("{}: sent to EXISTS", self.name)]
            }
            Action::Push => {
                vec![format!("{}: OK to enabler", self.name), format!("{}: sent to enabler", self.name)]
            }
            _ => vec![self.name.clone()],
        }
    }
}

/// What the first server (A) shall reach; printed as met or missed, never an error. Ratios are against the second
/// (B), for the profile's first series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Want {
    /// Least rate of A over rate of B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Least p50 latency of B over that of A.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup_p50: Option<f64>,
    /// Most server CPU of A per operation over that of B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Highest p50 latency of A, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Highest p99 latency of A, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Most private memory of A per connection in cleartext, KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<f64>,
    /// Most private memory of A per connection under TLS, KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_tls_kib: Option<f64>,
    /// With a sweep: highest p50 latency of A over all sizes against that of the first size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat: Option<f64>,
}

impl Profile {
    /// The built-in profile of that name, or the one in the file of that path.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn load(name_or_path: &str) -> anyhow::Result<Self> {
        if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text);
        }
        let text = std::fs::read_to_string(name_or_path).with_context(|| {
            format!(
                "{name_or_path:?} is neither a built-in profile (see `loadtest list`) nor a readable file"
            )
        })?;
        Self::parse(&text).with_context(|| format!("profile {name_or_path}"))
    }

    /// Reads and checks a profile.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let profile: Self = toml::from_str(text)?;
        profile.check().with_context(|| format!("profile {:?}", profile.name))?;
        Ok(profile)
    }

    /// Checks what the types do not; run again after fields were overridden.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> anyhow::Result<()> {
        let load = &self.load;
        if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            bail!("a name is made of letters, digits and `-`");
        }
        if !(1..=CONNECTIONS_MAX).contains(&load.connections) {
            bail!("connections must be 1 to {CONNECTIONS_MAX}");
        }
        if !(1..=DEPTH_MAX).contains(&load.depth) {
            bail!("depth must be 1 to {DEPTH_MAX}");
        }
        if !(0.05..=86_400.0).contains(&load.duration_s) || !(0.0..=3_600.0).contains(&load.warmup_s) {
            bail!("duration_s must be 0.05 to 86400, warmup_s 0 to 3600");
        }
        if load.rate.is_some_and(|rate| !(0.01..=10_000_000.0).contains(&rate)) {
            bail!("rate must be above 0");
        }
        if load.rate.is_some() && load.operations.is_some() {
            bail!("rate (open loop) and operations (closed loop) exclude each other");
        }
        if self.work.is_empty() || self.work.iter().all(|work| work.weight == 0) {
            bail!("there is no work");
        }
        let alone = |action| self.work.iter().any(|w| w.action == action) && self.work.len() > 1;
        if [Action::Notify, Action::Idle, Action::Login, Action::Push].into_iter().any(alone) {
            bail!("notify, push, idle and login cannot be mixed with other work");
        }
        for work in &self.work {
            if work.action != Action::Notify && (work.action == Action::Command) == work.command.is_empty() {
                bail!(
                    "work {:?}: action \"command\" has a command, \"notify\" may, others have none",
                    work.name
                );
            }
            if work.action != Action::Command && work.has_gaps() {
                bail!("work {:?}: before, fresh_session and evict go with action \"command\"", work.name);
            }
            if !(1..=10_000).contains(&work.messages) {
                bail!("work {:?}: messages must be 1 to 10000", work.name);
            }
            if load.depth > 1 && (work.has_gaps() || !matches!(work.action, Action::Command | Action::Append))
            {
                bail!("work {:?} cannot be pipelined: depth must be 1", work.name);
            }
            if matches!(work.action, Action::Append | Action::Notify | Action::Push) && !self.folder.grows {
                bail!("work {:?} adds messages: folder.grows must be true", work.name);
            }
        }
        for command in self.commands() {
            if Template::parse(command)?.needs_messages()
                && self.folder.messages == 0
                && self.sweep.is_empty()
            {
                bail!("{command:?} names messages, but folder.messages is 0");
            }
        }
        Ok(())
    }

    /// Every command text of the profile.
    pub fn commands(&self) -> impl Iterator<Item = &String> {
        let of_work = self
            .work
            .iter()
            .flat_map(|w| w.before.iter().chain((!w.command.is_empty()).then_some(&w.command)));
        self.load.session.iter().chain(&self.load.setup).chain(of_work)
    }

    /// The folder sizes to run with: the sweep, or the folder's own.
    pub fn sizes(&self) -> Vec<u32> {
        if self.sweep.is_empty() { vec![self.folder.messages] } else { self.sweep.clone() }
    }

    /// Names of the latencies of all work, in order.
    pub fn series(&self) -> Vec<String> {
        self.work.iter().flat_map(Work::series).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_sound_and_named_after_its_file() {
        for (name, text) in SHIPPED {
            let profile = Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(profile.name, *name);
            assert!(profile.about.len() > 20, "{name}: say what it measures");
            let again: Profile = toml::from_str(&toml::to_string(&profile).unwrap()).unwrap();
            assert_eq!(again, profile);
        }
    }

    #[test]
    fn every_profile_file_is_shipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut shipped: Vec<String> = SHIPPED.iter().map(|(name, _)| format!("{name}.toml")).collect();
        shipped.sort();
        assert_eq!(files, shipped);
    }

    fn profile(rest: &str) -> anyhow::Result<Profile> {
        Profile::parse(&format!("name = \"x\"\nabout = \"y\"\n{rest}"))
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let noop = "[[work]]\nname = \"n\"\naction = \"command\"\ncommand = \"NOOP\"\n";
        assert!(profile(noop).is_ok());
        for (rest, says) in [
            ("work = []".to_owned(), "no work"),
            (format!("[load]\ndepth = 0\n{noop}"), "depth"),
            (format!("[load]\nrate = 5.0\noperations = 5\n{noop}"), "exclude"),
            (format!("[load]\nspeed = 5\n{noop}"), "unknown field"),
            (format!("[load]\ndepth = 4\n{noop}fresh_session = true"), "pipelined"),
            (noop.replace("NOOP", "FETCH {uid} (FLAGS)"), "names messages"),
            (noop.replace("NOOP", "FETCH {what}"), "places"),
            ("[[work]]\nname = \"a\"\naction = \"append\"".to_owned(), "grows"),
            (format!("{noop}{}", noop.replace("\"command\"", "\"login\"")), "mixed"),
        ] {
            let error = format!("{:#}", profile(&rest).expect_err(&rest));
            assert!(error.contains(says), "{rest}: {error}");
        }
    }
}
