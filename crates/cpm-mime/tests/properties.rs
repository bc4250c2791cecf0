//! Promises that hold for every message, on messages made of what breaks scanners.

use cpm_mime::fuzzing::{fuzz_index, fuzz_stored};
use cpm_mime::{Limits, parse};
use proptest::prelude::*;

/// Lines and pieces of lines that mean something to the scanner.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = [
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "--b",
        "--b\r\n",
        "--b--\r\n",
        "--c\r\n",
        "--c--",
        "--b \t\r\n",
        "--",
        "-",
        " ",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/digest; boundary=\"c\"\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Type: message/cpim\r\n\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Disposition: attachment; filename*0=a; filename*1=b\r\n",
        "Subject: =?utf-8?q?=C3=A9?= x\r\n",
        "Subject: Re: [x] fwd\r\n",
        "From: A <a@b>, g: c@d, e;\r\n",
        "To: \"unclosed\r\n",
        "Date: Mon, 12 Jan 2026 10:00:00 +0100\r\n",
        "References: <a@b> <c@d>\r\n",
        "Message-ID: <x@y>\r\n",
        "IMDN-Message-ID: abc\r\n",
        "Contribution-ID: x\r\n",
        "Subject: a x\r\n",
        "Bcc: <tel:+1>, <>\r\n",
        "w6kgYQ==",
        "=C3=A9 a=\r\n",
        "é a",
        "plain text\r\n",
        "\0",
        "NS: imdn <urn:x>\r\n",
    ];
    prop_oneof![
        8 => prop::sample::select(fixed.map(|text| text.as_bytes().to_vec()).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "[a-zA-Z-]{1,12}: [ -~]{0,60}\r\n".prop_map(String::into_bytes),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat())
}

const HTML: [&str; 24] = [
    "<",
    ">",
    "</",
    "<p>",
    "<br/>",
    "<head>",
    "</head>",
    "<style>",
    "<!--",
    "-->",
    "<script",
    "&",
    ";",
    "&amp;",
    "&#x110000;",
    "&#233;",
    "é",
    "東",
    "a b",
    "\r\n",
    "\"",
    "=",
    "<a href='é'>",
    "\u{feff}",
];

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 2000 }, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_keep_the_promises(message in message()) {
        fuzz_index(&message);
    }

    #[test]
    fn any_html_has_a_preview(pieces in prop::collection::vec(prop::sample::select(HTML.to_vec()), 0..60)) {
        let message = format!("Content-Type: text/html; charset=utf-8\r\n\r\n{}", pieces.concat());
        prop_assert!(parse(message.as_bytes(), &Limits::default()).preview().is_some());
        fuzz_index(message.as_bytes());
    }

    #[test]
    fn any_octets_keep_the_promises(message in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_index(&message);
    }

    #[test]
    fn altered_indexes_do_no_harm(
        message in message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stored = parse(&message, &Limits::default()).encode().to_vec();
        for (at, byte) in changes {
            let at = at.index(stored.len());
            stored[at] = byte;
        }
        fuzz_stored(&stored);
        fuzz_stored(&stored[..cut.index(stored.len())]);
    }

    #[test]
    fn any_octets_are_an_index_or_not(stored in prop::collection::vec(any::<u8>(), 0..100)) {
        fuzz_stored(&stored);
        fuzz_stored(&[&[1], &stored[..]].concat());
    }
}

/// A message that was once stored, and what it was indexed to: later releases must read it. `cargo test -- --ignored
/// write_fixture` writes the index of today, for a version that has never been released.
#[test]
fn version_1_is_read_for_ever() {
    let stored = include_bytes!("fixtures/index-v1.bin");
    let index = cpm_mime::MessageIndex::decode(bytes::Bytes::from_static(stored)).expect("version 1");
    let message = include_bytes!("fixtures/index-v1.eml");
    assert_eq!(index.size(), message.len() as u64);
    assert_eq!(index.parts().count(), 6);
    assert_eq!(index.base_subject(), "déjà vu");
    assert_eq!(index.imdn_message_id(), Some(&b"Xk3JkOUbGwlN0a5qzRZpvN"[..]));
    assert_eq!(index.preview(), Some("first part"));
    assert_eq!(index.references().collect::<Vec<_>>(), [&b"a@b"[..], b"c@d"]);
    assert_eq!(index, parse(message, &Limits::default()));
}

#[test]
#[ignore = "writes tests/fixtures/index-v1.bin"]
fn write_fixture() {
    let index = parse(include_bytes!("fixtures/index-v1.eml"), &Limits::default());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/index-v1.bin");
    std::fs::write(path, index.encode()).expect("written");
}
