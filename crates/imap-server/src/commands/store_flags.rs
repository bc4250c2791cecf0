//! `STORE set [(UNCHANGEDSINCE n CPMDEVICE device)] [+-]FLAGS[.SILENT] flags`, `UID STORE`. That of annotations goes on in
//! [`annotation`].
//!
//! Source: RFC 9051 §6.4.6, RFC 7162 §3.1.3 (UNCHANGEDSINCE, MODIFIED, MODSEQ).
//! CPMDEVICE is for network functions (`XCPM-DEVICE`): the change counts as made at that device.
//! Answers: OK; OK `[MODIFIED set]` when messages changed since; NO `[EXPUNGEISSUED]` when a sequence number's message
//! is gone (the others are changed), `[READ-ONLY]` after EXAMINE, `[LIMIT]` when no further keyword fits,
//! `[NOPERM]` when CPMDEVICE comes from a subscriber; BAD for `\Recent`, for flags with a backslash that are not known, and
//! for a CPMDEVICE that is not the identity of a device.

use std::sync::Arc;

use imap_wire::command::{Store, StoreAction};
use imap_wire::response::fetch::FetchWriter;
use imap_wire::{Code, Flag, IString};
use model::{DeviceId, Flags, FolderSnapshot, Keyword, ModSeq, UidSet};
use store_api::{Ctx, FlagAction, FlagChange, Requestor, StoreFlags, StoreOutcome, User};

use super::fetch::row::{self, FlagNames, RowItem};
use super::{annotation, fetch};
use crate::connection::Output;
use crate::encode;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::sync::announce_keywords;

pub(crate) async fn run(session: &mut Session, out: &mut Output, mut store: Store) -> Result<Reply, Reply> {
    // What a client has for itself it may change where it may change nothing else (RFC 5257 §3.4).
    if store.annotations.is_none() || session.view()?.examined {
        session.writable_view()?;
    }
    let ctx = match &store.device {
        Some(device) => at_device(session.ctx(), device)?,
        None => session.ctx(),
    };
    if let Some(values) = store.annotations.take() {
        return annotation::store(session, out, ctx, store, values).await;
    }
    let view = session.view()?;
    if store.flags.contains(&Flag::Recent) {
        return Err(Reply::bad("\\Recent cannot be changed by clients"));
    }
    let (flags, keywords) = parse_flags(&store.flags)?;
    let (account, mailbox, uids) = (view.account, view.mailbox, view.resolve(&store.set, store.uid)?);
    if store.unchanged_since.is_some() {
        session.enable_condstore(out);
    }
    if uids.is_empty() {
        return Ok(Reply::ok("STORE completed, there are no such messages"));
    }
    let before = Before::of(session, uids).await?;
    let action = match store.action {
        StoreAction::Replace => FlagAction::Replace,
        StoreAction::Add => FlagAction::Add,
        StoreAction::Remove => FlagAction::Remove,
    };
    let request = StoreFlags {
        mailbox,
        uids: before.uids.clone(),
        change: FlagChange { action, flags, keywords },
        unchanged_since: store.unchanged_since.map(ModSeq),
    };
    let outcome = patiently(session, out, session.store().store_flags(&ctx, account, request)).await??;
    finish(session, out, &store, before, outcome).await
}

/// What a STORE must know of its messages before it changes them.
pub(super) struct Before {
    snapshot: Arc<FolderSnapshot>,
    /// The messages.
    pub uids: UidSet,
    /// What the client has not been told yet of them must not be hidden by its own change.
    untold: UidSet,
    /// Some of them are gone.
    gone: bool,
}

impl Before {
    pub async fn of(session: &mut Session, uids: UidSet) -> Result<Self, Reply> {
        let snapshot = session.snapshot().await?;
        let view = session.view()?;
        let untold: UidSet = snapshot
            .rows_changed_since(view.known_modseq)
            .filter(|row| uids.contains(row.uid) && !view.is_own_change(row.uid, row.modseq))
            .map(|row| row.uid)
            .collect();
        let gone = missing(&snapshot, &uids);
        Ok(Self { snapshot, uids, untold, gone })
    }
}

/// Tells what a STORE did, and ends it.
pub(super) async fn finish(
    session: &mut Session,
    out: &mut Output,
    store: &Store,
    Before { snapshot: before, uids, untold, gone }: Before,
    outcome: StoreOutcome,
) -> Result<Reply, Reply> {
    if store.silent && !session.enabled.condstore {
        // Others changed flags between the two calls: which of them is not known, so the client is told all.
        if outcome.modseq_before <= before.state.highest_modseq {
            let hidden = outcome.changed.difference(&untold);
            session.view_mut()?.note_own_changes(hidden, outcome.modseq);
        }
    } else {
        let told = if store.silent { outcome.changed.clone() } else { uids.difference(&outcome.modified) };
        let after = session.snapshot().await?;
        announce_keywords(session, out, &after)?;
        tell(session, out, &after, &told, store).await?;
        let (reported, upto) = if store.silent {
            // MODSEQ alone was told; flags that others changed, before or after, must still come.
            let raced = outcome.modseq_before > before.state.highest_modseq;
            (if raced { UidSet::new() } else { told.difference(&untold) }, outcome.modseq)
        } else {
            (told, after.state.highest_modseq)
        };
        session.view_mut()?.note_own_changes(reported, upto);
    }

    if !outcome.modified.is_empty() {
        let shown = if store.uid {
            outcome.modified
        } else {
            UidSet::from_ranges(session.view()?.seq.seqs_of_uids(&outcome.modified))
        };
        let code = encode::code(&Code::Modified(&shown));
        return Ok(Reply::ok_code(code, "STORE completed but for messages changed since"));
    }
    if gone && !store.uid {
        return Err(Reply::no_code(
            "EXPUNGEISSUED",
            "some of the messages are gone, the others were changed",
        ));
    }
    Ok(Reply::ok("STORE completed"))
}

/// What accompanies a change that a network function makes on behalf of a device.
///
/// # Errors
/// NO `[NOPERM]` for any other requestor; BAD for what is not the identity of a device.
fn at_device(ctx: Ctx, device: &IString) -> Result<Ctx, Reply> {
    let device = DeviceId::parse(device.as_bytes()).map_err(|error| Reply::bad(error.to_string()))?;
    match ctx.requestor.user() {
        Some(user) if user.network => {
            let user = User { device: Some(device), ..user.clone() };
            Ok(Ctx { requestor: Requestor::User(user.into()), ..ctx })
        }
        _ => Err(Reply::no_code("NOPERM", "only network functions name another device")),
    }
}

/// Whether messages of `uids` are gone from the folder.
pub(super) fn missing(snapshot: &FolderSnapshot, uids: &UidSet) -> bool {
    snapshot.rows_in(uids).count() as u64 != uids.len()
}

/// The FETCH responses of a STORE. With `.SILENT`, which gets here only with CONDSTORE enabled, MODSEQ without FLAGS:
/// the client must learn the new one (RFC 7162 §3.1.3).
async fn tell(
    session: &Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
    told: &UidSet,
    store: &Store,
) -> Result<(), Reply> {
    let (view, enabled) = (session.view()?, session.enabled);
    let no_recent = UidSet::new();
    let names = FlagNames {
        keywords: &snapshot.state.keywords,
        recent: if enabled.rev2 { &no_recent } else { &view.recent },
    };
    let with_uid = store.uid || enabled.qresync || enabled.rev2;
    for message in fetch::rows(snapshot, told) {
        let Some(seq) = view.seq.seq(message.uid) else { continue };
        let mut fetch = FetchWriter::begin(out.text(), seq);
        if with_uid {
            row::write(&mut fetch, out.text(), RowItem::Uid, message, names);
        }
        if enabled.condstore {
            row::write(&mut fetch, out.text(), RowItem::ModSeq, message, names);
        }
        if !store.silent {
            row::write(&mut fetch, out.text(), RowItem::Flags, message, names);
        }
        fetch.end(out.text());
        out.relieve().await?;
    }
    Ok(())
}

/// System flags and keywords of a client's list. `\Recent` is left out.
///
/// # Errors
/// BAD for a flag with a backslash that is not known, and for what is no keyword.
pub(crate) fn parse_flags(list: &[Flag]) -> Result<(Flags, Vec<Keyword>), Reply> {
    let (mut flags, mut keywords) = (Flags::default(), Vec::new());
    for flag in list {
        let known = match flag {
            Flag::Answered => Flags::ANSWERED,
            Flag::Flagged => Flags::FLAGGED,
            Flag::Deleted => Flags::DELETED,
            Flag::Seen => Flags::SEEN,
            Flag::Draft => Flags::DRAFT,
            Flag::Recent => continue,
            Flag::Extension(_) => Flags::system(&flag.to_string()).ok_or_else(|| {
                Reply::bad("a flag with a backslash that is not known; keywords are written without it")
            })?,
            Flag::Keyword(name) => {
                let keyword = std::str::from_utf8(name).ok().and_then(|name| Keyword::parse(name).ok());
                let keyword = keyword.ok_or_else(|| Reply::bad(model::KeywordError.to_string()))?;
                if !keywords.contains(&keyword) {
                    keywords.push(keyword);
                }
                continue;
            }
        };
        flags = flags.union(known);
    }
    Ok((flags, keywords))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Status;

    #[test]
    fn only_network_functions_name_a_device() {
        let ctx = |network| {
            let own = DeviceId::parse(b"own").ok();
            let user = User { network, device: own, ..User::owner(model::AccountId(5)) };
            Ctx { request_id: 3, deadline: None, requestor: Requestor::User(user.into()) }
        };
        let named = IString::from("<urn:gsma:imei:1>");
        let at = at_device(ctx(true), &named).expect("allowed");
        assert_eq!(at.requestor.device().map(DeviceId::as_str), Some("<urn:gsma:imei:1>"));
        assert_eq!(at.request_id, 3);
        let refused = at_device(ctx(false), &named).expect_err("refused");
        assert_eq!((refused.status, refused.code.as_deref()), (Status::No, Some("NOPERM")));
        let bad = at_device(ctx(true), &IString::from("two words")).expect_err("refused");
        assert_eq!(bad.status, Status::Bad);
    }

    #[test]
    fn flags_of_a_client() {
        let keyword = |name: &'static str| Flag::Keyword(name.into());
        let list = [
            Flag::Seen,
            Flag::Extension("READ-report-sent".into()),
            Flag::Recent,
            keyword("$Junk"),
            keyword("$JUNK"),
        ];
        let (flags, keywords) = parse_flags(&list).expect("valid");
        assert_eq!(flags, Flags::SEEN.union(Flags::READ_REPORT_SENT));
        assert_eq!(keywords.len(), 1);
        for bad in [Flag::Extension("Foo".into()), Flag::Keyword("x".repeat(200).into())] {
            assert_eq!(parse_flags(&[bad]).expect_err("refused").status, Status::Bad);
        }
    }
}
