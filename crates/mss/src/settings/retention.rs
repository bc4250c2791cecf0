//! Settings of how long things are kept.

use serde::{Deserialize, Serialize};

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days that changes stay in the logs of partitions, for the notices to the PUSH enabler.
    pub feed_days: u64,
    /// Days after which what has \Deleted is expunged; 0 for never.
    pub deleted_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { feed_days: 30, deleted_days: 0 }
    }
}
