//! SIGKILL at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use conformance::client::{Client, ClientError, Response, patience};
use conformance::malformed::Chance;
use conformance::pattern::number_set;
use conformance::server::{Options, Server, User};
use conformance::value::Value;

use crate::record::{Held, MAILBOXES, Place, Record, code, compare, flags, holdings, item, number, octets};

/// Kills without `MSS_KILL_ROUNDS`; the long form is 100.
const ROUNDS: usize = 8;
const ACCOUNTS: usize = 3;
const WORKERS_PER_ACCOUNT: usize = 4;
/// Most answers between two kills.
const ANSWERS_MAX: usize = 600;

/// Answers given since the start of a round; the killer waits for a number of them.
#[derive(Default)]
struct Answers {
    count: Mutex<usize>,
    more: Condvar,
}

impl Answers {
    fn another(&self) {
        *self.count.lock().expect("no thread panics with it") += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, wanted: usize) {
        let count = self.count.lock().expect("no thread panics with it");
        let (count, timeout) = self
            .more
            .wait_timeout_while(count, patience(), |count| *count < wanted)
            .expect("no thread panics with it");
        assert!(!timeout.timed_out(), "only {} of {wanted} answers came", *count);
    }
}

/// What one account was like after the round before.
#[derive(Default, Clone)]
struct Account {
    records: Vec<Record>,
    held: [Held; 2],
    /// Whatever was ever seen under a UID.
    ever: [BTreeMap<u32, String>; 2],
}

#[test]
fn what_was_answered_survives_kills() {
    let rounds = std::env::var("MSS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let seed = std::env::var("MSS_KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut chance = Chance::new(seed);
    let mut server =
        Server::start(&Options { accounts: ACCOUNTS as u32, ..Options::default() }).expect("a server");
    let users: Vec<User> = (0..ACCOUNTS).map(|_| server.fresh_user()).collect();
    let mut accounts = vec![Account::default(); ACCOUNTS];
    for (user, account) in users.iter().zip(&mut accounts) {
        let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
        for (at, mailbox) in MAILBOXES.iter().enumerate() {
            client.expect_ok(&format!("CREATE {mailbox}")).expect("CREATE");
            account.held[at] = holdings(&mut client, at);
        }
        account.records = vec![Record::default(); WORKERS_PER_ACCOUNT];
    }
    let mut answered = 0;
    for round in 0..rounds {
        let answers = Answers::default();
        let wanted = 1 + chance.below(ANSWERS_MAX);
        let kill_jitter = chance.below(200_000);
        let address = server.imap;
        let names = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let mut workers = Vec::new();
            for (at, (account, user)) in accounts.iter_mut().zip(&users).enumerate() {
                for (number, record) in account.records.iter_mut().enumerate() {
                    let prefix = format!("r{round}a{at}w{number}");
                    let chance = Chance::new(chance.draw());
                    let (answers, names) = (&answers, &names);
                    workers.push(scope.spawn(move || {
                        let mut worker = Worker { address, user, record, chance, answers, names, prefix };
                        worker.run()
                    }));
                }
            }
            answers.wait_for(wanted);
            // A moment that no answer is the signal for.
            for _ in 0..kill_jitter {
                std::hint::spin_loop();
            }
            server.kill();
            for worker in workers {
                let error = worker.join().expect("the worker");
                assert!(matches!(error, ClientError::Closed | ClientError::Io(_)), "round {round}: {error}");
            }
        });
        answered += *answers.count.lock().expect("no thread is left");
        server.restart().unwrap_or_else(|error| panic!("round {round}, seed {seed}: {error}"));
        for (user, account) in users.iter().zip(&mut accounts) {
            check(&server, user, account).unwrap_or_else(|why| {
                panic!("round {round}, seed {seed}, {}: {why}\n{}", user.name, server.log())
            });
        }
        notices_come(&server, &users[round % ACCOUNTS], &mut accounts[round % ACCOUNTS], round);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    println!("{rounds} kills, {answered} answers");
}

fn check(server: &Server, user: &User, account: &mut Account) -> Result<(), String> {
    let mut client =
        Client::login(server.imap, &user.name, &user.password).map_err(|error| error.to_string())?;
    let held = [holdings(&mut client, 0), holdings(&mut client, 1)];
    compare(&mut account.records, &held)?;
    for (at, name) in MAILBOXES.iter().enumerate() {
        let (before, now) = (&account.held[at], &held[at]);
        if now.validity != before.validity {
            return Err(format!("{name}: UIDVALIDITY {} became {}", before.validity, now.validity));
        }
        if now.uidnext < before.uidnext || now.modseq < before.modseq {
            return Err(format!("{name}: UIDNEXT or HIGHESTMODSEQ went back: {before:?} to {now:?}"));
        }
        for (uid, (message, _)) in &now.messages {
            if *uid < before.uidnext && !before.messages.contains_key(uid) {
                return Err(format!("{name}: UID {uid} came below UIDNEXT {}", before.uidnext));
            }
            match account.ever[at].insert(*uid, message.clone()) {
                Some(other) if other != *message => {
                    return Err(format!("{name}: UID {uid} was {other}, and is {message}"));
                }
                _ => {}
            }
        }
        resync(server, user, at, before, now)?;
    }
    account.held = held;
    Ok(())
}

/// Promise 4: from the state before, QRESYNC leads to exactly the state now.
fn resync(server: &Server, user: &User, mailbox: usize, before: &Held, now: &Held) -> Result<(), String> {
    let mut client =
        Client::login(server.imap, &user.name, &user.password).map_err(|error| error.to_string())?;
    client.expect_ok("ENABLE QRESYNC").map_err(|error| error.to_string())?;
    let select = format!("SELECT {} (QRESYNC ({} {}))", MAILBOXES[mailbox], before.validity, before.modseq);
    let (untagged, _) = client.expect_ok(&select).map_err(|error| error.to_string())?;
    let mut mirror: BTreeMap<u32, BTreeSet<String>> =
        before.messages.iter().map(|(uid, (_, flags))| (*uid, flags.clone())).collect();
    for response in &untagged {
        match response.kind().as_str() {
            "VANISHED" => {
                let set = response.values.last().and_then(Value::octets).and_then(number_set);
                for uid in set.ok_or_else(|| format!("no set: {}", response.text()))? {
                    mirror.remove(&(uid as u32));
                }
            }
            "FETCH" => {
                let uid = item(response, "UID").and_then(number).ok_or_else(|| response.text())? as u32;
                mirror.insert(uid, flags(response));
            }
            _ => {}
        }
    }
    let wanted: BTreeMap<u32, BTreeSet<String>> =
        now.messages.iter().map(|(uid, (_, flags))| (*uid, flags.clone())).collect();
    if mirror != wanted {
        return Err(format!(
            "{}: QRESYNC from {} ends with {mirror:?}\nnot {wanted:?}",
            MAILBOXES[mailbox], before.modseq
        ));
    }
    if code(&untagged, "HIGHESTMODSEQ") != now.modseq {
        return Err(format!("{}: another HIGHESTMODSEQ for the same state", MAILBOXES[mailbox]));
    }
    Ok(())
}

/// Promise 5: after the restart a session that waits hears of what another does.
fn notices_come(server: &Server, user: &User, account: &mut Account, round: usize) {
    let mut watcher = Client::login(server.imap, &user.name, &user.password).expect("a session");
    watcher.expect_ok("SELECT left").expect("SELECT");
    watcher.send(b"i IDLE\r\n").expect("sent");
    while watcher.response().expect("a continuation").tag() != b"+" {}
    let mut other = Client::login(server.imap, &user.name, &user.password).expect("a session");
    let name = format!("notice{round}");
    let (_, tagged) = other.literal("APPEND left", &octets(&name), "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    let uid = appended_uid(&tagged);
    let wanted = account.held[0].messages.len() as u64 + 1;
    loop {
        let response = watcher.response().expect("a notice within the time that is patience");
        if response.kind() == "EXISTS" && response.number() == Some(wanted) {
            break;
        }
    }
    let place = Place { mailbox: 0, uid: Some(uid), flags: BTreeSet::new() };
    account.records[0].places.insert(name, place);
}

pub fn appended_uid(tagged: &Response) -> u32 {
    match tagged.values.get(2) {
        Some(Value::Code(code)) => code.get(2).and_then(number).expect("APPENDUID") as u32,
        _ => panic!("no APPENDUID: {}", tagged.text()),
    }
}

struct Worker<'a> {
    address: SocketAddr,
    user: &'a User,
    record: &'a mut Record,
    chance: Chance,
    answers: &'a Answers,
    names: &'a AtomicUsize,
    prefix: String,
}

impl Worker<'_> {
    /// Works until the connection breaks; the error that ended it.
    fn run(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.session() {
                return error;
            }
        }
    }

    /// A session on one of the mailboxes, some commands long.
    fn session(&mut self) -> Result<(), ClientError> {
        let mut client = Client::login(self.address, &self.user.name, &self.user.password)?;
        let mailbox = self.chance.below(2);
        client.expect_ok(&format!("SELECT {} (CONDSTORE)", MAILBOXES[mailbox]))?;
        for _ in 0..10 + self.chance.below(30) {
            let here: Vec<(String, Place)> = self
                .record
                .places
                .iter()
                .filter(|(_, place)| place.mailbox == mailbox)
                .map(|(name, place)| (name.clone(), place.clone()))
                .collect();
            let what = self.chance.below(10);
            if here.is_empty() || what < 5 {
                self.append(&mut client, mailbox)?;
            } else {
                let (name, place) = here[self.chance.below(here.len())].clone();
                match what {
                    5..=6 => self.flag(&mut client, name, place)?,
                    7..=8 => self.relocate(&mut client, name, place)?,
                    _ => self.expunge(&mut client, name, place)?,
                }
            }
            self.answers.another();
        }
        Ok(())
    }

    fn append(&mut self, client: &mut Client, mailbox: usize) -> Result<(), ClientError> {
        let name = format!("{}n{}", self.prefix, self.names.fetch_add(1, Ordering::Relaxed));
        let flags: BTreeSet<String> =
            if self.chance.below(3) == 0 { ["\\Seen".to_owned()].into() } else { BTreeSet::new() };
        let place = Place { mailbox, uid: None, flags };
        self.record.in_doubt = Some((name.clone(), vec![None, Some(place.clone())]));
        let list: Vec<&str> = place.flags.iter().map(String::as_str).collect();
        let command = format!("APPEND {} ({})", MAILBOXES[mailbox], list.join(" "));
        let (_, tagged) = client.literal(&command, &octets(&name), "")?;
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        self.record.in_doubt = None;
        self.record.places.insert(name, Place { uid: Some(appended_uid(&tagged)), ..place });
        Ok(())
    }

    fn flag(&mut self, client: &mut Client, name: String, place: Place) -> Result<(), ClientError> {
        let flag = ["\\Flagged", "\\Answered", "$Kept"][self.chance.below(3)].to_owned();
        let mut after = place.clone();
        let sign = if after.flags.remove(&flag) { "-" } else { "+" };
        if sign == "+" {
            after.flags.insert(flag.clone());
        }
        self.record.in_doubt = Some((name.clone(), vec![Some(place.clone()), Some(after.clone())]));
        let uid = place.uid.unwrap_or_default();
        let (untagged, tagged) = client.command(&format!("UID STORE {uid} {sign}FLAGS ({flag})"))?;
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        for response in untagged.iter().filter(|response| response.kind() == "FETCH") {
            if let Some(modseq) = item(response, "MODSEQ").and_then(number) {
                let seen = &mut self.record.modseq[place.mailbox];
                *seen = (*seen).max(modseq);
            }
        }
        self.record.in_doubt = None;
        self.record.places.insert(name, after);
        Ok(())
    }

    fn relocate(&mut self, client: &mut Client, name: String, place: Place) -> Result<(), ClientError> {
        let after = Place { mailbox: 1 - place.mailbox, uid: None, flags: place.flags.clone() };
        self.record.in_doubt = Some((name.clone(), vec![Some(place.clone()), Some(after.clone())]));
        let uid = place.uid.unwrap_or_default();
        let (untagged, tagged) = client.command(&format!("UID MOVE {uid} {}", MAILBOXES[after.mailbox]))?;
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        let new = untagged.iter().chain([&tagged]).find_map(|response| match response.values.get(2) {
            Some(Value::Code(code)) if code.first()?.keyword()? == "COPYUID" => number(code.get(3)?),
            _ => None,
        });
        let new = new.expect("COPYUID of a message that is there") as u32;
        self.record.in_doubt = None;
        self.record.places.insert(name, Place { uid: Some(new), ..after });
        Ok(())
    }

    fn expunge(&mut self, client: &mut Client, name: String, place: Place) -> Result<(), ClientError> {
        let mut deleted = place.clone();
        deleted.flags.insert("\\Deleted".to_owned());
        let uid = place.uid.unwrap_or_default();
        self.record.in_doubt = Some((name.clone(), vec![Some(place), Some(deleted.clone())]));
        let (_, tagged) = client.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))?;
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        self.record.places.insert(name.clone(), deleted.clone());
        self.record.in_doubt = Some((name.clone(), vec![Some(deleted), None]));
        let (_, tagged) = client.command(&format!("UID EXPUNGE {uid}"))?;
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        self.record.in_doubt = None;
        self.record.places.remove(&name);
        Ok(())
    }
}
