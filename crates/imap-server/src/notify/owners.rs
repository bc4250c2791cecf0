//! Which other users' mailboxes a command may be about.

use std::collections::BTreeSet;

use model::CpmAddress;
use model::limits::{ACCOUNTS_PER_SUBSCRIBER_MAX, SHARERS_MAX};
use store_api::FolderTree;

use super::wishes::Whose;
use crate::others;
use crate::reply::Reply;
use crate::session::Session;

/// Other users whose mailboxes one command may be about: as many as LIST shows.
pub(crate) const OWNERS_MAX: usize = SHARERS_MAX + ACCOUNTS_PER_SUBSCRIBER_MAX;

/// The other users whose mailboxes are at or below a name that was given, or subscribed to: by their names alone, whether
/// or not they let anything be seen. Who gave the name above all of them means those who share something. The caller
/// bounds them.
///
/// # Errors
/// What the store answers.
pub(crate) async fn owners<'w>(
    session: &Session,
    wanted: impl IntoIterator<Item = &'w Whose>,
    own: &FolderTree,
) -> Result<BTreeSet<CpmAddress>, Reply> {
    let mut owners = BTreeSet::new();
    let mut everybody = false;
    for whose in wanted {
        owners.extend(whose.given().filter_map(others::owner));
        match whose {
            Whose::Subscribed => owners.extend(own.subscribed().iter().filter_map(others::owner)),
            Whose::Subtree(names) => everybody |= names.iter().any(|name| name.as_str() == others::ROOT),
            _ => {}
        }
    }
    if everybody {
        owners.extend(session.sharers().await?);
    }
    Ok(owners)
}
