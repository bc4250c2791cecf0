//! From a client's search program to the store's: sequence numbers become UIDs, octets become text.
//!
//! Source: RFC 9051 §6.4.4, RFC 3501 §6.4.4 (NEW, OLD, RECENT), RFC 5032, RFC 8514, RFC 8474 §5.3, RFC 7162 §3.1.5.

use cpm_mime::TextCharset;
use imap_wire::command::{SearchKey as Wire, SizeCompare};
use imap_wire::date::Date;
use imap_wire::{IString, SequenceSet};
use model::limits::SEARCH_TEXT_BYTES_MAX;
use model::{BodyId, Flags, Keyword, ModSeq, UidSet};
use store_api::{DateField, HeaderField, SearchKey};

/// What a program's words mean in a session at this moment.
pub(crate) struct Scope<'a> {
    /// The messages of a set of sequence numbers, or of `$`; numbers that do not exist match nothing.
    pub by_sequence: &'a dyn Fn(&SequenceSet) -> UidSet,
    /// The messages of a set of UIDs, or of `$`.
    pub by_uid: &'a dyn Fn(&SequenceSet) -> UidSet,
    /// What is \Recent in this session.
    pub recent: &'a UidSet,
    /// Seconds since 1970-01-01 UTC.
    pub now: i64,
    /// In which its strings are written.
    pub charset: TextCharset,
}

/// Headers that are searched in one call of the store, however many messages there are.
const INDEXED: [&str; 3] = ["IMDN-Message-ID", "Conversation-ID", "Contribution-ID"];

/// Why a program cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramError {
    /// Octets that are not text in the charset.
    Text,
    /// A string above [`SEARCH_TEXT_BYTES_MAX`].
    TextTooLong,
}

/// What a program is about, for whoever runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// It has a MODSEQ key: results carry MODSEQ, and the session uses CONDSTORE (RFC 7162 §3.1.5).
    pub modseq: bool,
    /// It looks at octets or headers of messages, not at rows alone.
    pub content: bool,
    /// It looks at octets of bodies.
    pub bodies: bool,
}

impl Traits {
    /// The traits of `key`.
    pub fn of(key: &SearchKey) -> Self {
        let mut traits = Self::default();
        traits.add(key);
        traits
    }

    fn add(&mut self, key: &SearchKey) {
        match key {
            SearchKey::And(keys) => keys.iter().for_each(|key| self.add(key)),
            SearchKey::Or(a, b) => {
                self.add(a);
                self.add(b);
            }
            SearchKey::Not(key) => self.add(key),
            SearchKey::ModSeq(_) => self.modseq = true,
            SearchKey::Body(_) | SearchKey::Text(_) => {
                self.content = true;
                self.bodies = true;
            }
            // The store has these of all messages of a folder at hand.
            SearchKey::Header(HeaderField::Named(name), _) => {
                self.content |= !INDEXED.iter().any(|indexed| indexed.eq_ignore_ascii_case(name));
            }
            SearchKey::ThreadId(_)
            | SearchKey::Before(DateField::Sent, _)
            | SearchKey::On(DateField::Sent, _)
            | SearchKey::Since(DateField::Sent, _) => self.content = true,
            SearchKey::All
            | SearchKey::Annotation(..)
            | SearchKey::Uids(_)
            | SearchKey::Flags(_)
            | SearchKey::Keyword(_)
            | SearchKey::Larger(_)
            | SearchKey::Smaller(_)
            | SearchKey::Before(..)
            | SearchKey::On(..)
            | SearchKey::Since(..)
            | SearchKey::ReceivedBy(_)
            | SearchKey::ReceivedFrom(_)
            | SearchKey::EmailId(_) => {}
        }
    }
}

/// The program in the store's words.
pub(crate) fn translate(key: &Wire, scope: &Scope<'_>) -> Result<SearchKey, ProgramError> {
    let header = |name: &str, value: &IString| {
        Ok(SearchKey::Header(HeaderField::Named(name.to_owned()), text(value, scope)?))
    };
    let flag = |flag| Ok(SearchKey::Flags(flag));
    let unflag = |flag| Ok(not(SearchKey::Flags(flag)));
    match key {
        Wire::All | Wire::SaveDateSupported => Ok(SearchKey::All),
        Wire::Answered => flag(Flags::ANSWERED),
        Wire::Deleted => flag(Flags::DELETED),
        Wire::Draft => flag(Flags::DRAFT),
        Wire::Flagged => flag(Flags::FLAGGED),
        Wire::Seen => flag(Flags::SEEN),
        Wire::Unanswered => unflag(Flags::ANSWERED),
        Wire::Undeleted => unflag(Flags::DELETED),
        Wire::Undraft => unflag(Flags::DRAFT),
        Wire::Unflagged => unflag(Flags::FLAGGED),
        Wire::Unseen => unflag(Flags::SEEN),
        Wire::Recent => Ok(SearchKey::Uids(scope.recent.clone())),
        Wire::Old => Ok(not(SearchKey::Uids(scope.recent.clone()))),
        Wire::New => Ok(SearchKey::And(vec![
            SearchKey::Uids(scope.recent.clone()),
            not(SearchKey::Flags(Flags::SEEN)),
        ])),
        Wire::Keyword(name) => Ok(keyword(name)),
        Wire::Unkeyword(name) => Ok(not(keyword(name))),
        Wire::Bcc(value) => header("Bcc", value),
        Wire::Cc(value) => header("Cc", value),
        Wire::From(value) => header("From", value),
        Wire::To(value) => header("To", value),
        Wire::Subject(value) => header("Subject", value),
        Wire::Header(name, value) => match name.as_str().filter(|name| is_field_name(name)) {
            Some(name) => header(name, value),
            // No header has such a field.
            None => Ok(nothing()),
        },
        Wire::Body(value) => Ok(SearchKey::Body(text(value, scope)?)),
        Wire::Text(value) => Ok(SearchKey::Text(text(value, scope)?)),
        Wire::Before(date) => Ok(SearchKey::Before(DateField::Internal, day(*date))),
        Wire::On(date) => Ok(SearchKey::On(DateField::Internal, day(*date))),
        Wire::Since(date) => Ok(SearchKey::Since(DateField::Internal, day(*date))),
        Wire::SentBefore(date) => Ok(SearchKey::Before(DateField::Sent, day(*date))),
        Wire::SentOn(date) => Ok(SearchKey::On(DateField::Sent, day(*date))),
        Wire::SentSince(date) => Ok(SearchKey::Since(DateField::Sent, day(*date))),
        Wire::SavedBefore(date) => Ok(SearchKey::Before(DateField::Saved, day(*date))),
        Wire::SavedOn(date) => Ok(SearchKey::On(DateField::Saved, day(*date))),
        Wire::SavedSince(date) => Ok(SearchKey::Since(DateField::Saved, day(*date))),
        Wire::Size(SizeCompare::Larger, size) => Ok(SearchKey::Larger(*size)),
        Wire::Size(SizeCompare::Smaller, size) => Ok(SearchKey::Smaller(*size)),
        Wire::Older(seconds) => Ok(SearchKey::ReceivedBy(scope.now - i64::from(seconds.get()))),
        Wire::Younger(seconds) => Ok(SearchKey::ReceivedFrom(scope.now - i64::from(seconds.get()))),
        // There are no mod-sequences per flag, so the flag that may be named is disregarded (RFC 7162 §3.1.5).
        Wire::ModSeq(key) => Ok(SearchKey::ModSeq(ModSeq(key.mod_seq))),
        Wire::EmailId(id) => Ok(email_id(id).map_or_else(nothing, SearchKey::EmailId)),
        Wire::ThreadId(id) => Ok(SearchKey::ThreadId(String::from_utf8_lossy(id).into_owned())),
        Wire::Annotation(entry, of, value) => {
            let key = |text: String| SearchKey::Annotation(entry.clone(), *of, text);
            match value {
                Some(value) => Ok(key(text(value, scope)?)),
                // RFC 5257 §3.2: `NIL` is to have no value.
                None => Ok(not(key(String::new()))),
            }
        }
        Wire::Sequence(set) => Ok(SearchKey::Uids((scope.by_sequence)(set))),
        Wire::Uid(set) => Ok(SearchKey::Uids((scope.by_uid)(set))),
        Wire::Not(key) => Ok(not(translate(key, scope)?)),
        Wire::Or(keys) => {
            Ok(SearchKey::Or(Box::new(translate(&keys.0, scope)?), Box::new(translate(&keys.1, scope)?)))
        }
        Wire::And(keys) => {
            keys.iter().map(|key| translate(key, scope)).collect::<Result<_, _>>().map(SearchKey::And)
        }
    }
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

fn nothing() -> SearchKey {
    SearchKey::Uids(UidSet::new())
}

fn keyword(name: &[u8]) -> SearchKey {
    let keyword = std::str::from_utf8(name).ok().and_then(|name| Keyword::parse(name).ok());
    keyword.map_or_else(nothing, SearchKey::Keyword)
}

/// A string in the charset of the program; UTF-8 where none is said, since what is ASCII is the same in it, and
/// IMAP4rev2 declares UTF-8 unless told otherwise.
fn text(value: &IString, scope: &Scope<'_>) -> Result<String, ProgramError> {
    if value.len() > SEARCH_TEXT_BYTES_MAX {
        return Err(ProgramError::TextTooLong);
    }
    let text = scope.charset.text(value.as_bytes()).ok_or(ProgramError::Text)?;
    if text.len() > SEARCH_TEXT_BYTES_MAX {
        return Err(ProgramError::TextTooLong);
    }
    Ok(text.into_owned())
}

/// RFC 5322 §2.2: printable ASCII without a colon.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

fn day(date: Date) -> i32 {
    // The years 1 to 9999 are within ±3 million days.
    date.days() as i32
}

/// EMAILID as FETCH shows it: 16 hexadecimal digits in lower case.
fn email_id(text: &[u8]) -> Option<BodyId> {
    let text = std::str::from_utf8(text).ok()?;
    let id = BodyId(u64::from_str_radix(text, 16).ok()?);
    (id.to_string() == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use imap_wire::command::Command;

    use super::*;

    fn program(text: &str) -> Result<SearchKey, ProgramError> {
        let line = Bytes::from(format!("a SEARCH {text}"));
        let parsed = imap_wire::parse_command(&line, &imap_wire::Limits::default()).expect("valid");
        let Command::Search(search) = parsed.body else { panic!("{text}") };
        let recent = UidSet::from_ranges([(70, 71)]);
        let set = |set: &SequenceSet, factor: u32, largest: u32| {
            UidSet::from_ranges(
                set.resolve(largest).into_iter().map(|r| (r.start() * factor, r.end() * factor)),
            )
        };
        translate(
            &search.key,
            &Scope {
                by_sequence: &|s| set(s, 10, 7),
                by_uid: &|s| set(s, 1, 70),
                recent: &recent,
                now: 1_000_000,
                charset: TextCharset::UTF_8,
            },
        )
    }

    #[test]
    fn keys() {
        let check = |text: &str, expected: SearchKey| assert_eq!(program(text), Ok(expected), "{text}");
        let uids = |a, b| SearchKey::Uids(UidSet::from_ranges([(a, b)]));
        let named = |name: &str, value: &str| {
            SearchKey::Header(HeaderField::Named(name.to_owned()), value.to_owned())
        };
        check("ALL", SearchKey::All);
        check("2:3", uids(20, 30));
        check("*", uids(70, 70));
        check("UID 5:9", uids(5, 9));
        check("UNSEEN", not(SearchKey::Flags(Flags::SEEN)));
        check("RECENT", uids(70, 71));
        check("NEW", SearchKey::And(vec![uids(70, 71), not(SearchKey::Flags(Flags::SEEN))]));
        check("KEYWORD $Junk", SearchKey::Keyword(Keyword::parse("$Junk").expect("a keyword")));
        check("SUBJECT \"h\u{e9}\"", named("Subject", "h\u{e9}"));
        check("HEADER X-A \"\"", named("X-A", ""));
        check("HEADER \"a b\" x", nothing());
        check("SENTON 2-Jan-1970", SearchKey::On(DateField::Sent, 1));
        check("SAVEDBEFORE 1-Jan-1970", SearchKey::Before(DateField::Saved, 0));
        check("OLDER 100", SearchKey::ReceivedBy(999_900));
        check("YOUNGER 100", SearchKey::ReceivedFrom(999_900));
        check("MODSEQ \"/flags/\\\\draft\" all 620", SearchKey::ModSeq(ModSeq(620)));
        check("EMAILID 00000000000000ff", SearchKey::EmailId(BodyId(255)));
        check("EMAILID 00000000000000FF", nothing());
        check("EMAILID ff", nothing());
        check(
            "OR ANSWERED (FLAGGED LARGER 5)",
            SearchKey::Or(
                Box::new(SearchKey::Flags(Flags::ANSWERED)),
                Box::new(SearchKey::And(vec![SearchKey::Flags(Flags::FLAGGED), SearchKey::Larger(5)])),
            ),
        );
        assert_eq!(program(&format!("BODY \"{}\"", "x".repeat(1025))), Err(ProgramError::TextTooLong));
    }

    #[test]
    fn what_a_program_is_about() {
        let check = |text: &str, modseq, content, bodies| {
            let key = program(text).expect("valid");
            assert_eq!(Traits::of(&key), Traits { modseq, content, bodies }, "{text}");
        };
        check("ALL SINCE 1-Jan-2000", false, false, false);
        check("NOT (OR MODSEQ 5 SEEN)", true, false, false);
        check("SENTSINCE 1-Jan-2000", false, true, false);
        check("OR SEEN TEXT a", false, true, true);
    }
}
