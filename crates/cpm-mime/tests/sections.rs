//! Octets of sections: the tree of RFC 9051 §6.4.5.1 and the cases it leaves out.

use cpm_mime::{Limits, MessageIndex, Section, parse};

/// The tree of RFC 9051 §6.4.5.1; each leaf's content is its number.
const NESTED: &str = "From: top@example.org\r\n\
Subject: top\r\n\
Content-Type: multipart/mixed; boundary=one\r\n\
\r\n\
preamble\r\n\
--one\r\n\
Content-Type: text/plain\r\n\
\r\n\
body 1\r\n\
--one\r\n\
Content-Type: application/octet-stream\r\n\
\r\n\
body 2\r\n\
--one\r\n\
Content-Type: message/rfc822\r\n\
X-Mime: 3\r\n\
\r\n\
Subject: header 3\r\n\
Content-Type: multipart/mixed; boundary=three\r\n\
\r\n\
--three\r\n\
\r\n\
body 3.1\r\n\
--three\r\n\
Content-Type: application/octet-stream\r\n\
X-Mime: 3.2\r\n\
\r\n\
body 3.2\r\n\
--three--\r\n\
epilogue 3\r\n\
--one\r\n\
Content-Type: multipart/mixed; boundary=four\r\n\
X-Mime: 4\r\n\
\r\n\
--four\r\n\
Content-Type: image/gif\r\n\
X-Mime: 4.1\r\n\
\r\n\
body 4.1\r\n\
--four\r\n\
Content-Type: message/rfc822\r\n\
\r\n\
Subject: header 4.2\r\n\
Content-Type: multipart/mixed; boundary=five\r\n\
\r\n\
--five\r\n\
\r\n\
body 4.2.1\r\n\
--five\r\n\
Content-Type: multipart/alternative; boundary=six\r\n\
\r\n\
--six\r\n\
\r\n\
body 4.2.2.1\r\n\
--six\r\n\
Content-Type: text/richtext\r\n\
\r\n\
body 4.2.2.2\r\n\
--six--\r\n\
\r\n\
--five--\r\n\
--four--\r\n\
--one--\r\n\
epilogue\r\n";

fn index(message: &str) -> MessageIndex {
    parse(message.as_bytes(), &Limits::default())
}

/// `section`: as IMAP writes it, such as `4.2.MIME`.
fn fetch<'a>(message: &'a str, section: &str) -> Option<&'a str> {
    let mut path = Vec::new();
    let mut what = Section::Body;
    for word in section.split('.').filter(|word| !word.is_empty()) {
        match word {
            "HEADER" => what = Section::Header,
            "TEXT" => what = Section::Text,
            "MIME" => what = Section::Mime,
            number => path.push(number.parse().expect("a number")),
        }
    }
    let range = index(message).section(&path, what)?;
    Some(&message[range.start as usize..range.end as usize])
}

fn check(message: &str, section: &str, expected: Option<&str>) {
    assert_eq!(fetch(message, section), expected, "BODY[{section}] of {message}");
}

#[test]
fn every_leaf_of_the_example_has_its_number() {
    for leaf in ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"] {
        check(NESTED, leaf, Some(&format!("body {leaf}")));
    }
}

#[test]
fn headers_and_texts_of_the_example() {
    let at = |text: &str| NESTED.find(text).expect("in the example");
    check(NESTED, "", Some(NESTED));
    check(NESTED, "HEADER", Some(&NESTED[..at("preamble")]));
    check(NESTED, "TEXT", Some(&NESTED[at("preamble")..]));
    check(NESTED, "1.MIME", Some("Content-Type: text/plain\r\n\r\n"));
    check(NESTED, "3.MIME", Some("Content-Type: message/rfc822\r\nX-Mime: 3\r\n\r\n"));
    let third = "Subject: header 3\r\nContent-Type: multipart/mixed; boundary=three\r\n\r\n";
    check(NESTED, "3.HEADER", Some(third));
    let text = &NESTED[at("--three\r\n")..at("epilogue 3") + "epilogue 3".len()];
    check(NESTED, "3.TEXT", Some(text));
    check(NESTED, "3", Some(&format!("{third}{text}")));
    check(NESTED, "3.1.MIME", Some("\r\n"));
    check(NESTED, "3.2.MIME", Some("Content-Type: application/octet-stream\r\nX-Mime: 3.2\r\n\r\n"));
    check(NESTED, "4.MIME", Some("Content-Type: multipart/mixed; boundary=four\r\nX-Mime: 4\r\n\r\n"));
    check(NESTED, "4", Some(&NESTED[at("--four")..at("--four--") + "--four--".len()]));
    check(NESTED, "4.1.MIME", Some("Content-Type: image/gif\r\nX-Mime: 4.1\r\n\r\n"));
    check(
        NESTED,
        "4.2.HEADER",
        Some("Subject: header 4.2\r\nContent-Type: multipart/mixed; boundary=five\r\n\r\n"),
    );
    check(NESTED, "4.2.TEXT", Some(&NESTED[at("--five")..at("--five--") + "--five--".len()]));
    check(NESTED, "4.2.2", Some(&NESTED[at("--six")..at("--six--") + "--six--\r\n".len()]));
    check(NESTED, "4.2.2.MIME", Some("Content-Type: multipart/alternative; boundary=six\r\n\r\n"));
}

#[test]
fn what_is_not_there_is_nothing() {
    for section in [
        "5",
        "0",
        "1.1",
        "1.HEADER",
        "1.TEXT",
        "2.TEXT",
        "3.3",
        "3.0",
        "4.HEADER",
        "4.3",
        "4.1.1",
        "4.2.2.3",
        "4.2.2.HEADER",
        "MIME",
        "4294967295",
    ] {
        check(NESTED, section, None);
    }
}

#[test]
fn a_message_without_parts_has_part_1() {
    let message = "Subject: x\r\n\r\nhello\r\n";
    check(message, "1", Some("hello\r\n"));
    check(message, "1.MIME", Some("Subject: x\r\n\r\n"));
    check(message, "TEXT", Some("hello\r\n"));
    for section in ["2", "1.1", "1.TEXT", "1.HEADER", "0"] {
        check(message, section, None);
    }
}

#[test]
fn messages_in_messages() {
    let inner = "From: sub@domain.org\r\nSubject: submsg\r\n\r\nHello world\r\n";
    let middle = format!("From: user2@domain.org\r\nContent-Type: message/rfc822\r\n\r\n{inner}");
    let outer = format!("From: user@domain.org\r\nContent-Type: message/rfc822\r\n\r\n{middle}");
    check(&outer, "TEXT", Some(&middle));
    check(&outer, "1", Some(&middle));
    check(&outer, "1.HEADER", Some("From: user2@domain.org\r\nContent-Type: message/rfc822\r\n\r\n"));
    check(&outer, "1.TEXT", Some(inner));
    check(&outer, "1.1", Some(inner));
    check(&outer, "1.1.HEADER", Some("From: sub@domain.org\r\nSubject: submsg\r\n\r\n"));
    check(&outer, "1.1.TEXT", Some("Hello world\r\n"));
    check(&outer, "1.1.1", Some("Hello world\r\n"));
    check(&outer, "1.1.1.MIME", Some("From: sub@domain.org\r\nSubject: submsg\r\n\r\n"));
    for section in ["1.2", "1.1.2", "1.1.1.1", "1.1.1.TEXT"] {
        check(&outer, section, None);
    }
}

#[test]
fn boundaries_line_ends_and_ends() {
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    for (body, parts) in [
        // The line end before a boundary is the boundary's.
        ("--b\r\n\r\na\r\n\r\n--b--\r\n", &["a\r\n"][..]),
        ("--b\r\n\r\na\r\n--b\r\n\r\nb\r\n--b--", &["a", "b"]),
        ("--b\n\na\n--b\n\nb\n--b--\n", &["a", "b"]),
        ("--b\r\n\r\na\n--b--", &["a"]),
        // No line end to take.
        ("--b\r\n\r\n--b--\r\n", &[""]),
        ("--b\r\n--b\r\n\r\n--b--", &["", ""]),
        // A header that the boundary cuts.
        ("--b\r\nX: y\r\n--b\r\n\r\nc\r\n--b--", &["", "c"]),
        // Never closed, cut short.
        ("--b\r\n\r\na\r\n", &["a\r\n"]),
        ("--b\r\n\r\na\r\n--b", &["a", ""]),
        ("--b\r\nX: y", &[""]),
        // Padding after a boundary; what only begins like one.
        ("--b \t\r\n\r\na\r\n--b-- \r\n", &["a"]),
        ("--b\r\n\r\n--cb\r\n-b\r\n-- b\r\n --b\r\n--b--", &["--cb\r\n-b\r\n-- b\r\n --b"]),
        // It need not be the whole line (RFC 2046 §5.1.1).
        ("--b etc\r\n\r\na\r\n--bc\r\n\r\nb\r\n--b--and so on\r\n--b\r\n\r\nc", &["a", "b"]),
        // Nothing after the last one counts.
        ("--b\r\n\r\na\r\n--b--\r\n--b\r\n\r\nx\r\n--b--", &["a"]),
        ("x--b\r\n\r\na", &[""]),
        ("", &[""]),
        ("--b--\r\n", &[""]),
    ] {
        let message = format!("{head}{body}");
        for (n, part) in parts.iter().enumerate() {
            check(&message, &(n + 1).to_string(), Some(part));
        }
        check(&message, &(parts.len() + 1).to_string(), None);
    }
}

#[test]
fn inner_multiparts_end_with_outer_ones() {
    let message = "Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\n\
        Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\n1.1\r\n--in\r\n\r\n1.2\r\n--out\r\n\r\n2\r\n--in\r\n--out--\r\n";
    check(message, "1.1", Some("1.1"));
    check(message, "1.2", Some("1.2"));
    check(message, "1", Some("--in\r\n\r\n1.1\r\n--in\r\n\r\n1.2"));
    check(message, "2", Some("2\r\n--in"));
    check(message, "3", None);
}

#[test]
fn equal_boundaries_belong_to_the_innermost() {
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1.1\r\n--b--\r\n\r\n--b\r\n\r\n2\r\n--b--\r\n";
    check(message, "1.1", Some("1.1"));
    check(message, "2", Some("2"));
}

#[test]
fn a_longer_boundary_is_not_a_shorter_one() {
    let message = "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1.1\r\n--bb\r\n\r\n2\r\n--bb--\r\n";
    check(message, "1.1", Some("1.1"));
    check(message, "2", Some("2"));
    check(message, "3", None);
}

#[test]
fn a_boundary_line_may_be_long() {
    let padding = " ".repeat(10_000);
    let message = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b{padding}\r\n\r\n1\r\n--b{padding}\r\nX: y\r\n\r\n2\r\n--b--{padding}"
    );
    check(&message, "1", Some("1"));
    check(&message, "2", Some("2"));
    check(&message, "2.MIME", Some("X: y\r\n\r\n"));
    check(&message, "3", None);
}

#[test]
fn a_boundary_may_end_in_dashes() {
    let message = "Content-Type: multipart/mixed; boundary=\"b--\"\r\n\r\n--b--\r\n\r\n1\r\n--b--\r\n\r\n2\r\n--b----\r\n";
    check(message, "1", Some("1"));
    check(message, "2", Some("2"));
    check(message, "3", None);
}

#[test]
fn headers_of_odd_messages() {
    for (message, header, text) in [
        ("", "", ""),
        ("\r\n", "\r\n", ""),
        ("\n\nx", "\n", "\nx"),
        ("Subject: x", "Subject: x", ""),
        ("Subject: x\r\n", "Subject: x\r\n", ""),
        ("Subject: x\n\nbody\n", "Subject: x\n\n", "body\n"),
        ("Subject: x\r\n\nbody", "Subject: x\r\n\n", "body"),
        ("Subject: x\r\n\r", "Subject: x\r\n\r", ""),
        ("no header\r\nat all", "no header\r\nat all", ""),
        ("\0\0\r\n\r\n\0", "\0\0\r\n\r\n", "\0"),
    ] {
        check(message, "HEADER", Some(header));
        check(message, "TEXT", Some(text));
        check(message, "1", Some(text));
        assert_eq!(index(message).header_len(), header.len() as u64);
        assert_eq!(index(message).size(), message.len() as u64);
    }
}
