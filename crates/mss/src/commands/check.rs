//! `mss check`: whether all that is stored adds up, on a running server or a stopped one.

use std::io::Write as _;
use std::path::PathBuf;

use futures::StreamExt as _;
use model::CpmAddress;
use serde_json::json;
use store_api::{CheckEvent, CheckProgress, CheckRequest, Finding, Remedy};
use store_rpc::Endpoint;

use crate::engine::EngineFlags;
use crate::settings::{Overrides, Settings};
use crate::tier::{Tier, ctx, told};

/// Look through what is stored, say what does not add up, and repair it if asked.
///
/// Looks at accounts, folders, counters, logs of changes, the index of headers, bodies and their references, work left
/// for the sweeper, and change feeds, while the server goes on; what changes meanwhile is no finding. With --data (the
/// default) the directory is opened, or, when a server runs on it, that server does the work. --repair puts right what
/// follows from other data, and never guesses: what is lost is told and left. Exits with 0 when nothing is wrong or all
/// was repaired, with 1 when findings are left or the check could not end.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// CPM addresses of the accounts to look at; all, and what belongs to none, without any
    #[arg(value_name = "ACCOUNT", value_parser = CpmAddress::parse, num_args = 0..=store_api::CHECK_ACCOUNTS_MAX)]
    accounts: Vec<CpmAddress>,
    /// Put right what follows from other data
    #[arg(long)]
    repair: bool,
    /// Read every octet of every message too, not just the first and last piece of each
    #[arg(long)]
    octets: bool,
    /// Stored records to read a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Go on after this account, with a check of all that was interrupted
    #[arg(long, value_name = "ACCOUNT", value_parser = CpmAddress::parse, conflicts_with = "accounts")]
    after: Option<CpmAddress>,
    /// Print one JSON object a line: each finding, then a summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineFlags,
    /// Storage node to ask instead: http://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "engine", "cluster_file"])]
    store: Option<Endpoint>,
    /// TOML file of settings, for data.dir
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the check.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = arguments.engine.over(Overrides::default());
    let settings = Settings::load(arguments.config.as_deref(), flags)?;
    let request = CheckRequest {
        accounts: arguments.accounts,
        after: arguments.after,
        repair: arguments.repair,
        octets: arguments.octets,
        rate: arguments.rate.unwrap_or(0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tier = Tier::open(&settings, arguments.store, false).await?;
        let outcome = check(&tier, request, arguments.json).await;
        tier.close().await?;
        outcome
    })
}

async fn check(tier: &Tier, request: CheckRequest, json: bool) -> anyhow::Result<()> {
    let mut events = tier.maintenance.inspect(&ctx(), request).await.map_err(told)?;
    let (mut progress, mut found, mut repaired, mut repairable) =
        (CheckProgress::default(), 0u64, 0u64, 0u64);
    let mut out = std::io::stdout();
    while let Some(event) = events.next().await {
        match event {
            Ok(CheckEvent::Progress(now)) => progress = now,
            Ok(CheckEvent::Finding(finding)) => {
                if json {
                    writeln!(out, "{}", as_json(&finding))?;
                } else {
                    if found == 0 {
                        writeln!(out, "{:<15} {:<24} {:<10} WHAT", "KIND", "ACCOUNT", "REMEDY")?;
                    }
                    writeln!(out, "{}", as_row(&finding))?;
                }
                found += 1;
                repaired += u64::from(finding.remedy == Remedy::Repaired);
                repairable += u64::from(finding.remedy == Remedy::Repairable);
            }
            Err(error) => {
                let error = told(error);
                return Err(match &progress.last {
                    Some(last) => error.context(format!("the check ended early; go on with --after {last}")),
                    None => error.context("the check ended early"),
                });
            }
        }
    }
    let left = found - repaired;
    let CheckProgress { accounts, records, .. } = progress;
    if json {
        let summary = json!({
            "accounts": accounts, "records": records,
            "findings": found, "repaired": repaired, "repairable": repairable, "left": left,
        });
        writeln!(out, "{}", json!({ "summary": summary }))?;
    } else {
        writeln!(
            out,
            "{accounts} accounts, {records} records read: {found} findings, {repaired} repaired, {left} left"
        )?;
    }
    anyhow::ensure!(
        left == 0,
        "{left} findings are left{}",
        if repairable > 0 { format!(", of which --repair puts right {repairable}") } else { String::new() }
    );
    Ok(())
}

fn as_row(finding: &Finding) -> String {
    let account = match (&finding.address, finding.account) {
        (Some(address), _) => address.to_string(),
        (None, Some(account)) => account.to_string(),
        (None, None) => "-".to_owned(),
    };
    let mut row = format!("{:<15} {account:<24} {:<10} ", finding.kind.name(), finding.remedy.name());
    if let Some(mailbox) = finding.mailbox {
        row.push_str(&format!("mailbox {mailbox}: "));
    }
    if let Some(body) = finding.body {
        row.push_str(&format!("body {body}: "));
    }
    row.push_str(&finding.text);
    row
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({ "finding": {
        "kind": finding.kind.name(),
        "account": finding.address.as_ref().map(ToString::to_string),
        "account_id": finding.account.map(|id| id.to_string()),
        "mailbox": finding.mailbox.map(|id| id.to_string()),
        "body": finding.body.map(|id| id.to_string()),
        "remedy": finding.remedy.name(),
        "text": finding.text,
    }})
}
