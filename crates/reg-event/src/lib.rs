//! Registration sets and departures as the SIP/IP core tells them: the `reg` event package over SIP.
//!
//! [`RegEvent`] subscribes to the registration of each address that somebody logs in to (RFC 3680, as an application
//! server does, 3GPP TS 24.229 §5.7.1.1), and from then on knows its implicit registration set without asking. What
//! stands where:
//!
//! - `sip`: the only module that knows the SIP library. `subscription`: one address, its dialog and its life.
//! - [`reginfo`]: documents. `table`: what the documents of a subscription add up to.
//!
//! An address is listened to for a day after the last login to it; each front end listens for itself. A front end that
//! stops says nothing: its subscriptions expire, or end at the first NOTIFY that nobody takes (RFC 6665 §4.2.2).
//!
//! It is a crate of its own, so that no front end but the binary's depends on SIP.
//!
//! Deliberately absent: TLS towards the core, authentication by digest (an application server is trusted by its address,
//! 3GPP TS 33.203), and accounts.

pub mod limits;
pub mod reginfo;
mod sip;
mod subscription;
mod table;
mod telemetry;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::CpmAddress;
use parking_lot::Mutex;
use registration::limits::DEPARTURES_WAITING_MAX;
use registration::{Departure, Provider, ProviderError, RegistrationSet};
pub use sip::Transport;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::limits::{KEPT, SUBSCRIPTIONS_MAX};
use crate::sip::{Answers, Incoming, Sip};
use crate::subscription::{Status, Subscription};

/// How the SIP/IP core is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where requests go: `host:port` of a proxy of the core, usually the S-CSCF or I-CSCF of the subscribers.
    pub proxy: String,
    /// How messages travel.
    pub transport: Transport,
    /// Where the core sends its own: an address that it reaches, not one for all interfaces.
    pub listen: SocketAddr,
    /// Who asks: the SIP URI by which the core knows this application server.
    pub own_uri: String,
    /// How long a subscription is asked for; the core may say less. It is renewed in time.
    pub expires: Duration,
    /// How long after the last question an address is listened to.
    pub kept: Duration,
}

impl Options {
    /// With the usual times: an hour, and [`KEPT`].
    pub fn new(proxy: String, transport: Transport, listen: SocketAddr, own_uri: String) -> Self {
        Self { proxy, transport, listen, own_uri, expires: Duration::from_secs(3_600), kept: KEPT }
    }
}

/// Why the core cannot be listened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegEventError {
    /// The address cannot be listened on.
    #[error("{0} cannot be listened on: {1}")]
    Listen(SocketAddr, String),
    /// The own URI is none.
    #[error("{0:?} is no SIP URI, like sip:mss@example.com")]
    OwnUri(String),
}

/// Whether a text can be the own URI.
///
/// # Errors
/// [`RegEventError::OwnUri`].
pub fn check_uri(text: &str) -> Result<(), RegEventError> {
    let is_sip = text.starts_with("sip:") && CpmAddress::parse(text).is_ok();
    // It stands between brackets in header fields.
    if is_sip && !text.contains(['<', '>', '"']) {
        Ok(())
    } else {
        Err(RegEventError::OwnUri(text.to_owned()))
    }
}

/// Registration sets as the SIP/IP core tells them. Listens until it is dropped.
pub struct RegEvent {
    inner: Arc<Inner>,
    sip: Arc<Sip>,
}

pub(crate) struct Inner {
    pub options: Options,
    pub departures: broadcast::Sender<Departure>,
    /// By address.
    subscriptions: Mutex<HashMap<CpmAddress, Arc<Subscription>>>,
    /// By the Call-ID of their dialogs.
    pub dialogs: Mutex<HashMap<String, Arc<Subscription>>>,
    pub stop: CancellationToken,
}

impl RegEvent {
    /// Begins to listen at the address of the options.
    ///
    /// # Errors
    /// When it cannot be listened on, or the own URI is none.
    pub async fn start(options: Options) -> Result<Self, RegEventError> {
        check_uri(&options.own_uri)?;
        telemetry::describe();
        let (transport, listen) = (options.transport, options.listen);
        let inner = Arc::new(Inner {
            options,
            departures: broadcast::Sender::new(DEPARTURES_WAITING_MAX),
            subscriptions: Mutex::default(),
            dialogs: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let sip = Sip::listen(transport, listen, inner.clone())
            .await
            .map_err(|error| RegEventError::Listen(listen, error))?;
        let sip = Arc::new(sip);
        Ok(Self { inner, sip })
    }

    /// The subscription to an address, begun now if there is none.
    fn subscription(&self, address: &CpmAddress) -> Option<Arc<Subscription>> {
        let mut subscriptions = self.inner.subscriptions.lock();
        if let Some(subscription) = subscriptions.get(address) {
            subscription.asked();
            return Some(subscription.clone());
        }
        if subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return None;
        }
        let (subscription, nudges) = Subscription::new(address.clone());
        let subscription = Arc::new(subscription);
        subscriptions.insert(address.clone(), subscription.clone());
        telemetry::subscriptions(subscriptions.len());
        let (inner, sip, kept) = (self.inner.clone(), self.sip.clone(), subscription.clone());
        tokio::spawn(async move {
            kept.run(&inner, &sip, nudges).await;
            let mut subscriptions = inner.subscriptions.lock();
            subscriptions.remove(&kept.address);
            telemetry::subscriptions(subscriptions.len());
        });
        Some(subscription)
    }
}

#[async_trait]
impl Provider for RegEvent {
    async fn ask(&self, address: &CpmAddress, _: &[CpmAddress]) -> Result<RegistrationSet, ProviderError> {
        let subscription = self
            .subscription(address)
            .ok_or_else(|| ProviderError::new("too many addresses are listened to"))?;
        match subscription.answer().await {
            Status::Known(set) => Ok(set),
            Status::Lost(why) => Err(ProviderError::new(why)),
            Status::Asking => Err(ProviderError::new("the subscription ended")),
        }
    }

    fn departures(&self) -> Option<broadcast::Receiver<Departure>> {
        Some(self.inner.departures.subscribe())
    }
}

impl Drop for RegEvent {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

impl Answers for Inner {
    /// Only of dialogs of our own (RFC 6665 §4.1.3): their Call-IDs and tags are 128 random bits each.
    fn notify(&self, request: &Incoming) -> u16 {
        let subscription = request.fields.get("Call-ID").and_then(|id| self.dialogs.lock().get(id).cloned());
        match subscription {
            Some(subscription) => subscription.notified(self, request),
            None => 481,
        }
    }
}
