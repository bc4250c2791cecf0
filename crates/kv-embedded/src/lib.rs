//! The embedded engine: one directory, optimistic serializable transactions, group commit.
//!
//! It speaks the rules of [`kv`], which are FoundationDB's, to one process. The ordered bytes on disk are fjall's
//! (a log-structured merge tree with a journal); what makes transactions of them is here. Only `storage.rs` knows
//! fjall, and another store that can give snapshots and apply a batch atomically and durably could take its place.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kv::Engine;
//! let engine = kv_embedded::EmbeddedEngine::open("data/kv", kv_embedded::Options::default())?;
//! let mut trx = engine.begin(kv::TransactionOptions::default());
//! trx.set(b"key", b"value");
//! trx.commit().await?; // on the disk
//! engine.close();
//! # Ok(())
//! # }
//! ```
//!
//! # A commit
//!
//! ```text
//!  transactions ──► queue ──► pipeline thread: resolve ► number ► journal + one sync ► publish ► answer, wake
//!       ▲                                                                                 │
//!       └───────────── Published { version, snapshot }, shared by all who begin ◄─────────┘
//! ```
//!
//! - **One thread commits, and its batch is the group commit.** A disk that needs milliseconds a sync allows some
//!   hundred syncs a second, so nothing but sharing them helps. The thread takes all that waits (at most
//!   [`limits::BATCH_COMMITS_MAX`] or [`limits::BATCH_BYTES_MAX`]), writes one atomic batch and syncs it once; a
//!   lone commit gets its own sync at once. fjall's own transactions are not used: they hold the journal's lock
//!   over the sync, one transaction a sync.
//! - **Nothing is seen that is not durable.** The state that transactions read is a pair of version and snapshot,
//!   replaced in one step after the sync. A reader can therefore not answer anyone with what a power cut would
//!   take back. To begin is to clone one pointer, and all readers of a version share one snapshot.
//! - **Conflicts are found in memory**, by `resolver.rs`: what was written lately, against what each commit
//!   read. The window reaches back to the oldest version that an open transaction holds, commonly a batch or two,
//!   and in any case no further than [`limits::WINDOW_MS_MAX`] and [`limits::WINDOW_BYTES_MAX`]; whoever would
//!   need more is too old. Nothing of it needs to survive the process: no transaction does.
//! - **A batch holds one write a key**, the last one: the store orders writes by batch, not within one. Atomic
//!   operations are folded here, over the batch's own writes and the current snapshot, so that they need no read
//!   conflict; versionstamps are filled in when the version is known. Each commit has a version of its own, so
//!   the place-in-batch half of a versionstamp is always 0.
//! - **clear_range walks.** The store has no range tombstone, so the pipeline writes one for each key, in the one
//!   batch that atomicity asks for. The cost is that of the keys removed, at most
//!   [`limits::CLEARED_KEYS_MAX`]; what has no bound is removed by [`kv::Transaction::clear_page`], which looks at
//!   keys only and takes [`limits::CLEAR_PAGE_KEYS`] at a time.
//! - **Committers are brought into step** (`rhythm.rs`). Those that come back as soon as they are answered would
//!   otherwise fall into two halves, each waiting for the other's sync.
//! - **Preparing the next batch does not overlap the sync.** fjall inserts into its table after the sync and under
//!   the lock it syncs with, so the overlap could only hide the resolver's few microseconds a commit, at the price
//!   of a second ordered stage that sees writes of which nobody knows yet whether they will stand.
//!
//! # Reads
//!
//! A read is a direct call, not a task of its own: most are answered from memory or the page cache in a microsecond
//! or two, far below what handing them to another thread costs. A read that does go to the disk holds up its
//! tokio worker for that long. Loops of reads give way to others through tokio's budget.
//! Values come without a copy, as slices of the block they were read in. Who keeps one for long should copy it,
//! or it keeps its block; likewise [`kv::Transaction::set_bytes`] keeps the buffer it is given until it is flushed.
//!
//! # What can go wrong
//!
//! - *The process is killed*: the journal is replayed at open. A batch cut short is dropped whole; it was not
//!   answered.
//! - *The disk is full*: commits fail with [`kv::ErrorKind::StorageFull`] while less than
//!   [`Options::free_bytes_min`] is free, before the store is touched, since fjall stops for good at a write that
//!   fails. Should it meet the full disk all the same (others fill it too), that batch is
//!   [`kv::ErrorKind::CommitUnknown`], reads go on, and the pipeline opens the store again once there is room.
//! - *A write or a sync fails otherwise*: what is in memory can no longer be trusted to be on the disk, and after a
//!   failed `fsync` neither can a second one. One line is logged, all calls fail, and
//!   [`EmbeddedEngine::fatal`] resolves: exit, and open again.
//! - *A second process*: refused by [`OpenError::Locked`], which names the directory and the holder. The lock is the
//!   operating system's and goes with the process.
//! - *A transaction that is never ended* pins its snapshot and with it what compaction could drop, but not the
//!   window. Readers are refused after [`kv::limits::TRANSACTION_MS_MAX`]; the snapshot goes with the transaction.
//!
//! [`kv::Priority`] has no effect here: nothing but the commit queue is shared, and it is served in order.
//!
//! # Measured
//!
//! `cargo bench -p kv-embedded --profile fast --bench commit`, on two virtual cores shared with other work (load 10)
//! and ext4 on a virtual disk whose `fdatasync` swung between 0.1 and 4 ms. Each commit: 3 point reads, 8 small
//! writes, one value of 2 kB that does not compress. Read the rows as ratios.
//!
//! | tasks | commits/s | against one sync a commit | p50 | CPU a commit, whole process |
//! |---|---|---|---|---|
//! | 1 | 2 111 | 0.9 | 0.24 ms | 126 µs |
//! | 16 | 7 548 | 5.9 | 0.78 ms | 49 µs |
//! | 64 | 14 802 | 23 | 1.8 ms | 45 µs |
//! | 256 | 15 591 | 19 | 13 ms | 58 µs |
//!
//! With `fdatasync` replaced by a sleep of 3.9 ms: 1 task 245/s, 16 tasks 2 800 to 3 160/s, 64 tasks 9 250 to
//! 10 200/s, at 25 to 35 µs a commit; without bringing committers into step 2 000/s and 7 000/s at 16 and 64.
//! Warm reads, a transaction each: 1.3 µs for 200 B, 1.5 µs for 2 kB; a range of 10 000 pairs of 200 B 2.3 ms.
//! Under full load for seconds the slowest hundredth of commits takes 30 to 60 ms: flushes and compactions share
//! the disk with the journal, and fjall holds the journal's lock while it rotates.
//!
//! Chosen by measurement (`--only grow`, with `--separate` and `--memtable`): values of
//! [`Options::separate_bytes_min`] and more are stored apart from their keys, which cut the bytes written to disk
//! from 12–16 kB to 8–9 kB a commit (threshold of 1 kB) and compaction's CPU with them; rows below it stay together
//! for range reads. Larger tables in memory lower the average further, and raise the longest stall: the file system
//! writes a flushed table out before a sync returns (104–231 ms at 16 MiB, 153–280 ms at 64 MiB).
//!
//! Octets written pass through the tables in memory, so a large message makes the process grow by up to the tables that
//! may stand at once, 4 × [`Options::memtable_bytes`], whatever its size: those who write ahead wait in the queue while
//! flushes lag. Smaller tables bound it lower and cost more writing, as above.
//!
//! # Backup
//!
//! A copy of the directory is good if it is of one moment: of a stopped engine, or by a snapshot of the file system (LVM,
//! btrfs, ZFS, a cloud's disks), which is what a power cut would have left and opens as after one. A file by file copy of a
//! running engine is of many moments and is not good.
//!
//! # Deliberately absent
//!
//! Replication, backup, more than one process, transactions over several engines, and any reading of the store's
//! files but through fjall.
#![warn(missing_docs)]

mod directory;
mod engine;
mod error;
pub mod limits;
mod options;
mod pipeline;
mod resolver;
mod rhythm;
mod shared;
mod storage;
mod telemetry;
mod transaction;
mod watches;

pub use engine::EmbeddedEngine;
pub use error::OpenError;
pub use options::{Options, Sync};
