//! Marks of a folder: what was shown as \Recent, and how far its log reaches back.

use async_trait::async_trait;
use model::{AccountId, MailboxId, ModSeq};

use crate::combiner::{Cost, Mutation};
use crate::failure::Failure;
use crate::shared::Shared;
use crate::work::Work;

/// Messages below `uid_next` have been shown as \Recent. No MODSEQ: \Recent is no state of the folder.
pub(crate) struct ClaimRecent {
    pub(crate) mailbox: MailboxId,
    pub(crate) uid_next: u64,
}

#[async_trait]
impl Mutation for ClaimRecent {
    type Outcome = ();

    fn cost(&self) -> Cost {
        Cost { bytes: 256, ..Cost::default() }
    }

    fn folders(&self, _: &Shared, _: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.mailbox);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let folder = work.open_folder(self.mailbox).await?;
        let claimed = self.uid_next.min(folder.state.uid_next);
        if claimed > folder.state.recent_uid {
            folder.state.recent_uid = claimed;
            folder.dirty = true;
        }
        Ok(())
    }
}

/// The log of a folder begins after `log_from`; what is before it may be cleared.
pub(crate) struct TrimLog {
    pub(crate) mailbox: MailboxId,
    pub(crate) log_from: ModSeq,
}

#[async_trait]
impl Mutation for TrimLog {
    type Outcome = ();

    fn cost(&self) -> Cost {
        Cost { bytes: 256, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let folder = work.open_folder(self.mailbox).await?;
        if self.log_from > folder.log_from {
            folder.log_from = self.log_from;
            folder.dirty = true;
            let begin = work.shared.keys.logs(work.account, self.mailbox).begin;
            let end = work.shared.keys.log_after(work.account, self.mailbox, self.log_from).begin;
            work.trx.clear_range(&begin, &end);
            let begin = work.shared.keys.moves(work.account, self.mailbox).begin;
            let end = work.shared.keys.moved(work.account, self.mailbox, self.log_from.next());
            work.trx.clear_range(&begin, &end);
        }
        Ok(())
    }
}
