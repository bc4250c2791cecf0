//! InterIMAP keeps two accounts in step, by QRESYNC; what changes while it runs it hears by NOTIFY alone.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::Client;
use conformance::clients;
use conformance::server::{Server, User};

use super::{append, held};

/// Longer than any machine takes, and far shorter than the time between two looks without NOTIFY.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn works(server: &Server, near: &User) {
    let far = server.fresh_user();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("interimap.conf");
    // Each account at its own front end, where there are two.
    fs::write(&config, configuration(folder.path(), [(server, 0, near), (server, 1, &far)])).expect("a file");
    let mut here = Client::login(server.front(0), &near.name, &near.password).expect("a session");
    let mut there = Client::login(server.front(1), &far.name, &far.password).expect("a session");
    for command in ["CREATE chat", "SUBSCRIBE chat", "CREATE kept", "SUBSCRIBE kept", "SUBSCRIBE INBOX"] {
        here.expect_ok(command).expect(command);
    }
    append(&mut here, "chat", "first");
    append(&mut there, "INBOX", "second");
    clients::run(&mut interimap(&config)).expect("interimap is content");
    for user in [near, &far] {
        assert_eq!(held(server, user, "chat"), [("first".to_owned(), vec![])]);
        assert_eq!(held(server, user, "INBOX"), [("second".to_owned(), vec![])]);
    }

    // It stays, and looks of its own accord once in an hour.
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let mut staying = interimap(&config);
    staying.args(["--notify", "--watch=3600", "--debug"]).stdin(Stdio::null());
    staying.stderr(log.try_clone().expect("a log")).stdout(log);
    let mut running = Running(staying.spawn().expect("interimap"));
    // On both sides, in several mailboxes, of which it has one selected at most.
    append(&mut here, "kept", "third");
    append(&mut there, "chat", "fourth");
    there.expect_ok("SELECT INBOX").expect("SELECT");
    there.expect_ok("STORE 1 +FLAGS (\\Flagged)").expect("STORE");
    let wait_for = |running: &mut Running, user: &User, mailbox: &str, wanted: &[(&str, &[&str])]| {
        let wanted: Vec<(String, Vec<String>)> = wanted
            .iter()
            .map(|(subject, flags)| {
                ((*subject).to_owned(), flags.iter().copied().map(str::to_owned).collect())
            })
            .collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let found = held(server, user, mailbox);
            if found == wanted {
                return;
            }
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{mailbox}: {found:?}\n{}", log());
            assert!(running.0.try_wait().expect("a process").is_none(), "it ended: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for(&mut running, &far, "kept", &[("third", &[])]);
    wait_for(&mut running, near, "chat", &[("first", &[]), ("fourth", &[])]);
    wait_for(&mut running, near, "INBOX", &[("second", &["\\Flagged"])]);
    here.expect_ok("SELECT chat").expect("SELECT");
    here.expect_ok("STORE 1 +FLAGS.SILENT (\\Deleted)").expect("STORE");
    here.expect_ok("EXPUNGE").expect("EXPUNGE");
    wait_for(&mut running, &far, "chat", &[("fourth", &[])]);
    append(&mut there, "kept", "fifth");
    wait_for(&mut running, near, "kept", &[("third", &[]), ("fifth", &[])]);
}

fn interimap(config: &Path) -> Command {
    let mut command = Command::new("interimap");
    command.arg(format!("--config={}", config.display()));
    command
}

fn configuration(folder: &Path, sides: [(&Server, usize, &User); 2]) -> String {
    let mut text = format!("database = {}/state.db\nlist-select-opts = SUBSCRIBED\n", folder.display());
    for (name, (server, front, user)) in ["local", "remote"].into_iter().zip(sides) {
        let at = server.front(front);
        text.push_str(&format!(
            "\n[{name}]\ntype = imap\nhost = {}\nport = {}\nSTARTTLS = NO\nauth = PLAIN LOGIN\nusername = {}\npassword = {}\n",
            at.ip(),
            at.port(),
            user.name,
            user.password,
        ));
    }
    text
}
