//! What an operator asks of the tier beside provisioning: whether all that is stored adds up, the restoring of folders
//! that were exported elsewhere, and what is kept for notices to the PUSH enabler.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;
use model::{
    AccountId, BodyId, CpmAddress, DeviceId, Flags, Keyword, MailboxId, MailboxName, ModSeq, Result,
    SpecialUse, Uid, UidValidity,
};

use crate::{AnnotationChange, AppendBody, Ctx, DeadLetter, Identities, LetterId, PushDevice};

/// The storage tier, as an operator's tools see it. Every call answers `NoPermission` to anyone else.
#[async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// Looks through what is stored and tells what does not add up, while others read and write. Work is done as the
    /// stream is read, each step in a short transaction; dropping the stream ends it. A finding was true at one
    /// version of the store: what only seemed wrong because it changed meanwhile is not told.
    ///
    /// With `repair`, what follows from other data is put right (see [`Remedy`]), in the transaction that found it.
    /// Safe to run again, and by several at once.
    async fn inspect(&self, ctx: &Ctx, request: CheckRequest) -> Result<CheckEvents>;

    /// Begins to restore a folder, or goes on with one begun before under the same name and UIDVALIDITY. What is
    /// restored is seen by nobody until [`Maintenance::finish_folder`]; one that is not finished within
    /// [`RESTORE_SECONDS_MAX`] of its last page is swept.
    ///
    /// # Errors
    /// `MailboxExists` when a folder of that name has messages that are not these; `NoSuchAccount`; `Limit`.
    async fn restore_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        folder: RestoreFolder,
    ) -> Result<RestoreProgress>;

    /// Restores messages of ascending UIDs, all or none, with their own UID, MODSEQ and dates. Those below what
    /// [`RestoreProgress::Open`] or the last call answered are there already, and skipped. Returns the first UID
    /// that is not restored yet. 1 to [`model::limits::MULTIAPPEND_MESSAGES_MAX`] messages; inline bodies as in an
    /// append. The quota is not asked: what is restored was granted elsewhere. Bodies get numbers of this account, so
    /// EMAILID (RFC 8474) is not what it was, and copies no longer share their octets.
    ///
    /// # Errors
    /// `NoSuchMailbox` when nothing is being restored under `restore`; `Limit` (keywords, messages);
    /// `InvalidRequest` for a message that does not fit the folder's marks.
    async fn restore_messages(
        &self,
        ctx: &Ctx,
        account: AccountId,
        restore: MailboxId,
        messages: Vec<RestoreMessage>,
    ) -> Result<u64>;

    /// Puts a restored folder in its place, in one step: from then on it has its name, its UIDVALIDITY, its messages,
    /// and the marks it had where it was exported. An empty folder of that name gives way. Levels above it that are
    /// missing are made.
    ///
    /// # Errors
    /// `NoSuchMailbox` when nothing is being restored under `restore`; `MailboxExists` when a folder of that name got
    /// messages meanwhile; `Limit`.
    async fn finish_folder(&self, ctx: &Ctx, account: AccountId, restore: MailboxId) -> Result<()>;

    /// The devices of an account that the operator has made known, by identity.
    ///
    /// # Errors
    /// `NoSuchAccount`.
    async fn push_devices(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<PushDevice>>;

    /// Makes a device of an account known, or changes what is known of it.
    ///
    /// # Errors
    /// `NoSuchAccount`; `Limit` above [`model::limits::DEVICES_PER_ACCOUNT_MAX`]; `InvalidRequest` for an address that
    /// is too long.
    async fn set_push_device(&self, ctx: &Ctx, account: AccountId, device: PushDevice) -> Result<()>;

    /// Forgets a device of an account. Whether it was known.
    async fn remove_push_device(&self, ctx: &Ctx, account: AccountId, device: &DeviceId) -> Result<bool>;

    /// Notices to the PUSH enabler that were given up, after the one named, at most [`crate::LETTERS_PAGE_MAX`]; none
    /// when there are no more.
    async fn dead_letters(&self, ctx: &Ctx, after: Option<LetterId>) -> Result<Vec<DeadLetter>>;

    /// Forgets a notice that was given up. Whether it was there.
    async fn discard_dead_letter(&self, ctx: &Ctx, letter: LetterId) -> Result<bool>;
}

/// How long a restore may rest unfinished, seconds; then what it wrote is swept.
pub const RESTORE_SECONDS_MAX: i64 = 7 * 86_400;
/// Most accounts that one check may name.
pub const CHECK_ACCOUNTS_MAX: usize = 1_000;

/// What to look through.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// These accounts, at most [`CHECK_ACCOUNTS_MAX`]; none for everything stored.
    pub accounts: Vec<CpmAddress>,
    /// Of everything, leave out accounts up to this address: a check that was interrupted goes on.
    pub after: Option<CpmAddress>,
    /// Put right what can be.
    pub repair: bool,
    /// Also read every octet of every message, and not just its first and its last piece.
    pub octets: bool,
    /// Stored records read a second, at most; 0 for as many as may be.
    pub rate: u64,
}

/// What a check tells.
pub type CheckEvents = Pin<Box<dyn Stream<Item = Result<CheckEvent>> + Send>>;

/// One thing that a check tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    /// Something does not add up.
    Finding(Finding),
    /// How far it has come; told after each account, and now and then within one.
    Progress(CheckProgress),
}

/// How far a check has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// Accounts done.
    pub accounts: u64,
    /// Stored records read.
    pub records: u64,
    /// The last account done, when all are looked through: where to go on.
    pub last: Option<CpmAddress>,
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The account's address, where it is of one that is known.
    pub address: Option<CpmAddress>,
    /// The account, where it is of one.
    pub account: Option<AccountId>,
    /// The folder, where it is of one.
    pub mailbox: Option<MailboxId>,
    /// The body, where it is of one.
    pub body: Option<BodyId>,
    /// What can be done.
    pub remedy: Remedy,
    /// A sentence for the operator.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.name())?;
        match (&self.address, self.account) {
            (Some(address), _) => write!(f, "{address}: ")?,
            (None, Some(account)) => write!(f, "account {account}: ")?,
            (None, None) => {}
        }
        if let Some(mailbox) = self.mailbox {
            write!(f, "mailbox {mailbox}: ")?;
        }
        if let Some(body) = self.body {
            write!(f, "body {body}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// What can be done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: what is wrong does not follow from anything else that is stored.
    None,
    /// A check with repair puts it right.
    Repairable,
    /// It was put right.
    Repaired,
}

impl Remedy {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::None, Self::Repairable, Self::Repaired];

    /// Its name in outputs and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Repairable => "repairable",
            Self::Repaired => "repaired",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.name() == name)
    }
}

macro_rules! finding_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// What a finding is of. The names are stable: scripts look for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FindingKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FindingKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Its name in outputs and on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// The kind of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

finding_kinds! {
    /// The record of an account in the directory cannot be read, or names what it should not.
    Account = "account",
    /// An account's ledger is missing or cannot be read.
    Ledger = "ledger",
    /// The ledger's marks are behind what was given out: numbers, UIDVALIDITY.
    LedgerMarks = "ledger-marks",
    /// The quota in use is not what the folders add up to.
    Usage = "usage",
    /// The tree of folders: an unreadable entry, a name given twice, a level that is missing.
    Tree = "tree",
    /// A folder without a state, a state without a folder, or one that cannot be read.
    State = "state",
    /// A folder's counters are not what its rows add up to.
    Counters = "counters",
    /// UIDNEXT or HIGHESTMODSEQ of a folder is behind its rows or its log.
    FolderMarks = "folder-marks",
    /// Rows of messages that cannot be read, stand in a wrong place or have flags without a name.
    Rows = "rows",
    /// The log of changes has a gap, cannot be read, or does not explain a row.
    Log = "log",
    /// Rows or a log of a folder that is not there.
    Stray = "stray-rows",
    /// The facts of a message are missing, cannot be read, or are of another size.
    Facts = "facts",
    /// Octets of a message are missing.
    Octets = "octets",
    /// The count of references to a body is wrong.
    References = "references",
    /// A body that nothing holds.
    Unheld = "unheld-body",
    /// The index of headers lacks an entry or has one too many.
    Headers = "header-index",
    /// Metadata entries that cannot be read, or of a folder that is not there.
    Metadata = "metadata",
    /// Devices that read or deleted messages: a record that cannot be read, or of a message or a folder that is not there.
    Identities = "identities",
    /// Annotations of messages: a record that cannot be read, of a message or a folder that is not there, or octets of
    /// them counted wrong.
    Annotations = "annotations",
    /// A device made known, or a notice given up, that cannot be read.
    Notices = "notices",
    /// What a device was last told: a record that cannot be read, or of what is to come.
    Checkpoints = "checkpoints",
    /// Where an account is told that another shares a folder with it: a note without a list, or a list without a note.
    Sharing = "sharing",
    /// A note of where messages were moved that cannot be read, or of a folder that is not there.
    Moves = "moves",
    /// A key of references that cannot be read, or of a folder that is not there.
    ReferenceKey = "reference-key",
    /// The note by which the sweeper finds a folder with messages that have \Deleted: missing, unreadable, or of no such
    /// folder. Folders of earlier releases have none.
    DeletedNotes = "deleted-notes",
    /// A note for the sweeper that cannot be read, or of nothing.
    Work = "work",
    /// Data of an account that the directory does not have.
    Orphan = "orphan-account",
    /// The change log of a partition: an entry that cannot be read, or a head behind its entries.
    Feed = "feed",
    /// The account changed too fast to be verified: check it again.
    Unsettled = "unsettled",
}

/// A folder to restore, as it was exported.
#[derive(Clone, Debug)]
pub struct RestoreFolder {
    /// Its name.
    pub name: MailboxName,
    /// What CREATE said it is for.
    pub special_use: Option<SpecialUse>,
    /// Only a name: it is restored at once, and has nothing below.
    pub noselect: bool,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Its UIDNEXT, 1 to 2^32.
    pub uid_next: u64,
    /// Its HIGHESTMODSEQ, at least that of each message.
    pub highest_modseq: ModSeq,
    /// Messages from this UID on had been shown to no session as \Recent.
    pub recent_uid: u64,
}

/// Where the restore of a folder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreProgress {
    /// The folder is there whole; nothing is left to do.
    Done,
    /// Messages may be restored.
    Open {
        /// Names the restore.
        restore: MailboxId,
        /// The first UID that is not restored yet.
        next_uid: u64,
    },
}

/// A message to restore.
#[derive(Clone, Debug)]
pub struct RestoreMessage {
    /// Its UID.
    pub uid: Uid,
    /// Its MODSEQ.
    pub modseq: ModSeq,
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords.
    pub keywords: Vec<Keyword>,
    /// INTERNALDATE: seconds since 1970-01-01 UTC, and zone in minutes east.
    pub internal_date: (i64, i16),
    /// SAVEDATE, seconds since 1970-01-01 UTC.
    pub saved_at: i64,
    /// The devices that read and deleted it.
    pub identities: Identities,
    /// Its annotations: those that all see, and the owner's own.
    pub annotations: Vec<AnnotationChange>,
    /// Its octets.
    pub body: AppendBody,
}
