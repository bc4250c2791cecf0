//! NOTIFY (RFC 5465): what one connection is told, without asking, of what another does.

use std::time::Duration;

use imap_server::{Limits, Options};

use crate::client::Client;
use crate::fixture::{Fixture, options};

/// A line without the value of UIDVALIDITY.
fn plain(line: &str) -> String {
    let Some((before, after)) = line.split_once("UIDVALIDITY ") else { return line.to_owned() };
    format!("{before}UIDVALIDITY{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A connection that has set up what is to be told, and another.
async fn two(fixture: &Fixture, notify: &str) -> (Client, Client) {
    let (mut one, two) = (fixture.log_in().await, fixture.log_in().await);
    one.ok(&format!("NOTIFY {notify}")).await;
    (one, two)
}

#[tokio::test]
async fn counters_of_other_mailboxes_between_commands() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, "SET (personal (MessageNew MessageExpunge FlagChange))").await;
    two.append("Default", "x").await;
    assert_eq!(plain(&one.line().await), "* STATUS Default (MESSAGES 1 UIDNEXT 2 UIDVALIDITY UNSEEN 1)");
    two.ok("SELECT Default").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    // Without CONDSTORE a change of flags shows where UNSEEN changes.
    two.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(plain(&one.line().await), "* STATUS Default (MESSAGES 1 UIDNEXT 2 UIDVALIDITY UNSEEN 0)");
    one.ok("ENABLE CONDSTORE").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let line = one.line().await;
    assert!(line.contains("UNSEEN 0 HIGHESTMODSEQ "), "{line}");
    two.ok("EXPUNGE").await;
    assert!(one.line().await.starts_with("* STATUS Default (MESSAGES 0 UIDNEXT 2 "));
    // Its own doing is not told.
    one.append("INBOX", "x").await;
    assert!(one.is_silent().await);
    two.append("INBOX", "y").await;
    assert!(one.line().await.starts_with("* STATUS INBOX (MESSAGES 2 UIDNEXT 3 "));
    one.ok("NOTIFY NONE").await;
    two.append("INBOX", "z").await;
    assert!(one.is_silent().await);
    one.says("NOOP", &[]).await;
}

#[tokio::test]
async fn the_selected_mailbox_between_commands() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.select(2).await, fixture.log_in().await);
    two.ok("SELECT INBOX").await;
    let notify = "NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge FlagChange))";
    one.ok(notify).await;
    two.append("INBOX", "Subject: new\r\nFrom: a@b\r\n\r\nbody\r\n").await;
    assert_eq!(one.line().await, "* 3 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    assert_eq!(
        one.line().await,
        "* 3 FETCH (UID 3 BODY[HEADER.FIELDS (Subject)] {16}\r\nSubject: new\r\n\r\n)"
    );
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(one.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))");
    two.ok("EXPUNGE").await;
    assert_eq!(one.line().await, "* 1 EXPUNGE");
    // What it brings itself is counted and not shown.
    let said = one.ok("APPEND INBOX {1+}\r\nx").await;
    assert_eq!(
        said.iter().map(|line| line.split(' ').nth(2)).collect::<Vec<_>>(),
        [Some("EXISTS"), Some("RECENT")]
    );
    assert!(one.is_silent().await);
    // Another mailbox is nobody's business here.
    two.append("Default", "x").await;
    assert!(one.is_silent().await);
}

#[tokio::test]
async fn removals_are_delayed_where_that_is_asked_for() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.select(3).await, fixture.log_in().await);
    two.ok("SELECT INBOX").await;
    one.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge))").await;
    two.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    two.ok("EXPUNGE").await;
    two.append("INBOX", "x").await;
    // New messages are told, removals wait, changes of flags are not wished for.
    assert_eq!(one.line().await, "* 4 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    one.says("FETCH 3 UID", &["* 3 FETCH (UID 3)"]).await;
    one.says("NOOP", &["* 2 EXPUNGE"]).await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    one.says("NOOP", &[]).await;
    // With it wished for, what was kept back is told at once.
    let said = one.ok("NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))").await;
    assert_eq!(said[0], "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))");
    // IDLE tells the same, removals too.
    one.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge))").await;
    let tag = one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    two.ok("EXPUNGE").await;
    assert_eq!(one.line().await, "* 1 EXPUNGE");
    one.send("DONE\r\n").await;
    assert_eq!(one.end(&tag).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_of_the_selected_mailbox_unless_it_is_asked_for() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.select(2).await, fixture.log_in().await);
    one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))").await;
    two.append("INBOX", "x").await;
    two.append("Default", "x").await;
    // It is not told of by its name either.
    assert!(one.line().await.starts_with("* STATUS Default "));
    one.says("NOOP", &[]).await;
    // What a command of its own removes is told.
    one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let said = one.ok("EXPUNGE").await;
    assert_eq!(said[..2], ["* 1 EXPUNGE", "* 2 EXISTS"]);
    two.append("INBOX", "y").await;
    assert!(one.is_silent().await);
    // Once it is no longer selected, it is told of like the others.
    let said = one.ok("UNSELECT").await;
    assert!(said[0].starts_with("* STATUS INBOX (MESSAGES 3 "), "{said:?}");
}

#[tokio::test]
async fn names_and_subscriptions() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, "SET (personal (MailboxName SubscriptionChange))").await;
    two.ok("CREATE a").await;
    assert_eq!(one.line().await, "* LIST (\\HasNoChildren) \"/\" a");
    two.ok("CREATE a/b").await;
    assert_eq!(one.line().await, "* LIST (\\HasChildren) \"/\" a");
    assert_eq!(one.line().await, "* LIST (\\HasNoChildren) \"/\" a/b");
    two.ok("RENAME a z").await;
    assert_eq!(one.line().await, "* LIST (\\HasChildren) \"/\" z (\"OLDNAME\" (a))");
    two.ok("SUBSCRIBE z").await;
    assert_eq!(one.line().await, "* LIST (\\Subscribed \\HasChildren) \"/\" z");
    two.ok("DELETE z/b").await;
    assert_eq!(one.line().await, "* LIST (\\Subscribed \\HasNoChildren) \"/\" z");
    assert_eq!(one.line().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" z/b");
    // Its own doing is not told.
    one.says("CREATE q/r", &[]).await;
    one.says("SUBSCRIBE q", &[]).await;
    one.says("RENAME q s", &[]).await;
    one.says("DELETE s/r", &[]).await;
    assert!(one.is_silent().await);
    // Of some mailboxes only.
    one.ok("NOTIFY SET (mailboxes (INBOX z) (MailboxName))").await;
    two.ok("CREATE y").await;
    two.ok("DELETE z").await;
    assert_eq!(one.line().await, "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" z");
}

#[tokio::test]
async fn metadata() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) =
        two(&fixture, "SET (personal (MailboxMetadataChange ServerMetadataChange))").await;
    two.ok("SETMETADATA INBOX (/shared/comment \"x\" /private/a \"y\")").await;
    assert_eq!(one.line().await, "* METADATA INBOX /private/a /shared/comment");
    two.ok("SETMETADATA INBOX (/private/a NIL)").await;
    assert_eq!(one.line().await, "* METADATA INBOX /private/a");
    two.ok("SETMETADATA \"\" (/private/b \"z\")").await;
    assert_eq!(one.line().await, "* METADATA \"\" /private/b");
    two.append("INBOX", "x").await;
    assert!(one.is_silent().await);
}

#[tokio::test]
async fn status_at_once() {
    let fixture = Fixture::new().await;
    let mut one = fixture.select(1).await;
    one.append("Default", "x").await;
    let said =
        one.ok("NOTIFY SET STATUS (personal (MessageNew MessageExpunge)) (mailboxes (Default) NONE)").await;
    assert_eq!(
        said.iter().map(|line| plain(line)).collect::<Vec<_>>(),
        [
            "* STATUS Default (MESSAGES 1 UIDNEXT 2 UIDVALIDITY)",
            "* STATUS RCSMessageStore (MESSAGES 0 UIDNEXT 1 UIDVALIDITY)"
        ]
    );
    let said = one.ok("NOTIFY SET STATUS (mailboxes Default (MessageNew MessageExpunge FlagChange))").await;
    assert!(said[0].contains("UNSEEN 1 HIGHESTMODSEQ "), "{said:?}");
    // The snapshot of a client that wants nothing after it.
    let said = one.ok("NOTIFY SET STATUS (personal NONE)").await;
    assert_eq!(said.len(), 2, "{said:?}");
    let mut two = fixture.log_in().await;
    two.append("Default", "x").await;
    assert!(one.is_silent().await);
}

#[tokio::test]
async fn refused() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, "SET (personal (MessageNew MessageExpunge))").await;
    let events = "NO [BADEVENT (MessageNew MessageExpunge FlagChange AnnotationChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)]";
    one.expect("NOTIFY SET (personal (MessageNew MessageExpunge Surprise))", events).await;
    one.expect("NOTIFY SET (personal (MessageNew))", "BAD ").await;
    one.expect("NOTIFY SET (mailboxes &-x (MailboxName))", "OK ").await;
    one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))").await;
    one.expect("NOTIFY SET (mailboxes &x (MailboxName))", "BAD ").await;
    // What was set before stays.
    two.append("INBOX", "x").await;
    assert!(one.line().await.starts_with("* STATUS INBOX "));
    one.ok("UNAUTHENTICATE").await;
    one.expect("NOTIFY NONE", "BAD ").await;
}

#[tokio::test]
async fn too_many_mailboxes_end_it() {
    let defaults = options();
    let limits = Limits { notify_folders_max: 3, ..defaults.limits.clone() };
    let fixture = Fixture::with(Options { limits, ..defaults }).await;
    let (mut one, mut two) = two(&fixture, "SET (personal (MessageNew MessageExpunge))").await;
    two.ok("CREATE more").await;
    assert!(one.line().await.starts_with("* OK [NOTIFICATIONOVERFLOW] "));
    two.append("INBOX", "x").await;
    assert!(one.is_silent().await);
    one.expect("NOTIFY SET (personal (MessageNew MessageExpunge))", "NO [NOTIFICATIONOVERFLOW] ").await;
    one.ok("NOTIFY SET (mailboxes INBOX (MessageNew MessageExpunge))").await;
    two.append("INBOX", "x").await;
    assert!(one.line().await.starts_with("* STATUS INBOX "));
}

/// Many changes at once: each mailbox ends as it is, however the changes were merged.
#[tokio::test]
async fn nothing_is_missed() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, "SET (personal (MessageNew MessageExpunge))").await;
    for n in 0..20 {
        two.ok(&format!("CREATE m{n}")).await;
    }
    let appends: Vec<_> = (0..200).map(|n| format!("a{n} APPEND m{} {{1+}}\r\nx\r\n", n % 20)).collect();
    two.send(appends.concat()).await;
    let mut known = std::collections::BTreeMap::new();
    while known.len() < 20 || known.values().any(|count| *count != 10) {
        let line = one.line().await;
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[1], words[3]), ("STATUS", "(MESSAGES"), "{line}");
        known.insert(words[2].to_owned(), words[4].parse::<u32>().expect("a number"));
    }
    assert!(one.is_silent().await);
}

#[tokio::test]
async fn a_silent_client_is_kept_alive_and_then_left() {
    let defaults = options();
    let limits = Limits {
        idle_keepalive: Duration::from_millis(100),
        silence_max: Duration::from_millis(700),
        ..defaults.limits.clone()
    };
    let fixture = Fixture::with(Options { limits, ..defaults }).await;
    let mut one = fixture.log_in().await;
    one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))").await;
    assert_eq!(one.line().await, "* OK still here");
    let mut last = String::new();
    while let Some(line) = one.try_line().await {
        last = line;
    }
    assert_eq!(last, "* BYE nothing came for too long");
}
