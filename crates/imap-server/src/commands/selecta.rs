//! `SELECTA address`: makes another account of the subscriber the active one.
//!
//! Source: OMA-TS-CPM_MessageStorage §6.2.1.2: as SELECT, without responses of its own. Answers OK; BAD for what is no
//! address, and nothing changes then; NO `[NONEXISTENT]`, `[AUTHORIZATIONFAILED]`, `[LIMIT]`, `[UNAVAILABLE]`. As with
//! SELECT (RFC 9051 §6.3.2) the selected folder is left first, without expunging, and one that fails leaves none selected;
//! the active account is then the one before. `$` is empty with the folder; what was enabled stays.

use imap_wire::IString;
use model::CpmAddress;

use crate::accounts;
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, address: IString) -> Result<Reply, Reply> {
    let parsed = address.as_str().map(CpmAddress::parse);
    let Some(Ok(address)) = parsed else {
        return Err(Reply::bad(
            "SELECTA takes the address of an account: tel:+<digits>, +<digits> or sip:user@host",
        ));
    };
    accounts::leave_folder(session, out);
    accounts::switch(session, address).await?;
    Ok(Reply::ok("SELECTA completed"))
}
