//! SEARCH: which messages of a folder match a program.
//!
//! The folder's rows answer most keys. What they leave open is asked, message by message, of ever dearer sources: the
//! index of headers and the facts of the message, its header block, its body. A key is a question with three answers,
//! yes, no and "that takes …", so that AND and OR decide as soon as any cheap key decides, whatever stands first.

mod bodies;
mod plan;

use std::sync::Arc;
use std::time::Instant;

use cpm_mime::MessageIndex;
use futures::{StreamExt, stream};
use model::limits::INFOS_PER_REQUEST_MAX;
use model::{AccountId, BodyId, MessageRow, UidSet};
use store_api::{Ctx, SearchRequest};

use crate::bodies::infos;
use crate::failure::{Failure, deadline};
use crate::limits::SEARCH_READS_MAX;
use crate::shared::Shared;
use crate::snapshot::read_folder;
use bodies::Octets;
use plan::{Need, Plan};

/// Blocks of rows looked at between two chances for others to run.
const BLOCKS_AT_ONCE: usize = 32;

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
    let plan = Plan::new(shared, account, &snapshot, &request.key).await?;

    let mut matching = UidSet::new();
    let mut open: Vec<MessageRow> = Vec::new();
    for blocks in snapshot.blocks().chunks(BLOCKS_AT_ONCE) {
        for row in blocks.iter().flat_map(|(_, block)| block.rows()) {
            if request.within.as_ref().is_some_and(|within| !within.contains(row.uid)) {
                continue;
            }
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
        tokio::task::yield_now().await;
        let questions = page.iter().copied().zip(infos).map(|(row, info)| {
            let (plan, shared) = (&plan, shared);
            async move {
                break_if_late(ctx)?;
                // A message that went meanwhile matches nothing.
                let Some(info) = info else { return Ok(None) };
                let matches = ask(shared, account, plan, &row, &info, ctx.deadline).await?;
                Ok::<_, Failure>(matches.then_some(row.uid))
            }
        });
        let mut answers = stream::iter(questions).buffered(SEARCH_READS_MAX);
        while let Some(answer) = answers.next().await {
            found.extend(answer?);
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

/// Decides one message whose facts are known.
async fn ask(
    shared: &Arc<Shared>,
    account: AccountId,
    plan: &Plan,
    row: &MessageRow,
    info: &MessageIndex,
    deadline_at: Option<Instant>,
) -> Result<bool, Failure> {
    let mut octets = Octets::new(shared.clone(), account, row.body, deadline_at);
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
