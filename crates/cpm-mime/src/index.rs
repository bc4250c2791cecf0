//! The index of a message: all that IMAP asks of it, computed once when it is stored.
//!
//! An index *is* its stored form: one run of octets, checked when it is read, from which answers are sliced without a
//! copy. It is made by [`IndexBuilder`], which sees the message once, in pieces of any size, and keeps only the header
//! block at hand, the openings of the first text parts (for PREVIEW), and the part table. [`parse`] is the same
//! builder over one slice, so the two cannot disagree.
//!
//! The structure scanner is our own, because the answers must be exact to the octet for input that is not a proper
//! message (bare LF, no empty line, unterminated and truncated multiparts, parts past a limit), and because a library
//! that parses slices needs the message in memory. Values within fields (dates, charsets, transfer encodings) go
//! through libraries.
//!
//! Decisions where the RFCs leave room:
//! - A line ends at LF; CR before it belongs to the end. A line count is the number of LFs in the range.
//! - A header block ends after the first empty line, whatever stands before it. Where a boundary or the end of the
//!   message comes first, the block ends there and the body is empty.
//! - The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1), unless it is the header's empty line.
//! - A boundary line begins with the delimiter, whatever follows it (RFC 2046 §5.1.1, note to implementors). It may be
//!   any open multipart's, and those inside it end there; of several that fit it is the longest, then the innermost.
//! - A missing or invalid Content-Type, and a multipart without a boundary, is text/plain in us-ascii (RFC 2045 §5.2),
//!   or message/rfc822 inside multipart/digest. MIME-Version is not asked for: CPM objects lack it.
//! - A multipart in which no part begins has one empty text/plain part, since the grammar demands one.
//! - Of message/*, only rfc822 and global have parts (RFC 9051 §7.5.2). message/cpim is a leaf, whose content
//!   [`crate::cpim`] reads. A message/rfc822 in base64 or quoted-printable, which RFC 2046 §5.2.1 forbids, has the
//!   structure that its octets have as they stand.
//! - What passes a limit is shown as application/octet-stream.

use std::ops::Range;

use bytes::Bytes;

mod build;
pub(crate) mod codec;
mod excerpt;
mod section;
mod structure;

pub use build::IndexBuilder;
pub use section::Section;

use crate::limits::Limits;
use codec::Tag;

/// Indexes a message that stands in memory. Any octets are a message; nothing fails. Cost: one pass.
pub fn parse(message: &[u8], limits: &Limits) -> MessageIndex {
    let mut builder = IndexBuilder::new(*limits);
    builder.push(message);
    builder.finish()
}

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PartKind {
    /// Holds parts.
    Multipart = 0,
    /// Holds one message: message/rfc822 or message/global. Its only child is that message's root part.
    Message = 1,
    /// A text/* leaf.
    Text = 2,
    /// Any other leaf.
    Other = 3,
}

impl PartKind {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Multipart, Self::Message, Self::Text, Self::Other].get(usize::from(bits)).copied()
    }
}

/// How a leaf's octets are encoded (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// 7bit, 8bit or binary: as they stand.
    Identity = 0,
    /// quoted-printable.
    QuotedPrintable = 1,
    /// base64.
    Base64 = 2,
    /// Something else; BINARY answers `UNKNOWN-CTE`.
    Unknown = 3,
}

impl Encoding {
    /// The encoding of a lower-case name; 7bit where none is said.
    pub(crate) fn named(name: Option<&[u8]>) -> Self {
        match name {
            None | Some(b"7bit" | b"8bit" | b"binary") => Self::Identity,
            Some(b"base64") => Self::Base64,
            Some(b"quoted-printable") => Self::QuotedPrintable,
            Some(_) => Self::Unknown,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Identity, Self::QuotedPrintable, Self::Base64, Self::Unknown].get(usize::from(bits)).copied()
    }
}

/// One node of the part tree. Ranges are offsets in the message, octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is made of.
    pub kind: PartKind,
    /// How its octets are encoded.
    pub encoding: Encoding,
    /// Type and subtype in lower case, such as `text/plain`. Of an opaque part, `application/octet-stream`.
    pub media_type: &'a str,
    /// The charset parameter in lower case; empty where there is none.
    pub charset: &'a str,
    /// Its header block, empty line included. Ends where the body begins. Of a message's root part, the message's
    /// header.
    pub header: Range<u64>,
    /// Its body.
    pub body: Range<u64>,
    /// Line ends (LF) in the body.
    pub lines: u64,
    /// Parts below this one. In [`MessageIndex::parts`] they follow it directly.
    pub descendants: u32,
}

/// All that IMAP asks of one message. 32 bytes and one shared buffer; cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIndex {
    raw: Bytes,
}

/// Stored octets are no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later release, or not an index.
    #[error("message index of unknown version {0}")]
    Version(u8),
    /// Cut short or altered.
    #[error("message index is corrupt: {0}")]
    Corrupt(&'static str),
}

impl MessageIndex {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        self.raw.clone()
    }

    /// Reads the stored form. Cost: one pass over the entries and the part table, no copy.
    ///
    /// # Errors
    /// `Version` for octets of no known version; `Corrupt` where entries or ranges do not add up.
    pub fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        match raw.first() {
            Some(&codec::VERSION) => {}
            Some(&version) => return Err(DecodeError::Version(version)),
            None => return Err(DecodeError::Corrupt("empty")),
        }
        let index = Self { raw };
        index.check()?;
        Ok(index)
    }

    /// Checks all that accessors rely on, except that texts are UTF-8, which they check themselves.
    fn check(&self) -> Result<(), DecodeError> {
        let mut entries = &self.raw[1..];
        let mut last = 0;
        while !entries.is_empty() {
            let (tag, _) = codec::next_entry(&mut entries).ok_or(DecodeError::Corrupt("entry"))?;
            if tag <= last {
                return Err(DecodeError::Corrupt("order of entries"));
            }
            last = tag;
        }
        for tag in [Tag::Size, Tag::Parts, Tag::Envelope, Tag::BodyStructure, Tag::Extensions] {
            if self.find(tag).is_none() {
                return Err(DecodeError::Corrupt("entry missing"));
            }
        }
        self.check_parts()?;
        let structure = self.bytes(Tag::BodyStructure).len();
        let mut cuts = self.bytes(Tag::Extensions);
        let mut at = 0usize;
        while !cuts.is_empty() {
            for _ in 0..2 {
                let step = codec::take_number(&mut cuts).and_then(|n| usize::try_from(n).ok());
                at = step
                    .and_then(|step| at.checked_add(step))
                    .filter(|at| *at <= structure)
                    .ok_or(DecodeError::Corrupt("extensions"))?;
            }
        }
        Ok(())
    }

    /// Checks that the table is a tree: ranges within the message, descendants within their parent, one child of a
    /// message, none of a leaf.
    fn check_parts(&self) -> Result<(), DecodeError> {
        const BAD: DecodeError = DecodeError::Corrupt("part table");
        let mut table = self.bytes(Tag::Parts);
        let size = codec::take_number(&mut self.bytes(Tag::Size)).ok_or(BAD)?;
        /// A part whose descendants are still to come.
        struct Around {
            left: u32,
            body: Range<u64>,
            is_message: bool,
        }
        let mut around: Vec<Around> = Vec::new();
        let (mut after, mut is_root) = (0, true);
        while !table.is_empty() {
            let part = codec::take_part(&mut table, after).ok_or(BAD)?;
            after = part.body.start;
            while around.last().is_some_and(|around| around.left == 0) {
                around.pop();
            }
            let fits = match around.last_mut() {
                None => is_root && part.header.start == 0 && part.body.end == size,
                Some(Around { left, .. }) if *left <= part.descendants => false,
                Some(Around { left, body, is_message }) => {
                    *left -= part.descendants + 1;
                    part.body.end <= body.end
                        && (!*is_message
                            || *left == 0 && part.header.start == body.start && part.body.end == body.end)
                }
            };
            is_root = false;
            let is_leaf = matches!(part.kind, PartKind::Text | PartKind::Other);
            if !fits || is_leaf != (part.descendants == 0) || part.lines > part.body.end - part.body.start {
                return Err(BAD);
            }
            let is_message = part.kind == PartKind::Message;
            around.push(Around { left: part.descendants, body: part.body, is_message });
        }
        if is_root || around.iter().any(|around| around.left > 0) {
            return Err(BAD);
        }
        Ok(())
    }

    pub(crate) fn find(&self, tag: Tag) -> Option<&[u8]> {
        codec::find(&self.raw[1..], tag)
    }

    fn bytes(&self, tag: Tag) -> &[u8] {
        self.find(tag).unwrap_or_default()
    }

    /// Octets of `tag`, sharing the index's buffer.
    fn shared(&self, tag: Tag) -> Bytes {
        self.find(tag).map_or_else(Bytes::new, |octets| self.raw.slice_ref(octets))
    }

    /// Octets of the whole message (RFC822.SIZE).
    pub fn size(&self) -> u64 {
        codec::take_number(&mut self.bytes(Tag::Size)).unwrap_or_default()
    }

    /// Octets of the header with its empty line (`BODY[HEADER]`).
    pub fn header_len(&self) -> u64 {
        self.root().header.end
    }

    /// The part tree in document order, each part before its descendants; the first is the message itself.
    pub fn parts(&self) -> Parts<'_> {
        Parts { table: self.bytes(Tag::Parts), after: 0 }
    }

    /// The message itself as a part.
    pub fn root(&self) -> Part<'_> {
        // Every index has a root: the builder makes one, and `decode` refuses a table without.
        self.parts().next().unwrap_or(Part {
            kind: PartKind::Other,
            encoding: Encoding::Identity,
            media_type: "application/octet-stream",
            charset: "",
            header: 0..0,
            body: 0..0,
            lines: 0,
            descendants: 0,
        })
    }

    /// The answer to `ENVELOPE`, parentheses included.
    pub fn envelope(&self) -> Bytes {
        self.shared(Tag::Envelope)
    }

    /// Whether the ENVELOPE leaves out part of its fields, as they passed a limit.
    pub fn envelope_is_cut(&self) -> bool {
        self.find(Tag::EnvelopeIsCut).is_some()
    }

    /// The answer to `BODYSTRUCTURE`, parentheses included.
    pub fn bodystructure(&self) -> Bytes {
        self.shared(Tag::BodyStructure)
    }

    /// The answer to `BODY` without a section: the BODYSTRUCTURE without extension data. Cost: one copy.
    pub fn body(&self) -> Bytes {
        let structure = self.bytes(Tag::BodyStructure);
        let mut cuts = self.bytes(Tag::Extensions);
        let mut out = Vec::with_capacity(structure.len());
        let mut at = 0;
        while let (Some(gap), Some(length)) = (codec::take_number(&mut cuts), codec::take_number(&mut cuts)) {
            let end = at + gap as usize;
            out.extend_from_slice(&structure[at..end]);
            at = end + length as usize;
        }
        out.extend_from_slice(&structure[at..]);
        out.into()
    }
}

/// Iterates the part table.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    table: &'a [u8],
    after: u64,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.table.is_empty() {
            return None;
        }
        let part = codec::take_part(&mut self.table, self.after)?;
        self.after = part.body.start;
        Some(part)
    }
}
