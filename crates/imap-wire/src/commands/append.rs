//! `APPEND` and `REPLACE`, which may carry more octets than a server wants to hold: their messages are streamed.
//!
//! ```abnf
//! append         = "APPEND" SP mailbox 1*append-message
//! replace        = ["UID" SP] "REPLACE" SP seq-number SP mailbox append-message
//! append-message = [SP flag-list] [SP date-time] [SP "ANNOTATION" …] SP append-data      ; see `annotation`
//! append-data    = literal / literal8 / "UTF8" SP "(" literal8 ")" / "CATENATE" SP "(" cat-part *(SP cat-part) ")"
//! cat-part       = "URL" SP astring / "TEXT" SP literal / "UTF8" SP "(" literal8 ")"
//! ```
//!
//! Source: RFC 9051 §9, RFC 3502 §6.3.11, RFC 4466 §2.7, RFC 4469 §5, RFC 6855 §4, RFC 8508 §3.
//!
//! The grammar is read in pieces: the text up to a message's literal, then the text between it and the next, to
//! the command's end. [`Progress`] stands between two pieces.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::commands;
use crate::commands::annotation::{self, AnnotationValue};
use crate::cursor::{Cursor, LiteralHeader, literal_header};
use crate::date::DateTime;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::flag::Flag;
use crate::limits::Limits;
use crate::mailbox::MailboxArg;
use crate::reader::Step;
use crate::sequence::SeqNo;
use crate::string::Tag;

/// The beginning of an APPEND or REPLACE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendStart {
    /// Repeated in the response that ends the command.
    pub tag: Tag,
    /// Where the messages go.
    pub mailbox: MailboxArg,
    /// The message that goes away, for REPLACE.
    pub replaces: Option<Replaces>,
}

/// The message that REPLACE removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Whether `number` is a UID.
    pub uid: bool,
    /// Which message.
    pub number: SeqNo,
}

/// The beginning of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageStart {
    /// Its flags.
    pub flags: Vec<Flag>,
    /// Its INTERNALDATE, if given.
    pub date: Option<DateTime>,
    /// Its annotations (RFC 5257 §4.7).
    pub annotations: Vec<AnnotationValue>,
    /// Whether it is put together from parts (CATENATE), any number of literals and URLs. Otherwise one literal
    /// is the message.
    pub catenate: bool,
}

/// Octets of a message that are about to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLiteral {
    /// How many. None at all cancels a MULTIAPPEND and is no message (RFC 3502 §6.3.11).
    pub size: u64,
    /// Whether the client waits for a continuation request before it sends them.
    pub sync: bool,
    /// `~{n}`: NUL is allowed (RFC 3516), and the form in which messages with UTF-8 headers come (RFC 6855).
    pub literal8: bool,
    /// Inside `UTF8 (...)` (RFC 6855 §4).
    pub utf8: bool,
}

/// Where in the grammar the last piece ended.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub tag: Option<Tag>,
    phase: Phase,
    /// Messages begun.
    messages: usize,
    replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the tag.
    Start,
    /// Behind the mailbox or a whole message.
    Between,
    /// Behind the literal that is a message.
    AfterMessage,
    /// Behind the literal in `UTF8 (`.
    AfterUtf8,
    /// Behind a part of `CATENATE (`.
    Catenate,
    /// Behind the literal in `UTF8 (` in `CATENATE (`.
    CatenateUtf8,
    /// Behind the command.
    End,
}

/// How a piece ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceEnd {
    /// With the announcement of message octets.
    Message(LiteralHeader),
    /// With the command.
    Command,
}

/// Whether `text`, the beginning of a command, is that of one whose messages are streamed.
pub(crate) fn is_streamed(text: &[u8]) -> bool {
    let Some(space) = memchr::memchr(b' ', text) else { return false };
    let is = |text: &[u8], word: &[u8]| {
        text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word))
            && text.get(word.len()).is_none_or(|&b| b == b' ')
    };
    let rest = &text[space + 1..];
    is(rest, b"APPEND") || is(rest, b"REPLACE") || is(rest, b"UID REPLACE")
}

impl Progress {
    pub fn new() -> Self {
        Progress { tag: None, phase: Phase::Start, messages: 0, replace: false }
    }

    /// Reads a piece, without its line end, and appends what it says to `steps`.
    ///
    /// An incomplete piece, one that ends with the announcement of a literal that is not message data, leaves no
    /// mark: it is to be read again from its beginning with the literal's octets.
    pub fn piece(&mut self, text: &Bytes, limits: &Limits, steps: &mut VecDeque<Step>) -> Parse<PieceEnd> {
        let mut cursor = Cursor::new(text, limits);
        if self.phase == Phase::Start && self.tag.is_none() {
            self.tag = Some(commands::tag(&mut cursor)?);
            cursor.rewind(0);
        }
        let (mut next, held) = (self.clone(), steps.len());
        match next.read(&mut cursor, steps) {
            Ok(end) => {
                *self = next;
                Ok(end)
            }
            Err(fail) => {
                steps.truncate(held);
                Err(fail)
            }
        }
    }

    fn read(&mut self, c: &mut Cursor<'_>, steps: &mut VecDeque<Step>) -> Parse<PieceEnd> {
        loop {
            match self.phase {
                Phase::Start => {
                    steps.push_back(Step::AppendStart(self.start(c)?));
                    self.phase = Phase::Between;
                }
                Phase::Between => {
                    if c.at_end() && self.messages > 0 {
                        self.phase = Phase::End;
                        steps.push_back(Step::AppendEnd);
                        return Ok(PieceEnd::Command);
                    }
                    if self.replace && self.messages > 0 {
                        return Err(Fail::syntax("REPLACE takes one message"));
                    }
                    self.messages += 1;
                    if let Some(header) = self.message(c, steps)? {
                        return Ok(PieceEnd::Message(header));
                    }
                }
                Phase::AfterMessage => {
                    steps.push_back(Step::MessageEnd);
                    self.phase = Phase::Between;
                }
                Phase::AfterUtf8 => {
                    c.expect(b')', "expected a closing parenthesis after the UTF8 literal")?;
                    self.phase = Phase::AfterMessage;
                }
                Phase::CatenateUtf8 => {
                    c.expect(b')', "expected a closing parenthesis after the UTF8 literal")?;
                    self.phase = Phase::Catenate;
                }
                Phase::Catenate => {
                    if c.eat(b')') {
                        self.phase = Phase::AfterMessage;
                        continue;
                    }
                    c.expect(b' ', "expected a space or a closing parenthesis after a part of CATENATE")?;
                    if let Some(header) = self.part(c, steps)? {
                        return Ok(PieceEnd::Message(header));
                    }
                }
                Phase::End => return Err(Fail::syntax("expected the end of the command")),
            }
        }
    }

    fn start(&mut self, c: &mut Cursor<'_>) -> Parse<AppendStart> {
        let tag = commands::tag(c)?;
        let uid = c.eat_word(b"UID");
        if uid {
            c.space("the name of a command that takes UIDs")?;
        }
        self.replace = c.word("a command name")?.eq_ignore_ascii_case(b"REPLACE");
        let mut replaces = None;
        if self.replace {
            c.space("the message to replace")?;
            replaces = Some(Replaces { uid, number: c.seq_number()? });
        }
        c.space("a mailbox name")?;
        Ok(AppendStart { tag, mailbox: c.mailbox()?, replaces })
    }

    /// `append-message` up to its first octets that are streamed; nothing if CATENATE has URLs alone.
    fn message(&mut self, c: &mut Cursor<'_>, steps: &mut VecDeque<Step>) -> Parse<Option<LiteralHeader>> {
        c.space("a message as a literal")?;
        let mut start =
            MessageStart { flags: Vec::new(), date: None, annotations: Vec::new(), catenate: false };
        if c.peek() == Some(b'(') {
            start.flags = c.flag_list()?;
            c.space("a date or a message as a literal")?;
        }
        if c.peek() == Some(b'"') {
            start.date = Some(c.date_time()?);
            c.space("a message as a literal")?;
        }
        if c.eat_word(b"ANNOTATION") {
            start.annotations = annotation::values(c)?;
            c.space("a message as a literal")?;
        }
        start.catenate = c.eat_text(b"CATENATE (");
        let catenate = start.catenate;
        steps.push_back(Step::MessageStart(start));
        if catenate {
            return self.part(c, steps);
        }
        let utf8 = c.eat_text(b"UTF8 (");
        self.phase = if utf8 { Phase::AfterUtf8 } else { Phase::AfterMessage };
        streamed(c, steps, utf8).map(Some)
    }

    /// `cat-part`
    fn part(&mut self, c: &mut Cursor<'_>, steps: &mut VecDeque<Step>) -> Parse<Option<LiteralHeader>> {
        if steps.len() > c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooMany, "CATENATE has more parts than allowed"));
        }
        self.phase = Phase::Catenate;
        if c.eat_text(b"URL ") {
            steps.push_back(Step::CatenateUrl(c.astring("a URL")?));
            return Ok(None);
        }
        let utf8 = c.eat_text(b"UTF8 (");
        if utf8 {
            self.phase = Phase::CatenateUtf8;
        } else if !c.eat_text(b"TEXT ") {
            return Err(Fail::syntax("a part of CATENATE is URL and a string, or TEXT and a literal"));
        }
        streamed(c, steps, utf8).map(Some)
    }
}

/// The announcement of message octets, at the end of the piece.
fn streamed(c: &mut Cursor<'_>, steps: &mut VecDeque<Step>, utf8: bool) -> Parse<LiteralHeader> {
    let literal8 = c.eat(b'~');
    let header = literal_header(c.rest()).filter(|header| header.len == c.rest().len());
    let header = header.ok_or_else(|| {
        Fail::syntax(
            "expected a message as a literal: its size as {n} at the end of the line, then its octets",
        )
    })?;
    if utf8 && !literal8 {
        return Err(Fail::syntax("the literal in UTF8 (...) is written ~{n}"));
    }
    steps.push_back(Step::Literal(MessageLiteral {
        size: header.size,
        sync: !header.non_sync,
        literal8,
        utf8,
    }));
    Ok(header)
}
