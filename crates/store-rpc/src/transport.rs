//! Connections to a storage node.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, ServerTlsConfig, Uri};

/// HTTP/2 connections to one node; one connection is one task at either end, so a few spread the work.
const CONNECTIONS: usize = 4;
/// Longest wait for a connection. A host that is gone refuses at once; this is for one that a network hides.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A quiet connection is asked for a sign of life this often, and given up after the wait: a call to a node that a
/// network hides fails within both.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(5);
/// Flow-control window of one stream, bytes; bounds what a slow reader of a body holds up.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Flow-control window of a connection, bytes.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Where a storage node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://host:port`.
    Http(String),
    /// `https://host:port`: mutual TLS.
    Https(String),
    /// `unix:/path/to/socket`.
    Unix(PathBuf),
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError(String);

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the address of a storage node; allowed are https://HOST:PORT, http://HOST:PORT and unix:/PATH",
            self.0
        )
    }
}

impl std::error::Error for EndpointError {}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.starts_with('/') {
                return Ok(Self::Unix(PathBuf::from(path)));
            }
        } else if let Ok(uri) = text.parse::<Uri>()
            && uri.port_u16().is_some()
            && matches!(uri.path(), "" | "/")
        {
            match uri.scheme_str() {
                Some("http") => return Ok(Self::Http(text.to_owned())),
                Some("https") => return Ok(Self::Https(text.to_owned())),
                _ => {}
            }
        }
        Err(EndpointError(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) | Self::Https(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What each side of mutual TLS shows and asks for, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate chain that this process shows.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// The authorities that must have signed the other side's certificate.
    pub ca: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }

    /// For a listener: clients without a certificate of the authorities are refused.
    pub(crate) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity()).client_ca_root(Certificate::from_pem(&self.ca))
    }

    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(Certificate::from_pem(&self.ca))
    }
}

/// Channels to a node. They connect when first used and again after a loss.
///
/// # Errors
/// [`EndpointError`] if the address is not one, or asks for TLS and there is none, or `tls` cannot be used.
pub fn connect(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Vec<Channel>, EndpointError> {
    (0..CONNECTIONS).map(|_| channel(endpoint, tls)).collect()
}

fn channel(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Channel, EndpointError> {
    let configured = |url: &str| {
        Channel::from_shared(url.to_owned()).map_err(|_| EndpointError(url.to_owned())).map(|e| {
            e.connect_timeout(CONNECT_WAIT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEPALIVE_EVERY)
                .keep_alive_timeout(KEEPALIVE_WAIT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        })
    };
    match endpoint {
        Endpoint::Http(url) => Ok(configured(url)?.connect_lazy()),
        Endpoint::Https(url) => {
            let no_tls = || EndpointError(format!("{url} (which needs [rpc_tls])"));
            let secured = configured(url)?.tls_config(tls.ok_or_else(no_tls)?.client());
            Ok(secured.map_err(|error| EndpointError(format!("{url} ({error})")))?.connect_lazy())
        }
        Endpoint::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            Ok(configured("http://localhost")?.connect_with_connector_lazy(connector))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn endpoints() {
        assert_eq!("http://127.0.0.1:7143".parse(), Ok(Endpoint::Http("http://127.0.0.1:7143".into())));
        assert_eq!("unix:/run/mss.sock".parse(), Ok(Endpoint::Unix("/run/mss.sock".into())));
        assert_eq!("https://h:1".parse(), Ok(Endpoint::Https("https://h:1".into())));
        for bad in ["", "127.0.0.1:7143", "ftp://h:1", "http://h", "unix:relative", "http://h:1/path"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
