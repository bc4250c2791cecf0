//! `LOGIN`.
//!
//! ```abnf
//! login    = "LOGIN" SP userid SP password
//! userid   = astring
//! password = astring
//! ```
//!
//! Source: RFC 9051 §9.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;
use crate::string::IString;

/// Arguments of `LOGIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub user: IString,
    /// The password, in clear. `Debug` of a string does not show it.
    pub password: IString,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a user name")?;
    let user = c.astring("a user name")?;
    c.space("a password")?;
    let password = c.astring("a password")?;
    Ok(Command::Login(Login { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        let login = |user: &'static str, password: &'static str| {
            Command::Login(Login { user: user.into(), password: password.into() })
        };
        check("LOGIN mrc secret", login("mrc", "secret"));
        check("LOGIN tel:+15550100 \"a \\\"b\\\\\"", login("tel:+15550100", "a \"b\\"));
        check("LOGIN {3}\r\na b {0+}\r\n", login("a b", ""));
        check("LOGIN u \"pässword\"", login("u", "pässword"));
    }

    #[test]
    fn refused() {
        refuse("LOGIN", "user name");
        refuse("LOGIN u", "a password");
        refuse("LOGIN u p x", "more arguments");
        refuse("LOGIN u pass(word", "end of the command");
        refuse("LOGIN u pass{3}", "end of the command");
    }

    #[test]
    fn debug_keeps_the_secret() {
        let login = Login { user: "u".into(), password: "secret".into() };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
