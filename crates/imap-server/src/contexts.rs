//! Results of searches that are kept up to date for the client (RFC 5267 §4.3): which messages of the selected folder
//! match, and in which order, as the client was last told. When the folder changes, what changed is searched again, and
//! nothing else.

mod order;

use std::sync::Arc;

use imap_wire::command::FetchItem;
use imap_wire::response::{self, ESearch, Placed, Searched};
use imap_wire::{Code, MailboxEncoding, Tag};
use model::{FolderSnapshot, ModSeq, Uid, UidSet, UidValidity};
use store_api::SearchKey;

use crate::commands::search::results::Results;
use crate::commands::{fetch, search};
use crate::connection::Output;
pub(crate) use crate::contexts::order::Order;
use crate::contexts::order::Run;
use crate::encode;
use crate::reply::{After, Reply};
use crate::session::Session;
use crate::view::SeqMap;

/// Searches that one selected folder keeps up to date; each costs a search of what changed. Beyond, NOUPDATE.
pub(crate) const CONTEXTS_MAX: usize = 8;
/// Runs of UIDs that the results of one may have, 8 octets each. Beyond, NOUPDATE.
pub(crate) const RUNS_MAX: usize = 64 * 1024;
/// Results in an order that one may have, 4 octets each. Beyond, NOUPDATE.
pub(crate) const ORDERED_MAX: usize = 64 * 1024;

/// A mailbox as results of ESEARCH name it (RFC 7377 §2.1).
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// Its name, as the client knows it.
    pub name: Box<str>,
    /// How the connection writes names.
    pub encoding: MailboxEncoding,
    pub uid_validity: UidValidity,
}

impl Named {
    /// As the response has it.
    pub fn searched(&self) -> Searched<'_> {
        Searched { name: &self.name, encoding: self.encoding, uid_validity: self.uid_validity.get() }
    }
}

/// A search that is kept up to date.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The tag of the command, by which the client knows it.
    pub tag: Tag,
    /// The mailbox's name, where the responses have it.
    pub named: Option<Box<Named>>,
    /// Whether the client knows results by UID.
    pub uid: bool,
    /// What messages must match; sequence numbers in it are UIDs since the command.
    pub key: SearchKey,
    /// What the client takes for the results.
    pub results: UidSet,
    /// Their order, after SORT.
    pub order: Option<Order>,
    /// What is shown of new messages that match (RFC 5465 §7).
    pub items: Arc<[FetchItem]>,
}

impl Context {
    /// Whether the results are more than may be remembered.
    pub fn is_too_large(&self) -> bool {
        self.order
            .as_ref()
            .map_or_else(|| self.results.ranges().count() > RUNS_MAX, |order| order.len() > ORDERED_MAX)
    }

    /// Takes results out, and tells so.
    fn remove(&mut self, out: &mut Output, seq: &SeqMap, lost: &UidSet) {
        if lost.is_empty() {
            return;
        }
        self.results = self.results.difference(lost);
        let removed = match &mut self.order {
            Some(order) => Self::placed(self.uid, seq, order.remove(lost)),
            None => vec![self.anywhere(seq, lost)],
        };
        let mailbox = self.named.as_deref().map(Named::searched);
        let data = ESearch { mailbox, uid: self.uid, remove_from: &removed, ..ESearch::default() };
        response::esearch(out.text(), &self.tag, &data);
    }

    fn placed(uid: bool, seq: &SeqMap, runs: Vec<Run>) -> Vec<Placed> {
        let number = |n| if uid { Some(n) } else { seq.seq(Uid::new(n)?) };
        let placed = runs.into_iter().map(|Run { position, uids }| {
            let numbers: Vec<u32> = uids.into_iter().filter_map(number).collect();
            Placed { position, ranges: Results::in_order(&numbers).into_ranges() }
        });
        placed.collect()
    }

    fn anywhere(&self, seq: &SeqMap, uids: &UidSet) -> Placed {
        let ranges = if self.uid { uids.ranges().collect() } else { seq.seqs_of_uids(uids) };
        Placed { position: 0, ranges }
    }
}

/// Tells which results are about to be removed from the folder: before the removals, while their numbers hold (RFC 5267
/// §4.3.4).
pub(crate) fn removed(contexts: &mut [Context], out: &mut Output, seq: &SeqMap, gone: &UidSet) {
    for context in contexts {
        let lost = context.results.intersection(gone);
        context.remove(out, seq, &lost);
    }
}

/// Searches again among the messages of `touched`, of which `arrived` are new, and tells what became a result and what is
/// none any more.
///
/// # Errors
/// The reply with which a connection ends that is lost.
pub(crate) async fn update(
    session: &mut Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
    touched: &UidSet,
    arrived: &UidSet,
) -> Result<(), Reply> {
    let Some(view) = session.view.as_deref_mut().filter(|view| !view.contexts.is_empty()) else {
        return Ok(());
    };
    let mut contexts = std::mem::take(&mut view.contexts);
    for context in &mut contexts {
        let done = Box::pin(one(session, out, snapshot, context, touched, arrived)).await;
        let refused = match done {
            Err(reply) if reply.after != After::Continue => return Err(reply),
            Err(reply) => {
                tracing::warn!(text = %reply.text, "a search could not be kept up to date");
                true
            }
            Ok(()) => context.is_too_large(),
        };
        if refused {
            // The client searches again; what it knows is no longer right.
            refuse(out, &context.tag);
            context.tag = Tag::default();
        }
    }
    contexts.retain(|context| context.tag != Tag::default());
    if let Some(view) = session.view.as_deref_mut() {
        view.contexts = contexts;
    }
    Ok(())
}

async fn one(
    session: &mut Session,
    out: &mut Output,
    snapshot: &FolderSnapshot,
    context: &mut Context,
    touched: &UidSet,
    arrived: &UidSet,
) -> Result<(), Reply> {
    let found = search::among(session, out, &context.key, touched).await?;
    let mut added = found.difference(&context.results);
    let lost = context.results.intersection(touched).difference(&found);
    context.remove(out, &session.view()?.seq, &lost);
    let places = match &context.order {
        Some(order) if !added.is_empty() => {
            let places = order.places(session, out, &added).await?;
            added = places.iter().filter_map(|place| Uid::new(place.uid)).collect();
            places
        }
        _ => Vec::new(),
    };
    if added.is_empty() {
        return out.relieve().await;
    }
    let new = added.intersection(arrived);
    if !context.items.is_empty() && !new.is_empty() {
        fetch::of_new(session, out, &context.items, snapshot, &new).await?;
    }
    context.results = context.results.union(&added);
    let seq = &session.view()?.seq;
    let placed = match &mut context.order {
        Some(order) => Context::placed(context.uid, seq, order.insert(&places)),
        None => vec![context.anywhere(seq, &added)],
    };
    let mailbox = context.named.as_deref().map(Named::searched);
    let data = ESearch { mailbox, uid: context.uid, add_to: &placed, ..ESearch::default() };
    response::esearch(out.text(), &context.tag, &data);
    out.relieve().await
}

/// `* NO [NOUPDATE "tag"]` (RFC 5267 §4.3.1).
pub(crate) fn refuse(out: &mut Output, tag: &Tag) {
    let code = encode::code(&Code::NoUpdate(tag.as_bytes()));
    out.untagged(format_args!("NO [{code}] the results of this search are not kept up to date"));
}

/// The messages that changed after `since`, of those that the client knows.
pub(crate) fn touched(snapshot: &FolderSnapshot, since: ModSeq, seq: &SeqMap) -> UidSet {
    let uids = snapshot.rows_changed_since(since).map(|row| row.uid);
    uids.filter(|uid| seq.seq(*uid).is_some()).collect()
}
