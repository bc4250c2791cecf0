//! Bounds of this crate's own work; those that callers see stand in [`model::limits`].

use crate::records::{FEED_KEYWORDS_MAX, FEED_RANGES_MAX};

/// Most messages that one operation changes in one transaction; a longer one goes on in further transactions,
/// behind what others queued meanwhile. Keeps every log entry below the largest value of the engine.
pub const PAGE_MESSAGES_MAX: usize = 10_000;
/// Blocks of rows that one operation changes in one transaction, for messages that stand far apart: each is written
/// whole, about 2.5 kB and at most 8.
pub const PAGE_BLOCKS_MAX: usize = 1_000;
/// Messages of which one transaction changes annotations, octets of annotations that it reads, and octets that it writes
/// of them: the operation ends its page there.
pub const PAGE_ANNOTATED_MAX: usize = 1_000;
/// See [`PAGE_ANNOTATED_MAX`].
pub const PAGE_ANNOTATION_BYTES_MAX: usize = 2 << 20;
/// Octets of annotations read at a time.
pub const ANNOTATION_READ_BYTES: usize = 256 * 1024;
/// Octets of annotations in one answer, of which the last message may go beyond.
pub const ANNOTATION_ANSWER_BYTES: usize = 1 << 20;
/// Records of which devices read or deleted messages that one answer reads beside annotations.
pub const ANNOTATION_BLOCKS_MAX: usize = 64;
/// Operations of one account that may share a transaction.
pub const BATCH_OPERATIONS_MAX: usize = 256;
/// Octets of the operations that share a transaction; a single larger one has a transaction of its own.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Operations of one account that may wait; beyond it they are refused with `Contended`.
pub const QUEUE_OPERATIONS_MAX: usize = 4_096;
/// Octets of the operations of one account that may wait; beyond it they are refused with `Contended`.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Octets of inline bodies in one request.
pub const INLINE_BYTES_MAX: usize = 4 << 20;
/// Blocks read one by one; when more are needed the folder is read whole.
pub const BLOCKS_READ_SINGLY_MAX: usize = 48;
/// Messages of a folder that a change reads whole in its own transaction. A larger one is read before, in parts.
pub const WHOLE_IN_PLACE_MAX: u64 = 100_000;
/// Milliseconds after which a large folder is read on in another transaction.
pub const COLD_PART_MS_MAX: u64 = kv::limits::TRANSACTION_MS_MAX / 4;
/// How often reading a folder in parts begins anew when the log does not tell what changed meanwhile.
pub const COLD_ATTEMPTS_MAX: u32 = 8;
/// Octets of log entries under one key.
pub const LOG_VALUE_BYTES_MAX: usize = 32 * 1024;
/// Pages of a log that one answer reads; for a reader farther behind, the folder is read whole or UIDs are
/// over-reported.
pub const LOG_PAGES_MAX: usize = 16;
/// Octets of an entry of the feed after which the next items go into another of the same commit.
pub const FEED_VALUE_BYTES_MAX: usize = 32 * 1024;
/// Octets written in one transaction of a staged body.
pub const STAGE_BYTES: usize = 1 << 20;
/// Bodies up to this size may be cached, octets.
pub const CACHED_BODY_BYTES_MAX: usize = 64 * 1024;
/// Log entries of a folder looked at for trimming, and cleared, in one transaction.
pub const SWEEP_LOGS_MAX: usize = 2_000;
/// Chunks of bodies that one transaction of the sweeper clears before it leaves the next body to another.
pub const SWEEP_CHUNKS_MAX: u64 = 4_096;
/// Seconds that the note of a body written ahead must stay as it is before a sweeper that thinks it old clears it.
pub const STAGED_QUIET_SECONDS: u64 = 600;
/// Seconds after which a writer of a body that has nothing to write touches its note.
pub const STAGED_TOUCH_SECONDS: u64 = 120;
/// Notes of bodies written ahead that a sweeper suspects at a time; others wait for a place.
pub const SUSPECTS_MAX: usize = 65_536;
/// Octets of bodies of one account that may stand written ahead and not yet be messages; more are refused with
/// `Limit`. They count towards no quota, so that this bounds what a client can leave on the disk.
pub const STAGED_BYTES_MAX: u64 = 8 << 30;
/// Bodies of one account that may stand written ahead; more are refused with `Limit`.
pub const STAGED_BODIES_MAX: usize = 4_096;
/// Folders whose messages long \Deleted one round of the sweeper expunges; more wait for the next, behind its other work.
pub const REAP_FOLDERS_MAX: usize = 1_024;
/// Messages long \Deleted that one transaction expunges: fewer than a client's EXPUNGE, since nobody waits for it and the
/// account's own changes do.
pub const REAP_MESSAGES_MAX: usize = 1_000;
/// Log entries of a folder that one transaction looks at to tell what was \Deleted long ago.
pub const REAP_LOGS_MAX: usize = 2_000;
/// Bodies that one transaction of the sweeper gives up.
pub const SWEEP_BODIES_MAX: usize = 256;
/// Blocks of a deleted folder that one transaction of the sweeper clears, with all bodies in them.
pub const SWEEP_BLOCKS_MAX: usize = 2;
/// The log of a folder is looked at for trimming once in so many changes.
pub const LOG_TRIM_INTERVAL: u64 = 8_192;
/// Octets of folders and states that a change of a cold account reads at once; accounts with more folders read on.
pub const HEAD_BYTES: usize = 32 * 1024;
/// Octets read ahead of the consumer of a streamed body.
pub const STREAM_READ_BYTES: usize = 512 * 1024;
/// Messages whose octets or facts one search reads at a time.
pub const SEARCH_READS_MAX: usize = 16;
/// Messages of one chunk that one search reads in one transaction, and holds: 2 MiB at most.
pub const SEARCH_BODIES_MAX: usize = 64;
/// Folders of one search of several that are read, and whose plans are made, at a time.
pub const SEARCH_FOLDERS_AT_ONCE: usize = 8;
/// Messages new to the packed headers of a folder whose facts are asked for; for more the account's index is read.
pub const HEADER_FACTS_MAX: usize = 64;
/// Keys of the account's header index read for each message that is looked for in it; where there are more, the facts
/// of these messages cost less.
pub const HEADER_KEYS_PER_MESSAGE_MAX: usize = 20;
/// Messages that stand in the packed headers of a folder as they came; more are packed anew. Bounds what a search
/// after an APPEND copies.
pub const HEADER_LATE_MAX: usize = 1_000;
/// Messages of one IMDN-Message-ID that are looked at, the newest: for the deposit that is repeated, and for those that a
/// notification is about. There are as many as folders in which the network recorded it: one or two.
pub const OBJECTS_OF_AN_ID_MAX: usize = 16;
/// MOVEs out of a folder, the newest, among which a message is looked for that is not where it came.
pub const MOVES_LOOKED_AT_MAX: usize = 64;
/// How often a message is followed from folder to folder.
pub const MOVES_FOLLOWED_MAX: usize = 4;
/// Ids of new messages of which it is asked at a time which notifications came before.
pub const IDS_ASKED_MAX: usize = 256;

const _: () = assert!(PAGE_MESSAGES_MAX <= model::limits::TRANSACTION_MESSAGES_MAX);
// A UID that stands alone takes at most six octets of a packed set.
const _: () = assert!(
    PAGE_ANNOTATED_MAX * 6
        + model::limits::ANNOTATION_CHANGES_MAX * (model::limits::ENTRY_NAME_BYTES_MAX + 2)
        + 64
        <= PAGE_MESSAGES_MAX * 6
);
const _: () = assert!(REAP_MESSAGES_MAX <= PAGE_MESSAGES_MAX);
const _: () = assert!(LOG_VALUE_BYTES_MAX + PAGE_MESSAGES_MAX * 6 + 64 < kv::limits::VALUE_BYTES_MAX);
// The longest item: both sets of UIDs, all keywords, a device.
const _: () = assert!(
    FEED_VALUE_BYTES_MAX
        + 2 * 10 * FEED_RANGES_MAX
        + 2 * FEED_KEYWORDS_MAX * (model::limits::KEYWORD_BYTES_MAX + 1)
        + model::limits::DEVICE_ID_BYTES_MAX
        + 64
        < kv::limits::VALUE_BYTES_MAX
);
const _: () = assert!(BATCH_BYTES_MAX + INLINE_BYTES_MAX < kv::limits::TRANSACTION_BYTES_MAX);
const _: () = assert!(INLINE_BYTES_MAX >= model::limits::BODY_INLINE_BYTES_MAX);
const _: () = assert!(STAGED_TOUCH_SECONDS * 3 <= STAGED_QUIET_SECONDS);
const _: () = assert!(STAGED_BODIES_MAX >= 2 * model::limits::MULTIAPPEND_MESSAGES_MAX);
const _: () = assert!(STAGED_BYTES_MAX >= 8 * model::limits::APPEND_BYTES_MAX);
// A page of blocks, in the largest form they can have.
const _: () = assert!(PAGE_BLOCKS_MAX * 8 * 1024 < kv::limits::TRANSACTION_BYTES_MAX);
const _: () = assert!(STAGE_BYTES >= model::limits::BODY_CHUNK_BYTES);
/// Octets of a transaction of FoundationDB that a deleted folder takes at most: four keys and two ranges cleared, a key
/// set, its item in the feed. Each write counts with its conflict range, and a few words for both.
const DELETED_FOLDER_BYTES: usize = {
    let key = 22 + kv::limits::PREFIX_BYTES_MAX;
    let write = 2 * (2 * key + 1) + 56;
    7 * write + 40 + model::limits::DEVICE_ID_BYTES_MAX
};
const _: () =
    assert!(model::limits::DELETE_FOLDERS_MAX * DELETED_FOLDER_BYTES < kv::limits::TRANSACTION_BYTES_MAX);
