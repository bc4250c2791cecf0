//! Stored values and their packed forms.
//!
//! Each opens with its version. [`decode`](Ledger::decode) reads every version ever written and refuses what is cut
//! short, too long or out of range; `encode` writes the newest. A new field takes a new version; the reader of the
//! old one stays and fills in what it meant.

mod account;
mod annotations;
mod checkpoint;
mod codec;
mod deleted;
mod feed;
mod folder;
mod identities;
mod ledger;
mod log;
mod metadata;
mod moved;
mod news;
mod pending;
mod place;
mod push;
mod reference_key;
mod state;

pub use account::AccountRecord;
pub use annotations::AnnotationRecord;
pub use checkpoint::CheckpointRecord;
pub use deleted::{DeletedNote, day_of};
pub use feed::{FEED_KEYWORDS_MAX, FEED_RANGES_MAX, FeedEntry, FeedItem, FeedUids, FlagNames};
pub use folder::FolderRecord;
pub use identities::IdentityBlock;
pub use ledger::{BATCHES_REMEMBERED, Ledger};
pub use log::{Annotated, ChangeKind, LogBatch, LogEntry};
pub use metadata::MetadataRecord;
pub use moved::MoveRecord;
pub use news::{NewsOf, NewsRecord};
pub use pending::{Pending, Restoring};
pub use place::Place;
pub use push::{DeadLetter, DeviceRecord};
pub use reference_key::{REFERENCE_KEY_BYTES, ReferenceKey};
pub use state::{FolderMarks, StateRecord};
