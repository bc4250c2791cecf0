//! Annotations of messages: names of entries, and patterns that name several.

use std::fmt;

use crate::limits::{ANNOTATION_PATTERNS_BYTES_MAX, ANNOTATION_PATTERNS_MAX, ENTRY_NAME_BYTES_MAX};

/// The name of an annotation entry of a message: a path such as `/comment` or `/1.2/comment`. Unlike names of metadata
/// entries it is compared with case. Source: RFC 5257 §3.2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnotationName(Box<str>);

/// A path in which `*` stands for anything and `%` for anything but a slash. Source: RFC 5257 §4.3.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnnotationPattern(Box<str>);

/// Why a text is not the name of an annotation entry, nor a pattern of such names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationNameError {
    /// It has no slash in front, one at its end, or two together.
    #[error("the name of an annotation entry is a path: a / before each part, none at the end")]
    NotAPath,
    /// It has a wildcard where none may be, a control character, or one beyond ASCII.
    #[error("the name of an annotation entry is of printable ASCII characters without * and %")]
    BadCharacter,
    /// It begins with a digit and is no part specifier.
    #[error("a part of a message is named by numbers from 1 on with dots between them, such as 1.2")]
    BadPart,
    /// It is too long.
    #[error("the name of an annotation entry must not be longer than {ENTRY_NAME_BYTES_MAX} characters")]
    TooLong,
}

/// The flags that a part of a message may have as entries. Source: RFC 5257 §3.2.1.
const PART_FLAGS: [&str; 4] = ["seen", "answered", "flagged", "forwarded"];

impl AnnotationName {
    /// The entry that shows which device read a message. Set by the server alone.
    pub const SEEN_IDENTITY: &str = "/vendor/oma/cpm/seen-identity";
    /// The entry that shows which device deleted a message. Set by the server alone.
    pub const DELETE_IDENTITY: &str = "/vendor/oma/cpm/delete-identity";

    /// Reads a name.
    ///
    /// # Errors
    /// [`AnnotationNameError`] says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, AnnotationNameError> {
        let text = path(text)?;
        if text.bytes().any(|b| matches!(b, b'*' | b'%')) {
            return Err(AnnotationNameError::BadCharacter);
        }
        let first = text.split('/').nth(1).ok_or(AnnotationNameError::NotAPath)?;
        if !text.starts_with('/') || text.split('/').skip(1).any(str::is_empty) {
            return Err(AnnotationNameError::NotAPath);
        }
        if first.starts_with(|c: char| c.is_ascii_digit()) && !is_part(first) {
            return Err(AnnotationNameError::BadPart);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part of the message that it is about, such as `1.2`; none for the whole message.
    pub fn part(&self) -> Option<&str> {
        self.0.split('/').nth(1).filter(|first| first.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// The entry without the part in front: `comment`, `vendor/acme/label`.
    fn rest(&self) -> &str {
        let whole = &self.0[1..];
        match self.part() {
            Some(part) => whole[part.len()..].trim_start_matches('/'),
            None => whole,
        }
    }

    /// Whether clients may set it: it is registered, or below a vendor's token, and not the server's own. `/flags` is
    /// reserved, and nothing may be there (RFC 5257 §3.5).
    pub fn is_settable(&self) -> bool {
        let rest = self.rest();
        match rest.split_once('/') {
            None => rest == "comment" || (rest == "altsubject" && self.part().is_none()),
            Some(("vendor", _)) => !self.is_of_server(),
            Some(("flags", flag)) => self.part().is_some() && PART_FLAGS.contains(&flag),
            Some(_) => false,
        }
    }

    /// Whether it is a flag of a part: its value is then `1` or `0`.
    pub fn is_part_flag(&self) -> bool {
        self.part().is_some() && self.rest().starts_with("flags/")
    }

    /// Whether the server alone sets it.
    pub fn is_of_server(&self) -> bool {
        [Self::SEEN_IDENTITY, Self::DELETE_IDENTITY].contains(&self.as_str())
    }
}

impl fmt::Display for AnnotationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AnnotationPattern {
    /// Reads a pattern; without a wildcard it must be a name.
    ///
    /// # Errors
    /// [`AnnotationNameError`] says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, AnnotationNameError> {
        let text = path(text)?;
        if !text.bytes().any(|b| matches!(b, b'*' | b'%')) {
            return AnnotationName::parse(text.as_bytes()).map(Self::from);
        }
        if !text.starts_with(['/', '*', '%']) || text.contains("//") || text.ends_with('/') {
            return Err(AnnotationNameError::NotAPath);
        }
        Ok(Self(text.into()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one name that it stands for, where it has no wildcard.
    pub fn name(&self) -> Option<AnnotationName> {
        (!self.is_wild()).then(|| AnnotationName(self.0.clone()))
    }

    /// The part of a message that all it stands for are about, such as `1.2`: where the pattern names one.
    pub fn part(&self) -> Option<&str> {
        self.0.split('/').nth(1).filter(|first| self.0.starts_with('/') && is_part(first))
    }

    fn is_wild(&self) -> bool {
        self.0.bytes().any(|b| matches!(b, b'*' | b'%'))
    }

    /// Whether there are no more patterns than one request may ask for: [`ANNOTATION_PATTERNS_MAX`] and
    /// [`ANNOTATION_PATTERNS_BYTES_MAX`].
    pub fn are_few<'a>(patterns: impl IntoIterator<Item = &'a Self>) -> bool {
        let (mut number, mut octets) = (0, 0);
        for pattern in patterns {
            number += 1;
            octets += if pattern.is_wild() { pattern.0.len() } else { 0 };
        }
        number <= ANNOTATION_PATTERNS_MAX && octets <= ANNOTATION_PATTERNS_BYTES_MAX
    }

    /// Whether it stands for that name. Takes time of both lengths multiplied, at most, and without wildcards no more
    /// than to compare them.
    pub fn matches(&self, name: &str) -> bool {
        if !self.is_wild() {
            return *self.0 == *name;
        }
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        // What is matched so far may go on at these places of the pattern: a step a character.
        let mut at = vec![false; pattern.len() + 1];
        let open = |at: &mut [bool]| {
            for (place, octet) in pattern.iter().enumerate() {
                if at[place] && matches!(octet, b'*' | b'%') {
                    at[place + 1] = true;
                }
            }
        };
        at[0] = true;
        open(&mut at);
        for octet in name {
            let mut next = vec![false; pattern.len() + 1];
            for (place, wanted) in pattern.iter().enumerate().filter(|(place, _)| at[*place]) {
                match wanted {
                    b'*' => next[place] = true,
                    b'%' => next[place] |= *octet != b'/',
                    _ => next[place + 1] |= wanted == octet,
                }
            }
            open(&mut next);
            at = next;
        }
        at[pattern.len()]
    }
}

impl From<AnnotationName> for AnnotationPattern {
    fn from(name: AnnotationName) -> Self {
        Self(name.0)
    }
}

impl fmt::Display for AnnotationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text of printable ASCII that is not too long.
fn path(text: &[u8]) -> Result<&str, AnnotationNameError> {
    if text.len() > ENTRY_NAME_BYTES_MAX {
        return Err(AnnotationNameError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| AnnotationNameError::BadCharacter)?;
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    printable.then_some(text).ok_or(AnnotationNameError::BadCharacter)
}

/// Whether that is `section-part` of RFC 9051 §9.
fn is_part(text: &str) -> bool {
    text.split('.').all(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AnnotationName {
        AnnotationName::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn names() {
        for (text, settable) in [
            ("/comment", true),
            ("/Comment", false),
            ("/altsubject", true),
            ("/vendor/acme", true),
            ("/vendor/acme/label", true),
            ("/vendor", false),
            ("/flags", false),
            ("/flags/seen", false),
            ("/other", false),
            ("/1", false),
            ("/1/comment", true),
            ("/1.2.3/comment", true),
            ("/1/altsubject", false),
            ("/1/flags/seen", true),
            ("/1/flags/deleted", false),
            ("/1/flags", false),
            ("/1/vendor/acme", true),
            (AnnotationName::SEEN_IDENTITY, false),
            (AnnotationName::DELETE_IDENTITY, false),
        ] {
            assert_eq!(name(text).is_settable(), settable, "{text}");
        }
        assert_eq!(name("/1.2/comment").part(), Some("1.2"));
        assert_eq!(name("/vendor/1").part(), None);
        assert!(name("/1/flags/seen").is_part_flag() && !name("/1/comment").is_part_flag());
        for (text, error) in [
            (&b"comment"[..], AnnotationNameError::NotAPath),
            (b"", AnnotationNameError::NotAPath),
            (b"/", AnnotationNameError::NotAPath),
            (b"/comment/", AnnotationNameError::NotAPath),
            (b"//comment", AnnotationNameError::NotAPath),
            (b"/0/comment", AnnotationNameError::BadPart),
            (b"/1./comment", AnnotationNameError::BadPart),
            (b"/1.a/comment", AnnotationNameError::BadPart),
            (b"/1a", AnnotationNameError::BadPart),
            (b"/com*", AnnotationNameError::BadCharacter),
            (b"/com%", AnnotationNameError::BadCharacter),
            (b"/com\0", AnnotationNameError::BadCharacter),
            ("/comm\u{e9}".as_bytes(), AnnotationNameError::BadCharacter),
            (&[b'a'; ENTRY_NAME_BYTES_MAX + 1], AnnotationNameError::TooLong),
        ] {
            assert_eq!(AnnotationName::parse(text), Err(error), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn patterns() {
        let pattern = |text: &str| AnnotationPattern::parse(text.as_bytes()).expect("a pattern");
        for (text, entry, matches) in [
            ("/comment", "/comment", true),
            ("/comment", "/comments", false),
            ("/%", "/comment", true),
            ("/%", "/1/comment", false),
            ("/*", "/1/comment", true),
            ("*", "/comment", true),
            ("%", "/comment", false),
            ("/%/comment", "/1.2/comment", true),
            ("/%/comment", "/comment", false),
            ("/vendor/*/label", "/vendor/a/b/label", true),
            ("/vendor/%/label", "/vendor/a/b/label", false),
            ("*comment", "/1/comment", true),
            ("/c*t", "/comment", true),
            ("/c*x", "/comment", false),
            ("/**", "/", true),
        ] {
            assert_eq!(pattern(text).matches(entry), matches, "{text} {entry}");
        }
        for (text, part) in [
            ("/1.2/comment", Some("1.2")),
            ("/3/*", Some("3")),
            ("/3", Some("3")),
            ("/3*", None),
            ("/%/comment", None),
            ("*", None),
            ("/vendor/1/*", None),
        ] {
            assert_eq!(pattern(text).part(), part, "{text}");
        }
        let few = |text: String, times| {
            let pattern = pattern(&text);
            AnnotationPattern::are_few(std::iter::repeat_n(&pattern, times))
        };
        assert!(few("/x".into(), 64) && !few("/x".into(), 65));
        assert!(few("/%".into(), 64) && !few(format!("/%{}", "x".repeat(31)), 64));
        assert!(few(format!("/x{}", "x".repeat(200)), 64));
        assert_eq!(pattern("/comment").name(), Some(name("/comment")));
        assert_eq!(pattern("/%").name(), None);
        for bad in ["", "comment", "/comment/", "/%/", "/*//x", "a*", "/\u{7f}*"] {
            assert!(AnnotationPattern::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
