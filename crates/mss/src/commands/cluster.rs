//! `mss cluster`: what storage nodes there are.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Subcommand;
use store_api::{Ctx, Members, NodeId, Requestor};
use store_rpc::{Endpoint, RemoteCluster};

use crate::rpc;
use crate::settings::{Overrides, Settings};

/// Longest wait for one node's answer.
const WAIT: Duration = Duration::from_secs(5);

/// Ask storage nodes about each other.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Some storage nodes, separated by commas; the first that answers is asked [default: http://127.0.0.1:7143]
    #[arg(long, global = true, value_name = "URL[,URL...]")]
    store: Option<String>,
    /// TOML file of settings, for front.store and rpc_tls
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every node with its state, partitions and last sign of life. Exits with 1 if none serves.
    Status,
}

/// Runs one action.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = Overrides::default().set("front.store", arguments.store);
    let settings = Settings::load(arguments.config.as_deref(), flags)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.action {
        Action::Status => runtime.block_on(status(&settings)),
    }
}

async fn status(settings: &Settings) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for endpoint in rpc::nodes(settings)? {
        match ask(settings, &endpoint).await {
            Ok((members, by)) => {
                print(&members, by);
                anyhow::ensure!(members.serving().next().is_some(), "no storage node serves");
                return Ok(());
            }
            Err(error) => failures.push(format!("{endpoint}: {error}")),
        }
    }
    anyhow::bail!("front.store: no storage node answers ({})", failures.join("; "))
}

async fn ask(settings: &Settings, endpoint: &Endpoint) -> anyhow::Result<(Members, NodeId)> {
    let mut channels = store_rpc::connect(endpoint, rpc::tls(&settings.rpc_tls)?.as_ref())?;
    let deadline = Instant::now() + WAIT;
    let ctx = Ctx { request_id: rand::random(), deadline: Some(deadline), requestor: Requestor::Operator };
    Ok(RemoteCluster::new(channels.swap_remove(0)).status(&ctx).await?)
}

fn print(members: &Members, by: NodeId) {
    println!("epoch {}, told by {by}", members.epoch);
    let head = ["NODE", "NAME", "STATE", "PARTITIONS", "SILENT", "VERSION", "ADDRESS"].map(str::to_owned);
    let rows = members.all().iter().map(|member| {
        [
            member.id.to_string(),
            member.name.clone(),
            member.state.name().to_owned(),
            members.owned(member.id).to_string(),
            format!("{:.1} s", member.silent_ms as f64 / 1000.0),
            member.version.clone(),
            member.address.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
