//! Logs: followed by the id of a request, and without secrets at any level.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::server::run;
use serde_json::Value;

use crate::node::{ADDRESS, Node, PASSWORD};

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The id that a line names, itself or by the span it stands in.
fn request(line: &Value) -> Option<&str> {
    line["request"].as_str().or_else(|| line["span"]["request"].as_str())
}

#[test]
fn a_request_can_be_followed() {
    let node = Node::start(&[("MSS_LOG__FORMAT", "json"), ("MSS_LOG__LEVEL", "debug")]);
    node.login().expect_ok("STATUS INBOX (MESSAGES)").expect("a status");
    node.log_line(|line| line.contains("\"STATUS\"") && line.contains("command ended"));
    let log = lines(&node.log());
    let command = log.iter().find(|line| line["command"] == "STATUS").expect("the front end's line");
    let id = request(command).expect("its id");
    let stored = log.iter().find(|line| line["message"] == "operation ended" && request(line) == Some(id));
    assert!(stored.is_some(), "the store's line of {id}:\n{}", node.log());

    let data = node.folder.path().join("data").display().to_string();
    run(&["account", "show", ADDRESS, "--data", &data], b"").expect("shown");
    node.log_line(|line| line.contains("GetAccount") && line.contains("call ended"));
    let log = lines(&node.log());
    let call = log.iter().find(|line| line["method"] == "GetAccount").expect("the call's line");
    let id = request(call).expect("its id");
    assert!(
        log.iter().any(|line| line["message"] == "operation ended" && request(line) == Some(id)),
        "the store's line of {id}:\n{}",
        node.log()
    );
}

#[test]
fn no_secret_at_any_level() {
    let node = Node::start(&[("MSS_LOG__LEVEL", "trace")]);
    let content = "Geheimnisvoll";
    let mut client = node.login();
    let message = format!("Subject: x\r\n\r\n{content}\r\n");
    client.send(format!("a APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len()).as_bytes()).expect("sent");
    client.until("a").expect("stored");
    client.expect_ok("SELECT INBOX").expect("selected");
    client.expect_ok("FETCH 1 (BODY.PEEK[])").expect("fetched");
    client.expect_ok(&format!("SEARCH BODY {content}")).expect("searched");

    let plain = STANDARD.encode(format!("\0{ADDRESS}\0{PASSWORD}"));
    let mut other = conformance::client::Client::connect(node.imap(), "plain").expect("connected");
    other.response().expect("a greeting");
    other.expect_ok(&format!("AUTHENTICATE PLAIN {plain}")).expect("logged in");
    let wrong = conformance::client::Client::login(node.imap(), ADDRESS, "Zwiebelfisc");
    assert!(wrong.is_err());

    let data = node.folder.path().join("data").display().to_string();
    for (arguments, secret) in
        [(["add", "tel:+15550000002"], "Apfelstrudel"), (["passwd", "tel:+15550000002"], "Birnenkompott")]
    {
        let all = ["account", arguments[0], arguments[1], "--password-stdin", "--data", &data];
        run(&all, format!("{secret}\n").as_bytes()).expect("done");
    }
    let log = node.log();
    assert!(log.lines().filter(|line| line.contains("TRACE")).count() > 10, "it logs at trace");
    for secret in [PASSWORD, "Zwiebelfisc", "Apfelstrudel", "Birnenkompott", content, plain.as_str()] {
        let found = log.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} is in the log: {found:?}");
        let octets = format!("{:?}", secret.as_bytes());
        let octets = octets.trim_matches(['[', ']']);
        assert!(!log.contains(octets), "{secret} is in the log as octets");
    }
}

/// Who looks for guesses, or for a subscriber who cannot get in, finds the name, the address and the mechanism; and a name
/// adds no line, no field and no colour to the log, in either format.
#[test]
fn a_failed_login_is_one_line_whatever_the_name() {
    let hostile = "a\u{1b}[2J\" user=\"b\\\r\n2026-11-21T00:00:00Z  INFO mss: login failed user=\"forged\"";
    let shown = "a%1B[2J%22%20user=%22b%5C%0D%0A2026-11-21T00:00:00Z%20%20INFO%20mss:%20login%20failed%20user=%22forged%22";
    for format in ["text", "json"] {
        let node = Node::start(&[("MSS_LOG__FORMAT", format)]);
        let mut client = conformance::client::Client::connect(node.imap(), "a").expect("connected");
        client.response().expect("a greeting");
        let before = node.log().lines().count();
        client
            .send(format!("a LOGIN {{{}+}}\r\n{hostile} Zwiebelkuchen\r\n", hostile.len()).as_bytes())
            .expect("sent");
        client.until("a").expect("an answer");
        let plain = STANDARD.encode(format!("\0{ADDRESS}\0Zwiebelkuchen"));
        client.send(format!("b AUTHENTICATE PLAIN {plain}\r\n").as_bytes()).expect("sent");
        client.until("b").expect("an answer");
        node.log_line(|line| line.contains("login failed") && line.contains("PLAIN"));
        let log = node.log();
        let failed: Vec<&str> = log.lines().skip(before).collect();
        assert_eq!(failed.len(), 2, "{log}");
        for (line, user, mechanism) in [(failed[0], shown, "LOGIN command"), (failed[1], ADDRESS, "PLAIN")] {
            if format == "json" {
                let line = &lines(line)[0];
                assert_eq!(line["message"], "login failed");
                assert_eq!(line["user"], user);
                assert_eq!(line["mechanism"], mechanism);
                assert_eq!(line["reason"], "credentials");
                assert_eq!(line["peer"], "127.0.0.1");
            } else {
                for field in [
                    format!("user=\"{user}\""),
                    format!("mechanism=\"{mechanism}\""),
                    "reason=\"credentials\"".to_owned(),
                    "peer=127.0.0.1".to_owned(),
                ] {
                    assert!(line.contains(&field), "{field} in {line}");
                }
            }
            assert!(!line.contains('\u{1b}'), "{line:?}");
        }
        assert!(!log.contains("Zwiebelkuchen"));
    }
}
