//! Folders for a run: made, filled and removed outside the measurement.
//!
//! A folder that the work does not add to is named after its contents, so that later runs find it again; it is
//! filled anew when its count of messages is not right. A folder that grows belongs to one run.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::connection::{Capabilities, Connection, Fault};
use crate::message::Messages;
use crate::plan::Plan;
use crate::profile::Action;
use crate::progress::Progress;
use crate::scan::{Kind, Status};

/// Accounts prepared at the same time.
const ACCOUNTS_AT_ONCE: usize = 16;
/// Messages in one APPEND command.
const APPEND_MESSAGES: u32 = 200;
/// APPEND commands under way on a connection without MULTIAPPEND.
const APPEND_DEPTH: usize = 16;
/// Sends CREATE for so many folders before it waits for the answers.
const CREATES_AT_ONCE: u32 = 50;

/// Makes every folder of the run ready and tells what the server can do.
///
/// # Errors
/// What the server refused, with the account.
pub async fn prepare(plan: &Arc<Plan>, progress: &Progress) -> anyhow::Result<Capabilities> {
    let mut first = log_in(plan, 0).await?;
    let capabilities = first.capabilities().await?;
    first.logout().await?;
    if !capabilities.multiappend && plan.tasks.iter().any(|task| task.work.messages > 1) {
        bail!("the server does not offer MULTIAPPEND (RFC 3502), which this profile is about");
    }
    if !plan.needs_folders() {
        return Ok(capabilities);
    }
    let prepared = each_folder(plan, "preparing folders", progress, |plan, account, slot| async move {
        prepare_folder(&plan, capabilities, account, slot)
            .await
            .with_context(|| format!("preparing a folder of {}", plan.target.user(account)))
    });
    prepared.await?;
    Ok(capabilities)
}

/// Removes the folders of a run that grew. Failures are told, not returned: the run is measured already.
pub async fn remove(plan: &Arc<Plan>, progress: &Progress) {
    if !plan.profile.folder.grows {
        return;
    }
    let removed = each_folder(plan, "removing folders", progress, |plan, account, slot| async move {
        let mut connection = log_in(&plan, account).await?;
        connection.command(&format!("DELETE \"{}\"", plan.folder_name(slot)), |_| {}).await?;
        anyhow::Ok(connection.logout().await?)
    });
    if let Err(error) = removed.await {
        progress.say(&format!("folders of the run stay: {error:#}"));
    }
}

/// Does `work` for every folder of the run, some at the same time, until one fails.
async fn each_folder<F, W>(plan: &Arc<Plan>, phase: &str, progress: &Progress, work: F) -> anyhow::Result<()>
where
    F: Fn(Arc<Plan>, u32, u32) -> W,
    W: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut owners: BTreeSet<(u32, u32)> =
        (0..plan.profile.load.connections).map(|i| plan.owner(i)).collect();
    progress.begin(phase, owners.len() as u64);
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < ACCOUNTS_AT_ONCE
            && let Some((account, slot)) = owners.pop_first()
        {
            under_way.spawn(work(Arc::clone(plan), account, slot));
        }
        match under_way.join_next().await {
            Some(done) => done.context("a task failed")??,
            None => return Ok(()),
        }
        progress.advance(1);
    }
}

async fn log_in(plan: &Plan, account: u32) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(&plan.target)
        .await
        .with_context(|| format!("cannot connect to {}", plan.target.address))?;
    connection.login(&plan.target.user(account), &plan.target.password).await?;
    Ok(connection)
}

async fn prepare_folder(
    plan: &Plan,
    capabilities: Capabilities,
    account: u32,
    slot: u32,
) -> anyhow::Result<()> {
    let mut connection = log_in(plan, account).await?;
    let folder = plan.folder_name(slot);
    let mut count = None;
    match connection
        .command(&format!("STATUS \"{folder}\" (MESSAGES)"), |response| {
            count = count.or(response.number_after(b"MESSAGES"));
        })
        .await
    {
        Ok(()) | Err(Fault::Refused { .. }) => {}
        Err(fault) => return Err(fault.into()),
    }
    if count != Some(u64::from(plan.messages)) {
        if count.is_some() {
            connection.command(&format!("DELETE \"{folder}\""), |_| {}).await?;
        }
        connection.command(&format!("CREATE \"{folder}\""), |_| {}).await?;
        fill(plan, capabilities, &mut connection, &folder, account).await?;
    }
    create_children(&mut connection, &folder, plan.profile.folder.children).await?;
    Ok(connection.logout().await?)
}

/// Creates the folders below `folder` that are not there yet.
async fn create_children(connection: &mut Connection, folder: &str, count: u32) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let mut there = 0;
    connection
        .command(&format!("LIST \"\" \"{folder}/%\""), |response| {
            there += u32::from(response.rest().starts_with(b"LIST "));
        })
        .await?;
    if there == count {
        return Ok(());
    }
    let mut next = 0;
    while next < count {
        let sent = CREATES_AT_ONCE.min(count - next);
        for child in next..next + sent {
            connection.begin();
            connection.out().extend_from_slice(format!("CREATE \"{folder}/c{child:05}\"").as_bytes());
            connection.end();
        }
        let mut answered = 0;
        // One that is there already is refused, which is as good.
        while answered < sent {
            connection
                .exchange(|response| {
                    let tagged = matches!(response.kind, Kind::Tagged(..));
                    answered += u32::from(tagged);
                    tagged
                })
                .await?;
        }
        next += sent;
    }
    Ok(())
}

async fn fill(
    plan: &Plan,
    capabilities: Capabilities,
    connection: &mut Connection,
    folder: &str,
    account: u32,
) -> anyhow::Result<()> {
    let total = plan.messages;
    let appended = plan.appended();
    let first = Plan::first_message(account);
    if capabilities.multiappend {
        let mut done = 0;
        while done < appended {
            let count = APPEND_MESSAGES.min(appended - done);
            let tag = connection
                .append(capabilities, folder, &plan.contents, first + u64::from(done), count)
                .await?;
            if connection.finish(tag, |_| {}).await? != Status::Ok {
                bail!("APPEND of {count} messages was refused");
            }
            done += count;
        }
    } else {
        append_pipelined(capabilities, connection, folder, &plan.contents, first, appended).await?;
    }
    let mut count = appended;
    if count < total {
        connection.command(&format!("SELECT \"{folder}\""), |_| {}).await?;
    }
    while count < total {
        let more = count.min(total - count);
        connection.command(&format!("COPY 1:{more} \"{folder}\""), |_| {}).await?;
        connection.command("NOOP", |_| {}).await?;
        count += more;
    }
    Ok(())
}

async fn append_pipelined(
    capabilities: Capabilities,
    connection: &mut Connection,
    folder: &str,
    contents: &Messages,
    first: u64,
    count: u32,
) -> anyhow::Result<()> {
    let depth = if capabilities.sends_at_once(contents.bytes()) { APPEND_DEPTH } else { 1 };
    let (mut sent, mut answered, mut refused) = (0u32, 0u32, 0u32);
    while answered < count {
        while sent < count && ((sent - answered) as usize) < depth {
            connection.append(capabilities, folder, contents, first + u64::from(sent), 1).await?;
            sent += 1;
        }
        connection
            .exchange(|response| {
                let Kind::Tagged(_, status) = response.kind else { return false };
                answered += 1;
                refused += u32::from(status != Status::Ok);
                true
            })
            .await?;
    }
    if refused > 0 {
        bail!("{refused} of {count} APPENDs were refused");
    }
    Ok(())
}

impl Plan {
    /// Does the work need folders at all?
    pub fn needs_folders(&self) -> bool {
        self.profile.work.iter().any(|work| work.action != Action::Login)
    }
}
