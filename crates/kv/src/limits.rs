//! Limits of the engine, which are FoundationDB's, on every engine.
//!
//! Source: FoundationDB documentation, "Known Limitations".

/// Bytes of a key that FoundationDB allows and that are kept back: for the prefix of an installation that shares a
/// cluster with others.
pub const PREFIX_BYTES_MAX: usize = 32;
/// Bytes that FoundationDB appends to a versionstamped key or value on its way: where the stamp goes. They count against
/// the limit of the value, and are kept back from that of the key.
pub const STAMP_POSITION_BYTES: usize = 4;
/// Largest key, bytes: FoundationDB's 10 000, less what is kept back. Longer keys fail the write that carries them with [`crate::ErrorKind::TooLarge`].
pub const KEY_BYTES_MAX: usize = 10_000 - PREFIX_BYTES_MAX - STAMP_POSITION_BYTES;
/// Largest value, bytes. Longer values fail the write that carries them with [`crate::ErrorKind::TooLarge`].
pub const VALUE_BYTES_MAX: usize = 100_000;
/// Largest transaction, bytes: keys and values written plus the keys of all conflict ranges.
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;
/// Size to aim for in one transaction, bytes; callers page longer work.
pub const TRANSACTION_BYTES_AIM: usize = 1_000_000;
/// Longest life of a transaction from its first read, milliseconds; then reads and commit fail with
/// [`crate::ErrorKind::TooOld`].
pub const TRANSACTION_MS_MAX: u64 = 5_000;
/// Watches one engine handle may have outstanding.
pub const WATCHES_MAX: usize = 10_000;
/// Default bytes of a page of a range read.
pub const RANGE_PAGE_BYTES: usize = 512 * 1024;
/// Attempts of [`crate::run`] before it gives up with the last error.
pub const ATTEMPTS_MAX: u32 = 64;

const _: () = assert!(KEY_BYTES_MAX < VALUE_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_AIM < TRANSACTION_BYTES_MAX);
