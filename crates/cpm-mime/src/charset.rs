//! Octets of a named charset to UTF-8.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Whether a label says nothing: us-ascii, the default, is what senders put on any 8-bit text (WHATWG would read it as
/// windows-1252; in mail of today it is UTF-8 far more often).
fn is_default(label: &[u8]) -> bool {
    let label = label.trim_ascii();
    label.is_empty() || label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii")
}

/// The encoding of a charset label, in any case; UTF-8 where it says nothing. None where it is unknown.
pub(crate) fn lookup(label: &[u8]) -> Option<&'static Encoding> {
    if is_default(label) { Some(UTF_8) } else { Encoding::for_label(label) }
}

/// Decodes `octets`. What is not valid becomes U+FFFD; a charset that is unknown, or not said, is guessed.
pub(crate) fn decode<'a>(label: &[u8], octets: &'a [u8]) -> Cow<'a, str> {
    if is_default(label) {
        return unlabelled(octets);
    }
    match Encoding::for_label(label) {
        Some(encoding) => encoding.decode_without_bom_handling(octets).0,
        // mail-parser knows charsets that the web forgot: UTF-7, IBM850 and old names.
        None => match mail_parser::decoders::charsets::map::charset_decoder(label) {
            Some(decoder) => decoder(octets).into(),
            None => unlabelled(octets),
        },
    }
}

/// Octets of no known charset: UTF-8 where they are, else windows-1252.
pub(crate) fn unlabelled(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_decode() {
        for (label, octets, expected) in [
            ("utf-8", "é".as_bytes(), "é"),
            ("ISO-8859-1", b"\xe9", "é"),
            ("us-ascii", "é".as_bytes(), "é"),
            ("", b"abc", "abc"),
            ("koi8-r", b"\xf0\xd2", "Пр"),
            ("utf-7", b"+ZYc-", "文"),
            ("unknown", b"\xe9", "é"),
            ("us-ascii", b"\xe9t\xe9", "été"),
            ("iso-2022-jp", b"\x1b$B%O\x1b(B", "ハ"),
            ("utf-16le", b"a\0b\0", "ab"),
        ] {
            assert_eq!(decode(label.as_bytes(), octets), expected, "{label}");
        }
    }
}
