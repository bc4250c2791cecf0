//! Text of messages for SEARCH (RFC 9051 §6.4.4): decoded, folded, and looked through for a substring.
//!
//! Text is compared as i;unicode-casemap does (RFC 5051), which I18NLEVEL=1 asks for: title case, then compatibility
//! decomposition. Where that leaves small letters behind (the ligature "ﬁ"), title case is taken once more, so that a
//! search finds at least what the RFC finds. ASCII, nearly all of it, takes a fast path.
//!
//! Leaves are searched as they stream: transfer encoding, charset and folding keep a few octets of state, and a match
//! may span pieces. HTML is searched as its source.

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::DecomposingNormalizerBorrowed;
use memchr::memmem::Finder;

use crate::envelope::{self, EnvelopeField};
use crate::header::{self, Field};
use crate::index::{Encoding, MessageIndex, Part, PartKind};
use crate::{charset, transfer, words};

const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const DECOMPOSE: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();

/// Octets of non-ASCII text that wait for what follows, so that marks are ordered across pieces.
const HELD_BYTES_MAX: usize = 64;
/// Octets of a leaf that are decoded at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// Text in the form that i;unicode-casemap compares. Equal texts become equal octets, and a part of a text becomes a
/// part of its form. Use it for SORT and THREAD keys as well.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(&mut out, text);
    out
}

/// ASCII goes by itself, which is what most text is: it takes no table, and as each of it is a starter, marks of other
/// scripts are not reordered across it.
fn fold_into(out: &mut String, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|octet| !octet.is_ascii()).unwrap_or(rest.len());
        let begin = out.len();
        out.push_str(&rest[..ascii]);
        out[begin..].make_ascii_uppercase();
        rest = &rest[ascii..];
        let other = rest.bytes().position(|octet| octet.is_ascii()).unwrap_or(rest.len());
        if other > 0 {
            let titled: String = rest[..other].chars().map(|char| CASES.simple_titlecase(char)).collect();
            out.extend(DECOMPOSE.normalize(&titled).chars().map(|char| CASES.simple_titlecase(char)));
            rest = &rest[other..];
        }
    }
}

/// What is looked for. Made once for a SEARCH, used on any number of messages and threads.
#[derive(Debug, Clone)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// Looks for `text` in any case. An empty text is found everywhere.
    pub fn new(text: &str) -> Self {
        Self { finder: Finder::new(fold(text).as_bytes()).into_owned() }
    }

    /// Whether it is empty, and so found everywhere.
    pub fn is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }

    /// Whether `text` contains it.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_empty() || self.finder.find(fold(text).as_bytes()).is_some()
    }

    /// Where it first stands in octets made by [`fold`]; these may have others between them that no UTF-8 has.
    pub fn find_in_folded(&self, folded: &[u8]) -> Option<usize> {
        self.finder.find(folded)
    }
}

/// Looks for a needle in text that comes in pieces.
#[derive(Debug)]
struct Matcher<'n> {
    needle: &'n Needle,
    /// Not folded yet.
    held: String,
    /// Folded; the last of it may begin a match.
    window: String,
    found: bool,
}

impl<'n> Matcher<'n> {
    fn new(needle: &'n Needle) -> Self {
        Self { needle, held: String::new(), window: String::new(), found: needle.is_empty() }
    }

    fn push(&mut self, text: &str) {
        if self.found {
            return;
        }
        self.held.push_str(text);
        let tail = self.held.len().saturating_sub(HELD_BYTES_MAX);
        let cut = match self.held.as_bytes()[tail..].iter().rposition(u8::is_ascii) {
            Some(at) => tail + at + 1,
            None => self.held.floor_char_boundary(tail),
        };
        let rest = self.held.split_off(cut);
        let ready = std::mem::replace(&mut self.held, rest);
        self.look(&ready);
    }

    fn look(&mut self, ready: &str) {
        fold_into(&mut self.window, ready);
        self.found = self.needle.finder.find(self.window.as_bytes()).is_some();
        let keep = self.needle.finder.needle().len().saturating_sub(1);
        let gone = self.window.floor_char_boundary(self.window.len().saturating_sub(keep));
        self.window.drain(..gone);
    }

    fn finish(mut self) -> bool {
        if !self.found {
            let held = std::mem::take(&mut self.held);
            self.look(&held);
        }
        self.found
    }
}

/// Looks for a needle in a leaf whose octets stream.
pub struct LeafSearch<'n> {
    transfer: transfer::Decoder,
    charset: charset::Decoder,
    matcher: Matcher<'n>,
    octets: Vec<u8>,
}

impl<'n> LeafSearch<'n> {
    /// A search of `part`. None where its content is not text: only text/* and the leaves of message/* are looked
    /// through.
    pub fn new(part: &Part<'_>, needle: &'n Needle) -> Option<Self> {
        let is_text = part.kind == PartKind::Text
            || part.kind == PartKind::Other && part.media_type.starts_with("message/");
        if !is_text {
            return None;
        }
        Some(Self {
            transfer: transfer::Decoder::new(part.encoding).ok()?,
            charset: charset::Decoder::new(part.charset.as_bytes()),
            matcher: Matcher::new(needle),
            octets: Vec::new(),
        })
    }

    /// Looks through the next octets of the part's body. Returns whether the needle has been found; no more need be
    /// pushed then.
    pub fn push(&mut self, octets: &[u8]) -> bool {
        for piece in octets.chunks(PIECE_BYTES) {
            if self.matcher.found {
                break;
            }
            self.transfer.push(piece, &mut self.octets);
            self.decode(false);
        }
        self.matcher.found
    }

    /// Ends the part. Returns whether the needle was found.
    pub fn finish(mut self) -> bool {
        if !self.matcher.found {
            let transfer = std::mem::replace(&mut self.transfer, transfer::Decoder::identity());
            transfer.finish(&mut self.octets);
            self.decode(true);
        }
        self.matcher.finish()
    }

    fn decode(&mut self, last: bool) {
        self.charset.push(&self.octets, last, |text| self.matcher.push(text));
        self.octets.clear();
    }
}

impl std::fmt::Debug for LeafSearch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafSearch").field("matcher", &self.matcher).finish_non_exhaustive()
    }
}

/// SEARCH BODY on a message in memory: whether any leaf's text contains the needle.
pub fn body_contains(message: &[u8], index: &MessageIndex, needle: &Needle) -> bool {
    needle.is_empty()
        || index.parts().any(|part| {
            let Some(mut search) = LeafSearch::new(&part, needle) else { return false };
            search.push(slice(message, &part.body));
            search.finish()
        })
}

/// SEARCH TEXT on a message in memory: headers, those of parts included, and bodies.
pub fn text_contains(message: &[u8], index: &MessageIndex, needle: &Needle) -> bool {
    index.parts().any(|part| block_contains(slice(message, &part.header), needle))
        || body_contains(message, index, needle)
}

fn slice<'a>(message: &'a [u8], range: &std::ops::Range<u64>) -> &'a [u8] {
    let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(message.len());
    &message[bound(range.start)..bound(range.end)]
}

/// Whether any field of a header block, name or decoded value, contains the needle.
pub fn block_contains(block: &[u8], needle: &Needle) -> bool {
    needle.is_empty()
        || header::fields(block).any(|field| {
            let name = String::from_utf8_lossy(field.name);
            let separator = if field.name.is_empty() { "" } else { ": " };
            needle.is_in(&format!("{name}{separator}{}", words::decode(field.value)))
        })
}

/// SEARCH HEADER, SUBJECT, FROM, TO, CC and BCC: whether a field `name` has the needle in its decoded value. With an
/// empty needle, whether there is such a field.
pub fn field_contains(block: &[u8], name: &str, needle: &Needle) -> bool {
    header::fields(block).filter(|field| field.is(name)).any(|field| value_contains(&field, needle))
}

/// As [`field_contains`], from the index alone, without the message: for SUBJECT, FROM, TO, CC, BCC, Message-ID,
/// In-Reply-To and the CPM headers. Addresses match as `name <local@host>`, both decoded. None where the index cannot
/// tell and the header must be read: for other fields, with an empty needle for those of the ENVELOPE, and where a
/// field passed a limit or stands twice.
pub fn index_contains(index: &MessageIndex, name: &str, needle: &Needle) -> Option<bool> {
    if let Some(value) = index.kept_header(name) {
        return Some(value.is_some_and(|value| needle.is_in(&words::decode(value))));
    }
    let (_, field) = ENVELOPE_FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    if needle.is_empty() {
        return None;
    }
    let found = envelope::texts(&index.envelope(), *field).iter().any(|text| needle.is_in(text));
    (found || !index.envelope_is_cut()).then_some(found)
}

/// Fields whose text an ENVELOPE holds.
const ENVELOPE_FIELDS: [(&str, EnvelopeField); 7] = [
    ("subject", EnvelopeField::Subject),
    ("from", EnvelopeField::From),
    ("to", EnvelopeField::To),
    ("cc", EnvelopeField::Cc),
    ("bcc", EnvelopeField::Bcc),
    ("in-reply-to", EnvelopeField::InReplyTo),
    ("message-id", EnvelopeField::MessageId),
];

fn value_contains(field: &Field<'_>, needle: &Needle) -> bool {
    needle.is_empty() || needle.is_in(&words::decode(field.value))
}

impl transfer::Decoder {
    fn identity() -> Self {
        // Identity is always known.
        Self::new(Encoding::Identity).unwrap_or_else(|_| unreachable!("identity is a known encoding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn folding() {
        for (a, b) in [
            ("Straße", "sTRAßE"),
            ("É", "e\u{301}"),
            ("ＡＢＣ", "abc"),
            ("ﬁn", "FIN"),
            ("ΣΑΣ", "σας"),
            ("Ǆ", "ǆ"),
            ("q\u{307}\u{323}", "Q\u{323}\u{307}"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_ne!(fold("e"), fold("é"));
        assert_eq!(fold("aZ1"), "AZ1");
    }

    proptest::proptest! {
        /// Taken apart at ASCII, text folds as it does in one piece (RFC 5051 §2).
        #[test]
        fn ascii_apart_is_the_same(text in "([a-zA-Z ]|[\\u{80}-\\u{24ff}]|[\\u{300}-\\u{345}]|\\PC){0,24}") {
            let title = |text: &str| text.chars().map(|char| CASES.simple_titlecase(char)).collect::<String>();
            proptest::prop_assert_eq!(fold(&text), title(&DECOMPOSE.normalize(&title(&text))));
        }
    }

    #[test]
    fn matches_span_pieces() {
        let text = "Grüße aus Köln, 東京から, q\u{307}\u{323} and plain ASCII";
        for needle in
            ["GRÜSSE", "grüße AUS k", "東京", "Q\u{323}\u{307} AND", "ascii", "plain ascii!", "n, 東"]
        {
            let needle = Needle::new(needle);
            let whole = needle.is_in(text);
            for (a, _) in text.char_indices() {
                for (b, _) in text.char_indices().filter(|(b, _)| *b >= a) {
                    let mut matcher = Matcher::new(&needle);
                    for piece in [&text[..a], &text[a..b], &text[b..]] {
                        matcher.push(piece);
                    }
                    assert_eq!(matcher.finish(), whole, "{needle:?} at {a}, {b}");
                }
            }
        }
    }

    fn check(message: &str, needle: &str, body: bool, text: bool) {
        let index = crate::index::parse(message.as_bytes(), &Limits::default());
        let needle = Needle::new(needle);
        assert_eq!(body_contains(message.as_bytes(), &index, &needle), body, "BODY {needle:?} in {message}");
        assert_eq!(text_contains(message.as_bytes(), &index, &needle), text, "TEXT {needle:?} in {message}");
    }

    #[test]
    fn bodies_and_headers() {
        let message = "Subject: =?utf-8?q?caf=C3=A9?= au\r\n lait\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n\
            --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            Gr=FC=DFe =\r\nzusammen\r\n--b\r\nContent-Type: text/plain; charset=utf-8; name=secret\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nw4kgbGEgY2FydGU=\r\n--b\r\nContent-Type: image/png\r\n\r\nhidden\r\n--b--\r\n";
        check(message, "grüße ZUSAMMEN", true, true);
        check(message, "é la carte", true, true);
        check(message, "CAFÉ AU LAIT", false, true);
        check(message, "subject: caf", false, true);
        check(message, "secret", false, true);
        check(message, "hidden", false, false);
        check(message, "preamble", false, false);
        check(message, "", true, true);
        let cpim = "Content-Type: message/cpim\r\n\r\nFrom: <tel:+1>\r\n\r\nContent-Type: text/plain\r\n\r\nBonjour é";
        check(cpim, "BONJOUR É", true, true);
    }

    #[test]
    fn fields() {
        let block = b"Subject: a =?utf-8?b?w6k=?=\r\nX: caf\xc3\xa9\r\nX: two\r\n\r\n";
        for (name, needle, expected) in [
            ("subject", "A É", true),
            ("Subject", "", true),
            ("subject", "b", false),
            ("x", "CAFÉ", true),
            ("X", "two", true),
            ("y", "", false),
        ] {
            assert_eq!(field_contains(block, name, &Needle::new(needle)), expected, "{name} {needle}");
        }
    }

    #[test]
    fn fields_from_the_index() {
        let long = format!("From: a@b\r\nTo: {}z@z\r\n\r\n", "x@y, ".repeat(10_000));
        let short = "From: =?utf-8?q?Zo=C3=AB?= <z@x>\r\nTo: y@y\r\nContribution-ID: AbC\r\n\r\n";
        for (message, name, needle, expected) in [
            (short, "From", "ZOË", Some(true)),
            (short, "from", "z@X", Some(true)),
            (short, "from", "y@y", Some(false)),
            (short, "from", "", None),
            (short, "contribution-id", "abc", Some(true)),
            (short, "contribution-id", "", Some(true)),
            (short, "contribution-id", "abd", Some(false)),
            (short, "conversation-id", "", Some(false)),
            (short, "date", "2026", None),
            ("Subject: a\r\nSubject: b\r\n\r\n", "subject", "a", Some(true)),
            ("Subject: a\r\nSubject: b\r\n\r\n", "subject", "b", None),
            (&long, "to", "x@y", Some(true)),
            (&long, "to", "z@z", None),
        ] {
            let index = crate::index::parse(message.as_bytes(), &Limits::default());
            assert_eq!(index_contains(&index, name, &Needle::new(needle)), expected, "{name} {needle}");
        }
    }

    #[test]
    fn a_leaf_in_pieces_is_a_leaf() {
        let message = "Content-Type: text/plain; charset=shift_jis\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            g26DjYFbgUWDj4Fbg4uDaA==\r\n";
        let index = crate::index::parse(message.as_bytes(), &Limits::default());
        let part = index.root();
        let body = slice(message.as_bytes(), &part.body);
        let needle = Needle::new("ハロー・ワールド");
        for at in 0..body.len() {
            let mut search = LeafSearch::new(&part, &needle).expect("text");
            search.push(&body[..at]);
            search.push(&body[at..]);
            assert!(search.finish(), "{at}");
        }
    }
}
