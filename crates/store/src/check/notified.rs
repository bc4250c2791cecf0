//! Which notifications are about a message: every entry is of a notification that is about it.

use kv::{KeyValue, ReadMode, Transaction};
use model::{AccountId, BodyId};
use store_api::{Finding, FindingKind};

use cpm_mime::MessageIndex;

use super::{Check, in_pages, remedied};
use crate::failure::Failure;
use crate::keyspace::Subspace;
use crate::records::Place;

/// Entries looked at in one transaction, each with the facts of its notification.
const ENTRIES_PER_PAGE: usize = 256;

/// Entries that no notification has. One that is missing is none: who brought the notification may have had no say in
/// the account's other folders, or an earlier release took it.
pub(super) async fn check(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    in_pages!(
        check,
        check.shared.keys.subspace(account, Subspace::Notified),
        ENTRIES_PER_PAGE,
        ReadMode::Snapshot,
        |pairs, trx| entries(check, account, pairs, trx).await
    );
    Ok(())
}

async fn entries(
    check: &Check,
    account: AccountId,
    pairs: &[KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let named: Vec<Option<(&[u8], BodyId)>> = pairs.iter().map(|pair| keys.notified_of(&pair.key)).collect();
    let mut wanted = vec![keys.ledger(account)];
    wanted.extend(named.iter().map(|named| keys.info(account, named.map_or(BodyId(0), |(_, body)| body))));
    let mut values = trx.get_many(&wanted, check.mode()).await?.into_iter();
    let (mut findings, mut wrote) = (Vec::new(), false);
    if values.next().flatten().is_none() {
        return Ok((findings, wrote));
    }
    for ((pair, named), info) in pairs.iter().zip(named).zip(values) {
        let is_about = match (named, info.map(MessageIndex::decode)) {
            (Some((id, _)), Some(Ok(info))) => {
                info.imdn().is_some_and(|imdn| imdn.message_id.as_bytes() == id)
            }
            // Told elsewhere; who knows what it is about.
            (Some(_), Some(Err(_))) => true,
            _ => false,
        };
        if is_about && Place::decode(&pair.value).is_some() {
            continue;
        }
        if check.repair() {
            trx.clear(&pair.key);
            wrote = true;
        }
        let text = "an entry of notifications in the index that none has";
        let body = named.map(|(_, body)| body);
        let finding = Finding { body, ..check.subject.finding(FindingKind::Headers, text) };
        findings.push(remedied(finding, check.repair()));
    }
    Ok((findings, wrote))
}
