//! An account's counters, limits and marks.

use store_api::{ChangeToken, QuotaLimits, QuotaUsage, ServiceClass};

use super::codec::{Reader, Writer};

/// Version 2 has the class of service at its end, version 3 the count of changes behind that. A ledger is written as the
/// first that says all of it: one of the common class as version 1, as long as no change was counted.
const VERSION: u8 = 3;

/// Batches whose numbers the ledger remembers. A writer that does not know whether its commit happened looks here.
pub const BATCHES_REMEMBERED: usize = 8;

/// What every change of an account reads and most write: it orders them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What may be used.
    pub limits: QuotaLimits,
    /// What is used.
    pub usage: QuotaUsage,
    /// The next free number for a folder, a body or a piece of work.
    pub next_id: u64,
    /// The last UIDVALIDITY given to a folder.
    pub last_uid_validity: u32,
    /// The version of the tree of folders.
    pub tree_version: u64,
    /// Random numbers of the last batches that wrote, oldest first.
    pub batches: Vec<u64>,
    /// The class of service.
    pub service: ServiceClass,
    /// Changes of folders that were counted; 0 for an account that had none since changes are counted.
    pub changes: u64,
    /// A random number that goes with the count, for as long as it says what was told.
    pub era: u64,
}

impl Ledger {
    /// A number never given before.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Where the account is now, for who wants to know later what changed.
    pub fn token(&self) -> ChangeToken {
        ChangeToken { era: self.era, change: self.changes }
    }

    /// Counts a change. The first begins an era.
    pub fn next_change(&mut self, random: u64) -> u64 {
        if self.changes == 0 {
            self.era = random;
        }
        self.changes += 1;
        self.changes
    }

    /// Begins another era: what tokens said before is void. The count goes on, above `change`.
    pub fn next_era(&mut self, random: u64, change: u64) {
        (self.changes, self.era) = (self.changes.max(change) + 1, random);
    }

    /// Notes a batch, forgetting the oldest.
    pub fn remember(&mut self, batch: u64) {
        if self.batches.len() >= BATCHES_REMEMBERED {
            self.batches.remove(0);
        }
        self.batches.push(batch);
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let version = match (self.changes, self.service == ServiceClass::default()) {
            (0, true) => 1,
            (0, false) => 2,
            _ => VERSION,
        };
        let mut out = Writer::new(version, 48 + 8 * self.batches.len());
        out.optional(self.limits.bytes).optional(self.limits.messages);
        out.number(self.usage.bytes).number(self.usage.messages);
        out.number(self.usage.deleted_bytes).number(self.usage.deleted_messages);
        out.number(self.next_id).number(u64::from(self.last_uid_validity)).number(self.tree_version);
        out.u8(self.batches.len() as u8);
        for batch in &self.batches {
            out.fixed(&batch.to_be_bytes());
        }
        if version > 1 {
            out.u8(self.service.bits());
        }
        if version > 2 {
            out.number(self.changes).fixed(&self.era.to_be_bytes());
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
        let limits = QuotaLimits { bytes: input.optional()?, messages: input.optional()? };
        let usage = QuotaUsage {
            bytes: input.number()?,
            messages: input.number()?,
            deleted_bytes: input.number()?,
            deleted_messages: input.number()?,
        };
        let next_id = input.number()?;
        let last_uid_validity = input.u32()?;
        let tree_version = input.number()?;
        let count = usize::from(input.u8()?);
        if count > BATCHES_REMEMBERED {
            return None;
        }
        let mut batches = Vec::with_capacity(BATCHES_REMEMBERED);
        for _ in 0..count {
            batches.push(u64::from_be_bytes(input.fixed(8)?.try_into().ok()?));
        }
        let service = match version {
            1 => ServiceClass::default(),
            2 => ServiceClass::from_bits(input.u8()?).filter(|class| *class != ServiceClass::default())?,
            _ => ServiceClass::from_bits(input.u8()?)?,
        };
        let (changes, era) = match version {
            1 | 2 => (0, 0),
            _ => {
                let changes = Some(input.number()?).filter(|changes| *changes > 0)?;
                (changes, u64::from_be_bytes(input.fixed(8)?.try_into().ok()?))
            }
        };
        input.end(Self {
            limits,
            usage,
            next_id,
            last_uid_validity,
            tree_version,
            batches,
            service,
            changes,
            era,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of every version in which a class can stand; what no release has meant yet is refused.
    #[test]
    fn classes_of_service_are_read_as_they_were_written() {
        for class in (0..8).filter_map(ServiceClass::from_bits) {
            for changes in [0, 7] {
                let ledger = Ledger { service: class, changes, ..Ledger::default() };
                let mut stored = ledger.encode();
                assert_eq!(Ledger::decode(&stored), Some(ledger));
                let at = if changes == 0 { stored.len() - 1 } else { stored.len() - 10 };
                if stored[0] > 1 {
                    assert_eq!(stored[at], class.bits());
                    stored[at] = 8;
                    assert_eq!(Ledger::decode(&stored), None);
                }
            }
        }
    }
}
