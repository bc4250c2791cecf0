//! How the tree of an account's folders is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use kv::{RangeRequest, ReadMode, Transaction};
use model::AccountId;
use store_api::FolderTree;

use crate::failure::{Failure, corrupt};
use crate::keyspace::{KeyRange, TreeKey};
use crate::records::FolderRecord;
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
    shared.telemetry.tree_misses.increment(1);
    let KeyRange { mut begin, end } = shared.keys.tree(account);
    let (mut folders, mut subscribed) = (Vec::new(), BTreeSet::new());
    loop {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            match shared.keys.tree_key_of(&pair.key) {
                Some(TreeKey::Folder(mailbox)) => {
                    let record =
                        FolderRecord::decode(&pair.value).ok_or_else(|| corrupt("folder", &pair.key))?;
                    folders.push(record.into_entry(mailbox));
                }
                Some(TreeKey::Subscription(name)) => {
                    subscribed.insert(name);
                }
                None => return Err(corrupt("tree key", &pair.key)),
            }
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => break,
        }
    }
    let tree = Arc::new(FolderTree::new(version, folders, subscribed));
    shared.caches.put_tree(account, tree.clone());
    Ok(tree)
}
