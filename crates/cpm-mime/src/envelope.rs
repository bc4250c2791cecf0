//! The answer to `FETCH ENVELOPE` (RFC 9051 §7.5.2, RFC 3501 §7.4.2).

use crate::address;
use crate::header::{self, Field};
use crate::quote::{cut, nstring};

/// The fields of one block that an ENVELOPE is made of. Of a field that should stand once, the first counts; To, Cc
/// and Bcc are joined, for senders with long lists split them.
#[derive(Debug, Default)]
struct Found<'a> {
    date: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    sender: Option<&'a [u8]>,
    reply_to: Option<&'a [u8]>,
    in_reply_to: Option<&'a [u8]>,
    message_id: Option<&'a [u8]>,
    to: Vec<&'a [u8]>,
    cc: Vec<&'a [u8]>,
    bcc: Vec<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn add(&mut self, field: &Field<'a>) {
        let slot = match field.name.len() {
            2 if field.is("to") => return self.to.push(field.value),
            2 if field.is("cc") => return self.cc.push(field.value),
            3 if field.is("bcc") => return self.bcc.push(field.value),
            4 if field.is("date") => &mut self.date,
            4 if field.is("from") => &mut self.from,
            6 if field.is("sender") => &mut self.sender,
            7 if field.is("subject") => &mut self.subject,
            8 if field.is("reply-to") => &mut self.reply_to,
            10 if field.is("message-id") => &mut self.message_id,
            11 if field.is("in-reply-to") => &mut self.in_reply_to,
            _ => return,
        };
        slot.get_or_insert(field.value);
    }
}

/// Renders the ENVELOPE of a header block, parentheses included, in at most about `max` octets: each string and list
/// has its share and is cut to it, lists at whole addresses.
pub(crate) fn render(block: &[u8], max: usize) -> Vec<u8> {
    let mut found = Found::default();
    header::fields(block).for_each(|field| found.add(&field));

    let mut out = Vec::with_capacity(256);
    out.push(b'(');
    text(&mut out, found.date, max / 64);
    out.push(b' ');
    text(&mut out, found.subject, max / 16);
    out.push(b' ');
    let from = out.len();
    let mut list = Vec::new();
    address::render(&mut list, found.from.into_iter().flat_map(address::elements), max / 16);
    out.extend_from_slice(&list);
    debug_assert_eq!(out.len(), from + list.len());
    for field in [found.sender, found.reply_to] {
        out.push(b' ');
        let begin = out.len();
        // Absent and empty alike take the value of From (RFC 9051 §7.5.2).
        if !address::render(&mut out, field.into_iter().flat_map(address::elements), max / 16) {
            out.truncate(begin);
            out.extend_from_slice(&list);
        }
    }
    for (fields, share) in [(found.to, max / 4), (found.cc, max / 16 * 3), (found.bcc, max / 16)] {
        out.push(b' ');
        address::render(&mut out, fields.into_iter().flat_map(address::elements), share);
    }
    out.push(b' ');
    text(&mut out, found.in_reply_to, max / 32);
    out.push(b' ');
    text(&mut out, found.message_id, max / 32);
    out.push(b')');
    out
}

/// A value on one line; `NIL` when it is absent, `""` when it is empty.
fn text(out: &mut Vec<u8>, value: Option<&[u8]>, max: usize) {
    let value = value.map(header::unfold);
    nstring(out, value.as_deref().map(|value| cut(value, max)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &[u8], expected: &[u8]) {
        let got = render(block, 16 * 1024);
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
        assert!(render(&block, 16 * 1024).len() <= 16 * 1024);
    }
}
