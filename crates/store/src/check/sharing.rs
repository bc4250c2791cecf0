//! Where accounts are told that another has given them a right on a folder: each note has a list of that account behind
//! it, and each list its note.
//!
//! A note and the lists that it leads to stand in two accounts and are written in one transaction; so they are compared
//! in one, from both ends.

use std::collections::BTreeSet;

use bytes::Bytes;
use kv::{KeyValue, RangeRequest, Transaction};
use model::limits::SHARERS_MAX;
use model::{AccountId, CpmAddress};
use store_api::{Finding, FindingKind};

use super::{Check, in_pages, read_all, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::TreeKey;
use crate::records::FolderRecord;

/// Accounts with a right whose notes are looked at in one transaction.
const GRANTEES_PER_PAGE: usize = 512;
/// Notes looked at in one transaction, each with the tree of the account that it is about.
const NOTES_PER_PAGE: usize = 8;

/// Checks what one account gives to others, and what it is told that others give to it.
pub(super) async fn check(
    check: &mut Check,
    address: &CpmAddress,
    account: AccountId,
) -> Result<(), Failure> {
    given(check, address, account).await?;
    noted(check, account).await
}

/// Whom the lists of an account's folders give something, and whether all of them can be read.
async fn grantees(
    check: &Check,
    account: AccountId,
    trx: &mut dyn Transaction,
) -> Result<(BTreeSet<AccountId>, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut found, mut whole) = (BTreeSet::new(), true);
    for pair in read_all(trx, keys.tree(account), check.mode()).await? {
        if let Some(TreeKey::Subscription(_)) = keys.tree_key_of(&pair.key) {
            continue;
        }
        match FolderRecord::decode(&pair.value) {
            Some(folder) => found.extend(folder.acl.grantees()),
            None => whole = false,
        }
    }
    Ok((found, whole))
}

/// Everybody to whom this account gives something is told so, at its address.
async fn given(check: &mut Check, address: &CpmAddress, account: AccountId) -> Result<(), Failure> {
    let mut from = None;
    loop {
        let (findings, last, records) =
            transaction!(check, trx, given_page(check, address, account, from, trx.as_mut()).await);
        check.tell(findings).await?;
        check.read(records).await?;
        if last.is_none() {
            return Ok(());
        }
        from = last;
    }
}

/// The findings of a page, its last account if there are more, and the records read.
type Page = (Vec<Finding>, Option<AccountId>, usize);

async fn given_page(
    check: &Check,
    address: &CpmAddress,
    account: AccountId,
    from: Option<AccountId>,
    trx: &mut dyn Transaction,
) -> Result<(Page, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut findings, mut wrote) = (Vec::new(), false);
    // Removed meanwhile, it gives nothing to anybody.
    if trx.get(&keys.ledger(account), check.mode()).await?.is_none() {
        return Ok(((findings, None, 1), false));
    }
    let (grantees, _) = grantees(check, account, trx).await?;
    let mut rest = grantees.into_iter().filter(|grantee| from.is_none_or(|from| *grantee > from));
    let page: Vec<AccountId> = rest.by_ref().take(GRANTEES_PER_PAGE).collect();
    let wanted: Vec<Bytes> =
        page.iter().flat_map(|grantee| [keys.ledger(*grantee), keys.sharer(*grantee, account)]).collect();
    let values = trx.get_many(&wanted, check.mode()).await?;
    for (grantee, pair) in page.iter().zip(values.chunks(2)) {
        let [ledger, note] = pair else { continue };
        // An account that was removed is told nothing.
        if ledger.is_none() || note.as_deref() == Some(address.as_str().as_bytes()) {
            continue;
        }
        if note.is_none() {
            // Who is told of as many as there is room for is not told of more.
            let notes = keys.sharers(*grantee);
            let request = RangeRequest::new(notes.begin, notes.end).limit(SHARERS_MAX);
            if trx.get_range(&request, check.mode()).await?.pairs.len() >= SHARERS_MAX {
                continue;
            }
        }
        if check.repair() {
            let value = Bytes::copy_from_slice(address.as_str().as_bytes());
            trx.set_bytes(keys.sharer(*grantee, account), value);
            wrote = true;
        }
        let text = match note {
            None => format!("account {grantee} has a right on a mailbox here, and is not told so"),
            Some(_) => {
                format!("account {grantee}, which has a right on a mailbox here, is told another address")
            }
        };
        findings.push(remedied(check.subject.finding(FindingKind::Sharing, text), check.repair()));
    }
    let last = page.last().copied().filter(|_| rest.next().is_some());
    Ok(((findings, last, wanted.len()), wrote))
}

/// What this account is told that others give to it is so. One that gives it nothing shows it nothing, either; but such
/// notes fill the room that there is for them.
async fn noted(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    in_pages!(check, check.shared.keys.sharers(account), NOTES_PER_PAGE, check.mode(), |pairs, trx| {
        noted_page(check, account, pairs, trx).await
    });
    Ok(())
}

async fn noted_page(
    check: &Check,
    account: AccountId,
    pairs: &[KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut findings, mut wrote) = (Vec::new(), false);
    for pair in pairs {
        let text = match keys.id_of(&pair.key).map(AccountId) {
            None => "a note that another account shares a mailbox is of no account".to_owned(),
            Some(sharer) => match wrong(check, account, sharer, trx).await? {
                Some(text) => text,
                None => continue,
            },
        };
        if check.repair() {
            trx.clear(&pair.key);
            wrote = true;
        }
        findings.push(remedied(check.subject.finding(FindingKind::Sharing, text), check.repair()));
    }
    Ok((findings, wrote))
}

/// What is wrong with the note that `sharer` has given `account` a right. What it says of the address is compared from the
/// other end.
async fn wrong(
    check: &Check,
    account: AccountId,
    sharer: AccountId,
    trx: &mut dyn Transaction,
) -> Result<Option<String>, Failure> {
    if trx.get(&check.shared.keys.ledger(sharer), check.mode()).await?.is_none() {
        return Ok(Some(format!("it is told that account {sharer} shares a mailbox, which is not there")));
    }
    let (grantees, whole) = grantees(check, sharer, trx).await?;
    let stale = whole && !grantees.contains(&account);
    Ok(stale.then(|| format!("it is told that account {sharer} shares a mailbox, which gives it no right")))
}
