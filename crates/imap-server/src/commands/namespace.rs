//! `NAMESPACE`: one's own mailboxes, without a prefix, and those of other users, below `Other/`.
//!
//! Source: RFC 9051 §6.3.10, RFC 2342. Answers OK.

use crate::connection::Output;
use crate::others::PREFIX;
use crate::reply::Reply;

pub(crate) async fn run(out: &mut Output) -> Reply {
    out.untagged(format_args!(r#"NAMESPACE (("" "/")) (("{PREFIX}" "/")) NIL"#));
    Reply::ok("NAMESPACE completed")
}
