//! Octets of a named charset to UTF-8.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// The encoding of a charset label, in any case. None where it is unknown.
pub(crate) fn lookup(label: &[u8]) -> Option<&'static Encoding> {
    let label = label.trim_ascii();
    // WHATWG reads both as windows-1252; mail that says us-ascii and is not, is UTF-8 today far more often.
    if label.is_empty() || label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
        return Some(encoding_rs::UTF_8);
    }
    Encoding::for_label(label)
}

/// Decodes `octets`. What is not valid becomes U+FFFD; an unknown charset is read as UTF-8, then as windows-1252.
pub(crate) fn decode<'a>(label: &[u8], octets: &'a [u8]) -> Cow<'a, str> {
    if octets.is_ascii()
        && lookup(label)
            .is_none_or(|encoding| encoding.is_ascii_compatible() && encoding != encoding_rs::ISO_2022_JP)
        && !label.eq_ignore_ascii_case(b"utf-7")
    {
        return String::from_utf8_lossy(octets);
    }
    match lookup(label) {
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
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(octets).0,
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
            ("iso-2022-jp", b"\x1b$B%O\x1b(B", "ハ"),
            ("utf-16le", b"a\0b\0", "ab"),
        ] {
            assert_eq!(decode(label.as_bytes(), octets), expected, "{label}");
        }
    }
}
