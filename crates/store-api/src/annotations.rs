//! Annotations of messages: named values beside them, some that all see and some that their setter alone sees
//! (RFC 5257).

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{AnnotationName, AnnotationPattern, EntryScope, MailboxId, ModSeq, Uid, UidSet};

/// The values of one entry of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// `value.priv`: what the requestor has set and nobody else sees.
    pub private: Option<Bytes>,
    /// `value.shared`: what all see who may read the folder.
    pub shared: Option<Bytes>,
}

impl Annotation {
    /// The value of that scope.
    pub fn of(&self, scope: EntryScope) -> Option<&Bytes> {
        match scope {
            EntryScope::Private => self.private.as_ref(),
            EntryScope::Shared => self.shared.as_ref(),
        }
    }

    /// Puts the value of that scope.
    pub fn set(&mut self, scope: EntryScope, value: Option<Bytes>) {
        match scope {
            EntryScope::Private => self.private = value,
            EntryScope::Shared => self.shared = value,
        }
    }
}

/// The annotations of a message, as its reader sees them; every entry has a value.
pub type Annotations = BTreeMap<AnnotationName, Annotation>;

/// Which annotations to read.
#[derive(Clone, Debug)]
pub struct AnnotationQuery {
    /// The folder.
    pub mailbox: MailboxId,
    /// The messages.
    pub uids: UidSet,
    /// Entries that one of these stands for; no more than [`AnnotationPattern::are_few`].
    pub entries: Vec<AnnotationPattern>,
    /// Values of this scope alone; none for both.
    pub scope: Option<EntryScope>,
}

/// Annotations of messages, as many as one answer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationPage {
    /// The messages that have any that were asked for, ascending.
    pub messages: Vec<(Uid, Annotations)>,
    /// Where to go on; none when all are answered.
    pub next: Option<Uid>,
}

/// A new value of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationChange {
    /// The entry.
    pub name: AnnotationName,
    /// Who is to see it.
    pub scope: EntryScope,
    /// The value; none removes it.
    pub value: Option<Bytes>,
}

/// A change of annotations: the same of all messages.
#[derive(Clone, Debug)]
pub struct StoreAnnotations {
    /// The folder.
    pub mailbox: MailboxId,
    /// The messages.
    pub uids: UidSet,
    /// At most [`model::limits::ANNOTATION_CHANGES_MAX`]; of two of the same value the later counts.
    pub changes: Vec<AnnotationChange>,
    /// Leave out messages changed after this (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

/// Annotations that were changed: which, not how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationNews {
    /// The messages.
    pub uids: UidSet,
    /// The entries.
    pub entries: Vec<AnnotationName>,
}
