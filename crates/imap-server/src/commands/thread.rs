//! `THREAD algorithm charset keys`, `UID THREAD`.
//!
//! Source: RFC 5256 §3, by i;unicode-casemap (RFC 5051).
//! Answers: as SEARCH; NO `[LIMIT]` when there is too much to thread.

mod forest;
mod ordered_subject;
mod references;

use imap_wire::command::{Thread, ThreadAlgorithm};
use imap_wire::response::thread;

use self::forest::Message;
use super::search;
use super::sort::collation::Collation;
use super::sort::{Room, for_each_index, off_the_way, sent};
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

/// Octets of ids and subjects that one command may hold. Beyond, NO `[LIMIT]`.
const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a message costs besides its ids and subject: its node, its entry among the ids.
const MESSAGE_BYTES: usize = 200;

pub(crate) async fn run(session: &mut Session, out: &mut Output, command: Thread) -> Result<Reply, Reply> {
    search::check_charset(Some(&command.charset))?;
    let found = search::matching(session, out, &command.key).await?;
    let collation = Collation::new();
    let seq = session.view()?.seq.clone();
    let (mut messages, mut room) = (Vec::new(), Room(MESSAGES_BYTES_MAX));
    for_each_index(session, &found.uids, |row, index| {
        let number = if command.uid { Some(row.uid.get()) } else { seq.seq(row.uid) };
        let Some(number) = number else { return Ok(()) };
        let mut message = Message {
            number,
            sent: sent(row, index),
            subject: collation.key(index.base_subject()),
            is_reply: index.subject_is_reply(),
            message_id: None,
            references: Vec::new(),
        };
        if command.algorithm == ThreadAlgorithm::References {
            message.message_id = index.message_id().map(Into::into);
            message.references = index.thread_references().map(Into::into).collect();
        }
        let ids = message.references.iter().chain(&message.message_id);
        let octets: usize = ids.map(|id| MESSAGE_BYTES + id.len()).sum();
        room.take(MESSAGE_BYTES + message.subject.len() + octets)?;
        messages.push(message);
        Ok(())
    })
    .await?;
    let entries = off_the_way(messages.len(), move || {
        let forest = match command.algorithm {
            ThreadAlgorithm::OrderedSubject => ordered_subject::threads(&messages),
            ThreadAlgorithm::References => references::threads(&messages),
        };
        forest.entries(&messages)
    })
    .await?;
    thread::thread(out.text(), &entries);
    Ok(Reply::ok("THREAD completed"))
}
