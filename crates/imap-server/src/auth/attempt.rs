//! A login under way: what its failure is counted by, and what the log tells of it.

use std::fmt::Write;
use std::time::Instant;

use super::canonical;
use crate::session::Session;
use crate::telemetry;

/// Octets of a name that the log shows; the longest addresses that are in use have less.
const NAME_SHOWN_BYTES_MAX: usize = 128;

/// A login under way.
#[derive(Clone)]
pub(crate) struct Attempt {
    /// The SASL mechanism, or the command LOGIN.
    mechanism: &'static str,
    /// What the client says its name is, made fit for a log; none where it gave nothing but a token.
    user: Option<String>,
    /// What failures are counted by, besides where they come from. Never shown: it may be a token.
    pub counted_by: String,
    /// When the server had all that it takes to answer.
    pub began: Instant,
}

impl Attempt {
    /// Of a client that gave a name, begun now.
    pub fn of(mechanism: &'static str, user: &str) -> Self {
        let counted_by = canonical(user);
        Self { mechanism, user: Some(shown(&counted_by)), counted_by, began: Instant::now() }
    }

    /// Of a client that sent a token, and perhaps a name, begun now.
    pub fn of_token(mechanism: &'static str, user: Option<&str>, counted_by: String) -> Self {
        Self { mechanism, user: user.map(|user| shown(&canonical(user))), counted_by, began: Instant::now() }
    }

    /// The same one of whom is known by now who it is.
    pub fn named(self, user: &str) -> Self {
        Self { began: self.began, ..Self::of(self.mechanism, user) }
    }

    /// The same one, of which all was there only now.
    pub fn since(self, began: Instant) -> Self {
        Self { began, ..self }
    }

    /// Counts that it failed, and writes it to the log; `reason` is one of few fixed words.
    pub fn failed(&self, session: &Session, reason: &'static str) {
        telemetry::login_failed(reason);
        let (connection, peer, mechanism) = (session.id, session.peer.ip(), self.mechanism);
        let user = self.user.as_deref().unwrap_or_default();
        tracing::info!(connection, %peer, mechanism, user, reason, "login failed");
    }

    /// As [`Attempt::failed`], of one that was not looked at. A line for each connection is enough: nothing slows these
    /// down, and a log must not grow as fast as somebody can send.
    pub fn blocked(&self, session: &mut Session) {
        if std::mem::replace(&mut session.blocked_logged, true) {
            telemetry::login_failed("blocked");
        } else {
            self.failed(session, "blocked");
        }
    }
}

/// A name as a log shows it: visible ASCII, all else as % and two hexadecimal digits, so that no name looks like another
/// field or like another line; cut to a bound.
fn shown(name: &str) -> String {
    let cut = &name.as_bytes()[..name.len().min(NAME_SHOWN_BYTES_MAX)];
    let mut text = String::with_capacity(cut.len() + 3);
    for byte in cut {
        match byte {
            b'"' | b'\\' | b'%' => {
                let _ = write!(text, "%{byte:02X}");
            }
            byte if byte.is_ascii_graphic() => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    if cut.len() < name.len() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_a_log() {
        for (name, expected) in [
            ("tel:+15550001", "tel:+15550001"),
            ("", ""),
            ("a b\" x=\"\\", "a%20b%22%20x=%22%5C"),
            ("a\r\n2026-11-21 INFO login", "a%0D%0A2026-11-21%20INFO%20login"),
            ("\u{1b}[31m\0%", "%1B[31m%00%25"),
            ("\u{202e}é", "%E2%80%AE%C3%A9"),
        ] {
            assert_eq!(shown(name), expected);
        }
        let long = shown(&"é".repeat(500));
        assert_eq!((long.len(), &long[..6], &long[384..]), (387, "%C3%A9", "..."));
    }

    #[test]
    fn a_token_is_no_name() {
        let attempt = Attempt::of_token("OAUTHBEARER", None, "the token".to_owned());
        assert_eq!(attempt.user, None);
        assert_eq!(attempt.named("+15550001").user.as_deref(), Some("tel:+15550001"));
    }
}
