//! `mss check`, `mss account export` and `mss account import` of an export, against a running server and a stopped one.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use conformance::client::{Client, Response};
use conformance::server::{Options, Server, binary};

const PASSWORD: &str = "correct horse";
const ALICE: &str = "tel:+15550000001";

fn mss(arguments: &[&str]) -> Output {
    let program = binary().expect("the binary");
    Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("mss runs")
}

fn done(arguments: &[&str]) -> String {
    let output = mss(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn refused(arguments: &[&str]) -> String {
    let output = mss(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn append(client: &mut Client, folder: &str, flags: &str, octets: &[u8]) {
    let command = format!("APPEND {folder} ({flags}) \"01-Feb-2024 03:04:05 -0530\"");
    let (_, tagged) = client.literal(&command, octets, "").expect("an append");
    assert!(tagged.text().contains("OK"), "{}", tagged.text());
}

/// All that FETCH says of a folder, and its marks.
fn everything(client: &mut Client, folder: &str) -> Vec<String> {
    let (selected, _) = client.expect_ok(&format!("SELECT {folder}")).expect("select");
    let marks = ["UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"];
    let marks =
        selected.iter().map(Response::text).filter(|text| marks.iter().any(|mark| text.contains(mark)));
    let mut all: Vec<String> = marks.collect();
    let command = "UID FETCH 1:* (FLAGS MODSEQ INTERNALDATE SAVEDATE RFC822.SIZE BODY.PEEK[])";
    let (rows, _) = client.expect_ok(command).expect("fetch");
    // Who looks first is shown \Recent, and no other.
    let plain = |text: String| text.replace(" \\Recent", "").replace("\\Recent ", "").replace("\\Recent", "");
    all.extend(rows.iter().map(|response| plain(response.text())));
    all
}

fn texts(client: &mut Client, command: &str) -> Vec<String> {
    let (responses, _) = client.expect_ok(command).expect(command);
    responses.iter().map(Response::text).collect()
}

fn files_of(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                names.push(entry.strip_prefix(root).expect("below").display().to_string());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn an_account_moves_to_another_installation() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let data = here.data().expect("ours").display().to_string();
    let mut client = Client::login(here.imap, ALICE, PASSWORD).expect("a login");
    client.expect_ok("CREATE \"Work/2024\"").expect("create");
    client.expect_ok("SUBSCRIBE \"Work/2024\"").expect("subscribe");
    for n in 0..40 {
        let text = format!("Subject: {n}\r\nIMDN-Message-ID: id{n}\r\n\r\nnumber {n}, \u{e9}\r\n");
        append(&mut client, "INBOX", if n % 3 == 0 { "\\Seen $Keyword" } else { "" }, text.as_bytes());
    }
    let large: Vec<u8> = (0..600_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    append(&mut client, "\"Work/2024\"", "\\Flagged", &large);
    // A phone synchronises, and then some things happen.
    let (selected, _) = client.expect_ok("SELECT INBOX").expect("select");
    let mark = |name: &str| -> u64 {
        let text = selected.iter().map(Response::text).find(|text| text.contains(name)).expect(name);
        let digits = text.split(name).nth(1).expect("a value").trim_start();
        digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    let (validity, modseq) = (mark("UIDVALIDITY"), mark("HIGHESTMODSEQ"));
    client.expect_ok("UID STORE 5,7 +FLAGS.SILENT (\\Deleted)").expect("store");
    client.expect_ok("UID EXPUNGE 5,7").expect("expunge");
    client.expect_ok("UID STORE 9 +FLAGS.SILENT (\\Answered)").expect("store");
    append(&mut client, "INBOX", "", b"Subject: last\r\n\r\n");
    // Others have rights: all, one who is known there too, and one who is not.
    let (known, unknown) = ("tel:+15550000031", "tel:+15550000032");
    for address in [known, unknown] {
        let csv = folder.path().join("more.csv");
        std::fs::write(&csv, format!("{address},{PASSWORD}\n")).expect("a file");
        done(&["account", "import", &csv.display().to_string(), "--data", &data]);
    }
    for given in [&format!("{known} lrs"), &format!("{unknown} lr"), "anyone l", "-tel:+15550000033 l"] {
        client.expect_ok(&format!("SETACL \"Work/2024\" {given}")).expect("setacl");
    }
    let inbox = everything(&mut client, "INBOX");
    let work = everything(&mut client, "\"Work/2024\"");

    let path = |name: &str| folder.path().join(name).display().to_string();
    let (directory, tar) = (path("export"), path("export.tar"));
    let told = done(&["account", "export", ALICE, "--to", &directory, "--with-credentials", "--data", &data]);
    assert!(told.contains("5 folders, 40 messages"), "{told}");
    assert!(
        refused(&["account", "export", ALICE, "--to", &directory, "--data", &data]).contains("is not empty")
    );
    let names = files_of(Path::new(&directory));
    let is_message = |name: &&String| Path::new(name).extension().is_some_and(|extension| extension == "eml");
    assert_eq!(names.iter().filter(is_message).count(), 40, "{names:?}");
    let secret = std::fs::read_to_string(format!("{directory}/account.json")).expect("account.json");
    assert!(secret.contains("stored_key"), "{secret}");
    drop((client, here));
    // Of the stopped one, as a tar, without what is kept of the password.
    let kept = tempfile::tempdir().expect("a folder");
    let other_data = kept.path().join("stopped").display().to_string();
    done(&["account", "import", &directory, "--data", &other_data]);
    done(&["account", "export", ALICE, "--to", &tar, "--data", &other_data]);

    for (source, has_password) in [(&directory, true), (&tar, false)] {
        let there = Server::start(&Options { accounts: 0, ..Options::default() }).expect("a server");
        let data = there.data().expect("ours").display().to_string();
        let csv = path("known.csv");
        std::fs::write(&csv, format!("{known},{PASSWORD}\n")).expect("a file");
        done(&["account", "import", &csv, "--data", &data]);
        let told = done(&["account", "import", source, "--data", &data]);
        assert!(told.contains("account created") && told.contains("and 40 messages imported"), "{told}");
        // An empty folder of a new account is the same one already when both were made in one second: UIDVALIDITY is.
        let folders = |word: &str| -> u32 {
            let before = told.split(word).next().unwrap_or_default();
            let number = before.rsplit([' ', ',']).find(|part| !part.is_empty()).unwrap_or_default();
            number.parse().unwrap_or(0)
        };
        let (imported, kept) = (folders(" folders and"), folders(" folders were there"));
        assert!(imported >= 3 && imported + kept == 5, "{told}");
        // Again: nothing is doubled.
        let told = done(&["account", "import", source, "--data", &data]);
        assert!(
            told.contains("was there, 0 folders and 0 messages imported, 5 folders were there"),
            "{told}"
        );
        if !has_password {
            assert!(Client::login(there.imap, ALICE, PASSWORD).is_err(), "the export has no password");
            let csv = path("again.csv");
            std::fs::write(&csv, format!("tel:+15550000099,{PASSWORD}\n")).expect("a file");
            assert!(done(&["account", "import", &csv, "--data", &data]).contains("1 accounts created"));
            continue;
        }
        let mut phone = Client::login(there.imap, ALICE, PASSWORD).expect("the password came along");
        assert_eq!(everything(&mut phone, "INBOX"), inbox);
        assert_eq!(everything(&mut phone, "\"Work/2024\""), work);
        // Who has no account there gets no rights, nor does who had none before.
        let shared = texts(&mut phone, "GETACL \"Work/2024\"").concat();
        assert!(shared.contains(&format!("{known} lrs anyone l")), "{shared}");
        assert!(!shared.contains(unknown) && !shared.contains("+15550000033"), "{shared}");
        assert!(texts(&mut phone, "LSUB \"\" \"*\"").iter().any(|text| text.contains("Work/2024")));
        // The phone goes on as if nothing had happened.
        let mut phone = Client::login(there.imap, ALICE, PASSWORD).expect("a login");
        phone.expect_ok("ENABLE QRESYNC").expect("enable");
        let news = texts(&mut phone, &format!("SELECT INBOX (QRESYNC ({validity} {modseq}))"));
        let vanished: Vec<&String> = news.iter().filter(|text| text.contains("VANISHED")).collect();
        assert!(vanished.len() == 1 && vanished[0].contains("(EARLIER) 5,7"), "{news:?}");
        let fetched: Vec<&String> = news.iter().filter(|text| text.contains("FETCH")).collect();
        assert!(fetched.len() == 2, "{fetched:?}");
        assert!(
            fetched.iter().any(|text| text.contains("UID 9") && text.contains("\\Answered")),
            "{fetched:?}"
        );
        assert!(fetched.iter().any(|text| text.contains("UID 41")), "{fetched:?}");
        // New mail goes on from there, and whoever has other mail is not overwritten.
        append(&mut phone, "INBOX", "", b"Subject: after\r\n\r\n");
        assert!(texts(&mut phone, "UID SEARCH SUBJECT after").iter().any(|text| text.ends_with("SEARCH 42")));
        done(&["check", "--octets", "--data", &data]);
    }
}

/// An import that stops in the middle goes on when it is run again, and what is not as it was exported is refused.
#[test]
fn an_import_goes_on() {
    let here = Server::start(&Options { accounts: 2, ..Options::default() }).expect("a server");
    let data = here.data().expect("ours").display().to_string();
    let mut client = Client::login(here.imap, ALICE, PASSWORD).expect("a login");
    // More than one request takes.
    for _ in 0..7 {
        let mut command = b"m APPEND INBOX".to_vec();
        for n in 0..100 {
            let text = format!("Subject: {n}\r\n\r\n{n}");
            command.extend_from_slice(format!(" {{{}+}}\r\n{text}", text.len()).as_bytes());
        }
        command.extend_from_slice(b"\r\n");
        client.send(&command).expect("sent");
        let (_, tagged) = client.until("m").expect("an append");
        assert!(tagged.text().contains("OK"), "{}", tagged.text());
    }
    let inbox = everything(&mut client, "INBOX");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let export = path("export");
    done(&["account", "export", ALICE, "--to", &export, "--with-credentials", "--data", &data]);
    let names = files_of(Path::new(&export));
    let one = names.iter().find(|name| name.ends_with("/650.eml")).expect("UID 650");
    let one = Path::new(&export).join(one);
    let octets = std::fs::read(&one).expect("a message");

    let there = Server::start(&Options::default()).expect("a server");
    let other = there.data().expect("ours").display().to_string();
    std::fs::remove_file(&one).expect("removed");
    let told = refused(&["account", "import", &export, "--data", &other]);
    assert!(told.contains("650.eml"), "{told}");
    // Nobody sees half a folder.
    let mut phone = Client::login(there.imap, ALICE, PASSWORD).expect("a login");
    assert!(texts(&mut phone, "STATUS INBOX (MESSAGES)").iter().any(|text| text.contains("MESSAGES 0")));
    std::fs::write(&one, vec![b'x'; octets.len()]).expect("written");
    let told = refused(&["account", "import", &export, "--data", &other]);
    assert!(told.contains("650.eml") && told.contains("SHA-256 differs"), "{told}");
    std::fs::write(&one, octets).expect("written");
    let told = done(&["account", "import", &export, "--data", &other]);
    assert!(told.contains("200 messages imported"), "only what was left: {told}");
    assert_eq!(everything(&mut phone, "INBOX"), inbox);
    assert!(done(&["check", "--octets", ALICE, "--data", &other]).contains("0 findings"));

    // Into a folder that has other mail, nothing is imported.
    let bob = "tel:+15550000002";
    let mut bobs = Client::login(here.imap, bob, PASSWORD).expect("a login");
    append(&mut bobs, "INBOX", "", b"Subject: mine\r\n\r\n");
    let told = refused(&["account", "import", &export, "--as", bob, "--data", &data]);
    assert!(told.contains("INBOX has 1 messages; a folder is restored only where there are none"), "{told}");
    // And an export that was interrupted is none.
    std::fs::remove_file(Path::new(&export).join("account.json")).expect("removed");
    let told = refused(&["account", "import", &export, "--data", &other]);
    assert!(told.contains("interrupted"), "{told}");
}

#[test]
fn a_check_from_outside() {
    let server = Server::start(&Options { accounts: 3, ..Options::default() }).expect("a server");
    let data = server.data().expect("ours").display().to_string();
    let mut client = Client::login(server.imap, ALICE, PASSWORD).expect("a login");
    append(&mut client, "INBOX", "", b"Subject: one\r\n\r\n1");
    for arguments in [&["check"][..], &["check", "--repair", "--octets"], &["check", "--rate", "100000"]] {
        let told = done(&[arguments, &["--data", &data]].concat());
        assert!(
            told.starts_with("3 accounts, ") && told.contains("0 findings, 0 repaired, 0 left"),
            "{told}"
        );
    }
    let told = done(&["check", ALICE, "tel:+15550000002", "--json", "--data", &data]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["summary"]["accounts"], &told["summary"]["left"]), (&2.into(), &0.into()));
    let rest = done(&["check", "--after", ALICE, "--data", &data]);
    assert!(rest.starts_with("2 accounts, "), "{rest}");
    assert!(refused(&["check", "tel:+15550000009", "--data", &data]).contains("no account tel:+15550000009"));
    assert_eq!(mss(&["check", "--rate", "0", "--data", &data]).status.code(), Some(2));
    assert_eq!(mss(&["check", "not an address", "--data", &data]).status.code(), Some(2));
    let kept = tempfile::tempdir().expect("a folder");
    let nothing = kept.path().join("nothing").display().to_string();
    assert_eq!(mss(&["check", "--data", &nothing]).status.code(), Some(1));
    // The same of a stopped one.
    let csv = kept.path().join("accounts.csv").display().to_string();
    std::fs::write(&csv, format!("{ALICE},{PASSWORD}\n")).expect("a file");
    done(&["account", "import", &csv, "--data", &nothing]);
    assert!(done(&["check", "--data", &nothing]).starts_with("1 accounts, "));
}
