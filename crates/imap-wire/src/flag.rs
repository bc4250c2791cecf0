//! Message flags as a client writes them.

use bytes::Bytes;

/// A flag or keyword in a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// `\Recent`: never settable (RFC 3501 §2.3.2), yet some clients send it back with APPEND; ignore it.
    Recent,
    /// A keyword, as sent; compared without regard to ASCII case (RFC 9051 §2.3.2).
    Keyword(Bytes),
    /// Another flag with a backslash, which is not part of the value: `read-report-sent` of OMA CPM, say.
    Extension(Bytes),
}

impl Flag {
    /// The flag named by `name`, the text after a backslash.
    pub(crate) fn system(name: Bytes) -> Flag {
        match name.len() {
            8 if name.eq_ignore_ascii_case(b"Answered") => Flag::Answered,
            7 if name.eq_ignore_ascii_case(b"Flagged") => Flag::Flagged,
            7 if name.eq_ignore_ascii_case(b"Deleted") => Flag::Deleted,
            4 if name.eq_ignore_ascii_case(b"Seen") => Flag::Seen,
            5 if name.eq_ignore_ascii_case(b"Draft") => Flag::Draft,
            6 if name.eq_ignore_ascii_case(b"Recent") => Flag::Recent,
            _ => Flag::Extension(name),
        }
    }
}

impl std::fmt::Display for Flag {
    /// The flag as it stands in a flag list.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ascii = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Flag::Answered => f.write_str("\\Answered"),
            Flag::Flagged => f.write_str("\\Flagged"),
            Flag::Deleted => f.write_str("\\Deleted"),
            Flag::Seen => f.write_str("\\Seen"),
            Flag::Draft => f.write_str("\\Draft"),
            Flag::Recent => f.write_str("\\Recent"),
            Flag::Keyword(name) => f.write_str(&ascii(name)),
            Flag::Extension(name) => write!(f, "\\{}", ascii(name)),
        }
    }
}
