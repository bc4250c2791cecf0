//! A second opinion: what another implementation of the grammar takes, ours takes too, and means the same by it;
//! and the responses that ours writes the other reads, and writes again as they were.
//!
//! Meaning of commands is compared without a table of types: the other implementation writes what it understood in its own
//! spelling (macros, quotes, literals), and ours has to read that as it read the original.

use bytes::Bytes;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use imap_codec::{CommandCodec, ResponseCodec};
use imap_wire::command::{Section, SectionText, StatusItem};
use imap_wire::fuzzing::{Literals, drive};
use imap_wire::response::fetch::{FetchWriter, PartName};
use imap_wire::response::{self, Condition, ListData, QuotaResource, StatusValue};
use imap_wire::{Code, DateTime, Limits, MailboxEncoding, Step, Tag, parse_command};
use model::{UidList, UidSet};
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

/// Writes one response, which the other has to read whole and write again octet by octet.
#[track_caller]
fn reread(write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    write(&mut out);
    let shown = out.escape_ascii();
    let Ok((rest, response)) = ResponseCodec::default().decode(&out) else { panic!("not read: {shown}") };
    assert!(rest.is_empty(), "not read whole: {shown}");
    let again = ResponseCodec::default().encode(&response).dump();
    // `date-day-fixed = (SP DIGIT) / 2DIGIT`: the other writes the second.
    let padded = memchr::memmem::find(&out, b"INTERNALDATE \" ").map(|at| at + b"INTERNALDATE \"".len());
    let mut expected = out.clone();
    if let Some(at) = padded {
        expected[at] = b'0';
    }
    assert!(again == expected, "{shown}\n{}", again.escape_ascii());
}

#[test]
fn responses() {
    let tag = Tag::new(b"A1").unwrap();
    let set = UidSet::from_ranges([(1, 3), (7, 7)]);
    let list = UidList::from(&set);
    for code in [
        Code::Alert,
        Code::AlreadyExists,
        Code::TryCreate,
        Code::TooBig,
        Code::UidNotSticky,
        Code::UnknownCte,
        Code::OverQuota,
        Code::HighestModSeq(5),
        Code::NoModSeq,
        Code::Closed,
        Code::Modified(&set),
        Code::AppendUid(9, &list),
        Code::CopyUid(9, &set, &list),
        Code::PermanentFlags(&["\\Seen", "$x", "\\*"]),
        Code::BadCharset(&["US-ASCII", "UTF-8"]),
        Code::Capability(&["IMAP4REV1", "IDLE"]),
        Code::UidNext(4),
        Code::UidValidity(5),
        Code::Unseen(6),
        Code::CompressionActive,
    ] {
        reread(|out| response::tagged(out, &tag, Condition::No, Some(&code), "some text"));
        reread(|out| response::untagged(out, Condition::Ok, Some(&code), "some text"));
    }
    reread(|out| response::untagged(out, Condition::Bye, None, "good night"));
    reread(|out| response::continuation(out, "idling"));
    reread(|out| response::capability(out, ["IMAP4REV1", "IDLE", "LITERAL+"]));
    reread(|out| response::enabled(out, ["CONDSTORE"]));
    reread(|out| response::exists(out, 4));
    reread(|out| response::recent(out, 0));
    reread(|out| response::expunge(out, 9));
    reread(|out| response::vanished(out, true, &set));
    reread(|out| response::vanished(out, false, &set));
    reread(|out| response::flags(out, ["\\Seen", "$x", "\\read-report-sent"]));
    reread(|out| response::search(out, [5, 3], None));
    reread(|out| response::search(out, [5, 3], Some(99)));
    reread(|out| response::sort(out, [5, 3], None));
    reread(|out| response::id(out, &[("name", Some("a \"b\"")), ("os", None)], false));
    reread(|out| response::namespace(out, &[("", Some('/'))], &[], &[], MailboxEncoding::Utf8));
    let resource = QuotaResource { name: "STORAGE", usage: 1, limit: 2 };
    reread(|out| response::quota(out, "r", [resource], false));
    reread(|out| response::quota_root(out, "INBOX", MailboxEncoding::ModifiedUtf7, ["r"]));
    for name in ["INBOX", "a b", "a]", "a%*", "\"", "\\", "Entw\u{fc}rfe", "NIL", "a\r\nb"] {
        let data = ListData {
            attributes: &["\\Noselect", "\\HasChildren"],
            separator: Some('/'),
            name,
            ..ListData::default()
        };
        reread(|out| response::list(out, &data, MailboxEncoding::ModifiedUtf7));
        reread(|out| response::lsub(out, &data, MailboxEncoding::ModifiedUtf7));
        let values = [
            (StatusItem::Messages, StatusValue::Number(1)),
            (StatusItem::UidNext, StatusValue::Number(4_294_967_295)),
            (StatusItem::Size, StatusValue::Number(u64::from(u32::MAX) + 1)),
            (StatusItem::HighestModSeq, StatusValue::Number(7)),
        ];
        reread(|out| response::status(out, name, MailboxEncoding::ModifiedUtf7, values));
    }
}

proptest! {
    #[test]
    fn fetches(
        (number, uid, size, mod_seq) in (1u32.., 1u32.., any::<u32>(), 1..i64::MAX as u64),
        unix_seconds in -2_208_988_800i64..253_402_200_000,
        zone_minutes in -719i16..=720,
        octets in proptest::collection::vec(1u8.., 0..40),
        parts in proptest::collection::vec(1u32.., 0..4),
    ) {
        let part = parts.iter().filter_map(|&n| n.try_into().ok()).collect();
        let section = Section { part, text: Some(SectionText::Header) };
        reread(|out| {
            let mut fetch = FetchWriter::begin(out, number);
            fetch.uid(out, uid);
            fetch.flags(out, ["\\Seen", "\\Recent", "$x"]);
            fetch.mod_seq(out, mod_seq);
            fetch.internal_date(out, DateTime { unix_seconds, zone_minutes });
            fetch.size(out, size.into());
            fetch.section_nil(out, PartName::Rfc822, None);
            fetch.section_string(out, PartName::Body(&section), None, &octets);
            fetch.section_literal(out, PartName::Body(&section), Some(3), octets.len() as u64, false);
            out.extend_from_slice(&octets);
            fetch.section_literal(out, PartName::Binary(&section.part), None, octets.len() as u64, true);
            out.extend_from_slice(&octets);
            fetch.end(out);
        });
    }
}
