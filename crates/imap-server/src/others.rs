//! Other users' folders: `Other/<address>/<folder>` (RFC 2342 §5), and from such a name to whose folder it is.
//!
//! An address stands in a name with `/ % * =` written as `=` and two hexadecimal digits: the first is the hierarchy
//! separator, the next two are LIST's wildcards, and names may have none of them.
//!
//! That an address has no account, that its account shows nothing, and that it has no such folder are one answer, made at
//! one place; the first asks the store as much as the second.

use std::collections::BTreeSet;
use std::sync::Arc;

use imap_wire::MailboxArg;
use model::{AccountId, CpmAddress, ErrorKind, MailboxId, MailboxName, Rights};
use store_api::{AccountState, FolderEntry, FolderTree};

use crate::accounts;
use crate::reply::Reply;
use crate::session::Session;

/// What the names of all other users' folders begin with.
pub(crate) const PREFIX: &str = "Other/";
/// The same as a name by itself.
pub(crate) const ROOT: &str = "Other";

/// The characters of an address that are written otherwise in a name.
const ESCAPED: [char; 4] = ['/', '%', '*', '='];

/// A name, and whose folder it is or would be.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub account: AccountId,
    /// The address, of other users.
    pub owner: Option<CpmAddress>,
    /// The name among the account's folders.
    pub name: MailboxName,
    /// What the client may see of the other user's folders, which is something.
    tree: Option<Arc<FolderTree>>,
}

impl Place {
    /// The name as the client knows it; none for one that is too long with its prefix.
    pub fn shown(&self) -> Option<MailboxName> {
        MailboxName::parse(&shown(self.owner.as_ref(), &self.name)).ok()
    }
}

/// A folder that was found by its name.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub account: AccountId,
    pub owner: Option<CpmAddress>,
    pub entry: FolderEntry,
}

impl Found {
    pub fn id(&self) -> MailboxId {
        self.entry.id
    }

    /// The name as the client knows it.
    pub fn shown(&self) -> String {
        shown(self.owner.as_ref(), &self.entry.name)
    }

    /// # Errors
    /// NO when one of the rights is missing: `[NOPERM]` for who may know of the folder, else `[NONEXISTENT]`.
    pub fn check(&self, needed: Rights) -> Result<(), Reply> {
        if self.entry.rights.has(needed) { Ok(()) } else { Err(lacking(self.entry.rights)) }
    }
}

/// A folder's name as the client knows it.
pub(crate) fn shown(owner: Option<&CpmAddress>, name: &MailboxName) -> String {
    match owner {
        None => name.as_str().to_owned(),
        Some(owner) => format!("{PREFIX}{}/{name}", encode(owner)),
    }
}

/// An address as a level of a name.
pub(crate) fn encode(address: &CpmAddress) -> String {
    let mut level = String::with_capacity(address.as_str().len());
    for c in address.as_str().chars() {
        if ESCAPED.contains(&c) {
            level.push_str(&format!("={:02X}", c as u32));
        } else {
            level.push(c);
        }
    }
    level
}

fn decode(level: &str) -> Option<CpmAddress> {
    let mut text = String::with_capacity(level.len());
    let mut rest = level;
    while let Some((before, after)) = rest.split_once('=') {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).map(char::from)?;
        text.push_str(before);
        text.push(Some(code).filter(|c| ESCAPED.contains(c))?);
        rest = &after[2..];
    }
    text.push_str(rest);
    CpmAddress::parse(&text).ok()
}

/// The address and the folder's own name in the name of another user's folder; none for a name of one's own. Without a
/// folder it is the user's name alone.
pub(crate) fn split(text: &str) -> Option<(CpmAddress, &str)> {
    let rest = text.strip_prefix(PREFIX)?;
    let (level, name) = rest.split_once('/').unwrap_or((rest, ""));
    Some((decode(level)?, name))
}

/// The other user in whose account a name is; none for a name of one's own.
pub(crate) fn owner(name: &MailboxName) -> Option<CpmAddress> {
    split(name.as_str()).map(|(owner, _)| owner)
}

/// The name of another user's folder as the server writes it: an address may be written in several ways. Names of one's
/// own stay as they are.
pub(crate) fn canonical(name: MailboxName) -> MailboxName {
    let Some((owner, below)) = split(name.as_str()) else { return name };
    let written = match MailboxName::parse(below) {
        Ok(below) => MailboxName::parse(&shown(Some(&owner), &below)),
        Err(_) => MailboxName::parse(&format!("{PREFIX}{}", encode(&owner))),
    };
    written.unwrap_or(name)
}

/// The number under which an address without an account is asked for.
pub(crate) fn nobody(address: &CpmAddress) -> AccountId {
    AccountId::new(address, 0)
}

/// The answer for a folder that is not there, or not the client's to know of.
pub(crate) fn missing() -> Reply {
    Reply::no_code("NONEXISTENT", "there is no mailbox of that name")
}

/// The answer to who has these rights and lacks one.
pub(crate) fn lacking(rights: Rights) -> Reply {
    if rights.has(Rights::LOOKUP) {
        Reply::no_code(ErrorKind::NoPermission.wire().0, "you have not the right to do this in that mailbox")
    } else {
        missing()
    }
}

/// The answer to a name that only the server makes.
pub(crate) fn reserved() -> Reply {
    Reply::no_code("CANNOT", "names below Other are those of other users' mailboxes")
}

impl Session {
    /// Whose folder a name is, or would be.
    ///
    /// # Errors
    /// As [`Session::mailbox_name`]; NO `[NONEXISTENT]` for another user of whom nothing may be seen, and for what is no
    /// name of a folder of theirs.
    pub async fn place(&self, arg: &MailboxArg) -> Result<Place, Reply> {
        let text = arg.decode(self.mailbox_encoding()).map_err(|error| Reply::bad(error.to_string()))?;
        let Some((owner, name)) = split(&text) else {
            let name = self.mailbox_name(arg)?;
            return Ok(Place { account: self.account()?, owner: None, name, tree: None });
        };
        let (account, tree) = self.other_user(&owner).await?.ok_or_else(missing)?;
        let name = MailboxName::parse(name).map_err(|_| missing())?;
        Ok(Place { account, owner: Some(owner), name, tree: Some(tree) })
    }

    /// As [`Session::place`], of a folder to be made.
    ///
    /// # Errors
    /// The same, and NO `[CANNOT]` for a name of one's own that would stand among those of other users.
    pub async fn new_place(&self, arg: &MailboxArg) -> Result<Place, Reply> {
        let place = self.place(arg).await?;
        let is_own = place.owner.is_none();
        if is_own && (place.name.as_str() == ROOT || place.name.as_str().starts_with(PREFIX)) {
            return Err(reserved());
        }
        Ok(place)
    }

    /// The number of the account of an address, whatever may be seen in it; one that is nobody's, where there is none.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn account_of(&self, owner: &CpmAddress) -> Result<AccountId, Reply> {
        let account = self.store().account(&self.ctx(), owner).await?;
        Ok(account.map_or_else(|| nobody(owner), |account| account.id))
    }

    /// Another user's account and what the client may see of their folders; none if that is nothing.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn other_user(
        &self,
        owner: &CpmAddress,
    ) -> Result<Option<(AccountId, Arc<FolderTree>)>, Reply> {
        let (account, found) = self.seen_of(owner).await?;
        Ok(found.map(|tree| (account, tree)))
    }

    /// The account of another user, shut or not, as [`Session::account_of`] has it; and what the client may see of its
    /// folders, none if that is nothing.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn seen_of(&self, owner: &CpmAddress) -> Result<(AccountId, Option<Arc<FolderTree>>), Reply> {
        let account = self.store().account(&self.ctx(), owner).await?;
        let id = account.as_ref().map_or_else(|| nobody(owner), |account| account.id);
        // One that is not there is asked for, too, under a number that is nobody's.
        let is_open = account.is_some_and(|account| account.state == AccountState::Active);
        let asked = if is_open { id } else { nobody(owner) };
        match self.store().folders(&self.ctx(), asked).await {
            Ok(tree) => Ok((id, Some(tree))),
            Err(error) if matches!(error.kind(), ErrorKind::NoSuchMailbox | ErrorKind::NoSuchAccount) => {
                Ok((id, None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The users who may have shared folders with the active account; of some, nothing may be seen any more.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn sharers(&self) -> Result<BTreeSet<CpmAddress>, Reply> {
        let noted = self.store().shared_with(&self.ctx(), self.account()?).await?;
        let mut sharers: BTreeSet<CpmAddress> = noted.into_iter().map(|(owner, _)| owner).collect();
        sharers.extend(accounts::siblings_of(self));
        Ok(sharers)
    }

    /// All folders of the account of a place, as far as the client may see them.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn tree_of(&self, place: &Place) -> Result<Arc<FolderTree>, Reply> {
        match &place.tree {
            Some(tree) => Ok(tree.clone()),
            None => self.folders().await,
        }
    }

    /// The folder of a name, whoever's it is.
    ///
    /// # Errors
    /// BAD when the name is not written in the encoding of the connection; NO `[NONEXISTENT]` when there is none.
    pub async fn find(&self, arg: &MailboxArg) -> Result<Found, Reply> {
        // A name that no folder can have is one that does not exist.
        let place = match self.place(arg).await {
            Err(reply) if reply.code.as_deref() == Some("CANNOT") => return Err(missing()),
            other => other?,
        };
        let tree = self.tree_of(&place).await?;
        let entry = tree.find(&place.name).ok_or_else(missing)?.clone();
        Ok(Found { account: place.account, owner: place.owner, entry })
    }

    /// The same of a folder that holds messages.
    ///
    /// # Errors
    /// As [`Session::find`]; NO `[CANNOT]` when it is \Noselect.
    pub async fn find_selectable(&self, arg: &MailboxArg) -> Result<Found, Reply> {
        let found = self.find(arg).await?;
        if !found.entry.noselect {
            return Ok(found);
        }
        if !found.entry.rights.has(Rights::LOOKUP) {
            return Err(missing());
        }
        Err(Reply::no_code("CANNOT", "that name holds other mailboxes but no messages"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_names() {
        for (address, level) in [
            ("tel:+33612345678", "tel:+33612345678"),
            ("sip:a*b=/c%2Fd@example.com", "sip:a=2Ab=3D=2Fc=252Fd@example.com"),
        ] {
            let address = CpmAddress::parse(address).expect("an address");
            assert_eq!(encode(&address), level);
            assert_eq!(decode(level), Some(address.clone()));
            let name = MailboxName::parse(&shown(Some(&address), &MailboxName::inbox())).expect("a name");
            assert_eq!(split(name.as_str()), Some((address, "INBOX")));
        }
        for bad in ["", "nobody", "a=@b", "a=2@b", "a=41@b", "tel:+33=2", "=é@b"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(split("Other"), None);
        assert_eq!(split("Other/work/x"), None);
        assert_eq!(split("Others/+331/INBOX"), None);
        assert_eq!(split("Other/+331").map(|(_, name)| name), Some(""));
    }

    #[test]
    fn names_are_written_in_one_way() {
        for (text, written) in [
            ("Other/+33612345678/a", "Other/tel:+33612345678/a"),
            ("Other/+33612345678", "Other/tel:+33612345678"),
            ("Other/+33612345678/inbox", "Other/tel:+33612345678/INBOX"),
            ("Other/x/a", "Other/x/a"),
            ("a/+33612345678", "a/+33612345678"),
        ] {
            let name = MailboxName::parse(text).expect("a name");
            assert_eq!(canonical(name).as_str(), written);
        }
    }
}
