//! The records of which devices read and deleted messages.

use kv::{ReadMode, Transaction};
use model::{AccountId, Block};
use store_api::{Finding, FindingKind};

use super::{Check, in_pages, remedied};
use crate::failure::Failure;
use crate::keyspace::{PendingKind, Subspace};
use crate::records::{FolderMarks, IdentityBlock, StateRecord};

/// Records looked at in one transaction.
const RECORDS_PER_PAGE: usize = 64;

/// Records that cannot be read, those of messages or folders that are not there, and folders whose state does not say
/// that they have any: changes would not look for them.
pub(super) async fn check(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    in_pages!(
        check,
        check.shared.keys.subspace(account, Subspace::Identities),
        RECORDS_PER_PAGE,
        ReadMode::Snapshot,
        |pairs, trx| records(check, account, pairs, trx).await
    );
    Ok(())
}

async fn records(
    check: &Check,
    account: AccountId,
    pairs: &[kv::KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let mut wanted = vec![keys.ledger(account)];
    let named: Vec<_> =
        pairs.iter().filter_map(|pair| Some((pair, keys.identities_of(&pair.key)?))).collect();
    for (_, (mailbox, block)) in &named {
        wanted.push(keys.state(account, *mailbox));
        wanted.push(keys.pending(account, PendingKind::Folder, mailbox.0));
        wanted.push(keys.pending(account, PendingKind::Restore, mailbox.0));
        wanted.push(keys.block(account, *mailbox, *block));
    }
    let values = trx.get_many(&wanted, check.mode()).await?;
    let (mut findings, mut wrote) = (Vec::new(), false);
    if values.first().is_none_or(Option::is_none) {
        return Ok((findings, wrote));
    }
    for ((pair, (mailbox, number)), holders) in named.into_iter().zip(values[1..].chunks(4)) {
        let [state, deleted, restored, rows] = holders else { continue };
        let mut tell = |text: &str| {
            let finding = check.subject.of_mailbox(FindingKind::Identities, mailbox, text);
            findings.push(remedied(finding, check.repair()));
        };
        let Some(raw) = state else {
            // Of a folder that was deleted they go with its rows, of one that is being restored they come with them.
            if deleted.is_none() && restored.is_none() {
                tell("devices of its messages are there, but not the mailbox");
                if check.repair() {
                    trx.clear(&pair.key);
                    wrote = true;
                }
            }
            continue;
        };
        let Some(mut block) = IdentityBlock::decode(&pair.value) else {
            tell("the devices of its messages cannot be read");
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            continue;
        };
        let rows = rows.as_deref().and_then(Block::decode).unwrap_or_default();
        let without_row: Vec<_> =
            block.iter(number).map(|(uid, _)| uid).filter(|uid| rows.row(*uid).is_none()).collect();
        if !without_row.is_empty() {
            tell("devices of messages are there, but not the messages");
            if check.repair() {
                for uid in without_row {
                    block.set(uid, store_api::Identities::default());
                }
                if block.is_empty() {
                    trx.clear(&pair.key);
                } else {
                    trx.set_bytes(pair.key.clone(), block.encode().into());
                }
                wrote = true;
            }
        }
        if let Some(state) = StateRecord::decode(raw)
            && !state.marks.identities
            && !block.is_empty()
        {
            tell("devices of its messages are there, but its state does not say so");
            if check.repair() {
                let marks = FolderMarks { identities: true, ..state.marks };
                let state = StateRecord { marks, ..state };
                trx.set_bytes(keys.state(account, mailbox), state.encode().into());
                wrote = true;
            }
        }
    }
    Ok((findings, wrote))
}
