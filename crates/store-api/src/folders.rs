//! The folders of an account.

use std::collections::BTreeSet;

use model::{Acl, MailboxId, MailboxName, Rights, SpecialUse};

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// Its identity, for ever.
    pub id: MailboxId,
    /// Its name.
    pub name: MailboxName,
    /// What CREATE said it is for.
    pub special_use: Option<SpecialUse>,
    /// Only a name: it holds no messages and cannot be selected.
    pub noselect: bool,
    /// What who asked may do in it: everything, if it is the owner.
    pub rights: Rights,
    /// What others may do in it. Empty for who may not see it, without the right `a`.
    pub acl: Acl,
}

impl FolderEntry {
    /// A folder of the account that asks, which nobody else may see.
    pub fn own(id: MailboxId, name: MailboxName, special_use: Option<SpecialUse>) -> Self {
        Self { id, name, special_use, noselect: false, rights: Rights::ALL, acl: Acl::default() }
    }
}

/// All folders of an account at one point, in the order of their names, and the names subscribed to.
#[derive(Clone, Debug, Default)]
pub struct FolderTree {
    /// Ascends with every change of the tree.
    pub version: u64,
    folders: Vec<FolderEntry>,
    subscribed: BTreeSet<MailboxName>,
}

impl FolderTree {
    /// A tree of these folders, in any order.
    pub fn new(version: u64, mut folders: Vec<FolderEntry>, subscribed: BTreeSet<MailboxName>) -> Self {
        folders.sort_by(|a, b| a.name.cmp(&b.name));
        Self { version, folders, subscribed }
    }

    /// The folders, by name.
    pub fn folders(&self) -> &[FolderEntry] {
        &self.folders
    }

    /// The folder of that name.
    pub fn find(&self, name: &MailboxName) -> Option<&FolderEntry> {
        self.folders.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &self.folders[at])
    }

    /// The folder of that identity.
    pub fn by_id(&self, id: MailboxId) -> Option<&FolderEntry> {
        self.folders.iter().find(|f| f.id == id)
    }

    /// Whether any folder lies below that name.
    pub fn has_children(&self, name: &MailboxName) -> bool {
        let at = self.folders.partition_point(|f| f.name <= *name);
        self.folders[at..]
            .iter()
            .take_while(|f| f.name.as_str().starts_with(name.as_str()))
            .any(|f| f.name.is_below(name))
    }

    /// The names subscribed to, which need not exist.
    pub fn subscribed(&self) -> &BTreeSet<MailboxName> {
        &self.subscribed
    }
}
