//! From what the client knows to what is: the untagged responses between the two.

use imap_wire::response;
use std::sync::Arc;
use std::time::Duration;

use model::error::Retry;
use model::{ErrorKind, Flags, FolderSnapshot, ModSeq, Uid, UidSet};

use crate::commands::annotation::{self, News};
use crate::commands::fetch;
use crate::connection::Output;
use crate::contexts;
use crate::encode;
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::view::{Changeable, FolderRef, View};

/// What may be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removals {
    /// Removals too.
    Tell,
    /// Not removals: the client may be using sequence numbers (RFC 9051 §7.5.1).
    Hold,
    /// Removals too, and new messages, whatever NOTIFY says: the command is about them.
    Own,
}

/// Attempts to read the selected folder, and the pause before the second one, which doubles.
const READ_ATTEMPTS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// What became of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Told {
    /// The client knows the folder as it is.
    All,
    /// The folder could not be read: what changed is still to be told.
    Unread(ErrorKind),
}

/// Tells what changed in the selected folder since the client was last told: removals, then new messages, then
/// changed flags. Without a selected folder, nothing.
///
/// Removals that must be held stay pending, and with QRESYNC the changes of flags after them too: the client would
/// take their MODSEQ for proof that it knows of all before (RFC 7162 §3.2.10).
///
/// # Errors
/// The reply that ends the connection when the folder is gone: RFC 2180 §3.3 leaves a server the choice between
/// pretending and BYE, and after BYE the client knows.
pub(crate) async fn sync(session: &mut Session, out: &mut Output, removals: Removals) -> Result<Told, Reply> {
    if session.view.is_none() {
        return Ok(Told::All);
    }
    unless_withdrawn(session, out)?;
    // RFC 5465 §3.1: after NOTIFY the selected folder is told of as it says.
    let unwanted = session.notify.as_ref().is_some_and(|notify| !notify.selected().messages);
    if unwanted && removals != Removals::Own {
        return Ok(Told::All);
    }
    let snapshot = match session.fresh.take() {
        Some(snapshot) => snapshot,
        None => match read(session).await? {
            Ok(snapshot) => snapshot,
            Err(error) if error.kind() == ErrorKind::NoSuchMailbox => {
                out.untagged(format_args!("BYE the selected mailbox was deleted"));
                return Err(
                    Reply::no_code("NONEXISTENT", "the selected mailbox was deleted").then(After::Close)
                );
            }
            // What was given may be taken away again.
            Err(error) if error.kind() == ErrorKind::NoPermission => return Err(withdrawn(out)),
            Err(error) => {
                tracing::warn!(%error, "changes of the selected folder could not be read");
                return Ok(Told::Unread(error.kind()));
            }
        },
    };
    let touched = changed_among_results(session, &snapshot);
    let news = annotation::news(session, &snapshot).await;
    let arrived = tell(session, out, removals, &snapshot, news.as_ref());
    out.relieve().await?;
    if !arrived.is_empty() {
        Box::pin(show_new(session, out, &snapshot, &arrived)).await?;
    }
    if let Some(touched) = touched {
        let touched = touched.union(&arrived);
        if !touched.is_empty() {
            Box::pin(contexts::update(session, out, &snapshot, &touched, &arrived)).await?;
        }
    }
    Ok(Told::All)
}

/// Whether what is selected may still be looked at, as far as the session found out by itself; see
/// [`crate::accounts::check`].
///
/// # Errors
/// The reply that ends the connection.
pub(crate) fn unless_withdrawn(session: &Session, out: &mut Output) -> Result<(), Reply> {
    let is_withdrawn = session.view.as_ref().is_some_and(|view| view.withdrawn);
    if is_withdrawn { Err(withdrawn(out)) } else { Ok(()) }
}

/// Ends the connection of a client that may no longer read what it selected.
fn withdrawn(out: &mut Output) -> Reply {
    out.untagged(format_args!("BYE the selected mailbox may no longer be read"));
    Reply::no_code("NOPERM", "the selected mailbox may no longer be read").then(After::Close)
}

/// Messages that changed since the client was told of changes; none where no search is kept up to date.
fn changed_among_results(session: &Session, snapshot: &FolderSnapshot) -> Option<UidSet> {
    let view = session.view.as_deref().filter(|view| !view.contexts.is_empty())?;
    Some(contexts::touched(snapshot, view.known_modseq, &view.seq))
}

/// Shows what NOTIFY wants shown of new messages, but for those that the client brought itself (RFC 5465 §5.2).
async fn show_new(
    session: &mut Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
    arrived: &UidSet,
) -> Result<(), Reply> {
    let Some(items) = session.notify.as_ref().map(|notify| notify.selected().items.clone()) else {
        return Ok(());
    };
    let own = std::mem::take(&mut session.view_mut()?.own_arrivals);
    let others = arrived.difference(&own);
    if items.is_empty() || others.is_empty() {
        return Ok(());
    }
    match fetch::of_new(session, out, &items, snapshot, &others).await {
        Err(reply) if reply.after == After::Continue => {
            tracing::warn!(text = %reply.text, "new messages could not be shown");
            out.untagged(format_args!("NO [UNAVAILABLE] new messages could not be read, fetch them"));
            Ok(())
        }
        done => done,
    }
}

/// The selected folder as it is now, after as many attempts as may help.
///
/// # Errors
/// BAD when none is selected.
pub(crate) async fn read(session: &Session) -> Result<model::Result<Arc<FolderSnapshot>>, Reply> {
    let FolderRef { account, mailbox } = session.view()?.folder();
    let mut pause = READ_PAUSE;
    for _ in 1..READ_ATTEMPTS {
        match session.store().folder(&session.ctx(), account, mailbox).await {
            Err(error) if error.kind().wire().2 != Retry::Never => {
                tracing::debug!(%error, "the selected folder is read again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return Ok(answer),
        }
    }
    Ok(session.store().folder(&session.ctx(), account, mailbox).await)
}

/// For commands that do nothing else: their OK says that the client has been told all, so there is none when nobody can
/// know. Returns how the connection goes on.
///
/// # Errors
/// NO, as the store answers, when the selected folder cannot be read now.
pub(crate) async fn tell_all(session: &mut Session, out: &mut Output) -> Result<After, Reply> {
    match Box::pin(sync(session, out, Removals::Tell)).await {
        Ok(Told::All) => Ok(After::Continue),
        Ok(Told::Unread(kind)) => {
            Err(Reply::no_code(kind.wire().0, "the mailbox cannot be read now, try again later"))
        }
        // It was said why.
        Err(ended) => Ok(ended.after),
    }
}

/// Returns which messages are new to the client.
fn tell(
    session: &mut Session,
    out: &mut Output,
    removals: Removals,
    snapshot: &FolderSnapshot,
    news: Option<&News>,
) -> UidSet {
    let enabled = session.enabled;
    let notify = session.notify.as_deref_mut();
    // RFC 5465 §5.1: changes of flags are told where they are wished for, then with the UID.
    let (wants_flags, wants_uid) =
        notify.as_ref().map_or((true, false), |notify| (notify.selected().flags, true));
    let mut arrived = UidSet::new();
    let Some(view) = session.view.as_deref_mut() else { return arrived };
    let state = &snapshot.state;
    let annotations_known = if news.is_some() { state.highest_modseq } else { view.annotations_known };
    let news = news.filter(|news| !news.is_empty());
    if news.is_none()
        && state.highest_modseq <= view.known_modseq
        && state.expunge_modseq <= view.known_expunge_modseq
        && state.uid_next <= view.uid_next_known
    {
        view.annotations_known = annotations_known;
        view.forget_own_changes();
        return arrived;
    }
    tell_keywords(view, out, snapshot);

    let (mut held, mut vanished) = (false, false);
    if state.expunge_modseq > view.known_expunge_modseq {
        let gone = view.seq.uids().difference(&snapshot.uids());
        if gone.is_empty() {
            view.known_expunge_modseq = state.expunge_modseq;
        } else if removals == Removals::Hold {
            held = true;
        } else {
            contexts::removed(&mut view.contexts, out, &view.seq, &gone);
            if enabled.qresync {
                response::vanished(out.text(), false, &gone);
                vanished = true;
            } else {
                // Ascending, each number as it is after the ones before it (RFC 9051 §7.5.1).
                let mut removed = 0;
                for (first, last) in view.seq.seqs_of_uids(&gone) {
                    for _ in first..=last {
                        response::expunge(out.text(), first - removed);
                    }
                    removed += last - first + 1;
                }
            }
            view.seq.remove(&gone);
            view.recent = view.recent.difference(&gone);
            view.saved = view.saved.difference(&gone);
            view.known_expunge_modseq = state.expunge_modseq;
        }
    }

    if let Some(notify) = notify {
        notify.note_held(held);
    }

    let known_before = view.uid_next_known;
    if state.uid_next > known_before {
        if let Some(from) = u32::try_from(known_before).ok().and_then(Uid::new) {
            for row in snapshot.rows_from(from) {
                view.seq.push(row.uid);
                arrived.insert(row.uid);
                if u64::from(row.uid.get()) >= state.recent_uid {
                    view.recent.insert(row.uid);
                }
            }
        }
        view.uid_next_known = state.uid_next;
        if !arrived.is_empty() {
            response::exists(out.text(), view.seq.len());
            if !enabled.rev2 {
                response::recent(out.text(), view.recent.len() as u32);
            }
        }
    }

    if held && enabled.qresync {
        // RFC 7162 §3.2: MODSEQs may have been shown that are above those of the removals; the client must not take
        // them for the point up to which it knows all.
        out.untagged(format_args!("OK [HIGHESTMODSEQ {}] removals are still to be told", view.known_modseq));
        return arrived;
    }
    // Changes of annotations that could not be read when those of flags were told are older than these.
    let flags_from = wants_flags.then_some(view.known_modseq);
    let since = flags_from.unwrap_or(ModSeq::MAX).min(news.map_or(ModSeq::MAX, |_| view.annotations_known));
    view.annotations_known = annotations_known;
    let mut shown = ModSeq(0);
    for row in snapshot.rows_changed_since(since) {
        if u64::from(row.uid.get()) >= known_before || view.is_own_change(row.uid, row.modseq) {
            continue;
        }
        let noted = news.and_then(|news| news.get(&row.uid));
        if noted.is_none() && flags_from.is_none_or(|from| row.modseq <= from) {
            continue;
        }
        let Some(seq) = view.seq.seq(row.uid) else { continue };
        out.push(b"* ");
        encode::number(out.text(), seq);
        out.push(b" FETCH (");
        // RFC 7162 §3.2.4: with QRESYNC enabled the UID is told too; rev2 recommends it always (RFC 9051 §7.5.2).
        if enabled.qresync || enabled.rev2 || wants_uid {
            out.push(b"UID ");
            encode::number(out.text(), row.uid.get());
            out.push(b" ");
        }
        if enabled.condstore {
            out.push(b"MODSEQ (");
            encode::number(out.text(), row.modseq.0);
            out.push(b") ");
        }
        out.push(b"FLAGS ");
        let recent = !enabled.rev2 && view.recent.contains(row.uid);
        encode::flags(out.text(), row.flags, recent, &state.keywords);
        if let Some(entries) = noted {
            out.push(b" ");
            annotation::write_news(out.text(), entries);
        }
        out.push(b")\r\n");
        shown = shown.max(row.modseq);
    }
    // VANISHED has no MODSEQ: without this a client asks again for what it was told. The answer of a command that
    // removes has it in its tagged line (RFC 7162 §3.2.7).
    if vanished && wants_flags && removals != Removals::Own && shown < state.highest_modseq {
        out.untagged(format_args!("OK [HIGHESTMODSEQ {}] told up to here", state.highest_modseq));
    }
    if wants_flags {
        view.known_modseq = state.highest_modseq;
        view.forget_own_changes();
    }
    arrived
}

/// Tells the folder's keywords if they are not those that the client knows, before it is shown one of them.
///
/// # Errors
/// BAD when no folder is selected.
pub(crate) fn announce_keywords(
    session: &mut Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
) -> Result<(), Reply> {
    tell_keywords(session.view_mut()?, out, snapshot);
    Ok(())
}

fn tell_keywords(view: &mut View, out: &mut Output, snapshot: &FolderSnapshot) {
    let keywords = &snapshot.state.keywords;
    if !Arc::ptr_eq(&view.keywords, keywords) && *view.keywords != **keywords {
        flags_lines(out, keywords, view.changeable());
    }
    view.keywords = keywords.clone();
}

/// FLAGS and PERMANENTFLAGS: the flags there are, and those that can be set.
pub(crate) fn flags_lines(out: &mut Output, keywords: &model::KeywordTable, may: Changeable) {
    let (mut list, mut permanent) = (String::new(), String::new());
    let mut add = |name: &str, lasts: bool| {
        list.push_str(name);
        list.push(' ');
        if lasts {
            permanent.push_str(name);
            permanent.push(' ');
        }
    };
    for (flag, name) in Flags::SYSTEM {
        let lasts = match flag {
            Flags::SEEN => may.seen,
            Flags::DELETED => may.deleted,
            _ => may.others,
        };
        add(name, lasts);
    }
    for (_, keyword) in keywords.iter() {
        add(keyword.as_str(), may.others);
    }
    out.untagged(format_args!("FLAGS ({})", list.trim_end()));
    let permanent = permanent.trim_end();
    if permanent.is_empty() {
        out.untagged(format_args!("OK [PERMANENTFLAGS ()] no flag can be changed"));
    } else if !may.others {
        out.untagged(format_args!("OK [PERMANENTFLAGS ({permanent})] these flags can be changed"));
    } else if keywords.is_full() {
        out.untagged(format_args!("OK [PERMANENTFLAGS ({permanent})] no further keyword fits"));
    } else {
        out.untagged(format_args!(
            "OK [PERMANENTFLAGS ({permanent} \\*)] flags can be changed, keywords added"
        ));
    }
}
