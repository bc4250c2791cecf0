//! The embedded engine: one directory, optimistic serializable transactions, group commit.
#![warn(missing_docs)]

mod atomic;
mod directory;
mod engine;
mod error;
pub mod limits;
mod options;
mod pipeline;
mod resolver;
mod shared;
mod storage;
mod telemetry;
mod transaction;
mod watches;
mod writes;

pub use engine::EmbeddedEngine;
pub use error::OpenError;
pub use options::{Options, Sync};
