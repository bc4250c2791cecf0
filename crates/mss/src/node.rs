//! A storage node on the embedded engine: engine, store and feed over one directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use feed::Feed;
use kv_embedded::{EmbeddedEngine, OpenError};
use store::Store;
use store_api::{ChangeFeed, MailStore};

use crate::settings::Settings;

/// Name of the socket in the data directory, on which a running server takes requests of tools beside it.
pub const SOCKET: &str = "mss.sock";

/// The tier in this process.
pub struct Node {
    /// Its engine.
    pub engine: Arc<EmbeddedEngine>,
    /// Its store.
    pub store: Arc<Store>,
    /// Its feed.
    pub feed: Arc<Feed>,
}

/// What a node is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: sweeps and trims go on in the background.
    Serve,
    /// For one command of a tool.
    Tool,
}

impl Node {
    /// Opens the directory of `settings`.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another process has it; whatever else keeps it shut.
    pub async fn open(settings: &Settings, purpose: Purpose) -> Result<Self, anyhow::Error> {
        let engine_options = kv_embedded::Options {
            cache_bytes: settings.cache.engine_bytes,
            free_bytes_min: settings.data.free_bytes_min,
            ..kv_embedded::Options::default()
        };
        let directory = settings.data.dir.clone();
        // Replays the journal of a killed process: may take a while, so not on the runtime's threads.
        let engine =
            tokio::task::spawn_blocking(move || EmbeddedEngine::open(&directory, engine_options)).await??;
        let folders = settings.cache.folder_bytes;
        let store_options = store::Options {
            folder_cache_bytes: folders / 2,
            tree_cache_bytes: folders / 8,
            info_cache_bytes: folders / 8 * 3,
            body_cache_bytes: settings.cache.body_bytes,
            sweep: purpose == Purpose::Serve,
            ..store::Options::default()
        };
        let store = Store::open(engine.clone(), store_options).await?;
        let feed_options = feed::Options { trim: purpose == Purpose::Serve, ..feed::Options::default() };
        let feed = Feed::new(engine.clone(), feed_options);
        Ok(Self { engine, store, feed })
    }

    /// The store as its callers see it.
    pub fn mail_store(&self) -> Arc<dyn MailStore> {
        self.store.clone()
    }

    /// The feed as its callers see it.
    pub fn change_feed(&self) -> Arc<dyn ChangeFeed> {
        self.feed.clone()
    }
}

/// Whether a directory could not be opened because another process serves it.
pub fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Locked { .. }))
}

/// Where a server on `directory` listens for tools.
pub fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}
