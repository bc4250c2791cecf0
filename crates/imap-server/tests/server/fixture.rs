//! A running server with accounts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use imap_server::{Limits, Options, Security, Server, credentials};
use kv::fault::{FaultEngine, Faults};
use kv_embedded::EmbeddedEngine;
use model::CpmAddress;
use store::Store;
use store_api::{
    AccountState, ChangeFeed, Credentials, Ctx, MailStore, NewAccount, QuotaLimits, Requestor, ScramVerifier,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::client::Client;

/// The password of every account.
pub const PASSWORD: &str = "correct horse";

/// A server on a loopback port, its store in a directory of its own.
pub struct Fixture {
    pub server: Server,
    pub store: Arc<Store>,
    /// The engine under the store, which works until it is told not to.
    pub faults: Arc<FaultEngine>,
    pub address: SocketAddr,
    /// With implicit TLS, where there is a certificate.
    pub tls_address: SocketAddr,
    _directory: TempDir,
}

/// Options under which a failed login is answered at once.
pub fn options() -> Options {
    Options {
        limits: Limits { login_failure_delay: Duration::ZERO, ..Limits::default() },
        ..Options::default()
    }
}

pub fn ctx() -> Ctx {
    Ctx {
        request_id: 0,
        deadline: Some(Instant::now() + Duration::from_secs(30)),
        requestor: Requestor::Operator,
    }
}

/// A verifier of [`PASSWORD`] that is cheap to check.
pub fn verifier() -> ScramVerifier {
    let password = PASSWORD.as_bytes().to_vec().into();
    credentials::derive_scram_with(&password, b"0123456789abcdef".to_vec(), 4096).expect("a password")
}

impl Fixture {
    /// A server with the accounts `+15550000001` and `alice@example.com`.
    pub async fn new() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::over(options, store::Options::default()).await
    }

    /// Over a store set up so.
    pub async fn over(options: Options, store_options: store::Options) -> Self {
        Self::hearing(options, store_options, |feed| feed).await
    }

    /// Over a store set up so, hearing of changes by what is put over its feed.
    pub async fn hearing(
        options: Options,
        store_options: store::Options,
        over: impl FnOnce(Arc<feed::Feed>) -> Arc<dyn ChangeFeed>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine_options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            ..kv_embedded::Options::default()
        };
        let engine = EmbeddedEngine::open(directory.path(), engine_options).expect("an engine");
        let faults = FaultEngine::new(engine, 1, Faults::none());
        let store = Store::open(faults.clone(), store_options).await.expect("a store");
        let feed = feed::Feed::new(faults.clone(), feed::Options::default());
        let server = Server::new(store.clone(), over(feed), options);
        let fixture = Self {
            address: listen(&server, Security::Cleartext).await,
            tls_address: listen(&server, Security::Tls).await,
            server,
            store,
            faults,
            _directory: directory,
        };
        fixture.add("+15550000001", Credentials::Scram(verifier())).await;
        fixture.add("alice@example.com", Credentials::Scram(verifier())).await;
        fixture
    }

    pub async fn add(&self, address: &str, credentials: Credentials) {
        let new = NewAccount {
            address: parse(address),
            credentials,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        self.store.create_account(&ctx(), new).await.expect("an account");
    }

    pub async fn configure(&self, address: &str, state: AccountState, limits: QuotaLimits) {
        self.store.configure_account(&ctx(), &parse(address), state, limits).await.expect("configured");
    }

    pub async fn set_credentials(&self, address: &str, credentials: Credentials) {
        self.store.set_credentials(&ctx(), &parse(address), credentials).await.expect("changed");
    }

    /// A connection that has read the greeting.
    pub async fn connect(&self) -> Client {
        let mut client = Client::connect(self.address).await;
        let greeting = client.line().await;
        assert!(greeting.starts_with("* OK [CAPABILITY "), "{greeting}");
        client
    }

    /// A connection logged in as `+15550000001`.
    pub async fn log_in(&self) -> Client {
        let mut client = self.connect().await;
        client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
        client
    }

    /// The same with INBOX selected, in which there are `messages`.
    pub async fn select(&self, messages: usize) -> Client {
        let mut client = self.log_in().await;
        for _ in 0..messages {
            client.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
        }
        client.ok("SELECT INBOX").await;
        client
    }
}

async fn listen(server: &Server, security: Security) -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener, security).await });
    address
}

fn parse(address: &str) -> CpmAddress {
    CpmAddress::parse(address).expect("an address")
}
