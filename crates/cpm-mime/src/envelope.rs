//! The answer to `FETCH ENVELOPE` (RFC 9051 §7.5.2, RFC 3501 §7.4.2).

use std::borrow::Cow;
use std::ops::Range;

use crate::header::{self, Field};
use crate::quote::{cut, nstring};
use crate::{address, words};

/// The fields of one block that an ENVELOPE is made of. Addresses of a field that stands twice are joined, for senders
/// with long lists split them; of others the first counts.
#[derive(Debug, Default)]
struct Found<'a> {
    date: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    in_reply_to: Option<&'a [u8]>,
    message_id: Option<&'a [u8]>,
    from: Vec<&'a [u8]>,
    sender: Vec<&'a [u8]>,
    reply_to: Vec<&'a [u8]>,
    to: Vec<&'a [u8]>,
    cc: Vec<&'a [u8]>,
    bcc: Vec<&'a [u8]>,
    /// A field that should stand once stands again.
    repeats: bool,
}

impl<'a> Found<'a> {
    fn add(&mut self, field: &Field<'a>) {
        let slot = match field.name.len() {
            2 if field.is("to") => return self.to.push(field.value),
            2 if field.is("cc") => return self.cc.push(field.value),
            3 if field.is("bcc") => return self.bcc.push(field.value),
            4 if field.is("date") => &mut self.date,
            4 if field.is("from") => return self.from.push(field.value),
            6 if field.is("sender") => return self.sender.push(field.value),
            7 if field.is("subject") => &mut self.subject,
            8 if field.is("reply-to") => return self.reply_to.push(field.value),
            10 if field.is("message-id") => &mut self.message_id,
            11 if field.is("in-reply-to") => &mut self.in_reply_to,
            _ => return,
        };
        self.repeats |= slot.is_some();
        slot.get_or_insert(field.value);
    }
}

/// An ENVELOPE as rendered.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// The answer, parentheses included.
    pub(crate) octets: Vec<u8>,
    /// Whether a string or list was cut to its share, or a field left out because it is there twice.
    pub(crate) is_cut: bool,
}

/// Renders the ENVELOPE of a header block in at most about `max` octets: each string and list has its share and is
/// cut to it, lists at whole addresses.
pub(crate) fn render(block: &[u8], max: usize) -> Rendered {
    let mut found = Found::default();
    header::fields(block).for_each(|field| found.add(&field));

    let mut out = Rendered { octets: Vec::with_capacity(512), is_cut: found.repeats };
    out.octets.push(b'(');
    out.text(found.date, max / 64);
    out.text(found.subject, max / 16);
    let from = out.list(&found.from, max / 16);
    for field in [found.sender, found.reply_to] {
        let sender = out.list(&field, max / 16);
        // Absent and empty alike take the value of From (RFC 9051 §7.5.2).
        if &out.octets[sender.clone()] == b"NIL" {
            out.octets.truncate(sender.start);
            out.octets.extend_from_within(from.clone());
            out.octets.push(b' ');
        }
    }
    out.list(&found.to, max / 4);
    out.list(&found.cc, max / 16 * 3);
    out.list(&found.bcc, max / 16);
    out.text(found.in_reply_to, max / 32);
    out.text(found.message_id, max / 32);
    out.octets.pop();
    out.octets.push(b')');
    out
}

impl Rendered {
    /// A value on one line; `NIL` when it is absent, `""` when it is empty. A blank follows.
    fn text(&mut self, value: Option<&[u8]>, max: usize) {
        let value = value.map(header::unfold);
        self.is_cut |= value.as_deref().is_some_and(|value| value.len() > max);
        nstring(&mut self.octets, value.as_deref().map(|value| cut(value, max)));
        self.octets.push(b' ');
    }

    /// The addresses of all `values` as one list. A blank follows. Returns where the list stands.
    fn list(&mut self, values: &[&[u8]], max: usize) -> Range<usize> {
        let begin = self.octets.len();
        let elements = values.iter().flat_map(|value| address::elements(value));
        self.is_cut |= address::render(&mut self.octets, elements, max);
        let end = self.octets.len();
        self.octets.push(b' ');
        begin..end
    }
}

/// A field of an ENVELOPE, at its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EnvelopeField {
    /// Subject.
    Subject = 1,
    /// From.
    From = 2,
    /// To.
    To = 5,
    /// Cc.
    Cc = 6,
    /// Bcc.
    Bcc = 7,
    /// In-Reply-To.
    InReplyTo = 8,
    /// Message-ID.
    MessageId = 9,
}

/// The decoded texts of a field in a rendered ENVELOPE: of an address field, one an address, as `name <local@host>`;
/// of others one or none. Empty, too, where `octets` are no ENVELOPE.
pub(crate) fn texts(octets: &[u8], field: EnvelopeField) -> Vec<String> {
    let (mut depth, mut place) = (0usize, 0u8);
    let mut address: Vec<Option<Cow<'_, [u8]>>> = Vec::with_capacity(4);
    let mut out = Vec::new();
    for token in (Tokens { rest: octets }) {
        match token {
            Token::Open => depth += 1,
            Token::Close => {
                depth = depth.saturating_sub(1);
                if depth == 2 && place == field as u8 {
                    out.extend(address_text(&address));
                }
                address.clear();
                place += u8::from(depth == 1);
            }
            Token::Value(value) if depth == 1 => {
                if place == field as u8 {
                    out.extend(value.map(|value| words::decode(&value)));
                }
                place += 1;
            }
            Token::Value(value) => address.push(value),
        }
        if place > field as u8 {
            break;
        }
    }
    out
}

/// The text of an address's four strings; a group's start is its name, its end nothing.
fn address_text(strings: &[Option<Cow<'_, [u8]>>]) -> Option<String> {
    let [name, _, local, host] = strings else { return None };
    let name = name.as_deref().map(words::decode);
    let local = String::from_utf8_lossy(local.as_deref()?);
    let address = match host.as_deref() {
        Some(b"") => local.into_owned(),
        Some(host) => format!("{local}@{}", String::from_utf8_lossy(host)),
        None => return Some(words::decode(local.as_bytes())),
    };
    Some(match name {
        Some(name) => format!("{name} <{address}>"),
        None => address,
    })
}

enum Token<'a> {
    Open,
    Close,
    /// A string, or `NIL`.
    Value(Option<Cow<'a, [u8]>>),
}

/// The tokens of an answer that [`render`] made.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.rest.trim_ascii_start();
        let (first, tail) = rest.split_first()?;
        let (token, rest) = match first {
            b'(' => (Token::Open, tail),
            b')' => (Token::Close, tail),
            b'"' => {
                let mut end = memchr::memchr2(b'"', b'\\', tail)?;
                if tail[end] == b'"' {
                    (Token::Value(Some(tail[..end].into())), &tail[end + 1..])
                } else {
                    let mut value = tail[..end].to_vec();
                    while *tail.get(end)? != b'"' {
                        end += usize::from(tail[end] == b'\\');
                        value.push(*tail.get(end)?);
                        end += 1;
                    }
                    (Token::Value(Some(value.into())), &tail[end + 1..])
                }
            }
            b'{' => {
                let close = memchr::memchr(b'}', tail)?;
                let length: usize = std::str::from_utf8(&tail[..close]).ok()?.parse().ok()?;
                let value = tail.get(close + 3..)?;
                (Token::Value(Some(value.get(..length)?.into())), &value[length..])
            }
            _ => (Token::Value(None), rest.strip_prefix(b"NIL")?),
        };
        self.rest = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &[u8], expected: &[u8]) {
        let got = render(block, 16 * 1024).octets;
        assert_eq!(got, expected, "{} instead of {}", got.escape_ascii(), expected.escape_ascii());
    }

    #[test]
    fn the_envelope_of_rfc_9051() {
        check(
            b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
              From: Terry Gray <gray@cac.washington.edu>\r\n\
              Subject: IMAP4rev2 WG mtg summary and minutes\r\n\
              To: imap@cac.washington.edu\r\n\
              cc: minutes@CNRI.Reston.VA.US, \r\n John Klensin <KLENSIN@MIT.EDU>\r\n\
              Message-Id: <B27397-0100000@cac.washington.ed>\r\n\
              MIME-Version: 1.0\r\n\r\n",
            br#"("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.ed>")"#,
        );
    }

    #[test]
    fn missing_and_empty_fields() {
        check(b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(
            b"From: a@b\r\nSender:\r\nReply-To: \r\nSubject: \r\n",
            br#"(NIL "" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)"#,
        );
        check(
            b"Sender: s@x\r\nReply-To: r@x\r\nTo: a@x\r\nTo: b@x\r\n",
            br#"(NIL NIL NIL ((NIL NIL "s" "x")) ((NIL NIL "r" "x")) ((NIL NIL "a" "x")(NIL NIL "b" "x")) NIL NIL NIL NIL)"#,
        );
    }

    #[test]
    fn octets_are_kept() {
        check(
            b"Subject: caf\xe9\r\n au lait\r\nMessage-ID: a\"b\\c\r\n",
            b"(NIL {12}\r\ncaf\xe9 au lait NIL NIL NIL NIL NIL NIL NIL \"a\\\"b\\\\c\")",
        );
        check(
            b"Subject: =?utf-8?q?=C3=A9?=\r\n",
            b"(NIL \"=?utf-8?q?=C3=A9?=\" NIL NIL NIL NIL NIL NIL NIL NIL)",
        );
    }

    #[test]
    fn size_is_bounded() {
        let mut block = Vec::new();
        for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
            block.extend_from_slice(format!("{name}: {}\r\n", "\"\\\"\" <a@b>, ".repeat(5000)).as_bytes());
        }
        for name in ["Date", "Subject", "In-Reply-To", "Message-ID"] {
            block.extend_from_slice(format!("{name}: {}\r\n", "\"".repeat(50_000)).as_bytes());
        }
        let rendered = render(&block, 16 * 1024);
        assert!(rendered.octets.len() <= 16 * 1024 && rendered.is_cut);
    }

    #[test]
    fn texts_of_fields() {
        let block = "Subject: =?utf-8?q?caf=C3=A9?= \"x\"\r\nFrom: =?utf-8?q?Zo=C3=AB?= <z@x>\r\nSender: s@x\r\n\
            To: g: a@b, B \\ C <c@d>;, <tel:+1>\r\nBcc: Zoë <b@c>\r\nMessage-ID: <i@j>\r\n";
        let rendered = render(block.as_bytes(), 16 * 1024);
        assert!(!rendered.is_cut);
        for (field, expected) in [
            (EnvelopeField::Subject, &["café \"x\""][..]),
            (EnvelopeField::From, &["Zoë <z@x>"]),
            (EnvelopeField::To, &["g", "a@b", "B \\ C <c@d>", "tel:+1"]),
            (EnvelopeField::Cc, &[]),
            (EnvelopeField::Bcc, &["Zoë <b@c>"]),
            (EnvelopeField::InReplyTo, &[]),
            (EnvelopeField::MessageId, &["<i@j>"]),
        ] {
            assert_eq!(texts(&rendered.octets, field), expected, "{field:?}");
        }
    }

    #[test]
    fn anything_else_has_no_texts() {
        for octets in
            [&b""[..], b"(", b"(NIL \"", b"(NIL \"\\", b"(NIL {9}\r\nx", b"(NIL {x}", b"(x", b"))))(((("]
        {
            assert!(texts(octets, EnvelopeField::Subject).is_empty(), "{octets:?}");
        }
    }
}
