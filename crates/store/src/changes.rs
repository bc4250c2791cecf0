//! What changed in a whole account since a token.
//!
//! A token is the number of the account's last change, which stands in the ledger that every change writes. The state of
//! each folder says which change gave it its last MODSEQ, and what has no MODSEQ stands in one record beside. Ledger,
//! states and record are read as of one point: a change is told, or it comes after the token of the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, Acl, FolderState, KeywordTable, MailboxId};
use store_api::{ChangeToken, ChangedFolder, Changes, ChangesSince, Ctx, FolderEntry, FolderTree};

use crate::accounts::read_ledger;
use crate::failure::{Failure, corrupt};
use crate::keyspace::Subspace;
use crate::records::{Ledger, NewsOf, NewsRecord, StateRecord};
use crate::retry::reading;
use crate::shared::{Shared, authorize};
use crate::snapshot::after;
use crate::tree::load_tree;

/// What changed, or where the account is now.
pub(crate) async fn read(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    since: ChangesSince,
) -> Result<Changes, Failure> {
    authorize(ctx, account)?;
    Ok(reading!(read_once(shared, account, since).await))
}

async fn read_once(shared: &Shared, account: AccountId, since: ChangesSince) -> Result<Changes, Failure> {
    let mut trx = shared.begin("changes");
    let ledger = read_ledger(shared, trx.as_mut(), account).await?;
    let token = ledger.token();
    let since = match since {
        ChangesSince::Now => return Ok(Changes { token, ..Changes::default() }),
        ChangesSince::Token(since) => is_known(&ledger, since).then_some(since.change),
        ChangesSince::Beginning => None,
    };
    if since == Some(token.change) {
        return Ok(Changes { token, ..Changes::default() });
    }
    let (states, news) = states_and_news(shared, trx.as_mut(), account).await?;
    let tree = load_tree(shared, trx.as_mut(), account, ledger.tree_version).await?;
    // What is no longer remembered cannot be told.
    Ok(match since.filter(|since| *since >= news.from) {
        Some(since) => told_since(token, since, &states, &news, &tree),
        None => told_whole(token, &states, &tree),
    })
}

/// Whether a token is one that this account gave. An account in which no change was counted yet gave none that would
/// say something: what wrote it before may write it still.
fn is_known(ledger: &Ledger, token: ChangeToken) -> bool {
    ledger.changes > 0 && token.era == ledger.era && (1..=ledger.changes).contains(&token.change)
}

type States = BTreeMap<MailboxId, StateRecord>;

async fn states_and_news(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
) -> Result<(States, NewsRecord), Failure> {
    let keys = &shared.keys;
    let range = keys.subspace(account, Subspace::State);
    let mut request = RangeRequest::new(range.begin, range.end);
    let (values, pages) =
        trx.get_together(&[keys.news(account)], std::slice::from_ref(&request), ReadMode::Snapshot).await?;
    let raw = values.into_iter().next().flatten();
    // One that cannot be read remembers nothing.
    let unreadable = || NewsRecord { from: u64::MAX, entries: Vec::new() };
    let news = raw.map(|raw| NewsRecord::decode(&raw).unwrap_or_else(unreadable)).unwrap_or_default();
    let mut states = BTreeMap::new();
    let mut page = pages.into_iter().next().unwrap_or_default();
    loop {
        for pair in &page.pairs {
            let mailbox = keys.state_of(&pair.key).ok_or_else(|| corrupt("state key", &pair.key))?;
            let state = StateRecord::decode(&pair.value).ok_or_else(|| corrupt("state", &pair.key))?;
            states.insert(mailbox, state);
        }
        let Some(last) = page.pairs.last().filter(|_| page.more) else { break };
        request.begin = after(&last.key);
        page = trx.get_range(&request, ReadMode::Snapshot).await?;
    }
    Ok((states, news))
}

fn told_since(
    token: ChangeToken,
    since: u64,
    states: &States,
    news: &NewsRecord,
    tree: &FolderTree,
) -> Changes {
    let at = news.entries.partition_point(|(change, ..)| *change <= since);
    let mut all: BTreeMap<Option<MailboxId>, NewsOf> = BTreeMap::new();
    for (_, folder, of) in &news.entries[at..] {
        let known = all.entry(*folder).or_default();
        *known = *known | *of;
    }
    let of = |folder| all.get(&folder).copied().unwrap_or_default();
    let mut gone: Vec<MailboxId> =
        all.iter().filter(|(_, of)| of.has(NewsOf::NAME)).filter_map(|(folder, _)| *folder).collect();
    let mut folders = Vec::new();
    for entry in tree.folders() {
        let of = of(Some(entry.id));
        if of.has(NewsOf::NAME)
            && let Ok(at) = gone.binary_search(&entry.id)
        {
            gone.remove(at);
        }
        let state = states.get(&entry.id);
        let moved = state.is_some_and(|state| state.marks.changed > since);
        if moved || of != NewsOf::default() {
            let named = of.has(NewsOf::NAME);
            let shown = state.filter(|_| moved || named).map(|state| counters(&state.folder));
            folders.push(changed(tree, entry, named, of.has(NewsOf::METADATA), shown));
        }
    }
    let account = of(None);
    Changes {
        token,
        whole: false,
        folders,
        gone,
        metadata: account.has(NewsOf::METADATA),
        subscriptions: account.has(NewsOf::SUBSCRIPTIONS),
    }
}

fn told_whole(token: ChangeToken, states: &States, tree: &FolderTree) -> Changes {
    let folder = |entry: &FolderEntry| {
        let state = states.get(&entry.id).map(|state| counters(&state.folder));
        changed(tree, entry, true, true, state)
    };
    let folders = tree.folders().iter().map(folder).collect();
    Changes { token, whole: true, folders, gone: Vec::new(), metadata: true, subscriptions: true }
}

fn changed(
    tree: &FolderTree,
    entry: &FolderEntry,
    named: bool,
    metadata: bool,
    state: Option<FolderState>,
) -> ChangedFolder {
    ChangedFolder {
        entry: FolderEntry { acl: Acl::default(), ..entry.clone() },
        has_children: tree.has_children(&entry.name),
        subscribed: tree.subscribed().contains(&entry.name),
        named,
        metadata,
        state,
    }
}

/// A folder's state without its keywords, which nobody asks for here.
fn counters(state: &FolderState) -> FolderState {
    FolderState { keywords: Arc::new(KeywordTable::default()), ..state.clone() }
}
