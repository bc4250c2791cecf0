//! The change feed as one session hears it.

use std::time::Duration;

use model::{AccountId, MailboxId, ModSeq};
use store_api::Subscription;
use tokio::time::Instant;

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

/// An account's feed, and how much of it was heard. One that ended or could not be had is had again after a pause.
#[derive(Debug)]
pub(crate) struct Heard {
    account: AccountId,
    feed: Option<Subscription>,
    generation: u64,
    /// When to subscribe again, without a feed.
    again: Instant,
}

impl Heard {
    /// The feed of an account, not listened to yet.
    pub fn of(account: AccountId) -> Self {
        Self { account, feed: None, generation: 0, again: Instant::now() }
    }

    /// The feed of an account, listened to from now on, or as soon as it can be had.
    pub async fn listen(session: &Session, account: AccountId) -> Self {
        let mut heard = Self::of(account);
        heard.subscribe(session).await;
        heard
    }

    /// Whose it is.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Whether it is listened to now.
    pub fn is_heard(&self) -> bool {
        self.feed.is_some()
    }

    async fn subscribe(&mut self, session: &Session) {
        match session.server.feed.subscribe(self.account).await {
            Ok(mut feed) => {
                self.generation = feed.pulse().generation;
                self.feed = Some(feed);
            }
            Err(error) => {
                tracing::warn!(account = %self.account, %error, "the change feed cannot be had");
                self.again = Instant::now() + RETRY;
            }
        }
    }

    /// Waits until there may be news. Cancel-safe.
    pub async fn woken(&mut self) {
        match &mut self.feed {
            Some(feed) => {
                if !feed.changed().await {
                    self.feed = None;
                    self.again = Instant::now() + RETRY;
                }
            }
            None => tokio::time::sleep_until(self.again).await,
        }
    }

    /// What came since this was last asked; none if nothing did. Anything may have while there was no feed: it is
    /// subscribed to again then, if it is time.
    pub async fn news_or_again(&mut self, session: &Session) -> Option<News> {
        if self.feed.is_some() {
            return self.news();
        }
        if Instant::now() < self.again {
            return None;
        }
        self.subscribe(session).await;
        Some(News::Anything)
    }

    /// What came since this was last asked; none if nothing did, or there is no feed.
    pub fn news(&mut self) -> Option<News> {
        let pulse = self.feed.as_mut()?.pulse();
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
