//! From octets to steps: a client's half of a connection, without the connection.
//!
//! The caller owns the buffer: it appends what arrives and calls [`Reader::next`] until that answers
//! [`Step::NeedMore`]. Pipelined commands wait in the buffer. What the reader keeps itself is a few words.
//!
//! A command is held whole, within the [limits](Limits), and yielded as [`Step::Command`]. The exceptions are
//! APPEND and REPLACE, which come in steps, so that no message is ever held:
//!
//! ```text
//! AppendStart  (MessageStart  (Literal Octets* | CatenateUrl)*  MessageEnd)+  AppendEnd
//! ```
//!
//! At each [`Step::Literal`] the caller calls [`Reader::accept`] (and, for a synchronizing one, sends a
//! continuation request) or [`Reader::reject`] (and answers the command with NO). The octets come as
//! [`Step::Octets`], or the caller reads [`Reader::literal_remaining`] octets past the buffer and reports them to
//! [`Reader::literal_read`].
//!
//! # What is refused, and how reading goes on
//! [`Step::Bad`] is answered and forgotten: the rest of the refused command is skipped without holding it,
//! non-synchronizing literals included. Of a refused synchronizing literal nothing comes, as the client was not
//! asked for it (RFC 9051 §4.3). When there is more to skip than [`Limits::discard_bytes_max`], the answer is
//! [`Step::Fatal`]: say BYE and close.
//!
//! Lines end with CRLF. Servers that take a bare LF let whoever can put one into a string that a client quotes
//! (a search from a web page) begin a command of their own. Here a line that ends with LF alone is answered with
//! BAD, and so is what follows it up to the next CRLF: nothing of it is executed, yet each line has its answer,
//! so that neither a person typing nor a program waits in vain.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::command::Tagged;
use crate::commands::{self, append};
use crate::cursor::{LiteralHeader, literal_header};
use crate::error::{Fail, ParseError, ParseErrorKind};
use crate::limits::Limits;
use crate::string::{IString, Tag};

pub use crate::commands::append::{AppendStart, MessageLiteral, MessageStart, Replaces};

/// What a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Commands.
    Command,
    /// Answers in a SASL exchange: each line is a [`Step::AuthLine`], until the caller goes back to commands.
    Auth,
    /// The end of IDLE: one line, [`Step::IdleDone`] or [`Step::Bad`]; then commands again.
    Idle,
}

/// What the caller is to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Append more octets to the buffer and call again.
    NeedMore,
    /// Send a continuation request (`+ ...`), then call again: the client waits to send a literal.
    Continue,
    /// Execute a command. Before the next call, set the mode that it asks for (AUTHENTICATE, IDLE).
    Command(Tagged),
    /// An APPEND or REPLACE begins.
    AppendStart(AppendStart),
    /// A message begins.
    MessageStart(MessageStart),
    /// Octets of the message follow, if the caller [accepts](Reader::accept) them.
    Literal(MessageLiteral),
    /// Some octets of the literal; at least one.
    Octets(Bytes),
    /// A part of a CATENATE by URL.
    CatenateUrl(IString),
    /// The message is whole.
    MessageEnd,
    /// The command is whole: commit the messages and answer.
    AppendEnd,
    /// A line of a SASL exchange, without its end: base64, or `*` to cancel.
    AuthLine(Bytes),
    /// `DONE`
    IdleDone,
    /// Answer with BAD. Ends an APPEND that had begun: drop its messages. In [`Mode::Auth`] and [`Mode::Idle`]
    /// the error has no tag; answer with the running command's.
    Bad(ParseError),
    /// Answer with BYE and close. Every later call says it again.
    Fatal(ParseError),
}

/// Reads a client's octets. See the [module](self).
#[derive(Debug)]
pub struct Reader {
    limits: Arc<Limits>,
    mode: Mode,
    state: State,
    /// Where the current line begins in the buffer.
    line_start: usize,
    /// Up to where the buffer has been searched for a line end.
    scanned: usize,
    /// Literals in the current piece.
    literals: usize,
    /// The line before ended with LF alone: the current one may be the rest of its command.
    after_bare_lf: bool,
    /// Octets of the current refused command that were skipped.
    discarded: u64,
    /// An APPEND or REPLACE that has begun.
    append: Option<append::Progress>,
    /// Steps of a piece that was read ahead.
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum State {
    /// Looking for a line's end.
    Line,
    /// Waiting until the buffer holds this many octets, the end of a literal.
    Gather(usize),
    /// In a message's literal.
    Message { remaining: u64, sync: bool, accepted: bool },
    /// Skipping octets of a literal, then the line behind them.
    SkipOctets(u64),
    /// Skipping a line and the non-synchronizing literals behind it.
    SkipLine,
    /// Given up.
    Dead,
}

/// How many literals of a command are met with a check of what stands before them. The check saves asking for
/// the octets of a command that cannot be understood; more of them would read long commands again and again.
const CHECKED_LITERALS: usize = 4;

/// How many literals that are not messages may stand in one piece of an APPEND or REPLACE; the piece is read again
/// at each.
const STREAMED_LITERALS_MAX: usize = 64;

/// Where a tag is looked for in a line that cannot be read, octets.
const TAG_BYTES_MAX: usize = 256;

/// The end of a line, in octets, in which a literal's announcement is looked for; the longest without superfluous
/// zeros is `~{18446744073709551615+}`.
const TAIL_BYTES: usize = 32;

/// Largest non-synchronizing literal where `LITERAL-` is offered, octets (RFC 7888 §5).
const LITERAL_MINUS_BYTES_MAX: u64 = 4096;

impl Reader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Arc<Limits>) -> Self {
        Reader {
            limits,
            mode: Mode::Command,
            state: State::Line,
            line_start: 0,
            scanned: 0,
            literals: 0,
            after_bare_lf: false,
            discarded: 0,
            append: None,
            steps: VecDeque::new(),
        }
    }

    /// Replaces the limits, after login for example; they hold from the next line.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    /// Says what the next line means.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether nothing of a command has been read: with an empty buffer, the client owes nothing.
    pub fn is_between_commands(&self) -> bool {
        matches!(self.state, State::Line) && self.append.is_none() && self.line_start == 0
    }

    /// Octets of the current message literal that have not been taken, 0 outside of one.
    pub fn literal_remaining(&self) -> u64 {
        match self.state {
            State::Message { remaining, .. } if self.steps.is_empty() => remaining,
            _ => 0,
        }
    }

    /// Agrees to take the literal that [`Step::Literal`] announced. Call it when the continuation request is
    /// sent, or at once for a non-synchronizing literal; from then on its octets are read even if they are
    /// [rejected](Reader::reject) later.
    pub fn accept(&mut self) {
        if let State::Message { accepted, .. } = &mut self.state {
            *accepted = true;
        }
    }

    /// Notes `octets` of the literal as taken past the buffer, which must be empty; never more than
    /// [`Reader::literal_remaining`].
    pub fn literal_read(&mut self, octets: u64) {
        if let State::Message { remaining, accepted, .. } = &mut self.state {
            *accepted = true;
            debug_assert!(octets <= *remaining, "more octets than the literal has");
            *remaining = remaining.saturating_sub(octets);
        }
    }

    /// Gives up an APPEND or REPLACE that has begun: the caller has answered it, or will, with NO or BAD, and
    /// what follows of it is skipped. Without one, nothing happens.
    pub fn reject(&mut self) {
        self.steps.clear();
        if self.append.take().is_none() {
            return;
        }
        let skip = match self.state {
            State::Message { sync: true, accepted: false, .. } => return self.next_command(),
            State::Message { remaining, .. } => remaining,
            // In the piece behind a literal: skip what of it was understood, then the line's rest.
            State::Line => self.line_start as u64,
            State::Gather(end) => end as u64,
            State::SkipOctets(_) | State::SkipLine | State::Dead => return,
        };
        self.next_command();
        self.state = State::SkipOctets(skip);
    }

    /// The next step. `buffer` holds what has arrived and was not consumed; the same buffer at every call, and
    /// only appended to by the caller.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Step {
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        if self.append.is_none() && self.steps.capacity() > 0 {
            // An idle connection keeps nothing.
            self.steps = VecDeque::new();
        }
        loop {
            let step = match self.state {
                State::Line => self.line(buffer),
                State::Gather(end) => {
                    if buffer.len() < end {
                        return Step::NeedMore;
                    }
                    self.line_start = end;
                    self.scanned = end;
                    self.state = State::Line;
                    None
                }
                State::Message { remaining: 0, .. } => {
                    self.state = State::Line;
                    None
                }
                State::Message { remaining, sync, .. } => {
                    let len = usize::try_from(remaining).map_or(buffer.len(), |n| n.min(buffer.len()));
                    self.state = State::Message { remaining: remaining - len as u64, sync, accepted: true };
                    if len == 0 {
                        Some(Step::NeedMore)
                    } else {
                        Some(Step::Octets(buffer.split_to(len).freeze()))
                    }
                }
                State::SkipOctets(octets) => self.skip_octets(buffer, octets),
                State::SkipLine => self.skip_line(buffer),
                State::Dead => Some(Step::Fatal(ParseError {
                    kind: ParseErrorKind::LineTooLong,
                    message: "a refused command is too long to be skipped".into(),
                    tag: None,
                })),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Looks for the current line's end.
    #[inline]
    fn line(&mut self, buffer: &mut BytesMut) -> Option<Step> {
        if self.scanned > buffer.len() {
            debug_assert!(false, "octets were taken from the buffer in the middle of a command");
            self.next_command();
        }
        let line_max = if self.mode == Mode::Auth {
            self.limits.auth_line_bytes_max
        } else {
            self.limits.line_bytes_max
        };
        let Some(found) = memchr::memchr(b'\n', &buffer[self.scanned..]) else {
            self.scanned = buffer.len();
            if buffer.len() - self.line_start > line_max + 1 {
                return Some(self.refuse_line(buffer, line_too_long(line_max)));
            }
            return Some(Step::NeedMore);
        };
        let after = self.scanned + found + 1;
        let line = &buffer[self.line_start..after];
        if line.len() > line_max + 2 {
            return Some(self.refuse_line(buffer, line_too_long(line_max)));
        }
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Some(self.refuse_bare_lf(buffer, after));
        };
        if self.after_bare_lf {
            let header = trailing_literal(line);
            return Some(self.refuse_after_bare_lf(buffer, after, header));
        }
        match self.mode {
            Mode::Command => {
                let header = trailing_literal(line);
                self.command_line(buffer, after, header)
            }
            Mode::Auth => {
                let line = buffer.split_to(after).freeze();
                self.next_command();
                Some(Step::AuthLine(line.slice(..line.len() - 2)))
            }
            Mode::Idle => {
                let done = line.eq_ignore_ascii_case(b"DONE");
                buffer.advance(after);
                self.next_command();
                self.mode = Mode::Command;
                let bad = || Fail::syntax("only DONE ends IDLE");
                Some(if done { Step::IdleDone } else { Step::Bad(bad().with_tag(None)) })
            }
        }
    }

    /// A whole line of a command, which ends with a literal's announcement or ends the command.
    #[inline]
    fn command_line(
        &mut self,
        buffer: &mut BytesMut,
        after: usize,
        header: Option<LiteralHeader>,
    ) -> Option<Step> {
        if let Some(header) = header {
            return self.literal_line(buffer, after, header);
        }
        if self.append.is_none() && !append::is_streamed(&buffer[..after - 2]) {
            let mut text = buffer.split_to(after).freeze();
            text.truncate(after - 2);
            self.next_command();
            return Some(match commands::parse_command(&text, &self.limits) {
                Ok(command) => Step::Command(command),
                Err(error) => Step::Bad(error),
            });
        }
        let text = Bytes::copy_from_slice(&buffer[..after - 2]);
        buffer.advance(after);
        let mut progress = self.append.take().unwrap_or_else(append::Progress::new);
        let read = progress.piece(&text, &self.limits, &mut self.steps);
        self.next_command();
        match read {
            // Literals were looked for above: a piece without one can but end the command.
            Ok(_) => self.steps.pop_front(),
            Err(fail) => Some(Step::Bad(fail.with_tag(progress.tag))),
        }
    }

    /// A line that ends with a literal's announcement.
    fn literal_line(&mut self, buffer: &mut BytesMut, after: usize, header: LiteralHeader) -> Option<Step> {
        let streamed = self.append.is_some() || append::is_streamed(&buffer[..after - 2]);
        self.literals += 1;
        if self.limits.literal_minus && header.non_sync && header.size > LITERAL_MINUS_BYTES_MAX {
            let message = "a non-synchronizing literal may have 4096 octets at most (RFC 7888)";
            let fail = Fail::new(ParseErrorKind::LiteralTooBig, message);
            return Some(self.refuse_literal(buffer, after, header, fail));
        }
        if streamed || self.literals <= CHECKED_LITERALS {
            let text = Bytes::copy_from_slice(&buffer[..after - 2]);
            if streamed {
                if self.literals > STREAMED_LITERALS_MAX {
                    let fail = Fail::new(ParseErrorKind::TooMany, "the command has too many literals");
                    return Some(self.refuse_literal(buffer, after, header, fail));
                }
                let progress = self.append.get_or_insert_with(append::Progress::new);
                match progress.piece(&text, &self.limits, &mut self.steps) {
                    Ok(_) => {
                        buffer.advance(after);
                        self.begin_piece();
                        self.state = State::Message {
                            remaining: header.size,
                            sync: !header.non_sync,
                            accepted: false,
                        };
                        return self.steps.pop_front();
                    }
                    Err(fail) if fail.is_incomplete() => {}
                    Err(fail) => return Some(self.refuse_literal(buffer, after, header, fail)),
                }
            } else if let Err(fail) = commands::check_prefix(&text, &self.limits) {
                return Some(self.refuse_literal(buffer, after, header, fail));
            }
        }
        let max = self.limits.literal_bytes_max as u64;
        if header.size > max {
            let message = format!("a literal may have {max} octets at most here");
            let fail = Fail::new(ParseErrorKind::LiteralTooBig, message);
            return Some(self.refuse_literal(buffer, after, header, fail));
        }
        // No overflow: the size is at most `literal_bytes_max`, which is a length in memory.
        let end = after + header.size as usize;
        if end > self.limits.command_bytes_max {
            let message = format!("a command may have {} octets at most here", self.limits.command_bytes_max);
            let fail = Fail::new(ParseErrorKind::LineTooLong, message);
            return Some(self.refuse_literal(buffer, after, header, fail));
        }
        self.state = State::Gather(end);
        (!header.non_sync).then_some(Step::Continue)
    }

    /// Refuses a command at a literal's announcement: skips the octets that come all the same.
    fn refuse_literal(
        &mut self,
        buffer: &mut BytesMut,
        after: usize,
        header: LiteralHeader,
        fail: Fail,
    ) -> Step {
        let step = self.refuse(buffer, after, fail);
        if header.non_sync {
            self.state = State::SkipOctets(header.size);
        }
        step
    }

    /// Refuses a command in the middle of a line: skips to the line's end.
    fn refuse_line(&mut self, buffer: &mut BytesMut, fail: Fail) -> Step {
        let step = self.refuse(buffer, self.line_start, fail);
        self.state = State::SkipLine;
        step
    }

    /// Refuses a command for the bare LF before `after`.
    fn refuse_bare_lf(&mut self, buffer: &mut BytesMut, after: usize) -> Step {
        self.after_bare_lf = true;
        self.refuse(buffer, after, bare_lf("lines end with CR LF, not with LF alone"))
    }

    /// Refuses a line that follows a bare LF.
    fn refuse_after_bare_lf(
        &mut self,
        buffer: &mut BytesMut,
        after: usize,
        header: Option<LiteralHeader>,
    ) -> Step {
        self.after_bare_lf = false;
        let step = self.refuse(buffer, after, bare_lf("this line follows one that ended with LF alone"));
        if let Some(header) = header.filter(|header| header.non_sync) {
            self.state = State::SkipOctets(header.size);
        }
        step
    }

    /// Refuses the current command, or line of another mode, and forgets the buffer up to `after`.
    fn refuse(&mut self, buffer: &mut BytesMut, after: usize, fail: Fail) -> Step {
        let tag = if self.mode == Mode::Command { self.tag(buffer) } else { None };
        if self.mode == Mode::Idle {
            self.mode = Mode::Command;
        }
        buffer.advance(after);
        self.next_command();
        Step::Bad(fail.with_tag(tag))
    }

    /// The tag to refuse the current command with.
    fn tag(&self, buffer: &[u8]) -> Option<Tag> {
        if let Some(append) = &self.append {
            return append.tag.clone();
        }
        // Not further than a line that is refused for its length has surely come.
        let head = &buffer[..buffer.len().min(TAG_BYTES_MAX).min(self.limits.line_bytes_max)];
        let end = head.iter().position(|&b| matches!(b, b' ' | b'\r' | b'\n')).unwrap_or(0);
        Tag::new(&head[..end])
    }

    fn skip_octets(&mut self, buffer: &mut BytesMut, octets: u64) -> Option<Step> {
        if self.discarded.saturating_add(octets) > self.limits.discard_bytes_max {
            buffer.clear();
            self.state = State::Dead;
            return None;
        }
        let len = usize::try_from(octets).map_or(buffer.len(), |n| n.min(buffer.len()));
        buffer.advance(len);
        self.discarded += len as u64;
        let left = octets - len as u64;
        if left > 0 {
            self.state = State::SkipOctets(left);
            return Some(Step::NeedMore);
        }
        self.state = State::SkipLine;
        None
    }

    fn skip_line(&mut self, buffer: &mut BytesMut) -> Option<Step> {
        let found = memchr::memchr(b'\n', buffer);
        let len = found.map_or_else(|| buffer.len().saturating_sub(TAIL_BYTES + 2), |at| at + 1);
        self.discarded += len as u64;
        if self.discarded > self.limits.discard_bytes_max {
            buffer.clear();
            self.state = State::Dead;
            return None;
        }
        let line = buffer.split_to(len);
        if found.is_none() {
            return Some(Step::NeedMore);
        }
        let Some(line) = line.strip_suffix(b"\r\n") else {
            self.next_command();
            self.after_bare_lf = true;
            return None;
        };
        self.after_bare_lf = false;
        match trailing_literal(line) {
            Some(header) if header.non_sync && self.mode == Mode::Command => {
                self.state = State::SkipOctets(header.size);
            }
            _ => self.next_command(),
        }
        None
    }

    /// Forgets the command; the buffer begins with the next one.
    #[inline]
    fn next_command(&mut self) {
        self.begin_piece();
        self.state = State::Line;
        self.discarded = 0;
        self.append = None;
    }

    /// The buffer begins with a piece of a command.
    #[inline]
    fn begin_piece(&mut self) {
        self.line_start = 0;
        self.scanned = 0;
        self.literals = 0;
    }
}

#[cold]
fn line_too_long(max: usize) -> Fail {
    Fail::new(ParseErrorKind::LineTooLong, format!("a line may have {max} octets at most here"))
}

#[cold]
fn bare_lf(message: &'static str) -> Fail {
    Fail::new(ParseErrorKind::BadOctet, message)
}

/// The announcement that `line` ends with.
#[inline]
fn trailing_literal(line: &[u8]) -> Option<LiteralHeader> {
    if line.last() != Some(&b'}') {
        return None;
    }
    let tail = &line[line.len().saturating_sub(TAIL_BYTES)..];
    let header = &tail[memchr::memrchr(b'{', tail)?..];
    literal_header(header).filter(|parsed| parsed.len == header.len())
}
