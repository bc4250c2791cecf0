//! IMAP4 grammar, both directions. No I/O, no async.

pub mod command;
mod commands;
mod cursor;
pub mod date;
pub mod error;
pub mod flag;
pub mod limits;
pub mod mailbox;
pub mod reader;
pub mod sequence;
pub mod string;
pub mod utf7;

pub use command::{Command, Tagged};
pub use commands::{names as command_names, parse_command};
pub use error::{ParseError, ParseErrorKind};
pub use limits::Limits;
pub use mailbox::{MailboxArg, MailboxEncoding};
pub use reader::{Mode, Reader, Step};
pub use sequence::{SeqNo, SeqRange, SequenceSet};
pub use string::{IString, StringForm, Tag};
