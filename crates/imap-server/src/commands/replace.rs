//! `REPLACE number mailbox [flags] [date] message`, `UID REPLACE`: APPEND and the removal of another message in one.
//!
//! Source: RFC 8508 §3.
//! Answers: as APPEND, where APPENDUID stands in an untagged OK before the removal; BAD for a sequence number that does
//! not exist; NO `[NONEXISTENT]` for such a UID, `[EXPUNGEISSUED]` when the message is gone, `[READ-ONLY]`.

use imap_wire::reader::{AppendStart, Replaces};
use imap_wire::{Code, SeqNo};
use model::Uid;
use store_api::ReplaceRequest;

use super::append::{collect, refusal, target};
use crate::connection::{Input, Output};
use crate::encode;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::{FolderRef, View};

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    start: AppendStart,
) -> Result<Reply, Reply> {
    let replaces = start.replaces.ok_or_else(|| Reply::bad("REPLACE names a message"))?;
    let view = session.writable_view()?;
    let (FolderRef { account, mailbox: source }, uid) = (view.folder(), replaced(view, replaces)?);
    let place = target(session, &start).await?;
    if place.account != account {
        return Err(Reply::no_code("CANNOT", "a message is replaced by one of the same user"));
    }
    let message = collect(session, out, input, account).await?.pop();
    let message = message.ok_or_else(|| Reply::bad("REPLACE takes one message"))?;
    let request = ReplaceRequest { source, uid, target: place.name.clone(), message };
    let appended = match session.store().replace(&session.ctx(), account, request).await {
        Ok(appended) => appended,
        Err(error) => return Err(refusal(session, error, &place).await),
    };
    session.note_own_arrivals(&place, &appended.uids.to_set()).await;
    let code = encode::code(&Code::AppendUid(appended.uid_validity.get(), &appended.uids));
    out.untagged(format_args!("OK [{code}] replaced"));
    Ok(Reply::ok("REPLACE completed"))
}

/// The message to replace.
fn replaced(view: &View, replaces: Replaces) -> Result<Uid, Reply> {
    let last = || view.seq.last_uid().ok_or_else(|| Reply::bad("the mailbox has no messages"));
    match (replaces.number, replaces.uid) {
        (SeqNo::Star, _) => last(),
        (SeqNo::Number(number), true) => {
            let uid = Uid(number);
            let known = view.seq.seq(uid).map(|_| uid);
            known.ok_or_else(|| Reply::no_code("NONEXISTENT", "there is no message of that UID"))
        }
        (SeqNo::Number(number), false) => {
            view.seq.uid(number.get()).ok_or_else(|| Reply::bad("there is no message of that number"))
        }
    }
}
