//! The engine: opening a cluster, beginning transactions, stopping.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use foundationdb::options::{DatabaseOption, TransactionOption};
use foundationdb::{Database, FdbError};
use foundationdb_sys as sys;
use kv::{Engine, Error, ErrorKind, Transaction, TransactionOptions};
use tokio::sync::watch;

use crate::telemetry::Telemetry;
use crate::transaction::FdbTransaction;
use crate::{OpenError, Options, cluster_file, limits, network};

/// An engine over one cluster, under one key prefix.
pub struct FdbEngine {
    shared: Arc<Shared>,
}

/// Shared by the engine, its transactions and its watches.
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) prefix: Bytes,
    pub(crate) telemetry: Telemetry,
    /// Watches that did not fire yet.
    pub(crate) watches: AtomicUsize,
    /// Whether the engine is closed.
    pub(crate) closed: watch::Sender<bool>,
}

impl Shared {
    /// The error of whatever comes after closing.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if *self.closed.borrow() {
            return Err(Error::new(ErrorKind::Unavailable, "the engine is closed"));
        }
        Ok(())
    }
}

impl FdbEngine {
    /// Opens the cluster: reads the cluster file, opens the client library, starts its network thread if no engine of
    /// this process did, and waits for the cluster's first answer, [`Options::connect_max`] at most.
    ///
    /// The process must hold a [`crate::NetworkGuard`].
    ///
    /// # Errors
    /// [`OpenError`]: one sentence that says what to look at.
    pub async fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        if !(limits::API_VERSION_MIN..=limits::API_VERSION_MAX).contains(&options.api_version) {
            return Err(OpenError::ApiVersion { asked: options.api_version });
        }
        let system = options.prefix.first() == Some(&0xFF);
        if options.prefix.len() > limits::PREFIX_BYTES_MAX || system {
            return Err(OpenError::Prefix { bytes: options.prefix.len(), system });
        }
        let environment = std::env::var_os("FDB_CLUSTER_FILE").map(Into::into);
        let file = cluster_file::find(options.cluster_file.as_deref(), environment);
        let coordinators = cluster_file::coordinators(&file)?;
        let library = options.library.clone();
        // Reads the library from the disk and runs its constructors.
        tokio::task::spawn_blocking(move || network::start(library.as_deref(), options.api_version))
            .await
            .map_err(|error| OpenError::Start { action: "opening the library", detail: error.to_string() })??;
        let refused = |error: FdbError| OpenError::Cluster {
            file: file.clone(),
            detail: format!("{} ({})", error.message(), error.code()),
        };
        let path = file.to_str().ok_or_else(|| OpenError::ClusterFileMalformed {
            file: file.clone(),
            problem: "its name is not UTF-8".to_owned(),
        })?;
        let database = Database::from_path(path).map_err(refused)?;
        for option in [
            DatabaseOption::TransactionTimeout(millis(options.transaction_max)),
            DatabaseOption::TransactionSizeLimit(kv::limits::TRANSACTION_BYTES_MAX as i32),
            DatabaseOption::MaxWatches(kv::limits::WATCHES_MAX as i32),
        ] {
            database.set_option(option).map_err(refused)?;
        }
        let version = match first_answer(&database, options.connect_max).await {
            Ok(version) => version,
            Err(Some(error)) => return Err(refused(error)),
            Err(None) => {
                return Err(OpenError::Unreachable {
                    coordinators: coordinators.join(", "),
                    waited: options.connect_max,
                    status: client_status(&database).await,
                    file,
                });
            }
        };
        tracing::info!(
            cluster_file = %file.display(),
            prefix = %options.prefix.escape_ascii(),
            api_version = options.api_version,
            client = client_version(),
            version,
            "FoundationDB engine open"
        );
        let shared = Shared {
            database,
            prefix: options.prefix.into(),
            telemetry: Telemetry::new(),
            watches: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
        };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    /// Stops the engine: later calls fail with [`ErrorKind::Unavailable`], and watches end so. Calls under way are
    /// answered. Blocks for nothing.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

impl Engine for FdbEngine {
    fn begin(&self, options: TransactionOptions) -> Box<dyn Transaction> {
        Box::new(FdbTransaction::new(self.shared.clone(), options))
    }

    fn name(&self) -> &'static str {
        "fdb"
    }
}

impl Drop for FdbEngine {
    fn drop(&mut self) {
        self.close();
    }
}

/// The cluster's read version; `None` for an error when it does not answer in time.
async fn first_answer(database: &Database, patience: Duration) -> Result<i64, Option<FdbError>> {
    /// `transaction_timed_out`
    const TIMED_OUT: i32 = 1031;
    let trx = database.create_trx()?;
    trx.set_option(TransactionOption::Timeout(millis(patience)))?;
    // The client keeps the time itself; ours is for a client that does not.
    let belt = patience + Duration::from_secs(1);
    match tokio::time::timeout(belt, trx.get_read_version()).await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(error)) if error.code() != TIMED_OUT => Err(Some(error)),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

/// What the client says of its connections, for the end of a sentence; nothing if it cannot say.
async fn client_status(database: &Database) -> String {
    const PATIENCE: Duration = Duration::from_secs(1);
    if !sys::has_client_status() {
        return String::new();
    }
    match tokio::time::timeout(PATIENCE, database.get_client_status()).await {
        Ok(Ok(status)) => connections(&status),
        _ => String::new(),
    }
}

/// The part of the client's status that says where it tried: each address, and how far it came.
fn connections(status: &[u8]) -> String {
    const ADDRESSES_MAX: usize = 8;
    let status: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
    let mut told = Vec::new();
    for connection in status["Connections"].as_array().into_iter().flatten().take(ADDRESSES_MAX) {
        let text = |key: &str| connection[key].as_str().unwrap_or("?").to_owned();
        let foreign = if connection["Compatible"] == false { ", of another release" } else { "" };
        told.push(format!("{} {}{foreign}", text("Address"), text("Status")));
    }
    if told.is_empty() { String::new() } else { format!("; the client's connections: {}", told.join("; ")) }
}

/// The library's own version, for the log.
fn client_version() -> String {
    // SAFETY: takes nothing; answers with a text that lives as long as the library, which is never closed.
    let text = unsafe { std::ffi::CStr::from_ptr(sys::fdb_get_client_version()) };
    text.to_string_lossy().split(',').next().unwrap_or_default().to_owned()
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_client_tried() {
        let status = br#"{"Healthy":false,"Connections":[
            {"Address":"10.0.0.1:4500","Status":"connecting","Compatible":true},
            {"Address":"10.0.0.2:4500","Status":"connected","Compatible":false}]}"#;
        let told = connections(status);
        assert!(
            told.ends_with("10.0.0.1:4500 connecting; 10.0.0.2:4500 connected, of another release"),
            "{told}"
        );
        assert_eq!(connections(b"not JSON"), "");
        assert_eq!(connections(b"{}"), "");
    }
}
