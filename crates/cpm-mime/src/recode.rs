//! Text in another charset, as CONVERT (RFC 5259) has it: of a part, and of encoded words in headers (RFC 2047).
//!
//! Reading is as lenient as elsewhere; writing is exact. A charset's text has only octets of that charset, also where
//! readers take more for it (WHATWG reads ISO-8859-1 as windows-1252), and a character that it lacks is an error
//! unless something is to stand in its place.

use std::borrow::Cow;

use encoding_rs::{EncoderResult, Encoding};

use crate::{charset, cpim, header, transfer, words};

/// Longest encoded word, octets (RFC 2047 §2).
const WORD_BYTES_MAX: usize = 75;
/// Longest line of a header that has encoded words, octets (RFC 2047 §2).
const LINE_BYTES_MAX: usize = 76;
/// The column up to which a word follows what stands before it; behind it, it begins a line.
const FIRST_COLUMN_MAX: usize = 24;
/// Longest name of a charset in an encoded word: a name leaves room for some characters.
const NAME_BYTES_MAX: usize = 24;

/// A charset that text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ascii,
    Encoding {
        encoding: &'static Encoding,
        /// Octets from 0x80 to 0x9f are controls, and not the letters that windows-125x has there.
        controls: bool,
    },
}

/// A character that a charset lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the charset has no U+{:04X}", u32::from(*.0))]
pub struct Lacking(pub char);

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self(Kind::Encoding { encoding: encoding_rs::UTF_8, controls: false });

    /// The charset of that name, in any case; none for one that is unknown, or that is read and never written (UTF-16).
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        if ["us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us"].iter().any(is) {
            return Some(Self(Kind::Ascii));
        }
        let encoding = Encoding::for_label_no_replacement(name.as_bytes())?;
        if encoding.output_encoding() != encoding || encoding == encoding_rs::X_USER_DEFINED {
            return None;
        }
        let controls = !name.to_ascii_lowercase().contains("125")
            && !name.eq_ignore_ascii_case("windows-874")
            && !name.eq_ignore_ascii_case("dos-874")
            && [encoding_rs::WINDOWS_1252, encoding_rs::WINDOWS_1254, encoding_rs::WINDOWS_874]
                .contains(&encoding);
        Some(Self(Kind::Encoding { encoding, controls }))
    }

    /// `text` in this charset. What it lacks is replaced by `replacement`, where there is one.
    ///
    /// # Errors
    /// The first character that the charset lacks, of the replacement also.
    pub fn encode(self, text: &str, replacement: Option<&str>) -> Result<Vec<u8>, Lacking> {
        let Kind::Encoding { encoding, controls } = self.0 else { return ascii(text, replacement) };
        if encoding == encoding_rs::UTF_8 {
            return Ok(text.as_bytes().to_vec());
        }
        if controls {
            return single(encoding, text, replacement);
        }
        let mut encoder = encoding.new_encoder();
        let (mut out, mut rest) = (Vec::with_capacity(text.len() + 16), text);
        // What stands in place of a character goes through the same encoder, whose state it may change.
        let mut waiting = None;
        loop {
            let (result, read) =
                encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut out, waiting.is_none());
            rest = &rest[read..];
            match result {
                EncoderResult::InputEmpty => match waiting.take() {
                    Some(behind) => rest = behind,
                    None => return Ok(out),
                },
                EncoderResult::OutputFull => out.reserve(rest.len() + 16),
                EncoderResult::Unmappable(lacking) => match replacement.filter(|_| waiting.is_none()) {
                    Some(replacement) => waiting = Some(std::mem::replace(&mut rest, replacement)),
                    None => return Err(Lacking(lacking)),
                },
            }
        }
    }
}

fn ascii(text: &str, replacement: Option<&str>) -> Result<Vec<u8>, Lacking> {
    let by_one = |c: char| c.is_ascii().then_some(c as u8);
    each(text, replacement, by_one)
}

/// In an encoding of one octet a character, the letters of windows-125x left out.
fn single(encoding: &'static Encoding, text: &str, replacement: Option<&str>) -> Result<Vec<u8>, Lacking> {
    let mut utf8 = [0; 4];
    each(text, replacement, |c| {
        if c.is_ascii() {
            return Some(c as u8);
        }
        let (octets, _, lacking) = encoding.encode(c.encode_utf8(&mut utf8));
        octets.first().copied().filter(|octet| !lacking && !(0x80..0xa0).contains(octet))
    })
}

fn each(
    text: &str,
    replacement: Option<&str>,
    mut by_one: impl FnMut(char) -> Option<u8>,
) -> Result<Vec<u8>, Lacking> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match (by_one(c), replacement) {
            (Some(octet), _) => out.push(octet),
            (None, None) => return Err(Lacking(c)),
            (None, Some(replacement)) => {
                for c in replacement.chars() {
                    out.push(by_one(c).ok_or(Lacking(c))?);
                }
            }
        }
    }
    Ok(out)
}

/// A kind of content that has text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// text/plain
    Plain,
    /// text/html
    Html,
    /// message/cpim (RFC 3862), with one of the above in it.
    Cpim,
}

/// The text of a part: `octets` without transfer encoding, `charset` as the part says it (of CPIM, its content says
/// it itself). None where a CPIM message is none, or has no text.
///
/// Lines of what was HTML end in CRLF, as those of text/plain do (RFC 2046 §4.1.1).
pub fn text<'a>(kind: TextKind, charset: &str, octets: &'a [u8]) -> Option<Cow<'a, str>> {
    match kind {
        TextKind::Plain => Some(charset::decode(charset.as_bytes(), octets)),
        TextKind::Html => Some(html(&charset::decode(charset.as_bytes(), octets)).into()),
        TextKind::Cpim => {
            let message = cpim::parse(octets).ok()?;
            let inner = message.content_type();
            let body = transfer::decode(message.encoding(), &octets[message.body_start()..]).ok()?;
            let text = charset::decode(inner.parameters.get("charset").unwrap_or(b"utf-8"), &body);
            if inner.is("text", "plain") {
                Some(text.into_owned().into())
            } else if inner.is("text", "html") {
                Some(html(&text).into())
            } else {
                None
            }
        }
    }
}

fn html(text: &str) -> String {
    let text = mail_parser::decoders::html::html_to_text(text);
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                out.push_str(line.strip_suffix('\r').unwrap_or(line).trim_end());
                out.push_str("\r\n");
            }
            None => out.push_str(line),
        }
    }
    out
}

/// A header block whose encoded words are in the charset `name`. Words that cannot be decoded, and all else, stay as they
/// are (RFC 5259 §6). None for a charset that is unknown.
///
/// # Errors
/// The first character that the charset lacks.
pub fn header(block: &[u8], name: &str, replacement: Option<&str>) -> Option<Result<Vec<u8>, Lacking>> {
    let to = Charset::named(name)?;
    let mut out = Vec::with_capacity(block.len() + block.len() / 8);
    let mut at = 0;
    for field in header::fields(block) {
        at += field.raw.len();
        if field.name.is_empty() || memchr::memmem::find(field.raw, b"=?").is_none() {
            out.extend_from_slice(field.raw);
            continue;
        }
        let words = Words { name, charset: to, replacement };
        if let Err(lacking) = words.field(field.raw, &mut out) {
            return Some(Err(lacking));
        }
    }
    out.extend_from_slice(&block[at..]);
    Some(Ok(out))
}

/// How encoded words are written.
struct Words<'a> {
    name: &'a str,
    charset: Charset,
    replacement: Option<&'a str>,
}

/// Encoded words that follow each other, with blanks only between them: octets of a charset each.
#[derive(Default)]
struct Run<'a> {
    octets: Vec<(&'a [u8], Vec<u8>)>,
    quoted: bool,
}

impl Words<'_> {
    /// Appends a field with its words written anew.
    fn field(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Lacking> {
        let (mut rest, mut run) = (raw, Run::default());
        while let Some((start, word)) = words::next(rest) {
            let between = &rest[..start];
            rest = &rest[start + word.raw.len()..];
            let known = charset::is_known(word.charset);
            // Blanks between two words are no part of the text (RFC 2047 §6.2).
            if run.octets.is_empty() || !known || !between.trim_ascii().is_empty() {
                self.end(&mut run, out)?;
                out.extend_from_slice(between);
            }
            if !known {
                out.extend_from_slice(word.raw);
                continue;
            }
            run.quoted |= word.quoted;
            match run.octets.last_mut() {
                // Senders split characters between words.
                Some((known, all)) if known.eq_ignore_ascii_case(word.charset) => {
                    all.extend_from_slice(&word.octets);
                }
                _ => run.octets.push((word.charset, word.octets)),
            }
        }
        self.end(&mut run, out)?;
        out.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the words of a run, in lines of a length that is allowed.
    fn end(&self, run: &mut Run<'_>, out: &mut Vec<u8>) -> Result<(), Lacking> {
        let Run { octets, quoted } = std::mem::take(run);
        let text: String = octets.iter().map(|(charset, octets)| charset::decode(charset, octets)).collect();
        let mut rest = text.as_str();
        let mut is_first = !octets.is_empty();
        while is_first || !rest.is_empty() {
            let column = out.len() - memchr::memrchr(b'\n', out).map_or(0, |lf| lf + 1);
            // Far to the right, a word begins a line of its own: where a blank stands before it.
            if !is_first {
                out.extend_from_slice(b"\r\n ");
            } else if column > FIRST_COLUMN_MAX
                && let Some(blank) = out.pop_if(|octet| matches!(octet, b' ' | b'\t'))
            {
                out.extend_from_slice(&[b'\r', b'\n', blank]);
            }
            let room =
                if is_first && column <= FIRST_COLUMN_MAX { LINE_BYTES_MAX - column } else { WORD_BYTES_MAX };
            let (word, left) = self.word(rest, quoted, room.min(WORD_BYTES_MAX))?;
            rest = left;
            out.extend_from_slice(&word);
            is_first = false;
        }
        Ok(())
    }

    /// The longest word of at most `bytes_max` octets that `text` can begin with, and what is left. Of a text that is not empty, one character at
    /// least is taken.
    fn word<'t>(&self, text: &'t str, quoted: bool, bytes_max: usize) -> Result<(Vec<u8>, &'t str), Lacking> {
        let head = format!("=?{}?{}?", self.name.trim(), if quoted { 'Q' } else { 'B' });
        let room = bytes_max.saturating_sub(head.len() + 2);
        let (mut taken, mut end) = (Vec::new(), 0);
        // What is replaced by nothing takes no room: the characters of a word are bounded, too.
        for (at, c) in text.char_indices().take(WORD_BYTES_MAX) {
            let next = at + c.len_utf8();
            let octets = self.charset.encode(&text[..next], self.replacement)?;
            let encoded = if quoted { q(&octets) } else { base64(&octets) };
            if encoded.len() > room && end > 0 {
                break;
            }
            (taken, end) = (encoded, next);
        }
        Ok(([head.as_bytes(), &taken, b"?="].concat(), &text[end..]))
    }
}

/// The Q encoding (RFC 2047 §4.2), with what may stand in a phrase only (§5).
fn q(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() * 2);
    for octet in octets {
        match octet {
            b' ' => out.push(b'_'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'*' | b'+' | b'-' | b'/' => out.push(*octet),
            _ => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
        }
    }
    out
}

fn base64(octets: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { letter } else { b'=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(name: &str, text: &str, replacement: Option<&str>) -> Option<Vec<u8>> {
        Charset::named(name).expect(name).encode(text, replacement).ok()
    }

    #[test]
    fn charsets_have_only_their_own() {
        for (name, text, expected) in [
            ("utf-8", "é€", Some("é€".as_bytes())),
            ("UTF8", "é", Some("é".as_bytes())),
            ("us-ascii", "abc", Some(b"abc")),
            ("us-ascii", "é", None),
            ("iso-8859-1", "é", Some(b"\xe9")),
            ("iso-8859-1", "€", None),
            ("latin1", "’", None),
            ("windows-1252", "é€", Some(b"\xe9\x80")),
            ("cp1252", "€", Some(b"\x80")),
            ("iso-8859-9", "ğ", Some(b"\xf0")),
            ("iso-8859-9", "€", None),
            ("windows-1254", "€", Some(b"\x80")),
            ("iso-8859-15", "€", Some(b"\xa4")),
            ("iso-8859-2", "ž", Some(b"\xbe")),
            ("koi8-r", "Пр", Some(b"\xf0\xd2")),
            ("iso-2022-jp", "ハ", Some(b"\x1b$B%O\x1b(B")),
            ("gb18030", "文", Some(b"\xce\xc4")),
        ] {
            assert_eq!(encode(name, text, None).as_deref(), expected, "{name} {text}");
        }
        for name in ["utf-16", "utf-16le", "utf-7", "x-klingon", "", "x-user-defined", "replacement"] {
            assert_eq!(Charset::named(name), None, "{name}");
        }
        assert_eq!(Charset::named(&"u".repeat(1_000_000)), None);
    }

    #[test]
    fn what_is_lacking_is_replaced() {
        for (name, text, replacement, expected) in [
            ("us-ascii", "a€b", "?", Some(&b"a?b"[..])),
            ("us-ascii", "€€", "<?>", Some(b"<?><?>")),
            ("us-ascii", "€", "", Some(b"")),
            ("us-ascii", "€", "é", None),
            ("iso-8859-1", "€é", "¤", Some(b"\xa4\xe9")),
            ("iso-8859-1", "€é", "€", None),
            ("koi8-r", "Пй€р", "?", Some(b"\xf0\xca?\xd2")),
            ("koi8-r", "€", "あ", None),
            ("iso-2022-jp", "ハ𝄞ハ", "〓", Some(b"\x1b$B%O\x1b(B\x1b$B\".%O\x1b(B")),
        ] {
            assert_eq!(encode(name, text, Some(replacement)).as_deref(), expected, "{name} {text}");
        }
        assert_eq!(encode("us-ascii", "ab", None).as_deref(), Some(&b"ab"[..]));
    }

    /// RFC 5259 §7.1: these are demanded.
    #[test]
    fn iso_8859_is_read() {
        for (part, octet, expected) in
            [(1, 0xe9, 'é'), (2, 0xbe, 'ž'), (3, 0xf5, 'ġ'), (4, 0xbf, 'ŋ'), (5, 0xd0, 'а'), (6, 0xc8, 'ب')]
                .into_iter()
                .chain([(7, 0xe1, 'α'), (8, 0xe0, 'א'), (15, 0xa4, '€')])
        {
            let text =
                text(TextKind::Plain, &format!("iso-8859-{part}"), &[octet]).expect("text").into_owned();
            assert_eq!(text, expected.to_string(), "{part}");
        }
    }

    #[test]
    fn texts_of_each_kind() {
        let html =
            text(TextKind::Html, "iso-8859-1", b"<p>caf\xe9 <b>x</b></p><p>&lt;y&gt;</p>").expect("text");
        assert_eq!(html, "café x\r\n<y>\r\n");
        let cpim = b"From: <tel:+1>\r\n\r\nContent-Type: text/plain;charset=iso-8859-1\r\n\r\ncaf\xe9";
        assert_eq!(text(TextKind::Cpim, "", cpim).as_deref(), Some("café"));
        let other = b"From: <tel:+1>\r\n\r\nContent-Type: application/xml\r\n\r\n<x/>";
        assert_eq!(text(TextKind::Cpim, "", other), None);
    }

    fn headers(block: &str, name: &str) -> String {
        let done = header(block.as_bytes(), name, None).expect("known").expect("all there");
        String::from_utf8(done).expect("text")
    }

    #[test]
    fn encoded_words_change_their_charset() {
        for (block, expected) in [
            ("Subject: plain\r\n\r\n", "Subject: plain\r\n\r\n"),
            (
                "Subject: =?KOI8-R?Q?=F0=D2?= x\r\nTo: a\r\n\r\n",
                "Subject: =?utf-8?Q?=D0=9F=D1=80?= x\r\nTo: a\r\n\r\n",
            ),
            ("Subject: =?iso-8859-1?b?6Q==?=\r\n\r\n", "Subject: =?utf-8?B?w6k=?=\r\n\r\n"),
            ("From: =?iso-8859-1?q?J=E9?= <j@x>\r\n\r\n", "From: =?utf-8?Q?J=C3=A9?= <j@x>\r\n\r\n"),
            // Two words are one text; a word of a charset that nobody knows stays.
            (
                "S: =?iso-8859-1?q?a?=\r\n =?iso-8859-2?q?_=BE?= b\r\n\r\n",
                "S: =?utf-8?Q?a_=C5=BE?= b\r\n\r\n",
            ),
            (
                "S: =?x-k?q?a?= =?iso-8859-1?q?b?= =?x-k?q?c?=\r\n\r\n",
                "S: =?x-k?q?a?= =?utf-8?Q?b?= =?x-k?q?c?=\r\n\r\n",
            ),
            ("S: =?iso-8859-1?q??=\r\n\r\n", "S: =?utf-8?Q??=\r\n\r\n"),
            ("S: =?broken =?iso-8859-1?q?a?=", "S: =?broken =?utf-8?Q?a?="),
            ("junk =?iso-8859-1?q?a?=\r\n\r\n", "junk =?iso-8859-1?q?a?=\r\n\r\n"),
        ] {
            assert_eq!(headers(block, "utf-8"), expected, "{block}");
        }
        assert!(matches!(
            header(b"S: =?utf-8?q?=E2=82=AC?=\r\n", "iso-8859-1", None),
            Some(Err(Lacking('€')))
        ));
        assert_eq!(header(b"S: x\r\n", "x-klingon", None), None);
    }

    /// RFC 2047 §2: words of 75 octets at most, in lines of 76; each by itself whole characters (§5).
    #[test]
    fn long_words_are_split_between_characters() {
        let text = "é€ 東a".repeat(30);
        for quoted in ["q", "b"] {
            let word = if quoted == "q" { q(text.as_bytes()) } else { base64(text.as_bytes()) };
            let block =
                format!("Subject: =?utf-8?{quoted}?{}?=\r\n\r\n", String::from_utf8(word).expect("ASCII"));
            let done = headers(&block, "utf-8");
            assert!(done.lines().all(|line| line.len() <= LINE_BYTES_MAX), "{done}");
            for line in done.lines().filter(|line| !line.is_empty()) {
                let word = line.trim_start_matches("Subject:").trim();
                assert!(word.starts_with("=?") && word.ends_with("?="), "{line}");
                assert!(!words::decode(word.as_bytes()).contains('\u{fffd}'), "{line}");
            }
            assert_eq!(words::decode(&done.as_bytes()["Subject:".len()..]), text);
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (octets, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(octets.as_bytes()), expected.as_bytes());
        }
    }
}
