//! `* n FETCH (...)`, attribute by attribute.
//!
//! ```
//! use imap_wire::response::fetch::FetchWriter;
//! let mut out = Vec::new();
//! let mut fetch = FetchWriter::begin(&mut out, 12);
//! fetch.uid(&mut out, 7);
//! fetch.flags(&mut out, ["\\Seen"]);
//! fetch.end(&mut out);
//! assert_eq!(out, b"* 12 FETCH (UID 7 FLAGS (\\Seen))\r\n");
//! ```
//!
//! The writer holds no reference to the output, so that the caller may send what is there while the octets of a
//! large part pass by: write [`FetchWriter::section_literal`], let exactly so many octets follow, go on.

use bytes::{BufMut, Bytes};

use crate::command::{Section, SectionText};
use crate::date::DateTime;
use crate::encode;

/// The place in a FETCH response.
#[derive(Debug)]
#[must_use = "a response needs its end"]
pub struct FetchWriter {
    first: bool,
}

/// Under which name a part of the message is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName<'a> {
    /// `BODY[section]`
    Body(&'a Section),
    /// `BINARY[part]`
    Binary(&'a [std::num::NonZeroU32]),
    /// `RFC822` (RFC 3501)
    Rfc822,
    /// `RFC822.HEADER` (RFC 3501)
    Rfc822Header,
    /// `RFC822.TEXT` (RFC 3501)
    Rfc822Text,
}

impl FetchWriter {
    /// `* n FETCH (`
    #[inline]
    pub fn begin<B: BufMut>(out: &mut B, sequence_number: u32) -> Self {
        out.put_slice(b"* ");
        encode::number(out, sequence_number);
        out.put_slice(b" FETCH (");
        FetchWriter { first: true }
    }

    /// `)` and the line's end.
    #[inline]
    pub fn end<B: BufMut>(self, out: &mut B) {
        out.put_slice(b")\r\n");
    }

    /// Whether there is no attribute yet.
    pub fn is_empty(&self) -> bool {
        self.first
    }

    #[inline]
    fn name<B: BufMut>(&mut self, out: &mut B, name: &[u8]) {
        if !self.first {
            out.put_u8(b' ');
        }
        self.first = false;
        out.put_slice(name);
    }

    /// `UID n`
    pub fn uid<B: BufMut>(&mut self, out: &mut B, uid: u32) {
        self.name(out, b"UID ");
        encode::number(out, uid);
    }

    /// `FLAGS (...)`
    pub fn flags<B: BufMut>(&mut self, out: &mut B, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.name(out, b"FLAGS ");
        encode::name_list(out, names);
    }

    /// `MODSEQ (n)` (RFC 7162 §3.1.4)
    pub fn mod_seq<B: BufMut>(&mut self, out: &mut B, mod_seq: u64) {
        self.name(out, b"MODSEQ (");
        encode::number(out, mod_seq);
        out.put_u8(b')');
    }

    /// `INTERNALDATE "..."`
    pub fn internal_date<B: BufMut>(&mut self, out: &mut B, date: DateTime) {
        self.name(out, b"INTERNALDATE ");
        encode::date_time(out, date);
    }

    /// `SAVEDATE "..."`, `NIL` where the mailbox keeps none (RFC 8514 §4.1).
    pub fn save_date<B: BufMut>(&mut self, out: &mut B, date: Option<DateTime>) {
        self.name(out, b"SAVEDATE ");
        match date {
            Some(date) => encode::date_time(out, date),
            None => out.put_slice(b"NIL"),
        }
    }

    /// `RFC822.SIZE n`
    pub fn size<B: BufMut>(&mut self, out: &mut B, size: u64) {
        self.name(out, b"RFC822.SIZE ");
        encode::number(out, size);
    }

    /// `EMAILID (id)` (RFC 8474 §5.1)
    pub fn email_id<B: BufMut>(&mut self, out: &mut B, id: &str) {
        self.name(out, b"EMAILID (");
        out.put_slice(id.as_bytes());
        out.put_u8(b')');
    }

    /// `THREADID (id)`, `NIL` for a message of no thread (RFC 8474 §5.2).
    pub fn thread_id<B: BufMut>(&mut self, out: &mut B, id: Option<&str>) {
        self.name(out, b"THREADID ");
        match id {
            Some(id) => encode::name_list(out, [id]),
            None => out.put_slice(b"NIL"),
        }
    }

    /// `PREVIEW "..."`, `NIL` where there is none yet (RFC 8970 §3). Always UTF-8, as RFC 8970 §6 has it; in a
    /// literal for clients that have not enabled it.
    pub fn preview<B: BufMut>(&mut self, out: &mut B, preview: Option<&str>, utf8: bool) {
        self.name(out, b"PREVIEW ");
        encode::nstring(out, preview.map(str::as_bytes), utf8);
    }

    /// `ANNOTATION (entry (attribute value ...) ...)` (RFC 5257 §4.4); at least one entry, each with at least one
    /// attribute. A value with NUL in it is a literal8.
    pub fn annotation<'a, B: BufMut, V>(
        &mut self,
        out: &mut B,
        entries: impl IntoIterator<Item = (&'a str, V)>,
        utf8: bool,
    ) where
        V: IntoIterator<Item = (&'a str, Option<Bytes>)>,
    {
        self.name(out, b"ANNOTATION (");
        for (i, (entry, attributes)) in entries.into_iter().enumerate() {
            out.put_slice(if i > 0 { b" " } else { b"" });
            encode::astring(out, entry.as_bytes(), false);
            for (i, (attribute, value)) in attributes.into_iter().enumerate() {
                out.put_slice(if i > 0 { b" " } else { b" (" });
                out.put_slice(attribute.as_bytes());
                out.put_u8(b' ');
                match value.as_deref() {
                    Some(value) if memchr::memchr(0, value).is_some() => {
                        encode::literal_header(out, value.len() as u64, true);
                        out.put_slice(value);
                    }
                    value => encode::nstring(out, value, utf8),
                }
            }
            out.put_u8(b')');
        }
        out.put_u8(b')');
    }

    /// `ENVELOPE ...`, of octets in the form of RFC 9051 §7.5.2 already.
    pub fn envelope<B: BufMut>(&mut self, out: &mut B, encoded: &[u8]) {
        self.name(out, b"ENVELOPE ");
        out.put_slice(encoded);
    }

    /// `BODYSTRUCTURE ...`, of octets in the form of RFC 9051 §7.5.2 already.
    pub fn body_structure<B: BufMut>(&mut self, out: &mut B, encoded: &[u8]) {
        self.name(out, b"BODYSTRUCTURE ");
        out.put_slice(encoded);
    }

    /// `BODY ...`: the structure without extension data, of octets in their form already.
    pub fn body<B: BufMut>(&mut self, out: &mut B, encoded: &[u8]) {
        self.name(out, b"BODY ");
        out.put_slice(encoded);
    }

    /// `BINARY.SIZE[part] n` (RFC 3516 §4.4)
    pub fn binary_size<B: BufMut>(&mut self, out: &mut B, part: &[std::num::NonZeroU32], size: u64) {
        self.name(out, b"BINARY.SIZE[");
        part_numbers(out, part);
        out.put_slice(b"] ");
        encode::number(out, size);
    }

    /// A part that does not exist: its name and `NIL`. `offset`: of a partial, which is not repeated for `NIL`
    /// either way of asking, so it is needed as in [`FetchWriter::section_literal`].
    pub fn section_nil<B: BufMut>(&mut self, out: &mut B, part: PartName<'_>, offset: Option<u64>) {
        self.part_name(out, part, offset);
        out.put_slice(b"NIL");
    }

    /// A part of `size` octets, whose octets have to follow. `offset`: the first octet of a partial. `literal8`:
    /// for BINARY data with NUL (RFC 3516 §4.4).
    pub fn section_literal<B: BufMut>(
        &mut self,
        out: &mut B,
        part: PartName<'_>,
        offset: Option<u64>,
        size: u64,
        literal8: bool,
    ) {
        self.part_name(out, part, offset);
        encode::literal_header(out, size, literal8);
    }

    /// A part whose octets are at hand, quoted if short and plain.
    pub fn section_string<B: BufMut>(
        &mut self,
        out: &mut B,
        part: PartName<'_>,
        offset: Option<u64>,
        octets: &[u8],
    ) {
        self.part_name(out, part, offset);
        encode::string(out, octets, false);
    }

    fn part_name<B: BufMut>(&mut self, out: &mut B, part: PartName<'_>, offset: Option<u64>) {
        match part {
            PartName::Body(section) => {
                self.name(out, b"BODY[");
                section_name(out, section);
                out.put_u8(b']');
            }
            PartName::Binary(part) => {
                self.name(out, b"BINARY[");
                part_numbers(out, part);
                out.put_u8(b']');
            }
            PartName::Rfc822 => self.name(out, b"RFC822"),
            PartName::Rfc822Header => self.name(out, b"RFC822.HEADER"),
            PartName::Rfc822Text => self.name(out, b"RFC822.TEXT"),
        }
        if let Some(offset) = offset {
            out.put_u8(b'<');
            encode::number(out, offset);
            out.put_u8(b'>');
        }
        out.put_u8(b' ');
    }
}

pub(super) fn part_numbers<B: BufMut>(out: &mut B, part: &[std::num::NonZeroU32]) {
    for (i, number) in part.iter().enumerate() {
        if i > 0 {
            out.put_u8(b'.');
        }
        encode::number(out, number.get());
    }
}

pub(crate) fn section_name<B: BufMut>(out: &mut B, section: &Section) {
    part_numbers(out, &section.part);
    let Some(text) = &section.text else { return };
    if !section.part.is_empty() {
        out.put_u8(b'.');
    }
    match text {
        SectionText::Header => out.put_slice(b"HEADER"),
        SectionText::Text => out.put_slice(b"TEXT"),
        SectionText::Mime => out.put_slice(b"MIME"),
        SectionText::HeaderFields { not, names } => {
            out.put_slice(if *not { b"HEADER.FIELDS.NOT (" } else { b"HEADER.FIELDS (" });
            for (i, name) in names.iter().enumerate() {
                if i > 0 {
                    out.put_u8(b' ');
                }
                encode::astring(out, name.as_bytes(), false);
            }
            out.put_u8(b')');
        }
    }
}

/// `ANNOTATION (entry ...)`: these entries changed (RFC 5257 §4.4). At least one. For whoever writes a response as a whole.
pub fn annotations_changed<'a, B: BufMut>(out: &mut B, entries: impl IntoIterator<Item = &'a str>) {
    out.put_slice(b"ANNOTATION (");
    for (i, entry) in entries.into_iter().enumerate() {
        out.put_slice(if i > 0 { b" " } else { b"" });
        encode::astring(out, entry.as_bytes(), false);
    }
    out.put_u8(b')');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Command, FetchItem};
    use crate::{Limits, parse_command};

    fn written(write: impl FnOnce(&mut FetchWriter, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        let mut fetch = FetchWriter::begin(&mut out, 1);
        write(&mut fetch, &mut out);
        fetch.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn attributes() {
        let date = DateTime { unix_seconds: 0, zone_minutes: 0 };
        let out = written(|f, out| {
            f.flags(out, ["\\Seen", "$Forwarded"]);
            f.mod_seq(out, 65402);
            f.internal_date(out, date);
            f.save_date(out, None);
            f.size(out, 44827);
            f.email_id(out, "M6d99ac3275bb4e");
            f.thread_id(out, None);
            f.thread_id(out, Some("T64b478a75b7ea9"));
            f.preview(out, Some("grüß"), false);
            f.envelope(out, b"(NIL)");
            f.binary_size(out, &[1.try_into().unwrap(), 2.try_into().unwrap()], 9);
            f.section_nil(out, PartName::Rfc822Text, None);
            f.section_string(out, PartName::Rfc822Header, Some(0), b"x");
        });
        assert_eq!(
            out,
            "* 1 FETCH (FLAGS (\\Seen $Forwarded) MODSEQ (65402) INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" \
             SAVEDATE NIL RFC822.SIZE 44827 EMAILID (M6d99ac3275bb4e) THREADID NIL THREADID (T64b478a75b7ea9) \
             PREVIEW {6}\r\ngrüß ENVELOPE (NIL) BINARY.SIZE[1.2] 9 RFC822.TEXT NIL RFC822.HEADER<0> \"x\")\r\n"
        );
    }

    /// RFC 5257 §4.4, and literal8 where a value has NUL.
    #[test]
    fn annotations() {
        let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let out = written(|f, out| {
            f.size(out, 1);
            let comment = [("value.priv", value("My comment")), ("value.shared", None)];
            let other = [("value.shared", value("a\0b")), ("size.shared", value("3"))];
            f.annotation(out, [("/comment", comment), ("/vendor/a b/x", other)], false);
        });
        assert_eq!(
            out,
            "* 1 FETCH (RFC822.SIZE 1 ANNOTATION (/comment (value.priv \"My comment\" value.shared NIL) \
             \"/vendor/a b/x\" (value.shared ~{3}\r\na\0b size.shared \"3\")))\r\n"
        );
        let mut out = Vec::new();
        annotations_changed(&mut out, ["/comment", "/1.2/vendor/%x"]);
        assert_eq!(out, b"ANNOTATION (/comment \"/1.2/vendor/%x\")");
    }

    /// A section's name in the response is what the request had.
    #[test]
    fn section_names() {
        for name in [
            "BODY[]",
            "BODY[HEADER]",
            "BODY[1.2.3]",
            "BODY[1.MIME]",
            "BODY[4.2.TEXT]",
            "BODY[HEADER.FIELDS (Date \"a b\")]",
            "BODY[2.HEADER.FIELDS.NOT (From)]",
            "BINARY[]",
            "BINARY[1.1]",
        ] {
            let text = Bytes::from(format!("a FETCH 1 {name}<5.9>"));
            let Command::Fetch(fetch) = parse_command(&text, &Limits::default()).unwrap().body else {
                panic!()
            };
            let (part, partial) = match &fetch.items[0] {
                FetchItem::BodySection { section, partial, .. } => (PartName::Body(section), partial),
                FetchItem::Binary { part, partial, .. } => (PartName::Binary(part), partial),
                other => panic!("{other:?}"),
            };
            let offset = partial.map(|p| p.offset);
            let out = written(|f, out| f.section_literal(out, part, offset, 0, false));
            assert_eq!(out, format!("* 1 FETCH ({name}<5> {{0}}\r\n)\r\n"));
        }
    }
}
