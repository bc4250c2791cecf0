//! Bounds of the embedded engine beyond those of [`kv::limits`].

/// Most commits taken into one batch, that is, behind one sync. Bounds the time a commit waits for others.
pub const BATCH_COMMITS_MAX: usize = 512;
/// Most bytes written by the commits of one batch, beyond its first commit. Bounds the time of a batch.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most stored keys that the range clears of one transaction may remove. More fail its commit with
/// [`kv::ErrorKind::TooLarge`]: each costs a tombstone in the one batch that atomicity asks for, so that this
/// bounds memory and the time others wait. [`kv::Transaction::clear_page`] pages large removals.
pub const CLEARED_KEYS_MAX: usize = 1_000_000;
/// Stored keys that one call of [`kv::Transaction::clear_page`] removes. Others wait about a tenth of a second for
/// such a batch at worst.
pub const CLEAR_PAGE_KEYS: usize = 10_000;
/// Most commits waiting for a batch. One more fails with [`kv::ErrorKind::Unavailable`], nothing written.
pub const QUEUE_COMMITS_MAX: usize = 16_384;
/// Most bytes written by the commits waiting for a batch. More fail with [`kv::ErrorKind::Unavailable`].
pub const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most bytes of recently written keys kept to find conflicts. Older ones are forgotten, and a transaction that
/// would need them fails with [`kv::ErrorKind::TooOld`].
pub const WINDOW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Age at which recently written keys are forgotten, milliseconds: no living transaction can need them.
/// Longer than a transaction may live, since its commit may wait in the queue.
pub const WINDOW_MS_MAX: u64 = 2 * kv::limits::TRANSACTION_MS_MAX;

const _: () = assert!(CLEAR_PAGE_KEYS < CLEARED_KEYS_MAX);
const _: () = assert!(BATCH_BYTES_MAX < QUEUE_BYTES_MAX);
const _: () = assert!(QUEUE_BYTES_MAX > kv::limits::TRANSACTION_BYTES_MAX);
