//! The annotations of a folder's messages within a transaction: read where they may be, written where they change.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use kv::{RangeRequest, ReadMode};
use model::limits::{ANNOTATIONS_BYTES_MAX, ANNOTATIONS_PER_MESSAGE_MAX, ANNOTATORS_PER_MESSAGE_MAX};
use model::{AccountId, AnnotationName, EntryScope, Error, ErrorKind, MailboxId, Uid, UidSet};
use store_api::AnnotationChange;

use crate::failure::{Failure, corrupt};
use crate::keyspace::Annotator;
use crate::limits::{ANNOTATION_READ_BYTES, PAGE_ANNOTATION_BYTES_MAX};
use crate::records::AnnotationRecord;
use crate::snapshot::after;
use crate::work::Work;
use crate::work::folder::Tally;

/// A record read or changed.
struct Slot {
    record: AnnotationRecord,
    changed: bool,
}

/// The annotations of a folder's messages within a transaction.
///
/// A folder without any has no records, its state says so, and nothing is read.
#[derive(Default)]
pub(crate) struct FolderAnnotations {
    /// Octets as stored, of all messages.
    stored: u64,
    /// Octets as they will be.
    bytes: u64,
    /// Octets that the account's counters do not have yet.
    uncounted: i64,
    /// Messages whose records are all here.
    known: UidSet,
    slots: BTreeMap<(Uid, Annotator), Slot>,
}

/// Which annotations go with a copy of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All, whosever they are: the message only gets another place of the same owner's.
    All,
    /// Those that all see if `shared`, and those that this account has for itself (RFC 5257 §4.6).
    Of { shared: bool, private: Option<AccountId> },
}

impl Carried {
    fn takes(self, annotator: Annotator) -> bool {
        match (self, annotator) {
            (Self::All, _) => true,
            (Self::Of { shared, .. }, Annotator::All) => shared,
            (Self::Of { private, .. }, Annotator::One(account)) => private == Some(account),
        }
    }
}

/// The records of a message that a copy of it gets.
pub(crate) type Copied = Vec<(Annotator, AnnotationRecord)>;

fn records_of(uid: Uid) -> RangeInclusive<(Uid, Annotator)> {
    (uid, Annotator::All)..=(uid, Annotator::One(AccountId(u64::MAX)))
}

impl FolderAnnotations {
    /// Of a folder whose state says that it has so many octets of them.
    pub(crate) fn of(stored: u64) -> Self {
        Self { stored, bytes: stored, ..Self::default() }
    }

    /// Octets of all of them, as they will be.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those of a message that was loaded which `carried` takes.
    pub(crate) fn copied(&self, uid: Uid, carried: Carried) -> Copied {
        let records = self.slots.range(records_of(uid)).filter(|(_, slot)| !slot.record.entries.is_empty());
        let taken = records.filter(|((_, annotator), _)| carried.takes(*annotator));
        taken.map(|((_, annotator), slot)| (*annotator, slot.record.clone())).collect()
    }

    /// Gives a new message those of another.
    pub(crate) fn give(&mut self, uid: Uid, records: Copied) {
        for (annotator, record) in records {
            self.grow(record.size() as i64);
            self.slots.insert((uid, annotator), Slot { record, changed: true });
        }
    }

    /// Removes those of messages that go, which were loaded.
    pub(crate) fn forget(&mut self, uids: &[Uid]) {
        if self.slots.is_empty() {
            return;
        }
        for uid in uids {
            let mut lost = 0;
            for (_, slot) in self.slots.range_mut(records_of(*uid)) {
                lost += slot.record.size() as i64;
                *slot = Slot { record: AnnotationRecord::default(), changed: true };
            }
            self.grow(-lost);
        }
    }

    /// The records of a message that was loaded, as `changes` of `by` would make them; none when they change nothing.
    ///
    /// # Errors
    /// `Limit` when there were too many.
    pub(crate) fn changed_by(
        &self,
        uid: Uid,
        changes: &[AnnotationChange],
        by: AccountId,
        owner: AccountId,
    ) -> Result<Copied, Error> {
        let mut records = Vec::new();
        for (annotator, scope) in
            [(Annotator::All, EntryScope::Shared), (Annotator::One(by), EntryScope::Private)]
        {
            let of_scope = || changes.iter().filter(|change| change.scope == scope);
            if of_scope().next().is_none() {
                continue;
            }
            let before = self.slots.get(&(uid, annotator)).map(|slot| &slot.record);
            let mut record = before.cloned().unwrap_or_default();
            for change in of_scope() {
                match &change.value {
                    Some(value) => record.entries.insert(change.name.clone(), value.clone()),
                    None => record.entries.remove(&change.name),
                };
            }
            let (size, count) = before.map_or((0, 0), |before| (before.size(), before.entries.len()));
            let grew = record.size() > size || record.entries.len() > count;
            let over =
                record.size() > ANNOTATIONS_BYTES_MAX || record.entries.len() > ANNOTATIONS_PER_MESSAGE_MAX;
            if grew && over {
                let text = format!(
                    "a message may have at most {ANNOTATIONS_PER_MESSAGE_MAX} annotations \
                     of {ANNOTATIONS_BYTES_MAX} octets together"
                );
                return Err(Error::new(ErrorKind::Limit, text));
            }
            if grew && count == 0 && scope == EntryScope::Private && by != owner {
                let others = self.slots.range(records_of(uid)).filter(|((_, annotator), slot)| {
                    let counts = !matches!(annotator, Annotator::All) && *annotator != Annotator::One(owner);
                    counts && !slot.record.entries.is_empty()
                });
                if others.count() >= ANNOTATORS_PER_MESSAGE_MAX {
                    let text = "too many others have annotations of this message for themselves";
                    return Err(Error::new(ErrorKind::Limit, text));
                }
            }
            if before.map_or(!record.entries.is_empty(), |before| *before != record) {
                records.push((annotator, record));
            }
        }
        Ok(records)
    }

    /// Puts records of a message in place of those it had.
    pub(crate) fn put(&mut self, uid: Uid, records: Copied) {
        for (annotator, record) in records {
            let size = record.size() as i64;
            let before = self.slots.insert((uid, annotator), Slot { record, changed: true });
            self.grow(size - before.map_or(0, |slot| slot.record.size() as i64));
        }
    }

    fn grow(&mut self, by: i64) {
        self.bytes = self.bytes.saturating_add_signed(by);
        self.uncounted += by;
    }

    /// The records that changed; an empty one is to be removed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (Uid, Annotator, &AnnotationRecord)> {
        let changed = self.slots.iter().filter(|(_, slot)| slot.changed);
        changed.map(|((uid, annotator), slot)| (*uid, *annotator, &slot.record))
    }
}

/// The records that `changes` by `by` give to a message that has none.
///
/// # Errors
/// As [`FolderAnnotations::changed_by`].
pub(crate) fn first_records(changes: &[AnnotationChange], by: AccountId) -> Result<Copied, Error> {
    let none = FolderAnnotations::default();
    none.changed_by(Uid::MIN, changes, by, by)
}

/// Octets of records, as the quota counts them.
pub(crate) fn size_of(records: &Copied) -> usize {
    records.iter().map(|(_, record)| record.size()).sum()
}

/// The names of entries that differ between two records.
pub(crate) fn differing(before: Option<&AnnotationRecord>, after: &AnnotationRecord) -> Vec<AnnotationName> {
    let empty = BTreeMap::<AnnotationName, Bytes>::new();
    let before = before.map_or(&empty, |before| &before.entries);
    let names = before.keys().chain(after.entries.keys().filter(|name| !before.contains_key(*name)));
    names.filter(|name| before.get(*name) != after.entries.get(*name)).cloned().collect()
}

impl FolderAnnotations {
    /// A record of a message that was loaded.
    pub(crate) fn record(&self, uid: Uid, annotator: Annotator) -> Option<&AnnotationRecord> {
        self.slots.get(&(uid, annotator)).map(|slot| &slot.record)
    }
}

impl Work<'_> {
    /// Reads the annotations of `uids`, ascending, unless they are known. Returns how many of the first of them are known
    /// then: at least one, and all where no message of the folder has any; a page of an operation ends there.
    pub(crate) async fn load_annotations(
        &mut self,
        mailbox: MailboxId,
        uids: &[Uid],
    ) -> Result<usize, Failure> {
        let (keys, account) = (&self.shared.keys, self.account);
        let known = &self.folder(mailbox)?.annotations;
        if known.stored == 0 {
            return Ok(uids.len());
        }
        let wanted: Vec<Uid> = uids.iter().copied().filter(|uid| !known.known.contains(*uid)).collect();
        let Some(last) = wanted.last().copied() else { return Ok(uids.len()) };
        let mut found: BTreeMap<(Uid, Annotator), AnnotationRecord> = BTreeMap::new();
        // Messages of `wanted` read whole.
        let (mut done, mut octets) = (0, 0);
        let end = keys.annotations_between(account, mailbox, last, last).end;
        let mut begin = keys.annotations_between(account, mailbox, wanted[0], last).begin;
        while done < wanted.len() && (done == 0 || octets < PAGE_ANNOTATION_BYTES_MAX) {
            let request =
                RangeRequest { bytes: ANNOTATION_READ_BYTES, ..RangeRequest::new(begin, end.clone()) };
            // Every change of the folder is ordered by its state.
            let page = self.trx.get_range(&request, ReadMode::Snapshot).await?;
            let mut reached = None;
            for pair in &page.pairs {
                let named = self.shared.keys.annotations_of(&pair.key);
                let (_, uid, annotator) = named.ok_or_else(|| corrupt("annotations", &pair.key))?;
                octets += pair.value.len();
                reached = Some((uid, &pair.key));
                if wanted.binary_search(&uid).is_ok() {
                    let record = AnnotationRecord::decode(&pair.value);
                    found.insert((uid, annotator), record.ok_or_else(|| corrupt("annotations", &pair.key))?);
                }
            }
            let Some((uid, key)) = reached.filter(|_| page.more) else {
                done = wanted.len();
                break;
            };
            // Of the last one there may be more. Those in between that nobody asked for are not read.
            done = wanted.partition_point(|it| *it < uid);
            let next = self.shared.keys.annotations_between(account, mailbox, wanted[done], last).begin;
            begin = after(key).max(next);
        }
        let through = wanted[done - 1];
        let annotations = &mut self.folder(mailbox)?.annotations;
        for ((uid, annotator), record) in found {
            if uid <= through {
                annotations.slots.entry((uid, annotator)).or_insert(Slot { record, changed: false });
            }
        }
        for uid in &wanted[..done] {
            annotations.known.insert(*uid);
        }
        Ok(if done == wanted.len() { uids.len() } else { uids.partition_point(|uid| *uid <= through) })
    }

    /// Moves the account's counters by what the annotations of a folder grew.
    pub(crate) fn count_annotations(&mut self, mailbox: MailboxId) -> Result<(), Failure> {
        let bytes = std::mem::take(&mut self.folder(mailbox)?.annotations.uncounted);
        if bytes != 0 {
            self.use_up(Tally { bytes, ..Tally::default() });
        }
        Ok(())
    }
}
