//! The notes by which the sweeper finds folders with messages that have \Deleted: each such folder has one, and its state
//! says where.
//!
//! Whether a folder should have one is compared where its rows are counted (`folder`). Here each note is held against the
//! state of its folder, for those that no folder knows of.

use kv::{KeyValue, ReadMode, Transaction};
use store_api::{Finding, FindingKind};

use super::{Check, Subject, in_pages, remedied};
use crate::failure::Failure;
use crate::records::StateRecord;

/// Notes looked at in one transaction, each with the state of its folder.
const NOTES_PER_PAGE: usize = 256;

/// Notes of folders that are not there, or that have another.
pub(super) async fn check(check: &mut Check) -> Result<(), Failure> {
    in_pages!(check, check.shared.keys.all_deleted(), NOTES_PER_PAGE, ReadMode::Snapshot, |pairs, trx| {
        notes(check, pairs, trx).await
    });
    Ok(())
}

async fn notes(
    check: &Check,
    pairs: &[KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let named: Vec<_> = pairs.iter().filter_map(|pair| keys.deleted_of(&pair.key)).collect();
    let states: Vec<_> = named.iter().map(|(_, account, mailbox)| keys.state(*account, *mailbox)).collect();
    let mut states = trx.get_many(&states, check.mode()).await?.into_iter();
    let (mut findings, mut wrote) = (Vec::new(), false);
    for pair in pairs {
        let named = keys.deleted_of(&pair.key);
        let is_known = named.is_some_and(|(day, ..)| match states.next().flatten() {
            // A state that cannot be read is told elsewhere; who knows what it says.
            Some(raw) => StateRecord::decode(&raw).is_none_or(|state| state.marks.deleted_day == day),
            None => false,
        });
        if is_known {
            continue;
        }
        if check.repair() {
            trx.clear(&pair.key);
            wrote = true;
        }
        let subject = Subject { address: None, account: named.map(|(_, account, _)| account) };
        let text = format_args!("the note of \\Deleted at {} is of no folder", pair.key.escape_ascii());
        let mailbox = named.map(|(.., mailbox)| mailbox);
        let finding = Finding { mailbox, ..subject.finding(FindingKind::DeletedNotes, text) };
        findings.push(remedied(finding, check.repair()));
    }
    Ok((findings, wrote))
}
