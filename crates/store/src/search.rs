//! SEARCH: which messages of a folder, or of several, match a program.
//!
//! A folder's rows answer most keys, and its packed headers those that CPM clients search. What they leave open is
//! asked, message by message, of ever dearer sources: the facts of the message, its header block, its body. A key is a
//! question with three answers, yes, no and "that takes …", so that AND and OR decide as soon as any cheap key decides,
//! whatever stands first.
//!
//! A search of octets stays within bounds, however many messages there are: it holds [`SEARCH_BODIES_MAX`] messages of
//! one chunk, which one transaction reads, and the pieces of [`SEARCH_READS_MAX`] longer ones; it lets others run
//! between messages, and ends at the caller's deadline. Callers ask for a part of a large folder at a time.

mod bodies;
mod headers;
mod plan;

use std::sync::Arc;
use std::time::Instant;

use cpm_mime::MessageIndex;
use futures::{StreamExt, TryStreamExt, stream};
use model::limits::{BODY_CHUNK_BYTES, INFOS_PER_REQUEST_MAX, SEARCH_MANY_MESSAGES_MAX};
use model::{AccountId, BodyId, FolderSnapshot, MailboxId, MessageRow, Uid, UidSet};
use store_api::{Ctx, SearchKey, SearchManyRequest, SearchRequest};

use crate::bodies::{infos, small_bodies};
use crate::failure::{Failure, deadline};
use crate::limits::{SEARCH_BODIES_MAX, SEARCH_FOLDERS_AT_ONCE, SEARCH_READS_MAX};
use crate::shared::Shared;
use crate::snapshot::{read_folder, read_folders};
use bodies::Octets;
pub(crate) use headers::HeaderPack;
use plan::{Need, Plan};

/// Rows looked at between two chances for others to run.
const ROWS_AT_ONCE: usize = 4_096;

/// What is known of a message so far.
struct Known<'a> {
    row: &'a MessageRow,
    info: Option<&'a MessageIndex>,
    header: Option<&'a [u8]>,
    /// What the texts of the program gave, by their numbers.
    texts: &'a [Option<bool>],
}

/// The UIDs that match, by the folder as of now.
pub(crate) async fn search(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    account: AccountId,
    request: &SearchRequest,
) -> Result<UidSet, Failure> {
    plan::check(&request.key)?;
    let folder = read_folder(shared, account, request.mailbox).await?;
    let folders = [folder.snapshot.clone()];
    let found = search_folders(shared, ctx, account, &folders, &request.key, request.within.as_ref()).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// The UIDs that match in each folder that is there and that `may` lets be read; of the first ones only where the next
/// would make it too many messages.
pub(crate) async fn search_many(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    account: AccountId,
    request: &SearchManyRequest,
    may: impl Fn(MailboxId) -> bool,
) -> Result<Vec<Option<UidSet>>, Failure> {
    plan::check(&request.key)?;
    let readable: Vec<MailboxId> =
        request.mailboxes.iter().copied().filter(|mailbox| may(*mailbox)).collect();
    let messages_max = request.messages_max.min(SEARCH_MANY_MESSAGES_MAX);
    let folders = read_folders(shared, account, &readable, messages_max).await?;
    let there: Vec<_> = folders.iter().flatten().cloned().collect();
    let mut found = search_folders(shared, ctx, account, &there, &request.key, None).await?.into_iter();
    let mut found = folders.into_iter().map(|folder| folder.and_then(|_| found.next()));
    let mut answers = Vec::with_capacity(request.mailboxes.len());
    for mailbox in &request.mailboxes {
        if !may(*mailbox) {
            answers.push(None);
            continue;
        }
        match found.next() {
            Some(uids) => answers.push(uids),
            None => break,
        }
    }
    Ok(answers)
}

/// A folder that is searched.
struct Part {
    snapshot: Arc<FolderSnapshot>,
    plan: Plan,
    matching: UidSet,
    found: Vec<Uid>,
}

/// A message that rows do not decide, and which part it is of.
type Open = (usize, MessageRow);

/// The UIDs that match in each of `folders`, of `within` where that is given. What is asked of the engine for messages is
/// asked for those of all folders together.
async fn search_folders(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    account: AccountId,
    folders: &[Arc<FolderSnapshot>],
    key: &SearchKey,
    within: Option<&UidSet>,
) -> Result<Vec<UidSet>, Failure> {
    let mut plans = Vec::with_capacity(folders.len());
    for snapshot in folders {
        plans.push(async move {
            let plan = Plan::new(shared, ctx, account, snapshot, key).await?;
            let (matching, found) = (UidSet::new(), Vec::new());
            Ok::<_, Failure>(Part { snapshot: snapshot.clone(), plan, matching, found })
        });
    }
    let plans = stream::iter(plans).buffered(SEARCH_FOLDERS_AT_ONCE);
    let mut parts: Vec<Part> = plans.try_collect().await?;
    let mut open: Vec<Open> = Vec::new();
    for (number, part) in parts.iter_mut().enumerate() {
        part.look_at_rows(ctx, number, within, &mut open).await?;
    }
    for page in open.chunks(INFOS_PER_REQUEST_MAX) {
        break_if_late(ctx)?;
        let bodies: Vec<BodyId> = page.iter().map(|(_, row)| row.body).collect();
        let infos = infos(shared, account, &bodies).await?;
        // What the facts decide needs no octets. A message that went meanwhile matches nothing.
        let mut rest = Vec::new();
        for ((number, row), info) in page.iter().copied().zip(infos) {
            let (Some(info), part) = (info, &mut parts[number]) else { continue };
            match part.plan.decide(&Known { row: &row, info: Some(&info), header: None, texts: &[] }) {
                Ok(true) => part.found.push(row.uid),
                Ok(false) => {}
                Err(_) => rest.push(((number, row), info)),
            }
        }
        tokio::task::yield_now().await;
        for group in rest.chunks(SEARCH_BODIES_MAX) {
            for (number, uid) in ask_group(shared, ctx, account, &parts, group).await? {
                parts[number].found.push(uid);
            }
        }
    }
    Ok(parts.into_iter().map(|part| part.matching.union(&part.found.into_iter().collect())).collect())
}

impl Part {
    /// Decides what rows decide; the other messages are added to `open`, as those of part `number`.
    async fn look_at_rows(
        &mut self,
        ctx: &Ctx,
        number: usize,
        within: Option<&UidSet>,
        open: &mut Vec<Open>,
    ) -> Result<(), Failure> {
        // Most often there is nothing to look at but the messages that a header or a set of UIDs names.
        let only = match (self.plan.only(), within) {
            (Some(only), Some(within)) => only.intersection(within),
            (Some(uids), None) => uids,
            (None, Some(within)) => within.clone(),
            (None, None) => UidSet::from_ranges([(1, u32::MAX)]),
        };
        let mut rows = self.snapshot.rows_in(&only).peekable();
        while rows.peek().is_some() {
            for row in rows.by_ref().take(ROWS_AT_ONCE) {
                match self.plan.decide(&Known { row, info: None, header: None, texts: &[] }) {
                    Ok(true) => self.matching.insert(row.uid),
                    Ok(false) => {}
                    Err(_) => open.push((number, *row)),
                }
            }
            break_if_late(ctx)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn break_if_late(ctx: &Ctx) -> Result<(), Failure> {
    match ctx.deadline {
        Some(at) if Instant::now() >= at => Err(deadline().into()),
        _ => Ok(()),
    }
}

/// Decides messages that their facts do not decide. Short ones are read together; long ones stream, some at a time.
async fn ask_group(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    account: AccountId,
    parts: &[Part],
    group: &[(Open, Arc<MessageIndex>)],
) -> Result<Vec<(usize, Uid)>, Failure> {
    break_if_late(ctx)?;
    let short = |info: &MessageIndex| info.size() <= BODY_CHUNK_BYTES as u64;
    let bodies: Vec<BodyId> =
        group.iter().filter(|(_, info)| short(info)).map(|((_, row), _)| row.body).collect();
    let mut wholes = small_bodies(shared, account, &bodies).await?.into_iter();
    let mut questions = Vec::with_capacity(group.len());
    for ((number, row), info) in group {
        let plan = &parts[*number].plan;
        let whole = if short(info) { wholes.next().flatten() } else { None };
        questions.push(async move {
            break_if_late(ctx)?;
            let octets = Octets::new(shared.clone(), account, row.body, ctx.deadline, whole);
            let matches = ask(plan, row, info, octets).await?;
            Ok::<_, Failure>(matches.then_some((*number, row.uid)))
        });
    }
    let mut answers = stream::iter(questions).buffered(SEARCH_READS_MAX);
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        found.extend(answer?);
    }
    Ok(found)
}

/// Decides one message whose facts are known.
async fn ask(
    plan: &Plan,
    row: &MessageRow,
    info: &MessageIndex,
    mut octets: Octets,
) -> Result<bool, Failure> {
    let mut texts = vec![None; plan.texts()];
    let mut header = None;
    loop {
        let known = Known { row, info: Some(info), header: header.as_deref(), texts: &texts };
        match plan.decide(&known) {
            Ok(matches) => return Ok(matches),
            Err(Need::Header | Need::Info) => {
                let Some(block) = octets.header(info).await? else { return Ok(false) };
                header = Some(block);
            }
            Err(Need::Text(number)) => {
                let Some(found) = octets.find(info, plan.text(number)).await? else { return Ok(false) };
                texts[number] = Some(found);
            }
        }
    }
}
