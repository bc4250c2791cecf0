//! `mss serve`: every role in one process.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Readiness};
use crate::engine::EngineFlags;
use crate::front::{Front, address, announce, bind};
use crate::logging;
use crate::process::{self, Signals};
use crate::settings::{Overrides, Settings, listen_text};
use crate::storage::Storage;

/// Run everything in one process: IMAP, storage tier and change feed, on one directory or a FoundationDB cluster.
///
/// Prints one line when it is ready: `ready imap=ADDR imaps=ADDR proxied=ADDR psk=ADDR admin=ADDR rpc=ADDR`, each left out when it does not
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
    /// gRPC listener of the storage tier, for front ends and tools elsewhere
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
    let mut signals = Signals::listen()?;
    process::raise_open_files(settings.limits.connections_max);
    let front = Front::bind(&settings).await?;
    let admin_port = bind("admin.listen", &settings.admin.listen).await?;
    let rpc = bind("store.rpc_listen", &settings.store.rpc_listen).await?;
    let readiness = Readiness::default();
    let admin_address = address(admin_port.as_ref())?;
    if let Some(listener) = admin_port {
        let admin = Admin { metrics, readiness: readiness.clone() };
        tokio::spawn(admin.serve(listener, stop.clone()));
    }
    let tier = Storage::open(&settings, rpc).await?;
    let addresses = front.addresses()?;
    let (store, feed) = (tier.node.mail_store(), tier.node.change_feed());
    let server = front.serve(&settings, store, feed, tier.decoy_key)?;
    readiness.set(true);
    announce(addresses.into_iter().chain([("admin", admin_address), ("rpc", tier.address)]));

    process::tell_ready(stop.clone());

    let fatal = tokio::select! {
        _ = signals.stop() => None,
        reason = tier.node.engine.fatal() => Some(reason),
    };
    readiness.set(false);
    process::tell_stopping();
    tracing::info!(connections = server.connections(), "draining; a second signal cuts off what is left");
    let patience = Duration::from_secs(settings.limits.drain_seconds_max);
    let mut until = Instant::now() + patience;
    let ended = async {
        let (cut_off, ()) = tokio::join!(server.shut_down(patience), async {
            if fatal.is_none() {
                tier.drain(until).await;
            }
        });
        cut_off
    };
    let cut_off = tokio::select! {
        cut_off = ended => cut_off,
        _ = signals.stop() => {
            until = Instant::now();
            server.shut_down(Duration::ZERO).await
        }
    };
    tier.close(until).await?;
    stop.cancel();
    tracing::info!(cut_off, "stopped");
    match fatal {
        Some(reason) => anyhow::bail!("the engine failed and must be opened anew: {reason}"),
        None => Ok(()),
    }
}
