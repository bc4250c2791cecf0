//! The words of the message store, as types that every other crate shares.
//!
//! A value that exists is valid: text is parsed at the edge ([`CpmAddress::parse`], [`MailboxName::parse`],
//! [`Keyword::parse`]) and never checked again. Deliberately absent: I/O, clocks, random sources, and anything
//! that knows a wire format other than the text forms written here.

mod acl;
mod address;
mod annotation;
mod device_id;
mod entry_name;
pub mod error;
mod flags;
mod folder;
mod ids;
pub mod limits;
mod mailbox_name;
mod rights;
mod uid_list;
mod uid_set;
pub mod varint;

pub use acl::{Acl, AclAction, AclChange, AclEntry, Identifier, Whom};
pub use address::{AddressError, CpmAddress, PARTITIONS, Partition};
pub use annotation::{AnnotationName, AnnotationNameError, AnnotationPattern};
pub use device_id::{DeviceId, DeviceIdError};
pub use entry_name::{EntryName, EntryNameError, EntryScope};
pub use error::{Error, ErrorKind, Result};
pub use flags::{Flags, Keyword, KeywordError, KeywordTable, SpecialUse};
pub use folder::{Block, BlockNo, FolderSnapshot, FolderState, MessageRow};
pub use ids::{AccountId, BodyId, MailboxId, ModSeq, Uid, UidValidity};
pub use mailbox_name::{HIERARCHY_SEPARATOR, MailboxName, MailboxNameError};
pub use rights::{Rights, RightsError};
pub use uid_list::UidList;
pub use uid_set::{UidRanges, UidSet};
