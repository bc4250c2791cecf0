//! The FoundationDB that tests may use, and its death.
//!
//! `MSS_FDB_CLUSTER_FILE` names its cluster file, and `MSS_FDB_LIBRARY` the client library if the loader does not find
//! it. Tests write under key prefixes of their own and leave them there: the cluster should be one that is thrown away.
//! Those that kill its processes need `fdbcli` on the path (or named by `MSS_FDBCLI`), processes on this machine, and
//! something that starts them again, as `fdbmonitor` does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::patience;
use crate::clients;

/// The cluster file that tests may use.
///
/// # Errors
/// One sentence when the variable is not set, or names no file.
pub fn cluster_file() -> Result<PathBuf, String> {
    let named = std::env::var_os("MSS_FDB_CLUSTER_FILE")
        .ok_or("MSS_FDB_CLUSTER_FILE is not set: it names the cluster file of a FoundationDB for tests")?;
    let path = PathBuf::from(named);
    path.canonicalize().map_err(|error| format!("MSS_FDB_CLUSTER_FILE: {}: {error}", path.display()))
}

/// Settings for the processes of one test: the client library, and a key prefix of the test's own, told by the name of
/// its temporary folder.
pub fn settings(folder: &Path) -> Vec<(String, String)> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let mut settings = vec![("MSS_FDB__PREFIX".to_owned(), format!("test{}/", name.trim_start_matches('.')))];
    if let Ok(library) = std::env::var("MSS_FDB_LIBRARY") {
        settings.push(("MSS_FDB__LIBRARY".to_owned(), library));
    }
    settings
}

/// Its server processes on this machine: those whose command line names the cluster file.
pub fn processes(cluster_file: &Path) -> Vec<u32> {
    let is_server = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> =
            line.split(|octet| *octet == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let program = Path::new(words.first().map_or("", String::as_str));
        program.file_name().is_some_and(|name| name == "fdbserver")
            && words.iter().any(|word| {
                let path = word.split_once('=').map_or(word.as_str(), |(_, path)| path);
                Path::new(path).canonicalize().is_ok_and(|path| path == cluster_file)
            })
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_server).collect()
}

/// Kills one of its processes with SIGKILL, and waits until it was started again.
///
/// # Errors
/// When there is none, or nobody starts it again.
pub fn kill_one(cluster_file: &Path, which: usize) -> Result<(), String> {
    let before = processes(cluster_file);
    let pid = *before.get(which % before.len().max(1)).ok_or("no fdbserver of this cluster runs here")?;
    clients::run(Command::new("kill").args(["-KILL", &pid.to_string()]))?;
    wait_for_others(cluster_file, &[pid], before.len())
}

/// Has the cluster end all of its processes at once (`kill all` of `fdbcli`), and waits until they were started again.
///
/// # Errors
/// When `fdbcli` fails, or nobody starts them again.
pub fn kill_all(cluster_file: &Path) -> Result<(), String> {
    let before = processes(cluster_file);
    // The first lists the processes, which `all` refers to; without the last fdbcli is gone before it has told them.
    cli(cluster_file, "kill; kill all; sleep 2")?;
    wait_for_others(cluster_file, &before, before.len())
}

/// What `fdbcli` prints for these commands.
///
/// # Errors
/// When it cannot be run, or fails.
pub fn cli(cluster_file: &Path, commands: &str) -> Result<String, String> {
    let program = std::env::var_os("MSS_FDBCLI").unwrap_or_else(|| "fdbcli".into());
    let mut command = Command::new(program);
    command.arg("-C").arg(cluster_file).args(["--timeout", "60", "--exec", commands]);
    clients::run(&mut command).map_err(|error| format!("fdbcli (MSS_FDBCLI names it): {error}"))
}

fn wait_for_others(cluster_file: &Path, gone: &[u32], count: usize) -> Result<(), String> {
    let deadline = Instant::now() + patience();
    loop {
        let now = processes(cluster_file);
        if now.len() >= count && gone.iter().all(|pid| !now.contains(pid)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{} of {count} fdbserver run: nothing starts them again", now.len()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
