//! One call, asked of one node after the other until it is answered.

use std::sync::Arc;

use model::{Error, ErrorKind, Partition, Result};
use store_api::Ctx;
use tokio::time::Instant;

use crate::fleet::Node;
use crate::limits::{ROUND_PAUSE, TRIES_MAX};
use crate::{Shared, nobody_answers, pause, telemetry};

/// What a call does to the store, as far as asking it twice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    None,
    /// Doing it twice is doing it once.
    Idempotent,
    /// It must not happen twice.
    Once,
}

impl Shared {
    /// Asks the nodes of a partition, one after the other.
    ///
    /// # Errors
    /// What the first node answers that answers; `Unavailable` when none does in time; `CommitUnknown` when a
    /// connection broke under a write.
    pub(crate) async fn route<T, F>(
        &self,
        ctx: &Ctx,
        partition: Partition,
        effect: Effect,
        call: impl Fn(Arc<Node>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tried = Vec::new();
        let mut last: Option<Error> = None;
        let mut give_up_at = None;
        let mut rounds = 0;
        for tries in 0..TRIES_MAX {
            // Before it looks for a node: one that comes back meanwhile is not missed.
            let revived = self.revived.notified();
            let node = self.fleet.load().pick(partition, &tried);
            if let Some(node) = node {
                if tries > 0 {
                    telemetry::retried();
                }
                match call(node.clone()).await {
                    Err(error) if asks_again(error.kind(), effect) => {
                        tracing::debug!(node = node.name, %error, "asking another node");
                        node.circuit.failed();
                        tried.push(node.id);
                        last = Some(error);
                        if ctx.deadline.is_some_and(|at| std::time::Instant::now() >= at) {
                            break;
                        }
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::CommitUnknown => {
                        telemetry::unknown();
                        return Err(error);
                    }
                    answered => {
                        if node.circuit.answered() {
                            self.revived.notify_waiters();
                        }
                        return answered;
                    }
                }
            }
            let now = Instant::now();
            let patience_ends = *give_up_at.get_or_insert(now + self.options.patience);
            let end = ctx.deadline.map_or(patience_ends, |at| patience_ends.min(at.into()));
            let round = pause(rounds, ROUND_PAUSE.0, ROUND_PAUSE.1);
            rounds += 1;
            tried.clear();
            if now + round >= end {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(round) => {}
                () = revived => {}
            }
        }
        telemetry::failed();
        Err(last.unwrap_or_else(nobody_answers))
    }
}

fn asks_again(kind: ErrorKind, effect: Effect) -> bool {
    match kind {
        ErrorKind::Unavailable => true,
        ErrorKind::CommitUnknown => effect == Effect::Idempotent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_whose_fate_is_unknown_is_not_repeated() {
        for kind in ErrorKind::ALL {
            let never_begun = kind == ErrorKind::Unavailable;
            assert_eq!(asks_again(kind, Effect::Once), never_begun, "{kind:?}");
            assert_eq!(asks_again(kind, Effect::None), never_begun, "{kind:?}");
        }
        assert!(asks_again(ErrorKind::CommitUnknown, Effect::Idempotent));
    }
}
