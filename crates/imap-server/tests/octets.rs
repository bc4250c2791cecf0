//! Octets of sections, of messages put together in a way that says where each section is, so that no parser of the
//! server's has a say in what is expected.

#[path = "support/harness.rs"]
mod harness;

use std::ops::Range;

use harness::{Client, TestServer, text, value_of};

/// A message that is put together, with where its sections are.
#[derive(Default)]
struct Made {
    octets: Vec<u8>,
    sections: Vec<(&'static str, Range<usize>)>,
    absent: Vec<&'static str>,
    /// BINARY of parts, decoded.
    binary: Vec<(&'static str, Vec<u8>)>,
}

impl Made {
    fn push(mut self, octets: impl AsRef<[u8]>) -> Self {
        self.octets.extend_from_slice(octets.as_ref());
        self
    }

    /// Octets that are, whole, the section `name`.
    fn section(self, name: &'static str, octets: impl AsRef<[u8]>) -> Self {
        let start = self.octets.len();
        let mut this = self.push(octets);
        this.sections.push((name, start..this.octets.len()));
        this
    }

    /// What `inner` adds is, whole, the section `name`.
    fn within(mut self, name: &'static str, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.octets.len();
        self = inner(self);
        let end = self.octets.len();
        self.sections.push((name, start..end));
        self
    }

    fn absent(mut self, names: &[&'static str]) -> Self {
        self.absent.extend_from_slice(names);
        self
    }

    fn binary(mut self, part: &'static str, decoded: impl AsRef<[u8]>) -> Self {
        self.binary.push((part, decoded.as_ref().to_vec()));
        self
    }
}

fn messages() -> Vec<Made> {
    let plain = Made::default()
        .section("HEADER", "Subject: a\r\n b\r\nX: \u{e9}\r\n\r\n")
        .within("TEXT", |m| m.section("1", "line\r\n\r\nline without end"))
        .absent(&["2", "1.1", "1.HEADER", "1.TEXT", "1.2.MIME"]);
    let no_body = Made::default().section("HEADER", "Subject: only a header\r\n\r\n").section("TEXT", "");
    let no_empty_line = Made::default().section("HEADER", "Subject: x\r\nTo: y\r\n").section("TEXT", "");
    let no_header =
        Made::default().section("HEADER", "\r\n").within("TEXT", |m| m.section("1", "text alone\r\n"));
    let bare_lf = Made::default().section("HEADER", "Subject: x\nTo: y\n\n").section("TEXT", "a\nb\rc\r\n\n");
    let parts = Made::default()
        .section("HEADER", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"a b\"\r\n\r\n")
        .within("TEXT", |m| {
            m.push("preamble\r\n--a b\r\n")
                .section("1.MIME", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: QUOTED-PRINTABLE\r\n\r\n")
                .section("1", "=E9 soft=\r\n end")
                .binary("1", b"\xe9 soft end")
                .push("\r\n--a b  \r\n")
                .section("2.MIME", "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
                .section("2", "AGEA\r\nYg==\r\n")
                .binary("2", b"\0a\0b")
                .push("\r\n--a b\r\n")
                .section("3.MIME", "Content-Type: message/rfc822\r\n\r\n")
                .within("3", |m| {
                    m.section("3.HEADER", "Subject: inner\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n")
                        .within("3.TEXT", |m| {
                            m.push("--in\r\n")
                                .section("3.1.MIME", "\r\n")
                                .section("3.1", "one")
                                .push("\r\n--in\r\n")
                                .section("3.2.MIME", "Content-Type: text/html\r\n\r\n")
                                .section("3.2", "<p>\r\n\r\n")
                                .push("\r\n--in--\r\nepilogue inside")
                        })
                })
                .push("\r\n--a b\r\n")
                .section("4.MIME", "Content-Type: multipart/mixed; boundary=empty\r\n\r\n")
                .section("4", "nothing begins here")
                .push("\r\n--a b--\r\nepilogue\r\n")
        })
        .absent(&["5", "3.3", "1.1", "2.HEADER", "3.2.1", "3.1.TEXT", "4.2"]);
    let nested = Made::default()
        .section("HEADER", "Content-Type: message/rfc822\r\n\r\n")
        .within("TEXT", |m| {
            m.within("1", |m| {
                m.section("1.HEADER", "Content-Type: message/rfc822\r\n\r\n").within("1.TEXT", |m| {
                    m.within("1.1", |m| {
                        m.section("1.1.HEADER", "Subject: inmost\r\n\r\n")
                            .within("1.1.TEXT", |m| m.section("1.1.1", "deep"))
                    })
                })
            })
        })
        .absent(&["1.2", "1.1.2", "1.1.1.1"]);
    // CPIM is a leaf, whatever it looks like inside.
    let cpim = Made::default()
        .section("HEADER", "Conversation-ID: c\r\nContent-Type: Message/CPIM\r\n\r\n")
        .within("TEXT", |m| {
            m.section(
                "1",
                "From: <tel:+1>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\r\nContent-Type: text/plain\r\n\r\nhi",
            )
        })
        .absent(&["1.1", "1.HEADER", "1.TEXT"]);
    // Larger than what is read whole, and than what is decoded at once.
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/01234567\r\n";
    let large_text = line.repeat(3_000);
    let base64_line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg==";
    let base64 = format!("{}\r\n", &base64_line[..68]).repeat(30_000);
    let decoded = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxy"[..51].repeat(30_000);
    let large = Made::default()
        .section("HEADER", "Subject: large\r\nContent-Type: multipart/mixed; boundary=large\r\n\r\n")
        .within("TEXT", |m| {
            m.push("--large\r\n")
                .section("1.MIME", "Content-Type: text/plain\r\n\r\n")
                .section("1", &large_text)
                .binary("1", &large_text)
                .push("\r\n--large\r\n")
                .section("2.MIME", "Content-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\n")
                .section("2", &base64)
                .binary("2", decoded)
                .push("\r\n--large--\r\n")
        })
        .absent(&["3", "1.HEADER"]);
    let large_header = Made::default()
        .section("HEADER", format!("{}To: z\r\n\r\n", "X: y\r\n".repeat(30_000)))
        .within("TEXT", |m| m.section("1", "after a long header"));
    vec![plain, no_body, no_empty_line, no_header, bare_lf, parts, nested, cpim, large, large_header]
}

async fn stored() -> (TestServer, Client, Vec<Made>) {
    let server = TestServer::start().await;
    let mut client = server.login().await;
    let messages = messages();
    for message in &messages {
        client.append("INBOX", &message.octets).await;
    }
    client.ok("SELECT INBOX").await;
    (server, client, messages)
}

/// Offsets and lengths that meet ends from both sides.
fn partials(len: usize) -> Vec<(usize, usize)> {
    let (half, end) = (len / 2, len.saturating_sub(1));
    vec![
        (0, 1),
        (0, len.max(1)),
        (0, len + 9),
        (half, 70_000),
        (end, 1),
        (end, 9),
        (len, 1),
        (len + 5, 3),
        (1, half.max(1)),
    ]
}

#[tokio::test]
async fn every_section_of_every_message() {
    let (_server, mut c, messages) = stored().await;
    for (at, made) in messages.iter().enumerate() {
        let uid = at + 1;
        let all = 0..made.octets.len();
        for (section, range) in made.sections.iter().chain([&("", all)]) {
            let name = format!("BODY[{section}]");
            let expected = &made.octets[range.clone()];
            let got = c.fetch(&format!("UID FETCH {uid} (BODY.PEEK[{section}])"), &name).await;
            assert!(
                got.as_deref() == Some(expected),
                "message {uid}, {name}: {:?}",
                got.map(|g| text(&g[..g.len().min(500)]))
            );
            for (offset, length) in partials(expected.len()) {
                let command = format!("UID FETCH {uid} BODY.PEEK[{section}]<{offset}.{length}>");
                let got = c.fetch(&command, &format!("{name}<{offset}>")).await.expect("octets");
                let start = offset.min(expected.len());
                let end = (offset + length).min(expected.len());
                assert!(got == expected[start..end], "{command}");
            }
        }
        for section in &made.absent {
            let got = c
                .fetch(&format!("UID FETCH {uid} (BODY.PEEK[{section}])"), &format!("BODY[{section}]"))
                .await;
            assert_eq!(got.map(|g| text(&g)), None, "message {uid}, {section}");
        }
    }
}

#[tokio::test]
async fn several_sections_at_once_and_old_names() {
    let (_server, mut c, messages) = stored().await;
    for (at, made) in messages.iter().enumerate() {
        let uid = at + 1;
        let of = |name: &str| {
            let range = made.sections.iter().find(|(section, _)| *section == name).expect("it").1.clone();
            made.octets[range].to_vec()
        };
        let names: Vec<String> =
            made.sections.iter().map(|(section, _)| format!("BODY.PEEK[{section}]")).collect();
        let answer = c
            .ok(&format!(
                "UID FETCH {uid} (UID {} RFC822.SIZE RFC822.HEADER RFC822.TEXT RFC822)",
                names.join(" ")
            ))
            .await;
        let response = &answer.untagged[0];
        for (section, range) in &made.sections {
            let got = value_of(response, &format!("BODY[{section}]"));
            assert!(got.as_deref() == Some(&made.octets[range.clone()]), "message {uid}, {section}");
        }
        assert_eq!(value_of(response, "RFC822.HEADER"), Some(of("HEADER")));
        assert_eq!(value_of(response, "RFC822.TEXT"), Some(of("TEXT")));
        assert!(value_of(response, "RFC822").as_ref() == Some(&made.octets));
        assert!(text(response).contains(&format!(" RFC822.SIZE {} ", made.octets.len())));
    }
}

#[tokio::test]
async fn header_fields() {
    let (_server, mut c, messages) = stored().await;
    let check = async |c: &mut Client, uid: usize, section: &str, expected: &str| {
        let got =
            c.fetch(&format!("UID FETCH {uid} BODY.PEEK[{section}]"), &format!("BODY[{section}]")).await;
        assert_eq!(got.map(|g| text(&g)).as_deref(), Some(expected), "{uid} {section}");
    };
    check(&mut c, 1, "HEADER.FIELDS (SUBJECT)", "Subject: a\r\n b\r\n\r\n").await;
    check(&mut c, 1, "HEADER.FIELDS (Nothing)", "\r\n").await;
    check(&mut c, 1, "HEADER.FIELDS.NOT (x)", "Subject: a\r\n b\r\n\r\n").await;
    check(&mut c, 3, "HEADER.FIELDS (to)", "To: y\r\n\r\n").await;
    check(&mut c, 6, "3.HEADER.FIELDS (subject)", "Subject: inner\r\n\r\n").await;
    check(&mut c, 7, "1.1.HEADER.FIELDS.NOT (x)", "Subject: inmost\r\n\r\n").await;
    check(&mut c, 8, "HEADER.FIELDS (Conversation-ID)", "Conversation-ID: c\r\n\r\n").await;
    check(&mut c, 9, "HEADER.FIELDS (Subject)", "Subject: large\r\n\r\n").await;
    check(&mut c, 10, "HEADER.FIELDS (To)", "To: z\r\n\r\n").await;
    let got = c
        .fetch("UID FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]<3.5>", "BODY[HEADER.FIELDS (Subject)]<3>")
        .await;
    assert_eq!(got.as_deref(), Some(&b"ject:"[..]));
    let got = c.fetch("UID FETCH 6 BODY.PEEK[1.HEADER.FIELDS (To)]", "BODY[1.HEADER.FIELDS (To)]").await;
    assert_eq!(got, None);
    assert_eq!(messages.len(), 10);
}

#[tokio::test]
async fn decoded_parts() {
    let (_server, mut c, messages) = stored().await;
    for (at, made) in messages.iter().enumerate() {
        let uid = at + 1;
        for (part, decoded) in &made.binary {
            let command = format!("UID FETCH {uid} (BINARY.SIZE[{part}] BINARY.PEEK[{part}])");
            let answer = c.ok(&command).await;
            let response = &answer.untagged[0];
            assert!(text(response).contains(&format!("BINARY.SIZE[{part}] {} ", decoded.len())), "{command}");
            assert!(value_of(response, &format!("BINARY[{part}]")).as_ref() == Some(decoded), "{command}");
            if decoded.contains(&0) {
                assert!(text(response).contains(&format!("BINARY[{part}] ~{{")), "{command}");
            }
            for (offset, length) in partials(decoded.len()) {
                let command = format!("UID FETCH {uid} BINARY.PEEK[{part}]<{offset}.{length}>");
                let got = c.fetch(&command, &format!("BINARY[{part}]<{offset}>")).await.expect("octets");
                let (start, end) = (offset.min(decoded.len()), (offset + length).min(decoded.len()));
                assert!(got == decoded[start..end], "{command}");
            }
        }
    }
    c.expect("UID FETCH 6 BINARY.PEEK[9]", &["* 6 FETCH (UID 6 BINARY[9] NIL)"], "OK").await;
    c.expect("UID FETCH 6 BINARY.SIZE[9]", &["* 6 FETCH (UID 6 BINARY.SIZE[9] 0)"], "OK").await;
    c.append("INBOX", b"Content-Transfer-Encoding: x-own\r\n\r\nabc").await;
    c.expect("FETCH 11 (UID BINARY.PEEK[1])", &["* 11 FETCH (UID 11)"], "NO [UNKNOWN-CTE]").await;
    c.expect("FETCH 11 (BINARY.SIZE[1])", &["* 11 FETCH (UID 11)"], "NO [UNKNOWN-CTE]").await;
    // BINARY sets \Seen as BODY does.
    let answer = c.ok("FETCH 1 BINARY[1]").await;
    assert!(answer.lines()[0].ends_with("FLAGS (\\Seen \\Recent))"), "{answer:?}");
}
