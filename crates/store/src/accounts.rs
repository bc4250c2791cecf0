//! Accounts: provisioning, login, quota.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::{ACCOUNTS_PER_SUBSCRIBER_MAX, SHARERS_MAX};
use model::{AccountId, Acl, CpmAddress, Error, ErrorKind, MailboxId, MailboxName};
use store_api::{Account, AccountState, Credentials, NewAccount, Quota, QuotaLimits, ServiceClass};

use crate::failure::{Failure, bug, corrupt, no_such_account};
use crate::keyspace::{Keyspace, PendingKind, Subspace, TreeKey};
use crate::mutations::folders::STANDING;
use crate::records::{
    AccountRecord, ChangeKind, FeedEntry, FeedItem, FolderMarks, FolderRecord, Ledger, Pending, StateRecord,
};
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::work::new_state;

/// Most accounts of one page of a list.
const LIST_MAX: usize = 1_000;

async fn read_record(
    keys: &Keyspace,
    trx: &mut dyn Transaction,
    address: &CpmAddress,
) -> Result<Option<AccountRecord>, Failure> {
    let key = keys.directory(address);
    match trx.get(&key, ReadMode::Serializable).await? {
        None => Ok(None),
        Some(raw) => AccountRecord::decode(&raw).map(Some).ok_or_else(|| corrupt("account", &key)),
    }
}

/// The account of an address. One read.
pub(crate) async fn find(shared: &Shared, address: &CpmAddress) -> Result<Option<Arc<Account>>, Failure> {
    let record = reading!(read_record(&shared.keys, shared.begin("account").as_mut(), address).await);
    Ok(record.map(|record| Arc::new(record.into_account(address.clone()))))
}

/// Creates an account with the folders that every account has.
///
/// Safe to run twice: an attempt that finds the address with the id it chose itself had committed before.
pub(crate) async fn create(shared: &Shared, new: NewAccount) -> Result<AccountId, Failure> {
    let keys = &shared.keys;
    let id = AccountId::new(&new.address, shared.environment().random());
    let now = shared.now();
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("create_account");
        let attempt = async {
            if let Some(found) = read_record(keys, trx.as_mut(), &new.address).await? {
                if retry.maybe_committed() && found.id == id {
                    return Ok(());
                }
                return Err(Error::new(ErrorKind::AccountExists, "the account exists already").into());
            }
            let ledger_key = keys.ledger(id);
            if trx.get(&ledger_key, ReadMode::Serializable).await?.is_some() {
                return Err(bug("a random account number was given before"));
            }
            let record = AccountRecord {
                id,
                state: AccountState::Active,
                credentials: new.credentials.clone(),
                limits: new.limits,
                created_at: now,
                linked: Vec::new(),
                service: new.service,
            };
            trx.set_bytes(keys.directory(&new.address), record.encode().into());
            trx.set(&keys.address(id), new.address.as_str().as_bytes());
            let (limits, service) = (new.limits, new.service);
            let mut ledger = Ledger { limits, service, next_id: 1, tree_version: 1, ..Ledger::default() };
            let changed = ledger.next_change(shared.environment().random());
            for name in standing_names() {
                let mailbox = MailboxId(ledger.take_id());
                let folder = FolderRecord { name, special_use: None, noselect: false, acl: Acl::default() };
                trx.set_bytes(keys.folder(id, mailbox), folder.encode().into());
                let state = new_state(&mut ledger, now);
                let marks = FolderMarks { log_from: state.highest_modseq, changed, ..FolderMarks::default() };
                let state = StateRecord { folder: state, marks };
                trx.set_bytes(keys.state(id, mailbox), state.encode().into());
            }
            trx.set_bytes(ledger_key, ledger.encode().into());
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(id),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

fn standing_names() -> impl Iterator<Item = MailboxName> {
    let others = STANDING.iter().filter_map(|name| MailboxName::parse(name).ok());
    std::iter::once(MailboxName::inbox()).chain(others)
}

/// Changes an account's record, and its limits and class of service in the ledger. Safe to run twice: it sets values, whatever they were.
pub(crate) async fn change(
    shared: &Shared,
    address: &CpmAddress,
    change: impl Fn(&mut AccountRecord),
) -> Result<(), Failure> {
    let keys = &shared.keys;
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("change_account");
        let attempt = async {
            let mut record = read_record(keys, trx.as_mut(), address).await?.ok_or_else(no_such_account)?;
            let (before, state) = ((record.limits, record.service), record.state);
            change(&mut record);
            trx.set_bytes(keys.directory(address), record.encode().into());
            if (record.limits, record.service) != before {
                let key = keys.ledger(record.id);
                let raw =
                    trx.get(&key, ReadMode::Serializable).await?.ok_or_else(|| corrupt("ledger", &key))?;
                let mut ledger = Ledger::decode(&raw).ok_or_else(|| corrupt("ledger", &key))?;
                (ledger.limits, ledger.service) = (record.limits, record.service);
                trx.set_bytes(key, ledger.encode().into());
            }
            if record.state != state {
                wake(shared, trx.as_mut(), &[record.id], ChangeKind::Folders);
            }
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

/// Wakes whoever listens to one of the accounts: it is shut, open again, gone, or linked with others than before, so that
/// all of its folders may be. Once in a transaction: the parts of a commit are counted here.
fn wake(shared: &Shared, trx: &mut dyn Transaction, ids: &[AccountId], kind: ChangeKind) {
    let keys = &shared.keys;
    for (part, id) in (0u16..).zip(ids) {
        let item = FeedItem::new(None, model::ModSeq(0), kind, 0);
        let entry =
            FeedEntry { account: *id, at_millis: shared.environment().now_millis(), items: vec![item] };
        let prefix = keys.feed_log_prefix(id.partition());
        trx.set_versionstamped_key(&prefix, &part.to_be_bytes(), &entry.encode());
        trx.set_versionstamped_value(&keys.feed_head(id.partition()), &[]);
    }
}

/// Replaces the credentials of an account.
pub(crate) async fn set_credentials(
    shared: &Shared,
    address: &CpmAddress,
    credentials: Credentials,
) -> Result<(), Failure> {
    change(shared, address, |record| record.credentials = credentials.clone()).await
}

/// Sets an account's state and quota.
pub(crate) async fn configure(
    shared: &Shared,
    address: &CpmAddress,
    state: AccountState,
    limits: QuotaLimits,
) -> Result<(), Failure> {
    change(shared, address, |record| {
        record.state = state;
        record.limits = limits;
    })
    .await
}

/// Sets an account's class of service.
pub(crate) async fn set_service(
    shared: &Shared,
    address: &CpmAddress,
    service: ServiceClass,
) -> Result<(), Failure> {
    change(shared, address, |record| record.service = service).await
}

/// Makes accounts those of one subscriber. Safe to run twice: it sets values, whatever they were.
pub(crate) async fn link(shared: &Shared, addresses: &[CpmAddress]) -> Result<(), Failure> {
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("link_accounts");
        let attempt = async {
            let mut set = BTreeMap::new();
            let mut unread: Vec<CpmAddress> = addresses.to_vec();
            while let Some(address) = unread.pop() {
                if set.contains_key(&address) {
                    continue;
                }
                if set.len() == ACCOUNTS_PER_SUBSCRIBER_MAX {
                    let text = format!("a subscriber has {ACCOUNTS_PER_SUBSCRIBER_MAX} accounts at most");
                    return Err(Error::new(ErrorKind::Limit, text).into());
                }
                let record = read_record(&shared.keys, trx.as_mut(), &address).await?.ok_or_else(|| {
                    Error::new(ErrorKind::NoSuchAccount, format!("there is no account {address}"))
                })?;
                unread.extend(record.linked.iter().cloned());
                set.insert(address, record);
            }
            let all: Vec<_> = set.keys().cloned().collect();
            let mut changed = Vec::new();
            for (address, mut record) in set {
                let linked: Vec<_> = all.iter().filter(|other| **other != address).cloned().collect();
                if linked != record.linked {
                    changed.push(record.id);
                }
                record.linked = linked;
                trx.set_bytes(shared.keys.directory(&address), record.encode().into());
            }
            wake(shared, trx.as_mut(), &changed, ChangeKind::Folders);
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

/// Takes an account out of those that it was linked with. Safe to run twice: an account without links has none to
/// lose.
pub(crate) async fn unlink(shared: &Shared, address: &CpmAddress) -> Result<(), Failure> {
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("unlink_account");
        let attempt = async {
            let found = read_record(&shared.keys, trx.as_mut(), address).await?;
            let mut record = found.ok_or_else(no_such_account)?;
            let linked = std::mem::take(&mut record.linked);
            let mut changed = forget_link(&shared.keys, trx.as_mut(), address, &linked).await?;
            if !linked.is_empty() {
                changed.push(record.id);
            }
            trx.set_bytes(shared.keys.directory(address), record.encode().into());
            wake(shared, trx.as_mut(), &changed, ChangeKind::Folders);
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

/// Takes `address` out of the records of those that it is linked with. Returns who they are.
async fn forget_link(
    keys: &Keyspace,
    trx: &mut dyn Transaction,
    address: &CpmAddress,
    linked: &[CpmAddress],
) -> Result<Vec<AccountId>, Failure> {
    let mut changed = Vec::with_capacity(linked.len());
    for other in linked {
        // One that is not there cannot name it either.
        let Some(mut record) = read_record(keys, trx, other).await? else { continue };
        record.linked.retain(|known| known != address);
        trx.set_bytes(keys.directory(other), record.encode().into());
        changed.push(record.id);
    }
    Ok(changed)
}

/// Takes back what tells others that the account shares folders with them: as many notes as its lists have room for.
async fn forget_sharing(
    keys: &Keyspace,
    trx: &mut dyn Transaction,
    account: AccountId,
) -> Result<(), Failure> {
    // Every change of a list is ordered by the ledger.
    trx.get(&keys.ledger(account), ReadMode::Serializable).await?;
    let range = keys.tree(account);
    let mut request = RangeRequest::new(range.begin, range.end);
    let mut grantees = BTreeSet::new();
    loop {
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            let Some(TreeKey::Folder(_)) = keys.tree_key_of(&pair.key) else { continue };
            // One that cannot be read shares nothing.
            let Some(folder) = FolderRecord::decode(&pair.value) else { continue };
            grantees.extend(folder.acl.grantees());
        }
        match page.pairs.last() {
            Some(last) if page.more => request.begin = crate::snapshot::after(&last.key),
            _ => break,
        }
    }
    for grantee in grantees {
        trx.clear(&keys.sharer(grantee, account));
    }
    Ok(())
}

/// Clears the notes of the account's folders that have messages with \Deleted: as many as it has folders at most.
async fn forget_deleted(
    keys: &Keyspace,
    trx: &mut dyn Transaction,
    account: AccountId,
) -> Result<(), Failure> {
    let range = keys.subspace(account, Subspace::State);
    let mut request = RangeRequest::new(range.begin, range.end);
    loop {
        // Ordered by the ledger, which was read.
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            // One that cannot be read leaves its note, if it had one, to a check, or to the sweeper when it is due.
            let Some(state) = StateRecord::decode(&pair.value) else { continue };
            if let Some(mailbox) = keys.state_of(&pair.key).filter(|_| state.marks.deleted_day > 0) {
                trx.clear(&keys.deleted(state.marks.deleted_day, account, mailbox));
            }
        }
        match page.pairs.last() {
            Some(last) if page.more => request.begin = crate::snapshot::after(&last.key),
            _ => return Ok(()),
        }
    }
}

/// Accounts in the order of their addresses.
pub(crate) async fn list(
    shared: &Shared,
    after: Option<&CpmAddress>,
    limit: usize,
) -> Result<Vec<Arc<Account>>, Failure> {
    let keys = &shared.keys;
    let limit = limit.clamp(1, LIST_MAX);
    let range = keys.directory_after(after);
    let mut request = RangeRequest::new(range.begin, range.end).limit(limit);
    let mut accounts = Vec::new();
    loop {
        let page =
            reading!(Ok(shared.begin("list_accounts").get_range(&request, ReadMode::Snapshot).await?));
        for pair in &page.pairs {
            let address = keys.address_of(&pair.key).ok_or_else(|| corrupt("address", &pair.key))?;
            let record = AccountRecord::decode(&pair.value).ok_or_else(|| corrupt("account", &pair.key))?;
            accounts.push(Arc::new(record.into_account(address)));
        }
        match page.pairs.last() {
            Some(last) if page.more && accounts.len() < limit => {
                request.begin = crate::snapshot::after(&last.key);
                request.limit = limit - accounts.len();
            }
            _ => return Ok(accounts),
        }
    }
}

/// Removes an account: its name and ledger at once, so that nothing finds it any more, the rest with the sweeper.
///
/// Safe to run twice: an attempt that finds the mark it may have left itself had committed before.
pub(crate) async fn remove(shared: &Shared, address: &CpmAddress) -> Result<(), Failure> {
    let keys = &shared.keys;
    let mut retry = Retry::idempotent(None);
    let mut removed: Option<AccountId> = None;
    loop {
        let mut trx = shared.begin("remove_account");
        let maybe_committed = retry.maybe_committed();
        let attempt = async {
            let Some(record) = read_record(keys, trx.as_mut(), address).await? else {
                return if maybe_committed && removed.is_some() {
                    Ok(())
                } else {
                    Err(no_such_account().into())
                };
            };
            let id = record.id;
            if maybe_committed && removed.is_some_and(|removed| removed != id) {
                // Removed before, and the address given again: that account is another's.
                return Ok(());
            }
            removed = Some(id);
            forget_link(keys, trx.as_mut(), address, &record.linked).await?;
            forget_sharing(keys, trx.as_mut(), id).await?;
            forget_deleted(keys, trx.as_mut(), id).await?;
            trx.clear(&keys.directory(address));
            trx.clear(&keys.ledger(id));
            // The states go at once too: they alone say that a folder is there.
            let states = keys.subspace(id, Subspace::State);
            trx.clear_range(&states.begin, &states.end);
            // Other work has nothing left to do, and a body being written ahead must not come after the sweep.
            let others = keys.pending_of_account(id);
            trx.clear_range(&others.begin, &others.end);
            trx.set_bytes(keys.pending(id, PendingKind::Account, 0), Pending::Marked.encode().into());
            wake(shared, trx.as_mut(), &[id], ChangeKind::Removed);
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => break,
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
    if let Some(id) = removed {
        shared.caches.forget_tree(id);
    }
    shared.sweep.notify_one();
    Ok(())
}

/// The ledger of an account.
pub(crate) async fn read_ledger(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
) -> Result<Ledger, Failure> {
    let key = shared.keys.ledger(account);
    let raw = trx.get(&key, ReadMode::Snapshot).await?.ok_or_else(no_such_account)?;
    Ledger::decode(&raw).ok_or_else(|| corrupt("ledger", &key))
}

/// What an account uses and may use.
pub(crate) async fn quota(shared: &Shared, account: AccountId) -> Result<Quota, Failure> {
    let ledger = reading!(read_ledger(shared, shared.begin("quota").as_mut(), account).await);
    Ok(Quota { usage: ledger.usage, limits: ledger.limits })
}

/// The accounts that have given this one a right on a folder, as far as their addresses are theirs still. One that is shut is
/// among them: it shows nothing now, and is to be listened to for when it is open again.
pub(crate) async fn sharers(
    shared: &Shared,
    account: AccountId,
) -> Result<Vec<(CpmAddress, AccountId)>, Failure> {
    let keys = &shared.keys;
    let range = keys.sharers(account);
    let request = RangeRequest::new(range.begin, range.end).limit(SHARERS_MAX);
    Ok(reading!({
        let mut trx = shared.begin("shared_with");
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        let mut noted = Vec::with_capacity(page.pairs.len());
        for pair in &page.pairs {
            let address = std::str::from_utf8(&pair.value).ok().and_then(|text| CpmAddress::parse(text).ok());
            match (address, keys.id_of(&pair.key)) {
                (Some(address), Some(id)) => noted.push((address, AccountId(id))),
                _ => return Err(corrupt("sharer", &pair.key)),
            }
        }
        let directory: Vec<_> = noted.iter().map(|(address, _)| keys.directory(address)).collect();
        let records = trx.get_many(&directory, ReadMode::Snapshot).await?;
        let mut sharers = Vec::with_capacity(noted.len());
        for (((address, id), key), raw) in noted.into_iter().zip(&directory).zip(records) {
            let Some(raw) = raw else { continue };
            let record = AccountRecord::decode(&raw).ok_or_else(|| corrupt("account", key))?;
            // An address that was given again is somebody else's.
            if record.id == id {
                sharers.push((address, id));
            }
        }
        Ok(sharers)
    }))
}
