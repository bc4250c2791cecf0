//! The responses of one step, ticked off as they come.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::client::{Response, show};
use crate::pattern::{self, Variables};
use crate::transcript::{Expectation, Expected};
use crate::value::Value;

/// The responses of a step as they are ticked off.
pub(super) struct Block<'a> {
    expected: &'a [Expected],
    seen: Vec<bool>,
    /// Kinds of response that the step speaks of: of these none may come unasked.
    kinds: Vec<String>,
    open: bool,
    /// The command that is in progress, in upper case; empty for none.
    pub(super) command: String,
    /// Sequence numbers as they were before the step, of the messages that are left; and of those expunged since.
    left: Vec<u64>,
    gone: BTreeSet<u64>,
}

/// Messages assumed in a mailbox whose size is not known.
const EXISTS_UNKNOWN: u64 = 1_000;

impl<'a> Block<'a> {
    pub(super) fn new(expected: &'a [Expected], exists: Option<u64>) -> Self {
        let mut kinds = Vec::new();
        for expectation in expected {
            if matches!(expectation.need, Expectation::Must | Expectation::May) {
                kinds.push(pattern_kind(&expectation.pattern));
            }
        }
        Self {
            expected,
            seen: vec![false; expected.len()],
            kinds,
            open: expected.iter().any(|expectation| expectation.need == Expectation::Anything),
            command: String::new(),
            left: (1..=exists.unwrap_or(EXISTS_UNKNOWN)).collect(),
            gone: BTreeSet::new(),
        }
    }

    pub(super) fn first_missing(&self) -> Option<&Expected> {
        self.expected
            .iter()
            .zip(&self.seen)
            .find(|(expected, seen)| expected.need == Expectation::Must && !**seen)
            .map(|(expected, _)| expected)
    }

    pub(super) fn complete(&self) -> Result<(), String> {
        match self.first_missing() {
            None => Ok(()),
            Some(expected) => Err(format!(
                "line {}: expected {}\n     did not come",
                expected.line,
                show(&expected.pattern)
            )),
        }
    }

    /// Ticks a response off, or finds it tolerable, or not.
    pub(super) fn take(&mut self, response: &Response, variables: &mut Variables) -> Result<(), String> {
        if response.tag() == b"*" && self.note_numbers(response, variables)? {
            return Ok(());
        }
        for at in 0..self.expected.len() {
            let expected = &self.expected[at];
            if self.seen[at] || expected.need == Expectation::Anything {
                continue;
            }
            let text = match pattern::expand(&expected.pattern, variables) {
                Ok(text) => text,
                Err(_) if expected.need != Expectation::MustNot && !self.in_turn(at) => continue,
                Err(why) => return Err(format!("line {}: {why}", expected.line)),
            };
            let wanted = pattern::parse(&text).map_err(|error| format!("line {}: {error}", expected.line))?;
            if expected.need == Expectation::MustNot {
                if pattern::matches(&wanted, &response.values, &mut variables.clone()) {
                    return Err(format!(
                        "line {}: must not come: {}\n     got {}",
                        expected.line,
                        show(&text),
                        show(&response.octets)
                    ));
                }
            } else if self.in_turn(at) && pattern::matches(&wanted, &response.values, variables) {
                self.seen[at] = true;
                return Ok(());
            }
        }
        if self.tolerable(response) {
            return Ok(());
        }
        let mut why = format!("unexpected {}", show(&response.octets));
        for (expected, seen) in self.expected.iter().zip(&self.seen) {
            if !seen && expected.need == Expectation::Must {
                let _ =
                    write!(why, "\n  still expected, line {}: {}", expected.line, show(&expected.pattern));
            }
        }
        Err(why)
    }

    /// Follows EXISTS and EXPUNGE. True if an EXPUNGE belongs to a `* gone` line: RFC 9051 §7.5.1 leaves the order open.
    fn note_numbers(&mut self, response: &Response, variables: &Variables) -> Result<bool, String> {
        let number = response.number().unwrap_or_default();
        match response.kind().as_str() {
            "EXISTS" => {
                let next = self.left.iter().chain(&self.gone).max().map_or(1, |last| last + 1);
                let missing = number.saturating_sub(self.left.len() as u64);
                self.left.extend(next..next + missing);
                Ok(false)
            }
            "EXPUNGE" if (1..=self.left.len() as u64).contains(&number) => {
                let was = self.left.remove(number as usize - 1);
                self.gone.insert(was);
                let line =
                    self.expected.iter().position(|expected| pattern_kind(&expected.pattern) == "GONE");
                let Some(at) = line else { return Ok(false) };
                let text = pattern::expand(&self.expected[at].pattern, variables)?;
                let text = pattern::substitute(&text, variables)?;
                let wanted = text.split(|octet| *octet == b' ').next_back().and_then(pattern::number_set);
                let wanted = wanted.ok_or_else(|| format!("no set of numbers: {}", show(&text)))?;
                if !wanted.contains(&was) {
                    return Err(format!(
                        "message {was} (as numbered before this step) must stay\n     got {}",
                        response.text()
                    ));
                }
                self.seen[at] = wanted == self.gone;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// EXISTS, EXPUNGE and VANISHED (not EARLIER) come in the order written; a line after `>` comes after the one above it.
    fn in_turn(&self, at: usize) -> bool {
        if self.expected[at].after && at > 0 && !self.seen[at - 1] {
            return false;
        }
        let numbering = |expected: &Expected| {
            let kind = pattern_kind(&expected.pattern);
            let earlier = expected.pattern.to_ascii_uppercase().windows(9).any(|word| word == b"(EARLIER)");
            matches!(kind.as_str(), "EXISTS" | "EXPUNGE" | "VANISHED")
                && !earlier
                && expected.need == Expectation::Must
        };
        if !numbering(&self.expected[at]) {
            return true;
        }
        (0..at).all(|before| self.seen[before] || !numbering(&self.expected[before]))
    }

    fn tolerable(&self, response: &Response) -> bool {
        if self.open {
            return true;
        }
        let kind = response.kind();
        match kind.as_str() {
            "OK" | "NO" => response.tag() == b"*",
            "CAPABILITY" => !self.kinds.contains(&kind),
            "EXISTS" | "RECENT" | "FLAGS" => true,
            "FETCH" => {
                let Some(Value::List(items)) = response.values.get(3) else { return false };
                let flags = items.iter().any(|item| item.keyword().as_deref() == Some("FLAGS"));
                (flags || !self.kinds.contains(&kind))
                    && items.chunks(2).all(|chunk| {
                        chunk[0].keyword().is_some_and(|w| matches!(w.as_str(), "FLAGS" | "UID" | "MODSEQ"))
                    })
            }
            _ => false,
        }
    }
}

/// The word of a pattern that says what kind of response it is about.
pub(super) fn pattern_kind(pattern: &[u8]) -> String {
    let text = String::from_utf8_lossy(pattern);
    let mut words = text.split_whitespace().skip(1);
    let first = words.next().unwrap_or_default();
    let numeric = first.starts_with('$') || first.starts_with(|c: char| c.is_ascii_digit());
    let word = if numeric { words.next().unwrap_or_default() } else { first };
    word.to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(pattern_kind(b"* 2 expunge"), "EXPUNGE");
        assert_eq!(pattern_kind(b"* $n fetch (x y)"), "FETCH");
        assert_eq!(pattern_kind(b"* list () \"/\" a"), "LIST");
    }
}
