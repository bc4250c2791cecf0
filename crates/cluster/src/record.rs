//! What a node says of itself, as stored.

use store_api::{Member, NodeId, NodeState};

use crate::limits::TEXT_BYTES_MAX;

const VERSION: u8 = 1;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: NodeState,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) version: String,
}

impl Record {
    /// The stored form: version, state, then each text with its length in a byte. Longer texts are cut.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, state_number(self.state)];
        for text in [&self.name, &self.address, &self.version] {
            let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    /// Reads a stored form; none if it is not one. Later releases may add to its end: while nodes are replaced one by
    /// one, old and new ones must know each other.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let (&[VERSION, state], mut rest) = record.split_first_chunk()? else { return None };
        let mut text = || {
            let (&len, after) = rest.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        Some(Self { state: state_of(state)?, name: text()?, address: text()?, version: text()? })
    }

    /// As others are told.
    pub(crate) fn member(&self, id: NodeId) -> Member {
        Member {
            id,
            name: self.name.clone(),
            address: self.address.clone(),
            state: self.state,
            version: self.version.clone(),
            silent_ms: 0,
        }
    }
}

fn state_number(state: NodeState) -> u8 {
    match state {
        NodeState::Joining => 1,
        NodeState::Serving => 2,
        NodeState::Draining => 3,
    }
}

fn state_of(number: u8) -> Option<NodeState> {
    NodeState::ALL.into_iter().find(|state| state_number(*state) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let record = Record {
            state: NodeState::Draining,
            name: "n\u{e4}me".into(),
            address: "http://h:1".into(),
            version: String::new(),
        };
        let stored = record.encode();
        assert_eq!(stored, b"\x01\x03\x05n\xc3\xa4me\x0ahttp://h:1\x00");
        assert_eq!(Record::decode(&stored), Some(record.clone()));
        assert_eq!(Record::decode(&[&stored[..], b"more"].concat()), Some(record.clone()), "a later release");
        for cut in 0..stored.len() {
            assert_eq!(Record::decode(&stored[..cut]), None, "{cut}");
        }
        assert_eq!(Record::decode(b"\x02\x03"), None);
        assert_eq!(Record::decode(b"\x01\x09\x00\x00\x00"), None);
        let long = Record { name: "\u{e4}".repeat(200), ..record };
        assert_eq!(Record::decode(&long.encode()).map(|r| r.name), Some("\u{e4}".repeat(127)));
    }
}
