//! What the engine may use of the machine.

/// Mebibyte.
const MIB: u64 = 1024 * 1024;

/// Resources of an [`crate::EmbeddedEngine`]. The defaults suit a laptop: some tens of MiB of memory.
///
/// Memory is about `cache_bytes` + 4 × `memtable_bytes` at worst (one table written, up to three waiting for
/// their flush) + the conflict window, bounded by [`crate::limits::WINDOW_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Cache of blocks read from disk, bytes.
    pub cache_bytes: u64,
    /// Size at which the table in memory is written out, bytes. Fixed when the directory is first opened.
    pub memtable_bytes: u64,
    /// Most disk the journals may take, bytes; at least 64 MiB. Also bounds how much is replayed at open.
    pub journal_bytes_max: u64,
    /// Threads that flush and compact.
    pub worker_threads: usize,
    /// Values of at least this many bytes are stored apart from their keys; `None` keeps all together. Fixed
    /// when the directory is first opened.
    pub separate_bytes_min: Option<u32>,
    /// Commits are refused with [`kv::ErrorKind::StorageFull`] while the file system has fewer bytes free.
    ///
    /// What the engine still writes after refusing commits must fit below it: the tables in memory that wait
    /// for their flush (4 × `memtable_bytes`), a journal that grows to its rotation (64 MB), and the output of a
    /// compaction, which stands beside its input until it is complete.
    pub free_bytes_min: u64,
    /// Most stored keys that the range clears of one transaction may remove;
    /// [`crate::limits::CLEARED_KEYS_MAX`] unless a test wants less.
    pub cleared_keys_max: usize,
    /// Whether a commit waits for the disk. Only for tests: without it a power cut loses answered commits.
    pub sync: Sync,
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Every answered commit is on the disk (`fdatasync`).
    Always,
    /// Commits are left to the operating system: they survive the process, not the machine. For tests.
    TestsOnlyNever,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * MIB,
            memtable_bytes: 16 * MIB,
            journal_bytes_max: 256 * MIB,
            worker_threads: 2,
            separate_bytes_min: Some(1536),
            free_bytes_min: 512 * MIB,
            cleared_keys_max: crate::limits::CLEARED_KEYS_MAX,
            sync: Sync::Always,
        }
    }
}
