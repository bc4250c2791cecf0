//! Commands on messages, over a real server and store.

#[path = "support/harness.rs"]
mod harness;

use harness::{TestServer, text};

#[tokio::test]
async fn append_fetch_store_copy_expunge() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    let message = b"From: a@x\r\nSubject: s\r\n\r\nbody\r\n";
    for n in 1..=3 {
        let answer = c.append("INBOX", message).await;
        assert!(answer.code().expect("a code").starts_with("APPENDUID "), "{answer:?}");
        assert!(answer.code().expect("a code").ends_with(&format!(" {n}")), "{answer:?}");
    }
    c.ok("SELECT INBOX").await;
    c.expect(
        "FETCH 1:* (UID RFC822.SIZE)",
        &[
            "* 1 FETCH (UID 1 RFC822.SIZE 31)",
            "* 2 FETCH (UID 2 RFC822.SIZE 31)",
            "* 3 FETCH (UID 3 RFC822.SIZE 31)",
        ],
        "OK",
    )
    .await;
    c.expect("STORE 2 +FLAGS (\\Deleted $x)", &[
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\read-report-sent $x)",
        "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\read-report-sent $x \\*)] flags can be changed, keywords added",
        "* 2 FETCH (FLAGS (\\Deleted \\Recent $x))",
    ], "OK").await;
    let answer = c.command("FETCH 1 (BODY[])").await;
    assert_eq!(
        answer.lines(),
        [format!("* 1 FETCH (BODY[] {{31}}\r\n{} FLAGS (\\Seen \\Recent))", text(message))]
    );
    let copied = c.ok("COPY 1,3 Default").await;
    assert!(copied.code().expect("a code").ends_with(" 1,3 1:2"), "{copied:?}");
    c.expect("EXPUNGE", &["* 2 EXPUNGE"], "OK").await;
    c.expect("SEARCH ALL", &["* SEARCH 1 2"], "OK").await;
    c.expect("UID SEARCH SEEN", &["* SEARCH 1"], "OK").await;
    c.expect(
        "UID SEARCH RETURN (COUNT ALL) SUBJECT S",
        &["* ESEARCH (TAG \"a13\") UID ALL 1,3 COUNT 2"],
        "OK",
    )
    .await;
}
