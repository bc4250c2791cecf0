//! What the change log of a partition says of a change.

use model::{AccountId, MailboxId, ModSeq};

use super::codec::{Reader, Writer};
use super::log::ChangeKind;

/// Version 1 had the time in seconds.
const VERSION: u8 = 2;

/// Changes of one account that were committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// The account.
    pub account: AccountId,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_millis: i64,
    /// The changes, in order within a folder.
    pub items: Vec<FeedItem>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedItem {
    /// The folder; none for the tree, subscriptions or the account itself.
    pub mailbox: Option<MailboxId>,
    /// The folder's MODSEQ at that change; 0 without one.
    pub modseq: ModSeq,
    /// What it was.
    pub kind: ChangeKind,
    /// The request that did it.
    pub request: u64,
    /// The device that asked, where one said who it is: empty when unknown.
    pub device: Vec<u8>,
}

impl FeedEntry {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 24 + self.items.len() * 24);
        out.fixed(&self.account.0.to_be_bytes()).signed(self.at_millis).number(self.items.len() as u64);
        for item in &self.items {
            out.optional(item.mailbox.map(|mailbox| mailbox.0)).number(item.modseq.0);
            out.u8(item.kind as u8).number(item.request).counted(&item.device);
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
        let account = AccountId(u64::from_be_bytes(input.fixed(8)?.try_into().ok()?));
        let at = input.signed()?;
        let at_millis = if version == 1 { at.checked_mul(1_000)? } else { at };
        let count = usize::try_from(input.number()?).ok()?;
        // The shortest item has five octets.
        if count > input.left() / 5 {
            return None;
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(FeedItem {
                mailbox: input.optional()?.map(MailboxId),
                modseq: ModSeq(input.number()?),
                kind: ChangeKind::from_number(input.u8()?)?,
                request: input.number()?,
                device: input.counted()?.to_vec(),
            });
        }
        input.end(Self { account, at_millis, items })
    }
}
