//! One account as files: what `mss account export` writes and `mss account import` reads.
//!
//! A directory, or a tar of the same files:
//!
//! | file | what it holds |
//! |---|---|
//! | `account.json` | `Head`: address, quota, folders with their marks, subscriptions, metadata, devices made known for PUSH. Written last: an export without it was interrupted |
//! | `folders/N/messages.jsonl` | one `MessageLine` a message, ascending by UID; N as `account.json` says |
//! | `folders/N/UID.eml` | the message as it is stored, octet for octet (RFC 5322) |
//!
//! Each folder is as it stood at its `highest_modseq`. The export goes through all folders, then through what changed
//! meanwhile, until one look finds all of them as they were written: then the whole is the account at one moment. When
//! the account keeps changing, it ends after [`ROUNDS_MAX`] rounds, and only each folder by itself is of one moment. A
//! message that went meanwhile may have left its `.eml`; only what `messages.jsonl` names is part of the export.
//!
//! In memory stand the rows of all folders, about 64 octets a message, as in any front end that has the folders open;
//! octets of messages are streamed.

mod manifest;
mod read;
mod restore;
mod write;

pub use read::{Source, is_export};
pub use restore::import;
pub use write::{Options, Sink, export};

/// What `format` in `account.json` says.
const FORMAT: &str = "mss account export";
/// The version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Rounds after which an export of an account that keeps changing ends.
const ROUNDS_MAX: usize = 20;
/// Bodies asked for ahead of the one that is written.
const BODIES_AHEAD: usize = 16;
/// Octets of `account.json`, at most: 20 000 folders of the longest names fit.
const HEAD_BYTES_MAX: u64 = 256 << 20;
/// Messages restored in one request.
const MESSAGES_PER_PAGE: usize = 500;
/// Octets of messages restored in one request.
const BYTES_PER_PAGE: usize = 2 << 20;

const _: () = assert!(MESSAGES_PER_PAGE <= model::limits::MULTIAPPEND_MESSAGES_MAX);
const _: () = assert!(BYTES_PER_PAGE + model::limits::BODY_INLINE_BYTES_MAX <= 4 << 20);
