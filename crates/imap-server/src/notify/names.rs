//! From the mailbox names that a client knows to those that are.

use std::collections::{BTreeMap, HashMap};

use model::{MailboxId, MailboxName};
use store_api::{FolderEntry, FolderTree};

use super::wishes::Wants;

/// What this session did to a name itself, and need not be told (RFC 5465 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnChange {
    /// It created the name and what was missing above it, or renamed a mailbox to it.
    Made(MailboxName),
    /// It deleted it.
    Deleted(MailboxName),
    /// It subscribed to it, or ended that.
    Subscribed(MailboxName, bool),
}

impl OwnChange {
    /// The name, as the client knows it.
    pub fn name(&self) -> &MailboxName {
        match self {
            Self::Made(name) | Self::Deleted(name) | Self::Subscribed(name, _) => name,
        }
    }
}

/// A name that something happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affected {
    /// The name before it was renamed.
    pub old_name: Option<MailboxName>,
    /// By which events: MailboxName, SubscriptionChange or both.
    pub by: Wants,
}

/// What happened between two trees: names that were created, deleted or renamed, those right above the created and the
/// deleted, and names whose subscription changed (RFC 5465 §5.4, §5.5). In an order in which a client can take them one by
/// one: those renamed first, since an old name may be another mailbox's by now.
pub(crate) fn affected(
    old: &FolderTree,
    new: &FolderTree,
    own: &[OwnChange],
) -> Vec<(MailboxName, Affected)> {
    let mut found: BTreeMap<MailboxName, Affected> = BTreeMap::new();
    let mut note = |name: &MailboxName, by| {
        let affected = found.entry(name.clone()).or_default();
        affected.by = affected.by.with(by);
    };
    let known: HashMap<MailboxId, &FolderEntry> =
        old.folders().iter().map(|entry| (entry.id, entry)).collect();
    let mut renamed = Vec::new();
    let mut left = known.clone();
    for entry in new.folders() {
        match left.remove(&entry.id) {
            None => {
                note(&entry.name, Wants::NAME);
                entry.name.parent().iter().for_each(|parent| note(parent, Wants::NAME));
            }
            Some(before) if before.name != entry.name => {
                if !came_along(&known, new, before, entry) {
                    renamed.push((before, entry));
                }
            }
            // It lost its messages, and its name stays for those below it; or the other way round.
            Some(before) if before.noselect != entry.noselect => note(&entry.name, Wants::NAME),
            Some(_) => {}
        }
    }
    for entry in left.values() {
        note(&entry.name, Wants::NAME);
        entry.name.parent().iter().for_each(|parent| note(parent, Wants::NAME));
    }
    for name in old.subscribed().symmetric_difference(new.subscribed()) {
        note(name, Wants::SUBSCRIPTION);
    }
    for (before, entry) in renamed {
        let affected = found.entry(entry.name.clone()).or_default();
        affected.by = affected.by.with(Wants::NAME);
        affected.old_name = Some(before.name.clone());
    }
    for change in own {
        forget(&mut found, new, change);
    }
    in_order(found)
}

/// First those renamed, by name; but before one that takes a name that another left, or one below it, that other. Then the
/// rest, by name.
fn in_order(found: BTreeMap<MailboxName, Affected>) -> Vec<(MailboxName, Affected)> {
    let (mut renamed, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        found.into_iter().partition(|(_, affected)| affected.old_name.is_some());
    let mut left: HashMap<MailboxName, MailboxName> = renamed
        .iter()
        .filter_map(|(name, affected)| Some((affected.old_name.clone()?, name.clone())))
        .collect();
    let mut ordered = Vec::with_capacity(renamed.len() + rest.len());
    let mut waiting: Vec<MailboxName> = Vec::new();
    while let Some(name) = waiting.pop().or_else(|| renamed.keys().next().cloned()) {
        // Each is waited for once, so that two that changed places do not wait for each other.
        let first = left.remove(&name).or_else(|| name.ancestors().find_map(|above| left.remove(&above)));
        if let Some(first) = first {
            waiting.extend([name, first]);
        } else if let Some(affected) = renamed.remove(&name) {
            ordered.push((name, affected));
        }
    }
    ordered.extend(rest);
    ordered
}

/// Whether a mailbox got its new name because one above it was renamed.
fn came_along(
    known: &HashMap<MailboxId, &FolderEntry>,
    new: &FolderTree,
    before: &FolderEntry,
    entry: &FolderEntry,
) -> bool {
    let Some(above) = entry.name.parent().and_then(|parent| new.find(&parent)) else { return false };
    let Some(above_before) = known.get(&above.id) else { return false };
    matches!(before.name.rebase(&above_before.name, &above.name), Some(Ok(name)) if name == entry.name)
        && above_before.name != above.name
}

/// Takes out what the session did itself, where it is still so.
fn forget(found: &mut BTreeMap<MailboxName, Affected>, new: &FolderTree, change: &OwnChange) {
    let mut silent = |name: &MailboxName, by: Wants| {
        if let Some(affected) = found.get_mut(name) {
            affected.by = affected.by.without(by);
            if affected.by == Wants::default() {
                found.remove(name);
            }
        }
    };
    match change {
        OwnChange::Made(name) if new.find(name).is_some() => {
            silent(name, Wants::NAME);
            name.ancestors().for_each(|above| silent(&above, Wants::NAME));
        }
        // Somebody deleted it since: the client takes it to be there.
        OwnChange::Made(name) => {
            let affected = found.entry(name.clone()).or_default();
            affected.by = affected.by.with(Wants::NAME);
        }
        OwnChange::Deleted(name) if new.find(name).is_none_or(|entry| entry.noselect) => {
            silent(name, Wants::NAME);
            name.parent().iter().for_each(|above| silent(above, Wants::NAME));
        }
        OwnChange::Subscribed(name, subscribed) if new.subscribed().contains(name) == *subscribed => {
            silent(name, Wants::SUBSCRIPTION);
        }
        OwnChange::Deleted(_) | OwnChange::Subscribed(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect("a name")
    }

    /// `id:name`, with `-` behind it for \Noselect.
    fn tree(folders: &[&str], subscribed: &[&str]) -> FolderTree {
        let entry = |text: &&str| {
            let (id, text) = text.split_once(':').expect("id:name");
            let noselect = text.ends_with('-');
            let id = MailboxId(id.parse().expect("an id"));
            FolderEntry { noselect, ..FolderEntry::own(id, name(text.trim_end_matches('-')), None) }
        };
        FolderTree::new(
            1,
            folders.iter().map(entry).collect(),
            subscribed.iter().map(|text| name(text)).collect(),
        )
    }

    #[track_caller]
    fn check(old: &FolderTree, new: &FolderTree, own: &[OwnChange], expected: &str) {
        let told: Vec<_> = affected(old, new, own)
            .into_iter()
            .map(|(name, affected)| {
                let mut text = name.as_str().to_owned();
                if let Some(old) = &affected.old_name {
                    text = format!("{text}<{old}");
                }
                if affected.by.has(Wants::SUBSCRIPTION) {
                    text.push('+');
                }
                if !affected.by.has(Wants::NAME) {
                    text.push('!');
                }
                text
            })
            .collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn between_trees() {
        let old = tree(&["1:INBOX", "2:a", "3:a/b", "4:a/b/c"], &["a"]);
        check(&old, &old, &[], "");
        check(&old, &tree(&["1:INBOX", "2:a", "3:a/b", "4:a/b/c", "5:a/x"], &["a"]), &[], "a a/x");
        check(&old, &tree(&["1:INBOX", "2:a", "3:a/b"], &["a"]), &[], "a/b a/b/c");
        // Those below a renamed mailbox come along.
        check(&old, &tree(&["1:INBOX", "2:z", "3:z/b", "4:z/b/c"], &["a"]), &[], "z<a");
        check(&old, &tree(&["1:INBOX", "2:a", "3:b", "4:b/c"], &["a"]), &[], "b<a/b");
        // Renamed with its parent, then renamed itself.
        check(&old, &tree(&["1:INBOX", "2:z", "3:z/d", "4:z/d/c"], &["a"]), &[], "z<a z/d<a/b");
        check(&old, &tree(&["1:INBOX", "2:a-", "3:a/b", "4:a/b/c"], &["a"]), &[], "a");
        // A name that was left and taken again: the renaming first.
        check(&old, &tree(&["1:INBOX", "2:z", "3:z/b", "4:z/b/c", "5:a"], &["a"]), &[], "z<a a");
        let two = tree(&["1:a", "2:b", "3:b/x", "4:c"], &[]);
        check(&two, &tree(&["1:b", "2:c", "3:c/x", "4:d"], &[]), &[], "d<c c<b b<a");
        check(&two, &tree(&["1:b/y", "2:c", "3:c/x", "4:d"], &[]), &[], "d<c c<b b/y<a");
        check(&two, &tree(&["1:b", "2:a", "3:a/x", "4:c"], &[]), &[], "a<b b<a");
        check(&old, &tree(&["1:INBOX", "9:a", "3:a/b", "4:a/b/c"], &["a"]), &[], "a");
        check(&old, &tree(&["1:INBOX", "2:a", "3:a/b", "4:a/b/c"], &["x"]), &[], "a+! x+!");
    }

    #[test]
    fn own_changes() {
        let old = tree(&["1:a"], &[]);
        let made = tree(&["1:a", "2:a/b", "3:a/b/c"], &[]);
        check(&old, &made, &[OwnChange::Made(name("a/b/c"))], "");
        // What another did meanwhile is told.
        check(&old, &made, &[OwnChange::Made(name("a/b"))], "a/b/c");
        check(&old, &old, &[OwnChange::Made(name("x"))], "x");
        check(&made, &tree(&["1:a", "2:a/b"], &[]), &[OwnChange::Deleted(name("a/b/c"))], "");
        check(&old, &tree(&["2:a"], &[]), &[OwnChange::Deleted(name("a"))], "a");
        // What went with it was not named: a client that does not know that it goes along is told.
        check(&made, &tree(&[], &[]), &[OwnChange::Deleted(name("a"))], "a/b a/b/c");
        let subscribed = tree(&["1:a"], &["a"]);
        check(&old, &subscribed, &[OwnChange::Subscribed(name("a"), true)], "");
        check(&subscribed, &old, &[OwnChange::Subscribed(name("a"), true)], "a+!");
        check(&old, &tree(&["1:z"], &[]), &[OwnChange::Made(name("z"))], "");
    }
}
