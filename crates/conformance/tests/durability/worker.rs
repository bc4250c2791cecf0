//! Workers: sessions that change mailboxes and write down what was answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use conformance::client::{Client, ClientError, Response, patience};
use conformance::malformed::Chance;
use conformance::server::User;
use conformance::value::Value;

use crate::record::{MAILBOXES, Place, Record, item, number, octets};

/// Answers given since the start of a round; the killer waits for a number of them.
#[derive(Default)]
pub struct Answers {
    count: Mutex<usize>,
    more: Condvar,
}

impl Answers {
    /// One more came.
    pub fn another(&self) {
        *self.count.lock().expect("no thread panics with it") += 1;
        self.more.notify_all();
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *self.count.lock().expect("no thread panics with it")
    }

    /// Waits until there are so many. However slow the machine, some answer comes within the time that is patience.
    pub fn wait_for(&self, wanted: usize) {
        let mut count = self.count.lock().expect("no thread panics with it");
        while *count < wanted {
            let before = *count;
            let (now, timeout) = self
                .more
                .wait_timeout_while(count, patience(), |count| *count == before)
                .expect("no thread panics with it");
            assert!(!timeout.timed_out(), "no answer came after {before} of {wanted}");
            count = now;
        }
    }
}

/// The UID of the APPENDUID code.
pub fn appended_uid(tagged: &Response) -> u32 {
    match tagged.values.get(2) {
        Some(Value::Code(code)) => code.get(2).and_then(number).expect("APPENDUID") as u32,
        _ => panic!("no APPENDUID: {}", tagged.text()),
    }
}

/// Whether a command is answered OK.
fn granted(tagged: &Response) -> Result<(), ClientError> {
    if tagged.kind() == "OK" { Ok(()) } else { Err(ClientError::Refused(tagged.text())) }
}

/// Whether that may happen to a client when a process dies: a broken connection, or that it is not known now.
fn is_trouble(error: &ClientError) -> bool {
    match error {
        ClientError::Io(_) | ClientError::Closed => true,
        ClientError::Refused(text) => text.contains("[UNAVAILABLE]"),
        ClientError::Malformed(..) => false,
    }
}

/// One client of one account.
pub struct Worker<'a> {
    /// Where it connects.
    pub address: SocketAddr,
    /// As whom.
    pub user: &'a User,
    /// What it knows of its messages.
    pub record: &'a mut Record,
    /// What it does next.
    pub chance: Chance,
    /// Told of each answer.
    pub answers: &'a Answers,
    /// Numbers of its messages.
    pub names: &'a AtomicUsize,
    /// How names of its messages begin.
    pub prefix: String,
}

impl Worker<'_> {
    /// Works until the connection breaks; the error that ended it.
    pub fn until_broken(&mut self) -> ClientError {
        let never = AtomicBool::new(false);
        loop {
            if let Err(error) = self.session(&never) {
                return error;
            }
        }
    }

    /// Works until told to stop, and connects again whenever its connection breaks or a command is refused because the
    /// server cannot say what became of it. Says what went wrong, in the order in which it did.
    pub fn until_told(&mut self, stop: &AtomicBool) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut served = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let before = self.answers.count();
            match self.session(stop) {
                Ok(()) => served = Instant::now(),
                Err(error) => {
                    assert!(is_trouble(&error), "{error}");
                    troubles.push(error.to_string());
                    if self.answers.count() > before {
                        served = Instant::now();
                    }
                    assert!(served.elapsed() < patience() * 3, "no service at {}: {error}", self.address);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        troubles
    }

    /// A session on one of the mailboxes, some commands long.
    fn session(&mut self, stop: &AtomicBool) -> Result<(), ClientError> {
        let mut client = Client::login(self.address, &self.user.name, &self.user.password)?;
        let mailbox = self.chance.below(2);
        client.expect_ok(&format!("SELECT {} (CONDSTORE)", MAILBOXES[mailbox]))?;
        for _ in 0..10 + self.chance.below(30) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let here: Vec<(String, Place)> = self
                .record
                .places
                .iter()
                .filter(|(name, place)| place.mailbox == mailbox && !self.record.in_doubt.contains_key(*name))
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
        self.record.in_doubt.insert(name.clone(), vec![None, Some(place.clone())]);
        let list: Vec<&str> = place.flags.iter().map(String::as_str).collect();
        let command = format!("APPEND {} ({})", MAILBOXES[mailbox], list.join(" "));
        let (_, tagged) = client.literal(&command, &octets(&name), "")?;
        granted(&tagged)?;
        self.record.in_doubt.remove(&name);
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
        self.record.in_doubt.insert(name.clone(), vec![Some(place.clone()), Some(after.clone())]);
        let uid = place.uid.unwrap_or_default();
        let (untagged, tagged) = client.command(&format!("UID STORE {uid} {sign}FLAGS ({flag})"))?;
        granted(&tagged)?;
        for response in untagged.iter().filter(|response| response.kind() == "FETCH") {
            if let Some(modseq) = item(response, "MODSEQ").and_then(number) {
                let seen = &mut self.record.modseq[place.mailbox];
                *seen = (*seen).max(modseq);
            }
        }
        self.record.in_doubt.remove(&name);
        self.record.places.insert(name, after);
        Ok(())
    }

    fn relocate(&mut self, client: &mut Client, name: String, place: Place) -> Result<(), ClientError> {
        let after = Place { mailbox: 1 - place.mailbox, uid: None, flags: place.flags.clone() };
        self.record.in_doubt.insert(name.clone(), vec![Some(place.clone()), Some(after.clone())]);
        let uid = place.uid.unwrap_or_default();
        let (untagged, tagged) = client.command(&format!("UID MOVE {uid} {}", MAILBOXES[after.mailbox]))?;
        granted(&tagged)?;
        let new = untagged.iter().chain([&tagged]).find_map(|response| match response.values.get(2) {
            Some(Value::Code(code)) if code.first()?.keyword()? == "COPYUID" => number(code.get(3)?),
            _ => None,
        });
        let new = new.expect("COPYUID of a message that is there") as u32;
        self.record.in_doubt.remove(&name);
        self.record.places.insert(name, Place { uid: Some(new), ..after });
        Ok(())
    }

    fn expunge(&mut self, client: &mut Client, name: String, place: Place) -> Result<(), ClientError> {
        let mut deleted = place.clone();
        deleted.flags.insert("\\Deleted".to_owned());
        let uid = place.uid.unwrap_or_default();
        self.record.in_doubt.insert(name.clone(), vec![Some(place), Some(deleted.clone())]);
        let (_, tagged) = client.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))?;
        granted(&tagged)?;
        self.record.places.insert(name.clone(), deleted.clone());
        self.record.in_doubt.insert(name.clone(), vec![Some(deleted), None]);
        let (_, tagged) = client.command(&format!("UID EXPUNGE {uid}"))?;
        granted(&tagged)?;
        self.record.in_doubt.remove(&name);
        self.record.places.remove(&name);
        Ok(())
    }
}
