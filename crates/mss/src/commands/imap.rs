//! `mss imap`: a front end over storage nodes elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use router::Router;
use store_rpc::ClientOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Readiness};
use crate::front::{Front, address, announce, bind};
use crate::process::{self, Asked, Signals};
use crate::settings::{Overrides, Settings, listen_text};
use crate::{logging, rpc};

/// Longest wait for the first storage node.
const FIRST_NODE_WAIT: Duration = Duration::from_secs(30);

/// Run an IMAP front end over storage nodes elsewhere.
///
/// It keeps nothing that another front end could not rebuild: run as many as clients need. Prints one line when it is
/// ready, and it reaches a storage node then: `ready imap=ADDR imaps=ADDR proxied=ADDR psk=ADDR admin=ADDR`. On SIGTERM /readyz says no; after
/// front.grace_seconds, so that load balancers see it, clients get `* BYE` and running commands end, all within
/// limits.drain_seconds_max. On SIGINT the grace is left out.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Some storage nodes, separated by commas; the others are heard of from these [default: http://127.0.0.1:7143]
    #[arg(long, value_name = "URL[,URL...]")]
    store: Option<String>,
    /// Cleartext IMAP listener with STARTTLS; empty for none [default: 127.0.0.1:1143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    imap: Option<String>,
    /// Implicit TLS IMAP listener; needs tls.certificate and tls.key
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    imaps: Option<String>,
    /// Listener of /metrics, /healthz and /readyz; empty for none [default: 127.0.0.1:9143]
    #[arg(long, value_name = "ADDR", value_parser = listen_text)]
    admin: Option<String>,
    /// TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until told to stop.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = Overrides::default()
        .set("front.store", arguments.store)
        .set("imap.listen", arguments.imap)
        .set("imap.tls_listen", arguments.imaps)
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
    let front = Front::bind(&settings).await?;
    let admin_port = bind("admin.listen", &settings.admin.listen).await?;
    let readiness = Readiness::default();
    let admin_address = address(admin_port.as_ref())?;
    if let Some(listener) = admin_port {
        let admin = Admin { metrics, readiness: readiness.clone() };
        tokio::spawn(admin.serve(listener, stop.clone()));
    }
    let folders = settings.cache.folder_bytes;
    let tier = Router::new(router::Options {
        nodes: rpc::nodes(&settings)?,
        tls: rpc::tls(&settings.rpc_tls)?,
        caches: ClientOptions { folder_bytes: folders / 8 * 5, info_bytes: folders / 8 * 3 },
        patience: Duration::from_secs(settings.front.patience_seconds),
    });
    let mut reached = tier.reaches_a_node();
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_NODE_WAIT, reached.wait_for(|yes| *yes)) => first.is_ok(),
        _ = signals.stop() => return Ok(()),
    };
    anyhow::ensure!(
        first,
        "front.store: no storage node answers within {} seconds at {}",
        FIRST_NODE_WAIT.as_secs(),
        settings.front.store.join(", ")
    );
    let decoy_key = tier.decoy_key().await?;
    let addresses = front.addresses()?;
    let server = front.serve(&settings, tier.clone(), tier.clone(), decoy_key)?;
    let follower = readiness.follow(reached);
    announce(addresses.into_iter().chain([("admin", admin_address)]));

    process::tell_ready(stop.clone());

    let asked = signals.stop().await;
    follower.abort();
    readiness.set(false);
    process::tell_stopping();
    let until = Instant::now() + Duration::from_secs(settings.limits.drain_seconds_max);
    if asked == Asked::Terminate {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(settings.front.grace_seconds)) => {}
            _ = signals.stop() => {}
        }
    }
    tracing::info!(connections = server.connections(), "draining; a second signal cuts off what is left");
    let cut_off = tokio::select! {
        cut_off = server.shut_down(until.saturating_duration_since(Instant::now())) => cut_off,
        _ = signals.stop() => server.shut_down(Duration::ZERO).await,
    };
    stop.cancel();
    tracing::info!(cut_off, "stopped");
    Ok(())
}
