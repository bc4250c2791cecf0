//! Notices to the PUSH enabler in this process, from its settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cluster::Group;
use push::{Authorization, ClientOptions, Encoding, Options, Pusher, Style};
use secrecy::SecretString;
use store_api::NodeState;
use tokio::time::Instant;

use crate::admin;
use crate::node::Node;
use crate::settings::{Encoder, EngineName, Settings};

/// Longest wait for the database to take note of a process that goes.
const REGISTER_WAIT: Duration = Duration::from_secs(5);
/// Largest file of credentials, bytes.
const CREDENTIALS_BYTES_MAX: u64 = 16 * 1024;

/// A pusher, known to others of its kind.
pub struct Push {
    pusher: Pusher,
    member: Arc<cluster::Node>,
}

impl Push {
    /// Begins to push what `node` stores, if push.url says where to.
    ///
    /// # Errors
    /// One sentence that names the setting to look at.
    pub async fn start(settings: &Settings, node: &Node) -> anyhow::Result<Option<Self>> {
        if settings.push.url.is_empty() {
            return Ok(None);
        }
        let options = options(settings)?;
        let engine = node.engine.kv();
        let member = cluster::Node::join(engine.clone(), group(settings)).await?;
        let pusher = Pusher::start(engine, node.mail_store(), member.clone(), member.id(), options)
            .await
            .context("push.url")?;
        member.set_state(NodeState::Serving).await?;
        admin::refresh_at_scrape(pusher.gauges());
        Ok(Some(Self { pusher, member }))
    }

    /// Ends what is under way, at the latest at `until`, and tells the others, who take over.
    pub async fn stop(self, until: Instant) {
        self.pusher.shut_down(until.saturating_duration_since(Instant::now())).await;
        if !matches!(tokio::time::timeout(REGISTER_WAIT, self.member.leave()).await, Ok(Ok(()))) {
            tracing::warn!("the others that push could not be told that this process leaves");
        }
    }
}

/// How notices are sent, as the settings say.
///
/// # Errors
/// One sentence that names the setting to look at.
pub fn options(settings: &Settings) -> anyhow::Result<Options> {
    let push = &settings.push;
    let encoding = match push.encoder {
        Encoder::Json => Encoding::Json,
        Encoder::Evfw => Encoding::EventReport,
        Encoder::Pap => Encoding::Pap,
    };
    let authorization = match (&push.basic_file, &push.bearer_file) {
        (Some(file), _) => {
            let pair = secret("push.basic_file", file)?;
            let is_pair = secrecy::ExposeSecret::expose_secret(&pair).contains(':');
            anyhow::ensure!(is_pair, "push.basic_file: {} must hold user:password", file.display());
            Authorization::Basic(pair)
        }
        (_, Some(file)) => Authorization::Bearer(secret("push.bearer_file", file)?),
        _ => Authorization::None,
    };
    let url: http::Uri = push.url.parse().context("push.url")?;
    let local = url.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme_str() == Some("http") && !local {
        tracing::warn!("push.url is not https: notices and credentials go over the network in clear");
    }
    let client = ClientOptions {
        url,
        authorization,
        authorities: push.ca_file.clone(),
        answer_wait_max: Duration::from_secs(push.answer_seconds_max),
        encoding,
    };
    let style = Style { encoding, ttl_seconds: push.ttl_seconds, service: push.service.clone() };
    Ok(Options {
        workers: push.workers,
        attempts_max: push.attempts_max,
        retry_pause_max: Duration::from_secs(push.retry_seconds_max),
        ..Options::new(client, style)
    })
}

/// The first line of a small file.
fn secret(key: &str, file: &Path) -> anyhow::Result<SecretString> {
    let unusable = || format!("{key}: {} cannot be read", file.display());
    let size = std::fs::metadata(file).with_context(unusable)?.len();
    anyhow::ensure!(size <= CREDENTIALS_BYTES_MAX, "{key}: {} has more than 16 kB", file.display());
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).with_context(unusable)?);
    let line = text.lines().next().unwrap_or_default();
    anyhow::ensure!(!line.is_empty(), "{key}: {} begins with an empty line", file.display());
    Ok(line.into())
}

/// This process among those that push. With a name of the operator's it gets the same partitions after a restart, at
/// once; without, those of a process that was killed are free when its lease is over.
fn group(settings: &Settings) -> cluster::Options {
    let name = match settings.cluster.node_name.as_str() {
        "" => format!("{:016x}", rand::random::<u64>()),
        name => name.to_owned(),
    };
    cluster::Options {
        group: Group::Push,
        prefix: Vec::new(),
        // Nobody calls it.
        address: String::new(),
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        renew: Duration::from_millis(settings.cluster.renew_ms),
        lease: Duration::from_millis(settings.cluster.lease_ms),
        sole: settings.data.engine == EngineName::Embedded,
    }
}
