//! The objects of a CPM message store: which kind a message is, what its kind demands of it, and the id it is given when
//! it has none (OMA CPM Message Storage, storage objects; RCC.07 for what networks add).
//!
//! The kind follows from the header, looked at in the order that clients do: Message-Context, the outer Content-Type,
//! the Content-Type within the CPIM wrapper. A message with no CPM header and no CPM type is [`ObjectKind::Mail`], of
//! which nothing is demanded. Nothing is refused here: [`MessageIndex::faults`] tells what is wrong, and whether that
//! matters is for who stores the message to say.
//!
//! **Ids.** An object is known by its IMDN-Message-ID, and what stores one without has to make it (for SMS, MMS, pager
//! mode, session infos and group states no request brings one). Octets of a message never change, so the id stands
//! beside them. It is the imdn.Message-ID within the wrapper, where there is one. Else it is made of a digest of the
//! header fields and the body (SHA-256, 128 bits of it): they name sender, recipient, time and contribution, so that no
//! other object has the same, as RFC 5438 §6.3 asks, and the same object has the same id wherever it is stored, restored
//! or deposited again. A voicemail's id is that of the voicemail system and nobody else's; none is made.

mod rules;

pub use rules::Fault;

use crate::imdn::{self, Imdn, Notification, Status};
use crate::index::codec::{Tag, Writer};
use crate::index::{MessageIndex, PartKind};
use crate::limits::FACT_BYTES_MAX;
use crate::preview::Wrapped;
use crate::{header, param};

/// What stands before the digest in an id that was made.
const MADE_PREFIX: &str = "mss.";
/// Octets of a digest that make an id.
const MADE_DIGEST_BYTES: usize = 16;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// No CPM object: any message of RFC 5322.
    Mail,
    /// A CPM standalone message, pager or large message mode.
    Standalone,
    /// A message of a chat session.
    Chat,
    /// A disposition notification.
    Imdn,
    /// A short message.
    Sms,
    /// A multimedia message.
    Mms,
    /// A message that says where a file can be fetched by HTTP.
    FileLink,
    /// A file transfer history: the files of one transfer.
    FileTransfer,
    /// What a session was.
    SessionInfo,
    /// Who was in a group at one moment.
    GroupState,
    /// What a conference server said of a group (RFC 4575).
    ConferenceInfo,
    /// Media that were sent by themselves.
    Media,
    /// A message of the voicemail system.
    Voicemail,
}

impl ObjectKind {
    /// Every kind, with its name: in answers to clients, logs and metrics.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Mail, "mail"),
        (Self::Standalone, "standalone message"),
        (Self::Chat, "chat message"),
        (Self::Imdn, "disposition notification"),
        (Self::Sms, "SMS"),
        (Self::Mms, "MMS"),
        (Self::FileLink, "file link"),
        (Self::FileTransfer, "file transfer history"),
        (Self::SessionInfo, "session info"),
        (Self::GroupState, "group state"),
        (Self::ConferenceInfo, "conference info"),
        (Self::Media, "media object"),
        (Self::Voicemail, "voicemail"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("object", |(_, name)| name)
    }

    /// Whether it came or went by a network older than CPM.
    pub fn is_legacy(self) -> bool {
        matches!(self, Self::Sms | Self::Mms)
    }
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which way an object went, by its Message-Direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Its owner sent it.
    Sent,
    /// Its owner received it.
    Received,
}

/// Media types of objects by themselves, or of the root of a multipart/related; in lower case.
const TYPES: [(&str, ObjectKind); 4] = [
    ("application/x-cpm-file-transfer", ObjectKind::FileTransfer),
    ("application/x-cpm-session", ObjectKind::SessionInfo),
    ("application/group-state-object+xml", ObjectKind::GroupState),
    ("application/conference-info+xml", ObjectKind::ConferenceInfo),
];

/// What a message with these facts is.
fn kind(of: &MessageIndex) -> ObjectKind {
    let (root, first) = {
        let mut parts = of.parts();
        (parts.next(), parts.next())
    };
    let Some(root) = root else { return ObjectKind::Mail };
    let is_cpim = root.media_type == "message/cpim";
    let related =
        first.filter(|_| root.kind == PartKind::Multipart && root.media_type == "multipart/related");
    // The root is what `type` or `start` tell, else the first part (RFC 2387 §3).
    let inner = related.as_ref().map_or("", |part| of.root_type().unwrap_or(part.media_type));
    let typed = TYPES.iter().find(|(known, _)| *known == root.media_type || *known == inner);
    let in_conversation = of.conversation_id().is_some() || of.contribution_id().is_some();
    if !is_cpim && !in_conversation && typed.is_none() {
        return ObjectKind::Mail;
    }
    match of.message_context().map(context) {
        Some(b"voice-message") => return ObjectKind::Voicemail,
        Some(b"pager-message") => return ObjectKind::Sms,
        Some(b"multimedia-message") => return ObjectKind::Mms,
        _ => {}
    }
    if let Some((_, kind)) = typed {
        return *kind;
    }
    if !is_cpim {
        return ObjectKind::Media;
    }
    match of.wrapped_type() {
        Some("message/imdn+xml") => ObjectKind::Imdn,
        Some("application/vnd.gsma.rcs-ft-http+xml") => ObjectKind::FileLink,
        // A chat message has none of these, which stand in the session's info (OMA CPM, message object).
        _ => match of.p_asserted_service() {
            Some(service) if memchr::memmem::find(service, b"cpm.session").is_some() => ObjectKind::Chat,
            Some(_) => ObjectKind::Standalone,
            None if of.in_reply_to_contribution_id().is_some() => ObjectKind::Standalone,
            None if of.has_subject() => ObjectKind::Standalone,
            None => ObjectKind::Chat,
        },
    }
}

/// A Message-Context without its quotes (RFC 3458 §3 has none, some senders do), in lower case where it is known.
fn context(value: &[u8]) -> &'static [u8] {
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    rules::CONTEXTS.iter().find(|known| known.eq_ignore_ascii_case(value)).copied().unwrap_or(b"")
}

impl MessageIndex {
    /// Which kind of object the message is. Cost: a few looks into the facts.
    pub fn kind(&self) -> ObjectKind {
        kind(self)
    }

    /// Which way the object went; none where it does not say.
    pub fn direction(&self) -> Option<Direction> {
        let value = self.message_direction()?;
        if value.eq_ignore_ascii_case(b"sent") {
            Some(Direction::Sent)
        } else if value.eq_ignore_ascii_case(b"received") {
            Some(Direction::Received)
        } else {
            None
        }
    }

    /// The media type within the CPIM wrapper, in lower case; none where there is no wrapper that can be read.
    pub fn wrapped_type(&self) -> Option<&str> {
        self.find(Tag::WrappedType).and_then(|octets| std::str::from_utf8(octets).ok())
    }

    /// The media type of the root of a multipart/related, as its `type` or `start` tell it.
    fn root_type(&self) -> Option<&str> {
        self.find(Tag::RootType).and_then(|octets| std::str::from_utf8(octets).ok())
    }

    /// What the object notifies of, of an [`ObjectKind::Imdn`] that can be read.
    pub fn imdn(&self) -> Option<Imdn> {
        let [notification, status, id @ ..] = self.find(Tag::Imdn)? else { return None };
        Some(Imdn {
            message_id: std::str::from_utf8(id).ok()?.to_owned(),
            notification: Notification::from_byte(*notification)?,
            status: Status::from_byte(*status)?,
        })
    }

    /// What is wrong with the message, as an object of its kind; nothing is demanded of [`ObjectKind::Mail`].
    pub fn faults(&self) -> Vec<Fault> {
        rules::faults(self)
    }

    /// Whether there is a Subject, be it empty.
    pub(crate) fn has_subject(&self) -> bool {
        self.find(Tag::BaseSubject).is_some()
    }
}

/// What the scanner notes of a message that may be an object.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// Of the octets so far, where an id may have to be made of them.
    digest: Option<sha2::Sha256>,
    /// Of a message that is a multipart/related.
    related: Option<Related>,
}

/// What is known of the root of a multipart/related (RFC 2387 §3).
#[derive(Debug)]
struct Related {
    /// The Content-ID that `start` names, without its brackets.
    start: Option<Vec<u8>>,
    /// The root's media type, once it is known: what `type` says, where that is the type of an object, else that of the
    /// part that `start` names.
    root_type: Option<String>,
}

impl Objects {
    /// The header of the message has come: `block`, which makes it an object without an id of its own or does not.
    pub(crate) fn begin(&mut self, block: &[u8], lacks_id: bool) {
        if lacks_id {
            use sha2::Digest;
            self.digest = Some(sha2::Sha256::new_with_prefix(block));
        }
    }

    /// The message is a multipart/related with these parameters.
    pub(crate) fn begin_related(&mut self, parameters: &param::Parameters) {
        let named = parameters.text("type").map(|name| name.trim().to_ascii_lowercase());
        let start = parameters.text("start").map(|id| bare_id(id.as_bytes()).to_vec());
        self.related = Some(Related {
            start: start.filter(|id| !id.is_empty()),
            root_type: named.filter(|name| TYPES.iter().any(|(known, _)| known == name)),
        });
    }

    /// The header of a part of the message, though not of a part's part, has come. `id`: its Content-ID, as it stands.
    pub(crate) fn part(&mut self, id: Option<&[u8]>, media_type: &str) {
        let Some(related) = self.related.as_mut().filter(|related| related.root_type.is_none()) else {
            return;
        };
        let Some((id, start)) = id.zip(related.start.as_deref()) else { return };
        if bare_id(&header::unfold(id)) == start {
            related.root_type = Some(media_type.to_owned());
        }
    }

    /// More octets of the message.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        if let Some(digest) = &mut self.digest {
            sha2::Digest::update(digest, octets);
        }
    }

    /// Writes what is known at the end. `wrapped` is the start of what stands in the wrapper.
    pub(crate) fn write(self, wrapped: Option<&Wrapped>, out: &mut Writer) {
        if let Some(wrapped) = wrapped {
            out.put(Tag::WrappedType, wrapped.media_type.as_bytes());
        }
        if let Some(digest) = self.digest {
            let brought = wrapped.and_then(|wrapped| wrapped.message_id.as_deref());
            match brought.filter(|id| rules::is_id(id.as_bytes())) {
                Some(id) => out.put(Tag::MadeImdnMessageId, id.as_bytes()),
                None => out.put(Tag::MadeImdnMessageId, made(&sha2::Digest::finalize(digest)).as_bytes()),
            }
        }
        if let Some(wrapped) = wrapped.filter(|wrapped| wrapped.media_type == "message/imdn+xml")
            && let Ok(imdn) = imdn::parse(&wrapped.octets)
        {
            let mut entry = Vec::with_capacity(2 + imdn.message_id.len().min(FACT_BYTES_MAX));
            entry.extend([imdn.notification as u8, imdn.status as u8]);
            entry.extend_from_slice(imdn.message_id.as_bytes());
            out.put(Tag::Imdn, &entry);
        }
        if let Some(root_type) = self.related.and_then(|related| related.root_type) {
            out.put(Tag::RootType, root_type.as_bytes());
        }
    }
}

/// A Content-ID without blanks and brackets around it; some senders leave the brackets out of `start`.
fn bare_id(id: &[u8]) -> &[u8] {
    let id = id.trim_ascii();
    id.strip_prefix(b"<").and_then(|id| id.strip_suffix(b">")).unwrap_or(id)
}

/// The id of an object whose octets have this digest.
fn made(digest: &[u8]) -> String {
    use std::fmt::Write;
    let mut id = String::with_capacity(MADE_PREFIX.len() + 2 * MADE_DIGEST_BYTES);
    id.push_str(MADE_PREFIX);
    for byte in &digest[..MADE_DIGEST_BYTES.min(digest.len())] {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Whether a message with this header block, whole, is an object that was given an id.
pub fn is_given_id(block: &[u8]) -> bool {
    let content_type = header::first(block, "content-type").and_then(param::content_type);
    let media_type = content_type.map(|it| [&it.kind[..], b"/", &it.subtype].concat()).unwrap_or_default();
    lacks_id(block, &String::from_utf8_lossy(&media_type))
}

/// Whether a message with this header block is an object that should have an IMDN-Message-ID and has none.
pub(crate) fn lacks_id(block: &[u8], media_type: &str) -> bool {
    let (mut is_object, mut is_voicemail) = (media_type == "message/cpim", false);
    is_object |= TYPES.iter().any(|(known, _)| *known == media_type);
    for field in header::fields(block) {
        match field.name.len() {
            15 if field.is("imdn-message-id") => return false,
            15 if field.is("conversation-id") || field.is("contribution-id") => {
                is_object |= (1..=FACT_BYTES_MAX).contains(&header::unfold(field.value).len());
            }
            15 if field.is("message-context") => {
                is_voicemail |= context(&header::unfold(field.value)) == b"voice-message";
            }
            _ => {}
        }
    }
    is_object && !is_voicemail
}

#[cfg(test)]
mod tests;
