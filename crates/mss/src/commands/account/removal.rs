//! The question before an account is removed.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

use model::CpmAddress;
use store_api::MailStore;

use super::find;
use crate::tier::{ctx, told};

/// Octets of an answer that are read: more than any address has.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Whether somebody is there to be asked.
///
/// # Errors
/// When nobody is.
pub(super) fn check_terminal() -> anyhow::Result<()> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked, for standard input is no terminal; --yes removes the account without a question"
    );
    Ok(())
}

/// Says what the account holds, and has its address typed again, in any spelling.
///
/// # Errors
/// When there is no such account, or another address was typed.
pub(super) async fn confirm(store: &Arc<dyn MailStore>, address: &CpmAddress) -> anyhow::Result<()> {
    let account = find(store, address).await?;
    let usage = store.quota(&ctx(), account.id).await.map_err(told)?.usage;
    let mut terminal = std::io::stderr();
    write!(
        terminal,
        "{address} has {} messages of {} octets. To remove it with them for ever, type its address again: ",
        usage.messages, usage.bytes
    )?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    let typed = CpmAddress::parse(answer.trim()).ok();
    anyhow::ensure!(typed.as_ref() == Some(&account.address), "that is not {address}: nothing is removed");
    Ok(())
}
