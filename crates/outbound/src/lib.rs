//! Requests by HTTP to services of others, bounded in time and octets.
//!
//! One [`Client`] per service: it knows whose certificates it trusts and how long it waits. Connections are kept and
//! shared. Who calls says how many octets of an answer it takes, and judges statuses by itself.
//!
//! Deliberately absent: redirects, which would send a secret to whom nobody configured; proxies; trying again, since only
//! who calls knows what may be done twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// How long a connection that nobody uses is kept.
const UNUSED_MAX: Duration = Duration::from_secs(30);

/// How often a connection of HTTP/2 is asked whether it is alive, and how long it may take to say so: many requests share
/// one, and none finds out by itself.
const ALIVE_PAUSE: Duration = Duration::from_secs(5);

/// Which HTTP a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over https by ALPN, over http at once (RFC 9113 §3.2, §3.3).
    Http2,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none of http or https.
    #[error("{0} is not an http or https URL")]
    Url(Uri),
    /// The authorities cannot be read.
    #[error("{0}: {1}")]
    Authorities(PathBuf, String),
}

/// Why there is no answer, in words for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

/// A client of one service.
#[derive(Clone, Debug)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    wait_max: Duration,
}

impl Client {
    /// A client for `url` and its neighbours. `authorities`: a PEM file of those one of which must have signed the
    /// service's certificate, read for https only; `wait_max`: longest time of a request, connecting included.
    ///
    /// # Errors
    /// [`ClientError`] says what is wrong.
    pub fn new(url: &Uri, authorities: &Path, wait_max: Duration) -> Result<Self, ClientError> {
        Self::speaking(Version::Http1, url, authorities, wait_max)
    }

    /// [`Client::new`] for a service of that version of HTTP.
    ///
    /// # Errors
    /// [`ClientError`] says what is wrong.
    pub fn speaking(
        version: Version,
        url: &Uri,
        authorities: &Path,
        wait_max: Duration,
    ) -> Result<Self, ClientError> {
        let secure = match (url.scheme_str(), url.host()) {
            (Some("http"), Some(_)) => false,
            (Some("https"), Some(_)) => true,
            _ => return Err(ClientError::Url(url.clone())),
        };
        let unusable = |text: String| ClientError::Authorities(authorities.to_owned(), text);
        let mut roots = rustls::RootCertStore::empty();
        if secure {
            let found = CertificateDer::pem_file_iter(authorities).map_err(|e| unusable(e.to_string()))?;
            let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| unusable(e.to_string()))?;
            // A bundle of a system may hold some that this library does not take.
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(unusable("it holds no certificate of an authority".into()));
            }
        }
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|e| unusable(e.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(wait_max));
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = match version {
            Version::Http1 => https.enable_http1().wrap_connector(tcp),
            Version::Http2 => https.enable_http2().wrap_connector(tcp),
        };
        let hyper = Hyper::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(UNUSED_MAX)
            .http2_only(version == Version::Http2)
            .http2_keep_alive_interval(ALIVE_PAUSE)
            .http2_keep_alive_timeout(ALIVE_PAUSE)
            // A request that was lost with its connection is tried again by who knows what may be done twice.
            .retry_canceled_requests(false)
            .build(https);
        Ok(Self { hyper, wait_max })
    }

    /// Sends a request and reads the answer; of one with more than `bytes_max` octets only its head.
    ///
    /// # Errors
    /// [`Failed`] when there is no answer in time, or none at all.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Result<Bytes, Failed>>, Failed> {
        let exchange = async {
            let answer = self.hyper.request(request).await.map_err(|error| Failed(chain(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, bytes_max).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).map_err(|error| Failed(chain(&*error)));
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(self.wait_max, exchange)
            .await
            .unwrap_or_else(|_| Err(Failed(format!("no answer within {} ms", self.wait_max.as_millis()))))
    }
}

/// An error with what caused it, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
