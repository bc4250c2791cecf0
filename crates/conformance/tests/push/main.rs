//! Notices to the PUSH enabler, which is nginx: what it is told, by whom, and what becomes of it when something fails.
//!
//! Source: OMA-TS-CPM_MessageStorage §5.4. A notice says what changed and which device changed it, so that all
//! others are told.

mod dispositions;
mod enabler;
mod together;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use conformance::client::{Client, patience};
use conformance::process::{Listener, Process};
use conformance::server::run;
use enabler::{Enabler, Mood, Taken};
use serde_json::Value;

const ADDRESS: &str = "tel:+15550000001";
const PASSWORD: &str = "Zwiebelfisch";

/// A server that pushes, with two accounts.
struct Bench {
    enabler: Enabler,
    server: Process,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self::at(Enabler::start(), settings)
    }

    fn at(enabler: Enabler, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        for address in [ADDRESS, "tel:+15550000002"] {
            account(&data, &["add", address, "--password-stdin"]);
        }
        let settings = [("MSS_PUSH__URL", enabler.url().as_str()), ("MSS_PUSH__RETRY_SECONDS_MAX", "1")]
            .iter()
            .chain(settings)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let listeners = vec![Listener::any("--imap", "imap"), Listener::any("--admin", "admin")];
        let arguments = vec!["--data".into(), data.into_os_string()];
        let log = folder.path().join("log");
        let server = Process::start("serve", arguments, listeners, settings, log).expect("a server");
        Self { enabler, server, folder }
    }

    fn login(&self, device: &str) -> Client {
        self.login_as(ADDRESS, device)
    }

    fn login_as(&self, address: &str, device: &str) -> Client {
        let imap = self.server.address("imap").expect("IMAP");
        let mut client = Client::login(imap, address, PASSWORD).expect("a login");
        if !device.is_empty() {
            client.expect_ok(&format!("ID (\"device-id\" \"{device}\")")).expect("ID");
        }
        client.expect_ok("SELECT Default").expect("a folder");
        client
    }

    /// The value of a metric, of all its labels that have `label`.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let admin = self.server.address("admin").expect("an admin port");
        let mut stream = TcpStream::connect(admin).expect("the admin port");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("metrics");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    fn wait_metric(&self, name: &str, label: &str, enough: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + patience();
        while !enough(self.metric(name, label)) {
            assert!(
                Instant::now() < deadline,
                "{name} {label} is {}\n{}",
                self.metric(name, label),
                self.server.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `mss …` beside the running server.
fn tool(bench: &Bench, arguments: &[&str]) -> Result<String, String> {
    let data = bench.folder.path().join("data").display().to_string();
    let arguments = [arguments, &["--data", &data]].concat();
    run(&arguments, b"").map_err(|error| error.to_string())
}

fn account(data: &Path, arguments: &[&str]) -> String {
    let data = data.display().to_string();
    let arguments = [&["account"], arguments, &["--data", &data]].concat();
    run(&arguments, format!("{PASSWORD}\n").as_bytes()).expect("mss account")
}

/// A CPM message.
fn message(id: &str) -> String {
    format!(
        "From: tel:+33687654321\r\nTo: {ADDRESS}\r\nConversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\n\
         IMDN-Message-ID: {id}\r\nMessage-Direction: received\r\nMessage-Context: pager-message\r\n\
         Content-Type: text/plain\r\n\r\nnoon?\r\n"
    )
}

fn append(client: &mut Client, id: &str) {
    let message = message(id);
    let (_, answer) = client.literal("APPEND Default", message.as_bytes(), "").expect("APPEND");
    assert_eq!(answer.kind(), "OK", "{}", answer.text());
}

fn objects(taken: &[Taken]) -> Vec<Value> {
    let messages = taken.iter().map(Taken::message);
    messages.flat_map(|m| m["nmsEventList"]["nmsEvent"].as_array().cloned().unwrap_or_default()).collect()
}

/// The IMDN-Message-IDs of the objects told of, in order.
fn ids(taken: &[Taken]) -> Vec<String> {
    let id = |event: &Value| event["changedObject"]["message"]["imdn-message-id"].as_str().map(str::to_owned);
    objects(taken).iter().filter_map(id).collect()
}

/// A new object, a flag and a deletion: each with the device that did it, the place and what the object is.
#[test]
fn s3_11_changes_of_messages_are_told_to_the_enabler() {
    let bench = Bench::start(&[]);
    let mut phone = bench.login("<urn:gsma:imei:90420156-025763-0>");
    append(&mut phone, "Mjkx9a1f");
    bench.enabler.wait("the new message", |taken| taken.len() == 1);
    phone.expect_ok("UID STORE 1 +FLAGS (\\Seen)").expect("STORE");
    bench.enabler.wait("the flag", |taken| taken.len() == 2);
    // Only this device's own business.
    phone.expect_ok("UID STORE 1 +FLAGS (\\Draft $Mine)").expect("STORE");
    phone.expect_ok("UID STORE 1 +FLAGS (\\Deleted)").expect("STORE");
    phone.expect_ok("EXPUNGE").expect("EXPUNGE");
    let taken = bench
        .enabler
        .wait("all of it", |taken| taken.last().is_some_and(|last| last.message()["pns-subtype"] == "ChatD"));
    let first = taken[0].message();
    assert_eq!(taken[0].content_type, "application/json");
    assert_eq!(first["recipients"], serde_json::json!([{ "uri": ADDRESS }]));
    assert_eq!(first["pns-subtype"], "ChatO");
    let object = &first["nmsEventList"]["nmsEvent"][0]["changedObject"];
    assert_eq!(object["parentFolder"], "Default");
    assert_eq!(object["message"]["imdn-message-id"], "Mjkx9a1f");
    assert_eq!(object["message"]["direction"], "In");
    assert_eq!(object["message"]["sender"], "tel:+33687654321");
    assert_eq!(object["message"]["content"][0]["rcs-data"]["conversation-id"], "f81d4fae");
    let second = taken[1].message();
    assert_eq!(second["pns-subtype"], "ChatS");
    let object = &second["nmsEventList"]["nmsEvent"][0]["changedObject"];
    assert_eq!(object["flags"]["flag"], serde_json::json!(["\\Seen"]));
    assert_eq!(object["flagsAdded"]["flag"], serde_json::json!(["\\Seen"]));
    let mut before = 0;
    for notice in taken.iter().map(Taken::message) {
        assert_eq!(notice["triggering-device"], "<urn:gsma:imei:90420156-025763-0>", "{notice}");
        let event = notice["nmsEventList"]["nmsEvent"][0].as_object().expect("an event");
        let modseq = event.values().next().expect("an object")["lastModSeq"].as_u64().expect("a number");
        assert!(modseq > before, "in order");
        before = modseq;
    }
    let gone = objects(&taken).last().expect("an event")["deletedObject"].clone();
    assert!(gone["resourceURL"].as_str().expect("a URL").ends_with("/;UID=1"), "{gone}");
    // $Mine and \Draft were told to nobody.
    assert!(!format!("{taken:?}").contains("Mine") && !format!("{taken:?}").contains("Draft"));
}

/// A folder that went, or has another name: the other devices are to look at the account's list. A new one is told of
/// with its first message, and whoever may do what in it is no device's business.
#[test]
fn a_folder_that_went_is_told_to_the_other_devices() {
    let bench = Bench::start(&[]);
    let mut phone = bench.login("<urn:gsma:imei:90420156-025763-0>");
    phone.expect_ok("CREATE Chats").expect("CREATE");
    phone.expect_ok("SETACL Chats tel:+15550000002 lr").expect("SETACL");
    phone.expect_ok("RENAME Chats Talks").expect("RENAME");
    phone.expect_ok("DELETE Talks").expect("DELETE");
    append(&mut phone, "after");
    let taken = bench.enabler.wait("the message", |taken| ids(taken) == ["after"]);
    let told: Vec<Value> = taken.iter().map(|taken| taken.message()["pns-subtype"].clone()).collect();
    assert!(told.len() <= 3 && told.last() == Some(&Value::from("ChatO")), "{taken:?}");
    for notice in taken.iter().map(Taken::message).filter(|notice| notice["pns-subtype"] == "Resync") {
        assert_eq!(notice["triggering-device"], "<urn:gsma:imei:90420156-025763-0>", "{notice}");
    }
    // Once, or once each.
    let whole = objects(&taken).iter().filter(|event| event.get("resetBox").is_some()).count();
    assert!((1..=2).contains(&whole), "{taken:?}");
}

/// SIGKILL at any moment, again and again: each message is told of, and of each account in order.
#[test]
fn what_was_answered_is_told_through_kills() {
    let mut bench = Bench::start(&[]);
    let mut expected = Vec::new();
    for round in 0..4 {
        let mut clients = [bench.login(""), bench.login_as("tel:+15550000002", "")];
        for number in 0..6 {
            for (at, client) in clients.iter_mut().enumerate() {
                let id = format!("r{round}n{number}a{at}");
                append(client, &id);
                expected.push(id);
            }
        }
        if round == 2 {
            bench.enabler.go_down();
        }
        bench.server.restart().expect("the server again");
        if round == 2 {
            bench.enabler.come_back(Mood::Takes("ok"));
        }
    }
    let taken = bench.enabler.wait("every message", |taken| {
        let told: BTreeSet<String> = ids(taken).into_iter().collect();
        expected.iter().all(|id| told.contains(id))
    });
    for account in ["a0", "a1"] {
        // The first telling of each is in the order of the changes; later ones are of before a kill.
        let mut seen = BTreeSet::new();
        let told = ids(&taken).into_iter().filter(|id| id.ends_with(account));
        let first: Vec<String> = told.filter(|id| seen.insert(id.clone())).collect();
        let wanted: Vec<String> = expected.iter().filter(|id| id.ends_with(account)).cloned().collect();
        assert_eq!(first, wanted);
    }
    assert!(!bench.server.log().contains("panicked"), "{}", bench.server.log());
}

/// Down, then silent, then back: nothing is lost, nothing is given up, and the server serves meanwhile.
#[test]
fn an_enabler_that_is_down_costs_only_time() {
    let mut bench = Bench::start(&[("MSS_PUSH__ANSWER_SECONDS_MAX", "1")]);
    let mut phone = bench.login("phone");
    append(&mut phone, "before");
    bench.enabler.wait("the first", |taken| ids(taken) == ["before"]);
    bench.enabler.go_down();
    append(&mut phone, "down");
    bench.wait_metric("mss_push_circuit_open", "", |open| open > 0.5);
    bench.wait_metric("mss_push_backlog_seconds", "", |age| age > 0.0);
    bench.enabler.come_back(Mood::Answers(503));
    append(&mut phone, "unavailable");
    bench.wait_metric("mss_push_failed_total", "unavailable", |failed| failed >= 3.0);
    bench.enabler.come_back(Mood::Takes("ok"));
    bench.enabler.wait("those of before", |taken| ids(taken) == ["before", "down", "unavailable"]);
    bench.wait_metric("mss_push_circuit_open", "", |open| open < 0.5);
    bench.enabler.freeze(true);
    append(&mut phone, "frozen");
    bench.wait_metric("mss_push_circuit_open", "", |open| open > 0.5);
    bench.enabler.freeze(false);
    // What nginx read while it was frozen it takes, too, though nobody waits for the answer any more.
    bench.enabler.wait("the last", |taken| ids(taken).last().is_some_and(|id| id == "frozen"));
    bench.wait_metric("mss_push_backlog_entries", "", |entries| entries < 0.5);
    assert!(bench.metric("mss_push_dead_total", "").abs() < 0.5);
}

/// A notice that the enabler refuses is given up at once, one that it fails at after some tries; the next is told.
#[test]
fn wrong_answers_give_a_notice_up_and_not_the_next() {
    let mut bench = Bench::start(&[("MSS_PUSH__ATTEMPTS_MAX", "2")]);
    let mut phone = bench.login("phone");
    bench.enabler.come_back(Mood::Answers(400));
    append(&mut phone, "refused");
    bench.wait_metric("mss_push_dead_total", "refused", |dead| (dead - 1.0).abs() < 0.1);
    assert_eq!(bench.enabler.answered("400").len(), 1);
    bench.enabler.come_back(Mood::Answers(500));
    append(&mut phone, "failed");
    bench.wait_metric("mss_push_dead_total", "attempts", |dead| (dead - 1.0).abs() < 0.1);
    assert_eq!(bench.enabler.answered("500").len(), 2);
    bench.enabler.come_back(Mood::Takes("ok"));
    append(&mut phone, "taken");
    let taken = bench.enabler.wait("the next", |taken| !taken.is_empty());
    assert_eq!(ids(&taken), ["taken"]);
    assert!(bench.server.log().contains("a notice is given up"), "{}", bench.server.log());
}

/// The other forms, and who we say we are.
#[test]
fn event_reports_and_pap_go_over_the_wire() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "store:geheim\n").expect("a file");
    let file = secret.path().to_str().expect("a path");
    let bench = Bench::start(&[("MSS_PUSH__ENCODER", "evfw"), ("MSS_PUSH__BASIC_FILE", file)]);
    append(&mut bench.login("phone"), "Mjkx9a1f");
    let taken = bench.enabler.wait("a report", |taken| !taken.is_empty());
    assert_eq!(taken[0].content_type, "application/vnd.oma.cpm-eventfw+xml");
    assert_eq!(taken[0].authorization, "Basic c3RvcmU6Z2VoZWlt");
    assert!(taken[0].body.contains("<message-id>Mjkx9a1f</message-id>"), "{}", taken[0].body);
    let mut bench = Bench::start(&[
        ("MSS_PUSH__ENCODER", "pap"),
        ("MSS_PUSH__BEARER_FILE", file),
        ("MSS_PUSH__ATTEMPTS_MAX", "2"),
    ]);
    let mut phone = bench.login("phone");
    // An answer that is none: whether the message was taken is not known.
    append(&mut phone, "first");
    bench.wait_metric("mss_push_dead_total", "attempts", |dead| (dead - 1.0).abs() < 0.1);
    bench.enabler.come_back(Mood::Takes(
        "<?xml version=\"1.0\"?><pap><push-response push-id=\"1\"><response-result code=\"1001\"/></push-response></pap>",
    ));
    append(&mut phone, "second");
    let taken = bench.enabler.wait("a push", |taken| taken.iter().any(|t| t.body.contains(">second<")));
    bench.wait_metric("mss_push_sent_total", "new", |sent| (sent - 1.0).abs() < 0.1);
    let last = taken.last().expect("a push");
    assert!(last.content_type.starts_with("multipart/related; type=\"application/xml\"; boundary="));
    assert_eq!(last.authorization, "Bearer store:geheim");
    assert!(last.body.contains("address-value=\"WAPPUSH=+15550000001/TYPE=PLMN\""), "{}", last.body);
}

/// Many changes while the enabler was away become one notice for each folder.
#[test]
fn a_long_backlog_is_told_as_folders() {
    let mut bench = Bench::start(&[]);
    let mut phone = bench.login("phone");
    bench.enabler.go_down();
    for number in 0..200 {
        append(&mut phone, &format!("n{number}"));
    }
    bench.wait_metric("mss_push_backlog_entries", "", |entries| entries >= 100.0);
    bench.enabler.come_back(Mood::Takes("ok"));
    bench.wait_metric("mss_push_backlog_entries", "", |entries| entries < 0.5);
    let taken = bench
        .enabler
        .wait("a resync", |taken| taken.iter().any(|taken| taken.message()["pns-subtype"] == "Resync"));
    assert!(taken.len() < 20, "{}", taken.len());
    let folders = objects(&taken);
    assert!(folders.iter().any(|event| event["changedFolder"]["path"] == "Default"), "{folders:?}");
}

/// What is older than it is worth is not told in detail any more.
#[test]
fn what_is_too_old_is_told_as_folders() {
    let mut bench = Bench::start(&[("MSS_PUSH__TTL_SECONDS", "1")]);
    bench.enabler.go_down();
    append(&mut bench.login("phone"), "old");
    bench.wait_metric("mss_push_backlog_seconds", "", |age| age > 1.5);
    bench.enabler.come_back(Mood::Takes("ok"));
    let taken = bench.enabler.wait("a resync", |taken| !taken.is_empty());
    assert_eq!(taken[0].message()["TTL"], 1);
    assert_eq!(objects(&taken)[0]["changedFolder"]["path"], "Default");
}

/// Over https nothing is told to who cannot show a certificate of the authorities.
#[test]
fn who_the_enabler_is_must_be_certified() {
    let enabler = Enabler::start_tls();
    let authority = enabler.certificate();
    let authority = authority.to_str().expect("a path");
    let bench = Bench::at(enabler, &[("MSS_PUSH__CA_FILE", authority), ("MSS_PUSH__SERVICE", "store-7")]);
    append(&mut bench.login("phone"), "Mjkx9a1f");
    let taken = bench.enabler.wait("a notice over TLS", |taken| !taken.is_empty());
    assert_eq!(taken[0].message()["serviceName"], "store-7");
    // Another authority.
    let bench =
        Bench::at(Enabler::start_tls(), &[("MSS_PUSH__CA_FILE", authority), ("MSS_PUSH__WORKERS", "1")]);
    append(&mut bench.login("phone"), "Mjkx9a1f");
    bench.wait_metric("mss_push_failed_total", "unavailable", |failed| failed >= 2.0);
    assert!(bench.enabler.taken().is_empty());
    assert!(bench.server.log().contains("certificate"), "{}", bench.server.log());
}

/// Where devices are known, each is told but the one that made the change; the only one is told nothing.
#[test]
fn none_hears_of_what_it_did_itself() {
    let bench = Bench::start(&[]);
    tool(&bench, &["account", "device", "add", ADDRESS, "phone"]).expect("a device");
    append(&mut bench.login("phone"), "alone");
    bench.wait_metric("mss_push_suppressed_total", "", |suppressed| suppressed > 0.5);
    let reached = ["--push-address", "sip:tablet@push.example"];
    let add = [&["account", "device", "add", ADDRESS, "tablet"][..], &reached].concat();
    tool(&bench, &add).expect("a device");
    let listed = tool(&bench, &["account", "device", "list", ADDRESS]).expect("a list");
    assert_eq!(listed, format!("phone\t{ADDRESS}\ntablet\tsip:tablet@push.example\n"));
    append(&mut bench.login("phone"), "of the phone");
    bench.enabler.wait("a notice", |taken| taken.len() == 1);
    append(&mut bench.login("tablet"), "of the tablet");
    bench.enabler.wait("a notice", |taken| taken.len() == 2);
    // A network function, or a device that does not say who it is.
    append(&mut bench.login(""), "of another");
    let taken = bench.enabler.wait("a notice", |taken| taken.len() == 3);
    assert_eq!(ids(&taken), ["of the phone", "of the tablet", "of another"]);
    let recipients = |at: usize| {
        let message = taken[at].message();
        let all = message["recipients"].as_array().expect("recipients");
        all.iter().map(|one| format!("{} {}", one["device"], one["uri"])).collect::<Vec<_>>()
    };
    let (phone, tablet) =
        (format!("\"phone\" \"{ADDRESS}\""), "\"tablet\" \"sip:tablet@push.example\"".to_owned());
    assert_eq!(recipients(0), std::slice::from_ref(&tablet));
    assert_eq!(recipients(1), std::slice::from_ref(&phone));
    assert_eq!(recipients(2), [phone, tablet]);
    assert!(tool(&bench, &["account", "device", "remove", ADDRESS, "watch"]).is_err());
    assert!(tool(&bench, &["account", "device", "add", "tel:+19", "watch"]).is_err());
    // Devices go with the account.
    let export = bench.folder.path().join("export").display().to_string();
    tool(&bench, &["account", "export", ADDRESS, "--to", &export]).expect("exported");
    tool(&bench, &["account", "import", &export, "--as", "tel:+15550000009"]).expect("imported");
    let there = tool(&bench, &["account", "device", "list", "tel:+15550000009"]).expect("a list");
    assert_eq!(there, "phone\ttel:+15550000009\ntablet\tsip:tablet@push.example\n");
    tool(&bench, &["account", "device", "remove", ADDRESS, "phone"]).expect("removed");
    assert!(!tool(&bench, &["account", "device", "list", ADDRESS]).expect("a list").contains("phone"));
}

/// What was given up is kept, and goes out when the operator says so.
#[test]
fn dead_letters_are_kept_and_sent_again() {
    let mut bench = Bench::start(&[]);
    bench.enabler.come_back(Mood::Answers(400));
    append(&mut bench.login("phone"), "refused");
    bench.wait_metric("mss_push_dead_total", "refused", |dead| dead > 0.5);
    let listed = tool(&bench, &["push", "dead-letters", "list"]).expect("a list");
    assert!(listed.lines().count() == 1 && listed.starts_with(ADDRESS), "{listed}");
    assert!(listed.contains("400"), "{listed}");
    let url = bench.enabler.url();
    let retry = ["push", "dead-letters", "retry", "--url", &url];
    let told = tool(&bench, &retry).expect_err("it refuses still");
    assert!(told.contains("1 notices were not taken"), "{told}");
    bench.enabler.go_down();
    let told = tool(&bench, &retry).expect_err("nobody is there");
    assert!(told.contains("try again later"), "{told}");
    bench.enabler.come_back(Mood::Takes("ok"));
    assert_eq!(tool(&bench, &retry).expect("taken"), "1 taken, 0 left\n");
    assert_eq!(ids(&bench.enabler.taken()), ["refused"]);
    assert_eq!(tool(&bench, &["push", "dead-letters", "list"]).expect("a list"), "");
    assert_eq!(tool(&bench, &retry).expect("nothing is left"), "0 taken, 0 left\n");
    bench.enabler.come_back(Mood::Answers(400));
    append(&mut bench.login("phone"), "unwanted");
    bench.wait_metric("mss_push_dead_total", "refused", |dead| dead > 1.5);
    tool(&bench, &["push", "dead-letters", "discard"]).expect("forgotten");
    assert_eq!(tool(&bench, &["push", "dead-letters", "list"]).expect("a list"), "");
}
