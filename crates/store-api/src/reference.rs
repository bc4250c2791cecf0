//! References: URLs by which somebody who has no rights in a folder reads one message of it (RFC 4467).

use std::sync::Arc;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use model::{CpmAddress, MailboxName, Uid};

/// What the owner of a message says by a URL: this message, to these, until then. A front end has read the URL; the
/// store signs all of this together with the octets it stands in, and so depends on no front end's reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Whose folder it is.
    pub owner: CpmAddress,
    /// The folder.
    pub mailbox: MailboxName,
    /// The UIDVALIDITY that the folder must have; none for any.
    pub uid_validity: Option<u32>,
    /// The message.
    pub uid: Uid,
    /// Until when, seconds since 1970-01-01 UTC by the store's clock; none for as long as the folder's key is kept.
    pub expires: Option<i64>,
    /// Who may read.
    pub access: ReferenceAccess,
    /// The URL before its mechanism, at most [`model::limits::REFERENCE_BYTES_MAX`] octets.
    pub rump: Bytes,
}

/// Who may read by a reference. Source: RFC 4467 §3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceAccess {
    /// Everybody.
    Anonymous,
    /// Everybody who is logged in.
    AuthUser,
    /// The subscriber of this address, as whoever has it when the reference is signed; the next one who is given the
    /// address is another.
    User(CpmAddress),
    /// Network functions, for the subscriber of this address.
    Submit(CpmAddress),
}

/// A reference with the token that the store made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReference {
    /// What is said.
    pub reference: Reference,
    /// What proves that the owner says so.
    pub token: Bytes,
}

/// The message that a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// Its octets.
    pub size: u64,
    /// Its facts.
    pub index: Arc<MessageIndex>,
}
