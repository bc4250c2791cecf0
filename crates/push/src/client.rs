//! Posting a notice to the enabler, and what its answer means.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};

use crate::encode::{Encoded, Encoding, pap_verdict};
use crate::limits::ANSWER_BYTES_MAX;

/// What the enabler's answer to a notice means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the notice.
    Accepted,
    /// It will never take this notice; others it may.
    Refused(String),
    /// It did not take this notice; perhaps it will.
    Failed(String),
    /// It takes no notices for now.
    Unavailable(String),
}

/// A verdict, and when the enabler asked to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) retry_after: Option<Duration>,
}

/// How this service proves to the enabler who it is.
#[derive(Clone, Debug, Default)]
pub enum Authorization {
    /// Not at all.
    #[default]
    None,
    /// Basic (RFC 7617): `user:password`.
    Basic(SecretString),
    /// Bearer (RFC 6750): the token.
    Bearer(SecretString),
}

/// Where the enabler is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http://…` or `https://…`.
    pub url: Uri,
    /// Who we say we are.
    pub authorization: Authorization,
    /// PEM file of the authorities one of which must have signed the enabler's certificate, for https.
    pub authorities: PathBuf,
    /// Longest wait for an answer, connecting included.
    pub answer_wait_max: Duration,
    /// The form of notices, which says how answers are read.
    pub encoding: Encoding,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL or the authorities cannot be used.
    #[error(transparent)]
    Service(#[from] outbound::ClientError),
    /// The credentials cannot stand in a header.
    #[error("the credentials hold characters that no header field can have")]
    Credentials,
}

/// A client of the enabler.
pub(crate) struct Client {
    service: outbound::Client,
    url: Uri,
    authorization: Option<HeaderValue>,
    encoding: Encoding,
}

impl Client {
    /// # Errors
    /// [`ClientError`] says what is wrong with `options`.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let service = outbound::Client::new(&options.url, &options.authorities, options.answer_wait_max)?;
        let authorization = match &options.authorization {
            Authorization::None => None,
            Authorization::Basic(pair) => {
                use base64::Engine as _;
                let coded = base64::engine::general_purpose::STANDARD.encode(pair.expose_secret());
                Some(format!("Basic {coded}"))
            }
            Authorization::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
        };
        let authorization = authorization
            .map(|text| -> Result<_, ClientError> {
                let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Credentials)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self { service, url: options.url.clone(), authorization, encoding: options.encoding })
    }

    /// Posts a notice and reads the answer.
    pub(crate) async fn post(&self, notice: &Encoded) -> Answer {
        self.exchange(notice)
            .await
            .unwrap_or_else(|told| Answer { verdict: Verdict::Unavailable(told), retry_after: None })
    }

    async fn exchange(&self, notice: &Encoded) -> Result<Answer, String> {
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, notice.content_type.as_str())
            .header(USER_AGENT, concat!("mss/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &notice.headers {
            let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(Full::new(notice.body.clone())).map_err(|error| error.to_string())?;
        let answer = self.service.send(request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let retry_after =
            head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let verdict = match judge(head.status) {
            // What says whether the notice was taken is in the body.
            Verdict::Accepted if self.encoding == Encoding::Pap => match body {
                Ok(body) => pap_verdict(&body),
                Err(error) => Verdict::Failed(format!("the gateway's answer cannot be read: {error}")),
            },
            verdict => verdict,
        };
        Ok(Answer { verdict, retry_after: retry_after.map(Duration::from_secs) })
    }
}

/// What a status says. Only what blames the request itself gives a notice up: where the URL or the credentials are
/// wrong, so is every notice, and they wait until the operator has put it right.
fn judge(status: StatusCode) -> Verdict {
    let told = format!("the enabler answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Verdict::Accepted,
        400 | 406 | 409 | 411 | 413 | 415 | 422 | 431 => Verdict::Refused(told),
        500 => Verdict::Failed(told),
        _ => Verdict::Unavailable(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let check = |status: u16, accepted, refused, failed| {
            let verdict = judge(StatusCode::from_u16(status).unwrap());
            let is = (
                verdict == Verdict::Accepted,
                matches!(verdict, Verdict::Refused(_)),
                matches!(verdict, Verdict::Failed(_)),
            );
            assert_eq!(is, (accepted, refused, failed), "{status}");
        };
        for status in [200, 202, 204] {
            check(status, true, false, false);
        }
        for status in [400, 413, 422] {
            check(status, false, true, false);
        }
        check(500, false, false, true);
        for status in [301, 401, 403, 404, 408, 429, 502, 503, 504] {
            check(status, false, false, false);
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let options = |url: &str, authorities: &str, authorization| ClientOptions {
            url: url.parse().unwrap(),
            authorization,
            authorities: authorities.into(),
            answer_wait_max: Duration::from_secs(1),
            encoding: Encoding::Json,
        };
        let told = |options| Client::new(&options).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told(options("/x", "", Authorization::None)), "/x is not an http or https URL");
        assert!(
            told(options("https://a/", "/nowhere.pem", Authorization::None)).starts_with("/nowhere.pem: ")
        );
        assert_eq!(
            told(options("http://a/", "", Authorization::Bearer("a\nb".into()))),
            "the credentials hold characters that no header field can have"
        );
        assert_eq!(told(options("http://a/", "", Authorization::Basic("a:b".into()))), "");
    }
}
