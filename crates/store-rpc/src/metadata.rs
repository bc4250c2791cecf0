//! What accompanies every call: request id, requestor, deadline.

use std::time::{Duration, Instant};

use model::{AccountId, Result};
use store_api::{Ctx, Requestor};
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::invalid;

const REQUEST_ID: &str = "mss-request-id";
const REQUESTOR: &str = "mss-requestor";
/// Longest a call without a deadline of its caller may take.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(300);

/// How long a stream of news is kept before it is opened anew: well within what a server allows.
pub(crate) const STREAM_LIFE: Duration = Duration::from_secs(3_000);

/// A request that carries `ctx`.
pub(crate) fn request<T>(ctx: &Ctx, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let map = request.metadata_mut();
    if let Ok(value) = MetadataValue::try_from(format!("{:016x}", ctx.request_id)) {
        map.insert(REQUEST_ID, value);
    }
    let requestor = match &ctx.requestor {
        Requestor::Owner(account) => format!("owner:{account}"),
        Requestor::Operator => "operator".to_owned(),
    };
    if let Ok(value) = MetadataValue::try_from(requestor) {
        map.insert(REQUESTOR, value);
    }
    let left = ctx.deadline.map_or(DEADLINE_DEFAULT, |d| d.saturating_duration_since(Instant::now()));
    request.set_timeout(left);
    request
}

/// The `ctx` that a request carries.
///
/// # Errors
/// `InvalidRequest` if it carries none.
pub(crate) fn ctx(map: &MetadataMap) -> Result<Ctx> {
    let text = |key| map.get(key).and_then(|v| v.to_str().ok());
    let request_id = text(REQUEST_ID)
        .and_then(|id| u64::from_str_radix(id, 16).ok())
        .ok_or_else(|| invalid("the metadata mss-request-id must be up to 16 hexadecimal digits"))?;
    let requestor = match text(REQUESTOR) {
        Some("operator") => Requestor::Operator,
        Some(owner) => owner
            .strip_prefix("owner:")
            .and_then(|id| u64::from_str_radix(id, 16).ok())
            .map(|id| Requestor::Owner(AccountId(id)))
            .ok_or_else(|| invalid("the metadata mss-requestor must be owner:<account id> or operator"))?,
        None => return Err(invalid("the metadata mss-requestor is missing")),
    };
    let timeout =
        text("grpc-timeout").and_then(timeout).unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_DEFAULT * 12);
    Ok(Ctx { request_id, deadline: Some(Instant::now() + timeout), requestor })
}

/// `grpc-timeout`: up to eight digits and a unit (grpc/grpc, `PROTOCOL-HTTP2.md`).
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for requestor in [Requestor::Operator, Requestor::Owner(AccountId(0xabc))] {
            let sent =
                Ctx { request_id: 77, deadline: Some(Instant::now() + Duration::from_secs(9)), requestor };
            let got = ctx(request(&sent, ()).metadata()).expect("complete");
            assert_eq!((got.request_id, &got.requestor), (77, &sent.requestor));
            let left = got.deadline.expect("set").saturating_duration_since(Instant::now());
            assert!(left <= Duration::from_secs(9) && left > Duration::from_secs(7), "{left:?}");
        }
        assert!(ctx(&MetadataMap::new()).is_err());
        for (text, expected) in
            [("5S", Some(5_000)), ("20m", Some(20)), ("S", None), ("123456789S", None), ("1x", None)]
        {
            assert_eq!(timeout(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
