//! The record of what was answered, and the comparison with what a server holds.

use std::collections::{BTreeMap, BTreeSet};

use conformance::client::{Client, Response};
use conformance::value::Value;

/// Names of the two mailboxes that messages go between.
pub const MAILBOXES: [&str; 2] = ["left", "right"];

/// Where a message is, and its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Index into [`MAILBOXES`].
    pub mailbox: usize,
    /// Its UID there; none when the answer that would tell did not come.
    pub uid: Option<u32>,
    /// Without `\Recent`.
    pub flags: BTreeSet<String>,
}

/// What a worker knows of its messages.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Answered OK, by the name of the message.
    pub places: BTreeMap<String, Place>,
    /// Commands without an answer, by the name of the message: it may be at any of these places, or nowhere.
    pub in_doubt: BTreeMap<String, Vec<Option<Place>>>,
    /// The largest MODSEQ seen in each mailbox.
    pub modseq: [u64; 2],
}

/// One mailbox as it is.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// UIDVALIDITY.
    pub validity: u64,
    /// UIDNEXT.
    pub uidnext: u32,
    /// HIGHESTMODSEQ.
    pub modseq: u64,
    /// Name of the message and its flags, by UID.
    pub messages: BTreeMap<u32, (String, BTreeSet<String>)>,
}

/// The octets of a message: told by its name alone, so that half a message is seen.
pub fn octets(name: &str) -> Vec<u8> {
    let seed: u64 = name.bytes().fold(7, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(octet)));
    // Most are small; one in sixteen is larger than what is written together with its row.
    let lines = if seed.is_multiple_of(16) { 6_000 } else { 1 + seed % 40 };
    let mut text = format!("Subject: {name}\r\nX-Name: {name}\r\n\r\n");
    for line in 0..lines {
        text.push_str(&format!("{name} line {line} of {lines}, nothing else in it\r\n"));
    }
    text.into_bytes()
}

/// The item of a FETCH response.
pub fn item<'a>(response: &'a Response, name: &str) -> Option<&'a Value> {
    let Some(Value::List(items)) = response.values.get(3) else { return None };
    let at = items.iter().position(|item| item.keyword().is_some_and(|word| word == name))?;
    items.get(at + 1)
}

/// A number as a value.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::List(items) => items.first().and_then(number),
        other => std::str::from_utf8(other.octets()?).ok()?.parse().ok(),
    }
}

/// Flags of a FETCH response, without `\Recent`.
pub fn flags(response: &Response) -> BTreeSet<String> {
    match item(response, "FLAGS") {
        Some(Value::List(flags)) => {
            flags.iter().map(Value::display).filter(|flag| flag != "\\Recent").collect()
        }
        _ => BTreeSet::new(),
    }
}

/// A number from the response codes of SELECT.
pub fn code(responses: &[Response], name: &str) -> u64 {
    let found = responses.iter().find_map(|response| match response.values.get(2) {
        Some(Value::Code(code)) if code.first()?.keyword()? == name => number(code.get(1)?),
        _ => None,
    });
    found.unwrap_or_else(|| {
        panic!("no {name} in {:?}", responses.iter().map(Response::text).collect::<Vec<_>>())
    })
}

/// Everything in a mailbox, each message compared octet for octet with what its name says.
pub fn holdings(client: &mut Client, mailbox: usize) -> Held {
    let (selected, _) =
        client.expect_ok(&format!("SELECT {} (CONDSTORE)", MAILBOXES[mailbox])).expect("SELECT");
    let mut held = Held {
        validity: code(&selected, "UIDVALIDITY"),
        uidnext: code(&selected, "UIDNEXT") as u32,
        modseq: code(&selected, "HIGHESTMODSEQ"),
        messages: BTreeMap::new(),
    };
    let exists = selected.iter().find(|response| response.kind() == "EXISTS").and_then(Response::number);
    let (fetched, _) = client.expect_ok("UID FETCH 1:* (FLAGS BODY.PEEK[])").expect("FETCH");
    let mut last = 0;
    for response in fetched.iter().filter(|response| response.kind() == "FETCH") {
        let uid = item(response, "UID").and_then(number).expect("a UID") as u32;
        let body = item(response, "BODY[]").and_then(Value::octets).expect("a body");
        assert!(uid > last, "UIDs ascend: {uid} after {last}");
        assert!(uid < held.uidnext, "UID {uid} is not below UIDNEXT {}", held.uidnext);
        last = uid;
        let head = body.split(|octet| *octet == b'\r').next().unwrap_or_default();
        let name = String::from_utf8_lossy(head).replace("Subject: ", "");
        assert_eq!(body, octets(&name), "{name} is not whole");
        held.messages.insert(uid, (name, flags(response)));
    }
    assert_eq!(exists, Some(held.messages.len() as u64), "EXISTS and what FETCH finds");
    held
}

/// Compares the records of an account's workers with what its mailboxes hold; settles what was in doubt.
pub fn compare(records: &mut [Record], held: &[Held; 2]) -> Result<(), String> {
    let mut found: BTreeMap<&str, Place> = BTreeMap::new();
    for (mailbox, held) in held.iter().enumerate() {
        for (uid, (name, flags)) in &held.messages {
            let place = Place { mailbox, uid: Some(*uid), flags: flags.clone() };
            if let Some(other) = found.insert(name, place.clone()) {
                return Err(format!("{name} is there twice: {other:?} and {place:?}"));
            }
        }
    }
    for record in records {
        for mailbox in 0..2 {
            if held[mailbox].modseq < record.modseq[mailbox] {
                return Err(format!(
                    "{}: HIGHESTMODSEQ {} after MODSEQ {} was seen",
                    MAILBOXES[mailbox], held[mailbox].modseq, record.modseq[mailbox]
                ));
            }
        }
        for (name, allowed) in std::mem::take(&mut record.in_doubt) {
            let now = found.get(name.as_str());
            let fits = |allowed: &Option<Place>| match (allowed, now) {
                (None, None) => true,
                (Some(allowed), Some(now)) => {
                    allowed.mailbox == now.mailbox
                        && allowed.flags == now.flags
                        && allowed.uid.is_none_or(|uid| Some(uid) == now.uid)
                }
                _ => false,
            };
            if !allowed.iter().any(fits) {
                return Err(format!("{name} was in doubt: {now:?} is none of {allowed:?}"));
            }
            match now {
                Some(now) => record.places.insert(name, now.clone()),
                None => record.places.remove(&name),
            };
        }
        for (name, place) in &record.places {
            match found.remove(name.as_str()) {
                Some(now) if now == *place => {}
                now => return Err(format!("{name} was answered to be {place:?}, and is {now:?}")),
            }
        }
    }
    match found.into_iter().next() {
        None => Ok(()),
        Some((name, place)) => {
            Err(format!("{name} is there though it was expunged, or never sent: {place:?}"))
        }
    }
}
