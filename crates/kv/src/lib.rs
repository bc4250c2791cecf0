//! The ordered transactional key-value engine, as a trait modelled on FoundationDB.
//!
//! Everything above this crate is written once against [`Engine`] and runs on any implementation of it. The
//! rules are FoundationDB's on every engine: optimistic, strictly serializable transactions over byte-ordered
//! keys, a read version fixed at the first read, writes buffered until commit, conflicts found at commit, and
//! the size and time limits of [`limits`]. An engine refuses what FoundationDB would refuse, so that code
//! proven on one runs on the other.
//!
//! Deliberately absent: nested transactions, locks, cursors that outlive a transaction, and error codes of any
//! particular engine.
//!
//! - [`Engine`] begins transactions; [`run`] retries a transaction body until it commits or fails for good.
//! - [`Transaction`] is one attempt: reads, buffered writes, conflict ranges, watches, commit.
//! - [`suite`] holds the behaviour every engine must show; [`fault`] injects failures under any engine, [`count`]
//!   counts what is asked of it, and [`memory`] is an engine for simulation, without a disk and without a thread.
#![warn(missing_docs)]

pub mod count;
mod engine;
mod error;
pub mod fault;
pub mod limits;
pub mod memory;
pub mod meter;
mod retry;
pub mod suite;
pub mod writes;

pub use engine::{
    AtomicOp, Committed, ConflictKind, Engine, KeyValue, Priority, RangePage, RangeRequest, ReadMode,
    Transaction, TransactionOptions, Versionstamp, Watch, prefix_end,
};
pub use error::{Error, ErrorKind};
pub use retry::{AsEngineError, Attempt, BodyFuture, RetryPolicy, run};
