//! `ESEARCH`.
//!
//! ```abnf
//! esearch             = "ESEARCH" [SP esearch-source-opts]
//!                       [SP "RETURN" SP "(" [return-opt *(SP return-opt)] ")"] SP search-program
//! esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
//! source-mbox         = filter-mailboxes *(SP filter-mailboxes)      ; without "selected-delayed"
//! ```
//!
//! There is no scope option yet: all are refused. What may be returned, and what messages must match, is as with
//! [SEARCH](crate::commands::search).
//!
//! Source: RFC 7377 §4.

use crate::command::Command;
use crate::commands::notify::{self, MailboxFilter};
use crate::commands::search::{self, ResultOptions, Search};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};

/// Arguments of `ESEARCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSearch {
    /// Which mailboxes to search, at least one; [`MailboxFilter::Selected`] where none are said.
    pub sources: Vec<MailboxFilter>,
    /// What to search for. Its result always has UIDs, and options: `ALL` where none are said.
    pub search: Search,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("mailboxes or search criteria")?;
    let sources = if c.eat_word(b"IN") {
        let sources = sources(c)?;
        c.space("search criteria")?;
        sources
    } else {
        vec![MailboxFilter::Selected]
    };
    let mut search = search::program(c, true)?;
    let returns = search.returns.get_or_insert(ResultOptions { all: true, ..ResultOptions::default() });
    // RFC 7377 §2.2: what is saved are messages of the selected mailbox.
    if returns.save && sources.iter().any(|source| *source != MailboxFilter::Selected) {
        return Err(Fail::syntax("SAVE can be asked for of the selected mailbox only"));
    }
    Ok(Command::MultiSearch(MultiSearch { sources, search }))
}

/// `SP "(" source-mbox [SP "(" scope-options ")"] ")"`, behind `IN`.
fn sources(c: &mut Cursor<'_>) -> Parse<Vec<MailboxFilter>> {
    c.space("mailboxes in parentheses")?;
    c.expect(b'(', "expected the mailboxes to search in parentheses")?;
    let mut sources = Vec::with_capacity(1);
    loop {
        if sources.len() >= c.limits.list_items_max {
            return Err(Fail::new(
                ParseErrorKind::TooMany,
                "ESEARCH has more kinds of mailboxes than allowed",
            ));
        }
        let source = notify::filter(c)?;
        if source == MailboxFilter::SelectedDelayed {
            return Err(Fail::syntax("selected-delayed is for NOTIFY alone"));
        }
        sources.push(source);
        if !c.eat(b' ') {
            break;
        }
        if c.peek() == Some(b'(') {
            return Err(Fail::syntax("no scope option is known"));
        }
    }
    c.expect(b')', "expected a closing parenthesis after the mailboxes")?;
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::search::SearchKey;
    use crate::testing::{check, nz, refuse, set};

    const NONE: ResultOptions = ResultOptions {
        min: false,
        max: false,
        all: false,
        count: false,
        save: false,
        partial: None,
        update: false,
    };
    const ALL: ResultOptions = ResultOptions { all: true, ..NONE };

    fn command(sources: Vec<MailboxFilter>, returns: ResultOptions, key: SearchKey) -> Command {
        let returns = Some(returns);
        let search = Search { uid: true, returns, update_items: Vec::new(), charset: None, key };
        Command::MultiSearch(MultiSearch { sources, search })
    }

    #[test]
    fn table() {
        use MailboxFilter::{Inboxes, Mailboxes, Personal, Selected, Subscribed, Subtree, SubtreeOne};
        let (unseen, all) = (|| SearchKey::Unseen, || SearchKey::All);
        check("ESEARCH UNSEEN", command(vec![Selected], ALL, unseen()));
        check("esearch return () 1:5", command(vec![Selected], ALL, SearchKey::Sequence(set(&[(1, 5)]))));
        check("ESEARCH RETURN (SAVE) ALL", {
            command(vec![Selected], ResultOptions { save: true, ..NONE }, all())
        });
        check("ESEARCH IN (selected) RETURN (SAVE COUNT) ALL", {
            command(vec![Selected], ResultOptions { save: true, count: true, ..NONE }, all())
        });
        check("ESEARCH IN (personal) UNSEEN", command(vec![Personal], ALL, unseen()));
        check("ESEARCH IN (mailboxes \"folder1\" subtree \"folder2\") unseen", {
            let sources = vec![Mailboxes(vec!["folder1".into()]), Subtree(vec!["folder2".into()])];
            command(sources, ALL, unseen())
        });
        check("ESEARCH in (Subtree-One (a {1}\r\nb) Selected subscribed INBOXES) RETURN (MIN MAX) ALL", {
            let sources = vec![SubtreeOne(vec!["a".into(), "b".into()]), Selected, Subscribed, Inboxes];
            command(sources, ResultOptions { min: true, max: true, ..NONE }, all())
        });
        check("ESEARCH IN (personal) RETURN (PARTIAL 1:10) CHARSET UTF-8 UID 3:*", {
            let partial = Some(search::PartialRange { first: nz(1), last: nz(10), from_end: false });
            let Command::MultiSearch(mut command) =
                command(vec![Personal], ResultOptions { partial, ..NONE }, SearchKey::Uid(set(&[(3, 0)])))
            else {
                unreachable!("an ESEARCH")
            };
            command.search.charset = Some("UTF-8".into());
            Command::MultiSearch(command)
        });
    }

    #[test]
    fn refused() {
        refuse("ESEARCH", "search criteria");
        refuse("ESEARCH IN", "in parentheses");
        refuse("ESEARCH IN personal ALL", "in parentheses");
        refuse("ESEARCH IN () ALL", "which mailboxes");
        refuse("ESEARCH IN (nowhere) ALL", "the mailboxes are");
        refuse("ESEARCH IN (selected-delayed) ALL", "for NOTIFY alone");
        refuse("ESEARCH IN (mailboxes) ALL", "a mailbox name");
        refuse("ESEARCH IN (mailboxes ()) ALL", "at least one");
        refuse("ESEARCH IN (personal", "closing parenthesis");
        refuse("ESEARCH IN (personal )", "which mailboxes");
        refuse("ESEARCH IN (personal)", "search criteria");
        refuse("ESEARCH IN (personal) RETURN (ALL)", "search criteria");
        refuse("ESEARCH IN (personal (depth 3)) ALL", "scope option");
        refuse("ESEARCH IN (personal) RETURN (SAVE) ALL", "selected mailbox only");
        refuse("ESEARCH IN (selected mailboxes a) RETURN (SAVE COUNT) ALL", "selected mailbox only");
        refuse("ESEARCH IN (personal) RETURN (ALL PARTIAL 1:2) ALL", "together");
        refuse("ESEARCH IN (personal) FOO", "not known");
        refuse("UID ESEARCH ALL", "not known");
        refuse(&format!("ESEARCH IN (personal{}) ALL", " personal".repeat(1_024)), "more kinds");
    }
}
