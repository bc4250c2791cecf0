//! What changed in a whole account since a token that its client holds.

use std::fmt;
use std::str::FromStr;

use model::FolderState;

use crate::FolderEntry;

/// A point in the history of an account. Nothing is kept for it: any node answers for any token, at any later time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeToken {
    /// A random number of the account: a token of another account, or of one that was removed and made again, has
    /// another.
    pub era: u64,
    /// Changes of the account that were counted by then.
    pub change: u64,
}

/// 32 hexadecimal digits.
impl fmt::Display for ChangeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.era, self.change)
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAToken;

impl fmt::Display for NotAToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token has 32 hexadecimal digits")
    }
}

impl std::error::Error for NotAToken {}

impl FromStr for ChangeToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        if text.len() != 32 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotAToken);
        }
        let part = |half: &str| u64::from_str_radix(half, 16).map_err(|_| NotAToken);
        Ok(Self { era: part(&text[..16])?, change: part(&text[16..])? })
    }
}

/// From when on changes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangesSince {
    /// Nothing is told but where the account is now.
    Now,
    /// What changed after the token was made.
    Token(ChangeToken),
    /// All there is.
    Beginning,
}

/// What changed of an account's own folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where the account is now: the next question begins there. Whatever is not told here is told then.
    pub token: ChangeToken,
    /// Everything is told, as was asked, or because the token says nothing any more: it is of another account, or too
    /// long ago. What is not told does not exist.
    pub whole: bool,
    /// Folders that changed, by name.
    pub folders: Vec<ChangedFolder>,
    /// Folders that are gone, also such as came and went meanwhile; ascending.
    pub gone: Vec<model::MailboxId>,
    /// The account's own metadata changed.
    pub metadata: bool,
    /// The names subscribed to changed.
    pub subscriptions: bool,
}

/// A folder that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFolder {
    /// The folder as it is, without its access control list.
    pub entry: FolderEntry,
    /// Whether other folders are below it.
    pub has_children: bool,
    /// Whether its name is subscribed to.
    pub subscribed: bool,
    /// It is new, or its name, its kind or who has rights on it changed.
    pub named: bool,
    /// Its metadata changed.
    pub metadata: bool,
    /// Its counters, without its keywords, if they changed or it is `named`; none where it holds no messages.
    pub state: Option<FolderState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_text() {
        for token in [
            ChangeToken::default(),
            ChangeToken { era: u64::MAX, change: 1 },
            ChangeToken { era: 0x0123_4567_89ab_cdef, change: 77 },
        ] {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        for text in [
            "",
            "0",
            "é",
            &"0".repeat(31),
            &"0".repeat(33),
            &"A".repeat(32),
            &"+".repeat(32),
            &"é".repeat(16),
        ] {
            assert_eq!(text.parse::<ChangeToken>(), Err(NotAToken), "{text}");
        }
    }
}
