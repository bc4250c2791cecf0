//! The record of a folder in the tree.

use model::{
    AccountId, Acl, AclEntry, CpmAddress, Identifier, MailboxId, MailboxName, Rights, SpecialUse, Whom,
};
use store_api::FolderEntry;

use super::codec::{Reader, Writer};

/// Without an access control list.
const VERSION: u8 = 1;
/// With one, behind the name.
const VERSION_ACL: u8 = 2;
const NOSELECT: u8 = 1;

/// The kinds of an identifier.
const ANYONE: u8 = 0;
const ADDRESS: u8 = 1;
const NEGATIVE: u8 = 2;

/// A folder's name and kind; its id stands in the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRecord {
    /// Its name.
    pub name: MailboxName,
    /// What CREATE said it is for.
    pub special_use: Option<SpecialUse>,
    /// Only a name.
    pub noselect: bool,
    /// What others than its owner may do in it.
    pub acl: Acl,
}

impl FolderRecord {
    /// The record of an entry of the tree.
    pub fn of(entry: &FolderEntry) -> Self {
        let FolderEntry { name, special_use, noselect, acl, .. } = entry;
        Self { name: name.clone(), special_use: *special_use, noselect: *noselect, acl: acl.clone() }
    }

    /// The entry of the tree, as its owner sees it.
    pub fn into_entry(self, id: MailboxId) -> FolderEntry {
        let Self { name, special_use, noselect, acl } = self;
        FolderEntry { id, name, special_use, noselect, rights: Rights::ALL, acl }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let version = if self.acl.is_empty() { VERSION } else { VERSION_ACL };
        let mut out = Writer::new(version, 8 + self.name.as_str().len() + self.acl.weight());
        let special_use = self.special_use.and_then(|special_use| {
            SpecialUse::ALL
                .iter()
                .find(|(candidate, ..)| *candidate == special_use)
                .map(|(.., number, _)| *number)
        });
        out.u8(if self.noselect { NOSELECT } else { 0 }).u8(special_use.unwrap_or(0));
        out.counted(self.name.as_str().as_bytes());
        if version == VERSION_ACL {
            out.number(self.acl.entries().len() as u64);
            for AclEntry { identifier, account, rights } in self.acl.entries() {
                let negative = if identifier.negative { NEGATIVE } else { 0 };
                match &identifier.whom {
                    Whom::Anyone => out.u8(ANYONE | negative),
                    Whom::Address(address) => {
                        out.u8(ADDRESS | negative).counted(address.as_str().as_bytes());
                        out.optional(account.map(|account| account.0))
                    }
                };
                out.number(u64::from(rights.bits()));
            }
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ (VERSION | VERSION_ACL), mut input) = Reader::new(record)? else { return None };
        let flags = input.u8()?;
        if flags & !NOSELECT != 0 {
            return None;
        }
        let special_use = match input.u8()? {
            0 => None,
            number => Some(SpecialUse::ALL.iter().find(|(_, _, n, _)| *n == number).map(|(u, ..)| *u)?),
        };
        let name = MailboxName::parse(input.text()?).ok()?;
        let acl = if version == VERSION_ACL { read_acl(&mut input)? } else { Acl::default() };
        input.end(Self { name, special_use, noselect: flags & NOSELECT != 0, acl })
    }
}

fn read_acl(input: &mut Reader<'_>) -> Option<Acl> {
    let count = usize::try_from(input.number()?).ok()?;
    // The shortest entry has two octets.
    if count > input.left() / 2 {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = input.u8()?;
        let (whom, account) = match kind & !NEGATIVE {
            ANYONE => (Whom::Anyone, None),
            ADDRESS => {
                let address = CpmAddress::parse(input.text()?).ok()?;
                (Whom::Address(address), input.optional()?.map(AccountId))
            }
            _ => return None,
        };
        let bits = u16::try_from(input.number()?).ok()?;
        let rights = Rights::from_bits(bits);
        if rights.bits() != bits {
            return None;
        }
        let identifier = Identifier { negative: kind & NEGATIVE != 0, whom };
        entries.push(AclEntry { identifier, account, rights });
    }
    Acl::new(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{AclAction, AclChange};

    #[test]
    fn with_and_without_a_list() {
        let mut record = FolderRecord {
            name: MailboxName::parse("a/b").expect("a name"),
            special_use: Some(SpecialUse::Sent),
            noselect: false,
            acl: Acl::default(),
        };
        // As releases without lists wrote it.
        assert_eq!(record.encode().first(), Some(&1));
        for (id, rights, account) in
            [("anyone", "l", None), ("-+331", "r", Some(7)), ("a@b", "lrswipkxtea", None)]
        {
            assert_eq!(FolderRecord::decode(&record.encode()), Some(record.clone()));
            let identifier = Identifier::parse(id).expect("an identifier");
            let rights = Rights::parse(rights).expect("rights");
            let change = AclChange { identifier, action: AclAction::Set, rights };
            record.acl = record.acl.with(&change, account.map(AccountId));
        }
        let raw = record.encode();
        assert_eq!((raw[0], FolderRecord::decode(&raw)), (2, Some(record)));
        assert!((0..raw.len()).all(|len| FolderRecord::decode(&raw[..len]).is_none()));
    }
}
