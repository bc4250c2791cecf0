//! Content transfer encodings (RFC 2045 §6), as BINARY (RFC 3516) and SEARCH need them: in pieces of any size.
//!
//! Lenient in what it decodes, as readers of mail are: octets that an encoding does not know are skipped in base64 and
//! kept in quoted-printable. How the input is split changes nothing.

use crate::index::Encoding;

/// The encoding is not known; IMAP answers `NO [UNKNOWN-CTE]` (RFC 3516 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown content transfer encoding")]
pub struct UnknownEncoding;

/// Decodes a part's octets as they come.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Identity,
    Base64 { bits: u32, count: u8, ended: bool },
    QuotedPrintable(QuotedPrintable),
}

#[derive(Debug, Clone, Default)]
struct QuotedPrintable {
    /// Octets that mean nothing by themselves: `=`, `=X`, `=` and blanks, or blanks that may end a line.
    held: Vec<u8>,
}

/// Most blanks that are held back to see whether a line ends after them; a line may not be longer than 76 octets
/// (RFC 2045 §6.7), and what is longer is let through.
const HELD_MAX: usize = 998;

impl Decoder {
    /// A decoder of `encoding`.
    ///
    /// # Errors
    /// `UnknownEncoding` for [`Encoding::Unknown`].
    pub fn new(encoding: Encoding) -> Result<Self, UnknownEncoding> {
        let state = match encoding {
            Encoding::Identity => State::Identity,
            Encoding::Base64 => State::Base64 { bits: 0, count: 0, ended: false },
            Encoding::QuotedPrintable => State::QuotedPrintable(QuotedPrintable::default()),
            Encoding::Unknown => return Err(UnknownEncoding),
        };
        Ok(Self { state })
    }

    /// Decodes the next piece and appends to `out` what is certain so far: at most as many octets as have come.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => out.extend_from_slice(octets),
            State::Base64 { bits, count, ended } => push_base64(bits, count, ended, octets, out),
            State::QuotedPrintable(state) => state.push(octets, out),
        }
    }

    /// Ends the part and appends what was held back.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.state {
            State::Identity => {}
            State::Base64 { bits, count, .. } => end_base64(bits, count, out),
            State::QuotedPrintable(state) => state.finish(out),
        }
    }
}

/// Octets of `encoded` once decoded.
///
/// # Errors
/// `UnknownEncoding` for [`Encoding::Unknown`].
pub fn decode(encoding: Encoding, encoded: &[u8]) -> Result<Vec<u8>, UnknownEncoding> {
    let mut decoder = Decoder::new(encoding)?;
    let mut out = Vec::with_capacity(encoded.len());
    decoder.push(encoded, &mut out);
    decoder.finish(&mut out);
    Ok(out)
}

/// Size of `encoded` once decoded, octets (BINARY.SIZE). Memory does not grow with the part.
///
/// # Errors
/// `UnknownEncoding` for [`Encoding::Unknown`].
pub fn decoded_size(encoding: Encoding, encoded: &[u8]) -> Result<u64, UnknownEncoding> {
    let mut decoder = Decoder::new(encoding)?;
    let (mut out, mut size) = (Vec::with_capacity(8 * 1024), 0);
    for piece in encoded.chunks(8 * 1024) {
        decoder.push(piece, &mut out);
        size += out.len() as u64;
        out.clear();
    }
    decoder.finish(&mut out);
    Ok(size + out.len() as u64)
}

const SKIP: u8 = 0xff;
const PAD: u8 = 0xfe;

/// Value of each octet in base64.
const BASE64: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [SKIP; 256];
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table
};

fn push_base64(bits: &mut u32, count: &mut u8, ended: &mut bool, mut octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len() / 4 * 3 + 3);
    while let Some((&first, rest)) = octets.split_first() {
        // Four good octets at a time while nothing is pending.
        if *count == 0 && !*ended {
            while let [a, b, c, d, ..] = octets {
                let group = [*a, *b, *c, *d].map(|byte| BASE64[usize::from(byte)]);
                if group.iter().any(|value| *value >= 64) {
                    break;
                }
                let [a, b, c, d] = group.map(u32::from);
                let word = a << 18 | b << 12 | c << 6 | d;
                out.extend_from_slice(&[(word >> 16) as u8, (word >> 8) as u8, word as u8]);
                octets = &octets[4..];
            }
            let Some((&first, rest)) = octets.split_first() else { return };
            base64_octet(bits, count, ended, first, out);
            octets = rest;
            continue;
        }
        base64_octet(bits, count, ended, first, out);
        octets = rest;
    }
}

fn base64_octet(bits: &mut u32, count: &mut u8, ended: &mut bool, octet: u8, out: &mut Vec<u8>) {
    match BASE64[usize::from(octet)] {
        SKIP => {}
        // Padding ends a run; parts glued together begin anew after it.
        PAD => {
            end_base64(*bits, *count, out);
            (*bits, *count, *ended) = (0, 0, true);
        }
        value => {
            *ended = false;
            *bits = *bits << 6 | u32::from(value);
            *count += 1;
            if *count == 4 {
                out.extend_from_slice(&[(*bits >> 16) as u8, (*bits >> 8) as u8, *bits as u8]);
                (*bits, *count) = (0, 0);
            }
        }
    }
}

fn end_base64(bits: u32, count: u8, out: &mut Vec<u8>) {
    match count {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    }
}

impl QuotedPrintable {
    fn push(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        out.reserve(octets.len());
        while !octets.is_empty() {
            if self.held.is_empty() {
                let plain = octets
                    .iter()
                    .position(|byte| matches!(byte, b'=' | b' ' | b'\t'))
                    .unwrap_or(octets.len());
                out.extend_from_slice(&octets[..plain]);
                octets = &octets[plain..];
                let Some((first, rest)) = octets.split_first() else { return };
                self.held.push(*first);
                octets = rest;
                continue;
            }
            let octet = octets[0];
            if self.held[0] == b'=' {
                match (&self.held[1..], octet) {
                    ([], high) if high.is_ascii_hexdigit() => self.held.push(high),
                    ([high], low) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                        out.push(hex(*high) << 4 | hex(low));
                        self.held.clear();
                    }
                    // A soft line break: `=`, blanks, line end.
                    ([] | [.., b' ' | b'\t' | b'\r'], b'\n') => self.held.clear(),
                    ([] | [.., b' ' | b'\t'], b' ' | b'\t' | b'\r') if self.held.len() < HELD_MAX => {
                        self.held.push(octet);
                    }
                    // Not an encoding after all: let it stand, and look at this octet afresh.
                    _ => {
                        out.append(&mut self.held);
                        continue;
                    }
                }
            } else {
                // Blanks at the end of a line are not content (RFC 2045 §6.7, rule 3).
                match octet {
                    b' ' | b'\t' if self.held.len() < HELD_MAX => self.held.push(octet),
                    b'\r' | b'\n' => self.held.clear(),
                    _ => out.append(&mut self.held),
                }
                if self.held.is_empty() {
                    continue;
                }
            }
            octets = &octets[1..];
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        match self.held.first() {
            // A soft line break whose line end the boundary took, or blanks at the very end.
            Some(b'=') if self.held[1..].iter().all(u8::is_ascii_whitespace) => {}
            Some(b'=') => out.extend_from_slice(&self.held),
            _ => {}
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Decodes base64 of an encoded word.
pub(crate) fn base64(data: &[u8]) -> Vec<u8> {
    let (mut bits, mut count, mut ended) = (0, 0, false);
    let mut out = Vec::new();
    push_base64(&mut bits, &mut count, &mut ended, data, &mut out);
    end_base64(bits, count, &mut out);
    out
}

/// Decodes the Q encoding of an encoded word (RFC 2047 §4.2).
pub(crate) fn q_word(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut at = 0;
    while let Some(octet) = data.get(at) {
        match (octet, data.get(at + 1), data.get(at + 2)) {
            (b'=', Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                at += 2;
            }
            (b'_', ..) => out.push(b' '),
            _ => out.push(*octet),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, encoded: &[u8], expected: &[u8]) {
        assert_eq!(decode(encoding, encoded).as_deref(), Ok(expected), "{}", encoded.escape_ascii());
        assert_eq!(decoded_size(encoding, encoded), Ok(expected.len() as u64));
        for at in 0..=encoded.len() {
            let mut decoder = Decoder::new(encoding).expect("known");
            let mut out = Vec::new();
            decoder.push(&encoded[..at], &mut out);
            decoder.push(&encoded[at..], &mut out);
            decoder.finish(&mut out);
            assert_eq!(out, expected, "{} split at {at}", encoded.escape_ascii());
        }
    }

    #[test]
    fn base64_decodes() {
        for (encoded, expected) in [
            (&b""[..], &b""[..]),
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==\r\n", b"foob"),
            (b"Zm9v\r\nYmFy\r\n", b"foobar"),
            (b"Zm9vYg", b"foob"),
            (b"Z", b""),
            (b"Zm 9-v!", b"foo"),
            (b"Zg==Zm9v", b"ffoo"),
            (b"AAECAwQF", &[0, 1, 2, 3, 4, 5]),
        ] {
            check(Encoding::Base64, encoded, expected);
        }
    }

    #[test]
    fn quoted_printable_decodes() {
        for (encoded, expected) in [
            (&b""[..], &b""[..]),
            (b"a=20b=e9=E9", b"a b\xe9\xe9"),
            (b"soft=\r\nbreak=\nx= \t\r\ny", b"softbreakxy"),
            (b"trailing \t\r\nx \n", b"trailing\r\nx\n"),
            (b"in  side", b"in  side"),
            (b"a=4", b"a=4"),
            (b"a=xyz=", b"a=xyz"),
            (b"a==41", b"a=A"),
            (b"=4G", b"=4G"),
            (b"= a", b"= a"),
            (b"=\ra", b"=\ra"),
            (b"end  ", b"end"),
            (b"=3D=", b"="),
        ] {
            check(Encoding::QuotedPrintable, encoded, expected);
        }
    }

    #[test]
    fn others() {
        check(Encoding::Identity, b"a=20\0", b"a=20\0");
        assert_eq!(decode(Encoding::Unknown, b"x"), Err(UnknownEncoding));
        assert_eq!(q_word(b"a_b=5F=C3=A9=zz="), "a b_é=zz=".as_bytes());
    }
}
