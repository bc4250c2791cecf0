//! Names of folders.

use std::fmt;

use crate::limits::{FOLDER_DEPTH_MAX, FOLDER_NAME_BYTES_MAX};

/// Separates the levels of a folder name.
pub const HIERARCHY_SEPARATOR: char = '/';

/// The name of a folder within its account, UTF-8, levels separated by `/`. A first level equal to INBOX
/// without case is written `INBOX` (RFC 9051 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

/// Why a text is not a folder name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    /// Empty text, or an empty level.
    #[error("a folder name must not be empty, nor start or end with / or have // in it")]
    EmptyLevel,
    /// Too long.
    #[error("a folder name must not be longer than {FOLDER_NAME_BYTES_MAX} bytes of UTF-8")]
    TooLong,
    /// Too many levels.
    #[error("a folder name must not have more than {FOLDER_DEPTH_MAX} levels")]
    TooDeep,
    /// A control character, or one that clients take for a wildcard.
    #[error("a folder name must not have control characters, line separators, % or * in it")]
    BadCharacter,
}

impl MailboxName {
    /// The folder that every account has.
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// Parses a name given in UTF-8. One trailing separator is dropped, as CREATE allows (RFC 9051 §6.3.4).
    ///
    /// # Errors
    /// [`MailboxNameError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, MailboxNameError> {
        let text = text.strip_suffix(HIERARCHY_SEPARATOR).unwrap_or(text);
        if text.len() > FOLDER_NAME_BYTES_MAX {
            return Err(MailboxNameError::TooLong);
        }
        if text.split(HIERARCHY_SEPARATOR).any(str::is_empty) {
            return Err(MailboxNameError::EmptyLevel);
        }
        if text.split(HIERARCHY_SEPARATOR).count() > FOLDER_DEPTH_MAX {
            return Err(MailboxNameError::TooDeep);
        }
        let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '%' | '*');
        if text.chars().any(bad) {
            return Err(MailboxNameError::BadCharacter);
        }
        let (first, rest) = match text.find(HIERARCHY_SEPARATOR) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        if first.eq_ignore_ascii_case("INBOX") {
            return Ok(Self(format!("INBOX{rest}").into_boxed_str()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// The name one level up, if there is one.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(HIERARCHY_SEPARATOR).map(|(parent, _)| Self(parent.into()))
    }

    /// All names above this one, the topmost first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        self.0.match_indices(HIERARCHY_SEPARATOR).map(|(at, _)| Self(self.0[..at].into()))
    }

    /// Whether this name lies below `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.starts_with(HIERARCHY_SEPARATOR))
    }

    /// The name with its leading `from` replaced by `to`; none if it is neither `from` nor below it.
    ///
    /// # Errors
    /// [`MailboxNameError`] if the new name breaks a bound.
    pub fn rebase(&self, from: &Self, to: &Self) -> Option<Result<Self, MailboxNameError>> {
        if self == from {
            return Some(Ok(to.clone()));
        }
        self.is_below(from).then(|| Self::parse(&format!("{}{}", to.0, &self.0[from.0.len()..])))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let ok = |t: &str| MailboxName::parse(t).map(|n| n.to_string());
        assert_eq!(ok("inbox"), Ok("INBOX".into()));
        assert_eq!(ok("Inbox/a"), Ok("INBOX/a".into()));
        assert_eq!(ok("inboxes"), Ok("inboxes".into()));
        assert_eq!(ok("a/b/"), Ok("a/b".into()));
        assert_eq!(ok("tél/ü"), Ok("tél/ü".into()));
        for (bad, error) in [
            ("", MailboxNameError::EmptyLevel),
            ("/a", MailboxNameError::EmptyLevel),
            ("a//b", MailboxNameError::EmptyLevel),
            ("a\u{7}", MailboxNameError::BadCharacter),
            ("a%", MailboxNameError::BadCharacter),
        ] {
            assert_eq!(MailboxName::parse(bad), Err(error), "{bad:?}");
        }
        assert_eq!(MailboxName::parse(&"a/".repeat(FOLDER_DEPTH_MAX + 1)), Err(MailboxNameError::TooDeep));
        assert_eq!(
            MailboxName::parse(&"a".repeat(FOLDER_NAME_BYTES_MAX + 1)),
            Err(MailboxNameError::TooLong)
        );
    }

    #[test]
    fn kin() {
        let n = |t: &str| MailboxName::parse(t).expect("valid");
        assert!(n("a/b").is_below(&n("a")) && !n("ab").is_below(&n("a")) && !n("a").is_below(&n("a")));
        assert_eq!(n("a/b/c").rebase(&n("a/b"), &n("x")), Some(Ok(n("x/c"))));
        assert_eq!(n("a/bc").rebase(&n("a/b"), &n("x")), None);
        assert_eq!(n("a/b/c").ancestors().collect::<Vec<_>>(), [n("a"), n("a/b")]);
    }
}
