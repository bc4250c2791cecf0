//! What a client believes of its selected folder: only what it was told.

use std::collections::{BTreeMap, BTreeSet};

use crate::program::FlagSet;
use crate::world::Folder;

/// A message of a client's picture, in the place of its sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub uid: Option<u32>,
    pub flags: Option<FlagSet>,
    pub modseq: Option<u64>,
    /// The MODSEQ with which the flags were told.
    flags_at: Option<u64>,
    /// UIDNEXT as it was promised before the message was told.
    uid_min: u32,
    /// UIDNEXT as it was promised when the message was there.
    uid_below: Option<u32>,
    /// The client asked for it and was told that it is gone.
    pub gone: bool,
}

/// A state of a folder that a client once had whole.
#[derive(Clone, Debug)]
pub struct Point {
    pub uid_validity: u32,
    pub modseq: u64,
    pub flags: BTreeMap<u32, FlagSet>,
}

/// A FETCH response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetched {
    pub uid: Option<u32>,
    pub flags: Option<FlagSet>,
    pub modseq: Option<u64>,
}

/// The picture of the selected folder.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// MAILBOXID.
    pub id: u64,
    pub uid_validity: u32,
    pub read_only: bool,
    pub entries: Vec<Entry>,
    uid_next: u32,
    /// All changes up to this mod-sequence are known, as far as the client was told.
    pub modseq: u64,
    /// The highest MODSEQ of a message in the running command.
    seen: u64,
    /// HIGHESTMODSEQ in the running command.
    stated: Option<u64>,
    /// The last command brought a higher one.
    risen: bool,
    /// The keywords that were announced, lower case.
    pub keywords: BTreeSet<String>,
}

impl Mirror {
    /// The picture of a client that was told nothing yet.
    pub fn new(read_only: bool) -> Self {
        Self { read_only, ..Self::default() }
    }

    pub fn exists(&mut self, count: usize) -> Result<(), String> {
        if count < self.entries.len() {
            return Err(format!("EXISTS {count} after {}", self.entries.len()));
        }
        let uid_min = self.uid_next;
        self.entries.resize(count, Entry { uid_min, ..Entry::default() });
        Ok(())
    }

    pub fn expunge(&mut self, number: usize) -> Result<(), String> {
        if number == 0 || number > self.entries.len() {
            return Err(format!("EXPUNGE {number} of {}", self.entries.len()));
        }
        self.entries.remove(number - 1);
        Ok(())
    }

    pub fn vanished(&mut self, uids: &BTreeSet<u32>) -> Result<(), String> {
        for uid in uids {
            let at = self.entries.iter().position(|entry| entry.uid == Some(*uid));
            // A message whose UID the client does not know yet stands between two that it knows.
            let unknown = |at: &usize| {
                let entry = &self.entries[*at];
                entry.uid.is_none()
                    && entry.uid_min <= *uid
                    && entry.uid_below.is_none_or(|below| *uid < below)
                    && self.entries[..*at].iter().all(|before| before.uid.is_none_or(|before| before < *uid))
                    && self.entries[*at..].iter().all(|after| after.uid.is_none_or(|after| after > *uid))
            };
            let at = at.or_else(|| (0..self.entries.len()).find(unknown));
            self.entries.remove(at.ok_or_else(|| format!("VANISHED {uid}, which was not there"))?);
        }
        Ok(())
    }

    pub fn fetched(&mut self, number: usize, told: Fetched) -> Result<(), String> {
        let count = self.entries.len();
        if number == 0 || number > count {
            return Err(format!("FETCH of {number} of {count}"));
        }
        if let Some(uid) = told.uid {
            let fits = self.entries[..number - 1].iter().all(|before| before.uid.is_none_or(|u| u < uid))
                && self.entries[number..].iter().all(|after| after.uid.is_none_or(|u| u > uid));
            let entry = &mut self.entries[number - 1];
            if !fits
                || entry.uid.is_some_and(|known| known != uid)
                || uid < entry.uid_min
                || entry.uid_below.is_some_and(|b| uid >= b)
            {
                return Err(format!("message {number} cannot have the UID {uid}: {:?}", self.entries));
            }
            entry.uid = Some(uid);
        }
        let entry = &mut self.entries[number - 1];
        if let (Some(old), Some(new)) = (entry.modseq, told.modseq) {
            let same = entry.flags == told.flags || entry.flags_at != Some(new) || told.flags.is_none();
            if new < old || new == old && !same {
                return Err(format!("message {number}: MODSEQ {old} {:?}, then {told:?}", entry.flags));
            }
        }
        if told.flags.is_some() {
            (entry.flags, entry.flags_at) = (told.flags, told.modseq);
        }
        entry.modseq = told.modseq.or(entry.modseq);
        self.seen = self.seen.max(told.modseq.unwrap_or(0));
        Ok(())
    }

    pub fn uid_next(&mut self, value: u32) -> Result<(), String> {
        if value < self.uid_next {
            return Err(format!("UIDNEXT {value} after {}", self.uid_next));
        }
        self.uid_next = value;
        for entry in &mut self.entries {
            entry.uid_below.get_or_insert(value);
        }
        Ok(())
    }

    pub fn highest_modseq(&mut self, value: u64) {
        self.stated = Some(value);
    }

    /// A command ended. What the server states of mod-sequences counts more than what messages show: it is lower when
    /// removals are held back (RFC 7162 §3.2).
    pub fn conclude(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        let before = self.modseq;
        self.modseq = self.stated.take().unwrap_or(before.max(seen));
        self.risen = self.modseq > before;
    }

    /// The point that the client is left with after CLOSE: what it had marked as deleted is gone. None when the server
    /// does not say that the client knew all before; then the points it has are as good as they were.
    pub fn closed(&self) -> Option<Point> {
        let mut point = self.point().filter(|_| self.risen)?;
        point.flags.retain(|_, flags| !flags.contains(FlagSet::DELETED));
        Some(point)
    }

    /// Numbers of the messages of which something is not known that could be known.
    pub fn unknown(&self) -> Vec<u32> {
        let lacks = |entry: &Entry| (entry.uid.is_none() || entry.flags.is_none()) && !entry.gone;
        (1..).zip(&self.entries).filter(|(_, entry)| lacks(entry)).map(|(number, _)| number).collect()
    }

    /// The state as a point to which the client can return; none when something is not known.
    pub fn point(&self) -> Option<Point> {
        let flags: Option<_> = self.entries.iter().map(|entry| Some((entry.uid?, entry.flags?))).collect();
        Some(Point { uid_validity: self.uid_validity, modseq: self.modseq, flags: flags? })
    }

    /// How the picture differs from the folder, as far as it goes.
    pub fn differs(&self, folder: &Folder) -> Option<String> {
        if self.entries.len() != folder.rows.len() {
            return Some(format!("{} messages are known, {} exist", self.entries.len(), folder.rows.len()));
        }
        for ((number, entry), (uid, row)) in (1..).zip(&self.entries).zip(&folder.rows) {
            if entry.uid.is_some_and(|known| known != *uid) {
                return Some(format!("message {number} is taken for {:?}, it is {uid}", entry.uid));
            }
            if entry.flags.is_some_and(|known| known != row.flags) {
                return Some(format!(
                    "message {number} (UID {uid}) has {:?}, known {:?}",
                    row.flags, entry.flags
                ));
            }
            if entry.modseq.is_some_and(|known| known > row.modseq) {
                return Some(format!("message {number} (UID {uid}) is known at {:?}: {row:?}", entry.modseq));
            }
        }
        None
    }
}
