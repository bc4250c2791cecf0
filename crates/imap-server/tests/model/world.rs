//! A simple model of an account's folders, and which orders of commands explain what became of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::program::{FlagSet, How};

/// A message. Its size names it: no two messages that were appended have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub flags: FlagSet,
    pub size: u32,
    pub modseq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Zero when the model made it: what it will be is not foretold.
    pub id: u64,
    pub uid_validity: u32,
    pub uid_next: u64,
    pub highest: u64,
    pub rows: BTreeMap<u32, Message>,
}

impl Folder {
    fn new() -> Self {
        Self { id: 0, uid_validity: 0, uid_next: 1, highest: 1, rows: BTreeMap::new() }
    }

    fn push(&mut self, flags: FlagSet, size: u32) -> u32 {
        let uid = self.uid_next as u32;
        self.uid_next += 1;
        self.rows.insert(uid, Message { flags, size, modseq: self.highest });
        uid
    }
}

/// All folders, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub folders: BTreeMap<String, Folder>,
}

/// A command as far as it changes something, messages named by UID.
#[derive(Clone, Debug)]
pub enum Op {
    Nothing,
    Append {
        to: String,
        messages: Vec<(FlagSet, u32)>,
    },
    Store {
        id: u64,
        uids: BTreeSet<u32>,
        how: How,
        flags: FlagSet,
        unchanged_since: Option<u64>,
    },
    /// `all`: nothing is done when one of the messages is gone.
    Copy {
        id: u64,
        uids: BTreeSet<u32>,
        to: String,
        moving: bool,
        all: bool,
    },
    Expunge {
        id: u64,
        within: Option<BTreeSet<u32>>,
    },
    Create {
        name: String,
    },
    Delete {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    /// The command looks at this folder; it may be refused when the folder is gone.
    Visit {
        id: u64,
    },
    /// The command has to do with this name, which must be there.
    Name {
        name: String,
    },
    /// The folder was opened by EXAMINE.
    ReadOnly,
}

/// What an operation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// UIDs of new messages.
    pub new: Vec<u32>,
    /// UIDs they were copied from.
    pub from: Vec<u32>,
    /// Messages left alone for UNCHANGEDSINCE.
    pub modified: BTreeSet<u32>,
    /// Some of the messages were gone.
    pub gone: bool,
}

impl World {
    pub fn by_id(&self, id: u64) -> Option<(&String, &Folder)> {
        self.folders.iter().find(|(_, folder)| folder.id == id)
    }

    fn by_id_mut(&mut self, id: u64) -> Result<&mut Folder, &'static str> {
        self.folders.values_mut().find(|folder| folder.id == id).ok_or("NONEXISTENT")
    }

    /// Does it, or answers with the response code of the refusal and does nothing.
    pub fn apply(&mut self, op: &Op) -> Result<Done, &'static str> {
        let mut done = Done::default();
        match op {
            Op::Nothing => {}
            Op::ReadOnly => return Err("READ-ONLY"),
            Op::Visit { .. } => {}
            Op::Name { name } => {
                self.folders.get(name).ok_or("NONEXISTENT")?;
            }
            Op::Append { to, messages } => {
                let folder = self.folders.get_mut(to).ok_or("NONEXISTENT")?;
                folder.highest += 1;
                done.new = messages.iter().map(|(flags, size)| folder.push(*flags, *size)).collect();
            }
            Op::Store { id, uids, how, flags, unchanged_since } => {
                if uids.is_empty() {
                    return Ok(done);
                }
                let folder = self.by_id_mut(*id)?;
                let modseq = folder.highest + 1;
                for uid in uids {
                    let Some(row) = folder.rows.get_mut(uid) else {
                        done.gone = true;
                        continue;
                    };
                    if unchanged_since.is_some_and(|since| row.modseq > since) {
                        done.modified.insert(*uid);
                        continue;
                    }
                    let new = FlagSet(match how {
                        How::Add => row.flags.0 | flags.0,
                        How::Remove => row.flags.0 & !flags.0,
                        How::Replace => flags.0,
                    });
                    if new != row.flags {
                        (row.flags, row.modseq) = (new, modseq);
                        folder.highest = modseq;
                    }
                }
            }
            Op::Copy { id, uids, to, moving, all } => {
                if uids.is_empty() {
                    return Ok(done);
                }
                let source = self.by_id_mut(*id)?;
                done.gone = uids.iter().any(|uid| !source.rows.contains_key(uid));
                if done.gone && *all {
                    return Err("EXPUNGEISSUED");
                }
                let rows: Vec<(u32, Message)> =
                    uids.iter().filter_map(|uid| Some((*uid, *source.rows.get(uid)?))).collect();
                let target = self.folders.get_mut(to).ok_or("NONEXISTENT")?;
                if rows.is_empty() {
                    return Ok(done);
                }
                target.highest += 1;
                done.new = rows.iter().map(|(_, row)| target.push(row.flags, row.size)).collect();
                done.from = rows.iter().map(|(uid, _)| *uid).collect();
                if *moving {
                    let same = target.id == *id;
                    let source = self.by_id_mut(*id)?;
                    source.highest += u64::from(!same);
                    source.rows.retain(|uid, _| !done.from.contains(uid));
                }
            }
            Op::Expunge { id, within } => {
                if within.as_ref().is_some_and(BTreeSet::is_empty) {
                    return Ok(done);
                }
                let folder = self.by_id_mut(*id)?;
                let before = folder.rows.len();
                folder.rows.retain(|uid, row| {
                    !row.flags.contains(FlagSet::DELETED)
                        || within.as_ref().is_some_and(|set| !set.contains(uid))
                });
                folder.highest += u64::from(before != folder.rows.len());
            }
            Op::Create { name } => {
                if self.folders.contains_key(name) {
                    return Err("ALREADYEXISTS");
                }
                self.folders.insert(name.clone(), Folder::new());
            }
            Op::Delete { name } => {
                if name == "INBOX" {
                    return Err("CANNOT");
                }
                self.folders.remove(name).ok_or("NONEXISTENT")?;
            }
            Op::Rename { from, to } => {
                if !self.folders.contains_key(from) {
                    return Err("NONEXISTENT");
                }
                if self.folders.contains_key(to) {
                    return Err("ALREADYEXISTS");
                }
                if from != "INBOX" {
                    let folder = self.folders.remove(from).ok_or("NONEXISTENT")?;
                    self.folders.insert(to.clone(), folder);
                    return Ok(done);
                }
                // RFC 9051 §6.3.6: INBOX stays, its messages move.
                let mut target = Folder::new();
                let inbox = self.folders.get_mut(from).ok_or("NONEXISTENT")?;
                for row in std::mem::take(&mut inbox.rows).into_values() {
                    target.push(row.flags, row.size);
                }
                let moved = u64::from(!target.rows.is_empty());
                inbox.highest += moved;
                target.highest += moved;
                self.folders.insert(to.clone(), target);
            }
        }
        Ok(done)
    }

    /// Whether this is what the model foretold, as far as a model can foretell.
    fn is(&self, foretold: &Self) -> bool {
        self.folders.len() == foretold.folders.len()
            && self.folders.iter().zip(&foretold.folders).all(|((name, folder), (other_name, other))| {
                name == other_name
                    && (other.id == 0 || folder.id == other.id)
                    && (other.uid_validity == 0 || folder.uid_validity == other.uid_validity)
                    && folder.uid_next == other.uid_next
                    && folder.rows.len() == other.rows.len()
                    && folder.rows.iter().zip(&other.rows).all(|((uid, row), (other_uid, other))| {
                        uid == other_uid && row.flags == other.flags && row.size == other.size
                    })
            })
    }
}

/// How an operation was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, and this is what was told of it.
    Done(Claim),
    /// It was refused with this code: nothing happened.
    Refused(String),
    /// It happened or not, never in part.
    Unknown,
}

/// What an answer claims; none where it said nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub new: Option<Vec<u32>>,
    pub from: Option<Vec<u32>>,
    pub modified: Option<BTreeSet<u32>>,
    pub gone: bool,
}

/// Flags that messages had on the way, by folder and UID.
pub type Passed = BTreeSet<(u64, u32, FlagSet)>;

/// Finds the orders of `ops` that lead from `before` to `after` and agree with what was answered, and collects the
/// flags that messages had on all these ways.
pub fn explain(
    before: &World,
    ops: &[(Op, Verdict)],
    after: &World,
    passed: &mut Passed,
) -> Result<(), String> {
    let mut search =
        Search { ops, after, trail: vec![before.clone()], found: false, passed, reasons: Vec::new() };
    search.go((1 << ops.len()) - 1);
    if search.found {
        return Ok(());
    }
    Err(format!(
        "no order of the commands explains it: {}\n  before {before:#?}\n  after {after:#?}\n  commands {ops:#?}",
        search.reasons.join("; ")
    ))
}

struct Search<'a> {
    ops: &'a [(Op, Verdict)],
    after: &'a World,
    trail: Vec<World>,
    found: bool,
    passed: &'a mut Passed,
    reasons: Vec<String>,
}

impl Search<'_> {
    /// Tries all orders of the operations whose bits are set in `left`.
    fn go(&mut self, left: u32) {
        let Some(world) = self.trail.last().cloned() else { return };
        if left == 0 {
            if self.after.is(&world) {
                self.found = true;
                for world in &self.trail {
                    for folder in world.folders.values() {
                        self.passed.extend(folder.rows.iter().map(|(uid, row)| (folder.id, *uid, row.flags)));
                    }
                }
            } else {
                self.reasons.push("another state is expected".to_owned());
            }
            return;
        }
        for at in (0..self.ops.len()).filter(|at| left & (1 << at) != 0) {
            let (op, verdict) = &self.ops[at];
            let left = left & !(1 << at);
            let mut next = world.clone();
            let done = next.apply(op);
            match (verdict, done) {
                (Verdict::Done(claim), Ok(done)) => {
                    let agrees = claim.new.as_ref().is_none_or(|new| *new == done.new)
                        && claim.from.as_ref().is_none_or(|from| *from == done.from)
                        && claim.modified.as_ref().is_none_or(|modified| *modified == done.modified)
                        && (!claim.gone || done.gone);
                    if agrees {
                        self.trail.push(next);
                        self.go(left);
                        self.trail.pop();
                    } else {
                        self.reasons.push(format!("{claim:?} was told of {op:?}, expected {done:?}"));
                    }
                }
                (Verdict::Refused(code), Err(expected)) if code == expected => self.go(left),
                // Of two reasons to refuse either may be told, and without messages nobody need look for the target.
                (Verdict::Refused(code), Ok(_) | Err("EXPUNGEISSUED"))
                    if code == "NONEXISTENT"
                        && matches!(op, Op::Copy { uids, to, .. }
                            if !world.folders.contains_key(to) && (uids.is_empty() || next.is(&world))) =>
                {
                    self.go(left);
                }
                (Verdict::Refused(code), Ok(_)) if matches!(op, Op::Visit { id } if code == "NONEXISTENT" && world.by_id(*id).is_none()) =>
                {
                    self.go(left);
                }
                (Verdict::Unknown, Ok(_)) => {
                    self.go(left);
                    self.trail.push(next);
                    self.go(left);
                    self.trail.pop();
                    if let Op::Rename { from, to } = op
                        && from == "INBOX"
                    {
                        // Two steps: the folder, then the messages.
                        let mut halfway = world.clone();
                        halfway.folders.insert(to.clone(), Folder::new());
                        self.trail.push(halfway);
                        self.go(left);
                        self.trail.pop();
                    }
                }
                (Verdict::Unknown, Err(_)) => self.go(left),
                (verdict, done) => self.reasons.push(format!("{verdict:?} to {op:?}, expected {done:?}")),
            }
        }
    }
}

/// What must hold between any state of an account and any later one, whatever happened between.
pub fn later(before: &World, after: &World) -> Result<(), String> {
    for (name, folder) in &after.folders {
        if let Some(twin) = before.folders.get(name).filter(|twin| twin.id != folder.id)
            && twin.uid_validity == folder.uid_validity
        {
            return Err(format!("{name} is another folder with the same UIDVALIDITY"));
        }
        let Some((_, old)) = before.by_id(folder.id) else { continue };
        let wrong = |what: &str| Err(format!("{name}: {what}\n  before {old:#?}\n  after {folder:#?}"));
        if folder.uid_validity != old.uid_validity {
            return wrong("UIDVALIDITY changed");
        }
        if folder.uid_next < old.uid_next || folder.highest < old.highest {
            return wrong("UIDNEXT or HIGHESTMODSEQ went back");
        }
        if folder.highest == old.highest && folder.rows != old.rows {
            return wrong("the same HIGHESTMODSEQ, another state");
        }
        for (uid, row) in &folder.rows {
            if u64::from(*uid) >= folder.uid_next || row.modseq > folder.highest {
                return wrong("a UID or MODSEQ above what was promised");
            }
            match old.rows.get(uid) {
                None if u64::from(*uid) < old.uid_next => return wrong("a new message below UIDNEXT"),
                None if row.modseq <= old.highest => return wrong("a new message without a new MODSEQ"),
                Some(old_row) if old_row.size != row.size => return wrong("a UID is another message"),
                Some(old_row) if old_row.modseq == row.modseq && old_row.flags != row.flags => {
                    return wrong("flags changed without a new MODSEQ");
                }
                Some(old_row) if old_row.modseq != row.modseq && row.modseq <= old.highest => {
                    return wrong("a MODSEQ that is no news");
                }
                _ => {}
            }
        }
    }
    Ok(())
}
