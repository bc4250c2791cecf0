//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266), with the computation done here.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conformance::client::{Client, Response};
use conformance::server::{Options, Server, User};
use hmac::{Hmac, Mac};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).expect("the field")
}

/// Goes through the exchange; `header` is the GS2 header, `binding` what follows it in `c=`. The tagged response.
fn exchange(
    client: &mut Client,
    mechanism: &str,
    user: &User,
    header: &str,
    binding: &[u8],
    initial: bool,
) -> Response {
    let nonce = "fyko+d2lbbFgONRv9qkxdawL";
    let bare = format!("n={},r={nonce}", user.name.replace('=', "=3D").replace(',', "=2C"));
    let first = BASE64.encode(format!("{header}{bare}"));
    let tag = client.tag();
    if initial {
        client.send(format!("{tag} AUTHENTICATE {mechanism} {first}\r\n").as_bytes()).expect("sent");
    } else {
        client.send(format!("{tag} AUTHENTICATE {mechanism}\r\n").as_bytes()).expect("sent");
        assert_eq!(client.response().expect("a continuation").tag(), b"+");
        client.send(format!("{first}\r\n").as_bytes()).expect("sent");
    }
    let challenge = client.response().expect("the server's first message");
    if challenge.tag() != b"+" {
        return challenge;
    }
    let text = challenge.text();
    let server_first = BASE64.decode(text.strip_prefix("+ ").expect("a challenge")).expect("base64");
    let server_first = String::from_utf8(server_first).expect("text");
    let combined = field(&server_first, "r");
    assert!(combined.starts_with(nonce) && combined.len() > nonce.len(), "{server_first}");
    let salt = BASE64.decode(field(&server_first, "s")).expect("salt");
    let rounds: u32 = field(&server_first, "i").parse().expect("rounds");
    assert!(rounds >= 4096, "RFC 7677 §4");
    let mut salted = [0; 32];
    pbkdf2::pbkdf2::<Hmac<Sha256>>(user.password.as_bytes(), &salt, rounds, &mut salted).expect("a length");
    let client_key = hmac(&salted, b"Client Key");
    let stored_key = Sha256::digest(client_key);
    let channel = BASE64.encode([header.as_bytes(), binding].concat());
    let without_proof = format!("c={channel},r={combined}");
    let signed = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&stored_key, signed.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, octet)| key ^ octet).collect();
    let last = BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof)));
    client.send(format!("{last}\r\n").as_bytes()).expect("sent");
    let outcome = client.response().expect("an outcome");
    if outcome.tag() != b"+" {
        return outcome;
    }
    let text = outcome.text();
    let server_last = BASE64.decode(text.strip_prefix("+ ").expect("data")).expect("base64");
    let server_last = String::from_utf8(server_last).expect("text");
    if let Some(verifier) = server_last.strip_prefix("v=") {
        // The server proves that it knew the password, too.
        let expected = hmac(&hmac(&salted, b"Server Key"), signed.as_bytes());
        assert_eq!(BASE64.decode(verifier).expect("base64"), expected);
    }
    client.send(b"\r\n").expect("sent");
    client.until(&tag).expect("the tagged response").1
}

fn server() -> Server {
    Server::start(&Options { accounts: 4, ..Options::default() }).expect("a server")
}

fn greeted(server: &Server) -> Client {
    let mut client = Client::connect(server.imap, "").expect("connect");
    client.response().expect("greeting");
    client
}

fn secured(server: &Server) -> (Client, [u8; 32]) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(server.certificate.clone().expect("ours"))).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    let client = Client::connect(server.imaps.expect("a TLS listener"), "").expect("connect");
    // Handshake first: the binding is known only after it.
    let mut socket = client.socket().try_clone().expect("the socket");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    let label = b"EXPORTER-Channel-Binding";
    let binding = connection.export_keying_material([0; 32], label, Some(&[])).expect("RFC 9266 §2");
    let mut client = client.layer(move |stream| StreamOwned::new(connection, stream)).expect("TLS");
    client.response().expect("greeting");
    (client, binding)
}

fn advertises(client: &mut Client, mechanism: &str) -> bool {
    let (untagged, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
    untagged.iter().any(|response| response.text().split(' ').any(|word| word == format!("AUTH={mechanism}")))
}

#[test]
fn scram_in_clear() {
    let server = server();
    let user = server.fresh_user();
    for initial in [true, false] {
        let mut client = greeted(&server);
        assert!(advertises(&mut client, "SCRAM-SHA-256"));
        assert!(!advertises(&mut client, "SCRAM-SHA-256-PLUS"), "there is no channel to bind to");
        let tagged = exchange(&mut client, "SCRAM-SHA-256", &user, "n,,", b"", initial);
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        client.expect_ok("SELECT INBOX").expect("SELECT");
    }
}

#[test]
fn wrong_password_and_unknown_user_look_alike() {
    let server = server();
    let user = server.fresh_user();
    let wrong = User { name: user.name.clone(), password: "wrong".to_owned() };
    let nobody = User { name: "tel:+15559999999".to_owned(), password: "wrong".to_owned() };
    let mut answers = Vec::new();
    for user in [wrong, nobody] {
        let mut client = greeted(&server);
        let tagged = exchange(&mut client, "SCRAM-SHA-256", &user, "n,,", b"", true);
        assert_eq!(tagged.kind(), "NO", "{}", tagged.text());
        assert!(tagged.text().contains("[AUTHENTICATIONFAILED]"), "{}", tagged.text());
        answers.push(tagged.text());
        let (_, select) = client.command("SELECT INBOX").expect("an answer");
        assert_eq!(select.kind(), "BAD");
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn scram_plus_binds_the_channel() {
    let server = server();
    let user = server.fresh_user();
    let (mut client, binding) = secured(&server);
    assert!(advertises(&mut client, "SCRAM-SHA-256-PLUS"));
    let header = "p=tls-exporter,,";
    let tagged = exchange(&mut client, "SCRAM-SHA-256-PLUS", &user, header, &binding, true);
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
    // The binding of another connection is refused: somebody stands in between.
    let (mut client, mut other) = secured(&server);
    other[0] ^= 1;
    let tagged = exchange(&mut client, "SCRAM-SHA-256-PLUS", &user, header, &other, true);
    assert_eq!(tagged.kind(), "NO", "{}", tagged.text());
}

/// `y` says "I could bind, but you did not offer it". We do offer it, so somebody took it out (RFC 5802 §6).
#[test]
fn a_downgrade_is_noticed() {
    let server = server();
    let user = server.fresh_user();
    let (mut client, _) = secured(&server);
    let tagged = exchange(&mut client, "SCRAM-SHA-256", &user, "y,,", b"", true);
    assert_ne!(tagged.kind(), "OK", "{}", tagged.text());
}

#[test]
fn malformed_messages_are_refused() {
    let server = server();
    for first in
        ["", "n", "n,,", "n,,r=x", "n,,n=a", "x,,n=a,r=b", "p=,,n=a,r=b", "n,,n=\u{0},r=", "n,,m=ext,n=a,r=b"]
    {
        let mut client = greeted(&server);
        let tag = client.tag();
        let encoded = if first.is_empty() { "=".to_owned() } else { BASE64.encode(first) };
        client.send(format!("{tag} AUTHENTICATE SCRAM-SHA-256 {encoded}\r\n").as_bytes()).expect("sent");
        let mut answer = client.response().expect("an answer");
        if answer.tag() == b"+" {
            client.send(b"*\r\n").expect("sent");
            answer = client.until(&tag).expect("an answer").1;
        }
        assert_ne!(answer.kind(), "OK", "{first:?}");
        client.expect_ok("NOOP").expect("still there");
    }
}
