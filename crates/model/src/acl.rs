//! Who may do what in a folder: its access control list.

use std::fmt;

use crate::{AccountId, AddressError, CpmAddress, Rights};

/// Whom an entry of an access control list is about. Source: RFC 4314 §2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    /// It takes rights away that other entries give.
    pub negative: bool,
    /// Whom it names.
    pub whom: Whom,
}

/// Whom an identifier names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// Everybody who is logged in. There is no `anonymous`: nobody gets in without a login.
    Anyone,
    /// The subscriber of an address.
    Address(CpmAddress),
}

impl Identifier {
    /// Reads `anyone`, an address, or either of them behind `-`.
    ///
    /// # Errors
    /// [`AddressError`] for everything else.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (negative, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let whom = if name == "anyone" { Whom::Anyone } else { Whom::Address(CpmAddress::parse(name)?) };
        Ok(Self { negative, whom })
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        match &self.whom {
            Whom::Anyone => f.write_str("anyone"),
            Whom::Address(address) => address.fmt(f),
        }
    }
}

/// An entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Whom it is about.
    pub identifier: Identifier,
    /// The account that the address had when the entry was made, and the only one that the entry is true for: who gets
    /// the address later inherits nothing. None for `anyone`, and for an address that had no account.
    pub account: Option<AccountId>,
    /// What it gives, or takes away.
    pub rights: Rights,
}

/// How SETACL changes the rights of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAction {
    /// These rights and no others; none at all removes the entry.
    Set,
    /// `+`: these too.
    Add,
    /// `-`: these no longer.
    Remove,
}

/// A change of an access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclChange {
    /// Whom it is about.
    pub identifier: Identifier,
    /// How.
    pub action: AclAction,
    /// Which rights.
    pub rights: Rights,
}

/// The access control list of a folder; an empty one leaves it to its owner, who has all rights without an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<AclEntry>);

impl Acl {
    /// A list of these entries; none if two are about the same identifier.
    pub fn new(entries: Vec<AclEntry>) -> Option<Self> {
        let twice = (1..entries.len())
            .any(|at| entries[..at].iter().any(|entry| entry.identifier == entries[at].identifier));
        (!twice).then_some(Self(entries))
    }

    /// The entries, in the order in which they were made.
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    /// Whether nobody but the owner has any right.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Octets that it takes, stored or in memory, about.
    pub fn weight(&self) -> usize {
        let address = |entry: &AclEntry| match &entry.identifier.whom {
            Whom::Anyone => 0,
            Whom::Address(address) => address.as_str().len(),
        };
        self.0.iter().map(|entry| address(entry) + 48).sum()
    }

    /// What the list gives to an account that is not the owner's: all that entries for it and for `anyone` give, but
    /// what negative ones take away (RFC 4314 §2).
    pub fn rights_of(&self, account: AccountId) -> Rights {
        let (mut given, mut taken) = (Rights::NONE, Rights::NONE);
        for entry in &self.0 {
            if entry.identifier.whom != Whom::Anyone && entry.account != Some(account) {
                continue;
            }
            if entry.identifier.negative {
                taken |= entry.rights;
            } else {
                given |= entry.rights;
            }
        }
        given - taken
    }

    /// The accounts that entries give something to.
    pub fn grantees(&self) -> impl Iterator<Item = AccountId> {
        self.0.iter().filter(|entry| !entry.identifier.negative).filter_map(|entry| entry.account)
    }

    /// The list after a change; `account` is the one that the identifier's address has now.
    #[must_use]
    pub fn with(&self, change: &AclChange, account: Option<AccountId>) -> Self {
        let mut entries = self.0.clone();
        let at = entries.iter().position(|entry| entry.identifier == change.identifier);
        // What was given to the account that had the address before is not added to.
        let before = at.map(|at| &entries[at]).filter(|entry| entry.account == account);
        let before = before.map_or(Rights::NONE, |entry| entry.rights);
        let rights = match change.action {
            AclAction::Set => change.rights,
            AclAction::Add => before | change.rights,
            AclAction::Remove => before - change.rights,
        };
        let entry = AclEntry { identifier: change.identifier.clone(), account, rights };
        match at {
            Some(at) if rights.is_empty() => drop(entries.remove(at)),
            Some(at) => entries[at] = entry,
            None if rights.is_empty() => {}
            None => entries.push(entry),
        }
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(identifier: &str, action: AclAction, rights: &str) -> AclChange {
        AclChange {
            identifier: Identifier::parse(identifier).expect("an identifier"),
            action,
            rights: Rights::parse(rights).expect("rights"),
        }
    }

    #[test]
    fn identifiers_there_and_back() {
        for (text, written) in [
            ("anyone", "anyone"),
            ("-anyone", "-anyone"),
            ("+33612345678", "tel:+33612345678"),
            ("-alice@example.com", "-sip:alice@example.com"),
        ] {
            assert_eq!(Identifier::parse(text).map(|id| id.to_string()), Ok(written.to_owned()), "{text}");
        }
        for bad in ["", "-", "anonymous", "--anyone", "Anyone "] {
            assert!(Identifier::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rights_add_up_and_negative_ones_take_away() {
        let (one, two) = (AccountId(1), AccountId(2));
        let acl = Acl::default()
            .with(&change("anyone", AclAction::Set, "lr"), None)
            .with(&change("+331", AclAction::Set, "wi"), Some(one))
            .with(&change("-+331", AclAction::Set, "r"), Some(one));
        assert_eq!(acl.rights_of(one).to_string(), "lwi");
        assert_eq!(acl.rights_of(two).to_string(), "lr");
        assert_eq!(acl.grantees().collect::<Vec<_>>(), [one]);
        let acl = acl.with(&change("-anyone", AclAction::Set, "l"), None);
        assert_eq!(
            (acl.rights_of(one).to_string(), acl.rights_of(two).to_string()),
            ("wi".into(), "r".into())
        );
    }

    #[test]
    fn changes() {
        let one = Some(AccountId(1));
        let acl = Acl::default().with(&change("+331", AclAction::Add, "lrs"), one);
        let acl = acl.with(&change("+331", AclAction::Remove, "sw"), one);
        assert_eq!(acl.rights_of(AccountId(1)).to_string(), "lr");
        // Another account has the address now: it starts with nothing, and the one before ends with nothing.
        let moved = acl.with(&change("+331", AclAction::Add, "i"), Some(AccountId(9)));
        assert_eq!(moved.rights_of(AccountId(9)).to_string(), "i");
        assert!(moved.rights_of(AccountId(1)).is_empty() && moved.entries().len() == 1);
        assert!(acl.with(&change("+331", AclAction::Remove, "lr"), one).is_empty());
        assert!(acl.with(&change("+331", AclAction::Set, ""), one).is_empty());
        assert_eq!(acl.with(&change("+332", AclAction::Set, ""), None), acl);
        assert_eq!(Acl::new([acl.entries(), acl.entries()].concat()), None);
    }
}
