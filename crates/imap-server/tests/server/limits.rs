//! Bounds, and how the server ends.

use std::time::Duration;

use imap_server::{Limits, Options};
use kv::fault::Faults;

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, options};

async fn with(limits: Limits) -> Fixture {
    Fixture::with(Options { limits, ..options() }).await
}

#[tokio::test]
async fn connections_in_all_and_from_one_address() {
    for limits in [
        Limits { connections_max: 2, ..options().limits },
        Limits { connections_per_address_max: 2, ..options().limits },
    ] {
        let fixture = with(limits).await;
        let (one, _two) = (fixture.connect().await, fixture.connect().await);
        let mut three = Client::connect(fixture.address).await;
        assert!(three.line().await.starts_with("* BYE [UNAVAILABLE] "));
        assert_eq!(three.try_line().await, None);
        drop(one);
        while fixture.server.connections() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.connect().await.ok("NOOP").await;
    }
}

#[tokio::test]
async fn sessions_of_one_account() {
    let fixture = with(Limits { sessions_per_account_max: 1, ..options().limits }).await;
    let mut one = fixture.log_in().await;
    let mut two = fixture.connect().await;
    two.expect(&format!("LOGIN +15550000001 \"{PASSWORD}\""), "NO [LIMIT]").await;
    one.ok("UNAUTHENTICATE").await;
    two.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
}

#[tokio::test]
async fn too_many_lines_that_are_no_commands() {
    let fixture = with(Limits { bad_lines_max: 3, ..options().limits }).await;
    let mut client = fixture.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").await;
    let mut last = String::new();
    while let Some(line) = client.try_line().await {
        last = line;
    }
    assert!(last.starts_with("* BYE "), "{last}");
}

#[tokio::test]
async fn long_lines_and_literals_before_login() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.expect(&format!("LOGIN {} x", "a".repeat(20_000)), "BAD ").await;
    client.expect("LOGIN {100000}", "BAD ").await;
    client.ok(&format!("LOGIN {{12+}}\r\n+15550000001 {{{}+}}\r\n{PASSWORD}", PASSWORD.len())).await;
}

#[tokio::test]
async fn silence_before_login_and_after_it() {
    let limits = Limits {
        login_time_max: Duration::from_millis(300),
        silence_max: Duration::from_millis(300),
        ..options().limits
    };
    let fixture = with(limits).await;
    let mut slow = fixture.connect().await;
    assert!(slow.line().await.starts_with("* BYE "));
    assert_eq!(slow.try_line().await, None);
    let mut silent = fixture.log_in().await;
    assert!(silent.line().await.starts_with("* BYE "));
    assert_eq!(silent.try_line().await, None);
}

#[tokio::test]
async fn idle_is_kept_alive_and_bounded() {
    let limits = Limits {
        idle_keepalive: Duration::from_millis(50),
        idle_max: Duration::from_secs(2),
        silence_max: Duration::from_millis(100),
        ..options().limits
    };
    let fixture = with(limits).await;
    let mut client = fixture.select(0).await;
    client.begin("IDLE").await;
    assert_eq!(client.line().await, "+ idling");
    assert_eq!(client.line().await, "* OK still here");
    assert_eq!(client.line().await, "* OK still here");
    let mut last = String::new();
    while let Some(line) = client.try_line().await {
        last = line;
    }
    assert!(last.contains("IDLE was ended"), "{last}");
}

#[tokio::test]
async fn draining() {
    let fixture = Fixture::new().await;
    let mut waiting = fixture.log_in().await;
    let mut idling = fixture.select(0).await;
    idling.begin("IDLE").await;
    assert_eq!(idling.line().await, "+ idling");
    let mut appending = fixture.log_in().await;
    appending.begin("APPEND INBOX {5}").await;
    assert!(appending.line().await.starts_with("+ "));
    let server = fixture.server.clone();
    let end = tokio::spawn(async move { server.shut_down(Duration::from_secs(10)).await });
    assert!(waiting.line().await.starts_with("* BYE [UNAVAILABLE] "));
    assert_eq!(waiting.try_line().await, None);
    assert!(idling.line().await.starts_with("* BYE [UNAVAILABLE] "));
    // A command that has begun is finished.
    appending.send("hello\r\n").await;
    assert!(appending.end("t2").await.1.starts_with("OK [APPENDUID "));
    assert!(appending.line().await.starts_with("* BYE [UNAVAILABLE] "));
    assert_eq!(end.await.expect("ended"), 0);
    assert!(tokio::net::TcpStream::connect(fixture.address).await.is_err(), "nothing is accepted any more");
}

#[tokio::test]
async fn draining_is_bounded() {
    let fixture = Fixture::new().await;
    let mut stuck = fixture.log_in().await;
    stuck.begin("APPEND INBOX {5}").await;
    assert!(stuck.line().await.starts_with("+ "));
    let server = fixture.server.clone();
    assert_eq!(server.shut_down(Duration::from_millis(100)).await, 1);
    assert_eq!(stuck.try_line().await, None);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let limits = Limits { write_stall_max: Duration::from_millis(400), ..options().limits };
    let fixture = with(limits).await;
    let mut client = fixture.log_in().await;
    client.append("INBOX", &"x".repeat(200_000)).await;
    client.ok("SELECT INBOX").await;
    let commands: Vec<_> = (0..400).map(|i| format!("p{i} FETCH 1 BODY.PEEK[]\r\n")).collect();
    client.send(commands.concat()).await;
    // 80 MB would come; the socket's buffers hold a few.
    for _ in 0..200 {
        if fixture.server.connections() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the client is still served");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(2).await;
    let commands: Vec<_> = (0..300).map(|i| format!("p{i} UID FETCH 1:2 (UID FLAGS)\r\n")).collect();
    client.send(commands.concat()).await;
    for i in 0..300 {
        let (said, end) = client.end(&format!("p{i}")).await;
        assert!(end.starts_with("OK ") && said.len() == 2, "{i}: {end} {said:?}");
    }
}

#[tokio::test]
async fn guesses_that_come_all_at_once() {
    let limits = Limits {
        login_failures_per_account_max: 3,
        password_checks_max: 1,
        login_failures_per_address_max: 1000,
        ..options().limits
    };
    let fixture = with(limits).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(fixture.connect().await);
    }
    let mut tags = Vec::new();
    for client in &mut clients {
        tags.push(client.begin("LOGIN +15550000001 wrong").await);
    }
    let mut looked_at = 0;
    for (client, tag) in clients.iter_mut().zip(&tags) {
        let (_, end) = client.end(tag).await;
        looked_at += usize::from(end.starts_with("NO [AUTHENTICATIONFAILED]"));
        assert!(end.starts_with("NO [AUTHENTICATIONFAILED]") || end.starts_with("NO [UNAVAILABLE]"), "{end}");
    }
    // One more may be under way for each thread that notes a failure.
    assert!((3..=3 + 8).contains(&looked_at), "{looked_at} guesses were looked at");
}

#[tokio::test]
async fn patterns_that_take_too_long() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    // As many long names as it takes for the pattern below.
    let long = "a".repeat(900);
    let mut last = String::new();
    for n in 0..700 {
        last = client.begin(&format!("CREATE {long}{n}")).await;
    }
    client.end(&last).await;
    client.expect(&format!("LIST \"\" {}b", "*a".repeat(430)), "NO [LIMIT]").await;
    client.expect(&format!("LIST \"\" ({}*)", "*b ".repeat(50)), "OK").await;
}

/// RFC 9585: nobody knows how far the store is, yet that it is at work.
#[tokio::test]
async fn a_command_that_waits_for_the_store_says_so() {
    let fixture = with(Limits { progress_interval: Duration::from_millis(2), ..options().limits }).await;
    let mut client = fixture.select(3).await;
    client.ok("CREATE target").await;
    fixture.faults.set_faults(Faults { commit_slow: 1.0, delay_ms_max: 500, ..Faults::none() });
    for command in ["COPY 1:2 target", "STORE 1:3 +FLAGS.SILENT (\\Deleted)", "MOVE 3 target", "EXPUNGE"] {
        let tag = client.begin(command).await;
        let (untagged, end) = client.end(&tag).await;
        assert!(end.starts_with("OK "), "{command}: {end}");
        let notice = format!("* OK [INPROGRESS (\"{tag}\" NIL NIL)] ");
        assert!(untagged.iter().any(|line| line.starts_with(&notice)), "{command}: {untagged:?}");
    }
}
