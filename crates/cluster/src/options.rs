//! How a node is set up.

use std::time::Duration;

use store::keyspace::Group;

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// All keys start with this, as the store's do.
    pub prefix: Vec<u8>,
    /// Whom it shares the partitions with.
    pub group: Group,
    /// The same after a restart, and no other node's: partitions go by it. 1 to 255 bytes.
    pub name: String,
    /// Where front ends reach this node: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. At most 255 bytes.
    pub address: String,
    /// The version of the program, for people. At most 255 bytes.
    pub version: String,
    /// Time between two heartbeats.
    pub renew: Duration,
    /// How long a heartbeat may stand still before its node counts as dead; several times `renew`.
    pub lease: Duration,
    /// The engine serves this process alone: whatever nodes stand in it are gone.
    pub sole: bool,
}
