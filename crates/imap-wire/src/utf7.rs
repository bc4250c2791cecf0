//! Modified UTF-7, how mailbox names travel until UTF-8 is enabled (RFC 3501 §5.1.3).
//!
//! Printable US-ASCII stands for itself, `&` is `&-`, and all else is UTF-16BE in base64 (with `,` for `/`,
//! without padding) between `&` and `-`. Decoding is strict, so that every name has one spelling: no base64 for
//! printable ASCII, no two adjacent shifts, zero padding bits, no lone surrogate.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Appends `name` in modified UTF-7 to `out`.
pub fn encode_into(name: &str, out: &mut Vec<u8>) {
    let (mut shifted, mut bits, mut held) = (false, 0u32, 0u32);
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            if shifted {
                unshift(bits, held, out);
                (shifted, bits, held) = (false, 0, 0);
            }
            out.push(c as u8);
            if c == '&' {
                out.push(b'-');
            }
            continue;
        }
        if !shifted {
            out.push(b'&');
            shifted = true;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // At most 5 bits are held over, so 21 are in use.
            bits = bits << 16 | u32::from(*unit);
            held += 16;
            while held >= 6 {
                held -= 6;
                out.push(ALPHABET[(bits >> held & 63) as usize]);
            }
            bits &= (1 << held) - 1;
        }
    }
    if shifted {
        unshift(bits, held, out);
    }
}

fn unshift(bits: u32, held: u32, out: &mut Vec<u8>) {
    if held > 0 {
        out.push(ALPHABET[(bits << (6 - held) & 63) as usize]);
    }
    out.push(b'-');
}

/// `name` in modified UTF-7.
pub fn encode(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len() + 8);
    encode_into(name, &mut out);
    // The encoder emits ASCII only.
    String::from_utf8(out).unwrap_or_default()
}

/// The name written as `encoded`, or nothing if that is not modified UTF-7 in its one form.
pub fn decode(encoded: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(encoded.len());
    let mut rest = encoded;
    let mut after_shift = false;
    while let Some((&b, tail)) = rest.split_first() {
        if !(0x20..0x7f).contains(&b) {
            return None;
        }
        if b != b'&' {
            name.push(char::from(b));
            (rest, after_shift) = (tail, false);
            continue;
        }
        let end = memchr::memchr(b'-', tail)?;
        let (run, tail) = (&tail[..end], &tail[end + 1..]);
        if run.is_empty() {
            name.push('&');
            after_shift = false;
        } else {
            if after_shift {
                return None;
            }
            decode_run(run, &mut name)?;
            after_shift = true;
        }
        rest = tail;
    }
    Some(name)
}

/// One base64 run, without its `&` and `-`.
fn decode_run(run: &[u8], name: &mut String) -> Option<()> {
    let (mut bits, mut held) = (0u32, 0u32);
    let mut units = Vec::with_capacity(run.len() * 6 / 16);
    for &b in run {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b',' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push((bits >> held) as u16);
            bits &= (1 << held) - 1;
        }
    }
    if held >= 6 || bits != 0 {
        return None;
    }
    for c in char::decode_utf16(units) {
        let c = c.ok()?;
        if (' '..='~').contains(&c) {
            return None;
        }
        name.push(c);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        for (name, wire) in [
            ("", ""),
            ("INBOX", "INBOX"),
            ("a&b", "a&-b"),
            ("&&", "&-&-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Hi Mom -☺-!", "Hi Mom -&Jjo--!"),
            ("ü", "&APw-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("😀", "&2D3eAA-"),
            ("é&è", "&AOk-&-&AOg-"),
            ("\t", "&AAk-"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name), "{wire}");
        }
    }

    #[test]
    fn refused() {
        for wire in [
            "&",                  // no end
            "&U,BTFw",            // no end
            "&AGE-",              // "a" in base64
            "&ACY-",              // "&" in base64
            "&U,BTFw-&ZeVnLIqe-", // two adjacent shifts
            "&A-",                // too few bits
            "&AAAAA-",            // a whole superfluous digit
            "&APx-",              // padding bits not zero
            "&2D0-",              // lone high surrogate
            "&3gA-",              // lone low surrogate
            "&U/BTFw-",           // "/" for ","
            "&APw=-",             // padding character
            "\u{7f}",
            "ü",
            "a\r",
        ] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    proptest::proptest! {
        #[test]
        fn round_trip(name in ".*") {
            assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn one_spelling(wire in "[&A-Za-c,+\\-]{0,12}") {
            if let Some(name) = decode(wire.as_bytes()) {
                assert_eq!(encode(&name), wire);
            }
        }
    }
}
