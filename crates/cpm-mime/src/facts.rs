//! Header facts that are kept in the index: what SORT, THREAD, SEARCH and CPM ask of many messages at once.

use bytes::Bytes;

use crate::address::{self, Element};
use crate::header::{self, Field};
use crate::index::MessageIndex;
use crate::index::codec::{Tag, Writer, put_number, take_number, unzigzag, zigzag};
use crate::limits::{FACT_BYTES_MAX, REFERENCES_BYTES_MAX};
use crate::quote::cut;
use crate::{date, subject, words};

/// The Date of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentDate {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: i64,
    /// Zone, minutes east of UTC. SENTBEFORE, SENTON and SENTSINCE compare days as written, in this zone (RFC 9051
    /// §6.4.4).
    pub zone_minutes: i32,
}

impl SentDate {
    /// The day as written, in days since 1970-01-01.
    pub fn day(&self) -> i64 {
        (self.unix_seconds + i64::from(self.zone_minutes) * 60).div_euclid(86_400)
    }
}

/// The first mailbox of an address field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a> {
    /// The local part, or the name of the group that comes first: key of SORT FROM, TO and CC (RFC 5256 §3).
    pub mailbox: &'a str,
    /// Decoded display name, else the address: key of SORT DISPLAYFROM and DISPLAYTO (RFC 5957).
    pub display: &'a str,
}

/// Octets of a subject or display name that are decoded for facts of at most [`FACT_BYTES_MAX`].
const TEXT_BYTES_READ: usize = 8 * FACT_BYTES_MAX;

/// Facts of the top header, encoded, in ascending order of tag.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    entries: Vec<(Tag, Vec<u8>)>,
}

/// Headers whose values are kept octet by octet, unfolded (CPM Message Storage, storage of message objects).
const EXACT: [(&str, Tag); 10] = [
    ("conversation-id", Tag::ConversationId),
    ("contribution-id", Tag::ContributionId),
    ("inreplyto-contribution-id", Tag::InReplyToContributionId),
    ("imdn-message-id", Tag::ImdnMessageId),
    ("message-correlator", Tag::MessageCorrelator),
    ("message-context", Tag::MessageContext),
    ("message-direction", Tag::MessageDirection),
    ("p-asserted-service", Tag::PAssertedService),
    ("message-seen-identity", Tag::MessageSeenIdentity),
    ("message-delete-identity", Tag::MessageDeleteIdentity),
];

impl Facts {
    /// Reads a block; the first of equal fields counts.
    /// `block_is_cut`: whether the block was read in part; `envelope_is_cut`: whether its ENVELOPE is not whole.
    pub(crate) fn read(block: &[u8], block_is_cut: bool, envelope_is_cut: bool) -> Self {
        let mut facts = Self { entries: Vec::with_capacity(16) };
        if block_is_cut {
            facts.put(Tag::FactsAreCut, Vec::new());
        }
        if block_is_cut || envelope_is_cut {
            facts.put(Tag::EnvelopeIsCut, Vec::new());
        }
        for field in header::fields(block) {
            facts.field(&field);
        }
        facts.entries.sort_by_key(|(tag, _)| *tag);
        facts
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        for (tag, octets) in &self.entries {
            out.put(*tag, octets);
        }
    }

    pub(crate) fn has(&self, tag: Tag) -> bool {
        self.entries.iter().any(|(known, _)| *known == tag)
    }

    fn put(&mut self, tag: Tag, octets: Vec<u8>) {
        if !self.has(tag) {
            self.entries.push((tag, octets));
        }
    }

    fn field(&mut self, field: &Field<'_>) {
        match field.name.len() {
            2 if field.is("to") => self.name(field.value, Tag::ToMailbox, Tag::ToDisplay),
            2 if field.is("cc") => self.name(field.value, Tag::CcMailbox, Tag::CcDisplay),
            4 if field.is("from") => self.name(field.value, Tag::FromMailbox, Tag::FromDisplay),
            4 if field.is("date") => self.date(field.value),
            7 if field.is("subject") => self.subject(field.value),
            10 if field.is("message-id") => self.message_id(field.value),
            10 if field.is("references") => self.ids(field.value, Tag::References),
            11 if field.is("in-reply-to") => self.ids(field.value, Tag::InReplyTo),
            15.. => {
                if let Some((_, tag)) = EXACT.iter().find(|(name, _)| field.is(name)) {
                    let value = header::unfold(field.value);
                    if value.is_empty() || value.len() > FACT_BYTES_MAX || self.has(*tag) {
                        self.put(Tag::FactsAreCut, Vec::new());
                    } else {
                        self.put(*tag, value.into_owned());
                    }
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, value: &[u8], mailbox_tag: Tag, display_tag: Tag) {
        if self.has(mailbox_tag) {
            return;
        }
        let (mailbox, name, address) = match address::elements(value).next() {
            Some(Element::Mailbox(mailbox)) => {
                let address = mailbox.address();
                (mailbox.local, mailbox.name, address)
            }
            Some(Element::GroupStart(name)) => (name.clone(), Some(name), Vec::new()),
            Some(Element::GroupEnd) | None => return,
        };
        let display = match name {
            Some(name) if !name.is_empty() => words::decode(cut(&name, TEXT_BYTES_READ)),
            _ => String::from_utf8_lossy(&address).into_owned(),
        };
        let mailbox = String::from_utf8_lossy(&mailbox).into_owned();
        self.put(mailbox_tag, cut(mailbox.as_bytes(), FACT_BYTES_MAX).to_vec());
        self.put(display_tag, cut(display.as_bytes(), FACT_BYTES_MAX).to_vec());
    }

    fn date(&mut self, value: &[u8]) {
        let Some((seconds, zone)) = date::parse(cut(value, 256)) else { return };
        let mut out = Vec::with_capacity(8);
        put_number(&mut out, zigzag(seconds));
        put_number(&mut out, zigzag(i64::from(zone)));
        self.put(Tag::SentDate, out);
    }

    fn subject(&mut self, value: &[u8]) {
        if self.has(Tag::BaseSubject) {
            return;
        }
        let (base, is_reply) = subject::base(&words::decode(cut(value, TEXT_BYTES_READ)));
        self.put(Tag::BaseSubject, cut(base.as_bytes(), FACT_BYTES_MAX).to_vec());
        if is_reply {
            self.put(Tag::SubjectIsReply, Vec::new());
        }
    }

    fn message_id(&mut self, value: &[u8]) {
        let id = message_ids(value).next().or_else(|| {
            // Some senders leave the brackets out.
            let bare = header::unfold(value);
            (!bare.is_empty() && !bare.iter().any(u8::is_ascii_whitespace)).then(|| bare.into_owned())
        });
        if let Some(id) = id.filter(|id| id.len() <= FACT_BYTES_MAX) {
            self.put(Tag::MessageId, id);
        }
    }

    /// Keeps the first id and as many of the last as fit: THREAD needs the root and the parents nearest.
    fn ids(&mut self, value: &[u8], tag: Tag) {
        let ids: Vec<Vec<u8>> = message_ids(value).filter(|id| id.len() <= FACT_BYTES_MAX).collect();
        let Some((first, rest)) = ids.split_first() else { return };
        let mut room = REFERENCES_BYTES_MAX.saturating_sub(first.len() + 2);
        let fits = rest
            .iter()
            .rev()
            .take_while(|id| {
                let left = room.checked_sub(id.len() + 2);
                room = left.unwrap_or(room);
                left.is_some()
            })
            .count();
        let mut out = Vec::new();
        for id in std::iter::once(first).chain(&rest[rest.len() - fits..]) {
            put_number(&mut out, id.len() as u64);
            out.extend_from_slice(id);
        }
        self.put(tag, out);
    }
}

/// The message ids of a field, in order: without brackets, quoting, comments and blanks, so that equal ids are equal
/// octets (RFC 5256 §3, REFERENCES).
fn message_ids(value: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[memchr::memchr(b'<', rest)? + 1..];
            let mut id = Vec::new();
            let mut bytes = rest.iter().enumerate();
            let (mut quoted, mut depth, mut end) = (false, 0usize, None);
            while let Some((at, byte)) = bytes.next() {
                match byte {
                    b'"' if depth == 0 => quoted = !quoted,
                    b'\\' if quoted || depth > 0 => {
                        let escaped = bytes.next().map(|(_, escaped)| *escaped);
                        if depth == 0 {
                            id.extend(escaped);
                        }
                    }
                    b'\r' | b'\n' => {}
                    _ if quoted => id.push(*byte),
                    b'(' => depth += 1,
                    b')' if depth > 0 => depth -= 1,
                    _ if depth > 0 => {}
                    b'>' => {
                        end = Some(at + 1);
                        break;
                    }
                    b' ' | b'\t' => {}
                    _ => id.push(*byte),
                }
            }
            rest = &rest[end?..];
            if !id.is_empty() {
                return Some(id);
            }
        }
    })
}

impl MessageIndex {
    fn text(&self, tag: Tag) -> Option<&str> {
        self.find(tag).and_then(|octets| std::str::from_utf8(octets).ok())
    }

    fn name(&self, mailbox: Tag, display: Tag) -> Option<Name<'_>> {
        Some(Name { mailbox: self.text(mailbox)?, display: self.text(display)? })
    }

    fn id_list(&self, tag: Tag) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.find(tag).unwrap_or_default();
        std::iter::from_fn(move || {
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            let id = rest.get(..length)?;
            rest = &rest[length..];
            Some(id)
        })
    }

    /// The Date header; none where it is missing or no date, and IMAP then sorts by INTERNALDATE (RFC 5256 §2.2).
    pub fn sent_date(&self) -> Option<SentDate> {
        let mut octets = self.find(Tag::SentDate)?;
        let unix_seconds = unzigzag(take_number(&mut octets)?);
        let zone_minutes = i32::try_from(unzigzag(take_number(&mut octets)?)).ok()?;
        Some(SentDate { unix_seconds, zone_minutes })
    }

    /// The base subject of RFC 5256 §2.1 as text; empty where there is no subject. Not folded.
    pub fn base_subject(&self) -> &str {
        self.text(Tag::BaseSubject).unwrap_or_default()
    }

    /// Whether the subject was marked as a reply or forward (RFC 5256 §2.1, for THREAD=REFERENCES step 5).
    pub fn subject_is_reply(&self) -> bool {
        self.find(Tag::SubjectIsReply).is_some()
    }

    /// The first mailbox of From.
    pub fn first_from(&self) -> Option<Name<'_>> {
        self.name(Tag::FromMailbox, Tag::FromDisplay)
    }

    /// The first mailbox of To.
    pub fn first_to(&self) -> Option<Name<'_>> {
        self.name(Tag::ToMailbox, Tag::ToDisplay)
    }

    /// The first mailbox of Cc.
    pub fn first_cc(&self) -> Option<Name<'_>> {
        self.name(Tag::CcMailbox, Tag::CcDisplay)
    }

    /// The message id, normalised, without brackets.
    pub fn message_id(&self) -> Option<&[u8]> {
        self.find(Tag::MessageId)
    }

    /// The ids of In-Reply-To, normalised.
    pub fn in_reply_to(&self) -> impl Iterator<Item = &[u8]> {
        self.id_list(Tag::InReplyTo)
    }

    /// The ids of References, normalised, oldest first; of a list too long, the first and the newest.
    pub fn references(&self) -> impl Iterator<Item = &[u8]> {
        self.id_list(Tag::References)
    }

    /// The ancestors that THREAD=REFERENCES links: References, or else the first id of In-Reply-To (RFC 5256 §3).
    pub fn thread_references(&self) -> impl Iterator<Item = &[u8]> {
        let has_references = self.find(Tag::References).is_some();
        self.references().chain(self.in_reply_to().take(usize::from(!has_references)))
    }

    /// Conversation-ID, octet by octet, as are all CPM headers; none where it is missing, empty or too long.
    pub fn conversation_id(&self) -> Option<&[u8]> {
        self.find(Tag::ConversationId)
    }

    /// Contribution-ID.
    pub fn contribution_id(&self) -> Option<&[u8]> {
        self.find(Tag::ContributionId)
    }

    /// InReplyTo-Contribution-ID.
    pub fn in_reply_to_contribution_id(&self) -> Option<&[u8]> {
        self.find(Tag::InReplyToContributionId)
    }

    /// IMDN-Message-ID; of a CPM object without that header, the id that it was given instead.
    pub fn imdn_message_id(&self) -> Option<&[u8]> {
        self.find(Tag::ImdnMessageId).or_else(|| self.made_imdn_message_id())
    }

    /// The id that was given to a CPM object without IMDN-Message-ID ([`crate::object`]); it stands in no octets.
    pub fn made_imdn_message_id(&self) -> Option<&[u8]> {
        self.find(Tag::MadeImdnMessageId)
    }

    /// Message-Correlator.
    pub fn message_correlator(&self) -> Option<&[u8]> {
        self.find(Tag::MessageCorrelator)
    }

    /// Message-Context (RFC 3458).
    pub fn message_context(&self) -> Option<&[u8]> {
        self.find(Tag::MessageContext)
    }

    /// Message-Direction.
    pub fn message_direction(&self) -> Option<&[u8]> {
        self.find(Tag::MessageDirection)
    }

    /// P-Asserted-Service.
    pub fn p_asserted_service(&self) -> Option<&[u8]> {
        self.find(Tag::PAssertedService)
    }

    /// Message-seen-identity.
    pub fn message_seen_identity(&self) -> Option<&[u8]> {
        self.find(Tag::MessageSeenIdentity)
    }

    /// Message-delete-identity.
    pub fn message_delete_identity(&self) -> Option<&[u8]> {
        self.find(Tag::MessageDeleteIdentity)
    }

    /// The kept value of a CPM header by its name, in any case: its octets; `None` within where the message has no such
    /// header. None where `name` is not one that is kept, or the header may be there but was not kept.
    pub fn kept_header(&self, name: &str) -> Option<Option<&[u8]>> {
        let (_, tag) = EXACT.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        // With a header left out, a kept one may be the first of several.
        self.headers_are_whole().then(|| self.find(*tag))
    }

    /// Whether all CPM headers that the message has are kept: none is empty, too long, or there twice.
    pub(crate) fn headers_are_whole(&self) -> bool {
        self.find(Tag::FactsAreCut).is_none()
    }

    /// PREVIEW (RFC 8970): at most 256 characters on one line. `Some("")` where the text is empty; none where no part
    /// is text.
    pub fn preview(&self) -> Option<&str> {
        self.text(Tag::Preview)
    }

    /// The octets of [`Self::preview`], sharing the index's buffer.
    pub fn preview_bytes(&self) -> Option<Bytes> {
        self.find(Tag::Preview).map(|octets| self.encode().slice_ref(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn index(header: &str) -> MessageIndex {
        crate::index::parse(header.as_bytes(), &Limits::default())
    }

    #[test]
    fn dates_keep_their_zone() {
        let date = |value| index(&format!("Date: {value}\r\n\r\n")).sent_date();
        let expected = SentDate { unix_seconds: 837595405, zone_minutes: -420 };
        assert_eq!(date("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)"), Some(expected));
        assert_eq!(date("1 Jan 1960 00:00 +0000").map(|date| date.unix_seconds), Some(-315619200));
        assert_eq!(date("soon"), None);
        assert_eq!(date("2 Jan 1970 00:30 +0100").map(|date| date.day()), Some(1));
        assert_eq!(date("31 Dec 1969 23:30 -0100").map(|date| date.day()), Some(-1));
    }

    #[test]
    fn names() {
        let check = |from: &str, expected: Option<(&str, &str)>| {
            let index = index(&format!("From: {from}\r\n\r\n"));
            assert_eq!(index.first_from().map(|name| (name.mailbox, name.display)), expected, "{from}");
        };
        check("=?utf-8?q?J=C3=A9?= <j@x>, b@y", Some(("j", "Jé")));
        check("j@x", Some(("j", "j@x")));
        check("<tel:+1555>", Some(("tel:+1555", "tel:+1555")));
        check("G: a@b;", Some(("G", "G")));
        check("", None);
    }

    #[test]
    fn ids() {
        let index = index(
            "Message-ID: <a@b>\r\nIn-Reply-To: x <c@d> <e@f>\r\n\
             References: <\"01\"@x.y> (<no@no>)\r\n <g . h@i>, <>junk <unclosed\r\n\r\n",
        );
        assert_eq!(index.message_id(), Some(&b"a@b"[..]));
        assert_eq!(index.in_reply_to().collect::<Vec<_>>(), [b"c@d", b"e@f"]);
        let references = ["01@x.y", "no@no", "g.h@i"].map(str::as_bytes);
        assert_eq!(index.references().collect::<Vec<_>>(), references);
        assert_eq!(index.thread_references().collect::<Vec<_>>(), references);
    }

    #[test]
    fn ids_without_references_or_brackets() {
        let index = index("Message-ID: bare@id\r\nIn-Reply-To: <c@d> <e@f>\r\n\r\n");
        assert_eq!(index.message_id(), Some(&b"bare@id"[..]));
        assert_eq!(index.thread_references().collect::<Vec<_>>(), [b"c@d"]);
    }

    #[test]
    fn long_references_keep_both_ends() {
        let all: Vec<String> = (0..1000).map(|n| format!("{n:06}@host.example")).collect();
        let index = index(&format!("References: <{}>\r\n\r\n", all.join("> <")));
        let got: Vec<_> = index.references().collect();
        assert!(got.len() > 50 && got.len() < 110, "{}", got.len());
        assert_eq!(got[0], all[0].as_bytes());
        assert_eq!(got.last().copied(), Some(all[999].as_bytes()));
    }

    #[test]
    fn cpm_headers_are_octet_exact() {
        let index = index(
            "Conversation-ID: f81d4fae-7dec-11d0-a765-00a0c91e6bf6 \r\nconversation-id: second\r\n\
             CONTRIBUTION-ID:AbC\r\nInReplyTo-Contribution-ID: x\r\n y\r\nIMDN-Message-ID: Id==\r\n\
             Message-Correlator: =?utf-8?b?w6k=?=\r\nMessage-Context: pager-message\r\n\
             Message-Direction: sent\r\nP-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg\r\n\
             Message-seen-identity: <urn:uuid:1>\r\nMessage-delete-identity:\r\n\r\n",
        );
        assert_eq!(index.conversation_id(), Some(&b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"[..]));
        assert_eq!(index.contribution_id(), Some(&b"AbC"[..]));
        assert_eq!(index.in_reply_to_contribution_id(), Some(&b"x y"[..]));
        assert_eq!(index.imdn_message_id(), Some(&b"Id=="[..]));
        assert_eq!(index.message_correlator(), Some(&b"=?utf-8?b?w6k=?="[..]));
        assert_eq!(index.message_context(), Some(&b"pager-message"[..]));
        assert_eq!(index.message_direction(), Some(&b"sent"[..]));
        assert_eq!(index.p_asserted_service(), Some(&b"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"[..]));
        assert_eq!(index.message_seen_identity(), Some(&b"<urn:uuid:1>"[..]));
        assert_eq!(index.message_delete_identity(), None);
        // Conversation-ID is there twice, Message-delete-identity is empty: the header knows more.
        assert_eq!(index.kept_header("Conversation-ID"), None);
    }

    #[test]
    fn kept_headers_tell_absence_from_ignorance() {
        let some = index("IMDN-Message-ID: x\r\n\r\n");
        assert_eq!(some.kept_header("imdn-message-id"), Some(Some(&b"x"[..])));
        assert_eq!(some.kept_header("Contribution-ID"), Some(None));
        assert_eq!(some.kept_header("X-Other"), None);
        let long = index(&format!("IMDN-Message-ID: {}\r\n\r\n", "x".repeat(FACT_BYTES_MAX + 1)));
        assert_eq!((long.imdn_message_id(), long.kept_header("IMDN-Message-ID")), (None, None));
    }
}
