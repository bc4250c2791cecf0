//! `COPY set mailbox`, `MOVE set mailbox`, and their UID forms.
//!
//! Source: RFC 9051 §6.4.7, §6.4.8, §6.4.9, RFC 4315 §3 (COPYUID), RFC 6851 §4.3 (the order of MOVE's responses),
//! RFC 7162 §3.2.7 (`HIGHESTMODSEQ` where messages go).
//! Answers: OK with `[COPYUID]`; for MOVE that code stands in an untagged OK before the removals. NO `[TRYCREATE]`
//! without a target, `[NONEXISTENT]` when it is the selected mailbox that is gone, `[CANNOT]` for a name that holds no
//! messages and for a MOVE from one user to another, `[EXPUNGEISSUED]` for a sequence number whose message is gone
//! (nothing is copied then), `[NOPERM]`, `[OVERQUOTA]`, `[LIMIT]`, `[READ-ONLY]` for MOVE after EXAMINE.

mod across;

use imap_wire::Code;
use imap_wire::command::Transfer;
use model::{UidList, UidSet};
use store_api::{CopyMode, CopyRequest, Missing};

use super::append::{open_target, refusal};
use crate::connection::Output;
use crate::encode;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    transfer: Transfer,
    mode: CopyMode,
) -> Result<Reply, Reply> {
    let name = match mode {
        CopyMode::Copy => "COPY",
        CopyMode::Move => "MOVE",
    };
    let view = if mode == CopyMode::Move { session.writable_view()? } else { session.view()? };
    let (from, uids) = (view.folder(), view.resolve(&transfer.set, transfer.uid)?);
    let place = session.place(&transfer.mailbox).await?;
    if place.owner.is_some() || place.account != from.account {
        open_target(&*session.tree_of(&place).await?, &place)?;
    }
    if uids.is_empty() {
        return Ok(Reply::ok(format!("{name} completed, there are no such messages")));
    }
    let missing = if transfer.uid { Missing::Skip } else { Missing::Refuse };
    if place.account != from.account {
        if mode == CopyMode::Move {
            let text = "messages are not moved from one user to another; copy them, then remove them";
            return Err(Reply::no_code("CANNOT", text));
        }
        return across::copy(session, out, &uids, &place, missing).await;
    }
    let FolderRef { account, mailbox: source } = from;
    let request = CopyRequest { mode, source, uids, target: place.name.clone(), missing };
    let outcome =
        match patiently(session, out, session.store().copy(&session.ctx(), account, request)).await? {
            Ok(outcome) => outcome,
            Err(error) => return Err(refusal(session, error, &place).await),
        };
    if outcome.pairs.is_empty() {
        return Ok(Reply::ok(format!("{name} completed, the messages are gone")));
    }
    let (from, to): (UidSet, UidSet) =
        (outcome.pairs.iter().map(|p| p.0).collect(), outcome.pairs.iter().map(|p| p.1).collect());
    session.note_own_arrivals(&place, &to).await;
    let copied = encode::code(&Code::CopyUid(outcome.uid_validity.get(), &from, &UidList::from(&to)));
    match mode {
        CopyMode::Copy => Ok(Reply::ok_code(copied, "COPY completed")),
        CopyMode::Move => {
            out.untagged(format_args!("OK [{copied}] moved"));
            if session.enabled.condstore {
                let code = encode::code(&Code::HighestModSeq(session.known_with(outcome.source_modseq).0));
                return Ok(Reply::ok_code(code, "MOVE completed"));
            }
            Ok(Reply::ok("MOVE completed"))
        }
    }
}
