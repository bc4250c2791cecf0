//! `THREAD algorithm charset keys`, `UID THREAD`.
//!
//! Source: RFC 5256 §3, by i;unicode-casemap (RFC 5051).
//! Answers: as SEARCH; NO `[LIMIT]` when there is too much to thread.

mod forest;
mod ordered_subject;
mod references;

use imap_wire::command::{Thread, ThreadAlgorithm};
use imap_wire::response::thread;

use self::forest::{Ids, Message};
use super::search;
use super::sort::collation::Collation;
use super::sort::{Room, for_each_index, off_the_way, sent, turn};
use crate::connection::Output;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;

/// Octets of ids and subjects that one command may hold. Beyond, NO `[LIMIT]`.
const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a message costs besides its subject: itself and its node.
const MESSAGE_BYTES: usize = 150;
/// What an id costs besides its octets: its entry among the ids, and a node if no message has it.
const ID_BYTES: usize = 100;

pub(crate) async fn run(session: &mut Session, out: &mut Output, command: Thread) -> Result<Reply, Reply> {
    let charset = search::charset(Some(&command.charset))?;
    let found = search::matching(session, out, &command.key, charset).await?;
    let _turn = turn(session, out, &found.uids).await?;
    let collation = Collation::new();
    let seq = session.view()?.seq.clone();
    let (mut messages, mut ids, mut room) = (Vec::new(), Ids::default(), Room(MESSAGES_BYTES_MAX));
    for_each_index(session, out, &found.uids, |row, index| {
        let number = if command.uid { Some(row.uid.get()) } else { seq.seq(row.uid) };
        let Some(number) = number else { return Ok(()) };
        let mut message = Message {
            number,
            sent: sent(row, index),
            subject: collation.key(index.base_subject()),
            is_reply: index.subject_is_reply(),
            message_id: None,
            references: Box::default(),
        };
        let mut octets = MESSAGE_BYTES + message.subject.len();
        if command.algorithm == ThreadAlgorithm::References {
            let mut number = |id: &[u8]| {
                let known = ids.len();
                let number = ids.number(id);
                octets += size_of::<u32>() + if ids.len() > known { ID_BYTES + id.len() } else { 0 };
                number
            };
            message.message_id = index.message_id().map(&mut number);
            message.references = index.thread_references().map(number).collect();
        }
        room.take(octets)?;
        messages.push(message);
        Ok(())
    })
    .await?;
    let entries = off_the_way(messages.len(), move || {
        let forest = match command.algorithm {
            ThreadAlgorithm::OrderedSubject => ordered_subject::threads(&messages),
            ThreadAlgorithm::References => references::threads(&messages, ids.len()),
        };
        forest.entries(&messages)
    });
    let entries = patiently(session, out, entries).await??;
    thread::thread(out.text(), &entries);
    Ok(Reply::ok("THREAD completed"))
}
