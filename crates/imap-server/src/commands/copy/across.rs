//! COPY from one user's folder to another's.
//!
//! Bodies are shared within an account and not beyond it: the octets pass through here, and all messages are appended in
//! one step or none. The copies keep their dates, and of their flags those that the client may set in the target.

use futures::StreamExt;
use imap_wire::Code;
use model::limits::MULTIAPPEND_MESSAGES_MAX;
use model::{AnnotationPattern, EntryScope, ErrorKind, FolderSnapshot, MessageRow, Rights, UidSet};
use store_api::{AnnotationChange, Annotations, AppendBody, AppendMessage, AppendRequest, Missing};

use crate::commands::annotation;
use crate::commands::append::{fits_inline, refusal};
use crate::commands::fetch;
use crate::commands::fetch::octets::{Opened, opened, streaming};
use crate::connection::Output;
use crate::encode;
use crate::others::Place;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// Octets of messages that one command copies at most: they stand written ahead of it in the target's account.
const BYTES_MAX: u64 = 512 << 20;
/// Octets of annotations that one command copies at most: they travel with the request.
const ANNOTATION_OCTETS_MAX: usize = 4 << 20;

pub(super) async fn copy(
    session: &mut Session,
    out: &mut Output,
    uids: &UidSet,
    place: &Place,
    missing: Missing,
) -> Result<Reply, Reply> {
    let snapshot = session.snapshot().await?;
    let rows: Vec<MessageRow> = fetch::rows(&snapshot, uids).copied().collect();
    if missing == Missing::Refuse && (rows.len() as u64) < uids.len() {
        return Err(gone());
    }
    let octets: u64 = rows.iter().map(|row| u64::from(row.size)).sum();
    if rows.len() > MULTIAPPEND_MESSAGES_MAX || octets > BYTES_MAX {
        let text = format!(
            "at most {MULTIAPPEND_MESSAGES_MAX} messages of {BYTES_MAX} octets are copied to another user at a time"
        );
        return Err(Reply::no_code("LIMIT", text));
    }
    let (messages, copied) =
        patiently(session, out, read(session, &snapshot, rows, place, missing)).await??;
    if messages.is_empty() {
        return Ok(Reply::ok("COPY completed, the messages are gone"));
    }
    let request = AppendRequest { mailbox: place.name.clone(), messages };
    let ctx = session.ctx();
    let append = session.store().append(&ctx, place.account, request);
    let appended = match patiently(session, out, append).await? {
        Ok(appended) => appended,
        Err(error) => return Err(refusal(session, error, place).await),
    };
    session.note_own_arrivals(place, &appended.uids.to_set()).await;
    let code = encode::code(&Code::CopyUid(appended.uid_validity.get(), &copied, &appended.uids));
    Ok(Reply::ok_code(code, "COPY completed"))
}

fn gone() -> Reply {
    Reply::no_code("EXPUNGEISSUED", "some of the messages are gone, nothing was done")
}

/// The messages of `rows` that are there still, ready to be appended, and their UIDs.
async fn read(
    session: &Session,
    snapshot: &FolderSnapshot,
    rows: Vec<MessageRow>,
    place: &Place,
    missing: Missing,
) -> Result<(Vec<AppendMessage>, UidSet), Reply> {
    let FolderRef { account, mailbox } = session.view()?.folder();
    let (mut messages, mut copied, mut held) = (Vec::with_capacity(rows.len()), UidSet::new(), 0);
    let rights = session.tree_of(place).await?.find(&place.name).map_or(Rights::NONE, |it| it.rights);
    let (about, mut noted) = (session.ctx(), 0);
    let everything: Vec<AnnotationPattern> = AnnotationPattern::parse(b"*").into_iter().collect();
    let uids: UidSet = rows.iter().map(|row| row.uid).collect();
    let (store, folder) = (session.store(), FolderRef { account, mailbox });
    let mut annotations = annotation::Reading::new((store, &about), folder, uids, everything, None);
    for row in rows {
        let ctx = streaming(&session.ctx());
        let octets = match session.store().body(&ctx, account, mailbox, row.body, None).await {
            Ok(data) => opened(data),
            Err(error) if error.kind() == ErrorKind::Expunged => match missing {
                Missing::Skip => continue,
                Missing::Refuse => return Err(gone()),
            },
            Err(error) => return Err(error.into()),
        };
        let size = u64::from(row.size);
        let body = if fits_inline(size, &mut held) {
            AppendBody::Inline(octets.collect().await?)
        } else {
            let mut writer = session.store().stage_body(&ctx, place.account, size).await?;
            match octets {
                Opened::Nil => {}
                Opened::Octets(octets) => writer.write(octets).await?,
                Opened::Pieces(_, mut pieces) => {
                    while let Some(piece) = pieces.next().await {
                        writer.write(piece?).await?;
                    }
                }
            }
            AppendBody::Staged(writer.finish().await?)
        };
        let keywords = &snapshot.state.keywords;
        let annotations = carried(annotations.of(row.uid).await?, rights);
        let octets = annotations.iter().filter_map(|change| change.value.as_ref()).map(bytes::Bytes::len);
        noted += octets.sum::<usize>();
        if noted > ANNOTATION_OCTETS_MAX {
            let text =
                format!("at most {ANNOTATION_OCTETS_MAX} octets of annotations are copied to another user");
            return Err(Reply::no_code("LIMIT", text));
        }
        messages.push(AppendMessage {
            flags: row.flags.system_only(),
            keywords: row.flags.keyword_indexes().filter_map(|index| keywords.get(index).cloned()).collect(),
            internal_date: Some((row.internal_date, row.zone_minutes)),
            annotations,
            body,
        });
        copied.insert(row.uid);
    }
    Ok((messages, copied))
}

/// Which annotations of a message go along to where the client has these rights (RFC 5257 §4.6).
fn carried(annotations: Annotations, rights: Rights) -> Vec<AnnotationChange> {
    let mut changes = Vec::new();
    for (name, values) in annotations.into_iter().filter(|(name, _)| !name.is_of_server()) {
        let private = values.private.filter(|_| rights.has(Rights::READ));
        let shared = values.shared.filter(|_| rights.has(Rights::ANNOTATE));
        for (scope, value) in [(EntryScope::Private, private), (EntryScope::Shared, shared)] {
            if value.is_some() {
                changes.push(AnnotationChange { name: name.clone(), scope, value });
            }
        }
    }
    changes
}
