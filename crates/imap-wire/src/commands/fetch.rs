//! `FETCH` and `UID FETCH`.
//!
//! ```abnf
//! fetch          = "FETCH" SP sequence-set SP
//!                  ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
//!                  [SP fetch-modifiers]
//! fetch-att      = "ENVELOPE" / "FLAGS" / "INTERNALDATE" / "UID" / "MODSEQ" / "EMAILID" / "THREADID" /
//!                  "SAVEDATE" / "RFC822" [".HEADER" / ".SIZE" / ".TEXT"] / "BODY" / "BODYSTRUCTURE" /
//!                  "BODY" [".PEEK"] section [partial] /
//!                  "BINARY" [".PEEK"] section-binary [partial] / "BINARY.SIZE" section-binary /
//!                  "PREVIEW" [SP "(" "LAZY" ")"] / "ANNOTATION" …           ; see `annotation`
//! section        = "[" [section-msgtext / (section-part ["." section-text])] "]"
//! section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
//! section-text   = section-msgtext / "MIME"
//! section-part   = nz-number *("." nz-number)
//! section-binary = "[" [section-part] "]"
//! header-list    = "(" astring *(SP astring) ")"
//! partial        = "<" number64 "." nz-number64 ">"
//! fetch-modifiers = "(" fetch-modifier *(SP fetch-modifier) ")"
//! fetch-modifier = "CHANGEDSINCE" SP mod-sequence-value / "VANISHED" / "PARTIAL" SP partial-range
//! ```
//!
//! Source: RFC 9051 §9, RFC 3501 §9 (RFC822, RFC822.HEADER, RFC822.TEXT), RFC 4466 §2.4, RFC 7162 §7,
//! RFC 3516 §7, RFC 8474 §7, RFC 8514 §4, RFC 8970 §6, RFC 9394 §4.

use std::num::NonZeroU32;

use crate::command::Command;
use crate::commands::annotation::{self, FetchAnnotation};
use crate::commands::search::{PartialRange, partial_range};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind, once};
use crate::sequence::SequenceSet;
use crate::string::IString;

/// Arguments of `FETCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What of each, in the client's order; macros are expanded.
    pub items: Vec<FetchItem>,
    /// Only messages with a mod-sequence above this (RFC 7162 §3.1.4.1).
    pub changed_since: Option<u64>,
    /// `VANISHED`: tell expunged UIDs too (RFC 7162 §3.2.6). Only with `uid` and `changed_since`.
    pub vanished: bool,
    /// `PARTIAL`: only this part of the set's messages (RFC 9394 §3.3). Only with `uid`.
    pub partial: Option<PartialRange>,
}

/// A data item to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `UID`
    Uid,
    /// `MODSEQ` (RFC 7162)
    ModSeq,
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `THREADID` (RFC 8474)
    ThreadId,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
    /// `PREVIEW`, perhaps with `(LAZY)` (RFC 8970).
    Preview {
        /// Answer `NIL` rather than compute one.
        lazy: bool,
    },
    /// `ANNOTATION (entries attributes)` (RFC 5257)
    Annotation(FetchAnnotation),
    /// `RFC822`: as `BODY[]`, under its own name.
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]`, under its own name.
    Rfc822Header,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `RFC822.TEXT`: as `BODY[TEXT]`, under its own name.
    Rfc822Text,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY[...]`
    BodySection {
        /// `.PEEK`: without setting `\Seen`.
        peek: bool,
        /// Which part.
        section: Section,
        /// Which octets of it.
        partial: Option<Partial>,
    },
    /// `BINARY[...]` (RFC 3516)
    Binary {
        /// `.PEEK`: without setting `\Seen`.
        peek: bool,
        /// Part numbers, empty for the whole message.
        part: Vec<NonZeroU32>,
        /// Which octets of the decoded part.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[...]` (RFC 3516): part numbers, empty for the whole message.
    BinarySize(Vec<NonZeroU32>),
}

/// What stands between `BODY[` and `]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Part numbers, empty for the whole message.
    pub part: Vec<NonZeroU32>,
    /// What of that part; nothing means all of it.
    pub text: Option<SectionText>,
}

/// What of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (...)` and `HEADER.FIELDS.NOT (...)`
    HeaderFields {
        /// `.NOT`: all fields but these.
        not: bool,
        /// Field names, at least one.
        names: Vec<IString>,
    },
    /// `TEXT`
    Text,
    /// `MIME`, behind part numbers only.
    Mime,
}

/// `<offset.length>`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partial {
    /// First octet, from 0.
    pub offset: u64,
    /// Octets at most, from 1.
    pub length: u64,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

#[inline]
fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a set of messages")?;
    let set = c.sequence_set()?;
    c.space("data items to fetch")?;
    let mut fetch =
        Fetch { uid, set, items: Vec::with_capacity(4), changed_since: None, vanished: false, partial: None };
    if c.peek() == Some(b'(') {
        item_list(c, &mut fetch.items)?;
    } else if !macro_items(c, &mut fetch.items) {
        fetch.items.push(item(c)?);
        annotation::check_few(&fetch.items)?;
    }
    if c.eat(b' ') {
        modifiers(c, &mut fetch)?;
    }
    Ok(Command::Fetch(fetch))
}

/// `"(" fetch-att *(SP fetch-att) ")"`, as in NOTIFY too.
pub(crate) fn item_list(c: &mut Cursor<'_>, items: &mut Vec<FetchItem>) -> Parse<()> {
    c.list1("data items", |c| {
        items.push(item(c)?);
        Ok(())
    })?;
    annotation::check_few(items)
}

fn macro_items(c: &mut Cursor<'_>, items: &mut Vec<FetchItem>) -> bool {
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    if c.eat_word(b"FAST") {
        items.extend(fast);
    } else if c.eat_word(b"ALL") {
        items.extend(fast);
        items.push(FetchItem::Envelope);
    } else if c.eat_word(b"FULL") {
        items.extend(fast);
        items.extend([FetchItem::Envelope, FetchItem::Body]);
    } else {
        return false;
    }
    true
}

fn modifiers(c: &mut Cursor<'_>, fetch: &mut Fetch) -> Parse<()> {
    c.list1("FETCH modifiers", |c| {
        if c.eat_word(b"CHANGEDSINCE") {
            once(fetch.changed_since.is_some())?;
            c.space("a mod-sequence")?;
            let mod_seq = c.number63("a mod-sequence")?;
            if mod_seq == 0 {
                return Err(Fail::syntax("the mod-sequence of CHANGEDSINCE begins at 1"));
            }
            fetch.changed_since = Some(mod_seq);
        } else if c.eat_word(b"VANISHED") {
            once(fetch.vanished)?;
            fetch.vanished = true;
        } else if c.eat_word(b"PARTIAL") {
            once(fetch.partial.is_some())?;
            c.space("a range")?;
            fetch.partial = Some(partial_range(c)?);
        } else {
            return Err(Fail::syntax("FETCH takes the modifiers CHANGEDSINCE, VANISHED and PARTIAL"));
        }
        Ok(())
    })?;
    // RFC 7162 §3.2.6, RFC 9394 §3.3.
    if fetch.vanished && (!fetch.uid || fetch.changed_since.is_none()) {
        return Err(Fail::syntax("VANISHED goes with UID FETCH and CHANGEDSINCE only"));
    }
    if fetch.partial.is_some() && !fetch.uid {
        return Err(Fail::syntax("PARTIAL goes with UID FETCH only"));
    }
    Ok(())
}

fn item(c: &mut Cursor<'_>) -> Parse<FetchItem> {
    let mut upper = [0; 16];
    let name = c.name();
    let Some(upper) = upper.get_mut(..name.len()) else { return Err(unknown()) };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    Ok(match &*upper {
        b"FLAGS" => FetchItem::Flags,
        b"UID" => FetchItem::Uid,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"BODY" if c.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" => body_section(c, false)?,
        b"BODY.PEEK" => body_section(c, true)?,
        b"BINARY" => binary(c, false)?,
        b"BINARY.PEEK" => binary(c, true)?,
        b"BINARY.SIZE" => FetchItem::BinarySize(section_binary(c)?),
        b"MODSEQ" => FetchItem::ModSeq,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"PREVIEW" => preview(c)?,
        b"ANNOTATION" => FetchItem::Annotation(annotation::fetch(c)?),
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.SIZE" => FetchItem::Rfc822Size,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        _ => return Err(unknown()),
    })
}

#[cold]
fn unknown() -> Fail {
    Fail::syntax("one of the FETCH data items is not known")
}

/// A parenthesis after `PREVIEW` may also be the FETCH modifiers', as in `FETCH 1 PREVIEW (CHANGEDSINCE 3)`.
fn preview(c: &mut Cursor<'_>) -> Parse<FetchItem> {
    let start = c.position();
    if c.eat_text(b" (") {
        if c.eat_word(b"LAZY") {
            c.expect(b')', "PREVIEW takes the modifier LAZY only")?;
            return Ok(FetchItem::Preview { lazy: true });
        }
        c.rewind(start);
    }
    Ok(FetchItem::Preview { lazy: false })
}

fn body_section(c: &mut Cursor<'_>, peek: bool) -> Parse<FetchItem> {
    c.expect(b'[', "expected a section in brackets")?;
    let section = section(c)?;
    let partial = partial(c)?;
    Ok(FetchItem::BodySection { peek, section, partial })
}

pub(super) fn section(c: &mut Cursor<'_>) -> Parse<Section> {
    let mut section = Section::default();
    let text_follows = if c.peek().is_some_and(|b| b.is_ascii_digit()) {
        part_numbers(c, &mut section.part)?
    } else {
        c.peek() != Some(b']')
    };
    if text_follows {
        section.text = Some(section_text(c, !section.part.is_empty())?);
    }
    c.expect(b']', "expected a closing bracket after the section")?;
    Ok(section)
}

/// Reads `nz-number *("." nz-number) ["."]`, and tells whether the last dot was there.
fn part_numbers(c: &mut Cursor<'_>, part: &mut Vec<NonZeroU32>) -> Parse<bool> {
    loop {
        if part.len() >= c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooDeep, "too many part numbers"));
        }
        part.push(c.nz_number("a part number")?);
        if !c.eat(b'.') {
            return Ok(false);
        }
        if !c.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Ok(true);
        }
    }
}

fn section_text(c: &mut Cursor<'_>, in_part: bool) -> Parse<SectionText> {
    let name = c.name().to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"HEADER" => SectionText::Header,
        b"TEXT" => SectionText::Text,
        b"MIME" if in_part => SectionText::Mime,
        b"HEADER.FIELDS" => SectionText::HeaderFields { not: false, names: header_names(c)? },
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFields { not: true, names: header_names(c)? },
        b"MIME" => return Err(Fail::syntax("MIME is a section of a part: BODY[1.MIME]")),
        _ => return Err(Fail::syntax("a section is HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME")),
    })
}

fn header_names(c: &mut Cursor<'_>) -> Parse<Vec<IString>> {
    c.space("header field names in parentheses")?;
    let mut names = Vec::new();
    c.list1("header field names", |c| {
        names.push(c.astring("a header field name")?);
        Ok(())
    })?;
    Ok(names)
}

fn binary(c: &mut Cursor<'_>, peek: bool) -> Parse<FetchItem> {
    let part = section_binary(c)?;
    let partial = partial(c)?;
    Ok(FetchItem::Binary { peek, part, partial })
}

pub(super) fn section_binary(c: &mut Cursor<'_>) -> Parse<Vec<NonZeroU32>> {
    c.expect(b'[', "expected part numbers in brackets")?;
    let mut part = Vec::new();
    if c.peek() != Some(b']') && part_numbers(c, &mut part)? {
        return Err(Fail::syntax("a BINARY section has part numbers only"));
    }
    c.expect(b']', "expected a closing bracket after the part numbers")?;
    Ok(part)
}

pub(super) fn partial(c: &mut Cursor<'_>) -> Parse<Option<Partial>> {
    if !c.eat(b'<') {
        return Ok(None);
    }
    let offset = c.number63("an offset")?;
    c.expect(b'.', "a partial is <offset.length>")?;
    let length = c.number63("a length")?;
    if length == 0 {
        return Err(Fail::syntax("the length of a partial begins at 1"));
    }
    c.expect(b'>', "a partial is <offset.length>")?;
    Ok(Some(Partial { offset, length }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, nz, refuse, set};

    fn fetch(items: Vec<FetchItem>) -> Fetch {
        Fetch { uid: false, set: set(&[(2, 4)]), items, changed_since: None, vanished: false, partial: None }
    }

    fn body(part: &[u32], text: Option<SectionText>) -> FetchItem {
        let part = part.iter().map(|&n| nz(n)).collect();
        FetchItem::BodySection { peek: false, section: Section { part, text }, partial: None }
    }

    fn fields(not: bool, names: &[&'static str]) -> SectionText {
        SectionText::HeaderFields { not, names: names.iter().map(|&name| name.into()).collect() }
    }

    #[test]
    fn items() {
        use FetchItem::*;
        let check = |text: &str, items: Vec<FetchItem>| {
            check(&format!("FETCH 2:4 {text}"), Command::Fetch(fetch(items)));
        };
        check("FAST", vec![Flags, InternalDate, Rfc822Size]);
        check("all", vec![Flags, InternalDate, Rfc822Size, Envelope]);
        check("FULL", vec![Flags, InternalDate, Rfc822Size, Envelope, Body]);
        check("FLAGS", vec![Flags]);
        check("(FLAGS uid)", vec![Flags, Uid]);
        check(
            "(BODY BODYSTRUCTURE ENVELOPE INTERNALDATE)",
            vec![Body, BodyStructure, Envelope, InternalDate],
        );
        check(
            "(RFC822 RFC822.HEADER RFC822.SIZE RFC822.TEXT)",
            vec![Rfc822, Rfc822Header, Rfc822Size, Rfc822Text],
        );
        check("(MODSEQ EMAILID THREADID SAVEDATE)", vec![ModSeq, EmailId, ThreadId, SaveDate]);
        check("PREVIEW", vec![Preview { lazy: false }]);
        check("PREVIEW (LAZY)", vec![Preview { lazy: true }]);
        check("(UID PREVIEW (LAZY) FLAGS)", vec![Uid, Preview { lazy: true }, Flags]);
        check("(PREVIEW UID)", vec![Preview { lazy: false }, Uid]);
    }

    #[test]
    fn sections() {
        let check = |text: &str, item: FetchItem| {
            check(&format!("FETCH 2:4 {text}"), Command::Fetch(fetch(vec![item])));
        };
        check("BODY[]", body(&[], None));
        check("body[header]", body(&[], Some(SectionText::Header)));
        check("BODY[TEXT]", body(&[], Some(SectionText::Text)));
        check("BODY[1]", body(&[1], None));
        check("BODY[4.2.2.1]", body(&[4, 2, 2, 1], None));
        check("BODY[4.2.2.1.MIME]", body(&[4, 2, 2, 1], Some(SectionText::Mime)));
        check("BODY[4.HEADER]", body(&[4], Some(SectionText::Header)));
        check("BODY[HEADER.FIELDS (DATE \"FROM\" {2}\r\nTo)]", {
            body(&[], Some(fields(false, &["DATE", "FROM", "To"])))
        });
        check("BODY[3.HEADER.FIELDS.NOT (x)]", body(&[3], Some(fields(true, &["x"]))));
        check(
            "BODY.PEEK[]<0.2048>",
            FetchItem::BodySection {
                peek: true,
                section: Section::default(),
                partial: Some(Partial { offset: 0, length: 2048 }),
            },
        );
        check("BINARY[]", FetchItem::Binary { peek: false, part: vec![], partial: None });
        check(
            "BINARY.PEEK[1.2]<7.9223372036854775807>",
            FetchItem::Binary {
                peek: true,
                part: vec![nz(1), nz(2)],
                partial: Some(Partial { offset: 7, length: i64::MAX as u64 }),
            },
        );
        check("BINARY.SIZE[1]", FetchItem::BinarySize(vec![nz(1)]));
        check("BINARY.SIZE[]", FetchItem::BinarySize(vec![]));
    }

    #[test]
    fn modifiers() {
        let flags = fetch(vec![FetchItem::Flags]);
        let uid = Fetch { uid: true, ..flags.clone() };
        check("UID FETCH 2:4 FLAGS", Command::Fetch(uid.clone()));
        check("FETCH 2:4 (FLAGS) (CHANGEDSINCE 17)", {
            Command::Fetch(Fetch { changed_since: Some(17), ..flags.clone() })
        });
        check("UID FETCH 2:4 (FLAGS) (CHANGEDSINCE 17 VANISHED)", {
            Command::Fetch(Fetch { changed_since: Some(17), vanished: true, ..uid.clone() })
        });
        check("UID FETCH 2:4 FLAGS (vanished changedsince 17)", {
            Command::Fetch(Fetch { changed_since: Some(17), vanished: true, ..uid.clone() })
        });
        check("UID FETCH 2:4 (FLAGS) (PARTIAL -1:-30)", {
            let partial = Some(PartialRange { first: nz(1), last: nz(30), from_end: true });
            Command::Fetch(Fetch { partial, ..uid.clone() })
        });
        check("FETCH 2:4 PREVIEW (CHANGEDSINCE 3)", {
            let preview = fetch(vec![FetchItem::Preview { lazy: false }]);
            Command::Fetch(Fetch { changed_since: Some(3), ..preview })
        });
    }

    #[test]
    fn refused() {
        refuse("FETCH", "set of messages");
        refuse("FETCH 1", "data items");
        refuse("FETCH 1 ", "not known");
        refuse("FETCH 1 ()", "at least one");
        refuse("FETCH 1 (ALL)", "not known");
        refuse("FETCH 1 (FLAGS", "closing parenthesis");
        refuse("FETCH 1 FLAGS UID", "in parentheses");
        refuse("FETCH 1 FOO", "not known");
        refuse("FETCH 1 AVERYLONGNAMETHATISNOITEM", "not known");
        refuse("FETCH 1 BODY.PEEK", "brackets");
        refuse("FETCH 1 BODY[", "a section");
        refuse("FETCH 1 BODY[FOO]", "a section is");
        refuse("FETCH 1 BODY[MIME]", "section of a part");
        refuse("FETCH 1 BODY[0]", "cannot be zero");
        refuse("FETCH 1 BODY[1.]", "a section is");
        refuse("FETCH 1 BODY[1", "closing bracket");
        refuse("FETCH 1 BODY[HEADER.FIELDS]", "field names");
        refuse("FETCH 1 BODY[HEADER.FIELDS ()]", "at least one");
        refuse("FETCH 1 BODY[]<0>", "offset.length");
        refuse("FETCH 1 BODY[]<0.0>", "begins at 1");
        refuse("FETCH 1 BODY[]<-1.5>", "an offset");
        refuse("FETCH 1 BINARY[1.TEXT]", "part numbers only");
        refuse("FETCH 1 BINARY[TEXT]", "a part number");
        refuse("FETCH 1 PREVIEW (EAGER)", "FETCH takes");
        refuse("FETCH 1 PREVIEW (LAZY", "LAZY only");
        refuse("FETCH 1 FLAGS ()", "at least one");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE 0)", "begins at 1");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE)", "a mod-sequence");
        refuse("FETCH 1 FLAGS (UNCHANGEDSINCE 1)", "FETCH takes");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)", "once");
        refuse("UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED VANISHED)", "once");
        refuse("UID FETCH 1 FLAGS (PARTIAL 1:2 PARTIAL 1:2)", "once");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE \"1\")", "a number");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)", "too large");
        refuse("UID FETCH 1 FLAGS (VANISHED)", "VANISHED goes");
        refuse("FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", "VANISHED goes");
        refuse("FETCH 1 FLAGS (PARTIAL 1:2)", "PARTIAL goes");
    }
}
