//! Requests on messages, and their answers.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use model::{
    BodyId, DeviceId, Flags, Keyword, MailboxId, MailboxName, ModSeq, Result, Uid, UidList, UidSet,
    UidValidity,
};

use crate::AnnotationChange;

/// Where the octets of a message to append are.
#[derive(Clone, Debug)]
pub enum AppendBody {
    /// Here, at most [`model::limits::BODY_INLINE_BYTES_MAX`]; all inline bodies of a request together at most 4 MiB.
    Inline(Bytes),
    /// Written ahead by a [`BodyWriter`] of the same account.
    Staged(BodyId),
}

/// A message to append.
#[derive(Clone, Debug)]
pub struct AppendMessage {
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords.
    pub keywords: Vec<Keyword>,
    /// INTERNALDATE: seconds since 1970-01-01 UTC, and zone in minutes east; none for now, in UTC.
    pub internal_date: Option<(i64, i16)>,
    /// Its annotations: at most [`model::limits::ANNOTATION_CHANGES_MAX`].
    pub annotations: Vec<AnnotationChange>,
    /// Its octets.
    pub body: AppendBody,
}

/// Messages to append to one folder: 1 to [`model::limits::MULTIAPPEND_MESSAGES_MAX`].
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// The folder.
    pub mailbox: MailboxName,
    /// The messages, in order.
    pub messages: Vec<AppendMessage>,
}

/// A message that takes the place of another.
#[derive(Clone, Debug)]
pub struct ReplaceRequest {
    /// The folder of the message to replace.
    pub source: MailboxId,
    /// The message to replace.
    pub uid: Uid,
    /// The folder of the new one.
    pub target: MailboxName,
    /// The new one.
    pub message: AppendMessage,
}

/// What was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The folder.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The UIDs, in the order of the messages: ascending, unless a network function deposited some of them before.
    pub uids: UidList,
    /// The folder's HIGHESTMODSEQ after it.
    pub modseq: ModSeq,
    /// Some of the messages, or all, were there already: a network function deposited them before.
    pub repeated: bool,
}

/// Takes the octets of a large body in order.
#[async_trait]
pub trait BodyWriter: Send {
    /// Takes the next octets; waits while the store is busy, so that a sender is held up.
    ///
    /// # Errors
    /// `TooBig` past the announced size.
    async fn write(&mut self, octets: Bytes) -> Result<()>;

    /// Ends the body, which must have its announced size.
    ///
    /// # Errors
    /// `InvalidRequest` when octets are missing.
    async fn finish(self: Box<Self>) -> Result<BodyId>;
}

/// The octets of a body in order.
pub type BodyPieces = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Octets of a body.
pub enum BodyData {
    /// All that was asked for.
    Whole(Bytes),
    /// In pieces of at most [`model::limits::BODY_PIECE_BYTES`]; their total length comes first.
    Pieces(u64, BodyPieces),
}

impl BodyData {
    /// How many octets there are.
    #[expect(clippy::len_without_is_empty, reason = "an empty body is nothing special")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(octets) => octets.len() as u64,
            Self::Pieces(len, _) => *len,
        }
    }
}

/// The devices that read and deleted a message, where they said who they are (OMA CPM Message Storage,
/// Message-seen-identity and Message-delete-identity). They stand beside a message, not in its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// The first device that set \Seen, as long as it is set.
    pub seen: Option<DeviceId>,
    /// The last device that set \Deleted, as long as it is set.
    pub deleted: Option<DeviceId>,
}

impl Identities {
    /// The header field in which [`Identities::seen`] is shown.
    pub const SEEN_HEADER: &str = "Message-seen-identity";
    /// The header field in which [`Identities::deleted`] is shown.
    pub const DELETED_HEADER: &str = "Message-delete-identity";

    /// Whether no device is known.
    pub fn is_empty(&self) -> bool {
        self.seen.is_none() && self.deleted.is_none()
    }
}

/// How a STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagAction {
    /// `+FLAGS`.
    Add,
    /// `-FLAGS`.
    Remove,
    /// `FLAGS`.
    Replace,
}

/// Flags and keywords to add, remove or put in place of what is there.
#[derive(Clone, Debug)]
pub struct FlagChange {
    /// How.
    pub action: FlagAction,
    /// System flags.
    pub flags: Flags,
    /// Keywords.
    pub keywords: Vec<Keyword>,
}

/// A change of flags.
#[derive(Clone, Debug)]
pub struct StoreFlags {
    /// The folder.
    pub mailbox: MailboxId,
    /// The messages.
    pub uids: UidSet,
    /// The change.
    pub change: FlagChange,
    /// Leave out messages changed after this (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

/// What a change of flags did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreOutcome {
    /// Messages whose flags are now different.
    pub changed: UidSet,
    /// Messages left out because of `unchanged_since`.
    pub modified: UidSet,
    /// The folder's HIGHESTMODSEQ after it; every message of `changed` has a MODSEQ above `modseq_before`.
    pub modseq: ModSeq,
    /// The folder's HIGHESTMODSEQ before it.
    pub modseq_before: ModSeq,
}

/// Copy, or copy and remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// COPY.
    Copy,
    /// MOVE (RFC 6851): each message is moved or untouched.
    Move,
}

/// Messages to copy or move.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// Copy or move.
    pub mode: CopyMode,
    /// From here.
    pub source: MailboxId,
    /// These.
    pub uids: UidSet,
    /// To here; may be the same folder.
    pub target: MailboxName,
    /// What to do when some of the messages do not exist.
    pub missing: Missing,
}

/// What to do when some of the messages that a request names do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Leave them out: UID commands (RFC 9051 §6.4.9).
    Skip,
    /// Do nothing at all and answer `Expunged`: commands by sequence numbers, whose caller takes them to exist.
    Refuse,
}

/// What was copied or moved.
#[derive(Clone, Debug)]
pub struct CopyOutcome {
    /// The target folder.
    pub target: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The UIDs in the source, ascending, each with its UID in the target, ascending.
    pub pairs: Vec<(Uid, Uid)>,
    /// The source folder's HIGHESTMODSEQ after it.
    pub source_modseq: ModSeq,
}

/// What an expunge removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpungeOutcome {
    /// The messages removed.
    pub uids: UidSet,
    /// The folder's HIGHESTMODSEQ after it.
    pub modseq: ModSeq,
}
