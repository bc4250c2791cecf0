//! `mss store`: a storage node.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Readiness};
use crate::engine::EngineFlags;
use crate::front::{address, announce, bind};
use crate::logging;
use crate::process::{self, Signals};
use crate::settings::{Overrides, Settings, listen_text};
use crate::storage::Storage;

/// Where a node listens when nothing else is said.
const RPC_DEFAULT: &str = "127.0.0.1:7143";

/// Run a storage node: engine, store and change feed, for front ends elsewhere.
///
/// Nodes over one FoundationDB find each other there; front ends hear of all from any. Prints one line when it is ready:
/// `ready rpc=ADDR admin=ADDR`. SIGTERM and SIGINT drain: the others are told, calls under way end, new ones go to other
/// nodes, within limits.drain_seconds_max. Beyond this machine it wants mutual TLS: settings rpc_tls.certificate,
/// rpc_tls.key and rpc_tls.client_ca.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    engine: EngineFlags,
    /// gRPC listener for front ends and tools [default: 127.0.0.1:7143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    rpc: Option<String>,
    /// Where front ends reach it, if that is not where it listens
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// Listener of /metrics, /healthz and /readyz; empty for none [default: 127.0.0.1:9143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    admin: Option<String>,
    /// TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until told to stop.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = arguments
        .engine
        .over(Overrides::default())
        .set("store.rpc_listen", arguments.rpc)
        .set("cluster.advertise", arguments.advertise)
        .set("admin.listen", arguments.admin);
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
    let mut signals = Signals::listen()?;
    process::raise_open_files(settings.limits.connections_max);
    let listen = Some(settings.store.rpc_listen.as_str()).filter(|text| !text.is_empty());
    let rpc = bind("store.rpc_listen", listen.unwrap_or(RPC_DEFAULT)).await?;
    let admin_port = bind("admin.listen", &settings.admin.listen).await?;
    let readiness = Readiness::default();
    let admin_address = address(admin_port.as_ref())?;
    if let Some(listener) = admin_port {
        let admin = Admin { metrics, readiness: readiness.clone() };
        tokio::spawn(admin.serve(listener, stop.clone()));
    }
    let tier = Storage::open(&settings, rpc).await?;
    let follower = tier.standing().map(|standing| readiness.follow(standing));
    announce([("rpc", tier.address), ("admin", admin_address)]);
    process::tell_ready(stop.clone());

    let fatal = tokio::select! {
        _ = signals.stop() => None,
        reason = tier.node.engine.fatal() => Some(reason),
    };
    if let Some(follower) = follower {
        follower.abort();
    }
    readiness.set(false);
    process::tell_stopping();
    tracing::info!("draining; a second signal cuts off what is left");
    let mut until = Instant::now() + Duration::from_secs(settings.limits.drain_seconds_max);
    if fatal.is_none() {
        tokio::select! {
            () = tier.drain(until) => {}
            _ = signals.stop() => until = Instant::now(),
        }
    }
    tier.close(until).await?;
    stop.cancel();
    tracing::info!("stopped");
    match fatal {
        Some(reason) => anyhow::bail!("the engine failed and must be opened anew: {reason}"),
        None => Ok(()),
    }
}
