//! Which devices read and deleted the messages of a block.

use std::collections::BTreeMap;

use model::limits::BLOCK_UIDS;
use model::{BlockNo, DeviceId, Uid};
use store_api::Identities;

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// The identities of the messages of one block that have any. Each device is written once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityBlock {
    /// By the place of the UID in the block, below [`BLOCK_UIDS`].
    messages: BTreeMap<u8, Identities>,
}

impl IdentityBlock {
    fn place(uid: Uid) -> u8 {
        (uid.get() % BLOCK_UIDS) as u8
    }

    /// Those of a message of this block.
    pub fn get(&self, uid: Uid) -> Option<&Identities> {
        self.messages.get(&Self::place(uid))
    }

    /// Puts those of a message of this block; empty ones remove.
    pub fn set(&mut self, uid: Uid, identities: Identities) {
        if identities.is_empty() {
            self.messages.remove(&Self::place(uid));
        } else {
            self.messages.insert(Self::place(uid), identities);
        }
    }

    /// Whether no message has any.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// All messages that have some, ascending; `block` is the number of this block.
    pub fn iter(&self, block: BlockNo) -> impl Iterator<Item = (Uid, &Identities)> {
        self.messages.iter().filter_map(move |(place, identities)| {
            Some((Uid::new(block.0.checked_mul(BLOCK_UIDS)?.checked_add(u32::from(*place))?)?, identities))
        })
    }

    /// The stored form: the devices, then of each message its place and the numbers of its devices, 0 for none.
    pub fn encode(&self) -> Vec<u8> {
        let mut devices: Vec<&DeviceId> = Vec::new();
        for identities in self.messages.values() {
            for device in [&identities.seen, &identities.deleted].into_iter().flatten() {
                if !devices.contains(&device) {
                    devices.push(device);
                }
            }
        }
        let number = |device: &Option<DeviceId>| {
            let place = device.as_ref().and_then(|device| devices.iter().position(|known| *known == device));
            place.map_or(0, |at| at as u64 + 1)
        };
        let mut out = Writer::new(VERSION, 16 + devices.len() * 48 + self.messages.len() * 3);
        out.number(devices.len() as u64);
        for device in &devices {
            out.counted(device.as_str().as_bytes());
        }
        out.number(self.messages.len() as u64);
        for (place, identities) in &self.messages {
            out.u8(*place).number(number(&identities.seen)).number(number(&identities.deleted));
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let count =
            usize::try_from(input.number()?).ok().filter(|count| *count <= 2 * BLOCK_UIDS as usize)?;
        let mut devices = Vec::with_capacity(count.min(input.left()));
        for _ in 0..count {
            devices.push(DeviceId::parse(input.counted()?).ok()?);
        }
        let count = input.number().filter(|count| *count <= u64::from(BLOCK_UIDS))?;
        let mut messages = BTreeMap::new();
        for _ in 0..count {
            let place = input.u8()?;
            let mut device = || match usize::try_from(input.number()?).ok()? {
                0 => Some(None),
                number => devices.get(number - 1).cloned().map(Some),
            };
            let identities = Identities { seen: device()?, deleted: device()? };
            let above = messages.last_key_value().is_none_or(|(last, _)| *last < place);
            if u32::from(place) >= BLOCK_UIDS || !above || identities.is_empty() {
                return None;
            }
            messages.insert(place, identities);
        }
        input.end(Self { messages })
    }
}

// The largest record: another device for each identity of each message.
const _: () = assert!(
    2 * BLOCK_UIDS as usize * (model::limits::DEVICE_ID_BYTES_MAX + 2) + 5 * BLOCK_UIDS as usize + 8
        < kv::limits::VALUE_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let device = |text: &str| DeviceId::parse(text.as_bytes()).ok();
        let uid = |uid| Uid::new(uid).unwrap();
        let mut block = IdentityBlock::default();
        block.set(uid(130), Identities { seen: device("ab"), deleted: None });
        block.set(uid(255), Identities { seen: device("c"), deleted: device("ab") });
        block.set(uid(200), Identities { seen: device("gone"), deleted: None });
        block.set(uid(200), Identities::default());
        let stored = block.encode();
        assert_eq!(stored, b"\x01\x02\x02ab\x01c\x02\x02\x01\x00\x7f\x02\x01");
        assert_eq!(IdentityBlock::decode(&stored), Some(block.clone()));
        let uids: Vec<u32> = block.iter(BlockNo(1)).map(|(uid, _)| uid.get()).collect();
        assert_eq!(uids, [130, 255]);
        for cut in 0..stored.len() {
            assert_eq!(IdentityBlock::decode(&stored[..cut]), None);
        }
    }
}
