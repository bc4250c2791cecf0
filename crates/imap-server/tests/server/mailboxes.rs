//! Commands on mailboxes as wholes.

use store_api::{AccountState, QuotaLimits};

use crate::fixture::{Fixture, PASSWORD};

#[tokio::test]
async fn capabilities_by_state() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client
        .says(
            "CAPABILITY",
            &["* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE LITERAL+ AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN"],
        )
        .await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
    let list = client.ok("CAPABILITY").await.concat();
    for name in ["IDLE", "QRESYNC", "COMPRESS=DEFLATE", "APPENDLIMIT=134217728", "UNAUTHENTICATE", "REPLACE"]
    {
        assert!(list.split(' ').any(|word| word == name), "{name} in {list}");
    }
    assert!(
        !list.contains(" AUTH=") && !list.contains("STARTTLS") && !list.contains("LOGINDISABLED"),
        "{list}"
    );
}

#[tokio::test]
async fn create_list_rename_delete() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    let (_, end) = client.run("CREATE a/b").await;
    assert!(end.starts_with("OK [MAILBOXID ("), "{end}");
    client.expect("CREATE a/b", "NO [ALREADYEXISTS]").await;
    client.expect("CREATE inbox", "NO [ALREADYEXISTS]").await;
    client.expect("CREATE a//b", "NO [CANNOT]").await;
    client.expect("CREATE \"a%\"", "NO [CANNOT]").await;
    client.ok("CREATE Sent (USE (\\Sent))").await;
    client.expect("CREATE All (USE (\\All))", "NO [USEATTR]").await;
    client.ok("CREATE &AOk-t&AOk-").await;
    client
        .says(
            "LIST \"\" *",
            &[
                r#"* LIST (\HasNoChildren) "/" Default"#,
                r#"* LIST (\HasNoChildren) "/" INBOX"#,
                r#"* LIST (\HasNoChildren) "/" RCSMessageStore"#,
                r#"* LIST (\Sent \HasNoChildren) "/" Sent"#,
                r#"* LIST (\HasChildren) "/" a"#,
                r#"* LIST (\HasNoChildren) "/" a/b"#,
                r#"* LIST (\HasNoChildren) "/" &AOk-t&AOk-"#,
            ],
        )
        .await;
    client.says("LIST (SPECIAL-USE) \"\" *", &[r#"* LIST (\Sent \HasNoChildren) "/" Sent"#]).await;
    client.expect("RENAME nowhere x", "NO [NONEXISTENT]").await;
    client.expect("RENAME a Sent", "NO [ALREADYEXISTS]").await;
    client.ok("RENAME a c").await;
    client
        .says("LIST \"\" c*", &[r#"* LIST (\HasChildren) "/" c"#, r#"* LIST (\HasNoChildren) "/" c/b"#])
        .await;
    client.ok("ENABLE IMAP4rev2").await;
    client.says("RENAME c/b c/d", &[r#"* LIST (\HasNoChildren) "/" c/d ("OLDNAME" (c/b))"#]).await;
    client.says("LIST \"\" \"é*\"", &[r#"* LIST (\HasNoChildren) "/" "été""#]).await;
    client.ok("DELETE c/d").await;
    client.expect("DELETE c/d", "NO [NONEXISTENT]").await;
    client.expect("DELETE INBOX", "NO [CANNOT]").await;
    client.expect("DELETE Default", "NO [CANNOT]").await;
}

#[tokio::test]
async fn subscriptions() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    client.ok("CREATE a/b").await;
    for name in ["a/b", "INBOX", "later/on"] {
        client.ok(&format!("SUBSCRIBE {name}")).await;
    }
    client
        .says(
            "LSUB \"\" %",
            &[r#"* LSUB () "/" INBOX"#, r#"* LSUB (\Noselect) "/" a"#, r#"* LSUB (\Noselect) "/" later"#],
        )
        .await;
    client.says("LSUB \"\" a*", &[r#"* LSUB () "/" a/b"#]).await;
    client
        .says(
            "LIST (SUBSCRIBED) \"\" *",
            &[
                r#"* LIST (\Subscribed \HasNoChildren) "/" INBOX"#,
                r#"* LIST (\Subscribed \HasNoChildren) "/" a/b"#,
                r#"* LIST (\NonExistent \Subscribed \HasNoChildren) "/" later/on"#,
            ],
        )
        .await;
    client
        .says(
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %",
            &[
                r#"* LIST (\Subscribed \HasNoChildren) "/" INBOX"#,
                r#"* LIST (\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))"#,
                r#"* LIST (\NonExistent \HasNoChildren) "/" later ("CHILDINFO" ("SUBSCRIBED"))"#,
            ],
        )
        .await;
    client.ok("UNSUBSCRIBE later/on").await;
    client.ok("UNSUBSCRIBE later/on").await;
    client
        .says(
            "LIST \"\" (a/% INBOX) RETURN (SUBSCRIBED)",
            &[
                r#"* LIST (\Subscribed \HasNoChildren) "/" INBOX"#,
                r#"* LIST (\Subscribed \HasNoChildren) "/" a/b"#,
            ],
        )
        .await;
}

#[tokio::test]
async fn status_and_list_status() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(2).await;
    client.ok("STORE 1 +FLAGS (\\Deleted \\Seen)").await;
    client
        .says(
            "STATUS INBOX (MESSAGES UNSEEN DELETED SIZE UIDNEXT APPENDLIMIT DELETED-STORAGE)",
            &["* STATUS INBOX (MESSAGES 2 UNSEEN 1 DELETED 1 SIZE 40 UIDNEXT 3 APPENDLIMIT 134217728 DELETED-STORAGE 1)"],
        )
        .await;
    let said = client.ok("STATUS inbox (HIGHESTMODSEQ MAILBOXID UIDVALIDITY RECENT)").await;
    assert!(said.iter().any(|l| l.contains("HIGHESTMODSEQ ") && l.contains("MAILBOXID (")), "{said:?}");
    client.expect("STATUS nowhere (MESSAGES)", "NO [NONEXISTENT]").await;
    client.ok("CREATE x/y").await;
    client
        .says(
            "LIST \"\" (INBOX x/y) RETURN (STATUS (MESSAGES UNSEEN))",
            &[
                r#"* LIST (\HasNoChildren) "/" INBOX"#,
                "* STATUS INBOX (MESSAGES 2 UNSEEN 1)",
                r#"* LIST (\HasNoChildren) "/" x/y"#,
                "* STATUS x/y (MESSAGES 0 UNSEEN 0)",
            ],
        )
        .await;
}

#[tokio::test]
async fn quota() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    client.says("GETQUOTAROOT INBOX", &["* QUOTAROOT INBOX"]).await;
    client.expect("GETQUOTA \"\"", "NO [NONEXISTENT]").await;
    let limits = QuotaLimits { bytes: Some(10_240), messages: Some(2) };
    fixture.configure("+15550000001", AccountState::Active, limits).await;
    client.append("INBOX", &"x".repeat(1500)).await;
    client.says("GETQUOTA \"\"", &[r#"* QUOTA "" (STORAGE 2 10 MESSAGE 1 2)"#]).await;
    client
        .says("GETQUOTAROOT INBOX", &["* QUOTAROOT INBOX \"\"", r#"* QUOTA "" (STORAGE 2 10 MESSAGE 1 2)"#])
        .await;
    // A mailbox that does not exist would have the root, too.
    client
        .says(
            "GETQUOTAROOT nowhere",
            &["* QUOTAROOT nowhere \"\"", r#"* QUOTA "" (STORAGE 2 10 MESSAGE 1 2)"#],
        )
        .await;
    client.expect("GETQUOTAROOT a//b", "NO [CANNOT]").await;
    client.expect("SETQUOTA \"\" (STORAGE 99)", "NO [NOPERM]").await;
}

#[tokio::test]
async fn select_tells_what_there_is() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(3).await;
    client.ok("STORE 1 +FLAGS (\\Seen $Label)").await;
    let said = client.ok("SELECT INBOX").await;
    let starts = |start: &str| said.iter().any(|line| line.starts_with(start));
    for start in [
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft \read-report-sent $Label)",
        r"* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \read-report-sent $Label \*)]",
        "* 3 EXISTS",
        "* 0 RECENT",
        "* OK [UNSEEN 2]",
        "* OK [UIDVALIDITY ",
        "* OK [UIDNEXT 4]",
        "* OK [HIGHESTMODSEQ ",
        "* OK [MAILBOXID (",
    ] {
        assert!(starts(start), "{start} in {said:?}");
    }
    assert!(starts("* OK [CLOSED]"), "RFC 7162 §3.2.11: whatever is enabled");
    let (said, end) = client.run("EXAMINE INBOX").await;
    assert!(
        end.starts_with("OK [READ-ONLY]") && said.iter().any(|l| l.starts_with("* OK [PERMANENTFLAGS ()]"))
    );
    client.ok("ENABLE IMAP4rev2").await;
    let said = client.ok("SELECT INBOX").await;
    assert!(said[0].starts_with("* OK [CLOSED]"), "{said:?}");
    assert!(said.iter().any(|l| l == r#"* LIST () "/" INBOX"#), "{said:?}");
    assert!(!said.iter().any(|l| l.contains("RECENT") || l.contains("UNSEEN")), "{said:?}");
    // A SELECT that fails leaves nothing selected.
    client.expect("SELECT nowhere", "NO [NONEXISTENT]").await;
    client.expect("FETCH 1 FLAGS", "BAD ").await;
}

#[tokio::test]
async fn close_and_unselect() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(3).await;
    client.ok("STORE 2 +FLAGS (\\Deleted)").await;
    client.ok("UNSELECT").await;
    client.ok("EXAMINE INBOX").await;
    client.says("CLOSE", &[]).await;
    client.says("STATUS INBOX (MESSAGES)", &["* STATUS INBOX (MESSAGES 3)"]).await;
    client.ok("SELECT INBOX").await;
    client.ok("CHECK").await;
    client.says("CLOSE", &[]).await;
    client.says("STATUS INBOX (MESSAGES)", &["* STATUS INBOX (MESSAGES 2)"]).await;
    client.expect("CLOSE", "BAD ").await;
}

#[tokio::test]
async fn namespace_id_enable() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.says("ID NIL", &[r#"* ID ("name" "mss")"#]).await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
    let said = client.ok("ID (\"name\" \"test\" \"version\" NIL)").await;
    assert!(said[0].starts_with(r#"* ID ("name" "mss" "version" "#), "{said:?}");
    client.says("NAMESPACE", &[r#"* NAMESPACE (("" "/")) (("Other/" "/")) NIL"#]).await;
    client.says("ENABLE qresync X-NO UTF8=accept", &["* ENABLED QRESYNC UTF8=ACCEPT"]).await;
    client.says("ENABLE X-NO", &["* ENABLED"]).await;
}

#[tokio::test]
async fn mistakes_are_explained() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.expect("FROBNICATE", "BAD ").await;
    client.expect("SELECT INBOX", "BAD SELECT needs a login first").await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
    client.expect("FETCH 1 FLAGS", "BAD FETCH needs a selected mailbox").await;
    client.expect("LOGIN a b", "BAD LOGIN cannot be used after login").await;
    client.expect("SELECT INBOX (QRESYNC (1 1))", "BAD QRESYNC must be enabled first").await;
    client.expect("COMPRESS LZW", "BAD the only algorithm is DEFLATE").await;
}

/// RFC 5464 §4.3: what is too large or too much is refused with its code, and nothing of the command is done.
#[tokio::test]
async fn metadata_is_bounded() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    let most = model::limits::ENTRY_VALUE_BYTES_MAX;
    let large = "x".repeat(most + 1);
    for mailbox in ["INBOX", "\"\""] {
        let set = |octets: usize| {
            format!(
                "SETMETADATA {mailbox} (/private/a \"1\" /private/b {{{octets}+}}\r\n{})",
                &large[..octets]
            )
        };
        client.expect(&set(most + 1), &format!("NO [METADATA MAXSIZE {most}] ")).await;
        client.says(&format!("GETMETADATA {mailbox} /private/a"), &[&told(mailbox, "/private/a NIL")]).await;
        client.ok(&set(most)).await;
        // Another of that size does not fit beside it, nor a small one beyond the number of entries.
        let more = format!("SETMETADATA {mailbox} (/private/c {{{most}+}}\r\n{})", &large[..most]);
        client.expect(&more, "NO [METADATA TOOMANY] ").await;
        client.ok(&format!("SETMETADATA {mailbox} (/private/b NIL)")).await;
        for number in 1..model::limits::ENTRIES_PER_FOLDER_MAX {
            client.ok(&format!("SETMETADATA {mailbox} (/private/n{number} \"1\")")).await;
        }
        client.expect(&format!("SETMETADATA {mailbox} (/private/z \"1\")"), "NO [METADATA TOOMANY] ").await;
        client.ok(&format!("SETMETADATA {mailbox} (/private/a NIL /private/z \"1\")")).await;
    }
}

fn told(mailbox: &str, entries: &str) -> String {
    format!("* METADATA {mailbox} ({entries})")
}
