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
