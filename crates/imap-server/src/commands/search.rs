//! `SEARCH [RETURN (options)] [CHARSET charset] keys`, `UID SEARCH`.
//!
//! Source: RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731 (RETURN), RFC 5182 (SAVE), RFC 9394 (PARTIAL), RFC 5032, RFC 7162
//! §3.1.5 (MODSEQ), RFC 8474 §5.3, RFC 8514 §4.2, RFC 9585 (INPROGRESS).
//! Answers: OK; NO `[BADCHARSET (US-ASCII UTF-8 …)]`, `[LIMIT]` for a text that is too long; BAD for text that is not
//! in the charset, and for a charset where UTF8=ACCEPT is enabled (RFC 6855 §3).

pub(crate) mod program;
pub(crate) mod results;

use std::time::{SystemTime, UNIX_EPOCH};

use cpm_mime::TextCharset;
use imap_wire::command::{ResultOptions, Search, SearchKey as WireKey};
use imap_wire::{Code, SequenceSet, response};
use model::{FolderSnapshot, UidSet};
use store_api::{SearchKey, SearchRequest};

use self::program::{ProgramError, Scope, Traits};
use self::results::Results;
use crate::connection::Output;
use crate::encode;
use crate::progress::{Progress, patiently};
use crate::reply::{Reply, Status};
use crate::session::Session;
use crate::turns::{self, Turn};

/// Messages whose octets are searched in one call of the store; what is found so far is not lost to a deadline, and
/// between two calls the client hears that the server is at work.
const BODIES_PER_CALL: u64 = 500;
/// Messages whose headers are searched in one call of the store.
const HEADERS_PER_CALL: u64 = 20_000;

pub(crate) async fn run(session: &mut Session, out: &mut Output, search: Search) -> Result<Reply, Reply> {
    let save = search.returns.is_some_and(|options| options.save);
    let result = answer(session, out, &search).await;
    if save && result.as_ref().is_err_and(|reply| reply.status == Status::No) {
        // RFC 5182 §2.1: a SEARCH that saves and fails leaves nothing saved.
        session.view_mut()?.saved = UidSet::new();
    }
    result
}

async fn answer(session: &mut Session, out: &mut Output, search: &Search) -> Result<Reply, Reply> {
    if search.charset.is_some() && session.enabled.utf8 {
        return Err(Reply::bad("SEARCH takes no CHARSET once UTF8=ACCEPT is enabled"));
    }
    let charset = charset(search.charset.as_deref())?;
    let found = matching(session, out, &search.key, charset).await?;
    let options = match search.returns {
        None if session.enabled.rev2 => Some(ResultOptions { all: true, ..ResultOptions::default() }),
        returns => returns,
    };
    let mod_seq = mod_seq(session, &found, options.as_ref()).await?;
    if let Some(options) = options
        && options.save
    {
        session.view_mut()?.saved = Results::from(&found.uids).saved(&options);
    }
    let view = session.view()?;
    let results = if search.uid {
        Results::from(&found.uids)
    } else {
        Results::new(view.seq.seqs_of_uids(&found.uids))
    };
    match options {
        None => {
            response::search(out.text(), results.iter(), mod_seq.filter(|_| results.count() > 0));
        }
        // RFC 9051 §6.4.4.1: SAVE alone has no ESEARCH response.
        Some(options) if is_save_alone(&options) => {}
        Some(options) => {
            results::esearch(search.uid, &options, &results, mod_seq, |data| {
                response::esearch(out.text(), &session.tag, data);
            });
        }
    }
    Ok(Reply::ok("SEARCH completed"))
}

pub(super) fn is_save_alone(options: &ResultOptions) -> bool {
    let ResultOptions { min, max, all, count, save, partial } = *options;
    save && !(min || max || all || count || partial.is_some())
}

/// The charset of that name; UTF-8 for none.
///
/// # Errors
/// NO `[BADCHARSET]`, with the charsets that are known (RFC 9051 §7.1).
pub(super) fn charset(name: Option<&[u8]>) -> Result<TextCharset, Reply> {
    name.map_or(Some(TextCharset::UTF_8), TextCharset::named).ok_or_else(|| {
        let code = encode::code(&Code::BadCharset(TextCharset::NAMES));
        Reply::no_code(code, "strings cannot be searched for in this charset")
    })
}

/// What a program found, of the messages that the client knows.
pub(super) struct Found {
    pub uids: UidSet,
    pub traits: Traits,
}

/// Runs a program.
///
/// # Errors
/// BAD for text that is not in the charset, NO `[LIMIT]` for text that is too long, and what the store answers.
pub(super) async fn matching(
    session: &mut Session,
    out: &mut Output,
    key: &WireKey,
    charset: TextCharset,
) -> Result<Found, Reply> {
    let key = translate(session, key, charset)?;
    let traits = Traits::of(&key);
    if traits.modseq {
        session.enable_condstore(out);
    }
    let view = session.view()?;
    let account = view.account;
    let known = view.seq.uids();
    let per_call = match (traits.bodies, traits.content) {
        (true, _) => BODIES_PER_CALL,
        (false, true) => HEADERS_PER_CALL,
        (false, false) => u64::MAX,
    };
    let mut request = SearchRequest { mailbox: view.mailbox, key, within: None };
    let many = traits.content && known.len() >= turns::MESSAGES_MIN;
    let _turn = if many { Some(turn(session, out).await?) } else { None };
    if known.len() <= per_call {
        let found = session.store().search(&session.ctx(), account, &request).await?;
        return Ok(Found { uids: found.intersection(&known), traits });
    }
    let (mut found, mut done, mut progress) = (UidSet::new(), 0, Progress::new(session));
    while done < known.len() {
        request.within = Some(results::at_positions(&known, done..done + per_call));
        found = found.union(&session.store().search(&session.ctx(), account, &request).await?);
        done += per_call;
        progress.at(session, out, done, known.len()).await?;
    }
    Ok(Found { uids: found.intersection(&known), traits })
}

/// Waits until the account may search.
async fn turn(session: &Session, out: &mut Output) -> Result<Turn, Reply> {
    let account = session.account()?;
    patiently(session, out, session.server.turns.search(account)).await
}

fn translate(session: &Session, key: &WireKey, charset: TextCharset) -> Result<SearchKey, Reply> {
    let view = session.view()?;
    let resolve = |set: &SequenceSet, uid: bool| -> UidSet {
        if set.is_saved() {
            return view.seq.existing(&view.saved);
        }
        let largest = if uid { view.seq.last_uid().map_or(0, model::Uid::get) } else { view.seq.len() };
        let ranges = set.resolve(largest).into_iter().map(|range| (*range.start(), *range.end()));
        if uid { UidSet::from_ranges(ranges) } else { view.seq.uids_of_seqs(ranges) }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let scope = Scope {
        by_sequence: &|set| resolve(set, false),
        by_uid: &|set| resolve(set, true),
        recent: &view.recent,
        now,
        charset,
    };
    program::translate(key, &scope).map_err(|error| match error {
        ProgramError::Text => Reply::bad("a string to search for is not in the charset"),
        ProgramError::TextTooLong => Reply::no_code("LIMIT", "a string to search for is too long"),
    })
}

/// The MODSEQ to show with results of a program with a MODSEQ key: the highest of those that are told, by RFC 7162
/// §3.1.10 that of MIN or MAX where nothing else is.
pub(super) async fn mod_seq(
    session: &mut Session,
    found: &Found,
    options: Option<&ResultOptions>,
) -> Result<Option<u64>, Reply> {
    if !found.traits.modseq || found.uids.is_empty() {
        return Ok(None);
    }
    let ends_only = options.filter(|o| (o.min || o.max) && !o.all && !o.count && o.partial.is_none());
    let told = match ends_only {
        None => found.uids.clone(),
        Some(options) => {
            let ends =
                [found.uids.first().filter(|_| options.min), found.uids.last().filter(|_| options.max)];
            ends.into_iter().flatten().collect()
        }
    };
    let snapshot: &FolderSnapshot = &*session.snapshot().await?;
    Ok(snapshot.rows_in(&told).map(|row| row.modseq.0).max())
}
