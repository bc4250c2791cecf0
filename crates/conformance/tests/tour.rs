//! The tour of the README, played as it stands there: every command of it, in order, with other ports.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::patience;
use conformance::server::{binary, wait_for_port};

/// What the tour does, a block of the README each.
struct Tour {
    folder: tempfile::TempDir,
    blocks: std::vec::IntoIter<String>,
    /// Ports of the README, and those used here.
    ports: [(&'static str, u16); 3],
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// The shell commands between two headings.
fn blocks(text: &str, from: &str, to: &str) -> Vec<String> {
    let (_, rest) = text.split_once(from).expect("the heading");
    let (part, _) = rest.split_once(to).expect("the next heading");
    let starts = part.split("```sh\n").skip(1);
    starts.map(|block| block.split_once("\n```").expect("an end").0.to_owned()).collect()
}

impl Tour {
    fn begin() -> Self {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let readme = std::fs::read_to_string(readme).expect("README.md");
        let folder = tempfile::tempdir().expect("a folder");
        let built = folder.path().join("target/release");
        std::fs::create_dir_all(&built).expect("a folder");
        std::os::unix::fs::symlink(binary().expect("the binary"), built.join("mss")).expect("a link");
        let blocks = blocks(&readme, "\n## A tour in five minutes\n", "\n## ");
        let ports = ["1143", "9143", "8000"].map(|port| (port, free_port()));
        Self { folder, blocks: blocks.into_iter(), ports }
    }

    /// The next block, which has this in it.
    fn next(&mut self, what: &str) -> String {
        let block = self.blocks.next().unwrap_or_else(|| panic!("no block with {what}"));
        assert!(block.contains(what), "expected {what} in:\n{block}");
        block
    }

    /// A terminal in which a script runs.
    fn terminal(&self, name: &str, script: &str) -> Terminal {
        let mut script = format!("shopt -s expand_aliases\nalias mss=target/release/mss\nset -e\n{script}\n");
        for (port, here) in self.ports {
            script = script.replace(port, &here.to_string());
        }
        let output = self.folder.path().join(name);
        let file = std::fs::File::create(&output).expect("a file");
        let [imap, admin, _] = self.ports.map(|(_, port)| format!("127.0.0.1:{port}"));
        let child = Command::new("bash")
            .args(["-c", &script])
            .current_dir(self.folder.path())
            .env("MSS_IMAP__LISTEN", imap)
            .env("MSS_ADMIN__LISTEN", admin)
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            // What it starts ends with it.
            .process_group(0)
            .spawn()
            .expect("bash");
        Terminal { child, output }
    }

    /// Plays the next block to its end; what it printed.
    fn play(&mut self, what: &str) -> String {
        let script = self.next(what);
        let mut terminal = self.terminal("output", &script);
        terminal.succeed();
        terminal.shown()
    }
}

struct Terminal {
    child: Child,
    output: PathBuf,
}

impl Terminal {
    fn shown(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until it shows something.
    fn expect(&self, text: &str) {
        let deadline = Instant::now() + patience();
        while !self.shown().contains(text) {
            assert!(Instant::now() < deadline, "no {text} in:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end.
    fn end(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn succeed(&mut self) {
        let status = self.end();
        assert!(status.success(), "{status}:\n{}", self.shown());
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        // The group is gone when all in it have ended.
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }

    /// Ctrl-C.
    fn interrupt(mut self) {
        self.signal("-INT");
        self.end();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.output.display(), self.shown());
        }
        self.signal("-KILL");
        // It may have been waited for.
        let _ = self.child.wait();
    }
}

#[test]
fn the_tour_of_the_readme_goes_as_it_says() {
    let mut tour = Tour::begin();
    let server = tour.terminal("server", "exec target/release/mss serve");
    server.expect("ready imap=");
    let shown = tour.play("mss account add +33612345678");
    assert!(shown.contains("address    tel:+33612345678"), "{shown}");

    // It waits in a terminal of its own.
    let script = tour.next("python3 idle.py");
    let mut phone = tour.terminal("phone", &script);
    phone.expect("+ ");
    tour.play("-T message.eml");
    phone.succeed();
    let heard = phone.shown();
    assert!(heard.contains("news: * 1 EXISTS") && heard.contains("IMDN-Message-ID: Mjkx9a1f"), "{heard}");

    let shown = tour.play("UID SEARCH HEADER IMDN-Message-ID");
    assert!(shown.contains("* SEARCH 1") && shown.contains("mss_imap_command_seconds_count"), "{shown}");
    let shown = tour.play("python3 accounts.py");
    assert!(shown.contains("messages of the number: [b'1']"), "{shown}");
    assert!(shown.contains("messages of alice: [b'0']"), "{shown}");
    server.interrupt();

    let script = tour.next("python3 enabler.py");
    let enabler = tour.terminal("enabler", &script);
    wait_for_port(SocketAddr::from(([127, 0, 0, 1], tour.ports[2].1))).expect("the enabler");
    let script = tour.next("MSS_PUSH__URL=");
    let server = tour.terminal("server again", &script);
    server.expect("ready imap=");
    let shown = tour.play("python3 read.py");
    assert!(shown.contains("Shall we meet at noon?"), "{shown}");
    enabler.expect("wake tel:+33612345678 for ChatO made by the network\n");
    enabler.expect("wake tel:+33612345678 for ChatS made by <urn:gsma:imei:90420156-025763-0>\n");
    assert_eq!(tour.blocks.next(), None, "the tour goes on");
}
