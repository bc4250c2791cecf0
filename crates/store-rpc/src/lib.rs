//! The storage tier over gRPC, both sides.
//!
//! [`RemoteStore`] is one storage node as a front end elsewhere sees it: it implements the trait of the store itself.
//! [`listen`] hears its change feed, [`RemoteCluster`] what it knows of the other nodes; `router` makes one tier of many
//! nodes out of them. [`Services`] serves any [`MailStore`](store_api::MailStore), [`ChangeFeed`](store_api::ChangeFeed) and
//! [`Membership`](store_api::Membership). The contract is `proto/`; only this crate knows its types.
//!
//! - Folders and folder trees are kept by the client and refreshed by difference: an unchanged folder costs one
//!   small round trip, a changed one the blocks that changed. What is kept is never answered unasked.
//! - Bodies stream both ways in pieces, held up by HTTP/2 flow control.
//! - Deadlines travel as `grpc-timeout`; dropping a call's future resets its stream, which drops the server's future.
//! - A failure says whether the call may have happened: [`model::ErrorKind::Unavailable`] if certainly not (it never left,
//!   or the node's [`Gate`] was closed), [`model::ErrorKind::CommitUnknown`] for a write whose connection broke.
//! - Deliberately absent: retries, and the choice among several nodes.

mod client;
mod cluster;
mod convert;
mod error;
mod feed;
mod gate;
mod maintenance;
mod metadata;
mod notices;
mod server;
mod transport;

pub use client::{ClientCaches, ClientOptions, RemoteStore};
pub use cluster::{RemoteCluster, Views};
pub use feed::{Asks, Heard, Pulses, listen};
pub use gate::Gate;
pub use maintenance::RemoteMaintenance;
pub use server::{ClusterSide, Services, ServicesOptions};
pub use tonic::transport::Channel;
pub use transport::{Endpoint, EndpointError, Tls, connect};

/// Generated code of `mss.store.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
pub(crate) mod pb {
    tonic::include_proto!("mss.store.v1");
}

/// Generated code of `mss.feed.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
pub(crate) mod feed_pb {
    tonic::include_proto!("mss.feed.v1");
}

/// Generated code of `mss.cluster.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
pub(crate) mod cluster_pb {
    tonic::include_proto!("mss.cluster.v1");
}

/// All packages as descriptors, for gRPC reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
