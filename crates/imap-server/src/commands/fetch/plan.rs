//! What a FETCH asks for, sorted by where its answers come from.

use std::num::NonZeroU32;
use std::ops::Range;

use imap_wire::command::{FetchAnnotation, FetchItem, Partial, SectionText};
use imap_wire::response::fetch::PartName;
use model::AnnotationPattern;
use store_api::Identities;

use super::octets::is_small;
use super::row::RowItem;

/// A data item, ready to be answered for any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// From the row.
    Row(RowItem),
    /// From the message's index.
    Facts(FactItem),
    /// Octets of the message.
    Octets(Octets<'a>),
    /// `BINARY[...]`
    Binary(&'a [NonZeroU32], Option<Partial>),
    /// `BINARY.SIZE[...]`
    BinarySize(&'a [NonZeroU32]),
    /// `ANNOTATION`
    Annotation(&'a FetchAnnotation),
}

/// A data item of a message's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FactItem {
    Envelope,
    Body,
    BodyStructure,
    Preview,
    ThreadId,
}

/// Octets of a message under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Octets<'a> {
    pub name: PartName<'a>,
    /// Part numbers, empty for the message itself.
    pub part: Vec<u32>,
    pub what: What<'a>,
    pub partial: Option<Partial>,
}

/// Which octets of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What<'a> {
    /// All of a message, or the body of a part.
    Whole,
    Header,
    Fields {
        not: bool,
        names: Vec<&'a [u8]>,
    },
    /// Fields of the message itself, of which some stand beside it and not in its octets.
    FieldsBeside {
        /// Names of fields in its octets.
        names: Vec<&'a [u8]>,
        seen: bool,
        deleted: bool,
        /// The id that an object without one was given.
        id: bool,
    },
    Text,
    Mime,
}

impl<'a> What<'a> {
    /// What `text` names of a part.
    pub fn of(text: Option<&'a SectionText>) -> Self {
        match text {
            None => Self::Whole,
            Some(SectionText::Header) => Self::Header,
            Some(SectionText::Text) => Self::Text,
            Some(SectionText::Mime) => Self::Mime,
            Some(SectionText::HeaderFields { not, names }) => {
                Self::Fields { not: *not, names: names.iter().map(imap_wire::IString::as_bytes).collect() }
            }
        }
    }
}

/// The header that stands beside objects that were stored without it.
pub(super) const ID_HEADER: &str = "IMDN-Message-ID";

impl What<'_> {
    /// The same of a message itself, some of whose fields stand beside it.
    fn with_fields_beside(self) -> Self {
        let Self::Fields { not: false, mut names } = self else { return self };
        let mut take = |header: &str| {
            let before = names.len();
            names.retain(|name| !name.eq_ignore_ascii_case(header.as_bytes()));
            names.len() < before
        };
        let (seen, deleted) = (take(Identities::SEEN_HEADER), take(Identities::DELETED_HEADER));
        // Most objects have it in their octets.
        let id = names.iter().any(|name| name.eq_ignore_ascii_case(ID_HEADER.as_bytes()));
        if seen || deleted || id {
            Self::FieldsBeside { names, seen, deleted, id }
        } else {
            Self::Fields { not: false, names }
        }
    }
}

/// The items of a command, with what they take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    pub items: Vec<Item<'a>>,
    /// No message is opened.
    pub rows_only: bool,
    /// An index is needed whatever the message is like.
    pub facts: bool,
    /// An index is needed to find octets of a message that is not read whole.
    pub facts_if_large: bool,
    /// Octets are needed.
    pub octets: bool,
    /// The devices that read and deleted a message are needed.
    pub identities: bool,
    /// The entries of annotations that are needed.
    pub annotations: Vec<AnnotationPattern>,
    /// `\Seen` is to be set.
    pub sets_seen: bool,
    /// `FLAGS` is among the items.
    pub flags: bool,
    /// `MODSEQ` is among the items.
    pub modseq: bool,
}

impl<'a> Plan<'a> {
    /// The plan of `items`. A `uid` command shows UID whether asked for or not (RFC 9051 §6.4.9).
    pub fn new(items: &'a [FetchItem], uid: bool) -> Self {
        let mut plan = Self {
            items: Vec::with_capacity(items.len() + 2),
            rows_only: true,
            facts: false,
            facts_if_large: false,
            octets: false,
            identities: false,
            annotations: Vec::new(),
            sets_seen: false,
            flags: false,
            modseq: false,
        };
        if uid && !items.contains(&FetchItem::Uid) {
            plan.items.push(Item::Row(RowItem::Uid));
        }
        for item in items {
            plan.add(item);
        }
        plan.rows_only = !(plan.facts || plan.octets) && plan.annotations.is_empty();
        plan
    }

    /// Whether a message of `size` octets needs its index.
    pub fn needs_index(&self, size: u64) -> bool {
        self.facts || (self.facts_if_large && !is_small(size))
    }

    /// Adds `MODSEQ` if it is not asked for.
    pub fn show_modseq(&mut self) {
        if !std::mem::replace(&mut self.modseq, true) {
            self.items.push(Item::Row(RowItem::ModSeq));
        }
    }

    fn add(&mut self, item: &'a FetchItem) {
        let item = match item {
            FetchItem::Flags => {
                self.flags = true;
                Item::Row(RowItem::Flags)
            }
            FetchItem::Uid => Item::Row(RowItem::Uid),
            FetchItem::ModSeq => {
                self.modseq = true;
                Item::Row(RowItem::ModSeq)
            }
            FetchItem::InternalDate => Item::Row(RowItem::InternalDate),
            FetchItem::Rfc822Size => Item::Row(RowItem::Size),
            FetchItem::EmailId => Item::Row(RowItem::EmailId),
            FetchItem::SaveDate => Item::Row(RowItem::SaveDate),
            FetchItem::Envelope => self.fact(FactItem::Envelope),
            FetchItem::Body => self.fact(FactItem::Body),
            FetchItem::BodyStructure => self.fact(FactItem::BodyStructure),
            FetchItem::ThreadId => self.fact(FactItem::ThreadId),
            // Previews are made at append, so that LAZY (RFC 8970 §4.1) changes nothing.
            FetchItem::Preview { lazy: _ } => self.fact(FactItem::Preview),
            FetchItem::Annotation(item) => {
                for entry in &item.entries {
                    if !self.annotations.contains(entry) {
                        self.annotations.push(entry.clone());
                    }
                }
                Item::Annotation(item)
            }
            FetchItem::Rfc822 => {
                self.sets_seen = true;
                self.octets(PartName::Rfc822, What::Whole)
            }
            FetchItem::Rfc822Header => self.octets(PartName::Rfc822Header, What::Header),
            FetchItem::Rfc822Text => {
                self.sets_seen = true;
                self.octets(PartName::Rfc822Text, What::Text)
            }
            FetchItem::BodySection { peek, section, partial } => {
                self.sets_seen |= !peek;
                let mut what = What::of(section.text.as_ref());
                if section.part.is_empty() {
                    what = what.with_fields_beside();
                    let noted = |what: &What<'_>| matches!(what, What::FieldsBeside { seen, deleted, .. } if *seen || *deleted);
                    self.identities |= noted(&what);
                }
                let octets = Octets {
                    name: PartName::Body(section),
                    part: numbers(&section.part),
                    what,
                    partial: *partial,
                };
                self.needs(&octets);
                Item::Octets(octets)
            }
            FetchItem::Binary { peek, part, partial } => {
                self.sets_seen |= !peek;
                self.facts = true;
                self.octets = true;
                Item::Binary(part, *partial)
            }
            FetchItem::BinarySize(part) => {
                self.facts = true;
                self.octets = true;
                Item::BinarySize(part)
            }
        };
        self.items.push(item);
    }

    fn fact(&mut self, item: FactItem) -> Item<'a> {
        self.facts = true;
        Item::Facts(item)
    }

    fn octets(&mut self, name: PartName<'a>, what: What<'a>) -> Item<'a> {
        let octets = Octets { name, part: Vec::new(), what, partial: None };
        self.needs(&octets);
        Item::Octets(octets)
    }

    fn needs(&mut self, octets: &Octets<'_>) {
        self.octets = true;
        self.facts |= !octets.part.is_empty();
        self.facts_if_large |= octets.what != What::Whole;
    }
}

pub(super) fn numbers(part: &[NonZeroU32]) -> Vec<u32> {
    part.iter().map(|n| n.get()).collect()
}

/// What `partial` leaves of `range`: from its offset, cut at the range's end, empty past it.
pub(super) fn cut(range: Range<u64>, partial: Option<Partial>) -> Range<u64> {
    let Some(partial) = partial else { return range };
    let start = range.start.saturating_add(partial.offset).min(range.end);
    start..start.saturating_add(partial.length).min(range.end)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use imap_wire::command::Command;

    use super::*;

    #[test]
    fn what_is_needed() {
        let check = |items: &str, rows_only, facts, facts_if_large, sets_seen| {
            let line = Bytes::from(format!("a FETCH 1 ({items})"));
            let parsed = imap_wire::parse_command(&line, &imap_wire::Limits::default()).expect("valid");
            let Command::Fetch(fetch) = parsed.body else { panic!("{items}") };
            let plan = Plan::new(&fetch.items, false);
            assert_eq!(
                (plan.rows_only, plan.facts, plan.facts_if_large, plan.sets_seen),
                (rows_only, facts, facts_if_large, sets_seen),
                "{items}"
            );
        };
        check("FLAGS UID MODSEQ INTERNALDATE RFC822.SIZE EMAILID SAVEDATE", true, false, false, false);
        check("FLAGS ANNOTATION (/comment value)", false, false, false, false);
        check("FLAGS ENVELOPE", false, true, false, false);
        check("BODY.PEEK[]", false, false, false, false);
        check("BODY[]", false, false, false, true);
        check("BODY.PEEK[HEADER]", false, false, true, false);
        check("BODY.PEEK[1]", false, true, false, false);
        check("RFC822.HEADER", false, false, true, false);
        check("RFC822.TEXT", false, false, true, true);
        check("BINARY.SIZE[1]", false, true, false, false);
        check("BINARY[1]", false, true, false, true);
    }

    #[test]
    fn fields_beside_a_message() {
        let check = |item: &str, identities: bool| {
            let line = Bytes::from(format!("a FETCH 1 ({item})"));
            let parsed = imap_wire::parse_command(&line, &imap_wire::Limits::default()).expect("valid");
            let Command::Fetch(fetch) = parsed.body else { panic!("{item}") };
            assert_eq!(Plan::new(&fetch.items, false).identities, identities, "{item}");
        };
        check("BODY[HEADER.FIELDS (Subject MESSAGE-SEEN-IDENTITY)]", true);
        check("BODY.PEEK[HEADER.FIELDS (message-delete-identity)]<0.10>", true);
        check("BODY[HEADER.FIELDS (Subject)]", false);
        check("BODY[HEADER.FIELDS (IMDN-Message-ID)]", false);
        check("BODY[HEADER.FIELDS.NOT (Message-seen-identity)]", false);
        check("BODY[1.HEADER.FIELDS (Message-seen-identity)]", false);
        check("BODY[]", false);
    }

    #[test]
    fn partials() {
        let check = |partial: Option<(u64, u64)>, expected: Range<u64>| {
            let partial = partial.map(|(offset, length)| Partial { offset, length });
            assert_eq!(cut(10..20, partial), expected);
        };
        check(None, 10..20);
        check(Some((0, 5)), 10..15);
        check(Some((3, 100)), 13..20);
        check(Some((10, 1)), 20..20);
        check(Some((u64::MAX, u64::MAX)), 20..20);
    }
}
