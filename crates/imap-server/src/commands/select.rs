//! `SELECT` and `EXAMINE`, with CONDSTORE, QRESYNC and ANNOTATE.
//!
//! Source: RFC 9051 §6.3.2 and §6.3.3, RFC 3501 §6.3.1 (RECENT, UNSEEN), RFC 7162 §3.1.8 and §3.2.5, RFC 8474 §4.2, RFC 5257 §4.1 and §4.2.
//! Answers OK `[READ-WRITE]` or `[READ-ONLY]`; NO `[NONEXISTENT]`, `[NOPERM]`, `[CANNOT]`; BAD for QRESYNC that was not enabled.
//! A SELECT that fails leaves no mailbox selected (RFC 9051 §6.3.2).

use imap_wire::command::{QResync, Select};
use imap_wire::response::{self, ListData};
use imap_wire::{Code, SequenceSet};
use model::limits::ANNOTATION_VALUE_BYTES_MAX;
use model::{Flags, FolderSnapshot, HIERARCHY_SEPARATOR, ModSeq, Rights, UidSet};

use crate::connection::Output;
use crate::encode;
use crate::reply::Reply;
use crate::session::Session;
use crate::sync::flags_lines;
use crate::view::View;

/// Whether the mailbox may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// Any of these changes a mailbox.
const CHANGING: Rights = Rights::from_bits(
    Rights::INSERT.bits()
        | Rights::EXPUNGE.bits()
        | Rights::SEEN.bits()
        | Rights::WRITE.bits()
        | Rights::DELETE_MESSAGE.bits()
        | Rights::ANNOTATE.bits(),
);

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    select: Select,
    access: Access,
) -> Result<Reply, Reply> {
    let command = if access == Access::ReadWrite { "SELECT" } else { "EXAMINE" };
    if select.qresync.is_some() && !session.enabled.qresync {
        // RFC 7162 §3.2.5: BAD, and nothing changes.
        return Err(Reply::bad("QRESYNC must be enabled first, by ENABLE QRESYNC"));
    }
    if session.view.is_some() {
        session.deselect();
        // RFC 7162 §3.2.11: what follows is of the new mailbox. A server with QRESYNC says so to every client.
        out.untagged(format_args!("OK [CLOSED] the mailbox before is closed"));
    }
    let found = session.find_selectable(&select.mailbox).await?;
    found.check(Rights::READ)?;
    let snapshot = session.store().folder(&session.ctx(), found.account, found.id()).await?;
    let examined = access == Access::ReadOnly;
    // RFC 4314 §5.2: who can change nothing has opened it to be read, whatever was asked.
    let access = if found.entry.rights.has_any(CHANGING) { access } else { Access::ReadOnly };
    if select.condstore || select.qresync.is_some() {
        session.enabled.condstore = true;
    }

    let mut view = View::new(found, access == Access::ReadOnly, &snapshot);
    view.examined = examined;
    view.annotate = select.annotate;
    head(session, out, &snapshot, &view);
    if let Some(known) = &select.qresync
        && known.uid_validity.get() == view.uid_validity.get()
    {
        resync(session, out, &snapshot, &view, known).await?;
    }
    session.claim_recent(&view);
    session.view = Some(Box::new(view));
    Ok(match access {
        Access::ReadWrite => Reply::ok_code("READ-WRITE", "SELECT completed"),
        Access::ReadOnly => Reply::ok_code("READ-ONLY", format!("{command} completed")),
    })
}

/// The untagged responses of every SELECT.
fn head(session: &Session, out: &mut Output, snapshot: &FolderSnapshot, view: &View) {
    let state = &snapshot.state;
    let rev2 = session.enabled.rev2;
    flags_lines(out, &state.keywords, view.changeable());
    response::exists(out.text(), view.seq.len());
    if !rev2 {
        response::recent(out.text(), view.recent.len() as u32);
        if state.unseen > 0 {
            let unseen = snapshot.rows().find(|row| !row.flags.contains(Flags::SEEN));
            if let Some(seq) = unseen.and_then(|row| view.seq.seq(row.uid)) {
                out.untagged(format_args!("OK [UNSEEN {seq}] the first unseen message"));
            }
        }
    }
    out.untagged(format_args!("OK [UIDVALIDITY {}] UIDs are valid", view.uid_validity));
    out.untagged(format_args!("OK [UIDNEXT {}] the next UID", state.uid_next.min(u64::from(u32::MAX))));
    out.untagged(format_args!("OK [HIGHESTMODSEQ {}] the last change", state.highest_modseq));
    out.untagged(format_args!("OK [MAILBOXID ({})] the mailbox for ever", snapshot.mailbox));
    let annotations = (!view.examined).then_some(ANNOTATION_VALUE_BYTES_MAX as u64);
    let annotations = encode::code(&Code::Annotations(annotations));
    out.untagged(format_args!("OK [{annotations}] octets of an annotation"));
    if rev2 {
        // RFC 9051 §6.3.2: the name as the server knows it.
        let data =
            ListData { separator: Some(HIERARCHY_SEPARATOR), name: &view.shown(), ..ListData::default() };
        response::list(out.text(), &data, session.mailbox_encoding());
    }
}

/// What a client that was here before missed: VANISHED (EARLIER), then FETCH of what changed (RFC 7162 §3.2.5).
async fn resync(
    session: &Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
    view: &View,
    known: &QResync,
) -> Result<(), Reply> {
    let since = ModSeq(known.mod_seq);
    if since >= snapshot.state.highest_modseq {
        return Ok(());
    }
    let within = known.known_uids.as_ref().map(as_uids);
    if snapshot.state.expunge_modseq > since {
        let mut gone = session.store().vanished(&session.ctx(), view.account, view.mailbox, since).await?;
        if let Some(within) = &within {
            gone = gone.intersection(within);
        }
        if let Some((numbers, uids)) = &known.seq_match {
            gone = gone.difference(&forgotten_already(view, numbers, uids));
        }
        // The store may name too many, yet nothing that exists may be called gone.
        gone = gone.difference(&snapshot.uids());
        response::vanished(out.text(), true, &gone);
    }
    for row in snapshot.rows_changed_since(since) {
        if within.as_ref().is_some_and(|within| !within.contains(row.uid)) {
            continue;
        }
        let Some(seq) = view.seq.seq(row.uid) else { continue };
        out.push(b"* ");
        encode::number(out.text(), seq);
        out.push(b" FETCH (UID ");
        encode::number(out.text(), row.uid.get());
        out.push(b" MODSEQ (");
        encode::number(out.text(), row.modseq.0);
        out.push(b") FLAGS ");
        let recent = !session.enabled.rev2 && view.recent.contains(row.uid);
        encode::flags(out.text(), row.flags, recent, &snapshot.state.keywords);
        out.push(b")\r\n");
        out.relieve().await?;
    }
    Ok(())
}

fn as_uids(set: &SequenceSet) -> UidSet {
    UidSet::from_ranges(set.resolve(u32::MAX).into_iter().map(|range| (*range.start(), *range.end())))
}

/// UIDs that the client has seen go already: up to the last pair of number and UID that still holds, its view is
/// this view (RFC 7162 §3.2.5.2).
fn forgotten_already(view: &View, numbers: &SequenceSet, uids: &SequenceSet) -> UidSet {
    let flat = |set: &SequenceSet| set.resolve(u32::MAX).into_iter().flatten();
    let agreed = flat(numbers)
        .zip(flat(uids))
        .take_while(|(number, uid)| view.seq.uid(*number).is_some_and(|u| u.get() == *uid))
        .last();
    match agreed {
        Some((_, uid)) => UidSet::from_ranges([(1, uid)]),
        None => UidSet::new(),
    }
}
