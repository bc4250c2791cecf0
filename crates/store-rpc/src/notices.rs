//! What is kept for notices to the PUSH enabler, on the wire and off it.

use model::{AccountId, DeviceId, PARTITIONS, Partition, Result};
use store_api::{DeadLetter, LetterId, PushDevice};

use crate::convert;
use crate::error::invalid;
use crate::pb;

pub(crate) fn identity(text: &str) -> Result<DeviceId> {
    DeviceId::parse(text.as_bytes()).map_err(|error| invalid(&error.to_string()))
}

pub(crate) fn device(wire: Option<pb::PushDevice>) -> Result<PushDevice> {
    let wire = wire.ok_or_else(|| invalid("no device is named"))?;
    let pb::PushDevice { device, push_address, added_at } = wire;
    Ok(PushDevice { device: identity(&device)?, push_address, added_at })
}

pub(crate) fn device_pb(device: PushDevice) -> pb::PushDevice {
    let PushDevice { device, push_address, added_at } = device;
    pb::PushDevice { device: device.as_str().to_owned(), push_address, added_at }
}

pub(crate) fn letter_id(wire: pb::LetterId) -> Result<LetterId> {
    let partition = u16::try_from(wire.partition).ok().filter(|partition| *partition < PARTITIONS);
    let partition = partition.ok_or_else(|| invalid("there is no such partition"))?;
    Ok(LetterId { partition: Partition(partition), number: wire.number })
}

pub(crate) fn letter_id_pb(id: LetterId) -> pb::LetterId {
    pb::LetterId { partition: id.partition.0.into(), number: id.number }
}

pub(crate) fn letter(wire: pb::DeadLetter) -> Result<DeadLetter> {
    Ok(DeadLetter {
        id: letter_id(wire.id.ok_or_else(|| invalid("a dead letter has no name"))?)?,
        account: AccountId(wire.account),
        address: wire.address.as_deref().map(convert::address).transpose()?,
        given_up_at_millis: wire.given_up_at_millis,
        attempts: wire.attempts,
        push_id: wire.push_id,
        reason: wire.reason,
        content_type: wire.content_type,
        headers: wire.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        body: wire.body,
    })
}

pub(crate) fn letter_pb(letter: DeadLetter) -> pb::DeadLetter {
    use pb::dead_letter::Header;
    pb::DeadLetter {
        id: Some(letter_id_pb(letter.id)),
        account: letter.account.0,
        address: letter.address.map(|address| address.to_string()),
        given_up_at_millis: letter.given_up_at_millis,
        attempts: letter.attempts,
        push_id: letter.push_id,
        reason: letter.reason,
        content_type: letter.content_type,
        headers: letter.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        body: letter.body,
    }
}
