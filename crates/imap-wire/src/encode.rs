//! The terminals of responses, appended to any [`BufMut`] (a `BytesMut`, a `Vec<u8>`) without anything between.

use bytes::BufMut;
use model::{UidList, UidSet};

use crate::date::{Date, DateTime, MONTHS};
use crate::mailbox::MailboxEncoding;
use crate::string::is_astring_char;
use crate::utf7;

/// Longest text that is quoted, octets. Above, a literal is as short and lets the receiver reserve its memory.
const QUOTED_BYTES_MAX: usize = 1024;

/// A decimal number.
#[inline]
pub fn number<B: BufMut>(out: &mut B, value: impl Into<u64>) {
    let mut value = value.into();
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// `string`: quoted if it may be, a literal otherwise. Beyond ASCII only a literal will do, unless `utf8` (the
/// client has enabled IMAP4rev2 or UTF8=ACCEPT) and it is UTF-8. `text` has no NUL: neither form can carry one.
pub fn string<B: BufMut>(out: &mut B, text: &[u8], utf8: bool) {
    let quotable = text.len() <= QUOTED_BYTES_MAX
        && memchr::memchr3(b'\r', b'\n', 0, text).is_none()
        && (text.is_ascii() || utf8 && std::str::from_utf8(text).is_ok());
    if quotable {
        quoted(out, text);
    } else {
        literal_header(out, text.len() as u64, false);
        out.put_slice(text);
    }
}

/// `quoted`, of a text without NUL, CR and LF.
pub fn quoted<B: BufMut>(out: &mut B, text: &[u8]) {
    out.put_u8(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        out.put_slice(&rest[..at]);
        out.put_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// `nstring`: `NIL` for nothing.
pub fn nstring<B: BufMut>(out: &mut B, text: Option<&[u8]>, utf8: bool) {
    match text {
        Some(text) => string(out, text, utf8),
        None => out.put_slice(b"NIL"),
    }
}

/// `astring`: an atom if it may be and is not `NIL`, else a string.
pub fn astring<B: BufMut>(out: &mut B, text: &[u8], utf8: bool) {
    let atom = !text.is_empty() && text.iter().all(|&b| is_astring_char(b));
    if atom && !text.eq_ignore_ascii_case(b"NIL") {
        out.put_slice(text);
    } else {
        string(out, text, utf8);
    }
}

/// `mailbox`: a name in Unicode, as the connection writes names.
pub fn mailbox<B: BufMut>(out: &mut B, name: &str, encoding: MailboxEncoding) {
    match encoding {
        MailboxEncoding::Utf8 => astring(out, name.as_bytes(), true),
        // Printable ASCII without an ampersand is its own modified UTF-7: most names.
        MailboxEncoding::ModifiedUtf7 if name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'&') => {
            astring(out, name.as_bytes(), false);
        }
        MailboxEncoding::ModifiedUtf7 => astring(out, utf7::encode(name).as_bytes(), false),
    }
}

/// The announcement of a literal of `size` octets, with its line end; the octets have to follow.
/// `literal8` makes it `~{n}`, which may carry NUL (RFC 3516 §4.4).
pub fn literal_header<B: BufMut>(out: &mut B, size: u64, literal8: bool) {
    out.put_slice(if literal8 { b"~{" } else { b"{" });
    number(out, size);
    out.put_slice(b"}\r\n");
}

/// `"(" name *(SP name) ")"`: flags, attributes.
pub fn name_list<B: BufMut>(out: &mut B, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    out.put_u8(b'(');
    let mut first = true;
    for name in names {
        if !first {
            out.put_u8(b' ');
        }
        first = false;
        out.put_slice(name.as_ref());
    }
    out.put_u8(b')');
}

/// `sequence-set` of ranges that ascend each, which are UIDs or sequence numbers; at least one.
pub fn ranges<B: BufMut>(out: &mut B, ranges: impl IntoIterator<Item = (u32, u32)>) {
    let mut first_range = true;
    for (first, last) in ranges {
        if !first_range {
            out.put_u8(b',');
        }
        first_range = false;
        number(out, first);
        if last != first {
            out.put_u8(b':');
            number(out, last);
        }
    }
}

/// `uid-set`; not empty.
pub fn uid_set<B: BufMut>(out: &mut B, set: &UidSet) {
    ranges(out, set.ranges());
}

/// `uid-set`, in the order of the list.
pub fn uid_list<B: BufMut>(out: &mut B, list: &UidList) {
    ranges(out, list.runs());
}

/// `date-time`, with its quotes: ` 1-Feb-2026 12:30:00 +0100`. Years are held within 1 to 9999, zones within a
/// day.
pub fn date_time<B: BufMut>(out: &mut B, date: DateTime) {
    let zone = i64::from(date.zone_minutes.clamp(-1439, 1439));
    let local = date.unix_seconds.saturating_add(zone * 60);
    let Date { year, month, day } = Date::from_days(local.div_euclid(86_400));
    let second = local.rem_euclid(86_400);
    let two = |value: i64| [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
    let mut text = *b"\"dd-Mmm-yyyy hh:mm:ss +zzzz\"";
    text[1..3].copy_from_slice(&two(i64::from(day)));
    if day < 10 {
        text[1] = b' ';
    }
    text[4..7].copy_from_slice(MONTHS[usize::from(month - 1)]);
    text[8..10].copy_from_slice(&two(i64::from(year / 100)));
    text[10..12].copy_from_slice(&two(i64::from(year % 100)));
    text[13..15].copy_from_slice(&two(second / 3600));
    text[16..18].copy_from_slice(&two(second / 60 % 60));
    text[19..21].copy_from_slice(&two(second % 60));
    text[22] = if zone < 0 { b'-' } else { b'+' };
    text[23..25].copy_from_slice(&two(zone.abs() / 60));
    text[25..27].copy_from_slice(&two(zone.abs() % 60));
    out.put_slice(&text);
}

/// The text of a status response: one line of ASCII. Whatever cannot stand there becomes `?`, and nothing
/// becomes a word, since RFC 3501 §9 wants one.
pub fn text<B: BufMut>(out: &mut B, text: &str) {
    if text.is_empty() {
        return out.put_slice(b"done");
    }
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return out.put_slice(text.as_bytes());
    }
    for c in text.chars() {
        out.put_u8(if (' '..='~').contains(&c) { c as u8 } else { b'?' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn numbers() {
        for value in [0, 1, 9, 10, 99, 100, 4_294_967_295, u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
    }

    #[test]
    fn strings() {
        let check = |text: &str, utf8: bool, expected: &str| {
            assert_eq!(written(|out| string(out, text.as_bytes(), utf8)), expected);
        };
        check("", false, "\"\"");
        check("a b", false, "\"a b\"");
        check("a\"b\\", false, "\"a\\\"b\\\\\"");
        check("a\r\nb", true, "{4}\r\na\r\nb");
        check("ü", false, "{2}\r\nü");
        check("ü", true, "\"ü\"");
        assert_eq!(written(|out| string(out, b"\xff", true)), "{1}\r\n\u{fffd}");
        let long = "x".repeat(QUOTED_BYTES_MAX + 1);
        check(&long, false, &format!("{{{}}}\r\n{long}", QUOTED_BYTES_MAX + 1));
    }

    #[test]
    fn astrings() {
        let check = |text: &str, expected: &str| {
            assert_eq!(written(|out| astring(out, text.as_bytes(), false)), expected);
        };
        check("INBOX", "INBOX");
        check("a]b", "a]b");
        check("", "\"\"");
        check("nil", "\"nil\"");
        check("a b", "\"a b\"");
        check("a%", "\"a%\"");
    }

    #[test]
    fn mailboxes() {
        let check = |name: &str, utf7: &str, utf8: &str| {
            assert_eq!(written(|out| mailbox(out, name, MailboxEncoding::ModifiedUtf7)), utf7);
            assert_eq!(written(|out| mailbox(out, name, MailboxEncoding::Utf8)), utf8);
        };
        check("INBOX", "INBOX", "INBOX");
        check("a&b", "a&-b", "a&b");
        check("Entwürfe", "Entw&APw-rfe", "\"Entwürfe\"");
    }

    #[test]
    fn date_times() {
        let check = |unix_seconds, zone_minutes, expected: &str| {
            assert_eq!(
                written(|out| date_time(out, DateTime { unix_seconds, zone_minutes })),
                format!("\"{expected}\"")
            );
        };
        check(0, 0, " 1-Jan-1970 00:00:00 +0000");
        check(837_596_665, -420, "17-Jul-1996 02:44:25 -0700");
        check(1_709_164_799, 330, "29-Feb-2024 05:29:59 +0530");
        check(i64::MAX, 0, "31-Dec-9999 15:30:07 +0000");
        check(-1, 0, "31-Dec-1969 23:59:59 +0000");
    }

    #[test]
    fn texts() {
        assert_eq!(written(|out| text(out, "")), "done");
        assert_eq!(written(|out| text(out, "a\r\nbü")), "a??b?");
    }

    proptest::proptest! {
        #[test]
        fn date_time_round_trip(unix_seconds in -62_135_500_000i64..253_402_200_000, zone_minutes in -1439i16..=1439) {
            let date = DateTime { unix_seconds, zone_minutes };
            let out = written(|out| date_time(out, date));
            assert_eq!(crate::date::parse_date_time(&out.as_bytes()[1..27]), Some(date));
        }
    }
}
