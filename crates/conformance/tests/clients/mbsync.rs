//! mbsync keeps a maildir in step with a mailbox, with changes on both sides.

use std::fs;
use std::path::Path;
use std::process::Command;

use conformance::client::Client;
use conformance::clients;
use conformance::server::{Server, User};

use super::{append, held, message};

pub fn works(server: &Server, user: &User) {
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
        append(&mut client, "box", &format!("far {number}"));
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
    append(&mut client, "box", "far 3");
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
