//! Bounds of the FoundationDB engine beyond those of [`kv::limits`].

/// Longest prefix of an installation, bytes: what [`kv::limits::KEY_BYTES_MAX`] leaves free.
pub const PREFIX_BYTES_MAX: usize = kv::limits::PREFIX_BYTES_MAX;
/// Oldest version of the client's interface that can be asked for: that of release 7.1.
pub const API_VERSION_MIN: i32 = 710;
/// Newest version of the client's interface that can be asked for: that of release 7.3. Newer libraries speak it too.
pub const API_VERSION_MAX: i32 = 730;
/// Point reads of one [`kv::Transaction::get_many`] on their way at once. More wait for the first of them: bounds what a
/// single call may queue at the network thread.
pub const READS_AT_ONCE_MAX: usize = 512;
/// Ranges of one [`kv::Transaction::get_together`] on their way at once; bounds the pages that stand in memory.
pub const RANGES_AT_ONCE_MAX: usize = 64;
/// Pairs asked for by one range read of the client. A page holds fewer by its bytes; the client adds to this number, so
/// that it stays well below the largest integer.
pub const RANGE_PAIRS_MAX: usize = 1 << 20;
/// Longest name of a kind of work, bytes: FoundationDB's limit on transaction tags. Longer names are cut.
pub const TAG_BYTES_MAX: usize = 16;
/// Largest cluster file that is read, bytes. The client writes one line; people add a comment or two.
pub const CLUSTER_FILE_BYTES_MAX: u64 = 64 * 1024;

const _: () = assert!(API_VERSION_MAX as u32 <= foundationdb_sys::FDB_API_VERSION);
