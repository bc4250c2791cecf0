//! Other users' folders among those that LIST tells of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imap_wire::command::ListSelection;
use model::limits::SHARERS_MAX;
use model::{AccountId, CpmAddress, MailboxId, MailboxName, Rights};
use store_api::{FolderEntry, FolderTree};

use super::pattern::Pattern;
use crate::others::{self, PREFIX, encode, shown};
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// The folders that one LIST may tell of.
pub(super) struct Listing {
    /// All of them, by the names that the client knows. Of other users, only what they let the client look up.
    pub tree: Arc<FolderTree>,
    own: AccountId,
    /// Whose the folders of other users are.
    others: HashMap<MailboxName, AccountId>,
}

impl Listing {
    /// The folder of a name; none for a name that only has others below it.
    pub fn folder(&self, name: &MailboxName) -> Option<(FolderRef, &FolderEntry)> {
        let entry = self.tree.find(name).filter(|entry| !entry.rights.is_empty())?;
        let account = self.others.get(name).copied().unwrap_or(self.own);
        Some((FolderRef { account, mailbox: entry.id }, entry))
    }
}

/// One's own folders with those of other users that the patterns ask for.
///
/// # Errors
/// What the store answers.
pub(super) async fn with_others(
    session: &Session,
    own: Arc<FolderTree>,
    patterns: &[Pattern],
    selection: ListSelection,
) -> Result<Listing, Reply> {
    let account = session.account()?;
    let mut owners: BTreeSet<CpmAddress> = BTreeSet::new();
    let mut everybody = false;
    for pattern in patterns {
        let (literal, is_whole) = pattern.beginning();
        let Some(rest) = literal.strip_prefix(PREFIX) else { continue };
        if is_whole || rest.contains('/') {
            owners.extend(others::split(&literal).map(|(owner, _)| owner));
        } else {
            everybody = true;
        }
    }
    if selection.subscribed {
        let subscribed = own.subscribed().iter().filter_map(|name| others::split(name.as_str()));
        owners.extend(subscribed.map(|(owner, _)| owner));
    }
    if everybody {
        owners.extend(session.sharers().await?);
    }
    let mut listing = Listing { tree: own.clone(), own: account, others: HashMap::new() };
    let mut entries: BTreeMap<MailboxName, FolderEntry> = BTreeMap::new();
    for owner in owners.iter().take(SHARERS_MAX) {
        if let Some((account, tree)) = session.other_user(owner).await? {
            add(&mut listing, &mut entries, owner, account, &tree);
        }
    }
    if !entries.is_empty() {
        let folders = own.folders().iter().cloned().chain(entries.into_values()).collect();
        listing.tree = Arc::new(FolderTree::new(own.version, folders, own.subscribed().clone()));
    }
    Ok(listing)
}

/// Adds what another user lets the client look up, and the names above, which hold nothing.
fn add(
    listing: &mut Listing,
    entries: &mut BTreeMap<MailboxName, FolderEntry>,
    owner: &CpmAddress,
    account: AccountId,
    tree: &FolderTree,
) {
    let user = format!("{PREFIX}{}", encode(owner));
    for entry in tree.folders().iter().filter(|entry| entry.rights.has(Rights::LOOKUP)) {
        // A name that is too long with its prefix cannot be told.
        let Ok(name) = MailboxName::parse(&shown(Some(owner), &entry.name)) else { continue };
        for above in name.ancestors().filter(|above| above.as_str().starts_with(&user)) {
            entries.entry(above).or_insert_with_key(|above| FolderEntry {
                noselect: true,
                rights: Rights::NONE,
                ..FolderEntry::own(MailboxId(0), above.clone(), None)
            });
        }
        listing.others.insert(name.clone(), account);
        // What a mailbox is for, it is for its owner.
        entries.insert(name.clone(), FolderEntry { name, special_use: None, ..entry.clone() });
    }
}
