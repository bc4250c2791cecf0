//! What devices were last told of the account: every record is of a device, can be read, and is of nothing to come.

use std::collections::BTreeMap;

use kv::{KeyValue, Transaction};
use model::{AccountId, DeviceId, MailboxId, ModSeq};
use store_api::{Checkpoint, Finding, FindingKind};

use super::{Check, in_pages, read_all, remedied};
use crate::failure::Failure;
use crate::keyspace::Subspace;
use crate::records::{CheckpointRecord, Ledger, StateRecord};

/// Records read in one transaction; each may have 82 kB.
const RECORDS_PER_PAGE: usize = 16;

/// The checkpoints of one account. Repair makes of one that is wrong what tells its device too much rather than too
/// little: of what cannot be trusted it was told nothing.
pub(super) async fn check(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    in_pages!(
        check,
        check.shared.keys.subspace(account, Subspace::Checkpoint),
        RECORDS_PER_PAGE,
        check.mode(),
        |pairs, trx| records(check, account, pairs, trx).await
    );
    Ok(())
}

async fn records(
    check: &Check,
    account: AccountId,
    pairs: &[KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut findings, mut wrote) = (Vec::new(), false);
    if pairs.is_empty() {
        return Ok((findings, wrote));
    }
    let raw = trx.get(&keys.ledger(account), check.mode()).await?;
    let Some(ledger) = raw.as_deref().and_then(Ledger::decode) else { return Ok((findings, wrote)) };
    let states = read_all(trx, keys.subspace(account, Subspace::State), check.mode()).await?;
    let reached: BTreeMap<MailboxId, ModSeq> = states
        .iter()
        .filter_map(|pair| {
            let state = StateRecord::decode(&pair.value)?;
            Some((MailboxId(keys.id_of(&pair.key)?), state.folder.highest_modseq))
        })
        .collect();
    for pair in pairs {
        let Some(device) = keys.device_of(&pair.key) else {
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            let text = "what somebody was last told is of no device";
            findings.push(remedied(check.subject.finding(FindingKind::Checkpoints, text), check.repair()));
            continue;
        };
        let Some((text, told)) = wrong(&device, &pair.value, &ledger, &reached) else { continue };
        if check.repair() {
            let record = CheckpointRecord { at: check.shared.now(), told };
            trx.set_bytes(pair.key.clone(), record.encode().into());
            wrote = true;
        }
        findings.push(remedied(check.subject.finding(FindingKind::Checkpoints, text), check.repair()));
    }
    Ok((findings, wrote))
}

/// What is wrong with a record, and what can be trusted of it; none if it is well. A folder that is not there any more
/// is told of by the tree.
fn wrong(
    device: &DeviceId,
    raw: &[u8],
    ledger: &Ledger,
    reached: &BTreeMap<MailboxId, ModSeq>,
) -> Option<(String, Checkpoint)> {
    let Some(CheckpointRecord { mut told, .. }) = CheckpointRecord::decode(raw) else {
        return Some((format!("what {device} was last told cannot be read"), Checkpoint::default()));
    };
    let is_to_come = |(folder, modseq): &(MailboxId, ModSeq)| {
        folder.0 >= ledger.next_id || reached.get(folder).is_some_and(|reached| modseq > reached)
    };
    let folder = told.folders.iter().copied().find(is_to_come);
    let text = match folder {
        Some((folder, modseq)) => {
            format!("{device} was told of mailbox {folder} up to MODSEQ {modseq}, which is to come")
        }
        None if told.tree_version > ledger.tree_version => {
            format!("{device} was told of a tree of mailboxes that is to come")
        }
        None => return None,
    };
    told.folders.retain(|folder| !is_to_come(folder));
    if told.tree_version > ledger.tree_version {
        told.tree_version = 0;
    }
    Some((text, told))
}
