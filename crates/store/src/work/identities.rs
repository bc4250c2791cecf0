//! The identities of a folder's messages within a transaction: read where they may be, written where they change.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::ReadMode;
use model::{BlockNo, DeviceId, Flags, MailboxId, Uid};
use store_api::Identities;

use crate::failure::{Failure, corrupt};
use crate::records::IdentityBlock;
use crate::work::Work;

/// The identities of a folder's messages within a transaction.
///
/// A folder in which nobody ever said which device acts has no records, its state says so, and nothing is read.
#[derive(Default)]
pub(crate) struct FolderIdentities {
    /// Whether there may be stored records.
    stored: bool,
    /// Whether there will be.
    any: bool,
    /// Records read or changed, and whether they changed.
    blocks: BTreeMap<BlockNo, (IdentityBlock, bool)>,
}

impl FolderIdentities {
    /// Of a folder whose state says whether there are records.
    pub(crate) fn of(stored: bool) -> Self {
        Self { stored, any: stored, blocks: BTreeMap::new() }
    }

    /// Whether any message may have some.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Those of a message, whose block was loaded.
    pub(crate) fn get(&self, uid: Uid) -> Identities {
        debug_assert!(!self.stored || self.blocks.contains_key(&BlockNo::of(uid)));
        let block = self.blocks.get(&BlockNo::of(uid));
        block.and_then(|(block, _)| block.get(uid)).cloned().unwrap_or_default()
    }

    /// Puts those of a message, whose block was loaded; empty ones remove.
    pub(crate) fn set(&mut self, uid: Uid, identities: Identities) {
        if self.get(uid) == identities {
            return;
        }
        self.any |= !identities.is_empty();
        let (block, changed) = self.blocks.entry(BlockNo::of(uid)).or_default();
        block.set(uid, identities);
        *changed = true;
    }

    /// Removes those of messages that go, whose blocks were loaded.
    pub(crate) fn forget(&mut self, uids: &[Uid]) {
        if self.any {
            for uid in uids {
                self.set(*uid, Identities::default());
            }
        }
    }

    /// Notes who changed flags: the first device that set \Seen, the last that set \Deleted. Without the flag there
    /// is nobody.
    pub(crate) fn flags_changed(&mut self, uid: Uid, before: Flags, after: Flags, by: Option<&DeviceId>) {
        let Identities { seen, deleted } = self.get(uid);
        let came = |flag| !before.contains(flag) && after.contains(flag);
        let stays = |flag| !before.contains(flag) || after.contains(flag);
        let seen = if came(Flags::SEEN) { seen.or(by.cloned()) } else { seen };
        let deleted = if came(Flags::DELETED) { by.cloned().or(deleted) } else { deleted };
        let identities = Identities {
            seen: seen.filter(|_| stays(Flags::SEEN)),
            deleted: deleted.filter(|_| stays(Flags::DELETED)),
        };
        self.set(uid, identities);
    }

    /// The records that changed; an empty one is to be removed.
    pub(crate) fn changed(&mut self) -> impl Iterator<Item = (BlockNo, &IdentityBlock)> {
        self.blocks.iter().filter(|(_, (_, changed))| *changed).map(|(number, (block, _))| (*number, block))
    }
}

impl Work<'_> {
    /// Reads the identities of `uids`, ascending, unless they are known: one read, and none where no message of the
    /// folder has any.
    pub(crate) async fn load_identities(
        &mut self,
        mailbox: MailboxId,
        uids: impl IntoIterator<Item = Uid>,
    ) -> Result<(), Failure> {
        let known = &self.folder(mailbox)?.identities;
        if !known.stored {
            return Ok(());
        }
        let mut numbers: Vec<BlockNo> = uids.into_iter().map(BlockNo::of).collect();
        numbers.dedup();
        numbers.retain(|number| !known.blocks.contains_key(number));
        if numbers.is_empty() {
            return Ok(());
        }
        let keys: Vec<Bytes> = numbers
            .iter()
            .map(|number| self.shared.keys.identities(self.account, mailbox, *number))
            .collect();
        // Every change of the folder is ordered by its state.
        let values = self.trx.get_many(&keys, ReadMode::Snapshot).await?;
        let known = &mut self.folder(mailbox)?.identities;
        for ((number, key), value) in numbers.into_iter().zip(&keys).zip(values) {
            let block = match value {
                Some(value) => IdentityBlock::decode(&value).ok_or_else(|| corrupt("identities", key))?,
                None => IdentityBlock::default(),
            };
            known.blocks.entry(number).or_insert((block, false));
        }
        Ok(())
    }
}
