//! Data items that stand in a folder's rows: no message is opened for them.
//!
//! Source: RFC 9051 §7.5.2, RFC 7162 §3.1.4 (MODSEQ), RFC 8474 §5 (EMAILID), RFC 8514 §4.3 (SAVEDATE).

use imap_wire::DateTime;
use imap_wire::response::fetch::FetchWriter;
use model::{Flags, KeywordTable, MessageRow, UidSet};

/// A data item of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowItem {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `MODSEQ`
    ModSeq,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `EMAILID`
    EmailId,
    /// `SAVEDATE`
    SaveDate,
}

/// What the flags of a folder's rows mean in a session.
#[derive(Clone, Copy)]
pub(crate) struct FlagNames<'a> {
    /// The folder's keywords.
    pub keywords: &'a KeywordTable,
    /// \Recent in this session; empty where IMAP4rev2 is enabled, which has none.
    pub recent: &'a UidSet,
}

impl<'a> FlagNames<'a> {
    /// The names of a row's flags: system flags, `\Recent`, keywords.
    fn of(self, row: &MessageRow) -> impl Iterator<Item = &'a str> {
        let flags = row.flags;
        let recent = !self.recent.is_empty() && self.recent.contains(row.uid);
        let system = Flags::SYSTEM.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, n)| n);
        let keywords = flags.keyword_indexes().filter_map(move |index| self.keywords.get(index));
        system.chain(recent.then_some("\\Recent")).chain(keywords.map(model::Keyword::as_str))
    }
}

/// Appends an item's name and value.
pub(crate) fn write(
    fetch: &mut FetchWriter,
    out: &mut Vec<u8>,
    item: RowItem,
    row: &MessageRow,
    names: FlagNames<'_>,
) {
    match item {
        RowItem::Flags => fetch.flags(out, names.of(row)),
        RowItem::Uid => fetch.uid(out, row.uid.get()),
        RowItem::ModSeq => fetch.mod_seq(out, row.modseq.0),
        RowItem::InternalDate => {
            let date = DateTime { unix_seconds: row.internal_date, zone_minutes: row.zone_minutes };
            fetch.internal_date(out, date);
        }
        RowItem::Size => fetch.size(out, u64::from(row.size)),
        RowItem::EmailId => fetch.email_id(out, &row.body.to_string()),
        RowItem::SaveDate => {
            fetch.save_date(out, Some(DateTime { unix_seconds: row.saved_at, zone_minutes: 0 }));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{BodyId, Keyword, ModSeq, Uid};

    use super::*;

    #[test]
    fn items() {
        let mut keywords = KeywordTable::default();
        let junk = keywords.find_or_add(&Keyword::parse("$Junk").expect("a keyword")).expect("room");
        let row = MessageRow {
            uid: Uid::new(7).expect("positive"),
            flags: Flags::SEEN.union(junk),
            modseq: ModSeq(12),
            size: 2048,
            internal_date: 0,
            zone_minutes: 60,
            saved_at: 86_400,
            body: BodyId(0xab),
        };
        let other = MessageRow { flags: Flags::READ_REPORT_SENT, uid: Uid::new(8).expect("positive"), ..row };
        let recent = UidSet::range(row.uid, row.uid);
        let names = FlagNames { keywords: &keywords, recent: &recent };
        let check = |item, row: &MessageRow, expected: &str| {
            let mut out = Vec::new();
            let mut fetch = FetchWriter::begin(&mut out, 1);
            write(&mut fetch, &mut out, item, row, names);
            fetch.end(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("* 1 FETCH ({expected})\r\n"));
        };
        check(RowItem::Flags, &row, "FLAGS (\\Seen \\Recent $Junk)");
        check(RowItem::Flags, &other, "FLAGS (\\read-report-sent)");
        check(RowItem::Uid, &row, "UID 7");
        check(RowItem::ModSeq, &row, "MODSEQ (12)");
        check(RowItem::Size, &row, "RFC822.SIZE 2048");
        check(RowItem::InternalDate, &row, "INTERNALDATE \" 1-Jan-1970 01:00:00 +0100\"");
        check(RowItem::SaveDate, &row, "SAVEDATE \" 2-Jan-1970 00:00:00 +0000\"");
        check(RowItem::EmailId, &row, "EMAILID (00000000000000ab)");
    }
}
