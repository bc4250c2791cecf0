//! `NAMESPACE`: one personal namespace, without a prefix.
//!
//! Source: RFC 9051 §6.3.10, RFC 2342. Answers OK.

use crate::connection::Output;
use crate::reply::Reply;

pub(crate) async fn run(out: &mut Output) -> Reply {
    out.untagged(format_args!(r#"NAMESPACE (("" "/")) NIL NIL"#));
    Reply::ok("NAMESPACE completed")
}
