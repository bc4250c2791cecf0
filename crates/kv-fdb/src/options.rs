//! Which cluster, by which library, and how long to wait.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits;

/// How to open an [`crate::FdbEngine`]. The defaults are those of a machine with FoundationDB's packages.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster file; without it `FDB_CLUSTER_FILE`, `./fdb.cluster` and the packages' default are tried, in this
    /// order, as FoundationDB's own tools do.
    pub cluster_file: Option<PathBuf>,
    /// The client library; without it the dynamic loader finds `libfdb_c.so`.
    pub library: Option<PathBuf>,
    /// Version of the client's interface, from [`limits::API_VERSION_MIN`] to [`limits::API_VERSION_MAX`].
    pub api_version: i32,
    /// What all keys begin with: separates installations that share a cluster. At most [`limits::PREFIX_BYTES_MAX`]
    /// bytes, not beginning with `0xFF`. No installation's prefix may be the beginning of another's.
    pub prefix: Vec<u8>,
    /// Longest wait for the cluster's first answer.
    pub connect_max: Duration,
    /// Longest life of a transaction, with all its waiting. A read that takes longer is
    /// [`kv::ErrorKind::Unavailable`], a commit [`kv::ErrorKind::CommitUnknown`].
    pub transaction_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_file: None,
            library: None,
            api_version: limits::API_VERSION_MAX,
            prefix: Vec::new(),
            connect_max: Duration::from_secs(10),
            transaction_max: Duration::from_secs(15),
        }
    }
}
