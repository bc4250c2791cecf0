//! Accepting connections, counting them, draining them.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use model::AccountId;
use parking_lot::Mutex;
use store_api::{ChangeFeed, MailStore};
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Authenticator;
use crate::config::{Literals, Options, Tls};
use crate::connection::{self, Transport};
use crate::functions::{Functions, contains};
use crate::proxied;
use crate::session::SessionOf;
use crate::telemetry::{self, CONNECTIONS, REFUSED_CONNECTIONS};
use crate::turns::Turns;

/// What one connection too many is told.
const BUSY: &[u8] = b"* BYE [UNAVAILABLE] too many connections, try again later\r\n";

/// How long a trusted proxy may take to say who connects; it says so with its first packet.
const PROXY_WAIT: Duration = Duration::from_secs(5);

/// How a listener's connections begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In clear; STARTTLS is offered when there is a certificate.
    Cleartext,
    /// With TLS (RFC 8314 §3.2).
    Tls,
    /// With TLS by a key that both sides know (RFC 4279); needs [`crate::Options::psk`].
    Psk,
    /// From a proxy of [`crate::Options::proxies`], which ends TLS and says by the PROXY protocol who connects. There is no
    /// STARTTLS, and passwords are taken. Whoever else connects is sent away without a word.
    Proxied,
}

/// Serves IMAP. Cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub store: Arc<dyn MailStore>,
    pub feed: Arc<dyn ChangeFeed>,
    pub options: Options,
    /// Certificate and keys, as of now.
    pub tls: ArcSwapOption<Tls>,
    pub auth: Authenticator,
    /// Who may act for subscribers, as of now.
    pub functions: ArcSwap<Functions>,
    /// The reader's limits before login and after it.
    pub login_wire_limits: Arc<imap_wire::Limits>,
    pub wire_limits: Arc<imap_wire::Limits>,
    pub account_slots: Arc<Slots<(AccountId, SessionOf)>>,
    pub turns: Arc<Turns>,
    address_slots: Arc<Slots<IpAddr>>,
    connection_slots: Arc<Slots<()>>,
    /// Connections end when they can.
    pub shutdown: CancellationToken,
    /// Connections end now.
    kill: CancellationToken,
    /// Connections and what they left running.
    pub tasks: TaskTracker,
    next_id: AtomicU64,
    /// Upper half of this server's request ids, by chance.
    request_ids: u64,
}

impl Shared {
    /// A number that no other request or connection of this process has.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn take_address(&self, peer: SocketAddr) -> Option<Slot<IpAddr>> {
        let slot = self.address_slots.take(origin(peer.ip()));
        if slot.is_none() {
            REFUSED_CONNECTIONS.increment(1);
        }
        slot
    }

    /// A number that no other request has, of other front ends neither as far as chance goes.
    pub fn next_request_id(&self) -> u64 {
        self.request_ids | (self.next_id() & u64::from(u32::MAX))
    }
}

impl Server {
    /// A server over a store and its feed; it does nothing until [`Server::serve`].
    pub fn new(store: Arc<dyn MailStore>, feed: Arc<dyn ChangeFeed>, options: Options) -> Self {
        telemetry::describe();
        let limits = &options.limits;
        let wire_limits = imap_wire::Limits {
            line_bytes_max: limits.line_bytes_max,
            search_depth_max: model::limits::SEARCH_DEPTH_MAX,
            search_keys_max: model::limits::SEARCH_KEYS_MAX,
            literal_minus: options.literals == Literals::Minus,
            ..imap_wire::Limits::default()
        };
        let before_login = limits.login_command_bytes_max;
        let login_wire_limits = imap_wire::Limits {
            line_bytes_max: before_login.min(wire_limits.line_bytes_max),
            literal_bytes_max: before_login.min(4096),
            command_bytes_max: before_login,
            discard_bytes_max: 16 * before_login as u64,
            auth_line_bytes_max: before_login,
            ..wire_limits.clone()
        };
        let shared = Shared {
            store,
            feed,
            tls: ArcSwapOption::from_pointee(options.tls.clone()),
            auth: Authenticator::new(&options),
            functions: ArcSwap::from_pointee(options.functions.clone()),
            login_wire_limits: Arc::new(login_wire_limits),
            wire_limits: Arc::new(wire_limits),
            turns: Turns::new(limits),
            account_slots: Slots::new(limits.sessions_per_account_max),
            address_slots: Slots::new(limits.connections_per_address_max),
            connection_slots: Slots::new(limits.connections_max),
            shutdown: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            next_id: AtomicU64::new(1),
            request_ids: u64::from(rand::random::<u32>()) << 32,
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Accepts connections until [`Server::shut_down`]. With [`Security::Tls`] and no certificate configured, each
    /// is closed at once.
    pub async fn serve(&self, listener: TcpListener, security: Security) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shared.shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.accept(stream, peer, security),
                Err(error) => {
                    // Out of file descriptors, say: wait for some to be given back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Serves a client within this process, in clear and as if from the same machine, until it closes its end. One
    /// connection too many is closed at once.
    pub fn attach(&self, stream: DuplexStream) {
        let peer = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        if let Some(slots) = self.take_slots(peer) {
            self.spawn(Transport::pipe(stream), peer, Security::Cleartext, slots);
        }
    }

    fn take_slots(&self, peer: SocketAddr) -> Option<(Slot<()>, Slot<IpAddr>)> {
        let total = self.take_connection()?;
        Some((total, self.shared.take_address(peer)?))
    }

    fn take_connection(&self) -> Option<Slot<()>> {
        CONNECTIONS.increment(1);
        let total = self.shared.connection_slots.take(());
        if total.is_none() {
            REFUSED_CONNECTIONS.increment(1);
        }
        total
    }

    fn accept(&self, stream: TcpStream, peer: SocketAddr, security: Security) {
        if security == Security::Proxied {
            return self.accept_proxied(stream, peer);
        }
        let Some(slots) = self.take_slots(peer) else {
            if security == Security::Cleartext {
                // The socket's buffer is empty: this is written whole or the client is gone.
                let _ = stream.try_write(BUSY);
            }
            return;
        };
        self.spawn(Transport::new(stream, peer), peer, security, slots);
    }

    /// The bound on connections of one address is the client's, so it waits for the proxy's word.
    fn accept_proxied(&self, stream: TcpStream, proxy: SocketAddr) {
        if !contains(&self.shared.options.proxies, proxy.ip()) {
            tracing::debug!(peer = %proxy, "not one of the trusted proxies");
            return telemetry::proxy_refused("source");
        }
        let Some(total) = self.take_connection() else {
            let _ = stream.try_write(BUSY);
            return;
        };
        let (shared, kill) = (self.shared.clone(), self.shared.kill.clone());
        self.shared.tasks.spawn(async move {
            let _total = total;
            tokio::select! {
                () = serve_proxied(shared, stream, proxy) => {}
                () = kill.cancelled() => {}
            }
        });
    }

    fn spawn(
        &self,
        transport: Transport,
        peer: SocketAddr,
        security: Security,
        slots: (Slot<()>, Slot<IpAddr>),
    ) {
        let (shared, kill) = (self.shared.clone(), self.shared.kill.clone());
        self.shared.tasks.spawn(async move {
            let _slots = slots;
            tokio::select! {
                () = connection::run(shared, transport, peer, security, BytesMut::new()) => {}
                () = kill.cancelled() => {}
            }
        });
    }

    /// From now on clients are shown this; connections that have TLS keep what they have. A server that began without
    /// offers STARTTLS from now on.
    pub fn set_tls(&self, tls: Tls) {
        self.shared.tls.store(Some(Arc::new(tls)));
    }

    /// From now on these are the network functions. Sessions that are open stay open.
    pub fn set_functions(&self, functions: Functions) {
        self.shared.functions.store(Arc::new(functions));
    }

    /// Stops accepting, says BYE to every connection as soon as its running command has ended, and waits for them;
    /// after `patience` the rest is cut off. Returns how many that were.
    pub async fn shut_down(&self, patience: Duration) -> usize {
        let shared = &self.shared;
        shared.shutdown.cancel();
        shared.tasks.close();
        if tokio::time::timeout(patience, shared.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = shared.tasks.len();
        shared.kill.cancel();
        // Each task ends at its next wake-up; a background write may take the store's time.
        let _ = tokio::time::timeout(shared.options.limits.call_time_max, shared.tasks.wait()).await;
        left
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.connection_slots.count(&())
    }
}

/// Serves the client of a trusted proxy.
async fn serve_proxied(shared: Arc<Shared>, mut stream: TcpStream, proxy: SocketAddr) {
    let (said, ahead) = match tokio::time::timeout(PROXY_WAIT, proxied::read(&mut stream)).await {
        Ok(Ok(read)) => read,
        // Many proxies see by such connections whether a server lives.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(%proxy, "a trusted proxy did not begin with a PROXY protocol header");
            return telemetry::proxy_refused("header");
        }
    };
    let peer = said.client.unwrap_or(proxy);
    tracing::debug!(%peer, %proxy, leg = ?said.leg, "a trusted proxy connects");
    let Some(_address) = shared.take_address(peer) else {
        let _ = stream.try_write(BUSY);
        return;
    };
    let transport = Transport::proxied(stream, peer, said.leg.is_private());
    connection::run(shared, transport, peer, Security::Proxied, ahead).await;
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// What connections of one origin have in common: the address, or the /64 that an IPv6 host may choose in.
pub(crate) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counts uses of each key up to a bound.
#[derive(Debug)]
pub(crate) struct Slots<K> {
    max: usize,
    counts: Mutex<HashMap<K, usize>>,
}

/// One use, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot<K: Eq + Hash> {
    key: K,
    slots: Arc<Slots<K>>,
}

impl<K: Eq + Hash + Clone> Slots<K> {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::default() })
    }

    /// A use of `key`; none when the bound is reached.
    pub fn take(self: &Arc<Self>, key: K) -> Option<Slot<K>> {
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Slot { key, slots: self.clone() })
    }

    fn count(&self, key: &K) -> usize {
        self.counts.lock().get(key).copied().unwrap_or(0)
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut counts = self.slots.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_back() {
        let slots = Slots::new(2);
        let (a, b) = (slots.take(1), slots.take(1));
        assert!(a.is_some() && b.is_some() && slots.take(1).is_none() && slots.take(2).is_some());
        drop(a);
        assert!(slots.take(1).is_some());
        drop(b);
        assert_eq!(slots.counts.lock().len(), 0);
    }

    #[test]
    fn origins() {
        let of = |text: &str| origin(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
