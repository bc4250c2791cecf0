//! Which octets a section names (RFC 9051 §6.4.5.1, §6.4.5.2).

use std::ops::Range;

use super::{MessageIndex, Part, PartKind, Parts};

/// What of a part is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `BODY[]`, `BODY[1.2]`: the whole message, or the body of a part.
    Body,
    /// `BODY[HEADER]`, `BODY[1.HEADER]`, and the block for `HEADER.FIELDS`: the header of a message.
    Header,
    /// `BODY[TEXT]`, `BODY[1.TEXT]`: a message without its header.
    Text,
    /// `BODY[1.MIME]`: the header of a part.
    Mime,
}

impl MessageIndex {
    /// The range of the message, in octets, that `path` and `section` name. `path` is the numbers before the keyword,
    /// empty for the message itself. None where there is no such part, and for `HEADER` or `TEXT` of a part that is
    /// no message; IMAP then answers `NIL`.
    pub fn section(&self, path: &[u32], section: Section) -> Option<Range<u64>> {
        if path.is_empty() {
            let root = self.root();
            return match section {
                Section::Body => Some(0..self.size()),
                Section::Header => Some(root.header),
                Section::Text => Some(root.body),
                // The grammar allows MIME only after a part number.
                Section::Mime => None,
            };
        }
        let (part, mut below) = self.locate(path)?;
        match section {
            Section::Body => Some(part.body),
            Section::Mime => Some(part.header),
            Section::Header | Section::Text if part.kind != PartKind::Message => None,
            Section::Header => below.next().map(|message| message.header),
            Section::Text => below.next().map(|message| message.body),
        }
    }

    /// The part that `path` numbers, such as `[1, 2]`; none where there is no such part, or the path is empty.
    pub fn part(&self, path: &[u32]) -> Option<Part<'_>> {
        self.locate(path).map(|(part, _)| part)
    }

    /// The part that `path` numbers, and the table from what follows it.
    fn locate(&self, path: &[u32]) -> Option<(Part<'_>, Parts<'_>)> {
        let mut below = self.parts();
        let mut part = below.next()?;
        let mut numbers = path.iter();
        numbers.as_slice().first()?;
        loop {
            // Here `part` is a message's root. With a multipart root the numbers are those of its parts, otherwise
            // the message has only a part 1, which is the root.
            if part.kind != PartKind::Multipart && *numbers.next()? != 1 {
                return None;
            }
            loop {
                let Some(number) = numbers.as_slice().first() else { return Some((part, below)) };
                match part.kind {
                    PartKind::Multipart => {
                        numbers.next();
                        part = below.nth_sibling(*number, part.descendants)?;
                    }
                    PartKind::Message => {
                        part = below.next()?;
                        break;
                    }
                    PartKind::Text | PartKind::Other => return None,
                }
            }
        }
    }
}

impl<'a> Parts<'a> {
    /// The child `number`, counted from 1, of a part that has `descendants` and stands directly before.
    fn nth_sibling(&mut self, number: u32, descendants: u32) -> Option<Part<'a>> {
        let mut left = descendants;
        let mut passed = 0;
        while left > 0 {
            let child = self.next()?;
            passed += 1;
            if passed == number {
                return Some(child);
            }
            left = left.checked_sub(child.descendants + 1)?;
            for _ in 0..child.descendants {
                self.next();
            }
        }
        None
    }
}
