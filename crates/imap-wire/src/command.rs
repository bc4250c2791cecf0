//! Commands as values: what a server executes.
//!
//! A variant per command; arguments of more than one part have a type of their own. `UID` forms share the
//! command's type with `uid` set. APPEND and REPLACE are not here: their message data is streamed, and the
//! [reader](crate::reader) yields them in steps.

use bytes::Bytes;

use crate::mailbox::MailboxArg;
use crate::sequence::SequenceSet;
use crate::string::{IString, Tag};

/// A command under its tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// Repeated in the response that ends the command.
    pub tag: Tag,
    /// What is asked.
    pub body: Command,
}

/// A command of IMAP4rev1, IMAP4rev2 or an extension.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `CAPABILITY` (RFC 9051 §6.1.1).
    Capability,
    /// `NOOP` (RFC 9051 §6.1.2).
    Noop,
    /// `LOGOUT` (RFC 9051 §6.1.3).
    Logout,
    /// `ID` (RFC 2971 §3.1): what the client says of itself, nothing for `NIL`.
    Id(Vec<(IString, Option<IString>)>),
    /// `STARTTLS` (RFC 9051 §6.2.1). Octets after it in the buffer must be thrown away.
    StartTls,
    /// `AUTHENTICATE` (RFC 9051 §6.2.2).
    Authenticate(Authenticate),
    /// `LOGIN` (RFC 9051 §6.2.3).
    Login(Login),
    /// `UNAUTHENTICATE` (RFC 8437).
    Unauthenticate,
    /// `COMPRESS` (RFC 4978): the algorithm, `DEFLATE` or one that is not known.
    Compress(Bytes),
    /// `ENABLE` (RFC 9051 §6.3.1): capability names as sent, unknown ones are ignored.
    Enable(Vec<Bytes>),
    /// `SELECT` (RFC 9051 §6.3.2).
    Select(Select),
    /// `EXAMINE` (RFC 9051 §6.3.3).
    Examine(Select),
    /// `SELECTA` (OMA-TS-CPM_MessageStorage §6.2.1.2): the address of the account to make active, as sent.
    SelectA(IString),
    /// `LISTA`: the accounts that SELECTA may name.
    ListA,
    /// `XCPMCHANGES`: what changed in the account.
    XcpmChanges(XcpmChanges),
    /// `CREATE` (RFC 9051 §6.3.4).
    Create(Create),
    /// `DELETE` (RFC 9051 §6.3.5).
    Delete(MailboxArg),
    /// `RENAME` (RFC 9051 §6.3.6).
    Rename(Rename),
    /// `SUBSCRIBE` (RFC 9051 §6.3.7).
    Subscribe(MailboxArg),
    /// `UNSUBSCRIBE` (RFC 9051 §6.3.8).
    Unsubscribe(MailboxArg),
    /// `LIST` (RFC 9051 §6.3.9).
    List(List),
    /// `LSUB` (RFC 3501 §6.3.9).
    Lsub(Lsub),
    /// `NAMESPACE` (RFC 9051 §6.3.10).
    Namespace,
    /// `STATUS` (RFC 9051 §6.3.11).
    Status(Status),
    /// `IDLE` (RFC 9051 §6.3.13). Switch the reader to [`Mode::Idle`](crate::reader::Mode::Idle).
    Idle,
    /// `GETQUOTA` (RFC 9208 §4.1.1): a quota root.
    GetQuota(IString),
    /// `GETQUOTAROOT` (RFC 9208 §4.1.2).
    GetQuotaRoot(MailboxArg),
    /// `SETQUOTA` (RFC 9208 §4.1.3).
    SetQuota(SetQuota),
    /// `GETMETADATA` (RFC 5464 §4.2).
    GetMetadata(GetMetadata),
    /// `SETMETADATA` (RFC 5464 §4.3).
    SetMetadata(SetMetadata),
    /// `NOTIFY` (RFC 5465 §3.1).
    Notify(Notify),
    /// `GENURLAUTH` (RFC 4467 §7).
    GenUrlAuth(GenUrlAuth),
    /// `RESETKEY` (RFC 4467 §7).
    ResetKey(ResetKey),
    /// `URLFETCH` (RFC 4467 §7, RFC 5524): one or more URLs.
    UrlFetch(Vec<UrlFetch>),
    /// `SETACL` (RFC 4314 §3.1).
    SetAcl(SetAcl),
    /// `DELETEACL` (RFC 4314 §3.2).
    DeleteAcl(MailboxIdentifier),
    /// `GETACL` (RFC 4314 §3.3).
    GetAcl(MailboxArg),
    /// `LISTRIGHTS` (RFC 4314 §3.4).
    ListRights(MailboxIdentifier),
    /// `MYRIGHTS` (RFC 4314 §3.5).
    MyRights(MailboxArg),
    /// `CANCELUPDATE` (RFC 5267 §4.3.5): tags of searches.
    CancelUpdate(Vec<Tag>),
    /// `CONVERT` and `UID CONVERT` (RFC 5259 §6).
    Convert(Convert),
    /// `CONVERSIONS` (RFC 5259 §5.1).
    Conversions(Conversions),
    /// `CHECK` (RFC 3501 §6.4.1).
    Check,
    /// `CLOSE` (RFC 9051 §6.4.1).
    Close,
    /// `UNSELECT` (RFC 9051 §6.4.2).
    Unselect,
    /// `EXPUNGE` (RFC 9051 §6.4.3).
    Expunge,
    /// `UID EXPUNGE` (RFC 9051 §6.4.9): only these UIDs.
    UidExpunge(SequenceSet),
    /// `SEARCH` and `UID SEARCH` (RFC 9051 §6.4.4).
    Search(Search),
    /// `ESEARCH` (RFC 7377 §2).
    MultiSearch(MultiSearch),
    /// `SORT` and `UID SORT` (RFC 5256).
    Sort(Sort),
    /// `THREAD` and `UID THREAD` (RFC 5256).
    Thread(Thread),
    /// `FETCH` and `UID FETCH` (RFC 9051 §6.4.5).
    Fetch(Fetch),
    /// `STORE` and `UID STORE` (RFC 9051 §6.4.6).
    Store(Store),
    /// `COPY` and `UID COPY` (RFC 9051 §6.4.7).
    Copy(Transfer),
    /// `MOVE` and `UID MOVE` (RFC 9051 §6.4.8).
    Move(Transfer),
}

pub use crate::commands::acl::{MailboxIdentifier, SetAcl};
pub use crate::commands::annotation::{AnnotationAttribute, AnnotationValue, FetchAnnotation};
pub use crate::commands::authenticate::Authenticate;
pub use crate::commands::changes::XcpmChanges;
pub use crate::commands::convert::{Conversions, Convert, ConvertItem, MediaRange};
pub use crate::commands::create::Create;
pub use crate::commands::esearch::MultiSearch;
pub use crate::commands::fetch::{Fetch, FetchItem, Partial, Section, SectionText};
pub use crate::commands::list::{List, ListReturn, ListSelection};
pub use crate::commands::login::Login;
pub use crate::commands::lsub::Lsub;
pub use crate::commands::metadata::{Depth, GetMetadata, MetadataOptions, SetMetadata};
pub use crate::commands::notify::{Event, EventGroup, MailboxFilter, Notify};
pub use crate::commands::quota::SetQuota;
pub use crate::commands::rename::Rename;
pub use crate::commands::search::{
    EntryType, PartialRange, ResultOptions, Search, SearchKey, SearchModSeq, SizeCompare,
};
pub use crate::commands::select::{QResync, Select};
pub use crate::commands::sort::{Sort, SortCriterion, SortKey};
pub use crate::commands::status::{Status, StatusItem};
pub use crate::commands::store::{Store, StoreAction};
pub use crate::commands::thread::{Thread, ThreadAlgorithm};
pub use crate::commands::transfer::Transfer;
pub use crate::commands::urlauth::{GenUrlAuth, ResetKey, UrlFetch, UrlFetchItem};
