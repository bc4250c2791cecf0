//! The engine underneath, opened as the settings say: the one place that knows which there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kv::meter::MeteredEngine;
use kv_embedded::{EmbeddedEngine, OpenError};
use kv_fdb::FdbEngine;

use crate::settings::{EngineName, Overrides, Settings};

/// Flags of every command that opens an engine.
#[derive(Debug, clap::Args)]
pub struct EngineFlags {
    /// Directory of the data; made if it is not there [default: ./mss-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Engine underneath [default: embedded]
    #[arg(long, global = true, value_name = "NAME")]
    engine: Option<EngineName>,
    /// FoundationDB cluster file, for --engine fdb [default: $FDB_CLUSTER_FILE, ./fdb.cluster or
    /// /etc/foundationdb/fdb.cluster]
    #[arg(long, global = true, value_name = "FILE")]
    cluster_file: Option<String>,
}

impl EngineFlags {
    /// What these flags say of the settings, added to `flags`.
    pub fn over(self, flags: Overrides) -> Overrides {
        flags
            .set("data.dir", self.data)
            .set("data.engine", self.engine.map(|name| name.to_string()))
            .set("fdb.cluster_file", self.cluster_file)
    }
}

/// An open engine. Transactions see only [`kv::Engine`]; starting, failing and stopping differ by engine.
pub enum OpenEngine {
    /// One directory, one process.
    Embedded(Arc<EmbeddedEngine>),
    /// A cluster, shared with other processes.
    Fdb(Arc<FdbEngine>),
}

impl OpenEngine {
    /// Opens the engine that `settings` name.
    ///
    /// # Errors
    /// One sentence that names the setting to look at; see [`is_locked`] for the one that callers act on.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        match settings.data.engine {
            EngineName::Embedded => open_embedded(settings).await,
            EngineName::Fdb => open_fdb(settings).await,
        }
    }

    /// The engine as everything above sees it, its calls measured.
    pub fn kv(&self) -> Arc<dyn kv::Engine> {
        MeteredEngine::new(match self {
            Self::Embedded(engine) => engine.clone(),
            Self::Fdb(engine) => engine.clone(),
        })
    }

    /// Resolves, with the reason, once the engine has failed for good and the process must end.
    pub async fn fatal(&self) -> String {
        match self {
            Self::Embedded(engine) => engine.fatal().await,
            // Whatever happens to a cluster, the client goes on when it is back.
            Self::Fdb(_) => std::future::pending().await,
        }
    }

    /// Stops the engine cleanly. Whoever still holds it gets errors from then on.
    pub async fn close(&self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(engine) => {
                let engine = engine.clone();
                // Waits for a sync of the disk.
                tokio::task::spawn_blocking(move || engine.close()).await?;
            }
            Self::Fdb(engine) => engine.close(),
        }
        Ok(())
    }
}

async fn open_embedded(settings: &Settings) -> anyhow::Result<OpenEngine> {
    let options = kv_embedded::Options {
        cache_bytes: settings.cache.engine_bytes,
        free_bytes_min: settings.data.free_bytes_min,
        ..kv_embedded::Options::default()
    };
    let directory = settings.data.dir.clone();
    // Replays the journal of a killed process: may take a while, so not on the runtime's threads.
    let opened = tokio::task::spawn_blocking(move || EmbeddedEngine::open(&directory, options)).await?;
    let engine =
        opened.with_context(|| format!("data.dir: {} cannot be opened", settings.data.dir.display()))?;
    Ok(OpenEngine::Embedded(engine))
}

async fn open_fdb(settings: &Settings) -> anyhow::Result<OpenEngine> {
    let fdb = &settings.fdb;
    let named = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    let options = kv_fdb::Options {
        cluster_file: named(&fdb.cluster_file),
        library: named(&fdb.library),
        api_version: fdb.api_version,
        prefix: fdb.prefix.clone().into_bytes(),
        connect_max: Duration::from_secs(fdb.connect_seconds_max),
        transaction_max: Duration::from_secs(fdb.transaction_seconds_max),
    };
    let engine = FdbEngine::open(options).await.map_err(|error| {
        let key = match &error {
            kv_fdb::OpenError::Library(_) => "fdb.library",
            kv_fdb::OpenError::LibraryTooOld { .. } | kv_fdb::OpenError::ApiVersion { .. } => {
                "fdb.api_version"
            }
            kv_fdb::OpenError::Prefix { .. } => "fdb.prefix",
            kv_fdb::OpenError::Unreachable { .. }
            | kv_fdb::OpenError::ClusterFile { .. }
            | kv_fdb::OpenError::ClusterFileMalformed { .. } => "fdb.cluster_file",
            _ => "data.engine",
        };
        anyhow::Error::new(error).context(key)
    })?;
    Ok(OpenEngine::Fdb(engine))
}

/// Whether a directory could not be opened because another process serves it.
pub fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Locked { .. }))
}
