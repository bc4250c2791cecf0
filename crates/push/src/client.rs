//! Posting a notice to the enabler, and what its answer means.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
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
    /// The URL is none of http or https.
    #[error("{0} is not an http or https URL")]
    Url(Uri),
    /// The credentials cannot stand in a header.
    #[error("the credentials hold characters that no header field can have")]
    Credentials,
    /// The authorities cannot be read.
    #[error("{0}: {1}")]
    Authorities(PathBuf, String),
}

/// A client of the enabler. Connections are kept and shared.
pub(crate) struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
    wait_max: Duration,
    encoding: Encoding,
}

impl Client {
    /// # Errors
    /// [`ClientError`] says what is wrong with `options`.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let secure = match (options.url.scheme_str(), options.url.host()) {
            (Some("http"), Some(_)) => false,
            (Some("https"), Some(_)) => true,
            _ => return Err(ClientError::Url(options.url.clone())),
        };
        let mut roots = rustls::RootCertStore::empty();
        if secure {
            let unusable = |text: String| ClientError::Authorities(options.authorities.clone(), text);
            let found =
                CertificateDer::pem_file_iter(&options.authorities).map_err(|e| unusable(e.to_string()))?;
            let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| unusable(e.to_string()))?;
            // A bundle of a system may hold some that this library does not take.
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(unusable("it holds no certificate of an authority".into()));
            }
        }
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|e| ClientError::Authorities(options.authorities.clone(), e.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(options.answer_wait_max));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let hyper = Hyper::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            // A request that was lost with its connection is tried again by who knows its order among others.
            .retry_canceled_requests(false)
            .build(https);
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
            .map(|text| {
                let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Credentials)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self {
            hyper,
            url: options.url.clone(),
            authorization,
            wait_max: options.answer_wait_max,
            encoding: options.encoding,
        })
    }

    /// Posts a notice and reads the answer.
    pub(crate) async fn post(&self, notice: &Encoded) -> Answer {
        let unavailable = |told: String| Answer { verdict: Verdict::Unavailable(told), retry_after: None };
        match tokio::time::timeout(self.wait_max, self.exchange(notice)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(told)) => unavailable(told),
            Err(_) => unavailable(format!("no answer within {} ms", self.wait_max.as_millis())),
        }
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
        let answer = self.hyper.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = answer.into_parts();
        let retry_after =
            head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes);
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

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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
