//! Threads as trees of messages.

use std::collections::HashMap;

use imap_wire::response::thread::ThreadEntry;

/// What threading asks of one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// What the response names it by: its sequence number or UID.
    pub number: u32,
    /// The sent date (RFC 5256 §2.2): seconds since 1970-01-01 UTC.
    pub sent: i64,
    /// The key of its base subject (RFC 5256 §2.1, RFC 5051); empty for none.
    pub subject: Box<[u8]>,
    /// Whether the subject was that of a reply or a forward.
    pub is_reply: bool,
    /// Its Message-ID, if it has a valid one, by its number among [`Ids`].
    pub message_id: Option<u32>,
    /// The ids of References, the eldest first, or else the first of In-Reply-To.
    pub references: Box<[u32]>,
}

/// The ids that messages have and name. Most are named many times: each is held once.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<Box<[u8]>, u32>);

impl Ids {
    /// The number of an id: the next one for an id that was not there.
    pub fn number(&mut self, id: &[u8]) -> u32 {
        if let Some(number) = self.0.get(id) {
            return *number;
        }
        let number = self.0.len() as u32;
        self.0.insert(id.into(), number);
        number
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A message of a thread, or a dummy that stands for one that is not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// An index of the list of messages; none for a dummy.
    pub message: Option<u32>,
    /// Indexes of the forest's nodes, in order.
    pub children: Vec<u32>,
}

/// Threads in order, as nodes that name each other by index.
#[derive(Debug, Default)]
pub(super) struct Forest {
    pub nodes: Vec<Node>,
    pub roots: Vec<u32>,
}

impl Forest {
    /// The threads as the response writes them. Without recursion: a thread may be as deep as it has messages.
    pub fn entries(&self, messages: &[Message]) -> Vec<ThreadEntry> {
        let mut entries = Vec::with_capacity(self.nodes.len());
        let mut left: Vec<(u32, u32)> = self.roots.iter().rev().map(|root| (*root, 0)).collect();
        while let Some((at, depth)) = left.pop() {
            let node = &self.nodes[at as usize];
            let number = node.message.map_or(0, |message| messages[message as usize].number);
            entries.push(ThreadEntry { depth, number });
            left.extend(node.children.iter().rev().map(|child| (*child, depth + 1)));
        }
        entries
    }
}

/// The response of `forest`, for the tests of the algorithms.
#[cfg(test)]
pub(super) fn shown(forest: &Forest, messages: &[Message]) -> String {
    let mut out = Vec::new();
    imap_wire::response::thread::thread(&mut out, &forest.entries(messages));
    let text = String::from_utf8(out).expect("ASCII");
    text.trim_start_matches("* THREAD").trim().to_owned()
}
