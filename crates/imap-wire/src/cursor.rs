//! The place in a command: the terminals of the grammar, each a method that moves past what it reads.
//!
//! The command stands whole in one buffer, literals in place, without its last line end. Tokens are slices of
//! that buffer.

use std::num::NonZeroU32;

use bytes::Bytes;

use crate::date::{self, Date, DateTime};
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::flag::Flag;
use crate::limits::Limits;
use crate::mailbox::MailboxArg;
use crate::sequence::{SeqNo, SeqRange, SequenceSet};
use crate::string::{IString, StringForm, Tag, is_astring_char, is_atom_char, is_list_char, is_tag_char};

pub(crate) struct Cursor<'a> {
    source: &'a Bytes,
    pos: usize,
    pub limits: &'a Limits,
    /// Lists open around this place.
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(source: &'a Bytes, limits: &'a Limits) -> Self {
        Cursor { source, pos: 0, limits, depth: 0 }
    }

    /// Octets read so far.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Goes back to a position that was read from [`Cursor::position`].
    pub fn rewind(&mut self, position: usize) {
        self.pos = position;
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.source[self.pos..]
    }

    pub fn at_end(&self) -> bool {
        self.pos == self.source.len()
    }

    pub fn peek(&self) -> Option<u8> {
        self.source.get(self.pos).copied()
    }

    /// Moves past `b` if it is next.
    #[inline]
    pub fn eat(&mut self, b: u8) -> bool {
        let found = self.peek() == Some(b);
        self.pos += usize::from(found);
        found
    }

    pub fn expect(&mut self, b: u8, what: &'static str) -> Parse<()> {
        if self.eat(b) { Ok(()) } else { Err(Fail::syntax(what)) }
    }

    /// One space, before `what`.
    #[inline]
    pub fn space(&mut self, what: &'static str) -> Parse<()> {
        if self.eat(b' ') {
            Ok(())
        } else if self.at_end() {
            Err(Fail::syntax(format!("the command ends where {what} was expected")))
        } else {
            Err(Fail::syntax(format!("expected one space and {what}")))
        }
    }

    /// The end of the command.
    #[inline]
    pub fn end(&self) -> Parse<()> {
        if self.at_end() {
            Ok(())
        } else if self.peek() == Some(b' ') {
            Err(Fail::syntax("there are more arguments, or spaces, than the command takes"))
        } else {
            Err(Fail::syntax("expected the end of the command"))
        }
    }

    /// The longest run of octets of a class, possibly empty.
    #[inline]
    fn run(&mut self, class: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|&b| !class(b)).unwrap_or(rest.len());
        self.pos += len;
        &rest[..len]
    }

    fn slice_from(&self, start: usize) -> Bytes {
        self.source.slice(start..self.pos)
    }

    /// `atom`, as a borrowed word.
    #[inline]
    pub fn word(&mut self, what: &'static str) -> Parse<&'a [u8]> {
        let word = self.run(is_atom_char);
        if word.is_empty() {
            return Err(Fail::syntax(format!("expected {what}")));
        }
        Ok(word)
    }

    /// Moves past `word`, in any case, if it is the next atom.
    pub fn eat_word(&mut self, word: &[u8]) -> bool {
        let start = self.pos;
        let found = self.run(is_atom_char).eq_ignore_ascii_case(word);
        if !found {
            self.pos = start;
        }
        found
    }

    /// Moves past `text`, in any case, if it is next, whatever follows.
    pub fn eat_text(&mut self, text: &[u8]) -> bool {
        let found = self.rest().get(..text.len()).is_some_and(|next| next.eq_ignore_ascii_case(text));
        if found {
            self.pos += text.len();
        }
        found
    }

    /// Letters, digits, `-`, `.`, `_`: names of fetch items, which may be followed by `[`.
    pub fn name(&mut self) -> &'a [u8] {
        self.run(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    }

    /// `atom`, sharing the buffer.
    pub fn atom(&mut self, what: &'static str) -> Parse<Bytes> {
        let start = self.pos;
        self.word(what)?;
        Ok(self.slice_from(start))
    }

    /// `"\" atom`, sharing the buffer, with its backslash.
    pub fn backslash_atom(&mut self, what: &'static str) -> Parse<Bytes> {
        let start = self.pos;
        self.expect(b'\\', "expected a backslash")?;
        self.word(what)?;
        Ok(self.slice_from(start))
    }

    /// `tag`; none when the next octet cannot begin one.
    #[inline]
    pub fn tag(&mut self) -> Option<Tag> {
        let tag = self.run(is_tag_char);
        (!tag.is_empty()).then(|| Tag::unchecked(tag))
    }

    /// Digits as a number that fits 64 bits.
    #[inline]
    pub fn number64(&mut self, what: &'static str) -> Parse<u64> {
        let start = self.pos;
        let mut value = 0u64;
        while let Some(b @ b'0'..=b'9') = self.peek() {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u64::from(b - b'0')))
                .ok_or_else(|| Fail::syntax(format!("a number is too large for {what}")))?;
            self.pos += 1;
        }
        if self.pos == start {
            return Err(Fail::syntax(format!("expected {what}, a number")));
        }
        Ok(value)
    }

    /// `mod-sequence-valzer`, `number64`: at most 2^63 - 1 (RFC 7162 §7, RFC 9051 §9).
    pub fn number63(&mut self, what: &'static str) -> Parse<u64> {
        let value = self.number64(what)?;
        if value > i64::MAX as u64 {
            return Err(Fail::syntax(format!("a number is too large for {what}")));
        }
        Ok(value)
    }

    /// `number`.
    #[inline]
    pub fn number(&mut self, what: &'static str) -> Parse<u32> {
        u32::try_from(self.number64(what)?)
            .map_err(|_| Fail::syntax(format!("a number is too large for {what}")))
    }

    /// `nz-number`; leading zeros are refused.
    #[inline]
    pub fn nz_number(&mut self, what: &'static str) -> Parse<NonZeroU32> {
        if self.peek() == Some(b'0') {
            return Err(Fail::syntax(format!("{what} cannot be zero or start with zero")));
        }
        NonZeroU32::new(self.number(what)?).ok_or_else(|| Fail::syntax(format!("{what} cannot be zero")))
    }

    /// `sequence-set`, with `$` (RFC 5182).
    #[inline]
    pub fn sequence_set(&mut self) -> Parse<SequenceSet> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::with_capacity(1);
        loop {
            let first = self.seq_number()?;
            let last = if self.eat(b':') { self.seq_number()? } else { first };
            if ranges.len() >= self.limits.set_parts_max {
                return Err(Fail::new(
                    ParseErrorKind::TooMany,
                    format!("a set may have at most {} parts here", self.limits.set_parts_max),
                ));
            }
            ranges.push(SeqRange { first, last });
            if !self.eat(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    /// `seq-number`.
    #[inline]
    pub fn seq_number(&mut self) -> Parse<SeqNo> {
        if self.eat(b'*') {
            return Ok(SeqNo::Star);
        }
        self.nz_number("a message number").map(SeqNo::Number)
    }

    /// `astring`.
    #[inline]
    pub fn astring(&mut self, what: &'static str) -> Parse<IString> {
        self.string_or(is_astring_char, what)
    }

    /// `list-mailbox = 1*list-char / string`.
    pub fn list_mailbox(&mut self) -> Parse<MailboxArg> {
        self.string_or(is_list_char, "a mailbox pattern").map(MailboxArg::new)
    }

    /// `mailbox`.
    #[inline]
    pub fn mailbox(&mut self) -> Parse<MailboxArg> {
        self.astring("a mailbox name").map(MailboxArg::new)
    }

    #[inline]
    fn string_or(&mut self, class: impl Fn(u8) -> bool, what: &'static str) -> Parse<IString> {
        let start = self.pos;
        if self.run(class).is_empty() { self.string(what) } else { Ok(self.atom_string(start)) }
    }

    fn atom_string(&self, start: usize) -> IString {
        IString::new(self.slice_from(start), StringForm::Atom)
    }

    /// `string = quoted / literal`.
    pub fn string(&mut self, what: &'static str) -> Parse<IString> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(what, false),
            Some(_) => Err(Fail::syntax(format!("expected {what}"))),
            None => Err(Fail::syntax(format!("the command ends where {what} was expected"))),
        }
    }

    /// `nstring = string / nil`.
    pub fn nstring(&mut self, what: &'static str) -> Parse<Option<IString>> {
        if self.eat_word(b"NIL") { Ok(None) } else { self.string(what).map(Some) }
    }

    /// `quoted`. UTF-8 is taken in any of them (RFC 9051 §4.3, RFC 6855 §3): clients send it without asking, and
    /// a client that keeps to ASCII is not affected.
    fn quoted(&mut self) -> Parse<IString> {
        let inside = &self.source[self.pos + 1..];
        let start = self.pos + 1;
        let Some(mut end) = memchr::memchr2(b'"', b'\\', inside) else {
            return Err(Fail::syntax("a quoted string has no closing quote"));
        };
        if inside[end] == b'"' {
            check_quoted(&inside[..end])?;
            self.pos = start + end + 1;
            return Ok(IString::new(self.source.slice(start..start + end), StringForm::Quoted));
        }
        let mut text = Vec::with_capacity(inside.len().min(end + 64));
        let mut copied = 0;
        loop {
            text.extend_from_slice(&inside[copied..end]);
            if inside[end] == b'"' {
                break;
            }
            match inside.get(end + 1) {
                Some(&b @ (b'"' | b'\\')) => text.push(b),
                _ => return Err(Fail::syntax("in a quoted string a backslash goes before \" or \\ only")),
            }
            copied = end + 2;
            end = copied
                + memchr::memchr2(b'"', b'\\', &inside[copied..])
                    .ok_or_else(|| Fail::syntax("a quoted string has no closing quote"))?;
        }
        check_quoted(&text)?;
        self.pos = start + end + 1;
        Ok(IString::new(text.into(), StringForm::Quoted))
    }

    /// `nstring / literal8`: octets of any kind, NUL included in the last form (RFC 3516 §7).
    pub fn nstring8(&mut self, what: &'static str) -> Parse<Option<IString>> {
        if self.rest().starts_with(b"~{") {
            self.pos += 1;
            return self.literal(what, true).map(Some);
        }
        self.nstring(what)
    }

    /// `literal`, whose octets follow in the buffer.
    fn literal(&mut self, what: &'static str, any_octet: bool) -> Parse<IString> {
        let header = literal_header(self.rest()).ok_or_else(|| {
            Fail::syntax(format!("expected {what}, or a literal as {{n}} at the end of a line"))
        })?;
        if self.rest().len() == header.len {
            return Err(Fail::incomplete());
        }
        let start = self.pos + header.len + 2;
        let end = usize::try_from(header.size).ok().and_then(|size| start.checked_add(size));
        let octets = end
            .filter(|_| self.rest().get(header.len..).is_some_and(|rest| rest.starts_with(b"\r\n")))
            .and_then(|end| self.source.get(start..end))
            .ok_or_else(|| Fail::syntax("a literal must be the last thing on its line"))?;
        if !any_octet && memchr::memchr(0, octets).is_some() {
            return Err(Fail::new(ParseErrorKind::BadOctet, "a string cannot contain NUL"));
        }
        self.pos = start + octets.len();
        Ok(IString::new(self.slice_from(start), StringForm::Literal))
    }

    /// `"(" [item *(SP item)] ")"`, with `item` called at each element.
    pub fn list(&mut self, what: &'static str, item: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        self.expect_list(what)?;
        self.list_rest(what, item)
    }

    /// `"(" item *(SP item) ")"`: a [list](Cursor::list) that is not empty.
    pub fn list1(&mut self, what: &'static str, item: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        self.expect_list(what)?;
        if self.peek() == Some(b')') {
            return Err(Fail::syntax(format!("expected at least one of {what}")));
        }
        self.list_rest(what, item)
    }

    /// As [`Cursor::list`], after the opening parenthesis.
    fn list_rest(&mut self, what: &'static str, mut item: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        if self.depth >= self.limits.list_depth_max {
            return Err(Fail::new(
                ParseErrorKind::TooDeep,
                format!("lists may be nested {} deep here", self.limits.list_depth_max),
            ));
        }
        self.depth += 1;
        let mut items = 0;
        if !self.eat(b')') {
            loop {
                if items >= self.limits.list_items_max {
                    return Err(Fail::new(
                        ParseErrorKind::TooMany,
                        format!("a list may have at most {} elements here", self.limits.list_items_max),
                    ));
                }
                items += 1;
                item(self)?;
                if self.eat(b')') {
                    break;
                }
                if !self.eat(b' ') {
                    return Err(Fail::syntax(format!("expected a space or a closing parenthesis in {what}")));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn expect_list(&mut self, what: &'static str) -> Parse<()> {
        if self.eat(b'(') { Ok(()) } else { Err(Fail::syntax(format!("expected {what} in parentheses"))) }
    }

    /// `flag`.
    pub fn flag(&mut self) -> Parse<Flag> {
        if self.eat(b'\\') {
            let start = self.pos;
            self.word("a flag name after the backslash")?;
            return Ok(Flag::system(self.slice_from(start)));
        }
        self.atom("a flag").map(Flag::Keyword)
    }

    /// `flag-list`.
    pub fn flag_list(&mut self) -> Parse<Vec<Flag>> {
        let mut flags = Vec::new();
        self.list("flags", |c| {
            flags.push(c.flag()?);
            Ok(())
        })?;
        Ok(flags)
    }

    /// `date = date-text / DQUOTE date-text DQUOTE`.
    pub fn date(&mut self) -> Parse<Date> {
        let quoted = self.eat(b'"');
        let text = self.run(|b| b.is_ascii_alphanumeric() || b == b'-');
        let date = date::parse_date(text)
            .ok_or_else(|| Fail::syntax("expected a date such as 1-Feb-2026, one that the calendar has"))?;
        if quoted {
            self.expect(b'"', "expected a quote after the date")?;
        }
        Ok(date)
    }

    /// `date-time`.
    pub fn date_time(&mut self) -> Parse<DateTime> {
        let text = self.rest().get(1..27).filter(|_| self.peek() == Some(b'"'));
        let date = text.and_then(date::parse_date_time).filter(|_| self.rest().get(27) == Some(&b'"'));
        let date = date.ok_or_else(|| {
            Fail::syntax("expected a date and time such as \"01-Feb-2026 12:30:00 +0000\", one that exists")
        })?;
        self.pos += 28;
        Ok(date)
    }
}

/// What a quoted string may hold: UTF-8 without NUL, CR and LF.
fn check_quoted(text: &[u8]) -> Parse<()> {
    if memchr::memchr3(0, b'\r', b'\n', text).is_some() {
        return Err(Fail::new(
            ParseErrorKind::BadOctet,
            "a quoted string cannot contain NUL, CR or LF; use a literal",
        ));
    }
    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
        return Err(Fail::new(
            ParseErrorKind::BadOctet,
            "a quoted string that is not ASCII must be UTF-8; use a literal for other charsets",
        ));
    }
    Ok(())
}

/// A literal's announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiteralHeader {
    /// Octets that follow the line end.
    pub size: u64,
    /// `{n+}`: sent without waiting for a continuation.
    pub non_sync: bool,
    /// Octets of the announcement from `{` to `}`.
    pub len: usize,
}

/// `"{" number64 ["+"] "}"` at the beginning of `text`.
pub(crate) fn literal_header(text: &[u8]) -> Option<LiteralHeader> {
    let digits = text.strip_prefix(b"{")?;
    let mut size = 0u64;
    let mut at = 0;
    while let Some(b @ b'0'..=b'9') = digits.get(at) {
        size = size.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
        at += 1;
    }
    if at == 0 {
        return None;
    }
    let non_sync = digits.get(at) == Some(&b'+');
    at += usize::from(non_sync);
    (digits.get(at) == Some(&b'}')).then_some(LiteralHeader { size, non_sync, len: at + 2 })
}
