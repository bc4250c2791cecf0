//! SETMETADATA.

use async_trait::async_trait;
use bytes::Bytes;
use kv::ReadMode;
use model::limits::{ENTRIES_BYTES_MAX, ENTRIES_PER_FOLDER_MAX};
use model::{EntryScope, Error, ErrorKind, MailboxId};
use store_api::MetadataChange;

use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, corrupt, no_such_mailbox};
use crate::records::MetadataRecord;
use crate::work::Work;
use crate::work::origin::Origin;

/// Sets and removes entries of a folder, or of the account itself for none; all or nothing.
pub(crate) struct SetMetadata {
    pub(crate) mailbox: Option<MailboxId>,
    pub(crate) changes: Vec<MetadataChange>,
    pub(crate) by: Origin,
}

#[async_trait]
impl Mutation for SetMetadata {
    type Outcome = ();

    fn cost(&self) -> Cost {
        // Both scopes may be written again, each up to its bound.
        Cost { bytes: 2 * ENTRIES_BYTES_MAX, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        if let Some(mailbox) = self.mailbox {
            let tree = work.tree().await?;
            tree.by_id(mailbox).ok_or_else(no_such_mailbox)?;
        }
        let mut put: Vec<(Bytes, MetadataRecord)> = Vec::new();
        for scope in [EntryScope::Private, EntryScope::Shared] {
            if !self.changes.iter().any(|(name, _)| name.scope() == scope) {
                continue;
            }
            let key = work.shared.keys.metadata(work.account, self.mailbox, scope);
            // Of what is stored: an earlier change of the same batch was written into the transaction already.
            let mut record = match work.trx.get(&key, ReadMode::Snapshot).await? {
                Some(raw) => MetadataRecord::decode(&raw).ok_or_else(|| corrupt("metadata", &key))?,
                None => MetadataRecord::default(),
            };
            let before = record.clone();
            for (name, value) in &self.changes {
                if name.scope() != scope {
                    continue;
                }
                match value {
                    Some(value) => record.entries.insert(name.clone(), value.clone()),
                    None => record.entries.remove(name),
                };
            }
            let grew = record.size() > before.size() || record.entries.len() > before.entries.len();
            let over = record.size() > ENTRIES_BYTES_MAX || record.entries.len() > ENTRIES_PER_FOLDER_MAX;
            if grew && over {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "a mailbox may have at most {ENTRIES_PER_FOLDER_MAX} metadata entries \
                         of {ENTRIES_BYTES_MAX} octets together"
                    ),
                )
                .into());
            }
            if record != before {
                put.push((key, record));
            }
        }
        if put.is_empty() {
            return Ok(());
        }
        for (key, record) in put {
            if record.entries.is_empty() {
                work.trx.clear(&key);
            } else {
                work.trx.set_bytes(key, record.encode().into());
            }
        }
        work.note_metadata(self.mailbox, &self.by).await
    }
}
