//! Tags, and strings as slices of the command they came in.

use bytes::Bytes;

/// A command's tag: 1 or more ASTRING-CHARs without `+`.
///
/// A copy, not a slice: a tag lives as long as its command, an IDLE for hours, and must not keep the buffer that it
/// came in. Usual tags are held in place.
#[derive(Clone)]
pub struct Tag(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: u8, octets: [u8; TAG_SHORT_BYTES] },
    Long(Box<[u8]>),
}

/// Longest tag without an allocation, octets: what makes a tag 24 octets in all.
const TAG_SHORT_BYTES: usize = 22;

impl Tag {
    /// A tag, if `octets` are one: RFC 9051 §9, `tag = 1*<any ASTRING-CHAR except "+">`.
    pub fn new(octets: &[u8]) -> Option<Tag> {
        (!octets.is_empty() && octets.iter().all(|&b| is_tag_char(b))).then(|| Tag::unchecked(octets))
    }

    /// For the parser, which has just checked the characters.
    #[inline]
    pub(crate) fn unchecked(octets: &[u8]) -> Tag {
        let mut short = [0; TAG_SHORT_BYTES];
        match short.get_mut(..octets.len()) {
            Some(place) => {
                place.copy_from_slice(octets);
                Tag(Repr::Short { len: octets.len() as u8, octets: short })
            }
            None => Tag(Repr::Long(octets.into())),
        }
    }

    /// The tag's octets, ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, octets } => &octets[..usize::from(*len)],
            Repr::Long(octets) => octets,
        }
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl Default for Tag {
    /// No tag, which no command has: what stands where no command runs.
    fn default() -> Self {
        Tag::unchecked(b"")
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Tag {}

impl std::hash::Hash for Tag {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tag({:?})", self.as_str())
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a string was written. Meaning does not depend on it, but for `NIL` and some search keys the grammar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StringForm {
    /// As an atom.
    Atom,
    /// Between double quotes.
    Quoted,
    /// As `{n}` or `{n+}` and octets; no NUL.
    Literal,
}

/// A string argument: a slice of the command, or a copy of it where a quoted string had escapes.
///
/// An atom is ASCII, a quoted string valid UTF-8, a literal any octets but NUL. Equality looks at the octets
/// alone. `Debug` shows the length and not the octets: strings carry passwords and message content.
#[derive(Clone)]
pub struct IString {
    bytes: Bytes,
    form: StringForm,
}

impl IString {
    /// A string of these octets.
    pub fn new(bytes: Bytes, form: StringForm) -> IString {
        IString { bytes, form }
    }

    /// The octets, unquoted.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The octets, sharing the command's buffer.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The text, unless the octets are not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// How it was sent.
    pub fn form(&self) -> StringForm {
        self.form
    }

    /// Length in octets.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no octets.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl PartialEq for IString {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for IString {}

impl PartialEq<[u8]> for IString {
    fn eq(&self, other: &[u8]) -> bool {
        self.bytes == other
    }
}

impl PartialEq<&str> for IString {
    fn eq(&self, other: &&str) -> bool {
        self.bytes == other.as_bytes()
    }
}

impl From<&'static str> for IString {
    /// A string with a fixed text, as if sent quoted.
    fn from(text: &'static str) -> Self {
        IString { bytes: Bytes::from_static(text.as_bytes()), form: StringForm::Quoted }
    }
}

impl std::fmt::Debug for IString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({} octets)", self.form, self.bytes.len())
    }
}

/// Class bits of each octet, so that a token's end is one table walk.
const CLASS: [u8; 256] = class_table();
const ATOM: u8 = 1;
const ASTRING: u8 = 2;
const TAG: u8 = 4;
const LIST: u8 = 8;

const fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut b = 0x21;
    while b < 0x7f {
        // atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials
        let atom = !matches!(b as u8, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']');
        let mut class = 0;
        if atom {
            class |= ATOM;
        }
        if atom || b as u8 == b']' {
            class |= ASTRING | LIST;
            if b as u8 != b'+' {
                class |= TAG;
            }
        }
        if matches!(b as u8, b'%' | b'*') {
            class |= LIST;
        }
        table[b] = class;
        b += 1;
    }
    table
}

/// `ATOM-CHAR` (RFC 9051 §9).
pub(crate) fn is_atom_char(b: u8) -> bool {
    CLASS[b as usize] & ATOM != 0
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`.
pub(crate) fn is_astring_char(b: u8) -> bool {
    CLASS[b as usize] & ASTRING != 0
}

/// An ASTRING-CHAR other than `+`.
pub(crate) fn is_tag_char(b: u8) -> bool {
    CLASS[b as usize] & TAG != 0
}

/// `list-char = ATOM-CHAR / list-wildcards / resp-specials`.
pub(crate) fn is_list_char(b: u8) -> bool {
    CLASS[b as usize] & LIST != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for len in [1, 4, TAG_SHORT_BYTES, TAG_SHORT_BYTES + 1, 300] {
            let text = "x".repeat(len);
            let tag = Tag::new(text.as_bytes()).unwrap();
            assert_eq!((tag.as_str(), tag.to_string()), (text.as_str(), text.clone()));
            assert!(tag == tag.clone() && Some(&tag) != Tag::new(b"y").as_ref());
        }
        assert_eq!(size_of::<Tag>(), 24);
        for text in ["", "a b", "a+", "\u{fc}", "*", "a\r"] {
            assert!(Tag::new(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_keeps_the_secret() {
        let secret = IString::from("secret");
        assert_eq!(format!("{secret:?}"), "Quoted(6 octets)");
    }
}
