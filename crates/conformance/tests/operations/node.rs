//! One `mss serve` with just the settings that a test names.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use conformance::client::{Client, patience};
use conformance::server::{binary, run};

pub const ADDRESS: &str = "tel:+15550000001";
pub const PASSWORD: &str = "Zwiebelfisch";

pub struct Node {
    pub child: Child,
    pub ready: String,
    pub folder: tempfile::TempDir,
}

impl Node {
    /// Starts it with one account, listeners on ports of the system's choice and these settings.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_as("exec \"$0\" serve", settings)
    }

    /// The same, by this line of a shell, in which `$0` is the binary.
    pub fn start_as(script: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data").display().to_string();
        let add = ["account", "add", ADDRESS, "--password-stdin", "--data", &data];
        run(&add, format!("{PASSWORD}\n").as_bytes()).expect("an account");
        let log = File::create(folder.path().join("log")).expect("a log");
        let defaults = [
            ("MSS_DATA__DIR", data.as_str()),
            ("MSS_IMAP__LISTEN", "127.0.0.1:0"),
            ("MSS_ADMIN__LISTEN", "127.0.0.1:0"),
        ];
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(binary().expect("the binary"))
            .envs(defaults)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("mss runs");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        let node = Self { child, ready, folder };
        assert!(node.ready.starts_with("ready "), "{}{}", node.ready, node.log());
        node
    }

    pub fn address(&self, word: &str) -> Option<SocketAddr> {
        let said = self.ready.split_whitespace();
        said.filter_map(|word_| word_.strip_prefix(word)?.strip_prefix('='))
            .find_map(|text| text.parse().ok())
    }

    pub fn imap(&self) -> SocketAddr {
        self.address("imap").expect("an IMAP listener")
    }

    pub fn login(&self) -> Client {
        Client::login(self.imap(), ADDRESS, PASSWORD).expect("a login")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("a shell").success());
    }

    /// How it ended, within `patience`.
    pub fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a process") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Waits until the log has a line that `found` takes; that line.
    pub fn log_line(&self, found: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(line) = self.log().lines().find(|line| found(line)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no such line in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
