//! How a feed is set up.

use std::sync::Arc;
use std::time::Duration;

use store::{Environment, SystemEnvironment};

/// How a feed is set up.
#[derive(Clone)]
pub struct Options {
    /// All keys start with this, as the store's do.
    pub prefix: Vec<u8>,
    /// How long a tail trusts a silent watch.
    pub recheck: Duration,
    /// Whether this process clears old entries.
    pub trim: bool,
    /// Seconds that entries are kept; who was away longer looks at the store instead.
    pub retention_seconds: u64,
    /// Time between two rounds of clearing.
    pub trim_interval: Duration,
    /// Time.
    pub environment: Arc<dyn Environment>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            recheck: Duration::from_secs(15),
            trim: true,
            retention_seconds: 30 * 86_400,
            trim_interval: Duration::from_secs(600),
            environment: Arc::new(SystemEnvironment),
        }
    }
}
