//! `SELECTA`.
//!
//! ```abnf
//! selecta = "SELECTA" SP account
//! account = astring              ; a sip:, sips: or tel: URI, or a number in international form
//! ```
//!
//! Source: OMA-TS-CPM_MessageStorage §6.2.1.2, which wants it "as the same way as" SELECT; the document has no ABNF.

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::Parse;

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("the address of an account")?;
    c.astring("the address of an account").map(Command::SelectA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    #[test]
    fn table() {
        check("SELECTA tel:+33612345678", Command::SelectA("tel:+33612345678".into()));
        check("selecta \"sip:a;b@example.com\"", Command::SelectA("sip:a;b@example.com".into()));
        check("SELECTA {2}\r\n+1", Command::SelectA("+1".into()));
    }

    #[test]
    fn refused() {
        refuse("SELECTA", "the address of an account");
        refuse("SELECTA ", "the address of an account");
        refuse("SELECTA +1 +2", "more arguments");
        refuse("SELECTA (+1)", "the address of an account");
    }
}
