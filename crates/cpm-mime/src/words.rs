//! RFC 2047: encoded words in a header value, to text.

use crate::{charset, header, transfer};

/// Longest charset and longest text of a word that is looked for. RFC 2047 §2 allows 75 octets for the whole word;
/// without a bound, words that do not end would be scanned again and again.
const CHARSET_BYTES_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 1024;

/// A value as text: unfolded, encoded words decoded, blanks between two of them dropped (RFC 2047 §6.2). Octets outside
/// of words are read as UTF-8, or else as windows-1252. What is no valid word stays as it is.
pub(crate) fn decode(value: &[u8]) -> String {
    let value = header::unfold(value);
    let mut out = String::with_capacity(value.len());
    // Words of one charset are decoded together: senders split characters between words.
    let mut run: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = &value[..];
    loop {
        let start = memchr::memmem::find(rest, b"=?");
        let word = start.and_then(|start| encoded_word(&rest[start..]));
        let (Some(start), Some((charset, octets, length))) = (start, word) else {
            // No word at `start`: pass over its first octet and look on.
            let plain = start.map_or(rest.len(), |start| start + 2);
            flush(&mut out, &mut run);
            out.push_str(&charset::unlabelled(&rest[..plain]));
            rest = &rest[plain..];
            if rest.is_empty() {
                return out;
            }
            continue;
        };
        let between = &rest[..start];
        if run.is_none() || !between.trim_ascii().is_empty() {
            flush(&mut out, &mut run);
            out.push_str(&charset::unlabelled(between));
        }
        match &mut run {
            Some((known, all)) if known.eq_ignore_ascii_case(charset) => all.extend_from_slice(&octets),
            _ => {
                flush(&mut out, &mut run);
                run = Some((charset, octets));
            }
        }
        rest = &rest[start + length..];
        if rest.is_empty() {
            flush(&mut out, &mut run);
            return out;
        }
    }
}

fn flush(out: &mut String, run: &mut Option<(&[u8], Vec<u8>)>) {
    if let Some((charset, octets)) = run.take() {
        out.push_str(&charset::decode(charset, &octets));
    }
}

/// An encoded word.
pub(crate) struct Word<'a> {
    pub charset: &'a [u8],
    pub octets: Vec<u8>,
    /// Whether it is in the Q encoding, else in B.
    pub quoted: bool,
    /// The word as it stands.
    pub raw: &'a [u8],
}

/// The first encoded word of `text`, and where it begins.
pub(crate) fn next(text: &[u8]) -> Option<(usize, Word<'_>)> {
    memchr::memmem::find_iter(text, b"=?").find_map(|start| {
        let (charset, octets, length) = encoded_word(&text[start..])?;
        let raw = &text[start..start + length];
        let method = raw.iter().skip(2).skip_while(|octet| **octet != b'?').nth(1);
        Some((
            start,
            Word { charset, octets, quoted: method.is_some_and(|m| m.eq_ignore_ascii_case(&b'q')), raw },
        ))
    })
}

/// A word at the start of `text`: charset, octets, length of the word.
fn encoded_word(text: &[u8]) -> Option<(&[u8], Vec<u8>, usize)> {
    let inner = text.strip_prefix(b"=?")?;
    let charset_end = memchr::memchr(b'?', &inner[..inner.len().min(CHARSET_BYTES_MAX)])?;
    let (charset, tail) = inner.split_at(charset_end);
    // RFC 2231 §5 lets a language follow the charset.
    let charset = charset.split(|byte| *byte == b'*').next()?;
    if charset.is_empty() || charset.iter().any(|byte| *byte <= b' ') {
        return None;
    }
    let [b'?', method, b'?', data @ ..] = tail else { return None };
    let data_end = memchr::memmem::find(&data[..data.len().min(WORD_BYTES_MAX)], b"?=")?;
    let length = text.len() - data.len() + data_end + 2;
    let data = &data[..data_end];
    let octets = match method {
        b'b' | b'B' => transfer::base64(data),
        b'q' | b'Q' => transfer::q_word(data),
        _ => return None,
    };
    Some((charset, octets, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decode() {
        for (value, expected) in [
            ("plain", "plain"),
            ("=?utf-8?q?J=C3=A9r=C3=B4me?= x", "Jérôme x"),
            // RFC 2047 §8.
            ("(=?ISO-8859-1?Q?a?=)", "(a)"),
            ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a?=  \r\n =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
            // A character split between words.
            ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
            ("=?utf-8*en?b?w6k=?=", "é"),
            ("=?utf-8?x?abc?= =?", "=?utf-8?x?abc?= =?"),
            ("a =?b", "a =?b"),
            ("caf\u{e9}", "café"),
            ("=?utf-8?q??=", ""),
        ] {
            assert_eq!(decode(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(decode(b"caf\xe9"), "café");
    }

    #[test]
    fn words_that_do_not_end_cost_one_pass() {
        for text in ["=?a?q?x ", "=?a?q?", "=?", "=?a?", "=?utf-8?q?=C3?= "] {
            let value = text.repeat(1_000_000 / text.len());
            let decoded = decode(value.as_bytes());
            assert!(!decoded.is_empty(), "{text}");
        }
    }
}
