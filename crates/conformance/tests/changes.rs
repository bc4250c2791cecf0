//! XCPMCHANGES while others write to many mailboxes through two front ends, and all of it is killed again and again: a
//! client that holds a token and what it was told ends with what is true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conformance::client::{Client, Response, patience};
use conformance::server::{Layout, Options, Server, User};

const ITEMS: &str = "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ MAILBOXID)";
const WRITERS: usize = 4;
const KILLS: usize = 3;

/// What stands in the parentheses after `word`.
fn within<'a>(line: &'a str, word: &str) -> &'a str {
    let rest = line.split_once(word).map_or("", |(_, rest)| rest);
    rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inner, _)| inner)
}

/// STATUS responses by MAILBOXID.
fn by_id(lines: &[Response]) -> BTreeMap<String, String> {
    let lines = lines.iter().map(Response::text).filter(|line| line.starts_with("* STATUS "));
    lines.map(|line| (within(&line, "MAILBOXID").to_owned(), line)).collect()
}

/// A connection, as soon as the servers are there again.
fn connect(front: SocketAddr, user: &User) -> Client {
    let began = Instant::now();
    loop {
        match Client::login(front, &user.name, &user.password) {
            Ok(client) => return client,
            Err(error) if began.elapsed() > patience() => panic!("no login: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What a client knows: the last STATUS of each mailbox.
#[derive(Default)]
struct Mirror {
    token: String,
    mailboxes: BTreeMap<String, String>,
    asked: usize,
    began_anew: usize,
}

impl Mirror {
    /// Asks what changed. An answer that does not come to its end says nothing; whether it did.
    fn ask(&mut self, client: &mut Client) -> bool {
        let since = if self.token.is_empty() { "NIL".to_owned() } else { format!("\"{}\"", self.token) };
        let Ok((lines, tagged)) = client.command(&format!("XCPMCHANGES {since}")) else { return false };
        if tagged.kind() != "OK" {
            return false;
        }
        self.asked += 1;
        let said: Vec<String> = lines.iter().map(Response::text).collect();
        if said.iter().any(|line| line.contains("[XCPM-RESYNC]")) {
            self.began_anew += 1;
            self.mailboxes.clear();
        }
        for line in said.iter().filter(|line| line.starts_with("* XCPMCHANGES GONE ")) {
            for id in within(line, "GONE").split(' ') {
                self.mailboxes.remove(id);
            }
        }
        self.mailboxes.extend(by_id(&lines));
        let text = tagged.text();
        let token = text.split_once("XCPM-TOKEN \"").and_then(|(_, rest)| rest.split_once('"'));
        token.expect("a token").0.clone_into(&mut self.token);
        true
    }
}

/// Appends, marks as read, makes, renames and deletes mailboxes, until it is stopped; comes again when it is cut off.
fn writer(number: usize, front: SocketAddr, user: User, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut step = 0usize;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut client) = Client::login(front, &user.name, &user.password) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            step += 1;
            let folder = ["INBOX", "Default", "shared", "other"][(number + step) % 4];
            let own = format!("own{number}-{}", step / 9);
            let result = match step % 9 {
                0 => client.command(&format!("CREATE {own}")).map(drop),
                4 => client.command(&format!("RENAME {own} {own}-renamed")).map(drop),
                // One in three stays.
                8 if step % 27 != 8 => client.command(&format!("DELETE {own}-renamed")).map(drop),
                3 | 6 => client
                    .command(&format!("SELECT {folder}"))
                    .and_then(|_| client.command("STORE 1:* +FLAGS.SILENT (\\Seen)"))
                    .map(drop),
                _ => client.literal(&format!("APPEND {folder}"), b"Subject: x\r\n\r\nx\r\n", "").map(drop),
            };
            if result.is_err() {
                break;
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn nothing_is_missed_between_tokens_whoever_writes_and_whatever_dies() {
    let options = Options { layout: Layout::Apart { fronts: 2 }, accounts: 1, ..Options::default() };
    let mut server = Server::start(&options).expect("a server");
    let user = server.fresh_user();
    let mut client = connect(server.front(0), &user);
    for folder in ["shared", "other"] {
        client.expect_ok(&format!("CREATE {folder}")).expect("CREATE");
    }
    let mut mirror = Mirror::default();
    assert!(mirror.ask(&mut client), "the first answer");
    assert_eq!(mirror.mailboxes.len(), 5);
    for kill in 0..KILLS {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writers: Vec<JoinHandle<()>> = (0..WRITERS)
            .map(|number| {
                let (front, user) = (server.front(number), user.clone());
                let (stop, done) = (stop.clone(), done.clone());
                std::thread::spawn(move || writer(kill * WRITERS + number, front, user, stop, done))
            })
            .collect();
        // While they write, now at one front end, now at the other.
        let began = Instant::now();
        let mut asked = 0;
        while asked < 20 || done.load(Ordering::SeqCst) < 60 {
            assert!(began.elapsed() < patience(), "the writers came to {}", done.load(Ordering::SeqCst));
            let mut client = connect(server.front(asked), &user);
            assert!(mirror.ask(&mut client), "an answer while others write");
            asked += 1;
        }
        server.kill();
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().expect("a writer");
        }
        server.restart().expect("again");
        // What is true now: the state after all that was answered, and after what was not, if it happened.
        let began = Instant::now();
        let is = loop {
            let mut client = connect(server.front(kill), &user);
            if mirror.ask(&mut client) {
                let list = format!("LIST \"\" * RETURN (STATUS {ITEMS})");
                break by_id(&client.expect_ok(&list).expect("LIST").0);
            }
            assert!(began.elapsed() < patience(), "no answer after the kill");
        };
        assert_eq!(mirror.mailboxes, is, "after kill {kill}, {} answers", mirror.asked);
    }
    assert_eq!(mirror.began_anew, 0, "every token was good for what came after it");
}
