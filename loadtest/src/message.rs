//! Made messages: CPM text messages of an exact size, the same octets for the same seed and number.
//!
//! A message is what a participating function would deposit for a standalone text: the CPM headers, then a
//! `Message/CPIM` body (RFC 3862) with an IMDN request (RFC 5438) and UTF-8 text. A small pool is built once; each
//! message copies one of the pool and writes its number over the places of the identifiers, so making one costs
//! about as much as copying it and no two are equal.

use crate::random::Random;

/// Different texts in a pool.
const POOL: usize = 64;
/// Digits of the number that makes each message's identifiers unique.
const NUMBER_DIGITS: usize = 16;
/// Stands where the number goes while a message of the pool is built. Not a word of the texts.
const PLACE: &[u8; NUMBER_DIGITS] = b"################";
/// Smallest message that can be made, bytes: the headers and a little text.
pub const MESSAGE_BYTES_MIN: usize = 1_024;

/// Words of the texts; a search for one of them finds some of the messages, not all.
pub const WORDS: [&str; 48] = [
    "train",
    "late",
    "again",
    "dinner",
    "seven",
    "ticket",
    "window",
    "garden",
    "photo",
    "yesterday",
    "bring",
    "umbrella",
    "maybe",
    "coffee",
    "corner",
    "station",
    "letter",
    "river",
    "music",
    "evening",
    "ferry",
    "lamp",
    "green",
    "market",
    "bread",
    "phone",
    "battery",
    "school",
    "meeting",
    "moved",
    "Thursday",
    "morning",
    "keys",
    "table",
    "bicycle",
    "snow",
    "harbour",
    "island",
    "kitchen",
    "paper",
    "round",
    "later",
    "tomorrow",
    "please",
    "thanks",
    "café",
    "smörgås",
    "naïve",
];

/// The IMDN-Message-ID of message `number`.
pub fn imdn_message_id(number: u64) -> String {
    format!("m{number:016x}")
}

/// Makes messages of one size from one seed.
#[derive(Debug)]
pub struct Messages {
    pool: Vec<Template>,
    bytes: usize,
}

#[derive(Debug)]
struct Template {
    octets: Vec<u8>,
    /// Offsets of the number.
    places: Vec<usize>,
}

impl Messages {
    /// Messages of exactly `bytes` octets each (at least [`MESSAGE_BYTES_MIN`]).
    pub fn new(seed: u64, bytes: usize) -> Self {
        let bytes = bytes.max(MESSAGE_BYTES_MIN);
        let mut random = Random::new(seed);
        let pool = (0..POOL).map(|_| Template::new(&mut random, bytes)).collect();
        Self { pool, bytes }
    }

    /// Octets of each message.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends message `number` to `out`.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let template = &self.pool[(number % POOL as u64) as usize];
        let start = out.len();
        out.extend_from_slice(&template.octets);
        let mut digits = [b'0'; NUMBER_DIGITS];
        let mut left = number;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(left & 15) as usize];
            left >>= 4;
        }
        for place in &template.places {
            out[start + place..start + place + NUMBER_DIGITS].copy_from_slice(&digits);
        }
    }
}

impl Template {
    fn new(random: &mut Random, bytes: usize) -> Self {
        let (sender, receiver) = (random.below(9_000_000) + 1_000_000, random.below(9_000_000) + 1_000_000);
        let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
        let place = std::str::from_utf8(PLACE).unwrap_or_default();
        let conversation = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            random.below(1 << 32),
            random.below(1 << 16),
            random.below(1 << 12),
            random.below(1 << 12),
            random.below(1 << 48)
        );
        let mut text = format!(
            "From: <tel:+1555{sender}>\r\n\
             To: <tel:+1555{receiver}>\r\n\
             Date: Fri, 13 Mar 2026 {hour:02}:{minute:02}:{second:02} +0000\r\n\
             Subject: {} {}\r\n\
             Conversation-ID: {conversation}\r\n\
             Contribution-ID: c{place}-{sender:x}\r\n\
             IMDN-Message-ID: m{place}\r\n\
             P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg\r\n\
             Message-Direction: received\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: Message/CPIM\r\n\
             \r\n\
             From: <tel:+1555{sender}>\r\n\
             To: <tel:+1555{receiver}>\r\n\
             DateTime: 2026-03-13T{hour:02}:{minute:02}:{second:02}Z\r\n\
             NS: imdn <urn:ietf:params:imdn>\r\n\
             imdn.Message-ID: m{place}\r\n\
             imdn.Disposition-Notification: positive-delivery, display\r\n\
             \r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             \r\n",
            word(random),
            word(random),
        );
        let mut line = 0;
        while text.len() < bytes.saturating_sub(40) {
            let word = word(random);
            text.push_str(word);
            line += word.len() + 1;
            if line > 66 {
                text.push_str("\r\n");
                line = 0;
            } else {
                text.push(' ');
            }
        }
        // The last line takes up what is left; its words are single letters so that any length can be met.
        while text.len() < bytes.saturating_sub(2) {
            text.push('.');
        }
        text.push_str("\r\n");
        let octets = text.into_bytes();
        let places = octets
            .windows(NUMBER_DIGITS)
            .enumerate()
            .filter(|(_, window)| window == PLACE)
            .map(|(at, _)| at)
            .collect();
        Self { octets, places }
    }
}

fn word(random: &mut Random) -> &'static str {
    WORDS[random.below(WORDS.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_exact_equal_for_equal_seeds_and_distinct() {
        for bytes in [MESSAGE_BYTES_MIN, 2_048, 2_049, 65_536] {
            let (one, two) = (Messages::new(1, bytes), Messages::new(1, bytes));
            let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
            one.write(70, &mut a);
            two.write(70, &mut b);
            one.write(70 + POOL as u64, &mut c);
            assert_eq!(a.len(), bytes);
            assert_eq!(a, b);
            assert_ne!(a, c);
        }
    }

    #[test]
    fn a_message_is_a_cpim_message_with_its_number_in_every_identifier() {
        let mut octets = Vec::new();
        Messages::new(3, 2_048).write(0xabc, &mut octets);
        let text = String::from_utf8(octets).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains("IMDN-Message-ID: m0000000000000abc\r\n"));
        assert_eq!(imdn_message_id(0xabc), "m0000000000000abc");
        assert!(headers.contains("Contribution-ID: c0000000000000abc-"));
        assert!(headers.ends_with("Content-Type: Message/CPIM"));
        assert!(body.contains("imdn.Message-ID: m0000000000000abc\r\n"));
        assert!(!text.contains('#'));
        assert!(text.lines().all(|line| line.len() < 998));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
