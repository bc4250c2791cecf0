//! FETCH commands that arrived together, read together.
//!
//! A client that sends several FETCH commands without waiting (RFC 9051 §5.5) has asked for all of them before the first
//! is answered: one look at the folder, after the last of them came, is a right answer to each. And a message's octets
//! never change, so that those which the later commands will want can be on their way while the first are written. What
//! the client sees is what it would see if each command ran when the one before it had ended, and nothing had changed
//! in the folder meanwhile; where the store is a network away, the commands cost two round trips together in place of two
//! each.
//!
//! Only commands that change nothing belong to a batch, and it ends with the last of them: `\Seen` set by a FETCH, or
//! any other command between, begins anew with the folder as it is then.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use imap_wire::command::{Command, Fetch, FetchItem};
use model::{BodyId, FolderSnapshot, MailboxId, Result};

use super::octets::{is_small, opened};
use super::plan::Plan;
use crate::session::Session;
use crate::view::FolderRef;

/// Commands of a batch behind its first.
pub(crate) const COMMANDS_MAX: usize = 16;
/// Messages that are read for a batch at once.
const MESSAGES_MAX: usize = 64;
/// Octets of messages that are read for a batch at once; with the number of connections that have one, bounds memory.
const BYTES_MAX: u64 = 1024 * 1024;

/// Octets of a message, on their way or here.
type Body = Shared<BoxFuture<'static, Result<Bytes>>>;

/// What was read for commands that arrived together.
pub(crate) struct Batch {
    snapshot: Arc<FolderSnapshot>,
    bodies: HashMap<BodyId, Body>,
    indexes: HashMap<BodyId, Option<Arc<MessageIndex>>>,
    /// Commands that have not ended yet.
    left: usize,
}

impl Batch {
    /// The folder at the batch's beginning; none if it is about another folder.
    pub fn snapshot(&self, mailbox: MailboxId) -> Option<&Arc<FolderSnapshot>> {
        Some(&self.snapshot).filter(|snapshot| snapshot.mailbox == mailbox)
    }

    /// The octets of a message that were asked for ahead.
    pub fn body(&self, body: BodyId) -> Option<Body> {
        self.bodies.get(&body).cloned()
    }

    /// The indexes of messages, if all were asked for ahead.
    pub fn indexes(&self, bodies: &[BodyId]) -> Option<Vec<Option<Arc<MessageIndex>>>> {
        bodies.iter().map(|body| self.indexes.get(body).cloned()).collect()
    }

    /// Notes the end of a command: whether it was the last.
    pub fn ended(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

/// The command as a member of a batch: one that changes nothing.
pub(crate) fn member<'a>(session: &Session, command: &'a Command) -> Option<&'a Fetch> {
    let (Some(view), Command::Fetch(fetch)) = (&session.view, command) else { return None };
    (!view.changeable().seen || !fetch.items.iter().any(sets_seen)).then_some(fetch)
}

fn sets_seen(item: &FetchItem) -> bool {
    matches!(
        item,
        FetchItem::BodySection { peek: false, .. }
            | FetchItem::Binary { peek: false, .. }
            | FetchItem::Rfc822
            | FetchItem::Rfc822Text
    )
}

/// Looks at the folder once for all of `fetches` and asks for what they will want. None when that fails: then each
/// finds out for itself what to answer.
pub(crate) async fn begin(session: &Session, fetches: &[&Fetch]) -> Option<Batch> {
    let view = session.view().ok()?;
    let FolderRef { account, mailbox } = view.folder();
    let ctx = session.ctx();
    let mut folder = session.store().folder(&ctx, account, mailbox);
    let at_once = folder.as_mut().now_or_never();
    let is_near = at_once.is_some();
    let snapshot = match at_once {
        Some(snapshot) => snapshot.ok()?,
        None => folder.await.ok()?,
    };
    let mut batch = Batch { snapshot, bodies: HashMap::new(), indexes: HashMap::new(), left: fetches.len() };
    if is_near {
        // A store that answers without a wait is in this process: asking it ahead costs more than it saves.
        return Some(batch);
    }
    let (mut messages, mut bytes, mut facts) = (0, 0, Vec::new());
    for fetch in fetches {
        let plan = Plan::new(&fetch.items, fetch.uid);
        if plan.rows_only || fetch.changed_since.is_some() || fetch.partial.is_some() {
            continue;
        }
        let Ok(wanted) = view.resolve(&fetch.set, fetch.uid) else { continue };
        for row in super::rows(&batch.snapshot, &wanted).take(MESSAGES_MAX - messages) {
            messages += 1;
            let (body, size) = (row.body, u64::from(row.size));
            if plan.needs_index(size) {
                facts.push(body);
            }
            if !plan.octets || !is_small(size) || bytes + size > BYTES_MAX {
                continue;
            }
            batch.bodies.entry(body).or_insert_with(|| {
                bytes += size;
                let (store, ctx) = (session.server.store.clone(), session.ctx());
                let read = async move {
                    opened(store.body(&ctx, account, mailbox, body, None).await?).collect().await
                };
                read.boxed().shared()
            });
        }
    }
    for body in batch.bodies.values() {
        // The first look sends the request; the answer is there, or comes, when it is wanted.
        let _ = body.clone().now_or_never();
    }
    if !facts.is_empty() {
        facts.sort_unstable();
        facts.dedup();
        let found = session.store().infos(&session.ctx(), account, mailbox, &facts).await.ok()?;
        batch.indexes = facts.into_iter().zip(found).collect();
    }
    Some(batch)
}
