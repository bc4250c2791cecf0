//! Storage node and front ends as processes: what they say of themselves, and that each can be replaced under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conformance::client::{Client, ClientError, Response, patience, quote};
use conformance::process::Process;
use conformance::server::{Layout, Options, Server, User, binary};

/// Front ends over one storage node, without the time that load balancers are given.
fn server(accounts: u32) -> Server {
    let settings = [("MSS_FRONT__GRACE_SECONDS", "0")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let options = Options { layout: Layout::Apart { fronts: 2 }, settings, accounts, ..Options::default() };
    Server::start(&options).expect("a server")
}

/// The status code of a GET.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience()))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_ready(process: &Process) -> bool {
    let admin = process.address("admin").expect("an admin port");
    get(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience(), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn mss(arguments: &[&str]) -> Output {
    Command::new(binary().expect("the binary")).args(arguments).output().expect("mss runs")
}

#[test]
fn readiness_and_status_tell_the_truth() {
    let mut server = server(1);
    let url = format!("http://{}", server.stores[0].address("rpc").expect("a listener"));
    assert!(is_ready(&server.stores[0]) && is_ready(&server.fronts[0]) && is_ready(&server.fronts[1]));
    let status = mss(&["cluster", "status", "--store", &url]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && said.contains("serving") && said.contains("4096"), "{said}");
    let admin = server.stores[0].address("admin").expect("an admin port");
    let metrics = get(admin, "/metrics").expect("metrics");
    assert!(metrics.contains("mss_cluster_partitions_owned 4096"), "{metrics}");
    assert!(metrics.contains("mss_cluster_nodes{state=\"serving\"} 1"), "{metrics}");

    server.stores[0].kill();
    until("front ends know that no storage node is there", || {
        !is_ready(&server.fronts[0]) && !is_ready(&server.fronts[1])
    });
    let status = mss(&["cluster", "status", "--store", &url]);
    assert_eq!(status.status.code(), Some(1), "{}", String::from_utf8_lossy(&status.stderr));
    server.stores[0].restart().expect("it starts again");
    until("front ends find it again", || is_ready(&server.fronts[0]) && is_ready(&server.fronts[1]));
}

/// One sentence and exit code 1, not a hang and not a port open to everybody.
#[test]
fn what_cannot_work_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    let data = data.path().display().to_string();
    for (arguments, says) in [
        (vec!["store", "--rpc", "0.0.0.0:0", "--admin", "", "--data", &data], "rpc_tls"),
        (vec!["imap", "--store", "http://192.0.2.1:7143", "--imap", "127.0.0.1:0", "--admin", ""], "https"),
        (vec!["imap", "--store", "nowhere", "--imap", "127.0.0.1:0", "--admin", ""], "front.store"),
    ] {
        let output = mss(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.lines().last().is_some_and(|line| line.contains(says)), "{arguments:?}: {said}");
    }
}

/// A URL signed at one front end is worth the same at the other, to whom it is for, and is revoked at both.
#[test]
fn s2_07_references_work_on_every_front_end() {
    let server = server(2);
    let (owner, reader) = (server.fresh_user(), server.fresh_user());
    let login = |user: &User, number| {
        Client::login(server.front(number), &user.name, &user.password).expect("a session")
    };
    let mut here = login(&owner, 0);
    let mut there = login(&reader, 1);
    let (_, tagged) = here.literal("APPEND INBOX", b"Subject: shown\r\n\r\nbody\r\n", "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    let encoded = |user: &User| user.name.replace(':', "%3A");
    let rump = format!("imap://{}@h/INBOX/;UID=1;URLAUTH=user+{}", encoded(&owner), encoded(&reader));
    let (said, _) = here.expect_ok(&format!("GENURLAUTH {} INTERNAL", quote(&rump))).expect("GENURLAUTH");
    let said = said.iter().find(|line| line.kind() == "GENURLAUTH").expect("a URL").text();
    let url = said.split('"').nth(1).expect("a quoted URL").to_owned();
    let token = url.strip_prefix(&rump).and_then(|rest| rest.strip_prefix(":INTERNAL:")).expect("a token");
    assert_eq!(token.len(), 66);
    let reads = |client: &mut Client, url: &str| {
        let (said, _) = client.expect_ok(&format!("URLFETCH {}", quote(url))).expect("URLFETCH");
        let said: String = said.iter().map(Response::text).collect();
        assert!(said.contains("body") != said.contains("NIL"), "{said}");
        said.contains("body")
    };
    assert!(reads(&mut there, &url) && !reads(&mut here, &url));
    let mut third = login(&reader, 0);
    assert!(reads(&mut third, &url));
    for at in 0..token.len() {
        let at = url.len() - token.len() + at;
        let digit = u8::from_str_radix(&url[at..=at], 16).expect("a digit");
        let forged = format!("{}{:x}{}", &url[..at], digit ^ 1, &url[at + 1..]);
        assert!(!reads(&mut there, &forged), "{forged}");
    }
    here.expect_ok("RESETKEY INBOX").expect("RESETKEY");
    assert!(!reads(&mut there, &url) && !reads(&mut third, &url));
}

/// What one front end is told, the other knows, and tells who waits there; also after the storage node died.
#[test]
fn news_cross_front_ends() {
    let mut server = server(1);
    let user = server.fresh_user();
    let login = |server: &Server, number| {
        Client::login(server.front(number), &user.name, &user.password).expect("a session")
    };
    let mut watcher = login(&server, 0);
    watcher.expect_ok("SELECT INBOX").expect("SELECT");
    watcher.send(b"i IDLE\r\n").expect("sent");
    while watcher.response().expect("a continuation").tag() != b"+" {}
    for number in 1..=6 {
        if number == 4 {
            server.stores[0].kill();
            server.stores[0].restart().expect("it starts again");
        }
        let mut other = login(&server, 1);
        let (_, tagged) = other.literal("APPEND INBOX", b"Subject: x\r\n\r\nx\r\n", "").expect("APPEND");
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        loop {
            let response = watcher.response().expect("a notice");
            if response.kind() == "EXISTS" && response.number() == Some(number) {
                break;
            }
        }
    }
}

/// A client as phones are: connects again, to the next front end, when its connection ends; commands must not fail.
fn phone(server: &Addresses, user: &User, number: usize, stop: &AtomicBool, done: &AtomicUsize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let mut session = || -> Result<(), ClientError> {
            let mut client = Client::connect(server.0[turn % server.0.len()], "")?;
            client.response()?;
            client.expect_ok(&format!("LOGIN {} {}", quote(&user.name), quote(&user.password)))?;
            client.expect_ok("SELECT INBOX")?;
            while !stop.load(Ordering::Relaxed) {
                let text = format!("Subject: {number}\r\n\r\n{number}\r\n");
                let (_, tagged) = client.literal("APPEND INBOX", text.as_bytes(), "")?;
                if tagged.kind() != "OK" {
                    return Err(ClientError::Refused(tagged.text()));
                }
                outcome.appended += 1;
                client.expect_ok("FETCH * (UID FLAGS BODY.PEEK[])")?;
                client.expect_ok("STORE * +FLAGS (\\Seen)")?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        match session() {
            Ok(()) => {}
            Err(ClientError::Io(_) | ClientError::Closed) => {
                outcome.reconnects += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(ClientError::Refused(text)) if text.contains("BYE") => outcome.reconnects += 1,
            Err(error) => outcome.failures.push(error.to_string()),
        }
    }
    outcome
}

struct Addresses(Vec<SocketAddr>);

#[derive(Default)]
struct Outcome {
    appended: usize,
    reconnects: usize,
    failures: Vec<String>,
}

/// Restarts each process in turn, as an upgrade does, while phones work. No command fails; what was appended is there.
#[test]
fn a_rolling_restart_fails_no_command() {
    const PHONES: u32 = 6;
    let mut server = server(PHONES);
    let users: Vec<User> = (0..PHONES).map(|_| server.fresh_user()).collect();
    let addresses = Addresses(vec![server.front(0), server.front(1)]);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = |rounds: usize| {
        let wanted = done.load(Ordering::Relaxed) + rounds;
        until("the phones go on", || done.load(Ordering::Relaxed) >= wanted);
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let phones: Vec<_> = (0..)
            .zip(&users)
            .map(|(number, user)| {
                let (addresses, stop, done) = (&addresses, &stop, &done);
                scope.spawn(move || phone(addresses, user, number, stop, done))
            })
            .collect();
        for round in 0..2 {
            more(30);
            for front in &mut server.fronts {
                front.terminate().expect("it drains and ends");
                more(10);
                front.restart().expect("it starts again");
                more(10);
            }
            server.stores[0].terminate().expect("it drains and ends");
            server.stores[0].restart().expect("it starts again");
            more(30);
            println!("round {round} done");
        }
        stop.store(true, Ordering::Relaxed);
        phones.into_iter().map(|phone| phone.join().expect("a phone")).collect()
    });
    for (outcome, user) in outcomes.iter().zip(&users) {
        assert!(outcome.failures.is_empty(), "{:?}\n{}", outcome.failures, server.log());
        let mut client = Client::login(server.front(0), &user.name, &user.password).expect("a session");
        let (untagged, _) = client.expect_ok("SELECT INBOX").expect("SELECT");
        let held =
            untagged.iter().find(|r| r.kind() == "EXISTS").and_then(Response::number).unwrap_or(0) as usize;
        assert!(held >= outcome.appended, "{held} of {} are left", outcome.appended);
        assert!(held <= outcome.appended + outcome.reconnects, "{held} for {}", outcome.appended);
    }
    let reconnects: usize = outcomes.iter().map(|outcome| outcome.reconnects).sum();
    println!("{} rounds, {reconnects} reconnects", done.load(Ordering::Relaxed));
    assert!(!server.log().contains("panicked") && !server.log().contains("cut off"), "{}", server.log());
}
