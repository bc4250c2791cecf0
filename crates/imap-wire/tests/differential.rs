//! A second opinion: what another implementation of the grammar takes, ours takes too, and means the same by it.
//!
//! Meaning is compared without a table of types: the other implementation writes what it understood in its own
//! spelling (macros, quotes, literals), and ours has to read that as it read the original.

use bytes::Bytes;
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use imap_wire::fuzzing::{Literals, drive};
use imap_wire::{Limits, Step, parse_command};
use proptest::prelude::*;

const COMMANDS: &str = include_str!("commands.txt");

/// What commands are changed with: nothing that makes the other implementation differ by intention (below).
const PIECES: &[&str] = &[
    "",
    " ",
    "A",
    "1",
    "0",
    "*",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\\",
    "%",
    ":",
    ",",
    ".",
    "<0.1>",
    "NIL",
    "NOT ",
    "{1+}\r\nx",
    "{2}\r\n\"\\",
    "\"x\\\"\"",
    "42",
    "4294967295",
    "4294967296",
    "\\Seen",
    "UID ",
    ".PEEK",
    "+",
    "-",
];

/// The other's spelling of a whole command, if it takes it.
fn other(input: &[u8]) -> Option<Vec<u8>> {
    let (rest, command) = CommandCodec::default().decode(input).ok()?;
    rest.is_empty().then(|| CommandCodec::default().encode(&command).dump())
}

/// Our steps, if none is an error and the command is whole.
fn ours(input: &[u8]) -> Option<Vec<Step>> {
    let mut steps = drive(input, &[usize::MAX], &Limits::default(), Literals::Buffered);
    steps.retain(|step| *step != Step::Continue);
    let whole = matches!(steps.last(), Some(Step::Command(_) | Step::AppendEnd));
    (whole && !steps.iter().any(|step| matches!(step, Step::Bad(_)))).then_some(steps)
}

/// Why ours refuses what the other takes: where the grammar is on our side, or an argument is not one that we know.
const REASONS: &[&str] = &[
    // `nz-number = digit-nz *DIGIT`
    "cannot be zero or start with zero",
    // RFC 7162 §3.2.6
    "VANISHED goes with UID FETCH and CHANGEDSINCE only",
    // RFC 7162 §7, §3.2.5.2
    "QRESYNC takes sets of numbers without * and $",
    "sequence match data are two ascending sets",
    // `initial-resp = base64 / "="` is not empty.
    "expected an initial response in base64",
    "the threading algorithms are ORDEREDSUBJECT and REFERENCES",
];

/// Compares; tells whether both took the command.
#[track_caller]
fn compare(input: &[u8]) -> bool {
    let Some(spelling) = other(input) else { return false };
    let shown = input.escape_ascii();
    let Some(read) = ours(input) else {
        let text = Bytes::copy_from_slice(input.strip_suffix(b"\r\n").unwrap_or(input));
        let message = parse_command(&text, &Limits::default()).err().map(|error| error.message);
        let excepted = message.is_some_and(|message| REASONS.iter().any(|reason| message.contains(reason)));
        assert!(excepted, "the other takes it, we do not: {shown}");
        return false;
    };
    let reread = ours(&spelling);
    assert_eq!(Some(read), reread, "{shown}\nmeans to the other: {}", spelling.escape_ascii());
    true
}

#[test]
fn known_commands() {
    let lines = COMMANDS.lines().map(|line| format!("a1 {}\r\n", line.replace("\\r\\n", "\r\n")));
    let (agreed, ours_alone): (Vec<_>, Vec<_>) = lines.partition(|line| compare(line.as_bytes()));
    // The rest uses extensions that the other has not.
    assert!(agreed.len() >= 59, "agreed on {} only; not on:\n{}", agreed.len(), ours_alone.concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_commands(
        line in proptest::sample::select(COMMANDS.lines().collect::<Vec<_>>()),
        at in any::<proptest::sample::Index>(),
        len in 0..4usize,
        piece in proptest::sample::select(PIECES),
    ) {
        let mut input = format!("a1 {}", line.replace("\\r\\n", "\r\n")).into_bytes();
        let at = at.index(input.len() + 1);
        let end = (at + len).min(input.len());
        input.splice(at..end, piece.bytes());
        input.extend_from_slice(b"\r\n");
        compare(&input);
    }
}
