//! What folders have beside messages: metadata entries, the keys of references, and notes of what was moved out.

use kv::{ReadMode, Transaction};
use model::{AccountId, MailboxId};
use store_api::{Finding, FindingKind};

use super::{Check, in_pages, remedied};
use crate::failure::Failure;
use crate::keyspace::{PendingKind, Subspace};
use crate::records::{MetadataRecord, MoveRecord, ReferenceKey};

/// Records looked at in one transaction; each may have 66 kB.
const RECORDS_PER_PAGE: usize = 32;

/// A kind of record that folders have, keyed by the folder.
struct Kind {
    subspace: Subspace,
    finding: FindingKind,
    is_readable: fn(&[u8]) -> bool,
    /// Of a folder that is not there.
    stray: &'static str,
    unreadable: &'static str,
    /// Whether one that cannot be read may be thrown away.
    is_replaceable: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        subspace: Subspace::Metadata,
        finding: FindingKind::Metadata,
        is_readable: |raw| MetadataRecord::decode(raw).is_some(),
        stray: "its metadata is there, but not the mailbox",
        unreadable: "its metadata cannot be read",
        is_replaceable: false,
    },
    Kind {
        subspace: Subspace::ReferenceKey,
        finding: FindingKind::ReferenceKey,
        is_readable: |raw| ReferenceKey::decode(raw).is_some(),
        stray: "its key of references is there, but not the mailbox",
        unreadable: "its key of references cannot be read",
        // The owner signs anew.
        is_replaceable: true,
    },
    Kind {
        subspace: Subspace::Move,
        finding: FindingKind::Moves,
        is_readable: |raw| MoveRecord::decode(raw).is_some(),
        stray: "a note of what was moved out of it is there, but not the mailbox",
        unreadable: "a note of what was moved out of it cannot be read",
        // Notifications about what was moved are noted with nothing.
        is_replaceable: true,
    },
];

/// Records that cannot be read, and those of folders that are not there.
pub(super) async fn check(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    for kind in &KINDS {
        check_kind(check, account, kind).await?;
    }
    Ok(())
}

async fn check_kind(check: &mut Check, account: AccountId, kind: &Kind) -> Result<(), Failure> {
    in_pages!(
        check,
        check.shared.keys.subspace(account, kind.subspace),
        RECORDS_PER_PAGE,
        ReadMode::Snapshot,
        |pairs, trx| records(check, account, kind, pairs, trx).await
    );
    Ok(())
}

async fn records(
    check: &Check,
    account: AccountId,
    kind: &Kind,
    pairs: &[kv::KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let named: Vec<MailboxId> =
        pairs.iter().filter_map(|pair| keys.id_of(&pair.key)).map(MailboxId).collect();
    let mut wanted = vec![keys.ledger(account)];
    for mailbox in &named {
        wanted.push(keys.folder(account, *mailbox));
        wanted.push(keys.pending(account, PendingKind::Restore, mailbox.0));
    }
    let values = trx.get_many(&wanted, check.mode()).await?;
    let (mut findings, mut wrote) = (Vec::new(), false);
    if values.first().is_none_or(Option::is_none) {
        return Ok((findings, wrote));
    }
    for ((pair, mailbox), holders) in pairs.iter().zip(named).zip(values[1..].chunks(2)) {
        // Number 0 is the account itself.
        if mailbox.0 != 0 && holders.iter().all(Option::is_none) {
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            let finding = check.subject.of_mailbox(kind.finding, mailbox, kind.stray);
            findings.push(remedied(finding, check.repair()));
        } else if !(kind.is_readable)(&pair.value) {
            let finding = check.subject.of_mailbox(kind.finding, mailbox, kind.unreadable);
            if !kind.is_replaceable {
                findings.push(finding);
                continue;
            }
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            findings.push(remedied(finding, check.repair()));
        }
    }
    Ok((findings, wrote))
}
