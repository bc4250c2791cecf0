//! Clients that others wrote, each at real work; afterwards the server is asked what it holds.

mod imaptalk;
mod interimap;
mod mbsync;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use conformance::client::{Client, Response, quote};
use conformance::clients;
use conformance::foundationdb;
use conformance::server::{Layout, Server, User};
use conformance::value::Value;

/// What a client does, on an account of its own.
type Work = fn(&Server, &User);

/// All of them.
const ALL: [Work; 6] =
    [imaplib_works, imapflow_works, curl_works, mbsync::works, imaptalk::works, interimap::works];

/// Accounts that all of them need.
const ACCOUNTS: u32 = 8;

fn with(work: impl FnOnce(&Server, &User)) {
    let server = Server::under_test(2).expect("a server");
    let user = server.fresh_user();
    work(&server, &user);
}

#[test]
fn imaplib() {
    with(imaplib_works);
}

#[test]
fn imapflow() {
    with(imapflow_works);
}

#[test]
fn curl() {
    with(curl_works);
}

#[test]
fn mbsync() {
    with(mbsync::works);
}

#[test]
fn imaptalk() {
    with(imaptalk::works);
}

#[test]
fn interimap() {
    with(interimap::works);
}

/// All of them at a front end, each compared with what the other front end says.
#[test]
fn all_on_processes_apart() {
    let server = Server::for_tests(Layout::Apart { fronts: 2 }, ACCOUNTS).expect("a server");
    for work in ALL {
        work(&server, &server.fresh_user());
    }
}

/// The same with two storage nodes.
#[test]
#[ignore = "wants a FoundationDB; `cargo xtask foundationdb` runs it"]
fn all_on_foundationdb() {
    let cluster_file = foundationdb::cluster_file().unwrap_or_else(|why| panic!("{why}"));
    let layout = Layout::OnFoundationDb { cluster_file, stores: 2, fronts: 2 };
    let server = Server::for_tests(layout, ACCOUNTS).expect("a server");
    for work in ALL {
        work(&server, &server.fresh_user());
    }
}

/// Subjects and flags of a mailbox, by UID, as a session of our own sees them.
fn held(server: &Server, user: &User, mailbox: &str) -> Vec<(String, Vec<String>)> {
    let mut client = Client::login(server.front(1), &user.name, &user.password).expect("a session");
    client.expect_ok(&format!("EXAMINE {}", quote(mailbox))).expect("EXAMINE");
    let (untagged, _) =
        client.expect_ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").expect("FETCH");
    let mut held = BTreeMap::new();
    // What changes meanwhile may be told between them, without the UID: the next look has it.
    let asked = |response: &&Response| response.kind() == "FETCH" && find(response, "UID").is_some();
    for response in untagged.iter().filter(asked) {
        let uid: u64 = text(response, "UID").parse().expect("a UID");
        let subject = text(response, "BODY[HEADER.FIELDS (SUBJECT)]");
        let subject = subject.trim().trim_start_matches("Subject: ").to_owned();
        let mut flags: Vec<String> = match item(response, "FLAGS") {
            Value::List(flags) => {
                flags.iter().map(Value::display).filter(|flag| flag != "\\Recent").collect()
            }
            _ => Vec::new(),
        };
        flags.sort();
        held.insert(uid, (subject, flags));
    }
    held.into_values().collect()
}

fn item<'a>(response: &'a Response, name: &str) -> &'a Value {
    find(response, name).unwrap_or_else(|| panic!("no {name}: {}", response.text()))
}

fn find<'a>(response: &'a Response, name: &str) -> Option<&'a Value> {
    let Some(Value::List(items)) = response.values.get(3) else { return None };
    let at = items.iter().position(|item| item.keyword().is_some_and(|word| word.replace('"', "") == name));
    items.get(at? + 1)
}

fn text(response: &Response, name: &str) -> String {
    String::from_utf8_lossy(item(response, name).octets().unwrap_or_default()).into_owned()
}

fn imaplib_works(server: &Server, user: &User) {
    let said =
        clients::run(Command::new("python3").arg(clients::folder().join("imaplib_session.py")).args([
            &server.imap.ip().to_string(),
            &server.imap.port().to_string(),
            &user.name,
            &user.password,
        ]))
        .expect("imaplib is content");
    assert_eq!(said.trim(), "ok");
    let left: Vec<String> = held(server, user, "snake").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(left, ["number 2", "number 3", "number 4", "number 5", "number 6"]);
    let inner: Vec<String> =
        held(server, user, "snake/inner").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(inner, ["number 0", "number 1", "number 2", "number 7"]);
}

fn imapflow_works(server: &Server, user: &User) {
    let modules = clients::node_modules().expect("npm packages");
    let said = clients::run(
        Command::new("node")
            .arg(clients::folder().join("imapflow_session.mjs"))
            .args([
                &server.imap.ip().to_string(),
                &server.imap.port().to_string(),
                &user.name,
                &user.password,
            ])
            .env("NODE_PATH", modules),
    )
    .expect("imapflow is content");
    assert_eq!(said.trim(), "ok");
    let left: Vec<String> = held(server, user, "flow").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(left, ["number 3", "number 4", "number 5"]);
}

fn curl_works(server: &Server, user: &User) {
    let folder = tempfile::tempdir().expect("a folder");
    // The name has a colon of its own, so name and password stand in the URL, where it can be escaped.
    let name = user.name.replace(':', "%3A").replace('+', "%2B");
    let password = user.password.replace(' ', "%20");
    let url = |path: &str| format!("imap://{name}:{password}@{}/{path}", server.imap);
    let curl = |arguments: &[&str]| {
        clients::run(
            Command::new("curl").args(["--disable", "--silent", "--show-error", "--fail"]).args(arguments),
        )
    };
    curl(&[&url(""), "--request", "CREATE curl"]).expect("CREATE");
    for number in 1..=3 {
        let file = folder.path().join(format!("{number}.eml"));
        let message = format!("Subject: number {number}\r\nX-Curl: yes\r\n\r\nBody of number {number}.\r\n");
        fs::write(&file, message).expect("a message");
        curl(&["--upload-file", &file.display().to_string(), &url("curl")]).expect("APPEND");
    }
    let listed = curl(&[&url("")]).expect("LIST");
    assert!(listed.contains("* LIST") && listed.contains("curl"), "{listed}");
    let found = curl(&[&url("curl?SUBJECT%20%22number%202%22")]).expect("SEARCH");
    assert_eq!(found.trim(), "* SEARCH 2");
    let fetched = curl(&[&url("curl;MAILINDEX=2")]).expect("FETCH");
    assert_eq!(fetched, "Subject: number 2\r\nX-Curl: yes\r\n\r\nBody of number 2.\r\n");
    let section = curl(&[&url("curl;MAILINDEX=3;SECTION=TEXT")]).expect("FETCH of a section");
    assert_eq!(section, "Body of number 3.\r\n");
    curl(&[&url("curl"), "--request", "STORE 1 +FLAGS.SILENT (\\Deleted)"]).expect("STORE");
    curl(&[&url("curl"), "--request", "EXPUNGE"]).expect("EXPUNGE");
    let refused = curl(&[&url("nowhere;MAILINDEX=1")]).expect_err("no such mailbox");
    assert!(refused.contains("exit status"), "{refused}");
    let left: Vec<String> = held(server, user, "curl").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(left, ["number 2", "number 3"]);
}

fn message(subject: &str) -> String {
    format!(
        "From: a@example.org\nSubject: {subject}\nMessage-ID: <{}@sync>\n\nText.\n",
        subject.replace(' ', "-")
    )
}

fn append(client: &mut Client, mailbox: &str, subject: &str) {
    let message = message(subject).replace('\n', "\r\n");
    let (_, tagged) = client.literal(&format!("APPEND {mailbox}"), message.as_bytes(), "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
}
