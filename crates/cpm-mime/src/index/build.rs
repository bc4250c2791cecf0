//! The streaming scanner: lines, header blocks and boundaries to a part table and rendered answers.

use memchr::memmem::Finder;

use super::codec::{Tag, Writer, put_number, put_part};
use super::structure::{self, Head, Node};
use super::{MessageIndex, PartKind};
use crate::limits::{BOUNDARY_BYTES_MAX, Limits};
use crate::{envelope, facts, object, preview};

/// What decides whether a line is a boundary: dashes, delimiter, dashes (RFC 2046 §5.1.1).
const BOUNDARY_LINE_BYTES_MAX: usize = 2 + BOUNDARY_BYTES_MAX + 2;

/// Builds the index of a message that arrives in pieces.
///
/// Memory: one header block, the part table, the answers so far and the openings of up to three text parts; all within
/// [`Limits`], whatever the size of the message. How the message is split into pieces changes nothing.
#[derive(Debug)]
pub struct IndexBuilder {
    limits: Limits,
    nodes: Vec<Node>,
    /// Entities whose end has not come, outermost first; the last one receives what comes.
    open: Vec<Open>,
    in_header: bool,
    /// The block being read, up to the limit.
    header: Vec<u8>,
    /// Offset of the next octet.
    at: u64,
    /// LFs before `at`.
    lines: u64,
    /// The last two octets before `at`.
    tail: [u8; 2],
    line: Line,
    /// Start of a line that is not decided yet.
    pending: Vec<u8>,
    /// Octets of the index that nodes take.
    taken: usize,
    /// The top message's ENVELOPE.
    envelope: Vec<u8>,
    facts: facts::Facts,
    captures: preview::Captures,
    objects: object::Objects,
    line_dash: Finder<'static>,
}

/// Where in a line the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    /// In a line that may be a boundary or empty; its octets are in `pending`.
    Undecided,
    /// In a line that is neither.
    Ordinary,
    /// In what follows a boundary on its line.
    Padding(Boundary),
}

/// A boundary line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Boundary {
    /// Whose: place in `open`.
    depth: usize,
    /// Whether it is the last.
    closes: bool,
}

#[derive(Debug)]
struct Open {
    node: usize,
    /// Of a multipart: its boundary. Empty for others, and once no more parts may come.
    boundary: Vec<u8>,
    digest: bool,
}

impl IndexBuilder {
    /// A builder that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        let mut builder = Self {
            limits,
            nodes: Vec::with_capacity(4),
            open: Vec::with_capacity(4),
            in_header: false,
            header: Vec::with_capacity(1024),
            at: 0,
            lines: 0,
            tail: [0; 2],
            line: Line::Start,
            pending: Vec::new(),
            taken: 0,
            envelope: Vec::new(),
            facts: facts::Facts::default(),
            captures: preview::Captures::default(),
            objects: object::Objects::default(),
            line_dash: Finder::new(b"\n-"),
        };
        builder.begin_entity();
        builder
    }

    /// Octets seen so far.
    pub fn size(&self) -> u64 {
        self.at
    }

    /// Takes the next piece. Cost: one pass, by search rather than octet by octet within bodies.
    pub fn push(&mut self, mut data: &[u8]) {
        while let Some(&first) = data.first() {
            match self.line {
                Line::Ordinary => {
                    let end = if self.in_header {
                        memchr::memchr(b'\n', data).map(|lf| lf + 1)
                    } else {
                        self.line_dash.find(data).map(|lf| lf + 1)
                    };
                    let (taken, rest) = data.split_at(end.unwrap_or(data.len()));
                    self.ordinary(taken);
                    data = rest;
                }
                Line::Padding(boundary) => {
                    let end = memchr::memchr(b'\n', data).map(|lf| lf + 1);
                    let (taken, rest) = data.split_at(end.unwrap_or(data.len()));
                    data = rest;
                    self.advance(taken);
                    if end.is_some() {
                        self.after_boundary(boundary);
                    }
                }
                Line::Start if !self.may_decide(first) => self.line = Line::Ordinary,
                Line::Start | Line::Undecided => {
                    let room = BOUNDARY_LINE_BYTES_MAX - self.pending.len();
                    let window = &data[..data.len().min(room)];
                    let lf = memchr::memchr(b'\n', window);
                    let (taken, rest) = data.split_at(lf.map_or(window.len(), |lf| lf + 1));
                    data = rest;
                    if self.pending.is_empty() && lf.is_some() {
                        self.decide(taken);
                        continue;
                    }
                    self.pending.extend_from_slice(taken);
                    self.line = Line::Undecided;
                    if lf.is_some() || self.pending.len() == BOUNDARY_LINE_BYTES_MAX {
                        self.decide_pending();
                    }
                }
            }
        }
    }

    /// Ends the message.
    pub fn finish(mut self) -> MessageIndex {
        self.decide_pending();
        if let Line::Padding(boundary) = self.line {
            self.after_boundary(boundary);
        }
        self.close_down_to(0, self.at, 0);
        self.write()
    }

    /// Whether a line that begins so may be empty (in a header) or a boundary.
    fn may_decide(&self, first: u8) -> bool {
        match first {
            b'-' => self.open.iter().any(|open| !open.boundary.is_empty()),
            b'\r' | b'\n' => self.in_header,
            _ => false,
        }
    }

    fn decide_pending(&mut self) {
        if !self.pending.is_empty() {
            let mut line = std::mem::take(&mut self.pending);
            self.decide(&line);
            line.clear();
            self.pending = line;
        }
    }

    /// A whole line, or as much of its start as decides what it is.
    fn decide(&mut self, line: &[u8]) {
        if self.in_header && matches!(line, b"\n" | b"\r\n") {
            self.advance(line);
            self.line = Line::Start;
            self.end_header(self.at);
        } else if let Some(boundary) = self.boundary(line) {
            self.end_parts_below(boundary.depth);
            self.advance(line);
            self.line = Line::Padding(boundary);
            if line.ends_with(b"\n") {
                self.after_boundary(boundary);
            }
        } else {
            self.ordinary(line);
        }
    }

    /// The line after a boundary begins here.
    fn after_boundary(&mut self, boundary: Boundary) {
        self.line = Line::Start;
        if !boundary.closes && self.has_room() {
            self.begin_entity();
        } else {
            // No more of its parts come, or no more are indexed: to those around it, what follows is content.
            self.open[boundary.depth].boundary.clear();
        }
    }

    /// Octets that are content, or fields of a header.
    fn ordinary(&mut self, octets: &[u8]) {
        if self.in_header {
            let room = self.limits.header_bytes_max.saturating_sub(self.header.len());
            self.header.extend_from_slice(&octets[..octets.len().min(room)]);
        } else {
            self.captures.push(octets);
        }
        self.advance(octets);
        self.line = if octets.ends_with(b"\n") { Line::Start } else { Line::Ordinary };
    }

    fn advance(&mut self, octets: &[u8]) {
        self.at += octets.len() as u64;
        self.lines += memchr::memchr_iter(b'\n', octets).count() as u64;
        self.objects.push(octets);
        match octets {
            [.., a, b] => self.tail = [*a, *b],
            [b] => self.tail = [self.tail[1], *b],
            [] => {}
        }
    }

    /// Whose boundary this line is, if it is one.
    fn boundary(&self, line: &[u8]) -> Option<Boundary> {
        let line = line.strip_prefix(b"--")?;
        let fits = |open: &&Open| !open.boundary.is_empty() && line.starts_with(&open.boundary);
        let depths = self.open.iter().enumerate().filter(|(_, open)| fits(open));
        // `max_by_key` takes the last of equals, which is the innermost.
        let (depth, open) = depths.max_by_key(|(_, open)| open.boundary.len())?;
        Some(Boundary { depth, closes: line[open.boundary.len()..].starts_with(b"--") })
    }

    fn has_room(&self) -> bool {
        self.nodes.len() < self.limits.parts_max && self.taken < self.limits.structure_bytes_max
    }

    /// Opens a part whose header begins here.
    fn begin_entity(&mut self) {
        self.open.push(Open { node: self.nodes.len(), boundary: Vec::new(), digest: false });
        self.nodes.push(Node::at(self.at));
        self.header.clear();
        self.in_header = true;
        self.captures.close();
    }

    /// A boundary line of `open[depth]` begins here: what is inside it ends before the line end that precedes.
    fn end_parts_below(&mut self, depth: usize) {
        let line_end = match self.tail {
            [b'\r', b'\n'] => 2,
            [_, b'\n'] => 1,
            _ => 0,
        };
        self.close_down_to(depth + 1, self.at - line_end.min(self.at), line_end.min(1));
    }

    /// Closes entities until `keep` are left. They end at `end`, which `line_ends` LFs separate from the present.
    fn close_down_to(&mut self, keep: usize, mut end: u64, line_ends: u64) {
        // A block without an empty line ends here, with all its octets. It may open the entity of a nested message,
        // whose block is then empty and opens none.
        while self.in_header && self.open.len() > keep {
            self.end_header(self.at);
        }
        self.captures.close();
        while self.open.len() > keep {
            let Some(open) = self.open.pop() else { break };
            let node = &mut self.nodes[open.node];
            // A part without a body ends where it has it, and those around it not before.
            end = end.max(node.body);
            node.end = end;
            let lines = if end == self.at { self.lines } else { self.lines - line_ends };
            node.lines = if end == node.body { 0 } else { lines.saturating_sub(node.lines) };
            if node.kind == PartKind::Multipart && self.nodes.len() == open.node + 1 {
                let empty = Node::empty(end);
                self.taken += empty.share();
                self.nodes.push(empty);
            }
            self.nodes[open.node].descendants = (self.nodes.len() - open.node - 1) as u32;
        }
    }

    /// The block of the innermost entity is complete; its body begins at `body`.
    fn end_header(&mut self, body: u64) {
        self.in_header = false;
        let level = self.open.len();
        let Some(open) = self.open.last() else { return };
        let at = open.node;
        let parent = level.checked_sub(2).map(|above| &self.open[above]);
        let in_digest = parent.is_some_and(|parent| parent.digest);
        let holder = parent.map(|parent| parent.node);
        match holder {
            None => {
                let envelope = envelope::render(&self.header, self.limits.envelope_bytes_max);
                let block_is_cut = self.header.len() >= self.limits.header_bytes_max;
                self.facts = facts::Facts::read(&self.header, block_is_cut, envelope.is_cut);
                self.envelope = envelope.octets;
            }
            Some(holder) if self.nodes[holder].kind == PartKind::Message => {
                let envelope = envelope::render(&self.header, self.limits.envelope_bytes_max / 4).octets;
                self.taken += envelope.len();
                self.nodes[holder].envelope = envelope;
            }
            Some(_) => {}
        }
        let head = Head::read(&self.header, in_digest);
        let may_hold_parts = level < self.limits.depth_max && self.has_room();
        let node = &mut self.nodes[at];
        node.describe(&head, may_hold_parts);
        node.body = body;
        node.end = body;
        node.lines = self.lines;
        self.taken += node.share();
        if holder.is_none() && self.header.len() < self.limits.header_bytes_max {
            self.objects.begin(&self.header, object::lacks_id(&self.header, &node.media_type));
        }
        if holder.is_none() && node.media_type == "multipart/related" {
            self.objects.begin_related(&head.content_type.parameters);
        }
        if holder == Some(0) {
            self.objects.part(head.id, &node.media_type);
        }
        match node.kind {
            PartKind::Multipart => {
                self.open[level - 1].boundary = head.boundary();
                self.open[level - 1].digest = head.content_type.subtype == b"digest";
            }
            PartKind::Message => self.begin_entity(),
            PartKind::Text | PartKind::Other => {
                self.captures.begin(&node.media_type, &node.charset, node.encoding, head.is_attachment());
            }
        }
    }

    /// Puts the index together.
    fn write(self) -> MessageIndex {
        let mut number = Vec::with_capacity(10);
        put_number(&mut number, self.at);
        let mut parts = Vec::with_capacity(self.nodes.len() * 16);
        let mut after = 0;
        for node in &self.nodes {
            put_part(&mut parts, &node.part(), after);
            after = node.body;
        }
        let answer = structure::render(&self.nodes);
        let is_cpim = self.nodes.first().is_some_and(|root| root.media_type == "message/cpim");
        let wrapped = if is_cpim { self.captures.wrapped() } else { None };

        let mut out = Writer::new();
        out.put(Tag::Size, &number);
        out.put(Tag::Parts, &parts);
        out.put(Tag::Envelope, &self.envelope);
        out.put(Tag::BodyStructure, &answer.bodystructure);
        out.put(Tag::Extensions, &answer.extensions);
        if let Some(preview) = self.captures.preview() {
            out.put(Tag::Preview, preview.as_bytes());
        }
        self.facts.write(&mut out);
        self.objects.write(wrapped.as_ref(), &mut out);
        MessageIndex { raw: out.finish().into() }
    }
}
