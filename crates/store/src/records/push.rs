//! What is kept for notices to the PUSH enabler.

use model::{AccountId, DeviceId};

use super::codec::{Reader, Writer};

const VERSION: u8 = 1;

/// A device of an account, as the operator made it known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Where the PUSH enabler reaches it; empty when the account's address says so.
    pub push_address: String,
    /// When it was made known, seconds since 1970-01-01 UTC.
    pub added_at: i64,
}

impl DeviceRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 16 + self.push_address.len());
        out.counted(self.push_address.as_bytes()).signed(self.added_at);
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let push_address = input.text()?.to_owned();
        let added_at = input.signed()?;
        input.end(Self { push_address, added_at })
    }
}

/// A notice that was given up, with all that it takes to send it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The account.
    pub account: AccountId,
    /// When the change was made that it tells of, milliseconds since 1970-01-01 UTC.
    pub changed_at_millis: i64,
    /// When it was given up, milliseconds since 1970-01-01 UTC.
    pub given_up_at_millis: i64,
    /// How often it was sent.
    pub attempts: u32,
    /// What names it.
    pub push_id: String,
    /// The device that made the change, where it is known.
    pub trigger: Option<DeviceId>,
    /// Why it was given up, for the operator.
    pub reason: String,
    /// Content-Type of the request.
    pub content_type: String,
    /// Other header fields of the request that go with the notice.
    pub headers: Vec<(String, String)>,
    /// The request; empty when it was too large to be kept.
    pub body: Vec<u8>,
}

impl DeadLetter {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 256 + self.body.len());
        out.fixed(&self.account.0.to_be_bytes());
        out.signed(self.changed_at_millis).signed(self.given_up_at_millis).number(u64::from(self.attempts));
        out.counted(self.push_id.as_bytes());
        out.counted(self.trigger.as_ref().map_or(&[][..], |trigger| trigger.as_str().as_bytes()));
        out.counted(self.reason.as_bytes()).counted(self.content_type.as_bytes());
        out.number(self.headers.len() as u64);
        for (name, value) in &self.headers {
            out.counted(name.as_bytes()).counted(value.as_bytes());
        }
        out.counted(&self.body);
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let account = AccountId(u64::from_be_bytes(input.fixed(8)?.try_into().ok()?));
        let changed_at_millis = input.signed()?;
        let given_up_at_millis = input.signed()?;
        let attempts = input.u32()?;
        let push_id = input.text()?.to_owned();
        let trigger = match input.counted()? {
            [] => None,
            device => Some(DeviceId::parse(device).ok()?),
        };
        let reason = input.text()?.to_owned();
        let content_type = input.text()?.to_owned();
        let count = usize::try_from(input.number()?).ok()?;
        // The shortest field has two octets.
        if count > input.left() / 2 {
            return None;
        }
        let header = |_| Some((input.text()?.to_owned(), input.text()?.to_owned()));
        let headers = (0..count).map(header).collect::<Option<_>>()?;
        let body = input.counted()?.to_vec();
        input.end(Self {
            account,
            changed_at_millis,
            given_up_at_millis,
            attempts,
            push_id,
            trigger,
            reason,
            content_type,
            headers,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let device = DeviceRecord { push_address: "sip:a@b".into(), added_at: -5 };
        assert_eq!(DeviceRecord::decode(&device.encode()), Some(device));
        for trigger in [None, DeviceId::parse(b"tablet").ok()] {
            let letter = DeadLetter {
                account: AccountId(7),
                changed_at_millis: 1_700_000_000_123,
                given_up_at_millis: 1_700_000_060_000,
                attempts: 8,
                push_id: "1-2-3".into(),
                trigger,
                reason: "the enabler answered 400".into(),
                content_type: "application/json".into(),
                headers: vec![("x-push-id".into(), "1".into())],
                body: b"{}".to_vec(),
            };
            let stored = letter.encode();
            assert_eq!(DeadLetter::decode(&stored), Some(letter));
            for cut in 0..stored.len() {
                assert_eq!(DeadLetter::decode(&stored[..cut]), None, "{cut}");
            }
        }
    }
}
