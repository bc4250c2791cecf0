//! Searches whose results are kept up to date (RFC 5267).

use crate::fixture::Fixture;

#[tokio::test]
async fn results_change_with_the_folder() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.select(3).await, fixture.log_in().await);
    two.ok("SELECT INBOX").await;
    one.send("s UID SEARCH RETURN (UPDATE ALL) UNSEEN\r\n").await;
    assert_eq!(one.end("s").await.0, ["* ESEARCH (TAG \"s\") UID ALL 1:3"]);
    two.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await;
    let said = one.ok("NOOP").await;
    assert_eq!(said[1], "* ESEARCH (TAG \"s\") UID REMOVEFROM (0 2)", "{said:?}");
    two.append("INBOX", "Subject: x\r\n\r\n").await;
    let said = one.ok("NOOP").await;
    assert_eq!(said[2], "* ESEARCH (TAG \"s\") UID ADDTO (0 4)", "{said:?}");
    // Its own changes count, also those it did not want told.
    let said = one.ok("UID STORE 1 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(said, ["* ESEARCH (TAG \"s\") UID REMOVEFROM (0 1)"]);
    two.ok("STORE 3 +FLAGS.SILENT (\\Deleted)").await;
    two.ok("EXPUNGE").await;
    // Told before the number goes; removals wait, and with them their results.
    let said = one.ok("FETCH 4 UID").await;
    assert!(!said.iter().any(|line| line.contains("REMOVEFROM") || line.contains("EXPUNGE")), "{said:?}");
    let said = one.ok("NOOP").await;
    assert_eq!(said, ["* ESEARCH (TAG \"s\") UID REMOVEFROM (0 3)", "* 3 EXPUNGE"]);
    // The tag is taken, until the mailbox is left.
    one.send("s SEARCH RETURN (UPDATE) ALL\r\n").await;
    assert!(one.end("s").await.1.starts_with("BAD "));
    one.ok("UNSELECT").await;
    one.ok("SELECT INBOX").await;
    one.send("s SEARCH RETURN (UPDATE COUNT) ALL\r\n").await;
    assert_eq!(one.end("s").await.0, ["* ESEARCH (TAG \"s\") COUNT 3"]);
    one.ok("CANCELUPDATE \"s\"").await;
    one.expect("CANCELUPDATE \"s\"", "NO ").await;
}

#[tokio::test]
async fn between_commands_with_what_is_to_be_shown() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.select(0).await, fixture.log_in().await);
    one.ok("NOTIFY SET (selected (MessageNew MessageExpunge))").await;
    one.send("s SEARCH RETURN (UPDATE (BODY.PEEK[HEADER.FIELDS (Subject)]) COUNT) SUBJECT boss\r\n").await;
    assert_eq!(one.end("s").await.0, ["* ESEARCH (TAG \"s\") COUNT 0"]);
    two.append("INBOX", "Subject: other\r\n\r\n").await;
    assert_eq!(one.line().await, "* 1 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    two.append("INBOX", "Subject: boss\r\n\r\n").await;
    assert_eq!(one.line().await, "* 2 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    let shown = one.line().await;
    assert!(shown.starts_with("* 2 FETCH (UID 2 BODY[HEADER.FIELDS (Subject)] "), "{shown}");
    assert_eq!(one.line().await, "* ESEARCH (TAG \"s\") ADDTO (0 2)");
}

#[tokio::test]
async fn only_so_many() {
    let fixture = Fixture::new().await;
    let mut one = fixture.select(1).await;
    for _ in 0..8 {
        assert_eq!(one.ok("SEARCH RETURN (UPDATE COUNT) ALL").await.len(), 1);
    }
    let said = one.ok("SEARCH RETURN (UPDATE COUNT) ALL").await;
    assert!(said[1].starts_with("* NO [NOUPDATE \"t"), "{said:?}");
    let said = one.ok("SEARCH RETURN (UPDATE COUNT) RECENT").await;
    assert!(said[1].starts_with("* NO [NOUPDATE \"t"), "{said:?}");
}
