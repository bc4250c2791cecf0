//! What a front end may ask of the storage tier.
//!
//! Two traits: [`MailStore`] (accounts, folders, messages) and [`ChangeFeed`] (who must look again). In one
//! process they are the store and the feed themselves; apart, `store-rpc` carries them over gRPC, and `router` chooses
//! the node to ask among the [`Members`] of the tier. A front end knows nothing else of the tier. A third, [`Maintenance`],
//! is for an operator's tools.
//!
//! Rules that hold for every method:
//! - The store speaks UIDs, never sequence numbers, and folders by [`model::MailboxId`] once their name was looked up.
//! - An answer is as of the call or later: what any caller was told `Ok` before is seen (strict serializability).
//! - A change is durable when its call returns `Ok`. After an error other than
//!   [`model::ErrorKind::CommitUnknown`] or [`model::ErrorKind::Deadline`] it did not happen.
//! - Every method may answer [`model::ErrorKind::Unavailable`], [`model::ErrorKind::Contended`],
//!   [`model::ErrorKind::Deadline`], [`model::ErrorKind::Corrupt`] or [`model::ErrorKind::Bug`]; writes also
//!   [`model::ErrorKind::StorageFull`] and [`model::ErrorKind::CommitUnknown`]. Only other kinds are listed.
//! - What of an account is not the requestor's takes rights on its folders (RFC 4314 §4): without any, the answer is that
//!   for what is not there, [`model::ErrorKind::NoSuchMailbox`]; with `l` but not the right that it takes,
//!   [`model::ErrorKind::NoPermission`]. The account's own things (quota, subscriptions, what is set of the account
//!   itself) are its owner's alone.
//! - Dropping a call's future cancels it: a write then happened whole or not at all.

mod account;
mod annotations;
mod changes;
mod checkpoint;
mod feed;
mod folders;
mod maintenance;
mod members;
mod messages;
mod metadata;
mod notices;
mod reference;
mod requestor;
mod search;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
pub use feed::{ChangeFeed, Pulse, Subscription};
use model::{
    AccountId, AclChange, BodyId, CpmAddress, FolderSnapshot, FolderState, MailboxId, MailboxName, ModSeq,
    Result, SpecialUse, Uid, UidSet,
};

pub use account::{
    Account, AccountState, Credentials, DeleteRule, FolderRule, NewAccount, ObjectRule, Quota, QuotaLimits,
    QuotaUsage, ScramVerifier, ServiceClass,
};
pub use annotations::{
    Annotation, AnnotationChange, AnnotationNews, AnnotationPage, AnnotationQuery, Annotations,
    StoreAnnotations,
};
pub use changes::{ChangeToken, ChangedFolder, Changes, ChangesSince, NotAToken};
pub use checkpoint::Checkpoint;
pub use folders::{FolderEntry, FolderTree};
pub use maintenance::{
    CHECK_ACCOUNTS_MAX, CheckEvent, CheckEvents, CheckProgress, CheckRequest, Finding, FindingKind,
    Maintenance, RESTORE_SECONDS_MAX, Remedy, RestoreFolder, RestoreMessage, RestoreProgress,
};
pub use members::{Member, Members, Membership, NodeId, NodeState};
pub use messages::{
    AppendBody, AppendMessage, AppendRequest, Appended, BodyData, BodyPieces, BodyWriter, CopyMode,
    CopyOutcome, CopyRequest, ExpungeOutcome, FlagAction, FlagChange, Identities, Missing, ReplaceRequest,
    StoreFlags, StoreOutcome,
};
pub use metadata::{Metadata, MetadataChange};
pub use notices::{DeadLetter, LETTERS_PAGE_MAX, LetterId, PushDevice};
pub use reference::{Reference, ReferenceAccess, Referenced, SignedReference};
pub use requestor::{Requestor, User};
pub use search::{DateField, HeaderField, SearchKey, SearchManyRequest, SearchRequest, thread_id};

/// What accompanies every call: who asks, for which request, and how long it may take.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Names the request in the logs of every process it passes.
    pub request_id: u64,
    /// When the caller stops waiting; none for no bound of the caller's own.
    pub deadline: Option<Instant>,
    /// Who asks.
    pub requestor: Requestor,
}

impl Ctx {
    /// The request's name as all logs write it.
    pub fn request(&self) -> RequestId {
        RequestId(self.request_id)
    }
}

/// A request's name as logs and metadata write it: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The storage tier, as front ends see it.
#[async_trait]
pub trait MailStore: Send + Sync + 'static {
    // --- accounts ----------------------------------------------------------------------------------------------

    /// The account of an address, with its credentials; none if there is none.
    async fn account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<Option<Arc<Account>>>;

    /// Creates an account with INBOX, `Default` and `RCSMessageStore`.
    ///
    /// # Errors
    /// `AccountExists`.
    async fn create_account(&self, ctx: &Ctx, new: NewAccount) -> Result<AccountId>;

    /// Replaces the credentials of an account.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn set_credentials(&self, ctx: &Ctx, address: &CpmAddress, credentials: Credentials) -> Result<()>;

    /// Sets an account's quota and state.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn configure_account(
        &self,
        ctx: &Ctx,
        address: &CpmAddress,
        state: AccountState,
        limits: QuotaLimits,
    ) -> Result<()>;

    /// Sets an account's class of service. What is stored already stays, whatever the class demands.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn set_service(&self, ctx: &Ctx, address: &CpmAddress, service: ServiceClass) -> Result<()>;

    /// Makes accounts those of one subscriber, together with all accounts that they were linked with before. All of
    /// them know of each other from then on, or, after an error, nothing changed.
    ///
    /// # Errors
    /// `NoSuchAccount` if one of them is not there; `Limit` if there would be more than
    /// [`model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX`].
    async fn link_accounts(&self, ctx: &Ctx, addresses: &[CpmAddress]) -> Result<()>;

    /// Takes an account out of those that it was linked with, which stay linked.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn unlink_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()>;

    /// Accounts in the order of their addresses, from after `after`, at most `limit` (1 to 1000).
    async fn list_accounts(
        &self,
        ctx: &Ctx,
        after: Option<&CpmAddress>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>>;

    /// Removes an account with all it holds. May be called again after a failure; it goes on where it stopped. Accounts
    /// that it was linked with forget it.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn remove_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()>;

    /// What an account uses and may use.
    async fn quota(&self, ctx: &Ctx, account: AccountId) -> Result<Quota>;

    // --- folders -----------------------------------------------------------------------------------------------

    /// All folders and subscriptions of an account. One key is read when the cached tree is current.
    ///
    /// Who does not own the account gets the folders in which they have one of the rights `l r i k x a`, each with what
    /// they may do in it; no subscriptions; and no version, which would tell of changes of the others.
    async fn folders(&self, ctx: &Ctx, account: AccountId) -> Result<Arc<FolderTree>>;

    /// Creates a folder, and the levels above it that are missing.
    ///
    /// # Errors
    /// `MailboxExists` (a \Noselect name becomes a folder again instead), `Limit`; `Cannot`, also where the class of
    /// service has no such folder.
    async fn create_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId>;

    /// Deletes a folder. One with children loses its messages and stays as \Noselect (RFC 3501 §6.3.4); or, where the class
    /// of service says so ([`DeleteRule`]), they go along: all of them or nothing, in one transaction.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `Cannot` for INBOX, `Default`, `RCSMessageStore`; `HasChildren` for a \Noselect name that has
    /// children that stay; `NoPermission` when one that would go along is not the requestor's to delete; `Limit` for more
    /// than [`model::limits::DELETE_FOLDERS_MAX`] at once.
    async fn delete_folder(&self, ctx: &Ctx, account: AccountId, name: &MailboxName) -> Result<()>;

    /// Renames a folder with all below it; ids, UIDs and UIDVALIDITY stay. Renaming INBOX moves its messages to a new
    /// folder (RFC 9051 §6.3.6).
    ///
    /// # Errors
    /// `NoSuchMailbox`, `MailboxExists`, `Cannot` for `Default`, `RCSMessageStore`, a target below the source and what
    /// the class of service does not allow, `Limit` when a name would break a bound.
    async fn rename_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()>;

    /// Subscribes to a name, which need not exist, or ends it. Idempotent.
    async fn subscribe(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        subscribed: bool,
    ) -> Result<()>;

    /// The counters of folders, one answer each, in order; none for a folder that is gone. One key a folder.
    async fn status(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[MailboxId],
    ) -> Result<Vec<Option<FolderState>>>;

    /// The metadata entries of folders, or of the account itself for none; one answer each, in order, empty for a folder
    /// that is gone. At most [`model::limits::METADATA_PER_REQUEST_MAX`]. Two keys a folder.
    async fn metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[Option<MailboxId>],
    ) -> Result<Vec<Metadata>>;

    /// Sets and removes metadata entries of a folder, or of the account itself for none; all or nothing. They go with the
    /// folder when it is deleted, and stay with it when it is renamed.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `Limit` when there were more than [`model::limits::ENTRIES_PER_FOLDER_MAX`] or
    /// [`model::limits::ENTRIES_BYTES_MAX`] in one scope.
    async fn set_metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
    ) -> Result<()>;

    /// Changes the access control list of a folder. Its address is resolved now: the entry stays true for the account
    /// that has it now, for nobody when there is none, and the answer is the same. `owner` is the account's own address.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `NoPermission` without the right `a`; `Cannot` for an identifier that names the owner; `Limit`
    /// beyond [`model::limits::ACL_ENTRIES_MAX`] or [`model::limits::ACL_BYTES_PER_ACCOUNT_MAX`].
    async fn set_acl(
        &self,
        ctx: &Ctx,
        account: AccountId,
        owner: &CpmAddress,
        mailbox: MailboxId,
        change: &AclChange,
    ) -> Result<()>;

    /// The accounts, with their addresses, that have given `account` a right on a folder by its address; at most
    /// [`model::limits::SHARERS_MAX`]. The right may be gone by now: [`MailStore::folders`] says; and an account that is shut,
    /// which is among them, shows nothing. Only for the account itself.
    async fn shared_with(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<(CpmAddress, AccountId)>>;

    /// A folder, whole, shared with all who read it. One key is read when the cached snapshot is current, else the
    /// blocks changed since.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn folder(&self, ctx: &Ctx, account: AccountId, mailbox: MailboxId) -> Result<Arc<FolderSnapshot>>;

    /// UIDs removed from a folder after `since`. More may be named than were removed (never one that exists) when
    /// the log of removals no longer reaches back that far (RFC 7162 §3.2.7).
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn vanished(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<UidSet>;

    /// Notes that messages below `uid_next` have been shown as \Recent. Idempotent, never goes back.
    async fn claim_recent(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uid_next: u64,
    ) -> Result<()>;

    // --- messages ----------------------------------------------------------------------------------------------

    /// Opens a writer for a body too large for [`AppendBody::Inline`]. What is not used in an append within
    /// [`model::limits::STAGED_SECONDS_MAX`] is swept.
    ///
    /// # Errors
    /// `TooBig` when `size` is above [`model::limits::APPEND_BYTES_MAX`], `OverQuota`.
    async fn stage_body(&self, ctx: &Ctx, account: AccountId, size: u64) -> Result<Box<dyn BodyWriter>>;

    /// Appends messages, all or none; new ones with ascending UIDs.
    ///
    /// A network function that was not told whether a deposit arrived repeats it: an object of the same kind,
    /// IMDN-Message-ID and direction that still stands where it came is not stored again, and the answer is that of the
    /// first time. So is each of several messages known, and one that is the same as another before it.
    ///
    /// A disposition notification that the owner or a network function appends is noted with the messages that it is
    /// about, in the same step: the keywords $Delivered, $Displayed and $DeliveryFailed on what was sent,
    /// \read-report-sent on what was received.
    ///
    /// # Errors
    /// `NoSuchMailbox`, `OverQuota`, `TooBig`, `NoSuchPart`, `Limit` (keywords, messages, annotations); `Cannot` for an
    /// object that the class of service does not take there, with what is wrong.
    async fn append(&self, ctx: &Ctx, account: AccountId, request: AppendRequest) -> Result<Appended>;

    /// Appends one message and removes another in one step (RFC 8508).
    ///
    /// # Errors
    /// As [`MailStore::append`], and `Expunged` when the message to replace is gone.
    async fn replace(&self, ctx: &Ctx, account: AccountId, request: ReplaceRequest) -> Result<Appended>;

    /// Changes flags. UIDs that do not exist are skipped. A message whose flags stay the same keeps its MODSEQ.
    /// \Seen and \Deleted are noted with the requestor's device ([`Identities`]).
    /// Paged inside for very large sets: each page is atomic, and with an error after the first pages these stay done.
    ///
    /// # Errors
    /// `NoSuchMailbox`, `Limit` (keywords).
    async fn store_flags(&self, ctx: &Ctx, account: AccountId, request: StoreFlags) -> Result<StoreOutcome>;

    /// Copies or moves messages within an account, all or none of a page; bodies are shared. UIDs that do not exist are
    /// skipped. The date, flags and keywords go along, and of the annotations those that all see and the requestor's own,
    /// where the target takes them.
    ///
    /// # Errors
    /// `NoSuchMailbox` for either folder, `OverQuota`, `Limit`; `Expunged` as [`Missing::Refuse`] says; `Cannot` where
    /// the class of service allows no copy or move there.
    async fn copy(&self, ctx: &Ctx, account: AccountId, request: CopyRequest) -> Result<CopyOutcome>;

    /// Removes the messages that have \Deleted, of `within` or of the whole folder.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn expunge(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        within: Option<UidSet>,
    ) -> Result<ExpungeOutcome>;

    /// Of the messages of `uids` that have any, the devices that read and deleted them, ascending by UID; none of a
    /// folder that is gone. At most [`model::limits::INFOS_PER_REQUEST_MAX`] UIDs. A key for each 128 neighbouring UIDs.
    async fn identities(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uids: &UidSet,
    ) -> Result<Vec<(Uid, Identities)>>;

    /// The annotations of messages that the requestor may see, as far as one answer holds them: about 1 MB. Reads the
    /// records of the messages alone, and where they are asked for those of the devices that read or deleted messages, which
    /// show as entries: [`model::AnnotationName::SEEN_IDENTITY`]. None of a folder that
    /// is gone.
    async fn annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        query: &AnnotationQuery,
    ) -> Result<AnnotationPage>;

    /// Changes annotations. UIDs that do not exist are skipped. A message of which nothing changes keeps its MODSEQ.
    /// Shared values take the right `n`, the requestor's own the right `r`. What is stored counts towards the quota of
    /// the folder's owner. Paged inside: each page is atomic, and with an error after the first pages these stay done.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `NoSuchPart`; `OverQuota`; `Limit` when a message had more than
    /// [`model::limits::ANNOTATIONS_PER_MESSAGE_MAX`], [`model::limits::ANNOTATIONS_BYTES_MAX`] or
    /// [`model::limits::ANNOTATORS_PER_MESSAGE_MAX`].
    async fn store_annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: StoreAnnotations,
    ) -> Result<StoreOutcome>;

    /// Which annotations that the requestor may see were changed by STORE after `since`, oldest first. Fewer may be named
    /// when the log of changes no longer reaches back that far. Reads the log alone.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn annotation_news(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<Vec<AnnotationNews>>;

    /// The facts of messages, found once at append: envelope, structure, sort keys, CPM headers. One answer a body, in
    /// order; none for one that is gone. At most [`model::limits::INFOS_PER_REQUEST_MAX`]. Who does not own the account
    /// gets those of messages that are in `mailbox`; the owner may name any.
    async fn infos(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        bodies: &[BodyId],
    ) -> Result<Vec<Option<Arc<MessageIndex>>>>;

    /// Octets of a body, whole or `range` of it (cut at its end). `mailbox` as in [`MailStore::infos`].
    ///
    /// # Errors
    /// `Expunged` when the body is gone.
    async fn body(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        body: BodyId,
        range: Option<Range<u64>>,
    ) -> Result<BodyData>;

    // --- references --------------------------------------------------------------------------------------------

    /// Signs a reference to a message of the requestor's own; the folder's key is made when it has none. Whether the
    /// message exists is not looked at. The token: 33 octets, the first of which names how the rest was made.
    ///
    /// # Errors
    /// `NoSuchMailbox` when the owner, who must be the requestor, has no such folder.
    async fn sign_reference(&self, ctx: &Ctx, account: AccountId, reference: &Reference) -> Result<Bytes>;

    /// Throws away the key of a folder, or those of all folders for none: references signed before lead nowhere from
    /// then on. Idempotent.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn reset_reference_keys(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
    ) -> Result<()>;

    /// What the requestor's device was last told of the account; none for a device that never was, and for a requestor
    /// without one.
    ///
    /// # Errors
    /// `NoSuchMailbox` when the account is not the requestor's own.
    async fn checkpoint(&self, ctx: &Ctx, account: AccountId) -> Result<Option<Checkpoint>>;

    /// What changed in the whole account since a token, or all there is, as of one point in time: every change that was
    /// answered before the call is told, or was before the token was made. One key is read when nothing changed, else the
    /// state of each folder. What others share with the account is not in it.
    ///
    /// # Errors
    /// `NoSuchMailbox` when the account is not the requestor's own.
    async fn changes(&self, ctx: &Ctx, account: AccountId, since: ChangesSince) -> Result<Changes>;

    /// Notes what the requestor's device was told of the account, in place of what was noted before. Idempotent. The
    /// device that was away longest is forgotten when there would be more than
    /// [`model::limits::CHECKPOINTS_PER_ACCOUNT_MAX`].
    ///
    /// # Errors
    /// `NoSuchMailbox` when the account is not the requestor's own; `Invalid` for a requestor without a device, and for
    /// a checkpoint of too many folders or of any out of order.
    async fn set_checkpoint(&self, ctx: &Ctx, account: AccountId, checkpoint: &Checkpoint) -> Result<()>;

    /// The message that a reference leads to. The requestor needs no rights in the folder.
    ///
    /// # Errors
    /// `Expunged`, whatever is wrong: a token that was not made for this reference, an owner, folder or message that
    /// is not there, a time that has passed, a requestor who is not meant.
    async fn referenced(&self, ctx: &Ctx, signed: &SignedReference) -> Result<Referenced>;

    /// Octets of the message that a reference leads to, as [`MailStore::body`].
    ///
    /// # Errors
    /// As [`MailStore::referenced`].
    async fn referenced_body(
        &self,
        ctx: &Ctx,
        signed: &SignedReference,
        range: Option<Range<u64>>,
    ) -> Result<BodyData>;

    // --- search ------------------------------------------------------------------------------------------------

    /// The UIDs of a folder that match, by the folder as of now.
    ///
    /// # Errors
    /// `NoSuchMailbox`, `Limit` when the program breaks a bound.
    async fn search(&self, ctx: &Ctx, account: AccountId, request: &SearchRequest) -> Result<UidSet>;

    /// The UIDs that match in each of several folders, by each as of now; none for a folder that is not there, and for
    /// one that the requestor may not read. In the order of the request, and of its first folders only where more would
    /// be too much for one call: of one at least, unless none was asked for. The caller asks again for the others.
    ///
    /// # Errors
    /// `NoSuchMailbox` when nothing of the account is the requestor's to see, `Limit` when the program breaks a bound,
    /// `InvalidRequest` for too many folders.
    async fn search_many(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: &SearchManyRequest,
    ) -> Result<Vec<Option<UidSet>>>;
}

/// A body as octets at hand; a shorthand for callers that hold one.
impl From<Bytes> for AppendBody {
    fn from(octets: Bytes) -> Self {
        Self::Inline(octets)
    }
}

/// A UID with what it became elsewhere, for COPYUID.
pub type UidPair = (Uid, Uid);
