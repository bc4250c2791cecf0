//! The doors of the front end beside the plain ones: behind a proxy that ends TLS, with a client's certificate, and with
//! a certificate of the server's that changes. HAProxy and OpenSSL are the other side.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use conformance::client::{Client, Stream, patience};
use conformance::server::{Options, Server, User, wait_for_port};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn server(settings: &[(&str, String)]) -> Server {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Server::start(&Options { accounts: 4, settings, ..Options::default() }).expect("a server")
}

/// An address on which nothing listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

fn capabilities(client: &mut Client) -> String {
    let (untagged, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
    untagged.iter().find(|response| response.kind() == "CAPABILITY").expect("an answer").text()
}

fn log_in(client: &mut Client, user: &User) -> String {
    client.command(&format!("LOGIN {} \"{}\"", user.name, user.password)).expect("an answer").1.text()
}

type Tls = StreamOwned<ClientConnection, Box<dyn Stream>>;

/// TLS to who shows exactly this certificate, as who has `identity`.
fn tls(
    trusted: &[u8],
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> impl FnOnce(Box<dyn Stream>) -> Tls + use<> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.to_vec())).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            config.with_client_auth_cert(vec![certificate], key).expect("an identity")
        }
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    move |stream| StreamOwned::new(connection, stream)
}

struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy in front of `backend`, with one listener of TLS and one in clear.
fn haproxy(folder: &Path, backend: SocketAddr, send: &str) -> (HaProxy, SocketAddr, SocketAddr) {
    let (secure, clear) = (free(), free());
    let pem: String = ["certificate.pem", "key.pem"]
        .map(|name| std::fs::read_to_string(folder.join(name)).expect("the server's"))
        .concat();
    std::fs::write(folder.join("both.pem"), pem).expect("written");
    let text = format!(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         listen secure\n  bind {secure} ssl crt {}\n  server mss {backend} {send}\n\
         listen clear\n  bind {clear}\n  server mss {backend} {send}\n",
        folder.join("both.pem").display()
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).expect("written");
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy is missing: `cargo xtask deps` installs it (Debian package haproxy)");
    let child = HaProxy(child);
    wait_for_port(secure).expect("HAProxy listens");
    wait_for_port(clear).expect("HAProxy listens");
    (child, secure, clear)
}

#[test]
fn s1_10_no_starttls_where_a_proxy_ends_tls() {
    let proxied = free();
    let server = server(&[
        ("MSS_IMAP__PROXY_LISTEN", proxied.to_string()),
        ("MSS_IMAP__PROXY_SOURCES", "192.0.2.0/24, 127.0.0.1".to_owned()),
        ("MSS_LOG__LEVEL", "info,imap_server=debug".to_owned()),
    ]);
    let (user, folder) = (server.fresh_user(), server.folder().expect("a folder"));
    let certificate = server.certificate.clone().expect("a server of our own");
    for (send, told) in
        [("send-proxy", "Untold"), ("send-proxy-v2", "Untold"), ("send-proxy-v2-ssl", "Tls(\"TLSv1.")]
    {
        let (_haproxy, secure, clear) = haproxy(folder, proxied, send);
        let client = Client::connect(secure, send).expect("connect");
        let mut client = client.layer(tls(&certificate, None)).expect("TLS with HAProxy");
        assert_eq!(client.response().expect("greeting").kind(), "OK");
        let said = capabilities(&mut client);
        assert!(said.contains(" AUTH=PLAIN"), "{send}: {said}");
        assert!(!said.contains("STARTTLS") && !said.contains("LOGINDISABLED"), "{send}: {said}");
        assert_eq!(client.command("STARTTLS").expect("an answer").1.kind(), "NO");
        let said = log_in(&mut client, &user);
        assert!(said.contains(" OK "), "{send}: {said}");
        client.expect_ok("SELECT INBOX").expect("SELECT");
        let log = server.log();
        assert!(log.contains(told), "{send}: {log}");

        // Only the header with the TLVs tells that this client came to HAProxy in clear.
        let mut client = Client::connect(clear, send).expect("connect");
        client.response().expect("greeting");
        let (said, login) = (capabilities(&mut client), log_in(&mut client, &user));
        let refused = said.contains("LOGINDISABLED") && login.contains("[PRIVACYREQUIRED]");
        assert_eq!(refused, send == "send-proxy-v2-ssl", "{send}: {said} {login}");
    }
}

#[test]
fn only_trusted_proxies_are_believed() {
    let settings = |sources: &str, per_address: &str| {
        let proxied = free();
        let server = server(&[
            ("MSS_IMAP__PROXY_LISTEN", proxied.to_string()),
            ("MSS_IMAP__PROXY_SOURCES", sources.to_owned()),
            ("MSS_LIMITS__CONNECTIONS_PER_ADDRESS_MAX", per_address.to_owned()),
        ]);
        (server, proxied)
    };
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 4660 143\r\n");
    let (_elsewhere, proxied) = settings("192.0.2.0/24", "10");
    let mut client = Client::connect(proxied, "a stranger").expect("connect");
    // It may be gone before this is sent.
    let _ = client.send(header("198.51.100.7").as_bytes());
    assert!(client.response().is_err(), "a stranger is sent away");

    let (_server, proxied) = settings("127.0.0.0/8", "1");
    let connect = |client: &str| {
        let mut stream = Client::connect(proxied, client).expect("connect");
        stream.send(header(client).as_bytes()).expect("sent");
        stream
    };
    // The bound is on the client's address, not the proxy's.
    let (mut one, mut other) = (connect("198.51.100.7"), connect("198.51.100.8"));
    assert_eq!(one.response().expect("greeting").kind(), "OK");
    assert_eq!(other.response().expect("greeting").kind(), "OK");
    assert_eq!(connect("198.51.100.7").response().expect("greeting").kind(), "BYE");
    // What stands behind the header in one packet is read.
    let mut ahead = Client::connect(proxied, "ahead").expect("connect");
    ahead.send(format!("{}x NOOP\r\n", header("198.51.100.9")).as_bytes()).expect("sent");
    assert_eq!(ahead.response().expect("greeting").kind(), "OK");
    assert!(ahead.response().expect("an answer").text().contains("x OK"));
    let mut rude = Client::connect(proxied, "no header").expect("connect");
    rude.send(b"a LOGIN x y\r\n").expect("sent");
    assert!(rude.response().is_err(), "no header, no service");
}

/// The certificate that the server shows, by OpenSSL.
fn shown(address: SocketAddr) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-servername", "localhost", "-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is missing: `cargo xtask deps` installs it (Debian package openssl)");
    child.stdin.take().expect("its input").write_all(b"a LOGOUT\r\n").expect("sent");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    let end = text.find("-----END CERTIFICATE-----").expect("a certificate");
    text[begin..end].split_whitespace().collect()
}

#[test]
fn a_renewed_certificate_is_shown_and_connections_stay() {
    let server = server(&[("MSS_RELOAD__SECONDS", "1".to_owned())]);
    let (imaps, folder) = (server.imaps.expect("TLS"), server.folder().expect("a folder"));
    let certificate = server.certificate.clone().expect("a server of our own");
    let mut old =
        Client::connect(imaps, "old").expect("connect").layer(tls(&certificate, None)).expect("TLS");
    assert_eq!(old.response().expect("greeting").kind(), "OK");
    let first = shown(imaps);
    let until = |found: &dyn Fn() -> bool| {
        let deadline = Instant::now() + patience();
        while !found() {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };

    std::fs::write(folder.join("certificate.pem"), "nonsense").expect("written");
    until(&|| server.log().contains("certificate changed and cannot be used"));
    assert_eq!(shown(imaps), first, "a bad one is not taken");

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).expect("written");
    let pid = server.pid().expect("a process of ours");
    assert!(
        Command::new("sh").args(["-c", &format!("kill -HUP {pid}")]).status().expect("a shell").success()
    );
    until(&|| server.log().contains("certificate read anew"));
    assert_ne!(shown(imaps), first);
    // The old connection has what it had, a new one the new certificate.
    let user = server.fresh_user();
    assert!(log_in(&mut old, &user).contains(" OK "));
    let new = Client::connect(imaps, "new").expect("connect");
    let mut new = new.layer(tls(made.cert.der(), None)).expect("TLS");
    assert_eq!(new.response().expect("greeting").kind(), "OK");
}

/// An authority, and who it signed for these names.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn sign(&self, uris: &[&str]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = rcgen::CertificateParams::default();
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().expect("ASCII")));
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

#[test]
fn a_client_certificate_logs_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.pem");
    std::fs::write(&file, &authority.pem).expect("written");
    let server = server(&[("MSS_TLS__CLIENT_CA", file.display().to_string())]);
    let (one, two) = (server.fresh_user(), server.fresh_user());
    let certificate = server.certificate.clone().expect("a server of our own");
    let connect = |identity| {
        let client = Client::connect(server.imaps.expect("TLS"), "certificate").expect("connect");
        client.layer(tls(&certificate, identity))
    };
    let imei = "urn:gsma:imei:90420156-025763-0";
    // By the first name; by the one asked for; and nobody else's.
    let mut client = connect(Some(authority.sign(&[&one.name, &two.name, imei]))).expect("TLS");
    client.response().expect("greeting");
    assert!(capabilities(&mut client).contains(" AUTH=EXTERNAL"));
    client.expect_ok("AUTHENTICATE EXTERNAL =").expect("the first name");
    client.expect_ok("SELECT INBOX").expect("SELECT");
    client.expect_ok("UNAUTHENTICATE").expect("logged out");
    let (_, said) = client.command("AUTHENTICATE EXTERNAL c2lwOmV2ZUBleGFtcGxlLmNvbQ==").expect("an answer");
    assert!(said.text().contains("[AUTHORIZATIONFAILED]"), "sip:eve@example.com: {}", said.text());
    client.expect_ok("AUTHENTICATE EXTERNAL =").expect("the first name");

    // A certificate for a device alone, or none, logs nobody in.
    for identity in [None, Some(authority.sign(&[imei]))] {
        let mut client = connect(identity).expect("TLS");
        client.response().expect("greeting");
        assert!(!capabilities(&mut client).contains("EXTERNAL"));
        assert_eq!(client.command("AUTHENTICATE EXTERNAL =").expect("an answer").1.kind(), "NO");
        assert!(log_in(&mut client, &one).contains(" OK "), "a password does as ever");
    }
    // Whom another authority signed does not get in at all.
    let mut client = connect(Some(stranger.sign(&[&one.name]))).expect("a layer");
    assert!(client.response().is_err(), "a stranger's certificate");
}
