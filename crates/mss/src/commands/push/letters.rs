//! `mss push dead-letters`: notices that were given up.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Subcommand;
use push::{Resender, Verdict};
use store_api::{DeadLetter, LetterId};

use crate::push::options;
use crate::settings::Settings;
use crate::tier::{Tier, ctx, told};

/// What to do with notices that were given up.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Action {
    /// Print them, one a line, oldest first for each account: its address, the notice's id, how often it was sent, its
    /// octets, and why it was given up.
    List,
    /// Post them to push.url again, as they were written, and forget those that it takes. Exits with 1 if any is left.
    Retry,
    /// Forget them.
    Discard,
}

/// Runs one action.
pub async fn act(tier: &Tier, settings: &Settings, action: Action) -> anyhow::Result<()> {
    match action {
        Action::List => {
            each(tier, async |letter| Ok(writeln!(std::io::stdout().lock(), "{}", line(&letter))?)).await
        }
        Action::Retry => retry(tier, settings).await,
        Action::Discard => each(tier, async |letter| discard(tier, letter.id).await).await,
    }
}

async fn retry(tier: &Tier, settings: &Settings) -> anyhow::Result<()> {
    anyhow::ensure!(
        !settings.push.url.is_empty(),
        "push.url is empty, but must say where notices are posted"
    );
    let resender = Resender::new(&options(settings)?.client).context("push.url")?;
    let (mut taken, mut left) = (0_u64, 0_u64);
    each(tier, async |letter| {
        match resender.resend(&letter).await {
            Verdict::Accepted => {
                // Killed before this, it is sent again: at least once, as all notices.
                discard(tier, letter.id).await?;
                taken += 1;
            }
            Verdict::Refused(why) | Verdict::Failed(why) => {
                eprintln!("mss: {}: {why}", letter.push_id);
                left += 1;
            }
            Verdict::Unavailable(why) => anyhow::bail!("push.url takes nothing now, try again later: {why}"),
        }
        Ok(())
    })
    .await?;
    println!("{taken} taken, {left} left");
    anyhow::ensure!(left == 0, "{left} notices were not taken");
    Ok(())
}

async fn discard(tier: &Tier, letter: LetterId) -> anyhow::Result<()> {
    tier.maintenance.discard_dead_letter(&ctx(), letter).await.map_err(told)?;
    Ok(())
}

async fn each(
    tier: &Tier,
    mut work: impl AsyncFnMut(DeadLetter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let page = tier.maintenance.dead_letters(&ctx(), last).await.map_err(told)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.id);
        for letter in page {
            work(letter).await?;
        }
    }
}

fn line(letter: &DeadLetter) -> String {
    let owner = match &letter.address {
        Some(address) => address.to_string(),
        None => format!("(removed, id {})", letter.account),
    };
    let (id, attempts, octets) = (&letter.push_id, letter.attempts, letter.body.len());
    format!("{owner}\t{id}\t{attempts}\t{octets}\t{}", letter.reason.escape_debug())
}
