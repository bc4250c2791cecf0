//! What a search found.

use bytes::BufMut;

use super::start;
use crate::command::PartialRange;
use crate::encode;
use crate::mailbox::MailboxEncoding;
use crate::string::Tag;

/// `* SEARCH n ...`, with `(MODSEQ n)` where the search had a MODSEQ key and found something (RFC 7162 §3.1.5).
pub fn search<B: BufMut>(out: &mut B, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<u64>) {
    numbers_line(out, "SEARCH", numbers, mod_seq);
}

/// `* SORT n ...` (RFC 5256 §4), with `(MODSEQ n)` as in [`search`].
pub fn sort<B: BufMut>(out: &mut B, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<u64>) {
    numbers_line(out, "SORT", numbers, mod_seq);
}

fn numbers_line<B: BufMut>(
    out: &mut B,
    name: &str,
    numbers: impl IntoIterator<Item = u32>,
    mod_seq: Option<u64>,
) {
    start(out, name);
    for number in numbers {
        out.put_u8(b' ');
        encode::number(out, number);
    }
    if let Some(mod_seq) = mod_seq {
        out.put_slice(b" (MODSEQ ");
        encode::number(out, mod_seq);
        out.put_u8(b')');
    }
    out.put_slice(b"\r\n");
}

/// Results next to each other (RFC 5267 §4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The place of the first among all results, from 1; 0 where results are in the order of the mailbox.
    pub position: u32,
    /// The results as inclusive ranges, in the order of the results; at least one.
    pub ranges: Vec<(u32, u32)>,
}

/// The mailbox that an `ESEARCH` response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched<'a> {
    /// Its name, in Unicode.
    pub name: &'a str,
    /// How the connection writes names.
    pub encoding: MailboxEncoding,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
}

/// What an `ESEARCH` response tells; what is absent is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ESearch<'a> {
    /// `MAILBOX` and `UIDVALIDITY`: whose results they are, where a command searches several (RFC 7377 §2.1).
    pub mailbox: Option<Searched<'a>>,
    /// The numbers are UIDs.
    pub uid: bool,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `ALL`: ranges in order; an empty result is not told (RFC 9051 §7.3.4). For SORT, not ascending
    /// (RFC 5267 §3.1).
    pub all: Option<&'a [(u32, u32)]>,
    /// `COUNT`
    pub count: Option<u32>,
    /// `PARTIAL`: what was asked, and that part of the result, `NIL` when empty (RFC 9394 §3.1).
    pub partial: Option<(PartialRange, &'a [(u32, u32)])>,
    /// `ADDTO`: what became a result (RFC 5267 §4.3.3), each put in its place when those before it are; not told when
    /// empty.
    pub add_to: &'a [Placed],
    /// `REMOVEFROM`: what is no result any more (RFC 5267 §4.3.4), each taken out when those before it are; not told
    /// when empty.
    pub remove_from: &'a [Placed],
    /// `MODSEQ` (RFC 7162 §3.1.10)
    pub mod_seq: Option<u64>,
}

/// `* ESEARCH (TAG "...") UID MIN n ...` (RFC 9051 §7.3.4), `* ESEARCH (TAG "..." MAILBOX name UIDVALIDITY n) ...`
/// (RFC 7377 §2.1)
pub fn esearch<B: BufMut>(out: &mut B, tag: &Tag, data: &ESearch<'_>) {
    out.put_slice(b"* ESEARCH (TAG ");
    encode::quoted(out, tag.as_bytes());
    if let Some(Searched { name, encoding, uid_validity }) = data.mailbox {
        out.put_slice(b" MAILBOX ");
        encode::mailbox(out, name, encoding);
        out.put_slice(b" UIDVALIDITY ");
        encode::number(out, uid_validity);
    }
    out.put_u8(b')');
    if data.uid {
        out.put_slice(b" UID");
    }
    let item = |out: &mut B, name: &str, value: Option<u64>| {
        if let Some(value) = value {
            out.put_slice(name.as_bytes());
            encode::number(out, value);
        }
    };
    item(out, " MIN ", data.min.map(u64::from));
    item(out, " MAX ", data.max.map(u64::from));
    if let Some(all) = data.all.filter(|all| !all.is_empty()) {
        out.put_slice(b" ALL ");
        encode::ranges(out, all.iter().copied());
    }
    item(out, " COUNT ", data.count.map(u64::from));
    if let Some((range, result)) = data.partial {
        let sign: &[u8] = if range.from_end { b"-" } else { b"" };
        out.put_slice(b" PARTIAL (");
        out.put_slice(sign);
        encode::number(out, range.first.get());
        out.put_u8(b':');
        out.put_slice(sign);
        encode::number(out, range.last.get());
        out.put_u8(b' ');
        if result.is_empty() {
            out.put_slice(b"NIL");
        } else {
            encode::ranges(out, result.iter().copied());
        }
        out.put_u8(b')');
    }
    for (name, placed) in [(" REMOVEFROM (", data.remove_from), (" ADDTO (", data.add_to)] {
        let mut before: &[u8] = name.as_bytes();
        for Placed { position, ranges } in placed {
            out.put_slice(std::mem::replace(&mut before, b" "));
            encode::number(out, *position);
            out.put_u8(b' ');
            encode::ranges(out, ranges.iter().copied());
        }
        if !placed.is_empty() {
            out.put_u8(b')');
        }
    }
    item(out, " MODSEQ ", data.mod_seq);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::testing::{check_written as check, tag};

    #[test]
    fn lines_of_numbers() {
        check(|out| search(out, [2, 3, 6], None), "* SEARCH 2 3 6");
        check(|out| search(out, [], None), "* SEARCH");
        check(|out| search(out, [2, 5], Some(917162500)), "* SEARCH 2 5 (MODSEQ 917162500)");
        check(|out| sort(out, [5, 3, 4], None), "* SORT 5 3 4");
    }

    #[test]
    fn esearches() {
        let data = ESearch::default();
        check(|out| esearch(out, &tag(), &data), "* ESEARCH (TAG \"A1\")");
        let counted = ESearch { uid: true, count: Some(0), all: Some(&[]), ..data };
        check(|out| esearch(out, &tag(), &counted), "* ESEARCH (TAG \"A1\") UID COUNT 0");
        let placed = |position, ranges: &[(u32, u32)]| Placed { position, ranges: ranges.to_vec() };
        let changed = ESearch {
            uid: true,
            add_to: &[placed(1, &[(9, 9), (4, 5)]), placed(7, &[(2, 2)])],
            remove_from: &[placed(0, &[(2, 2)])],
            ..ESearch::default()
        };
        let expected = r#"* ESEARCH (TAG "A1") UID REMOVEFROM (0 2) ADDTO (1 9,4:5 7 2)"#;
        check(|out| esearch(out, &tag(), &changed), expected);
        let searched = |name, encoding| Some(Searched { name, encoding, uid_validity: 7 });
        let of_one = ESearch { uid: true, mailbox: searched("a b", MailboxEncoding::Utf8), ..data };
        check(|out| esearch(out, &tag(), &of_one), r#"* ESEARCH (TAG "A1" MAILBOX "a b" UIDVALIDITY 7) UID"#);
        let of_one = ESearch { mailbox: searched("ü", MailboxEncoding::ModifiedUtf7), ..data };
        check(|out| esearch(out, &tag(), &of_one), r#"* ESEARCH (TAG "A1" MAILBOX &APw- UIDVALIDITY 7)"#);
        let full = ESearch {
            mailbox: None,
            add_to: &[],
            remove_from: &[],
            uid: false,
            min: Some(2),
            max: Some(47),
            all: Some(&[(2, 2), (10, 15)]),
            count: Some(7),
            partial: None,
            mod_seq: Some(1236),
        };
        check(
            |out| esearch(out, &tag(), &full),
            "* ESEARCH (TAG \"A1\") MIN 2 MAX 47 ALL 2,10:15 COUNT 7 MODSEQ 1236",
        );
        let range = |from_end| PartialRange {
            first: NonZeroU32::new(1).unwrap(),
            last: NonZeroU32::new(100).unwrap(),
            from_end,
        };
        let partial = ESearch { partial: Some((range(true), &[(200, 250)][..])), ..data };
        check(|out| esearch(out, &tag(), &partial), "* ESEARCH (TAG \"A1\") PARTIAL (-1:-100 200:250)");
        let none = ESearch { partial: Some((range(false), &[][..])), ..data };
        check(|out| esearch(out, &tag(), &none), "* ESEARCH (TAG \"A1\") PARTIAL (1:100 NIL)");
    }
}
