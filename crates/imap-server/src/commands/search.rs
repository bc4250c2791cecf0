//! `SEARCH [RETURN (options)] [CHARSET charset] keys`, `UID SEARCH`.
//!
//! Source: RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731 (RETURN), RFC 5182 (SAVE), RFC 9394 (PARTIAL), RFC 5032, RFC 7162
//! §3.1.5 (MODSEQ), RFC 5267 §4 (CONTEXT, UPDATE), RFC 8474 §5.3, RFC 8514 §4.2, RFC 9585 (INPROGRESS).
//! Answers: OK; NO `[BADCHARSET (US-ASCII UTF-8 …)]`, `[LIMIT]` for a text that is too long; BAD for text that is not
//! in the charset, and for a charset where UTF8=ACCEPT is enabled (RFC 6855 §3).

pub(crate) mod program;
pub(crate) mod results;

use std::time::{SystemTime, UNIX_EPOCH};

use cpm_mime::TextCharset;
use imap_wire::command::{FetchItem, ResultOptions, Search, SearchKey as WireKey};
use imap_wire::{Code, SequenceSet, response};
use model::{FolderSnapshot, UidSet};
use store_api::{Ctx, MailStore, SearchKey, SearchRequest};

use self::program::{ProgramError, Scope, Traits};
use self::results::Results;
use crate::connection::Output;
use crate::contexts::{self, CONTEXTS_MAX, Context, Named, Order};
use crate::encode;
use crate::progress::{Progress, patiently};
use crate::reply::{Reply, Status};
use crate::session::Session;
use crate::turns::{self, Turn};
use crate::view::{FolderRef, SeqMap};

/// Messages whose octets are searched in one call of the store; what is found so far is not lost to a deadline, and
/// between two calls the client hears that the server is at work.
const BODIES_PER_CALL: u64 = 500;
/// Messages whose headers are searched in one call of the store.
const HEADERS_PER_CALL: u64 = 20_000;

pub(crate) async fn run(session: &mut Session, out: &mut Output, search: Search) -> Result<Reply, Reply> {
    let result = answer(session, out, &search).await;
    settle(session, search.returns, result)
}

/// A search's reply, once what a failure does to `$` is done.
pub(super) fn settle(
    session: &mut Session,
    returns: Option<ResultOptions>,
    result: Result<Reply, Reply>,
) -> Result<Reply, Reply> {
    let save = returns.is_some_and(|options| options.save);
    if save && result.as_ref().is_err_and(|reply| reply.status == Status::No) {
        // RFC 5182 §2.1: a SEARCH that saves and fails leaves nothing saved.
        session.view_mut()?.saved = UidSet::new();
    }
    result
}

async fn answer(session: &mut Session, out: &mut Output, search: &Search) -> Result<Reply, Reply> {
    let charset = charset_of(session, search)?;
    let update = search.returns.is_some_and(|options| options.update);
    if update {
        check_tag(session)?;
    }
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
    if update {
        let items = &search.update_items;
        let (uid, key, results) = (search.uid, &search.key, found.uids);
        keep(session, out, Kept { named: None, uid, key, charset, items, results, order: None })?;
    }
    Ok(Reply::ok("SEARCH completed"))
}

/// A search that is to be kept up to date.
pub(super) struct Kept<'a> {
    /// The mailbox's name, where the responses have it.
    pub named: Option<Box<Named>>,
    /// Whether the client knows results by UID.
    pub uid: bool,
    pub key: &'a WireKey,
    pub charset: TextCharset,
    /// What is shown of new results.
    pub items: &'a [FetchItem],
    pub results: UidSet,
    /// The order of the results of a SORT.
    pub order: Option<Order>,
}

/// # Errors
/// BAD for a tag by which the client knows another search that is kept up to date (RFC 5267 §4.3).
pub(super) fn check_tag(session: &Session) -> Result<(), Reply> {
    if session.view()?.contexts.iter().any(|context| context.tag == session.tag) {
        return Err(Reply::bad("this tag is that of a search that is kept up to date"));
    }
    Ok(())
}

/// Keeps a search up to date, or says that it is not (RFC 5267 §4.3.1): there is a bound, and what matches by time or by
/// `\Recent` changes without a change of the folder.
pub(super) fn keep(session: &mut Session, out: &mut Output, kept: Kept<'_>) -> Result<(), Reply> {
    let drifts = drifts(kept.key);
    let context = Context {
        tag: session.tag.clone(),
        named: kept.named,
        uid: kept.uid,
        key: translate(session, kept.key, kept.charset)?,
        results: kept.results,
        order: kept.order,
        items: kept.items.into(),
    };
    let view = session.view_mut()?;
    let refused = view.contexts.len() >= CONTEXTS_MAX || context.is_too_large() || drifts;
    if refused {
        contexts::refuse(out, &context.tag);
    } else {
        view.contexts.push(context);
    }
    Ok(())
}

/// Whether results change without a change of the folder.
fn drifts(key: &WireKey) -> bool {
    match key {
        WireKey::Older(_) | WireKey::Younger(_) | WireKey::New | WireKey::Old | WireKey::Recent => true,
        WireKey::Not(key) => drifts(key),
        WireKey::Or(keys) => drifts(&keys.0) || drifts(&keys.1),
        WireKey::And(keys) => keys.iter().any(drifts),
        _ => false,
    }
}

pub(super) fn is_save_alone(options: &ResultOptions) -> bool {
    let ResultOptions { min, max, all, count, save, partial, update } = *options;
    save && !(update || min || max || all || count || partial.is_some())
}

/// The charset of a search.
///
/// # Errors
/// As [`charset`]; BAD where UTF8=ACCEPT is enabled (RFC 6855 §3).
pub(super) fn charset_of(session: &Session, search: &Search) -> Result<TextCharset, Reply> {
    if search.charset.is_some() && session.enabled.utf8 {
        return Err(Reply::bad("a search takes no CHARSET once UTF8=ACCEPT is enabled"));
    }
    charset(search.charset.as_deref())
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
    let known = session.view()?.seq.uids();
    if known.len() > per_call(traits) {
        let found = among(session, out, &key, &known).await?;
        return Ok(Found { uids: found, traits });
    }
    let _turn = turn(session, out, traits, &known).await?;
    let FolderRef { account, mailbox } = session.view()?.folder();
    let request = SearchRequest { mailbox, key, within: None };
    let found = session.store().search(&session.ctx(), account, &request).await?;
    Ok(Found { uids: found.intersection(&known), traits })
}

/// Messages that one call of the store searches.
pub(super) fn per_call(traits: Traits) -> u64 {
    match (traits.bodies, traits.content) {
        (true, _) => BODIES_PER_CALL,
        (false, true) => HEADERS_PER_CALL,
        (false, false) => u64::MAX,
    }
}

/// Those of `among` in the selected folder that match, in as many calls of the store as it takes.
///
/// # Errors
/// What the store answers.
pub(crate) async fn among(
    session: &mut Session,
    out: &mut Output,
    key: &SearchKey,
    among: &UidSet,
) -> Result<UidSet, Reply> {
    let traits = Traits::of(key);
    let _turn = turn(session, out, traits, among).await?;
    let mut pages = Pages::new(session.view()?.folder(), key.clone(), among, traits);
    let (mut found, mut progress) = (UidSet::new(), Progress::new(session));
    while let Some(more) = pages.next(session.store(), session.ctx()).await? {
        found = found.union(&more);
        progress.at(session, out, pages.done, among.len()).await?;
    }
    Ok(found)
}

/// A search through some messages of a folder, in as many calls of the store as it takes.
pub(super) struct Pages<'a> {
    folder: FolderRef,
    request: SearchRequest,
    among: &'a UidSet,
    per_call: u64,
    /// Messages that were searched.
    done: u64,
}

impl<'a> Pages<'a> {
    pub fn new(folder: FolderRef, key: SearchKey, among: &'a UidSet, traits: Traits) -> Self {
        let request = SearchRequest { mailbox: folder.mailbox, key, within: None };
        Self { folder, request, among, per_call: per_call(traits), done: 0 }
    }

    /// What matches of the next messages; none when all were searched.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn next(&mut self, store: &dyn MailStore, ctx: Ctx) -> model::Result<Option<UidSet>> {
        let page = results::at_positions(self.among, self.done..self.done.saturating_add(self.per_call));
        if page.is_empty() {
            return Ok(None);
        }
        self.done += page.len();
        self.request.within = Some(page);
        let found = store.search(&ctx, self.folder.account, &self.request).await?;
        Ok(Some(found.intersection(self.among)))
    }
}

/// Waits until the account may search the content of as many messages; few need no turn.
async fn turn(
    session: &Session,
    out: &mut Output,
    traits: Traits,
    uids: &UidSet,
) -> Result<Option<Turn>, Reply> {
    if !traits.content || uids.len() < turns::MESSAGES_MIN {
        return Ok(None);
    }
    let account = session.account()?;
    patiently(session, out, session.server.turns.search(account)).await.map(Some)
}

/// A program in the store's words, for the selected folder.
pub(super) fn translate(session: &Session, key: &WireKey, charset: TextCharset) -> Result<SearchKey, Reply> {
    let view = session.view()?;
    let numbers = Numbers { seq: &view.seq, saved: &view.saved, recent: &view.recent };
    translate_for(numbers, key, charset, now())
}

/// Seconds since 1970-01-01 UTC.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// What numbers mean in a folder.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    pub seq: &'a SeqMap,
    /// `$`.
    pub saved: &'a UidSet,
    /// What is \Recent.
    pub recent: &'a UidSet,
}

/// A program in the store's words, for a folder with these numbers.
///
/// # Errors
/// BAD for text that is not in the charset, NO `[LIMIT]` for text that is too long.
pub(super) fn translate_for(
    Numbers { seq, saved, recent }: Numbers<'_>,
    key: &WireKey,
    charset: TextCharset,
    now: i64,
) -> Result<SearchKey, Reply> {
    let resolve = |set: &SequenceSet, uid: bool| -> UidSet {
        if set.is_saved() {
            return seq.existing(saved);
        }
        let largest = if uid { seq.last_uid().map_or(0, model::Uid::get) } else { seq.len() };
        let ranges = set.resolve(largest).into_iter().map(|range| (*range.start(), *range.end()));
        if uid { UidSet::from_ranges(ranges) } else { seq.uids_of_seqs(ranges) }
    };
    let scope = Scope {
        by_sequence: &|set| resolve(set, false),
        by_uid: &|set| resolve(set, true),
        recent,
        now,
        charset,
    };
    program::translate(key, &scope).map_err(|error| match error {
        ProgramError::Text => Reply::bad("a string to search for is not in the charset"),
        ProgramError::TextTooLong => Reply::no_code("LIMIT", "a string to search for is too long"),
    })
}

/// The MODSEQ to show with results of a program with a MODSEQ key in the selected folder.
pub(super) async fn mod_seq(
    session: &mut Session,
    found: &Found,
    options: Option<&ResultOptions>,
) -> Result<Option<u64>, Reply> {
    if !found.traits.modseq || found.uids.is_empty() {
        return Ok(None);
    }
    let snapshot = session.snapshot().await?;
    Ok(highest_modseq(&snapshot, &found.uids, options))
}

/// The highest MODSEQ of the results that are told, by RFC 7162 §3.1.10 that of MIN or MAX where nothing else is.
pub(super) fn highest_modseq(
    snapshot: &FolderSnapshot,
    uids: &UidSet,
    options: Option<&ResultOptions>,
) -> Option<u64> {
    let ends_only = options.filter(|o| (o.min || o.max) && !o.all && !o.count && o.partial.is_none());
    let told = match ends_only {
        None => uids.clone(),
        Some(options) => {
            let ends = [uids.first().filter(|_| options.min), uids.last().filter(|_| options.max)];
            ends.into_iter().flatten().collect()
        }
    };
    snapshot.rows_in(&told).map(|row| row.modseq.0).max()
}
