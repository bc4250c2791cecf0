//! What a client wishes to be told, by mailbox.

use std::collections::BTreeSet;
use std::sync::Arc;

use imap_wire::MailboxArg;
use imap_wire::command::{Event, EventGroup, FetchItem, MailboxFilter};
use model::MailboxName;
use store_api::FolderTree;

use crate::others;
use crate::reply::Reply;
use crate::session::Session;

/// Names of the events that can be told of, as BADEVENT lists them.
pub(crate) const EVENTS: &[&str] = &[
    "MessageNew",
    "MessageExpunge",
    "FlagChange",
    "AnnotationChange",
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
];

/// A set of events of one mailbox that is not selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants(u8);

impl Wants {
    /// MessageNew and MessageExpunge, which come together.
    pub const MESSAGES: Self = Self(1);
    /// FlagChange.
    pub const FLAGS: Self = Self(2);
    /// MailboxName.
    pub const NAME: Self = Self(4);
    /// SubscriptionChange.
    pub const SUBSCRIPTION: Self = Self(8);
    /// MailboxMetadataChange.
    pub const METADATA: Self = Self(16);

    /// Whether any of `other` is among them.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and `other`.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but not `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether its counters are watched.
    pub fn counters(self) -> bool {
        self.has(Self::MESSAGES.with(Self::FLAGS))
    }
}

/// What is told of the selected mailbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfSelected {
    /// New messages and removals.
    pub messages: bool,
    /// Changes of flags.
    pub flags: bool,
    /// Changes of annotations.
    pub annotations: bool,
    /// Removals wait for a command that allows them.
    pub delayed: bool,
    /// What is fetched of new messages.
    pub items: Arc<[FetchItem]>,
}

/// Mailboxes by name (RFC 5465 §6, RFC 7377 §2.2).
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    Personal,
    Subscribed,
    Subtree(BTreeSet<MailboxName>),
    SubtreeOne(BTreeSet<MailboxName>),
    Mailboxes(BTreeSet<MailboxName>),
}

impl Whose {
    /// The mailboxes of a filter; none for the selected one. Names that no mailbox can have are left out.
    ///
    /// # Errors
    /// BAD for names that are not in the connection's encoding.
    pub fn new(session: &Session, filter: &MailboxFilter) -> Result<Option<Self>, Reply> {
        Ok(Some(match filter {
            MailboxFilter::Selected | MailboxFilter::SelectedDelayed => return Ok(None),
            // A network function may deliver to any mailbox: all are inboxes (RFC 5465 §6.3).
            MailboxFilter::Inboxes | MailboxFilter::Personal => Self::Personal,
            MailboxFilter::Subscribed => Self::Subscribed,
            MailboxFilter::Subtree(names) => Self::Subtree(parse(session, names)?),
            MailboxFilter::SubtreeOne(names) => Self::SubtreeOne(parse(session, names)?),
            MailboxFilter::Mailboxes(names) => Self::Mailboxes(parse(session, names)?),
        }))
    }

    /// The names that the client gave.
    pub fn given(&self) -> impl Iterator<Item = &MailboxName> {
        let given = match self {
            Self::Personal | Self::Subscribed => None,
            Self::Subtree(names) | Self::SubtreeOne(names) | Self::Mailboxes(names) => Some(names),
        };
        given.into_iter().flatten()
    }

    /// Whether a name is one that the client gave.
    pub fn gives(&self, name: &MailboxName) -> bool {
        match self {
            Self::Personal | Self::Subscribed => false,
            Self::Subtree(names) | Self::SubtreeOne(names) | Self::Mailboxes(names) => names.contains(name),
        }
    }

    /// Whether a mailbox is among them.
    pub fn includes(&self, name: &MailboxName, subscribed: bool) -> bool {
        match self {
            // RFC 5465 §6.2: those of one's own namespace.
            Self::Personal => others::owner(name).is_none(),
            Self::Subscribed => subscribed,
            Self::Subtree(names) => {
                names.contains(name) || name.ancestors().any(|ancestor| names.contains(&ancestor))
            }
            Self::SubtreeOne(names) => {
                names.contains(name) || name.parent().is_some_and(|parent| names.contains(&parent))
            }
            Self::Mailboxes(names) => names.contains(name),
        }
    }
}

/// A group of mailboxes and what is told of them; nothing for `NONE`.
#[derive(Clone, Debug)]
struct Group {
    whose: Whose,
    wants: Wants,
}

/// All that a client wishes to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub selected: OfSelected,
    /// ServerMetadataChange.
    pub server_metadata: bool,
    groups: Vec<Group>,
}

impl Wishes {
    /// The wishes of a command. Names that no mailbox can have are left out.
    ///
    /// # Errors
    /// NO `[BADEVENT]` for events that cannot be told of; BAD for names that are not in the connection's encoding.
    pub fn new(session: &Session, groups: Vec<EventGroup>) -> Result<Self, Reply> {
        let mut wishes = Self::default();
        for EventGroup { filter, events } in groups {
            let mut wants = Wants::default();
            let (mut fetched, mut annotations) = (Vec::new(), false);
            for event in events {
                wants = wants.with(match event {
                    Event::MessageNew(items) => {
                        fetched = items;
                        Wants::MESSAGES
                    }
                    Event::MessageExpunge => Wants::MESSAGES,
                    Event::FlagChange => Wants::FLAGS,
                    Event::MailboxName => Wants::NAME,
                    Event::SubscriptionChange => Wants::SUBSCRIPTION,
                    Event::MailboxMetadataChange => Wants::METADATA,
                    Event::ServerMetadataChange => {
                        wishes.server_metadata = true;
                        continue;
                    }
                    Event::AnnotationChange => {
                        annotations = true;
                        // Of a mailbox that is not selected HIGHESTMODSEQ tells of both, and not of which.
                        if matches!(filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed) {
                            continue;
                        }
                        Wants::FLAGS
                    }
                    Event::Other(_) => {
                        let code = format!("BADEVENT ({})", EVENTS.join(" "));
                        return Err(Reply::no_code(code, "one of the events cannot be told of"));
                    }
                });
            }
            match Whose::new(session, &filter)? {
                Some(whose) => wishes.groups.push(Group { whose, wants }),
                None => {
                    wishes.selected = OfSelected {
                        messages: wants.has(Wants::MESSAGES),
                        flags: wants.has(Wants::FLAGS),
                        annotations,
                        delayed: filter == MailboxFilter::SelectedDelayed,
                        items: fetched.into(),
                    };
                }
            }
        }
        Ok(wishes)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.selected.messages && !self.of_others()
    }

    /// Whether anything is told of mailboxes that are not selected, or of the server.
    pub fn of_others(&self) -> bool {
        self.server_metadata || self.groups.iter().any(|group| group.wants != Wants::default())
    }

    /// Which mailboxes are spoken of, also to have nothing told of them.
    pub fn whose(&self) -> impl Iterator<Item = &Whose> {
        self.groups.iter().map(|group| &group.whose)
    }

    /// Whether names of mailboxes are told.
    pub fn of_names(&self) -> bool {
        self.groups.iter().any(|group| group.wants.has(Wants::NAME))
    }

    /// What is told of a mailbox that is not selected: what any of its groups has, nothing if one of them is `NONE`
    /// (RFC 5465 §6, §8).
    pub fn of(&self, tree: &FolderTree, name: &MailboxName) -> Wants {
        let subscribed = tree.subscribed().contains(name);
        let mut wants = Wants::default();
        for group in &self.groups {
            if group.whose.includes(name, subscribed) {
                if group.wants == Wants::default() {
                    return Wants::default();
                }
                wants = wants.with(group.wants);
            }
        }
        wants
    }

    /// Whether a group names the mailbox to have nothing told of it: with STATUS it is shown once (RFC 5465 §5).
    pub fn shows_once(&self, tree: &FolderTree, name: &MailboxName) -> bool {
        let subscribed = tree.subscribed().contains(name);
        let none = |group: &&Group| group.wants == Wants::default();
        self.groups.iter().filter(none).any(|group| group.whose.includes(name, subscribed))
    }
}

fn parse(session: &Session, names: &[MailboxArg]) -> Result<BTreeSet<MailboxName>, Reply> {
    let mut parsed = BTreeSet::new();
    for name in names {
        match session.mailbox_name(name) {
            Ok(name) => _ = parsed.insert(others::canonical(name)),
            // RFC 5465 §3.1: a name of no mailbox is passed over.
            Err(reply) if reply.code.as_deref() == Some("CANNOT") => {}
            Err(reply) => return Err(reply),
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect("a name")
    }

    fn names(texts: &[&str]) -> BTreeSet<MailboxName> {
        texts.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn groups_add_up_and_none_wins() {
        let tree = FolderTree::new(1, Vec::new(), names(&["a/b", "x"]));
        let group = |whose, wants| Group { whose, wants };
        let wishes = Wishes {
            groups: vec![
                group(Whose::Subtree(names(&["a"])), Wants::MESSAGES),
                group(Whose::Subscribed, Wants::SUBSCRIPTION),
                group(Whose::SubtreeOne(names(&["y"])), Wants::FLAGS),
                group(Whose::Mailboxes(names(&["a/c", "A"])), Wants::default()),
            ],
            ..Wishes::default()
        };
        let of = |text: &str| wishes.of(&tree, &name(text));
        assert_eq!(of("a"), Wants::MESSAGES);
        assert_eq!(of("a/b"), Wants::MESSAGES.with(Wants::SUBSCRIPTION));
        assert_eq!(of("a/b/c"), Wants::MESSAGES);
        assert_eq!(of("a/c"), Wants::default());
        assert_eq!(of("ab"), Wants::default());
        assert_eq!(of("x"), Wants::SUBSCRIPTION);
        assert_eq!((of("y"), of("y/b"), of("y/b/c")), (Wants::FLAGS, Wants::FLAGS, Wants::default()));
        assert!(wishes.shows_once(&tree, &name("a/c")) && !wishes.shows_once(&tree, &name("a/b")));
        assert!(wishes.of_others() && !wishes.is_empty());
    }

    #[test]
    fn of_other_users_those_that_are_named() {
        let tree = FolderTree::new(0, Vec::new(), names(&["Other/tel:+331/a", "b"]));
        let check = |whose: Whose, expected: [bool; 3]| {
            let wishes =
                Wishes { groups: vec![Group { whose, wants: Wants::MESSAGES }], ..Wishes::default() };
            let of = |text| wishes.of(&tree, &name(text)) == Wants::MESSAGES;
            assert_eq!(["Other/tel:+331/a", "Other/tel:+331/x", "b"].map(of), expected, "{wishes:?}");
        };
        check(Whose::Personal, [false, false, true]);
        check(Whose::Subscribed, [true, false, true]);
        check(Whose::Subtree(names(&["Other"])), [true, true, false]);
        check(Whose::SubtreeOne(names(&["Other"])), [false, false, false]);
        check(Whose::SubtreeOne(names(&["Other/tel:+331"])), [true, true, false]);
        check(Whose::Mailboxes(names(&["Other/tel:+331/x"])), [false, true, false]);
    }
}
