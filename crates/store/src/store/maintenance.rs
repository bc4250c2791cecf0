//! What an operator's tools ask: checks, and restores of exported folders.

use async_trait::async_trait;
use model::limits::MULTIAPPEND_MESSAGES_MAX;
use model::{AccountId, DeviceId, MailboxId, Result};
use store_api::{
    AppendMessage, CheckEvents, CheckRequest, Ctx, DeadLetter, LetterId, Maintenance, PushDevice,
    RestoreFolder, RestoreMessage, RestoreProgress,
};

use super::{Store, check_annotations, operator};
use crate::failure::invalid;
use crate::mutations::append::NewMessage;
use crate::mutations::restore::{BeginRestore, FinishRestore, RestorePage, Restored};
use crate::notices;
use crate::work::origin::Origin;

#[async_trait]
impl Maintenance for Store {
    async fn inspect(&self, ctx: &Ctx, request: CheckRequest) -> Result<CheckEvents> {
        operator(ctx)?;
        crate::check::inspect(self.shared.clone(), request)
    }

    async fn restore_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        folder: RestoreFolder,
    ) -> Result<RestoreProgress> {
        operator(ctx)?;
        if !(1..=1 << 32).contains(&folder.uid_next) {
            return Err(invalid("UIDNEXT must be from 1 to 4294967296"));
        }
        self.change(ctx, account, BeginRestore { folder, by: Origin::of(ctx) }).await
    }

    async fn restore_messages(
        &self,
        ctx: &Ctx,
        account: AccountId,
        restore: MailboxId,
        messages: Vec<RestoreMessage>,
    ) -> Result<u64> {
        operator(ctx)?;
        if messages.is_empty() || messages.len() > MULTIAPPEND_MESSAGES_MAX {
            return Err(invalid("a request restores 1 to 2000 messages"));
        }
        let mut marks = Vec::with_capacity(messages.len());
        let mut bodies = Vec::with_capacity(messages.len());
        for message in messages {
            let RestoreMessage { uid, modseq, flags, keywords, internal_date, saved_at, .. } = message;
            let RestoreMessage { identities, annotations, body, .. } = message;
            marks.push((uid, modseq, saved_at, internal_date, identities));
            check_annotations(&annotations)?;
            let internal_date = Some(internal_date);
            bodies.push(AppendMessage { flags, keywords, internal_date, annotations, body });
        }
        let parsed = self.prepare(bodies).await?;
        let restored = marks.into_iter().zip(parsed).map(
            |((uid, modseq, saved_at, internal_date, identities), parsed)| {
                let NewMessage { flags, keywords, annotations, body, .. } = parsed;
                Restored {
                    uid,
                    modseq,
                    flags,
                    keywords,
                    internal_date,
                    saved_at,
                    identities,
                    annotations,
                    body,
                }
            },
        );
        let page = RestorePage { restore, messages: restored.collect() };
        self.change(ctx, account, page).await
    }

    async fn finish_folder(&self, ctx: &Ctx, account: AccountId, restore: MailboxId) -> Result<()> {
        operator(ctx)?;
        self.change(ctx, account, FinishRestore { restore, by: Origin::of(ctx) }).await
    }

    async fn push_devices(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<PushDevice>> {
        operator(ctx)?;
        self.within(ctx, notices::devices(&self.shared, account)).await
    }

    async fn set_push_device(&self, ctx: &Ctx, account: AccountId, device: PushDevice) -> Result<()> {
        operator(ctx)?;
        self.within(ctx, notices::set_device(&self.shared, account, &device)).await
    }

    async fn remove_push_device(&self, ctx: &Ctx, account: AccountId, device: &DeviceId) -> Result<bool> {
        operator(ctx)?;
        self.within(ctx, notices::remove_device(&self.shared, account, device)).await
    }

    async fn dead_letters(&self, ctx: &Ctx, after: Option<LetterId>) -> Result<Vec<DeadLetter>> {
        operator(ctx)?;
        self.within(ctx, notices::dead_letters(&self.shared, after)).await
    }

    async fn discard_dead_letter(&self, ctx: &Ctx, letter: LetterId) -> Result<bool> {
        operator(ctx)?;
        self.within(ctx, notices::discard_dead_letter(&self.shared, letter)).await
    }
}
