//! Properties of the reader on generated input: it never panics, never holds more than it may, and its steps do
//! not depend on how the input is cut.

use imap_wire::fuzzing::{Literals, drive, fuzz_reader, fuzz_url};
use imap_wire::{Limits, Step};
use proptest::prelude::*;

/// What URLs are put together from, rightly or not.
const URL_PIECES: &[&str] = &[
    "imap://",
    "joe@example.com",
    "tel%3A%2B336@[::1]:143",
    ";AUTH=*",
    "/",
    "/INBOX",
    "/a%2F",
    "/%C3%A9",
    ";UIDVALIDITY=7",
    "/;UID=9",
    ";UID=1",
    "/;SECTION=1.2",
    "/;SECTION=HEADER.FIELDS%20(From%20%22a%20b%22)",
    "/;SECTION=3.MIME",
    "/;PARTIAL=0.10",
    "/;PARTIAL=7",
    ";EXPIRE=2026-11-21T10:00:00Z",
    ";EXPIRE=0001-01-01T00:00:00+23:59",
    ";URLAUTH=anonymous",
    ";URLAUTH=submit+fred",
    ":INTERNAL:91354a473744909de610943775f92038",
    "%",
    "%00",
    ":",
    "+",
    "x",
];

/// Good commands without tags, a line each, with `\r\n` inside written out.
const COMMANDS: &str = include_str!("commands.txt");

/// What good commands are spoilt with.
const PIECES: &[&str] = &[
    "",
    " ",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{fc}",
    "a",
    "1",
    "0",
    "*",
    "$",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\\",
    "%",
    "{0}\r\n",
    "{3}\r\nabc",
    "{3+}\r\nabc",
    "~{3+}\r\nabc",
    "{30+}\r\n",
    "{999+}\r\n",
    "{5}",
    "{",
    "}",
    "+",
    "99999999999",
    "NIL",
    "NOT ",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn command() -> impl Strategy<Value = String> {
    let commands: Vec<_> = COMMANDS.lines().map(|line| line.replace("\\r\\n", "\r\n")).collect();
    proptest::sample::select(commands).prop_map(|command| format!("a1 {command}\r\n"))
}

/// A good command, or one with some octets replaced by a piece.
fn nearly_command() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (command(), any::<proptest::sample::Index>(), 0..6usize, proptest::sample::select(PIECES))
        .prop_map(|(command, at, len, piece)| {
            let mut octets = command.into_bytes();
            let at = at.index(octets.len());
            let end = (at + len).min(octets.len());
            octets.splice(at..end, piece.bytes());
            octets
        });
    prop_oneof![command().prop_map(String::into_bytes), spoilt]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn any_octets(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_reader(&data);
    }

    #[test]
    fn urls_are_read_as_written(pieces in proptest::collection::vec(proptest::sample::select(URL_PIECES), 0..10)) {
        fuzz_url(pieces.concat().as_bytes());
    }

    #[test]
    fn whole_urls_are_read_as_written(
        mailbox in "[a-z%/:@;?\u{e9}]{1,12}",
        user in "[a-z%/:@;+]{1,12}",
        uid in 1..u32::MAX,
        expires in 0..200_000_000_000i64,
        token in proptest::collection::vec(any::<u8>(), 16..40),
    ) {
        use imap_wire::url::{Access, AuthorizedUrl, MessageUrl, Verifier};
        let url = AuthorizedUrl {
            user: user.clone(),
            host: "example.com:143".to_owned(),
            message: MessageUrl {
                mailbox: Some(mailbox),
                uid_validity: None,
                uid: uid.try_into().expect("positive"),
                section: imap_wire::command::Section::default(),
                partial: None,
            },
            expires: Some(expires),
            access: Access::User(user),
            verifier: Some(Verifier { mechanism: "INTERNAL".to_owned(), token: token.into() }),
            rump: bytes::Bytes::new(),
        };
        let read = AuthorizedUrl::parse(url.to_string().as_bytes()).expect("a URL");
        prop_assert_eq!(AuthorizedUrl { rump: bytes::Bytes::new(), ..read }, url);
    }

    #[test]
    fn nearly_commands(
        head in any::<[u8; 3]>(),
        commands in proptest::collection::vec(nearly_command(), 1..8),
    ) {
        fuzz_reader(&[&head[..], &commands.concat()].concat());
    }
}

/// The commands that the others are made from are good, and each kind of step comes of them.
#[test]
fn good_commands() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in COMMANDS.lines() {
        let input = format!("a1 {}\r\n", line.replace("\\r\\n", "\r\n"));
        for step in drive(input.as_bytes(), &[usize::MAX], &Limits::default(), Literals::Buffered) {
            // AUTHENTICATE without an initial response waits for a line that is not here.
            assert!(!matches!(step, Step::Bad(_) | Step::Fatal(_)), "{line}: {step:?}");
            let text = format!("{step:?}");
            kinds.insert(text.split(['(', ' ']).next().unwrap_or_default().to_owned());
        }
    }
    let expected =
        "AppendEnd AppendStart CatenateUrl Command Continue IdleDone Literal MessageEnd MessageStart Octets";
    assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(" "), expected);
}
