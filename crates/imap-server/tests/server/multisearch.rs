//! ESEARCH over many mailboxes (RFC 7377): its bounds, and that results come while it runs.

use std::time::{Duration, Instant};

use imap_server::{Limits, Options};
use kv::fault::Faults;

use crate::client::Client;
use crate::fixture::{Fixture, options};

async fn with(limits: Limits) -> Fixture {
    Fixture::with(Options { limits, ..options() }).await
}

/// Mailboxes `m000` and on, each with a message; every third one is flagged.
async fn fill(client: &mut Client, mailboxes: usize) {
    let mut last = String::new();
    for n in 0..mailboxes {
        client.begin(&format!("CREATE m{n:03}")).await;
        let flags = if n % 3 == 0 { "(\\Flagged)" } else { "()" };
        last = client.begin(&format!("APPEND m{n:03} {flags} {{14+}}\r\nSubject: x\r\n\r\n")).await;
    }
    client.end(&last).await;
}

fn names(lines: &[String]) -> Vec<&str> {
    let results = lines.iter().filter(|line| line.starts_with("* ESEARCH "));
    results.filter_map(|line| line.split(' ').skip_while(|word| *word != "MAILBOX").nth(1)).collect()
}

/// More mailboxes than are asked of the store at once, more searched at once than one, and results in order.
#[tokio::test]
async fn many_mailboxes() {
    let fixture = with(Limits { progress_interval: Duration::ZERO, ..options().limits }).await;
    let mut client = fixture.log_in().await;
    fill(&mut client, 300).await;
    let expected: Vec<String> = (0..300).filter(|n| n % 3 == 0).map(|n| format!("m{n:03}")).collect();
    for key in ["FLAGGED", "FLAGGED BODY \"\"", "FLAGGED 1", "FLAGGED UID *"] {
        let tag = client.begin(&format!("ESEARCH IN (personal) RETURN (COUNT) {key}")).await;
        let (lines, status) = client.end(&tag).await;
        assert!(status.starts_with("OK "), "{key}: {status}");
        assert_eq!(names(&lines), expected, "{key}");
        assert!(
            lines
                .iter()
                .filter(|line| line.starts_with("* ESEARCH "))
                .all(|line| line.ends_with(" UID COUNT 1"))
        );
        // With Default, INBOX and RCSMessageStore.
        let notice = format!("* OK [INPROGRESS (\"{tag}\" 302 303)] at work");
        assert!(lines.contains(&notice), "{key}: {lines:?}");
    }
}

#[tokio::test]
async fn too_many_mailboxes_are_refused() {
    let fixture = with(Limits { multisearch_folders_max: 5, ..options().limits }).await;
    let mut client = fixture.log_in().await;
    fill(&mut client, 2).await;
    assert_eq!(names(&client.ok("ESEARCH IN (personal) ALL").await), ["m000", "m001"]);
    fill(&mut client, 3).await;
    assert!(names(&client.expect("ESEARCH IN (personal) ALL", "NO [LIMIT] ").await).is_empty());
    assert_eq!(names(&client.ok("ESEARCH IN (mailboxes (m001 m002)) ALL").await), ["m001", "m002"]);
    // The selected one is no exception.
    client.ok("SELECT m000").await;
    client.ok("DELETE m001").await;
    assert_eq!(names(&client.ok("ESEARCH IN (selected personal) ALL").await), ["m000", "m002"]);
    client.ok("CREATE m003").await;
    client.expect("ESEARCH IN (selected personal) ALL", "NO [LIMIT] ").await;
}

/// What is found in the first mailboxes does not wait for the last.
#[tokio::test]
async fn results_come_while_it_runs() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    // Some times as many as are asked of the store at once.
    fill(&mut client, 600).await;
    fixture.faults.set_faults(Faults { read_slow: 1.0, delay_ms_max: 400, ..Faults::none() });
    let tag = client.begin("ESEARCH IN (personal) RETURN (COUNT) ALL").await;
    let first = client.line().await;
    let at = Instant::now();
    assert!(first.contains(" MAILBOX m000 "), "{first}");
    let (rest, status) = client.end(&tag).await;
    assert!(status.starts_with("OK "), "{status}");
    assert_eq!(names(&rest).len(), 599);
    assert!(at.elapsed() >= Duration::from_millis(200), "all came together after {:?}", at.elapsed());
}

/// A storage that fails is not a mailbox without matches.
#[tokio::test]
async fn a_failure_is_told() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    fill(&mut client, 2).await;
    client.ok("SELECT m000").await;
    client.ok("ESEARCH RETURN (SAVE) ALL").await;
    fixture.faults.set_faults(Faults { read_unavailable: 1.0, ..Faults::none() });
    client.expect("ESEARCH IN (mailboxes m001) ALL", "NO [UNAVAILABLE] ").await;
    client.expect("ESEARCH RETURN (SAVE) FLAGGED", "NO [UNAVAILABLE] ").await;
    fixture.faults.set_faults(Faults::none());
    // RFC 5182 §2.1: nothing is left saved.
    assert!(names(&client.ok("ESEARCH $").await).is_empty());
}

/// Messages that the client does not know of yet are no results in the mailbox that it has selected, as with SEARCH.
#[tokio::test]
async fn the_selected_mailbox_is_as_the_client_knows_it() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.log_in().await, fixture.log_in().await);
    fill(&mut two, 1).await;
    one.ok("SELECT m000").await;
    two.append("m000", "Subject: y\r\n\r\n").await;
    let lines = one.ok("ESEARCH IN (personal) RETURN (COUNT) ALL").await;
    assert!(lines[0].ends_with(" UID COUNT 1"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "* 2 EXISTS"), "{lines:?}");
    let lines = one.ok("ESEARCH IN (personal) RETURN (COUNT) ALL").await;
    assert!(lines[0].ends_with(" UID COUNT 2"), "{lines:?}");
}
