//! Links between accounts of one subscriber: each must be known at both ends.

use kv::Transaction;
use model::CpmAddress;
use store_api::FindingKind;

use crate::check::{Check, remedied, transaction};
use crate::failure::{Failure, corrupt};
use crate::records::AccountRecord;

/// Checks the links of one account. A link that the other end does not know of gives access that nobody meant to give:
/// repair takes it away.
pub(super) async fn check(check: &mut Check, address: &CpmAddress) -> Result<(), Failure> {
    let repair = check.repair();
    let findings = transaction!(check, trx, {
        let mut findings = Vec::new();
        let Some(mut record) = read(check, trx.as_mut(), address).await? else {
            return Ok((findings, false));
        };
        let mut mutual = Vec::new();
        for other in &record.linked {
            match read(check, trx.as_mut(), other).await? {
                Some(there) if there.linked.contains(address) => mutual.push(other.clone()),
                _ => {
                    let text = format!("it is linked with {other}, which does not know of it");
                    findings.push(remedied(check.subject.finding(FindingKind::Account, text), repair));
                }
            }
        }
        let write = repair && !findings.is_empty();
        if write {
            record.linked = mutual;
            trx.set_bytes(check.shared.keys.directory(address), record.encode().into());
        }
        Ok((findings, write))
    });
    check.tell(findings).await
}

async fn read(
    check: &Check,
    trx: &mut dyn Transaction,
    address: &CpmAddress,
) -> Result<Option<AccountRecord>, Failure> {
    let key = check.shared.keys.directory(address);
    match trx.get(&key, check.mode()).await? {
        None => Ok(None),
        Some(raw) => AccountRecord::decode(&raw).map(Some).ok_or_else(|| corrupt("account", &key)),
    }
}
