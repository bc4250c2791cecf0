//! What the documents of one subscription add up to.

use std::collections::BTreeMap;

use model::{CpmAddress, DeviceId};
use registration::{Departure, RegistrationSet};

use crate::limits::{CONTACTS_MAX, REGISTRATIONS_MAX};
use crate::reginfo::RegInfo;

/// Registrations that are active, and their contacts. Source: RFC 3680 §5.2.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Of the document before; none before the first.
    version: Option<u32>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    aor: String,
    contacts: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    uri: String,
    device: Option<DeviceId>,
}

/// What a document changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Devices that are registered no more.
    pub departures: Vec<Departure>,
    /// Documents were missed: all must be asked for.
    pub missed: bool,
}

impl Table {
    /// Whether a full document has come.
    pub fn is_known(&self) -> bool {
        self.version.is_some()
    }

    /// Takes a document in; one that is older than what is known changes nothing.
    pub fn apply(&mut self, info: RegInfo) -> Applied {
        let mut applied = Applied::default();
        match self.version {
            Some(version) if info.version <= version => return applied,
            // What changed, of something that is not known.
            None if !info.full => {
                return Applied { missed: true, ..applied };
            }
            Some(version) if !info.full && info.version - version > 1 => applied.missed = true,
            _ => {}
        }
        self.version = Some(info.version);
        let mut before = if info.full { std::mem::take(&mut self.rows) } else { BTreeMap::new() };
        for registration in info.registrations {
            let old =
                if info.full { before.remove(&registration.id) } else { self.rows.remove(&registration.id) };
            let mut known = old.map(|row| row.contacts).unwrap_or_default();
            // A full document names all contacts that are left.
            let mut contacts = if info.full { BTreeMap::new() } else { std::mem::take(&mut known) };
            for contact in registration.contacts {
                let was = known.remove(&contact.id).or_else(|| contacts.remove(&contact.id));
                let is = Known { uri: contact.uri, device: contact.device };
                if contact.active && registration.active {
                    if contacts.len() < CONTACTS_MAX {
                        contacts.insert(contact.id, is);
                    }
                } else if was.is_some() || !info.full {
                    applied.departures.extend(departure(&registration.aor, is));
                }
            }
            if !registration.active {
                known.append(&mut contacts);
            }
            applied
                .departures
                .extend(known.into_values().filter_map(|gone| departure(&registration.aor, gone)));
            if registration.active && self.rows.len() < REGISTRATIONS_MAX {
                self.rows.insert(registration.id, Row { aor: registration.aor, contacts });
            }
        }
        for row in before.into_values() {
            applied
                .departures
                .extend(row.contacts.into_values().filter_map(|gone| departure(&row.aor, gone)));
        }
        applied
    }

    /// The addresses registered together with `address`: alone while it is not registered itself.
    pub fn set(&self, address: &CpmAddress) -> RegistrationSet {
        let aors = self.rows.values().map(|row| &row.aor);
        let addresses: Vec<_> = aors.filter_map(|aor| CpmAddress::parse(aor).ok()).collect();
        if addresses.contains(address) {
            RegistrationSet::new(address.clone(), addresses)
        } else {
            RegistrationSet::alone(address.clone())
        }
    }
}

fn departure(aor: &str, gone: Known) -> Option<Departure> {
    let address = CpmAddress::parse(aor).ok()?;
    Some(Departure { address, contact: gone.uri, device: gone.device })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reginfo::{Contact, Registration};

    fn info(version: u32, full: bool, registrations: &[(&str, bool, &[(&str, bool)])]) -> RegInfo {
        let registrations = registrations.iter().map(|(aor, active, contacts)| Registration {
            aor: (*aor).into(),
            id: format!("id of {aor}"),
            active: *active,
            contacts: contacts
                .iter()
                .map(|(id, active)| Contact {
                    id: (*id).into(),
                    active: *active,
                    uri: format!("sip:{id}"),
                    device: None,
                })
                .collect(),
        });
        RegInfo { version, full, registrations: registrations.collect() }
    }

    fn address(text: &str) -> CpmAddress {
        CpmAddress::parse(text).expect("an address")
    }

    fn set(table: &Table) -> Vec<String> {
        table.set(&address("+1")).addresses().iter().map(ToString::to_string).collect()
    }

    fn gone(applied: &Applied) -> Vec<String> {
        applied.departures.iter().map(|d| format!("{} {}", d.address, d.contact)).collect()
    }

    #[test]
    fn full_and_partial_documents() {
        let mut table = Table::default();
        assert_eq!(set(&table), ["tel:+1"]);
        let first = info(
            0,
            true,
            &[("tel:+1", true, &[("a", true), ("b", true)]), ("sip:x@y", true, &[("c", true)])],
        );
        assert_eq!(table.apply(first), Applied::default());
        assert_eq!(set(&table), ["tel:+1", "sip:x@y"]);
        // A device leaves.
        let applied = table.apply(info(1, false, &[("tel:+1", true, &[("b", false)])]));
        assert_eq!((gone(&applied), applied.missed), (vec!["tel:+1 sip:b".to_owned()], false));
        assert_eq!(set(&table), ["tel:+1", "sip:x@y"]);
        // An address ends, its contacts with it.
        let applied = table.apply(info(2, false, &[("sip:x@y", false, &[])]));
        assert_eq!(gone(&applied), ["sip:x@y sip:c"]);
        assert_eq!(set(&table), ["tel:+1"]);
        // An address comes.
        table.apply(info(3, false, &[("sip:z@y", true, &[("d", true)])]));
        assert_eq!(set(&table), ["tel:+1", "sip:z@y"]);
        // All anew: what is not named is gone, and a contact that ended unheard of is no news.
        let applied = table.apply(info(4, true, &[("tel:+1", true, &[("a", true), ("e", false)])]));
        assert_eq!(gone(&applied), ["sip:z@y sip:d"]);
        assert_eq!(set(&table), ["tel:+1"]);
        // The address itself ends: nothing is registered with it.
        let applied =
            table.apply(info(5, true, &[("tel:+1", false, &[("a", false)]), ("sip:x@y", true, &[])]));
        assert_eq!(
            (gone(&applied), set(&table)),
            (vec!["tel:+1 sip:a".to_owned()], vec!["tel:+1".to_owned()])
        );
    }

    #[test]
    fn versions() {
        let mut table = Table::default();
        let partial = |version| info(version, false, &[("sip:x@y", true, &[])]);
        // What changed is of no use before all was told.
        assert!(table.apply(partial(3)).missed && !table.is_known());
        table.apply(info(4, true, &[("tel:+1", true, &[])]));
        // Older, and the same again.
        for version in [3, 4] {
            assert_eq!(table.apply(partial(version)), Applied::default());
            assert_eq!(set(&table), ["tel:+1"]);
        }
        assert!(!table.apply(partial(5)).missed);
        // One was missed: what came is taken, and all is asked for.
        assert!(table.apply(info(7, false, &[("tel:+3", true, &[])])).missed);
        assert_eq!(set(&table), ["tel:+1", "sip:x@y", "tel:+3"]);
        assert!(!table.apply(info(9, true, &[("tel:+1", true, &[])])).missed);
    }
}
