//! Accounts between two faults: what they held, and what they must hold now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use conformance::client::Client;
use conformance::pattern::number_set;
use conformance::server::User;
use conformance::value::Value;

use crate::record::{Held, MAILBOXES, Place, Record, code, compare, flags, holdings, item, number, octets};
use crate::worker::appended_uid;

/// What one account was like after the round before.
#[derive(Default, Clone)]
pub struct Account {
    /// One for each worker.
    pub records: Vec<Record>,
    held: [Held; 2],
    /// Whatever was ever seen under a UID.
    ever: [BTreeMap<u32, String>; 2],
}

impl Account {
    /// A new account with empty mailboxes.
    pub fn prepare(address: SocketAddr, user: &User, workers: usize) -> Self {
        let mut account = Self { records: vec![Record::default(); workers], ..Self::default() };
        let mut client = Client::login(address, &user.name, &user.password).expect("a session");
        for (at, mailbox) in MAILBOXES.iter().enumerate() {
            client.expect_ok(&format!("CREATE {mailbox}")).expect("CREATE");
            account.held[at] = holdings(&mut client, at);
        }
        account
    }
}

/// Everything that was answered is there, and nothing else (promises 1, 2 and 4).
pub fn check(address: SocketAddr, user: &User, account: &mut Account) -> Result<(), String> {
    let mut client = Client::login(address, &user.name, &user.password).map_err(|error| error.to_string())?;
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
        resync(address, user, at, before, now)?;
    }
    account.held = held;
    Ok(())
}

/// Promise 4: from the state before, QRESYNC leads to exactly the state now.
fn resync(address: SocketAddr, user: &User, mailbox: usize, before: &Held, now: &Held) -> Result<(), String> {
    let mut client = Client::login(address, &user.name, &user.password).map_err(|error| error.to_string())?;
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

/// Promise 5: a session that waits at one address hears of what another does at the other.
pub fn notices_come([here, there]: [SocketAddr; 2], user: &User, account: &mut Account, name: String) {
    let mut watcher = Client::login(here, &user.name, &user.password).expect("a session");
    watcher.expect_ok("SELECT left").expect("SELECT");
    watcher.send(b"i IDLE\r\n").expect("sent");
    while watcher.response().expect("a continuation").tag() != b"+" {}
    let mut other = Client::login(there, &user.name, &user.password).expect("a session");
    let (_, tagged) = other.literal("APPEND left", &octets(&name), "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    let uid = appended_uid(&tagged);
    let wanted = account.records.iter().flat_map(|record| record.places.values());
    let wanted = wanted.filter(|place| place.mailbox == 0).count() as u64 + 1;
    loop {
        let response = watcher.response().expect("a notice within the time that is patience");
        if response.kind() == "EXISTS" && response.number() == Some(wanted) {
            break;
        }
    }
    let place = Place { mailbox: 0, uid: Some(uid), flags: BTreeSet::new() };
    account.records[0].places.insert(name, place);
}
