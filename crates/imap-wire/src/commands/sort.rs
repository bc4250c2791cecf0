//! `SORT` and `UID SORT`.
//!
//! ```abnf
//! sort          = "SORT" [SP "RETURN" SP "(" [return-opt *(SP return-opt)] ")"]
//!                 SP "(" sort-criterion *(SP sort-criterion) ")" SP charset SP search-key *(SP search-key)
//! sort-criterion = ["REVERSE" SP] sort-key
//! sort-key      = "ARRIVAL" / "CC" / "DATE" / "FROM" / "SIZE" / "SUBJECT" / "TO" /
//!                 "DISPLAYFROM" / "DISPLAYTO" / "ANNOTATION" …           ; see `annotation`
//! charset       = atom / quoted
//! ```
//!
//! Source: RFC 5256 §5, RFC 5267 §3 §4 (RETURN), RFC 5957 §3 (DISPLAYFROM, DISPLAYTO).

use bytes::Bytes;
use model::{AnnotationName, EntryScope};

use crate::command::Command;
use crate::commands::annotation;
use crate::commands::fetch::FetchItem;
use crate::commands::search::{self, ResultOptions, SearchKey};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};

/// Arguments of `SORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Whether the result has UIDs.
    pub uid: bool,
    /// `RETURN (...)`, as in `SEARCH`.
    pub returns: Option<ResultOptions>,
    /// What is shown of new messages that become results, with `UPDATE` (RFC 5465 §7).
    pub update_items: Vec<FetchItem>,
    /// In order of weight, at least one; ties fall to the sequence number.
    pub criteria: Vec<SortCriterion>,
    /// The charset of the strings, as sent.
    pub charset: Bytes,
    /// What messages must match.
    pub key: SearchKey,
}

/// One criterion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SortCriterion {
    /// Descending.
    pub reverse: bool,
    /// What is compared.
    pub key: SortKey,
}

/// What a criterion compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SortKey {
    /// `ARRIVAL`: INTERNALDATE.
    Arrival,
    /// `CC`: mailbox part of the first Cc address.
    Cc,
    /// `DATE`: the sent date.
    Date,
    /// `FROM`
    From,
    /// `SIZE`
    Size,
    /// `SUBJECT`: the base subject.
    Subject,
    /// `TO`
    To,
    /// `DISPLAYFROM` (RFC 5957)
    DisplayFrom,
    /// `DISPLAYTO` (RFC 5957)
    DisplayTo,
    /// `ANNOTATION`: the value of an entry (RFC 5257 §4.9).
    Annotation(AnnotationName, EntryScope),
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("sort criteria in parentheses")?;
    let (mut returns, mut update_items) = (None, Vec::new());
    if c.eat_word(b"RETURN") {
        returns = Some(search::result_options(c, &mut update_items)?);
        c.space("sort criteria in parentheses")?;
    }
    let mut criteria = Vec::with_capacity(2);
    c.list1("sort criteria", |c| {
        criteria.push(criterion(c)?);
        Ok(())
    })?;
    c.space("a charset")?;
    let charset = c.astring("a charset")?.into_bytes();
    c.space("search criteria")?;
    let key = search::keys(c)?;
    Ok(Command::Sort(Sort { uid, returns, update_items, criteria, charset, key }))
}

fn criterion(c: &mut Cursor<'_>) -> Parse<SortCriterion> {
    let reverse = c.eat_word(b"REVERSE");
    if reverse {
        c.space("a sort key after REVERSE")?;
    }
    let name = c.word("a sort key")?.to_ascii_uppercase();
    let key = match name.as_slice() {
        b"ARRIVAL" => SortKey::Arrival,
        b"CC" => SortKey::Cc,
        b"DATE" => SortKey::Date,
        b"FROM" => SortKey::From,
        b"SIZE" => SortKey::Size,
        b"SUBJECT" => SortKey::Subject,
        b"TO" => SortKey::To,
        b"DISPLAYFROM" => SortKey::DisplayFrom,
        b"DISPLAYTO" => SortKey::DisplayTo,
        b"ANNOTATION" => {
            let (entry, scope) = annotation::sort(c)?;
            SortKey::Annotation(entry, scope)
        }
        _ => return Err(Fail::syntax("one of the sort keys is not known")),
    };
    Ok(SortCriterion { reverse, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let sort = |criteria: &[(bool, SortKey)]| Sort {
            uid: false,
            returns: None,
            update_items: Vec::new(),
            criteria: criteria.iter().cloned().map(|(reverse, key)| SortCriterion { reverse, key }).collect(),
            charset: "UTF-8".into(),
            key: SearchKey::Since(crate::Date { year: 1994, month: 2, day: 1 }),
        };
        check("SORT (SUBJECT REVERSE DATE) UTF-8 SINCE 1-Feb-1994", {
            Command::Sort(sort(&[(false, SortKey::Subject), (true, SortKey::Date)]))
        });
        check("UID SORT (arrival) \"UTF-8\" SINCE 1-Feb-1994", {
            Command::Sort(Sort { uid: true, ..sort(&[(false, SortKey::Arrival)]) })
        });
        check("SORT (CC FROM SIZE TO DISPLAYFROM DISPLAYTO) UTF-8 SINCE 1-Feb-1994", {
            let keys = [
                SortKey::Cc,
                SortKey::From,
                SortKey::Size,
                SortKey::To,
                SortKey::DisplayFrom,
                SortKey::DisplayTo,
            ];
            Command::Sort(sort(&keys.map(|key| (false, key))))
        });
        check("SORT RETURN (COUNT) (SIZE) UTF-8 SINCE 1-Feb-1994", {
            let returns = Some(ResultOptions { count: true, ..ResultOptions::default() });
            Command::Sort(Sort { returns, ..sort(&[(false, SortKey::Size)]) })
        });
        check("SORT RETURN (CONTEXT UPDATE (UID) COUNT) (SIZE) UTF-8 SINCE 1-Feb-1994", {
            let returns = Some(ResultOptions { count: true, update: true, ..ResultOptions::default() });
            let update_items = vec![FetchItem::Uid];
            Command::Sort(Sort { returns, update_items, ..sort(&[(false, SortKey::Size)]) })
        });
    }

    #[test]
    fn refused() {
        refuse("SORT", "sort criteria");
        refuse("SORT () UTF-8 ALL", "at least one");
        refuse("SORT SIZE UTF-8 ALL", "in parentheses");
        refuse("SORT (FOO) UTF-8 ALL", "not known");
        refuse("SORT (REVERSE) UTF-8 ALL", "after REVERSE");
        refuse("SORT (SIZE)", "a charset");
        refuse("SORT (SIZE) UTF-8", "search criteria");
    }
}
