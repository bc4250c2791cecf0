//! `THREAD` and `UID THREAD`.
//!
//! ```abnf
//! thread     = "THREAD" SP thread-alg SP charset SP search-key *(SP search-key)
//! thread-alg = "ORDEREDSUBJECT" / "REFERENCES" / atom
//! ```
//!
//! Source: RFC 5256 §5.

use bytes::Bytes;

use crate::command::Command;
use crate::commands::search::{self, SearchKey};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};

/// Arguments of `THREAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Whether the result has UIDs.
    pub uid: bool,
    /// How messages are gathered.
    pub algorithm: ThreadAlgorithm,
    /// The charset of the strings, as sent.
    pub charset: Bytes,
    /// What messages must match.
    pub key: SearchKey,
}

/// A threading algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadAlgorithm {
    /// `ORDEREDSUBJECT`
    OrderedSubject,
    /// `REFERENCES`
    References,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a threading algorithm")?;
    let name = c.word("a threading algorithm")?;
    let algorithm = if name.eq_ignore_ascii_case(b"REFERENCES") {
        ThreadAlgorithm::References
    } else if name.eq_ignore_ascii_case(b"ORDEREDSUBJECT") {
        ThreadAlgorithm::OrderedSubject
    } else {
        return Err(Fail::syntax("the threading algorithms are ORDEREDSUBJECT and REFERENCES"));
    };
    c.space("a charset")?;
    let charset = c.astring("a charset")?.into_bytes();
    c.space("search criteria")?;
    let key = search::keys(c)?;
    Ok(Command::Thread(Thread { uid, algorithm, charset, key }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let thread = |uid, algorithm| {
            Command::Thread(Thread { uid, algorithm, charset: "UTF-8".into(), key: SearchKey::All })
        };
        check("THREAD ORDEREDSUBJECT UTF-8 ALL", thread(false, ThreadAlgorithm::OrderedSubject));
        check("UID THREAD references \"UTF-8\" ALL", thread(true, ThreadAlgorithm::References));
    }

    #[test]
    fn refused() {
        refuse("THREAD", "threading algorithm");
        refuse("THREAD REFS UTF-8 ALL", "ORDEREDSUBJECT and REFERENCES");
        refuse("THREAD REFERENCES", "a charset");
        refuse("THREAD REFERENCES UTF-8", "search criteria");
    }
}
