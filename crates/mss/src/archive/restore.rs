//! Putting an export back.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::Context as _;
use bytes::Bytes;
use model::limits::{APPEND_BYTES_MAX, BODY_INLINE_BYTES_MAX, BODY_PIECE_BYTES};
use model::{
    AccountId, AclChange, CpmAddress, MailboxId, MailboxName, ModSeq, SpecialUse, UidValidity, Whom,
};
use sha2::{Digest as _, Sha256};
use store_api::{
    AccountState, AppendBody, Credentials, DeleteRule, FolderRule, NewAccount, ObjectRule, QuotaLimits,
    RestoreFolder, RestoreMessage, RestoreProgress, ServiceClass,
};

use super::manifest::{Credential, FolderLine, MessageLine, MetadataLine, hexadecimal};
use super::read::Source;
use super::{BYTES_PER_PAGE, MESSAGES_PER_PAGE};
use crate::tier::{Tier, ctx, told};

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// Whether the account was made.
    pub created: bool,
    /// Folders put in their place.
    pub folders: u64,
    /// Folders that were there whole already.
    pub folders_before: u64,
    /// Messages written.
    pub messages: u64,
    /// Addresses that the export gives rights to, and that have no account here: they get none.
    pub without_account: BTreeSet<CpmAddress>,
}

/// Imports an account, under `address` rather than its own if given. What an earlier import of the same export wrote is
/// not written again.
///
/// # Errors
/// When a folder has messages already, when a file is missing or changed, and what the store fails with. Folders that
/// were finished stay; a further import goes on.
pub async fn import(tier: &Tier, source: &Source, address: Option<CpmAddress>) -> anyhow::Result<Imported> {
    let head = source.head()?;
    let address = match address {
        Some(address) => address,
        None => CpmAddress::parse(&head.address)?,
    };
    let mut imported = Imported::default();
    let account = match tier.store.account(&ctx(), &address).await.map_err(told)? {
        Some(account) => account.id,
        None => {
            let credentials = head.credentials.as_ref().map(Credential::read).transpose()?;
            let limits = QuotaLimits { bytes: head.quota_bytes, messages: head.quota_messages };
            let new = NewAccount {
                address: address.clone(),
                credentials: credentials.unwrap_or(Credentials::None),
                limits,
                service: ServiceClass {
                    objects: if head.strict_objects { ObjectRule::Strict } else { ObjectRule::Lenient },
                    folders: if head.cpm_folders { FolderRule::Cpm } else { FolderRule::Free },
                    delete: if head.recursive_delete { DeleteRule::Recursive } else { DeleteRule::Rfc3501 },
                },
            };
            let id = tier.store.create_account(&ctx(), new).await.map_err(told)?;
            if head.disabled {
                tier.store
                    .configure_account(&ctx(), &address, AccountState::Disabled, limits)
                    .await
                    .map_err(told)?;
            }
            imported.created = true;
            id
        }
    };
    for line in &head.folders {
        let wanted = wanted(line).with_context(|| format!("account.json: folder {}", line.name))?;
        let name = wanted.name.clone();
        match tier.maintenance.restore_folder(&ctx(), account, wanted).await.map_err(told)? {
            RestoreProgress::Done => imported.folders_before += 1,
            RestoreProgress::Open { restore, next_uid } => {
                let restoring = Restoring { tier, source, account, restore, line };
                imported.messages += restoring.messages(next_uid).await?;
                tier.maintenance.finish_folder(&ctx(), account, restore).await.map_err(told)?;
                imported.folders += 1;
            }
        }
        if !line.metadata.is_empty() || !line.acl.is_empty() {
            let tree = tier.store.folders(&ctx(), account).await.map_err(told)?;
            let mailbox = tree.find(&name).with_context(|| format!("{name} is gone"))?.id;
            metadata(tier, account, Some(mailbox), &line.metadata).await?;
            for entry in &line.acl {
                let change = entry.change().with_context(|| format!("account.json: folder {}", line.name))?;
                share(tier, (account, &address), mailbox, &change, &mut imported).await?;
            }
        }
    }
    for name in &head.subscriptions {
        let name = MailboxName::parse(name).with_context(|| format!("account.json: subscription {name}"))?;
        tier.store.subscribe(&ctx(), account, &name, true).await.map_err(told)?;
    }
    metadata(tier, account, None, &head.metadata).await?;
    for line in &head.devices {
        tier.maintenance.set_push_device(&ctx(), account, line.device()?).await.map_err(told)?;
    }
    Ok(imported)
}

/// Sets an entry of a folder's list. The owner, who may be another than when it was exported, needs none.
async fn share(
    tier: &Tier,
    (account, owner): (AccountId, &CpmAddress),
    mailbox: MailboxId,
    change: &AclChange,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    if let Whom::Address(address) = &change.identifier.whom {
        if address == owner {
            return Ok(());
        }
        if tier.store.account(&ctx(), address).await.map_err(told)?.is_none() {
            imported.without_account.insert(address.clone());
            return Ok(());
        }
    }
    tier.store.set_acl(&ctx(), account, owner, mailbox, change).await.map_err(told)
}

async fn metadata(
    tier: &Tier,
    account: AccountId,
    mailbox: Option<MailboxId>,
    lines: &[MetadataLine],
) -> anyhow::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let changes = lines.iter().map(MetadataLine::change).collect::<anyhow::Result<_>>()?;
    tier.store.set_metadata(&ctx(), account, mailbox, changes).await.map_err(told)
}

fn wanted(line: &FolderLine) -> anyhow::Result<RestoreFolder> {
    let special_use = line
        .special_use
        .as_deref()
        .map(|text| SpecialUse::parse(text).with_context(|| format!("{text} is no special use")));
    Ok(RestoreFolder {
        name: MailboxName::parse(&line.name)?,
        special_use: special_use.transpose()?,
        noselect: line.noselect,
        uid_validity: match UidValidity::new(line.uid_validity) {
            Some(value) => value,
            None if line.noselect => UidValidity(std::num::NonZeroU32::MIN),
            None => anyhow::bail!("UIDVALIDITY is 0"),
        },
        uid_next: line.uid_next.max(1),
        highest_modseq: ModSeq(line.highest_modseq),
        recent_uid: line.recent_uid,
    })
}

/// A folder whose messages are being restored.
struct Restoring<'i> {
    tier: &'i Tier,
    source: &'i Source,
    account: AccountId,
    restore: MailboxId,
    line: &'i FolderLine,
}

impl Restoring<'_> {
    /// Restores the messages from `next_uid` on, and says how many.
    async fn messages(&self, next_uid: u64) -> anyhow::Result<u64> {
        let (mut page, mut bytes, mut restored, mut seen) = (Vec::new(), 0, 0u64, 0u64);
        for line in self.source.lines(self.line.number)? {
            let line = line?;
            seen += 1;
            if u64::from(line.uid) < next_uid {
                continue;
            }
            let (message, inline) = self
                .message(&line)
                .await
                .with_context(|| format!("folders/{}/{}.eml", self.line.number, line.uid))?;
            bytes += inline;
            page.push(message);
            restored += 1;
            if page.len() >= MESSAGES_PER_PAGE || bytes >= BYTES_PER_PAGE {
                bytes = 0;
                self.page(std::mem::take(&mut page)).await?;
            }
        }
        anyhow::ensure!(
            seen == self.line.messages,
            "{}: account.json says {} messages, messages.jsonl has {seen}",
            self.line.name,
            self.line.messages
        );
        if !page.is_empty() {
            self.page(page).await?;
        }
        Ok(restored)
    }

    async fn page(&self, page: Vec<RestoreMessage>) -> anyhow::Result<()> {
        let restored = self.tier.maintenance.restore_messages(&ctx(), self.account, self.restore, page).await;
        restored.map(drop).map_err(told).with_context(|| self.line.name.clone())
    }

    /// A message, and its octets that go along with the request.
    async fn message(&self, line: &MessageLine) -> anyhow::Result<(RestoreMessage, usize)> {
        anyhow::ensure!(line.size <= APPEND_BYTES_MAX, "a message has at most {APPEND_BYTES_MAX} octets");
        let mut file = self.source.message(self.line.number, line.uid)?;
        let mut hash = Sha256::new();
        let (body, inline) = if line.size <= BODY_INLINE_BYTES_MAX as u64 {
            let mut octets = Vec::with_capacity(line.size as usize);
            file.by_ref().take(line.size + 1).read_to_end(&mut octets)?;
            anyhow::ensure!(octets.len() as u64 == line.size, "it has not {} octets", line.size);
            hash.update(&octets);
            let inline = octets.len();
            (AppendBody::Inline(octets.into()), inline)
        } else {
            let store = &self.tier.store;
            let mut writer = store.stage_body(&ctx(), self.account, line.size).await.map_err(told)?;
            let (mut left, mut piece) = (line.size, vec![0; BODY_PIECE_BYTES]);
            while left > 0 {
                let some = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                file.read_exact(&mut piece[..some])
                    .with_context(|| format!("it has not {} octets", line.size))?;
                hash.update(&piece[..some]);
                writer.write(Bytes::copy_from_slice(&piece[..some])).await.map_err(told)?;
                left -= some as u64;
            }
            anyhow::ensure!(file.read(&mut piece)? == 0, "it has more than {} octets", line.size);
            (AppendBody::Staged(writer.finish().await.map_err(told)?), 0)
        };
        anyhow::ensure!(
            hexadecimal(&hash.finalize()) == line.sha256,
            "its octets are not those that were exported: the SHA-256 differs"
        );
        let ((uid, modseq), (flags, keywords)) = (line.numbers()?, line.flags()?);
        let internal_date = (line.internal_date, line.zone_minutes);
        let (saved_at, identities, annotations) = (line.saved_at, line.identities()?, line.annotations()?);
        let beside = annotations.iter().map(|change| change.value.as_ref().map_or(0, Bytes::len));
        let inline = inline + beside.sum::<usize>();
        let message = RestoreMessage {
            uid,
            modseq,
            flags,
            keywords,
            internal_date,
            saved_at,
            identities,
            annotations,
            body,
        };
        Ok((message, inline))
    }
}
