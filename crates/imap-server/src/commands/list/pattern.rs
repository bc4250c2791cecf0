//! Patterns of mailbox names: `*` stands for anything, `%` for anything within one level (RFC 9051 §6.3.9).

use model::{HIERARCHY_SEPARATOR, MailboxName};

/// A pattern with its reference before it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    chars: Vec<char>,
    /// Characters that are no wildcards.
    literal: usize,
}

/// Room for matching, used again for each name: which beginnings of the pattern match what was read of the name.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    states: Vec<bool>,
    next: Vec<bool>,
}

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
        let literal = chars.iter().filter(|c| !matches!(c, '*' | '%')).count();
        Self { chars, literal }
    }

    /// What every name that matches begins with, and whether that is all of it.
    pub fn beginning(&self) -> (String, bool) {
        let literal: String = self.chars.iter().take_while(|c| !matches!(c, '*' | '%')).collect();
        let is_whole = self.literal == self.chars.len();
        (literal, is_whole)
    }

    /// At most how many steps [`Pattern::matches`] takes: a pattern with more characters than the name has takes none,
    /// and wildcards stand between others.
    pub fn steps(&self, name: &MailboxName) -> usize {
        let length = name.as_str().len();
        if self.literal > length { 1 } else { self.chars.len() * length }
    }

    /// Whether the whole name matches; INBOX as a first level in any case.
    pub fn matches(&self, name: &MailboxName, scratch: &mut Scratch) -> bool {
        let text = name.as_str();
        if self.literal > text.len() {
            return false;
        }
        let inbox = text.split(HIERARCHY_SEPARATOR).next() == Some("INBOX");
        let Scratch { states, next } = scratch;
        let clear = |states: &mut Vec<bool>| {
            states.clear();
            states.resize(self.chars.len() + 1, false);
        };
        clear(states);
        states[0] = true;
        self.skip_wildcards(states);
        for (at, c) in text.chars().enumerate() {
            clear(next);
            let mut alive = false;
            for (i, &p) in self.chars.iter().enumerate() {
                if !states[i] {
                    continue;
                }
                let (stays, passes) = match p {
                    '*' => (true, false),
                    '%' => (c != HIERARCHY_SEPARATOR, false),
                    _ => (false, p == c || (inbox && at < 5 && p.eq_ignore_ascii_case(&c))),
                };
                next[i] |= stays;
                next[i + 1] |= passes;
                alive |= stays | passes;
            }
            if !alive {
                return false;
            }
            self.skip_wildcards(next);
            std::mem::swap(states, next);
        }
        states.last() == Some(&true)
    }

    /// Wildcards match nothing, too.
    fn skip_wildcards(&self, states: &mut [bool]) {
        for (i, p) in self.chars.iter().enumerate() {
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
        assert_eq!(
            Pattern::new("", pattern).matches(&name, &mut Scratch::default()),
            expected,
            "{pattern} {name}"
        );
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
        let matches =
            |reference, pattern| Pattern::new(reference, pattern).matches(&name, &mut Scratch::default());
        assert!(matches("a/", "%") && !matches("a", "%"));
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
                Pattern::new("", &pattern).matches(&parsed, &mut Scratch::default()),
                naive(&chars(&pattern), &chars(&name))
            );
        }
    }
}
