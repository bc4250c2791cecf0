//! `* THREAD ...` (RFC 5256 §4).
//!
//! ```abnf
//! thread-data    = "THREAD" [SP 1*thread-list]
//! thread-list    = "(" (thread-members / thread-nested) ")"
//! thread-members = nz-number *(SP nz-number) [SP thread-nested]
//! thread-nested  = 2*thread-list
//! ```

use bytes::BufMut;

use crate::encode;

/// A message in a forest that is written in pre-order: each behind its parent, children of one parent in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadEntry {
    /// 0 for the first message of a thread, its parent's plus one for any other.
    pub depth: u32,
    /// Sequence number or UID; 0 for a parent that does not exist (RFC 5256 §3), which has two children at least.
    pub number: u32,
}

/// `* THREAD (...)(...)`. Depth costs memory, no stack. An entry that is deeper than its predecessor's children
/// would be is taken as a child of its predecessor.
pub fn thread<B: BufMut>(out: &mut B, forest: &[ThreadEntry]) {
    out.put_slice(b"* THREAD");
    let mut children = vec![0u32; forest.len()];
    // The entries that the current one stands under.
    let mut path: Vec<usize> = Vec::new();
    for (i, entry) in forest.iter().enumerate() {
        path.truncate(entry.depth as usize);
        if let Some(&parent) = path.last() {
            children[parent] += 1;
        }
        path.push(i);
    }
    path.clear();
    // Whether the entry at each depth of the path opened a parenthesis.
    let mut opened: Vec<bool> = Vec::new();
    for (i, entry) in forest.iter().enumerate() {
        let depth = (entry.depth as usize).min(path.len());
        path.truncate(depth);
        for _ in opened.drain(depth..).filter(|&opened| opened) {
            out.put_u8(b')');
        }
        let parent = path.last().copied();
        let opens = parent.is_none_or(|parent| children[parent] != 1);
        // A space goes behind a number, and before the first list of all.
        let first_child = parent.is_some_and(|parent| parent + 1 == i);
        let after_number = parent.is_some_and(|parent| forest[parent].number != 0);
        if i == 0 || first_child && after_number {
            out.put_u8(b' ');
        }
        if opens {
            out.put_u8(b'(');
        }
        if entry.number != 0 {
            encode::number(out, entry.number);
        }
        path.push(i);
        opened.push(opens);
    }
    for _ in opened.iter().filter(|&&opened| opened) {
        out.put_u8(b')');
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forests() {
        let check = |forest: &[(u32, u32)], expected: &str| {
            let entries: Vec<_> =
                forest.iter().map(|&(depth, number)| ThreadEntry { depth, number }).collect();
            let mut out = Vec::new();
            thread(&mut out, &entries);
            assert_eq!(String::from_utf8(out).unwrap(), format!("* THREAD{expected}\r\n"));
        };
        check(&[], "");
        check(&[(0, 2), (0, 3)], " (2)(3)");
        // RFC 5256 §4.
        check(
            &[(0, 2), (0, 3), (1, 6), (2, 4), (3, 23), (2, 44), (3, 7), (4, 96)],
            " (2)(3 6 (4 23)(44 7 96))",
        );
        check(&[(0, 0), (1, 3), (1, 5)], " ((3)(5))");
        check(&[(0, 1), (1, 0), (2, 3), (2, 5), (1, 9)], " (1 ((3)(5))(9))");
        check(&[(0, 1), (1, 2), (2, 3), (0, 4)], " (1 2 3)(4)");
    }

    #[test]
    fn deep() {
        let entries: Vec<_> = (0..200_000).map(|i| ThreadEntry { depth: i, number: i + 1 }).collect();
        let mut out = Vec::new();
        thread(&mut out, &entries);
        assert!(out.starts_with(b"* THREAD (1 2 3 ") && out.ends_with(b" 199999 200000)\r\n"));
    }
}
