//! APPEND, MULTIAPPEND and REPLACE: messages come into a folder, all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::{MessageIndex, ObjectKind};
use kv::ReadMode;
use model::limits::{BODY_CHUNK_BYTES, MESSAGES_PER_FOLDER_MAX};
use model::{
    AccountId, BodyId, DeviceId, Error, ErrorKind, Flags, FolderState, Keyword, MailboxId, MailboxName,
    MessageRow, Uid, UidList, UidSet, varint,
};
use store_api::{AnnotationChange, Appended, Identities};

use super::annotate::check_parts_of;
use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, bug, corrupt, invalid};
use crate::keyspace::{IndexedHeader, PendingKind};
use crate::records::{ChangeKind, Pending, Place};
use crate::rules;
use crate::shared::Shared;
use crate::work::Work;
use crate::work::annotations::{Copied, first_records, size_of};
use crate::work::folder::{FolderWork, Tally, entry};
use crate::work::objects::Object;
use crate::work::origin::Origin;

/// A message ready to be written: parsed before it came into the queue.
pub(crate) struct NewMessage {
    pub(crate) flags: Flags,
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) internal_date: Option<(i64, i16)>,
    pub(crate) annotations: Vec<AnnotationChange>,
    pub(crate) body: NewBody,
}

/// Octets of a message to come.
pub(crate) enum NewBody {
    Inline { octets: Bytes, index: MessageIndex },
    Staged(BodyId),
}

/// Messages to append, and perhaps one whose place they take.
pub(crate) struct Append {
    pub(crate) target: MailboxName,
    pub(crate) messages: Vec<NewMessage>,
    /// The message to remove in the same step.
    pub(crate) replaced: Option<(MailboxId, Uid)>,
    /// Whose the private annotations are.
    pub(crate) annotator: AccountId,
    pub(crate) by: Origin,
    /// Whether who asks owns the account: what a notification says is noted in other folders, too.
    pub(crate) owner: bool,
}

/// The values of the indexed headers of a message.
pub(crate) fn indexed_headers(index: &MessageIndex) -> impl Iterator<Item = (IndexedHeader, &[u8])> {
    [
        (IndexedHeader::ImdnMessageId, index.imdn_message_id()),
        (IndexedHeader::ConversationId, index.conversation_id()),
        (IndexedHeader::ContributionId, index.contribution_id()),
    ]
    .into_iter()
    .filter_map(|(header, value)| Some((header, AsRef::<[u8]>::as_ref(value?))))
}

/// The devices that a message's own header names: it was read or deleted before it came here.
pub(crate) fn named_devices(index: &MessageIndex) -> Identities {
    let device = |value: Option<&[u8]>| DeviceId::parse(value?.trim_ascii()).ok();
    Identities {
        seen: device(index.message_seen_identity()),
        deleted: device(index.message_delete_identity()),
    }
}

/// Whether a message was deposited before.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It was not.
    New,
    /// It stands under this UID.
    Stored(Uid),
    /// It is what a message before it in the command is, counted from 0.
    As(usize),
}

/// The UIDs of all messages, by those of the new ones.
fn uids_of(known: &[Known], new: impl IntoIterator<Item = Uid>) -> UidList {
    let (mut uids, mut new) = (Vec::with_capacity(known.len()), new.into_iter());
    for known in known {
        uids.extend(match known {
            Known::New => new.next(),
            Known::Stored(uid) => Some(*uid),
            Known::As(at) => uids.get(*at).copied(),
        });
    }
    uids.into_iter().collect()
}

/// What is known of a message that comes.
struct Coming {
    size: u32,
    /// Its facts; none of a staged body whose facts do not matter.
    index: Option<MessageIndex>,
}

/// Whether the facts of a message matter when it comes into a folder: it is an object, or names devices.
pub(crate) fn facts_matter(index: &MessageIndex) -> bool {
    index.kind() != ObjectKind::Mail || !named_devices(index).is_empty()
}

impl Append {
    /// What is known of each message, after the staged ones were looked at, and whether it has the parts that are annotated.
    async fn coming(&self, work: &mut Work<'_>) -> Result<Vec<Coming>, Failure> {
        let staged = self.messages.iter().filter_map(|message| match &message.body {
            NewBody::Inline { .. } => None,
            NewBody::Staged(body) => Some(*body),
        });
        let staged: Vec<BodyId> = staged.collect();
        if staged.iter().collect::<BTreeSet<_>>().len() < staged.len() {
            return Err(invalid("a staged body may become one message").into());
        }
        let keys: Vec<Bytes> = staged
            .iter()
            .map(|body| work.shared.keys.pending(work.account, PendingKind::Staged, body.0))
            .collect();
        let mut notes = keys.iter().zip(work.trx.get_many(&keys, ReadMode::Serializable).await?);
        let mut coming = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let (size, index) = match &message.body {
                NewBody::Inline { octets, index } => {
                    check_parts_of(&message.annotations, index)?;
                    (octets.len() as u64, Some(index.clone()))
                }
                NewBody::Staged(body) => {
                    let (key, raw) = notes.next().ok_or_else(|| bug("a staged body was not looked at"))?;
                    let raw = raw.ok_or_else(|| invalid("the staged body is gone or used already"))?;
                    let parts = message.annotations.iter().any(|change| change.name.part().is_some());
                    match Pending::decode(&raw).ok_or_else(|| corrupt("pending", key))? {
                        Pending::Staged { size, finished: true, facts_matter: false, .. } if !parts => {
                            (size, None)
                        }
                        Pending::Staged { size, finished: true, .. } => {
                            let key = work.shared.keys.info(work.account, *body);
                            let raw = work.trx.get(&key, ReadMode::Snapshot).await?;
                            let index = raw.and_then(|raw| MessageIndex::decode(raw).ok());
                            let index = index.ok_or_else(|| corrupt("info", &key))?;
                            check_parts_of(&message.annotations, &index)?;
                            (size, Some(index))
                        }
                        _ => return Err(invalid("the staged body is not finished").into()),
                    }
                }
            };
            let size = u32::try_from(size).map_err(|_| bug("a body above the limit of a message"))?;
            coming.push(Coming { size, index });
        }
        Ok(coming)
    }
}

#[async_trait]
impl Mutation for Append {
    type Outcome = Appended;

    fn cost(&self) -> Cost {
        let bytes = self.messages.iter().map(|message| {
            let annotations = message
                .annotations
                .iter()
                .map(|change| change.name.as_str().len() + change.value.as_ref().map_or(0, Bytes::len) + 8);
            annotations.sum::<usize>()
                + match &message.body {
                    NewBody::Inline { octets, index } => octets.len() + index.encode().len() + 256,
                    NewBody::Staged(_) => 256,
                }
        });
        Cost { bytes: bytes.sum(), messages: self.messages.len(), blocks: 0 }
    }

    fn folders(&self, shared: &Shared, account: AccountId, hints: &mut Vec<MailboxId>) {
        let tree = shared.caches.tree(account);
        hints.extend(tree.and_then(|tree| tree.find(&self.target).map(|entry| entry.id)));
        hints.extend(self.replaced.map(|(mailbox, _)| mailbox));
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Appended, Failure> {
        // Read.
        let target = work.resolve(&self.target).await?;
        work.load_end(target).await?;
        let coming = self.coming(work).await?;
        let known = self.known(work, target, &coming).await?;
        let is_new = |at: usize| matches!(known.get(at), Some(Known::New));
        let new = self.messages.iter().enumerate().filter(|(at, _)| is_new(*at));
        let messages: Vec<&NewMessage> = new.map(|(_, message)| message).collect();
        let repeated = messages.len() < self.messages.len();
        if messages.is_empty() {
            let FolderState { uid_validity, highest_modseq: modseq, .. } = work.folder(target)?.state;
            let uids = uids_of(&known, []);
            return Ok(Appended { mailbox: target, uid_validity, uids, modseq, repeated });
        }
        let coming = coming.into_iter().enumerate().filter(|(at, _)| is_new(*at));
        let coming: Vec<Coming> = coming.map(|(_, message)| message).collect();
        let mut keywords = work.folder(target)?.state.keywords.clone();
        let mut flags = flags_of(&messages, work.folder(target)?, &mut keywords);
        if flags.is_none() {
            work.load_rows(target, None).await?;
            flags = flags_of(&messages, work.folder(target)?, &mut keywords);
        }
        let replaced = match self.replaced {
            None => None,
            Some((mailbox, uid)) => {
                work.load_rows(mailbox, Some(&UidSet::range(uid, uid))).await?;
                let row = work.folder(mailbox)?.row(uid).copied();
                Some((mailbox, row.ok_or_else(|| Error::new(ErrorKind::Expunged, "the message is gone"))?))
            }
        };
        let devices: Vec<Identities> =
            coming.iter().map(|it| it.index.as_ref().map(named_devices).unwrap_or_default()).collect();
        if let Some((mailbox, uid)) = self.replaced {
            work.load_identities(mailbox, [uid]).await?;
            work.load_annotations(mailbox, &[uid]).await?;
        }
        if devices.iter().any(|devices| !devices.is_empty()) {
            let first = work.folder(target)?.state.uid_next;
            work.load_identities(target, uids_from(first, coming.len())).await?;
        }

        // Check.
        for message in &coming {
            rules::may_append(work, &self.target, message.index.as_ref(), &self.by)?;
        }
        let flags =
            flags.ok_or_else(|| Error::new(ErrorKind::Limit, "the mailbox has no room for more keywords"))?;
        let annotations: Vec<Copied> = messages
            .iter()
            .map(|message| first_records(&message.annotations, self.annotator))
            .collect::<Result<_, _>>()?;
        let annotation_bytes: usize = annotations.iter().map(size_of).sum();
        let (count, bytes) = (coming.len() as u64, coming.iter().map(|it| u64::from(it.size)).sum::<u64>());
        let (freed_count, freed) = replaced.map_or((0, 0), |(_, row)| (1, u64::from(row.size)));
        let bytes = bytes + annotation_bytes as u64;
        work.check_quota(bytes.saturating_sub(freed), count - freed_count.min(count))?;
        check_room(work.folder(target)?, count, count)?;

        // Change.
        let mut rows = Vec::with_capacity(messages.len());
        let mut tally = Tally::default();
        let modseq = work.folder(target)?.next_modseq();
        let mut uid_next = work.folder(target)?.state.uid_next;
        let all = messages.iter().zip(&coming).zip(devices).zip(flags).zip(annotations);
        for ((((message, Coming { size, index }), devices), flags), annotations) in all {
            let uid = take_uid(&mut uid_next)?;
            let place = Place { mailbox: target, uid };
            let body = match &message.body {
                NewBody::Inline { octets, index } => {
                    let body = BodyId(work.take_id());
                    write_body(work, body, octets, index, place);
                    body
                }
                NewBody::Staged(body) => {
                    work.trx.clear(&work.shared.keys.pending(work.account, PendingKind::Staged, body.0));
                    if let Some(index) = index {
                        write_place(work, *body, index, place);
                    }
                    *body
                }
            };
            if let Some(index) = index.as_ref().filter(|_| self.owner) {
                work.put_notified(body, index, place);
            }
            let (internal_date, zone_minutes) = message.internal_date.unwrap_or((work.now, 0));
            let saved_at = work.now;
            let size = *size;
            let row = MessageRow { uid, flags, modseq, size, internal_date, zone_minutes, saved_at, body };
            tally.count(&row, 1);
            rows.push(row);
            if !devices.is_empty() {
                work.folder(target)?.identities.set(uid, devices);
            }
            if !annotations.is_empty() {
                work.folder(target)?.annotations.give(uid, annotations);
            }
        }
        let uids: UidSet = rows.iter().map(|row| row.uid).collect();
        let folder = work.folder(target)?;
        folder.state.uid_next = uid_next;
        folder.state.keywords = keywords;
        folder.push_rows(&rows);
        let (mut removed_here, mut kind) = (UidSet::new(), ChangeKind::Append);
        if let Some((source, row)) = replaced {
            kind = ChangeKind::Replace;
            let gone = UidSet::range(row.uid, row.uid);
            let folder = work.folder(source)?;
            folder.remove_rows(&[row.uid]);
            folder.identities.set(row.uid, Identities::default());
            folder.annotations.forget(&[row.uid]);
            if source == target {
                removed_here = gone;
            } else {
                let modseq = folder.next_modseq();
                folder.note(entry(modseq, kind, UidSet::new(), gone, &self.by));
            }
            let mut lost = Tally::default();
            lost.count(&row, -1);
            work.tally(source, lost)?;
            work.count_annotations(source)?;
            work.release([row.body]);
        }
        work.tally(target, tally)?;
        work.count_annotations(target)?;
        let folder = work.folder(target)?;
        folder.note(entry(modseq, kind, uids.clone(), removed_here, &self.by));
        let uid_validity = folder.state.uid_validity;
        self.fold(work, &coming).await?;
        self.fold_earlier(work, target, &coming, &uids).await?;
        let modseq = work.folder(target)?.state.highest_modseq;
        let uids = uids_of(&known, uids.iter());
        Ok(Appended { mailbox: target, uid_validity, uids, modseq, repeated })
    }
}

impl Append {
    /// Which of the messages a network function deposited before: it was not told that they arrived, and is told now. Two
    /// of one command that are the same object are stored once, too.
    async fn known(
        &self,
        work: &mut Work<'_>,
        target: MailboxId,
        coming: &[Coming],
    ) -> Result<Vec<Known>, Failure> {
        let mut known = vec![Known::New; coming.len()];
        if !self.by.network || self.replaced.is_some() {
            return Ok(known);
        }
        let objects: Vec<(usize, Object<'_>)> = coming
            .iter()
            .enumerate()
            .filter_map(|(at, message)| Some((at, Object::of(message.index.as_ref()?)?)))
            .collect();
        let asked: Vec<Object<'_>> = objects.iter().map(|(_, object)| *object).collect();
        let mut first: BTreeMap<Object<'_>, usize> = BTreeMap::new();
        for ((at, object), stored) in objects.into_iter().zip(work.repeated(target, &asked).await?) {
            known[at] = match (stored, first.get(&object)) {
                (Some(uid), _) => Known::Stored(uid),
                (None, Some(first)) => Known::As(*first),
                (None, None) => Known::New,
            };
            first.entry(object).or_insert(at);
        }
        Ok(known)
    }

    /// Notes what the notifications among the messages say with what they are about.
    async fn fold(&self, work: &mut Work<'_>, coming: &[Coming]) -> Result<(), Failure> {
        if !self.owner {
            return Ok(());
        }
        for index in coming.iter().filter_map(|message| message.index.as_ref()) {
            let Some(imdn) = index.imdn().filter(|_| index.kind() == ObjectKind::Imdn) else { continue };
            let folded = work.fold_notification(&imdn, index.direction(), &self.by).await;
            unless_it_could_not(work, folded)?;
        }
        Ok(())
    }

    /// Notes with the messages of a network function what notifications said of them before they came. Those of subscribers
    /// are not asked for: it would cost every APPEND of an object a wait.
    async fn fold_earlier(
        &self,
        work: &mut Work<'_>,
        target: MailboxId,
        coming: &[Coming],
        uids: &UidSet,
    ) -> Result<(), Failure> {
        let named: Vec<_> = coming
            .iter()
            .zip(uids.iter())
            .filter_map(|(message, uid)| {
                let index = message.index.as_ref().filter(|index| index.kind() != ObjectKind::Imdn)?;
                Some((uid, index.imdn_message_id()?, index.direction()))
            })
            .collect();
        if !self.owner || !self.by.network || named.is_empty() {
            return Ok(());
        }
        let folded = work.fold_earlier(target, &named, &self.by).await;
        unless_it_could_not(work, folded)
    }
}

/// The message or notification itself is stored, and that is what was asked for.
fn unless_it_could_not(work: &Work<'_>, folded: Result<(), Failure>) -> Result<(), Failure> {
    match folded {
        Err(Failure::Request(error)) => {
            tracing::warn!(%error, account = %work.account, "what a notification says could not be noted");
            Ok(())
        }
        folded => folded,
    }
}

/// The flags of each message in `folder`, new keywords added to `table`.
fn flags_of(
    messages: &[&NewMessage],
    folder: &FolderWork,
    table: &mut Arc<model::KeywordTable>,
) -> Option<Vec<Flags>> {
    let mut flags = Vec::with_capacity(messages.len());
    // What was given to one message must not be freed for the next.
    let mut keep = Flags::default();
    for message in messages {
        let keywords = folder.keyword_flags(&message.keywords, keep, table)?;
        keep = keep.union(keywords);
        flags.push(message.flags.system_only().union(keywords));
    }
    Some(flags)
}

/// Answers `Limit` when `folder` cannot hold that many messages more, or give that many UIDs.
pub(crate) fn check_room(folder: &FolderWork, messages: u64, uids: u64) -> Result<(), Failure> {
    // The largest UID is 2^32 - 1; a folder that has given it out can take no more (RFC 9051 §2.3.1.1).
    let full =
        folder.state.messages + messages > MESSAGES_PER_FOLDER_MAX || folder.state.uid_next + uids > 1 << 32;
    if full {
        return Err(Error::new(ErrorKind::Limit, "the mailbox has no room for more messages").into());
    }
    Ok(())
}

/// The next `count` UIDs from `first` on, as far as there are so many.
pub(super) fn uids_from(first: u64, count: usize) -> impl Iterator<Item = Uid> {
    (first..first + count as u64).filter_map(|uid| Uid::new(u32::try_from(uid).ok()?))
}

/// Gives the next UID.
pub(crate) fn take_uid(uid_next: &mut u64) -> Result<Uid, Failure> {
    let uid =
        u32::try_from(*uid_next).ok().and_then(Uid::new).ok_or_else(|| bug("UIDs ran out unchecked"))?;
    *uid_next += 1;
    Ok(uid)
}

/// Writes a new body whole: facts, octets, index of headers, which says where an object came.
pub(super) fn write_body(
    work: &mut Work<'_>,
    body: BodyId,
    octets: &Bytes,
    index: &MessageIndex,
    place: Place,
) {
    let (keys, account) = (&work.shared.keys, work.account);
    work.trx.set_bytes(keys.info(account, body), index.encode());
    let mut number = 0;
    for (key, value) in chunks(octets).map(|chunk| {
        number += 1;
        (keys.chunk(account, body, number - 1), chunk)
    }) {
        work.trx.set_bytes(key, value);
    }
    for (header, value) in indexed_headers(index) {
        let came = if header == IndexedHeader::ImdnMessageId { place.encode() } else { Vec::new() };
        work.trx.set_bytes(keys.header(account, header, value, body), came.into());
    }
}

/// Says in the index of IMDN-Message-ID where an object came that was written ahead; nothing of a message without an
/// id.
pub(super) fn write_place(work: &mut Work<'_>, body: BodyId, index: &MessageIndex, place: Place) {
    if let Some(id) = index.imdn_message_id() {
        let key = work.shared.keys.header(work.account, IndexedHeader::ImdnMessageId, id, body);
        work.trx.set_bytes(key, place.encode().into());
    }
}

/// The first chunk of a body of `total` octets: their number, then the first of them.
pub(crate) fn first_chunk(total: u64, octets: &[u8]) -> Bytes {
    let mut value = Vec::with_capacity(octets.len() + 10);
    varint::put(&mut value, total);
    value.extend_from_slice(octets);
    value.into()
}

/// The stored chunks of a body.
fn chunks(octets: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let first = first_chunk(octets.len() as u64, &octets[..octets.len().min(BODY_CHUNK_BYTES)]);
    let rest = (BODY_CHUNK_BYTES..octets.len()).step_by(BODY_CHUNK_BYTES);
    std::iter::once(first).chain(rest.map(|at| octets.slice(at..octets.len().min(at + BODY_CHUNK_BYTES))))
}
