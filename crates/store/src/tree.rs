//! How the tree of an account's folders is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use kv::{KeyValue, RangePage, RangeRequest, ReadMode, Transaction};
use model::{AccountId, MailboxName};
use store_api::{FolderEntry, FolderTree};

use crate::failure::{Failure, corrupt, no_such_account};
use crate::keyspace::{KeyRange, TreeKey};
use crate::records::{FolderRecord, Ledger};
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::after;

/// The tree of that version, which stands in the ledger read in the same transaction. Reads add no conflict: every
/// change of the tree writes the ledger.
pub(crate) async fn load_tree(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    version: u64,
) -> Result<Arc<FolderTree>, Failure> {
    if let Some(tree) = shared.caches.tree(account).filter(|tree| tree.version == version) {
        shared.telemetry.tree_hits.increment(1);
        return Ok(tree);
    }
    let KeyRange { begin, end } = shared.keys.tree(account);
    let first = trx.get_range(&RangeRequest::new(begin, end), ReadMode::Snapshot).await?;
    load_tree_from(shared, trx, account, version, first).await
}

/// The ledger of an account and the tree of its folders, together.
pub(crate) async fn read_tree(shared: &Shared, account: AccountId) -> Result<Arc<FolderTree>, Failure> {
    let tree = reading!({
        let mut trx = shared.begin("folders");
        let key = shared.keys.ledger(account);
        let KeyRange { begin, end } = shared.keys.tree(account);
        let first = shared.caches.tree(account).is_none().then(|| RangeRequest::new(begin, end));
        let (values, pages) =
            trx.get_together(std::slice::from_ref(&key), first.as_slice(), ReadMode::Snapshot).await?;
        let raw = values.into_iter().next().flatten().ok_or_else(no_such_account)?;
        let version = Ledger::decode(&raw).ok_or_else(|| corrupt("ledger", &key))?.tree_version;
        match pages.into_iter().next() {
            Some(page) => load_tree_from(shared, trx.as_mut(), account, version, page).await,
            None => load_tree(shared, trx.as_mut(), account, version).await,
        }
    });
    Ok(tree)
}

async fn load_tree_from(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    version: u64,
    first: RangePage,
) -> Result<Arc<FolderTree>, Failure> {
    let end = shared.keys.tree(account).end;
    let (mut tree, mut page) = (TreeBuilder::default(), first);
    loop {
        for pair in &page.pairs {
            tree.take(shared, pair)?;
        }
        let Some(last) = page.pairs.last().filter(|_| page.more) else {
            return Ok(tree.done(shared, account, version));
        };
        page = trx.get_range(&RangeRequest::new(after(&last.key), end.clone()), ReadMode::Snapshot).await?;
    }
}

/// A tree in the making, from the pairs of its range.
#[derive(Default)]
pub(crate) struct TreeBuilder {
    folders: Vec<FolderEntry>,
    subscribed: BTreeSet<MailboxName>,
}

impl TreeBuilder {
    /// Takes a pair in.
    pub(crate) fn take(&mut self, shared: &Shared, pair: &KeyValue) -> Result<(), Failure> {
        match shared.keys.tree_key_of(&pair.key) {
            Some(TreeKey::Folder(mailbox)) => {
                let record = FolderRecord::decode(&pair.value).ok_or_else(|| corrupt("folder", &pair.key))?;
                self.folders.push(record.into_entry(mailbox));
            }
            Some(TreeKey::Subscription(name)) => {
                self.subscribed.insert(name);
            }
            None => return Err(corrupt("tree key", &pair.key)),
        }
        Ok(())
    }

    /// The tree of that version, which the caches learn.
    pub(crate) fn done(self, shared: &Shared, account: AccountId, version: u64) -> Arc<FolderTree> {
        shared.telemetry.tree_misses.increment(1);
        let tree = Arc::new(FolderTree::new(version, self.folders, self.subscribed));
        shared.caches.put_tree(account, tree.clone());
        tree
    }
}
