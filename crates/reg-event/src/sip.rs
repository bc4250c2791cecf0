//! SIP as the other modules see it: requests out, requests in, and the header fields of both.
//!
//! The only module that knows the SIP library. Of the library it uses transports and transactions (RFC 3261 §17, §18);
//! subscriptions are this crate's own, since what counts here is what happens to them when something is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::EndpointBuilder;
use rsipstack::sip::{Headers, Method, Request, SipMessage, StatusCode};
use rsipstack::transaction::endpoint::{Endpoint, EndpointInner};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::transaction::Transaction;
use rsipstack::transport::tcp_listener::TcpListenerConnection;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, TransportLayer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits::{ANSWER_WAIT, ANSWERS_AT_ONCE_MAX};

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each; SIP repeats what gets lost.
    Udp,
    /// One connection for many.
    Tcp,
}

impl Transport {
    /// As the Via header field has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A final response, as far as anything here looks at it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub code: u16,
    pub fields: Fields,
}

/// Header fields of a message.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(headers: &Headers) -> Self {
        let split = |text: String| {
            text.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        };
        Self(headers.iter().filter_map(|header| split(header.to_string())).collect())
    }

    /// The value of the first field of that name or its compact form.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all fields of that name or its compact form.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        /// RFC 3261 §7.3.3, RFC 6665 §8.4.
        const COMPACT: [(&str, &str); 6] = [
            ("Call-ID", "i"),
            ("Contact", "m"),
            ("Content-Type", "c"),
            ("Event", "o"),
            ("From", "f"),
            ("To", "t"),
        ];
        let compact =
            COMPACT.iter().find(|(long, _)| long.eq_ignore_ascii_case(name)).map(|(_, short)| *short);
        let named = name.to_owned();
        self.0.iter().filter_map(move |(field, value)| {
            let is =
                field.eq_ignore_ascii_case(&named) || compact.is_some_and(|c| field.eq_ignore_ascii_case(c));
            is.then_some(value.as_str())
        })
    }

    /// A number that a field consists of, or begins with.
    pub fn number(&self, name: &str) -> Option<u32> {
        let value = self.get(name)?;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// A request of the core.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub fields: Fields,
    pub body: Vec<u8>,
}

/// What becomes of requests of the core: the status code to answer with.
pub(crate) trait Answers: Send + Sync + 'static {
    fn notify(&self, request: &Incoming) -> u16;
}

/// A place in the SIP network: listens, sends requests and answers them.
pub(crate) struct Sip {
    endpoint: Arc<EndpointInner>,
    transport: Transport,
    stop: CancellationToken,
}

impl Sip {
    /// Listens at an address, and answers NOTIFY requests by `answers`.
    pub async fn listen(
        transport: Transport,
        listen: SocketAddr,
        answers: Arc<dyn Answers>,
    ) -> Result<Self, String> {
        let stop = CancellationToken::new();
        let layer = TransportLayer::new(stop.child_token());
        match transport {
            Transport::Udp => {
                let udp = UdpConnection::create_connection(listen, None, Some(stop.child_token()));
                layer.add_transport(udp.await.map_err(|error| error.to_string())?.into());
            }
            Transport::Tcp => {
                // The library binds behind its caller's back: what would fail there is told here.
                drop(std::net::TcpListener::bind(listen).map_err(|error| error.to_string())?);
                let tcp = TcpListenerConnection::new(listen, None);
                layer.add_transport(tcp.await.map_err(|error| error.to_string())?.into());
            }
        }
        let endpoint = EndpointBuilder::new()
            .with_user_agent("mss")
            .with_transport_layer(layer)
            .with_cancel_token(stop.child_token())
            .build();
        let mut incoming = endpoint.incoming_transactions().map_err(|error| error.to_string())?;
        let sip = Self { endpoint: endpoint.inner.clone(), transport, stop: stop.clone() };
        tokio::spawn(serve(endpoint));
        let at_once = Arc::new(Semaphore::new(ANSWERS_AT_ONCE_MAX));
        tokio::spawn(async move {
            loop {
                let transaction = tokio::select! {
                    transaction = incoming.recv() => transaction,
                    () = stop.cancelled() => return,
                };
                let Some(transaction) = transaction else {
                    return;
                };
                // The semaphore is never closed.
                let Ok(permit) = at_once.clone().acquire_owned().await else {
                    return;
                };
                let answers = answers.clone();
                tokio::spawn(async move {
                    answer(transaction, answers.as_ref()).await;
                    drop(permit);
                });
            }
        });
        Ok(sip)
    }

    /// Sends a request to an address and waits for its final response. `None` if there is none in time.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn ask(&self, request: &str, to: SocketAddr) -> Result<Option<Answer>, String> {
        let request = Request::try_from(request).map_err(|error| error.to_string())?;
        let key = TransactionKey::from_request(&request, TransactionRole::Client)
            .map_err(|error| error.to_string())?;
        let mut transaction = Transaction::new_client(key, request, self.endpoint.clone(), None);
        let transport = match self.transport {
            Transport::Udp => rsipstack::sip::Transport::Udp,
            Transport::Tcp => rsipstack::sip::Transport::Tcp,
        };
        transaction.destination = Some(SipAddr { r#type: Some(transport), addr: to.into() });
        let exchange = async {
            transaction.send().await.map_err(|error| error.to_string())?;
            while let Some(message) = transaction.receive().await {
                if let SipMessage::Response(response) = message
                    && response.status_code.code() >= 200
                {
                    let code = response.status_code.code();
                    return Ok(Some(Answer { code, fields: Fields::of(&response.headers) }));
                }
            }
            Ok(None)
        };
        tokio::time::timeout(ANSWER_WAIT + Duration::from_secs(1), exchange).await.unwrap_or(Ok(None))
    }
}

impl Drop for Sip {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(endpoint: Endpoint) {
    endpoint.serve().await;
}

async fn answer(mut transaction: Transaction, answers: &dyn Answers) {
    let code = match transaction.original.method {
        Method::Notify => {
            let fields = Fields::of(&transaction.original.headers);
            answers.notify(&Incoming { fields, body: transaction.original.body.clone() })
        }
        Method::Options => 200,
        _ => 405,
    };
    if let Err(error) = transaction.reply(StatusCode::from(code)).await {
        tracing::debug!(%error, code, "a request of the SIP/IP core was not answered");
    }
}

/// The parameter `tag` of a From or To.
pub(crate) fn tag(value: &str) -> Option<&str> {
    // Behind the URI: a URI in brackets may have parameters of its own.
    let parameters = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    parameters.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("tag").then(|| value.trim())
    })
}

/// The URI of a Contact or of one value of Record-Route.
pub(crate) fn uri(value: &str) -> Option<&str> {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map(|(uri, _)| uri),
        None => value.split(';').next().map(str::trim).filter(|uri| !uri.is_empty()),
    }
}

/// The values of a list, apart at the commas outside of brackets and quotes.
pub(crate) fn values(list: &str) -> Vec<&str> {
    let (mut from, mut within, mut quoted) = (0, false, false);
    let mut values = Vec::new();
    for (at, c) in list.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => within = true,
            '>' if !quoted => within = false,
            ',' if !quoted && !within => {
                values.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    values.push(list[from..].trim());
    values.retain(|value| !value.is_empty());
    values
}

/// Host and port of a SIP URI, for `lookup_host`.
pub(crate) fn host_port(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("SIP:"))?;
    let rest = rest.split(['?', ';']).next()?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if host.is_empty() {
        return None;
    }
    let has_port = match host.rsplit_once(':') {
        Some((before, port)) => {
            !before.starts_with('[') && port.bytes().all(|b| b.is_ascii_digit()) || before.ends_with(']')
        }
        None => false,
    };
    Some(if has_port { host.to_owned() } else { format!("{host}:5060") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_header_fields() {
        assert_eq!(tag("\"A\" <sip:a@b;tag=no>;x=1;Tag=yes"), Some("yes"));
        assert_eq!(tag("sip:a@b;tag=yes"), Some("yes"));
        assert_eq!(tag("<sip:a@b;tag=no>"), None);
        assert_eq!(uri("\"A\" <sip:a@b;lr>;x"), Some("sip:a@b;lr"));
        assert_eq!(uri("sip:a@b;x"), Some("sip:a@b"));
        assert_eq!(
            values("<sip:a,b@c;lr>, <sip:d>,\"x,y\" <sip:e>"),
            ["<sip:a,b@c;lr>", "<sip:d>", "\"x,y\" <sip:e>"]
        );
        for (of, expected) in [
            ("sip:10.0.0.1;lr", Some("10.0.0.1:5060")),
            ("sip:a@core.example:5080?x=y", Some("core.example:5080")),
            ("sip:[::1]", Some("[::1]:5060")),
            ("sip:[::1]:5070;lr", Some("[::1]:5070")),
            ("tel:+1", None),
            ("sip:", None),
        ] {
            assert_eq!(host_port(of).as_deref(), expected, "{of}");
        }
    }
}
