//! What devices were last told of their accounts, for the changes since they were last there.

use kv::{RangeRequest, ReadMode};
use model::limits::{CHECKPOINT_FOLDERS_MAX, CHECKPOINTS_PER_ACCOUNT_MAX};
use model::{AccountId, DeviceId};
use store_api::{Checkpoint, Ctx, Requestor};

use crate::failure::{Failure, invalid, no_such_mailbox};
use crate::keyspace::Subspace;
use crate::records::CheckpointRecord;
use crate::retry::{Retry, reading};
use crate::shared::{Shared, authorize};

fn device(ctx: &Ctx) -> Option<&DeviceId> {
    match &ctx.requestor {
        Requestor::User(user) => user.device.as_ref(),
        Requestor::Operator | Requestor::Nobody => None,
    }
}

/// What the requestor's device was last told. One that cannot be read is none: the device is told of everything.
pub(crate) async fn read(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
) -> Result<Option<Checkpoint>, Failure> {
    authorize(ctx, account)?;
    let Some(device) = device(ctx) else { return Ok(None) };
    let key = shared.keys.checkpoint(account, device);
    let raw = reading!(Ok(shared.begin("checkpoint").get(&key, ReadMode::Snapshot).await?));
    let record =
        raw.map(|raw| CheckpointRecord::decode(&raw).map_or_else(Checkpoint::default, |record| record.told));
    Ok(record)
}

/// Notes what the requestor's device was told. Safe to run twice: it writes the same.
pub(crate) async fn write(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    told: &Checkpoint,
) -> Result<(), Failure> {
    authorize(ctx, account)?;
    let device = device(ctx).ok_or_else(|| invalid("a checkpoint is that of a device"))?;
    let ascend = told.folders.is_sorted_by(|a, b| a.0 < b.0);
    if !ascend || told.folders.len() > CHECKPOINT_FOLDERS_MAX {
        return Err(invalid("the folders of a checkpoint ascend, and are 4096 at most").into());
    }
    let key = shared.keys.checkpoint(account, device);
    let record = CheckpointRecord { at: shared.now(), told: told.clone() }.encode();
    let mut retry = Retry::idempotent(ctx.deadline);
    loop {
        let mut trx = shared.begin("set_checkpoint");
        let attempt = async {
            // The account must not go away meanwhile, or this would stay.
            let ledger = trx.get(&shared.keys.ledger(account), ReadMode::Serializable).await?;
            ledger.ok_or_else(no_such_mailbox)?;
            if trx.get(&key, ReadMode::Snapshot).await?.is_none() {
                // A new device: the one that was away longest makes room.
                let all = shared.keys.subspace(account, Subspace::Checkpoint);
                let request = RangeRequest::new(all.begin, all.end).limit(2 * CHECKPOINTS_PER_ACCOUNT_MAX);
                let page = trx.get_range(&request, ReadMode::Snapshot).await?;
                let mut known: Vec<_> = page.pairs.iter().collect();
                known.sort_by_key(|pair| CheckpointRecord::decode(&pair.value).map_or(0, |record| record.at));
                let spare = (known.len() + 1).saturating_sub(CHECKPOINTS_PER_ACCOUNT_MAX);
                known.iter().take(spare).for_each(|pair| trx.clear(&pair.key));
            }
            trx.set_bytes(key.clone(), record.clone().into());
            Ok::<_, Failure>(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}
