//! What somebody may do in a folder.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// A set of rights on a folder. Source: RFC 4314 §2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(u16);

/// Why a text is not a set of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a right; the rights are l r s w i p k x t e a n, and c and d of RFC 2086")]
pub struct RightsError(pub char);

/// The letters in the order in which they are written, each with its bit.
const LETTERS: [(char, Rights); 12] = [
    ('l', Rights::LOOKUP),
    ('r', Rights::READ),
    ('s', Rights::SEEN),
    ('w', Rights::WRITE),
    ('i', Rights::INSERT),
    ('p', Rights::POST),
    ('k', Rights::CREATE),
    ('x', Rights::DELETE_MAILBOX),
    ('t', Rights::DELETE_MESSAGE),
    ('e', Rights::EXPUNGE),
    ('a', Rights::ADMINISTER),
    ('n', Rights::ANNOTATE),
];

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// `l`: the folder shows in LIST and may be subscribed to.
    pub const LOOKUP: Self = Self(1);
    /// `r`: SELECT, STATUS.
    pub const READ: Self = Self(1 << 1);
    /// `s`: \Seen is kept.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: flags but \Seen and \Deleted.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: APPEND and COPY into it.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: mail may be sent to its submission address.
    pub const POST: Self = Self(1 << 5);
    /// `k`: CREATE below it.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: DELETE and RENAME.
    pub const DELETE_MAILBOX: Self = Self(1 << 7);
    /// `t`: \Deleted.
    pub const DELETE_MESSAGE: Self = Self(1 << 8);
    /// `e`: EXPUNGE.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: the access control list itself.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// `n`: annotations of messages that all see (RFC 5257 §3.4).
    pub const ANNOTATE: Self = Self(1 << 11);
    /// All: what the owner of a folder has.
    pub const ALL: Self = Self((1 << 12) - 1);

    /// Reads rights as SETACL has them. The obsolete `c` stands for `k` and `x`, `d` for `x`, `t` and `e` (RFC 4314
    /// §2.1.1).
    ///
    /// # Errors
    /// [`RightsError`] names the first letter that is none.
    pub fn parse(text: &str) -> Result<Self, RightsError> {
        let mut all = Self::NONE;
        for letter in text.chars() {
            all |= match letter {
                'c' => Self::CREATE | Self::DELETE_MAILBOX,
                'd' => Self::DELETE_MAILBOX | Self::DELETE_MESSAGE | Self::EXPUNGE,
                _ => LETTERS.iter().find(|(l, _)| *l == letter).ok_or(RightsError(letter))?.1,
            };
        }
        Ok(all)
    }

    /// The rights that these bits stand for; bits that stand for none are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// One bit a right, in the order `lrswipkxtean` from the lowest.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether every right of `other` is among these.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any right of `other` is among these.
    pub fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Rights {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Rights {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LETTERS.iter().filter(|(_, right)| self.has(*right)).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_there_and_back() {
        assert_eq!(Rights::ALL.to_string(), "lrswipkxtean");
        assert_eq!(Rights::parse("naetxkpiwsrl"), Ok(Rights::ALL));
        assert_eq!(Rights::parse("").map(|r| r.to_string()), Ok(String::new()));
        assert_eq!(Rights::parse("lrcd").map(|r| r.to_string()), Ok("lrkxte".to_owned()));
        assert_eq!(Rights::parse("lrz"), Err(RightsError('z')));
        assert_eq!(Rights::from_bits(u16::MAX), Rights::ALL);
        assert_eq!((Rights::ALL - Rights::ADMINISTER).to_string(), "lrswipkxten");
    }
}
