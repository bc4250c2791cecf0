//! Settings: what the operator may say, in one place.
//!
//! Precedence, lowest first: the defaults below, the TOML file of `--config`, environment variables
//! `MSS_<SECTION>__<KEY>` (two underscores between section and key), flags. An unknown key or a value out of its
//! bounds stops the start with one sentence that names the key.

mod auth;
mod convert;
mod push;
mod registration;
mod retention;
pub mod roles;
mod strict;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use auth::{Auth, OAuth, PskKeys};
pub use convert::Convert;
pub use push::{Encoder, Push};
pub use registration::Registration;
pub use retention::Retention;
pub use roles::{Cluster, Front, RpcTls};
use serde::{Deserialize, Serialize};
use store_api::{DeleteRule, FolderRule, ObjectRule, ServiceClass};

/// Everything the operator may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which engine, and where the embedded one keeps its data.
    pub data: Data,
    /// IMAP listeners and behaviour.
    pub imap: Imap,
    /// Certificate of the IMAP listeners.
    pub tls: Tls,
    /// Programs that may act for subscribers.
    pub network_functions: NetworkFunctions,
    /// Ways to log in that others vouch for.
    pub auth: Auth,
    /// When changed files are read.
    pub reload: Reload,
    /// Which addresses a login reaches.
    pub registration: Registration,
    /// The FoundationDB cluster, when that is the engine.
    pub fdb: Fdb,
    /// The listener for metrics and health.
    pub admin: Admin,
    /// The storage tier's gRPC listener.
    pub store: StoreRpc,
    /// A storage node among others.
    pub cluster: Cluster,
    /// A front end over storage nodes elsewhere.
    pub front: Front,
    /// Notices to the PUSH enabler.
    pub push: Push,
    /// Parts of messages in another form.
    pub convert: Convert,
    /// What roles show each other.
    pub rpc_tls: RpcTls,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// Bounds on memory for caches.
    pub cache: Cache,
    /// Quota of accounts that are created without their own.
    pub quota: Quota,
    /// Class of service of accounts that are created without their own.
    pub service: Service,
    /// How long things are kept that nobody asks for any more.
    pub retention: Retention,
    /// Logs.
    pub log: Log,
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Which engine holds the data.
    pub engine: EngineName,
    /// Directory of the embedded engine and of what a server keeps beside it; made if it is not there.
    pub dir: PathBuf,
    /// Writes are refused while the file system has less than this free, bytes.
    pub free_bytes_min: u64,
}

/// An engine, by the name that operators use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// One directory of this machine.
    Embedded,
    /// A FoundationDB cluster.
    Fdb,
}

impl std::fmt::Display for EngineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Fdb => "fdb",
        })
    }
}

/// `[fdb]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fdb {
    /// Cluster file; empty for `FDB_CLUSTER_FILE`, then `./fdb.cluster`, then `/etc/foundationdb/fdb.cluster`.
    pub cluster_file: PathBuf,
    /// Client library; empty for the installed `libfdb_c.so`.
    pub library: PathBuf,
    /// Version of the client library's interface.
    pub api_version: i32,
    /// What all keys begin with, so that several installations can share a cluster.
    pub prefix: String,
    /// Seconds to wait for the cluster's first answer.
    pub connect_seconds_max: u64,
    /// Seconds that a transaction may take, with all its waiting.
    pub transaction_seconds_max: u64,
}

/// `[imap]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imap {
    /// Cleartext listener with STARTTLS; empty for none.
    pub listen: String,
    /// Implicit TLS listener; empty for none.
    pub tls_listen: String,
    /// Trusted listener, behind proxies that end TLS and speak the PROXY protocol; empty for none.
    pub proxy_listen: String,
    /// Listener of TLS with keys that client and server both know; empty for none.
    pub psk_listen: String,
    /// Networks that those proxies connect from. A list, or one text with commas.
    #[serde(deserialize_with = "roles::list_or_text")]
    pub proxy_sources: Vec<String>,
    /// Seconds between `* OK Still here` lines to a client in IDLE; 0 for none.
    pub idle_keepalive_seconds: u64,
    /// What `GETMETADATA "" /shared/comment` answers (RFC 5464 §6.2.1); empty for nothing.
    pub comment: String,
    /// What `GETMETADATA "" /shared/admin` answers: how to reach the operator, a URI (RFC 5464 §6.2.1); empty for
    /// nothing.
    pub admin: String,
    /// The server's name in URLs with authorization, without a port (RFC 5092 §4); empty takes any.
    pub url_host: String,
    /// Offer `LITERAL-` in place of `LITERAL+`: clients ask before they send more than 4096 octets.
    pub literal_minus: bool,
    /// The accounts of one subscriber reach each other's folders without SELECTA.
    pub siblings: bool,
}

/// `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of the private key.
    pub key: Option<PathBuf>,
    /// PEM file of the authorities whose certificates log clients in (SASL EXTERNAL).
    pub client_ca: Option<PathBuf>,
}

/// `[reload]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// Seconds between two looks at files that may change while the process runs; 0 for SIGHUP alone.
    pub seconds: u64,
}

impl Default for Reload {
    fn default() -> Self {
        Self { seconds: 60 }
    }
}

/// `[network_functions]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkFunctions {
    /// File of `mss function`: who may act for every subscriber.
    pub file: Option<PathBuf>,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Listener of `/metrics`, `/healthz` and `/readyz`; empty for none.
    pub listen: String,
}

/// `[store]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreRpc {
    /// gRPC listener for front ends and tools elsewhere; empty for none. Beyond this machine it wants `[rpc_tls]`.
    pub rpc_listen: String,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of all listeners together.
    pub connections_max: usize,
    /// Connections from one address.
    pub connections_per_address_max: usize,
    /// Logged-in connections of one account.
    pub connections_per_account_max: usize,
    /// Longest command line without literals, bytes.
    pub command_line_bytes_max: usize,
    /// Seconds a client has to log in.
    pub login_seconds_max: u64,
    /// Seconds a logged-in client may be silent; RFC 9051 §5.4 wants 1800 at least.
    pub idle_seconds_max: u64,
    /// Seconds a client may take none of the output that waits for it.
    pub write_stall_seconds_max: u64,
    /// Failed logins to one account from one address within ten minutes, after which more are refused unseen.
    pub login_failures_max: u32,
    /// Seconds from SIGTERM to the end of the process at the latest.
    pub drain_seconds_max: u64,
}

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Folders and message facts, bytes.
    pub folder_bytes: u64,
    /// Small bodies, bytes.
    pub body_bytes: u64,
    /// Blocks of the engine, bytes.
    pub engine_bytes: u64,
}

/// `[quota]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Octets of all messages; 0 for no limit.
    pub bytes: u64,
    /// Messages; 0 for no limit.
    pub messages: u64,
}

/// `[service]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// What is demanded of objects that come below `Default`.
    pub objects: Objects,
    /// What subscribers may do with folders.
    pub folders: Folders,
    /// What becomes of mailboxes below one that is deleted.
    pub delete: Delete,
}

/// What is demanded of objects, by the name that operators use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Objects {
    /// Anything is stored; what is wrong is counted
    #[default]
    Lenient,
    /// What is not as its kind demands is refused
    Strict,
}

/// What subscribers may do with folders, by the name that operators use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Folders {
    /// What IMAP allows
    #[default]
    Free,
    /// What RCC.09 leaves to the subscriber
    Cpm,
}

/// What becomes of mailboxes below one that is deleted, by the name that operators use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Delete {
    /// They stay, and so does its name
    #[default]
    Rfc3501,
    /// Below Default and RCSMessageStore they are deleted with it
    Recursive,
}

impl From<Service> for ServiceClass {
    fn from(service: Service) -> Self {
        Self {
            objects: match service.objects {
                Objects::Lenient => ObjectRule::Lenient,
                Objects::Strict => ObjectRule::Strict,
            },
            folders: match service.folders {
                Folders::Free => FolderRule::Free,
                Folders::Cpm => FolderRule::Cpm,
            },
            delete: match service.delete {
                Delete::Rfc3501 => DeleteRule::Rfc3501,
                Delete::Recursive => DeleteRule::Recursive,
            },
        }
    }
}

impl From<ServiceClass> for Service {
    fn from(class: ServiceClass) -> Self {
        Self {
            objects: match class.objects {
                ObjectRule::Lenient => Objects::Lenient,
                ObjectRule::Strict => Objects::Strict,
            },
            folders: match class.folders {
                FolderRule::Free => Folders::Free,
                FolderRule::Cpm => Folders::Cpm,
            },
            delete: match class.delete {
                DeleteRule::Rfc3501 => Delete::Rfc3501,
                DeleteRule::Recursive => Delete::Recursive,
            },
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`, on standard error.
    pub format: LogFormat,
    /// A level, or directives as of `RUST_LOG`: `info`, `info,imap_server=debug`.
    pub level: String,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Data {
    fn default() -> Self {
        Self { engine: EngineName::Embedded, dir: PathBuf::from("./mss-data"), free_bytes_min: 512 << 20 }
    }
}

impl Default for Fdb {
    fn default() -> Self {
        Self {
            cluster_file: PathBuf::new(),
            library: PathBuf::new(),
            api_version: 730,
            prefix: String::new(),
            connect_seconds_max: 10,
            transaction_seconds_max: 15,
        }
    }
}

impl Default for Imap {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1143".into(),
            tls_listen: String::new(),
            proxy_listen: String::new(),
            psk_listen: String::new(),
            proxy_sources: Vec::new(),
            idle_keepalive_seconds: 120,
            comment: String::new(),
            admin: String::new(),
            url_host: String::new(),
            literal_minus: false,
            siblings: false,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9143".into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            connections_per_address_max: 20_000,
            connections_per_account_max: 100,
            command_line_bytes_max: 64 * 1024,
            login_seconds_max: 60,
            idle_seconds_max: 1_860,
            write_stall_seconds_max: 120,
            login_failures_max: 20,
            drain_seconds_max: 20,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { folder_bytes: 128 << 20, body_bytes: 64 << 20, engine_bytes: 64 << 20 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// What flags say; each `Some` overrides everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<(&'static str, String)>);

impl Overrides {
    /// Sets `key` (as `imap.listen`) if the flag was given.
    pub fn set(mut self, key: &'static str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.0.push((key, value.into()));
        }
        self
    }
}

impl Settings {
    /// Reads the settings from all sources.
    ///
    /// # Errors
    /// One sentence that names the key, and says what is allowed.
    pub fn load(file: Option<&Path>, flags: Overrides) -> anyhow::Result<Self> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("MSS_")) else { continue };
            let value = value
                .into_string()
                .map_err(|_| anyhow::anyhow!("the environment variable {name} is not UTF-8"))?;
            variables.push((name.to_owned(), value));
        }
        Self::load_from(file, variables, flags)
    }

    fn load_from(
        file: Option<&Path>,
        environment: Vec<(String, String)>,
        flags: Overrides,
    ) -> anyhow::Result<Self> {
        let mut layers = Vec::new();
        if let Some(path) = file {
            layers.push(strict::file(path)?);
        }
        layers.push(strict::environment(environment.into_iter())?);
        for (key, value) in flags.0 {
            let path: Vec<&str> = key.split('.').collect();
            layers.push(strict::nested(&path, toml::Value::String(value)));
        }
        let mut builder = config::Config::builder();
        for layer in layers {
            builder = builder.add_source(config::Config::try_from(&layer)?);
        }
        let settings: Self =
            builder.build().and_then(config::Config::try_deserialize).map_err(one_sentence)?;
        settings.check()?;
        Ok(settings)
    }

    /// Bounds that a type alone does not tell.
    fn check(&self) -> anyhow::Result<()> {
        for (key, value) in [
            ("imap.listen", &self.imap.listen),
            ("imap.tls_listen", &self.imap.tls_listen),
            ("imap.proxy_listen", &self.imap.proxy_listen),
            ("imap.psk_listen", &self.imap.psk_listen),
            ("admin.listen", &self.admin.listen),
            ("store.rpc_listen", &self.store.rpc_listen),
        ] {
            listen_address(key, value)?;
        }
        if self.data.dir.as_os_str().is_empty() {
            anyhow::bail!("data.dir is empty, but must name a directory");
        }
        check_log_level(&self.log.level)?;
        let in_host = |b: u8| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b);
        let host = self.imap.url_host.as_str();
        if !host.bytes().all(in_host) || host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))
        {
            anyhow::bail!(
                "imap.url_host is {host:?}, but must be a host name without a port, or empty for any"
            );
        }
        if !self.imap.tls_listen.is_empty() && self.tls.certificate.is_none() {
            anyhow::bail!("imap.tls_listen is set, so tls.certificate and tls.key must name PEM files");
        }
        auth::check_psk(&self.imap.psk_listen, &self.auth.psk)?;
        let proxies = proxies(&self.imap)?;
        if !self.imap.proxy_listen.is_empty() && proxies.is_empty() {
            anyhow::bail!("imap.proxy_listen is set, so imap.proxy_sources must name the proxies' networks");
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            anyhow::bail!("tls.certificate and tls.key must be set both or neither");
        }
        self.registration.sip()?;
        if self.fdb.prefix.len() > kv_fdb::limits::PREFIX_BYTES_MAX {
            anyhow::bail!(
                "fdb.prefix has {} bytes, but must have {} at most",
                self.fdb.prefix.len(),
                kv_fdb::limits::PREFIX_BYTES_MAX
            );
        }
        auth::check(&self.auth)?;
        push::check(&self.push)?;
        roles::check(&self.cluster, &self.front, &self.rpc_tls)?;
        if self.front.grace_seconds >= self.limits.drain_seconds_max {
            anyhow::bail!("front.grace_seconds must be less than limits.drain_seconds_max");
        }
        for (key, value, low, high) in [
            ("cluster.renew_ms", self.cluster.renew_ms, 100, 60_000),
            ("cluster.lease_ms", self.cluster.lease_ms, 300, 600_000),
            ("front.patience_seconds", self.front.patience_seconds, 1, 60),
            ("registration.wait_seconds_max", self.registration.wait_seconds_max, 1, 5),
            ("front.grace_seconds", self.front.grace_seconds, 0, 600),
            // A negative one is far above the bound.
            (
                "fdb.api_version",
                i64::from(self.fdb.api_version) as u64,
                kv_fdb::limits::API_VERSION_MIN as u64,
                kv_fdb::limits::API_VERSION_MAX as u64,
            ),
            ("fdb.connect_seconds_max", self.fdb.connect_seconds_max, 1, 600),
            ("fdb.transaction_seconds_max", self.fdb.transaction_seconds_max, 6, 600),
            ("limits.connections_max", self.limits.connections_max as u64, 1, 10_000_000),
            (
                "limits.connections_per_address_max",
                self.limits.connections_per_address_max as u64,
                1,
                10_000_000,
            ),
            (
                "limits.connections_per_account_max",
                self.limits.connections_per_account_max as u64,
                1,
                1_000_000,
            ),
            ("limits.command_line_bytes_max", self.limits.command_line_bytes_max as u64, 8_192, 16 << 20),
            ("limits.login_seconds_max", self.limits.login_seconds_max, 1, 3_600),
            ("limits.idle_seconds_max", self.limits.idle_seconds_max, 60, 86_400),
            ("limits.write_stall_seconds_max", self.limits.write_stall_seconds_max, 1, 3_600),
            ("limits.login_failures_max", u64::from(self.limits.login_failures_max), 1, 1_000_000),
            ("limits.drain_seconds_max", self.limits.drain_seconds_max, 1, 600),
            ("cache.folder_bytes", self.cache.folder_bytes, 1 << 20, 1 << 44),
            ("cache.body_bytes", self.cache.body_bytes, 1 << 20, 1 << 44),
            ("cache.engine_bytes", self.cache.engine_bytes, 1 << 20, 1 << 44),
            ("retention.deleted_days", self.retention.deleted_days, 0, 3_650),
            ("reload.seconds", self.reload.seconds, 0, 86_400),
            ("auth.oauth.refresh_seconds", self.auth.oauth.refresh_seconds, 10, 1_800),
            ("auth.oauth.leeway_seconds", self.auth.oauth.leeway_seconds, 0, 600),
            ("push.ttl_seconds", self.push.ttl_seconds, 1, 30 * 86_400),
            ("push.workers", self.push.workers as u64, 1, 4_096),
            ("push.answer_seconds_max", self.push.answer_seconds_max, 1, 300),
            ("push.attempts_max", u64::from(self.push.attempts_max), 1, 1_000),
            ("push.retry_seconds_max", self.push.retry_seconds_max, 1, 3_600),
            ("retention.feed_days", self.retention.feed_days, 1, 365),
            ("convert.workers", self.convert.workers as u64, 0, 1_024),
            ("convert.memory_bytes_max", self.convert.memory_bytes_max, 32 << 20, 1 << 40),
            ("convert.cpu_seconds_max", self.convert.cpu_seconds_max, 1, 600),
            ("convert.seconds_max", self.convert.seconds_max, 1, 600),
            ("convert.source_bytes_max", self.convert.source_bytes_max, 1 << 10, 1 << 32),
            ("convert.messages_max", self.convert.messages_max as u64, 1, 100_000),
            ("convert.parts_max", self.convert.parts_max as u64, 1, 1_000),
            ("convert.cache_bytes", self.convert.cache_bytes, 0, 1 << 44),
            ("imap.idle_keepalive_seconds", self.imap.idle_keepalive_seconds, 0, 1_740),
        ] {
            if !(low..=high).contains(&value) {
                anyhow::bail!("{key} is {value}, but must be from {low} to {high}");
            }
        }
        Ok(())
    }
}

/// Where trusted proxies connect from.
///
/// # Errors
/// One sentence that names the key.
pub fn proxies(imap: &Imap) -> anyhow::Result<Vec<ipnet::IpNet>> {
    let parse = |text: &String| {
        imap_server::functions::parse_network(text).ok_or_else(|| {
            anyhow::anyhow!(
                "imap.proxy_sources has {text:?}, but must have networks like 192.0.2.0/24, or addresses"
            )
        })
    };
    imap.proxy_sources.iter().map(parse).collect()
}

/// The address of a listener; none for an empty text.
///
/// # Errors
/// One sentence that names `key`.
pub fn listen_address(key: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => anyhow::bail!("{key} is {text:?}, but must be an IP address and port, like 127.0.0.1:1143"),
    }
}

/// A listener's address as a flag gives it, still as text.
///
/// # Errors
/// One sentence that says what is allowed.
pub fn listen_text(text: &str) -> anyhow::Result<String> {
    match listen_address("it", text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => anyhow::bail!("must be an IP address and port, like 127.0.0.1:1143, or empty for none"),
    }
}

/// A word without a level is a target to the filter, which then lets everything of it through: a misspelt level.
fn check_log_level(directives: &str) -> anyhow::Result<()> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in directives.split(',').map(str::trim) {
        if !directive.contains('=') && !LEVELS.contains(&directive.to_lowercase().as_str()) {
            anyhow::bail!(
                "log.level has {directive:?}, but must be one of {} or directives like info,imap_server=debug",
                LEVELS.join(", ")
            );
        }
    }
    Ok(())
}

/// The config library's error in one line, with the key first.
fn one_sentence(error: config::ConfigError) -> anyhow::Error {
    let text = error.to_string().replace('\n', " ");
    anyhow::anyhow!("settings: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, environment: &[(&str, &str)], flags: Overrides) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("mss.toml");
        if let Some(text) = file {
            std::fs::write(&path, text)?;
        }
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::load_from(file.map(|_| path.as_path()), environment, flags)
    }

    #[test]
    fn precedence() -> anyhow::Result<()> {
        let file =
            Some("[imap]\nlisten = '127.0.0.1:1'\n[limits]\nconnections_max = 7\n[log]\nformat = 'json'\n");
        let env = [("MSS_IMAP__LISTEN", "127.0.0.1:2"), ("MSS_LIMITS__CONNECTIONS_MAX", "8")];
        let flags = Overrides::default().set("imap.listen", Some("127.0.0.1:3"));
        assert_eq!(load(None, &[], Overrides::default())?.imap.listen, "127.0.0.1:1143");
        assert_eq!(load(file, &[], Overrides::default())?.imap.listen, "127.0.0.1:1");
        assert_eq!(load(file, &env, Overrides::default())?.imap.listen, "127.0.0.1:2");
        let all = load(file, &env, flags)?;
        assert_eq!((all.imap.listen.as_str(), all.limits.connections_max), ("127.0.0.1:3", 8));
        assert_eq!(all.log.format, LogFormat::Json);
        Ok(())
    }

    #[test]
    fn storage_nodes_are_a_list_or_a_text() -> anyhow::Result<()> {
        let two = ["http://a:1", "http://b:2"];
        let file = Some("[front]\nstore = ['http://a:1', 'http://b:2']\n");
        assert_eq!(load(file, &[], Overrides::default())?.front.store, two);
        let env = [("MSS_FRONT__STORE", "http://a:1, http://b:2")];
        assert_eq!(load(None, &env, Overrides::default())?.front.store, two);
        let flags = Overrides::default().set("front.store", Some("http://a:1,http://b:2"));
        assert_eq!(load(None, &[], flags)?.front.store, two);
        Ok(())
    }

    /// The file that operators start from says what happens without it.
    #[test]
    fn the_shipped_file_has_the_defaults() -> anyhow::Result<()> {
        let shipped = load(Some(include_str!("../../../deploy/mss.toml")), &[], Overrides::default())?;
        assert_eq!(shipped, Settings::default());
        Ok(())
    }

    #[test]
    fn mistakes_name_the_key() {
        for (file, env, names) in [
            (Some("[imap]\nlistne = 'x'\n"), None, "imap.listne"),
            (Some("[imapp]\nlisten = 'x'\n"), None, "imapp"),
            (Some("listen = 'x'\n"), None, "listen"),
            (Some("imap = 3\n"), None, "imap"),
            (Some("[imap]\nlisten = 1143\n"), None, "imap.listen"),
            (Some("[limits]\nconnections_max = 1.5\n"), None, "limits.connections_max"),
            (Some("[limits]\nconnections_max = '7'\n"), None, "limits.connections_max"),
            (Some("[limits]\nconnections_max = true\n"), None, "limits.connections_max"),
            (Some("[limits]\nconnections_max = -1\n"), None, "limits.connections_max"),
            (Some("[limits]\nlogin_failures_max = 4294967296\n"), None, "limits.login_failures_max"),
            (Some("[limits]\nconnections_max = 99999999999999999999\n"), None, "connections_max"),
            (Some("[log\nlevel = 'info'\n"), None, "line 1"),
            (Some("[log]\nlevel = 'loud'\n"), None, "log.level"),
            (Some("[data]\ndir = ''\n"), None, "data.dir"),
            (None, Some(("MSS_LIMITS__CONNECTIONS_MAX", "1.5")), "MSS_LIMITS__CONNECTIONS_MAX"),
            (None, Some(("MSS_IMAP__LISTNE", "x")), "MSS_IMAP__LISTNE"),
            (Some("[imap]\nlisten = 'somewhere'\n"), None, "imap.listen"),
            (Some("[limits]\nidle_seconds_max = 5\n"), None, "limits.idle_seconds_max"),
            (Some("[imap]\ntls_listen = '127.0.0.1:993'\n"), None, "tls.certificate"),
            (Some("[tls]\nkey = '/k.pem'\n"), None, "tls.certificate"),
            (Some("[imap]\nproxy_listen = '127.0.0.1:1'\n"), None, "imap.proxy_sources"),
            (Some("[imap]\nproxy_sources = ['here']\n"), None, "imap.proxy_sources"),
            (None, Some(("MSS_LIMITS__CONNECTIONS_MAX", "many")), "connections_max"),
            (None, Some(("MSS_LIMIT__CONNECTIONS_MAX", "1")), "limit"),
            (Some("[log]\nformat = 'xml'\n"), None, "log.format"),
            (Some("[data]\nengine = 'sqlite'\n"), None, "data.engine"),
            (Some("[fdb]\napi_version = 700\n"), None, "fdb.api_version"),
            (Some("[fdb]\nprefix = 'a name that is longer than 32 bytes'\n"), None, "fdb.prefix"),
            (Some("[fdb]\nconnect_seconds_max = 0\n"), None, "fdb.connect_seconds_max"),
            (Some("[cluster]\nlease_ms = 4000\n"), None, "cluster.lease_ms"),
            (Some("[cluster]\nadvertise = 'here:1'\n"), None, "cluster.advertise"),
            (Some("[front]\nstore = ['http://a:1', 'b:2']\n"), None, "front.store"),
            (Some("[front]\nstore = ','\n"), None, "front.store"),
            (Some("[front]\ngrace_seconds = 20\n"), None, "front.grace_seconds"),
            (Some("[registration]\nprovider = 'sip'\n"), None, "registration.sip_proxy"),
            (Some("[rpc_tls]\nkey = '/k.pem'\n"), None, "rpc_tls.certificate"),
        ] {
            let env: Vec<_> = env.into_iter().collect();
            let error = load(file, &env, Overrides::default()).expect_err(names).to_string();
            assert!(error.contains(names) && !error.contains('\n'), "{names}: {error}");
        }
    }
}
