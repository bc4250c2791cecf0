//! Settings of roles that run apart: storage nodes, front ends, and what they show each other.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use store_rpc::Endpoint;

/// `[cluster]`: a storage node among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// The same after a restart, and no other node's; empty for host and port of `advertise`.
    pub node_name: String,
    /// Where front ends reach this node; empty for the address it listens on.
    pub advertise: String,
    /// Milliseconds between two signs of life.
    pub renew_ms: u64,
    /// Milliseconds without one, after which the others take a node for dead.
    pub lease_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { node_name: String::new(), advertise: String::new(), renew_ms: 2_000, lease_ms: 10_000 }
    }
}

/// `[front]`: a front end without a store of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Some storage nodes; the others are heard of from these. A list, or one text with commas.
    #[serde(deserialize_with = "list_or_text")]
    pub store: Vec<String>,
    /// Seconds that a command waits while no storage node answers.
    pub patience_seconds: u64,
    /// Seconds from SIGTERM in which new clients are still served, so that load balancers see `/readyz` first.
    pub grace_seconds: u64,
}

impl Default for Front {
    fn default() -> Self {
        Self { store: vec!["http://127.0.0.1:7143".into()], patience_seconds: 20, grace_seconds: 5 }
    }
}

/// `[rpc_tls]`: mutual TLS between front ends, tools and storage nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpcTls {
    /// PEM file of the certificate chain that this process shows, to servers and clients alike.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// PEM file of the authorities that must have signed the other side's certificate.
    pub client_ca: Option<PathBuf>,
    /// Allow gRPC in clear beyond this machine: whoever reaches the port may do everything.
    pub allow_clear: bool,
}

pub(super) fn list_or_text<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Either::deserialize(input)? {
        Either::Text(text) => {
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        }
        Either::List(list) => list,
    })
}

/// Bounds that a type alone does not tell.
pub fn check(cluster: &Cluster, front: &Front, rpc_tls: &RpcTls) -> anyhow::Result<()> {
    if cluster.lease_ms < 3 * cluster.renew_ms {
        anyhow::bail!(
            "cluster.lease_ms is {}, but must be three times cluster.renew_ms ({}) at least",
            cluster.lease_ms,
            cluster.renew_ms
        );
    }
    for (key, text) in [("cluster.node_name", &cluster.node_name), ("cluster.advertise", &cluster.advertise)]
    {
        if text.len() > 255 {
            anyhow::bail!("{key} has {} bytes, but must have 255 at most", text.len());
        }
    }
    if !cluster.advertise.is_empty() {
        cluster.advertise.parse::<Endpoint>().map_err(|e| anyhow::anyhow!("cluster.advertise: {e}"))?;
    }
    let given = [&rpc_tls.certificate, &rpc_tls.key, &rpc_tls.client_ca];
    if given.iter().any(|file| file.is_some()) && given.iter().any(|file| file.is_none()) {
        anyhow::bail!("rpc_tls.certificate, rpc_tls.key and rpc_tls.client_ca must be set all or none");
    }
    if front.store.is_empty() {
        anyhow::bail!("front.store must name at least one storage node");
    }
    endpoints(front)?;
    Ok(())
}

/// The storage nodes to begin with.
///
/// # Errors
/// One sentence that names the key.
pub fn endpoints(front: &Front) -> anyhow::Result<Vec<Endpoint>> {
    let parse = |text: &String| text.parse().map_err(|error| anyhow::anyhow!("front.store: {error}"));
    front.store.iter().map(parse).collect()
}

/// Refuses what would go over a network in clear, unless that is allowed.
///
/// # Errors
/// One sentence that names `key`, and what to set.
pub fn clear_is_local(key: &str, address: &str, ip: Option<IpAddr>, tls: &RpcTls) -> anyhow::Result<()> {
    if tls.certificate.is_some() || ip.is_some_and(|ip| ip.is_loopback()) {
        return Ok(());
    }
    if tls.allow_clear {
        tracing::warn!(
            "{key} is {address}, in clear beyond this machine as rpc_tls.allow_clear says: whoever reaches it may do everything"
        );
        return Ok(());
    }
    anyhow::bail!(
        "{key} is {address}, which is beyond this machine: rpc_tls.certificate, rpc_tls.key and rpc_tls.client_ca must name PEM files, or rpc_tls.allow_clear must be true"
    )
}
