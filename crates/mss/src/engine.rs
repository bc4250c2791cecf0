//! The engine underneath, opened as the settings say: the one place that knows which there are.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use kv_embedded::{EmbeddedEngine, OpenError};

use crate::settings::{EngineName, Overrides, Settings};

/// Flags of every command that opens an engine.
#[derive(Debug, clap::Args)]
pub struct EngineFlags {
    /// Directory of the data; made if it is not there [default: ./mss-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Engine underneath [default: embedded]
    #[arg(long, global = true, value_name = "NAME")]
    engine: Option<EngineName>,
}

impl EngineFlags {
    /// What these flags say of the settings, added to `flags`.
    pub fn over(self, flags: Overrides) -> Overrides {
        flags
            .set("data.dir", self.data.map(|path| path.to_string_lossy().into_owned()))
            .set("data.engine", self.engine.map(|name| name.to_string()))
    }
}

/// An open engine. Transactions see only [`kv::Engine`]; starting, failing and stopping differ by engine.
pub enum OpenEngine {
    /// One directory, one process.
    Embedded(Arc<EmbeddedEngine>),
}

impl OpenEngine {
    /// Opens the engine that `settings` name.
    ///
    /// # Errors
    /// One sentence that names the setting to look at; see [`is_locked`] for the one that callers act on.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        match settings.data.engine {
            EngineName::Embedded => open_embedded(settings).await,
        }
    }

    /// The engine as everything above sees it.
    pub fn kv(&self) -> Arc<dyn kv::Engine> {
        match self {
            Self::Embedded(engine) => engine.clone(),
        }
    }

    /// Resolves, with the reason, once the engine has failed for good and the process must end.
    pub async fn fatal(&self) -> String {
        match self {
            Self::Embedded(engine) => engine.fatal().await,
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

/// Whether a directory could not be opened because another process serves it.
pub fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Locked { .. }))
}
