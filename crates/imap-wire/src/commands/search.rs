//! `SEARCH` and `UID SEARCH`.
//!
//! ```abnf
//! search         = "SEARCH" [SP "RETURN" SP "(" [return-opt *(SP return-opt)] ")"] SP search-program
//! search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
//! charset        = atom / quoted
//! return-opt     = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE" / "PARTIAL" SP partial-range
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
//!                  "SAVEDBEFORE" SP date / "SAVEDON" SP date / "SAVEDSINCE" SP date / "SAVEDATESUPPORTED"
//! entry-name     = DQUOTE "/flags/" flag DQUOTE
//! entry-type     = "priv" / "shared" / "all"
//! ```
//!
//! Source: RFC 9051 §9, RFC 3501 §9 (NEW, OLD, RECENT), RFC 4466 §2.6, RFC 5032 §4, RFC 7162 §7, RFC 8474 §7,
//! RFC 8514 §4, RFC 9394 §4.

use std::num::NonZeroU32;

use bytes::Bytes;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::date::Date;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::sequence::SequenceSet;
use crate::string::IString;

/// Arguments of `SEARCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Whether the result has UIDs.
    pub uid: bool,
    /// `RETURN (...)`, in its meaning: an empty list means `ALL` (RFC 9051 §6.4.4). Without it, the result is an
    /// untagged `SEARCH` in IMAP4rev1 and an `ESEARCH` in IMAP4rev2.
    pub returns: Option<ResultOptions>,
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
    let returns = if c.eat_word(b"RETURN") {
        let options = result_options(c)?;
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
    Ok(Command::Search(Search { uid, returns, charset, key }))
}

/// `SP "(" [return-opt *(SP return-opt)] ")"`, behind `RETURN`.
pub(crate) fn result_options(c: &mut Cursor<'_>) -> Parse<ResultOptions> {
    c.space("result options in parentheses")?;
    let mut options = ResultOptions::default();
    c.list("result options", |c| {
        let name = c.word("a result option")?.to_ascii_uppercase();
        match name.as_slice() {
            b"MIN" => options.min = true,
            b"MAX" => options.max = true,
            b"ALL" => options.all = true,
            b"COUNT" => options.count = true,
            b"SAVE" => options.save = true,
            b"PARTIAL" => {
                if options.partial.is_some() {
                    return Err(Fail::syntax("PARTIAL can be given once"));
                }
                c.space("a range of results")?;
                options.partial = Some(partial_range(c)?);
            }
            _ => return Err(Fail::syntax("the result options are MIN, MAX, ALL, COUNT, SAVE and PARTIAL")),
        }
        Ok(())
    })?;
    // RFC 9394 §3.1.
    if options.all && options.partial.is_some() {
        return Err(Fail::syntax("ALL and PARTIAL cannot be asked for together"));
    }
    let ResultOptions { min, max, all, count, save, partial } = options;
    if !(min || max || all || count || save || partial.is_some()) {
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
