//! `SEARCH` and `UID SEARCH`.
//!
//! ```abnf
//! search         = "SEARCH" [SP "RETURN" SP "(" [return-opt *(SP return-opt)] ")"] SP search-program
//! search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
//! charset        = atom / quoted
//! return-opt     = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE" / "PARTIAL" SP partial-range / "CONTEXT" /
//!                  "UPDATE" [SP "(" fetch-att *(SP fetch-att) ")"]
//! partial-range  = ["-"] nz-number ":" ["-"] nz-number          ; both with "-" or neither
//! search-key     = "ALL" / "ANSWERED" / "BCC" SP astring / "BEFORE" SP date / "BODY" SP astring /
//!                  "CC" SP astring / "DELETED" / "DRAFT" / "FLAGGED" / "FROM" SP astring /
//!                  "HEADER" SP header-fld-name SP astring / "KEYWORD" SP flag-keyword /
//!                  "LARGER" SP number64 / "NEW" / "NOT" SP search-key / "OLD" / "ON" SP date /
//!                  "OR" SP search-key SP search-key / "RECENT" / "SEEN" / "SENTBEFORE" SP date /
//!                  "SENTON" SP date / "SENTSINCE" SP date / "SINCE" SP date / "SMALLER" SP number64 /
//!                  "SUBJECT" SP astring / "TEXT" SP astring / "TO" SP astring / "UID" SP sequence-set /
//!                  "UNANSWERED" / "UNDELETED" / "UNDRAFT" / "UNFLAGGED" / "UNKEYWORD" SP flag-keyword /
//!                  "UNSEEN" / sequence-set / "(" search-key *(SP search-key) ")" /
//!                  "OLDER" SP nz-number / "YOUNGER" SP nz-number /
//!                  "MODSEQ" [SP entry-name SP entry-type] SP mod-sequence-valzer /
//!                  "EMAILID" SP objectid / "THREADID" SP objectid /
//!                  "SAVEDBEFORE" SP date / "SAVEDON" SP date / "SAVEDSINCE" SP date / "SAVEDATESUPPORTED" /
//!                  "ANNOTATION" …                                       ; see `annotation`
//! entry-name     = DQUOTE "/flags/" flag DQUOTE
//! entry-type     = "priv" / "shared" / "all"
//! ```
//!
//! Source: RFC 9051 §9, RFC 3501 §9 (NEW, OLD, RECENT), RFC 4466 §2.6, RFC 5032 §4, RFC 7162 §7, RFC 8474 §7,
//! RFC 8514 §4, RFC 9394 §4, RFC 5267 §5, RFC 5465 §7.

use std::num::NonZeroU32;

use bytes::Bytes;
use model::{AnnotationPattern, EntryScope};

use crate::command::Command;
use crate::commands::annotation;
use crate::commands::fetch::{self, FetchItem};
use crate::cursor::Cursor;
use crate::date::Date;
use crate::error::{Fail, Parse, ParseErrorKind, once};
use crate::sequence::SequenceSet;
use crate::string::{IString, is_atom_char};

/// Arguments of `SEARCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Whether the result has UIDs.
    pub uid: bool,
    /// `RETURN (...)`, in its meaning: an empty list means `ALL` (RFC 9051 §6.4.4). Without it, the result is an
    /// untagged `SEARCH` in IMAP4rev1 and an `ESEARCH` in IMAP4rev2.
    pub returns: Option<ResultOptions>,
    /// What is shown of new messages that become results, with `UPDATE` (RFC 5465 §7).
    pub update_items: Vec<FetchItem>,
    /// The charset of the strings, as sent.
    pub charset: Option<Bytes>,
    /// What messages must match; several keys are one [`SearchKey::And`].
    pub key: SearchKey,
}

/// What `SEARCH` and `SORT` are to return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultOptions {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `SAVE`: keep the result as `$` (RFC 5182).
    pub save: bool,
    /// `PARTIAL`: this part of the result (RFC 9394).
    pub partial: Option<PartialRange>,
    /// `UPDATE`: tell how the result changes (RFC 5267 §4.3). `CONTEXT`, a hint beside it, has no effect.
    pub update: bool,
}

/// A part of a list of results, counted from 1 (RFC 9394 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartialRange {
    /// The smaller number.
    pub first: NonZeroU32,
    /// The larger number.
    pub last: NonZeroU32,
    /// Whether both were negative: counted from the end, -1 being the last result.
    pub from_end: bool,
}

/// A condition on messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// `ANSWERED`
    Answered,
    /// `DELETED`
    Deleted,
    /// `DRAFT`
    Draft,
    /// `FLAGGED`
    Flagged,
    /// `NEW`: recent and unseen.
    New,
    /// `OLD`: not recent.
    Old,
    /// `RECENT`
    Recent,
    /// `SEEN`
    Seen,
    /// `UNANSWERED`
    Unanswered,
    /// `UNDELETED`
    Undeleted,
    /// `UNDRAFT`
    Undraft,
    /// `UNFLAGGED`
    Unflagged,
    /// `UNSEEN`
    Unseen,
    /// `KEYWORD`
    Keyword(Bytes),
    /// `UNKEYWORD`
    Unkeyword(Bytes),
    /// `BCC`
    Bcc(IString),
    /// `BODY`
    Body(IString),
    /// `CC`
    Cc(IString),
    /// `FROM`
    From(IString),
    /// `SUBJECT`
    Subject(IString),
    /// `TEXT`
    Text(IString),
    /// `TO`
    To(IString),
    /// `HEADER`: a field name, and what the field contains (nothing: that there is such a field).
    Header(IString, IString),
    /// `BEFORE`: INTERNALDATE, its zone disregarded, is earlier.
    Before(Date),
    /// `ON`
    On(Date),
    /// `SINCE`
    Since(Date),
    /// `SENTBEFORE`: the Date header, its time and zone disregarded, is earlier.
    SentBefore(Date),
    /// `SENTON`
    SentOn(Date),
    /// `SENTSINCE`
    SentSince(Date),
    /// `SAVEDBEFORE` (RFC 8514)
    SavedBefore(Date),
    /// `SAVEDON` (RFC 8514)
    SavedOn(Date),
    /// `SAVEDSINCE` (RFC 8514)
    SavedSince(Date),
    /// `SAVEDATESUPPORTED` (RFC 8514)
    SaveDateSupported,
    /// `LARGER` and `SMALLER`, octets.
    Size(SizeCompare, u64),
    /// `OLDER`: INTERNALDATE at least so many seconds ago (RFC 5032).
    Older(NonZeroU32),
    /// `YOUNGER`: INTERNALDATE at most so many seconds ago (RFC 5032).
    Younger(NonZeroU32),
    /// `MODSEQ` (RFC 7162)
    ModSeq(SearchModSeq),
    /// `EMAILID` (RFC 8474)
    EmailId(Bytes),
    /// `THREADID` (RFC 8474)
    ThreadId(Bytes),
    /// `ANNOTATION`: an entry that the pattern stands for has a value with this text (RFC 5257 §4.8); `NIL`: none has a
    /// value.
    Annotation(AnnotationPattern, Option<EntryScope>, Option<IString>),
    /// A set of sequence numbers, or `$`.
    Sequence(SequenceSet),
    /// `UID` and a set of UIDs, or `$`.
    Uid(SequenceSet),
    /// `NOT`
    Not(Box<SearchKey>),
    /// `OR`
    Or(Box<(SearchKey, SearchKey)>),
    /// All of these, two or more.
    And(Vec<SearchKey>),
}

/// Which way [`SearchKey::Size`] compares; equal sizes match neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SizeCompare {
    /// More octets than the number.
    Larger,
    /// Fewer octets than the number.
    Smaller,
}

/// `MODSEQ`: messages with this mod-sequence or a higher one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchModSeq {
    /// The metadata item whose mod-sequence counts, such as `/flags/\draft`, and whose view of it. Servers
    /// without mod-sequences per item disregard it (RFC 7162 §3.1.5).
    pub entry: Option<(IString, EntryType)>,
    /// The least mod-sequence.
    pub mod_seq: u64,
}

/// Whose view of a metadata item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryType {
    /// `priv`
    Private,
    /// `shared`
    Shared,
    /// `all`
    All,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("search criteria")?;
    Ok(Command::Search(program(c, uid)?))
}

/// `["RETURN" SP "(" [return-opt *(SP return-opt)] ")" SP] search-program`.
pub(crate) fn program(c: &mut Cursor<'_>, uid: bool) -> Parse<Search> {
    let mut update_items = Vec::new();
    let returns = if c.eat_word(b"RETURN") {
        let options = result_options(c, &mut update_items)?;
        c.space("search criteria")?;
        Some(options)
    } else {
        None
    };
    let charset = if c.eat_word(b"CHARSET") {
        c.space("a charset")?;
        let charset = c.astring("a charset")?.into_bytes();
        c.space("search criteria")?;
        Some(charset)
    } else {
        None
    };
    let key = keys(c)?;
    Ok(Search { uid, returns, update_items, charset, key })
}

/// `SP "(" [return-opt *(SP return-opt)] ")"`, behind `RETURN`. `items` gets those of `UPDATE`.
pub(crate) fn result_options(c: &mut Cursor<'_>, items: &mut Vec<FetchItem>) -> Parse<ResultOptions> {
    let mut context = false;
    c.space("result options in parentheses")?;
    let mut options = ResultOptions::default();
    let set = |option: &mut bool| once(std::mem::replace(option, true));
    c.list("result options", |c| {
        let name = c.word("a result option")?.to_ascii_uppercase();
        match name.as_slice() {
            b"MIN" => set(&mut options.min)?,
            b"MAX" => set(&mut options.max)?,
            b"ALL" => set(&mut options.all)?,
            b"COUNT" => set(&mut options.count)?,
            b"SAVE" => set(&mut options.save)?,
            b"PARTIAL" => {
                once(options.partial.is_some())?;
                c.space("a range of results")?;
                options.partial = Some(partial_range(c)?);
            }
            b"CONTEXT" => set(&mut context)?,
            b"UPDATE" => {
                set(&mut options.update)?;
                if c.eat_text(b" (") {
                    c.rewind(c.position() - 1);
                    fetch::item_list(c, items)?;
                }
            }
            _ => {
                return Err(Fail::syntax(
                    "the result options are MIN, MAX, ALL, COUNT, SAVE, PARTIAL, CONTEXT and UPDATE",
                ));
            }
        }
        Ok(())
    })?;
    // RFC 9394 §3.1.
    if options.all && options.partial.is_some() {
        return Err(Fail::syntax("ALL and PARTIAL cannot be asked for together"));
    }
    let ResultOptions { min, max, all, count, save, partial, update } = options;
    if !(min || max || all || count || save || update || partial.is_some()) {
        options.all = true;
    }
    Ok(options)
}

/// `partial-range`.
pub(crate) fn partial_range(c: &mut Cursor<'_>) -> Parse<PartialRange> {
    let from_end = c.eat(b'-');
    let a = c.nz_number("an end of a range")?;
    c.expect(b':', "a range of results is 1:100, or -1:-100")?;
    if c.eat(b'-') != from_end {
        return Err(Fail::syntax("the ends of a range of results are both negative or both not"));
    }
    let b = c.nz_number("an end of a range")?;
    Ok(PartialRange { first: a.min(b), last: a.max(b), from_end })
}

/// `search-key *(SP search-key)` to the end of the command.
pub(crate) fn keys(c: &mut Cursor<'_>) -> Parse<SearchKey> {
    let mut budget = Budget { keys: c.limits.search_keys_max, depth: c.limits.search_depth_max };
    let first = key(c, &mut budget)?;
    if !c.eat(b' ') {
        return Ok(first);
    }
    let mut all = vec![first, key(c, &mut budget)?];
    while c.eat(b' ') {
        all.push(key(c, &mut budget)?);
    }
    Ok(SearchKey::And(all))
}

/// What is left of the limits.
struct Budget {
    keys: usize,
    depth: usize,
}

impl Budget {
    fn spend_key(&mut self) -> Parse<()> {
        self.keys = self
            .keys
            .checked_sub(1)
            .ok_or_else(|| Fail::new(ParseErrorKind::TooMany, "there are more search keys than allowed"))?;
        Ok(())
    }

    /// Runs `inner` one level down.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| {
            Fail::new(ParseErrorKind::TooDeep, "search keys are nested deeper than allowed")
        })?;
        let value = inner(self)?;
        self.depth += 1;
        Ok(value)
    }
}

fn key(c: &mut Cursor<'_>, budget: &mut Budget) -> Parse<SearchKey> {
    budget.spend_key()?;
    match c.peek() {
        Some(b'(') => return budget.nested(|budget| group(c, budget)),
        Some(b'0'..=b'9' | b'*' | b'$') => return c.sequence_set().map(SearchKey::Sequence),
        _ => {}
    }
    let mut upper = [0; 20];
    let name = c.word("a search key")?;
    let Some(upper) = upper.get_mut(..name.len()) else { return Err(unknown()) };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    Ok(match &*upper {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Answered,
        b"DELETED" => SearchKey::Deleted,
        b"DRAFT" => SearchKey::Draft,
        b"FLAGGED" => SearchKey::Flagged,
        b"NEW" => SearchKey::New,
        b"OLD" => SearchKey::Old,
        b"RECENT" => SearchKey::Recent,
        b"SEEN" => SearchKey::Seen,
        b"UNANSWERED" => SearchKey::Unanswered,
        b"UNDELETED" => SearchKey::Undeleted,
        b"UNDRAFT" => SearchKey::Undraft,
        b"UNFLAGGED" => SearchKey::Unflagged,
        b"UNSEEN" => SearchKey::Unseen,
        b"KEYWORD" => SearchKey::Keyword(keyword(c)?),
        b"UNKEYWORD" => SearchKey::Unkeyword(keyword(c)?),
        b"BCC" => SearchKey::Bcc(text(c)?),
        b"BODY" => SearchKey::Body(text(c)?),
        b"CC" => SearchKey::Cc(text(c)?),
        b"FROM" => SearchKey::From(text(c)?),
        b"SUBJECT" => SearchKey::Subject(text(c)?),
        b"TEXT" => SearchKey::Text(text(c)?),
        b"TO" => SearchKey::To(text(c)?),
        b"HEADER" => {
            c.space("a header field name")?;
            let name = c.astring("a header field name")?;
            SearchKey::Header(name, text(c)?)
        }
        b"BEFORE" => SearchKey::Before(date(c)?),
        b"ON" => SearchKey::On(date(c)?),
        b"SINCE" => SearchKey::Since(date(c)?),
        b"SENTBEFORE" => SearchKey::SentBefore(date(c)?),
        b"SENTON" => SearchKey::SentOn(date(c)?),
        b"SENTSINCE" => SearchKey::SentSince(date(c)?),
        b"SAVEDBEFORE" => SearchKey::SavedBefore(date(c)?),
        b"SAVEDON" => SearchKey::SavedOn(date(c)?),
        b"SAVEDSINCE" => SearchKey::SavedSince(date(c)?),
        b"SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        b"LARGER" => SearchKey::Size(SizeCompare::Larger, size(c)?),
        b"SMALLER" => SearchKey::Size(SizeCompare::Smaller, size(c)?),
        b"OLDER" => SearchKey::Older(seconds(c)?),
        b"YOUNGER" => SearchKey::Younger(seconds(c)?),
        b"MODSEQ" => SearchKey::ModSeq(mod_seq(c)?),
        b"EMAILID" => SearchKey::EmailId(object_id(c)?),
        b"THREADID" => SearchKey::ThreadId(object_id(c)?),
        b"ANNOTATION" => {
            let (entry, scope, value) = annotation::search(c)?;
            SearchKey::Annotation(entry, scope, value)
        }
        b"UID" => {
            c.space("a set of UIDs")?;
            SearchKey::Uid(c.sequence_set()?)
        }
        b"NOT" => {
            c.space("a search key after NOT")?;
            SearchKey::Not(Box::new(budget.nested(|budget| key(c, budget))?))
        }
        b"OR" => budget.nested(|budget| {
            c.space("two search keys after OR")?;
            let left = key(c, budget)?;
            c.space("the second search key of OR")?;
            Ok(SearchKey::Or(Box::new((left, key(c, budget)?))))
        })?,
        _ => return Err(unknown()),
    })
}

#[cold]
fn unknown() -> Fail {
    Fail::syntax("one of the search keys is not known")
}

fn group(c: &mut Cursor<'_>, budget: &mut Budget) -> Parse<SearchKey> {
    c.expect(b'(', "expected search keys in parentheses")?;
    let first = key(c, budget)?;
    let mut all = Vec::new();
    while c.eat(b' ') {
        all.push(key(c, budget)?);
    }
    c.expect(b')', "expected a space or a closing parenthesis after a search key")?;
    if all.is_empty() {
        return Ok(first);
    }
    all.insert(0, first);
    Ok(SearchKey::And(all))
}

fn text(c: &mut Cursor<'_>) -> Parse<IString> {
    c.space("a string to search for")?;
    c.astring("a string to search for")
}

fn keyword(c: &mut Cursor<'_>) -> Parse<Bytes> {
    c.space("a keyword")?;
    c.atom("a keyword")
}

fn date(c: &mut Cursor<'_>) -> Parse<Date> {
    c.space("a date")?;
    c.date()
}

fn size(c: &mut Cursor<'_>) -> Parse<u64> {
    c.space("a number of octets")?;
    c.number63("a number of octets")
}

fn seconds(c: &mut Cursor<'_>) -> Parse<NonZeroU32> {
    c.space("a number of seconds")?;
    c.nz_number("a number of seconds")
}

/// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")`.
fn object_id(c: &mut Cursor<'_>) -> Parse<Bytes> {
    c.space("an object identifier")?;
    let id = c.astring("an object identifier")?.into_bytes();
    let valid = id.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !valid || id.is_empty() || id.len() > 255 {
        return Err(Fail::syntax("an object identifier is 1 to 255 letters, digits, _ and -"));
    }
    Ok(id)
}

fn mod_seq(c: &mut Cursor<'_>) -> Parse<SearchModSeq> {
    c.space("a mod-sequence")?;
    let mut entry = None;
    if c.peek() == Some(b'"') {
        let name = c.string("a metadata item name")?;
        if !is_entry_name(name.as_bytes()) {
            return Err(Fail::syntax("a metadata item name is \"/flags/\" and a flag other than \\Recent"));
        }
        c.space("priv, shared or all")?;
        let kind = c.word("priv, shared or all")?.to_ascii_lowercase();
        let kind = match kind.as_slice() {
            b"priv" => EntryType::Private,
            b"shared" => EntryType::Shared,
            b"all" => EntryType::All,
            _ => return Err(Fail::syntax("the type of a metadata item is priv, shared or all")),
        };
        entry = Some((name, kind));
        c.space("a mod-sequence")?;
    }
    Ok(SearchModSeq { entry, mod_seq: c.number63("a mod-sequence")? })
}

/// `"/flags/" attr-flag`: the flag's backslash was doubled in the quoted string and is single here.
fn is_entry_name(name: &[u8]) -> bool {
    let Some(flag) = name.strip_prefix(b"/flags/") else { return false };
    let atom = flag.strip_prefix(b"\\").unwrap_or(flag);
    !atom.is_empty() && atom.iter().all(|&b| is_atom_char(b)) && !flag.eq_ignore_ascii_case(b"\\Recent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, nz, refuse, set};

    fn search(key: SearchKey) -> Search {
        Search { uid: false, returns: None, update_items: Vec::new(), charset: None, key }
    }

    #[test]
    fn keys() {
        use SearchKey::*;
        let check =
            |text: &str, key: SearchKey| check(&format!("SEARCH {text}"), Command::Search(search(key)));
        let date = Date { year: 1994, month: 2, day: 1 };
        for (text, key) in [
            ("ALL", All),
            ("answered", Answered),
            ("DELETED", Deleted),
            ("DRAFT", Draft),
            ("FLAGGED", Flagged),
            ("NEW", New),
            ("OLD", Old),
            ("RECENT", Recent),
            ("SEEN", Seen),
            ("UNANSWERED", Unanswered),
            ("UNDELETED", Undeleted),
            ("UNDRAFT", Undraft),
            ("UNFLAGGED", Unflagged),
            ("UNSEEN", Unseen),
            ("KEYWORD $x", Keyword("$x".into())),
            ("UNKEYWORD $x", Unkeyword("$x".into())),
            ("BCC a", Bcc("a".into())),
            ("BODY \"a b\"", Body("a b".into())),
            ("CC {1}\r\nc", Cc("c".into())),
            ("FROM \"Smith\"", From("Smith".into())),
            ("SUBJECT \"\"", Subject("".into())),
            ("TEXT \"\u{e9}\"", Text("\u{e9}".into())),
            ("TO x", To("x".into())),
            ("HEADER IMDN-Message-ID \"v\"", Header("IMDN-Message-ID".into(), "v".into())),
            ("BEFORE 1-Feb-1994", Before(date)),
            ("ON \"01-feb-1994\"", On(date)),
            ("SINCE 1-Feb-1994", Since(date)),
            ("SENTBEFORE 1-Feb-1994", SentBefore(date)),
            ("SENTON 1-Feb-1994", SentOn(date)),
            ("SENTSINCE 1-Feb-1994", SentSince(date)),
            ("SAVEDBEFORE 1-Feb-1994", SavedBefore(date)),
            ("SAVEDON 1-Feb-1994", SavedOn(date)),
            ("SAVEDSINCE 1-Feb-1994", SavedSince(date)),
            ("SAVEDATESUPPORTED", SaveDateSupported),
            ("LARGER 5000000000", Size(SizeCompare::Larger, 5_000_000_000)),
            ("SMALLER 0", Size(SizeCompare::Smaller, 0)),
            ("OLDER 3600", Older(nz(3600))),
            ("YOUNGER 1", Younger(nz(1))),
            ("EMAILID M6d99ac3275bb4e", EmailId("M6d99ac3275bb4e".into())),
            ("THREADID T64b478a75b7ea9", ThreadId("T64b478a75b7ea9".into())),
            ("MODSEQ 620162338", ModSeq(SearchModSeq { entry: None, mod_seq: 620162338 })),
            ("MODSEQ \"/flags/\\\\draft\" all 620162338", {
                ModSeq(SearchModSeq {
                    entry: Some(("/flags/\\draft".into(), EntryType::All)),
                    mod_seq: 620162338,
                })
            }),
            ("1:*,7", Sequence(set(&[(1, 0), (7, 7)]))),
            ("*", Sequence(set(&[(0, 0)]))),
            ("$", Sequence(SequenceSet::Saved)),
            ("UID 5", Uid(set(&[(5, 5)]))),
            ("UID $", Uid(SequenceSet::Saved)),
            ("NOT SEEN", Not(Box::new(Seen))),
            ("OR SEEN DRAFT", Or(Box::new((Seen, Draft)))),
            ("(SEEN)", Seen),
            ("(SEEN DRAFT)", And(vec![Seen, Draft])),
            ("SEEN DRAFT NEW", And(vec![Seen, Draft, New])),
            ("NOT (OR (SEEN DRAFT) NOT 1) OLD", {
                let or = Or(Box::new((And(vec![Seen, Draft]), Not(Box::new(Sequence(set(&[(1, 1)])))))));
                And(vec![Not(Box::new(or)), Old])
            }),
        ] {
            check(text, key);
        }
    }

    #[test]
    fn programs() {
        let all = search(SearchKey::All);
        let options = ResultOptions::default();
        let with = |returns| Command::Search(Search { returns: Some(returns), ..all.clone() });
        check("UID SEARCH ALL", Command::Search(Search { uid: true, ..all.clone() }));
        check("SEARCH CHARSET UTF-8 ALL", {
            Command::Search(Search { charset: Some("UTF-8".into()), ..all.clone() })
        });
        check("SEARCH RETURN () ALL", with(ResultOptions { all: true, ..options }));
        check("SEARCH RETURN (SAVE) ALL", with(ResultOptions { save: true, ..options }));
        check("SEARCH RETURN (min MAX ALL COUNT SAVE) ALL", {
            with(ResultOptions {
                min: true,
                max: true,
                all: true,
                count: true,
                save: true,
                ..ResultOptions::default()
            })
        });
        check("UID SEARCH RETURN (PARTIAL 500:400) CHARSET \"US-ASCII\" ALL", {
            let partial = Some(PartialRange { first: nz(400), last: nz(500), from_end: false });
            Command::Search(Search {
                uid: true,
                returns: Some(ResultOptions { partial, ..options }),
                charset: Some("US-ASCII".into()),
                ..all.clone()
            })
        });
        check("SEARCH RETURN (PARTIAL -1:-100 COUNT) ALL", {
            let partial = Some(PartialRange { first: nz(1), last: nz(100), from_end: true });
            with(ResultOptions { count: true, partial, ..options })
        });
    }

    #[test]
    fn updates() {
        let with = |options: ResultOptions, update_items: Vec<FetchItem>| {
            Command::Search(Search {
                uid: false,
                returns: Some(options),
                update_items,
                charset: None,
                key: SearchKey::Unseen,
            })
        };
        let (none, update) =
            (ResultOptions::default(), ResultOptions { update: true, ..ResultOptions::default() });
        check("SEARCH RETURN (UPDATE) UNSEEN", with(update, vec![]));
        check("SEARCH RETURN (CONTEXT) UNSEEN", with(ResultOptions { all: true, ..none }, vec![]));
        check("SEARCH RETURN (update (UID FLAGS) CONTEXT COUNT) UNSEEN", {
            with(ResultOptions { count: true, ..update }, vec![FetchItem::Uid, FetchItem::Flags])
        });
    }

    #[test]
    fn refused() {
        refuse("SEARCH", "search criteria");
        refuse("SEARCH ", "a search key");
        refuse("SEARCH FOO", "not known");
        refuse("SEARCH ANAMETHATISLONGERTHANANY", "not known");
        refuse("SEARCH ALL ", "a search key");
        refuse("SEARCH ()", "a search key");
        refuse("SEARCH (ALL", "closing parenthesis");
        refuse("SEARCH NOT", "after NOT");
        refuse("SEARCH OR SEEN", "second search key");
        refuse("SEARCH FROM", "a string");
        refuse("SEARCH HEADER X", "a string");
        refuse("SEARCH BEFORE 30-Feb-2026", "the calendar");
        refuse("SEARCH BEFORE 1-Feb-26", "the calendar");
        refuse("SEARCH BEFORE \"1-Feb-2026", "quote after the date");
        refuse("SEARCH LARGER x", "a number");
        refuse("SEARCH OLDER 0", "zero");
        refuse("SEARCH EMAILID a.b", "object identifier");
        refuse("SEARCH MODSEQ \"/flags/x\" mine 5", "priv, shared or all");
        refuse("SEARCH MODSEQ \"/flags/\\\\recent\" all 1", "metadata item name");
        refuse("SEARCH MODSEQ \"/x\" all 1", "metadata item name");
        refuse("SEARCH MODSEQ \"/flags/a b\" all 1", "metadata item name");
        refuse("SEARCH MODSEQ 9223372036854775808", "too large");
        refuse("SEARCH RETURN (ALL ALL) ALL", "once");
        refuse("SEARCH RETURN (UPDATE UPDATE) ALL", "once");
        refuse("SEARCH RETURN (UPDATE ()) ALL", "at least one");
        refuse("SORT RETURN (UPDATE ()) (SIZE) UTF-8 ALL", "at least one");
        refuse("SEARCH RETURN (MIN MIN) ALL", "once");
        refuse("SEARCH RETURN (PARTIAL 1:*) ALL", "a number");
        refuse("SEARCH UID 0", "zero");
        refuse("SEARCH RETURN ALL", "in parentheses");
        refuse("SEARCH RETURN (FOO) ALL", "result options");
        refuse("SEARCH RETURN (ALL)", "search criteria");
        refuse("SEARCH RETURN (ALL PARTIAL 1:2) ALL", "together");
        refuse("SEARCH RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL", "once");
        refuse("SEARCH RETURN (PARTIAL 1:-2) ALL", "both negative");
        refuse("SEARCH RETURN (PARTIAL 0:2) ALL", "zero");
        refuse("SEARCH RETURN (PARTIAL 1) ALL", "1:100");
        refuse("SEARCH CHARSET UTF-8", "search criteria");
        refuse(&format!("SEARCH {}ALL", "NOT ".repeat(33)), "nested deeper");
        refuse(&format!("SEARCH {}ALL{}", "(".repeat(33), ")".repeat(33)), "nested deeper");
        refuse(&format!("SEARCH {}ALL{}", "OR ".repeat(33), " ALL".repeat(33)), "nested deeper");
        refuse(&format!("SEARCH{}", " ALL".repeat(300)), "more search keys");
    }

    #[test]
    fn deepest() {
        let text = format!("A1 SEARCH {}ALL", "NOT ".repeat(32));
        assert!(crate::parse_command(&text.into(), &crate::Limits::default()).is_ok());
    }
}
