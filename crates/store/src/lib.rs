//! The message store: accounts, folders, messages and bodies as keys and transactions over an ordered engine.
//!
//! [`Store`] implements [`store_api::MailStore`]. The data model stands in [`keyspace`], and its values in [`records`].
//!
//! - Changes of an account go through its combiner: those that wait for each other's commit share the next one. What
//!   each does stands in `mutations`, a file each; what they read and write together in `work`.
//! - Reads go past it: a folder is read by its state and what changed since the cached one (`snapshot`), bodies and
//!   facts by their id (`bodies`).
//! - `check` looks through all of it, and repairs what follows from the rest.
//! - What a request leaves behind (bodies given up, folders deleted, bodies never used) the sweeper clears. Where the operator
//!   wants it, it also expunges what has been \Deleted for long.
//!
//! Deliberately absent: sequence numbers, sessions, the IMAP grammar, and trust in a cache: every answer is checked
//! against the stored state it stands for, so that it is right whichever process serves it.

mod access;
mod accounts;
mod annotations;
mod bodies;
mod cache;
mod changes;
mod check;
mod checkpoints;
mod combiner;
mod failure;
pub mod fuzzing;
mod identities;
pub mod keyspace;
mod limits;
mod mutations;
mod notices;
mod options;
pub mod records;
mod references;
mod retry;
mod rules;
mod search;
mod shared;
mod snapshot;
mod stage;
mod store;
mod sweep;
mod telemetry;
mod tree;
mod work;

pub use options::{Environment, Options, SystemEnvironment};
pub use store::Store;
pub use sweep::Swept;
