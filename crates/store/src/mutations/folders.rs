//! CREATE, DELETE, RENAME and SUBSCRIBE.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::limits::{DELETE_FOLDERS_MAX, FOLDERS_PER_ACCOUNT_MAX};
use model::{Acl, Error, ErrorKind, MailboxId, MailboxName, Rights, SpecialUse};
use store_api::{FolderEntry, FolderTree};

use crate::access::{Access, nearest};
use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, no_such_mailbox};
use crate::records::ChangeKind;
use crate::rules;
use crate::work::Work;
use crate::work::origin::Origin;

/// Folders that every account has beside INBOX, and that stay (RCC.09 §2: where the network records, and where the
/// user keeps).
pub(crate) const STANDING: [&str; 2] = ["Default", "RCSMessageStore"];

fn is_standing(name: &MailboxName) -> bool {
    STANDING.contains(&name.as_str())
}

fn cannot(text: &'static str) -> Failure {
    Error::new(ErrorKind::Cannot, text).into()
}

/// A change of the tree writes a few small keys; its entry in the tree is counted generously.
const TREE_COST: Cost = Cost { bytes: 4_096, messages: 0, blocks: 0 };

/// CREATE.
pub(crate) struct CreateFolder {
    pub(crate) name: MailboxName,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for CreateFolder {
    type Outcome = MailboxId;

    fn cost(&self) -> Cost {
        TREE_COST
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<MailboxId, Failure> {
        let tree = work.tree().await?;
        let existing = tree.find(&self.name);
        if existing.is_some_and(|entry| !entry.noselect) {
            return Err(Error::new(ErrorKind::MailboxExists, "the mailbox exists already").into());
        }
        rules::may_create(work, &self.name, &self.by)?;
        let creatable = |special_use: SpecialUse| {
            SpecialUse::ALL.iter().any(|(candidate, _, _, may)| *candidate == special_use && *may)
        };
        if self.special_use.is_some_and(|special_use| !creatable(special_use)) {
            return Err(cannot("the special use cannot be given to a mailbox"));
        }
        let missing = missing_levels(&tree, &self.name);
        Work::check_room(&tree, missing.len() + usize::from(existing.is_none()))?;

        let mut put: Vec<FolderEntry> =
            missing.into_iter().map(|name| new_entry(work, &tree, name, None)).collect();
        let entry = new_entry(work, &tree, self.name.clone(), self.special_use);
        let mailbox = entry.id;
        put.push(entry);
        // A \Noselect name gives way to the folder, which has a number of its own.
        let gone: Vec<MailboxId> = existing.map(|entry| entry.id).into_iter().collect();
        let kept = tree.folders().iter().filter(|entry| !gone.contains(&entry.id));
        let folders = kept.chain(&put).cloned().collect();
        work.change_tree(folders, &put, &gone, ChangeKind::Folders, &self.by).await?;
        Ok(mailbox)
    }
}

/// The levels above `name` that are not there, the topmost first.
pub(super) fn missing_levels(tree: &FolderTree, name: &MailboxName) -> Vec<MailboxName> {
    name.ancestors().filter(|above| tree.find(above).is_none()).collect()
}

/// A new folder. Who has rights on the one above it has them on it too (RFC 4314 §3.1 leaves that to the server).
pub(super) fn new_entry(
    work: &mut Work<'_>,
    tree: &FolderTree,
    name: MailboxName,
    special_use: Option<SpecialUse>,
) -> FolderEntry {
    let acl = inherited(tree, &name);
    FolderEntry { acl, ..FolderEntry::own(work.new_folder(), name, special_use) }
}

/// The access control list that a new folder begins with: that of the name itself, where it was \Noselect, or of the
/// nearest folder above.
pub(super) fn inherited(tree: &FolderTree, name: &MailboxName) -> Acl {
    tree.find(name).or_else(|| nearest(tree, name)).map(|entry| entry.acl.clone()).unwrap_or_default()
}

/// DELETE, of a folder alone or with all below it.
pub(crate) struct DeleteFolder {
    pub(crate) name: MailboxName,
    pub(crate) access: Access,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for DeleteFolder {
    type Outcome = ();

    fn cost(&self) -> Cost {
        TREE_COST
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let tree = work.tree().await?;
        let entry = tree.find(&self.name).ok_or_else(no_such_mailbox)?;
        if self.name.is_inbox() || is_standing(&self.name) {
            return Err(cannot("this mailbox cannot be deleted"));
        }
        let all_below = rules::takes_all_below(work, &self.name);
        let stays = !all_below && tree.has_children(&self.name);
        if entry.noselect && stays {
            return Err(Error::new(ErrorKind::HasChildren, "the mailbox has mailboxes below it").into());
        }
        let below = tree.folders().iter().filter(|other| all_below && other.name.is_below(&self.name));
        let gone: Vec<&FolderEntry> = std::iter::once(entry).chain(below).collect();
        self.check(&gone)?;
        let opened: Vec<MailboxId> =
            gone.iter().filter(|entry| !entry.noselect).map(|entry| entry.id).collect();
        work.open_folders(&opened).await?;

        for mailbox in &opened {
            work.delete_folder(*mailbox)?;
        }
        let mut put = Vec::new();
        if stays {
            // RFC 3501 §6.3.4: the name stays, without its messages, as long as there are names below it.
            let id = MailboxId(work.take_id());
            put.push(FolderEntry { id, special_use: None, noselect: true, ..entry.clone() });
        }
        let gone: BTreeSet<MailboxId> = gone.iter().map(|entry| entry.id).collect();
        let kept = tree.folders().iter().filter(|other| !gone.contains(&other.id));
        let folders = kept.chain(&put).cloned().collect();
        let gone: Vec<MailboxId> = gone.into_iter().collect();
        work.change_tree(folders, &put, &gone, ChangeKind::Folders, &self.by).await?;
        for mailbox in opened {
            work.note(Some(mailbox), ChangeKind::Folders, &self.by);
        }
        Ok(())
    }
}

impl DeleteFolder {
    /// Whether all of these may go at once.
    fn check(&self, gone: &[&FolderEntry]) -> Result<(), Failure> {
        // RFC 4314 §4 asks for "x" on the mailbox. Who may delete it may still not delete what others made below it.
        if !gone.iter().all(|entry| self.access.rights(entry).has(Rights::DELETE_MAILBOX)) {
            let text = "you have not the right to delete every mailbox below that one";
            return Err(Error::new(ErrorKind::NoPermission, text).into());
        }
        if gone.len() > DELETE_FOLDERS_MAX {
            let text =
                format!("{} mailboxes would go, and {DELETE_FOLDERS_MAX} at most go at once", gone.len());
            return Err(Error::new(ErrorKind::Limit, text).into());
        }
        Ok(())
    }
}

/// RENAME, of any folder but INBOX, with all below it.
pub(crate) struct RenameFolder {
    pub(crate) from: MailboxName,
    pub(crate) to: MailboxName,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for RenameFolder {
    type Outcome = ();

    fn cost(&self) -> Cost {
        // A folder with all folders below it is rare; it counts as if each had a short name.
        Cost { bytes: 64 * 1024, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let tree = work.tree().await?;
        let renamed = tree.find(&self.from).ok_or_else(no_such_mailbox)?.id;
        if is_standing(&self.from) || self.from.is_inbox() {
            return Err(cannot("this mailbox cannot be renamed"));
        }
        rules::may_rename(work, &self.to, &self.by)?;
        if tree.find(&self.to).is_some() {
            return Err(Error::new(ErrorKind::MailboxExists, "a mailbox of that name exists already").into());
        }
        if self.to.is_below(&self.from) {
            return Err(cannot("a mailbox cannot be moved below itself"));
        }
        let mut put: Vec<FolderEntry> = Vec::new();
        let mut folders: Vec<FolderEntry> = Vec::with_capacity(tree.folders().len() + 1);
        for entry in tree.folders() {
            let mut entry = entry.clone();
            if let Some(name) = entry.name.rebase(&self.from, &self.to) {
                entry.name = name.map_err(|error| Error::new(ErrorKind::Limit, error.to_string()))?;
                put.push(entry.clone());
            }
            folders.push(entry);
        }
        // No level above the new name is at or below the old one, or the new name were below it too.
        let missing = missing_levels(&tree, &self.to);
        Work::check_room(&tree, missing.len())?;

        for name in missing {
            let entry = new_entry(work, &tree, name, None);
            put.push(entry.clone());
            folders.push(entry);
        }
        work.change_tree(folders, &put, &[], ChangeKind::Folders, &self.by).await?;
        work.note(Some(renamed), ChangeKind::Folders, &self.by);
        Ok(())
    }
}

/// SUBSCRIBE and UNSUBSCRIBE.
pub(crate) struct Subscribe {
    pub(crate) name: MailboxName,
    pub(crate) subscribed: bool,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for Subscribe {
    type Outcome = ();

    fn cost(&self) -> Cost {
        TREE_COST
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let tree = work.tree().await?;
        if tree.subscribed().contains(&self.name) == self.subscribed {
            return Ok(());
        }
        if self.subscribed && tree.subscribed().len() >= FOLDERS_PER_ACCOUNT_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("an account may have at most {FOLDERS_PER_ACCOUNT_MAX} subscriptions"),
            )
            .into());
        }
        work.change_subscription(&self.name, self.subscribed, &self.by).await
    }
}
