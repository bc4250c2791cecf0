//! The FoundationDB engine: the rules of [`kv`], which are FoundationDB's, on a cluster of many machines.
//!
//! The client library is opened at run time (`foundationdb-sys`): a program with this crate builds and starts without it,
//! and says so in one sentence when a cluster is asked for. Only this crate knows FoundationDB's error codes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kv::Engine;
//! let _network = kv_fdb::NetworkGuard::new(); // in main, dropped last
//! let engine = kv_fdb::FdbEngine::open(kv_fdb::Options::default()).await?;
//! let mut trx = engine.begin(kv::TransactionOptions::default());
//! trx.set(b"key", b"value");
//! trx.commit().await?; // on the disks of the cluster's logs
//! engine.close();
//! # Ok(())
//! # }
//! ```
//!
//! # How the trait maps
//!
//! | trait | FoundationDB |
//! |---|---|
//! | `begin` | a transaction with the tag and priority asked for; the cluster hears of it at its first read |
//! | first read | asks for the read version and the value together; the wait for the version is measured apart |
//! | `ReadMode::Snapshot` | snapshot read, which sees own writes |
//! | `get_many`, `get_together` | all reads are sent before the first answer is waited for, [`limits::READS_AT_ONCE_MAX`] at once |
//! | `get_range` | replies of some 80 kB, one after another, until the page is full; values are copied once |
//! | `set`, `clear`, `clear_range` | the same; `clear_page` takes the whole range, which costs no more than a key |
//! | `AtomicOp` | `ADD`, `MAX`, `MIN`, `BYTE_MAX`, `BYTE_MIN` |
//! | `set_versionstamped_*` | the mutation of that name, the position appended |
//! | `add_conflict_range` | the same |
//! | `watch` | the same; ends as `Unavailable` when the engine closes |
//! | `commit` | a commit and its versionstamp. Nothing is sent for a transaction that neither writes nor watches |
//! | `ErrorKind` | one `match`, in `error.rs` |
//!
//! # What differs from the embedded engine
//!
//! - *Commits may end unknown*, after a lost connection or a recovery of the cluster. The client waits until the commit
//!   in question can no longer happen. A transaction that runs into [`Options::transaction_max`], or whose task is
//!   dropped, is not waited for: it may still commit for as long as its read version is young. Whoever tries again
//!   reads in `Serializable` mode what tells that it happened (see [`kv::ErrorKind::CommitUnknown`]); of the two, one
//!   then conflicts.
//! - *A watch reads its key in `Serializable` mode*: a transaction that writes and watches conflicts with a change of
//!   what it watches.
//! - *The limit on a transaction's size is checked twice*, by the trait's count and by FoundationDB's own, which counts
//!   conflict ranges of writes too. Both fail the commit as `TooLarge`; who aims at
//!   [`kv::limits::TRANSACTION_BYTES_AIM`] meets neither.
//! - *Age*: FoundationDB refuses reads and commits of transactions older than some five seconds. What a transaction has
//!   read before, the client would answer from its memory for ever; here it is refused at the same age.
//! - *Versions* advance with time, a million a second, not by one a commit.
//! - *Nothing is fatal*: while the cluster recovers or cannot be reached, calls wait, at most for
//!   [`Options::transaction_max`], then fail as `Unavailable` (reads) or `CommitUnknown` (commits), and go on when it
//!   is back.
//!
//! # One client a process
//!
//! The library, its API version and its network thread are chosen by the first engine that is opened; others share
//! them, and may differ in cluster and prefix. All the client's work is done by that thread: about a core a process.
//! [`NetworkGuard`] ends it. TLS is configured by the client's own environment variables (`FDB_TLS_CERTIFICATE_FILE`
//! and so on), which are FoundationDB's to document.
//!
//! # What was run
//!
//! `cargo test -p kv-fdb` runs the opening against client libraries that are missing, broken, too old or silent. With
//! `MSS_FDB_LIBRARY` and `MSS_FDB_CLUSTER_FILE` it also runs a real library without a cluster, and the whole engine suite
//! on a cluster: at the root of the key space and under a prefix of the longest length. All cases passed on FoundationDB
//! 7.3.79 (one process, `ssd`). So did three rounds of those that hold under faults (`MSS_FDB_DISTURBED=3`), while the one
//! server process was killed with SIGKILL and started again twelve times. Not run: a library of 7.1 (API version 710 was
//! asked of 7.3's), TLS, a cluster of several machines.
//!
//! # Measured
//!
//! `MSS_FDB_CLUSTER_FILE=FILE cargo bench -p kv-fdb --profile fast -- --seconds 2`: the same keys and bytes in the same
//! transactions, through the engine and by the bare client, 64 tasks, in alternation. The server was built without
//! optimization and shared two busy cores with the bench, so that only the ratios say something.
//!
//! | transaction | engine | bare | ratio |
//! |---|---|---|---|
//! | 3 reads, 8 small writes, one of 2 kB, commit | 1 200 /s | 1 355 /s | 0.89 |
//! | one read | 7 277 /s | 7 393 /s | 0.98 |
//! | 16 reads together | 1 488 /s | 1 502 /s | 0.99 |
//! | a range of 1 000 pairs | 48 /s | 50 /s | 0.96 |
//!
//! # Deliberately absent
//!
//! Tenants, the directory and tuple layers, causal-read-risky and cached read versions (promise 3: what was answered is
//! seen by all), automatic retries of the client (`kv::run` counts and bounds them), automatic idempotency of the client
//! (in development in 7.3, says its documentation), locality.
#![warn(missing_docs)]
#![allow(unsafe_code, reason = "the client's C interface; each use says why it is sound")]

mod cluster_file;
mod engine;
mod error;
pub mod limits;
mod network;
mod options;
mod range;
mod telemetry;
mod transaction;
mod watches;

pub use engine::FdbEngine;
pub use error::OpenError;
pub use network::NetworkGuard;
pub use options::Options;
