//! The reader over scripts: what comes in, and the steps that come out.

use std::sync::Arc;

use bytes::BytesMut;
use imap_wire::fuzzing::{Literals, drive, tiny_limits};
use imap_wire::reader::MessageLiteral;
use imap_wire::{Limits, Mode, Reader, Step};

/// A step in few words.
fn told(step: &Step) -> String {
    match step {
        Step::NeedMore => "need more".into(),
        Step::Continue => "continue".into(),
        Step::Command(command) => {
            let body = format!("{:?}", command.body);
            let name = body.split(['(', ' ']).next().unwrap_or_default();
            format!("{} {name}", command.tag)
        }
        Step::AppendStart(start) => {
            let mailbox = String::from_utf8_lossy(start.mailbox.raw().as_bytes());
            let replaces = start.replaces.map(|r| format!(" replaces {r:?}")).unwrap_or_default();
            format!("{} append to {mailbox}{replaces}", start.tag)
        }
        Step::MessageStart(start) => {
            let flags: Vec<_> = start.flags.iter().map(ToString::to_string).collect();
            let date = start.date.map(|date| format!(" at {}", date.unix_seconds)).unwrap_or_default();
            let catenate = if start.catenate { " catenate" } else { "" };
            format!("message ({}){date}{catenate}", flags.join(" "))
        }
        Step::Literal(MessageLiteral { size, sync, literal8, utf8 }) => {
            let word = |on: bool, word| if on { word } else { "" };
            format!("literal {size}{}{}{}", word(*sync, " sync"), word(*literal8, " 8"), word(*utf8, " utf8"))
        }
        Step::Octets(octets) => format!("octets {}", octets.escape_ascii()),
        Step::CatenateUrl(url) => format!("url {}", url.as_bytes().escape_ascii()),
        Step::MessageEnd => "message end".into(),
        Step::AppendEnd => "append end".into(),
        Step::AuthLine(line) => format!("auth {}", line.escape_ascii()),
        Step::IdleDone => "done".into(),
        Step::Bad(error) => {
            let tag = error.tag.as_ref().map_or("*".into(), ToString::to_string);
            format!("{tag} bad {:?}", error.kind)
        }
        Step::Fatal(_) => "fatal".into(),
    }
}

/// Runs `input` whole and octet by octet, and compares the steps with `expected`, a line each.
#[track_caller]
fn check_with(limits: &Limits, literals: Literals, input: &str, expected: &[&str]) {
    for cuts in [&[usize::MAX][..], &[1], &[2, 3, 5]] {
        let steps: Vec<_> = drive(input.as_bytes(), cuts, limits, literals).iter().map(told).collect();
        assert_eq!(steps, expected, "{input:?} cut by {cuts:?}");
    }
}

#[track_caller]
fn check(input: &str, expected: &[&str]) {
    check_with(&Limits::default(), Literals::Buffered, input, expected);
    if !expected.iter().any(|step| step.starts_with("octets")) {
        check_with(&Limits::default(), Literals::Direct, input, expected);
    }
}

#[test]
fn commands() {
    check("", &[]);
    check("a NOOP", &[]);
    check("a NOOP\r\n", &["a Noop"]);
    check("a NOOP\r\nb FETCH 1 FLAGS\r\nc LO", &["a Noop", "b Fetch"]);
    check("a NOPE\r\nb NOOP\r\n", &["a bad UnknownCommand", "b Noop"]);
    check("\r\n", &["* bad Tag"]);
    check("*\r\n* NOOP\r\n", &["* bad Tag", "* bad Tag"]);
    check("a\0b NOOP\r\na NOOP\0\r\n", &["* bad Tag", "a bad Syntax"]);
    check("a NO\rOP\r\nb NOOP\r\n", &["a bad UnknownCommand", "b Noop"]);
}

#[test]
fn literals() {
    check("a LOGIN {1}\r\nu {2}\r\npp\r\nb NOOP\r\n", &["continue", "continue", "a Login", "b Noop"]);
    check("a LOGIN {1+}\r\nu {2+}\r\npp\r\nb NOOP\r\n", &["a Login", "b Noop"]);
    check("a LOGIN {0}\r\n {4+}\r\n\r\n\r\n\r\n", &["continue", "a Login"]);
    // Refused before it is asked for, or skipped.
    check("a NOPE {3}\r\nb NOOP\r\n", &["a bad UnknownCommand", "b Noop"]);
    check("a NOPE {3+}\r\nx\r\n\r\nb NOOP\r\n", &["a bad UnknownCommand", "b Noop"]);
    check("a NOOP {3+}\r\nx\r\n {2+}\r\n\r\n {2}\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a LOGIN u \"{3}\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a FETCH 1 BODY[HEADER.FIELDS ({4}\r\nDate)]\r\n", &["continue", "a Fetch"]);
    // Behind the checked ones, a literal in a wrong place is found when the command is whole.
    let head = "a SEARCH BCC {1+}\r\nx BCC {1+}\r\nx BCC {1+}\r\nx BCC {1+}\r\nx ";
    check(&format!("{head}FOO {{1+}}\r\nx\r\nb NOOP\r\n"), &["a bad Syntax", "b Noop"]);
    check(&format!("{head}BCC {{1+}}\r\nx\r\nb NOOP\r\n"), &["a Search", "b Noop"]);
}

#[test]
fn too_large() {
    let limits = tiny_limits();
    let check = |input: &str, expected: &[&str]| check_with(&limits, Literals::Buffered, input, expected);
    let long = "x".repeat(60);
    check(&format!("a LOGIN u {}\r\nb NOOP\r\n", &long[10..]), &["a Login", "b Noop"]);
    check(&format!("a LOGIN u {}\r\nb NOOP\r\n", &long[9..]), &["a bad LineTooLong", "b Noop"]);
    check(&format!("a LOGIN u {long}\r\nb NOOP\r\n"), &["a bad LineTooLong", "b Noop"]);
    check(
        &format!("a LOGIN u {long}\nx y\r\nb NOOP\r\n"),
        &["a bad LineTooLong", "x bad BadOctet", "b Noop"],
    );
    check(&format!("{long}{long} NOOP\r\nb NOOP\r\n"), &["* bad LineTooLong", "b Noop"]);
    // The rest of a refused line may announce a literal.
    check(&format!("a LOGIN {long} {{8+}}\r\nx NOOP\r\n\r\nb NOOP\r\n"), &["a bad LineTooLong", "b Noop"]);
    check(&format!("a LOGIN {long} {{8}}\r\nb NOOP\r\n"), &["a bad LineTooLong", "b Noop"]);
    check("a LOGIN {20}\r\n01234567890123456789 x\r\n", &["continue", "a Login"]);
    check("a LOGIN {21}\r\nb NOOP\r\n", &["a bad LiteralTooBig", "b Noop"]);
    check("a LOGIN {21+}\r\n012345678901234567890 x\r\nb NOOP\r\n", &["a bad LiteralTooBig", "b Noop"]);
    // Together more than the command may have.
    let twice = "a SEARCH BCC {20+}\r\n01234567890123456789 BCC {20+}\r\n01234567890123456789 ";
    check(&format!("{twice}BCC {{20}}\r\nb NOOP\r\n"), &["a bad LineTooLong", "b Noop"]);
    // Too much to skip.
    check("a LOGIN {301+}\r\nb NOOP\r\n", &["a bad LiteralTooBig", "fatal"]);
    check("a LOGIN {18446744073709551615+}\r\nb NOOP\r\n", &["a bad LiteralTooBig", "fatal"]);
    check(&format!("a LOGIN {}", long.repeat(7)), &["a bad LineTooLong", "fatal"]);
    // Each refused command has its own measure.
    let refused = format!("a LOGIN {}\r\n", long.repeat(4));
    check(&refused.repeat(3), &["a bad LineTooLong"; 3]);
    check("a LOGIN {99999999999999999999}\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
}

#[test]
fn literal_minus() {
    let limits = Limits { literal_minus: true, ..Limits::default() };
    let big = "x".repeat(4097);
    let command = format!("a LOGIN {{4097+}}\r\n{big} p\r\nb LOGIN {{4097}}\r\n{big} p\r\n");
    check_with(&limits, Literals::Buffered, &command, &["a bad LiteralTooBig", "continue", "b Login"]);
    check_with(&Limits::default(), Literals::Buffered, &command, &["a Login", "continue", "b Login"]);
    // RFC 7888 §5: APPEND is no exception.
    let message = format!("a APPEND x {{4097+}}\r\n{big}\r\nb NOOP\r\n");
    check_with(&limits, Literals::Buffered, &message, &["a bad LiteralTooBig", "b Noop"]);
    let fits = format!("a LOGIN {{4096+}}\r\n{} p\r\n", &big[1..]);
    check_with(&limits, Literals::Buffered, &fits, &["a Login"]);
}

#[test]
fn line_ends() {
    // What follows a bare LF is not a command, however much it looks like one, but it has its answer.
    check("a NOOP\nb NOOP\r\nc NOOP\r\n", &["a bad BadOctet", "b bad BadOctet", "c Noop"]);
    check(
        "a NOOP\nb NOOP\nc NOOP\r\nd NOOP\r\n",
        &["a bad BadOctet", "b bad BadOctet", "c bad BadOctet", "d Noop"],
    );
    check("a LOGIN {1}\nx y\r\nc NOOP\r\n", &["a bad BadOctet", "x bad BadOctet", "c Noop"]);
    check("a NOOP\nb X {4+}\r\nc\r\n {4}\r\nd NOOP\r\n", &["a bad BadOctet", "b bad BadOctet", "d Noop"]);
    check(
        "a LOGIN u {3}\r\nx\ny z\nb NOOP\r\nc NOOP\r\n",
        &["continue", "a bad BadOctet", "b bad BadOctet", "c Noop"],
    );
    check(
        "a AUTHENTICATE X\r\nAA\nBB\r\nb NOOP\r\n",
        &["a Authenticate", "* bad BadOctet", "BB bad BadOctet", "b Noop"],
    );
    check("a NOOP\r\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
}

#[test]
fn append() {
    check(
        "a APPEND INBOX {5}\r\nhello\r\nb NOOP\r\n",
        &[
            "a append to INBOX",
            "message ()",
            "literal 5 sync",
            "octets hello",
            "message end",
            "append end",
            "b Noop",
        ],
    );
    check(
        "a append \"a b\" (\\Seen $x) \"17-Jul-1996 02:44:25 -0700\" ~{3+}\r\nx\0\n\r\n",
        &[
            "a append to a b",
            "message (\\Seen $x) at 837596665",
            "literal 3 8",
            "octets x\\x00\\n",
            "message end",
            "append end",
        ],
    );
    // The mailbox's literal is not the message's.
    check(
        "a APPEND {3}\r\nbox {2+}\r\n\r\n\r\n",
        &[
            "continue",
            "a append to box",
            "message ()",
            "literal 2",
            "octets \\r\\n",
            "message end",
            "append end",
        ],
    );
    check(
        "a APPEND x () UTF8 (~{1+}\r\nm)\r\n",
        &["a append to x", "message ()", "literal 1 8 utf8", "octets m", "message end", "append end"],
    );
    // Octets that look like commands and announcements.
    check(
        "a APPEND x {13+}\r\nb NOOP {9+}\r\n\r\nc NOOP\r\n",
        &[
            "a append to x",
            "message ()",
            "literal 13",
            "octets b NOOP {9+}\\r\\n",
            "message end",
            "append end",
            "c Noop",
        ],
    );
}

#[test]
fn multiappend() {
    check(
        "a APPEND x (\\Seen) {1}\r\nm \" 7-Feb-1994 21:52:25 -0800\" {2}\r\nmm {0+}\r\n\r\nb NOOP\r\n",
        &[
            "a append to x",
            "message (\\Seen)",
            "literal 1 sync",
            "octets m",
            "message end",
            "message () at 760686745",
            "literal 2 sync",
            "octets mm",
            "message end",
            "message ()",
            "literal 0",
            "message end",
            "append end",
            "b Noop",
        ],
    );
}

#[test]
fn catenate() {
    check(
        "a APPEND x (\\Seen) CATENATE (URL \"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER\" \
         TEXT {4+}\r\nabcd URL {1}\r\nu TEXT {1}\r\ne UTF8 (~{1+}\r\nf))\r\n",
        &[
            "continue",
            "a append to x",
            "message (\\Seen) catenate",
            "url /Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            "literal 4",
            "octets abcd",
            "continue",
            "url u",
            "literal 1 sync",
            "octets e",
            "literal 1 8 utf8",
            "octets f",
            "message end",
            "append end",
        ][1..],
    );
    check(
        "a APPEND x CATENATE (URL a URL b)\r\nb NOOP\r\n",
        &["a append to x", "message () catenate", "url a", "url b", "message end", "append end", "b Noop"],
    );
    // A CATENATE and a plain message in one command.
    check(
        "a APPEND x CATENATE (URL a) {1+}\r\nm\r\n",
        &[
            "a append to x",
            "message () catenate",
            "url a",
            "message end",
            "message ()",
            "literal 1",
            "octets m",
            "message end",
            "append end",
        ],
    );
}

#[test]
fn replace() {
    let steps = |start: &'static str| {
        [start, "message (\\Draft)", "literal 1", "octets m", "message end", "append end"]
    };
    check(
        "a REPLACE 4 Drafts (\\Draft) {1+}\r\nm\r\n",
        &steps("a append to Drafts replaces Replaces { uid: false, number: Number(4) }"),
    );
    check(
        "a uid replace * Drafts (\\Draft) {1+}\r\nm\r\n",
        &steps("a append to Drafts replaces Replaces { uid: true, number: Star }"),
    );
    check(
        "a REPLACE 4 x {1+}\r\nm {1+}\r\nm\r\nb NOOP\r\n",
        &[
            "a append to x replaces Replaces { uid: false, number: Number(4) }",
            "message ()",
            "literal 1",
            "octets m",
            "a bad Syntax",
            "b Noop",
        ],
    );
}

#[test]
fn bad_appends() {
    check("a APPEND\r\na APPEND x\r\na APPEND x ()\r\n", &["a bad Syntax"; 3]);
    check("a APPENDX x {1}\r\nb NOOP\r\n", &["a bad UnknownCommand", "b Noop"]);
    check("a APPEND x \"m\"\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check(
        "a APPEND x {1}\r\nm x\r\nb NOOP\r\n",
        &["a append to x", "message ()", "literal 1 sync", "octets m", "a bad Syntax", "b Noop"],
    );
    check("a APPEND x (\\) {5}\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a APPEND x (\\) {5+}\r\nhello\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a APPEND x UTF8 ({5+}\r\nhello)\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check(
        "a APPEND x UTF8 (~{1+}\r\nh\r\nb NOOP\r\n",
        &["a append to x", "message ()", "literal 1 8 utf8", "octets h", "a bad Syntax", "b Noop"],
    );
    check("a APPEND x CATENATE ()\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a APPEND x CATENATE (FOO {1+}\r\nx)\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a APPEND x CATENATE (TEXT abc)\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a APPEND x \"30-Feb-2026 00:00:00 +0000\" {1+}\r\nx\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    check("a REPLACE x {1+}\r\nm\r\nb NOOP\r\n", &["a bad Syntax", "b Noop"]);
    let urls = "URL {1+}\r\nx ".repeat(65);
    check(&format!("a APPEND x CATENATE ({urls}URL x)\r\nb NOOP\r\n"), &["a bad TooMany", "b Noop"]);
}

#[test]
fn refused_appends() {
    let refused = |input: &str, expected: &[&str]| {
        check_with(&Limits::default(), Literals::Refused, input, expected);
    };
    let start = ["a append to x", "message ()"];
    let expect = |literal: &'static str| [&start[..], &[literal, "b Noop"]].concat();
    refused("a APPEND x {1000000000000}\r\nb NOOP\r\n", &expect("literal 1000000000000 sync"));
    refused("a APPEND x {5+}\r\nhello\r\nb NOOP\r\n", &expect("literal 5"));
    refused("a APPEND x {5+}\r\nhello {2+}\r\n\r\n\r\nb NOOP\r\n", &expect("literal 5"));
    refused("a APPEND x {5+}\r\nhello {2}\r\nb NOOP\r\n", &expect("literal 5"));
    refused(
        "a APPEND x {999999999999+}\r\nb NOOP\r\n",
        &[&start[..], &["literal 999999999999", "fatal"]].concat(),
    );
    let late = |input: &str| {
        let sync = if input.contains('+') { "literal 5" } else { "literal 5 sync" };
        check_with(
            &Limits::default(),
            Literals::RefusedLate,
            input,
            &[&start[..], &[sync, "b Noop"]].concat(),
        );
    };
    late("a APPEND x {5+}\r\nhello\r\nb NOOP\r\n");
    late("a APPEND x {5}\r\nhello\r\nb NOOP\r\n");
    late("a APPEND x {5}\r\nhello {2}\r\nb NOOP\r\n");
}

/// Refusing at the first step, and behind a message that was taken.
#[test]
fn refused_between_literals() {
    let mut reader = Reader::new(Arc::new(Limits::default()));
    let mut next = |buffer: &mut BytesMut, reject: bool| {
        let step = told(&reader.next(buffer));
        if reject {
            reader.reject();
        }
        step
    };
    let mut buffer = BytesMut::from("a APPEND x CATENATE (URL y)\r\nb APPEND x {3+}\r\nabc\r\nc NOOP\r\n");
    assert_eq!(next(&mut buffer, true), "a append to x");
    assert_eq!(next(&mut buffer, true), "b append to x");
    assert_eq!(next(&mut buffer, false), "c Noop");
    buffer.extend_from_slice(b"d APPEND x {3+}\r\nabc CATENATE (URL {1}\r\n");
    for step in ["d append to x", "message ()", "literal 3", "octets abc", "continue"] {
        assert_eq!(next(&mut buffer, false), step);
    }
    assert_eq!(next(&mut buffer, true), "need more");
    buffer.extend_from_slice(b"y) {2+}\r\nzz\r\ne NOOP\r\n");
    assert_eq!(next(&mut buffer, false), "e Noop");
    buffer.extend_from_slice(b"f APPEND x {3+}\r\nabc (\\Seen");
    for step in ["f append to x", "message ()", "literal 3", "octets abc"] {
        assert_eq!(next(&mut buffer, false), step);
    }
    assert_eq!(next(&mut buffer, true), "need more");
    buffer.extend_from_slice(b") {2}\r\ng NOOP\r\n");
    assert_eq!(next(&mut buffer, false), "g Noop");
}

#[test]
fn authenticate() {
    check("a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb NOOP\r\n", &["a Authenticate", "auth AGEAYg==", "b Noop"]);
    check("a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n", &["a Authenticate", "auth *", "b Noop"]);
    check("a AUTHENTICATE PLAIN\r\n\r\nb NOOP\r\n", &["a Authenticate", "auth ", "b Noop"]);
    check("a AUTHENTICATE PLAIN\r\nx{5}\r\nb NOOP\r\n", &["a Authenticate", "auth x{5}", "b Noop"]);
    let long = format!("a AUTHENTICATE X\r\n{}\r\nb NOOP\r\n", "A".repeat(17));
    let steps = ["a Authenticate", "* bad LineTooLong", "b Noop"];
    check_with(&tiny_limits(), Literals::Buffered, &long, &steps);
}

#[test]
fn idle() {
    check("a IDLE\r\ndone\r\nb NOOP\r\n", &["a Idle", "done", "b Noop"]);
    check("a IDLE\r\nb NOOP\r\nc NOOP\r\n", &["a Idle", "* bad Syntax", "c Noop"]);
    check("a IDLE\r\nDONE\nx y\r\nc NOOP\r\n", &["a Idle", "* bad BadOctet", "x bad BadOctet", "c Noop"]);
    let long = format!("a IDLE\r\n{}\r\nb NOOP\r\n", "D".repeat(100));
    check_with(&tiny_limits(), Literals::Buffered, &long, &["a Idle", "* bad LineTooLong", "b Noop"]);
}

/// A message passes without being held: the buffer never has more than what was last put in.
#[test]
fn a_large_message_is_not_held() {
    let mut reader = Reader::new(Arc::new(Limits::default()));
    let mut buffer = BytesMut::from("a APPEND x {104857600}\r\n");
    for _ in 0..3 {
        reader.next(&mut buffer);
    }
    reader.accept();
    let mut left = reader.literal_remaining();
    assert_eq!(left, 104857600);
    while left > 0 {
        assert_eq!(reader.next(&mut buffer), Step::NeedMore);
        assert!(buffer.is_empty());
        buffer.extend_from_slice(&vec![b'x'; left.min(65536) as usize]);
        let Step::Octets(octets) = reader.next(&mut buffer) else { panic!("no octets") };
        left -= octets.len() as u64;
        assert_eq!(reader.literal_remaining(), left);
    }
    buffer.extend_from_slice(b"\r\n");
    assert_eq!(reader.next(&mut buffer), Step::MessageEnd);
    assert_eq!(reader.next(&mut buffer), Step::AppendEnd);
    assert!(reader.is_between_commands() && reader.mode() == Mode::Command);
}
