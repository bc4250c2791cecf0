//! Address lists (RFC 5322 §3.4, §4.4) as ENVELOPE wants them: octets kept, RFC 2047 words untouched.
//!
//! Written for the answer of RFC 9051 §7.5.2, which distinguishes groups, routes and missing parts; and lenient, for
//! an address list is whatever a sender put there. CPM objects carry `tel:` and `sip:` URIs where RFC 5322 wants a
//! mailbox, with or without angle brackets; those are read as one address, never as a group named `tel`.

use crate::quote::{nstring, string};

/// One element of an address list, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A mailbox.
    Mailbox(Mailbox),
    /// Opens a group of this name.
    GroupStart(Vec<u8>),
    /// Closes the group.
    GroupEnd,
}

/// One mailbox. `local` and `host` are empty where they are missing, never absent, as an absent one means a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name without quoting; a trailing comment where there is no other.
    pub name: Option<Vec<u8>>,
    /// Obsolete source route, such as `@a,@b`.
    pub route: Option<Vec<u8>>,
    /// Local part without quoting; of a URI, all before the `@`, scheme included.
    pub local: Vec<u8>,
    /// Domain.
    pub host: Vec<u8>,
}

impl Mailbox {
    /// `local@host`, or the local part alone where there is no host (a `tel:` URI).
    pub fn address(&self) -> Vec<u8> {
        if self.host.is_empty() { self.local.clone() } else { [&self.local[..], b"@", &self.host].concat() }
    }
}

/// Iterates the elements of a field's value. Cost: one pass over the value.
pub fn elements(value: &[u8]) -> Elements<'_> {
    Elements { rest: value, in_group: false, comment: None }
}

/// See [`elements`].
#[derive(Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    in_group: bool,
    /// The last comment that was skipped since the element began.
    comment: Option<Vec<u8>>,
}

/// What stands before a delimiter: as a phrase with blanks, and as an address without.
#[derive(Default)]
struct Words {
    phrase: Vec<u8>,
    compact: Vec<u8>,
    /// Where in `compact` the last unquoted `@` is.
    at_sign: Option<usize>,
    any: bool,
}

impl<'a> Elements<'a> {
    /// Skips blanks and comments, remembering the last comment. Whether there was anything to skip.
    fn skip_cfws(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.first() != Some(&b'(') {
                return self.rest.len() != before;
            }
            let mut depth = 0usize;
            let mut text = Vec::new();
            let mut bytes = self.rest.iter().enumerate();
            let mut end = self.rest.len();
            while let Some((at, byte)) = bytes.next() {
                match byte {
                    b'\\' => text.extend(bytes.next().map(|(_, escaped)| *escaped)),
                    b'(' => {
                        depth += 1;
                        if depth > 1 {
                            text.push(b'(');
                        }
                    }
                    b')' => {
                        depth -= 1;
                        if depth == 0 {
                            end = at + 1;
                            break;
                        }
                        text.push(b')');
                    }
                    b'\r' | b'\n' => {}
                    byte => text.push(*byte),
                }
            }
            let text = text.trim_ascii();
            if !text.is_empty() {
                self.comment = Some(text.to_vec());
            }
            self.rest = &self.rest[end..];
        }
    }

    /// A quoted string's content; `rest` stands on its opening quote.
    fn quoted(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        let mut end = self.rest.len();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    end = at + 1;
                    break;
                }
                b'\\' => out.extend(bytes.next().map(|(_, escaped)| *escaped)),
                b'\r' | b'\n' => {}
                byte => out.push(*byte),
            }
        }
        self.rest = &self.rest[end..];
        out
    }

    /// Reads words up to a delimiter of `stop`, which stays.
    fn words(&mut self, stop: &[u8]) -> Words {
        let mut words = Words::default();
        let mut gap = false;
        loop {
            gap |= self.skip_cfws();
            let Some(&byte) = self.rest.first() else { return words };
            if stop.contains(&byte) {
                return words;
            }
            if gap && words.any {
                words.phrase.push(b' ');
            }
            gap = false;
            words.any = true;
            match byte {
                b'"' => {
                    let text = self.quoted();
                    words.phrase.extend_from_slice(&text);
                    words.compact.extend_from_slice(&text);
                }
                b'[' => {
                    let end = memchr::memchr(b']', self.rest).map_or(self.rest.len(), |at| at + 1);
                    let literal = self.take(end);
                    words.phrase.extend_from_slice(literal);
                    words.compact.extend(literal.iter().filter(|b| !b.is_ascii_whitespace()));
                }
                _ => {
                    let end = self
                        .rest
                        .iter()
                        .skip(1)
                        .position(|b| {
                            b.is_ascii_whitespace()
                                || matches!(b, b'(' | b'"' | b'[' | b'@')
                                || stop.contains(b)
                        })
                        .map_or(self.rest.len(), |at| at + 1);
                    if byte == b'@' {
                        words.at_sign = Some(words.compact.len());
                    }
                    let atom = self.take(end);
                    words.phrase.extend_from_slice(atom);
                    words.compact.extend_from_slice(atom);
                }
            }
        }
    }

    fn take(&mut self, end: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The rest of `<…>`, after its opening bracket.
    fn angle(&mut self, mailbox: &mut Mailbox) {
        self.skip_cfws();
        if self.rest.first() == Some(&b'@') {
            let route = self.words(b":>");
            if self.rest.first() == Some(&b':') {
                self.rest = &self.rest[1..];
                mailbox.route = Some(route.compact);
            } else {
                mailbox.set(route);
                self.rest = self.rest.get(1..).unwrap_or_default();
                return;
            }
        }
        // A URI in the brackets may hold any of the list's delimiters (`;user=phone`, `:5060`).
        let words = self.words(b">");
        mailbox.set(words);
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// `tel:`, `sip:` or `sips:` here, followed by something that is not a group's end?
    fn bare_uri(&self) -> Option<&'a [u8]> {
        let colon = self.rest.iter().take(5).position(|b| *b == b':')?;
        let scheme = &self.rest[..colon];
        if ![&b"tel"[..], b"sip", b"sips"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let after = &self.rest[colon + 1..];
        let end = after
            .iter()
            .position(|b| b.is_ascii_whitespace() || matches!(b, b',' | b'<' | b'>' | b'(' | b'"'))
            .unwrap_or(after.len());
        // `tel: a@b, c@d;` is a group after all.
        (end > 0 && after[0] != b';').then(|| &self.rest[..=colon + end])
    }
}

impl Mailbox {
    fn set(&mut self, words: Words) {
        match words.at_sign {
            Some(at) => {
                self.host = words.compact[at + 1..].to_vec();
                self.local = words.compact;
                self.local.truncate(at);
            }
            // A lone word or phrase: nobody's address, but what there is to show.
            None => self.local = words.phrase,
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        loop {
            self.comment = None;
            self.skip_cfws();
            match self.rest.first() {
                None if self.in_group => {
                    self.in_group = false;
                    return Some(Element::GroupEnd);
                }
                None => return None,
                Some(b',') => self.rest = &self.rest[1..],
                Some(b';') => {
                    self.rest = &self.rest[1..];
                    if self.in_group {
                        self.in_group = false;
                        return Some(Element::GroupEnd);
                    }
                }
                Some(_) => break,
            }
        }
        let mut mailbox = Mailbox::default();
        let mut is_bare = true;
        if let Some(uri) = self.bare_uri() {
            self.rest = &self.rest[uri.len()..];
            match memchr::memrchr(b'@', uri) {
                Some(at) => {
                    mailbox.local = uri[..at].to_vec();
                    mailbox.host = uri[at + 1..].to_vec();
                }
                None => mailbox.local = uri.to_vec(),
            }
        } else {
            // Inside a group a colon delimits nothing.
            let words = self.words(if self.in_group { b"<,;" } else { b"<,;:" });
            match self.rest.first() {
                Some(b':') => {
                    self.rest = &self.rest[1..];
                    self.in_group = true;
                    return Some(Element::GroupStart(words.phrase));
                }
                Some(b'<') => {
                    self.rest = &self.rest[1..];
                    is_bare = false;
                    self.angle(&mut mailbox);
                    mailbox.name = (!words.phrase.is_empty()).then_some(words.phrase);
                }
                _ => mailbox.set(words),
            }
        }
        // What stands between the address and the next delimiter is a comment, or noise.
        self.words(b",;");
        if is_bare {
            mailbox.name = self.comment.take();
        }
        Some(Element::Mailbox(mailbox))
    }
}

/// Appends the elements as an ENVELOPE address list, or `NIL` when there are none. Stops before the list would pass
/// `max` octets; an open group is then closed. Returns whether it was cut so.
pub(crate) fn render(out: &mut Vec<u8>, elements: impl Iterator<Item = Element>, max: usize) -> bool {
    const GROUP_END: &[u8] = b"(NIL NIL NIL NIL)";
    let begin = out.len();
    let (mut in_group, mut is_cut) = (false, false);
    out.push(b'(');
    for element in elements {
        let keep = out.len();
        let (was, is) = (in_group, matches!(element, Element::GroupStart(_)));
        match element {
            Element::Mailbox(mailbox) => {
                out.push(b'(');
                nstring(out, mailbox.name.as_deref());
                out.push(b' ');
                nstring(out, mailbox.route.as_deref());
                out.push(b' ');
                string(out, &mailbox.local);
                out.push(b' ');
                string(out, &mailbox.host);
                out.push(b')');
            }
            Element::GroupStart(name) => {
                in_group = is;
                out.extend_from_slice(b"(NIL NIL ");
                string(out, &name);
                out.extend_from_slice(b" NIL)");
            }
            Element::GroupEnd => {
                in_group = false;
                out.extend_from_slice(GROUP_END);
            }
        }
        if out.len() + GROUP_END.len() + 1 - begin > max {
            out.truncate(keep);
            (in_group, is_cut) = (was, true);
            break;
        }
    }
    if in_group {
        out.extend_from_slice(GROUP_END);
    }
    if out.len() == begin + 1 {
        out.truncate(begin);
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b')');
    }
    is_cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &str) {
        let mut out = Vec::new();
        render(&mut out, elements(value.as_bytes()), 10_000);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{value}");
    }

    #[test]
    fn lists() {
        for (value, expected) in [
            ("", "NIL"),
            (" , ,", "NIL"),
            ("user@domain", r#"((NIL NIL "user" "domain"))"#),
            ("user@domain (Real Name)", r#"(("Real Name" NIL "user" "domain"))"#),
            ("<user@domain> (Real Name)", r#"((NIL NIL "user" "domain"))"#),
            ("Real Name <u@d>", r#"(("Real Name" NIL "u" "d"))"#),
            ("\"Real, \\\"Name\\\"\" <u@d>", r#"(("Real, \"Name\"" NIL "u" "d"))"#),
            ("a@b,c@d", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            ("<@route:user@domain>", r#"((NIL "@route" "user" "domain"))"#),
            ("<@a,@b:user@domain>", r#"((NIL "@a,@b" "user" "domain"))"#),
            ("\"john doe\"@x.org", r#"((NIL NIL "john doe" "x.org"))"#),
            ("\"a@b\"@x.org", r#"((NIL NIL "a@b" "x.org"))"#),
            ("john . doe @ x . org", r#"((NIL NIL "john.doe" "x.org"))"#),
            ("u@[127.0.0.1]", r#"((NIL NIL "u" "[127.0.0.1]"))"#),
            ("J. R. <u@d>", r#"(("J. R." NIL "u" "d"))"#),
            (
                "=?utf-8?q?J=C3=A9?= =?utf-8?q?r?= <u@d>",
                r#"(("=?utf-8?q?J=C3=A9?= =?utf-8?q?r?=" NIL "u" "d"))"#,
            ),
            ("A\r\n B <u@d>", r#"(("A B" NIL "u" "d"))"#),
            ("foo", r#"((NIL NIL "foo" ""))"#),
            ("<>", r#"((NIL NIL "" ""))"#),
            ("a <b@c", r#"(("a" NIL "b" "c"))"#),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                r#"(("Pete" NIL "pete" "silly.test"))"#,
            ),
            ("Jérôme <u@d>", "(({8}\r\nJérôme NIL \"u\" \"d\"))"),
        ] {
            check(value, expected);
        }
    }

    #[test]
    fn groups() {
        for (value, expected) in [
            ("undisclosed-recipients:;", r#"((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))"#),
            (
                "group: g1@d1.org, g2@d2.org;, group2: g3@d3.org;",
                r#"((NIL NIL "group" NIL)(NIL NIL "g1" "d1.org")(NIL NIL "g2" "d2.org")(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL "g3" "d3.org")(NIL NIL NIL NIL))"#,
            ),
            (
                "group:;, group2: (foo) ;",
                r#"((NIL NIL "group" NIL)(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL NIL NIL))"#,
            ),
            (
                "A Group(Some people):Chris <c@p>,joe@w",
                r#"((NIL NIL "A Group" NIL)("Chris" NIL "c" "p")(NIL NIL "joe" "w")(NIL NIL NIL NIL))"#,
            ),
        ] {
            check(value, expected);
        }
    }

    #[test]
    fn telephone_and_sip_uris_are_addresses() {
        for (value, expected) in [
            ("tel:+14085551212", r#"((NIL NIL "tel:+14085551212" ""))"#),
            ("<tel:+14085551212>", r#"((NIL NIL "tel:+14085551212" ""))"#),
            (
                "\"Alice\" <tel:+1>, sip:bob@example.com;user=phone",
                r#"(("Alice" NIL "tel:+1" "")(NIL NIL "sip:bob" "example.com;user=phone"))"#,
            ),
            (
                "Bob <sip:bob@example.com:5060;transport=tcp>",
                r#"(("Bob" NIL "sip:bob" "example.com:5060;transport=tcp"))"#,
            ),
            ("TEL:+1;phone-context=+44 (x)", r#"(("x" NIL "TEL:+1;phone-context=+44" ""))"#),
        ] {
            check(value, expected);
        }
    }

    #[test]
    fn long_lists_are_cut_whole() {
        let value = "g: ".to_owned() + &"a@b, ".repeat(10_000) + ";";
        let mut out = Vec::new();
        assert!(render(&mut out, elements(value.as_bytes()), 200));
        assert!(
            out.len() <= 200 && out.ends_with(b"(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL))"),
            "{}",
            out.len()
        );
    }
}
