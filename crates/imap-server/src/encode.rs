//! Pieces of responses that several commands share.

use imap_wire::{MailboxEncoding, utf7};
use model::{Flags, KeywordTable, UidSet};

/// Appends a mailbox name as the client reads it at the moment.
pub(crate) fn mailbox(out: &mut Vec<u8>, name: &str, encoding: MailboxEncoding) {
    match encoding {
        MailboxEncoding::ModifiedUtf7 => string(out, utf7::encode(name).as_bytes()),
        MailboxEncoding::Utf8 => string(out, name.as_bytes()),
    }
}

/// Appends `octets` as a quoted string where that can hold them, else as a literal. UTF-8 goes into quoted strings
/// too: callers hand it over only where the client has enabled it.
pub(crate) fn string(out: &mut Vec<u8>, octets: &[u8]) {
    let quotable = octets.len() <= 1_000 && octets.iter().all(|&b| b >= b' ' && b != 0x7f);
    if !quotable {
        out.extend_from_slice(format!("{{{}}}\r\n", octets.len()).as_bytes());
        out.extend_from_slice(octets);
        return;
    }
    out.push(b'"');
    for &b in octets {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Appends `flags` as a list in parentheses: system flags, keywords, and `\Recent` if asked for.
pub(crate) fn flags(out: &mut Vec<u8>, flags: Flags, recent: bool, keywords: &KeywordTable) {
    out.push(b'(');
    let start = out.len();
    let mut push = |name: &str| {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    };
    for (flag, name) in Flags::SYSTEM {
        if flags.contains(flag) {
            push(name);
        }
    }
    if recent {
        push("\\Recent");
    }
    for index in flags.keyword_indexes() {
        if let Some(keyword) = keywords.get(index) {
            push(keyword.as_str());
        }
    }
    out.push(b')');
}

/// Appends `uids` as a `uid-set` (RFC 9051 §9); nothing for none.
pub(crate) fn uid_set(out: &mut Vec<u8>, uids: &UidSet) {
    ranges(out, uids.ranges());
}

/// Appends inclusive ranges as a set.
pub(crate) fn ranges(out: &mut Vec<u8>, ranges: impl IntoIterator<Item = (u32, u32)>) {
    for (i, (first, last)) in ranges.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        number(out, u64::from(first));
        if last > first {
            out.push(b':');
            number(out, u64::from(last));
        }
    }
}

/// Appends a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Keyword;

    fn made(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings() {
        assert_eq!(made(|o| string(o, b"a b")), "\"a b\"");
        assert_eq!(made(|o| string(o, br#"a"b\c"#)), r#""a\"b\\c""#);
        assert_eq!(made(|o| string(o, b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(made(|o| mailbox(o, "é&", MailboxEncoding::ModifiedUtf7)), "\"&AOk-&-\"");
        assert_eq!(made(|o| mailbox(o, "é&", MailboxEncoding::Utf8)), "\"é&\"");
    }

    #[test]
    fn flags_and_sets() {
        let mut table = KeywordTable::default();
        let junk = table.find_or_add(&Keyword::parse("$Junk").expect("a keyword")).expect("room");
        let set = Flags::SEEN.union(Flags::READ_REPORT_SENT).union(junk);
        assert_eq!(made(|o| flags(o, set, true, &table)), "(\\Seen \\read-report-sent \\Recent $Junk)");
        assert_eq!(made(|o| flags(o, Flags::default(), false, &table)), "()");
        assert_eq!(
            made(|o| uid_set(o, &UidSet::from_ranges([(1, 3), (7, 7), (4_294_967_295, 4_294_967_295)]))),
            "1:3,7,4294967295"
        );
        assert_eq!(made(|o| number(o, u64::MAX)), "18446744073709551615");
    }
}
