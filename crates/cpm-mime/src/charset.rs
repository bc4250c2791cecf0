//! Octets of a named charset to UTF-8.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding, WINDOWS_1252};

/// Octets of text that are given out at a time.
const TEXT_BYTES: usize = 8 * 1024;

/// Whether a label says nothing: us-ascii, the default, is what senders put on any 8-bit text (WHATWG would read it as
/// windows-1252; in mail of today it is UTF-8 far more often).
fn is_default(label: &[u8]) -> bool {
    let label = label.trim_ascii();
    label.is_empty() || label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii")
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

/// Decodes octets that come in pieces.
pub(crate) enum Decoder {
    /// The charset is said and known.
    Known(encoding_rs::Decoder),
    /// UTF-8, and windows-1252 for what is not. Holds the start of a character that a piece has cut.
    Guess(Vec<u8>),
}

impl Decoder {
    /// A decoder of a charset label, in any case.
    pub(crate) fn new(label: &[u8]) -> Self {
        match Encoding::for_label(label).filter(|_| !is_default(label)) {
            Some(encoding) => Self::Known(encoding.new_decoder_without_bom_handling()),
            None => Self::Guess(Vec::new()),
        }
    }

    /// Decodes the next piece and gives the text to `take`, some kB at a time. With `last`, ends the text.
    pub(crate) fn push(&mut self, octets: &[u8], last: bool, mut take: impl FnMut(&str)) {
        match self {
            Self::Known(decoder) => {
                let (mut rest, mut text) = (octets, String::with_capacity(TEXT_BYTES));
                loop {
                    let (result, read, _) = decoder.decode_to_string(rest, &mut text, last);
                    take(&text);
                    text.clear();
                    rest = &rest[read..];
                    if result == CoderResult::InputEmpty {
                        break;
                    }
                }
            }
            Self::Guess(held) => {
                held.extend_from_slice(octets);
                let (mut rest, mut text) = (&held[..], String::with_capacity(held.len()));
                while !rest.is_empty() {
                    let (valid, bad) = match std::str::from_utf8(rest) {
                        Ok(text) => (text.len(), 0),
                        Err(error) => {
                            let is_bad = last || error.error_len().is_some();
                            (error.valid_up_to(), usize::from(is_bad))
                        }
                    };
                    if valid + bad == 0 {
                        break;
                    }
                    text.push_str(&String::from_utf8_lossy(&rest[..valid]));
                    text.push_str(&WINDOWS_1252.decode_without_bom_handling(&rest[valid..valid + bad]).0);
                    rest = &rest[valid + bad..];
                }
                let kept = rest.len();
                held.drain(..held.len() - kept);
                take(&text);
            }
        }
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

    #[test]
    fn pieces_decode_as_a_whole() {
        for (label, octets, expected) in [
            ("utf-8", "aé東b".as_bytes(), "aé東b"),
            ("", "aé東b".as_bytes(), "aé東b"),
            ("us-ascii", b"caf\xe9 \xe9t\xe9", "café été"),
            ("x-unknown", b"\xc3\xa9\xe9", "éé"),
            ("koi8-r", b"\xf0\xd2", "Пр"),
            ("iso-2022-jp", b"\x1b$B%O\x1b(Bx", "ハx"),
        ] {
            for at in 0..=octets.len() {
                let mut decoder = Decoder::new(label.as_bytes());
                let mut text = String::new();
                for (piece, last) in [(&octets[..at], false), (&octets[at..], false), (&[][..], true)] {
                    decoder.push(piece, last, |part| text.push_str(part));
                }
                assert_eq!(text, expected, "{label} at {at}");
            }
        }
    }
}
