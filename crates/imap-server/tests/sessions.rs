//! Several sessions change one mailbox at once. Each client keeps the picture that a careful client would, from what it
//! is told and what it did itself; at the end every picture must be the mailbox.

#[path = "support/harness.rs"]
mod harness;

use std::collections::BTreeSet;

use harness::{Answer, Client, TestServer};

const CLIENTS: usize = 4;
const COMMANDS: usize = 120;
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Deleted", "$k"];

/// A message as a client knows it: flags are none until it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    uid: Option<u32>,
    flags: Option<BTreeSet<String>>,
}

/// A client with its picture.
struct Careful {
    client: Client,
    picture: Vec<Known>,
    /// VANISHED in place of EXPUNGE.
    qresync: bool,
    chance: u64,
}

impl Careful {
    async fn new(server: &TestServer, qresync: bool, seed: u64) -> Self {
        let mut client = server.login().await;
        if qresync {
            client.ok("ENABLE QRESYNC").await;
        }
        let mut this = Self {
            client,
            picture: Vec::new(),
            qresync,
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        this.run("SELECT INBOX").await;
        this.run("FETCH 1:* (UID FLAGS)").await;
        this
    }

    fn random(&mut self, below: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 33) as usize % below
    }

    /// Runs a command and takes in what it tells.
    async fn run(&mut self, command: &str) -> Answer {
        let answer = self.client.command(command).await;
        self.take(command, &answer);
        answer
    }

    fn take(&mut self, command: &str, answer: &Answer) {
        assert!(!answer.tagged.starts_with("BAD"), "{command}: {answer:?}");
        let by_number = ["FETCH", "STORE", "SEARCH"].iter().any(|name| command.starts_with(name));
        for line in answer.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["*", n, "EXISTS"] => {
                    let n: usize = n.parse().expect("a number");
                    assert!(n >= self.picture.len(), "EXISTS went back: {line} after {command}");
                    self.picture.resize(n, Known::default());
                }
                ["*", n, "EXPUNGE"] => {
                    assert!(!by_number && !self.qresync, "{line} during {command}");
                    let n: usize = n.parse().expect("a number");
                    self.picture.remove(n - 1);
                }
                ["*", "VANISHED", set] => {
                    assert!(!by_number && self.qresync, "{line} during {command}");
                    for part in set.split(',') {
                        let (first, last) = part.split_once(':').unwrap_or((part, part));
                        let range = first.parse().expect("a number")..=last.parse().expect("a number");
                        let before = self.picture.len();
                        self.picture.retain(|known| !range.contains(&known.uid.expect("uids are fetched")));
                        assert!(self.picture.len() < before, "{line} removed nothing");
                    }
                }
                ["*", n, "FETCH", ..] => {
                    let n: usize = n.parse().expect("a number");
                    assert!(
                        n <= self.picture.len(),
                        "{line} during {command}: {} messages",
                        self.picture.len()
                    );
                    let known = &mut self.picture[n - 1];
                    if let Some(rest) = line.split("UID ").nth(1) {
                        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                        let uid = Some(digits.parse().expect("a number"));
                        assert!(known.uid.is_none() || known.uid == uid, "{line}: was {known:?}");
                        known.uid = uid;
                    }
                    if let Some(list) = line.split("FLAGS (").nth(1) {
                        let list = list.split(')').next().expect("its end");
                        let flags = list.split(' ').filter(|flag| !flag.is_empty() && *flag != "\\Recent");
                        known.flags = Some(flags.map(str::to_owned).collect());
                    }
                }
                _ => {}
            }
        }
    }

    /// Learns of messages that are new.
    async fn learn(&mut self) {
        while let Some(first) = self.picture.iter().position(|known| known.uid.is_none()) {
            self.run(&format!("FETCH {}:* (UID FLAGS)", first + 1)).await;
            if self.picture[first..].iter().any(|known| known.uid.is_none()) {
                // Gone already: the removal must be told by a command that may.
                self.run_noop().await;
            }
        }
    }

    async fn run_noop(&mut self) {
        if self.qresync {
            // VANISHED names UIDs, which this client may not know of yet: count them in by asking.
            let answer = self.client.command("NOOP").await;
            let vanished = answer.lines().iter().any(|line| line.contains("VANISHED"));
            if vanished {
                self.picture.clear();
                self.client.ok("UNSELECT").await;
                self.run("SELECT INBOX").await;
                self.run("FETCH 1:* (UID FLAGS)").await;
                return;
            }
            self.take("NOOP", &answer);
        } else {
            self.run("NOOP").await;
        }
    }

    async fn step(&mut self) {
        self.learn().await;
        let count = self.picture.len();
        let choice = self.random(12);
        if count == 0 || choice == 0 {
            self.run("APPEND INBOX (\\Draft) {6+}\r\na: b\r\n").await;
            return;
        }
        let (a, b) = (self.random(count) + 1, self.random(count) + 1);
        let (first, last) = (a.min(b), a.max(b).min(a.min(b) + 3));
        let flag = FLAGS[self.random(FLAGS.len())];
        match choice {
            1..=4 => {
                let add = self.random(2) == 0;
                let sign = if add { '+' } else { '-' };
                let answer = self
                    .client_store(
                        &format!("STORE {first}:{last} {sign}FLAGS.SILENT ({flag})"),
                        first,
                        last,
                        flag,
                        add,
                    )
                    .await;
                assert!(
                    answer.tagged.starts_with("OK") || answer.tagged.starts_with("NO [EXPUNGEISSUED]"),
                    "{answer:?}"
                );
            }
            5 => {
                self.run(&format!("STORE {first}:{last} +FLAGS ({flag})")).await;
            }
            6 => {
                self.run(&format!("FETCH {first}:{last} (BODY[TEXT])")).await;
            }
            7 => {
                self.run("EXPUNGE").await;
            }
            8 => {
                self.run(&format!("COPY {first}:{last} INBOX")).await;
            }
            9 => {
                self.run(&format!("MOVE {first} INBOX")).await;
            }
            10 => {
                let answer = self.run("SEARCH ALL").await;
                assert!(answer.tagged.starts_with("OK"), "{answer:?}");
            }
            _ => self.run_noop().await,
        }
    }

    /// A silent STORE: what the client did it takes as done before it hears of what others did.
    async fn client_store(
        &mut self,
        command: &str,
        first: usize,
        last: usize,
        flag: &str,
        add: bool,
    ) -> Answer {
        for known in &mut self.picture[first - 1..last] {
            let flags = known.flags.as_mut().expect("flags are fetched");
            if add {
                flags.insert(flag.to_owned())
            } else {
                flags.remove(flag)
            };
        }
        self.run(command).await
    }

    /// The picture when all has been told.
    async fn settle(&mut self) -> Vec<Known> {
        self.learn().await;
        self.run_noop().await;
        self.learn().await;
        self.picture.clone()
    }
}

async fn round(seed: u64) {
    let server = TestServer::start().await;
    let mut filler = server.login().await;
    for _ in 0..12 {
        filler.append("INBOX", b"a: b\r\n\r\nc").await;
    }
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let mut careful = Careful::new(&server, number % 2 == 1, seed * 31 + number as u64 + 1).await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..COMMANDS {
                careful.step().await;
            }
            careful
        }));
    }
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(task.await.expect("no panic"));
    }
    let mut witness = Careful::new(&server, false, 1).await;
    let expected = witness.settle().await;
    assert!(expected.iter().all(|known| known.uid.is_some() && known.flags.is_some()));
    for (number, client) in clients.iter_mut().enumerate() {
        let picture = client.settle().await;
        assert_eq!(picture, expected, "client {number}, seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_is_the_mailbox() {
    for seed in 1..=4 {
        round(seed).await;
    }
}
