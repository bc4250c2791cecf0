//! `mss push`: notices to the PUSH enabler, in a process of their own.

mod letters;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use store_rpc::Endpoint;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Readiness};
use crate::engine::EngineFlags;
use crate::front::{address, announce, bind};
use crate::logging;
use crate::node::{Node, Purpose};
use crate::process::{self, Signals};
use crate::push::Push;
use crate::settings::{EngineName, Overrides, Settings, listen_text};
use crate::tier::Tier;

/// Tell the operator's PUSH enabler of changes, so that it wakes the devices that did not make them.
///
/// Reads the change feed in the FoundationDB cluster that the storage nodes use. Any number of these share the work;
/// storage nodes and `mss serve` do it themselves when push.url is set for them. Prints one line when it is ready:
/// `ready admin=ADDR`. SIGTERM and SIGINT end it: notices under way are finished within limits.drain_seconds_max.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    engine: EngineFlags,
    /// Where notices are posted: an http or https URL
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Listener of /metrics, /healthz and /readyz; empty for none [default: 127.0.0.1:9143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    admin: Option<String>,
    /// TOML file of settings
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Look at notices that were given up, send them again, or forget them.
    ///
    /// With --data (the default) the directory is opened, or, when a server runs on it, that server is asked through
    /// the socket in the directory.
    DeadLetters {
        #[command(subcommand)]
        action: letters::Action,
        /// Storage node to ask instead: http://HOST:PORT or unix:/PATH
        #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["data", "engine", "cluster_file"])]
        store: Option<Endpoint>,
    },
}

/// Runs until told to stop.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = arguments
        .engine
        .over(Overrides::default())
        .set("push.url", arguments.url)
        .set("admin.listen", arguments.admin);
    let settings = Settings::load(arguments.config.as_deref(), flags)?;
    if let Some(Action::DeadLetters { action, store }) = arguments.action {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(async {
            let tier = Tier::open(&settings, store, false).await?;
            let outcome = letters::act(&tier, &settings, action).await;
            tier.close().await?;
            outcome
        });
    }
    anyhow::ensure!(
        !settings.push.url.is_empty(),
        "push.url is empty, but must say where notices are posted"
    );
    anyhow::ensure!(
        settings.data.engine == EngineName::Fdb,
        "data.engine is embedded, which one process has to itself: set push.url for `mss serve` or `mss store` instead"
    );
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
    let admin_port = bind("admin.listen", &settings.admin.listen).await?;
    let readiness = Readiness::default();
    let admin_address = address(admin_port.as_ref())?;
    if let Some(listener) = admin_port {
        let admin = Admin { metrics, readiness: readiness.clone() };
        tokio::spawn(admin.serve(listener, stop.clone()));
    }
    let node = Node::open(&settings, Purpose::Tool).await?;
    let push = Push::start(&settings, &node).await?;
    readiness.set(true);
    announce([("admin", admin_address)]);
    process::tell_ready(stop.clone());

    signals.stop().await;
    readiness.set(false);
    process::tell_stopping();
    tracing::info!("ending; a second signal cuts off what is left");
    let until = Instant::now() + Duration::from_secs(settings.limits.drain_seconds_max);
    if let Some(push) = push {
        tokio::select! {
            () = push.stop(until) => {}
            _ = signals.stop() => {}
        }
    }
    let engine = node.engine.clone();
    drop(node);
    engine.close().await?;
    stop.cancel();
    tracing::info!("stopped");
    Ok(())
}
