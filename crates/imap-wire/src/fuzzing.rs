//! Entry points for fuzzers, and the driver that tests share with them.
//!
//! [`fuzz_reader`] takes any octets; a fuzz target is one line. It panics where the reader breaks a promise:
//! that arbitrary input makes it neither panic nor hold more than its limits, and that the steps do not depend
//! on how the input is cut into pieces.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::command::Command;
use crate::limits::Limits;
use crate::reader::{Mode, Reader, Step};
use crate::url::{AuthorizedUrl, MessageUrl};

/// What a driven caller does with a message literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literals {
    /// Takes it from the buffer.
    Buffered,
    /// Takes from past the buffer what has not arrived when the buffer is empty.
    Direct,
    /// Refuses the command.
    Refused,
    /// Refuses the command when the first octets have come.
    RefusedLate,
}

/// Runs a reader over `input`, cut into pieces of the sizes in `cuts` (again and again; a size of 0 is 1), and
/// tells the steps: adjacent [`Step::Octets`] as one, without [`Step::NeedMore`]. AUTHENTICATE is taken to have
/// one line, and the client to send all without waiting.
///
/// # Panics
/// If the reader holds more in its buffer than its limits allow.
pub fn drive(input: &[u8], cuts: &[usize], limits: &Limits, literals: Literals) -> Vec<Step> {
    // What is left when all steps were taken: a command that is not complete, and a line.
    let held_max = limits.command_bytes_max.max(limits.line_bytes_max) + limits.line_bytes_max + 2;
    let mut reader = Reader::new(Arc::new(limits.clone()));
    let mut buffer = BytesMut::new();
    let mut steps = Vec::new();
    let mut rest = input;
    let mut cuts = cuts.iter().copied().cycle();
    loop {
        match reader.next(&mut buffer) {
            Step::NeedMore => {
                assert!(buffer.len() <= held_max, "the reader lets {} octets wait", buffer.len());
                if rest.is_empty() {
                    return steps;
                }
                let len = cuts.next().unwrap_or(rest.len()).clamp(1, rest.len());
                let (mut piece, tail) = rest.split_at(len);
                rest = tail;
                if literals == Literals::Direct && buffer.is_empty() {
                    let remaining = reader.literal_remaining();
                    let direct = usize::try_from(remaining).map_or(len, |n| n.min(len));
                    push_octets(&mut steps, &piece[..direct]);
                    reader.literal_read(direct as u64);
                    piece = &piece[direct..];
                }
                buffer.extend_from_slice(piece);
            }
            Step::Octets(octets) => {
                assert!(!octets.is_empty(), "a step without octets");
                if literals == Literals::RefusedLate {
                    reader.reject();
                } else {
                    push_octets(&mut steps, &octets);
                }
            }
            step => {
                match &step {
                    Step::Literal(_) if literals == Literals::Refused => reader.reject(),
                    Step::Literal(_) => reader.accept(),
                    Step::Command(command) => match command.body {
                        Command::Authenticate(_) => reader.set_mode(Mode::Auth),
                        Command::Idle => reader.set_mode(Mode::Idle),
                        _ => {}
                    },
                    Step::AuthLine(_) => reader.set_mode(Mode::Command),
                    Step::Bad(_) if reader.mode() == Mode::Auth => reader.set_mode(Mode::Command),
                    Step::Fatal(_) => {
                        steps.push(step);
                        return steps;
                    }
                    _ => {}
                }
                steps.push(step);
            }
        }
    }
}

fn push_octets(steps: &mut Vec<Step>, octets: &[u8]) {
    if octets.is_empty() {
        return;
    }
    if let Some(Step::Octets(held)) = steps.last_mut() {
        *held = [held, octets].concat().into();
    } else {
        steps.push(Step::Octets(Bytes::copy_from_slice(octets)));
    }
}

/// Reads arbitrary octets. The first three choose limits, treatment of literals and cuts; the rest is input.
///
/// # Panics
/// If the reader breaks one of its promises: a finding.
pub fn fuzz_reader(data: &[u8]) {
    let Some((&[limits, literals, cut], input)) = data.split_first_chunk() else { return };
    let limits = if limits % 2 == 0 { Limits::default() } else { tiny_limits() };
    let literals = match literals % 4 {
        0 => Literals::Buffered,
        1 => Literals::Direct,
        2 => Literals::Refused,
        _ => Literals::RefusedLate,
    };
    let cut = usize::from(cut);
    let whole = drive(input, &[input.len()], &limits, literals);
    let split = drive(input, &[cut % 7 + 1, cut / 7 + 1, 1], &limits, literals);
    assert_eq!(whole, split, "the steps depend on how the input is cut");
}

/// Reads `input` as each kind of URL.
///
/// # Panics
/// If a URL that was read is not read again from the form it is written in.
pub fn fuzz_url(input: &[u8]) {
    if let Some(url) = MessageUrl::parse(input) {
        assert_eq!(MessageUrl::parse(url.to_string().as_bytes()).as_ref(), Some(&url), "{url}");
    }
    if let Some(url) = AuthorizedUrl::parse(input) {
        assert!(input.starts_with(&url.rump), "the rump is not what came");
        let again = AuthorizedUrl::parse(url.to_string().as_bytes());
        assert_eq!(
            again.map(|again| AuthorizedUrl { rump: url.rump.clone(), ..again }).as_ref(),
            Some(&url),
            "{url}"
        );
    }
}

/// Limits that short inputs exceed.
pub fn tiny_limits() -> Limits {
    Limits {
        line_bytes_max: 60,
        literal_bytes_max: 20,
        command_bytes_max: 100,
        discard_bytes_max: 300,
        auth_line_bytes_max: 16,
        list_depth_max: 2,
        set_parts_max: 4,
        search_depth_max: 3,
        search_keys_max: 6,
        list_items_max: 4,
        literal_minus: true,
    }
}
