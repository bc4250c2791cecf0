//! The server under test: a process of our own making, or an address somebody gives.
//!
//! | variable | meaning |
//! |---|---|
//! | `MSS_IMAP_ADDR` | address of a running server; with it none is started |
//! | `MSS_IMAP_USER` | names of its accounts, `%d` for a number; `tel:+1555%07d` style zero padding works |
//! | `MSS_IMAP_PASSWORD` | the password of all of them |
//! | `MSS_BIN` | the `mss` binary; without it `cargo build -p mss` is run once |

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::client::patience;
use crate::foundationdb;
use crate::process::{Listener, Process, run_with};
pub use crate::process::{binary, run};

/// A name and its password.
#[derive(Debug, Clone)]
pub struct User {
    /// What LOGIN takes.
    pub name: String,
    /// In clear.
    pub password: String,
}

const PASSWORD: &str = "correct horse";
const USERS: &str = "tel:+1555%07d";

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

/// A running server: one process, or several that are one to their clients.
pub struct Server {
    /// Cleartext IMAP, of the first front end.
    pub imap: SocketAddr,
    /// IMAP with implicit TLS, of the first front end, if there is.
    pub imaps: Option<SocketAddr>,
    /// The certificate of TLS, DER, of a server of our own.
    pub certificate: Option<Vec<u8>>,
    /// Our processes that clients connect to: front ends, or the one with all roles.
    pub fronts: Vec<Process>,
    /// Our storage nodes, where they are processes of their own.
    pub stores: Vec<Process>,
    foreign: Option<Child>,
    /// Kept so that the folder lives as long as the server.
    folder: Option<tempfile::TempDir>,
    /// Where the data is, if not in `folder`.
    data: Option<PathBuf>,
    layout: Layout,
    users: String,
    password: String,
    next_user: AtomicU32,
}

/// Which processes a server of our own is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layout {
    /// `mss serve`: every role in one process, on the embedded engine.
    #[default]
    Together,
    /// One `mss store` on the embedded engine, and so many `mss imap`.
    Apart {
        /// Front ends.
        fronts: usize,
    },
    /// So many of each, on a FoundationDB.
    OnFoundationDb {
        /// What tells where it is.
        cluster_file: PathBuf,
        /// Storage nodes.
        stores: usize,
        /// Front ends.
        fronts: usize,
    },
}

/// How a server of our own is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which processes.
    pub layout: Layout,
    /// Its data, of an embedded engine; a temporary folder if none.
    pub data: Option<PathBuf>,
    /// Settings for all processes, as environment variables.
    pub settings: Vec<(String, String)>,
    /// How many accounts are made; none for a data folder that has them.
    pub accounts: u32,
}

impl Server {
    /// The server the environment names, or one of our own with so many accounts.
    pub fn under_test(accounts: u32) -> Result<Self, ServerError> {
        match std::env::var("MSS_IMAP_ADDR") {
            Ok(address) => Self::external(&address),
            Err(_) => Self::for_tests(Layout::Together, accounts),
        }
    }

    /// A server of our own for the transcripts and clients.
    pub fn for_tests(layout: Layout, accounts: u32) -> Result<Self, ServerError> {
        // A quota, so that there are roots to ask for; more than any test stores.
        let quota = [("MSS_QUOTA__BYTES", "1000000000"), ("MSS_QUOTA__MESSAGES", "100000")];
        let settings = quota.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self::start(&Options { layout, settings, accounts, ..Options::default() })
    }

    /// Whether this is a server we started, so that it must have every extension.
    pub fn is_ours(&self) -> bool {
        self.foreign.is_some() || !self.fronts.is_empty()
    }

    /// A server that runs already.
    pub fn external(address: &str) -> Result<Self, ServerError> {
        let imap = address
            .to_socket_addrs()
            .map_err(|error| ServerError::Io { what: address.to_owned(), error })?
            .next()
            .ok_or_else(|| ServerError::Unexpected(format!("{address} names no address")))?;
        let user = std::env::var("MSS_IMAP_USER").unwrap_or_else(|_| USERS.to_owned());
        let password = std::env::var("MSS_IMAP_PASSWORD").unwrap_or_else(|_| PASSWORD.to_owned());
        Ok(Self::at(imap, &user, &password))
    }

    fn at(imap: SocketAddr, users: &str, password: &str) -> Self {
        Self {
            imap,
            imaps: None,
            certificate: None,
            fronts: Vec::new(),
            stores: Vec::new(),
            foreign: None,
            folder: None,
            data: None,
            layout: Layout::Together,
            users: users.to_owned(),
            password: password.to_owned(),
            next_user: AtomicU32::new(1),
        }
    }

    /// Starts the processes on ports of their choice and waits for the lines that say they are ready.
    pub fn start(options: &Options) -> Result<Self, ServerError> {
        let folder = tempfile::tempdir().map_err(|error| io("a temporary folder", error))?;
        let certificate = make_certificate(folder.path())?;
        let plan = Plan { options, folder: folder.path() };
        let (stores, fronts) = match &options.layout {
            Layout::Together => {
                let data = plan.data_flags();
                plan.import_accounts(&data)?;
                (Vec::new(), vec![plan.front("serve", 1, data)?])
            }
            Layout::Apart { fronts } => {
                let stores = vec![plan.store(1, plan.data_flags())?];
                let fronts = plan.fronts(*fronts, &stores)?;
                (stores, fronts)
            }
            Layout::OnFoundationDb { cluster_file, stores, fronts } => {
                let stores = (1..=*stores)
                    .map(|number| plan.store(number, plan.foundationdb_flags(number, cluster_file)))
                    .collect::<Result<Vec<_>, _>>()?;
                let fronts = plan.fronts(*fronts, &stores)?;
                (stores, fronts)
            }
        };
        let first = fronts.first().ok_or_else(|| ServerError::Unexpected("no front end".to_owned()))?;
        let mut server = Self::at(first.address("imap")?, USERS, PASSWORD);
        (server.imaps, server.certificate) = (Some(first.address("imaps")?), Some(certificate));
        (server.stores, server.fronts, server.folder) = (stores, fronts, Some(folder));
        (server.data, server.layout) = (options.data.clone(), options.layout.clone());
        Ok(server)
    }

    /// A server process of another make; its `folder` is removed with it.
    pub fn foreign(
        process: Child,
        folder: tempfile::TempDir,
        imap: SocketAddr,
        users: &str,
        password: &str,
    ) -> Self {
        let mut server = Self::at(imap, users, password);
        (server.foreign, server.folder) = (Some(process), Some(folder));
        server
    }

    /// Cleartext IMAP of the front end that connection `number` of a test goes to: each has its turn.
    pub fn front(&self, number: usize) -> SocketAddr {
        match self.fronts.len() {
            0 => self.imap,
            // A front end of ours has this listener: it was asked for at the start.
            len => self.fronts[number % len].address("imap").unwrap_or(self.imap),
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

    /// Makes accounts those of one subscriber, by `mss account link`; false if the server is not ours.
    ///
    /// # Errors
    /// What the tool said.
    pub fn link(&self, users: &[&User]) -> Result<bool, ServerError> {
        let names = users.iter().map(|user| user.name.as_str());
        self.account(["link"].into_iter().chain(names))
    }

    /// Gives an account a class of service, the rules of objects, folders and deletion, by `mss account configure`. Whether
    /// that can be done to this server.
    ///
    /// # Errors
    /// What the tool said.
    pub fn serve_as(&self, user: &User, service: &[String; 3]) -> Result<bool, ServerError> {
        let [objects, folders, delete] = service;
        self.account([
            "configure",
            &user.name,
            "--objects",
            objects,
            "--folders",
            folders,
            "--delete",
            delete,
        ])
    }

    /// Runs `mss account` with `arguments`, where that can be done to this server.
    fn account<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<bool, ServerError> {
        let place: [OsString; 2] = match (self.stores.first(), self.data()) {
            (Some(store), _) => ["--store".into(), format!("http://{}", store.address("rpc")?).into()],
            (None, Some(data)) if !self.fronts.is_empty() => ["--data".into(), data.into()],
            _ => return Ok(false),
        };
        let arguments: Vec<OsString> =
            std::iter::once("account").chain(arguments).map(OsString::from).chain(place).collect();
        run_with(&arguments, b"", &[])?;
        Ok(true)
    }

    /// Process id of the first front end, for tests that look at memory or send signals.
    pub fn pid(&self) -> Option<u32> {
        self.foreign.as_ref().map(Child::id).or_else(|| self.fronts.first()?.pid())
    }

    /// The folder of the server's own files, for what a test wants to put beside them.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(tempfile::TempDir::path)
    }

    /// Where its data is, if it is ours.
    pub fn data(&self) -> Option<PathBuf> {
        self.data.clone().or_else(|| self.folder().map(|folder| folder.join("data")))
    }

    /// What its processes logged so far.
    pub fn log(&self) -> String {
        self.stores.iter().chain(&self.fronts).map(Process::log).collect()
    }

    /// Resident memory in octets, from `/proc`.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Whether all of its processes still run.
    pub fn is_alive(&mut self) -> bool {
        self.stores.iter_mut().chain(&mut self.fronts).all(Process::is_alive)
    }

    /// Starts all processes again on the data of those that were killed; accounts and settings are the same. Those of
    /// one process with all roles get new addresses, others the same.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        for store in &mut self.stores {
            store.restart()?;
        }
        for front in &mut self.fronts {
            if self.layout == Layout::Together { front.restart_elsewhere()? } else { front.restart()? }
        }
        let first = self.fronts.first();
        let first = first.ok_or_else(|| ServerError::Unexpected("not a server of our own".to_owned()))?;
        (self.imap, self.imaps) = (first.address("imap")?, Some(first.address("imaps")?));
        Ok(())
    }

    /// Ends all processes as a power cut would (SIGKILL), and waits until they are gone.
    pub fn kill(&mut self) {
        self.fronts.iter_mut().chain(&mut self.stores).for_each(Process::kill);
        if let Some(mut child) = self.foreign.take() {
            // Either it is there to be killed, or it has ended by itself: both are what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What processes are started with.
struct Plan<'a> {
    options: &'a Options,
    folder: &'a Path,
}

impl Plan<'_> {
    fn data_flags(&self) -> Vec<OsString> {
        let data = self.options.data.clone().unwrap_or_else(|| self.folder.join("data"));
        vec!["--data".into(), data.into()]
    }

    fn foundationdb_flags(&self, number: usize, cluster_file: &Path) -> Vec<OsString> {
        let data = self.folder.join(format!("data{number}"));
        let flags = ["--engine".into(), "fdb".into(), "--cluster-file".into(), cluster_file.into()];
        flags.into_iter().chain(["--data".into(), data.into()]).collect()
    }

    fn store(&self, number: usize, flags: Vec<OsString>) -> Result<Process, ServerError> {
        let listeners = vec![Listener::any("--rpc", "rpc"), Listener::any("--admin", "admin")];
        self.process("store", number, flags, listeners)
    }

    /// So many front ends over these storage nodes, with the accounts made through the first of them.
    fn fronts(&self, count: usize, stores: &[Process]) -> Result<Vec<Process>, ServerError> {
        let urls = stores
            .iter()
            .map(|store| Ok(format!("http://{}", store.address("rpc")?)))
            .collect::<Result<Vec<_>, ServerError>>()?;
        if let Some(first) = urls.first() {
            self.import_accounts(&["--store".into(), first.into()])?;
        }
        let flags: Vec<OsString> = vec!["--store".into(), urls.join(",").into()];
        (1..=count).map(|number| self.front("imap", number, flags.clone())).collect()
    }

    fn front(&self, role: &str, number: usize, flags: Vec<OsString>) -> Result<Process, ServerError> {
        let listeners = [("--imap", "imap"), ("--imaps", "imaps"), ("--admin", "admin")];
        self.process(role, number, flags, listeners.map(|(flag, word)| Listener::any(flag, word)).into())
    }

    fn process(
        &self,
        role: &str,
        number: usize,
        flags: Vec<OsString>,
        listeners: Vec<Listener>,
    ) -> Result<Process, ServerError> {
        let mut settings = tls_settings(self.folder);
        if matches!(self.options.layout, Layout::OnFoundationDb { .. }) {
            settings.extend(foundationdb::settings(self.folder));
        }
        settings.extend(self.options.settings.iter().cloned());
        Process::start(role, flags, listeners, settings, self.folder.join(format!("{role}{number}.log")))
    }

    fn import_accounts(&self, wherein: &[OsString]) -> Result<(), ServerError> {
        if self.options.accounts == 0 {
            return Ok(());
        }
        let path = self.folder.join("accounts.csv");
        let mut file = File::create(&path).map_err(|error| io("accounts.csv", error))?;
        for number in 1..=self.options.accounts {
            writeln!(file, "tel:+1555{number:07},{PASSWORD}").map_err(|error| io("accounts.csv", error))?;
        }
        let mut arguments: Vec<OsString> = vec!["account".into(), "import".into(), path.into()];
        arguments.extend_from_slice(wherein);
        run_with(&arguments, b"", &self.options.settings)?;
        Ok(())
    }
}

/// `pattern` with the number in the place of `%d` or `%0Nd`.
fn numbered(pattern: &str, number: u32) -> String {
    let Some((before, rest)) = pattern.split_once('%') else { return pattern.to_owned() };
    let Some((width, after)) = rest.split_once('d') else { return pattern.to_owned() };
    let width: usize = width.parse().unwrap_or(0);
    format!("{before}{number:0width$}{after}")
}

pub(crate) fn io(what: &str, error: std::io::Error) -> ServerError {
    ServerError::Io { what: what.to_owned(), error }
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
}
