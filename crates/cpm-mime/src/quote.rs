//! IMAP strings (RFC 9051 §4.3, §9) as they stand in stored answers.
//!
//! An answer is rendered once and sent to every client, so each string takes the form that is legal for all: quoted
//! when it is printable ASCII, a literal otherwise. 8-bit octets of a header therefore reach an IMAP4rev1 client as a
//! literal, which may hold any octet but NUL, and a client of UTF8=ACCEPT likewise. RFC 2047 words are ASCII and stay
//! as they are.

/// Appends `NIL` for none, else [`string`].
pub(crate) fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends a quoted string, or a literal where quoting is not legal. NUL, which no IMAP string may hold, becomes
/// `?`.
pub(crate) fn string(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        out.push(b'"');
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
        return;
    }
    out.push(b'{');
    number(out, value.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend(value.iter().map(|byte| if *byte == 0 { b'?' } else { *byte }));
}

/// Appends a number.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
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
    out.extend_from_slice(&digits[at..]);
}

/// At most `max` octets of `value`, not cut inside a UTF-8 character.
pub(crate) fn cut(value: &[u8], max: usize) -> &[u8] {
    if value.len() <= max {
        return value;
    }
    let mut end = max;
    while end > max.saturating_sub(4) && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_take_the_form_every_client_may_read() {
        let check = |value: &[u8], expected: &[u8]| {
            let mut out = Vec::new();
            string(&mut out, value);
            assert_eq!(out, expected);
        };
        check(b"", b"\"\"");
        check(b"a\"b\\c", b"\"a\\\"b\\\\c\"");
        check("é".as_bytes(), "{2}\r\né".as_bytes());
        check(b"a\r\nb", b"{4}\r\na\r\nb");
        check(b"a\0", b"{2}\r\na?");
    }

    #[test]
    fn numbers_print_whole() {
        for value in [0, 9, 10, 1234567890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("aé".as_bytes(), 2), b"a");
        assert_eq!(cut("aé".as_bytes(), 3), "aé".as_bytes());
        assert_eq!(cut(b"abc", 2), b"ab");
    }
}
