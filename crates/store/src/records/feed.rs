//! What the change log of a partition says of a change.
//!
//! It is enough to tell others of a change without having seen what was there before: which messages came or changed,
//! which went, which flags were given or taken, and the device that asked. What would make an entry long is left out,
//! and says so: [`FeedUids::Many`]. The store knows the rest.

use model::{AccountId, DeviceId, Flags, Keyword, MailboxId, ModSeq, UidSet};

use super::codec::{Reader, Writer};
use super::log::ChangeKind;

/// Ranges of UIDs that an item names; of more it says that there are many.
pub const FEED_RANGES_MAX: usize = 64;
/// Keywords that an item names as given, and as taken.
pub const FEED_KEYWORDS_MAX: usize = 8;

/// Version 1 had the time in seconds; version 2 had neither UIDs nor flags, and never a device.
const VERSION: u8 = 3;

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
    /// The device that asked, where one said who it is.
    pub device: Option<DeviceId>,
    /// Messages that are new or whose flags changed.
    pub changed: FeedUids,
    /// Messages that went.
    pub removed: FeedUids,
    /// Flags that at least one of the changed messages got, for [`ChangeKind::Flags`].
    pub flags_added: FlagNames,
    /// Flags that at least one of the changed messages lost, for [`ChangeKind::Flags`].
    pub flags_removed: FlagNames,
}

/// UIDs of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedUids {
    /// All of them, in at most [`FEED_RANGES_MAX`] ranges.
    Few(UidSet),
    /// Too many to be named here, or the release that wrote the entry named none.
    Many,
}

impl Default for FeedUids {
    fn default() -> Self {
        Self::Few(UidSet::new())
    }
}

impl FeedUids {
    /// As much of `uids` as an item has room for.
    pub fn of(uids: &UidSet) -> Self {
        if uids.ranges().len() > FEED_RANGES_MAX { Self::Many } else { Self::Few(uids.clone()) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Few(uids) if uids.is_empty())
    }

    /// 0 for none, 1 for a set that follows, 2 for many.
    fn mark(&self) -> u8 {
        match self {
            Self::Few(uids) if uids.is_empty() => 0,
            Self::Few(_) => 1,
            Self::Many => 2,
        }
    }

    fn decode(mark: u8, input: &mut Reader<'_>) -> Option<Self> {
        match mark {
            0 => Some(Self::default()),
            1 => {
                let uids = UidSet::decode(input.input())?;
                (uids.ranges().len() <= FEED_RANGES_MAX).then_some(Self::Few(uids))
            }
            2 => Some(Self::Many),
            _ => None,
        }
    }
}

/// Flags by their names, which stay true when the folder gives the place of a keyword to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagNames {
    /// System flags.
    pub system: Flags,
    /// Keywords; of more than [`FEED_KEYWORDS_MAX`] only so many.
    pub keywords: Vec<Keyword>,
}

impl FlagNames {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.system == Flags::default() && self.keywords.is_empty()
    }

    fn encode(&self, out: &mut Writer) {
        out.u8((self.system.0 & Flags::SYSTEM_MASK) as u8).u8(self.keywords.len() as u8);
        for keyword in &self.keywords {
            out.counted(keyword.as_str().as_bytes());
        }
    }

    fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let system = Flags(u64::from(input.u8()?));
        let count = usize::from(input.u8()?);
        if count > FEED_KEYWORDS_MAX {
            return None;
        }
        let keywords: Option<Vec<_>> = (0..count).map(|_| Keyword::parse(input.text()?).ok()).collect();
        Some(Self { system, keywords: keywords? })
    }

    fn size(&self) -> usize {
        self.keywords.iter().map(|keyword| keyword.as_str().len() + 1).sum()
    }
}

/// What follows in an item: two bits for each set of UIDs, then whether flags and a device do.
const REMOVED_SHIFT: u8 = 2;
const HAS_FLAGS: u8 = 1 << 4;
const HAS_DEVICE: u8 = 1 << 5;

impl FeedItem {
    /// A change of which no more is said.
    pub fn new(mailbox: Option<MailboxId>, modseq: ModSeq, kind: ChangeKind, request: u64) -> Self {
        Self {
            mailbox,
            modseq,
            kind,
            request,
            device: None,
            changed: FeedUids::default(),
            removed: FeedUids::default(),
            flags_added: FlagNames::default(),
            flags_removed: FlagNames::default(),
        }
    }

    /// Octets it takes at most.
    pub fn size(&self) -> usize {
        let uids = |uids: &FeedUids| match uids {
            FeedUids::Few(uids) => 2 + 10 * uids.ranges().len(),
            FeedUids::Many => 0,
        };
        let device = self.device.as_ref().map_or(0, |device| device.as_str().len() + 2);
        40 + device
            + uids(&self.changed)
            + uids(&self.removed)
            + self.flags_added.size()
            + self.flags_removed.size()
    }

    fn encode(&self, out: &mut Writer) {
        let has_flags = !self.flags_added.is_empty() || !self.flags_removed.is_empty();
        out.optional(self.mailbox.map(|mailbox| mailbox.0)).number(self.modseq.0);
        out.u8(self.kind as u8).number(self.request);
        out.u8(self.changed.mark()
            | self.removed.mark() << REMOVED_SHIFT
            | if has_flags { HAS_FLAGS } else { 0 }
            | if self.device.is_some() { HAS_DEVICE } else { 0 });
        for uids in [&self.changed, &self.removed] {
            if let FeedUids::Few(uids) = uids
                && !uids.is_empty()
            {
                uids.encode(out.buffer());
            }
        }
        if has_flags {
            self.flags_added.encode(out);
            self.flags_removed.encode(out);
        }
        if let Some(device) = &self.device {
            out.counted(device.as_str().as_bytes());
        }
    }

    fn decode(version: u8, input: &mut Reader<'_>) -> Option<Self> {
        let mailbox = input.optional()?.map(MailboxId);
        let modseq = ModSeq(input.number()?);
        let kind = ChangeKind::from_number(input.u8()?)?;
        let mut item = Self::new(mailbox, modseq, kind, input.number()?);
        if version < 3 {
            let device = input.counted()?;
            item.device = if device.is_empty() { None } else { Some(DeviceId::parse(device).ok()?) };
            if mailbox.is_some() && modseq > ModSeq(0) {
                (item.changed, item.removed) = (FeedUids::Many, FeedUids::Many);
            }
            return Some(item);
        }
        let what = input.u8()?;
        if what >= HAS_DEVICE << 1 {
            return None;
        }
        item.changed = FeedUids::decode(what & 3, input)?;
        item.removed = FeedUids::decode(what >> REMOVED_SHIFT & 3, input)?;
        if what & HAS_FLAGS != 0 {
            item.flags_added = FlagNames::decode(input)?;
            item.flags_removed = FlagNames::decode(input)?;
        }
        if what & HAS_DEVICE != 0 {
            item.device = Some(DeviceId::parse(input.counted()?).ok()?);
        }
        Some(item)
    }
}

impl FeedEntry {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let size: usize = self.items.iter().map(FeedItem::size).sum();
        let mut out = Writer::new(VERSION, 24 + size);
        out.fixed(&self.account.0.to_be_bytes()).signed(self.at_millis).number(self.items.len() as u64);
        for item in &self.items {
            item.encode(&mut out);
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
        let items: Option<Vec<_>> = (0..count).map(|_| FeedItem::decode(version, &mut input)).collect();
        input.end(Self { account, at_millis, items: items? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(item: FeedItem, octets: &str) {
        let entry = FeedEntry { account: AccountId(0x42), at_millis: 5_000, items: vec![item] };
        let stored = entry.encode();
        let octets = format!("030000000000000042904e01{octets}");
        let expected: Vec<u8> = (0..octets.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&octets[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(stored, expected);
        assert!(stored.len() <= 12 + entry.items[0].size());
        assert_eq!(FeedEntry::decode(&stored), Some(entry));
    }

    #[test]
    fn stored_forms_stay_as_they_are() {
        let mailbox = Some(MailboxId(3));
        let plain = FeedItem::new(None, ModSeq(0), ChangeKind::Subscriptions, 9);
        check(plain, "0000080900");
        let uids = |first, last| FeedUids::Few(UidSet::from_ranges([(first, last)]));
        let appended =
            FeedItem { changed: uids(7, 7), ..FeedItem::new(mailbox, ModSeq(4), ChangeKind::Append, 1) };
        check(appended, "010304010101010700");
        let flagged = FeedItem {
            changed: FeedUids::Many,
            removed: uids(1, 2),
            flags_added: FlagNames { system: Flags::SEEN, keywords: vec![] },
            flags_removed: FlagNames {
                system: Flags::default(),
                keywords: Keyword::parse("ab").into_iter().collect(),
            },
            device: DeviceId::parse(b"d1").ok(),
            ..FeedItem::new(mailbox, ModSeq(4), ChangeKind::Flags, 1)
        };
        check(flagged, "01030402013601010101000001026162026431");
    }

    #[test]
    fn earlier_versions_are_read() {
        // Version 1 and 2: account 0x42, a flag change of folder 3 at MODSEQ 4 by request 1.
        for (record, at_millis) in [
            (&b"\x01\0\0\0\0\0\0\0\x42\x0a\x01\x01\x03\x04\x02\x01\0"[..], 5_000),
            (b"\x02\0\0\0\0\0\0\0\x42\x0a\x01\x01\x03\x04\x02\x01\0", 5),
        ] {
            let entry = FeedEntry::decode(record).unwrap();
            assert_eq!((entry.account, entry.at_millis), (AccountId(0x42), at_millis));
            let item = &entry.items[0];
            assert_eq!((item.mailbox, item.modseq), (Some(MailboxId(3)), ModSeq(4)));
            assert_eq!((&item.changed, &item.removed), (&FeedUids::Many, &FeedUids::Many));
        }
    }
}
