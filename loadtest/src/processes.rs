//! The CPU time and memory of a server's processes, from `/proc`.
//!
//! A server may be many processes that come and go. Each source names roots; a root counts with all its
//! descendants. CPU time is the sum over these of their own time and of the children they have reaped
//! (`utime stime cutime cstime`): when a process ends, its time moves to its parent's reaped time, so the sum of a
//! tree loses nothing between two looks, however short-lived the processes were.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::str::FromStr;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Which processes are the server's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProcessSource {
    /// Those that listen on the target's port on this machine.
    #[default]
    Auto,
    /// None: CPU and memory are left out.
    None,
    /// These and their descendants.
    Pids(Vec<u32>),
    /// Those whose name or command line contains the text, and their descendants.
    Match(String),
}

impl FromStr for ProcessSource {
    type Err = anyhow::Error;

    /// `auto`, `none`, `match:TEXT`, or pids joined with `+`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => {
                if let Some(name) = text.strip_prefix("match:").filter(|name| !name.is_empty()) {
                    return Ok(Self::Match(name.to_owned()));
                }
                let pids: Result<Vec<u32>, _> = text.split('+').map(str::parse).collect();
                Ok(Self::Pids(pids.context("pid is auto, none, match:TEXT or 12+34")?))
            }
        }
    }
}

impl TryFrom<String> for ProcessSource {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProcessSource> for String {
    fn from(source: ProcessSource) -> Self {
        match source {
            ProcessSource::Auto => "auto".to_owned(),
            ProcessSource::None => "none".to_owned(),
            ProcessSource::Match(text) => format!("match:{text}"),
            ProcessSource::Pids(pids) => pids.iter().map(u32::to_string).collect::<Vec<_>>().join("+"),
        }
    }
}

/// Memory of a set of processes, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Processes counted.
    pub processes: u64,
    /// Resident, pages shared between processes counted in each.
    pub rss: u64,
    /// Resident, pages shared between processes divided among them.
    pub pss: u64,
    /// Resident in one process alone: what would be free again without it.
    pub private: u64,
}

/// The roots found for a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSet {
    roots: BTreeSet<u32>,
}

impl ProcessSet {
    /// Finds the roots now. Empty when there are none; this process and its ancestors are never among them.
    pub fn find(source: &ProcessSource, port: u16) -> Self {
        let mut roots: BTreeSet<u32> = match source {
            ProcessSource::None => BTreeSet::new(),
            ProcessSource::Pids(pids) => pids.iter().copied().collect(),
            ProcessSource::Match(text) => pids().filter(|&pid| named(pid, text)).collect(),
            ProcessSource::Auto => {
                let sockets = listening_sockets(port);
                if sockets.is_empty() {
                    BTreeSet::new()
                } else {
                    pids().filter(|&pid| holds_socket(pid, &sockets)).collect()
                }
            }
        };
        if matches!(source, ProcessSource::Match(_)) {
            let parents = parents();
            let mut own = std::process::id();
            while own != 0 {
                roots.remove(&own);
                own = parents.get(&own).copied().unwrap_or(0);
            }
        }
        Self { roots }
    }

    /// Is there no process at all?
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// CPU seconds used so far by all of them and by their children that ended.
    pub fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.members().into_iter().filter_map(|pid| stat(pid).map(|s| s.cpu_ticks)).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
    }

    /// Their memory now.
    pub fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for pid in self.members() {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let memory = parse_rollup(&text);
            sum.processes += 1;
            sum.rss += memory.rss;
            sum.pss += memory.pss;
            sum.private += memory.private;
        }
        sum
    }

    /// The roots and all their living descendants.
    fn members(&self) -> BTreeSet<u32> {
        if self.roots.is_empty() {
            return BTreeSet::new();
        }
        descendants(&self.roots, &parents())
    }
}

fn descendants(roots: &BTreeSet<u32>, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (&pid, &parent) in parents {
        children.entry(parent).or_default().push(pid);
    }
    let mut members: BTreeSet<u32> = BTreeSet::new();
    let mut open: Vec<u32> = roots.iter().copied().filter(|pid| parents.contains_key(pid)).collect();
    while let Some(pid) = open.pop() {
        if members.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    members
}

/// CPU seconds of this process so far.
pub fn own_cpu_seconds() -> f64 {
    let ticks = stat(std::process::id()).map_or(0, |s| s.own_ticks);
    ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

fn parents() -> BTreeMap<u32, u32> {
    pids().filter_map(|pid| stat(pid).map(|s| (pid, s.parent))).collect()
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    cpu_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields of `/proc/<pid>/stat` (proc_pid_stat(5)): 4 is the parent, 14 to 17 are utime, stime, cutime, cstime. The
/// name, field 2, may contain anything, so fields are counted from its closing parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let mut ticks = fields.skip(9).map_while(|field| field.parse::<u64>().ok());
    let (user, system, reaped_user, reaped_system) =
        (ticks.next()?, ticks.next()?, ticks.next()?, ticks.next()?);
    Some(Stat { parent, own_ticks: user + system, cpu_ticks: user + system + reaped_user + reaped_system })
}

fn parse_rollup(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib: u64 = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        match name {
            "Rss" => memory.rss += kib * 1024,
            "Pss" => memory.pss += kib * 1024,
            "Private_Clean" | "Private_Dirty" => memory.private += kib * 1024,
            _ => {}
        }
    }
    memory
}

fn named(pid: u32, text: &str) -> bool {
    let contains = |file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|octets| String::from_utf8_lossy(&octets).replace('\0', " ").contains(text))
    };
    contains("comm") || contains("cmdline")
}

fn listening_sockets(port: u16) -> BTreeSet<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| parse_listening(&text, port))
        .collect()
}

/// The socket inodes of `/proc/net/tcp` (proc_net_tcp in the kernel's documentation) that listen (state 0A) on `port`.
fn parse_listening(text: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A";
            listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
        })
        .collect()
}

fn holds_socket(pid: u32, sockets: &BTreeSet<String>) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_str().is_some_and(|name| sockets.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_parentheses() {
        let text = "77 (a) b) (c) S 5 77 77 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 1 0 9";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.own_ticks, stat.cpu_ticks), (5, 120, 154));
    }

    #[test]
    fn a_tree_is_the_roots_and_all_below() {
        let parents = BTreeMap::from([(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (30, 12)]);
        assert_eq!(descendants(&BTreeSet::from([10, 99]), &parents), BTreeSet::from([10, 11, 12, 30]));
    }

    #[test]
    fn a_child_that_ended_still_counts() {
        let set = ProcessSet { roots: BTreeSet::from([std::process::id()]) };
        let before = set.cpu_seconds();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"])
            .spawn()
            .unwrap();
        child.wait().unwrap();
        assert!(set.cpu_seconds() > before);
        assert!(set.memory().private > 0);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let set = ProcessSet::find(&ProcessSource::Auto, listener.local_addr().unwrap().port());
        assert_eq!(set.roots, BTreeSet::from([std::process::id()]));
    }

    #[test]
    fn a_rollup_is_summed_by_kind() {
        let text = "1-2 ---p 0 0:0 0 [rollup]\nRss:  100 kB\nPss:  60 kB\nPrivate_Clean: 5 kB\nPrivate_Dirty: 45 kB\n";
        let memory = parse_rollup(text);
        assert_eq!((memory.rss, memory.pss, memory.private), (102_400, 61_440, 51_200));
    }

    #[test]
    fn sources_are_read_and_written() {
        for text in ["auto", "none", "12+34", "match:dovecot"] {
            let source: ProcessSource = text.parse().unwrap();
            assert_eq!(String::from(source), text);
        }
        assert!("match:".parse::<ProcessSource>().is_err());
    }
}
