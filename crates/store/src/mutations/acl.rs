//! SETACL and DELETEACL.

use async_trait::async_trait;
use bytes::Bytes;
use kv::{RangeRequest, ReadMode};
use model::limits::{ACL_BYTES_PER_ACCOUNT_MAX, ACL_ENTRIES_MAX, SHARERS_MAX};
use model::{AccountId, AclChange, CpmAddress, Error, ErrorKind, MailboxId, Whom};
use store_api::FolderEntry;

use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, corrupt, invalid, no_such_mailbox};
use crate::records::{AccountRecord, ChangeKind};
use crate::work::Work;
use crate::work::origin::Origin;

/// Changes the list of a folder. Whom it gives something finds the owner under a key of their own account, and hears of it
/// there the first time.
pub(crate) struct SetAcl {
    pub(crate) mailbox: MailboxId,
    /// The address of the account.
    pub(crate) owner: CpmAddress,
    pub(crate) change: AclChange,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for SetAcl {
    type Outcome = ();

    fn cost(&self) -> Cost {
        Cost { bytes: 32 * 1024, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let tree = work.tree().await?;
        let entry = tree.by_id(self.mailbox).ok_or_else(no_such_mailbox)?;
        if find(work, &self.owner).await? != Some(work.account) {
            return Err(invalid("that is not the address of the account").into());
        }
        // An address without an account costs and answers as one that has one.
        let account = match &self.change.identifier.whom {
            Whom::Anyone => None,
            Whom::Address(address) if *address == self.owner => {
                let text = "the owner of a mailbox has all rights, always";
                return Err(Error::new(ErrorKind::Cannot, text).into());
            }
            Whom::Address(address) => find(work, address).await?,
        };
        let acl = entry.acl.with(&self.change, account);
        if acl == entry.acl {
            return Ok(());
        }
        let total: usize = tree.folders().iter().map(|entry| entry.acl.weight()).sum();
        let grows = acl.weight() > entry.acl.weight();
        if grows && acl.entries().len() > ACL_ENTRIES_MAX {
            let text =
                format!("a mailbox may have at most {ACL_ENTRIES_MAX} entries in its access control list");
            return Err(Error::new(ErrorKind::Limit, text).into());
        }
        if grows && total - entry.acl.weight() + acl.weight() > ACL_BYTES_PER_ACCOUNT_MAX {
            let text = "the access control lists of all mailboxes together are too long";
            return Err(Error::new(ErrorKind::Limit, text).into());
        }
        let granted = account.filter(|account| acl.grantees().any(|grantee| grantee == *account));
        let note = match granted {
            Some(grantee) => noted(work, grantee).await?,
            None => None,
        };

        // Who is given something here for the first time learns that there is somebody to listen to.
        let knows = |grantee| tree.folders().iter().any(|other| other.acl.grantees().any(|it| it == grantee));
        if let Some(grantee) = granted.filter(|grantee| !knows(*grantee)) {
            work.wake(grantee);
        }
        if let Some(key) = note {
            work.trx.set_bytes(key, Bytes::copy_from_slice(self.owner.as_str().as_bytes()));
        }
        let changed = FolderEntry { acl, ..entry.clone() };
        let folders = tree
            .folders()
            .iter()
            .map(|other| if other.id == changed.id { changed.clone() } else { other.clone() });
        let folders = folders.collect();
        work.change_tree(folders, &[changed], &[], ChangeKind::Folders, &self.by).await
    }
}

/// The account of an address.
async fn find(work: &mut Work<'_>, address: &CpmAddress) -> Result<Option<AccountId>, Failure> {
    let key = work.shared.keys.directory(address);
    match work.trx.get(&key, ReadMode::Serializable).await? {
        None => Ok(None),
        Some(raw) => {
            let record = AccountRecord::decode(&raw).ok_or_else(|| corrupt("account", &key))?;
            Ok(Some(record.id))
        }
    }
}

/// Where `grantee` is to find this account, unless it is there, or too many others are: that it is not listed then is
/// not said, since it would tell of the grantee.
async fn noted(work: &mut Work<'_>, grantee: AccountId) -> Result<Option<Bytes>, Failure> {
    let key = work.shared.keys.sharer(grantee, work.account);
    if work.trx.get(&key, ReadMode::Snapshot).await?.is_some() {
        return Ok(None);
    }
    let range = work.shared.keys.sharers(grantee);
    let request = RangeRequest::new(range.begin, range.end).limit(SHARERS_MAX);
    let page = work.trx.get_range(&request, ReadMode::Snapshot).await?;
    Ok((page.pairs.len() < SHARERS_MAX).then_some(key))
}
