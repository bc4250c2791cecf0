//! Logins by bearer tokens (RFC 7628): nginx has the keys, OpenSSL signs the tokens, curl and Python's imaplib log in.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use conformance::client::{Client, Stream, patience};
use conformance::nginx::Nginx;
use conformance::server::{Options, Server};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const ISSUER: &str = "https://as.example.net/";
const CONFIGURATION: &str = "https://as.example.net/.well-known/openid-configuration";

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is missing: `cargo xtask deps` installs it (Debian package openssl)");
    child.stdin.take().expect("its input").write_all(input).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// An authorization server as far as this one sees it: keys, by HTTP, and tokens.
struct Issuer {
    nginx: Nginx,
    tls: bool,
}

impl Issuer {
    fn start() -> Self {
        Self::begin(false)
    }

    /// One whose keys are fetched over TLS, with a certificate that it signed itself.
    fn start_tls() -> Self {
        Self::begin(true)
    }

    fn begin(tls: bool) -> Self {
        let mut nginx = Nginx::new().expect("a folder");
        let (at, address) = (nginx.folder().display(), nginx.address());
        let secure = if tls { nginx.with_tls() } else { String::new() };
        let http = format!(
            "access_log {at}/taken; server {{ listen {address} {secure}; location / {{ root {at}/www; }} }}"
        );
        std::fs::create_dir(nginx.folder().join("www")).expect("a folder");
        nginx.start(&http).expect("nginx listens");
        let issuer = Self { nginx, tls };
        issuer.publish(&["first"]);
        issuer
    }

    fn url(&self) -> String {
        let (scheme, host) = if self.tls { ("https", "localhost") } else { ("http", "127.0.0.1") };
        format!("{scheme}://{host}:{}/keys.json", self.nginx.address().port())
    }

    /// How often the keys were fetched.
    fn fetches(&self) -> usize {
        self.nginx.taken().lines().count()
    }

    fn key(&self, id: &str) -> String {
        let file = self.nginx.folder().join(id).display().to_string();
        if !Path::new(&file).exists() {
            openssl(
                &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &file],
                b"",
            );
        }
        file
    }

    /// From now on it has these keys.
    fn publish(&self, ids: &[&str]) {
        let key = |id: &&str| {
            let said = openssl(&["rsa", "-in", &self.key(id), "-modulus", "-noout"], b"");
            let said = String::from_utf8(said).expect("text");
            let modulus = said.trim().strip_prefix("Modulus=").expect("a modulus");
            let octets: Vec<u8> = (0..modulus.len() / 2)
                .map(|at| u8::from_str_radix(&modulus[2 * at..2 * at + 2], 16).expect("digits"))
                .collect();
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
                "n": URL_SAFE_NO_PAD.encode(octets), "e": "AQAB"})
        };
        let keys: Vec<Value> = ids.iter().map(key).collect();
        let text = json!({ "keys": keys }).to_string();
        std::fs::write(self.nginx.folder().join("www/keys.json"), text).expect("written");
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": id});
        let signed = [header, claims.clone()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = openssl(&["dgst", "-sha256", "-sign", &self.key(id)], signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn claims(address: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    json!({"iss": ISSUER, "aud": "mss", "sub": "8b2d", "phone_number": address, "scope": "openid imap",
        "iat": now, "exp": now + 600})
}

fn server(issuer: &Issuer) -> Server {
    let authority = issuer.nginx.certificate().display().to_string();
    let url = issuer.url();
    let settings = [
        ("MSS_AUTH__OAUTH__JWKS", url.as_str()),
        ("MSS_AUTH__OAUTH__CA_FILE", &authority),
        ("MSS_AUTH__OAUTH__ISSUER", ISSUER),
        ("MSS_AUTH__OAUTH__AUDIENCES", "mss, mail"),
        ("MSS_AUTH__OAUTH__ALGORITHMS", "RS256"),
        ("MSS_AUTH__OAUTH__ADDRESS_CLAIM", "phone_number"),
        ("MSS_AUTH__OAUTH__SCOPE", "imap"),
        ("MSS_AUTH__OAUTH__LEEWAY_SECONDS", "5"),
        ("MSS_AUTH__OAUTH__REFRESH_SECONDS", "1800"),
        ("MSS_AUTH__OAUTH__CONFIGURATION_URL", CONFIGURATION),
        ("MSS_LOG__LEVEL", "info,imap_server=debug,vouch=debug"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Server::start(&Options { accounts: 4, settings, ..Options::default() }).expect("a server")
}

fn connect(server: &Server) -> Client {
    let mut roots = RootCertStore::empty();
    let certificate = server.certificate.clone().expect("a server of our own");
    roots.add(CertificateDer::from(certificate)).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    let layer = move |stream: Box<dyn Stream>| StreamOwned::new(connection, stream);
    let client = Client::connect(server.imaps.expect("TLS"), "token").expect("connect");
    let mut client = client.layer(layer).expect("TLS");
    client.response().expect("greeting");
    client
}

fn message(user: &str, token: &str) -> String {
    let name = if user.is_empty() { String::new() } else { format!("a={user}") };
    STANDARD.encode(format!("n,{name},\x01host=localhost\x01port=143\x01auth=Bearer {token}\x01\x01"))
}

/// What a client is told whose token is not taken: the challenge, and the end of the command.
fn refused(client: &mut Client, user: &str, token: &str, answer: &str) -> (Value, String) {
    let command = format!("t AUTHENTICATE OAUTHBEARER {}\r\n", message(user, token));
    client.send(command.as_bytes()).expect("sent");
    let challenge = client.response().expect("a challenge").text();
    let coded = challenge.trim().strip_prefix("+ ").unwrap_or_else(|| panic!("no challenge: {challenge}"));
    let told = STANDARD.decode(coded).expect("base64");
    client.send(format!("{answer}\r\n").as_bytes()).expect("sent");
    (serde_json::from_slice(&told).expect("JSON"), client.response().expect("the end").text())
}

fn curl(server: &Server, user: &str, token: &str) -> Output {
    let certificate = server.folder().expect("a folder").join("certificate.pem");
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
        .arg(certificate)
        .args(["--url", &format!("imaps://localhost:{}/", server.imaps.expect("TLS").port())])
        // What stands behind a colon would be the password.
        .args([
            "--user",
            user.trim_start_matches("tel:"),
            "--oauth2-bearer",
            token,
            "--login-options",
            "AUTH=OAUTHBEARER",
        ])
        .args(["--request", "STATUS INBOX (MESSAGES)"])
        .output()
        .expect("curl is missing: `cargo xtask deps` installs it (Debian package curl)")
}

const PYTHON: &str = r#"
import imaplib, ssl, sys
port, certificate, user, token = sys.argv[1:]
phone = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=certificate))
told = []
def answer(challenge):
    if challenge:
        told.append(challenge.decode())
        return b"\x01"
    return f"n,a={user},\x01auth=Bearer {token}\x01\x01".encode()
try:
    phone.authenticate("OAUTHBEARER", answer)
    print("in", phone.select("Default")[0])
except imaplib.IMAP4.error as error:
    print("out", error, told)
phone.logout()
"#;

fn python(server: &Server, user: &str, token: &str) -> String {
    let certificate = server.folder().expect("a folder").join("certificate.pem");
    let port = server.imaps.expect("TLS").port().to_string();
    let output = Command::new("python3")
        .args(["-c", PYTHON, &port])
        .arg(certificate)
        .args([user, token])
        .output()
        .expect("python3 is missing: `cargo xtask deps` installs it");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn s0_04_a_token_logs_in() {
    let issuer = Issuer::start_tls();
    let server = server(&issuer);
    let (one, two) = (server.fresh_user().name, server.fresh_user().name);
    let good = issuer.token("first", &claims(&one));

    let output = curl(&server, &one, &good);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("* STATUS INBOX (MESSAGES 0)"), "{output:?}");
    assert!(python(&server, &one, &good).contains("in OK"), "{}", server.log());

    // Without a name, the token says who; with another one, it is not taken.
    let mut client = connect(&server);
    let (said, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
    assert!(said.iter().any(|line| line.text().contains(" AUTH=OAUTHBEARER")), "{said:?}");
    let (_, tagged) =
        client.command(&format!("AUTHENTICATE OAUTHBEARER {}", message(&two, &good))).expect("an answer");
    assert!(tagged.text().contains("NO [AUTHORIZATIONFAILED]"), "{}", tagged.text());
    client.expect_ok(&format!("AUTHENTICATE OAUTHBEARER {}", message("", &good))).expect("logged in");
    client.expect_ok("SELECT INBOX").expect("SELECT");

    // Nobody's address is answered as a token that is not taken, but for the challenge: the token was.
    let nobody = issuer.token("first", &claims("tel:+15559999999"));
    let (_, tagged) = connect(&server)
        .command(&format!("AUTHENTICATE OAUTHBEARER {}", message("", &nobody)))
        .expect("an answer");
    assert!(tagged.text().contains("NO [AUTHENTICATIONFAILED]"), "{}", tagged.text());
}

#[test]
fn tokens_that_are_not_taken() {
    let issuer = Issuer::start();
    let server = server(&issuer);
    let user = server.fresh_user().name;
    let with = |name: &str, value: Value| {
        let mut all = claims(&user);
        all[name] = value;
        issuer.token("first", &all)
    };
    let good = issuer.token("first", &claims(&user));
    let foreign = {
        let other = issuer.token("second", &claims(&user));
        format!("{}.{}", good.rsplit_once('.').expect("parts").0, other.rsplit_once('.').expect("parts").1)
    };
    for (token, status, code) in [
        (with("exp", json!(1_700_000_000)), "invalid_token", "[EXPIRED]"),
        (with("aud", json!("another")), "invalid_token", "[AUTHENTICATIONFAILED]"),
        (with("iss", json!("https://elsewhere.example.net/")), "invalid_token", "[AUTHENTICATIONFAILED]"),
        (with("phone_number", json!("alice")), "invalid_token", "[AUTHENTICATIONFAILED]"),
        (with("scope", json!("openid")), "insufficient_scope", "[AUTHORIZATIONFAILED]"),
        (foreign, "invalid_token", "[AUTHENTICATIONFAILED]"),
        // RFC 7628 §4.3: a client that asks where to go.
        (String::new(), "invalid_token", "[AUTHENTICATIONFAILED]"),
    ] {
        // The message that RFC 7628 has for this, and the empty one that some clients send.
        for answer in ["AQ==", ""] {
            let (told, end) = refused(&mut connect(&server), "", &token, answer);
            assert_eq!(
                told,
                json!({"status": status, "scope": "imap", "openid-configuration": CONFIGURATION}),
                "{token}"
            );
            assert!(end.contains(&format!("NO {code}")), "{end}");
        }
    }
    // A client may cancel, and try again on the same connection.
    let mut client = connect(&server);
    let (_, end) = refused(&mut client, "", &with("exp", json!(1_700_000_000)), "*");
    assert!(end.contains("BAD"), "{end}");
    let (_, tagged) = client.command("AUTHENTICATE OAUTHBEARER bm9uc2Vuc2U=").expect("an answer");
    assert_eq!(tagged.kind(), "BAD", "{}", tagged.text());
    client.expect_ok(&format!("AUTHENTICATE OAUTHBEARER {}", message("", &good))).expect("logged in");

    let said = python(&server, &user, &with("exp", json!(1_700_000_000)));
    assert!(said.contains("out") && said.contains("EXPIRED") && said.contains("invalid_token"), "{said}");
    assert!(!curl(&server, &user, &with("aud", json!("another"))).status.success());
    assert!(!server.log().contains(&good), "no token is logged");
}

#[test]
fn no_tokens_in_clear_or_without_keys() {
    let issuer = Issuer::start();
    let configured = server(&issuer);
    let user = configured.fresh_user().name;
    let good = issuer.token("first", &claims(&user));
    let plain = Server::start(&Options { accounts: 4, ..Options::default() }).expect("a server");
    let mut clear = Client::connect(configured.imap, "clear").expect("connect");
    clear.response().expect("greeting");
    for (mut client, told) in [(clear, "NO [PRIVACYREQUIRED]"), (connect(&plain), "NO this mechanism is not")]
    {
        let (said, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
        assert!(!said.iter().any(|line| line.text().contains("OAUTHBEARER")), "{said:?}");
        let (_, tagged) =
            client.command(&format!("AUTHENTICATE OAUTHBEARER {}", message("", &good))).expect("an answer");
        assert!(tagged.text().contains(told), "{}", tagged.text());
    }
}

#[test]
fn keys_change_while_clients_are_served() {
    let mut issuer = Issuer::start();
    let server = server(&issuer);
    let user = server.fresh_user().name;
    let log_in = |token: &str| {
        let mut client = connect(&server);
        let command = format!("t AUTHENTICATE OAUTHBEARER {}\r\n", message("", token));
        client.send(command.as_bytes()).expect("sent");
        client.response().expect("an answer").text().contains("t OK")
    };
    let first = issuer.token("first", &claims(&user));
    assert!(log_in(&first));
    issuer.publish(&["next"]);
    let next = issuer.token("next", &claims(&user));
    let deadline = Instant::now() + patience() + Duration::from_secs(10);
    while !log_in(&next) {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_secs(1));
    }
    // One look at the start and one for the token of an unknown key, however often it came.
    assert_eq!(issuer.fetches(), 2);
    assert!(!log_in(&first), "a key that was taken back");

    // What is known holds while the keys cannot be had.
    issuer.nginx.kill();
    assert!(log_in(&next));
}
