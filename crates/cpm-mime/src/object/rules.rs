//! What each kind of object must have, may not have, and how its headers are written.

use super::{ObjectKind, context};
use crate::index::MessageIndex;
use crate::limits::PREVIEW_CHARS_MAX;
use crate::{preview, words};

/// The values of Message-Context (RFC 3458 §3), in lower case.
pub(super) const CONTEXTS: [&[u8]; 7] = [
    b"voice-message",
    b"fax-message",
    b"pager-message",
    b"multimedia-message",
    b"text-message",
    b"video-message",
    b"none",
];
/// Longest id, octets.
const ID_BYTES_MAX: usize = 255;

/// What is wrong with an object. Its text names the header and says what is demanded, never what the message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A header that the kind must have is not there, or is not one that can be read.
    Missing(&'static str),
    /// A header is there that the kind has not.
    Unexpected(&'static str),
    /// A header has a value that it cannot have.
    Invalid(&'static str, &'static str),
    /// Content is not as the kind's is.
    Content(&'static str),
}

impl Fault {
    /// The header that it is about, or `body`.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Missing(name) | Self::Unexpected(name) | Self::Invalid(name, _) => name,
            Self::Content(_) => "body",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is missing or cannot be read"),
            Self::Unexpected(name) => write!(f, "{name} may not be there"),
            Self::Invalid(name, allowed) => write!(f, "{name} must be {allowed}"),
            Self::Content(demand) => f.write_str(demand),
        }
    }
}

/// A header as rules name it, and whether a message has it.
type Header = (&'static str, fn(&MessageIndex) -> bool);

const FROM: Header = ("From", |of| of.first_from().is_some());
const TO: Header = ("To", |of| of.first_to().is_some());
const DATE: Header = ("Date", |of| of.sent_date().is_some());
const SUBJECT: Header = ("Subject", MessageIndex::has_subject);
const SERVICE: Header = ("P-Asserted-Service", |of| of.p_asserted_service().is_some());
const CONVERSATION: Header = ("Conversation-ID", |of| of.conversation_id().is_some());
const CONTRIBUTION: Header = ("Contribution-ID", |of| of.contribution_id().is_some());
const IN_REPLY: Header = ("InReplyTo-Contribution-ID", |of| of.in_reply_to_contribution_id().is_some());
const ID: Header = ("IMDN-Message-ID", |of| of.imdn_message_id().is_some());

/// What a kind demands.
struct Rule {
    kind: ObjectKind,
    /// Headers that must be there.
    needs: &'static [Header],
    /// Headers that may not.
    lacks: &'static [Header],
    /// Whether it stands in a CPIM wrapper.
    wrapped: bool,
}

const fn rule(kind: ObjectKind, needs: &'static [Header], lacks: &'static [Header], wrapped: bool) -> Rule {
    Rule { kind, needs, lacks, wrapped }
}

/// OMA CPM Message Storage, the tables of the objects' headers. What only the way of a request could tell is not asked
/// for: a disposition notification has P-Asserted-Service when it came by SIP MESSAGE and not within a session, and live
/// ones have no conversation.
const RULES: [Rule; 12] = [
    rule(ObjectKind::Standalone, &[FROM, TO, DATE, SERVICE, CONVERSATION, CONTRIBUTION, ID], &[], true),
    rule(
        ObjectKind::Chat,
        &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID],
        &[SUBJECT, SERVICE, IN_REPLY],
        true,
    ),
    rule(ObjectKind::Imdn, &[FROM, TO, DATE, ID], &[], true),
    rule(ObjectKind::Sms, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[SERVICE], true),
    rule(ObjectKind::Mms, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[SERVICE], true),
    rule(ObjectKind::FileLink, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[], true),
    rule(ObjectKind::FileTransfer, &[FROM, DATE, SERVICE, CONVERSATION, CONTRIBUTION, ID], &[], false),
    rule(ObjectKind::SessionInfo, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[], false),
    rule(ObjectKind::GroupState, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[SERVICE], false),
    rule(ObjectKind::ConferenceInfo, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[SERVICE], false),
    rule(ObjectKind::Media, &[FROM, TO, DATE, CONVERSATION, CONTRIBUTION, ID], &[], false),
    rule(ObjectKind::Voicemail, &[CONVERSATION, ID], &[], true),
];

/// Whether octets are an id: visible characters without blanks, of a length that every party takes.
pub(super) fn is_id(value: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// What is wrong with a message, as an object of its kind.
pub(super) fn faults(of: &MessageIndex) -> Vec<Fault> {
    let kind = of.kind();
    let Some(rule) = RULES.iter().find(|rule| rule.kind == kind) else { return Vec::new() };
    let mut faults = Vec::new();
    faults.extend(rule.needs.iter().filter(|(_, has)| !has(of)).map(|(name, _)| Fault::Missing(name)));
    faults.extend(rule.lacks.iter().filter(|(_, has)| has(of)).map(|(name, _)| Fault::Unexpected(name)));
    if !of.headers_are_whole() {
        faults.push(Fault::Content("each CPM header must stand once, with 1 to 512 octets"));
    }
    for (name, value) in [
        ("Conversation-ID", of.conversation_id()),
        ("Contribution-ID", of.contribution_id()),
        ("InReplyTo-Contribution-ID", of.in_reply_to_contribution_id()),
        ("IMDN-Message-ID", of.imdn_message_id()),
    ] {
        if value.is_some_and(|value| !is_id(value)) {
            faults.push(Fault::Invalid(name, "1 to 255 visible characters without blanks"));
        }
    }
    if of.message_direction().is_some() && of.direction().is_none() {
        faults.push(Fault::Invalid("Message-Direction", "\"sent\" or \"received\""));
    }
    faults.extend(correlation(of));
    if rule.wrapped && of.root().media_type != "message/cpim" {
        faults.push(Fault::Invalid("Content-Type", "Message/CPIM"));
    } else if rule.wrapped && of.wrapped_type().is_none() {
        faults.push(Fault::Content("the CPIM wrapper cannot be read"));
    }
    if of.size() <= of.header_len() {
        faults.push(Fault::Content("the body is empty"));
    } else if of.wrapped_type() == Some("message/imdn+xml") && of.imdn().is_none() {
        faults.push(Fault::Content("the notification is none of RFC 5438"));
    }
    faults
}

/// Message-Context and Message-Correlator go together: the text of a short message or a part of it, or the Message-ID
/// of a multimedia message.
fn correlation(of: &MessageIndex) -> Option<Fault> {
    const ALLOWED: &str = "\"pager-message\" with an SMS, \"multimedia-message\" with an MMS";
    let context = match of.message_context().map(context) {
        Some(b"") => return Some(Fault::Invalid("Message-Context", "one of RFC 3458")),
        context => context,
    };
    let correlator = of.message_correlator()?;
    match context {
        None => Some(Fault::Missing("Message-Context")),
        Some(b"pager-message") => {
            let text = of.preview().filter(|text| !text.is_empty())?;
            let part = preview::line(&words::decode(correlator));
            // Of a long text only the beginning is at hand.
            let is_part = text.contains(&part) || text.chars().count() + 1 >= PREVIEW_CHARS_MAX;
            (!is_part).then_some(Fault::Invalid("Message-Correlator", "the text of the SMS or a part of it"))
        }
        Some(b"multimedia-message") => (!is_id(correlator))
            .then_some(Fault::Invalid("Message-Correlator", "the Message-ID of the MMS, without blanks")),
        Some(_) => Some(Fault::Invalid("Message-Context", ALLOWED)),
    }
}
