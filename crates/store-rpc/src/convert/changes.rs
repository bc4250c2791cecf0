//! What changed in an account.

use model::limits::CHANGES_REMEMBERED_MAX;
use model::{MailboxId, Result};
use store_api::{ChangeToken, ChangedFolder, Changes, ChangesSince};

use super::{folder_entry, folder_entry_pb, folder_state, folder_state_pb};
use crate::error::invalid;
use crate::pb;

/// Folders of a page; the longest names and the counters of as many stay far below what a message may have.
const FOLDERS_PER_PAGE: usize = 1_000;

fn token(given: pb::ChangeToken) -> ChangeToken {
    ChangeToken { era: given.era, change: given.change }
}

fn token_pb(token: ChangeToken) -> pb::ChangeToken {
    pb::ChangeToken { era: token.era, change: token.change }
}

pub(crate) fn changes_since(given: &pb::GetChangesRequest) -> ChangesSince {
    match given.since {
        Some(since) => ChangesSince::Token(token(since)),
        None if given.whole => ChangesSince::Beginning,
        None => ChangesSince::Now,
    }
}

pub(crate) fn changes_since_pb(account: u64, since: ChangesSince) -> pb::GetChangesRequest {
    let (since, whole) = match since {
        ChangesSince::Now => (None, false),
        ChangesSince::Token(token) => (Some(token_pb(token)), false),
        ChangesSince::Beginning => (None, true),
    };
    pb::GetChangesRequest { account, since, whole }
}

/// All but the folders, from the first page.
pub(crate) fn changes(page: &pb::ChangesPage) -> Result<Changes> {
    let given = page.token.ok_or_else(|| invalid("an answer of changes has no token"))?;
    if page.gone.len() > CHANGES_REMEMBERED_MAX || !page.gone.is_sorted() {
        return Err(invalid("the folders that are gone ascend, and are 1024 at most"));
    }
    Ok(Changes {
        token: token(given),
        whole: page.whole,
        folders: Vec::new(),
        gone: page.gone.iter().copied().map(MailboxId).collect(),
        metadata: page.metadata,
        subscriptions: page.subscriptions,
    })
}

pub(crate) fn changed_folder(given: &pb::ChangedFolder) -> Result<ChangedFolder> {
    let entry = given.entry.as_ref().ok_or_else(|| invalid("a changed folder has no entry"))?;
    Ok(ChangedFolder {
        entry: folder_entry(entry)?,
        has_children: given.has_children,
        subscribed: given.subscribed,
        named: given.named,
        metadata: given.metadata,
        state: given.state.as_ref().map(folder_state).transpose()?,
    })
}

pub(crate) fn changes_pb(changes: &Changes) -> Vec<pb::ChangesPage> {
    let first = pb::ChangesPage {
        token: Some(token_pb(changes.token)),
        whole: changes.whole,
        gone: changes.gone.iter().map(|mailbox| mailbox.0).collect(),
        metadata: changes.metadata,
        subscriptions: changes.subscriptions,
        folders: Vec::new(),
    };
    let folder = |folder: &ChangedFolder| pb::ChangedFolder {
        entry: Some(folder_entry_pb(&folder.entry)),
        has_children: folder.has_children,
        subscribed: folder.subscribed,
        named: folder.named,
        metadata: folder.metadata,
        state: folder.state.as_ref().map(folder_state_pb),
    };
    let pages = changes.folders.chunks(FOLDERS_PER_PAGE).map(|some| pb::ChangesPage {
        folders: some.iter().map(folder).collect(),
        ..pb::ChangesPage::default()
    });
    std::iter::once(first).chain(pages).collect()
}
