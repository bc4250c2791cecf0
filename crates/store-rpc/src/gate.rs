//! What a node does not begin any more when it is about to stop.

use model::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Lets calls in until it is closed, and counts those inside. Cheap to clone; all clones are one gate.
///
/// Closed, it answers `unavailable` to every new call, which by the contract says that nothing was begun, and keeps the
/// connections open: so a caller knows for certain that it may ask another node.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    closed: CancellationToken,
    inside: TaskTracker,
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets nobody in from now on, and ends the streams of change feed and membership. Whoever is inside stays.
    pub fn close(&self) {
        self.closed.cancel();
        self.inside.close();
    }

    /// Resolves when it is closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// After [`Gate::close`], resolves when nobody is inside any more.
    pub async fn empty(&self) {
        self.inside.wait().await;
    }

    /// Calls inside now.
    pub fn inside(&self) -> usize {
        self.inside.len()
    }

    /// Lets one call in, for as long as the token lives.
    pub(crate) fn enter(&self) -> Result<TaskTrackerToken> {
        let token = self.inside.token();
        // After the token is counted: whoever closes the gate then waits for this call or refuses it.
        if self.closed.is_cancelled() { Err(stopping()) } else { Ok(token) }
    }
}

/// The answer of a node that stops.
pub(crate) fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "this storage node is stopping; ask another")
}
