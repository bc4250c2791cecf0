//! `CONVERT`, `UID CONVERT` and `CONVERSIONS`.
//!
//! ```abnf
//! convert         = "CONVERT" SP sequence-set SP convert-params SP
//!                   (convert-att / "(" convert-att *(SP convert-att) ")")
//! convert-params  = "(" (quoted-to-mime-type / "NIL") [SP "(" transcoding-param *(SP transcoding-param) ")"] ")"
//! transcoding-param = astring SP astring
//! convert-att     = "UID" / "BODYPARTSTRUCTURE" section-binary / "BINARY" section-binary [partial] /
//!                   "BINARY.SIZE" section-binary / "BODY[" [section-part "."] "HEADER]" /
//!                   "BODY[" section-part ".MIME]" / "AVAILABLECONVERSIONS" section-binary
//! conversions-cmd = "CONVERSIONS" SP mime-type-req SP mime-type-req
//! mime-type-req   = "*" / type-name "/*" / type-name "/" subtype-name      ; as an astring
//! ```
//!
//! Headers are converted with NIL for the type, and the parameter `charset` (§6): anything else is a mistake of syntax.
//!
//! Source: RFC 5259 §10, RFC 4288 §4.2 (names of media types).

use std::num::NonZeroU32;

use crate::command::Command;
use crate::commands::fetch::{Partial, Section, SectionText, partial, section, section_binary};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::sequence::SequenceSet;
use crate::string::IString;

/// Arguments of `CONVERT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convert {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// The media type to convert to, as sent; none leaves the choice to the server.
    pub target: Option<String>,
    /// Conversion parameters, name and value, as sent.
    pub parameters: Vec<(IString, IString)>,
    /// What of each message, in the client's order.
    pub items: Vec<ConvertItem>,
}

/// A data item of `CONVERT`. Part numbers are empty for the whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvertItem {
    /// `UID`
    Uid,
    /// `BODYPARTSTRUCTURE[...]`: the MIME structure of the converted part.
    BodyPartStructure(Vec<NonZeroU32>),
    /// `BINARY[...]`: the converted part.
    Binary {
        /// Part numbers.
        part: Vec<NonZeroU32>,
        /// Which octets of the converted part.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[...]`: the size of the converted part.
    BinarySize(Vec<NonZeroU32>),
    /// `BODY[...HEADER]` and `BODY[...MIME]`: a header block with its encoded words converted.
    Header(Section),
    /// `AVAILABLECONVERSIONS[...]`: what the part can be converted to.
    AvailableConversions(Vec<NonZeroU32>),
}

/// A range of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaRange {
    /// `*`
    Any,
    /// `type/*`: the type, as sent.
    Kind(String),
    /// `type/subtype`, as sent.
    Exact(String),
}

impl MediaRange {
    /// Whether `media_type` is in the range; case does not count.
    pub fn includes(&self, media_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Kind(kind) => media_type.split('/').next().is_some_and(|of| of.eq_ignore_ascii_case(kind)),
            Self::Exact(exact) => exact.eq_ignore_ascii_case(media_type),
        }
    }
}

/// Arguments of `CONVERSIONS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversions {
    /// From which types.
    pub from: MediaRange,
    /// To which types.
    pub to: MediaRange,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a set of messages")?;
    let set = c.sequence_set()?;
    c.space("a media type or NIL, in parentheses")?;
    c.expect(b'(', "expected a media type or NIL, in parentheses")?;
    let target = c.nstring("a media type or NIL")?.map(|target| media_type(&target)).transpose()?;
    let mut parameters = Vec::new();
    if c.eat(b' ') {
        c.list1("conversion parameters", |c| {
            let name = c.astring("the name of a conversion parameter")?;
            c.space("the value of a conversion parameter")?;
            parameters.push((name, c.astring("the value of a conversion parameter")?));
            Ok(())
        })?;
    }
    c.expect(b')', "expected a closing parenthesis after what to convert to")?;
    c.space("data items to convert")?;
    let mut items = Vec::new();
    if c.peek() == Some(b'(') {
        c.list1("data items", |c| {
            items.push(item(c)?);
            Ok(())
        })?;
    } else {
        items.push(item(c)?);
    }
    if items.iter().any(|item| matches!(item, ConvertItem::Header(_))) {
        let has_charset = parameters.iter().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(b"charset"));
        if target.is_some() || !has_charset {
            return Err(Fail::syntax("headers are converted with NIL and the parameter CHARSET"));
        }
    }
    Ok(Command::Convert(Convert { uid, set, target, parameters, items }))
}

fn item(c: &mut Cursor<'_>) -> Parse<ConvertItem> {
    let name = c.name().to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"UID" => ConvertItem::Uid,
        b"BODYPARTSTRUCTURE" => ConvertItem::BodyPartStructure(section_binary(c)?),
        b"BINARY" => ConvertItem::Binary { part: section_binary(c)?, partial: partial(c)? },
        b"BINARY.SIZE" => ConvertItem::BinarySize(section_binary(c)?),
        b"AVAILABLECONVERSIONS" => ConvertItem::AvailableConversions(section_binary(c)?),
        b"BODY" => {
            c.expect(b'[', "expected a section in brackets")?;
            let section = section(c)?;
            if !matches!(section.text, Some(SectionText::Header | SectionText::Mime)) {
                return Err(Fail::syntax("of BODY sections, HEADER and MIME are converted; parts by BINARY"));
            }
            ConvertItem::Header(section)
        }
        _ => return Err(Fail::syntax("one of the CONVERT data items is not known")),
    })
}

pub(crate) fn conversions(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a media type to convert from")?;
    let from = media_range(&c.astring("a media type to convert from")?)?;
    c.space("a media type to convert to")?;
    let to = media_range(&c.astring("a media type to convert to")?)?;
    Ok(Command::Conversions(Conversions { from, to }))
}

fn media_range(text: &IString) -> Parse<MediaRange> {
    if text.as_bytes() == b"*" {
        return Ok(MediaRange::Any);
    }
    match text.as_bytes().strip_suffix(b"/*") {
        Some(kind) if is_name(kind) => Ok(MediaRange::Kind(String::from_utf8_lossy(kind).into_owned())),
        _ => media_type(text).map(MediaRange::Exact),
    }
}

fn media_type(text: &IString) -> Parse<String> {
    let parts: Vec<&[u8]> = text.as_bytes().split(|octet| *octet == b'/').collect();
    match (parts.as_slice(), text.as_str()) {
        ([kind, subtype], Some(text)) if is_name(kind) && is_name(subtype) => Ok(text.to_owned()),
        _ => Err(Fail::new(ParseErrorKind::Syntax, "a media type is like \"image/jpeg\"")),
    }
}

/// `reg-name` (RFC 4288 §4.2).
fn is_name(name: &[u8]) -> bool {
    let is_char = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$&.+-^_".contains(octet);
    (1..=127).contains(&name.len()) && name.iter().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, nz, refuse, set};

    fn convert(
        target: Option<&str>,
        parameters: &[(&'static str, &'static str)],
        items: Vec<ConvertItem>,
    ) -> Convert {
        let parameters = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Convert { uid: false, set: set(&[(2, 2)]), target: target.map(str::to_owned), parameters, items }
    }

    #[test]
    fn examples_of_rfc_5259() {
        let binary = |n| ConvertItem::Binary { part: vec![nz(n)], partial: None };
        let check = |text: &str, convert: Convert| check(text, Command::Convert(convert));
        check(
            "CONVERT 2 (\"APPLICATION/PDF\") BINARY[3]",
            convert(Some("APPLICATION/PDF"), &[], vec![binary(3)]),
        );
        check(
            "CONVERT 2 (\"text/plain\" (\"charset\" \"us-ascii\" \"unknown-character-replacement\" \"?\")) BINARY[3]",
            convert(
                Some("text/plain"),
                &[("charset", "us-ascii"), ("unknown-character-replacement", "?")],
                vec![binary(3)],
            ),
        );
        check(
            "CONVERT 2 (\"TEXT/PLAIN\" (CHARSET us-ascii)) BINARY[4]<2001.1000>",
            convert(
                Some("TEXT/PLAIN"),
                &[("CHARSET", "us-ascii")],
                vec![ConvertItem::Binary {
                    part: vec![nz(4)],
                    partial: Some(Partial { offset: 2001, length: 1000 }),
                }],
            ),
        );
        check(
            "CONVERT 2 (NIL (\"CHARSET\" \"utf-8\")) BODY[HEADER]",
            convert(
                None,
                &[("CHARSET", "utf-8")],
                vec![ConvertItem::Header(Section { part: vec![], text: Some(SectionText::Header) })],
            ),
        );
        let sized = convert(Some("IMAGE/JPEG"), &[("PIX-X", "128"), ("PIX-Y", "96")], vec![binary(2)]);
        check(
            "UID CONVERT 2 (\"IMAGE/JPEG\" (\"PIX-X\" \"128\" \"PIX-Y\" \"96\")) BINARY[2]",
            Convert { uid: true, ..sized },
        );
        check(
            "convert 2 (nil) (uid binary.size[1.2] bodypartstructure[] availableconversions[2])",
            convert(
                None,
                &[],
                vec![
                    ConvertItem::Uid,
                    ConvertItem::BinarySize(vec![nz(1), nz(2)]),
                    ConvertItem::BodyPartStructure(vec![]),
                    ConvertItem::AvailableConversions(vec![nz(2)]),
                ],
            ),
        );
    }

    #[test]
    fn what_is_no_convert() {
        refuse("CONVERT 2", "media type");
        refuse("CONVERT 2 \"image/jpeg\" BINARY[2]", "parentheses");
        refuse("CONVERT 2 () BINARY[2]", "media type");
        refuse("CONVERT 2 (\"image\") BINARY[2]", "media type");
        refuse("CONVERT 2 (\"image/*\") BINARY[2]", "media type");
        refuse("CONVERT 2 (\"image/a/b\") BINARY[2]", "media type");
        refuse("CONVERT 2 (NIL ()) BINARY[2]", "conversion parameters");
        refuse("CONVERT 2 (NIL (\"pix-x\")) BINARY[2]", "value");
        refuse("CONVERT 2 (NIL (\"pix-x\" 1) x) BINARY[2]", "closing");
        refuse("CONVERT 2 (NIL)", "data items");
        refuse("CONVERT 2 (NIL) ()", "data items");
        refuse("CONVERT 2 (NIL) FLAGS", "not known");
        refuse("CONVERT 2 (NIL) BINARY[1.MIME]", "part numbers only");
        refuse("CONVERT 2 (NIL) BINARY.SIZE[1]<0.5>", "end");
        refuse("CONVERT 2 (NIL (charset utf-8)) BODY[1]", "HEADER and MIME");
        refuse("CONVERT 2 (NIL (charset utf-8)) BODY[HEADER.FIELDS (x)]", "HEADER and MIME");
        refuse("CONVERT 2 (NIL) BODY[HEADER]", "CHARSET");
        refuse("CONVERT 2 (\"text/plain\" (charset utf-8)) BODY[1.MIME]", "CHARSET");
    }

    #[test]
    fn ranges_of_types() {
        let range = |from, to| Command::Conversions(Conversions { from, to });
        let exact = |text: &str| MediaRange::Exact(text.to_owned());
        check("CONVERSIONS \"image/gif\" image/jpeg", range(exact("image/gif"), exact("image/jpeg")));
        check("CONVERSIONS \"*\" \"text/*\"", range(MediaRange::Any, MediaRange::Kind("text".to_owned())));
        refuse("CONVERSIONS \"*\"", "convert to");
        refuse("CONVERSIONS \"*/*\" \"*\"", "media type");
        refuse("CONVERSIONS image \"*\"", "media type");
        refuse("CONVERSIONS \"image/gif; x=y\" \"*\"", "media type");
        assert!(MediaRange::Kind("IMAGE".to_owned()).includes("image/png"));
        assert!(!MediaRange::Kind("im".to_owned()).includes("image/png"));
        assert!(exact("Image/PNG").includes("image/png") && MediaRange::Any.includes("x/y"));
    }
}
