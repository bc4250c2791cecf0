//! What is offered, by state. An extension is here when it works, and where it works.

use model::limits::APPEND_BYTES_MAX;

use crate::auth::Mechanism;
use crate::connection::Output;
use crate::session::Session;

/// Offered in every state. Source of the names: RFC 9051 §7.2.2 and the registry of IMAP capabilities.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";

/// Offered after login.
const LOGGED_IN: &str = "IDLE NAMESPACE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE \
    STATUS=SIZE UIDPLUS MULTIAPPEND MOVE CONDSTORE QRESYNC ESEARCH SEARCHRES WITHIN SORT THREAD=ORDEREDSUBJECT \
    THREAD=REFERENCES BINARY CATENATE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE OBJECTID SAVEDATE PREVIEW \
    UTF8=ACCEPT I18NLEVEL=1 REPLACE PARTIAL INPROGRESS UNAUTHENTICATE";

/// `CAPABILITY` and its list, as the untagged response and the response code have it.
pub(crate) fn list(session: &Session, out: &Output) -> String {
    let mut list = format!("CAPABILITY {ALWAYS}");
    if session.login.is_some() {
        list.push(' ');
        list.push_str(LOGGED_IN);
        list.push_str(&format!(" APPENDLIMIT={APPEND_BYTES_MAX}"));
        if !out.is_deflated() {
            list.push_str(" COMPRESS=DEFLATE");
        }
        return list;
    }
    if session.may_start_tls(out) {
        list.push_str(" STARTTLS");
    }
    if !session.may_send_password(out) {
        list.push_str(" LOGINDISABLED");
    }
    for mechanism in Mechanism::ALL {
        if mechanism.is_offered(session, out) {
            list.push_str(" AUTH=");
            list.push_str(mechanism.name());
        }
    }
    list
}
