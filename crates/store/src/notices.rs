//! What is kept for notices to the PUSH enabler, as the operator asks for it: devices made known, notices given up.
//!
//! `push` reads the devices with each notice and writes dead letters; see [`crate::keyspace`].

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::{DEVICES_PER_ACCOUNT_MAX, PUSH_ADDRESS_BYTES_MAX};
use model::{AccountId, CpmAddress, DeviceId, Error, ErrorKind};
use store_api::{DeadLetter, LETTERS_PAGE_MAX, LetterId, PushDevice};

use crate::failure::{Failure, invalid, no_such_account};
use crate::keyspace::{Keyspace, Subspace};
use crate::records::{self, DeviceRecord};
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::snapshot::after;

/// Runs a block that is safe to run twice, with `$trx` as its transaction, until it is committed.
macro_rules! changing {
    ($shared:expr, $tag:literal, $trx:ident, $body:expr) => {{
        let mut retry = Retry::idempotent(None);
        loop {
            let mut $trx = $shared.begin($tag);
            let attempt: Result<_, Failure> = async { $body }.await;
            let failure = match attempt {
                Ok(done) => match $trx.commit().await {
                    Ok(_) => return Ok(done),
                    Err(error) => error.into(),
                },
                Err(failure) => failure,
            };
            retry.again(failure).await?;
        }
    }};
}

/// The devices of an account that are known, by identity.
pub(crate) async fn devices(shared: &Shared, account: AccountId) -> Result<Vec<PushDevice>, Failure> {
    let keys = &shared.keys;
    let found = reading!({
        let mut trx = shared.begin("push_devices");
        exists(keys, trx.as_mut(), account).await?;
        trx.get_range(&all_devices(keys, account), ReadMode::Snapshot).await.map_err(Failure::from)
    });
    let device = |pair: &kv::KeyValue| {
        let DeviceRecord { push_address, added_at } = DeviceRecord::decode(&pair.value)?;
        Some(PushDevice { device: keys.device_of(&pair.key)?, push_address, added_at })
    };
    Ok(found.pairs.iter().filter_map(device).collect())
}

/// Makes a device known, or changes what is known of it. Safe to run twice: it sets a value, and does not count the
/// device itself.
pub(crate) async fn set_device(
    shared: &Shared,
    account: AccountId,
    device: &PushDevice,
) -> Result<(), Failure> {
    if device.push_address.len() > PUSH_ADDRESS_BYTES_MAX {
        return Err(invalid("the address of a device has 255 octets at most").into());
    }
    let keys = &shared.keys;
    let key = keys.device(account, &device.device);
    let record = DeviceRecord { push_address: device.push_address.clone(), added_at: device.added_at };
    changing!(shared, "set_push_device", trx, {
        exists(keys, trx.as_mut(), account).await?;
        let known = trx.get_range(&all_devices(keys, account), ReadMode::Serializable).await?.pairs;
        if known.iter().filter(|pair| pair.key != key).count() >= DEVICES_PER_ACCOUNT_MAX {
            let text = format!("an account has {DEVICES_PER_ACCOUNT_MAX} devices at most");
            return Err(Error::new(ErrorKind::Limit, text).into());
        }
        trx.set(&key, &record.encode());
        Ok(())
    })
}

/// Forgets a device; whether it was known. After a commit of unknown fate a second run may say that it was not.
pub(crate) async fn remove_device(
    shared: &Shared,
    account: AccountId,
    device: &DeviceId,
) -> Result<bool, Failure> {
    remove(shared, shared.keys.device(account, device)).await
}

/// Notices that were given up, after `last`, at most [`LETTERS_PAGE_MAX`]; none when those were all. One that cannot be
/// read is left out: a check tells of it.
pub(crate) async fn dead_letters(
    shared: &Shared,
    last: Option<LetterId>,
) -> Result<Vec<DeadLetter>, Failure> {
    let keys = &shared.keys;
    let range = keys.dead_letters();
    let mut begin = last.map_or(range.begin, |last| after(&keys.dead_letter(last.partition, last.number)));
    loop {
        let request = RangeRequest::new(begin.clone(), range.end.clone()).limit(LETTERS_PAGE_MAX);
        let (page, letters) = reading!({
            let mut trx = shared.begin("dead_letters");
            let page = trx.get_range(&request, ReadMode::Snapshot).await?;
            let letters: Vec<_> = page.pairs.iter().filter_map(|pair| letter(keys, pair)).collect();
            let wanted: Vec<Bytes> = letters.iter().map(|letter| keys.address(letter.account)).collect();
            let addresses = trx.get_many(&wanted, ReadMode::Snapshot).await?;
            let whole = letters.into_iter().zip(addresses).map(|(letter, address)| {
                let text = address.as_deref().and_then(|raw| std::str::from_utf8(raw).ok());
                DeadLetter { address: text.and_then(|text| CpmAddress::parse(text).ok()), ..letter }
            });
            Ok((page, whole.collect::<Vec<_>>()))
        });
        match page.pairs.last() {
            // A page of unreadable ones is not the end.
            Some(end) if letters.is_empty() => begin = after(&end.key),
            _ => return Ok(letters),
        }
    }
}

/// Forgets a notice that was given up; whether it was there.
pub(crate) async fn discard_dead_letter(shared: &Shared, id: LetterId) -> Result<bool, Failure> {
    remove(shared, shared.keys.dead_letter(id.partition, id.number)).await
}

fn letter(keys: &Keyspace, pair: &kv::KeyValue) -> Option<DeadLetter> {
    let id =
        LetterId { partition: keys.push_partition_of(&pair.key)?, number: keys.dead_letter_of(&pair.key)? };
    let kept = records::DeadLetter::decode(&pair.value)?;
    Some(DeadLetter {
        id,
        account: kept.account,
        address: None,
        given_up_at_millis: kept.given_up_at_millis,
        attempts: kept.attempts,
        push_id: kept.push_id,
        reason: kept.reason,
        content_type: kept.content_type,
        headers: kept.headers,
        body: kept.body.into(),
    })
}

fn all_devices(keys: &Keyspace, account: AccountId) -> RangeRequest {
    let range = keys.subspace(account, Subspace::Device);
    RangeRequest::new(range.begin, range.end).limit(DEVICES_PER_ACCOUNT_MAX)
}

/// That there is such an account: nothing is written beside none.
async fn exists(keys: &Keyspace, trx: &mut dyn Transaction, account: AccountId) -> Result<(), Failure> {
    match trx.get(&keys.ledger(account), ReadMode::Serializable).await? {
        Some(_) => Ok(()),
        None => Err(no_such_account().into()),
    }
}

async fn remove(shared: &Shared, key: Bytes) -> Result<bool, Failure> {
    changing!(shared, "forget_notice", trx, {
        let found = trx.get(&key, ReadMode::Serializable).await?.is_some();
        trx.clear(&key);
        Ok(found)
    })
}
