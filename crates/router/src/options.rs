//! How a router is set up.

use std::time::Duration;

use store_rpc::{ClientOptions, Endpoint, Tls};

/// How a router is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to begin: some storage nodes. The others are heard of from these.
    pub nodes: Vec<Endpoint>,
    /// Mutual TLS; needed when a node's address is `https`.
    pub tls: Option<Tls>,
    /// Memory for what is kept.
    pub caches: ClientOptions,
    /// How long a call waits, within its deadline, while no node answers.
    pub patience: Duration,
}

impl Options {
    /// The defaults, beginning with these nodes.
    pub fn new(nodes: Vec<Endpoint>) -> Self {
        Self { nodes, tls: None, caches: ClientOptions::default(), patience: Duration::from_secs(20) }
    }
}
