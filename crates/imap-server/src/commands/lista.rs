//! `LISTA`: the accounts that SELECTA may name, one untagged response each.
//!
//! ```abnf
//! mailbox-data =/ "LISTA" SP "(" [acc-attr *(SP acc-attr)] ")" SP account
//! acc-attr     =  "\Active"       ; all commands are about it
//!              /  "\Primary"      ; it was logged in to
//!              /  "\Unavailable"  ; registered, but SELECTA would refuse it
//! ```
//!
//! Source: with SELECTA of OMA-TS-CPM_MessageStorage §6.2.1.2, for which a client must know the addresses. Answers OK; NO
//! `[UNAVAILABLE]`.

use imap_wire::response;

use crate::accounts;
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output) -> Result<Reply, Reply> {
    for account in accounts::list(session).await? {
        let attributes = [
            (account.active, "\\Active"),
            (account.primary, "\\Primary"),
            (account.unavailable, "\\Unavailable"),
        ];
        let attributes: Vec<_> = attributes.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        response::lista(out.text(), &attributes, account.address.as_str());
    }
    Ok(Reply::ok("LISTA completed"))
}
