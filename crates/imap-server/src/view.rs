//! A session's picture of the selected folder: what its client knows, in the client's numbers.

use std::sync::Arc;

use imap_wire::SequenceSet;
use model::{
    AccountId, CpmAddress, FolderSnapshot, KeywordTable, MailboxId, MailboxName, ModSeq, Rights, Uid, UidSet,
    UidValidity,
};

use crate::contexts::Context;
use crate::others::{self, Found};
use crate::reply::Reply;

/// A run of neighbouring UIDs: 12 bytes, however many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    last: u32,
    /// Messages before this run.
    before: u32,
}

impl Run {
    fn len(self) -> u32 {
        self.last - self.first + 1
    }
}

/// The mapping between message sequence numbers (1 to the number of messages) and UIDs, both ascending.
/// Logarithmic both ways; as large as the UIDs have gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeqMap {
    runs: Vec<Run>,
}

impl SeqMap {
    /// Of ascending UIDs.
    pub fn new(uids: impl IntoIterator<Item = Uid>) -> Self {
        let mut map = Self::default();
        for uid in uids {
            map.push(uid);
        }
        map.runs.shrink_to_fit();
        map
    }

    /// Messages.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.before + run.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The largest UID.
    pub fn last_uid(&self) -> Option<Uid> {
        Uid::new(self.runs.last()?.last)
    }

    /// Appends a message, whose UID must be larger than all others.
    pub fn push(&mut self, uid: Uid) {
        let (uid, before) = (uid.get(), self.len());
        debug_assert!(self.runs.last().is_none_or(|run| run.last < uid));
        match self.runs.last_mut() {
            Some(run) if run.last + 1 == uid => run.last = uid,
            _ => self.runs.push(Run { first: uid, last: uid, before }),
        }
    }

    /// The UID of a sequence number.
    pub fn uid(&self, seq: u32) -> Option<Uid> {
        let index = seq.checked_sub(1)?;
        let run = self.runs[..self.runs.partition_point(|run| run.before <= index)].last()?;
        (index - run.before < run.len()).then(|| Uid::new(run.first + (index - run.before)))?
    }

    /// The sequence number of a UID.
    pub fn seq(&self, uid: Uid) -> Option<u32> {
        let uid = uid.get();
        let run = self.runs.get(self.runs.partition_point(|run| run.last < uid))?;
        (run.first <= uid).then(|| run.before + (uid - run.first) + 1)
    }

    /// All UIDs.
    pub fn uids(&self) -> UidSet {
        UidSet::from_ranges(self.runs.iter().map(|run| (run.first, run.last)))
    }

    /// The UIDs of sequence numbers, given as ascending, disjoint ranges; numbers above the last are left out.
    pub fn uids_of_seqs(&self, ranges: impl IntoIterator<Item = (u32, u32)>) -> UidSet {
        let mut found = Vec::new();
        for (first, last) in ranges {
            let (first, last) = (first.max(1) - 1, last.min(self.len()));
            let mut at = self.runs.partition_point(|run| run.before + run.len() <= first);
            while let Some(run) = self.runs.get(at).filter(|run| run.before < last) {
                let from = run.first + first.saturating_sub(run.before);
                let to = run.first + (last - run.before).min(run.len()) - 1;
                found.push((from, to));
                at += 1;
            }
        }
        UidSet::from_ranges(found)
    }

    /// The sequence numbers of the UIDs of `uids` that exist, as ascending, disjoint, non-adjacent ranges.
    pub fn seqs_of_uids(&self, uids: &UidSet) -> Vec<(u32, u32)> {
        let mut found: Vec<(u32, u32)> = Vec::new();
        for (first, last) in uids.ranges() {
            let mut at = self.runs.partition_point(|run| run.last < first);
            while let Some(run) = self.runs.get(at).filter(|run| run.first <= last) {
                let from = run.before + 1 + first.saturating_sub(run.first);
                let to = run.before + 1 + (last.min(run.last) - run.first);
                match found.last_mut() {
                    Some(range) if range.1 + 1 == from => range.1 = to,
                    _ => found.push((from, to)),
                }
                at += 1;
            }
        }
        found
    }

    /// The UIDs of `uids` that exist. Costs what is found, not what there is.
    pub fn existing(&self, uids: &UidSet) -> UidSet {
        let mut found = Vec::new();
        for (first, last) in uids.ranges() {
            let from = self.runs.partition_point(|run| run.last < first);
            let within = self.runs[from..].iter().take_while(|run| run.first <= last);
            found.extend(within.map(|run| (run.first.max(first), run.last.min(last))));
        }
        UidSet::from_ranges(found)
    }

    /// Removes the messages of `uids`; those that do not exist are skipped.
    pub fn remove(&mut self, uids: &UidSet) {
        if uids.is_empty() || self.is_empty() {
            return;
        }
        let mut before = 0;
        let left = self.uids().difference(uids);
        self.runs = left
            .ranges()
            .map(|(first, last)| {
                let run = Run { first, last, before };
                before += run.len();
                run
            })
            .collect();
    }
}

/// Changes that a view notes as its own at most. They are forgotten at the next synchronisation, which held removals put
/// off; a client that never asks for those is then told of its own changes.
const OWN_CHANGES_MAX: usize = 256;

/// A folder, whoever's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FolderRef {
    /// Whose it is.
    pub account: AccountId,
    /// Which of theirs.
    pub mailbox: MailboxId,
}

/// Which flags may be changed (RFC 4314 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changeable {
    /// \Seen.
    pub seen: bool,
    /// \Deleted.
    pub deleted: bool,
    /// All others, and keywords.
    pub others: bool,
}

/// What the client knows of the selected folder. It holds no rows: those are asked of the store by each command.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Whose folder it is.
    pub account: AccountId,
    /// The folder.
    pub mailbox: MailboxId,
    /// The address of the account, if it is another user's.
    pub owner: Option<Box<CpmAddress>>,
    /// The name it was selected by, among the folders of the account.
    pub name: MailboxName,
    /// Whether its owner's account was found to be open no more, if it is another user's.
    pub withdrawn: bool,
    /// What the client might do in it when it was selected. The store asks again.
    pub rights: Rights,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// EXAMINE, or a mailbox in which the client may change nothing that all see.
    pub read_only: bool,
    /// EXAMINE: nothing may be changed.
    pub examined: bool,
    /// Changes of annotations are wished for (RFC 5257 §4.2).
    pub annotate: bool,
    /// Changes of annotations up to here are known, or not wished for.
    pub annotations_known: ModSeq,
    /// The messages the client knows of.
    pub seq: SeqMap,
    /// Messages from here on are not yet known.
    pub uid_next_known: u64,
    /// Changes of flags up to here are known.
    pub known_modseq: ModSeq,
    /// Removals up to here are known.
    pub known_expunge_modseq: ModSeq,
    /// The keywords that were announced.
    pub keywords: Arc<KeywordTable>,
    /// \Recent in this session (RFC 3501 §2.3.2); EXAMINE shows it, too, and leaves it to others.
    pub recent: UidSet,
    /// What this session did itself and does not want to be told: these messages, up to this MODSEQ.
    own_changes: Vec<(UidSet, ModSeq)>,
    /// New messages that this session brought itself: NOTIFY does not show them.
    pub own_arrivals: UidSet,
    /// Searches whose results are kept up to date.
    pub contexts: Vec<Context>,
    /// `$`: the result of the last SEARCH RETURN (SAVE) (RFC 5182).
    pub saved: UidSet,
}

impl View {
    /// The view of a client that was just told of `snapshot`.
    pub fn new(found: Found, read_only: bool, snapshot: &FolderSnapshot) -> Self {
        let state = &snapshot.state;
        let first_recent = u32::try_from(state.recent_uid).ok();
        let seq = SeqMap::new(snapshot.rows().map(|row| row.uid));
        let recent = match (first_recent.and_then(|n| Uid::new(n.max(1))), seq.last_uid()) {
            (Some(first), Some(last)) if first <= last => seq.existing(&UidSet::range(first, last)),
            _ => UidSet::new(),
        };
        Self {
            account: found.account,
            mailbox: snapshot.mailbox,
            owner: found.owner.map(Box::new),
            name: found.entry.name,
            withdrawn: false,
            rights: found.entry.rights,
            uid_validity: state.uid_validity,
            read_only,
            examined: read_only,
            annotate: false,
            annotations_known: state.highest_modseq,
            seq,
            uid_next_known: state.uid_next,
            known_modseq: state.highest_modseq,
            known_expunge_modseq: state.expunge_modseq,
            keywords: state.keywords.clone(),
            recent,
            own_changes: Vec::new(),
            own_arrivals: UidSet::new(),
            contexts: Vec::new(),
            saved: UidSet::new(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> FolderRef {
        FolderRef { account: self.account, mailbox: self.mailbox }
    }

    /// The name it was selected by, as the client knows it.
    pub fn shown(&self) -> String {
        others::shown(self.owner.as_deref(), &self.name)
    }

    /// The flags that the client may change.
    pub fn changeable(&self) -> Changeable {
        if self.read_only {
            return Changeable::default();
        }
        Changeable {
            seen: self.rights.has(Rights::SEEN),
            deleted: self.rights.has(Rights::DELETE_MESSAGE),
            others: self.rights.has(Rights::WRITE),
        }
    }

    /// The messages a set names, as UIDs the client knows of; they may be gone from the folder.
    ///
    /// # Errors
    /// BAD when a sequence number is above the number of messages (RFC 9051 §9, `sequence-set`). UIDs that do not
    /// exist are no error.
    pub fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<UidSet, Reply> {
        if set.is_saved() {
            return Ok(self.seq.existing(&self.saved));
        }
        let pair = |range: std::ops::RangeInclusive<u32>| (*range.start(), *range.end());
        if uid {
            let largest = self.seq.last_uid().map_or(0, Uid::get);
            let asked = UidSet::from_ranges(set.resolve(largest).into_iter().map(pair));
            return Ok(self.seq.existing(&asked));
        }
        let count = self.seq.len();
        let ranges = set.resolve(count);
        match ranges.last() {
            Some(last) if *last.end() > count => Err(Reply::bad(format!(
                "there is no message {}; the mailbox has {count} messages",
                last.end()
            ))),
            _ => Ok(self.seq.uids_of_seqs(ranges.into_iter().map(pair))),
        }
    }

    /// Notes that the client knows of changes of `uids` up to `modseq`, or does not want to know (`.SILENT`):
    /// [`sync`](crate::sync::sync) does not tell them again.
    pub fn note_own_changes(&mut self, uids: UidSet, modseq: ModSeq) {
        if uids.is_empty() {
            return;
        }
        if self.own_changes.len() >= OWN_CHANGES_MAX {
            self.own_changes.remove(0);
        }
        self.own_changes.push((uids, modseq));
    }

    /// Notes messages that this session brought itself and that it has yet to be told of.
    pub fn note_own_arrivals(&mut self, uids: &UidSet) {
        self.own_arrivals = self.own_arrivals.union(uids);
    }

    /// Whether a change of `uid` at `modseq` was noted.
    pub(crate) fn is_own_change(&self, uid: Uid, modseq: ModSeq) -> bool {
        self.own_changes.iter().any(|(uids, upto)| modseq <= *upto && uids.contains(uid))
    }

    /// Forgets the noted changes, once all changes up to them were looked at.
    pub(crate) fn forget_own_changes(&mut self) {
        self.own_changes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uid(n: u32) -> Uid {
        Uid::new(n).expect("positive")
    }

    fn set(ranges: &[(u32, u32)]) -> UidSet {
        UidSet::from_ranges(ranges.iter().copied())
    }

    /// What both pictures must agree on.
    fn check(map: &SeqMap, model: &[u32]) {
        assert_eq!(map.len() as usize, model.len());
        assert_eq!(map.is_empty(), model.is_empty());
        assert_eq!(map.last_uid().map(Uid::get), model.last().copied());
        assert_eq!(map.uids(), model.iter().copied().map(uid).collect());
        let pairs: Vec<_> = model.iter().enumerate().map(|(i, n)| (i as u32 + 1, uid(*n))).collect();
        assert_eq!((map.uid(0), map.uid(map.len() + 1), map.uid(u32::MAX)), (None, None, None));
        for (seq, uid) in pairs {
            assert_eq!((map.uid(seq), map.seq(uid)), (Some(uid), Some(seq)));
        }
        for n in 1..model.last().map_or(3, |n| n + 3) {
            assert_eq!(map.seq(uid(n)).is_some(), model.contains(&n), "UID {n}");
        }
        assert!(map.runs.windows(2).all(|w| w[0].last + 1 < w[1].first), "runs are as few as can be");
    }

    /// A step in the life of a view.
    #[derive(Clone, Debug)]
    enum Step {
        /// New messages: the gap before each.
        Push(Vec<u32>),
        /// Removals, by UID.
        Remove(Vec<(u32, u32)>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ranges = prop::collection::vec((1..120u32, 0..12u32).prop_map(|(a, n)| (a, a + n)), 0..5);
        let step = prop_oneof![
            prop::collection::vec(prop_oneof![4 => Just(1u32), 1 => 2..6u32], 0..20).prop_map(Step::Push),
            ranges.prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..12)
    }

    proptest! {
        #[test]
        fn as_a_list_of_uids(steps in steps(), asked in prop::collection::vec((1..140u32, 0..30u32), 0..5)) {
            let (mut map, mut model) = (SeqMap::default(), Vec::<u32>::new());
            let mut last = 0;
            for step in steps {
                match step {
                    Step::Push(gaps) => for gap in gaps {
                        last += gap;
                        map.push(uid(last));
                        model.push(last);
                    },
                    Step::Remove(ranges) => {
                        let gone = set(&ranges);
                        map.remove(&gone);
                        model.retain(|n| !gone.contains(uid(*n)));
                    }
                }
                check(&map, &model);
            }
            prop_assert_eq!(&SeqMap::new(model.iter().copied().map(uid)), &map);

            let asked = set(&asked.iter().map(|(a, n)| (*a, a + n)).collect::<Vec<_>>());
            let existing: UidSet = model.iter().copied().map(uid).filter(|u| asked.contains(*u)).collect();
            prop_assert_eq!(&map.existing(&asked), &existing);
            let numbers: Vec<u32> = map.seqs_of_uids(&asked).into_iter().flat_map(|(a, b)| a..=b).collect();
            let expected: Vec<u32> = (1..).zip(&model).filter(|(_, n)| asked.contains(uid(**n))).map(|(i, _)| i).collect();
            prop_assert_eq!(&numbers, &expected);
            prop_assert!(map.seqs_of_uids(&asked).windows(2).all(|w| w[0].1 + 1 < w[1].0));
            // The same set taken as sequence numbers.
            let by_seq = map.uids_of_seqs(asked.ranges());
            let expected: UidSet = (1..).zip(&model).filter(|(i, _)| asked.contains(uid(*i))).map(|(_, n)| uid(*n)).collect();
            prop_assert_eq!(by_seq, expected);
        }
    }

    #[test]
    fn a_folder_without_gaps_is_one_run() {
        let mut map = SeqMap::new((1..=1_000_000).map(uid));
        assert_eq!(map.runs.capacity(), 1);
        map.remove(&set(&[(500_000, 500_000)]));
        assert_eq!(map.runs.len(), 2);
        assert_eq!((map.seq(uid(500_001)), map.uid(999_999)), (Some(500_000), Some(uid(1_000_000))));
        let mut all = SeqMap::new([uid(u32::MAX - 1), uid(u32::MAX)]);
        assert_eq!(all.existing(&set(&[(1, u32::MAX)])).len(), 2);
        all.remove(&set(&[(1, u32::MAX)]));
        assert!(all.is_empty());
    }

    fn view(uids: &[u32]) -> View {
        use model::{Block, BlockNo, BodyId, Flags, FolderState, MessageRow};
        let row = |n: &u32| MessageRow {
            uid: uid(*n),
            flags: Flags::default(),
            modseq: ModSeq(1),
            size: 1,
            internal_date: 0,
            zone_minutes: 0,
            saved_at: 0,
            body: BodyId(1),
        };
        let state = FolderState {
            uid_validity: UidValidity::new(1).expect("positive"),
            uid_next: u64::from(uids.last().copied().unwrap_or(0)) + 1,
            highest_modseq: ModSeq(9),
            expunge_modseq: ModSeq(0),
            messages: uids.len() as u64,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
            recent_uid: 5,
            keywords: Arc::default(),
        };
        let rows: Vec<_> = uids.iter().map(row).collect();
        let blocks = if rows.is_empty() { vec![] } else { vec![(BlockNo(0), Arc::new(Block::new(rows)))] };
        let snapshot = FolderSnapshot::new(MailboxId(1), state, blocks);
        let entry = store_api::FolderEntry::own(MailboxId(1), MailboxName::inbox(), None);
        View::new(Found { account: AccountId(1), owner: None, entry }, false, &snapshot)
    }

    fn resolved(view: &View, text: &'static str, uid: bool) -> Result<UidSet, Reply> {
        let line = bytes::Bytes::from(format!("a UID EXPUNGE {text}"));
        let command = imap_wire::parse_command(&line, &imap_wire::Limits::default()).expect("a command");
        let imap_wire::Command::UidExpunge(set) = command.body else { panic!("not a set") };
        view.resolve(&set, uid)
    }

    #[test]
    fn sets_of_messages() {
        let mut view = view(&[2, 4, 6, 8]);
        for (text, uid, expected) in [
            ("1:2", false, set(&[(2, 2), (4, 4)])),
            ("*", false, set(&[(8, 8)])),
            ("4,1", false, set(&[(2, 2), (8, 8)])),
            ("*:3", false, set(&[(6, 6), (8, 8)])),
            ("1:2", true, set(&[(2, 2)])),
            ("*", true, set(&[(8, 8)])),
            // Source: RFC 9051 §6.4.9: `n:*` names the last message even where n is larger.
            ("100:*", true, set(&[(8, 8)])),
            ("3,9", true, set(&[])),
            ("$", false, set(&[])),
        ] {
            assert_eq!(resolved(&view, text, uid), Ok(expected), "{text} {uid}");
        }
        assert_eq!(resolved(&view, "5", false).err().map(|r| r.status), Some(crate::reply::Status::Bad));
        assert_eq!(resolved(&view, "3:9", false).err().map(|r| r.status), Some(crate::reply::Status::Bad));
        view.saved = set(&[(4, 4), (5, 5), (8, 8)]);
        assert_eq!(resolved(&view, "$", true), Ok(set(&[(4, 4), (8, 8)])));
    }

    #[test]
    fn an_empty_mailbox_has_no_numbers() {
        let view = view(&[]);
        assert_eq!(resolved(&view, "1:*", true), Ok(UidSet::new()));
        assert_eq!(resolved(&view, "*", false), Ok(UidSet::new()));
        assert!(resolved(&view, "1", false).is_err());
    }

    #[test]
    fn recent_from_the_first_that_nobody_was_told_of() {
        assert_eq!(view(&[2, 4, 6, 8]).recent, set(&[(6, 6), (8, 8)]));
        assert_eq!(view(&[2, 4]).recent, UidSet::new());
    }

    #[test]
    fn own_changes_are_known_up_to_their_modseq() {
        let mut view = view(&[1, 2, 3]);
        view.note_own_changes(set(&[(1, 2)]), ModSeq(12));
        assert!(view.is_own_change(uid(1), ModSeq(12)) && view.is_own_change(uid(2), ModSeq(11)));
        assert!(!view.is_own_change(uid(1), ModSeq(13)) && !view.is_own_change(uid(3), ModSeq(12)));
        view.forget_own_changes();
        assert!(!view.is_own_change(uid(1), ModSeq(12)));
        for n in 0..2 * OWN_CHANGES_MAX as u64 {
            view.note_own_changes(set(&[(2, 2)]), ModSeq(n));
        }
        assert_eq!(view.own_changes.len(), OWN_CHANGES_MAX);
    }
}
