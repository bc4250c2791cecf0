//! `FETCH set items [(modifiers)]`, `UID FETCH`.
//!
//! Source: RFC 9051 §6.4.5, RFC 3501 §6.4.5 (RFC822 items), RFC 3516 (BINARY), RFC 7162 §3.1.4, §3.2.6 (CHANGEDSINCE,
//! VANISHED), RFC 8474 §5, RFC 8514 §4, RFC 5257 §4.3 (ANNOTATION), RFC 8970 (PREVIEW), RFC 9394 §3.3 (PARTIAL).
//! Answers: OK; NO `[EXPUNGEISSUED]` when a sequence number's message is gone (the others are shown), `[UNKNOWN-CTE]`
//! when a part asked for by BINARY is in an encoding that is not known (the other items are shown); BAD for VANISHED
//! without QRESYNC, and for annotations of a part that one of the messages does not have (none is shown then).
//!
//! `BODY[HEADER.FIELDS (…)]` of a message itself that names Message-seen-identity or Message-delete-identity shows the
//! device that the store noted, as a line at the end, in place of what the stored header may have under that name. One
//! that names IMDN-Message-ID shows the id that an object stored without one was given. No other item does: BODY[],
//! HEADER, HEADER.FIELDS.NOT, sizes and BODYSTRUCTURE are of the stored octets, which never change.
//!
//! Three ways, by what a command asks for ([`plan`]): items that stand in rows are written straight from the folder;
//! items of indexes are read for some messages at once; octets are opened for a few messages ahead of the one that is
//! being sent, and pass to the client piece by piece. Commands that arrived together are read together ([`ahead`]).

pub(crate) mod ahead;
pub(crate) mod octets;
mod plan;
pub(crate) mod row;

use std::collections::BTreeSet;
use std::sync::Arc;

use cpm_mime::MessageIndex;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use imap_wire::command::{Fetch, FetchItem, Partial};
use imap_wire::response::fetch::{FetchWriter, PartName};
use imap_wire::{SequenceSet, response};
use model::{AnnotationPattern, BodyId, ErrorKind, Flags, FolderSnapshot, MessageRow, ModSeq, Uid, UidSet};
use store_api::{Annotations, Ctx, FlagAction, FlagChange, Identities, MailStore, StoreFlags, thread_id};

use self::ahead::Batch;
use self::octets::{Decoded, Message, Opened, pass};
pub(crate) use self::plan::What;
use self::plan::{FactItem, Item, Plan};
use self::row::{FlagNames, RowItem};
use super::annotation;
use super::search::results;
use crate::connection::Output;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::sync::announce_keywords;
use crate::view::{FolderRef, View};

/// Messages whose indexes are read at once. An index is about 1 kB and at most some 90 kB.
const INDEXES_AT_ONCE: usize = 128;
/// Messages whose octets are opened at once: a store behind a network answers them together.
const OPEN_AT_ONCE: usize = 4;

pub(crate) async fn run(session: &mut Session, out: &mut Output, fetch: Fetch) -> Result<Reply, Reply> {
    if fetch.vanished && !session.enabled.qresync {
        return Err(Reply::bad("VANISHED needs ENABLE QRESYNC first"));
    }
    let mut plan = Plan::new(&fetch.items, fetch.uid);
    if fetch.changed_since.is_some() || plan.modseq {
        session.enable_condstore(out);
    }
    let view = session.view()?;
    let mut wanted = view.resolve(&fetch.set, fetch.uid)?;
    let known_expunge_modseq = view.known_expunge_modseq;
    let mut snapshot = session.snapshot().await?;
    let mut gone = snapshot.state.expunge_modseq > known_expunge_modseq
        && super::store_flags::missing(&snapshot, &wanted);
    if let Some(since) = fetch.changed_since.map(ModSeq) {
        plan.show_modseq();
        let changed =
            snapshot.rows_changed_since(since).map(|row| row.uid).filter(|uid| wanted.contains(*uid));
        wanted = changed.collect();
        if fetch.vanished {
            vanished(session, out, &fetch.set, since).await?;
        }
    }
    if let Some(range) = fetch.partial {
        let existing: UidSet = snapshot.rows_in(&wanted).map(|row| row.uid).collect();
        wanted = results::part(&existing, range);
    }
    check_parts(session, out, &plan, &snapshot, &wanted).await?;
    let mut seen = UidSet::new();
    if plan.sets_seen && session.view()?.changeable().seen {
        seen = set_seen(session, &mut snapshot, &wanted).await?;
    }

    if plan.flags || !seen.is_empty() {
        announce_keywords(session, out, &snapshot)?;
    }
    let (view, enabled) = (session.view()?, session.enabled);
    let no_recent = UidSet::new();
    let show = Show {
        plan: &plan,
        view,
        names: FlagNames {
            keywords: &snapshot.state.keywords,
            recent: if enabled.rev2 { &no_recent } else { &view.recent },
        },
        seen: &seen,
        condstore: enabled.condstore,
        utf8: enabled.utf8 || enabled.rev2,
    };
    let mut unknown_encoding = false;
    if plan.rows_only {
        show.rows(out, &snapshot, &wanted).await?;
    } else {
        let source = Source {
            store: session.store(),
            ctx: &session.ctx(),
            folder: session.view()?.folder(),
            batch: session.batch.as_deref(),
        };
        let missed = show.messages(out, source, &snapshot, &wanted).await?;
        gone |= missed.gone;
        unknown_encoding = missed.unknown_encoding;
    }
    if unknown_encoding {
        return Err(Reply::no_code("UNKNOWN-CTE", "a part is in an encoding that is not known"));
    }
    if gone && !fetch.uid {
        return Err(Reply::no_code("EXPUNGEISSUED", "some of the messages are gone"));
    }
    Ok(Reply::ok("FETCH completed"))
}

/// Looks whether the messages have the parts whose annotations are asked for, before any of them is shown.
///
/// # Errors
/// BAD for a part that a message does not have (RFC 5257 §3.2.1); what the store answers.
async fn check_parts(
    session: &Session,
    out: &mut Output,
    plan: &Plan<'_>,
    snapshot: &FolderSnapshot,
    wanted: &UidSet,
) -> Result<(), Reply> {
    let parts: BTreeSet<&str> = plan.annotations.iter().filter_map(AnnotationPattern::part).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let FolderRef { account, mailbox } = session.view()?.folder();
    let bodies: Vec<BodyId> = rows(snapshot, wanted).map(|row| row.body).collect();
    for bodies in bodies.chunks(INDEXES_AT_ONCE) {
        let ctx = session.ctx();
        let infos = session.store().infos(&ctx, account, mailbox, bodies);
        for index in patiently(session, out, infos).await??.into_iter().flatten() {
            for part in &parts {
                let path: Option<Vec<u32>> = part.split('.').map(|number| number.parse().ok()).collect();
                if path.and_then(|path| index.part(&path)).is_none() {
                    let text =
                        format!("annotations of part {part} are asked for, which a message does not have");
                    return Err(Reply::bad(text));
                }
            }
        }
    }
    Ok(())
}

/// Tells which of the messages asked for were removed after `since`. What the client still counts is left to the
/// removals told at the command's end, which lower its count (RFC 7162 §3.2.10.1).
async fn vanished(
    session: &Session,
    out: &mut Output,
    set: &SequenceSet,
    since: ModSeq,
) -> Result<(), Reply> {
    let view = session.view()?;
    let largest = u32::try_from(view.uid_next_known - 1).unwrap_or(u32::MAX);
    let asked = if set.is_saved() {
        view.saved.clone()
    } else {
        UidSet::from_ranges(set.resolve(largest).into_iter().map(|r| (*r.start(), *r.end())))
    };
    let (account, mailbox) = (view.account, view.mailbox);
    let removed = session.store().vanished(&session.ctx(), account, mailbox, since).await?;
    let earlier = removed.intersection(&asked).difference(&view.seq.uids());
    response::vanished(out.text(), true, &earlier);
    out.relieve().await
}

/// Sets `\Seen` where it is missing and returns the messages that got it; `snapshot` becomes the folder after that.
/// That messages cannot be marked is no reason not to show them.
async fn set_seen(
    session: &mut Session,
    snapshot: &mut Arc<FolderSnapshot>,
    wanted: &UidSet,
) -> Result<UidSet, Reply> {
    let unseen = snapshot.rows_in(wanted).filter(|row| !row.flags.contains(Flags::SEEN));
    let unseen: UidSet = unseen.map(|row| row.uid).collect();
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let FolderRef { account, mailbox } = session.view()?.folder();
    let change = FlagChange { action: FlagAction::Add, flags: Flags::SEEN, keywords: Vec::new() };
    let request = StoreFlags { mailbox, uids: unseen, change, unchanged_since: None };
    match session.store().store_flags(&session.ctx(), account, request).await {
        Ok(outcome) => {
            *snapshot = session.snapshot().await?;
            let upto = snapshot.state.highest_modseq;
            session.view_mut()?.note_own_changes(outcome.changed.clone(), upto);
            Ok(outcome.changed)
        }
        Err(error) => {
            tracing::warn!(%error, "fetched messages could not be marked as seen");
            Ok(UidSet::new())
        }
    }
}

/// Shows `items` of messages of which the client was just told. `\Seen` is not set, whatever the items (RFC 5465 §5.2).
///
/// # Errors
/// What the store answers, after which the client can ask itself; the reply with which a connection ends that is lost.
pub(crate) async fn of_new(
    session: &Session,
    out: &mut Output,
    items: &[FetchItem],
    snapshot: &FolderSnapshot,
    uids: &UidSet,
) -> Result<(), Reply> {
    let plan = Plan::new(items, true);
    let (view, enabled) = (session.view()?, session.enabled);
    let no_recent = UidSet::new();
    let show = Show {
        plan: &plan,
        view,
        names: FlagNames {
            keywords: &snapshot.state.keywords,
            recent: if enabled.rev2 { &no_recent } else { &view.recent },
        },
        seen: &no_recent,
        condstore: enabled.condstore,
        utf8: enabled.utf8 || enabled.rev2,
    };
    if plan.rows_only {
        return show.rows(out, snapshot, uids).await;
    }
    let ctx = session.ctx();
    let source = Source { store: session.store(), ctx: &ctx, folder: view.folder(), batch: None };
    show.messages(out, source, snapshot, uids).await.map(|_| ())
}

/// The rows of `uids`, behind a pointer: an iterator's own type has closures that the compiler cannot see to be
/// [`Send`] where a caller waits between two rows.
pub(super) fn rows<'a>(
    snapshot: &'a FolderSnapshot,
    uids: &'a UidSet,
) -> Box<dyn Iterator<Item = &'a MessageRow> + Send + 'a> {
    Box::new(snapshot.rows_in(uids))
}

/// Where messages are read from.
#[derive(Clone, Copy)]
struct Source<'a> {
    store: &'a dyn MailStore,
    ctx: &'a Ctx,
    folder: FolderRef,
    /// What was read for this command when it arrived together with others.
    batch: Option<&'a Batch>,
}

/// What could not be shown.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    gone: bool,
    unknown_encoding: bool,
}

/// The value of an item that is read from octets.
enum Value {
    Octets(Opened),
    Decoded(Decoded),
    Size(u64),
    UnknownEncoding,
}

/// What is shown, and how, of every message.
struct Show<'a> {
    plan: &'a Plan<'a>,
    view: &'a View,
    names: FlagNames<'a>,
    /// Messages that this command marked as seen: their FLAGS are shown whether asked for or not.
    seen: &'a UidSet,
    condstore: bool,
    utf8: bool,
}

impl Show<'_> {
    /// Writes messages of which rows are all that is asked.
    async fn rows(&self, out: &mut Output, snapshot: &FolderSnapshot, wanted: &UidSet) -> Result<(), Reply> {
        for row in rows(snapshot, wanted) {
            let Some(seq) = self.view.seq.seq(row.uid) else { continue };
            let text = out.text();
            let mut fetch = FetchWriter::begin(text, seq);
            for item in &self.plan.items {
                if let Item::Row(item) = item {
                    row::write(&mut fetch, text, *item, row, self.names);
                }
            }
            fetch.end(text);
            out.relieve().await?;
        }
        Ok(())
    }

    /// Writes messages that are opened.
    async fn messages(
        &self,
        out: &mut Output,
        source: Source<'_>,
        snapshot: &FolderSnapshot,
        wanted: &UidSet,
    ) -> Result<Missed, Reply> {
        let mut missed = Missed::default();
        let entries = self.plan.annotations.clone();
        let noted = if entries.is_empty() { UidSet::new() } else { wanted.clone() };
        let mut annotations =
            annotation::Reading::new((source.store, source.ctx), source.folder, noted, entries, None);
        let mut rows = rows(snapshot, wanted);
        loop {
            let numbered = rows.by_ref().filter_map(|row| Some((self.view.seq.seq(row.uid)?, row)));
            let batch: Vec<(u32, &MessageRow)> = numbered.take(INDEXES_AT_ONCE).collect();
            if batch.is_empty() {
                return Ok(missed);
            }
            let indexes = self.indexes(source, &batch).await?;
            let identities = self.identities(source, &batch).await?;
            let mut batch = batch.into_iter().zip(indexes);
            if !self.plan.octets {
                for ((seq, row), index) in batch {
                    if index.is_none() && self.needs_index(row) {
                        missed.gone = true;
                        continue;
                    }
                    let noted = annotations.of(row.uid).await?;
                    self.one(out, (seq, row), (index.as_deref(), &noted), Vec::new(), &mut missed).await?;
                }
                continue;
            }
            let mut opened = FuturesOrdered::new();
            loop {
                while opened.len() < OPEN_AT_ONCE {
                    let Some(((seq, row), index)) = batch.next() else { break };
                    let devices = identities.binary_search_by_key(&row.uid, |(uid, _)| *uid);
                    let devices = devices.ok().map(|at| &identities[at].1);
                    opened.push_back(self.opened(source, seq, row, index, devices));
                }
                let Some((seq, row, index, values)) = opened.next().await else { break };
                match values {
                    Ok(Some(values)) => {
                        let noted = annotations.of(row.uid).await?;
                        self.one(out, (seq, row), (index.as_deref(), &noted), values, &mut missed).await?;
                    }
                    Ok(None) => missed.gone = true,
                    Err(error) if error.kind() == ErrorKind::Expunged => missed.gone = true,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn opened<'r>(
        &self,
        source: Source<'_>,
        seq: u32,
        row: &'r MessageRow,
        index: Option<Arc<MessageIndex>>,
        devices: Option<&Identities>,
    ) -> (u32, &'r MessageRow, Option<Arc<MessageIndex>>, model::Result<Option<Vec<Value>>>) {
        let values = self.open(source, row, index.clone(), devices).await;
        (seq, row, index, values)
    }

    /// The indexes of `batch`, as far as they are needed.
    async fn indexes(
        &self,
        source: Source<'_>,
        batch: &[(u32, &MessageRow)],
    ) -> Result<Vec<Option<Arc<MessageIndex>>>, Reply> {
        let needed = |row: &MessageRow| self.needs_index(row);
        let bodies: Vec<_> = batch.iter().filter(|(_, row)| needed(row)).map(|(_, row)| row.body).collect();
        if bodies.is_empty() {
            return Ok(vec![None; batch.len()]);
        }
        let mut found = match source.batch.and_then(|batch| batch.indexes(&bodies)) {
            Some(found) => found.into_iter(),
            None => {
                let FolderRef { account, mailbox } = source.folder;
                source.store.infos(source.ctx, account, mailbox, &bodies).await?.into_iter()
            }
        };
        Ok(batch.iter().map(|(_, row)| if needed(row) { found.next().flatten() } else { None }).collect())
    }

    /// The devices that read and deleted the messages of `batch`, ascending by UID, if they are asked for.
    async fn identities(
        &self,
        source: Source<'_>,
        batch: &[(u32, &MessageRow)],
    ) -> Result<Vec<(Uid, Identities)>, Reply> {
        if !self.plan.identities {
            return Ok(Vec::new());
        }
        let uids: UidSet = batch.iter().map(|(_, row)| row.uid).collect();
        let FolderRef { account, mailbox } = source.folder;
        Ok(source.store.identities(source.ctx, account, mailbox, &uids).await?)
    }

    fn needs_index(&self, row: &MessageRow) -> bool {
        self.plan.needs_index(u64::from(row.size))
    }

    /// Opens what a message's items ask for, an entry each that is read from octets; none if the message is gone.
    async fn open(
        &self,
        source: Source<'_>,
        row: &MessageRow,
        index: Option<Arc<MessageIndex>>,
        devices: Option<&Identities>,
    ) -> model::Result<Option<Vec<Value>>> {
        if index.is_none() && self.needs_index(row) {
            return Ok(None);
        }
        let about = (row.body, u64::from(row.size));
        let message = Message::new(source.store, source.ctx, source.folder, about, index);
        let mut message = message.with_batch(source.batch).with_identities(devices);
        let mut values = Vec::with_capacity(1);
        for item in &self.plan.items {
            values.push(match item {
                Item::Row(_) | Item::Facts(_) | Item::Annotation(_) => continue,
                Item::Octets(asked) => {
                    Value::Octets(message.open(&asked.part, &asked.what, asked.partial).await?)
                }
                Item::Binary(part, partial) => match message.decode(&plan::numbers(part), *partial).await? {
                    Some(decoded) => Value::Decoded(decoded),
                    None => Value::UnknownEncoding,
                },
                Item::BinarySize(part) => match message.decoded_size(&plan::numbers(part)).await? {
                    Some(size) => Value::Size(size),
                    None => Value::UnknownEncoding,
                },
            });
        }
        Ok(Some(values))
    }

    /// Writes one message's response. `values` are those of the items that are read from octets, in their order.
    async fn one(
        &self,
        out: &mut Output,
        (seq, row): (u32, &MessageRow),
        (index, annotations): (Option<&MessageIndex>, &Annotations),
        values: Vec<Value>,
        missed: &mut Missed,
    ) -> Result<(), Reply> {
        let mut fetch = FetchWriter::begin(out.text(), seq);
        let mut values = values.into_iter();
        for item in &self.plan.items {
            match item {
                Item::Row(item) => row::write(&mut fetch, out.text(), *item, row, self.names),
                Item::Facts(item) => {
                    if let Some(index) = index {
                        self.fact(&mut fetch, out.text(), *item, index);
                    }
                }
                Item::Annotation(item) => {
                    let shown = annotation::shown(item, annotations);
                    if !shown.is_empty() {
                        let shown = shown.iter().map(|(name, values)| (name.as_str(), values.clone()));
                        fetch.annotation(out.text(), shown, self.utf8);
                        out.relieve().await?;
                    }
                }
                Item::Octets(asked) => {
                    if let Some(Value::Octets(opened)) = values.next() {
                        part(&mut fetch, out, asked.name, asked.partial, opened, false).await?;
                    }
                }
                Item::Binary(path, partial) => match values.next() {
                    Some(Value::Decoded(decoded)) => {
                        let name = PartName::Binary(path);
                        part(&mut fetch, out, name, *partial, decoded.octets, decoded.may_have_nul).await?;
                    }
                    _ => missed.unknown_encoding = true,
                },
                Item::BinarySize(path) => match values.next() {
                    Some(Value::Size(size)) => fetch.binary_size(out.text(), path, size),
                    _ => missed.unknown_encoding = true,
                },
            }
        }
        // RFC 9051 §6.4.5: flags that change because of the command are shown.
        if !self.seen.is_empty() && self.seen.contains(row.uid) {
            if !self.plan.flags {
                row::write(&mut fetch, out.text(), RowItem::Flags, row, self.names);
            }
            if self.condstore && !self.plan.modseq {
                row::write(&mut fetch, out.text(), RowItem::ModSeq, row, self.names);
            }
        }
        if fetch.is_empty() {
            // Nothing of it could be shown, and a response has at least one item.
            row::write(&mut fetch, out.text(), RowItem::Uid, row, self.names);
        }
        fetch.end(out.text());
        out.relieve().await
    }

    fn fact(&self, fetch: &mut FetchWriter, out: &mut Vec<u8>, item: FactItem, index: &MessageIndex) {
        match item {
            FactItem::Envelope => fetch.envelope(out, &index.envelope()),
            FactItem::Body => fetch.body(out, &index.body()),
            FactItem::BodyStructure => fetch.body_structure(out, &index.bodystructure()),
            FactItem::Preview => fetch.preview(out, index.preview(), self.utf8),
            FactItem::ThreadId => fetch.thread_id(out, thread_id(index).as_deref()),
        }
    }
}

/// Writes octets under their name; large ones pass by in pieces.
async fn part(
    fetch: &mut FetchWriter,
    out: &mut Output,
    name: PartName<'_>,
    partial: Option<Partial>,
    opened: Opened,
    literal8: bool,
) -> Result<(), Reply> {
    let offset = partial.map(|partial| partial.offset);
    match opened {
        Opened::Nil => fetch.section_nil(out.text(), name, offset),
        Opened::Octets(octets) if octets.is_empty() => fetch.section_string(out.text(), name, offset, b""),
        Opened::Octets(octets) => {
            fetch.section_literal(out.text(), name, offset, octets.len() as u64, literal8);
            out.push_bytes(octets);
        }
        Opened::Pieces(len, pieces) => {
            fetch.section_literal(out.text(), name, offset, len, literal8);
            pass(out, len, pieces).await?;
        }
    }
    Ok(())
}
