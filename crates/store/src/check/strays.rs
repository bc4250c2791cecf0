//! What nothing leads to: rows of folders that are not there, data and works of accounts that the directory lacks.

use std::collections::BTreeSet;

use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, MailboxId, PARTITIONS, Partition};
use store_api::{Finding, FindingKind};

use super::account::Outline;
use super::{Check, DIRECTORY_PAGE, Subject, in_pages, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::{KeyRange, PendingKind};
use crate::records::{AccountRecord, Pending};
use crate::retry::reading;
use crate::snapshot::after;

/// Accounts of the directory kept in mind at once, 8 octets each; more take further passes over it.
const ACCOUNTS_MAX: usize = 4 << 20;
/// Gaps between folders looked into in one transaction.
const GAPS_PER_PAGE: usize = 256;
/// Works looked at in one transaction.
const WORKS_PER_PAGE: usize = 256;

/// Rows and logs of folders that have no state and that no work is about to clear.
pub(super) async fn rows(check: &mut Check, account: AccountId, outline: &Outline) -> Result<(), Failure> {
    let (mut gaps, mut from) = (Vec::new(), 0);
    let known: BTreeSet<MailboxId> = outline.folders.union(&outline.stateless).copied().collect();
    for mailbox in known.into_iter().map(|mailbox| mailbox.0).chain([u64::MAX]) {
        if mailbox > from {
            gaps.push((from, mailbox));
        }
        from = mailbox.saturating_add(1);
    }
    while !gaps.is_empty() {
        let page: Vec<(u64, u64)> = gaps.drain(..gaps.len().min(GAPS_PER_PAGE)).collect();
        let (findings, further) =
            transaction!(check, trx, gap_page(check, account, &page, trx.as_mut()).await);
        check.strays.extend(findings.iter().filter_map(|finding| finding.mailbox));
        check.tell(findings).await?;
        check.read(page.len()).await?;
        gaps.extend(further);
    }
    Ok(())
}

type Found = (Vec<Finding>, Vec<(u64, u64)>);

async fn gap_page(
    check: &Check,
    account: AccountId,
    gaps: &[(u64, u64)],
    trx: &mut dyn Transaction,
) -> Result<(Found, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut findings, mut further, mut wrote) = (Vec::new(), Vec::new(), false);
    if trx.get(&keys.ledger(account), check.mode()).await?.is_none() {
        return Ok(((findings, further), false));
    }
    let requests: Vec<RangeRequest> = gaps
        .iter()
        .flat_map(|(from, to)| {
            let (from, to) = (MailboxId(*from), MailboxId(*to));
            [
                RangeRequest::new(keys.blocks(account, from).begin, keys.blocks(account, to).begin).limit(1),
                RangeRequest::new(keys.logs(account, from).begin, keys.logs(account, to).begin).limit(1),
            ]
        })
        .collect();
    let (_, pages) = trx.get_together(&[], &requests, ReadMode::Snapshot).await?;
    for ((_, to), pages) in gaps.iter().zip(pages.chunks(2)) {
        let first = |at: usize| pages.get(at)?.pairs.first().and_then(|pair| keys.id_of(&pair.key));
        let Some(mailbox) = [first(0), first(1)].into_iter().flatten().min() else { continue };
        if mailbox + 1 < *to {
            further.push((mailbox + 1, *to));
        }
        let works =
            [PendingKind::Folder, PendingKind::Restore].map(|kind| keys.pending(account, kind, mailbox));
        // One that came meanwhile has a name and a state.
        let named = keys.folder(account, MailboxId(mailbox));
        let holders = [keys.state(account, MailboxId(mailbox)), named, works[0].clone(), works[1].clone()];
        if trx.get_many(&holders, check.mode()).await?.iter().any(Option::is_some) {
            continue;
        }
        if check.repair() {
            // The sweeper clears it, and gives up the bodies that its rows point at.
            trx.set_bytes(works[0].clone(), Pending::Marked.encode().into());
            wrote = true;
        }
        let text = "its rows or log are there, but not the mailbox";
        let finding = check.subject.of_mailbox(FindingKind::Stray, MailboxId(mailbox), text);
        findings.push(remedied(finding, check.repair()));
    }
    Ok(((findings, further), wrote))
}

/// Data of accounts that no entry of the directory names, and accounts that two name.
pub(super) async fn accounts(check: &mut Check) -> Result<(), Failure> {
    let (mut first, mut width) = (0u16, PARTITIONS);
    while first < PARTITIONS {
        let named = directory(check, first, &mut width).await?;
        for twice in named.windows(2).filter(|pair| pair[0] == pair[1]) {
            let text = "two addresses have the same account";
            let subject = Subject { address: None, account: Some(AccountId(twice[0])) };
            check.tell(vec![subject.finding(FindingKind::Account, text)]).await?;
        }
        let end = first.saturating_add(width).min(PARTITIONS);
        let mut strangers = with_data(check, first, end, &named).await?;
        if !strangers.is_empty() {
            // Those that came meanwhile have an entry now.
            let mut whole = end - first;
            let now = directory(check, first, &mut whole).await?;
            if whole == end - first {
                strangers.retain(|account| now.binary_search(&account.0).is_err());
            }
        }
        for account in strangers {
            let subject = Subject { address: None, account: Some(account) };
            let finding = transaction!(check, trx, orphan(check, &subject, account, trx.as_mut()).await);
            check.tell(finding.into_iter().collect()).await?;
        }
        first = end;
    }
    Ok(())
}

/// The accounts that the directory names in the partitions from `first` on, ascending; as many partitions as fit.
async fn directory(check: &mut Check, first: u16, width: &mut u16) -> Result<Vec<u64>, Failure> {
    let mut named: Vec<u64> = Vec::new();
    let KeyRange { mut begin, end } = check.shared.keys.directory_after(None);
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(DIRECTORY_PAGE);
        let page =
            reading!(Ok(check.shared.begin_batch("check").get_range(&request, ReadMode::Snapshot).await?));
        let ids =
            page.pairs.iter().filter_map(|pair| AccountRecord::decode(&pair.value)).map(|record| record.id);
        let within =
            |id: &AccountId, width: u16| (first..first.saturating_add(width)).contains(&id.partition().0);
        named.extend(ids.filter(|id| within(id, *width)).map(|id| id.0));
        while named.len() > ACCOUNTS_MAX && *width > 1 {
            *width /= 2;
            named.retain(|id| within(&AccountId(*id), *width));
        }
        check.read(page.pairs.len()).await?;
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => break,
        }
    }
    named.sort_unstable();
    Ok(named)
}

/// The accounts of these partitions that have data but are not named, found by jumping from one to the next.
async fn with_data(
    check: &mut Check,
    first: u16,
    end: u16,
    named: &[u64],
) -> Result<Vec<AccountId>, Failure> {
    let keys = check.shared.keys.clone();
    let last = AccountId((u64::from(end - 1) << 52) | ((1 << 52) - 1));
    let mut begin = keys.account(AccountId(u64::from(first) << 52)).begin;
    let end = keys.account(last).end;
    let mut strangers = Vec::new();
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(1);
        let page =
            reading!(Ok(check.shared.begin_batch("check").get_range(&request, ReadMode::Snapshot).await?));
        check.read(1).await?;
        let Some(account) = page.pairs.first().and_then(|pair| keys.account_of(&pair.key)) else {
            return Ok(strangers);
        };
        if named.binary_search(&account.0).is_err() {
            strangers.push(account);
        }
        begin = keys.account(account).end;
    }
}

/// What is wrong with an account that the directory does not have: nothing, when it is being cleared.
async fn orphan(
    check: &Check,
    subject: &Subject,
    account: AccountId,
    trx: &mut dyn Transaction,
) -> Result<(Option<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let removal = keys.pending(account, PendingKind::Account, 0);
    let values = trx.get_many(&[removal.clone(), keys.ledger(account)], check.mode()).await?;
    let KeyRange { begin, end } = keys.account(account);
    let data = trx.get_range(&RangeRequest::new(begin, end).limit(1), ReadMode::Snapshot).await?;
    if values[0].is_some() || data.pairs.is_empty() {
        return Ok((None, false));
    }
    if values[1].is_some() {
        // Somebody's mail, whose address is lost: nothing here says whose.
        let text = "it has data and a ledger, but no address leads to it";
        return Ok((Some(subject.finding(FindingKind::Orphan, text)), false));
    }
    if check.repair() {
        trx.set_bytes(removal, Pending::Marked.encode().into());
    }
    let finding = subject.finding(FindingKind::Orphan, "data of a removed account was left behind");
    Ok((Some(remedied(finding, check.repair())), check.repair()))
}

/// Works of accounts that have no data at all.
pub(super) async fn works(check: &mut Check) -> Result<(), Failure> {
    in_pages!(
        check,
        check.shared.keys.pending_of_partitions(Partition(0), Partition(PARTITIONS - 1)),
        WORKS_PER_PAGE,
        ReadMode::Snapshot,
        |pairs, trx| work_page(check, pairs, trx).await
    );
    Ok(())
}

async fn work_page(
    check: &Check,
    pairs: &[kv::KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let (mut findings, mut wrote) = (Vec::new(), false);
    let accounts: BTreeSet<AccountId> =
        pairs.iter().filter_map(|pair| keys.pending_of(&pair.key)).map(|(account, ..)| account).collect();
    let ledgers: Vec<_> = accounts.iter().map(|account| keys.ledger(*account)).collect();
    let values = trx.get_many(&ledgers, check.mode()).await?;
    let alive: BTreeSet<AccountId> = accounts
        .into_iter()
        .zip(values)
        .filter(|(_, value)| value.is_some())
        .map(|(account, _)| account)
        .collect();
    for pair in pairs {
        let named = keys.pending_of(&pair.key);
        let account = named.map(|(account, ..)| account);
        let stray = match named {
            // That of an account that is there is told with the account.
            Some((account, kind, _)) => !alive.contains(&account) && kind != PendingKind::Account,
            None => true,
        };
        if !stray {
            continue;
        }
        if check.repair() {
            trx.clear(&pair.key);
            wrote = true;
        }
        let subject = Subject { address: None, account };
        let text = format!("the work at {} is of no account that is there", pair.key.escape_ascii());
        findings.push(remedied(subject.finding(FindingKind::Work, text), check.repair()));
    }
    Ok((findings, wrote))
}
