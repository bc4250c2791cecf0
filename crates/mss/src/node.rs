//! A storage node: engine, store and feed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use feed::Feed;
use store::Store;
use store_api::{ChangeFeed, MailStore, Maintenance};

use crate::admin;
use crate::engine::OpenEngine;
use crate::settings::{EngineName, Settings};

/// Name of the socket in the data directory, on which a running server takes requests of tools beside it.
pub const SOCKET: &str = "mss.sock";

/// The tier in this process.
pub struct Node {
    /// Its engine.
    pub engine: Arc<OpenEngine>,
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
    /// Opens the engine of `settings`, and store and feed over it.
    ///
    /// # Errors
    /// Those of [`OpenEngine::open`], and what keeps the store from reading what is there.
    pub async fn open(settings: &Settings, purpose: Purpose) -> Result<Self, anyhow::Error> {
        let engine = Arc::new(OpenEngine::open(settings).await?);
        let folders = settings.cache.folder_bytes;
        let store_options = store::Options {
            folder_cache_bytes: folders / 2,
            tree_cache_bytes: folders / 8,
            info_cache_bytes: folders / 4,
            header_cache_bytes: folders / 8,
            body_cache_bytes: settings.cache.body_bytes,
            sweep: purpose == Purpose::Serve,
            deleted_days: settings.retention.deleted_days,
            ..store::Options::default()
        };
        let store = Store::open(engine.kv(), store_options).await?;
        let feed_options = feed::Options {
            trim: purpose == Purpose::Serve,
            retention_seconds: settings.retention.feed_days * 86_400,
            ..feed::Options::default()
        };
        let feed = Feed::new(engine.kv(), feed_options);
        let (weak_store, weak_feed) = (Arc::downgrade(&store), Arc::downgrade(&feed));
        admin::refresh_at_scrape(move || {
            if let Some(store) = weak_store.upgrade() {
                store.refresh_gauges();
            }
            if let Some(feed) = weak_feed.upgrade() {
                feed.refresh_gauges();
            }
        });
        Ok(Self { engine, store, feed })
    }

    /// The store as its callers see it.
    pub fn mail_store(&self) -> Arc<dyn MailStore> {
        self.store.clone()
    }

    /// The store as an operator's tools see it.
    pub fn maintenance(&self) -> Arc<dyn Maintenance> {
        self.store.clone()
    }

    /// The feed as its callers see it.
    pub fn change_feed(&self) -> Arc<dyn ChangeFeed> {
        self.feed.clone()
    }
}

/// Keeps other servers off the data directory for as long as the value lives. The embedded engine sees to that itself,
/// and gets none.
///
/// # Errors
/// When another server has it, or it cannot be made.
pub fn claim(settings: &Settings) -> anyhow::Result<Option<std::fs::File>> {
    let directory = &settings.data.dir;
    match settings.data.engine {
        EngineName::Embedded => Ok(None),
        EngineName::Fdb => {
            let unusable = || format!("data.dir: {} cannot be used", directory.display());
            std::fs::create_dir_all(directory).with_context(unusable)?;
            let file = std::fs::File::create(directory.join("serve.lock")).with_context(unusable)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(std::fs::TryLockError::WouldBlock) => {
                    anyhow::bail!("data.dir: {} is served by another process", directory.display())
                }
                Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(unusable),
            }
        }
    }
}

/// The key of answers about addresses without an account as an earlier release kept it, in a file beside the data; it
/// stands in the database now.
///
/// # Errors
/// When the file is there and cannot be used.
pub fn earlier_decoy_key(settings: &Settings) -> anyhow::Result<Option<[u8; 32]>> {
    let path = settings.data.dir.join("decoy.key");
    match std::fs::read(&path) {
        Ok(key) => key.try_into().map(Some).map_err(|_| {
            anyhow::anyhow!("{} must have 32 octets; remove it to get a new one", path.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Where a server on `directory` listens for tools.
pub fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

#[cfg(test)]
mod tests {
    use kv::TransactionOptions;
    use model::{AccountId, CpmAddress, Flags, MailboxName};
    use store::keyspace::Keyspace;
    use store::records::FeedEntry;
    use store::{Environment, SystemEnvironment};
    use store_api::{
        AppendBody, AppendMessage, AppendRequest, Credentials, Ctx, NewAccount, QuotaLimits, Requestor,
        ServiceClass,
    };

    use super::*;

    const DAY: i64 = 86_400;

    /// Changes of two and of twenty days ago, with what the settings say of them.
    #[tokio::test]
    async fn changes_are_kept_as_long_as_asked() -> anyhow::Result<()> {
        let now = SystemEnvironment.now_millis();
        let account = AccountId(7);
        for (feed_days, expected) in [(1, 2), (3, 1), (30, 0)] {
            let folder = tempfile::tempdir()?;
            let mut settings = Settings::default();
            settings.data.dir = folder.path().to_owned();
            settings.data.free_bytes_min = 0;
            settings.retention.feed_days = feed_days;
            let node = Node::open(&settings, Purpose::Tool).await?;
            for days in [20, 2] {
                let at_millis = now - days * DAY * 1_000;
                let entry = FeedEntry { account, at_millis, items: Vec::new() };
                let mut trx = node.engine.kv().begin(TransactionOptions::default());
                let log = Keyspace::new(&[]).feed_log_prefix(account.partition());
                trx.set_versionstamped_key(&log, &[0, 0], &entry.encode());
                trx.commit().await?;
            }
            assert_eq!(node.feed.trim().await?, expected, "{feed_days} days");
        }
        Ok(())
    }

    /// The clock, some time ago.
    struct Ago(i64);

    impl Environment for Ago {
        fn now(&self) -> i64 {
            SystemEnvironment.now() - self.0
        }

        fn random(&self) -> u64 {
            SystemEnvironment.random()
        }
    }

    /// `retention.deleted_days` reaches the sweeper: what was \Deleted ten days ago goes after nine, and not after
    /// eleven, nor without the setting.
    #[tokio::test]
    async fn what_is_long_deleted_goes_as_set() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings::default();
        settings.data.dir = folder.path().join("data");
        settings.data.free_bytes_min = 0;
        let ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };
        {
            let engine = OpenEngine::open(&settings).await?;
            let environment = Arc::new(Ago(10 * DAY));
            let options = store::Options { sweep: false, environment, ..store::Options::default() };
            let store = Store::open(engine.kv(), options).await?;
            let new = NewAccount {
                address: CpmAddress::parse("tel:+15550000001")?,
                credentials: Credentials::None,
                limits: QuotaLimits::default(),
                service: ServiceClass::default(),
            };
            let account = store.create_account(&ctx, new).await?;
            let message = |flags| AppendMessage {
                flags,
                keywords: Vec::new(),
                internal_date: None,
                annotations: Vec::new(),
                body: AppendBody::Inline("x".into()),
            };
            let messages = vec![message(Flags::DELETED), message(Flags::SEEN)];
            let mailbox = MailboxName::parse("INBOX")?;
            store.append(&ctx, account, AppendRequest { mailbox, messages }).await?;
        }
        for (days, expunged) in [(0, 0), (11, 0), (9, 1), (9, 0)] {
            settings.retention.deleted_days = days;
            let node = Node::open(&settings, Purpose::Tool).await?;
            assert_eq!(node.store.sweep_all().await?.messages, expunged, "{days} days");
        }
        Ok(())
    }
}
