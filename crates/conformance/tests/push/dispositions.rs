//! What disposition notifications say of a message is told as its flags are (OMA-TS-CPM_MessageStorage §5.4, RFC 5438).

use base64::Engine as _;
use conformance::client::Client;
use conformance::server::run;
use serde_json::{Value, json};

use crate::enabler::Taken;
use crate::{ADDRESS, Bench, objects, tool};

/// A chat message that the subscriber exchanged.
fn chat(id: &str, direction: &str) -> String {
    format!(
        "From: tel:+33687654321\r\nTo: {ADDRESS}\r\nConversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\n\
         IMDN-Message-ID: {id}\r\nMessage-Direction: {direction}\r\nContent-Type: Message/CPIM\r\n\r\n\
         From: <tel:+33687654321>\r\n\r\nContent-Type: text/plain\r\n\r\nnoon?\r\n"
    )
}

/// A notification about `about`: `notification` is `delivery` or `display`.
fn imdn(id: &str, about: &str, direction: &str, notification: &str, status: &str) -> String {
    let report = format!(
        "message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>{about}</message-id>\
         <datetime>2026-11-21T09:31:00Z</datetime><{notification}-notification><status><{status}/></status>\
         </{notification}-notification></imdn>\r\n"
    );
    chat(id, direction).replace("text/plain\r\n\r\nnoon?\r\n", &report)
}

/// A network function that acts for the subscriber; it may say for which device.
fn function(bench: &Bench, device: Option<&str>) -> Client {
    let imap = bench.server.address("imap").expect("IMAP");
    let mut client = Client::connect(imap, "pf-1").expect("a connection");
    client.response().expect("a greeting");
    let plain = base64::engine::general_purpose::STANDARD.encode(format!("{ADDRESS}\0pf-1\0sesame"));
    client.expect_ok(&format!("AUTHENTICATE PLAIN {plain}")).expect("a login");
    if let Some(device) = device {
        client.expect_ok(&format!("ID (\"device-id\" \"{device}\")")).expect("ID");
    }
    client
}

fn deposit(client: &mut Client, octets: &str) {
    let (_, answer) = client.literal("APPEND Default", octets.as_bytes(), "").expect("APPEND");
    assert_eq!(answer.kind(), "OK", "{}", answer.text());
}

fn is_state(notice: &Value) -> bool {
    notice["pns-subtype"] == "ChatS"
}

/// The notices of changed flags, in order.
fn states(taken: &[Taken]) -> Vec<Value> {
    taken.iter().map(Taken::message).filter(is_state).collect()
}

fn devices(notice: &Value) -> Vec<&str> {
    let all = notice["recipients"].as_array().expect("recipients");
    all.iter().filter_map(|recipient| recipient["device"].as_str()).collect()
}

/// A notification that is deposited, and what is told of the message that it is about.
struct Case {
    octets: String,
    /// The device that the function acts for.
    by: Option<&'static str>,
    about: &'static str,
    added: &'static str,
    state: &'static [&'static str],
    recipients: &'static [&'static str],
}

/// Each of a function's notifications is told with the message's state, old and new: to all devices when the function
/// acts for none, to all but one when it acts for that one, which knows already.
#[test]
fn the_state_of_a_message_is_told_to_the_enabler() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("functions").display().to_string();
    run(&["function", "add", "pf-1", "--password-stdin", "--file", &file], b"sesame\n").expect("a function");
    let bench = Bench::start(&[("MSS_NETWORK_FUNCTIONS__FILE", &file)]);
    for device in ["phone", "tablet"] {
        tool(&bench, &["account", "device", "add", ADDRESS, device]).expect("a device");
    }
    let mut network = function(&bench, None);
    deposit(&mut network, &chat("Sent.1", "sent"));
    deposit(&mut network, &chat("Came.1", "received"));

    let cases = [
        Case {
            octets: imdn("n1", "Sent.1", "received", "delivery", "delivered"),
            by: None,
            about: "Sent.1",
            added: "$Delivered",
            state: &["$Delivered"],
            recipients: &["phone", "tablet"],
        },
        Case {
            octets: imdn("n2", "Sent.1", "received", "display", "displayed"),
            by: None,
            about: "Sent.1",
            added: "$Displayed",
            state: &["$Delivered", "$Displayed"],
            recipients: &["phone", "tablet"],
        },
        // The phone showed what came, and its notification passed through the network.
        Case {
            octets: imdn("n3", "Came.1", "sent", "display", "displayed"),
            by: Some("phone"),
            about: "Came.1",
            added: "\\read-report-sent",
            state: &["\\read-report-sent"],
            recipients: &["tablet"],
        },
    ];
    for (at, case) in cases.iter().enumerate() {
        deposit(&mut function(&bench, case.by), &case.octets);
        let taken = bench.enabler.wait(case.added, |taken| states(taken).len() > at);
        let notice = &states(&taken)[at];
        assert_eq!(devices(notice), case.recipients, "{notice}");
        assert_eq!(notice["triggering-device"].as_str(), case.by, "{notice}");
        let events = notice["nmsEventList"]["nmsEvent"].as_array().expect("events");
        assert_eq!(events.len(), 1, "{notice}");
        let object = &events[0]["changedObject"];
        assert_eq!(object["message"]["imdn-message-id"], case.about, "{notice}");
        assert_eq!(object["flagsAdded"], json!({ "flag": [case.added] }), "{notice}");
        assert_eq!(object["flags"], json!({ "flag": case.state }), "{notice}");
    }
    // About nothing that is here: only the notification itself is told.
    deposit(&mut network, &imdn("n4", "Nobody", "received", "display", "displayed"));
    let taken = bench.enabler.wait("the last notification", |taken| {
        objects(taken).iter().any(|event| event["changedObject"]["message"]["imdn-message-id"] == "n4")
    });
    assert_eq!(states(&taken).len(), cases.len());
}
