//! A large body on its way to a node that may stop before it takes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{AccountId, BodyId, ErrorKind, Result};
use store_api::{BodyWriter, Ctx, MailStore as _};

use crate::Shared;
use crate::limits::STAGED_KEPT_BYTES_MAX;
use crate::route::Effect;

/// Writes to one node. While all it wrote is still at hand it begins anew at another when that one does not take it:
/// what was written ahead is seen by nobody, and swept.
pub(crate) struct Staging {
    shared: Arc<Shared>,
    ctx: Ctx,
    account: AccountId,
    size: u64,
    writer: Box<dyn BodyWriter>,
    /// All that was written, until it is too much to keep.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    restarts: u32,
}

/// Times that one body begins anew.
const RESTARTS_MAX: u32 = 4;

impl Staging {
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        ctx: &Ctx,
        account: AccountId,
        size: u64,
    ) -> Result<Box<Self>> {
        let writer = begin(shared, ctx, account, size).await?;
        Ok(Box::new(Self {
            shared: shared.clone(),
            ctx: ctx.clone(),
            account,
            size,
            writer,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            restarts: 0,
        }))
    }

    /// Begins anew at another node with all that was written, if it is at hand.
    async fn restart(&mut self, error: model::Error) -> Result<()> {
        let mut error = error;
        while error.kind() == ErrorKind::Unavailable && self.restarts < RESTARTS_MAX {
            let Some(kept) = &self.kept else { break };
            self.restarts += 1;
            // The node that refused is passed over by its circuit, once its stream or another call finds out too; a pause
            // gives that a chance.
            tokio::time::sleep(crate::pause(
                self.restarts,
                crate::limits::ROUND_PAUSE.0,
                crate::limits::ROUND_PAUSE.1,
            ))
            .await;
            let mut writer = begin(&self.shared, &self.ctx, self.account, self.size).await?;
            let mut outcome = Ok(());
            for octets in kept {
                outcome = writer.write(octets.clone()).await;
                if outcome.is_err() {
                    break;
                }
            }
            self.writer = writer;
            match outcome {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
        Err(error)
    }
}

async fn begin(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    account: AccountId,
    size: u64,
) -> Result<Box<dyn BodyWriter>> {
    let call = |node: Arc<crate::fleet::Node>| async move { node.store.stage_body(ctx, account, size).await };
    shared.route(ctx, account.partition(), Effect::None, call).await
}

#[async_trait]
impl BodyWriter for Staging {
    async fn write(&mut self, octets: Bytes) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            self.kept_bytes += octets.len();
            if self.kept_bytes > STAGED_KEPT_BYTES_MAX {
                self.kept = None;
            } else {
                kept.push(octets.clone());
            }
        }
        match self.writer.write(octets).await {
            Ok(()) => Ok(()),
            Err(error) => self.restart(error).await,
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<BodyId> {
        loop {
            let writer = std::mem::replace(&mut self.writer, Box::new(Ended));
            match writer.finish().await {
                Ok(body) => return Ok(body),
                Err(error) => self.restart(error).await?,
            }
        }
    }
}

/// In the place of a writer that was used up.
struct Ended;

#[async_trait]
impl BodyWriter for Ended {
    async fn write(&mut self, _octets: Bytes) -> Result<()> {
        Err(crate::nobody_answers())
    }

    async fn finish(self: Box<Self>) -> Result<BodyId> {
        Err(crate::nobody_answers())
    }
}
