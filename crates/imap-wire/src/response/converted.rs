//! `* n CONVERTED (TAG "...") (...)`, item by item, and `* CONVERSION`. Source: RFC 5259 §10.

use std::num::NonZeroU32;

use bytes::BufMut;

use super::fetch::{part_numbers, section_name};
use crate::command::Section;
use crate::encode;
use crate::string::Tag;

/// The place in a CONVERTED response. As with FETCH, what is long follows its announcement.
#[derive(Debug)]
#[must_use = "a response needs its end"]
pub struct ConvertedWriter {
    first: bool,
}

/// What an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertedName<'a> {
    /// `BINARY[part]`, with the first octet of a partial.
    Binary(&'a [NonZeroU32], Option<u64>),
    /// `BINARY.SIZE[part]`
    BinarySize(&'a [NonZeroU32]),
    /// `BODYPARTSTRUCTURE[part]`
    BodyPartStructure(&'a [NonZeroU32]),
    /// `BODY[section]`
    Header(&'a Section),
    /// `AVAILABLECONVERSIONS[part]`
    AvailableConversions(&'a [NonZeroU32]),
}

/// Why an item has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertError<'a> {
    /// `TEMPFAIL`: it may do after so many minutes.
    TempFail(u32),
    /// `BADPARAMETERS`
    BadParameters {
        /// The type of the part; none when there is no such part.
        from: Option<&'a str>,
        /// The type asked for, or chosen.
        to: &'a str,
        /// The parameters that are to blame; none when the conversion itself is.
        parameters: &'a [(&'a [u8], &'a [u8])],
    },
}

impl ConvertedWriter {
    /// `* n CONVERTED (TAG "...") (`
    pub fn begin<B: BufMut>(out: &mut B, sequence_number: u32, tag: &Tag) -> Self {
        out.put_slice(b"* ");
        encode::number(out, sequence_number);
        out.put_slice(b" CONVERTED (TAG ");
        encode::quoted(out, tag.as_bytes());
        out.put_slice(b") (");
        Self { first: true }
    }

    /// `)` and the line's end.
    pub fn end<B: BufMut>(self, out: &mut B) {
        out.put_slice(b")\r\n");
    }

    fn separate<B: BufMut>(&mut self, out: &mut B) {
        if !std::mem::replace(&mut self.first, false) {
            out.put_u8(b' ');
        }
    }

    fn name<B: BufMut>(&mut self, out: &mut B, name: ConvertedName<'_>) {
        self.separate(out);
        let (word, part, offset) = match name {
            ConvertedName::Binary(part, offset) => ("BINARY[", part, offset),
            ConvertedName::BinarySize(part) => ("BINARY.SIZE[", part, None),
            ConvertedName::BodyPartStructure(part) => ("BODYPARTSTRUCTURE[", part, None),
            ConvertedName::AvailableConversions(part) => ("AVAILABLECONVERSIONS[", part, None),
            ConvertedName::Header(section) => {
                out.put_slice(b"BODY[");
                section_name(out, section);
                return out.put_slice(b"] ");
            }
        };
        out.put_slice(word.as_bytes());
        part_numbers(out, part);
        out.put_u8(b']');
        if let Some(offset) = offset {
            out.put_u8(b'<');
            encode::number(out, offset);
            out.put_u8(b'>');
        }
        out.put_u8(b' ');
    }

    /// `UID n`: the first item, if it is there (§8.1).
    pub fn uid<B: BufMut>(&mut self, out: &mut B, uid: u32) {
        self.separate(out);
        out.put_slice(b"UID ");
        encode::number(out, uid);
    }

    /// `size` octets, which have to follow. `literal8`: NUL may be among them.
    pub fn literal<B: BufMut>(&mut self, out: &mut B, name: ConvertedName<'_>, size: u64, literal8: bool) {
        self.name(out, name);
        encode::literal_header(out, size, literal8);
    }

    /// A number.
    pub fn number<B: BufMut>(&mut self, out: &mut B, name: ConvertedName<'_>, number: u64) {
        self.name(out, name);
        encode::number(out, number);
    }

    /// A structure, of octets in their form already.
    pub fn structure<B: BufMut>(&mut self, out: &mut B, name: ConvertedName<'_>, encoded: &[u8]) {
        self.name(out, name);
        out.put_slice(encoded);
    }

    /// `(("type" "type" ...))`
    pub fn types<'t, B: BufMut>(
        &mut self,
        out: &mut B,
        name: ConvertedName<'_>,
        types: impl IntoIterator<Item = &'t str>,
    ) {
        self.name(out, name);
        out.put_slice(b"((");
        for (at, media_type) in types.into_iter().enumerate() {
            if at > 0 {
                out.put_u8(b' ');
            }
            encode::quoted(out, media_type.as_bytes());
        }
        out.put_slice(b"))");
    }

    /// `(ERROR "text" CODE ...)` in place of a value.
    pub fn error<B: BufMut>(
        &mut self,
        out: &mut B,
        name: ConvertedName<'_>,
        text: &str,
        error: ConvertError<'_>,
    ) {
        self.name(out, name);
        out.put_slice(b"(ERROR ");
        encode::quoted(out, text.as_bytes());
        match error {
            ConvertError::TempFail(minutes) => {
                out.put_slice(b" TEMPFAIL ");
                encode::number(out, minutes);
            }
            ConvertError::BadParameters { from, to, parameters } => {
                out.put_slice(b" BADPARAMETERS ");
                match from {
                    Some(from) => encode::quoted(out, from.as_bytes()),
                    None => out.put_slice(b"NIL"),
                }
                out.put_u8(b' ');
                encode::quoted(out, to.as_bytes());
                for (at, (name, value)) in parameters.iter().enumerate() {
                    out.put_slice(if at == 0 { b" (" } else { b" " });
                    encode::string(out, name, false);
                    out.put_u8(b' ');
                    encode::string(out, value, false);
                }
                if !parameters.is_empty() {
                    out.put_u8(b')');
                }
            }
        }
        out.put_u8(b')');
    }
}

/// `* CONVERSION "from" "to" ("parameter" ...)`
pub fn conversion<B: BufMut>(out: &mut B, from: &str, to: &str, parameters: &[&str]) {
    out.put_slice(b"* CONVERSION ");
    encode::quoted(out, from.as_bytes());
    out.put_u8(b' ');
    encode::quoted(out, to.as_bytes());
    for (at, name) in parameters.iter().enumerate() {
        out.put_slice(if at == 0 { b" (" } else { b" " });
        encode::quoted(out, name.as_bytes());
    }
    out.put_slice(if parameters.is_empty() { b"\r\n" } else { b")\r\n" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::SectionText;
    use crate::testing::nz;

    #[test]
    fn items() {
        let (mut out, part) = (Vec::new(), [nz(1), nz(2)]);
        let tag = Tag::new(b"e002").expect("a tag");
        let mut converted = ConvertedWriter::begin(&mut out, 2, &tag);
        converted.uid(&mut out, 100);
        converted.structure(&mut out, ConvertedName::BodyPartStructure(&part), b"(x)");
        converted.number(&mut out, ConvertedName::BinarySize(&[]), 4182);
        converted.types(&mut out, ConvertedName::AvailableConversions(&part), ["image/jpeg", "image/png"]);
        converted.types(&mut out, ConvertedName::AvailableConversions(&[]), []);
        let bad = ConvertError::BadParameters {
            from: Some("text/html"),
            to: "text/plain",
            parameters: &[(b"charset", b"us-ascii"), (b"x", b"\xff")],
        };
        converted.error(&mut out, ConvertedName::Binary(&part, None), "no \"x\"", bad);
        let none = ConvertError::BadParameters { from: None, to: "image/png", parameters: &[] };
        converted.error(&mut out, ConvertedName::BinarySize(&part), "no such part", none);
        let header = Section { part: part.to_vec(), text: Some(SectionText::Mime) };
        converted.error(&mut out, ConvertedName::Header(&header), "busy", ConvertError::TempFail(1));
        converted.literal(&mut out, ConvertedName::Binary(&part, Some(7)), 2, true);
        out.extend_from_slice(b"\0\0");
        converted.end(&mut out);
        let expected = "* 2 CONVERTED (TAG \"e002\") (UID 100 BODYPARTSTRUCTURE[1.2] (x) BINARY.SIZE[] 4182 \
             AVAILABLECONVERSIONS[1.2] ((\"image/jpeg\" \"image/png\")) AVAILABLECONVERSIONS[] (()) \
             BINARY[1.2] (ERROR \"no \\\"x\\\"\" BADPARAMETERS \"text/html\" \"text/plain\" (\"charset\" \"us-ascii\" \"x\" {1}\r\n?)) \
             BINARY.SIZE[1.2] (ERROR \"no such part\" BADPARAMETERS NIL \"image/png\") \
             BODY[1.2.MIME] (ERROR \"busy\" TEMPFAIL 1) BINARY[1.2]<7> ~{2}\r\n\0\0)\r\n";
        let shown: String = out.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '?' }).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn conversions() {
        let mut out = Vec::new();
        conversion(&mut out, "image/gif", "image/jpeg", &["pix-x", "pix-y"]);
        conversion(&mut out, "text/html", "text/plain", &[]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "* CONVERSION \"image/gif\" \"image/jpeg\" (\"pix-x\" \"pix-y\")\r\n* CONVERSION \"text/html\" \"text/plain\"\r\n"
        );
    }
}
