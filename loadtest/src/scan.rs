//! Finds the responses in a server's octets, however the network cut them.
//!
//! A load generator looks at few things: which tag was answered and how, how many untagged lines came, a number
//! here and there. So the scanner keeps no tree: it hands out each response as its text with the contents of
//! literals left out (their `{n}` and line break stay), and counts the literals' octets. A response that lies
//! whole in the octets given is lent from them without a copy; only one that was cut, or that has a literal, is
//! gathered in a buffer that is kept and used again.
//!
//! Source: RFC 9051 §2.2.2 (responses), §4.3 (literals).

use memchr::memchr;

/// Longest text of one response, bytes, literals not counted: a SEARCH answer of a million messages fits.
pub const RESPONSE_TEXT_BYTES_MAX: usize = 16 << 20;

/// What a tagged response says of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
}

/// Which of the three shapes a response has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `+ …`: the server waits for more of a command.
    Continue,
    /// `* …`
    Untagged,
    /// `t<number> OK|NO|BAD …`
    Tagged(u32, Status),
    /// Anything else, such as a tag that this client never sent.
    Foreign,
}

/// One response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// Its shape.
    pub kind: Kind,
    /// Its whole text without the last line break and without the contents of literals.
    pub text: &'a [u8],
    /// Octets of all its literals.
    pub literal_bytes: u64,
}

impl Response<'_> {
    /// The text after `* `, `+ ` or the tag and status; empty when there is none.
    pub fn rest(&self) -> &[u8] {
        match self.kind {
            Kind::Continue | Kind::Untagged => self.text.get(2..).unwrap_or_default(),
            Kind::Tagged(..) => {
                let after_tag = self.text.splitn(3, |&b| b == b' ').nth(2);
                after_tag.unwrap_or_default()
            }
            Kind::Foreign => self.text,
        }
    }

    /// For `* <number> <NAME> …`: the number and the upper or lower case name as sent.
    pub fn numbered(&self) -> Option<(u64, &[u8])> {
        if self.kind != Kind::Untagged {
            return None;
        }
        let (number, rest) = leading_number(self.rest())?;
        let rest = rest.strip_prefix(b" ")?;
        let end = memchr(b' ', rest).unwrap_or(rest.len());
        Some((number, &rest[..end]))
    }

    /// The number that follows `name` and a space anywhere in the text, letter case ignored, as in
    /// `[HIGHESTMODSEQ 12]` and `STATUS x (HIGHESTMODSEQ 12)`.
    pub fn number_after(&self, name: &[u8]) -> Option<u64> {
        let at = self.text.windows(name.len() + 1).position(|window| {
            window[..name.len()].eq_ignore_ascii_case(name) && window[name.len()] == b' '
        })?;
        leading_number(&self.text[at + name.len() + 1..]).map(|(number, _)| number)
    }
}

/// The error of [`Scanner::feed`]: a response is longer than [`RESPONSE_TEXT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a response is longer than {RESPONSE_TEXT_BYTES_MAX} bytes without its literals")]
pub struct TooLong;

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Text of the response under way that earlier octets gave.
    text: Vec<u8>,
    /// Where in `text` the line began that follows the last literal.
    line_from: usize,
    /// Octets of the current literal still to skip.
    literal_left: u64,
    /// Octets of all literals of the response under way.
    literal_bytes: u64,
}

impl Scanner {
    /// Reads `octets` and calls `each` for every response that ends in them, in order.
    ///
    /// # Errors
    /// [`TooLong`]; the scanner is of no use afterwards.
    pub fn feed(&mut self, mut octets: &[u8], mut each: impl FnMut(Response<'_>)) -> Result<(), TooLong> {
        loop {
            if self.literal_left > 0 {
                let skip = self.literal_left.min(octets.len() as u64);
                self.literal_left -= skip;
                octets = &octets[skip as usize..];
            }
            if octets.is_empty() {
                return Ok(());
            }
            let Some(line_end) = memchr(b'\n', octets) else {
                self.text.extend_from_slice(octets);
                return if self.text.len() > RESPONSE_TEXT_BYTES_MAX { Err(TooLong) } else { Ok(()) };
            };
            let (line, rest) = octets.split_at(line_end + 1);
            octets = rest;
            if self.text.is_empty() {
                if let Some(length) = literal_length(line) {
                    self.text.extend_from_slice(line);
                    self.open_literal(length);
                } else {
                    each(response(line, 0));
                }
                continue;
            }
            self.text.extend_from_slice(line);
            if self.text.len() > RESPONSE_TEXT_BYTES_MAX {
                return Err(TooLong);
            }
            if let Some(length) = literal_length(&self.text[self.line_from..]) {
                self.open_literal(length);
            } else {
                each(response(&self.text, self.literal_bytes));
                self.text.clear();
                self.line_from = 0;
                self.literal_bytes = 0;
            }
        }
    }

    /// Gives back the memory that long responses took; for connections about to be idle.
    pub fn shrink(&mut self) {
        self.text.shrink_to(64);
    }

    fn open_literal(&mut self, length: u64) {
        self.literal_left = length;
        self.literal_bytes += length;
        self.line_from = self.text.len();
    }
}

/// The length of the literal that `line` announces at its end: `{n}`, with its line break.
fn literal_length(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"}")?;
    let digits_from = line.iter().rposition(|b| !b.is_ascii_digit())?;
    if line[digits_from] != b'{' {
        return None;
    }
    leading_number(&line[digits_from + 1..]).map(|(number, _)| number)
}

fn response(text: &[u8], literal_bytes: u64) -> Response<'_> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Response { kind: kind(text), text, literal_bytes }
}

fn kind(text: &[u8]) -> Kind {
    match text {
        [b'*', b' ', ..] => Kind::Untagged,
        [b'+'] | [b'+', b' ', ..] => Kind::Continue,
        [b't', rest @ ..] => tagged(rest).unwrap_or(Kind::Foreign),
        _ => Kind::Foreign,
    }
}

fn tagged(after_t: &[u8]) -> Option<Kind> {
    let (tag, rest) = leading_number(after_t)?;
    let rest = rest.strip_prefix(b" ")?;
    let word = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
    let status = if word.eq_ignore_ascii_case(b"OK") {
        Status::Ok
    } else if word.eq_ignore_ascii_case(b"NO") {
        Status::No
    } else if word.eq_ignore_ascii_case(b"BAD") {
        Status::Bad
    } else {
        return None;
    };
    Some(Kind::Tagged(u32::try_from(tag).ok()?, status))
}

/// The decimal number that `text` begins with, and what follows.
pub fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 19 {
        return None;
    }
    let number = text[..digits].iter().fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0'));
    Some((number, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Kind, Vec<u8>, u64);

    fn scan_in_pieces(octets: &[u8], cuts: &[usize]) -> Vec<Owned> {
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&octets.len()]) {
            scanner
                .feed(&octets[from..cut], |r| seen.push((r.kind, r.text.to_vec(), r.literal_bytes)))
                .expect("short responses");
            from = cut;
        }
        seen
    }

    const DIALOGUE: &[u8] = b"* OK [CAPABILITY IMAP4rev1] ready\r\n\
        t7 OK done\r\n\
        * 3 FETCH (UID 9 BODY[HEADER] {12}\r\na: b\r\nt9 OK\r BODY[TEXT] {0}\r\n)\r\n\
        * LIST () \"/\" {5}\r\n{3}\r\n\r\n\
        + idling\r\n+\r\n\
        t12 NO [TRYCREATE] no {x}\r\n\
        t4294967295 BAD\r\n\
        * 5 EXISTS\n";

    #[test]
    fn a_dialogue_is_read_as_it_was_meant() {
        let seen = scan_in_pieces(DIALOGUE, &[]);
        let kinds: Vec<Kind> = seen.iter().map(|r| r.0).collect();
        assert_eq!(
            kinds,
            [
                Kind::Untagged,
                Kind::Tagged(7, Status::Ok),
                Kind::Untagged,
                Kind::Untagged,
                Kind::Continue,
                Kind::Continue,
                Kind::Tagged(12, Status::No),
                Kind::Tagged(u32::MAX, Status::Bad),
                Kind::Untagged,
            ]
        );
        assert_eq!(seen[2].2, 12);
        assert_eq!(seen[2].1, b"* 3 FETCH (UID 9 BODY[HEADER] {12}\r\n BODY[TEXT] {0}\r\n)");
        // The literal's content looks like an announcement and the line ends right after it.
        assert_eq!(seen[3].1, b"* LIST () \"/\" {5}\r\n");
        assert_eq!(seen[8].1, b"* 5 EXISTS");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(mut cuts in proptest::collection::vec(0..=DIALOGUE.len(), 0..40)) {
            cuts.sort_unstable();
            prop_assert_eq!(scan_in_pieces(DIALOGUE, &cuts), scan_in_pieces(DIALOGUE, &[]));
        }

        #[test]
        fn any_octets_do_not_hurt(octets in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let cut = cut.min(octets.len());
            prop_assert_eq!(scan_in_pieces(&octets, &[cut]), scan_in_pieces(&octets, &[]));
        }
    }

    fn one(text: &[u8]) -> Response<'_> {
        response(text, 0)
    }

    #[test]
    fn numbers_are_found_where_they_stand() {
        assert_eq!(one(b"* 23 EXISTS\r\n").numbered(), Some((23, &b"EXISTS"[..])));
        assert_eq!(one(b"* 2 FETCH (FLAGS ())\r\n").numbered(), Some((2, &b"FETCH"[..])));
        assert_eq!(one(b"* OK hi\r\n").numbered(), None);
        assert_eq!(one(b"* OK [HighestModSeq 715] x\r\n").number_after(b"HIGHESTMODSEQ"), Some(715));
        assert_eq!(one(b"* STATUS a (MESSAGES 3 UIDNEXT 4)\r\n").number_after(b"UIDNEXT"), Some(4));
        assert_eq!(one(b"* STATUS a ()\r\n").number_after(b"UIDNEXT"), None);
        assert_eq!(one(b"t3 OK [APPENDUID 1 2] done\r\n").rest(), b"[APPENDUID 1 2] done");
        assert_eq!(leading_number(b"99999999999999999999"), None);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut scanner = Scanner::default();
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..17).try_for_each(|_| scanner.feed(&piece, |_| {}));
        assert_eq!(fed, Err(TooLong));
    }
}
