//! What clients should not do to a server: malformed input, not reading, and very large messages. Nobody else may
//! notice, and memory stays within bounds.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use conformance::client::{Client, ClientError};
use conformance::malformed::{self, Chance};
use conformance::server::{Options, Server, User};

/// Malformed inputs altogether; the connections share them.
const INPUTS: usize = 10_000;
const CONNECTIONS: usize = 4;
/// Growth of resident memory allowed over all malformed input, octets. A leak of a few kB an input would break it.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// More than any literal that a server takes unasked beside LITERAL- (RFC 7888 §5), and than a line may be long.
const OWED_BYTES_MAX: u64 = 100_000;

#[test]
fn malformed_input_hurts_nobody() {
    let mut server =
        Server::start(&Options { accounts: CONNECTIONS as u32 + 1, ..Options::default() }).expect("a server");
    let users: Vec<User> = (0..CONNECTIONS).map(|_| server.fresh_user()).collect();
    let witness_user = server.fresh_user();
    prepare(&server, &witness_user);
    for user in &users {
        prepare(&server, user);
    }
    // One round to warm the server up: what it allocates once is no leak.
    bend(&server, &users[0], 0, INPUTS / 20);
    let before = server.resident_bytes().expect("memory");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = &server;
        let witness = scope.spawn(|| watch(server, &witness_user, &done));
        let workers: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(at, user)| scope.spawn(move || bend(server, user, 1 + at as u64, INPUTS / CONNECTIONS)))
            .collect();
        let outcomes: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let rounds = witness.join().expect("the witness was not hurt");
        for outcome in outcomes {
            outcome.expect("every input was answered");
        }
        println!("the witness went {rounds} rounds meanwhile");
        assert!(rounds > 0);
    });
    assert!(server.is_alive(), "{}", server.log());
    let after = server.resident_bytes().expect("memory");
    println!("memory before {} MiB, after {} MiB", before >> 20, after >> 20);
    assert!(after < before + GROWTH_BYTES_MAX, "memory grew from {before} to {after}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn prepare(server: &Server, user: &User) {
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("CREATE box").expect("CREATE");
    let (_, tagged) = client.literal("APPEND box", WITNESS, "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK");
}

const WITNESS: &[u8] = b"Subject: witness\r\n\r\nStill the same.\r\n";

/// A session that must not notice anything: its answers are right all the while.
fn watch(server: &Server, user: &User, done: &AtomicBool) -> usize {
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("SELECT box").expect("SELECT");
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        let (untagged, _) = client.expect_ok("FETCH 1 BODY.PEEK[]").expect("FETCH");
        let fetched = untagged.iter().find(|response| response.kind() == "FETCH").expect("a FETCH");
        assert!(fetched.octets.windows(WITNESS.len()).any(|window| window == WITNESS));
        let flags = if rounds % 2 == 0 { "+FLAGS" } else { "-FLAGS" };
        client.expect_ok(&format!("STORE 1 {flags} (\\Flagged)")).expect("STORE");
        client.expect_ok("NOOP").expect("NOOP");
        rounds += 1;
    }
    rounds
}

/// Sends malformed inputs, and after each finds the server still talking; opens a new connection when it hung up.
fn bend(server: &Server, user: &User, seed: u64, inputs: usize) {
    let mut chance = Chance::new(seed);
    let mut client: Option<Client> = None;
    for number in 0..inputs {
        if client.is_none() {
            let mut fresh = Client::connect(server.imap, "").expect("connect");
            fresh.response().expect("greeting");
            // A third of the connections stays outside, a third is logged in, a third has selected.
            let depth = chance.below(3);
            if depth > 0 {
                fresh.expect_ok(&format!("LOGIN {} \"{}\"", user.name, user.password)).expect("LOGIN");
            }
            if depth > 1 {
                // An earlier input may have taken the mailbox away.
                fresh.command("SELECT box").expect("an answer");
            }
            client = Some(fresh);
        }
        let input = malformed::next(&mut chance, &format!("m{number}"));
        let Some(connection) = client.as_mut() else { continue };
        let outcome = one(connection, &input, number);
        match outcome {
            Ok(true) => {}
            Ok(false) | Err(ClientError::Closed) => client = None,
            Err(error) if is_closed(&error) => client = None,
            Err(error) => panic!(
                "seed {seed}, input {number}: {error}\n{:?}\n{}",
                conformance::client::show(&input.octets[..input.octets.len().min(400)]),
                tail(connection)
            ),
        }
    }
}

/// The end of what was said, long lines cut.
fn tail(client: &Client) -> String {
    let log = client.log();
    let lines =
        log[log.len().saturating_sub(12)..].iter().map(|line| line.chars().take(300).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn is_closed(error: &ClientError) -> bool {
    matches!(error, ClientError::Io(error)
        if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted))
}

/// Whether the connection can be used further.
fn one(client: &mut Client, input: &malformed::Malformed, number: usize) -> Result<bool, ClientError> {
    client.send(&input.octets)?;
    match input.owed {
        Some(owed) if owed > OWED_BYTES_MAX => return Ok(false),
        Some(owed) => {
            let mut owed = vec![b'o'; owed as usize];
            owed.extend_from_slice(b"\r\n");
            client.send(&owed)?;
        }
        None => {}
    }
    let sync = format!("s{number}");
    let noop = format!("{sync} NOOP\r\n");
    client.send(noop.as_bytes())?;
    // A continuation is answered with more than any literal that may be waited for here, and another NOOP.
    for _ in 0..4 {
        loop {
            let response = client.response()?;
            if response.tag() == sync.as_bytes() {
                return Ok(true);
            }
            if response.kind() == "BYE" {
                return Ok(false);
            }
            if response.tag() == b"+" {
                break;
            }
        }
        if announced(&input.octets).is_some_and(|announced| announced > OWED_BYTES_MAX) {
            return Ok(false);
        }
        let mut more = vec![b'x'; OWED_BYTES_MAX as usize];
        more.extend_from_slice(b"\r\n");
        more.extend_from_slice(noop.as_bytes());
        client.send(&more)?;
    }
    Ok(false)
}

/// What a line that ends in `{n}` announces.
fn announced(line: &[u8]) -> Option<u64> {
    let inside = line.strip_suffix(b"}\r\n")?;
    let open = inside.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(&inside[open + 1..]).ok()?.parse().ok()
}

/// A client that asks for much and reads nothing: the server holds a bounded piece of the answer, no more.
#[test]
fn a_client_that_does_not_read_is_not_waited_for_in_memory() {
    /// What sockets, chunks in flight and caches may take, octets; what is asked for is a hundred times more.
    const HELD_BYTES_MAX: u64 = 96 << 20;
    let mut server = Server::start(&Options { accounts: 2, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("CREATE box").expect("CREATE");
    let message = [b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(100_000)].concat();
    for _ in 0..20 {
        let (_, tagged) = client.literal("APPEND box", &message, "").expect("APPEND");
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    }
    client.expect_ok("SELECT box").expect("SELECT");
    // Once with reading, so that caches are filled.
    client.expect_ok("FETCH 1:* BODY.PEEK[]").expect("FETCH");
    let before = server.resident_bytes().expect("memory");
    let socket = client.socket();
    socket.set_nonblocking(true).expect("a socket");
    let mut writer = socket;
    let mut asked = 0;
    // Asks until the server takes no more, which is the back-pressure that is wanted, or enough was asked for.
    for number in 0..300 {
        match writer.write(format!("f{number} FETCH 1:* BODY.PEEK[]\r\n").as_bytes()) {
            Ok(_) => asked += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    // Another session does its work meanwhile; its round trips are the clock.
    let other = server.fresh_user();
    let mut witness = Client::login(server.imap, &other.name, &other.password).expect("a session");
    witness.expect_ok("CREATE box").expect("CREATE");
    let mut most = before;
    for _ in 0..200 {
        let (_, tagged) = witness.literal("APPEND box", WITNESS, "").expect("APPEND");
        assert_eq!(tagged.kind(), "OK");
        most = most.max(server.resident_bytes().expect("memory"));
    }
    println!("asked {asked} times for 36 MB; memory before {} MiB, at most {} MiB", before >> 20, most >> 20);
    assert!(most < before + HELD_BYTES_MAX, "memory grew from {before} to {most}");
    assert!(server.is_alive(), "{}", server.log());
}

/// 100 MB through APPEND and back through FETCH, octet for octet, with the server's memory near flat.
///
/// What grows are the engine's write tables, which any 64 MiB of writes fill, in whatever pieces; the caches are made
/// small here. Beside those a message held whole would break the bound; the second finds the tables full already.
#[test]
fn a_large_message_streams() {
    const LARGE_BYTES: usize = 100_000_000;
    const TABLES_BYTES: u64 = 64 << 20;
    // Tables being written out, journal buffers, and what the allocator keeps of them.
    const SLACK_BYTES: u64 = 96 << 20;
    let cache = |name: &str| (format!("MSS_CACHE__{name}_BYTES"), (8 << 20).to_string());
    let settings = vec![cache("ENGINE"), cache("BODY"), cache("FOLDER")];
    let server = Server::start(&Options { accounts: 1, settings, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("CREATE box").expect("CREATE");
    let mut message = b"Subject: very large\r\nContent-Type: application/octet-stream\r\n\r\n".to_vec();
    let mut chance = Chance::new(1);
    while message.len() < LARGE_BYTES {
        for _ in 0..9 {
            message.extend(format!("{:016x}", chance.draw()).bytes());
        }
        message.extend_from_slice(b"\r\n");
    }
    client.expect_ok("SELECT box").expect("SELECT");
    let start = server.resident_bytes().expect("memory");
    let mut peaks = Vec::new();
    for number in 1..=2 {
        reset_peak(&server);
        let (_, tagged) = client.literal("APPEND box", &message, "").expect("APPEND");
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        let append_peak = peak_bytes(&server);
        client.expect_ok("NOOP").expect("NOOP");
        reset_peak(&server);
        let (untagged, _) = client.expect_ok(&format!("FETCH {number} BODY.PEEK[]")).expect("FETCH");
        let fetch_peak = peak_bytes(&server);
        let fetched = untagged.iter().find(|response| response.kind() == "FETCH").expect("a FETCH");
        let from = fetched.octets.windows(9).position(|window| window == b"Subject: ").expect("the message");
        assert!(fetched.octets[from..].starts_with(&message), "other octets came back");
        println!(
            "message {number}: memory at the start {} MiB, peak of APPEND {} MiB, of FETCH {} MiB",
            start >> 20,
            append_peak >> 20,
            fetch_peak >> 20
        );
        peaks.push(append_peak.max(fetch_peak));
    }
    assert!(peaks.iter().all(|peak| *peak < start + TABLES_BYTES + SLACK_BYTES), "{start} to {peaks:?}");
}

/// Lets the kernel forget the peak of resident memory so far (`proc(5)`, clear_refs).
fn reset_peak(server: &Server) {
    let pid = server.pid().expect("a process");
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("clear_refs");
}

fn peak_bytes(server: &Server) -> u64 {
    let pid = server.pid().expect("a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024
}
