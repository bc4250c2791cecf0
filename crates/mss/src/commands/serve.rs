//! `mss serve`: every role in one process.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use imap_server::{CleartextLogin, Literals, Security, Server};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Readiness};
use crate::engine::EngineFlags;
use crate::node::{self, Node, Purpose};
use crate::process::{self, Signals};
use crate::settings::{Overrides, Settings, listen_address, listen_text};
use crate::{logging, tls};

/// Run everything in one process: IMAP, storage tier and change feed, on one directory or a FoundationDB cluster.
///
/// Prints one line when it is ready: `ready imap=ADDR imaps=ADDR admin=ADDR rpc=ADDR`, each left out when it does not
/// listen. SIGTERM and SIGINT drain: clients get `* BYE`, running commands end, within limits.drain_seconds_max;
/// a second signal cuts them off. Settings come from flags, then the environment (MSS_IMAP__LISTEN and so on), then
/// the file of --config, then defaults that work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    engine: EngineFlags,
    /// Cleartext IMAP listener with STARTTLS; empty for none [default: 127.0.0.1:1143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    imap: Option<String>,
    /// Implicit TLS IMAP listener; needs tls.certificate and tls.key
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    imaps: Option<String>,
    /// Listener of /metrics, /healthz and /readyz; empty for none [default: 127.0.0.1:9143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    admin: Option<String>,
    /// gRPC listener of the storage tier, for front ends and tools elsewhere; it does not ask who calls
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    store_rpc: Option<String>,
    /// TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until told to stop.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = arguments
        .engine
        .over(Overrides::default())
        .set("imap.listen", arguments.imap)
        .set("imap.tls_listen", arguments.imaps)
        .set("admin.listen", arguments.admin)
        .set("store.rpc_listen", arguments.store_rpc);
    let settings = Settings::load(arguments.config.as_deref(), flags)?;
    logging::start(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let metrics = admin::install_metrics(stop.clone())?;
    let tls = tls::load(&settings.tls)?;
    let mut signals = Signals::listen()?;
    process::raise_open_files(settings.limits.connections_max);

    let imap = bind("imap.listen", &settings.imap.listen).await?;
    let imaps = bind("imap.tls_listen", &settings.imap.tls_listen).await?;
    let admin_port = bind("admin.listen", &settings.admin.listen).await?;
    let rpc = bind("store.rpc_listen", &settings.store.rpc_listen).await?;
    let readiness = Readiness::default();
    let admin_address = admin_port.as_ref().map(TcpListener::local_addr).transpose()?;
    if let Some(listener) = admin_port {
        let admin = Admin { metrics, readiness: readiness.clone() };
        tokio::spawn(admin.serve(listener, stop.clone()));
    }

    let _claim = node::claim(&settings)?;
    let node = Node::open(&settings, Purpose::Serve).await?;
    let socket = node::socket(&settings.data.dir);
    let rpc_address = rpc.as_ref().map(TcpListener::local_addr).transpose()?;
    serve_rpc(&node, rpc, &socket, stop.clone()).await?;

    let addresses = [("imap", address(imap.as_ref())?), ("imaps", address(imaps.as_ref())?)];
    if tls.is_none() {
        tracing::warn!("no certificate is configured: login in clear is allowed on loopback addresses only");
    }
    let server = Server::new(
        node.mail_store(),
        node.change_feed(),
        imap_options(&settings, tls, decoy_key(&settings)?),
    );
    for (listener, security) in [(imap, Security::Cleartext), (imaps, Security::Tls)] {
        if let Some(listener) = listener {
            let server = server.clone();
            tokio::spawn(async move { server.serve(listener, security).await });
        }
    }
    readiness.set(true);
    announce(addresses.into_iter().chain([("admin", admin_address), ("rpc", rpc_address)]));

    process::tell_ready(stop.clone());

    let fatal = tokio::select! {
        () = signals.stop() => None,
        reason = node.engine.fatal() => Some(reason),
    };
    readiness.set(false);
    process::tell_stopping();
    tracing::info!(connections = server.connections(), "draining; a second signal cuts off what is left");
    let patience = Duration::from_secs(settings.limits.drain_seconds_max);
    let cut_off = tokio::select! {
        cut_off = server.shut_down(patience) => cut_off,
        () = signals.stop() => server.shut_down(Duration::ZERO).await,
    };
    stop.cancel();
    let _ = std::fs::remove_file(&socket);
    let engine = node.engine.clone();
    drop(node);
    engine.close().await?;
    tracing::info!(cut_off, "stopped");
    match fatal {
        Some(reason) => anyhow::bail!("the engine failed and must be opened anew: {reason}"),
        None => Ok(()),
    }
}

/// Serves the tier on the socket in the data directory, and on `listener` if there is one.
async fn serve_rpc(
    node: &Node,
    listener: Option<TcpListener>,
    socket: &Path,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let services = || {
        store_rpc::Services::new(node.mail_store(), node.change_feed(), store_rpc::ServicesOptions::default())
            .with_maintenance(node.maintenance())
    };
    // This process alone serves the directory: a socket in it is left from one that was killed.
    let _ = std::fs::remove_file(socket);
    let tools = UnixListener::bind(socket).with_context(|| format!("{} cannot be made", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let incoming = futures::stream::unfold(tools, |tools| async move {
        let accepted = tools.accept().await.map(|(stream, _)| stream);
        Some((accepted, tools))
    });
    let router = services().router(stop.clone()).await?;
    let stopped = stop.clone();
    tokio::spawn(async move {
        let served = router.serve_with_incoming_shutdown(incoming.boxed(), stopped.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the socket for tools ended");
        }
    });
    if let Some(listener) = listener {
        if !listener.local_addr()?.ip().is_loopback() {
            tracing::warn!(
                "store.rpc_listen is not a loopback address: whoever reaches it may do everything"
            );
        }
        let incoming = futures::stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                stream
            });
            Some((accepted, listener))
        });
        let router = services().router(stop.clone()).await?;
        tokio::spawn(async move {
            let served = router.serve_with_incoming_shutdown(incoming.boxed(), stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "store.rpc_listen ended");
            }
        });
    }
    Ok(())
}

fn imap_options(
    settings: &Settings,
    tls: Option<imap_server::Tls>,
    decoy_key: secrecy::SecretSlice<u8>,
) -> imap_server::Options {
    let limits = &settings.limits;
    imap_server::Options {
        tls,
        cleartext_login: CleartextLogin::Loopback,
        decoy_key: Some(decoy_key),
        comment: Some(settings.imap.comment.clone()).filter(|text| !text.is_empty()),
        admin: Some(settings.imap.admin.clone()).filter(|text| !text.is_empty()),
        literals: if settings.imap.literal_minus { Literals::Minus } else { Literals::Plus },
        limits: imap_server::Limits {
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
            sessions_per_account_max: limits.connections_per_account_max,
            login_time_max: Duration::from_secs(limits.login_seconds_max),
            silence_max: Duration::from_secs(limits.idle_seconds_max),
            write_stall_max: Duration::from_secs(limits.write_stall_seconds_max),
            login_failures_per_account_max: limits.login_failures_max,
            idle_keepalive: Duration::from_secs(settings.imap.idle_keepalive_seconds),
            line_bytes_max: limits.command_line_bytes_max,
            ..imap_server::Limits::default()
        },
    }
}

/// The key of answers about addresses without an account: made once and kept beside the data, so that a restart does
/// not tell such an address from a real one.
fn decoy_key(settings: &Settings) -> anyhow::Result<secrecy::SecretSlice<u8>> {
    let path = settings.data.dir.join("decoy.key");
    let key = match std::fs::read(&path) {
        Ok(key) if key.len() == 32 => key,
        Ok(_) => anyhow::bail!("{} must have 32 octets; remove it to get a new one", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = rand::random();
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            std::io::Write::write_all(&mut file, &key)?;
            key.to_vec()
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    Ok(key.into())
}

async fn bind(key: &str, address: &str) -> anyhow::Result<Option<TcpListener>> {
    match listen_address(key, address)? {
        None => Ok(None),
        Some(address) => TcpListener::bind(address)
            .await
            .map(Some)
            .with_context(|| format!("{key}: {address} cannot be listened on")),
    }
}

fn address(listener: Option<&TcpListener>) -> anyhow::Result<Option<SocketAddr>> {
    Ok(listener.map(TcpListener::local_addr).transpose()?)
}

/// The one line that says the server is ready, on standard output.
fn announce(addresses: impl Iterator<Item = (&'static str, Option<SocketAddr>)>) {
    let mut line = "ready".to_owned();
    for (name, address) in addresses {
        if let Some(address) = address {
            line.push_str(&format!(" {name}={address}"));
        }
    }
    println!("{line}");
    let _ = std::io::Write::flush(&mut std::io::stdout());
}
