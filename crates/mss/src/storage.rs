//! The storage tier in this process, served to tools, front ends and other nodes.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use store_api::NodeState;
use store_rpc::{ClusterSide, Gate, Services, ServicesOptions, Tls};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::{self, Node, Purpose};
use crate::push::Push;
use crate::rpc;
use crate::settings::{EngineName, Settings, roles};

/// How long calls must have stayed away before the connections of a node that drains are closed. Front ends hear of the
/// drain within milliseconds; a call that comes later is refused, and asked of another node.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for the database to take note of a node that comes or goes.
const REGISTER_WAIT: Duration = Duration::from_secs(5);

/// Store and feed, and who is told where they are.
pub struct Storage {
    /// Engine, store and feed.
    pub node: Node,
    /// The key of answers about addresses without an account.
    pub decoy_key: [u8; 32],
    /// Where front ends reach it, if they can.
    pub address: Option<SocketAddr>,
    member: Option<Arc<cluster::Node>>,
    push: Option<Push>,
    gate: Gate,
    /// Ends connections.
    stop: CancellationToken,
    serving: TaskTracker,
    socket: PathBuf,
    _claim: Option<std::fs::File>,
}

impl Storage {
    /// Opens engine, store and feed, and serves them on the socket in the data directory and on `listener` if there is
    /// one. With a listener it becomes a node of the cluster that its engine holds.
    ///
    /// # Errors
    /// One sentence that names the setting to look at.
    pub async fn open(settings: &Settings, listener: Option<TcpListener>) -> anyhow::Result<Self> {
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let tls = rpc::tls(&settings.rpc_tls)?;
        if let Some(address) = address {
            let (ip, text) = (address.ip(), address.to_string());
            roles::clear_is_local("store.rpc_listen", &text, Some(ip), &settings.rpc_tls)?;
        }
        let claim = node::claim(settings)?;
        let node = Node::open(settings, Purpose::Serve).await?;
        let engine = node.engine.kv();
        let earlier = node::earlier_decoy_key(settings)?;
        let decoy_key = cluster::installation(engine.as_ref(), b"", earlier).await?.decoy_key;
        let member = match address {
            None => None,
            Some(address) => {
                let options = member_options(settings, address, tls.is_some())?;
                Some(cluster::Node::join(engine, options).await?)
            }
        };
        let push = Push::start(settings, &node).await?;
        let storage = Self {
            socket: node::socket(&settings.data.dir),
            node,
            decoy_key,
            address,
            member,
            push,
            gate: Gate::new(),
            stop: CancellationToken::new(),
            serving: TaskTracker::new(),
            _claim: claim,
        };
        storage.serve_tools().await?;
        if let Some(listener) = listener {
            storage.serve(listener, tls).await?;
        }
        if let Some(member) = &storage.member {
            member.set_state(NodeState::Serving).await?;
        }
        Ok(storage)
    }

    /// Whether the others can know this node; none when it is no node of a cluster.
    pub fn standing(&self) -> Option<watch::Receiver<bool>> {
        self.member.as_ref().map(|member| member.standing())
    }

    fn services(&self, tls: Option<Tls>) -> Services {
        let options = ServicesOptions { tls, ..ServicesOptions::default() };
        let services =
            Services::new(self.node.mail_store(), self.node.change_feed(), self.gate.clone(), options)
                .with_maintenance(self.node.maintenance());
        match &self.member {
            None => services,
            Some(member) => services.with_cluster(ClusterSide {
                membership: member.clone(),
                own: member.id(),
                decoy_key: self.decoy_key,
            }),
        }
    }

    /// On the socket in the data directory, for tools beside this process.
    async fn serve_tools(&self) -> anyhow::Result<()> {
        let socket = &self.socket;
        // This process alone serves the directory: a socket in it is left from one that was killed.
        let _ = std::fs::remove_file(socket);
        let tools =
            UnixListener::bind(socket).with_context(|| format!("{} cannot be made", socket.display()))?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        let incoming = futures::stream::unfold(tools, |tools| async move {
            let accepted = tools.accept().await.map(|(stream, _)| stream);
            Some((accepted, tools))
        });
        let router = self.services(None).router().await?;
        let stopped = self.stop.clone().cancelled_owned();
        self.serving.spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming.boxed(), stopped).await {
                tracing::error!(%error, "the socket for tools ended");
            }
        });
        Ok(())
    }

    /// On a port, for front ends.
    async fn serve(&self, listener: TcpListener, tls: Option<Tls>) -> anyhow::Result<()> {
        let incoming = futures::stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                stream
            });
            Some((accepted, listener))
        });
        let router = self.services(tls).router().await?;
        let stopped = self.stop.clone().cancelled_owned();
        self.serving.spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming.boxed(), stopped).await {
                tracing::error!(%error, "store.rpc_listen ended");
            }
        });
        Ok(())
    }

    /// Begins nothing more and ends what was begun, at the latest at `until`: the others are told first, so that calls
    /// go elsewhere; then new ones are refused before they begin, while connections stay; when none is left and none has
    /// come for a moment, connections close.
    pub async fn drain(&self, until: Instant) {
        if let Some(member) = &self.member {
            let told = tokio::time::timeout(REGISTER_WAIT, member.set_state(NodeState::Draining)).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::warn!("the others could not be told that this node drains");
            }
        }
        self.gate.close();
        let ended = async {
            self.gate.empty().await;
            if self.member.is_some() {
                tokio::time::sleep(QUIET).await;
            }
        };
        let calls = self.gate.inside();
        if tokio::time::timeout_at(until, ended).await.is_err() {
            tracing::warn!(calls = self.gate.inside(), "calls are cut off");
        }
        tracing::info!(calls, "drained");
    }

    /// Ends connections, leaves the cluster and closes the engine. Streams that are still read end at `until`.
    pub async fn close(self, until: Instant) -> anyhow::Result<()> {
        self.gate.close();
        self.stop.cancel();
        self.serving.close();
        let _ = tokio::time::timeout_at(until, self.serving.wait()).await;
        if let Some(push) = self.push {
            push.stop(until).await;
        }
        if let Some(member) = &self.member
            && !matches!(tokio::time::timeout(REGISTER_WAIT, member.leave()).await, Ok(Ok(())))
        {
            tracing::warn!("the others could not be told that this node leaves");
        }
        let _ = std::fs::remove_file(&self.socket);
        let engine = self.node.engine.clone();
        drop(self.node);
        engine.close().await
    }
}

fn member_options(settings: &Settings, address: SocketAddr, tls: bool) -> anyhow::Result<cluster::Options> {
    let advertised = &settings.cluster.advertise;
    let url = if !advertised.is_empty() {
        advertised.clone()
    } else if address.ip().is_unspecified() {
        anyhow::bail!(
            "store.rpc_listen is {address}, so cluster.advertise must say where front ends reach it"
        )
    } else {
        format!("{}://{address}", if tls { "https" } else { "http" })
    };
    let name = match settings.cluster.node_name.as_str() {
        "" => url.split_once("://").map_or(url.as_str(), |(_, place)| place.trim_end_matches('/')).to_owned(),
        name => name.to_owned(),
    };
    Ok(cluster::Options {
        group: cluster::Group::Storage,
        prefix: Vec::new(),
        name,
        address: url,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        renew: Duration::from_millis(settings.cluster.renew_ms),
        lease: Duration::from_millis(settings.cluster.lease_ms),
        sole: settings.data.engine == EngineName::Embedded,
    })
}
