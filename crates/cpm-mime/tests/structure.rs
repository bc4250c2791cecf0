//! Answers to BODY and BODYSTRUCTURE.

use cpm_mime::{Limits, MessageIndex, PartKind, parse};

fn index(message: &str) -> MessageIndex {
    parse(message.as_bytes(), &Limits::default())
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn check(message: &str, bodystructure: &str) {
    assert_eq!(text(index(message).bodystructure()), bodystructure, "{message}");
}

#[test]
fn leaves() {
    for (message, expected) in [
        ("", r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#),
        ("\r\na\r\nb", r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 1 NIL NIL NIL NIL)"#),
        ("\na\nb\n", r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 2 NIL NIL NIL NIL)"#),
        (
            "Content-Type: Text/HTML; Charset=\"UTF-8\"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\nx",
            r#"("text" "html" ("charset" "UTF-8") NIL NIL "quoted-printable" 1 0 NIL NIL NIL NIL)"#,
        ),
        (
            "Content-Type: image/png; name=a.png\r\nContent-ID: <i@d>\r\nContent-Description: a\r\n b\r\n\
             Content-Transfer-Encoding: base64\r\nContent-MD5: Q2hlY2s=\r\n\
             Content-Disposition: ATTACHMENT; filename=\"a \\\"b\\\".png\"; size=3\r\n\
             Content-Language: en, fr\r\nContent-Location: http://x/\r\n\r\nAAAA\r\n",
            r#"("image" "png" ("name" "a.png") "<i@d>" "a b" "base64" 6 "Q2hlY2s=" ("attachment" ("filename" "a \"b\".png" "size" "3")) ("en" "fr") "http://x/")"#,
        ),
        (
            "Content-Language: de\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: x-odd\r\n\r\n",
            r#"("text" "plain" ("charset" "us-ascii") NIL NIL "x-odd" 0 0 NIL ("inline" NIL) "de" NIL)"#,
        ),
        // Invalid types are text/plain (RFC 2045 §5.2).
        (
            "Content-Type: nonsense\r\n\r\n",
            r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#,
        ),
        (
            "Content-Type: multipart/mixed\r\n\r\nx",
            r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)"#,
        ),
        // RFC 2231 in parameters (§6), 8-bit octets as a literal.
        (
            "Content-Type: a/b; name*=utf-8''%C3%A9; x*0=1; x*1=2\r\nContent-Description: é\r\n\r\n",
            "(\"a\" \"b\" (\"name*\" \"utf-8''%C3%A9\" \"x\" \"12\") NIL {2}\r\né \"7bit\" 0 NIL NIL NIL NIL)",
        ),
        // A message of another subtype is a basic part (RFC 9051 §7.5.2): no envelope, no lines.
        (
            "Content-Type: Message/CPIM\r\n\r\nFrom: <tel:+1>\r\n\r\n\r\nhi\r\n",
            r#"("message" "cpim" NIL NIL NIL "7bit" 24 NIL NIL NIL NIL)"#,
        ),
        (
            "Content-Type: message/delivery-status\r\n\r\nx\r\n",
            r#"("message" "delivery-status" NIL NIL NIL "7bit" 3 NIL NIL NIL NIL)"#,
        ),
    ] {
        check(message, expected);
    }
}

#[test]
fn the_bodystructure_of_rfc_9051() {
    // RFC 9051 §7.5.2 gives (("TEXT" "PLAIN" … 1152 23)("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff")
    // "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4554 73) "MIXED").
    let first = "x".repeat(48) + "\r\n";
    let second = "A".repeat(60) + "\r\n";
    let message = format!(
        "Content-Type: MULTIPART/MIXED; BOUNDARY=\"b\"\r\n\r\n--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n{}\r\n\
         --b\r\nContent-Type: TEXT/PLAIN; charset=US-ASCII; name=\"cc.diff\"\r\nContent-Transfer-Encoding: BASE64\r\n\
         Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\r\n{}\r\n--b--\r\n",
        first.repeat(23),
        second.repeat(73),
    );
    let index = index(&message);
    assert_eq!(
        text(index.body()),
        r#"(("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 1150 23)("text" "plain" ("charset" "US-ASCII" "name" "cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "base64" 4526 73) "mixed")"#
    );
    assert_eq!(
        text(index.bodystructure()),
        r#"(("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 1150 23 NIL NIL NIL NIL)("text" "plain" ("charset" "US-ASCII" "name" "cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "base64" 4526 73 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#
    );
}

#[test]
fn nested_messages_have_their_envelope() {
    let message = "Content-Type: message/rfc822\r\nContent-Language: en\r\n\r\n\
        Subject: in\r\nFrom: A <a@b>\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n\
        --x\r\n\r\na\r\n--x\r\nContent-Type: message/global\r\n\r\nDate: d\r\n\r\nz\r\n--x--\r\n";
    let index = index(message);
    assert_eq!(
        text(index.bodystructure()),
        r#"("message" "rfc822" NIL NIL NIL "7bit" 147 (NIL "in" (("A" NIL "a" "b")) (("A" NIL "a" "b")) (("A" NIL "a" "b")) NIL NIL NIL NIL NIL) (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)("message" "global" NIL NIL NIL "7bit" 12 ("d" NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) "alternative" ("boundary" "x") NIL NIL NIL) 14 NIL NIL "en" NIL)"#
    );
    assert_eq!(
        text(index.body()),
        r#"("message" "rfc822" NIL NIL NIL "7bit" 147 (NIL "in" (("A" NIL "a" "b")) (("A" NIL "a" "b")) (("A" NIL "a" "b")) NIL NIL NIL NIL NIL) (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)("message" "global" NIL NIL NIL "7bit" 12 ("d" NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0) 2) "alternative") 14)"#
    );
    assert_eq!(text(index.envelope()), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
}

#[test]
fn digests_hold_messages() {
    let message = "Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: s\r\n\r\nb\r\n--x\r\n\
        Content-Type: text/plain\r\n\r\nt\r\n--x--\r\n";
    check(
        message,
        r#"(("message" "rfc822" NIL NIL NIL "7bit" 15 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)("text" "plain" NIL NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "digest" ("boundary" "x") NIL NIL NIL)"#,
    );
}

#[test]
fn an_encoded_message_is_what_its_octets_are() {
    check(
        "Content-Type: message/rfc822; name=m.eml\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA==\r\n",
        r#"("message" "rfc822" ("name" "m.eml") NIL NIL "base64" 18 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) 1 NIL NIL NIL NIL)"#,
    );
}

#[test]
fn multiparts_without_parts_have_an_empty_one() {
    check(
        "Content-Type: multipart/mixed; boundary=x\r\nContent-Disposition: inline\r\n\r\nnothing here\r\n",
        r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "x") ("inline" NIL) NIL NIL)"#,
    );
}

#[test]
fn a_related_part_of_a_file_transfer() {
    let message = "Content-Type: multipart/related;boundary=b;type=\"Application/X-CPM-File-Transfer\"\r\n\r\n--b\r\n\
        Content-Type: Application/X-CPM-File-Transfer\r\n\r\n<x/>\r\n--b\r\nContent-Type: image/jpeg\r\n\
        Content-ID: <f@x>\r\n\r\n\x01\x02\r\n--b--\r\n";
    check(
        message,
        r#"(("application" "x-cpm-file-transfer" NIL NIL NIL "7bit" 4 NIL NIL NIL NIL)("image" "jpeg" NIL "<f@x>" NIL "7bit" 2 NIL NIL NIL NIL) "related" ("boundary" "b" "type" "Application/X-CPM-File-Transfer") NIL NIL NIL)"#,
    );
}

#[test]
fn deep_nesting_ends_in_an_opaque_part() {
    let mut message = String::new();
    for level in 0..1000 {
        message += &format!("Content-Type: multipart/mixed; boundary=b{level:04}\r\n\r\n--b{level:04}\r\n");
    }
    let limits = Limits::default();
    let index = parse(message.as_bytes(), &limits);
    assert_eq!(index.parts().count(), limits.depth_max);
    let last = index.parts().last().expect("parts");
    assert_eq!((last.kind, last.media_type), (PartKind::Other, "application/octet-stream"));
    assert_eq!(last.body.end, message.len() as u64);

    let index = parse("Content-Type: message/rfc822\r\n\r\n".repeat(1000).as_bytes(), &limits);
    assert_eq!(index.parts().count(), limits.depth_max);
}

#[test]
fn many_parts_end_the_list_and_nothing_else() {
    let limits = Limits::default();
    let message = format!(
        "Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--out\r\n\r\nlast\r\n--out--",
        "--b\r\n\r\nx\r\n".repeat(100_000),
    );
    let index = parse(message.as_bytes(), &limits);
    let parts: Vec<_> = index.parts().collect();
    assert!(parts.len() > 300 && parts.len() <= limits.parts_max, "{}", parts.len());
    // The inner multipart ends where it ends, though most of its parts are not listed.
    assert_eq!(parts[1].body.end, message.find("\r\n--out\r\n\r\nlast").expect("there") as u64);
    assert_eq!(parts.last().expect("parts").body.end - parts.last().expect("parts").body.start, 1);
}

#[test]
fn the_stored_form_is_bounded() {
    let limits = Limits::default();
    let long = "\\\"".repeat(5000);
    let list = "\"q\\\"\" <a@b>, ".repeat(9000);
    let ids = "<some-id@some.host> ".repeat(4000);
    let header = format!(
        "From: {list}\r\nTo: {list}\r\nCc: {list}\r\nSubject: {long}\r\nReferences: {ids}\r\nIn-Reply-To: {ids}\r\n"
    );
    let mut parameters = String::new();
    for n in 0..40 {
        parameters += &format!("; p{n}=\"{long}\"");
    }
    let odd = format!("{}/{}", "\u{e9}".repeat(200), "\u{e9}".repeat(200));
    for inner in ["message/rfc822", "text/plain", "multipart/mixed; boundary=b", "image/png", &odd] {
        let mut message = format!("{header}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        for _ in 0..400 {
            message += &format!("--b\r\nContent-Type: {inner}{parameters}\r\nContent-ID: {long}\r\n\r\n");
            message += &header[..20_000];
            message += "\r\n\r\n";
        }
        let size = parse(message.as_bytes(), &limits).encode().len();
        assert!(size < 90_000, "{inner}: {size}");
    }
}

#[test]
fn a_million_headers_cost_no_more_than_the_limit() {
    let message = "X-Header: y\r\n".repeat(1_000_000) + "Subject: late\r\n\r\nbody";
    let index = index(&message);
    assert_eq!(index.header_len(), message.len() as u64 - 4);
    assert!(index.encode().len() < 400);
}

#[test]
fn a_usual_message_has_a_small_index() {
    let message = format!(
        "From: \"Alice Example\" <tel:+14085551212>\r\nTo: <tel:+14085551213>\r\nDate: Mon, 12 Jan 2026 10:00:00 +0000\r\n\
         Conversation-ID: f81d4fae-7dec-11d0-a765-00a0c91e6bf6\r\nContribution-ID: abcdef-1234-5678-90ab-cdef01234567\r\n\
         IMDN-Message-ID: Xk3JkOUbGwlN0a5qzRZpvN\r\nMessage-Direction: received\r\n\
         P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg\r\nMessage-ID: <1234567890@example.org>\r\n\
         MIME-Version: 1.0\r\nContent-Type: Message/CPIM\r\n\r\n\
         From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: Xk3JkOUbGwlN0a5qzRZpvN\r\nDateTime: 2026-01-12T10:00:00Z\r\n\r\n\
         Content-Type: text/plain;charset=utf-8\r\n\r\n{}",
        "Are we meeting tonight? ".repeat(50)
    );
    let size = index(&message).encode().len();
    assert!(size < 1000, "{size}");
}
