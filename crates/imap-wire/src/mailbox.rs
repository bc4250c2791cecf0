//! Mailbox names and patterns in commands.

use crate::string::{IString, StringForm};
use crate::utf7;

/// How a connection writes mailbox names at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxEncoding {
    /// Modified UTF-7 (RFC 3501 §5.1.3): before `ENABLE`.
    ModifiedUtf7,
    /// UTF-8: after `ENABLE IMAP4rev2` (RFC 9051 §5.1) or `ENABLE UTF8=ACCEPT` (RFC 6855 §3).
    Utf8,
}

/// A mailbox name, or a list pattern, as it was sent. Decoding waits for the caller, since a pipelined `ENABLE`
/// may change the encoding between parsing and execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxArg(IString);

/// Why a name cannot be a mailbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    /// Not modified UTF-7 of the shortest form, or octets beyond ASCII where UTF-8 is not enabled.
    #[error("the mailbox name is not valid modified UTF-7 (RFC 3501 section 5.1.3)")]
    Utf7,
    /// Octets that are not UTF-8.
    #[error("the mailbox name is not valid UTF-8")]
    Utf8,
    /// A control character (RFC 9051 §5.1, RFC 5198).
    #[error("mailbox names cannot contain control characters")]
    Control,
}

impl MailboxArg {
    /// A name as sent.
    pub fn new(raw: IString) -> MailboxArg {
        MailboxArg(raw)
    }

    /// The name as sent.
    pub fn raw(&self) -> &IString {
        &self.0
    }

    /// Whether it is `INBOX` in any case (RFC 9051 §5.1).
    pub fn is_inbox(&self) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(b"INBOX")
    }

    /// The name in Unicode; `INBOX` in any case becomes `INBOX`. Not normalised further.
    ///
    /// With [`MailboxEncoding::ModifiedUtf7`], octets beyond ASCII are an error; with
    /// [`MailboxEncoding::Utf8`] an ampersand is an ampersand.
    ///
    /// # Errors
    /// When the octets are not valid in the encoding, or the name has control characters.
    pub fn decode(&self, encoding: MailboxEncoding) -> Result<String, MailboxNameError> {
        if self.is_inbox() {
            return Ok("INBOX".to_owned());
        }
        let name = match encoding {
            MailboxEncoding::ModifiedUtf7 => utf7::decode(self.0.as_bytes()).ok_or(MailboxNameError::Utf7)?,
            MailboxEncoding::Utf8 => self.0.as_str().ok_or(MailboxNameError::Utf8)?.to_owned(),
        };
        // RFC 9051 §5.1 with RFC 5198 §2: no C0, DEL, C1, nor LINE and PARAGRAPH SEPARATOR.
        if name.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
            return Err(MailboxNameError::Control);
        }
        Ok(name)
    }
}

impl From<&'static str> for MailboxArg {
    /// A name with a fixed text, as if sent quoted.
    fn from(text: &'static str) -> Self {
        MailboxArg(IString::new(bytes::Bytes::from_static(text.as_bytes()), StringForm::Quoted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded() {
        use MailboxEncoding::{ModifiedUtf7, Utf8};
        let check = |raw: &'static [u8], encoding, expected: Result<&str, MailboxNameError>| {
            let arg = MailboxArg::new(IString::new(bytes::Bytes::from_static(raw), StringForm::Quoted));
            assert_eq!(arg.decode(encoding), expected.map(str::to_owned), "{}", raw.escape_ascii());
        };
        check(b"iNbOx", ModifiedUtf7, Ok("INBOX"));
        check(b"iNbOx", Utf8, Ok("INBOX"));
        check(b"inbox/a", Utf8, Ok("inbox/a"));
        check(b"Entw&APw-rfe", ModifiedUtf7, Ok("Entwürfe"));
        check(b"Entw&APw-rfe", Utf8, Ok("Entw&APw-rfe"));
        check("Entwürfe".as_bytes(), Utf8, Ok("Entwürfe"));
        check("Entwürfe".as_bytes(), ModifiedUtf7, Err(MailboxNameError::Utf7));
        check(b"a&b", ModifiedUtf7, Err(MailboxNameError::Utf7));
        check(b"a&b", Utf8, Ok("a&b"));
        check(b"\xff", Utf8, Err(MailboxNameError::Utf8));
        check(b"a\tb", Utf8, Err(MailboxNameError::Control));
        check(b"a\tb", ModifiedUtf7, Err(MailboxNameError::Utf7));
        check(b"&AAk-", ModifiedUtf7, Err(MailboxNameError::Control));
        check("\u{2028}".as_bytes(), Utf8, Err(MailboxNameError::Control));
        check("\u{85}".as_bytes(), Utf8, Err(MailboxNameError::Control));
        check(b"", Utf8, Ok(""));
        check(b"Sent/%", ModifiedUtf7, Ok("Sent/%"));
    }
}
