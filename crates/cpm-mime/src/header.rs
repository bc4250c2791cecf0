//! Header blocks: fields as they stand, octet for octet.
//!
//! A block is what precedes the first empty line, which belongs to it. A line end is LF, with or without CR. Octets
//! that are no field (no colon, a blank before it) are kept as a field without a name, so that nothing is lost from
//! `HEADER.FIELDS.NOT`.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr_iter};

/// One field of a block, with its continuation lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name without the colon or blanks before it; empty when the line is no field.
    pub name: &'a [u8],
    /// All after the colon, line ends included.
    pub value: &'a [u8],
    /// The whole field, its last line end included.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Iterates the fields of a block, up to its empty line.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of `block`, in order. The block may or may not have its empty line.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.rest;
        if rest.is_empty() || is_line_end(rest) {
            self.rest = &[];
            return None;
        }
        let mut end = rest.len();
        for lf in memchr_iter(b'\n', rest) {
            if !matches!(rest.get(lf + 1), Some(b' ' | b'\t')) {
                end = lf + 1;
                break;
            }
        }
        let (raw, rest) = rest.split_at(end);
        self.rest = rest;
        let line = &raw[..memchr(b'\n', raw).unwrap_or(raw.len())];
        let Some(colon) = memchr(b':', line) else {
            return Some(Field { name: &[], value: raw, raw });
        };
        // RFC 5322 §4.5.3 lets blanks stand between name and colon.
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || name.iter().any(|b| *b <= b' ' || *b == 0x7f) {
            return Some(Field { name: &[], value: raw, raw });
        }
        Some(Field { name, value: &raw[colon + 1..], raw })
    }
}

/// Whether `bytes` open with a line end.
fn is_line_end(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\r\n") || bytes.starts_with(b"\n")
}

/// The value of the first field `name`.
pub fn first<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(block).find(|field| field.is(name)).map(|field| field.value)
}

/// Where the body begins in a whole message or part: after the first empty line, or at the end.
pub fn body_start(message: &[u8]) -> usize {
    if message.starts_with(b"\n") {
        return 1;
    }
    if message.starts_with(b"\r\n") {
        return 2;
    }
    for lf in memchr_iter(b'\n', message) {
        let rest = &message[lf + 1..];
        if rest.starts_with(b"\n") {
            return lf + 2;
        }
        if rest.starts_with(b"\r\n") {
            return lf + 3;
        }
    }
    message.len()
}

/// A value on one line: line ends go, blanks at both ends go, all else stays (RFC 5322 §2.2.3).
/// Borrows where the value stands on one line already.
pub fn unfold(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return value.into();
    }
    let mut out = Vec::with_capacity(value.len());
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'\n' => {}
            b'\r' if value.get(at + 1) == Some(&b'\n') => {}
            _ => out.push(*byte),
        }
    }
    out.into()
}

/// The answer to `BODY[HEADER.FIELDS (names)]`, or with `not` to `HEADER.FIELDS.NOT`: the original octets of the
/// fields, then an empty line, which stands there even when no field matched (RFC 9051 §6.4.5.1).
pub fn header_fields<N: AsRef<[u8]>>(block: &[u8], names: &[N], not: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(if not { block.len() + 2 } else { 256.min(block.len() + 2) });
    for field in fields(block) {
        let named = names
            .iter()
            .any(|name| !name.as_ref().is_empty() && name.as_ref().eq_ignore_ascii_case(field.name));
        if named != not {
            out.put_slice(field.raw);
            if !field.raw.ends_with(b"\n") {
                out.put_slice(b"\r\n");
            }
        }
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_folding_and_junk() {
        let block = b"A: 1\r\n 2\r\njunk line\r\nB :x\nC:\r\n\r\nD: not here\r\n";
        let got: Vec<_> = fields(block).map(|f| (f.name, f.raw)).collect();
        assert_eq!(
            got,
            [
                (&b"A"[..], &b"A: 1\r\n 2\r\n"[..]),
                (b"", b"junk line\r\n"),
                (b"B", b"B :x\n"),
                (b"C", b"C:\r\n"),
            ]
        );
    }

    #[test]
    fn selected_fields_keep_their_octets() {
        let check = |block: &[u8], names: &[&str], not, expected: &[u8]| {
            assert_eq!(header_fields(block, names, not), expected, "{names:?} {not}");
        };
        let block = b"From: a\r\nSubject: x\r\n y\r\nsubject: z\r\n\r\n";
        check(block, &["SUBJECT"], false, b"Subject: x\r\n y\r\nsubject: z\r\n\r\n");
        check(block, &["SUBJECT"], true, b"From: a\r\n\r\n");
        check(block, &["X"], false, b"\r\n");
        check(block, &[], true, b"From: a\r\nSubject: x\r\n y\r\nsubject: z\r\n\r\n");
        check(b"", &["X"], true, b"\r\n");
        check(b"A: b", &["a"], false, b"A: b\r\n\r\n");
        check(b"no field\r\nA: b\r\n", &[""], true, b"no field\r\nA: b\r\n\r\n");
    }

    #[test]
    fn body_starts_after_the_first_empty_line() {
        for (message, at) in [
            (&b""[..], 0),
            (b"\r\nx", 2),
            (b"\nx", 1),
            (b"A: b\r\n\r\nx", 8),
            (b"A: b\n\nx", 6),
            (b"A: b\r\n", 6),
            (b"A: b\r\r\n\r\nx", 9),
        ] {
            assert_eq!(body_start(message), at, "{message:?}");
        }
    }

    #[test]
    fn unfolding_keeps_blanks_inside() {
        assert_eq!(&*unfold(b" a\r\n\tb\r\n"), b"a\tb");
        assert_eq!(&*unfold(b" a b \r\n"), b"a b");
        assert_eq!(&*unfold(b" a\rb \n"), b"a\rb");
    }
}
