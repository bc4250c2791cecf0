//! SEARCH: which messages of a folder match a program.
//!
//! The folder's rows answer most keys, and its packed headers those that CPM clients search. What they leave open is
//! asked, message by message, of ever dearer sources: the facts of the message, its header block, its body. A key is a question with three answers,
//! yes, no and "that takes …", so that AND and OR decide as soon as any cheap key decides, whatever stands first.
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
use futures::{StreamExt, stream};
use model::limits::{BODY_CHUNK_BYTES, INFOS_PER_REQUEST_MAX};
use model::{AccountId, BodyId, MessageRow, Uid, UidSet};
use store_api::{Ctx, SearchRequest};

use crate::bodies::{infos, small_bodies};
use crate::failure::{Failure, deadline};
use crate::limits::{SEARCH_BODIES_MAX, SEARCH_READS_MAX};
use crate::shared::Shared;
use crate::snapshot::read_folder;
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
    let snapshot = folder.snapshot.clone();
    let plan = Plan::new(shared, ctx, account, &snapshot, &request.key).await?;

    let mut matching = UidSet::new();
    let mut open: Vec<MessageRow> = Vec::new();
    // Most often there is nothing to look at but the messages that a header or a set of UIDs names.
    let only = match (plan.only(), &request.within) {
        (Some(only), Some(within)) => only.intersection(within),
        (Some(uids), None) => uids,
        (None, Some(within)) => within.clone(),
        (None, None) => UidSet::from_ranges([(1, u32::MAX)]),
    };
    let mut rows = snapshot.rows_in(&only).peekable();
    while rows.peek().is_some() {
        for row in rows.by_ref().take(ROWS_AT_ONCE) {
            match plan.decide(&Known { row, info: None, header: None, texts: &[] }) {
                Ok(true) => matching.insert(row.uid),
                Ok(false) => {}
                Err(_) => open.push(*row),
            }
        }
        break_if_late(ctx)?;
        tokio::task::yield_now().await;
    }
    let mut found = Vec::new();
    for page in open.chunks(INFOS_PER_REQUEST_MAX) {
        break_if_late(ctx)?;
        let bodies: Vec<BodyId> = page.iter().map(|row| row.body).collect();
        let infos = infos(shared, account, &bodies).await?;
        // What the facts decide needs no octets. A message that went meanwhile matches nothing.
        let mut rest = Vec::new();
        for (row, info) in page.iter().copied().zip(infos) {
            let Some(info) = info else { continue };
            match plan.decide(&Known { row: &row, info: Some(&info), header: None, texts: &[] }) {
                Ok(true) => found.push(row.uid),
                Ok(false) => {}
                Err(_) => rest.push((row, info)),
            }
        }
        tokio::task::yield_now().await;
        for group in rest.chunks(SEARCH_BODIES_MAX) {
            found.extend(ask_group(shared, ctx, account, &plan, group).await?);
        }
    }
    Ok(matching.union(&found.into_iter().collect()))
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
    plan: &Plan,
    group: &[(MessageRow, Arc<MessageIndex>)],
) -> Result<Vec<Uid>, Failure> {
    break_if_late(ctx)?;
    let short = |info: &MessageIndex| info.size() <= BODY_CHUNK_BYTES as u64;
    let bodies: Vec<BodyId> = group.iter().filter(|(_, info)| short(info)).map(|(row, _)| row.body).collect();
    let mut wholes = small_bodies(shared, account, &bodies).await?.into_iter();
    let mut questions = Vec::with_capacity(group.len());
    for (row, info) in group {
        let whole = if short(info) { wholes.next().flatten() } else { None };
        questions.push(async move {
            break_if_late(ctx)?;
            let octets = Octets::new(shared.clone(), account, row.body, ctx.deadline, whole);
            let matches = ask(plan, row, info, octets).await?;
            Ok::<_, Failure>(matches.then_some(row.uid))
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
