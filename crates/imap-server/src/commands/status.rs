//! `STATUS mailbox (items)`: a mailbox's counters, without selecting it.
//!
//! Source: RFC 9051 §6.3.11, RFC 3501 §6.3.10 (RECENT), RFC 7162 §3.1.7, RFC 8438, RFC 7889 §4, RFC 8474 §4.3, RFC 9208
//! §4.1.4. Answers OK; NO `[NONEXISTENT]`, `[CANNOT]`.

use imap_wire::MailboxEncoding;
use imap_wire::command::{Status, StatusItem};
use imap_wire::response::{self, StatusValue};
use model::limits::APPEND_BYTES_MAX;
use model::{FolderState, MailboxId, MailboxName, Rights, Uid};

use crate::connection::Output;
use crate::others::missing;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

pub(crate) async fn run(session: &mut Session, out: &mut Output, status: Status) -> Result<Reply, Reply> {
    let found = session.find_selectable(&status.mailbox).await?;
    found.check(Rights::READ)?;
    let folder = FolderRef { account: found.account, mailbox: found.id() };
    let states = session.store().status(&session.ctx(), folder.account, &[folder.mailbox]).await?;
    let Some(state) = states.into_iter().next().flatten() else {
        return Err(missing());
    };
    line(session, out, folder, &found.shown(), &state, &status.items).await?;
    Ok(Reply::ok("STATUS completed"))
}

/// Appends the STATUS response of one mailbox.
///
/// # Errors
/// What the store answers when \Recent messages must be counted.
pub(crate) async fn line(
    session: &mut Session,
    out: &mut Output,
    folder: FolderRef,
    name: &str,
    state: &FolderState,
    items: &[StatusItem],
) -> Result<(), Reply> {
    // RFC 7162 §3.1: asking for HIGHESTMODSEQ says that the client knows of it.
    if items.contains(&StatusItem::HighestModSeq) {
        session.enable_condstore(out);
    }
    let recent = if items.contains(&StatusItem::Recent) { recent(session, folder, state).await? } else { 0 };
    write(out.text(), session.mailbox_encoding(), folder.mailbox, name, state, items, recent);
    Ok(())
}

/// Appends the STATUS response of one mailbox that the client did not ask for: of counters, without `RECENT`.
pub(crate) fn told(
    session: &Session,
    out: &mut Output,
    mailbox: MailboxId,
    name: &MailboxName,
    state: &FolderState,
    items: &[StatusItem],
) {
    write(out.text(), session.mailbox_encoding(), mailbox, name.as_str(), state, items, 0);
}

/// Messages that no session was told of as \Recent. Known without reading rows when there are none, as usual.
async fn recent(session: &Session, folder: FolderRef, state: &FolderState) -> Result<u64, Reply> {
    if state.recent_uid >= state.uid_next {
        return Ok(0);
    }
    let snapshot = session.store().folder(&session.ctx(), folder.account, folder.mailbox).await?;
    let first = u32::try_from(state.recent_uid.max(1)).ok().and_then(Uid::new);
    Ok(first.map_or(0, |first| snapshot.rows_from(first).count() as u64))
}

fn write(
    text: &mut Vec<u8>,
    encoding: MailboxEncoding,
    mailbox: MailboxId,
    name: &str,
    state: &FolderState,
    items: &[StatusItem],
    recent: u64,
) {
    let id = mailbox.to_string();
    let value = |item: StatusItem| {
        StatusValue::Number(match item {
            StatusItem::Messages => state.messages,
            StatusItem::Recent => recent,
            StatusItem::UidNext => state.uid_next.min(u64::from(u32::MAX)),
            StatusItem::UidValidity => u64::from(state.uid_validity.get()),
            StatusItem::Unseen => state.unseen,
            StatusItem::Deleted => state.deleted,
            StatusItem::Size => state.bytes,
            StatusItem::HighestModSeq => state.highest_modseq.0,
            StatusItem::AppendLimit => APPEND_BYTES_MAX,
            // In the units of STORAGE (RFC 9208 §5.1).
            StatusItem::DeletedStorage => state.deleted_bytes.div_ceil(1024),
            StatusItem::MailboxId => return StatusValue::Id(&id),
        })
    };
    response::status(text, name, encoding, items.iter().map(|&item| (item, value(item))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ModSeq, UidValidity};

    #[test]
    fn every_item() {
        let state = FolderState {
            uid_validity: UidValidity::new(7).expect("positive"),
            uid_next: 1 << 32,
            highest_modseq: ModSeq(9),
            expunge_modseq: ModSeq(0),
            messages: 3,
            unseen: 2,
            deleted: 1,
            bytes: 5_000_000_000,
            deleted_bytes: 2049,
            recent_uid: 1,
            keywords: std::sync::Arc::default(),
        };
        let mut text = Vec::new();
        write(&mut text, MailboxEncoding::ModifiedUtf7, MailboxId(0xab), "é", &state, StatusItem::ALL, 3);
        assert_eq!(
            String::from_utf8(text).expect("UTF-8"),
            "* STATUS &AOk- (MESSAGES 3 RECENT 3 UIDNEXT 4294967295 UIDVALIDITY 7 UNSEEN 2 DELETED 1 \
             SIZE 5000000000 HIGHESTMODSEQ 9 APPENDLIMIT 134217728 MAILBOXID (00000000000000ab) \
             DELETED-STORAGE 3)\r\n"
        );
    }
}
