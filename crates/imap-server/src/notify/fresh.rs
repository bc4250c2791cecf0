//! An account's folders as they are, by the names that the client knows, as far as it may know of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{CpmAddress, MailboxId, MailboxName, Rights};
use store_api::{FolderEntry, FolderTree};

use crate::commands::list;
use crate::others;

/// Folders as they are.
#[derive(Debug)]
pub(super) struct Fresh {
    /// By the names that the client knows. Of another user's, those that the client may look up.
    pub tree: Arc<FolderTree>,
    /// Those that it may not look up, and has another right on.
    not_listed: BTreeSet<MailboxName>,
}

impl Fresh {
    /// One's own.
    pub fn of_own(tree: Arc<FolderTree>) -> Self {
        Self { tree, not_listed: BTreeSet::new() }
    }

    /// What another user shows, of which the client subscribed to that.
    pub fn of_other(owner: &CpmAddress, found: &FolderTree, subscribed: BTreeSet<MailboxName>) -> Self {
        let (mut folders, mut not_listed) = (Vec::new(), BTreeSet::new());
        for entry in found.folders() {
            // A name that is too long with its prefix cannot be told.
            let Ok(name) = MailboxName::parse(&others::shown(Some(owner), &entry.name)) else { continue };
            if entry.rights.has(Rights::LOOKUP) {
                // What a mailbox is for, it is for its owner.
                folders.push(FolderEntry { name, special_use: None, ..entry.clone() });
            } else {
                not_listed.insert(name);
            }
        }
        Self { tree: Arc::new(FolderTree::new(found.version, folders, subscribed)), not_listed }
    }

    /// What LIST tells of a name.
    pub fn attributes(&self, name: &MailboxName) -> Vec<&'static str> {
        let show = list::Show { subscribed: true, non_existent: true };
        let mut attributes = list::attributes(&self.tree, name, show);
        if self.not_listed.contains(name) {
            // RFC 5465 §5.9. One that was taken away whole cannot be told from one that was deleted.
            attributes.push("\\NoAccess");
        }
        attributes
    }
}

/// The names in an account among those that the client subscribed to, as the server writes them.
pub(super) fn part_of(owner: &CpmAddress, subscribed: &BTreeSet<MailboxName>) -> BTreeSet<MailboxName> {
    let names = subscribed.iter().filter(|name| others::owner(name).as_ref() == Some(owner));
    names.cloned().map(others::canonical).collect()
}

/// The folders whose names are told: those that the client may read, too, of which alone anything is told (RFC 5465 §5), and
/// those of which it knows and that it still may look up. Costs nothing where that is all.
pub(super) fn named(tree: &Arc<FolderTree>, known: &BTreeSet<MailboxId>) -> Arc<FolderTree> {
    let is_named = |entry: &&FolderEntry| entry.rights.has(Rights::READ) || known.contains(&entry.id);
    if tree.folders().iter().all(|entry| is_named(&entry)) {
        return tree.clone();
    }
    let folders = tree.folders().iter().filter(is_named).cloned().collect();
    Arc::new(FolderTree::new(tree.version, folders, tree.subscribed().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::SpecialUse;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect("a name")
    }

    #[test]
    fn what_another_user_shows() {
        let owner = CpmAddress::parse("tel:+331").expect("an address");
        let entry = |id: u64, text: &str, rights: &str| FolderEntry {
            rights: Rights::parse(rights).expect("rights"),
            ..FolderEntry::own(MailboxId(id), name(text), Some(SpecialUse::Sent))
        };
        let long = "x".repeat(1000);
        let folders =
            vec![entry(1, "a", "lr"), entry(2, "b", "l"), entry(3, "c", "r"), entry(4, &long, "lr")];
        let subscribed = ["Other/+331/a", "Other/tel:+332/a", "a"].map(name).into();
        let part = part_of(&owner, &subscribed);
        assert_eq!(part, [name("Other/tel:+331/a")].into());

        let fresh = Fresh::of_other(&owner, &FolderTree::new(0, folders, BTreeSet::new()), part);
        let names = |tree: &FolderTree| {
            tree.folders().iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&fresh.tree), "Other/tel:+331/a Other/tel:+331/b");
        assert_eq!(names(&named(&fresh.tree, &BTreeSet::new())), "Other/tel:+331/a");
        assert_eq!(names(&named(&fresh.tree, &[MailboxId(2)].into())), "Other/tel:+331/a Other/tel:+331/b");
        let attributes = |text| fresh.attributes(&name(text)).join(" ");
        assert_eq!(attributes("Other/tel:+331/a"), r"\Subscribed \HasNoChildren");
        assert_eq!(attributes("Other/tel:+331/c"), r"\NonExistent \HasNoChildren \NoAccess");
        assert_eq!(attributes("Other/tel:+331/d"), r"\NonExistent \HasNoChildren");
        assert_eq!(attributes("Other/tel:+331"), r"\NonExistent \HasChildren");
    }
}
