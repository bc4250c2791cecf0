//! The server under test: a process of our own making, or an address somebody gives.
//!
//! | variable | meaning |
//! |---|---|
//! | `MSS_IMAP_ADDR` | address of a running server; with it none is started |
//! | `MSS_IMAP_USER` | names of its accounts, `%d` for a number; `tel:+1555%07d` style zero padding works |
//! | `MSS_IMAP_PASSWORD` | the password of all of them |
//! | `MSS_BIN` | the `mss` binary; without it `cargo build -p mss` is run once |

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::client::patience;

/// A name and its password.
#[derive(Debug, Clone)]
pub struct User {
    /// What LOGIN takes.
    pub name: String,
    /// In clear.
    pub password: String,
}

const PASSWORD: &str = "correct horse";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Reading, writing or starting failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The program said or did something else than it should.
    #[error("{0}")]
    Unexpected(String),
}

/// A running server.
pub struct Server {
    /// Cleartext IMAP.
    pub imap: SocketAddr,
    /// IMAP with implicit TLS, if there is.
    pub imaps: Option<SocketAddr>,
    /// Metrics and health, if there is.
    pub admin: Option<SocketAddr>,
    /// The certificate of TLS, DER, of a server of our own.
    pub certificate: Option<Vec<u8>>,
    process: Option<Child>,
    /// Kept so that the folder lives as long as the server.
    folder: Option<tempfile::TempDir>,
    /// Where the data is, if not in `folder`.
    data: Option<PathBuf>,
    settings: Vec<(String, String)>,
    log: Option<PathBuf>,
    users: String,
    password: String,
    next_user: AtomicU32,
}

/// How a server of our own is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its data; a temporary folder if none.
    pub data: Option<PathBuf>,
    /// Settings for `mss serve`, as environment variables.
    pub settings: Vec<(String, String)>,
    /// How many accounts are made before the start; none for a data folder that has them.
    pub accounts: u32,
}

impl Server {
    /// The server the environment names, or one of our own with so many accounts.
    pub fn under_test(accounts: u32) -> Result<Self, ServerError> {
        match std::env::var("MSS_IMAP_ADDR") {
            Ok(address) => Self::external(&address),
            Err(_) => {
                // A quota, so that there are roots to ask for; more than any test stores.
                let quota = [("MSS_QUOTA__BYTES", "1000000000"), ("MSS_QUOTA__MESSAGES", "100000")];
                let settings = quota.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
                Self::start(&Options { settings, accounts, ..Options::default() })
            }
        }
    }

    /// Whether this is a server we started, so that it must have every extension.
    pub fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// A server that runs already.
    pub fn external(address: &str) -> Result<Self, ServerError> {
        let imap = address
            .to_socket_addrs()
            .map_err(|error| ServerError::Io { what: address.to_owned(), error })?
            .next()
            .ok_or_else(|| ServerError::Unexpected(format!("{address} names no address")))?;
        Ok(Self {
            imap,
            imaps: None,
            admin: None,
            certificate: None,
            process: None,
            folder: None,
            data: None,
            settings: Vec::new(),
            log: None,
            users: std::env::var("MSS_IMAP_USER").unwrap_or_else(|_| "tel:+1555%07d".to_owned()),
            password: std::env::var("MSS_IMAP_PASSWORD").unwrap_or_else(|_| PASSWORD.to_owned()),
            next_user: AtomicU32::new(1),
        })
    }

    /// Starts `mss serve` on ports of its choice and waits for the line that says it is ready.
    pub fn start(options: &Options) -> Result<Self, ServerError> {
        let folder = tempfile::tempdir().map_err(|error| io("a temporary folder", error))?;
        let data = options.data.clone().unwrap_or_else(|| folder.path().join("data"));
        if options.accounts > 0 {
            let accounts = folder.path().join("accounts.csv");
            let mut file = File::create(&accounts).map_err(|error| io("accounts.csv", error))?;
            for number in 1..=options.accounts {
                writeln!(file, "tel:+1555{number:07},{PASSWORD}")
                    .map_err(|error| io("accounts.csv", error))?;
            }
            let accounts = accounts.display().to_string();
            let arguments = ["account", "import", &accounts, "--data", &data.display().to_string()];
            run_with(&arguments, b"", &options.settings)?;
        }
        let log = folder.path().join("log");
        let certificate = make_certificate(folder.path())?;
        let mut settings = tls_settings(folder.path());
        settings.extend(options.settings.iter().cloned());
        let (process, ready) = spawn(&data, &settings, &log)?;
        let address = |key: &str| ready_address(&ready, key);
        let imap = address("imap")
            .ok_or_else(|| ServerError::Unexpected(format!("no IMAP address in the ready line: {ready}")))?;
        Ok(Self {
            imap,
            imaps: address("imaps"),
            admin: address("admin"),
            certificate: Some(certificate),
            process: Some(process),
            folder: Some(folder),
            data: options.data.clone(),
            settings,
            log: Some(log),
            users: "tel:+1555%07d".to_owned(),
            password: PASSWORD.to_owned(),
            next_user: AtomicU32::new(1),
        })
    }

    /// A server process of another make; its `folder` is removed with it.
    pub fn foreign(
        process: Child,
        folder: tempfile::TempDir,
        imap: SocketAddr,
        users: &str,
        password: &str,
    ) -> Self {
        Self {
            imap,
            imaps: None,
            admin: None,
            certificate: None,
            process: Some(process),
            folder: Some(folder),
            data: None,
            settings: Vec::new(),
            log: None,
            users: users.to_owned(),
            password: password.to_owned(),
            next_user: AtomicU32::new(1),
        }
    }

    /// An account that nobody had before.
    pub fn fresh_user(&self) -> User {
        self.user(self.next_user.fetch_add(1, Ordering::Relaxed))
    }

    /// The account of this number.
    pub fn user(&self, number: u32) -> User {
        User { name: numbered(&self.users, number), password: self.password.clone() }
    }

    /// Process id, for tests that look at memory or send signals.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The folder of the server's own files, for what a test wants to put beside them.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(tempfile::TempDir::path)
    }

    /// Where its data is, if it is ours.
    pub fn data(&self) -> Option<PathBuf> {
        self.data.clone().or_else(|| self.folder().map(|folder| folder.join("data")))
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default()
    }

    /// Resident memory in octets, from `/proc`.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Starts another process on the data of one that was killed; addresses are new, accounts and settings the same.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        let (Some(folder), Some(log)) = (&self.folder, &self.log) else {
            return Err(ServerError::Unexpected("not a server of our own".to_owned()));
        };
        let data = self.data.clone().unwrap_or_else(|| folder.path().join("data"));
        let (process, ready) = spawn(&data, &self.settings, log)?;
        self.imap = ready_address(&ready, "imap")
            .ok_or_else(|| ServerError::Unexpected(format!("no IMAP address in the ready line: {ready}")))?;
        self.imaps = ready_address(&ready, "imaps");
        self.admin = ready_address(&ready, "admin");
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process as a power cut would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Either the process is there to be killed, or it has ended by itself: both are what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `pattern` with the number in the place of `%d` or `%0Nd`.
fn numbered(pattern: &str, number: u32) -> String {
    let Some((before, rest)) = pattern.split_once('%') else { return pattern.to_owned() };
    let Some((width, after)) = rest.split_once('d') else { return pattern.to_owned() };
    let width: usize = width.parse().unwrap_or(0);
    format!("{before}{number:0width$}{after}")
}

fn io(what: &str, error: std::io::Error) -> ServerError {
    ServerError::Io { what: what.to_owned(), error }
}

/// Runs `mss` to its end with this on standard input; its standard output.
pub fn run<A: AsRef<OsStr>>(arguments: &[A], input: &[u8]) -> Result<String, ServerError> {
    run_with(arguments, input, &[])
}

fn run_with<A: AsRef<OsStr>>(
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

fn spawn(data: &Path, settings: &[(String, String)], log: &Path) -> Result<(Child, String), ServerError> {
    let program = binary()?;
    let errors = File::options().create(true).append(true).open(log).map_err(|error| io("the log", error))?;
    let mut process = Command::new(&program)
        .args([
            "serve",
            "--imap",
            "127.0.0.1:0",
            "--imaps",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data)
        .envs(settings.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| io(&program.display().to_string(), error))?;
    let Some(stdout) = process.stdout.take() else {
        return Err(ServerError::Unexpected("mss has no standard output".to_owned()));
    };
    let mut lines = BufReader::new(stdout);
    let mut said = String::new();
    loop {
        let mut line = String::new();
        let n = lines.read_line(&mut line).map_err(|error| io("the ready line", error))?;
        if n == 0 {
            // It ended before it was ready: say what it said.
            let _ = process.kill();
            let status = process.wait().map_err(|error| io("mss", error))?;
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(ServerError::Unexpected(format!(
                "mss serve ended before it was ready: {status}\n{said}{log}"
            )));
        }
        if line.starts_with("ready ") {
            // Whatever else it prints must not fill the pipe and hold it up.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return Ok((process, line.trim().to_owned()));
        }
        said.push_str(&line);
    }
}

fn tls_settings(folder: &Path) -> Vec<(String, String)> {
    vec![
        ("MSS_TLS__CERTIFICATE".to_owned(), folder.join("certificate.pem").display().to_string()),
        ("MSS_TLS__KEY".to_owned(), folder.join("key.pem").display().to_string()),
        // All clients of the tests come from one address.
        ("MSS_LIMITS__CONNECTIONS_PER_ADDRESS_MAX".to_owned(), "10000".to_owned()),
    ]
}

/// A certificate for `localhost` that signs itself, as PEM files in the folder; its DER.
fn make_certificate(folder: &Path) -> Result<Vec<u8>, ServerError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .map_err(|error| ServerError::Unexpected(format!("certificate: {error}")))?;
    std::fs::write(folder.join("certificate.pem"), made.cert.pem())
        .map_err(|error| io("certificate.pem", error))?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())
        .map_err(|error| io("key.pem", error))?;
    Ok(made.cert.der().to_vec())
}

fn ready_address(ready: &str, key: &str) -> Option<SocketAddr> {
    ready.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
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

/// Waits until something listens there; for servers that do not say when they are ready.
pub fn wait_for_port(address: SocketAddr) -> Result<(), ServerError> {
    let deadline = std::time::Instant::now() + patience();
    loop {
        match std::net::TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if std::time::Instant::now() > deadline => {
                return Err(io(&address.to_string(), error));
            }
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbered() {
        assert_eq!(numbered("tel:+1555%07d", 12), "tel:+15550000012");
        assert_eq!(numbered("user%d@x", 3), "user3@x");
        assert_eq!(numbered("fixed", 3), "fixed");
    }

    #[test]
    fn the_ready_line_names_addresses() {
        let line = "ready imap=127.0.0.1:4143 imaps=- admin=127.0.0.1:9 rpc=-";
        assert_eq!(ready_address(line, "imap"), "127.0.0.1:4143".parse().ok());
        assert_eq!(ready_address(line, "imaps"), None);
        assert_eq!(ready_address(line, "admin"), "127.0.0.1:9".parse().ok());
    }
}
