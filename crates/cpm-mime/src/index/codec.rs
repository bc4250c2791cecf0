//! The stored form of an index: a version, then (tag, length, octets) entries in ascending order of tag.
//!
//! Readers skip tags they do not know, so a later writer may add facts within version 1. A change of meaning takes a
//! new version, and the reader of the old one stays. Numbers are LEB128.

use super::{Encoding, Part, PartKind};

/// The version that is written.
pub(super) const VERSION: u8 = 1;

/// What an entry holds. Numbers are stored: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Tag {
    /// Number: octets of the message.
    Size = 1,
    /// Part table.
    Parts = 2,
    Envelope = 3,
    BodyStructure = 4,
    /// Ranges of the BODYSTRUCTURE that a BODY leaves out: (gap, length) pairs.
    Extensions = 5,
    Preview = 6,
    /// Zigzag seconds, zigzag minutes of zone.
    SentDate = 7,
    BaseSubject = 8,
    /// No octets: present when the subject was a reply or forward.
    SubjectIsReply = 9,
    FromMailbox = 10,
    FromDisplay = 11,
    ToMailbox = 12,
    ToDisplay = 13,
    CcMailbox = 14,
    CcDisplay = 15,
    MessageId = 16,
    /// Ids, each with its length before it.
    InReplyTo = 17,
    References = 18,
    /// No octets: present when the ENVELOPE does not hold all of its fields.
    EnvelopeIsCut = 19,
    /// No octets: present when a header of those below is there but not kept.
    FactsAreCut = 20,
    ConversationId = 32,
    ContributionId = 33,
    InReplyToContributionId = 34,
    ImdnMessageId = 35,
    MessageCorrelator = 36,
    MessageContext = 37,
    MessageDirection = 38,
    PAssertedService = 39,
    MessageSeenIdentity = 40,
    MessageDeleteIdentity = 41,
    /// Media type within the CPIM wrapper, in lower case; only where the message is one that can be read.
    WrappedType = 42,
    /// The id that a CPM object without IMDN-Message-ID is given.
    MadeImdnMessageId = 43,
    /// Notification, status, then the id of the message that it is about.
    Imdn = 44,
    /// Media type of the root of a multipart/related, in lower case, where its `type` or `start` tells it. Indexes that were
    /// written before this entry have none: of those the first part counts.
    RootType = 45,
}

/// Media types and charsets of nearly every part, stored as one octet. Numbers are stored: append only.
const MEDIA: [&str; 12] = [
    "text/plain",
    "text/html",
    "message/cpim",
    "message/rfc822",
    "multipart/mixed",
    "multipart/alternative",
    "multipart/related",
    "image/jpeg",
    "image/png",
    "application/octet-stream",
    "application/vnd.gsma.rcs-ft-http+xml",
    "application/pdf",
];
const CHARSETS: [&str; 4] = ["", "us-ascii", "utf-8", "iso-8859-1"];
/// Stands before a name that is in no table.
const SPELLED: u8 = 255;

/// Writes entries.
pub(crate) struct Writer {
    out: Vec<u8>,
    last: u8,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let mut out = Vec::with_capacity(768);
        out.push(VERSION);
        Self { out, last: 0 }
    }

    pub(crate) fn put(&mut self, tag: Tag, octets: &[u8]) {
        debug_assert!(tag as u8 > self.last, "entries ascend");
        self.last = tag as u8;
        self.out.push(tag as u8);
        put_number(&mut self.out, octets.len() as u64);
        self.out.extend_from_slice(octets);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Finds the octets of `tag`. `entries` is what stands after the version.
pub(super) fn find(mut entries: &[u8], tag: Tag) -> Option<&[u8]> {
    while let Some((found, octets)) = next_entry(&mut entries) {
        if found == tag as u8 {
            return Some(octets);
        }
        if found > tag as u8 {
            return None;
        }
    }
    None
}

/// Takes the next entry; none at the end, or where what is left is no entry.
pub(super) fn next_entry<'a>(entries: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let mut rest = *entries;
    let (&tag, tail) = rest.split_first()?;
    rest = tail;
    let length = usize::try_from(take_number(&mut rest)?).ok()?;
    let octets = rest.get(..length)?;
    *entries = &rest[length..];
    Some((tag, octets))
}

pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number; none where it does not end, or does not fit 64 bits.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Signed numbers, small ones short.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The reverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn put_name(out: &mut Vec<u8>, table: &[&str], name: &str) {
    if let Some(at) = table.iter().position(|known| *known == name) {
        out.push(at as u8);
    } else {
        out.push(SPELLED);
        put_number(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    }
}

fn take_name<'a>(bytes: &mut &'a [u8], table: &[&'static str]) -> Option<&'a str> {
    let (&code, rest) = bytes.split_first()?;
    *bytes = rest;
    if code != SPELLED {
        return table.get(usize::from(code)).copied();
    }
    let length = usize::try_from(take_number(bytes)?).ok()?;
    let name = bytes.get(..length)?;
    *bytes = &bytes[length..];
    std::str::from_utf8(name).ok()
}

/// Appends one part. `after` is the offset that its header cannot precede: where the part before it has its body.
pub(super) fn put_part(out: &mut Vec<u8>, part: &Part<'_>, after: u64) {
    out.push(part.kind as u8 | (part.encoding as u8) << 4);
    put_name(out, &MEDIA, part.media_type);
    put_name(out, &CHARSETS, part.charset);
    put_number(out, part.header.start - after);
    put_number(out, part.header.end - part.header.start);
    put_number(out, part.body.end - part.body.start);
    put_number(out, part.lines);
    put_number(out, u64::from(part.descendants));
}

/// Takes one part; none where the octets are no part or its ranges overflow.
pub(super) fn take_part<'a>(bytes: &mut &'a [u8], after: u64) -> Option<Part<'a>> {
    let (&bits, rest) = bytes.split_first()?;
    *bytes = rest;
    let kind = PartKind::from_bits(bits & 0x0f)?;
    let encoding = Encoding::from_bits(bits >> 4)?;
    let media_type = take_name(bytes, &MEDIA)?;
    let charset = take_name(bytes, &CHARSETS)?;
    let header = after.checked_add(take_number(bytes)?)?;
    let body = header.checked_add(take_number(bytes)?)?;
    let end = body.checked_add(take_number(bytes)?)?;
    let lines = take_number(bytes)?;
    let descendants = u32::try_from(take_number(bytes)?).ok()?;
    Some(Part {
        kind,
        encoding,
        media_type,
        charset,
        header: header..body,
        body: body..end,
        lines,
        descendants,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_overlong_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            let mut rest = &out[..];
            assert_eq!((take_number(&mut rest), rest), (Some(value), &b""[..]));
        }
        for bad in [&[][..], &[0x80], &[0xff; 10], &[0xff; 12], &[0x80; 9]] {
            assert_eq!(take_number(&mut &bad[..]), None, "{bad:?}");
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
