//! What one connection is told of what another does, and when.

use crate::client::Client;
use kv::fault::Faults;

use crate::fixture::Fixture;

/// Two connections with INBOX selected; to the first all messages are \Recent.
async fn two(fixture: &Fixture, messages: usize) -> (Client, Client) {
    let one = fixture.select(messages).await;
    let mut two = fixture.log_in().await;
    two.ok("SELECT INBOX").await;
    (one, two)
}

#[tokio::test]
async fn new_messages_are_told_at_the_end_of_any_command() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 1).await;
    two.append("INBOX", "Subject: y\r\n\r\n").await;
    let said = one.ok("FETCH 1 UID").await;
    assert_eq!(said, ["* 1 FETCH (UID 1)", "* 2 EXISTS", "* 2 RECENT"]);
    one.says("NOOP", &[]).await;
}

#[tokio::test]
async fn removals_wait_for_a_command_that_may_tell_them() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 5).await;
    two.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    two.ok("EXPUNGE").await;
    two.append("INBOX", "x").await;
    // By sequence numbers: the client may be counting.
    let said = one.ok("SEARCH ALL").await;
    assert!(!said.iter().any(|line| line.contains("EXPUNGE")), "{said:?}");
    assert!(said.contains(&"* 6 EXISTS".to_owned()), "{said:?}");
    one.says("NOOP", &["* 2 EXPUNGE", "* 3 EXPUNGE"]).await;
    one.says(
        "FETCH 1:* UID",
        &["* 1 FETCH (UID 1)", "* 2 FETCH (UID 3)", "* 3 FETCH (UID 5)", "* 4 FETCH (UID 6)"],
    )
    .await;
}

#[tokio::test]
async fn vanished_with_qresync() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 5).await;
    one.ok("ENABLE QRESYNC").await;
    two.ok("STORE 1:2,5 +FLAGS.SILENT (\\Deleted)").await;
    let said = one.ok("NOOP").await;
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("* 1 FETCH (UID 1 MODSEQ (")
            && said[0].ends_with(") FLAGS (\\Deleted \\Recent))"),
        "{said:?}"
    );
    two.ok("EXPUNGE").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    // Held, and with it the change that came after it; the client must not think that it knows all up to there.
    let said = one.ok("SEARCH UID 3").await;
    assert_eq!(said[0], "* SEARCH 3");
    assert!(said.len() == 2 && said[1].starts_with("* OK [HIGHESTMODSEQ "), "{said:?}");
    let said = one.ok("NOOP").await;
    assert_eq!(said[0], "* VANISHED 1:2,5");
    assert!(said[1].starts_with("* 1 FETCH (UID 3 MODSEQ ("), "{said:?}");
    assert_eq!(said.len(), 2, "MODSEQ says up to where: {said:?}");
    // Where nothing else says so, the client is told up to where it knows all: from there it goes on next time.
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("NOOP").await;
    two.ok("EXPUNGE").await;
    let status = two.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    let until = status.iter().find_map(|line| line.strip_prefix("* STATUS INBOX (HIGHESTMODSEQ "));
    let until = format!("* OK [HIGHESTMODSEQ {}]", until.expect("a number").trim_end_matches(')'));
    let said = one.ok("NOOP").await;
    assert_eq!(said[0], "* VANISHED 3");
    assert!(said.len() == 2 && said[1].starts_with(&until), "{said:?} {until}");
}

/// Flags that NOTIFY keeps from a client are not passed over by the MODSEQ that it is told.
#[tokio::test]
async fn an_expunge_claims_no_more_than_was_told() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 5).await;
    one.ok("ENABLE QRESYNC").await;
    let status = two.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    let known = status.iter().find_map(|line| line.strip_prefix("* STATUS INBOX (HIGHESTMODSEQ "));
    let known = known.expect("a number").trim_end_matches(')').to_owned();
    one.ok("NOTIFY SET (selected (MessageNew MessageExpunge))").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    one.ok("UID STORE 5 +FLAGS.SILENT (\\Deleted)").await;
    one.expect("EXPUNGE", &format!("OK [HIGHESTMODSEQ {known}]")).await;
    one.ok("CREATE box").await;
    one.expect("UID MOVE 4 box", &format!("OK [HIGHESTMODSEQ {known}]")).await;
    let again = one.ok(&format!("UID FETCH 1:* FLAGS (CHANGEDSINCE {known})")).await;
    assert!(again.iter().any(|line| line.contains("(UID 1 ") && line.contains("\\Flagged")), "{again:?}");
}

#[tokio::test]
async fn flags_are_told_once_and_not_to_who_set_them_silently() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 2).await;
    two.says("STORE 1 +FLAGS.SILENT (\\Seen)", &[]).await;
    two.says("NOOP", &[]).await;
    one.says("NOOP", &["* 1 FETCH (FLAGS (\\Seen \\Recent))"]).await;
    one.says("NOOP", &[]).await;
    let said = two.ok("STORE 2 +FLAGS (NewWord)").await;
    assert_eq!(said.iter().filter(|l| l.contains("FETCH")).count(), 1, "{said:?}");
    let said = one.ok("NOOP").await;
    // The keyword is announced before a message has it.
    assert!(said[0].starts_with("* FLAGS (") && said[0].ends_with(" NewWord)"), "{said:?}");
    assert!(said[1].starts_with("* OK [PERMANENTFLAGS ("), "{said:?}");
    assert_eq!(said[2], "* 2 FETCH (FLAGS (\\Recent NewWord))");
}

#[tokio::test]
async fn recent_belongs_to_one_session() {
    let fixture = Fixture::new().await;
    let mut one = fixture.log_in().await;
    one.append("INBOX", "x").await;
    assert!(one.ok("SELECT INBOX").await.contains(&"* 1 RECENT".to_owned()));
    let mut two = fixture.log_in().await;
    // Claimed in the background.
    for _ in 0..100 {
        if two.ok("SELECT INBOX").await.contains(&"* 0 RECENT".to_owned()) {
            return;
        }
        two.ok("UNSELECT").await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the message stays recent");
}

#[tokio::test]
async fn idle_tells_as_it_happens() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 2).await;
    two.append("INBOX", "before").await;
    let tag = one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    // What happened before is told at once.
    assert_eq!(one.line().await, "* 3 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    two.append("INBOX", "during").await;
    assert_eq!(one.line().await, "* 4 EXISTS");
    assert!(one.line().await.ends_with(" RECENT"));
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(one.line().await, "* 1 FETCH (FLAGS (\\Deleted \\Recent))");
    two.ok("EXPUNGE").await;
    assert_eq!(one.line().await, "* 1 EXPUNGE");
    assert!(one.is_silent().await);
    one.send("done\r\n").await;
    assert_eq!(one.end(&tag).await, (vec![], "OK IDLE completed".to_owned()));
    one.says("FETCH 1 UID", &["* 1 FETCH (UID 2)"]).await;
    let tag = one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    one.send("NOOP\r\n").await;
    assert!(one.end(&tag).await.1.starts_with("BAD "));
    one.ok("NOOP").await;
}

#[tokio::test]
async fn idle_misses_nothing_when_other_mailboxes_change_too() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 0).await;
    one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    two.ok("CREATE other").await;
    let pair = "a APPEND INBOX {1+}\r\nx\r\nb APPEND other {1+}\r\nx\r\n";
    two.send(pair.repeat(50)).await;
    while one.line().await != "* 50 EXISTS" {}
}

#[tokio::test]
async fn idle_without_a_mailbox() {
    let fixture = Fixture::new().await;
    let mut one = fixture.log_in().await;
    let tag = one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    fixture.log_in().await.append("INBOX", "x").await;
    assert!(one.is_silent().await);
    one.send("DONE\r\n").await;
    one.end(&tag).await;
}

#[tokio::test]
async fn a_deleted_mailbox_ends_the_sessions_that_have_it() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.log_in().await, fixture.log_in().await);
    one.ok("CREATE x").await;
    one.ok("SELECT x").await;
    two.ok("SELECT x").await;
    two.ok("ENABLE QRESYNC").await;
    // One's own is just not selected any more.
    let said = two.ok("DELETE x").await;
    assert!(said[0].starts_with("* OK [CLOSED]"), "{said:?}");
    two.expect("FETCH 1 FLAGS", "BAD ").await;
    let (said, _) = one.run("NOOP").await;
    assert!(said[0].starts_with("* BYE "), "{said:?}");
    assert_eq!(one.try_line().await, None);
}

#[tokio::test]
async fn idle_tells_of_a_deleted_mailbox() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.log_in().await, fixture.log_in().await);
    one.ok("CREATE x").await;
    one.append("x", "x").await;
    one.ok("SELECT x").await;
    one.begin("IDLE").await;
    assert_eq!(one.line().await, "+ idling");
    two.ok("DELETE x").await;
    assert!(one.line().await.starts_with("* BYE "));
}

#[tokio::test]
async fn examine_shows_recent_and_leaves_it() {
    let fixture = Fixture::new().await;
    let mut one = fixture.log_in().await;
    one.append("INBOX", "x").await;
    for _ in 0..2 {
        assert!(one.ok("EXAMINE INBOX").await.contains(&"* 1 RECENT".to_owned()));
    }
}

#[tokio::test]
async fn qresync_tells_what_was_missed() {
    let fixture = Fixture::new().await;
    let mut one = fixture.select(6).await;
    let said = one.ok("SELECT INBOX").await;
    let number = |name: &str| {
        let line = said.iter().find(|line| line.contains(name)).expect("the code");
        line.split(name).nth(1).and_then(|rest| rest.split(']').next()).expect("its value").trim().to_owned()
    };
    let (validity, modseq) = (number("UIDVALIDITY"), number("HIGHESTMODSEQ"));
    one.ok("STORE 3 +FLAGS.SILENT (\\Seen)").await;
    one.ok("STORE 2,5 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    let mut two = fixture.log_in().await;
    two.ok("ENABLE QRESYNC").await;
    let missed = |said: Vec<String>| -> Vec<String> {
        said.into_iter().filter(|l| l.contains("VANISHED") || l.contains("FETCH")).collect()
    };
    let said = missed(two.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "* VANISHED (EARLIER) 2,5");
    assert!(
        said[1].starts_with("* 2 FETCH (UID 3 MODSEQ (") && said[1].ends_with("FLAGS (\\Seen))"),
        "{said:?}"
    );
    // Only of the UIDs that the client has; and what it knows to be gone is not told again.
    let said = missed(two.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 4:6))")).await);
    assert_eq!(said, ["* VANISHED (EARLIER) 5"]);
    let said = missed(two.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:6 (1,3 1,4)))")).await);
    assert_eq!(said[0], "* VANISHED (EARLIER) 5");
    // Another UIDVALIDITY: the client starts anew.
    let said = missed(two.ok(&format!("SELECT INBOX (QRESYNC (1 {modseq}))")).await);
    assert!(said.is_empty() || validity == "1", "{said:?}");
}

/// What cannot be read is not passed over in silence, and is told as soon as it can be.
#[tokio::test]
async fn a_folder_that_cannot_be_read() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(1).await;
    let mut idler = fixture.log_in().await;
    idler.ok("SELECT INBOX").await;
    let idle = idler.begin("IDLE").await;
    assert!(idler.line().await.starts_with("+ "));
    let mut other = fixture.log_in().await;
    fixture.faults.set_faults(Faults { read_unavailable: 1.0, ..Faults::none() });
    client.expect("NOOP", "NO [UNAVAILABLE]").await;
    let untagged = client.expect("CAPABILITY", "OK").await;
    assert!(untagged[1].starts_with("* NO [UNAVAILABLE] "), "{untagged:?}");
    client.expect("FETCH 1 FLAGS", "NO [UNAVAILABLE]").await;
    fixture.faults.set_faults(Faults::none());
    client.says("NOOP", &[]).await;
    other.append("INBOX", "Subject: y\r\n\r\nz\r\n").await;
    assert_eq!(idler.line().await, "* 2 EXISTS");
    idler.line().await;
    idler.send("DONE\r\n").await;
    idler.end(&idle).await;
}

/// RFC 9051 §7.1: TRYCREATE is about the target only.
#[tokio::test]
async fn the_source_of_a_copy_is_gone() {
    let fixture = Fixture::new().await;
    for command in ["UID COPY 1 INBOX", "UID MOVE 1 INBOX", "COPY 1 INBOX"] {
        let mut client = fixture.log_in().await;
        client.ok("CREATE doomed").await;
        client.append("doomed", "Subject: y\r\n\r\nz\r\n").await;
        client.ok("SELECT doomed").await;
        fixture.log_in().await.ok("DELETE doomed").await;
        let untagged = client.expect(command, "NO [NONEXISTENT]").await;
        assert!(untagged.iter().any(|line| line.starts_with("* BYE ")), "{untagged:?}");
    }
    let mut client = fixture.select(1).await;
    client.expect("UID COPY 1 nowhere", "NO [TRYCREATE]").await;
}

/// RFC 9051 §5.5: commands in a pipeline give what they would give one after another.
#[tokio::test]
async fn fetches_that_arrive_together() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = two(&fixture, 5).await;
    two.ok("STORE 5 +FLAGS.SILENT (\\Deleted)").await;
    // Reads, one that changes flags, reads again, a removal by another command, reads after it, junk among them.
    one.send(concat!(
        "a UID FETCH 1 (BODY.PEEK[HEADER])\r\n",
        "b UID FETCH 2,3 (RFC822.SIZE BODYSTRUCTURE)\r\n",
        "c FETCH 9 BODY.PEEK[]\r\n",
        "d UID FETCH 2 (BODY[TEXT])\r\n",
        "e FETCH 2 (FLAGS BODY.PEEK[TEXT])\r\n",
        "f FETCH 5 (UID)\r\n",
        "nonsense\r\n",
        "g FETCH 4 (UID)\r\n",
        "h EXPUNGE\r\n",
        "i FETCH 1:* (UID BODY.PEEK[1])\r\n",
        "j FETCH 1 (ENVELOPE BODY.PEEK[]<0.4>)\r\n",
        "k NOOP\r\n",
    ))
    .await;
    let (said, end) = one.end("a").await;
    assert!(end.starts_with("OK ") && said[0].contains("Subject: x"), "{said:?}");
    let (said, _) = one.end("b").await;
    assert!(
        said[0].starts_with("* 2 FETCH (UID 2 RFC822.SIZE ") && said[1].starts_with("* 3 FETCH ("),
        "{said:?}"
    );
    assert!(one.end("c").await.1.starts_with("BAD "));
    let (said, _) = one.end("d").await;
    assert!(said[0].contains("body") && said[0].contains("\\Seen"), "{said:?}");
    let (said, _) = one.end("e").await;
    assert!(said[0].starts_with(r"* 2 FETCH (FLAGS (\Seen \Recent) BODY[TEXT] "), "{said:?}");
    assert_eq!(one.end("f").await.0, ["* 5 FETCH (UID 5)"]);
    let (said, _) = one.end("g").await;
    assert!(said[0].starts_with("* BAD ") && said[1] == "* 4 FETCH (UID 4)", "{said:?}");
    assert!(one.end("h").await.0.contains(&"* 5 EXPUNGE".to_owned()));
    assert_eq!(one.end("i").await.0.len(), 4);
    let (said, _) = one.end("j").await;
    assert!(said[0].contains("BODY[]<0> {4}\r\nSubj"), "{said:?}");
    assert!(one.end("k").await.1.starts_with("OK "));
    // The same from a store that takes its time, as one over a network: what the later ones want is asked for ahead.
    fixture.faults.set_faults(Faults { read_slow: 1.0, delay_ms_max: 5, ..Faults::none() });
    one.send(concat!(
        "q UID FETCH 1 (BODY.PEEK[HEADER])\r\n",
        "r FETCH 2:3 (BODYSTRUCTURE BODY.PEEK[1])\r\n",
        "s UID FETCH 77 (BODY.PEEK[])\r\n",
        "t FETCH 4 (ENVELOPE)\r\n",
        "u FETCH 1:* (UID BODY.PEEK[])\r\n",
    ))
    .await;
    assert!(one.end("q").await.0[0].contains("Subject: x"));
    let (said, _) = one.end("r").await;
    assert!(said.len() == 2 && said[1].contains("BODYSTRUCTURE (") && said[1].contains("body"), "{said:?}");
    assert_eq!(one.end("s").await.0, Vec::<String>::new());
    assert!(one.end("t").await.0[0].contains("ENVELOPE ("));
    let (said, _) = one.end("u").await;
    let whole = |line: &String| line.contains("Subject: x\r\n\r\nbody\r\n");
    assert!(said.len() == 4 && said.iter().all(whole), "{said:?}");
    // A folder that cannot be read: each command says so for itself, and the next ones work.
    fixture.faults.set_faults(Faults { read_unavailable: 1.0, ..Faults::none() });
    one.send("l FETCH 1 UID\r\nm FETCH 2 UID\r\n").await;
    for tag in ["l", "m"] {
        assert!(one.end(tag).await.1.starts_with("NO [UNAVAILABLE]"));
    }
    fixture.faults.set_faults(Faults::none());
    one.send("n FETCH 1 UID\r\no FETCH 2 BODY.PEEK[]\r\np LOGOUT\r\n").await;
    for tag in ["n", "o", "p"] {
        assert!(one.end(tag).await.1.starts_with("OK "));
    }
}
