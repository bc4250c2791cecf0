//! `AUTHENTICATE`.
//!
//! ```abnf
//! authenticate     = "AUTHENTICATE" SP auth-type [SP initial-resp]
//! auth-type        = atom
//! initial-resp     = base64 / "="
//! ```
//!
//! Source: RFC 9051 §9, RFC 4959 §3. The exchange that follows is read by the reader's mode for it.

use bytes::Bytes;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};

/// Arguments of `AUTHENTICATE`.
#[derive(Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// The SASL mechanism's name as sent, compared without regard to case.
    pub mechanism: Bytes,
    /// The initial response, still in base64; `=` stands for an empty one (RFC 4959 §3).
    pub initial_response: Option<Bytes>,
}

impl std::fmt::Debug for Authenticate {
    /// Without the response, which is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sent = self.initial_response.as_ref().map(Bytes::len);
        f.debug_struct("Authenticate")
            .field("mechanism", &self.mechanism)
            .field("initial_response_octets", &sent)
            .finish()
    }
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a SASL mechanism")?;
    let mechanism = c.atom("a SASL mechanism")?;
    let mut initial_response = None;
    if c.eat(b' ') {
        // All of base64's characters are atom characters.
        let response = c.atom("an initial response in base64")?;
        if response.len() > c.limits.auth_line_bytes_max {
            return Err(Fail::syntax("the initial response is too long"));
        }
        initial_response = Some(response);
    }
    Ok(Command::Authenticate(Authenticate { mechanism, initial_response }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let authenticate = |mechanism: &'static str, response: Option<&'static str>| {
            Command::Authenticate(Authenticate {
                mechanism: mechanism.into(),
                initial_response: response.map(Into::into),
            })
        };
        check("AUTHENTICATE PLAIN", authenticate("PLAIN", None));
        check("authenticate SCRAM-SHA-256-PLUS", authenticate("SCRAM-SHA-256-PLUS", None));
        check("AUTHENTICATE PLAIN =", authenticate("PLAIN", Some("=")));
        check("AUTHENTICATE PLAIN dGVzdA+/==", authenticate("PLAIN", Some("dGVzdA+/==")));
    }

    #[test]
    fn refused() {
        refuse("AUTHENTICATE", "SASL mechanism");
        refuse("AUTHENTICATE PLAIN ", "base64");
        refuse("AUTHENTICATE PLAIN a b", "more arguments");
        refuse(&format!("AUTHENTICATE PLAIN {}", "A".repeat(16 * 1024 + 1)), "too long");
    }

    #[test]
    fn debug_keeps_the_secret() {
        let value = Authenticate { mechanism: "PLAIN".into(), initial_response: Some("c2VjcmV0".into()) };
        assert!(!format!("{value:?}").contains("c2VjcmV0"));
    }
}
