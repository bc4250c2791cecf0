//! MIME, CPIM and IMDN: what IMAP asks of a message, parsed once. No I/O.
//!
//! - [`index`]: the answers to ENVELOPE, BODY and BODYSTRUCTURE, the ranges of every section, and what SORT, THREAD,
//!   PREVIEW and CPM need, made while a message streams in and kept with it in a compact form.
//! - [`header`]: header blocks, `HEADER.FIELDS`.
//! - [`transfer`]: content transfer encodings, for BINARY.
//! - [`search`]: text of a message, folded, for SEARCH.
//! - [`recode`]: text of parts and of encoded words in another charset, for CONVERT.
//! - [`cpim`]: the message format of RFC 3862.
//! - [`imdn`]: disposition notifications, RFC 5438.
//! - [`object`]: which kind of object of a CPM message store a message is, and what its kind demands of it.
//!
//! Deliberately absent: sockets, clocks, storage, and any failure on what a message holds: every run of octets is one.

pub mod address;
mod charset;
pub mod cpim;
mod date;
mod envelope;
mod facts;
pub mod fuzzing;
pub mod header;
pub mod imdn;
pub mod index;
pub mod limits;
pub mod object;
pub mod param;
mod preview;
mod quote;
pub mod recode;
pub mod search;
mod subject;
pub mod transfer;
mod words;

pub use charset::TextCharset;
pub use facts::{Name, SentDate};
pub use imdn::Imdn;
pub use index::{Encoding, IndexBuilder, MessageIndex, Part, PartKind, Section, parse};
pub use limits::Limits;
pub use object::{Fault, ObjectKind};
