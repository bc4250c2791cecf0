//! What a store may use, and where its time and chance come from.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// How a store is set up. The defaults suit a laptop.
#[derive(Clone)]
pub struct Options {
    /// All keys start with this; installations that share an engine differ in it.
    pub prefix: Vec<u8>,
    /// Memory for the rows of hot folders, bytes.
    pub folder_cache_bytes: u64,
    /// Memory for trees of folders, bytes.
    pub tree_cache_bytes: u64,
    /// Memory for facts of messages, bytes.
    pub info_cache_bytes: u64,
    /// Memory for the packed headers of folders that are searched, bytes.
    pub header_cache_bytes: u64,
    /// Memory for small bodies, bytes.
    pub body_cache_bytes: u64,
    /// Whether this process sweeps: the owner of partitions does, tools do not.
    pub sweep: bool,
    /// Days that changes stay in the logs of folders; a client away for longer is told more UIDs than vanished.
    pub log_days: u64,
    /// Changes that stay in the log of a folder, whatever their age.
    pub log_changes_max: u64,
    /// Days after which the sweeper expunges what has \Deleted and was not changed since; 0 for never.
    pub deleted_days: u64,
    /// Time and chance.
    pub environment: Arc<dyn Environment>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            folder_cache_bytes: 64 << 20,
            tree_cache_bytes: 16 << 20,
            info_cache_bytes: 32 << 20,
            header_cache_bytes: 16 << 20,
            body_cache_bytes: 32 << 20,
            sweep: true,
            log_days: 90,
            log_changes_max: 1_000_000,
            deleted_days: 0,
            environment: Arc::new(SystemEnvironment),
        }
    }
}

/// Where time and chance come from; tests and simulation have their own.
pub trait Environment: Send + Sync + 'static {
    /// Seconds since 1970-01-01 UTC.
    fn now(&self) -> i64;

    /// Milliseconds since 1970-01-01 UTC.
    fn now_millis(&self) -> i64 {
        self.now().saturating_mul(1_000)
    }

    /// Time since some moment in the past. Unlike [`Environment::now`] it neither jumps nor goes back.
    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    /// A number that nobody can guess.
    fn random(&self) -> u64;
}

/// The clock and random source of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> i64 {
        self.now_millis() / 1_000
    }

    fn now_millis(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
