//! What tables of examples, of commands and of responses, are checked with.

use std::num::NonZeroU32;

use bytes::Bytes;

use crate::command::Command;
use crate::sequence::{SeqNo, SeqRange, SequenceSet};
use crate::string::Tag;
use crate::{Limits, parse_command};

/// Reads `A1 input` and compares the command.
#[track_caller]
pub fn check(input: &str, expected: Command) {
    let command = parse_command(&Bytes::from(format!("A1 {input}")), &Limits::default());
    let command = command.unwrap_or_else(|error| panic!("{input}: {error}"));
    assert_eq!(command.tag.as_str(), "A1");
    assert_eq!(command.body, expected, "{input}");
}

/// Reads `A1 input`, which has to be refused under its tag with a message that contains `reason`.
#[track_caller]
pub fn refuse(input: &str, reason: &str) {
    let command = parse_command(&Bytes::from(format!("A1 {input}")), &Limits::default());
    let Err(error) = command else { panic!("{input}: taken") };
    assert_eq!(error.tag.map(|tag| tag.to_string()).as_deref(), Some("A1"), "{input}");
    assert!(error.message.contains(reason), "{input}: {}", error.message);
}

/// Compares what `write` appends with a whole line.
#[track_caller]
pub fn check_written(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let mut out = Vec::new();
    write(&mut out);
    assert_eq!(String::from_utf8(out).expect("text"), format!("{expected}\r\n"));
}

/// The tag `A1`.
pub fn tag() -> Tag {
    Tag::new(b"A1").expect("a tag")
}

/// A set of parts, where 0 stands for `*`.
pub fn set(parts: &[(u32, u32)]) -> SequenceSet {
    let number = |n| NonZeroU32::new(n).map_or(SeqNo::Star, SeqNo::Number);
    SequenceSet::Ranges(parts.iter().map(|&(a, b)| SeqRange { first: number(a), last: number(b) }).collect())
}

/// A number that is not zero.
pub fn nz(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}
