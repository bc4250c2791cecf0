//! What the client was last told of a mailbox that it has not selected, and what is to be looked at again.

use std::collections::BTreeSet;

use model::{FolderState, MailboxId, ModSeq};

use super::wishes::Wants;
use crate::heard::News;
use crate::view::View;

/// Mailboxes that are looked at by themselves; when more changed, all are.
const FOLDERS_AT_ONCE: usize = 16;

/// A watched mailbox: as the client was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub id: MailboxId,
    pub modseq: ModSeq,
    /// UIDNEXT, or the largest UID when there is no next.
    pub uid_next: u32,
    /// Unread messages; [`UNSEEN_UNKNOWN`] when what the client knows has changed since it was told.
    pub unseen: u32,
    pub wants: Wants,
    /// Its counters are to be told whatever they are: the name had another mailbox before.
    pub anew: bool,
}

const UNSEEN_UNKNOWN: u32 = u32::MAX;

impl Watched {
    /// One of which nothing was told.
    pub fn new(id: MailboxId, wants: Wants) -> Self {
        Self { id, modseq: ModSeq(0), uid_next: 1, unseen: 0, wants, anew: false }
    }

    /// The client knows `state`.
    pub fn told(&mut self, state: &FolderState) {
        self.modseq = state.highest_modseq;
        self.uid_next = cut(state.uid_next);
        self.unseen = cut(state.unseen);
        self.anew = false;
    }

    /// The client knows what it was told while it had the mailbox selected.
    pub fn left(&mut self, view: &View) {
        self.modseq = view.known_modseq;
        self.uid_next = cut(view.uid_next_known);
        self.unseen = UNSEEN_UNKNOWN;
    }

    /// Whether `state` has something to tell.
    pub fn differs(&self, state: &FolderState, condstore: bool) -> bool {
        let messages = cut(state.uid_next) > self.uid_next || state.expunge_modseq > self.modseq;
        // RFC 5465 §5.1: without CONDSTORE a change of flags shows in UNSEEN only.
        let flags = state.highest_modseq > self.modseq
            && (condstore || (self.unseen != UNSEEN_UNKNOWN && cut(state.unseen) != self.unseen));
        self.wants.counters() && self.anew
            || self.wants.has(Wants::MESSAGES) && messages
            || self.wants.has(Wants::FLAGS) && flags
    }
}

fn cut(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Nothing,
    Folders(BTreeSet<MailboxId>),
    All,
}

impl Look {
    /// Adds what the feed said.
    pub fn add(&mut self, news: News) {
        match (news, &mut *self) {
            (News::Anything, _) => *self = Self::All,
            (_, Self::All) => {}
            (News::Folder(id, _), Self::Folders(folders)) => {
                folders.insert(id);
                if folders.len() > FOLDERS_AT_ONCE {
                    *self = Self::All;
                }
            }
            (News::Folder(id, _), Self::Nothing) => *self = Self::Folders([id].into()),
        }
    }

    /// Whether a folder is among what is looked at.
    pub fn includes(&self, id: MailboxId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Folders(folders) => folders.contains(&id),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(uid_next: u64, modseq: u64, expunge_modseq: u64, unseen: u64) -> FolderState {
        FolderState {
            uid_validity: model::UidValidity::new(1).expect("positive"),
            uid_next,
            highest_modseq: ModSeq(modseq),
            expunge_modseq: ModSeq(expunge_modseq),
            messages: 0,
            unseen,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
            recent_uid: 1,
            keywords: std::sync::Arc::default(),
        }
    }

    #[test]
    fn what_is_told_of_counters() {
        let mut messages = Watched::new(MailboxId(1), Wants::MESSAGES);
        messages.told(&state(5, 9, 3, 2));
        assert!(!messages.differs(&state(5, 9, 3, 2), true));
        assert!(messages.differs(&state(6, 10, 3, 3), false));
        assert!(messages.differs(&state(5, 10, 10, 2), false));
        assert!(!messages.differs(&state(5, 10, 3, 1), true), "flags were not asked for");
        let flags = Watched { wants: Wants::MESSAGES.with(Wants::FLAGS), ..messages };
        assert!(flags.differs(&state(5, 10, 3, 2), true));
        assert!(!flags.differs(&state(5, 10, 3, 2), false));
        assert!(flags.differs(&state(5, 10, 3, 1), false));
        assert!(!Watched { unseen: UNSEEN_UNKNOWN, ..flags }.differs(&state(5, 10, 3, 1), false));
        assert!(Watched { anew: true, ..messages }.differs(&state(5, 9, 3, 2), false));
        assert!(size_of::<Watched>() <= 32);
    }

    #[test]
    fn looks_add_up_to_a_bound() {
        let mut look = Look::Nothing;
        for n in 0..FOLDERS_AT_ONCE as u64 {
            look.add(News::Folder(MailboxId(n), ModSeq(1)));
        }
        assert!(look.includes(MailboxId(0)) && !look.includes(MailboxId(99)));
        look.add(News::Folder(MailboxId(99), ModSeq(1)));
        assert_eq!(look, Look::All);
        look.add(News::Folder(MailboxId(1), ModSeq(1)));
        assert_eq!(look, Look::All);
    }
}
