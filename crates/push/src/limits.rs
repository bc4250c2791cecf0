//! Bounds of the notices to the PUSH enabler.

use std::time::Duration;

/// Entries of a log read at once.
pub(crate) const PAGE_ENTRIES: usize = 64;
/// Entries of one partition that are read and not all dealt with. Bounds what one account that fails keeps the cursor
/// of its partition from: so many entries may be told again after a restart.
pub(crate) const WINDOW_ENTRIES_MAX: usize = 1_024;
/// Entries in memory of all partitions, so also while the enabler is down; a few hundred bytes each.
pub(crate) const ENTRIES_MAX: usize = 16_384;
/// Objects in one notice; with the bounds of names and texts, about 30 kB in practice.
pub(crate) const EVENTS_PER_NOTICE_MAX: usize = 32;
/// Octets of one text of a message (an identity, an address) in a notice; a longer one is left out.
pub(crate) const TEXT_BYTES_MAX: usize = 255;
/// Objects waiting for one account, above which its notices are collapsed to one a folder.
pub(crate) const BACKLOG_EVENTS_MAX: u64 = 128;
/// Folders named one by one when notices are collapsed; with more, the account is told of as a whole.
pub(crate) const RESYNC_FOLDERS_MAX: usize = 32;
/// Octets of the enabler's answer that are read.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Octets of a request that a dead letter keeps; of a larger one only that it was.
pub(crate) const LETTER_BYTES_MAX: usize = 80_000;
/// Octets of the reason that a dead letter keeps.
pub(crate) const REASON_BYTES_MAX: usize = 300;
/// Dead letters kept of a partition, of which an account has one in 4096; the oldest give way, and are counted.
pub(crate) const LETTERS_PER_PARTITION_MAX: usize = 64;
/// Accounts of a partition that are told to look again at once, when its log was cleared before it was read.
pub(crate) const RESYNC_AT_ONCE: usize = 16;
/// Accounts whose addresses are looked up in one transaction.
pub(crate) const ACCOUNTS_PAGE: usize = 256;

/// How long a silent watch is trusted.
pub(crate) const RECHECK: Duration = Duration::from_secs(60);
/// First and longest pause after the store or the database failed.
pub(crate) const STORE_PAUSE_MIN: Duration = Duration::from_millis(20);
pub(crate) const STORE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// First pause after the enabler failed; it doubles up to the setting.
pub(crate) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(200);

const _: () = assert!(LETTER_BYTES_MAX + 2 * REASON_BYTES_MAX + 1_024 < kv::limits::VALUE_BYTES_MAX);
const _: () = assert!(PAGE_ENTRIES <= feed::log::PAGE_ENTRIES_MAX && PAGE_ENTRIES <= WINDOW_ENTRIES_MAX);
