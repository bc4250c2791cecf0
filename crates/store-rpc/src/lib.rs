//! The storage tier over gRPC, both sides.
//!
//! [`RemoteStore`] and [`RemoteFeed`] are the tier as a front end elsewhere sees it: they implement the same traits
//! as the store and the feed themselves, so nothing above knows the difference. [`Services`] serves any
//! [`MailStore`](store_api::MailStore) and [`ChangeFeed`](store_api::ChangeFeed). The contract is
//! `proto/store/v1/store.proto` and `proto/feed/v1/feed.proto`; only this crate knows their types.
//!
//! - Folders and folder trees are kept by the client and refreshed by difference: an unchanged folder costs one
//!   small round trip, a changed one the blocks that changed. What is kept is never answered unasked.
//! - Bodies stream both ways in pieces, held up by HTTP/2 flow control.
//! - Deadlines travel as `grpc-timeout`; dropping a call's future resets its stream, which drops the server's future.
//! - Deliberately absent: retries and routing among several nodes.

mod client;
mod convert;
mod error;
mod feed;
mod maintenance;
mod metadata;
mod server;
mod transport;

pub use client::{ClientOptions, RemoteStore};
pub use feed::RemoteFeed;
pub use maintenance::RemoteMaintenance;
pub use server::{Services, ServicesOptions};
pub use transport::{Endpoint, EndpointError, connect};

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

/// Both packages as descriptors, for gRPC reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
