//! Patterns of mailbox names: `*` stands for anything, `%` for anything within one level (RFC 9051 §6.3.9).

use model::{HIERARCHY_SEPARATOR, MailboxName};

/// A pattern with its reference before it.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<char>);

impl Pattern {
    /// The reference is put before the pattern as it is, as most servers do (RFC 3501 §6.3.8 leaves it to them).
    pub fn new(reference: &str, pattern: &str) -> Self {
        let mut chars: Vec<char> = Vec::with_capacity(reference.len() + pattern.len());
        for c in reference.chars().chain(pattern.chars()) {
            // A run of wildcards means what its widest member means.
            match (chars.last(), c) {
                (Some('*'), '*' | '%') | (Some('%'), '%') => {}
                (Some('%'), '*') => {
                    chars.pop();
                    chars.push('*');
                }
                _ => chars.push(c),
            }
        }
        Self(chars)
    }

    /// Whether the whole name matches; INBOX as a first level in any case. Takes at most pattern × name steps.
    pub fn matches(&self, name: &MailboxName) -> bool {
        let text = name.as_str();
        let inbox = text.split(HIERARCHY_SEPARATOR).next() == Some("INBOX");
        // states[i]: the first i characters of the pattern match what was read of the name.
        let pattern = &self.0;
        let mut states = vec![false; pattern.len() + 1];
        states[0] = true;
        self.skip_wildcards(&mut states);
        for (at, c) in text.chars().enumerate() {
            let mut next = vec![false; pattern.len() + 1];
            for (i, &p) in pattern.iter().enumerate() {
                if !states[i] {
                    continue;
                }
                match p {
                    '*' => next[i] = true,
                    '%' => next[i] |= c != HIERARCHY_SEPARATOR,
                    _ if p == c || (inbox && at < 5 && p.eq_ignore_ascii_case(&c)) => next[i + 1] = true,
                    _ => {}
                }
            }
            self.skip_wildcards(&mut next);
            states = next;
        }
        states.last() == Some(&true)
    }

    /// Wildcards match nothing, too.
    fn skip_wildcards(&self, states: &mut [bool]) {
        for (i, p) in self.0.iter().enumerate() {
            if states[i] && matches!(p, '*' | '%') {
                states[i + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        let name = MailboxName::parse(name).expect("a name");
        assert_eq!(Pattern::new("", pattern).matches(&name), expected, "{pattern} {name}");
    }

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("a/%", "a/b", true),
            ("a/%", "a", false),
            ("a*", "a", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/b/c", false),
            ("%/%", "a/b", true),
            ("*/c", "a/b/c", true),
            ("%*%", "a/b", true),
            ("inb%", "INBOX", true),
            ("InBoX/sub", "INBOX/sub", true),
            ("inbox/SUB", "INBOX/sub", false),
            ("inboxes", "inboxEs", false),
            ("tél*", "téléphone", true),
            ("", "a", false),
        ] {
            check(pattern, name, expected);
        }
        let name = MailboxName::parse("a/b").expect("a name");
        assert!(Pattern::new("a/", "%").matches(&name) && !Pattern::new("a", "%").matches(&name));
    }

    #[test]
    fn many_wildcards_take_no_time() {
        check(&"*a".repeat(200), &"a".repeat(800), true);
        check(&format!("{}b", "*a".repeat(200)), &"a".repeat(800), false);
    }

    /// The meaning, spelled out.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some('*'), _) => naive(&pattern[1..], name) || (!name.is_empty() && naive(pattern, &name[1..])),
            (Some('%'), _) => {
                naive(&pattern[1..], name)
                    || (name.first().is_some_and(|c| *c != '/') && naive(pattern, &name[1..]))
            }
            (Some(p), Some(c)) => p == c && naive(&pattern[1..], &name[1..]),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn as_its_meaning(pattern in "[ab/%*]{0,8}", name in "[ab]{1,3}(/[ab]{1,3}){0,2}") {
            let parsed = MailboxName::parse(&name).expect("a name");
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Pattern::new("", &pattern).matches(&parsed),
                naive(&chars(&pattern), &chars(&name))
            );
        }
    }
}
