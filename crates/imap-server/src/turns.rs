//! Turns at work that takes much of the processors or of memory: searching through many messages, ordering them.
//!
//! A session of its own costs a client nothing, and an account may have many: without turns, one account would take as
//! much of the machine as all others together, and as much memory as there are sessions times what one may hold.

use std::collections::HashMap;
use std::sync::Arc;

use model::AccountId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// From this number of messages on, a command takes a turn; fewer cost less than a millisecond or two.
pub(crate) const MESSAGES_MIN: u64 = 2_000;

/// Hands out turns: so many at a time to an account, and for orderings so many at a time to all.
#[derive(Debug)]
pub(crate) struct Turns {
    accounts: Mutex<HashMap<AccountId, Arc<Semaphore>>>,
    per_account: usize,
    orderings: Arc<Semaphore>,
}

/// A turn, given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    // Dropped in this order: the account is forgotten when nobody has or wants a turn of it.
    _of_all: Option<OwnedSemaphorePermit>,
    _of_account: Option<OwnedSemaphorePermit>,
    _interest: Interest,
}

/// Somebody who has, or waits for, a turn of an account.
#[derive(Debug)]
struct Interest {
    turns: Arc<Turns>,
    account: AccountId,
}

impl Turns {
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            accounts: Mutex::default(),
            per_account: limits.searches_per_account_max.max(1),
            orderings: Arc::new(Semaphore::new(limits.orderings_max.max(1))),
        })
    }

    /// Waits for a turn to search.
    pub async fn search(self: &Arc<Self>, account: AccountId) -> Turn {
        let semaphore = {
            let mut accounts = self.accounts.lock();
            let fresh = || Arc::new(Semaphore::new(self.per_account));
            accounts.entry(account).or_insert_with(fresh).clone()
        };
        let interest = Interest { turns: self.clone(), account };
        // None of the semaphores is ever closed.
        Turn { _of_all: None, _of_account: semaphore.acquire_owned().await.ok(), _interest: interest }
    }

    /// Waits for a turn to order messages, which may hold as much memory as one command may. Never while a turn to
    /// search is wanted: whoever holds one of these would keep others from theirs.
    pub async fn order(self: &Arc<Self>, account: AccountId) -> Turn {
        let turn = self.search(account).await;
        Turn { _of_all: self.orderings.clone().acquire_owned().await.ok(), ..turn }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut accounts = self.turns.accounts.lock();
        // Who has or wants a turn has a clone.
        if accounts.get(&self.account).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waits<T>(turn: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(10), turn).await.is_err()
    }

    #[tokio::test]
    async fn an_account_has_so_many_and_all_have_so_many() {
        let limits = Limits { searches_per_account_max: 2, orderings_max: 1, ..Limits::default() };
        let turns = Turns::new(&limits);
        let (one, other) = (AccountId(1), AccountId(2));
        let (first, second) = (turns.search(one).await, turns.search(one).await);
        assert!(waits(turns.search(one)).await);
        let ordering = turns.order(other).await;
        drop(first);
        assert!(waits(turns.order(one)).await, "one ordering at a time");
        let third = turns.search(one).await;
        drop(ordering);
        drop(second);
        let fourth = turns.order(one).await;
        drop((third, fourth));
        assert!(turns.accounts.lock().is_empty(), "nothing is kept of accounts that are at rest");
    }
}
