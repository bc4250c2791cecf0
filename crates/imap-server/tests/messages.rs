//! Commands on messages, over a real server and store.

#[path = "support/harness.rs"]
mod harness;

use std::time::Duration;

use harness::{TestServer, text};
use imap_server::{Limits, Options};

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

#[tokio::test]
async fn fetch_of_rows() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    c.ok("APPEND INBOX (\\Seen $a) \" 1-Feb-2024 03:04:05 -0730\" {6+}\r\na: b\r\n").await;
    c.ok("SELECT INBOX").await;
    c.expect(
        "FETCH 1 (INTERNALDATE FLAGS MODSEQ)",
        &[
            "* OK [HIGHESTMODSEQ 2] mod-sequences are told",
            "* 1 FETCH (INTERNALDATE \" 1-Feb-2024 03:04:05 -0730\" FLAGS (\\Seen \\Recent $a) MODSEQ (2))",
        ],
        "OK",
    )
    .await;
    // Macros.
    c.expect(
        "FETCH 1 FAST",
        &["* 1 FETCH (FLAGS (\\Seen \\Recent $a) INTERNALDATE \" 1-Feb-2024 03:04:05 -0730\" RFC822.SIZE 6)"],
        "OK",
    )
    .await;
    let answer = c.ok("UID FETCH 1 (EMAILID THREADID SAVEDATE)").await;
    let line = answer.lines().remove(0);
    assert!(line.starts_with("* 1 FETCH (UID 1 EMAILID ("), "{line}");
    assert!(line.contains(") THREADID NIL SAVEDATE \""), "{line}");
    // Numbers that are not there.
    c.expect("FETCH 2 FLAGS", &[], "BAD").await;
    c.expect("UID FETCH 2 FLAGS", &[], "OK").await;
    c.expect("UID FETCH *:5 UID", &["* 1 FETCH (UID 1)"], "OK").await;
    c.expect("FETCH 1 FOO", &[], "BAD").await;
    c.expect("FETCH 1 ()", &[], "BAD").await;
    c.expect("UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", &[], "BAD").await;
}

#[tokio::test]
async fn fetch_of_changes_and_parts_of_sets() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    c.ok("ENABLE QRESYNC").await;
    for _ in 0..6 {
        c.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    c.ok("SELECT INBOX").await;
    let before = c.ok("STATUS INBOX (HIGHESTMODSEQ)").await.lines().remove(0);
    let modseq: u64 =
        before.split("HIGHESTMODSEQ ").nth(1).expect("it").trim_end_matches(')').parse().expect("a number");
    c.ok("STORE 2,5 +FLAGS.SILENT (\\Flagged)").await;
    c.ok("STORE 6 +FLAGS.SILENT (\\Deleted)").await;
    c.ok("EXPUNGE").await;
    let answer = c.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")).await;
    let lines = answer.lines();
    assert_eq!(lines[0], "* VANISHED (EARLIER) 6");
    assert!(lines[1].starts_with("* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent) MODSEQ ("), "{lines:?}");
    assert!(lines[2].starts_with("* 5 FETCH (UID 5 FLAGS"), "{lines:?}");
    assert_eq!(lines.len(), 3);
    c.expect("UID FETCH 1:* (UID) (PARTIAL 2:3)", &["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)"], "OK").await;
    c.expect("UID FETCH 1:* (UID) (PARTIAL -1:-2)", &["* 4 FETCH (UID 4)", "* 5 FETCH (UID 5)"], "OK").await;
    c.expect("UID FETCH 1:* (UID) (PARTIAL 9:20)", &[], "OK").await;
}

#[tokio::test]
async fn store_and_its_conditions() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    for _ in 0..3 {
        c.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    let mut other = server.select().await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Answered)").await;
    c.ok("SELECT INBOX").await;
    c.expect("STORE 1:2 FLAGS (\\Seen)", &["* 1 FETCH (FLAGS (\\Seen))", "* 2 FETCH (FLAGS (\\Seen))"], "OK")
        .await;
    c.expect("STORE 1 -FLAGS.SILENT \\Seen", &[], "OK").await;
    c.expect("NOOP", &[], "OK").await;
    c.expect(
        "UID STORE 2 +FLAGS \\read-report-sent",
        &["* 2 FETCH (UID 2 FLAGS (\\Seen \\read-report-sent))"],
        "OK",
    )
    .await;
    c.expect("STORE 1 FLAGS (\\Recent)", &[], "BAD").await;
    c.expect("STORE 1 FLAGS (\\Foo)", &[], "BAD").await;
    c.expect("STORE 9 FLAGS ()", &[], "BAD").await;
    c.expect("UID STORE 9 FLAGS ()", &[], "OK").await;
    // The other session is told of what this one did, and this one is not told twice.
    let told = other.ok("NOOP").await;
    assert_eq!(
        told.lines(),
        ["* 1 FETCH (FLAGS (\\Recent))", "* 2 FETCH (FLAGS (\\Seen \\read-report-sent \\Recent))"]
    );
    // A change of another's is told even where this session changes the same message silently.
    other.ok("STORE 3 +FLAGS.SILENT (\\Flagged)").await;
    c.expect("STORE 3 +FLAGS.SILENT (\\Draft)", &["* 3 FETCH (FLAGS (\\Flagged \\Draft))"], "OK").await;

    // UNCHANGEDSINCE.
    let modseq = |line: &str| -> u64 {
        line.split("MODSEQ (")
            .nth(1)
            .and_then(|l| l.split(')').next())
            .expect("a MODSEQ")
            .parse()
            .expect("a number")
    };
    let first = modseq(&c.ok("FETCH 1 MODSEQ").await.lines()[1]);
    let answer = c.ok(&format!("UID STORE 1:3 (UNCHANGEDSINCE {first}) +FLAGS.SILENT ($k)")).await;
    assert_eq!(answer.code(), Some("MODIFIED 2:3"));
    let lines = answer.lines();
    assert!(lines.iter().any(|l| l.starts_with("* 1 FETCH (UID 1 MODSEQ (")), "{lines:?}");
    let answer = c.ok("STORE 1 (UNCHANGEDSINCE 0) -FLAGS.SILENT ($k)").await;
    assert_eq!(answer.code(), Some("MODIFIED 1"));

    // EXAMINE.
    c.ok("EXAMINE INBOX").await;
    let refused = c.command("STORE 1 +FLAGS (\\Seen)").await;
    assert!(refused.tagged.starts_with("NO [READ-ONLY]"), "{refused:?}");
    c.expect("FETCH 1 BODY[TEXT]", &["* 1 FETCH (BODY[TEXT] {1}\r\nc)"], "OK").await;
}

#[tokio::test]
async fn messages_that_another_session_removed() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    for _ in 0..4 {
        c.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    c.ok("SELECT INBOX").await;
    let mut other = server.select().await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.expect("EXPUNGE", &["* 2 EXPUNGE"], "OK").await;
    // The removal must not be told here, and the numbers stay.
    let answer = c.command("FETCH 1:3 (UID)").await;
    assert_eq!(answer.lines(), ["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)"]);
    assert!(answer.tagged.starts_with("NO [EXPUNGEISSUED]"), "{answer:?}");
    c.expect("FETCH 2 BODY.PEEK[]", &[], "NO [EXPUNGEISSUED]").await;
    c.expect("STORE 2 +FLAGS (\\Seen)", &[], "NO [EXPUNGEISSUED]").await;
    c.expect("SEARCH ALL", &["* SEARCH 1 3 4"], "OK").await;
    c.expect("COPY 2:3 Default", &["* 2 EXPUNGE"], "NO [EXPUNGEISSUED]").await;
    c.expect("FETCH 2 (UID)", &["* 2 FETCH (UID 3)"], "OK").await;
}

#[tokio::test]
async fn copy_and_move() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    for n in 0..5 {
        c.append("INBOX", format!("a: b\r\n\r\n{n}").as_bytes()).await;
    }
    c.ok("CREATE box").await;
    c.ok("SELECT INBOX").await;
    c.expect("COPY 1 nowhere", &[], "NO [TRYCREATE]").await;
    c.expect("MOVE 1 nowhere", &[], "NO [TRYCREATE]").await;
    c.expect("COPY 9 box", &[], "BAD").await;
    let copied = c.ok("UID COPY 5,1:2,77 box").await;
    assert!(copied.code().expect("a code").ends_with(" 1:2,5 1:3"), "{copied:?}");
    let copied = c.ok("UID COPY 99 box").await;
    assert_eq!(copied.code(), None);
    let moved = c.ok("MOVE 2:3 box").await;
    let lines = moved.lines();
    assert!(lines[0].starts_with("* OK [COPYUID ") && lines[0].contains(" 2:3 4:5]"), "{lines:?}");
    assert_eq!(&lines[1..], ["* 2 EXPUNGE", "* 2 EXPUNGE"]);
    c.expect("UID SEARCH ALL", &["* SEARCH 1 4 5"], "OK").await;
    c.ok("ENABLE QRESYNC").await;
    let moved = c.ok("UID MOVE 5 box").await;
    assert_eq!(moved.lines()[1], "* VANISHED 5");
    assert!(moved.code().expect("a code").starts_with("HIGHESTMODSEQ "), "{moved:?}");
    c.ok("SELECT box").await;
    assert_eq!(c.fetch("UID FETCH 6 BODY.PEEK[]", "BODY[]").await.expect("it"), b"a: b\r\n\r\n4");
    c.ok("EXAMINE box").await;
    c.expect("MOVE 1 INBOX", &[], "NO [READ-ONLY]").await;
    c.ok("COPY 1 INBOX").await;
}

#[tokio::test]
async fn expunge_by_uid() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    for _ in 0..5 {
        c.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    c.ok("SELECT INBOX").await;
    c.ok("STORE 1,3,5 +FLAGS.SILENT (\\Deleted)").await;
    c.expect("UID EXPUNGE 2:4", &["* 3 EXPUNGE"], "OK").await;
    c.expect("UID EXPUNGE 99", &[], "OK").await;
    c.ok("ENABLE CONDSTORE").await;
    let answer = c.ok("EXPUNGE").await;
    assert_eq!(answer.lines(), ["* 1 EXPUNGE", "* 3 EXPUNGE"]);
    assert!(answer.code().expect("a code").starts_with("HIGHESTMODSEQ "), "{answer:?}");
    assert_eq!(c.ok("EXPUNGE").await.code(), None);
    c.ok("EXAMINE INBOX").await;
    c.expect("EXPUNGE", &[], "NO [READ-ONLY]").await;
}

#[tokio::test]
async fn append_many_and_refusals() {
    let server = TestServer::start().await;
    let mut c = server.select().await;
    // Several at once, all or none.
    let answer = c.ok("APPEND INBOX (\\Seen) {6+}\r\na: 1\r\n \"01-Jan-2020 00:00:00 +0000\" {6+}\r\na: 2\r\n {6+}\r\na: 3\r\n").await;
    assert!(answer.code().expect("a code").ends_with(" 1:3"), "{answer:?}");
    assert_eq!(answer.lines(), ["* 3 EXISTS", "* 3 RECENT"]);
    c.expect("APPEND INBOX {6+}\r\na: 1\r\n (\\Foo) {6+}\r\na: 2\r\n", &[], "BAD").await;
    c.expect("APPEND INBOX {6+}\r\na: 1\r\n {0+}\r\n", &[], "NO").await;
    c.expect("APPEND nowhere {6+}\r\na: 1\r\n", &[], "NO [TRYCREATE]").await;
    c.expect("APPEND INBOX UTF8 (~{6+}\r\na: 1\r\n)", &[], "BAD").await;
    c.expect("APPEND INBOX {6+}\r\na: 1\r\n junk", &[], "BAD").await;
    c.expect("APPEND INBOX", &[], "BAD").await;
    c.expect("UID SEARCH ALL", &["* SEARCH 1 2 3"], "OK").await;
    c.ok("ENABLE UTF8=ACCEPT").await;
    c.ok("APPEND INBOX UTF8 (~{10+}\r\nS: h\u{e9}\r\n\r\n)").await;
    c.ok("APPEND INBOX ~{3+}\r\na\0b").await;
    assert_eq!(c.fetch("FETCH 5 BINARY.PEEK[]", "BINARY[]").await.expect("it"), b"a\0b");

    // A synchronizing literal is asked for, or refused before it comes.
    c.send(b"s1 APPEND INBOX {6}\r\n").await;
    assert!(c.line().await.starts_with(b"+ "));
    c.send(b"a: 4\r\n\r\n").await;
    assert!(c.answer("s1").await.tagged.starts_with("OK [APPENDUID "));
    c.send(format!("s2 APPEND INBOX {{{}}}\r\n", 129 * 1024 * 1024).as_bytes()).await;
    assert!(c.answer("s2").await.tagged.starts_with("NO [TOOBIG]"));
    c.send(b"s3 APPEND nowhere {6}\r\n").await;
    assert!(c.answer("s3").await.tagged.starts_with("NO [TRYCREATE]"));
    c.ok("NOOP").await;
}

#[tokio::test]
async fn replace() {
    let server = TestServer::start().await;
    let mut c = server.select().await;
    for _ in 0..3 {
        c.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    let answer = c.ok("REPLACE 2 INBOX (\\Draft) {6+}\r\na: 1\r\n").await;
    let lines = answer.lines();
    assert!(lines[0].starts_with("* OK [APPENDUID ") && lines[0].contains(" 4] "), "{lines:?}");
    assert_eq!(&lines[1..3], ["* 2 EXPUNGE", "* 3 EXISTS"]);
    let answer = c.ok("UID REPLACE 1 Default {6+}\r\na: 2\r\n").await;
    assert_eq!(answer.lines()[1], "* 1 EXPUNGE");
    c.expect("UID SEARCH ALL", &["* SEARCH 3 4"], "OK").await;
    c.expect("UID REPLACE 1 INBOX {6+}\r\na: 2\r\n", &[], "NO [NONEXISTENT]").await;
    c.expect("REPLACE 9 INBOX {6+}\r\na: 2\r\n", &[], "BAD").await;
    c.expect("REPLACE 1 nowhere {6+}\r\na: 2\r\n", &[], "NO [TRYCREATE]").await;
    c.expect("FETCH 2 FLAGS", &["* 2 FETCH (FLAGS (\\Draft \\Recent))"], "OK").await;
}

#[tokio::test]
async fn catenate() {
    let server = TestServer::start().await;
    let mut c = server.select().await;
    let message = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
    c.append("INBOX", message).await;
    let status = c.ok("STATUS INBOX (UIDVALIDITY)").await.lines().remove(0);
    let validity = status.split("UIDVALIDITY ").nth(1).expect("it").trim_end_matches(')').to_owned();
    c.ok(&format!("APPEND INBOX CATENATE (TEXT {{6+}}\r\nA: b\r\n URL \"/INBOX;UIDVALIDITY={validity}/;UID=1/;SECTION=HEADER\" URL \";UID=1;SECTION=2\" TEXT {{2+}}\r\n!! URL \"/INBOX/;UID=1/;SECTION=1/;PARTIAL=1.1\")")).await;
    assert_eq!(
        text(&c.fetch("UID FETCH 2 BODY.PEEK[]", "BODY[]").await.expect("it")),
        "A: b\r\nSubject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\ntwo!!n"
    );
    for url in [
        "/INBOX;UIDVALIDITY=1/;UID=1",
        "/INBOX/;UID=9",
        "/nowhere/;UID=1",
        ";UID=1;SECTION=7",
        "imap://x/INBOX/;UID=1",
    ] {
        let answer = c.command(format!("APPEND INBOX CATENATE (TEXT {{1+}}\r\nx URL \"{url}\")")).await;
        assert!(answer.tagged.starts_with(&format!("NO [BADURL \"{url}\"]")), "{answer:?}");
    }
    c.expect("UID SEARCH ALL", &["* SEARCH 1 2"], "OK").await;
}

#[tokio::test]
async fn searches_and_their_results() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    for (n, subject) in ["apple", "Bœuf", "apple pie", "cake"].iter().enumerate() {
        let message = format!(
            "From: u{n}@x\r\nTo: t@y\r\nSubject: {subject}\r\nDate: {} Jan 2020 10:00:00 +0000\r\n\r\nbody number {n}\r\n",
            9 - n
        );
        c.append("INBOX", message.as_bytes()).await;
    }
    c.ok("SELECT INBOX").await;
    c.expect("SEARCH SUBJECT apple", &["* SEARCH 1 3"], "OK").await;
    c.expect("SEARCH CHARSET UTF-8 SUBJECT {5+}\r\nBŒUF", &["* SEARCH 2"], "OK").await;
    c.expect("SEARCH CHARSET X-KLINGON ALL", &[], "NO [BADCHARSET (US-ASCII UTF-8 ").await;
    c.expect("SEARCH BODY \"number 2\"", &["* SEARCH 3"], "OK").await;
    c.expect("SEARCH NOT TEXT apple", &["* SEARCH 2 4"], "OK").await;
    c.expect("SEARCH OR FROM u0 UID 4", &["* SEARCH 1 4"], "OK").await;
    c.expect("SEARCH SENTBEFORE 8-Jan-2020", &["* SEARCH 3 4"], "OK").await;
    c.expect("SEARCH 2:* UNSEEN", &["* SEARCH 2 3 4"], "OK").await;
    c.expect("SEARCH KEYWORD nothing", &["* SEARCH"], "OK").await;
    c.expect("SEARCH YOUNGER 3600", &["* SEARCH 1 2 3 4"], "OK").await;
    c.expect("SEARCH FOO", &[], "BAD").await;
    let answer = c.command(b"SEARCH SUBJECT {1+}\r\n\xff").await;
    assert!(answer.tagged.starts_with("BAD"), "{answer:?}");
    c.expect("UID SEARCH RETURN (SAVE) SUBJECT apple", &[], "OK").await;
    c.expect("FETCH $ UID", &["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)"], "OK").await;
    c.expect("SEARCH $ BODY 2", &["* SEARCH 3"], "OK").await;
    c.expect("STORE $ +FLAGS.SILENT (\\Flagged)", &[], "OK").await;
    c.expect("SEARCH FLAGGED", &["* SEARCH 1 3"], "OK").await;
    c.expect("SEARCH RETURN (SAVE) CHARSET X ALL", &[], "NO [BADCHARSET").await;
    c.expect("FETCH $ UID", &[], "OK").await;
    let answer = c.ok("SEARCH RETURN (MIN MAX) MODSEQ 1").await;
    assert!(answer.lines().iter().any(|l| l.contains(" MIN 1 MAX 4 MODSEQ ")), "{answer:?}");
    let answer = c.ok("SEARCH MODSEQ 1").await;
    assert!(answer.lines()[0].starts_with("* SEARCH 1 2 3 4 (MODSEQ "), "{answer:?}");
    // Sorting.
    c.expect("SORT (SUBJECT) UTF-8 ALL", &["* SORT 1 3 2 4"], "OK").await;
    c.expect("SORT (REVERSE DATE) UTF-8 ALL", &["* SORT 1 2 3 4"], "OK").await;
    c.expect("UID SORT (DATE) UTF-8 ALL", &["* SORT 4 3 2 1"], "OK").await;
    c.expect("SORT (TO REVERSE FROM) US-ASCII 2:4", &["* SORT 4 3 2"], "OK").await;
    c.expect("SORT (SUBJECT) X ALL", &[], "NO [BADCHARSET").await;
    c.expect("THREAD ORDEREDSUBJECT UTF-8 ALL", &["* THREAD (4)(3)(2)(1)"], "OK").await;
    c.expect("UID THREAD REFERENCES UTF-8 1:2", &["* THREAD (2)(1)"], "OK").await;
    c.ok("ENABLE IMAP4rev2").await;
    c.expect("UID SEARCH SUBJECT apple", &["* ESEARCH (TAG \"a36\") UID ALL 1,3"], "OK").await;
}

#[tokio::test]
async fn large_messages_put_together() {
    let server = TestServer::start().await;
    let mut c = server.select().await;
    let text_of = |size: usize, letter: u8| vec![letter; size];
    let (text, source) = (text_of(600_000, b'x'), text_of(400_000, b'y'));
    c.append("INBOX", &[b"A: b\r\n\r\n".as_slice(), &source].concat()).await;
    let mut command = format!("APPEND INBOX CATENATE (TEXT {{{}+}}\r\n", text.len()).into_bytes();
    command.extend_from_slice(&text);
    command.extend_from_slice(b" URL \";UID=1;SECTION=TEXT\" URL \";UID=1;SECTION=HEADER\")");
    c.ok(&command).await;
    let got = c.fetch("UID FETCH 2 BODY.PEEK[]", "BODY[]").await.expect("it");
    assert!(got == [text.as_slice(), &source, b"A: b\r\n\r\n"].concat());
    // More text than is held is refused before it comes.
    c.send(b"big APPEND INBOX CATENATE (TEXT {9000000}\r\n").await;
    assert!(c.answer("big").await.tagged.starts_with("NO [TOOBIG]"));
    c.ok("NOOP").await;
}

#[tokio::test]
async fn many_messages_in_one_command() {
    let server = TestServer::start().await;
    let mut c = server.login().await;
    // More octets than are held for one command, so that some are staged.
    let message = |n: usize| format!("Subject: {n}\r\n\r\n{}\r\n", "z".repeat(20_000 + n)).into_bytes();
    let mut command = b"APPEND INBOX".to_vec();
    for n in 0..100 {
        command.extend_from_slice(format!(" (\\Seen) {{{}+}}\r\n", message(n).len()).as_bytes());
        command.extend_from_slice(&message(n));
    }
    let answer = c.ok(&command).await;
    assert!(answer.code().expect("a code").ends_with(" 1:100"), "{answer:?}");
    c.ok("SELECT INBOX").await;
    for n in [0, 49, 50, 52, 99] {
        let got = c.fetch(&format!("FETCH {} BODY.PEEK[]", n + 1), "BODY[]").await.expect("it");
        assert!(got == message(n), "message {n}");
    }
    c.expect("SEARCH RETURN (COUNT) SEEN", &["* ESEARCH (TAG \"a9\") COUNT 100"], "OK").await;
    // Several commands at once are answered in their order.
    let mut pipeline = Vec::new();
    for n in 1..=50 {
        pipeline.extend_from_slice(format!("p{n} UID FETCH {n} (BODY.PEEK[HEADER])\r\n").as_bytes());
    }
    c.send(&pipeline).await;
    for n in 1..=50 {
        let answer = c.answer(&format!("p{n}")).await;
        assert_eq!(answer.untagged.len(), 1);
        assert!(answer.lines()[0].contains(&format!("Subject: {}\r\n", n - 1)), "{answer:?}");
    }
}

#[tokio::test]
async fn long_commands_say_how_far_they_are() {
    let limits = Limits { progress_interval: Duration::ZERO, ..Limits::default() };
    let server = TestServer::start_with(Options { limits, ..Options::default() }).await;
    let mut c = server.login().await;
    let mut command = b"APPEND INBOX".to_vec();
    for n in 0..1_201 {
        let message = format!("A: b\r\n\r\n{n}");
        command.extend_from_slice(format!(" {{{}+}}\r\n{message}", message.len()).as_bytes());
    }
    c.ok(&command).await;
    c.ok("SELECT INBOX").await;
    c.expect(
        "SEARCH BODY 1200",
        &[
            "* OK [INPROGRESS (\"a4\" 500 1201)] at work",
            "* OK [INPROGRESS (\"a4\" 1000 1201)] at work",
            "* SEARCH 1201",
        ],
        "OK",
    )
    .await;
    // What rows answer is asked at once.
    c.expect("SEARCH RETURN (COUNT) ALL", &["* ESEARCH (TAG \"a5\") COUNT 1201"], "OK").await;
    let steps = [256, 512, 768, 1024].map(|n| format!("* OK [INPROGRESS (\"a6\" {n} 1201)] at work"));
    let answer = c.command("SORT (SUBJECT) UTF-8 ALL").await;
    assert_eq!(answer.lines()[..4], steps, "{answer:?}");
}
