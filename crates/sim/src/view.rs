//! What a client believes of its selected folder, from what it was told and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::MailboxId;

use crate::history::{Folder, flag_list};

/// UIDs with flags and MODSEQ.
pub type Rows = BTreeMap<u32, (String, u64)>;

/// A point that the client may sync from later.
#[derive(Clone, Debug)]
pub struct Point {
    pub name: String,
    pub uid_validity: u32,
    pub highest: u64,
    pub rows: Rows,
}

/// The selected folder.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub mailbox: MailboxId,
    /// What EXISTS and VANISHED make of the number of messages.
    pub exists: usize,
    pub rows: Rows,
    /// Up to this UID it has seen every message; of later ones it may have heard by a change of their flags.
    pub seen: u32,
}

impl View {
    pub fn new(name: &str, rows: Rows) -> Self {
        let seen = rows.last_key_value().map_or(0, |(uid, _)| *uid);
        Self { name: name.to_owned(), mailbox: MailboxId(0), exists: 0, rows, seen }
    }

    /// Believes an untagged response.
    ///
    /// # Errors
    /// Why it must not be sent.
    pub fn believe(&mut self, line: &str) -> Result<(), String> {
        if let Some(set) = line.strip_prefix("VANISHED (EARLIER) ") {
            for uid in uids(set) {
                self.rows.remove(&uid);
            }
        } else if let Some(set) = line.strip_prefix("VANISHED ") {
            for uid in uids(set) {
                self.rows.remove(&uid);
                self.exists = self.exists.checked_sub(1).ok_or("more vanished than there were")?;
            }
        } else if let Some(number) = line.strip_suffix(" EXISTS") {
            let exists = number.parse().map_err(|_| "EXISTS of no number")?;
            self.exists = exists;
        } else if line.ends_with(" EXPUNGE") {
            return Err("EXPUNGE, although QRESYNC is enabled".to_owned());
        } else if let Some((_, items)) = line.split_once(" FETCH (") {
            self.fetched(items)?;
        }
        if self.is_whole() {
            self.seen = self.rows.last_key_value().map_or(self.seen, |(uid, _)| self.seen.max(*uid));
        }
        Ok(())
    }

    fn fetched(&mut self, items: &str) -> Result<(), String> {
        let uid: u32 = number_after(items, "UID ").ok_or("a FETCH without UID")?;
        let Some(flags) = between(items, "FLAGS (", ")") else { return Ok(()) };
        let modseq: u64 = number_after(items, "MODSEQ (").ok_or("a FETCH without MODSEQ")?;
        let flags = flag_list(flags.split_whitespace());
        if let Some((_, known)) = self.rows.insert(uid, (flags, modseq))
            && modseq < known
        {
            return Err(format!("the MODSEQ of UID {uid} went back from {known} to {modseq}"));
        }
        Ok(())
    }

    /// Whether it knows every message by its flags.
    pub fn is_whole(&self) -> bool {
        self.exists == self.rows.len()
    }

    /// The smallest UID it has not seen.
    pub fn next(&self) -> u32 {
        self.seen + 1
    }

    /// Whether what it knows is a state of the folder.
    pub fn is(&self, folder: &Folder) -> bool {
        same(&self.rows, folder)
    }

    /// Whether what it knows is true of a state, of whose new messages it knows the number at least.
    pub fn agrees(&self, folder: &Folder) -> bool {
        let known = folder.rows.iter().filter(|(uid, _)| **uid <= self.seen || self.rows.contains_key(uid));
        let known = Folder { rows: known.map(|(uid, row)| (*uid, row.clone())).collect(), ..folder.clone() };
        self.exists == folder.rows.len() && same(&self.rows, &known)
    }
}

/// Whether a client knows exactly this state.
pub fn same(rows: &Rows, folder: &Folder) -> bool {
    rows.len() == folder.rows.len()
        && rows.iter().zip(&folder.rows).all(|((uid, (flags, modseq)), (other, row))| {
            uid == other && *flags == row.flags && *modseq == row.modseq
        })
}

/// Whether any of some states satisfies a condition; a folder that was not there satisfies none.
pub fn any(states: &[Option<Arc<Folder>>], holds: impl Fn(&Folder) -> bool) -> bool {
    states.iter().flatten().any(|folder| holds(folder))
}

/// The numbers of a set like `1:3,7`.
pub fn uids(set: &str) -> Vec<u32> {
    let part = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().unwrap_or(0), last.parse().unwrap_or(0));
        first.min(last)..=first.max(last)
    };
    set.trim().split(',').flat_map(part).filter(|uid| *uid > 0).collect()
}

/// Numbers as a set.
pub fn set_of(uids: &[u32]) -> String {
    uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.split_once(open)?.1.split_once(close).map(|(inner, _)| inner)
}

/// The number that stands after a word.
pub fn number_after<T: std::str::FromStr>(text: &str, word: &str) -> Option<T> {
    let rest = text.split_once(word)?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_what_it_is_told() {
        let mut view = View::new("INBOX", Rows::new());
        for line in [
            "3 EXISTS",
            "1 FETCH (UID 2 MODSEQ (5) FLAGS (\\Seen \\Recent b a))",
            "OK [UIDNEXT 9] next",
            "VANISHED 4,7",
        ] {
            view.believe(line).unwrap();
        }
        assert_eq!((view.exists, view.next(), view.is_whole()), (1, 3, true));
        assert_eq!(view.rows[&2], ("\\Seen a b".to_owned(), 5));
        assert!(view.believe("1 EXPUNGE").is_err());
        assert!(view.believe("1 FETCH (UID 2 MODSEQ (4) FLAGS ())").is_err());
        assert!(view.believe("VANISHED 9:12").is_err());
        assert_eq!(uids("1:3,7"), [1, 2, 3, 7]);
    }
}
