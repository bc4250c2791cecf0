//! Commands as data: `UID STORE {next} {sign}FLAGS (\Flagged)`.

use crate::connection::{push_number, push_quoted};
use crate::message::{WORDS, imdn_message_id};
use crate::random::Random;
use crate::scan::Response;

/// A command with places that are filled in each time it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `{folder}`: the connection's folder, quoted.
    Folder,
    /// `{uid}`: the UID of a random message.
    RandomUid,
    /// `{next}`, `{next:100}`: the UIDs of the next messages in a scattered order that meets each message once a
    /// turn.
    Next(u32),
    /// `{sign}`: `+` in the first turn of `{next}`, `-` in the second, and so on, so that each STORE changes something.
    Sign,
    /// `{modseq}`: the last HIGHESTMODSEQ seen.
    Modseq,
    /// `{uidvalidity}`: the last UIDVALIDITY seen.
    UidValidity,
    /// `{word}`: a word that some of the messages have.
    Word,
    /// `{imdn}`: the IMDN-Message-ID of a random message that was appended to the folder.
    Imdn,
    /// `{path}`: the connection's folder as a URL has it.
    Path,
    /// `{user}`: the account as a URL has it.
    User,
    /// `{url}`: the last URL with an access token that the server made.
    Url,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad command {0:?}: places are {{folder}} {{uid}} {{next}} {{next:N}} {{sign}} {{modseq}} {{uidvalidity}} {{word}} \
     {{imdn}} {{path}} {{user}} {{url}}"
)]
pub struct BadTemplate(String);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`] for an unknown place or a lone brace.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let bad = || BadTemplate(text.to_owned());
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (place, after) = after.split_once('}').ok_or_else(bad)?;
            pieces.push(match place {
                "folder" => Piece::Folder,
                "uid" => Piece::RandomUid,
                "next" => Piece::Next(1),
                "sign" => Piece::Sign,
                "modseq" => Piece::Modseq,
                "uidvalidity" => Piece::UidValidity,
                "word" => Piece::Word,
                "imdn" => Piece::Imdn,
                "path" => Piece::Path,
                "user" => Piece::User,
                "url" => Piece::Url,
                _ => {
                    let count = place.strip_prefix("next:").and_then(|n| n.parse().ok());
                    Piece::Next(count.filter(|n| (1..=10_000).contains(n)).ok_or_else(bad)?)
                }
            });
            rest = after;
        }
        if rest.contains('}') || text.contains(['\r', '\n']) {
            return Err(bad());
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Does it name messages of the folder by UID, so that the UIDs must be known?
    pub fn needs_uids(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::RandomUid | Piece::Next(_)))
    }

    /// Does it name messages that must have been appended, each for itself?
    pub fn needs_messages(&self) -> bool {
        self.needs_uids() || self.0.contains(&Piece::Imdn)
    }

    /// Writes the command, without tag and line break.
    pub fn write(&self, facts: &mut Facts, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Folder => push_quoted(out, &facts.folder),
                Piece::RandomUid => {
                    let at = facts.random.below(facts.uids.count());
                    push_number(out, facts.uids.get(at));
                }
                Piece::Next(count) => facts.write_next(*count, out),
                Piece::Sign => out.push(if facts.turn.is_multiple_of(2) { b'+' } else { b'-' }),
                Piece::Modseq => push_number(out, facts.modseq),
                Piece::UidValidity => push_number(out, facts.uid_validity),
                Piece::Word => {
                    let word = WORDS[facts.random.below(40) as usize];
                    out.extend_from_slice(word.as_bytes());
                }
                Piece::Imdn => {
                    let number = facts.first_message + facts.random.below(facts.appended.max(1));
                    out.extend_from_slice(imdn_message_id(number).as_bytes());
                }
                Piece::Path => push_url_encoded(&facts.folder, out),
                Piece::User => push_url_encoded(&facts.user, out),
                Piece::Url => out.extend_from_slice(facts.url.as_bytes()),
            }
        }
    }
}

/// The UIDs of a folder, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uids {
    /// First and count, when there are no gaps.
    Run(u64, u64),
    /// Every one.
    List(Vec<u32>),
}

impl Uids {
    /// From any list of them.
    pub fn new(mut list: Vec<u32>) -> Self {
        list.sort_unstable();
        list.dedup();
        match (list.first(), list.last()) {
            (Some(&first), Some(&last)) if (last - first) as usize + 1 == list.len() => {
                Self::Run(u64::from(first), list.len() as u64)
            }
            (None, _) => Self::Run(1, 0),
            _ => Self::List(list),
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        match self {
            Self::Run(_, count) => *count,
            Self::List(list) => list.len() as u64,
        }
    }

    fn get(&self, at: u64) -> u64 {
        match self {
            Self::Run(first, _) => first + at,
            Self::List(list) => list.get(at as usize).copied().map_or(1, u64::from),
        }
    }
}

/// What a connection knows of its folder.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The folder's name.
    pub folder: String,
    /// The UIDs of the messages that commands may name.
    pub uids: Uids,
    /// Chooses messages and words.
    pub random: Random,
    /// The last HIGHESTMODSEQ seen.
    pub modseq: u64,
    /// The last UIDVALIDITY seen.
    pub uid_validity: u64,
    /// The account's name at login.
    pub user: String,
    /// Number of the first message that the folder was filled with.
    pub first_message: u64,
    /// How many it was filled with by APPEND.
    pub appended: u64,
    /// The last URL of a GENURLAUTH response.
    pub url: String,
    /// How many messages `{next}` has named in this turn.
    position: u64,
    /// Which turn the last `{next}` belonged to.
    turn: u64,
    /// Step between neighbours in the scattered order; has no divisor in common with the count.
    stride: u64,
}

impl Facts {
    /// Of a folder with these messages.
    pub fn new(folder: String, uids: Uids, seed: u64) -> Self {
        let count = uids.count().max(1);
        let mut stride = (count * 382 / 1000).max(1);
        while common_divisor(stride, count) != 1 {
            stride += 1;
        }
        Self {
            folder,
            uids,
            random: Random::new(seed),
            modseq: 1,
            uid_validity: 1,
            user: String::new(),
            first_message: 0,
            appended: 0,
            url: String::new(),
            position: 0,
            turn: 0,
            stride,
        }
    }

    /// Keeps HIGHESTMODSEQ and UIDVALIDITY when `response` tells them.
    pub fn note(&mut self, response: &Response<'_>) {
        if let Some(modseq) = response.number_after(b"HIGHESTMODSEQ") {
            self.modseq = modseq;
        }
        if let Some(validity) = response.number_after(b"UIDVALIDITY") {
            self.uid_validity = validity;
        }
        if let Some(url) = response.rest().strip_prefix(b"GENURLAUTH ") {
            let url = url.trim_ascii().trim_ascii_start();
            let url = url.strip_prefix(b"\"").and_then(|url| url.strip_suffix(b"\"")).unwrap_or(url);
            self.url = String::from_utf8_lossy(url).into_owned();
        }
    }

    /// A set that is one turn's end and the next turn's start would not change each message: it is cut short.
    fn write_next(&mut self, count: u32, out: &mut Vec<u8>) {
        let total = self.uids.count().max(1);
        if self.position == total {
            self.position = 0;
            self.turn += 1;
        }
        for nth in 0..u64::from(count).min(total - self.position) {
            if nth > 0 {
                out.push(b',');
            }
            push_number(out, self.uids.get(self.position * self.stride % total));
            self.position += 1;
        }
    }
}

/// Percent-encodes all but what a URL's user and path may have as it is (RFC 3986 §2.3).
fn push_url_encoded(text: &str, out: &mut Vec<u8>) {
    for &octet in text.as_bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet) {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("%{octet:02X}").as_bytes());
        }
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn written(template: &Template, facts: &mut Facts) -> String {
        let mut out = Vec::new();
        template.write(facts, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_store_of_a_turn_names_another_message_and_the_next_turn_undoes_it() {
        let store = Template::parse("UID STORE {next} {sign}FLAGS (\\Flagged)").unwrap();
        let mut facts = Facts::new("f".into(), Uids::new((11..=30).collect()), 1);
        let turns: Vec<BTreeSet<String>> =
            (0..3).map(|_| (0..20).map(|_| written(&store, &mut facts)).collect()).collect();
        assert_eq!(turns[0].len(), 20);
        assert!(turns[0].contains("UID STORE 30 +FLAGS (\\Flagged)"));
        assert!(turns[1].iter().all(|command| command.contains(" -FLAGS")));
        assert_eq!(turns[0], turns[2]);
    }

    #[test]
    fn sets_do_not_cross_a_turn() {
        let store = Template::parse("{next:8} {sign}").unwrap();
        let mut facts = Facts::new("f".into(), Uids::new((1..=20).collect()), 1);
        let sizes: Vec<(usize, char)> = (0..4)
            .map(|_| written(&store, &mut facts))
            .map(|text| (text.matches(',').count() + 1, text.chars().last().unwrap()))
            .collect();
        assert_eq!(sizes, [(8, '+'), (8, '+'), (4, '+'), (8, '-')]);
    }

    #[test]
    fn places_are_filled_in() {
        let select = Template::parse("SELECT {folder} (QRESYNC ({uidvalidity} {modseq}))").unwrap();
        let mut facts = Facts::new("a \"b\"".into(), Uids::new(vec![]), 1);
        facts.modseq = 7;
        facts.uid_validity = 99;
        assert_eq!(written(&select, &mut facts), r#"SELECT "a \"b\"" (QRESYNC (99 7))"#);
        assert!(!select.needs_uids());
    }

    #[test]
    fn places_of_urls_and_identifiers() {
        let url = Template::parse("GENURLAUTH imap://{user}@h/{path};UID=1 INTERNAL {imdn}").unwrap();
        let mut facts = Facts::new("a b/c".into(), Uids::new(vec![]), 1);
        facts.user = "tel:+1555".into();
        (facts.first_message, facts.appended) = (0xabc, 1);
        let expected = "GENURLAUTH imap://tel%3A%2B1555@h/a%20b/c;UID=1 INTERNAL m0000000000000abc";
        assert_eq!(written(&url, &mut facts), expected);
        assert!(url.needs_messages() && !url.needs_uids());
    }

    #[test]
    fn gaps_in_the_uids_are_kept() {
        assert_eq!(Uids::new(vec![3, 2, 4]), Uids::Run(2, 3));
        assert_eq!(Uids::new(vec![9, 2, 4]), Uids::List(vec![2, 4, 9]));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{uidx}", "{next:0}", "{next", "a}b", "a\r\nb"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
