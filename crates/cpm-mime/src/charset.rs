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

/// A charset in which a client writes what it looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextCharset(&'static Encoding);

impl TextCharset {
    /// UTF-8, and US-ASCII, which is the same in it.
    pub const UTF_8: Self = Self(encoding_rs::UTF_8);

    /// Names of the charsets that are known, the customary one of each. Other names of them are known, too.
    pub const NAMES: &[&str] = &[
        "US-ASCII",
        "UTF-8",
        "ISO-8859-1",
        "ISO-8859-2",
        "ISO-8859-3",
        "ISO-8859-4",
        "ISO-8859-5",
        "ISO-8859-6",
        "ISO-8859-7",
        "ISO-8859-8",
        "ISO-8859-9",
        "ISO-8859-10",
        "ISO-8859-13",
        "ISO-8859-14",
        "ISO-8859-15",
        "ISO-8859-16",
        "WINDOWS-874",
        "WINDOWS-1250",
        "WINDOWS-1251",
        "WINDOWS-1252",
        "WINDOWS-1253",
        "WINDOWS-1254",
        "WINDOWS-1255",
        "WINDOWS-1256",
        "WINDOWS-1257",
        "WINDOWS-1258",
        "KOI8-R",
        "KOI8-U",
        "IBM866",
        "MACINTOSH",
        "GBK",
        "GB18030",
        "BIG5",
        "EUC-JP",
        "ISO-2022-JP",
        "SHIFT_JIS",
        "EUC-KR",
    ];

    /// The charset of that name, in any case; none for one that is unknown, or whose text has octets that IMAP has
    /// not (UTF-16).
    pub fn named(name: &[u8]) -> Option<Self> {
        if is_default(name) {
            return (!name.is_empty()).then_some(Self::UTF_8);
        }
        let encoding = Encoding::for_label_no_replacement(name)?;
        let is_text = encoding.is_ascii_compatible() || encoding == encoding_rs::ISO_2022_JP;
        (is_text && encoding != encoding_rs::X_USER_DEFINED).then_some(Self(encoding))
    }

    /// Text written in it; none for octets that are none.
    pub fn text(self, octets: &[u8]) -> Option<Cow<'_, str>> {
        self.0.decode_without_bom_handling_and_without_replacement(octets)
    }
}

/// Whether a charset is known by that label: an empty one is not.
pub(crate) fn is_known(label: &[u8]) -> bool {
    !label.trim_ascii().is_empty()
        && (is_default(label)
            || Encoding::for_label(label).is_some()
            || mail_parser::decoders::charsets::map::charset_decoder(label).is_some())
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
    fn charsets_of_searches() {
        for name in TextCharset::NAMES {
            let charset = TextCharset::named(name.as_bytes()).expect(name);
            assert_eq!(charset.text(b"Ab 9").as_deref(), Some("Ab 9"), "{name}");
        }
        for (name, octets, expected) in [
            ("utf-8", "é".as_bytes(), Some("é")),
            ("Utf-8", b"\xe9", None),
            ("us-ascii", "é".as_bytes(), Some("é")),
            ("latin1", b"\xe9", Some("é")),
            ("koi8-r", b"\xf0\xd2", Some("Пр")),
            ("iso-2022-jp", b"\x1b$B%O\x1b(B", Some("ハ")),
            ("euc-jp", b"\xff", None),
        ] {
            let charset = TextCharset::named(name.as_bytes()).expect(name);
            assert_eq!(charset.text(octets).as_deref(), expected, "{name}");
        }
        for name in ["", "x-klingon", "utf-16", "utf-16le", "x-user-defined", "hz-gb-2312", "replacement"] {
            assert_eq!(TextCharset::named(name.as_bytes()), None, "{name}");
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
