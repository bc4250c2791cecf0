//! What accompanies every call: request id, requestor, deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX;
use model::{AccountId, DeviceId, Result};
use store_api::{Ctx, Requestor, User};
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::invalid;

const REQUEST_ID: &str = "mss-request-id";
const REQUESTOR: &str = "mss-requestor";
const DEVICE: &str = "mss-device";
const SIBLINGS: &str = "mss-siblings";
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
        Requestor::User(user) if user.network => format!("network:{}", user.account),
        Requestor::User(user) => format!("owner:{}", user.account),
        Requestor::Operator => "operator".to_owned(),
        Requestor::Nobody => "nobody".to_owned(),
    };
    if let Ok(value) = MetadataValue::try_from(requestor) {
        map.insert(REQUESTOR, value);
    }
    if let Some(user) = ctx.requestor.user() {
        if let Some(device) = user.device.as_ref().and_then(|d| MetadataValue::try_from(d.as_str()).ok()) {
            map.insert(DEVICE, device);
        }
        if !user.siblings.is_empty() {
            let ids: Vec<String> = user.siblings.iter().map(ToString::to_string).collect();
            if let Ok(value) = MetadataValue::try_from(ids.join(",")) {
                map.insert(SIBLINGS, value);
            }
        }
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
        Some("nobody") => Requestor::Nobody,
        Some(user) => {
            let parts = user.split_once(':').and_then(|(kind, id)| Some((kind, account_id(id)?)));
            let (network, account) = match parts {
                Some(("owner", account)) => (false, account),
                Some(("network", account)) => (true, account),
                _ => {
                    return Err(invalid(
                        "the metadata mss-requestor must be owner:<account id>, network:<account id>, operator \
                         or nobody",
                    ));
                }
            };
            let device = match map.get(DEVICE) {
                Some(device) => Some(
                    DeviceId::parse(device.as_bytes())
                        .map_err(|error| invalid(&format!("the metadata mss-device: {error}")))?,
                ),
                None => None,
            };
            let siblings = match text(SIBLINGS) {
                Some(list) if list.split(',').count() <= ACCOUNTS_PER_SUBSCRIBER_MAX => {
                    list.split(',').map(account_id).collect::<Option<_>>()
                }
                Some(_) => None,
                None => Some(Vec::new()),
            };
            let siblings = siblings.ok_or_else(|| {
                invalid(&format!(
                    "the metadata mss-siblings must be at most {ACCOUNTS_PER_SUBSCRIBER_MAX} account ids with commas"
                ))
            })?;
            Requestor::User(Arc::new(User { account, siblings, device, network }))
        }
        None => return Err(invalid("the metadata mss-requestor is missing")),
    };
    let timeout =
        text("grpc-timeout").and_then(timeout).unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_DEFAULT * 12);
    Ok(Ctx { request_id, deadline: Some(Instant::now() + timeout), requestor })
}

/// An account id as metadata has it.
fn account_id(text: &str) -> Option<AccountId> {
    u64::from_str_radix(text, 16).ok().map(AccountId)
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
        let function = User {
            siblings: vec![AccountId(1), AccountId(u64::MAX)],
            device: DeviceId::parse(b"<urn:gsma:imei:90420156-025763-0>").ok(),
            network: true,
            ..User::owner(AccountId(7))
        };
        let owner = Requestor::owner(AccountId(0xabc));
        for requestor in [Requestor::Operator, Requestor::Nobody, owner, Requestor::User(Arc::new(function))]
        {
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
