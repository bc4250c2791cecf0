//! The structure of one part, cut out of that of its message.
//!
//! A stored BODYSTRUCTURE is text that this crate rendered: lists, quoted strings, literals, numbers and `NIL`. The
//! part's own share of it stands there whole, between its parentheses.

use bytes::Bytes;

use super::MessageIndex;

/// Where a message part has the structure of the message in it, counted from 0 (RFC 9051 §7.5.2).
const NESTED: usize = 8;

impl MessageIndex {
    /// The structure of the part that `path` numbers, as BODYSTRUCTURE has it, parentheses included; that of the
    /// message for an empty path. None where there is no such part. Source: RFC 5524 §3, `BODYPARTSTRUCTURE`.
    pub fn part_structure(&self, path: &[u32]) -> Option<Bytes> {
        let whole = self.bodystructure();
        if path.is_empty() {
            return Some(whole);
        }
        // The path leads to a part, so that what remains is to follow it through the text.
        self.part(path)?;
        let mut numbers = path.iter();
        let mut text = &whole[..];
        loop {
            // Here is the root of a message. If it is no multipart it is itself part 1.
            if !is_multipart(text) {
                numbers.next()?;
            }
            while is_multipart(text) {
                let Some(number) = numbers.next() else { return Some(whole.slice_ref(text)) };
                text = element(text, (*number as usize).checked_sub(1)?)?;
            }
            if numbers.as_slice().is_empty() {
                return Some(whole.slice_ref(text));
            }
            // The path goes on, so this part is a message.
            text = element(text, NESTED)?;
        }
    }
}

/// A multipart begins with its first part, any other part with the name of its type.
fn is_multipart(structure: &[u8]) -> bool {
    structure.starts_with(b"((")
}

/// The element `n`, counted from 0, of the list that `list` begins with.
fn element(list: &[u8], n: usize) -> Option<&[u8]> {
    let mut rest = list.strip_prefix(b"(")?;
    for left in (0..=n).rev() {
        rest = rest.trim_ascii_start();
        let end = end_of(rest)?;
        if left == 0 {
            return Some(&rest[..end]);
        }
        rest = &rest[end..];
    }
    None
}

/// The length of the element that `text` begins with; none at the end of a list.
fn end_of(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0usize);
    loop {
        match *text.get(at)? {
            b'(' => {
                depth += 1;
                at += 1;
            }
            b')' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b'"' => {
                at += 1;
                while *text.get(at)? != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'{' => {
                let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
                let size: usize = std::str::from_utf8(&text[at + 1..at + 1 + digits]).ok()?.parse().ok()?;
                // The brace and the line's end, then the octets.
                at = (at + 1 + digits + b"}\r\n".len()).checked_add(size)?;
            }
            b' ' => at += 1,
            _ => at += text[at..].iter().take_while(|b| !b" ()".contains(b)).count(),
        }
        if depth == 0 {
            return (at <= text.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Limits, parse};

    const MESSAGE: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain; name=\"x) (\\\"y\"\r\n\r\none\r\n\
        --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: caf\u{e9} ((\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: image/png\r\n\r\ntwo\r\n--b\r\nContent-Type: text/html\r\n\r\nthree\r\n--b--\r\n\
        --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: plain\r\n\r\nfour\r\n--a--\r\n";

    #[test]
    fn each_part_has_its_own() {
        let index = parse(MESSAGE.as_bytes(), &Limits::default());
        let begins = |path: &[u32]| {
            let text = index.part_structure(path)?;
            assert!(text.ends_with(b")"), "{path:?}");
            Some(String::from_utf8_lossy(&text).chars().take(20).collect::<String>().to_ascii_lowercase())
        };
        let check = |path: &[u32], expected: &str| {
            let got = begins(path).unwrap_or_else(|| panic!("{path:?}"));
            assert!(got.starts_with(expected), "{path:?}: {got}");
        };
        check(&[], "((\"text\" \"plain\" (");
        check(&[1], "(\"text\" \"plain\" (");
        check(&[2], "(\"message\" \"rfc822\"");
        check(&[2, 1], "(\"image\" \"png\"");
        check(&[2, 2], "(\"text\" \"html\"");
        check(&[3], "(\"message\" \"rfc822\"");
        check(&[3, 1], "(\"text\" \"plain\"");
        for path in [&[4][..], &[0], &[1, 1], &[2, 3], &[3, 2], &[3, 1, 1]] {
            assert_eq!(index.part_structure(path), None, "{path:?}");
        }
        let whole = index.bodystructure();
        for path in [&[1][..], &[2], &[2, 1], &[2, 2], &[3], &[3, 1]] {
            let part = index.part_structure(path).expect("a part");
            assert!(whole.windows(part.len()).any(|at| at == part), "{path:?}");
        }
    }

    #[test]
    fn a_message_of_one_part() {
        let index = parse(b"Content-Type: text/plain\r\n\r\nx\r\n", &Limits::default());
        assert_eq!(index.part_structure(&[1]), Some(index.bodystructure()));
        assert_eq!(index.part_structure(&[2]), None);
        assert_eq!(index.part_structure(&[1, 1]), None);
    }
}
