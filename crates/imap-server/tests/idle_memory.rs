//! What a connection that waits costs: bytes that the server's threads have allocated and not given back.
//!
//! Alone in its process, with an allocator that counts by thread: clients live on other threads and do not count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use imap_server::{Limits, Options, Security, Server, Tls, credentials};
use kv_embedded::EmbeddedEngine;
use model::{AccountId, CpmAddress};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use store::Store;
use store_api::{
    ChangeFeed, Credentials, Ctx, MailStore, NewAccount, Pulse, QuotaLimits, Requestor, Subscription,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count(bytes: i64) {
    // A thread that ends frees after its locals are gone; it is not one that serves.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        LIVE.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A feed in which nothing happens, one for all.
struct Quiet(watch::Sender<Pulse>);

#[async_trait::async_trait]
impl ChangeFeed for Quiet {
    async fn subscribe(&self, _: AccountId) -> model::Result<Subscription> {
        Ok(Subscription::new(self.0.subscribe()))
    }
}

/// Connections measured; two descriptors each.
const CONNECTIONS: usize = 300;

/// Sends and waits for the tagged answer of the last line.
fn talk(stream: &mut (impl Read + Write), lines: &str, until: &str) {
    stream.write_all(lines.as_bytes()).expect("sent");
    let mut said = Vec::new();
    let mut space = [0; 4096];
    while !said.windows(until.len()).any(|w| w == until.as_bytes()) {
        let n = stream.read(&mut space).expect("an answer");
        assert!(n > 0, "closed after {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&space[..n]);
    }
}

/// Bytes a connection, by what it does while it waits.
fn measure<S: Read + Write>(connect: impl Fn() -> S, last: &str, until: &str) -> i64 {
    let enter = |connect: &dyn Fn() -> S| {
        let mut stream = connect();
        talk(&mut stream, "", "ready\r\n");
        talk(&mut stream, "a LOGIN +15550000001 password\r\n", "a OK");
        talk(&mut stream, "b SELECT INBOX\r\n", "b OK");
        talk(&mut stream, last, until);
        stream
    };
    // Caches and pools fill with the first ones.
    let first: Vec<_> = (0..20).map(|_| enter(&connect)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let before = LIVE.load(Ordering::Relaxed);
    let rest: Vec<_> = (0..CONNECTIONS).map(|_| enter(&connect)).collect();
    std::thread::sleep(Duration::from_millis(500));
    let each = (LIVE.load(Ordering::Relaxed) - before) / CONNECTIONS as i64;
    drop((first, rest));
    std::thread::sleep(Duration::from_millis(500));
    each
}

#[test]
fn a_waiting_connection_is_small() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(|| COUNTED.set(true))
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a configuration");
    let options = Options {
        tls: Some(Tls { config: Arc::new(config), certificate: None }),
        limits: Limits { sessions_per_account_max: 10_000, ..Limits::default() },
        ..Options::default()
    };

    let serve = async move {
        let engine = EmbeddedEngine::open(&path, kv_embedded::Options::default()).expect("an engine");
        let store = Store::open(engine, store::Options::default()).await.expect("a store");
        let ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::Operator };
        let password = b"password".to_vec().into();
        let verifier = credentials::derive_scram_with(&password, vec![1; 16], 4096).expect("a verifier");
        let new = NewAccount {
            address: CpmAddress::parse("+15550000001").expect("an address"),
            credentials: Credentials::Scram(verifier),
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        store.create_account(&ctx, new).await.expect("an account");
        let server = Server::new(store, Arc::new(Quiet(watch::Sender::new(Pulse::default()))), options);
        let mut addresses = Vec::new();
        for security in [Security::Cleartext, Security::Tls] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address"));
            let server = server.clone();
            tokio::spawn(async move { server.serve(listener, security).await });
        }
        addresses
    };
    let addresses: Vec<SocketAddr> = runtime.block_on(async { tokio::spawn(serve).await.expect("served") });

    let clear = || TcpStream::connect(addresses[0]).expect("a connection");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let client = Arc::new(client);
    let tls = || {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = rustls::ClientConnection::new(client.clone(), name).expect("a session");
        rustls::StreamOwned::new(session, TcpStream::connect(addresses[1]).expect("a connection"))
    };
    // Its two halves: the command is answered, and the connection waits for the next; or it waits in IDLE.
    let (noop, idle) = (("c NOOP\r\n", "c OK"), ("c IDLE\r\n", "+ idling"));
    for (what, each, max) in [
        ("cleartext, selected", measure(clear, noop.0, noop.1), 8_000),
        ("cleartext, IDLE", measure(clear, idle.0, idle.1), 8_000),
        ("TLS, selected", measure(tls, noop.0, noop.1), 32_000),
        ("TLS, IDLE", measure(tls, idle.0, idle.1), 32_000),
    ] {
        println!("{what}: {each} bytes a connection");
        assert!(each < max, "{what}: {each} bytes a connection, {max} are allowed");
    }
}
