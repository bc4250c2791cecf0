//! The storage tier, as the commands of an operator reach it.

use std::sync::Arc;

use anyhow::Context as _;
use kv_embedded::EmbeddedEngine;
use model::ErrorKind;
use store_api::{Ctx, MailStore, Maintenance, Requestor};
use store_rpc::{ClientCaches, ClientOptions, Endpoint, RemoteMaintenance, RemoteStore};

use crate::engine;
use crate::node::{self, Node, Purpose};
use crate::rpc;
use crate::settings::{EngineName, Settings};

/// The tier to ask: a node elsewhere, or the directory opened here.
pub struct Tier {
    /// Accounts, folders and messages.
    pub store: Arc<dyn MailStore>,
    /// Checks and restores.
    pub maintenance: Arc<dyn Maintenance>,
    opened: Option<Node>,
}

impl Tier {
    /// Opens what `settings` or `store` name. Only where `may_begin`, a directory without data becomes one with data.
    ///
    /// # Errors
    /// One sentence that names the setting to look at.
    pub async fn open(settings: &Settings, store: Option<Endpoint>, may_begin: bool) -> anyhow::Result<Self> {
        let remote = |endpoint: &Endpoint| -> anyhow::Result<Self> {
            let channels = rpc::channels(endpoint, settings)?;
            let maintenance = channels.first().cloned().context("there is no channel")?;
            Ok(Self {
                store: Arc::new(RemoteStore::new(channels, ClientCaches::new(ClientOptions::default()))),
                maintenance: Arc::new(RemoteMaintenance::new(maintenance)),
                opened: None,
            })
        };
        if let Some(endpoint) = store {
            return remote(&endpoint);
        }
        if !may_begin && settings.data.engine == EngineName::Embedded {
            let directory = &settings.data.dir;
            anyhow::ensure!(
                EmbeddedEngine::is_in(directory),
                "data.dir: {} holds no data of a server; say --data DIR or --store URL",
                directory.display()
            );
        }
        match Node::open(settings, Purpose::Tool).await {
            Ok(node) => {
                Ok(Self { store: node.mail_store(), maintenance: node.maintenance(), opened: Some(node) })
            }
            Err(error) if engine::is_locked(&error) => {
                let socket = std::path::absolute(node::socket(&settings.data.dir))?;
                anyhow::ensure!(socket.exists(), "{error:#}, and it has no socket {}", socket.display());
                remote(&Endpoint::Unix(socket))
            }
            Err(error) => Err(error),
        }
    }

    /// Closes what was opened.
    ///
    /// # Errors
    /// Whatever the engine fails with.
    pub async fn close(self) -> anyhow::Result<()> {
        drop((self.store, self.maintenance));
        if let Some(node) = self.opened {
            let engine = node.engine.clone();
            drop(node);
            engine.close().await?;
        }
        Ok(())
    }
}

/// Who asks: the operator, in a request of its own.
pub fn ctx() -> Ctx {
    Ctx { request_id: rand::random(), deadline: None, requestor: Requestor::Operator }
}

/// The store's error, as the operator is told.
pub fn told(error: model::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AccountExists | ErrorKind::NoSuchAccount | ErrorKind::Limit => {
            anyhow::anyhow!("{}", error.text())
        }
        _ => anyhow::anyhow!("{error}"),
    }
}
