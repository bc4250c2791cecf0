//! Input that no client should send: commands bent by a seeded generator, so that a failure can be had again.

/// Commands that the generator bends; each is good as it stands, in some state.
const SEEDS: [&str; 40] = [
    "NOOP",
    "CAPABILITY",
    "LOGIN \"tel:+15559999999\" {8}",
    "LOGIN \"tel:+15559999999\" \"secret\"",
    "AUTHENTICATE PLAIN AGFiYwB4eXo=",
    "AUTHENTICATE SCRAM-SHA-256 biwsbj1hLHI9Yg==",
    "SELECT \"box\"",
    "SELECT box (QRESYNC (1 2 1:5 (1:3 1:3)))",
    "EXAMINE INBOX (CONDSTORE)",
    "CREATE \"a/b/c\" (USE (\\Sent))",
    "DELETE \"a/b/c\"",
    "RENAME a b",
    "SUBSCRIBE \"&AOQ-\"",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"%\" \"*/x\") RETURN (CHILDREN STATUS (MESSAGES SIZE))",
    "LSUB \"\" \"*\"",
    "NAMESPACE",
    "STATUS box (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)",
    "APPEND box (\\Seen \\read-report-sent) \"01-Jan-2024 00:00:00 +0000\" {5}",
    "APPEND box {5+}",
    "APPEND box CATENATE (URL \"/box/;UID=1/;SECTION=1\" TEXT {4+}",
    "IDLE",
    "ENABLE QRESYNC UTF8=ACCEPT",
    "ID (\"name\" \"x\" \"version\" NIL)",
    "SEARCH RETURN (MIN MAX COUNT SAVE PARTIAL 1:10) OR (SEEN NOT DELETED) HEADER subject \"x\"",
    "UID SEARCH CHARSET UTF-8 SUBJECT {3+}",
    "SEARCH ((((((((ALL))))))))",
    "FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO)]<0.100> BODYSTRUCTURE ENVELOPE MODSEQ)",
    "UID FETCH 1:*,5 (BINARY.PEEK[1.2]<1.2> PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED)",
    "STORE 1:3 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Deleted $Work)",
    "UID STORE $ -FLAGS ()",
    "COPY 1:2 INBOX",
    "UID MOVE 1:* nowhere",
    "SORT (REVERSE DATE SUBJECT) UTF-8 ALL",
    "UID THREAD REFERENCES UTF-8 SINCE 1-Jan-2024",
    "REPLACE 1 box {3+}",
    "UID EXPUNGE 4:6",
    "GETQUOTAROOT INBOX",
    "SETQUOTA \"\" (STORAGE 5)",
    "UNSELECT",
    "COMPRESS NONSENSE",
];

/// Pieces that grammars stumble over.
const PIECES: [&[u8]; 32] = [
    b"(",
    b")",
    b"((((((((((((((((((((((((((((((((",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"{0}",
    b"{0+}",
    b"~{3+}",
    b"{-1}",
    b"{4294967296}",
    b"{18446744073709551616+}",
    b"{99999999999999999999999999}",
    b"\0",
    b"\r",
    b"\n",
    b"\xff\xfe",
    b"\xc3\x28",
    b"&AP",
    b"&-&-&",
    b"%*%*%*%*",
    b"NIL",
    b" ",
    b"  ",
    b"0",
    b"4294967295:*",
    b"1:2:3",
    b",,",
    b"[]",
    b"]<0.",
    b"\x7f",
];

/// A generator of its own: splitmix64, the same everywhere and for ever.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}

/// One input: what to send, and what the server then waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The octets, final CRLF included.
    pub octets: Vec<u8>,
    /// Octets of a non-synchronizing literal that the line announces at its end: they must follow, or the server
    /// rightly waits.
    pub owed: Option<u64>,
}

/// The next input. `tag` begins it, most of the time.
pub fn next(chance: &mut Chance, tag: &str) -> Malformed {
    let mut line = SEEDS[chance.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(line.len() + 1);
        match chance.below(8) {
            0 => line.truncate(at),
            1 => {
                let end = (at + chance.below(6)).min(line.len());
                line.drain(at..end);
            }
            2 => {
                let piece = line[at..(at + chance.below(20)).min(line.len())].to_vec();
                let into = chance.below(line.len() + 1);
                line.splice(into..into, piece);
            }
            3 => {
                if let Some(octet) = line.get_mut(at) {
                    *octet = chance.draw() as u8;
                }
            }
            4 => {
                let piece = b"(NOT ".repeat(1 + chance.below(3_000));
                line.splice(at..at, piece);
            }
            5 => {
                let piece = vec![b'a' + chance.below(26) as u8; chance.below(70_000)];
                line.splice(at..at, piece);
            }
            _ => {
                line.splice(at..at, PIECES[chance.below(PIECES.len())].iter().copied());
            }
        }
    }
    let mut octets = if chance.below(20) == 0 { Vec::new() } else { format!("{tag} ").into_bytes() };
    octets.extend_from_slice(&line);
    octets.extend_from_slice(b"\r\n");
    let owed = owed(&octets);
    Malformed { octets, owed }
}

/// What a line that ends in `{n+}` owes.
fn owed(line: &[u8]) -> Option<u64> {
    let inside = line.strip_suffix(b"+}\r\n")?;
    let open = inside.iter().rposition(|octet| *octet == b'{')?;
    let digits = std::str::from_utf8(&inside[open + 1..]).ok()?;
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_input() {
        let (mut a, mut b) = (Chance::new(7), Chance::new(7));
        for number in 0..1_000 {
            let tag = format!("m{number}");
            assert_eq!(next(&mut a, &tag), next(&mut b, &tag));
        }
    }

    #[test]
    fn what_is_owed() {
        assert_eq!(owed(b"a APPEND x {5+}\r\n"), Some(5));
        assert_eq!(owed(b"a APPEND x {5}\r\n"), None);
        assert_eq!(owed(b"a APPEND x {+}\r\n"), None);
        assert_eq!(owed(b"a {99999999999999999999999999+}\r\n"), Some(u64::MAX));
    }
}
