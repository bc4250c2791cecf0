//! Flags and keywords of messages, and special uses of folders.

use std::fmt;

use crate::limits::{KEYWORD_BYTES_MAX, KEYWORDS_PER_FOLDER_MAX};

/// The flags of one message in a packed form: system flags in the low byte, keywords above it by their
/// index in the folder's [`KeywordTable`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

impl Flags {
    /// `\Seen`: read (RFC 9051 §2.3.2).
    pub const SEEN: Self = Self(1);
    /// `\Answered`.
    pub const ANSWERED: Self = Self(1 << 1);
    /// `\Flagged`.
    pub const FLAGGED: Self = Self(1 << 2);
    /// `\Deleted`.
    pub const DELETED: Self = Self(1 << 3);
    /// `\Draft`.
    pub const DRAFT: Self = Self(1 << 4);
    /// `\read-report-sent`: a read report was sent (OMA-TS-CPM_MessageStorage, appendix C).
    pub const READ_REPORT_SENT: Self = Self(1 << 5);

    /// Bits that stand for system flags; two are free.
    pub const SYSTEM_MASK: u64 = 0xFF;

    /// Every system flag with its name, in the order in which they are shown.
    pub const SYSTEM: [(Self, &'static str); 6] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
        (Self::READ_REPORT_SENT, "\\read-report-sent"),
    ];

    /// The system flag of that name, compared without case; none for others.
    pub fn system(name: &str) -> Option<Self> {
        Self::SYSTEM.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(f, _)| *f)
    }

    /// The flag of the keyword at `index` of the folder's table, below [`KEYWORDS_PER_FOLDER_MAX`].
    pub fn keyword(index: usize) -> Self {
        debug_assert!(index < KEYWORDS_PER_FOLDER_MAX);
        Self(1 << (8 + index))
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Only the system flags.
    pub fn system_only(self) -> Self {
        Self(self.0 & Self::SYSTEM_MASK)
    }

    /// The indexes of the keywords set, ascending.
    pub fn keyword_indexes(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0 >> 8;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            Some(index)
        })
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (flag, name) in Self::SYSTEM {
            if self.contains(flag) {
                list.entry(&name);
            }
        }
        list.entries(self.keyword_indexes()).finish()
    }
}

/// A keyword: a flag without a backslash, an IMAP atom. Its case is kept; comparison ignores it
/// (RFC 9051 §2.3.2).
#[derive(Clone, Debug, Eq)]
pub struct Keyword(Box<str>);

/// Why a text is not a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a keyword: allowed are 1 to {KEYWORD_BYTES_MAX} printable ASCII characters without space, \
     parentheses, braces, quotes, backslash, %, * and ]"
)]
pub struct KeywordError;

impl Keyword {
    /// Parses a keyword.
    ///
    /// # Errors
    /// [`KeywordError`] if it is not an atom of at most [`KEYWORD_BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, KeywordError> {
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        if text.is_empty() || text.len() > KEYWORD_BYTES_MAX || !text.bytes().all(atom) {
            return Err(KeywordError);
        }
        Ok(Self(text.into()))
    }

    /// As it was first written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keywords a folder knows; a keyword's index is its bit in [`Flags`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeywordTable(Vec<Option<Keyword>>);

impl KeywordTable {
    /// A table of these slots; a free slot is `None`.
    pub fn from_slots(slots: Vec<Option<Keyword>>) -> Self {
        debug_assert!(slots.len() <= KEYWORDS_PER_FOLDER_MAX);
        Self(slots)
    }

    /// All slots, the free ones too.
    pub fn slots(&self) -> &[Option<Keyword>] {
        &self.0
    }

    /// The keyword at `index`.
    pub fn get(&self, index: usize) -> Option<&Keyword> {
        self.0.get(index)?.as_ref()
    }

    /// The flag of `keyword`, if the folder knows it.
    pub fn find(&self, keyword: &Keyword) -> Option<Flags> {
        self.0.iter().position(|k| k.as_ref() == Some(keyword)).map(Flags::keyword)
    }

    /// The flag of `keyword`, which is added if it is new; none when the table is full.
    pub fn find_or_add(&mut self, keyword: &Keyword) -> Option<Flags> {
        if let Some(flag) = self.find(keyword) {
            return Some(flag);
        }
        if let Some(free) = self.0.iter().position(Option::is_none) {
            self.0[free] = Some(keyword.clone());
            return Some(Flags::keyword(free));
        }
        if self.0.len() == KEYWORDS_PER_FOLDER_MAX {
            return None;
        }
        self.0.push(Some(keyword.clone()));
        Some(Flags::keyword(self.0.len() - 1))
    }

    /// Frees the slots of keywords that are in no flag of `used`. Returns whether any was freed.
    pub fn retain(&mut self, used: Flags) -> bool {
        let mut freed = false;
        for (index, slot) in self.0.iter_mut().enumerate() {
            if slot.is_some() && !used.contains(Flags::keyword(index)) {
                *slot = None;
                freed = true;
            }
        }
        freed
    }

    /// The keywords in use, with their flags.
    pub fn iter(&self) -> impl Iterator<Item = (Flags, &Keyword)> {
        self.0.iter().enumerate().filter_map(|(i, k)| Some((Flags::keyword(i), k.as_ref()?)))
    }

    /// Whether no further keyword can be added without freeing one.
    pub fn is_full(&self) -> bool {
        self.0.len() == KEYWORDS_PER_FOLDER_MAX && self.0.iter().all(Option::is_some)
    }
}

/// A special use of a folder. Source: RFC 6154 §2, RFC 8457.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\All`: a view of all messages; may not be given by CREATE here.
    All,
    /// `\Archive`.
    Archive,
    /// `\Drafts`.
    Drafts,
    /// `\Flagged`: a view of flagged messages; may not be given by CREATE here.
    Flagged,
    /// `\Junk`.
    Junk,
    /// `\Sent`.
    Sent,
    /// `\Trash`.
    Trash,
    /// `\Important` (RFC 8457).
    Important,
}

impl SpecialUse {
    /// Every use with its attribute, its number in stored values, and whether CREATE may give it.
    pub const ALL: [(Self, &'static str, u8, bool); 8] = [
        (Self::All, "\\All", 1, false),
        (Self::Archive, "\\Archive", 2, true),
        (Self::Drafts, "\\Drafts", 3, true),
        (Self::Flagged, "\\Flagged", 4, false),
        (Self::Junk, "\\Junk", 5, true),
        (Self::Sent, "\\Sent", 6, true),
        (Self::Trash, "\\Trash", 7, true),
        (Self::Important, "\\Important", 8, true),
    ];

    /// The use of that attribute, compared without case.
    pub fn parse(attribute: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, a, ..)| a.eq_ignore_ascii_case(attribute)).map(|(u, ..)| *u)
    }

    /// The attribute, as `\Sent`.
    pub fn attribute(self) -> &'static str {
        Self::ALL.iter().find(|(u, ..)| *u == self).map_or("", |(_, a, ..)| a)
    }
}
