//! Which devices read and deleted messages, as readers ask for it.

use bytes::Bytes;
use cpm_mime::search::Needle;
use kv::{RangeRequest, ReadMode};
use model::{AccountId, BlockNo, FolderSnapshot, MailboxId, Uid, UidSet};
use store_api::Identities;

use crate::failure::{Failure, corrupt};
use crate::keyspace::KeyRange;
use crate::records::IdentityBlock;
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::after;

/// Records read in one transaction of a search.
const RECORDS_PER_PAGE: usize = 512;

/// A header that stands beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityHeader {
    /// Message-seen-identity.
    Seen,
    /// Message-delete-identity.
    Deleted,
}

impl IdentityHeader {
    /// The header of that name, compared without case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [(Self::Seen, Identities::SEEN_HEADER), (Self::Deleted, Identities::DELETED_HEADER)]
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(header, _)| header)
    }
}

/// Of the messages of `uids` that have any, the devices that read and deleted them, ascending.
pub(crate) async fn identities(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
    uids: &UidSet,
) -> Result<Vec<(Uid, Identities)>, Failure> {
    let mut numbers: Vec<BlockNo> = uids.iter().map(BlockNo::of).collect();
    numbers.dedup();
    let keys: Vec<Bytes> =
        numbers.iter().map(|number| shared.keys.identities(account, mailbox, *number)).collect();
    let values = reading!(Ok(shared.begin("identities").get_many(&keys, ReadMode::Snapshot).await?));
    let mut found = Vec::new();
    for ((number, key), value) in numbers.into_iter().zip(&keys).zip(values) {
        let Some(value) = value else { continue };
        let block = IdentityBlock::decode(&value).ok_or_else(|| corrupt("identities", key))?;
        let asked = block.iter(number).filter(|(uid, _)| uids.contains(*uid));
        found.extend(asked.map(|(uid, identities)| (uid, identities.clone())));
    }
    Ok(found)
}

/// The messages of a folder with `needle` in that header. Reads all records of the folder, a page a transaction: there
/// is one for 128 messages at most, and none for those of which no device is known.
pub(crate) async fn messages_with(
    shared: &Shared,
    account: AccountId,
    folder: &FolderSnapshot,
    header: IdentityHeader,
    needle: &Needle,
) -> Result<UidSet, Failure> {
    let KeyRange { mut begin, end } = shared.keys.identities_of_folder(account, folder.mailbox);
    let mut matching = UidSet::new();
    loop {
        let request = RangeRequest::new(begin.clone(), end.clone()).limit(RECORDS_PER_PAGE);
        let page = reading!(Ok(shared.begin("search").get_range(&request, ReadMode::Snapshot).await?));
        for pair in &page.pairs {
            let known = shared.keys.identities_of(&pair.key).zip(IdentityBlock::decode(&pair.value));
            let ((_, number), block) = known.ok_or_else(|| corrupt("identities", &pair.key))?;
            for (uid, identities) in block.iter(number) {
                let device = match header {
                    IdentityHeader::Seen => &identities.seen,
                    IdentityHeader::Deleted => &identities.deleted,
                };
                if device.as_ref().is_some_and(|device| needle.is_in(device.as_str())) {
                    matching.insert(uid);
                }
            }
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(matching),
        }
    }
}
