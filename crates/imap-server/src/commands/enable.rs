//! `ENABLE capability …`: what the client understands from now on.
//!
//! Source: RFC 9051 §6.3.1, RFC 5161, RFC 7162 §3.2.3 (QRESYNC brings CONDSTORE along), RFC 6855 §3. Answers OK, and BAD
//! for no arguments. Names that are not known, or need no enabling, are ignored.

use bytes::Bytes;

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, names: Vec<Bytes>) -> Reply {
    let mut listed: Vec<&'static str> = Vec::new();
    for name in &names {
        let known = match name.to_ascii_uppercase().as_slice() {
            b"CONDSTORE" => {
                session.enable_condstore(out);
                "CONDSTORE"
            }
            b"QRESYNC" => {
                session.enabled.qresync = true;
                session.enable_condstore(out);
                "QRESYNC"
            }
            b"UTF8=ACCEPT" => {
                session.enabled.utf8 = true;
                "UTF8=ACCEPT"
            }
            b"IMAP4REV2" => {
                session.enabled.rev2 = true;
                "IMAP4rev2"
            }
            _ => continue,
        };
        if !listed.contains(&known) {
            listed.push(known);
        }
    }
    let space = if listed.is_empty() { "" } else { " " };
    out.untagged(format_args!("ENABLED{space}{}", listed.join(" ")));
    Reply::ok("ENABLE completed")
}
