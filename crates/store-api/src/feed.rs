//! Who must look again: the change feed, as front ends see it.

use async_trait::async_trait;
use model::{AccountId, MailboxId, ModSeq, Result};
use tokio::sync::watch;

/// The feed of committed changes, by account.
#[async_trait]
pub trait ChangeFeed: Send + Sync + 'static {
    /// Hears of every change of `account` committed after this call returns, at least once. A listener compares
    /// what it knows with the store when it hears; several changes may be told at once.
    async fn subscribe(&self, account: AccountId) -> Result<Subscription>;
}

/// What a listener last heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Ascends by one with every pulse. Pulses that come before the listener looks are merged into the last: one that
    /// finds it advanced by more than one does not know which folders the others were of.
    pub generation: u64,
    /// The folder of the last change; none when folders, subscriptions or several things changed.
    pub mailbox: Option<MailboxId>,
    /// Its MODSEQ at that change.
    pub modseq: ModSeq,
}

/// A standing interest in an account. Dropping it ends it. Costs no task and no buffer of its own.
#[derive(Clone, Debug)]
pub struct Subscription {
    receiver: watch::Receiver<Pulse>,
}

impl Subscription {
    /// A subscription that hears what is sent on `receiver`'s other side.
    pub fn new(receiver: watch::Receiver<Pulse>) -> Self {
        Self { receiver }
    }

    /// Waits for a change not heard of yet. Cancel-safe. False when the feed has ended: subscribe anew, then look.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }

    /// The last pulse, which counts as heard.
    pub fn pulse(&mut self) -> Pulse {
        *self.receiver.borrow_and_update()
    }
}
