//! How a notice is written for the enabler.
//!
//! Three forms: JSON like the event list of OMA NMS in the push message of an operator (the default), the event report of
//! CPM networks, and the latter in the push message of OMA PAP 2.1.

mod evfw;
mod json;
mod pap;

use bytes::Bytes;

use crate::notice::Notice;

pub(crate) use pap::verdict as pap_verdict;

/// The form of notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`: a push message with an event list as of OMA NMS.
    #[default]
    Json,
    /// `application/vnd.oma.cpm-eventfw+xml`: the event report of CPM networks.
    EventReport,
    /// `multipart/related`: the push message of OMA PAP 2.1 with the event report as its content.
    Pap,
}

/// What the operator says of all notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// The form.
    pub encoding: Encoding,
    /// Seconds for which a notice is worth delivering.
    pub ttl_seconds: u64,
    /// Names this service to the enabler.
    pub service: String,
}

/// A notice as it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Content-Type.
    pub content_type: String,
    /// Header fields beside it.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// Writes a notice. `now_millis`: the time of writing, since 1970-01-01 UTC.
pub fn encode(notice: &Notice, style: &Style, now_millis: i64) -> Encoded {
    match style.encoding {
        Encoding::Json => json::encode(notice, style),
        Encoding::EventReport => evfw::encode(notice),
        Encoding::Pap => pap::encode(notice, style, now_millis),
    }
}

/// A time of the Internet (RFC 3339), in UTC, to the second.
fn timestamp(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map_or_else(|_| String::new(), |time| time.to_string())
}
