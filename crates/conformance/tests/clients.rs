//! Clients that others wrote, each at real work; afterwards the server is asked what it holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use conformance::client::{Client, Response, quote};
use conformance::clients;
use conformance::foundationdb;
use conformance::server::{Layout, Server, User};
use conformance::value::Value;

fn with(work: impl FnOnce(&Server, &User)) {
    let server = Server::under_test(1).expect("a server");
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
    with(mbsync_works);
}

/// All of them at a front end, each compared with what the other front end says.
#[test]
fn all_on_processes_apart() {
    let server = Server::for_tests(Layout::Apart { fronts: 2 }, 4).expect("a server");
    for work in [imaplib_works, imapflow_works, curl_works, mbsync_works] {
        work(&server, &server.fresh_user());
    }
}

/// The same with two storage nodes.
#[test]
#[ignore = "wants a FoundationDB; `cargo xtask foundationdb` runs it"]
fn all_on_foundationdb() {
    let cluster_file = foundationdb::cluster_file().unwrap_or_else(|why| panic!("{why}"));
    let layout = Layout::OnFoundationDb { cluster_file, stores: 2, fronts: 2 };
    let server = Server::for_tests(layout, 4).expect("a server");
    for work in [imaplib_works, imapflow_works, curl_works, mbsync_works] {
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
    for response in untagged.iter().filter(|response| response.kind() == "FETCH") {
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
    let Some(Value::List(items)) = response.values.get(3) else { panic!("no items: {}", response.text()) };
    let at = items.iter().position(|item| item.keyword().is_some_and(|word| word.replace('"', "") == name));
    &items[at.unwrap_or_else(|| panic!("no {name}: {}", response.text())) + 1]
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

/// A maildir kept in step with a mailbox, with changes on both sides.
fn mbsync_works(server: &Server, user: &User) {
    let folder = tempfile::tempdir().expect("a folder");
    let maildir = folder.path().join("mail");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join("box").join(part)).expect("a maildir");
    }
    let config = folder.path().join("mbsyncrc");
    let near = maildir.display();
    let text = format!(
        "IMAPAccount here\nHost {}\nPort {}\nUser {}\nPass \"{}\"\nSSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount here\n\nMaildirStore near\nPath {near}/\nInbox {near}/inbox\n\n\
         Channel both\nFar :far:\nNear :near:\nPatterns box\nCreate Both\nExpunge Both\nSync All\nSyncState *\n",
        server.imap.ip(),
        server.imap.port(),
        user.name,
        user.password,
    );
    fs::write(&config, text).expect("a configuration");
    let sync = || {
        clients::run(Command::new("mbsync").arg("--config").arg(&config).arg("both"))
            .expect("mbsync is content")
    };
    // Two messages on the server, two in the maildir.
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("CREATE box").expect("CREATE");
    for number in 1..=2 {
        append(&mut client, &format!("far {number}"));
    }
    for number in 1..=2 {
        let name = format!("1700000000.{number}.here:2,S");
        fs::write(maildir.join("box/cur").join(name), message(&format!("near {number}"))).expect("a message");
    }
    sync();
    let near_seen = vec!["\\Seen".to_owned()];
    assert_eq!(
        held(server, user, "box"),
        [
            ("far 1".to_owned(), vec![]),
            ("far 2".to_owned(), vec![]),
            ("near 1".to_owned(), near_seen.clone()),
            ("near 2".to_owned(), near_seen.clone()),
        ]
    );
    assert_eq!(subjects(&maildir), ["far 1", "far 2", "near 1", "near 2"]);
    // Once more: nothing to do, nothing done.
    let before = state(server, user);
    sync();
    sync();
    assert_eq!(state(server, user), before, "a sync without changes changes nothing");
    // Changes on both sides: flagged and deleted there, deleted and answered here, and one new on each.
    client.expect_ok("SELECT box").expect("SELECT");
    client.expect_ok("STORE 1 +FLAGS.SILENT (\\Flagged)").expect("STORE");
    client.expect_ok("STORE 2 +FLAGS.SILENT (\\Deleted)").expect("STORE");
    client.expect_ok("EXPUNGE").expect("EXPUNGE");
    append(&mut client, "far 3");
    for entry in fs::read_dir(maildir.join("box/cur")).expect("the maildir") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a message");
        if text.contains("near 1") {
            fs::remove_file(&path).expect("removed");
        } else if text.contains("near 2") {
            let name = path.file_name().expect("a name").to_string_lossy().replace(":2,S", ":2,RS");
            fs::rename(&path, path.with_file_name(name)).expect("renamed");
        }
    }
    fs::write(maildir.join("box/new/1700000001.9.here"), message("near 3")).expect("a message");
    sync();
    assert_eq!(
        held(server, user, "box"),
        [
            ("far 1".to_owned(), vec!["\\Flagged".to_owned()]),
            ("near 2".to_owned(), vec!["\\Answered".to_owned(), "\\Seen".to_owned()]),
            ("far 3".to_owned(), vec![]),
            ("near 3".to_owned(), vec![]),
        ]
    );
    assert_eq!(subjects(&maildir), ["far 1", "far 3", "near 2", "near 3"]);
    let flagged = files(&maildir).into_iter().find(|(_, text)| text.contains("far 1")).expect("far 1");
    assert!(flagged.0.contains(":2,F"), "{}", flagged.0);
    let before = state(server, user);
    sync();
    assert_eq!(state(server, user), before, "a sync without changes changes nothing");
}

fn message(subject: &str) -> String {
    format!(
        "From: a@example.org\nSubject: {subject}\nMessage-ID: <{}@sync>\n\nText.\n",
        subject.replace(' ', "-")
    )
}

fn append(client: &mut Client, subject: &str) {
    let message = message(subject).replace('\n', "\r\n");
    let (_, tagged) = client.literal("APPEND box", message.as_bytes(), "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
}

/// What a change of the mailbox would change.
fn state(server: &Server, user: &User) -> String {
    let mut client = Client::login(server.front(1), &user.name, &user.password).expect("a session");
    let (untagged, _) =
        client.expect_ok("STATUS box (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ UNSEEN)").expect("STATUS");
    untagged.iter().find(|response| response.kind() == "STATUS").expect("STATUS").text()
}

fn files(maildir: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for part in ["cur", "new"] {
        for entry in fs::read_dir(maildir.join("box").join(part)).expect("the maildir") {
            let path = entry.expect("an entry").path();
            files.push((path.display().to_string(), fs::read_to_string(&path).expect("a message")));
        }
    }
    files
}

fn subjects(maildir: &Path) -> Vec<String> {
    let mut subjects: Vec<String> = files(maildir)
        .into_iter()
        .filter_map(|(_, text)| {
            Some(text.lines().find_map(|line| line.strip_prefix("Subject: "))?.to_owned())
        })
        .collect();
    subjects.sort();
    subjects
}
