//! Every key and value of the store: the data model. Only this module knows key bytes.
//!
//! A key is `installation prefix ‖ area (1 byte) ‖ fields`, integers big-endian, so that keys sort as their fields.
//! All data of an account stands under one prefix: one range read loads a folder, one range clear removes an
//! account. An account's id carries its partition in its upper bits, so partitions are contiguous too.
//!
//! | area | key | value | size | written by | read by |
//! |---|---|---|---|---|---|
//! | 1 Schema | () | `u32` | 4 B | first start | every start |
//! | 2 Directory | address | [`AccountRecord`] v2 | ~150 B | provisioning | login, list |
//! | 3 FeedHead | partition | versionstamp | 10 B | every change | feed watches it |
//! | 4 FeedLog | partition, versionstamp, part | [`FeedEntry`] v3 | ~45 B | every change | feed |
//! | 5 Pending | account, kind, id | [`Pending`] v2 | ~10 B | expunge, delete, stage, restore | sweeper |
//! | 6 Cluster | what, node … | the third table below | | `cluster` | `cluster` |
//! | 7 Push | what, partition … | the last table below | | `push` | `push` |
//! | 8 FeedTrimmed | partition | versionstamp | 10 B | trim of the feed | consumers of the log |
//! | 16 Account | account, subspace … | the table below | | | |
//! | 22 Deleted | day, account, mailbox | [`DeletedNote`] v1 | ~10 B | first \Deleted of a folder | sweeper |
//!
//! | subspace | key after the account | value | size | written by | read by |
//! |---|---|---|---|---|---|
//! | 1 Ledger | () | [`Ledger`] v1, v2 with a class of service, v3 with the count of changes | ~140 B | every change | every change, quota, tree check |
//! | 2 Folder | mailbox | [`FolderRecord`] v1, v2 with an access control list | ~40 B, 60 B more an entry of the list | create, rename, delete, SETACL | tree load |
//! | 3 Subscription | name | empty | 0 B | subscribe | tree load |
//! | 4 State | mailbox | [`StateRecord`] v1 to v5, by what it says | ~40 B | every change of the folder | every read of the folder |
//! | 5 Block | mailbox, block | [`model::Block`] | ≤ 4 kB | append, store, copy, expunge | cold select, refresh |
//! | 6 Log | mailbox, MODSEQ of the last entry | [`LogBatch`] v1 | ~30 B | every change of the folder | refresh, vanished |
//! | 7 Info | body | [`cpm_mime::MessageIndex`] | ~0.7 kB | append | fetch, search, sort |
//! | 8 Shares | body | `u64` LE: references beyond the first; absent for 0 | 8 B | copy, sweeper | sweeper |
//! | 9 Chunk | body, number | octets; in chunk 0 after their total as varint | ≤ 32 kB | append, staging | fetch, search |
//! | 10 Header | header, value in lower case, body | [`Place`] v1 of IMDN-Message-ID, else empty | 0–12 B | append | first search of a large folder; append of objects |
//! | 11 Metadata | mailbox or 0, scope | [`MetadataRecord`] v1 | ≤ 66 kB | SETMETADATA | GETMETADATA, LIST |
//! | 12 Identities | mailbox, block | [`IdentityBlock`] v1 | ~80 B | store, append, copy, expunge | fetch, search |
//! | 13 Annotations | mailbox, UID, annotator | [`AnnotationRecord`] v1 | ≤ 66 kB | STORE, append, copy, expunge | fetch, search, sort |
//! | 14 ReferenceKey | mailbox | [`ReferenceKey`] v1 | 33 B | GENURLAUTH, RESETKEY | GENURLAUTH, URLFETCH |
//! | 15 Sharer | account that shares | its address | ~20 B | SETACL and removal of that account | LIST of other users' folders |
//! | 16 Checkpoint | identity of a device | [`CheckpointRecord`] v1 | ~6 B a folder | NOTIFY and LOGOUT of the device | NOTIFY of the device |
//! | 17 Notified | id of a message, body of a notification about it | [`Place`] v1 of the notification | 8–12 B | append of notifications | append of the message by a network function |
//! | 18 Address | () | the account's address | ~15 B | create, once by `push` | push |
//! | 19 Device | identity of a device | [`DeviceRecord`] v1 | ~30 B | provisioning | push |
//! | 20 Move | mailbox, MODSEQ of the MOVE out of it | [`MoveRecord`] v1 | ~12 B | MOVE | append of notifications |
//! | 21 News | () | [`NewsRecord`] v1 | ≤ 20 kB, ~5 B a change | create, rename, delete, SUBSCRIBE, SETACL, SETMETADATA | XCPMCHANGES |
//!
//! | what | key after it | value | size | written by | read by |
//! |---|---|---|---|---|---|
//! | 1 Installation | () | random number, then the key of decoy answers | 40 B | first start of a node | every start |
//! | 2 Epoch | () | `u64` LE | 8 B | every change of a node's record | nodes watch it |
//! | 3 Node | node | `cluster`'s record of a node | ~60 B | join, drain, leave | when the epoch changes |
//! | 4 Heartbeat | node | `u64` LE | 8 B | each node, every few seconds | nodes, as often |
//!
//! | 5 PushEpoch | () | `u64` LE | 8 B | every change of a pusher's record | pushers watch it |
//! | 6 PushNode | node | `cluster`'s record of a node | ~60 B | join, drain, leave | when the epoch changes |
//! | 7 PushHeartbeat | node | `u64` LE | 8 B | each pusher, every few seconds | pushers, as often |
//!
//! | what | key after it | value | size | written by | read by |
//! |---|---|---|---|---|---|
//! | 1 Cursor | partition | place in the log, as `feed` writes it | 12 B | `push`, after delivery | `push`, at its start |
//! | 2 Letter | partition, number | [`DeadLetter`] v1 | ≤ 70 kB | `push`, when a notice is given up | operator |
//! | 3 Addressed | () | empty | 0 B | `push`, once | `push`, at its start |
//!
//! Heartbeats stand apart from the records, so that their writing conflicts with nothing and wakes nobody.
//!
//! Neighbours. `Folder` and `Subscription` are the tree: one range read of both, and with `State` behind them of all that
//! a change of a cold account wants to know. A folder's blocks are neighbours in
//! the order of UIDs: a cold SELECT of 10 000 messages reads 80 values. `Info`, `Shares` and `Chunk` stand apart, so
//! that ENVELOPEs of neighbours are read without the octets between them. Bodies get ascending ids, so that messages
//! appended together stand together.
//!
//! Blocks of 128 UIDs under one key, since a STORE on 10 000 messages then writes 80 values of 2 kB and not 10 000;
//! an APPEND rewrites one block of at most 128 rows, which costs less than the log entry beside it.
//!
//! `Header` points at bodies, not at (mailbox, UID): COPY, MOVE and EXPUNGE need not touch it. Entries go with their
//! body. The value stands there whole, since SEARCH asks for parts of it: a scan of these short keys packs what the
//! first search of a large folder looks through, and no message is opened. Later searches add what came since. The value
//! of an IMDN-Message-ID says where the object came, for the deposit that is repeated and the notification about it; it is
//! not followed when the message moves, and whoever goes by it looks whether the row is there. Where it went, `Move` says,
//! one short record for each MOVE, however many messages it moved: it is cleared with the folder and when the log is
//! trimmed, so that it does not grow beyond the log.
//!
//! `Notified` leads the other way, for a message that comes after a notification about it. It goes with the body of the
//! notification, as `Header`.
//!
//! `Metadata` has all entries of a folder in one value for each scope: there are few, they are small, and a client asks
//! for those of all folders at once. Mailbox 0 is the account itself. What network functions say of a folder stands
//! under the shared scope, what a subscriber's devices say to each other under the private one.
//!
//! `Identities` says which device read and which deleted a message, for the messages of a block that have such a device.
//! It stands apart from the rows, since most folders have none: a mark in `State` says whether there may be any, and
//! without it nothing is read.
//!
//! `Annotations` has what all see of a message in one value, and what an account has for itself of it in another. Most
//! messages have none: `State` says how many octets the folder has of them, and for 0 nothing is read.
//!
//! `ReferenceKey` stands apart from the folder's record, which every tree load reads: a key goes nowhere but into a
//! hash, and few folders have one. It is neither exported nor restored: who imports an account signs anew.
//!
//! `Sharer` is the one record that another account writes: who gives somebody a right notes it in their account, in the
//! transaction of the SETACL. It only leads to the folders' lists, which say what is true; removed with the last right, or
//! with the account that gave it.
//!
//! `Checkpoint` has all folders in one value: a device is told of all, or of none. It is read by that device alone, and
//! neither exported nor restored: who imports an account has folders that no device was told of.
//!
//! The ledger counts the changes of the account, and `State` says which of them gave the folder its last MODSEQ: what
//! changed since a token, which is such a number, is found by reading all states, and no change writes a key for it. What
//! has no MODSEQ stands in `News`, the last of each kind and folder, also of those that are gone. An account without it had
//! no such change since changes are counted.
//!
//! `Deleted` has a note for each folder that has messages with \Deleted, however many, written in the transaction that gives
//! the first its flag and cleared in the one that takes the last away; `State` says under which day it stands. So a round of
//! the sweeper asks one range for what is due. The day comes first, before the partition in the account's number, since one
//! read then finds what is due in all partitions; what a day adds are some twenty octets for each folder that had nothing
//! \Deleted before, spread over the accounts.
//!
//! Numbers are never reused; retired ones stay listed here. There are none yet.
//!
//! [`AccountRecord`]: crate::records::AccountRecord
//! [`CheckpointRecord`]: crate::records::CheckpointRecord
//! [`DeadLetter`]: crate::records::DeadLetter
//! [`DeletedNote`]: crate::records::DeletedNote
//! [`DeviceRecord`]: crate::records::DeviceRecord
//! [`FeedEntry`]: crate::records::FeedEntry
//! [`Pending`]: crate::records::Pending
//! [`Place`]: crate::records::Place
//! [`Ledger`]: crate::records::Ledger
//! [`FolderRecord`]: crate::records::FolderRecord
//! [`StateRecord`]: crate::records::StateRecord
//! [`LogBatch`]: crate::records::LogBatch
//! [`MetadataRecord`]: crate::records::MetadataRecord
//! [`MoveRecord`]: crate::records::MoveRecord
//! [`NewsRecord`]: crate::records::NewsRecord
//! [`IdentityBlock`]: crate::records::IdentityBlock
//! [`AnnotationRecord`]: crate::records::AnnotationRecord
//! [`ReferenceKey`]: crate::records::ReferenceKey

use bytes::Bytes;
use kv::{Versionstamp, prefix_end};
use model::limits::BLOCK_UIDS;
use model::{
    AccountId, BlockNo, BodyId, CpmAddress, DeviceId, EntryScope, MailboxId, MailboxName, ModSeq, Partition,
    Uid,
};
use store_api::NodeId;

/// The version of the whole layout, stored under [`Area::Schema`].
pub const SCHEMA_VERSION: u32 = 1;

/// The first byte of a key after the installation's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Area {
    /// The version of the layout.
    Schema = 1,
    /// Accounts by address.
    Directory = 2,
    /// What watchers of a partition watch.
    FeedHead = 3,
    /// The change log of a partition.
    FeedLog = 4,
    /// Work left for the sweeper.
    Pending = 5,
    /// The storage nodes, and the processes that push.
    Cluster = 6,
    /// What the consumer that tells the PUSH enabler keeps.
    Push = 7,
    /// Up to where the log of a partition was cleared.
    FeedTrimmed = 8,
    /// Data of accounts.
    Account = 16,
    /// Folders that have messages with \Deleted, by day.
    Deleted = 22,
}

/// What a key of an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Subspace {
    /// Counters, limits and marks of the account.
    Ledger = 1,
    /// Folders by id.
    Folder = 2,
    /// Names subscribed to.
    Subscription = 3,
    /// Counters and marks of folders.
    State = 4,
    /// Rows of messages.
    Block = 5,
    /// Changes of folders by MODSEQ.
    Log = 6,
    /// Facts of messages.
    Info = 7,
    /// References to bodies beyond the first.
    Shares = 8,
    /// Octets of bodies.
    Chunk = 9,
    /// Bodies by the headers that clients search.
    Header = 10,
    /// Metadata entries of folders and of the account.
    Metadata = 11,
    /// Devices that read and deleted messages.
    Identities = 12,
    /// Annotations of messages.
    Annotations = 13,
    /// Keys that sign references to messages, by folder.
    ReferenceKey = 14,
    /// Accounts that have given this one a right on a folder.
    Sharer = 15,
    /// What devices were last told.
    Checkpoint = 16,
    /// Notifications by the message that they are about.
    Notified = 17,
    /// The account's address, for who knows it by its id alone.
    Address = 18,
    /// The devices that the operator has made known.
    Device = 19,
    /// Where messages went that were moved out of a folder.
    Move = 20,
    /// What changed of folders that no MODSEQ tells of.
    News = 21,
}

/// What a key of [`Area::Cluster`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum ClusterKey {
    /// What all nodes and front ends of the installation have in common.
    Installation = 1,
    /// Ascends with every change of a node's record.
    Epoch = 2,
    /// What a node says of itself.
    Node = 3,
    /// A number that moves while a node lives.
    Heartbeat = 4,
    /// As [`ClusterKey::Epoch`], of the processes that push.
    PushEpoch = 5,
    /// As [`ClusterKey::Node`], of the processes that push.
    PushNode = 6,
    /// As [`ClusterKey::Heartbeat`], of the processes that push.
    PushHeartbeat = 7,
}

/// Processes that find each other in the database and share the partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// The storage nodes.
    #[default]
    Storage,
    /// Those that tell the PUSH enabler.
    Push,
}

/// What a key of [`Area::Push`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum PushKey {
    /// Up to where the log of a partition is dealt with.
    Cursor = 1,
    /// A notice that was given up.
    Letter = 2,
    /// That every account has its address beside it.
    Addressed = 3,
}

/// Kinds of work left for the sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PendingKind {
    /// A body written ahead, not yet a message. Id: the body.
    Staged = 1,
    /// References to bodies that were given up. Id: a number of its own.
    Released = 2,
    /// A folder that was deleted. Id: the mailbox.
    Folder = 3,
    /// A folder whose log may be longer than it need be. Id: the mailbox.
    Log = 4,
    /// An account that was removed. Id: 0.
    Account = 5,
    /// A folder that is being restored, seen by nobody yet. Id: the mailbox.
    Restore = 6,
}

impl PendingKind {
    /// The kind of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Staged, Self::Released, Self::Folder, Self::Log, Self::Account, Self::Restore]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// A header whose values are indexed: what CPM clients search (OMA-TS-CPM_MessageStorage, §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IndexedHeader {
    /// IMDN-Message-ID.
    ImdnMessageId = 1,
    /// Conversation-ID.
    ConversationId = 2,
    /// Contribution-ID.
    ContributionId = 3,
}

impl IndexedHeader {
    /// Every one, with its field name.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::ImdnMessageId, "IMDN-Message-ID"),
        (Self::ConversationId, "Conversation-ID"),
        (Self::ContributionId, "Contribution-ID"),
    ];
}

/// Whose annotations a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Annotator {
    /// Those that all see.
    All,
    /// Those that this account has for itself. Its number is never 0.
    One(AccountId),
}

impl Annotator {
    fn number(self) -> u64 {
        match self {
            Self::All => 0,
            Self::One(account) => account.0,
        }
    }
}

/// Builds the keys of one installation.
#[derive(Clone, Debug)]
pub struct Keyspace {
    prefix: Box<[u8]>,
}

/// A key under construction.
struct Key(Vec<u8>);

impl Key {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn text(mut self, value: &str) -> Self {
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    fn done(self) -> Bytes {
        self.0.into()
    }
}

/// All keys from `begin` to before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub begin: Bytes,
    /// The first key after them.
    pub end: Bytes,
}

impl KeyRange {
    fn of_prefix(prefix: Bytes) -> Self {
        Self { end: prefix_end(&prefix), begin: prefix }
    }
}

impl Keyspace {
    /// The keys of the installation whose keys all start with `prefix`.
    pub fn new(prefix: &[u8]) -> Self {
        Self { prefix: prefix.into() }
    }

    fn area(&self, area: Area) -> Key {
        let mut key = Vec::with_capacity(self.prefix.len() + 32);
        key.extend_from_slice(&self.prefix);
        key.push(area as u8);
        Key(key)
    }

    fn sub(&self, account: AccountId, subspace: Subspace) -> Key {
        self.area(Area::Account).u64(account.0).u8(subspace as u8)
    }

    /// Everything of the installation.
    pub fn everything(&self) -> KeyRange {
        KeyRange::of_prefix(Bytes::copy_from_slice(&self.prefix))
    }

    /// The version of the layout.
    pub fn schema(&self) -> Bytes {
        self.area(Area::Schema).done()
    }

    /// The record of the account of an address.
    pub fn directory(&self, address: &CpmAddress) -> Bytes {
        self.area(Area::Directory).text(address.as_str()).done()
    }

    /// All of the directory after `after`.
    pub fn directory_after(&self, after: Option<&CpmAddress>) -> KeyRange {
        let all = KeyRange::of_prefix(self.area(Area::Directory).done());
        match after {
            None => all,
            Some(address) => KeyRange {
                begin: self.area(Area::Directory).text(address.as_str()).u8(0).done(),
                end: all.end,
            },
        }
    }

    /// The address in a key of the directory.
    pub fn address_of(&self, key: &[u8]) -> Option<CpmAddress> {
        let text = std::str::from_utf8(key.get(self.prefix.len() + 1..)?).ok()?;
        CpmAddress::parse(text).ok()
    }

    /// What watchers of a partition watch: the versionstamp of its last change.
    pub fn feed_head(&self, partition: Partition) -> Bytes {
        self.area(Area::FeedHead).u16(partition.0).done()
    }

    /// What stands before the versionstamp in the log of a partition.
    pub fn feed_log_prefix(&self, partition: Partition) -> Bytes {
        self.area(Area::FeedLog).u16(partition.0).done()
    }

    /// The log of a partition after the change of `after`.
    pub fn feed_log_after(&self, partition: Partition, after: Option<Versionstamp>) -> KeyRange {
        let all = KeyRange::of_prefix(self.feed_log_prefix(partition));
        match after {
            None => all,
            Some(stamp) => {
                let mut key = self.area(Area::FeedLog).u16(partition.0);
                key.0.extend_from_slice(&stamp.0);
                KeyRange { begin: prefix_end(&key.0), end: all.end }
            }
        }
    }

    /// The log of a partition after one entry, named by the octets that [`Keyspace::feed_entry_of`] gives.
    pub fn feed_log_after_entry(&self, partition: Partition, after: Option<[u8; 12]>) -> KeyRange {
        let all = KeyRange::of_prefix(self.feed_log_prefix(partition));
        let Some(after) = after else { return all };
        let mut key = self.area(Area::FeedLog).u16(partition.0);
        key.0.extend_from_slice(&after);
        KeyRange { begin: key.u8(0).done(), end: all.end }
    }

    /// What names an entry within the log of its partition: its versionstamp and its part.
    pub fn feed_entry_of(&self, key: &[u8]) -> Option<[u8; 12]> {
        key.get(self.prefix.len() + 3..)?.try_into().ok()
    }

    /// The partition in a key of a log.
    pub fn feed_partition_of(&self, key: &[u8]) -> Option<Partition> {
        let at = self.prefix.len() + 1;
        Some(Partition(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?)))
    }

    /// The versionstamp in a key of a partition's log.
    pub fn feed_stamp_of(&self, key: &[u8]) -> Option<Versionstamp> {
        let at = self.prefix.len() + 3;
        Some(Versionstamp(key.get(at..at + 10)?.try_into().ok()?))
    }

    /// A piece of work for the sweeper.
    pub fn pending(&self, account: AccountId, kind: PendingKind, id: u64) -> Bytes {
        self.area(Area::Pending).u64(account.0).u8(kind as u8).u64(id).done()
    }

    /// All work of the partitions from `first` to `last`.
    pub fn pending_of_partitions(&self, first: Partition, last: Partition) -> KeyRange {
        let begin = self.area(Area::Pending).u64(u64::from(first.0) << 52).done();
        let end = self.area(Area::Pending).u64((u64::from(last.0) << 52) | ((1 << 52) - 1)).done();
        KeyRange { begin, end: prefix_end(&end) }
    }

    /// All work of an account.
    pub fn pending_of_account(&self, account: AccountId) -> KeyRange {
        KeyRange::of_prefix(self.area(Area::Pending).u64(account.0).done())
    }

    /// All work of one kind of an account.
    pub fn pending_of_kind(&self, account: AccountId, kind: PendingKind) -> KeyRange {
        KeyRange::of_prefix(self.area(Area::Pending).u64(account.0).u8(kind as u8).done())
    }

    /// What a key of the sweeper's work names.
    pub fn pending_of(&self, key: &[u8]) -> Option<(AccountId, PendingKind, u64)> {
        let key = key.get(self.prefix.len() + 1..)?;
        let account = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
        let kind = PendingKind::from_number(*key.get(8)?)?;
        let id = u64::from_be_bytes(key.get(9..17)?.try_into().ok()?);
        (key.len() == 17).then_some((AccountId(account), kind, id))
    }

    /// That a folder has messages with \Deleted, since that day or an earlier one.
    pub fn deleted(&self, day: u32, account: AccountId, mailbox: MailboxId) -> Bytes {
        self.area(Area::Deleted).u32(day).u64(account.0).u64(mailbox.0).done()
    }

    /// All notes of folders with \Deleted, by day.
    pub fn all_deleted(&self) -> KeyRange {
        KeyRange::of_prefix(self.area(Area::Deleted).done())
    }

    /// Those of the days before `day`.
    pub fn deleted_before(&self, day: u32) -> KeyRange {
        KeyRange { begin: self.all_deleted().begin, end: self.area(Area::Deleted).u32(day).done() }
    }

    /// What a key of [`Keyspace::deleted`] names.
    pub fn deleted_of(&self, key: &[u8]) -> Option<(u32, AccountId, MailboxId)> {
        let (day, key) = key.get(self.prefix.len() + 1..)?.split_first_chunk()?;
        let (account, mailbox) = key.split_first_chunk()?;
        let mailbox = MailboxId(u64::from_be_bytes(mailbox.try_into().ok()?));
        Some((u32::from_be_bytes(*day), AccountId(u64::from_be_bytes(*account)), mailbox))
    }

    fn cluster(&self, what: ClusterKey) -> Key {
        self.area(Area::Cluster).u8(what as u8)
    }

    /// What all nodes and front ends of the installation have in common.
    pub fn installation(&self) -> Bytes {
        self.cluster(ClusterKey::Installation).done()
    }

    /// What the nodes of a group watch to hear of each other.
    pub fn cluster_epoch(&self, group: Group) -> Bytes {
        let what = match group {
            Group::Storage => ClusterKey::Epoch,
            Group::Push => ClusterKey::PushEpoch,
        };
        self.cluster(what).done()
    }

    fn cluster_nodes(&self, group: Group) -> Key {
        self.cluster(match group {
            Group::Storage => ClusterKey::Node,
            Group::Push => ClusterKey::PushNode,
        })
    }

    fn cluster_hearts(&self, group: Group) -> Key {
        self.cluster(match group {
            Group::Storage => ClusterKey::Heartbeat,
            Group::Push => ClusterKey::PushHeartbeat,
        })
    }

    /// What a node says of itself.
    pub fn node(&self, group: Group, node: NodeId) -> Bytes {
        self.cluster_nodes(group).u64(node.0).done()
    }

    /// The records of all nodes of a group.
    pub fn nodes(&self, group: Group) -> KeyRange {
        KeyRange::of_prefix(self.cluster_nodes(group).done())
    }

    /// A number that moves while a node lives.
    pub fn heartbeat(&self, group: Group, node: NodeId) -> Bytes {
        self.cluster_hearts(group).u64(node.0).done()
    }

    /// The heartbeats of all nodes of a group.
    pub fn heartbeats(&self, group: Group) -> KeyRange {
        KeyRange::of_prefix(self.cluster_hearts(group).done())
    }

    fn push(&self, what: PushKey) -> Key {
        self.area(Area::Push).u8(what as u8)
    }

    /// Up to where the log of a partition is dealt with.
    pub fn push_cursor(&self, partition: Partition) -> Bytes {
        self.push(PushKey::Cursor).u16(partition.0).done()
    }

    /// The cursors of all partitions.
    pub fn push_cursors(&self) -> KeyRange {
        KeyRange::of_prefix(self.push(PushKey::Cursor).done())
    }

    /// The partition in a key of [`Keyspace::push_cursors`] or [`Keyspace::dead_letters`].
    pub fn push_partition_of(&self, key: &[u8]) -> Option<Partition> {
        let at = self.prefix.len() + 2;
        Some(Partition(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?)))
    }

    /// A notice that was given up; numbers ascend within a partition.
    pub fn dead_letter(&self, partition: Partition, number: u64) -> Bytes {
        self.push(PushKey::Letter).u16(partition.0).u64(number).done()
    }

    /// The notices of a partition that were given up.
    pub fn dead_letters_of(&self, partition: Partition) -> KeyRange {
        KeyRange::of_prefix(self.push(PushKey::Letter).u16(partition.0).done())
    }

    /// All notices that were given up.
    pub fn dead_letters(&self) -> KeyRange {
        KeyRange::of_prefix(self.push(PushKey::Letter).done())
    }

    /// The number in the key of a notice that was given up.
    pub fn dead_letter_of(&self, key: &[u8]) -> Option<u64> {
        let at = self.prefix.len() + 4;
        Some(u64::from_be_bytes(key.get(at..)?.try_into().ok()?))
    }

    /// That every account has its [`Keyspace::address`].
    pub fn push_addressed(&self) -> Bytes {
        self.push(PushKey::Addressed).done()
    }

    /// The versionstamp up to which the log of a partition was cleared.
    pub fn feed_trimmed(&self, partition: Partition) -> Bytes {
        self.area(Area::FeedTrimmed).u16(partition.0).done()
    }

    /// An account's address.
    pub fn address(&self, account: AccountId) -> Bytes {
        self.sub(account, Subspace::Address).done()
    }

    /// A device of an account.
    pub fn device(&self, account: AccountId, device: &DeviceId) -> Bytes {
        self.sub(account, Subspace::Device).text(device.as_str()).done()
    }

    /// The device in a key of an account's devices.
    pub fn device_of(&self, key: &[u8]) -> Option<DeviceId> {
        DeviceId::parse(key.get(self.prefix.len() + 10..)?).ok()
    }

    /// All data of the accounts of a partition after `after`, or of all.
    pub fn accounts_of_partition(&self, partition: Partition, after: Option<AccountId>) -> KeyRange {
        let first = self.area(Area::Account).u64(u64::from(partition.0) << 52).done();
        let last = self.area(Area::Account).u64((u64::from(partition.0) << 52) | ((1 << 52) - 1)).done();
        KeyRange { begin: after.map_or(first, |after| self.account(after).end), end: prefix_end(&last) }
    }

    /// The node in a key of [`Keyspace::nodes`] or [`Keyspace::heartbeats`].
    pub fn node_of(&self, key: &[u8]) -> Option<NodeId> {
        let at = self.prefix.len() + 2;
        Some(NodeId(u64::from_be_bytes(key.get(at..)?.try_into().ok()?)))
    }

    /// All data of an account.
    pub fn account(&self, account: AccountId) -> KeyRange {
        KeyRange::of_prefix(self.area(Area::Account).u64(account.0).done())
    }

    /// The account in a key of its data.
    pub fn account_of(&self, key: &[u8]) -> Option<AccountId> {
        let at = self.prefix.len() + 1;
        Some(AccountId(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?)))
    }

    /// All keys of one subspace of an account.
    pub fn subspace(&self, account: AccountId, subspace: Subspace) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, subspace).done())
    }

    /// The number that stands right after the subspace in a key: a mailbox or a body.
    pub fn id_of(&self, key: &[u8]) -> Option<u64> {
        let at = self.prefix.len() + 10;
        Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
    }

    /// Counters, limits and marks of an account.
    pub fn ledger(&self, account: AccountId) -> Bytes {
        self.sub(account, Subspace::Ledger).done()
    }

    /// A folder's name and kind.
    pub fn folder(&self, account: AccountId, mailbox: MailboxId) -> Bytes {
        self.sub(account, Subspace::Folder).u64(mailbox.0).done()
    }

    /// All folders and subscriptions of an account.
    pub fn tree(&self, account: AccountId) -> KeyRange {
        KeyRange {
            begin: self.sub(account, Subspace::Folder).done(),
            end: prefix_end(&self.sub(account, Subspace::Subscription).done()),
        }
    }

    /// As [`Keyspace::tree`], and then the states of all folders: all that is small of an account but its ledger.
    pub fn tree_and_states(&self, account: AccountId) -> KeyRange {
        KeyRange { end: prefix_end(&self.sub(account, Subspace::State).done()), ..self.tree(account) }
    }

    /// The folder in the key of a state; none in any other key of an account.
    pub fn state_of(&self, key: &[u8]) -> Option<MailboxId> {
        let at = self.prefix.len() + 9;
        (*key.get(at)? == Subspace::State as u8).then_some(())?;
        Some(MailboxId(u64::from_be_bytes(key.get(at + 1..)?.try_into().ok()?)))
    }

    /// A name subscribed to.
    pub fn subscription(&self, account: AccountId, name: &MailboxName) -> Bytes {
        self.sub(account, Subspace::Subscription).text(name.as_str()).done()
    }

    /// What a key of [`Keyspace::tree`] names.
    pub fn tree_key_of(&self, key: &[u8]) -> Option<TreeKey> {
        let at = self.prefix.len() + 9;
        let rest = key.get(at + 1..)?;
        match *key.get(at)? {
            n if n == Subspace::Folder as u8 => {
                Some(TreeKey::Folder(MailboxId(u64::from_be_bytes(rest.try_into().ok()?))))
            }
            n if n == Subspace::Subscription as u8 => {
                MailboxName::parse(std::str::from_utf8(rest).ok()?).ok().map(TreeKey::Subscription)
            }
            _ => None,
        }
    }

    /// A folder's counters and marks.
    pub fn state(&self, account: AccountId, mailbox: MailboxId) -> Bytes {
        self.sub(account, Subspace::State).u64(mailbox.0).done()
    }

    /// A block of a folder's rows.
    pub fn block(&self, account: AccountId, mailbox: MailboxId, block: BlockNo) -> Bytes {
        self.sub(account, Subspace::Block).u64(mailbox.0).u32(block.0).done()
    }

    /// All blocks of a folder.
    pub fn blocks(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Block).u64(mailbox.0).done())
    }

    /// The number of the block in a key.
    pub fn block_of(&self, key: &[u8]) -> Option<BlockNo> {
        let at = self.prefix.len() + 18;
        Some(BlockNo(u32::from_be_bytes(key.get(at..)?.try_into().ok()?)))
    }

    /// Which devices read and deleted the messages of a block.
    pub fn identities(&self, account: AccountId, mailbox: MailboxId, block: BlockNo) -> Bytes {
        self.sub(account, Subspace::Identities).u64(mailbox.0).u32(block.0).done()
    }

    /// Those of all blocks of a folder.
    pub fn identities_of_folder(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Identities).u64(mailbox.0).done())
    }

    /// The folder and the block in a key of identities.
    pub fn identities_of(&self, key: &[u8]) -> Option<(MailboxId, BlockNo)> {
        Some((MailboxId(self.id_of(key)?), self.block_of(key)?))
    }

    /// Annotations of a message.
    pub fn annotations(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uid: Uid,
        annotator: Annotator,
    ) -> Bytes {
        let message = self.sub(account, Subspace::Annotations).u64(mailbox.0).u32(uid.get());
        message.u64(annotator.number()).done()
    }

    /// All annotations of the messages from `first` to `last`.
    pub fn annotations_between(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        first: Uid,
        last: Uid,
    ) -> KeyRange {
        let of = |uid: Uid| self.sub(account, Subspace::Annotations).u64(mailbox.0).u32(uid.get()).done();
        KeyRange { begin: of(first), end: prefix_end(&of(last)) }
    }

    /// All annotations of the messages of a block.
    pub fn annotations_of_block(&self, account: AccountId, mailbox: MailboxId, block: BlockNo) -> KeyRange {
        let folder = || self.sub(account, Subspace::Annotations).u64(mailbox.0);
        let first = block.0.saturating_mul(BLOCK_UIDS);
        let begin = folder().u32(first).done();
        KeyRange { begin, end: prefix_end(&folder().u32(first.saturating_add(BLOCK_UIDS - 1)).done()) }
    }

    /// All annotations of the messages of a folder.
    pub fn annotations_of_folder(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Annotations).u64(mailbox.0).done())
    }

    /// The folder, the message and the annotator in a key of annotations.
    pub fn annotations_of(&self, key: &[u8]) -> Option<(MailboxId, Uid, Annotator)> {
        let at = self.prefix.len() + 18;
        let (uid, annotator) = key.get(at..)?.split_at_checked(4)?;
        let uid = Uid::new(u32::from_be_bytes(uid.try_into().ok()?))?;
        let annotator = match u64::from_be_bytes(annotator.try_into().ok()?) {
            0 => Annotator::All,
            number => Annotator::One(AccountId(number)),
        };
        Some((MailboxId(self.id_of(key)?), uid, annotator))
    }

    /// Changes of a folder whose last is `modseq`.
    pub fn log(&self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> Bytes {
        self.sub(account, Subspace::Log).u64(mailbox.0).u64(modseq.0).done()
    }

    /// The changes of a folder after `modseq`, and perhaps some before it that share its key.
    pub fn log_after(&self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> KeyRange {
        KeyRange { begin: self.log(account, mailbox, modseq.next()), end: self.logs(account, mailbox).end }
    }

    /// All changes of a folder.
    pub fn logs(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Log).u64(mailbox.0).done())
    }

    /// The MODSEQ in a key of the log.
    pub fn log_modseq_of(&self, key: &[u8]) -> Option<ModSeq> {
        let at = self.prefix.len() + 18;
        Some(ModSeq(u64::from_be_bytes(key.get(at..)?.try_into().ok()?)))
    }

    /// The facts of a message.
    pub fn info(&self, account: AccountId, body: BodyId) -> Bytes {
        self.sub(account, Subspace::Info).u64(body.0).done()
    }

    /// References to a body beyond the first.
    pub fn shares(&self, account: AccountId, body: BodyId) -> Bytes {
        self.sub(account, Subspace::Shares).u64(body.0).done()
    }

    /// A piece of a body.
    pub fn chunk(&self, account: AccountId, body: BodyId, number: u32) -> Bytes {
        self.sub(account, Subspace::Chunk).u64(body.0).u32(number).done()
    }

    /// All pieces of a body.
    pub fn chunks(&self, account: AccountId, body: BodyId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Chunk).u64(body.0).done())
    }

    /// Says that `body` has `value` in a header.
    pub fn header(&self, account: AccountId, header: IndexedHeader, value: &[u8], body: BodyId) -> Bytes {
        let mut key = self.sub(account, Subspace::Header).u8(header as u8);
        key.0.extend(value.iter().map(u8::to_ascii_lowercase));
        key.u64(body.0).done()
    }

    /// The metadata entries of one scope of a folder, or of the account itself for none.
    pub fn metadata(&self, account: AccountId, mailbox: Option<MailboxId>, scope: EntryScope) -> Bytes {
        let scope = match scope {
            EntryScope::Shared => 0,
            EntryScope::Private => 1,
        };
        self.metadata_prefix(account, mailbox).u8(scope).done()
    }

    /// All metadata entries of a folder.
    pub fn metadata_of_folder(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.metadata_prefix(account, Some(mailbox)).done())
    }

    fn metadata_prefix(&self, account: AccountId, mailbox: Option<MailboxId>) -> Key {
        self.sub(account, Subspace::Metadata).u64(mailbox.map_or(0, |mailbox| mailbox.0))
    }

    /// The key that signs references to messages of a folder.
    pub fn reference_key(&self, account: AccountId, mailbox: MailboxId) -> Bytes {
        self.sub(account, Subspace::ReferenceKey).u64(mailbox.0).done()
    }

    /// What a device was last told of an account.
    pub fn checkpoint(&self, account: AccountId, device: &DeviceId) -> Bytes {
        self.sub(account, Subspace::Checkpoint).text(device.as_str()).done()
    }

    /// What changed of an account's folders that no MODSEQ tells of.
    pub fn news(&self, account: AccountId) -> Bytes {
        self.sub(account, Subspace::News).done()
    }

    /// Where an account is told that `sharer` has given it a right on a folder.
    pub fn sharer(&self, account: AccountId, sharer: AccountId) -> Bytes {
        self.sub(account, Subspace::Sharer).u64(sharer.0).done()
    }

    /// All accounts that have given this one a right on a folder; [`Keyspace::id_of`] reads which.
    pub fn sharers(&self, account: AccountId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Sharer).done())
    }

    /// Says that the notification `body` is about the message of that id.
    pub fn notified(&self, account: AccountId, id: &[u8], body: BodyId) -> Bytes {
        let mut key = self.sub(account, Subspace::Notified);
        key.0.extend_from_slice(id);
        key.u64(body.0).done()
    }

    /// The id of the message and the notification in a key of [`Keyspace::notified`].
    pub fn notified_of<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], BodyId)> {
        let (id, body) = key.get(self.prefix.len() + 10..)?.split_last_chunk::<8>()?;
        Some((id, BodyId(u64::from_be_bytes(*body))))
    }

    /// Where messages went by the MOVE out of a folder that has this MODSEQ.
    pub fn moved(&self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> Bytes {
        self.sub(account, Subspace::Move).u64(mailbox.0).u64(modseq.0).done()
    }

    /// All that was moved out of a folder.
    pub fn moves(&self, account: AccountId, mailbox: MailboxId) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Move).u64(mailbox.0).done())
    }

    /// All values of a header, with their bodies.
    pub fn header_values(&self, account: AccountId, header: IndexedHeader) -> KeyRange {
        KeyRange::of_prefix(self.sub(account, Subspace::Header).u8(header as u8).done())
    }

    /// The value and the body in a key of the header index.
    pub fn header_value_of<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], BodyId)> {
        let (value, body) = key.get(self.prefix.len() + 11..)?.split_last_chunk::<8>()?;
        Some((value, BodyId(u64::from_be_bytes(*body))))
    }
}

/// A key of an account's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKey {
    /// A folder.
    Folder(MailboxId),
    /// A name subscribed to.
    Subscription(MailboxName),
}

const _: () = assert!(model::limits::ADDRESS_BYTES_MAX + 64 < kv::limits::KEY_BYTES_MAX);
const _: () = assert!(model::limits::FOLDER_NAME_BYTES_MAX + 64 < kv::limits::KEY_BYTES_MAX);
const _: () = assert!(cpm_mime::limits::FACT_BYTES_MAX + 64 < kv::limits::KEY_BYTES_MAX);
const _: () = assert!(
    model::limits::ACL_ENTRIES_MAX * (model::limits::ADDRESS_BYTES_MAX + 16)
        + model::limits::FOLDER_NAME_BYTES_MAX
        + 16
        < kv::limits::VALUE_BYTES_MAX
);
const _: () = assert!(model::limits::ANNOTATIONS_BYTES_MAX + 64 < kv::limits::VALUE_BYTES_MAX);
const _: () = assert!(model::limits::ENTRIES_BYTES_MAX + 64 < kv::limits::VALUE_BYTES_MAX);
const _: () = assert!(model::limits::BODY_CHUNK_BYTES + 10 < kv::limits::VALUE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(0x1230_0000_0000_0042);

    #[test]
    fn keys_stay_as_they_are() {
        let keys = Keyspace::new(b"p");
        for (key, expected) in [
            (keys.schema(), "7001"),
            (keys.feed_head(Partition(258)), "70030102"),
            (keys.pending(ACCOUNT, PendingKind::Released, 7), "70051230000000000042020000000000000007"),
            (keys.cluster_epoch(Group::Storage), "700602"),
            (keys.node(Group::Storage, NodeId(5)), "7006030000000000000005"),
            (keys.heartbeat(Group::Storage, NodeId(5)), "7006040000000000000005"),
            (keys.cluster_epoch(Group::Push), "700605"),
            (keys.node(Group::Push, NodeId(5)), "7006060000000000000005"),
            (keys.heartbeat(Group::Push, NodeId(5)), "7006070000000000000005"),
            (keys.push_cursor(Partition(9)), "7007010009"),
            (keys.dead_letter(Partition(9), 5), "70070200090000000000000005"),
            (keys.push_addressed(), "700703"),
            (keys.feed_trimmed(Partition(9)), "70080009"),
            (keys.deleted(0x4cdb, ACCOUNT, MailboxId(3)), "701600004cdb12300000000000420000000000000003"),
            (keys.ledger(ACCOUNT), "7010123000000000004201"),
            (keys.sharer(ACCOUNT, AccountId(9)), "701012300000000000420f0000000000000009"),
            (keys.folder(ACCOUNT, MailboxId(3)), "70101230000000000042020000000000000003"),
            (keys.state(ACCOUNT, MailboxId(3)), "70101230000000000042040000000000000003"),
            (keys.block(ACCOUNT, MailboxId(3), BlockNo(9)), "7010123000000000004205000000000000000300000009"),
            (
                keys.log(ACCOUNT, MailboxId(3), ModSeq(10)),
                "70101230000000000042060000000000000003000000000000000a",
            ),
            (keys.info(ACCOUNT, BodyId(5)), "70101230000000000042070000000000000005"),
            (keys.shares(ACCOUNT, BodyId(5)), "70101230000000000042080000000000000005"),
            (keys.chunk(ACCOUNT, BodyId(5), 2), "7010123000000000004209000000000000000500000002"),
            (
                keys.header(ACCOUNT, IndexedHeader::ConversationId, b"AbC", BodyId(5)),
                "701012300000000000420a026162630000000000000005",
            ),
            (keys.metadata(ACCOUNT, None, EntryScope::Shared), "701012300000000000420b000000000000000000"),
            (
                keys.identities(ACCOUNT, MailboxId(3), BlockNo(9)),
                "701012300000000000420c000000000000000300000009",
            ),
            (
                keys.metadata(ACCOUNT, Some(MailboxId(3)), EntryScope::Private),
                "701012300000000000420b000000000000000301",
            ),
            (
                keys.annotations(ACCOUNT, MailboxId(3), Uid::new(9).unwrap(), Annotator::One(AccountId(7))),
                "701012300000000000420d0000000000000003000000090000000000000007",
            ),
            (keys.reference_key(ACCOUNT, MailboxId(3)), "701012300000000000420e0000000000000003"),
            (keys.news(ACCOUNT), "7010123000000000004215"),
            (
                keys.checkpoint(ACCOUNT, &DeviceId::parse(b"ab").expect("a device")),
                "70101230000000000042106162",
            ),
            (keys.notified(ACCOUNT, b"aB", BodyId(5)), "701012300000000000421161420000000000000005"),
            (
                keys.moved(ACCOUNT, MailboxId(3), ModSeq(10)),
                "70101230000000000042140000000000000003000000000000000a",
            ),
        ] {
            let octets: Vec<u8> = (0..expected.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&expected[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(key, octets);
        }
    }

    #[test]
    fn keys_read_back() {
        let keys = Keyspace::new(b"some/prefix");
        let address = CpmAddress::parse("tel:+123").unwrap();
        assert_eq!(keys.address_of(&keys.directory(&address)), Some(address.clone()));
        assert!(keys.directory_after(Some(&address)).begin > keys.directory(&address));
        let pending = keys.pending(ACCOUNT, PendingKind::Log, 77);
        assert_eq!(keys.pending_of(&pending), Some((ACCOUNT, PendingKind::Log, 77)));
        let range = keys.pending_of_partitions(ACCOUNT.partition(), ACCOUNT.partition());
        assert!(range.begin <= pending && pending < range.end);
        let everything = keys.pending_of_partitions(Partition(0), Partition(model::PARTITIONS - 1));
        assert!(everything.begin <= pending && pending < everything.end);
        let deleted = keys.deleted(7, ACCOUNT, MailboxId(4));
        assert_eq!(keys.deleted_of(&deleted), Some((7, ACCOUNT, MailboxId(4))));
        assert_eq!(keys.deleted_of(&deleted[..deleted.len() - 1]), None);
        assert!(keys.deleted_before(8).end > deleted && keys.deleted_before(7).end < deleted);
        assert!(keys.all_deleted().begin < deleted && deleted < keys.all_deleted().end);
        assert_eq!(keys.block_of(&keys.block(ACCOUNT, MailboxId(1), BlockNo(6))), Some(BlockNo(6)));
        let identities = keys.identities(ACCOUNT, MailboxId(4), BlockNo(6));
        assert_eq!(keys.identities_of(&identities), Some((MailboxId(4), BlockNo(6))));
        let uid = |uid| Uid::new(uid).unwrap();
        for annotator in [Annotator::All, Annotator::One(AccountId(u64::MAX))] {
            let key = keys.annotations(ACCOUNT, MailboxId(4), uid(6), annotator);
            assert_eq!(keys.annotations_of(&key), Some((MailboxId(4), uid(6), annotator)));
            let one = keys.annotations_between(ACCOUNT, MailboxId(4), uid(6), uid(6));
            assert!(one.begin <= key && key < one.end);
            let others = keys.annotations_between(ACCOUNT, MailboxId(4), uid(7), uid(9));
            assert!(key < others.begin);
        }
        assert_eq!(keys.log_modseq_of(&keys.log(ACCOUNT, MailboxId(1), ModSeq(6))), Some(ModSeq(6)));
        assert_eq!(keys.id_of(&keys.state(ACCOUNT, MailboxId(11))), Some(11));
        let header = keys.header(ACCOUNT, IndexedHeader::ImdnMessageId, b"Xy", BodyId(8));
        assert_eq!(keys.header_value_of(&header), Some((&b"xy"[..], BodyId(8))));
        let notified = keys.notified(ACCOUNT, b"Xy", BodyId(8));
        assert_eq!(keys.notified_of(&notified), Some((&b"Xy"[..], BodyId(8))));
        assert_eq!(keys.id_of(&keys.moved(ACCOUNT, MailboxId(11), ModSeq(3))), Some(11));
        assert_eq!(keys.node_of(&keys.node(Group::Storage, NodeId(77))), Some(NodeId(77)));
        assert_eq!(keys.node_of(&keys.heartbeat(Group::Storage, NodeId(78))), Some(NodeId(78)));
        let name = MailboxName::parse("a/b").unwrap();
        for key in [keys.subscription(ACCOUNT, &name), keys.folder(ACCOUNT, MailboxId(4))] {
            let tree = keys.tree(ACCOUNT);
            assert!(tree.begin <= key && key < tree.end && keys.tree_key_of(&key).is_some());
        }
        let stamp = Versionstamp([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let mut entry = keys.feed_log_prefix(Partition(9)).to_vec();
        entry.extend_from_slice(&stamp.0);
        entry.extend_from_slice(&[0, 0]);
        assert_eq!(keys.feed_stamp_of(&entry), Some(stamp));
        assert!(keys.feed_log_after(Partition(9), Some(stamp)).begin.as_ref() > entry.as_slice());
        assert!(keys.feed_log_after(Partition(9), None).begin.as_ref() < entry.as_slice());
        let named = keys.feed_entry_of(&entry);
        assert_eq!(named.map(|named| named[..10].to_vec()), Some(stamp.0.to_vec()));
        let rest = keys.feed_log_after_entry(Partition(9), named);
        let next = [&entry[..entry.len() - 1], &[1]].concat();
        assert!(rest.begin.as_ref() > entry.as_slice() && rest.begin.as_ref() < next.as_slice());
    }
}
