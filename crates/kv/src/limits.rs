//! Limits of the engine, which are FoundationDB's, on every engine.
//!
//! Source: FoundationDB documentation, "Known Limitations".

/// Largest key, bytes. Longer keys fail the write that carries them with [`crate::ErrorKind::TooLarge`].
pub const KEY_BYTES_MAX: usize = 10_000;
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
