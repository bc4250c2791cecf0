//! The MIME fields of a part, and BODYSTRUCTURE (RFC 9051 §7.5.2).

use super::codec::put_number;
use super::{Encoding, Part, PartKind};
use crate::header;
use crate::limits::{BOUNDARY_BYTES_MAX, STRUCTURE_PART_BYTES_MAX, STRUCTURE_STRING_BYTES_MAX};
use crate::param::{self, ContentType, Parameters};
use crate::quote::{cut, nstring, number, string};

/// Octets that a part takes beside its own fields: parentheses, size and lines in the answer, numbers in the table.
const FRAME_BYTES: usize = 64;

/// A part under construction, with its share of the answers.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: PartKind,
    pub(super) encoding: Encoding,
    pub(super) media_type: String,
    pub(super) charset: String,
    pub(super) header: u64,
    pub(super) body: u64,
    pub(super) end: u64,
    /// LFs before the body; once the end is known, LFs in it.
    pub(super) lines: u64,
    pub(super) descendants: u32,
    /// Of a multipart the subtype, of others all from the type to the encoding.
    fields: Vec<u8>,
    /// Extension data, each field with a blank before it.
    extension: Vec<u8>,
    /// Of a message part: the ENVELOPE of the message in it.
    pub(super) envelope: Vec<u8>,
}

impl Node {
    /// A part whose header begins at `at`.
    pub(super) fn at(at: u64) -> Self {
        Self {
            kind: PartKind::Other,
            encoding: Encoding::Identity,
            media_type: String::new(),
            charset: String::new(),
            header: at,
            body: at,
            end: at,
            lines: 0,
            descendants: 0,
            fields: Vec::new(),
            extension: Vec::new(),
            envelope: Vec::new(),
        }
    }

    /// The part that a multipart without parts is shown to have.
    pub(super) fn empty(at: u64) -> Self {
        let mut node = Self::at(at);
        node.describe(&Head::read(b"", false), false);
        node
    }

    /// Takes over what the header says, within limits.
    pub(super) fn describe(&mut self, head: &Head<'_>, may_hold_parts: bool) {
        self.kind = head.kind();
        self.encoding = head.encoding();
        let opaque = matches!(self.kind, PartKind::Multipart | PartKind::Message) && !may_hold_parts;
        if opaque {
            self.kind = PartKind::Other;
        }
        let content_type = if opaque { &ContentType::octet_stream() } else { &head.content_type };
        (self.fields, self.extension) = head.render(self.kind, content_type, true);
        if self.fields.len() + self.extension.len() > STRUCTURE_PART_BYTES_MAX {
            (self.fields, self.extension) = head.render(self.kind, content_type, false);
        }
        let [kind, subtype] =
            [&content_type.kind, &content_type.subtype].map(|name| String::from_utf8_lossy(name));
        self.media_type = format!("{kind}/{subtype}");
        if let Some(charset) = content_type.parameters.get("charset") {
            self.charset = String::from_utf8_lossy(cut(charset, 64)).trim().to_ascii_lowercase();
        }
    }

    /// Octets of its share of the index, without the envelope.
    pub(super) fn share(&self) -> usize {
        self.fields.len() + self.extension.len() + self.media_type.len() + self.charset.len() + FRAME_BYTES
    }

    pub(super) fn part(&self) -> Part<'_> {
        Part {
            kind: self.kind,
            encoding: self.encoding,
            media_type: &self.media_type,
            charset: &self.charset,
            header: self.header..self.body,
            body: self.body..self.end,
            lines: self.lines,
            descendants: self.descendants,
        }
    }
}

impl ContentType {
    fn octet_stream() -> Self {
        Self {
            kind: b"application".to_vec(),
            subtype: b"octet-stream".to_vec(),
            parameters: Parameters::default(),
        }
    }
}

/// The MIME fields of one header block.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) content_type: ContentType,
    encoding: Option<Vec<u8>>,
    pub(super) id: Option<&'a [u8]>,
    description: Option<&'a [u8]>,
    md5: Option<&'a [u8]>,
    location: Option<&'a [u8]>,
    disposition: Option<(Vec<u8>, Parameters)>,
    languages: Vec<Vec<u8>>,
}

impl<'a> Head<'a> {
    /// Reads a block; the first of equal fields counts.
    pub(super) fn read(block: &'a [u8], in_digest: bool) -> Self {
        let [
            mut content_type,
            mut encoding,
            mut id,
            mut description,
            mut md5,
            mut location,
            mut disposition,
            mut language,
        ] = [None; 8];
        for field in header::fields(block) {
            let Some(b'-') = field.name.get(7) else { continue };
            let slot = match field.name.len() {
                10 if field.is("content-id") => &mut id,
                11 if field.is("content-md5") => &mut md5,
                12 if field.is("content-type") => &mut content_type,
                16 if field.is("content-language") => &mut language,
                16 if field.is("content-location") => &mut location,
                19 if field.is("content-description") => &mut description,
                19 if field.is("content-disposition") => &mut disposition,
                25 if field.is("content-transfer-encoding") => &mut encoding,
                _ => continue,
            };
            slot.get_or_insert(field.value);
        }
        let content_type = match content_type {
            None if in_digest => ContentType::message_rfc822(),
            None => ContentType::text_plain(),
            Some(value) => param::content_type(value)
                .filter(|ct| ct.kind != b"multipart" || !boundary_of(ct).is_empty())
                .unwrap_or_else(ContentType::text_plain),
        };
        Self {
            content_type,
            encoding: encoding.and_then(param::encoding),
            id,
            description,
            md5,
            location,
            disposition: disposition.and_then(param::disposition),
            languages: language.map(param::languages).unwrap_or_default(),
        }
    }

    fn kind(&self) -> PartKind {
        match (&self.content_type.kind[..], &self.content_type.subtype[..]) {
            (b"multipart", _) => PartKind::Multipart,
            (b"message", b"rfc822" | b"global") => PartKind::Message,
            (b"text", _) => PartKind::Text,
            _ => PartKind::Other,
        }
    }

    fn encoding(&self) -> Encoding {
        // A multipart is never encoded (RFC 2045 §6.4), whatever it says.
        if self.content_type.kind == b"multipart" {
            return Encoding::Identity;
        }
        Encoding::named(self.encoding.as_deref())
    }

    /// The delimiter of its parts, without the dashes.
    pub(super) fn boundary(&self) -> Vec<u8> {
        boundary_of(&self.content_type)
    }

    pub(super) fn is_attachment(&self) -> bool {
        self.disposition.as_ref().is_some_and(|(kind, _)| kind == b"attachment")
    }

    /// The basic fields and the extension fields. Without `descriptive`, only what a client needs to read the part.
    fn render(&self, kind: PartKind, content_type: &ContentType, descriptive: bool) -> (Vec<u8>, Vec<u8>) {
        let none = Parameters::default();
        let shown = if descriptive { &content_type.parameters } else { &none };
        let text = |out: &mut Vec<u8>, value: Option<&[u8]>| {
            let value = value.filter(|_| descriptive).map(header::unfold);
            out.push(b' ');
            nstring(out, value.as_deref().map(|value| cut(value, STRUCTURE_STRING_BYTES_MAX)));
        };
        let mut fields = Vec::with_capacity(64);
        let mut extension = Vec::with_capacity(32);
        if kind == PartKind::Multipart {
            string(&mut fields, &content_type.subtype);
            extension.push(b' ');
            parameters(&mut extension, shown);
        } else {
            string(&mut fields, &content_type.kind);
            fields.push(b' ');
            string(&mut fields, &content_type.subtype);
            fields.push(b' ');
            parameters(&mut fields, shown);
            text(&mut fields, self.id);
            text(&mut fields, self.description);
            fields.push(b' ');
            string(&mut fields, self.encoding.as_deref().unwrap_or(b"7bit"));
            text(&mut extension, self.md5);
        }
        extension.push(b' ');
        match &self.disposition {
            Some((kind, about)) if descriptive => {
                extension.push(b'(');
                string(&mut extension, kind);
                extension.push(b' ');
                parameters(&mut extension, about);
                extension.push(b')');
            }
            _ => extension.extend_from_slice(b"NIL"),
        }
        extension.push(b' ');
        match &self.languages[..] {
            [] => extension.extend_from_slice(b"NIL"),
            [one] => string(&mut extension, one),
            all => {
                for (n, tag) in all.iter().enumerate() {
                    extension.push(if n == 0 { b'(' } else { b' ' });
                    string(&mut extension, tag);
                }
                extension.push(b')');
            }
        }
        text(&mut extension, self.location);
        (fields, extension)
    }
}

/// The boundary of a multipart; empty where it is missing or longer than is honoured.
fn boundary_of(content_type: &ContentType) -> Vec<u8> {
    let parameters = &content_type.parameters;
    let boundary = match parameters.get("boundary") {
        Some(boundary) => boundary.to_vec(),
        None => parameters.text("boundary").unwrap_or_default().into_bytes(),
    };
    // Blanks at the end are padding (RFC 2046 §5.1.1).
    let boundary = boundary.trim_ascii_end();
    if boundary.len() > BOUNDARY_BYTES_MAX { Vec::new() } else { boundary.to_vec() }
}

fn parameters(out: &mut Vec<u8>, parameters: &Parameters) {
    if parameters.iter().len() == 0 {
        return out.extend_from_slice(b"NIL");
    }
    for (n, (name, value)) in parameters.iter().enumerate() {
        out.push(if n == 0 { b'(' } else { b' ' });
        string(out, name);
        out.push(b' ');
        string(out, value);
    }
    out.push(b')');
}

/// The rendered structure.
pub(super) struct Answer {
    pub(super) bodystructure: Vec<u8>,
    /// Where the extension data are, as (gap, length) pairs: without them it is the answer to BODY.
    pub(super) extensions: Vec<u8>,
}

/// Renders the tree.
pub(super) fn render(nodes: &[Node]) -> Answer {
    let size = nodes.iter().map(|node| node.share() + node.envelope.len()).sum();
    let mut render =
        Render { nodes, next: 0, out: Vec::with_capacity(size), extensions: Vec::new(), extension_end: 0 };
    render.part();
    Answer { bodystructure: render.out, extensions: render.extensions }
}

struct Render<'a> {
    nodes: &'a [Node],
    next: usize,
    out: Vec<u8>,
    extensions: Vec<u8>,
    extension_end: usize,
}

impl Render<'_> {
    /// Renders the next node and its descendants. Recursion is as deep as the tree, which `Limits` bound.
    fn part(&mut self) {
        let nodes = self.nodes;
        let Some(node) = nodes.get(self.next) else { return };
        self.next += 1;
        self.out.push(b'(');
        if node.kind == PartKind::Multipart {
            let end = self.next + node.descendants as usize;
            while self.next < end {
                self.part();
            }
            self.out.push(b' ');
            self.out.extend_from_slice(&node.fields);
        } else {
            self.out.extend_from_slice(&node.fields);
            self.out.push(b' ');
            number(&mut self.out, node.end - node.body);
            if node.kind == PartKind::Message {
                self.out.push(b' ');
                self.out.extend_from_slice(&node.envelope);
                self.out.push(b' ');
                self.part();
            }
            if matches!(node.kind, PartKind::Message | PartKind::Text) {
                self.out.push(b' ');
                number(&mut self.out, node.lines);
            }
        }
        put_number(&mut self.extensions, (self.out.len() - self.extension_end) as u64);
        put_number(&mut self.extensions, node.extension.len() as u64);
        self.out.extend_from_slice(&node.extension);
        self.extension_end = self.out.len();
        self.out.push(b')');
    }
}
