//! STARTTLS (RFC 9051 §6.2.1) and implicit TLS (RFC 8314).

use std::sync::Arc;

use conformance::client::{Client, ClientError, Stream};
use conformance::server::{Options, Server};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn tls(
    server: &Server,
) -> impl FnOnce(Box<dyn Stream>) -> StreamOwned<ClientConnection, Box<dyn Stream>> + use<> {
    let mut roots = RootCertStore::empty();
    let certificate = server.certificate.clone().expect("a server of our own");
    roots.add(CertificateDer::from(certificate)).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    move |stream| StreamOwned::new(connection, stream)
}

fn server() -> Server {
    Server::start(&Options { accounts: 4, ..Options::default() }).expect("a server")
}

fn capabilities(client: &mut Client) -> String {
    let (untagged, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
    untagged.iter().find(|response| response.kind() == "CAPABILITY").expect("an answer").text()
}

#[test]
fn s0_02_starttls_then_login() {
    let server = server();
    let user = server.fresh_user();
    let mut client = Client::connect(server.imap, "").expect("connect");
    client.response().expect("greeting");
    assert!(capabilities(&mut client).contains(" STARTTLS"));
    client.expect_ok("STARTTLS").expect("STARTTLS");
    let mut client = client.layer(tls(&server)).expect("a new layer");
    // There is no second greeting, and no second STARTTLS.
    let secured = capabilities(&mut client);
    assert!(!secured.contains("STARTTLS"), "{secured}");
    assert!(!secured.contains("LOGINDISABLED"), "{secured}");
    let (_, again) = client.command("STARTTLS").expect("an answer");
    assert_eq!(again.kind(), "BAD");
    client.expect_ok(&format!("LOGIN {} \"{}\"", user.name, user.password)).expect("LOGIN");
    let (untagged, _) = client.expect_ok("SELECT INBOX").expect("SELECT");
    assert!(untagged.iter().any(|response| response.kind() == "EXISTS"));
    // A message of many TLS records.
    let message = [b"Subject: big\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(20_000)].concat();
    let (_, tagged) = client.literal("APPEND INBOX", &message, "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    let (untagged, _) = client.expect_ok("UID FETCH 1:* BODY.PEEK[]").expect("FETCH");
    let fetched = untagged.iter().find(|response| response.kind() == "FETCH").expect("a FETCH");
    assert!(fetched.octets.windows(message.len()).any(|window| window == message));
}

/// What was sent in clear behind STARTTLS must not be taken for something said under TLS (RFC 9051 §11.1 and the
/// command injections of 2011 and 2021).
#[test]
fn s1_09_commands_in_clear_behind_starttls_are_dropped() {
    let server = server();
    let mut client = Client::connect(server.imap, "").expect("connect");
    client.response().expect("greeting");
    client.send(b"a STARTTLS\r\nb CAPABILITY\r\n").expect("sent");
    let answer = client.response().expect("an answer");
    assert_eq!(answer.tag(), b"a");
    if answer.kind() != "OK" {
        return; // refusing the pipelined STARTTLS altogether is as good
    }
    let Ok(mut client) = client.layer(tls(&server)) else {
        panic!("the command in clear was answered in clear")
    };
    // Whether the server goes on or hangs up, the answer to `b` must never come.
    match client.command("NOOP") {
        Ok((untagged, tagged)) => {
            assert_eq!(tagged.kind(), "OK");
            assert!(untagged.is_empty(), "{untagged:?}");
        }
        Err(ClientError::Closed | ClientError::Io(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn s0_03_tls_from_the_first_octet() {
    let server = server();
    let user = server.fresh_user();
    let client = Client::connect(server.imaps.expect("a TLS listener"), "").expect("connect");
    let mut client = client.layer(tls(&server)).expect("TLS");
    assert_eq!(client.response().expect("greeting").kind(), "OK");
    assert!(!capabilities(&mut client).contains("STARTTLS"));
    client.expect_ok(&format!("LOGIN {} \"{}\"", user.name, user.password)).expect("LOGIN");
    client.expect_ok("SELECT INBOX").expect("SELECT");
    client.expect_ok("LOGOUT").expect("LOGOUT");
}

#[test]
fn noise_on_the_tls_port_hurts_nobody() {
    let server = server();
    for noise in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"", &vec![0; 70_000]] {
        let mut client = Client::connect(server.imaps.expect("a TLS listener"), "").expect("connect");
        // It may hang up while we still write.
        let _ = client.send(noise);
    }
    let user = server.fresh_user();
    let client = Client::connect(server.imaps.expect("a TLS listener"), "").expect("connect");
    let mut client = client.layer(tls(&server)).expect("TLS");
    client.response().expect("greeting");
    client.expect_ok(&format!("LOGIN {} \"{}\"", user.name, user.password)).expect("LOGIN");
}
