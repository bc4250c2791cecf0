//! Which folders an ESEARCH searches.
//!
//! Source: RFC 7377 §2.2, RFC 5465 §6. A mailbox must be one that the client may read, and, unless the client gave its
//! name, one that it may look up. Of other users', those are searched that lie at or below a name that the client gave,
//! or that it subscribed to.

use std::collections::BTreeSet;

use imap_wire::command::MailboxFilter;
use model::{AccountId, CpmAddress, MailboxName, Rights};
use store_api::FolderTree;

use crate::notify::owners::{OWNERS_MAX, owners};
use crate::notify::wishes::Whose;
use crate::others;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// A folder to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub at: FolderRef,
    /// Its name, as the client knows it.
    pub name: Box<str>,
    /// Whether it is the selected one.
    pub selected: bool,
}

/// The folders of `sources`, each once, those of an account together.
///
/// # Errors
/// BAD when the selected folder is wanted and none is, and for names that are not in the connection's encoding; NO
/// `[LIMIT]` when they are more than one command may search; what the store answers.
pub(super) async fn resolve(session: &Session, sources: &[MailboxFilter]) -> Result<Vec<Folder>, Reply> {
    let mut found = Found {
        folders: Vec::new(),
        max: session.server.options.limits.multisearch_folders_max,
        selected: session.view.as_ref().map(|view| view.folder()),
    };
    let mut wanted = Vec::new();
    for source in sources {
        match Whose::new(session, source)? {
            Some(whose) => wanted.push(whose),
            None if found.folders.is_empty() => {
                let view = session.view()?;
                found.push(view.folder(), view.shown().into())?;
            }
            None => {}
        }
    }
    if wanted.is_empty() {
        return Ok(found.folders);
    }
    let own = session.folders().await?;
    found.add(&wanted, own.subscribed(), session.account()?, None, &own)?;
    let owners = owners(session, &wanted, &own).await?;
    if owners.len() > OWNERS_MAX {
        let text = format!("at most {OWNERS_MAX} other users can be searched at once");
        return Err(Reply::no_code("LIMIT", text));
    }
    for owner in &owners {
        if let Some((account, tree)) = session.other_user(owner).await? {
            found.add(&wanted, own.subscribed(), account, Some(owner), &tree)?;
        }
    }
    Ok(found.folders)
}

/// The folders, while they are collected.
struct Found {
    folders: Vec<Folder>,
    max: usize,
    selected: Option<FolderRef>,
}

impl Found {
    /// Adds those of an account that are wanted and may be searched. `subscribed`: names that the client subscribed to.
    fn add(
        &mut self,
        wanted: &[Whose],
        subscribed: &BTreeSet<MailboxName>,
        account: AccountId,
        owner: Option<&CpmAddress>,
        tree: &FolderTree,
    ) -> Result<(), Reply> {
        for entry in tree.folders().iter().filter(|entry| !entry.noselect && entry.rights.has(Rights::READ)) {
            // A name that is too long with its prefix cannot be told.
            let Ok(name) = MailboxName::parse(&others::shown(owner, &entry.name)) else { continue };
            let may_look_up = entry.rights.has(Rights::LOOKUP);
            let is_wanted = |whose: &Whose| {
                whose.gives(&name) || may_look_up && whose.includes(&name, subscribed.contains(&name))
            };
            let at = FolderRef { account, mailbox: entry.id };
            // The selected one may be here already.
            if wanted.iter().any(is_wanted) && self.folders.first().is_none_or(|first| first.at != at) {
                self.push(at, name.as_str().into())?;
            }
        }
        Ok(())
    }

    fn push(&mut self, at: FolderRef, name: Box<str>) -> Result<(), Reply> {
        if self.folders.len() >= self.max {
            let text = format!("at most {} mailboxes can be searched at once", self.max);
            return Err(Reply::no_code("LIMIT", text));
        }
        self.folders.push(Folder { at, name, selected: self.selected == Some(at) });
        Ok(())
    }
}
