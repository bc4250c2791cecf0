//! Pieces of responses that several commands share, beside those of `imap_wire`.

pub(crate) use imap_wire::encode::{mailbox, number};

use imap_wire::Code;
use model::{Flags, KeywordTable};

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

/// A response code with data, as a reply has it.
pub(crate) fn code(code: &Code<'_>) -> String {
    let mut out = Vec::new();
    code.encode(&mut out);
    // Codes are ASCII but for what a client sent; such octets could end the brackets' line.
    out.iter().map(|&b| if (b' '..=b'~').contains(&b) { char::from(b) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Keyword;

    #[test]
    fn flags_in_order() {
        let made = |set, recent, table: &KeywordTable| {
            let mut out = Vec::new();
            flags(&mut out, set, recent, table);
            String::from_utf8(out).expect("ASCII")
        };
        let mut table = KeywordTable::default();
        let junk = table.find_or_add(&Keyword::parse("$Junk").expect("a keyword")).expect("room");
        let set = Flags::SEEN.union(Flags::READ_REPORT_SENT).union(junk);
        assert_eq!(made(set, true, &table), "(\\Seen \\read-report-sent \\Recent $Junk)");
        assert_eq!(made(Flags::default(), false, &table), "()");
    }

    #[test]
    fn codes_stay_on_their_line() {
        assert_eq!(code(&Code::HighestModSeq(7)), "HIGHESTMODSEQ 7");
        assert_eq!(code(&Code::Other("BADURL a\r\nb")), "BADURL a??b");
    }
}
