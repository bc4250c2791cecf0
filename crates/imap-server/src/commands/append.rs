//! `APPEND mailbox 1*([flags] [date] [ANNOTATION …] message)`: a message is a literal, or CATENATE with texts and URLs.
//!
//! Source: RFC 9051 §6.3.12, RFC 3502 (MULTIAPPEND), RFC 4469 (CATENATE), RFC 4315 §3 (APPENDUID), RFC 7889
//! (APPENDLIMIT), RFC 7888 (literals), RFC 3516 §4.4 (literal8), RFC 6855 §4 (UTF8).
//! Answers: OK `[APPENDUID]`; NO `[TRYCREATE]`, `[TOOBIG]`, `[OVERQUOTA]`, `[LIMIT]`, `[BADURL url]`; BAD for flags
//! that are not known, and for annotations of parts that a message does not have; NO `[ANNOTATE TOOBIG]`, `[ANNOTATE TOOMANY]`. All messages are appended or none.
//!
//! What would be refused is refused before its octets come, where the client waits to be asked for them. Small
//! messages travel with the request; larger ones pass to the store as they come, so that the socket is read no
//! faster than the store writes and no message stands in memory.

mod catenate;
mod collect;

use imap_wire::Code;
use imap_wire::reader::AppendStart;
use model::{ErrorKind, Rights};
use store_api::{AppendRequest, FolderTree};

pub(super) use self::collect::{collect, fits_inline};
use super::annotation;
use crate::connection::{Input, Output};
use crate::encode;
use crate::others::{Place, lacking, missing};
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    input: &mut Input,
    start: AppendStart,
) -> Result<Reply, Reply> {
    let place = target(session, &start).await?;
    let messages = collect(session, out, input, place.account).await?;
    let request = AppendRequest { mailbox: place.name.clone(), messages };
    let appended = match session.store().append(&session.ctx(), place.account, request).await {
        Ok(appended) => appended,
        Err(error) => return Err(refusal(session, error, &place).await),
    };
    if !appended.repeated {
        session.note_own_arrivals(&place, &appended.uids.to_set()).await;
    }
    let code = encode::code(&Code::AppendUid(appended.uid_validity.get(), &appended.uids));
    Ok(Reply::ok_code(code, "APPEND completed"))
}

/// The folder that messages go to. It is looked for before they come; that it is there still is the store's to see.
///
/// # Errors
/// As [`open_target`]; NO `[TRYCREATE]` when there is none.
pub(super) async fn target(session: &Session, start: &AppendStart) -> Result<Place, Reply> {
    let place = session.place(&start.mailbox).await?;
    open_target(&*session.tree_of(&place).await?, &place)?;
    Ok(place)
}

/// Whether messages may come to a place.
///
/// # Errors
/// NO `[TRYCREATE]` when there is no such folder, `[NONEXISTENT]` when there is none of another user, where CREATE is
/// seldom what helps; `[NOPERM]`; `[CANNOT]` when it holds no messages.
pub(super) fn open_target(tree: &FolderTree, place: &Place) -> Result<(), Reply> {
    match tree.find(&place.name) {
        None if place.owner.is_some() => Err(missing()),
        None => Err(Reply::no_code("TRYCREATE", "there is no mailbox of that name")),
        Some(folder) if !folder.rights.has(Rights::INSERT) => Err(lacking(folder.rights)),
        Some(folder) if folder.noselect => {
            Err(Reply::no_code("CANNOT", "that name holds other mailboxes but no messages"))
        }
        Some(_) => Ok(()),
    }
}

/// The store's error as an answer to what brings messages to the folder `target`: TRYCREATE when it is that folder which
/// is not there, and not the one that the messages come from.
pub(super) async fn refusal(session: &Session, error: model::Error, target: &Place) -> Reply {
    if error.kind() == ErrorKind::NoSuchPart {
        return annotation::refusal(error);
    }
    if error.kind() != ErrorKind::NoSuchMailbox || target.owner.is_some() {
        return error.into();
    }
    match session.folders().await {
        Ok(tree) if tree.find(&target.name).is_none_or(|folder| folder.noselect) => {
            Reply::from(error).with_code("TRYCREATE")
        }
        Ok(_) => Reply::from(error),
        Err(reply) => reply,
    }
}
