//! `ESEARCH [IN (mailboxes)] [RETURN (options)] [CHARSET charset] keys`: a search of several mailboxes, none of which need
//! be selected.
//!
//! Source: RFC 7377; of options and keys, as SEARCH. Answers: OK; NO `[BADCHARSET (US-ASCII UTF-8 …)]`, `[LIMIT]` for more
//! mailboxes than one command may search and for a text that is too long; BAD for text that is not in the charset, for
//! a charset where UTF8=ACCEPT is enabled, and where the selected mailbox is searched, or SAVE or UPDATE asked for, and
//! none is selected.
//!
//! One call of the store searches many mailboxes, unless their numbers matter, and a few calls are under way at a time;
//! results are sent in the order of the mailboxes as they come. What is not there, and what the client may not read, is
//! passed over alike. A mailbox that happens to be selected is searched as SEARCH does; in others sequence numbers are
//! those that the messages have now, and `$` names nothing.

pub(crate) mod sources;

use cpm_mime::TextCharset;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use imap_wire::command::{MultiSearch, ResultOptions, SearchKey as WireKey};
use imap_wire::response::{self, ESearch};
use model::limits::SEARCH_FOLDERS_MAX;
use model::{Error, ErrorKind, FolderState, MailboxId, Uid, UidSet};
use store_api::{SearchKey, SearchManyRequest, SearchRequest};

use self::sources::Folder;
use super::search::program::Traits;
use super::search::results::{self, Results};
use super::search::{self, Kept, Numbers, Pages};
use crate::connection::Output;
use crate::contexts::{self, Named};
use crate::progress::{Progress, patiently};
use crate::reply::Reply;
use crate::session::Session;
use crate::turns;
use crate::view::SeqMap;

/// Mailboxes whose counters are asked of the store at once.
const STATUS_PAGE: usize = 256;
/// Mailboxes that one call of the store searches. More would keep back what the first of them have.
const FOLDERS_PER_CALL: usize = 64;
/// Calls at once where rows, or headers that the store has at hand, decide. Enough to hide the way to a store in another
/// process; more would take its processors from others.
const SEARCHES_AT_ONCE: usize = 4;

const _: () = assert!(FOLDERS_PER_CALL <= SEARCH_FOLDERS_MAX);

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    command: MultiSearch,
) -> Result<Reply, Reply> {
    let result = answer(session, out, &command).await;
    search::settle(session, command.search.returns, result)
}

async fn answer(session: &mut Session, out: &mut Output, command: &MultiSearch) -> Result<Reply, Reply> {
    let MultiSearch { sources, search } = command;
    let charset = search::charset_of(session, search)?;
    let options = search.returns.unwrap_or(ResultOptions { all: true, ..ResultOptions::default() });
    if options.update {
        search::check_tag(session)?;
    }
    let program = Program::new(&search.key, charset)?;
    let folders = patiently(session, out, sources::resolve(session, sources)).await??;
    if program.traits.modseq {
        session.enable_condstore(out);
    }
    let of_selected = all(session, out, &program, options, &folders).await?;
    if options.save {
        let found = of_selected.as_ref().map(Results::from).unwrap_or_default();
        session.view_mut()?.saved = found.saved(&options);
    }
    if options.update {
        update(session, out, command, charset, of_selected)?;
    }
    Ok(Reply::ok("ESEARCH completed"))
}

/// Keeps the results in the selected folder up to date; there are others for which UPDATE does nothing (RFC 7377 §2.2).
fn update(
    session: &mut Session,
    out: &mut Output,
    command: &MultiSearch,
    charset: TextCharset,
    of_selected: Option<UidSet>,
) -> Result<(), Reply> {
    let Some(results) = of_selected else {
        contexts::refuse(out, &session.tag);
        return Ok(());
    };
    let view = session.view()?;
    let named = Named {
        name: view.shown().into(),
        encoding: session.mailbox_encoding(),
        uid_validity: view.uid_validity,
    };
    let (named, search) = (Some(Box::new(named)), &command.search);
    let (key, items) = (&search.key, &search.update_items);
    search::keep(session, out, Kept { named, uid: true, key, charset, items, results, order: None })
}

/// What all folders are searched for.
struct Program<'a> {
    key: &'a WireKey,
    charset: TextCharset,
    now: i64,
    traits: Traits,
    depends: Depends,
    /// In the store's words, for folders on whose numbers it does not depend.
    translated: SearchKey,
}

impl<'a> Program<'a> {
    fn new(key: &'a WireKey, charset: TextCharset) -> Result<Self, Reply> {
        let now = search::now();
        let none = UidSet::new();
        let numbers = Numbers { seq: &SeqMap::default(), saved: &none, recent: &none };
        let translated = search::translate_for(numbers, key, charset, now)?;
        Ok(Self { key, charset, now, traits: Traits::of(&translated), depends: Depends::of(key), translated })
    }

    /// Whether it means something else in a folder that is as `state` says than it does elsewhere.
    fn depends_on(&self, state: &FolderState) -> bool {
        self.depends.numbers || self.depends.recent && state.recent_uid < state.uid_next
    }
}

/// What a program's meaning depends on beside what a folder's messages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Depends {
    /// Which numbers messages have, or which UID is the largest.
    numbers: bool,
    /// Which messages are \Recent.
    recent: bool,
}

impl Depends {
    fn of(key: &WireKey) -> Self {
        let mut depends = Self::default();
        depends.add(key);
        depends
    }

    fn add(&mut self, key: &WireKey) {
        match key {
            WireKey::Sequence(set) => self.numbers |= !set.is_saved(),
            WireKey::Uid(set) => self.numbers |= set.has_star(),
            WireKey::New | WireKey::Old | WireKey::Recent => self.recent = true,
            WireKey::Not(key) => self.add(key),
            WireKey::Or(keys) => {
                self.add(&keys.0);
                self.add(&keys.1);
            }
            WireKey::And(keys) => keys.iter().for_each(|key| self.add(key)),
            _ => {}
        }
    }
}

/// What was found in a folder.
struct Hit {
    named: Named,
    selected: bool,
    uids: UidSet,
    mod_seq: Option<u64>,
}

/// Searches all folders and tells what is found. Returns what was found in the selected one, if it is among them.
async fn all(
    session: &Session,
    out: &mut Output,
    program: &Program<'_>,
    options: ResultOptions,
    folders: &[Folder],
) -> Result<Option<UidSet>, Reply> {
    let mut of_selected = folders.iter().any(|folder| folder.selected).then(UidSet::new);
    let quiet = search::is_save_alone(&options);
    let (mut done, mut progress) = (0, Progress::new(session));
    let (mut turn, mut content) = (None, 0);
    let accounts = folders.chunk_by(|a, b| a.at.account == b.at.account);
    let pages: Vec<&[Folder]> = accounts.flat_map(|folders| folders.chunks(STATUS_PAGE)).collect();
    for page in pages {
        let states = patiently(session, out, states(session, page)).await??;
        if program.traits.content && turn.is_none() {
            content += states.iter().flatten().map(|state| state.messages).sum::<u64>();
            // From here on it is a search through many messages, in however many folders they stand.
            if content >= turns::MESSAGES_MIN {
                let account = session.account()?;
                turn = Some(patiently(session, out, session.server.turns.search(account)).await?);
            }
        }
        let at_once = if turn.is_some() { 1 } else { SEARCHES_AT_ONCE };
        let mut waiting = errands(program, page, &states).into_iter();
        let mut running = FuturesOrdered::new();
        loop {
            let room = at_once - running.len();
            for errand in waiting.by_ref().take(room) {
                running.push_back(errand.run(session, program, options));
            }
            let Some(hits) = patiently(session, out, running.next()).await? else { break };
            for hit in hits? {
                done += 1;
                if let Some(hit) = hit {
                    if !quiet {
                        tell(session, out, &options, &hit);
                        out.relieve().await?;
                    }
                    if hit.selected {
                        of_selected = Some(hit.uids);
                    }
                }
                progress.at(session, out, done, folders.len() as u64).await?;
            }
        }
    }
    Ok(of_selected)
}

/// What is asked of the store in one go: about folders that stand together, in their order.
enum Errand<'a> {
    /// A folder by itself: its numbers matter, or it is too large for one call.
    Alone(&'a Folder, &'a FolderState),
    /// Folders in all of which the program means the same, and those without messages between them.
    Together(Vec<(&'a Folder, Option<&'a FolderState>)>),
}

/// How a page of folders is searched.
fn errands<'a>(
    program: &Program<'_>,
    folders: &'a [Folder],
    states: &'a [Option<FolderState>],
) -> Vec<Errand<'a>> {
    let messages_max = search::per_call(program.traits);
    let mut errands = Vec::new();
    let (mut together, mut asked, mut messages) = (Vec::new(), 0, 0);
    for (folder, state) in folders.iter().zip(states) {
        let Some(state) = state.as_ref().filter(|state| state.messages > 0) else {
            together.push((folder, None));
            continue;
        };
        let alone = folder.selected || program.depends_on(state) || state.messages > messages_max;
        messages += state.messages;
        if alone || asked == FOLDERS_PER_CALL || messages > messages_max {
            errands.push(Errand::Together(std::mem::take(&mut together)));
            (asked, messages) = (0, state.messages);
        }
        if alone {
            errands.push(Errand::Alone(folder, state));
            messages = 0;
        } else {
            together.push((folder, Some(state)));
            asked += 1;
        }
    }
    errands.push(Errand::Together(together));
    errands
}

impl Errand<'_> {
    /// What was found, folder by folder.
    async fn run(
        self,
        session: &Session,
        program: &Program<'_>,
        options: ResultOptions,
    ) -> Result<Vec<Option<Hit>>, Reply> {
        match self {
            Self::Alone(folder, state) => Ok(vec![one(session, program, options, folder, state).await?]),
            Self::Together(folders) => many(session, program, options, &folders).await,
        }
    }
}

/// The counters of folders of one account; none for what is gone.
async fn states(session: &Session, folders: &[Folder]) -> Result<Vec<Option<FolderState>>, Reply> {
    let Some(first) = folders.first() else { return Ok(Vec::new()) };
    let ids: Vec<MailboxId> = folders.iter().map(|folder| folder.at.mailbox).collect();
    let states = session.store().status(&session.ctx(), first.at.account, &ids).await;
    Ok(unless_gone(states)?.unwrap_or_else(|| vec![None; ids.len()]))
}

fn tell(session: &Session, out: &mut Output, options: &ResultOptions, hit: &Hit) {
    let found = Results::from(&hit.uids);
    results::esearch(true, options, &found, hit.mod_seq, |data| {
        let data = ESearch { mailbox: Some(hit.named.searched()), ..*data };
        response::esearch(out.text(), &session.tag, &data);
    });
}

/// Searches folders of one account on whose numbers the program does not depend. None for one without a message that
/// matches, and for one that is gone or not to be read any more (RFC 7377 §5).
async fn many(
    session: &Session,
    program: &Program<'_>,
    options: ResultOptions,
    folders: &[(&Folder, Option<&FolderState>)],
) -> Result<Vec<Option<Hit>>, Reply> {
    let mut hits: Vec<Option<Hit>> = folders.iter().map(|_| None).collect();
    let asked =
        || folders.iter().enumerate().filter_map(|(at, (folder, state))| Some((at, *folder, (*state)?)));
    let Some((_, first, _)) = asked().next() else { return Ok(hits) };
    let mut request = SearchManyRequest {
        mailboxes: asked().map(|(_, folder, _)| folder.at.mailbox).collect(),
        key: program.translated.clone(),
        messages_max: search::per_call(program.traits),
    };
    let mut asked = asked();
    while !request.mailboxes.is_empty() {
        let found = session.store().search_many(&session.ctx(), first.at.account, &request).await;
        let Some(found) = unless_gone(found)? else { break };
        if found.is_empty() {
            let error = Error::new(ErrorKind::Bug, "internal error").with_detail("no folder was searched");
            return Err(error.into());
        }
        request.mailboxes.drain(..found.len().min(request.mailboxes.len()));
        for (uids, (at, folder, state)) in found.into_iter().zip(asked.by_ref()) {
            if let Some(uids) = uids {
                hits[at] = hit(session, program, options, folder, state, uids).await?;
            }
        }
    }
    Ok(hits)
}

/// Searches one folder. None as for [`many`].
async fn one(
    session: &Session,
    program: &Program<'_>,
    options: ResultOptions,
    folder: &Folder,
    state: &FolderState,
) -> Result<Option<Hit>, Reply> {
    let (at, store) = (folder.at, session.store());
    let (key, known) = if folder.selected {
        let key = search::translate(session, program.key, program.charset)?;
        (key, session.view()?.seq.uids())
    } else {
        let snapshot = store.folder(&session.ctx(), at.account, at.mailbox).await;
        let Some(snapshot) = unless_gone(snapshot)? else { return Ok(None) };
        let seq = SeqMap::new(snapshot.rows().map(|row| row.uid));
        let first = u32::try_from(snapshot.state.recent_uid.max(1)).ok().and_then(Uid::new);
        let recent = first.map(|first| snapshot.rows_from(first).map(|row| row.uid).collect());
        let numbers = Numbers { seq: &seq, saved: &UidSet::new(), recent: &recent.unwrap_or_default() };
        (search::translate_for(numbers, program.key, program.charset, program.now)?, seq.uids())
    };
    let found = if known.len() > search::per_call(program.traits) {
        paged(session, program, folder, key, &known).await
    } else {
        let request = SearchRequest { mailbox: at.mailbox, key, within: None };
        let found = store.search(&session.ctx(), at.account, &request).await;
        found.map(|found| found.intersection(&known))
    };
    let Some(uids) = unless_gone(found)? else { return Ok(None) };
    hit(session, program, options, folder, state, uids).await
}

/// What is told of a folder in which these messages match; none for no message.
async fn hit(
    session: &Session,
    program: &Program<'_>,
    options: ResultOptions,
    folder: &Folder,
    state: &FolderState,
    uids: UidSet,
) -> Result<Option<Hit>, Reply> {
    if uids.is_empty() {
        return Ok(None);
    }
    let mut mod_seq = None;
    if program.traits.modseq {
        let snapshot = session.store().folder(&session.ctx(), folder.at.account, folder.at.mailbox).await;
        let Some(snapshot) = unless_gone(snapshot)? else { return Ok(None) };
        mod_seq = search::highest_modseq(&snapshot, &uids, Some(&options));
    }
    let (name, encoding) = (folder.name.clone(), session.mailbox_encoding());
    let named = Named { name, encoding, uid_validity: state.uid_validity };
    Ok(Some(Hit { named, selected: folder.selected, uids, mod_seq }))
}

async fn paged(
    session: &Session,
    program: &Program<'_>,
    folder: &Folder,
    key: SearchKey,
    known: &UidSet,
) -> model::Result<UidSet> {
    let mut pages = Pages::new(folder.at, key, known, program.traits);
    let mut found = UidSet::new();
    while let Some(more) = pages.next(session.store(), session.ctx()).await? {
        found = found.union(&more);
    }
    Ok(found)
}

/// None for what is not there, or not the client's to read.
fn unless_gone<T>(result: model::Result<T>) -> Result<Option<T>, Reply> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            ErrorKind::NoSuchMailbox | ErrorKind::NoSuchAccount | ErrorKind::NoPermission => Ok(None),
            _ => Err(error.into()),
        },
    }
}
