//! User patterns: `user{n}`, `tel:+1555{n:07}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most digits a pattern may ask for.
const WIDTH_MAX: usize = 18;

/// A text with one place for the user's number, counted from 1. `{n}` is the bare number, `{n:07}` has at least
/// seven digits. A pattern without a place names one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserPattern {
    before: String,
    /// Least digits; `None` when the pattern has no place.
    width: Option<usize>,
    after: String,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad user pattern {pattern:?}: {reason}")]
pub struct BadPattern {
    pattern: String,
    reason: &'static str,
}

impl UserPattern {
    /// The name of user `number`.
    pub fn name(&self, number: u32) -> String {
        match self.width {
            Some(width) => format!("{}{number:0width$}{}", self.before, self.after),
            None => self.before.clone(),
        }
    }
}

impl FromStr for UserPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = |reason| BadPattern { pattern: text.to_owned(), reason };
        if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(bad("it is empty or has control characters"));
        }
        let Some((before, rest)) = text.split_once('{') else {
            return Ok(Self { before: text.to_owned(), width: None, after: String::new() });
        };
        let (place, after) = rest.split_once('}').ok_or_else(|| bad("`{` without `}`"))?;
        if after.contains(['{', '}']) {
            return Err(bad("more than one place"));
        }
        let width = match place.split_once(':') {
            None if place == "n" => 0,
            Some(("n", digits)) => digits
                .strip_prefix('0')
                .and_then(|d| d.parse().ok())
                .filter(|&w| w <= WIDTH_MAX)
                .ok_or_else(|| bad("a width is written like {n:07}, 18 at most"))?,
            _ => return Err(bad("a place is written {n} or {n:07}")),
        };
        Ok(Self { before: before.to_owned(), width: Some(width), after: after.to_owned() })
    }
}

impl fmt::Display for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.width {
            None => f.write_str(&self.before),
            Some(0) => write!(f, "{}{{n}}{}", self.before, self.after),
            Some(width) => write!(f, "{}{{n:0{width}}}{}", self.before, self.after),
        }
    }
}

impl TryFrom<String> for UserPattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl From<UserPattern> for String {
    fn from(pattern: UserPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_make_names() {
        for (pattern, number, name) in [
            ("user{n}", 7, "user7"),
            ("tel:+1555{n:07}", 42, "tel:+15550000042"),
            ("sip:u{n}@example.org", 1000, "sip:u1000@example.org"),
            ("{n:02}", 123, "123"),
            ("alone", 9, "alone"),
        ] {
            let parsed: UserPattern = pattern.parse().unwrap();
            assert_eq!(parsed.name(number), name);
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["", "a{", "a{m}", "{n}{n}", "{n:7}", "{n:0}", "{n:099}", "a\r\nb"] {
            assert!(pattern.parse::<UserPattern>().is_err(), "{pattern}");
        }
    }
}
