//! IMAP4 grammar, both directions. No I/O, no async, no clock.
//!
//! A server puts what arrives into a [`BytesMut`](bytes::BytesMut) and asks the [`Reader`] for [steps](Step);
//! it writes what it answers with [`mod@response`] into any [`BufMut`](bytes::BufMut).
//!
//! ```
//! use std::sync::Arc;
//! use bytes::BytesMut;
//! use imap_wire::{Code, Command, Limits, Reader, Step, response, response::Condition};
//!
//! let mut reader = Reader::new(Arc::new(Limits::default()));
//! let mut input = BytesMut::from(&b"a1 NOOP\r\na2 FETCH 1:5 (UID FLAGS)\r\na3 NOPE\r\na4 FET"[..]);
//! let mut output = Vec::new();
//! loop {
//!     match reader.next(&mut input) {
//!         Step::NeedMore => break, // read from the connection into `input`
//!         Step::Continue => response::continuation(&mut output, "go on"),
//!         Step::Command(command) => match command.body {
//!             Command::Noop => response::tagged(&mut output, &command.tag, Condition::Ok, None, "done"),
//!             Command::Fetch(fetch) => {
//!                 assert_eq!(fetch.set.resolve(4), [1..=5]);
//!                 let code = Code::ExpungeIssued;
//!                 response::tagged(&mut output, &command.tag, Condition::Ok, Some(&code), "done");
//!             }
//!             _ => unreachable!("not sent in this example"),
//!         },
//!         Step::Bad(error) => match &error.tag {
//!             Some(tag) => response::tagged(&mut output, tag, Condition::Bad, None, &error.message),
//!             None => response::untagged(&mut output, Condition::Bad, None, &error.message),
//!         },
//!         step => unreachable!("{step:?} comes with APPEND, AUTHENTICATE and IDLE only"),
//!     }
//! }
//! assert_eq!(
//!     String::from_utf8(output).unwrap(),
//!     "a1 OK done\r\na2 OK [EXPUNGEISSUED] done\r\na3 BAD this command is not known\r\n"
//! );
//! assert_eq!(&input[..], b"a4 FET");
//! ```
//!
//! # APPEND
//! Its steps and what the caller does at each, in order:
//!
//! | step | caller |
//! |---|---|
//! | [`Step::AppendStart`] | looks the mailbox up; if it cannot take messages, answers NO and calls [`Reader::reject`] |
//! | [`Step::MessageStart`] | remembers flags and date |
//! | [`Step::Literal`] | checks the size; [`Reader::accept`] and, if it is synchronizing, a continuation request; or NO and [`Reader::reject`] |
//! | [`Step::Octets`] | hands them to the store, as often as they come |
//! | [`Step::CatenateUrl`] | adds that part, if the message is a CATENATE |
//! | [`Step::MessageEnd`] | has a whole message |
//! | [`Step::AppendEnd`] | commits all messages and answers |
//! | [`Step::Bad`] | drops all messages and answers BAD |
//!
//! # Modes
//! After the step with AUTHENTICATE or IDLE, and before the next call of [`Reader::next`], the caller sets
//! [`Mode::Auth`] or [`Mode::Idle`]. After STARTTLS it clears its buffer, after COMPRESS what follows in the
//! buffer is compressed.
//!
//! # To add a command
//! A file under `commands/` with its ABNF, type, parser and table of examples; a variant of [`Command`]; a row in
//! the table of `commands.rs`. Response codes and capabilities are rows of `codes.rs` and `capabilities.rs`.
//!
//! # What is deliberately absent
//! Sessions, states and permissions: any command is read in any state. Mailbox names are not looked into but for
//! their encoding. ENVELOPE and BODYSTRUCTURE are written by who knows MIME.

pub mod capabilities;
pub mod codes;
pub mod command;
mod commands;
mod cursor;
pub mod date;
pub mod encode;
pub mod error;
pub mod flag;
pub mod fuzzing;
pub mod limits;
pub mod mailbox;
pub mod reader;
pub mod response;
pub mod sequence;
pub mod string;
#[cfg(test)]
mod testing;
pub mod url;
pub mod utf7;

pub use capabilities::Capability;
pub use codes::Code;
pub use command::{Command, Tagged};
pub use commands::{names as command_names, parse_command};
pub use date::{Date, DateTime};
pub use error::{ParseError, ParseErrorKind};
pub use flag::Flag;
pub use limits::Limits;
pub use mailbox::{MailboxArg, MailboxEncoding};
pub use reader::{Mode, Reader, Step};
pub use sequence::{SeqNo, SeqRange, SequenceSet};
pub use string::{IString, StringForm, Tag};
