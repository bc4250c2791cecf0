//! Names of metadata entries.

use std::fmt;

use crate::limits::ENTRY_NAME_BYTES_MAX;

/// The name of a metadata entry: a path such as `/private/comment`, in lower case, for names are compared without
/// case. Source: RFC 5464 §3.2.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<str>);

/// Why a text is not the name of a metadata entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryNameError {
    /// It has no slash in front, one at its end, or two together.
    #[error("the name of a metadata entry is a path: a / before each part, none at the end")]
    NotAPath,
    /// It is neither private nor shared.
    #[error("the name of a metadata entry begins with /private or /shared")]
    Scope,
    /// It has a wildcard, a control character, or one beyond ASCII.
    #[error("the name of a metadata entry is of printable ASCII characters without * and %")]
    BadCharacter,
    /// It is too long.
    #[error("the name of a metadata entry must not be longer than {ENTRY_NAME_BYTES_MAX} characters")]
    TooLong,
}

/// Who sees an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryScope {
    /// `/private`: its setter alone.
    Private,
    /// `/shared`: all who may read the folder.
    Shared,
}

impl EntryName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`EntryNameError`] says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, EntryNameError> {
        if text.len() > ENTRY_NAME_BYTES_MAX {
            return Err(EntryNameError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| EntryNameError::BadCharacter)?;
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b) && !matches!(b, b'*' | b'%')) {
            return Err(EntryNameError::BadCharacter);
        }
        let parts = text.strip_prefix('/').ok_or(EntryNameError::NotAPath)?;
        if parts.split('/').any(str::is_empty) {
            return Err(EntryNameError::NotAPath);
        }
        let name = Self(text.to_ascii_lowercase().into_boxed_str());
        match name.0.split('/').nth(1) {
            Some("private" | "shared") => Ok(name),
            _ => Err(EntryNameError::Scope),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who sees it.
    pub fn scope(&self) -> EntryScope {
        if self.0.starts_with("/private") { EntryScope::Private } else { EntryScope::Shared }
    }

    /// Whether it can have a value: `/private` and `/shared` themselves only have entries below them.
    pub fn is_settable(&self) -> bool {
        self.0.bytes().filter(|b| *b == b'/').count() > 1
    }

    /// How many levels it lies below `above`: 0 when they are the same, none when it does not lie there.
    pub fn levels_below(&self, above: &Self) -> Option<usize> {
        let rest = self.0.strip_prefix(above.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.bytes().filter(|b| *b == b'/').count())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn names() {
        let same = name("/PRIVATE/Comment");
        assert_eq!(same.as_str(), "/private/comment");
        assert_eq!(same.scope(), EntryScope::Private);
        assert_eq!(name("/shared/vendor/oma/cpm/session-info").scope(), EntryScope::Shared);
        assert!(same.is_settable() && !name("/shared").is_settable());
        for (text, error) in [
            (&b"private/comment"[..], EntryNameError::NotAPath),
            (b"", EntryNameError::NotAPath),
            (b"/", EntryNameError::NotAPath),
            (b"/private/", EntryNameError::NotAPath),
            (b"/private//comment", EntryNameError::NotAPath),
            (b"/privates/comment", EntryNameError::Scope),
            (b"/comment", EntryNameError::Scope),
            (b"/private/*", EntryNameError::BadCharacter),
            (b"/private/%", EntryNameError::BadCharacter),
            (b"/private/\x01", EntryNameError::BadCharacter),
            ("/private/é".as_bytes(), EntryNameError::BadCharacter),
            (&[b'a'; ENTRY_NAME_BYTES_MAX + 1], EntryNameError::TooLong),
        ] {
            assert_eq!(EntryName::parse(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn levels() {
        let above = name("/private/filters");
        assert_eq!(name("/private/filters").levels_below(&above), Some(0));
        assert_eq!(name("/private/filters/small").levels_below(&above), Some(1));
        assert_eq!(name("/private/filters/small/er").levels_below(&above), Some(2));
        assert_eq!(name("/private/filtersize").levels_below(&above), None);
        assert_eq!(name("/shared/filters").levels_below(&above), None);
    }
}
