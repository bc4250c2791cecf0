//! TLS and DEFLATE.

use std::sync::Arc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use imap_server::{CleartextLogin, Options, Tls};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, options};
use crate::login::scram;

/// A server with a certificate, and what trusts it.
async fn with_tls(cleartext_login: CleartextLogin) -> (Fixture, TlsConnector, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a configuration");
    let tls = Tls { config: Arc::new(config), certificate: Some(certificate.clone()) };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let fixture = Fixture::with(Options { tls: Some(tls), cleartext_login, ..options() }).await;
    (fixture, TlsConnector::from(Arc::new(client)), certificate)
}

async fn handshake(connector: &TlsConnector, stream: TcpStream) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, stream).await.expect("a handshake")
}

async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.expect("an octet"));
    }
    String::from_utf8(line).expect("UTF-8")
}

#[tokio::test]
async fn implicit_tls_and_channel_binding() {
    let (fixture, connector, certificate) = with_tls(CleartextLogin::Nowhere).await;
    for (name, binding) in
        [("tls-exporter", None), ("tls-server-end-point", Some(Sha256::digest(&certificate).to_vec()))]
    {
        let stream = TcpStream::connect(fixture.tls_address).await.expect("a connection");
        let tls = handshake(&connector, stream).await;
        let exporter =
            tls.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
        let binding = binding.unwrap_or_else(|| exporter.expect("an exporter").to_vec());
        let mut client = Client::over(tls);
        let greeting = client.line().await;
        assert!(greeting.contains(" AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN"), "{greeting}");
        assert!(!greeting.contains("STARTTLS") && !greeting.contains("LOGINDISABLED"), "{greeting}");
        let header = format!("p={name},,");
        let end =
            scram(&mut client, "SCRAM-SHA-256-PLUS", &header, b"another session's", "+15550000001", PASSWORD)
                .await;
        assert!(end.starts_with("NO [AUTHENTICATIONFAILED]"), "{end}");
        // A client that was made to believe that the server does not offer -PLUS (RFC 5802 §6).
        let end = scram(&mut client, "SCRAM-SHA-256", "y,,", b"", "+15550000001", PASSWORD).await;
        assert!(end.starts_with("BAD "), "{end}");
        let end = scram(&mut client, "SCRAM-SHA-256", &header, &binding, "+15550000001", PASSWORD).await;
        assert!(end.starts_with("BAD "), "{end}");
        let end = scram(&mut client, "SCRAM-SHA-256-PLUS", &header, &binding, "+15550000001", PASSWORD).await;
        assert!(end.starts_with("OK "), "{end}");
        client.ok("SELECT INBOX").await;
    }
}

#[tokio::test]
async fn starttls() {
    let (fixture, connector, _) = with_tls(CleartextLogin::Nowhere).await;
    let mut stream = TcpStream::connect(fixture.address).await.expect("a connection");
    let greeting = read_line(&mut stream).await;
    assert!(greeting.contains(" STARTTLS LOGINDISABLED AUTH=SCRAM-SHA-256]"), "{greeting}");
    stream.write_all(b"a LOGIN +15550000001 secret\r\n").await.expect("sent");
    assert!(read_line(&mut stream).await.starts_with("a NO [PRIVACYREQUIRED] "));
    stream.write_all(b"b STARTTLS\r\n").await.expect("sent");
    assert!(read_line(&mut stream).await.starts_with("b OK "));
    let mut client = Client::over(handshake(&connector, stream).await);
    let list = client.ok("CAPABILITY").await.concat();
    assert!(
        !list.contains("STARTTLS") && !list.contains("LOGINDISABLED") && list.contains("AUTH=PLAIN"),
        "{list}"
    );
    client.expect("STARTTLS", "BAD ").await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
    client.append("INBOX", &"x".repeat(300_000)).await;
    client.ok("SELECT INBOX").await;
    let said = client.ok("FETCH 1 BODY.PEEK[]").await;
    assert_eq!(said[0].matches('x').count(), 300_000);
    client.expect("STARTTLS", "BAD ").await;
}

#[tokio::test]
async fn what_is_put_behind_starttls_is_thrown_away() {
    let (fixture, connector, _) = with_tls(CleartextLogin::Loopback).await;
    let mut stream = TcpStream::connect(fixture.address).await.expect("a connection");
    read_line(&mut stream).await;
    // One write, so that the server has both lines in hand: the second is not the client's.
    stream.write_all(b"a STARTTLS\r\nevil NOOP\r\n").await.expect("sent");
    assert!(read_line(&mut stream).await.starts_with("a OK "));
    let mut client = Client::over(handshake(&connector, stream).await);
    let (said, _) = client.run("NOOP").await;
    assert_eq!(said, Vec::<String>::new(), "nothing was answered but what came in TLS");
}

#[tokio::test]
async fn noise_in_place_of_a_handshake() {
    let (fixture, ..) = with_tls(CleartextLogin::Loopback).await;
    let mut stream = TcpStream::connect(fixture.tls_address).await.expect("a connection");
    stream.write_all(b"a LOGIN x y\r\n").await.expect("sent");
    let mut rest = Vec::new();
    // An alert perhaps, then the end; never IMAP.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"* "));
    fixture.connect().await.ok("NOOP").await;
}

/// A client that compresses, on top of one that does not.
struct Deflated {
    client: Client,
    compress: Compress,
    decompress: Decompress,
    received: Vec<u8>,
    read: Vec<u8>,
}

impl Deflated {
    fn new(client: Client) -> Self {
        Self {
            client,
            compress: Compress::new(Compression::default(), false),
            decompress: Decompress::new(false),
            received: Vec::new(),
            read: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        let mut out = Vec::with_capacity(text.len() + 1024);
        self.compress.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).expect("compressed");
        self.client.send(out).await;
    }

    /// Reads until what was read ends with the line that begins with `start`.
    async fn until(&mut self, start: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if text.ends_with("\r\n")
                && text.trim_end().rsplit("\r\n").next().is_some_and(|l| l.starts_with(start))
            {
                self.read.clear();
                return text;
            }
            let mut space = [0; 8192];
            let n = self.client.stream.read(&mut space).await.expect("read");
            assert!(n > 0, "the server closed after {text}");
            self.received.extend_from_slice(&space[..n]);
            loop {
                let before = self.decompress.total_in();
                let mut out = Vec::with_capacity(64 * 1024);
                self.decompress
                    .decompress_vec(&self.received, &mut out, FlushDecompress::Sync)
                    .expect("inflated");
                self.received.drain(..(self.decompress.total_in() - before) as usize);
                self.read.extend_from_slice(&out);
                if out.is_empty() {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn compression_in_both_directions() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.expect("COMPRESS DEFLATE", "BAD ").await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
    client.ok("COMPRESS DEFLATE").await;
    let mut deflated = Deflated::new(client);
    deflated.send("a CAPABILITY\r\n").await;
    assert!(!deflated.until("a OK").await.contains("COMPRESS"));
    deflated.send("b COMPRESS DEFLATE\r\n").await;
    deflated.until("b NO [COMPRESSIONACTIVE]").await;
    // Octets that do not compress, and many that do.
    let noise: String = (0..200_000u32)
        .map(|i| char::from(b' ' + (i.wrapping_mul(2_654_435_761) >> 25) as u8 % 94))
        .collect();
    let message = format!("Subject: x\r\n\r\n{noise}\r\n{}", "y".repeat(1_000_000));
    deflated.send(&format!("c APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len())).await;
    deflated.until("c OK").await;
    deflated.send("d SELECT INBOX\r\ne FETCH 1 BODY.PEEK[]\r\nf IDLE\r\n").await;
    let said = deflated.until("+ idling").await;
    assert!(said.contains(&message), "the message is the same octets");
    deflated.send("DONE\r\n").await;
    deflated.until("f OK").await;
}

#[tokio::test]
async fn noise_in_place_of_deflate_ends_the_connection() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    client.ok("COMPRESS DEFLATE").await;
    client.send([0xff; 64]).await;
    assert_eq!(client.try_line().await, None);
}

/// What a client sends behind the end of its own stream is no command, and must not pile up in the server.
#[tokio::test]
async fn octets_behind_the_end_of_deflate_end_the_connection() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    client.ok("COMPRESS DEFLATE").await;
    let mut deflated = Deflated::new(client);
    let mut out = Vec::with_capacity(100);
    deflated.compress.compress_vec(b"a NOOP\r\n", &mut out, FlushCompress::Finish).expect("compressed");
    deflated.client.send(out).await;
    deflated.until("a OK").await;
    let noise = vec![0x55; 64 * 1024];
    let mut client = deflated.client;
    for _ in 0..10_000 {
        if client.stream.write_all(&noise).await.is_err() {
            return;
        }
    }
    panic!("the server took 640 MB that are no command");
}

/// RFC 8437 §4.1: compression ends behind the OK, and for the client behind its command.
#[tokio::test]
async fn unauthenticate_ends_compression() {
    let fixture = Fixture::new().await;
    for cut in [0, 1, 4] {
        let mut client = fixture.log_in().await;
        client.ok("COMPRESS DEFLATE").await;
        let mut deflated = Deflated::new(client);
        let mut out = Vec::with_capacity(1024);
        let command = b"a UNAUTHENTICATE\r\n";
        deflated.compress.compress_vec(command, &mut out, FlushCompress::Sync).expect("compressed");
        // The next login comes along, in clear, at once or behind the end of the flush.
        let end = out.split_off(out.len() - cut);
        deflated.client.send(out).await;
        if cut > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let login = format!("b LOGIN alice@example.com \"{PASSWORD}\"\r\n");
        deflated.client.send([&end[..], login.as_bytes()].concat()).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"logged in\r\n") {
            let mut space = [0; 8192];
            let n = deflated.client.stream.read(&mut space).await.expect("read");
            assert!(n > 0, "the server closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&space[..n]);
        }
        let plain = answer.windows(5).position(|w| w == b"b OK ").expect("the login's answer, in clear");
        let mut said = Vec::with_capacity(1024);
        deflated
            .decompress
            .decompress_vec(&answer[..plain], &mut said, FlushDecompress::Sync)
            .expect("inflated");
        assert!(said.starts_with(b"a OK "), "{}", String::from_utf8_lossy(&said));
        let mut client = deflated.client;
        // And it may begin again.
        client.ok("COMPRESS DEFLATE").await;
        let mut deflated = Deflated::new(client);
        deflated.send("c NOOP\r\n").await;
        deflated.until("c OK").await;
    }
}
