//! `SELECT` and `EXAMINE`.
//!
//! ```abnf
//! select         = "SELECT" SP mailbox [select-params]      ; and so EXAMINE
//! select-params  = SP "(" select-param *(SP select-param) ")"
//! select-param   = "CONDSTORE" / "ANNOTATE" /
//!                  "QRESYNC" SP "(" uidvalidity SP mod-sequence-value
//!                            [SP known-uids] [SP seq-match-data] ")"
//! known-uids     = sequence-set                              ; neither "*" nor "$"
//! seq-match-data = "(" known-sequence-set SP known-uid-set ")"
//! ```
//!
//! Source: RFC 9051 §9, RFC 4466 §2.1, RFC 7162 §7, RFC 5257 §5.

use std::num::NonZeroU32;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, once};
use crate::mailbox::MailboxArg;
use crate::sequence::SequenceSet;

/// Arguments of `SELECT` and `EXAMINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// The mailbox.
    pub mailbox: MailboxArg,
    /// `CONDSTORE` (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// `QRESYNC` (RFC 7162 §3.2.5).
    pub qresync: Option<QResync>,
    /// `ANNOTATE`: changes of annotations are told, too (RFC 5257 §4.2).
    pub annotate: bool,
}

/// What a client remembers of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    /// UIDVALIDITY then; if it has changed, the rest means nothing.
    pub uid_validity: NonZeroU32,
    /// HIGHESTMODSEQ then, from 1.
    pub mod_seq: u64,
    /// UIDs the client has messages of; without it, all up to UIDNEXT. No `*`.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and their UIDs in the client's view, both ascending, of the same count (RFC 7162
    /// §3.2.5.2). No `*`.
    pub seq_match: Option<(SequenceSet, SequenceSet)>,
}

pub(crate) fn select(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c).map(Command::Select)
}

pub(crate) fn examine(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c).map(Command::Examine)
}

fn arguments(c: &mut Cursor<'_>) -> Parse<Select> {
    c.space("a mailbox name")?;
    let mut select = Select { mailbox: c.mailbox()?, condstore: false, qresync: None, annotate: false };
    if c.eat(b' ') {
        c.list1("the parameters CONDSTORE, QRESYNC and ANNOTATE", |c| {
            let name = c.word("CONDSTORE, QRESYNC or ANNOTATE")?;
            if name.eq_ignore_ascii_case(b"CONDSTORE") {
                once(select.condstore)?;
                select.condstore = true;
            } else if name.eq_ignore_ascii_case(b"QRESYNC") {
                once(select.qresync.is_some())?;
                c.space("the QRESYNC arguments")?;
                select.qresync = Some(qresync(c)?);
            } else if name.eq_ignore_ascii_case(b"ANNOTATE") {
                once(select.annotate)?;
                select.annotate = true;
            } else {
                let text = "SELECT and EXAMINE take the parameters CONDSTORE, QRESYNC and ANNOTATE";
                return Err(Fail::syntax(text));
            }
            Ok(())
        })?;
    }
    Ok(select)
}

fn qresync(c: &mut Cursor<'_>) -> Parse<QResync> {
    c.expect(b'(', "QRESYNC takes a list: UIDVALIDITY, mod-sequence, known UIDs, sequence match data")?;
    let uid_validity = c.nz_number("a UIDVALIDITY")?;
    c.space("a mod-sequence")?;
    let mod_seq = c.number63("a mod-sequence")?;
    if mod_seq == 0 {
        return Err(Fail::syntax("the mod-sequence of QRESYNC begins at 1"));
    }
    let mut qresync = QResync { uid_validity, mod_seq, known_uids: None, seq_match: None };
    let mut more = c.eat(b' ');
    if more && c.peek() != Some(b'(') {
        qresync.known_uids = Some(known_set(c)?);
        more = c.eat(b' ');
    }
    if more {
        c.expect(b'(', "expected sequence match data in parentheses")?;
        let numbers = known_set(c)?;
        c.space("the UIDs that belong to the sequence numbers")?;
        let uids = known_set(c)?;
        c.expect(b')', "expected a closing parenthesis after sequence match data")?;
        let count = ascending_count(&numbers);
        if count.is_none() || count != ascending_count(&uids) {
            return Err(Fail::syntax("sequence match data are two ascending sets of as many numbers"));
        }
        qresync.seq_match = Some((numbers, uids));
    }
    c.expect(b')', "expected a closing parenthesis after the QRESYNC arguments")?;
    Ok(qresync)
}

fn known_set(c: &mut Cursor<'_>) -> Parse<SequenceSet> {
    let set = c.sequence_set()?;
    if set.is_saved() || set.has_star() {
        return Err(Fail::syntax("QRESYNC takes sets of numbers without * and $"));
    }
    Ok(set)
}

/// How many numbers a set without `*` has; nothing unless they ascend.
fn ascending_count(set: &SequenceSet) -> Option<u64> {
    let SequenceSet::Ranges(parts) = set else { return None };
    let (mut count, mut above) = (0, 0);
    for part in parts {
        let (first, last) = (part.first.resolve(0), part.last.resolve(0));
        if first <= above || last < first {
            return None;
        }
        count += u64::from(last - first) + 1;
        above = last;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, nz, refuse, set};

    #[test]
    fn table() {
        let plain = Select { mailbox: "INBOX".into(), condstore: false, qresync: None, annotate: false };
        let qresync = |known_uids, seq_match| Select {
            qresync: Some(QResync {
                uid_validity: nz(67890007),
                mod_seq: 90060115194045000,
                known_uids,
                seq_match,
            }),
            ..plain.clone()
        };
        check("SELECT INBOX", Command::Select(plain.clone()));
        check("EXAMINE INBOX", Command::Examine(plain.clone()));
        check("EXAMINE INBOX (annotate)", Command::Examine(Select { annotate: true, ..plain.clone() }));
        check("SELECT INBOX (CONDSTORE)", Command::Select(Select { condstore: true, ..plain.clone() }));
        // RFC 7162 §3.2.5.1, §3.2.5.2.
        check("SELECT INBOX (QRESYNC (67890007 90060115194045000))", Command::Select(qresync(None, None)));
        check(
            "SELECT INBOX (QRESYNC (67890007 90060115194045000 41,43:211,214:541))",
            Command::Select(qresync(Some(set(&[(41, 41), (43, 211), (214, 541)])), None)),
        );
        check(
            "SELECT INBOX (QRESYNC (67890007 90060115194045000 1:29997 (5000,7500 15000,22500)))",
            Command::Select(qresync(
                Some(set(&[(1, 29997)])),
                Some((set(&[(5000, 5000), (7500, 7500)]), set(&[(15000, 15000), (22500, 22500)]))),
            )),
        );
        check(
            "EXAMINE INBOX (CONDSTORE QRESYNC (67890007 90060115194045000 (1 2)))",
            Command::Examine(Select {
                condstore: true,
                ..qresync(None, Some((set(&[(1, 1)]), set(&[(2, 2)]))))
            }),
        );
    }

    #[test]
    fn refused() {
        refuse("SELECT", "mailbox name");
        refuse("SELECT a b", "in parentheses");
        refuse("SELECT a ()", "at least one");
        refuse("SELECT a (ANNOTATION)", "CONDSTORE, QRESYNC and ANNOTATE");
        refuse("SELECT a (ANNOTATE ANNOTATE)", "once");
        refuse("SELECT a (QRESYNC)", "QRESYNC arguments");
        refuse("SELECT a (QRESYNC 1 1)", "QRESYNC takes a list");
        refuse("SELECT a (QRESYNC (1))", "a mod-sequence");
        refuse("SELECT a (QRESYNC (0 1))", "UIDVALIDITY");
        refuse("SELECT a (QRESYNC (1 0))", "begins at 1");
        refuse("SELECT a (QRESYNC (1 9223372036854775808))", "too large");
        refuse("SELECT a (QRESYNC (1 1 1:*))", "without *");
        refuse("SELECT a (QRESYNC (1 1 $))", "without *");
        refuse("SELECT a (QRESYNC (1 1 1 2))", "match data");
        refuse("SELECT a (QRESYNC (1 1 (1)))", "UIDs that belong");
        refuse("SELECT a (QRESYNC (1 1) QRESYNC (1 1))", "once");
        refuse("SELECT a (CONDSTORE CONDSTORE)", "once");
        refuse("SELECT a (QRESYNC (1 1 (1:2 1:3)))", "ascending");
        refuse("SELECT a (QRESYNC (1 1 (2,1 3,1)))", "ascending");
        refuse("SELECT a (QRESYNC (1 1 (2:1 3:2)))", "ascending");
        refuse("SELECT a (QRESYNC (1 1 (1,1 2,3)))", "ascending");
    }
}
