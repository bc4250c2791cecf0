//! One process of the `mss` binary, and the binary itself.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::clients;
use crate::server::{ServerError, io};

/// A role of `mss` that runs until it is told to end, and says in one line where it listens.
pub struct Process {
    role: String,
    arguments: Vec<OsString>,
    listeners: Vec<Listener>,
    settings: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

/// Where a process listens, of those that its role has.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The flag that takes the address.
    flag: &'static str,
    /// Its word in the ready line.
    word: &'static str,
    address: SocketAddr,
}

impl Listener {
    /// A port of the system's choice on loopback.
    pub fn any(flag: &'static str, word: &'static str) -> Self {
        Self { flag, word, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

impl Process {
    /// Starts `mss ROLE ARGUMENTS` and waits for the line that says it is ready. What it says on standard error is added
    /// to `log`.
    ///
    /// # Errors
    /// When it ends before it is ready; the text has what it said.
    pub fn start(
        role: &str,
        arguments: Vec<OsString>,
        listeners: Vec<Listener>,
        settings: Vec<(String, String)>,
        log: PathBuf,
    ) -> Result<Self, ServerError> {
        let mut process = Self { role: role.to_owned(), arguments, listeners, settings, log, child: None };
        process.spawn()?;
        Ok(process)
    }

    /// Where it listens by that word of the ready line.
    ///
    /// # Errors
    /// When its role has no such listener.
    pub fn address(&self, word: &str) -> Result<SocketAddr, ServerError> {
        let found = self.listeners.iter().find(|listener| listener.word == word);
        found.map(|listener| listener.address).ok_or_else(|| {
            ServerError::Unexpected(format!("mss {} has no listener of the name {word}", self.role))
        })
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it logged so far, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as a power cut would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either it is there to be killed, or it has ended by itself: both are what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Tells it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or ends with another exit code than 0.
    pub fn terminate(&mut self) -> Result<(), ServerError> {
        let unexpected = |what: String| ServerError::Unexpected(format!("mss {}: {what}", self.role));
        let mut child = self.child.take().ok_or_else(|| unexpected("it does not run".to_owned()))?;
        let told = clients::run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        let status = child.wait().map_err(|error| io("mss", error))?;
        told.map_err(unexpected)?;
        if status.success() { Ok(()) } else { Err(unexpected(format!("{status}\n{}", self.log()))) }
    }

    /// Starts it again where it was, killed first if it runs; whoever knew its addresses finds it there.
    ///
    /// # Errors
    /// When it ends before it is ready.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.spawn()
    }

    /// Starts it again on ports of the system's choice, killed first if it runs.
    ///
    /// # Errors
    /// When it ends before it is ready.
    pub fn restart_elsewhere(&mut self) -> Result<(), ServerError> {
        for listener in &mut self.listeners {
            listener.address.set_port(0);
        }
        self.restart()
    }

    fn spawn(&mut self) -> Result<(), ServerError> {
        let program = binary()?;
        let opened = File::options().create(true).append(true).open(&self.log);
        let errors = opened.map_err(|error| io(&self.log.display().to_string(), error))?;
        let mut command = Command::new(&program);
        command.arg(&self.role);
        for listener in &self.listeners {
            command.args([listener.flag, &listener.address.to_string()]);
        }
        let mut child = command
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| io(&program.display().to_string(), error))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(ServerError::Unexpected("mss has no standard output".to_owned()));
        };
        let mut lines = BufReader::new(stdout);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let n = lines.read_line(&mut line).map_err(|error| io("the ready line", error))?;
            if n == 0 {
                // It ended before it was ready: say what it said.
                let _ = child.kill();
                let status = child.wait().map_err(|error| io("mss", error))?;
                return Err(ServerError::Unexpected(format!(
                    "mss {} ended before it was ready: {status}\n{said}{}",
                    self.role,
                    self.log()
                )));
            }
            if line.starts_with("ready ") {
                // Whatever else it prints must not fill the pipe and hold it up.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                self.child = Some(child);
                return self.learn(line.trim());
            }
            said.push_str(&line);
        }
    }

    fn learn(&mut self, ready: &str) -> Result<(), ServerError> {
        for listener in &mut self.listeners {
            listener.address = ready_address(ready, listener.word).ok_or_else(|| {
                ServerError::Unexpected(format!("no {} in the ready line: {ready}", listener.word))
            })?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `mss` to its end with this on standard input; its standard output.
pub fn run<A: AsRef<OsStr>>(arguments: &[A], input: &[u8]) -> Result<String, ServerError> {
    run_with(arguments, input, &[])
}

/// The same, with settings as environment variables.
pub fn run_with<A: AsRef<OsStr>>(
    arguments: &[A],
    input: &[u8],
    settings: &[(String, String)],
) -> Result<String, ServerError> {
    let program = binary()?;
    let mut process = Command::new(&program)
        .args(arguments)
        .envs(settings.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io(&program.display().to_string(), error))?;
    if let Some(mut stdin) = process.stdin.take() {
        stdin.write_all(input).map_err(|error| io("standard input of mss", error))?;
    }
    let output = process.wait_with_output().map_err(|error| io("mss", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let shown: Vec<String> = arguments.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
    Err(ServerError::Unexpected(format!(
        "mss {}: {}\n{text}{}",
        shown.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )))
}

fn ready_address(ready: &str, word: &str) -> Option<SocketAddr> {
    ready.split_whitespace().find_map(|said| said.strip_prefix(word)?.strip_prefix('=')?.parse().ok())
}

/// The `mss` binary, built once if nobody names one.
pub fn binary() -> Result<PathBuf, ServerError> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone().map_err(ServerError::Unexpected)
}

fn build() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("MSS_BIN") {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("MSS_BIN: {} is no file", named.display()))
        };
    }
    let mut process = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "mss", "--bin", "mss", "--message-format", "json-render-diagnostics"])
        .args(if cfg!(feature = "psk") { &["--features", "psk"][..] } else { &[] })
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo: {error}"))?;
    let mut messages = String::new();
    if let Some(mut stdout) = process.stdout.take() {
        stdout.read_to_string(&mut messages).map_err(|error| format!("cargo: {error}"))?;
    }
    let status = process.wait().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo build --package mss: {status}"));
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "mss")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no mss executable".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_addresses() {
        let line = "ready imap=127.0.0.1:4143 imaps=- admin=127.0.0.1:9 rpc=-";
        assert_eq!(ready_address(line, "imap"), "127.0.0.1:4143".parse().ok());
        assert_eq!(ready_address(line, "imaps"), None);
        assert_eq!(ready_address(line, "admin"), "127.0.0.1:9".parse().ok());
    }
}
