//! `COMPRESS DEFLATE`: both directions are compressed behind the tagged OK.
//!
//! Source: RFC 4978 §3. Answers OK; NO `[COMPRESSIONACTIVE]`; BAD for other algorithms.

use bytes::Bytes;

use crate::connection::Output;
use crate::reply::{After, Reply};

pub(crate) async fn run(out: &mut Output, algorithm: Bytes) -> Reply {
    if !algorithm.eq_ignore_ascii_case(b"DEFLATE") {
        return Reply::bad("the only algorithm is DEFLATE");
    }
    if out.is_deflated() {
        return Reply::no_code("COMPRESSIONACTIVE", "DEFLATE is on already");
    }
    Reply::ok("DEFLATE begins").then(After::Deflate)
}
