//! Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).
//!
//! Lenient: blanks, comments, missing quotes and stray semicolons are taken as their writer meant them. Continuations
//! (`name*0=`, `name*1=` …) are joined. Percent-encoded values keep their form under the name `name*`, because an IMAP
//! server joins continuations and leaves charsets to the client (RFC 2231 §6); [`Parameters::text`] decodes them.

use std::borrow::Cow;

use crate::limits::{NAME_BYTES_MAX, PARAMETERS_MAX, STRUCTURE_STRING_BYTES_MAX};
use crate::quote::cut;

/// Parameters in order of first appearance; names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    list: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parameters {
    /// (name, value) pairs: values without quoting. A name ending in `*` has a value in RFC 2231 extended form.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// The octets of the parameter `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.list.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// The parameter `name` (lower case) as text: extended values are decoded, plain ones read as UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        let extended = self.list.iter().find(|(n, _)| n.strip_suffix(b"*") == Some(name.as_bytes()));
        if let Some((_, value)) = extended {
            return Some(decode_extended(value));
        }
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Decodes `charset'language'percent-encoded`.
fn decode_extended(value: &[u8]) -> String {
    let mut fields = value.splitn(3, |byte| *byte == b'\'');
    let (charset, text) = match (fields.next(), fields.next(), fields.next()) {
        (Some(charset), Some(_), Some(text)) => (charset, text),
        _ => (&b""[..], value),
    };
    let mut octets = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = |i: usize| text.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                octets.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                octets.push(byte);
                at += 1;
            }
        }
    }
    crate::charset::decode(charset, &octets).into_owned()
}

/// A media type with its parameters; type and subtype in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// `text`, `multipart`, …
    pub kind: Vec<u8>,
    /// `plain`, `mixed`, …
    pub subtype: Vec<u8>,
    /// Its parameters.
    pub parameters: Parameters,
}

impl ContentType {
    /// What RFC 2045 §5.2 assumes where nothing valid is said.
    pub fn text_plain() -> Self {
        Self {
            kind: b"text".to_vec(),
            subtype: b"plain".to_vec(),
            parameters: Parameters { list: vec![(b"charset".to_vec(), b"us-ascii".to_vec())] },
        }
    }

    /// What RFC 2046 §5.1.5 assumes inside multipart/digest.
    pub fn message_rfc822() -> Self {
        Self { kind: b"message".to_vec(), subtype: b"rfc822".to_vec(), parameters: Parameters::default() }
    }

    /// Whether this is `kind/subtype` (lower case).
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind == kind.as_bytes() && self.subtype == subtype.as_bytes()
    }
}

/// Reads the value of a Content-Type field. None where type or subtype is missing.
pub fn content_type(value: &[u8]) -> Option<ContentType> {
    let mut scan = Scan { rest: value };
    let kind = scan.token()?;
    if !scan.eat(b'/') {
        return None;
    }
    let subtype = scan.token()?;
    Some(ContentType { kind: lower(kind), subtype: lower(subtype), parameters: scan.parameters() })
}

/// Reads the value of a Content-Disposition field: the disposition in lower case, and its parameters.
pub fn disposition(value: &[u8]) -> Option<(Vec<u8>, Parameters)> {
    let mut scan = Scan { rest: value };
    let kind = scan.token()?;
    Some((lower(kind), scan.parameters()))
}

/// Reads the value of Content-Transfer-Encoding, in lower case.
pub fn encoding(value: &[u8]) -> Option<Vec<u8>> {
    Scan { rest: value }.token().map(lower)
}

/// Reads the tags of Content-Language (RFC 3282), which stand between commas.
pub fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut scan = Scan { rest: value };
    let mut tags = Vec::new();
    while tags.len() < PARAMETERS_MAX {
        match scan.token() {
            Some(tag) => tags.push(cut(tag, NAME_BYTES_MAX).to_vec()),
            None if !scan.eat(b',') => break,
            None => {}
        }
    }
    tags
}

fn lower(token: &[u8]) -> Vec<u8> {
    cut(token, NAME_BYTES_MAX).to_ascii_lowercase()
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Skips blanks, line ends and comments.
    fn skip_cfws(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.first() != Some(&b'(') {
                return;
            }
            let mut depth = 0usize;
            let mut at = 0;
            while at < self.rest.len() {
                match self.rest[at] {
                    b'\\' => at += 1,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            self.rest = &self.rest[at.min(self.rest.len())..];
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_cfws();
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        self.skip_cfws();
        let end = self
            .rest
            .iter()
            .position(|b| {
                matches!(
                    b,
                    0..=b' '
                        | 0x7f
                        | b'('
                        | b')'
                        | b'<'
                        | b'>'
                        | b'@'
                        | b','
                        | b';'
                        | b':'
                        | b'\\'
                        | b'"'
                        | b'/'
                        | b'['
                        | b']'
                        | b'?'
                        | b'='
                )
            })
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A value: a quoted string, or what stands before the next semicolon or blank. Senders forget quotes around
    /// values with tspecials, so those are let in.
    fn value(&mut self) -> Cow<'a, [u8]> {
        self.skip_cfws();
        if self.rest.first() == Some(&b'"') {
            let mut out = Vec::new();
            let mut at = 1;
            while at < self.rest.len() {
                match self.rest[at] {
                    b'"' => break,
                    b'\\' if at + 1 < self.rest.len() => {
                        at += 1;
                        out.push(self.rest[at]);
                    }
                    // Folding inside a quoted string is not part of it (RFC 5322 §3.2.4).
                    b'\n' => {}
                    b'\r' if self.rest.get(at + 1) == Some(&b'\n') => {}
                    byte => out.push(byte),
                }
                at += 1;
            }
            self.rest = self.rest.get(at + 1..).unwrap_or_default();
            return out.into();
        }
        let end = self
            .rest
            .iter()
            .position(|b| matches!(b, b';' | b' ' | b'\t' | b'\r' | b'\n' | b'('))
            .unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        value.into()
    }

    fn parameters(mut self) -> Parameters {
        let mut pieces: Vec<Piece> = Vec::new();
        // Each turn passes one semicolon, so the loop ends with the value.
        while let Some(semicolon) = self.find_semicolon() {
            self.rest = &self.rest[semicolon + 1..];
            let Some(name) = self.token() else { continue };
            if !self.eat(b'=') {
                continue;
            }
            let value = self.value();
            if pieces.len() < PARAMETERS_MAX {
                pieces.push(Piece::new(name, &value));
            }
        }
        join(pieces)
    }

    fn find_semicolon(&mut self) -> Option<usize> {
        self.skip_cfws();
        memchr::memchr(b';', self.rest)
    }
}

/// One parameter as written: `name`, `name*`, `name*1` or `name*1*`.
struct Piece {
    name: Vec<u8>,
    number: Option<u32>,
    extended: bool,
    value: Vec<u8>,
}

impl Piece {
    fn new(name: &[u8], value: &[u8]) -> Self {
        let value = cut(value, STRUCTURE_STRING_BYTES_MAX).to_vec();
        let (plain, extended) = match name.strip_suffix(b"*") {
            Some(plain) if !plain.is_empty() => (plain, true),
            _ => (name, false),
        };
        if let Some(star) = memchr::memrchr(b'*', plain)
            && star > 0
            && let Some(number) = std::str::from_utf8(&plain[star + 1..]).ok().and_then(|n| n.parse().ok())
        {
            return Self { name: lower(&plain[..star]), number: Some(number), extended, value };
        }
        Self { name: lower(plain), number: None, extended, value }
    }
}

/// Joins continuations in the order of their numbers; a gap ends the value. The first of equal names wins.
fn join(mut pieces: Vec<Piece>) -> Parameters {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(pieces.len());
    while !pieces.is_empty() {
        let first = pieces.remove(0);
        let name = first.name.clone();
        let (extended, value) = match first.number {
            None => (first.extended, first.value),
            Some(_) => {
                let mut parts = vec![first];
                let mut at = 0;
                while at < pieces.len() {
                    if pieces[at].name == name && pieces[at].number.is_some() {
                        parts.push(pieces.remove(at));
                    } else {
                        at += 1;
                    }
                }
                parts.sort_by_key(|piece| piece.number);
                let run = parts.iter().zip(0..).take_while(|(piece, n)| piece.number == Some(*n)).count();
                parts.truncate(run);
                let extended = parts.iter().any(|piece| piece.extended);
                let mut value = Vec::new();
                for (n, piece) in parts.iter().enumerate() {
                    // Once a piece is extended the whole is, so plain ones are encoded to keep their meaning.
                    if extended && n == 0 && !piece.extended {
                        value.extend_from_slice(b"''");
                    }
                    if extended && !piece.extended {
                        percent_encode(&mut value, &piece.value);
                    } else {
                        value.extend_from_slice(&piece.value);
                    }
                }
                value.truncate(STRUCTURE_STRING_BYTES_MAX);
                (extended, value)
            }
        };
        let full = if extended { [&name[..], b"*"].concat() } else { name };
        if !list.iter().any(|(known, _)| *known == full) {
            list.push((full, value));
        }
    }
    Parameters { list }
}

fn percent_encode(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        match content_type(value.as_bytes()) {
            None => "none".into(),
            Some(ct) => {
                let mut out = format!("{}/{}", ct.kind.escape_ascii(), ct.subtype.escape_ascii());
                for (name, value) in ct.parameters.iter() {
                    out += &format!(" {}=[{}]", name.escape_ascii(), value.escape_ascii());
                }
                out
            }
        }
    }

    #[test]
    fn content_types() {
        for (input, expected) in [
            (" text/plain\r\n", "text/plain"),
            ("Text/HTML; CHARSET=utf-8", "text/html charset=[utf-8]"),
            ("text/plain; charset=\"a\\\"b\"; x=y", r#"text/plain charset=[a\"b] x=[y]"#),
            ("text/plain (c; x=y); charset (d) = (e) us-ascii", "text/plain charset=[us-ascii]"),
            ("multipart/mixed; boundary=\"foo\r\n bar\"", "multipart/mixed boundary=[foo bar]"),
            ("multipart/mixed; boundary=a/b=c:d", "multipart/mixed boundary=[a/b=c:d]"),
            ("text/plain;; x=1 ;", "text/plain x=[1]"),
            ("text/plain; =x; y=1; y=2", "text/plain y=[1]"),
            ("text", "none"),
            ("", "none"),
            ("/plain", "none"),
            ("text/", "none"),
            ("text/plain; x=\"unclosed", "text/plain x=[unclosed]"),
            ("text/plain (unclosed", "text/plain"),
            // RFC 2231 §3, §4.1: the joined values as an IMAP server shows them (§6).
            (
                "message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/x.tar\"",
                "message/external-body access-type=[URL] url=[ftp://cs.utk.edu/pub/x.tar]",
            ),
            (
                "application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                r"application/x-stuff title*=[us-ascii\'en-us\'This%20is%20%2A%2A%2Afun%2A%2A%2A]",
            ),
            (
                "application/x-stuff; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*0*=us-ascii'en'This%20is%20; title*2=\"isn't it!\"",
                r"application/x-stuff title*=[us-ascii\'en\'This%20is%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it%21]",
            ),
            ("a/b; n*0=x; n*2=z", "a/b n=[x]"),
            ("a/b; n*1=x", "a/b n=[]"),
            ("a/b; *=x; **=y", "a/b *=[x] **=[y]"),
        ] {
            assert_eq!(show(input), expected, "{input}");
        }
    }

    #[test]
    fn extended_values_decode() {
        let ct = content_type(b"a/b; n*=iso-8859-1'en'%A3%20rates; m=x; o*=%zz").expect("valid");
        assert_eq!(ct.parameters.text("n").as_deref(), Some("£ rates"));
        assert_eq!(ct.parameters.text("m").as_deref(), Some("x"));
        assert_eq!(ct.parameters.text("o").as_deref(), Some("%zz"));
        assert_eq!(ct.parameters.text("p"), None);
    }

    #[test]
    fn languages_and_dispositions() {
        assert_eq!(languages(b" en, fr-CA (x),"), [b"en".to_vec(), b"fr-CA".to_vec()]);
        assert!(languages(b"").is_empty());
        let (kind, parameters) = disposition(b"Attachment; filename=\"a b\"").expect("valid");
        assert_eq!((&kind[..], parameters.get("filename")), (&b"attachment"[..], Some(&b"a b"[..])));
        assert_eq!(encoding(b" BASE64 (x)"), Some(b"base64".to_vec()));
        assert_eq!(encoding(b" "), None);
    }
}
