//! The change feed as one session hears it.

use std::time::Duration;

use model::{AccountId, MailboxId, ModSeq};
use store_api::Subscription;

use crate::session::Session;

/// How long to wait before subscribing again to a feed that ended or could not be had, and before reading again what
/// could not be read.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// This folder changed, and nothing else: its MODSEQ at that change, 0 for one that has none.
    Folder(MailboxId, ModSeq),
    /// Anything may have changed.
    Anything,
}

/// An account's feed, and how much of it was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    feed: Subscription,
    generation: u64,
}

impl Heard {
    /// The feed of an account, listened to from now on; none when it cannot be had.
    pub async fn subscribe(session: &Session, account: AccountId) -> Option<Self> {
        match session.server.feed.subscribe(account).await {
            Ok(mut feed) => {
                let generation = feed.pulse().generation;
                Some(Self { feed, generation })
            }
            Err(error) => {
                tracing::warn!(%account, %error, "the change feed cannot be had");
                None
            }
        }
    }

    /// What came since this was last asked; none if nothing did.
    pub fn news(&mut self) -> Option<News> {
        let pulse = self.feed.pulse();
        if pulse.generation == self.generation {
            return None;
        }
        // A pulse names its own folder alone: those that came before it and were not heard may have named another.
        let missed = pulse.generation != self.generation.wrapping_add(1);
        self.generation = pulse.generation;
        Some(match pulse.mailbox {
            Some(mailbox) if !missed => News::Folder(mailbox, pulse.modseq),
            _ => News::Anything,
        })
    }
}

/// Waits for a change; false, after a pause, when the feed must be subscribed to again. Never ends without a feed where
/// none is wanted. Cancel-safe.
pub(crate) async fn changed(feed: &mut Option<Heard>, wanted: bool) -> bool {
    if let Some(heard) = feed {
        if heard.feed.changed().await {
            return true;
        }
    } else if !wanted {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(RETRY).await;
    false
}
