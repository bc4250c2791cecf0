//! Logins that succeed and that fail, by every mechanism.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use imap_server::functions::{Functions, NetworkFunction, parse_network};
use imap_server::{CleartextLogin, Limits, Options, credentials};
use sha2::{Digest, Sha256};
use store_api::{AccountState, Credentials, QuotaLimits};

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, options, verifier};

fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

#[tokio::test]
async fn by_address_in_every_spelling() {
    let fixture = Fixture::new().await;
    for user in [
        "+15550000001",
        "tel:+15550000001",
        "TEL:+1-555-000.0001",
        "alice@example.com",
        "sip:alice@EXAMPLE.com",
    ] {
        let mut client = fixture.connect().await;
        let (_, end) = client.run(&format!("LOGIN \"{user}\" \"{PASSWORD}\"")).await;
        assert!(end.starts_with("OK [CAPABILITY IMAP4rev1 ") && end.contains(" IDLE "), "{user}: {end}");
        client.ok("SELECT INBOX").await;
    }
}

#[tokio::test]
async fn failures_say_the_same_whatever_the_reason() {
    let fixture = Fixture::new().await;
    fixture.add("nopass@example.com", Credentials::None).await;
    let mut said = Vec::new();
    for (user, password) in [
        ("+15550000001", "wrong"),
        ("+15559999999", "wrong"),
        ("nopass@example.com", "wrong"),
        ("not an address", "wrong"),
        ("+15550000001", ""),
    ] {
        let mut client = fixture.connect().await;
        let (untagged, end) = client.run(&format!("LOGIN \"{user}\" \"{password}\"")).await;
        assert_eq!(untagged, Vec::<String>::new());
        said.push(end);
        if !password.is_empty() {
            let (_, end) = client.run(&format!("AUTHENTICATE PLAIN {}", plain(user, password))).await;
            said.push(end);
        }
        client.expect("SELECT INBOX", "BAD ").await;
    }
    said.dedup();
    assert_eq!(said, ["NO [AUTHENTICATIONFAILED] the address or the password is wrong"]);
}

#[tokio::test]
async fn argon2_and_changed_passwords() {
    let fixture = Fixture::new().await;
    let argon2 = credentials::hash_argon2(&PASSWORD.as_bytes().to_vec().into()).expect("a hash");
    fixture.set_credentials("alice@example.com", Credentials::Argon2(argon2)).await;
    let login = format!("LOGIN alice@example.com \"{PASSWORD}\"");
    fixture.connect().await.ok(&login).await;
    // The second is remembered; a changed password is not.
    fixture.connect().await.ok(&login).await;
    let other = credentials::derive_scram(&b"other".to_vec().into()).expect("a verifier");
    fixture.set_credentials("alice@example.com", Credentials::Scram(other)).await;
    fixture.connect().await.expect(&login, "NO [AUTHENTICATIONFAILED]").await;
    fixture.connect().await.ok("LOGIN alice@example.com other").await;
}

#[tokio::test]
async fn disabled_accounts() {
    let fixture = Fixture::new().await;
    fixture.configure("+15550000001", AccountState::Disabled, QuotaLimits::default()).await;
    let mut client = fixture.connect().await;
    // Only who has the password learns of it.
    client.expect("LOGIN +15550000001 wrong", "NO [AUTHENTICATIONFAILED]").await;
    client.expect(&format!("LOGIN +15550000001 \"{PASSWORD}\""), "NO [AUTHORIZATIONFAILED]").await;
}

#[tokio::test]
async fn plain_with_and_without_an_initial_response() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.expect("AUTHENTICATE PLAIN ***", "BAD ").await;
    client.expect("AUTHENTICATE PLAIN =", "BAD ").await;
    client.expect(&format!("AUTHENTICATE PLAIN {}", STANDARD.encode("\0only-two")), "BAD ").await;
    let other = STANDARD.encode(format!("alice@example.com\0+15550000001\0{PASSWORD}"));
    client.expect(&format!("AUTHENTICATE PLAIN {other}"), "NO [AUTHORIZATIONFAILED]").await;
    let tag = client.begin("AUTHENTICATE PLAIN").await;
    assert_eq!(client.line().await, "+ ");
    client.send("*\r\n").await;
    assert_eq!(client.end(&tag).await.1, "BAD AUTHENTICATE cancelled");
    let myself = STANDARD.encode(format!("tel:+15550000001\0+15550000001\0{PASSWORD}"));
    let tag = client.begin("AUTHENTICATE plain").await;
    assert_eq!(client.line().await, "+ ");
    client.send(format!("{myself}\r\n")).await;
    assert!(client.end(&tag).await.1.starts_with("OK [CAPABILITY "));
    client.expect("AUTHENTICATE PLAIN", "BAD ").await;
}

#[tokio::test]
async fn the_login_mechanism() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    let tag = client.begin("AUTHENTICATE LOGIN").await;
    assert_eq!(client.line().await, format!("+ {}", STANDARD.encode("Username:")));
    client.send(format!("{}\r\n", STANDARD.encode("+15550000001"))).await;
    assert_eq!(client.line().await, format!("+ {}", STANDARD.encode("Password:")));
    client.send(format!("{}\r\n", STANDARD.encode(PASSWORD))).await;
    assert!(client.end(&tag).await.1.starts_with("OK "));
    // The user name ahead, as some clients do.
    let mut client = fixture.connect().await;
    let tag = client.begin(&format!("AUTHENTICATE LOGIN {}", STANDARD.encode("+15550000001"))).await;
    assert_eq!(client.line().await, format!("+ {}", STANDARD.encode("Password:")));
    client.send(format!("{}\r\n", STANDARD.encode("wrong"))).await;
    assert!(client.end(&tag).await.1.starts_with("NO [AUTHENTICATIONFAILED]"));
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// A client's side of SCRAM-SHA-256, spelled out. Returns how the command ended.
pub async fn scram(
    client: &mut Client,
    mechanism: &str,
    header: &str,
    binding: &[u8],
    user: &str,
    password: &str,
) -> String {
    let bare = format!("n={user},r=clientnonce");
    let first = STANDARD.encode(format!("{header}{bare}"));
    let tag = client.begin(&format!("AUTHENTICATE {mechanism} {first}")).await;
    let line = client.line().await;
    let Some(challenge) = line.strip_prefix("+ ") else {
        return line.strip_prefix(&format!("{tag} ")).expect("the tagged line").to_owned();
    };
    let server_first = String::from_utf8(STANDARD.decode(challenge).expect("base64")).expect("UTF-8");
    let field = |name: &str| {
        let part = server_first.split(',').find_map(|part| part.strip_prefix(name));
        part.expect("the field").to_owned()
    };
    let (nonce, salt, rounds) = (field("r="), field("s="), field("i=").parse::<u32>().expect("a number"));
    assert!(nonce.starts_with("clientnonce") && nonce.len() > 20);
    let salt = STANDARD.decode(salt).expect("base64");
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, rounds, &mut salted);
    let client_key = hmac(&salted, b"Client Key");
    let gs2 = STANDARD.encode([header.as_bytes(), binding].concat());
    let without_proof = format!("c={gs2},r={nonce}");
    let auth_message = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&Sha256::digest(&client_key), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let last = format!("{without_proof},p={}", STANDARD.encode(proof));
    client.send(format!("{}\r\n", STANDARD.encode(last))).await;
    let line = client.line().await;
    if let Some(challenge) = line.strip_prefix("+ ") {
        let server_key = hmac(&salted, b"Server Key");
        let expected = format!("v={}", STANDARD.encode(hmac(&server_key, auth_message.as_bytes())));
        assert_eq!(
            STANDARD.decode(challenge).expect("base64"),
            expected.as_bytes(),
            "the server proves itself"
        );
        client.send("\r\n").await;
        return client.end(&tag).await.1;
    }
    line.strip_prefix(&format!("{tag} ")).expect("the tagged line").to_owned()
}

#[tokio::test]
async fn scram_without_tls() {
    let fixture = Fixture::new().await;
    fixture.add("a,b=c@example.com", Credentials::Scram(verifier())).await;
    let mut client = fixture.connect().await;
    for (user, password, expected) in [
        ("+15550000001", "wrong", "NO [AUTHENTICATIONFAILED]"),
        ("+15559999999", PASSWORD, "NO [AUTHENTICATIONFAILED]"),
    ] {
        let end = scram(&mut client, "SCRAM-SHA-256", "n,,", b"", user, password).await;
        assert!(end.starts_with(expected), "{user}: {end}");
    }
    let end =
        scram(&mut client, "SCRAM-SHA-256", "n,a=alice@example.com,", b"", "+15550000001", PASSWORD).await;
    assert!(end.starts_with("NO [AUTHORIZATIONFAILED]"), "{end}");
    let end =
        scram(&mut client, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", b"", "+15550000001", PASSWORD).await;
    assert!(end.starts_with("NO "), "{end}");
    let end = scram(&mut client, "SCRAM-SHA-256", "n,,", b"", "tel:+15550000001", PASSWORD).await;
    assert!(end.starts_with("OK [CAPABILITY "), "{end}");
    let mut client = fixture.connect().await;
    let end = scram(&mut client, "SCRAM-SHA-256", "y,,", b"", "a=2Cb=3Dc@example.com", PASSWORD).await;
    assert!(end.starts_with("OK [CAPABILITY "), "{end}");
}

#[tokio::test]
async fn scram_shows_the_same_salt_for_an_address_without_an_account() {
    let fixture = Fixture::new().await;
    let mut salts = Vec::new();
    for _ in 0..2 {
        let mut client = fixture.connect().await;
        let first = STANDARD.encode("n,,n=nobody@example.com,r=x");
        client.begin(&format!("AUTHENTICATE SCRAM-SHA-256 {first}")).await;
        let line = client.line().await;
        let message = STANDARD.decode(line.strip_prefix("+ ").expect("a challenge")).expect("base64");
        let message = String::from_utf8(message).expect("UTF-8");
        salts.push(message.split(',').skip(1).map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(salts[0], salts[1]);
    assert_eq!(salts[0][1], format!("i={}", credentials::SCRAM_ITERATIONS));
}

#[tokio::test]
async fn passwords_in_clear_can_be_forbidden() {
    let fixture = Fixture::with(Options { cleartext_login: CleartextLogin::Nowhere, ..options() }).await;
    let mut client = fixture.connect().await;
    let capabilities = client.ok("CAPABILITY").await.concat();
    assert!(
        capabilities.contains(" LOGINDISABLED") && !capabilities.contains("AUTH=PLAIN"),
        "{capabilities}"
    );
    assert!(
        capabilities.contains(" AUTH=SCRAM-SHA-256") && !capabilities.contains("STARTTLS"),
        "{capabilities}"
    );
    client.expect(&format!("LOGIN +15550000001 \"{PASSWORD}\""), "NO [PRIVACYREQUIRED]").await;
    client.expect("AUTHENTICATE PLAIN", "NO [PRIVACYREQUIRED]").await;
    client.expect("STARTTLS", "NO ").await;
    let end = scram(&mut client, "SCRAM-SHA-256", "n,,", b"", "+15550000001", PASSWORD).await;
    assert!(end.starts_with("OK "), "{end}");
}

#[tokio::test]
async fn failures_are_counted() {
    let limits = Limits {
        login_failures_per_connection_max: 3,
        login_failures_per_account_max: 4,
        ..options().limits
    };
    let fixture = Fixture::with(Options { limits, ..options() }).await;
    let mut client = fixture.connect().await;
    client.expect("LOGIN alice@example.com wrong", "NO [AUTHENTICATIONFAILED]").await;
    client.expect("LOGIN alice@example.com wrong", "NO [AUTHENTICATIONFAILED]").await;
    let untagged = client.expect("LOGIN sip:alice@example.com wrong", "NO [AUTHENTICATIONFAILED]").await;
    assert!(untagged[0].starts_with("* BYE "), "{untagged:?}");
    assert_eq!(client.try_line().await, None);
    let mut client = fixture.connect().await;
    client.expect("LOGIN alice@example.com wrong", "NO [AUTHENTICATIONFAILED]").await;
    // Even the right one is not looked at now; other accounts are not hurt.
    client.expect(&format!("LOGIN alice@example.com \"{PASSWORD}\""), "NO [UNAVAILABLE]").await;
    client.ok(&format!("LOGIN +15550000001 \"{PASSWORD}\"")).await;
}

#[tokio::test]
async fn failures_take_longer_and_longer() {
    let limits = Limits { login_failure_delay: std::time::Duration::from_millis(60), ..options().limits };
    let fixture = Fixture::with(Options { limits, ..options() }).await;
    let mut client = fixture.connect().await;
    for floor in [60, 120, 240] {
        let began = std::time::Instant::now();
        client.expect("LOGIN nobody@example.com wrong", "NO ").await;
        assert!(began.elapsed().as_millis() >= floor, "{:?} is less than {floor} ms", began.elapsed());
    }
}

#[tokio::test]
async fn unauthenticate_goes_back_to_the_beginning() {
    let fixture = Fixture::new().await;
    let mut client = fixture.select(1).await;
    client.ok("ENABLE IMAP4rev2").await;
    client.ok("UNAUTHENTICATE").await;
    client.expect("FETCH 1 FLAGS", "BAD ").await;
    client.expect("UNAUTHENTICATE", "BAD ").await;
    client.ok(&format!("LOGIN alice@example.com \"{PASSWORD}\"")).await;
    let said = client.ok("SELECT INBOX").await;
    // Not rev2 any more, and another's mailbox.
    assert!(said.contains(&"* 0 EXISTS".to_owned()) && said.contains(&"* 0 RECENT".to_owned()), "{said:?}");
}

/// A server that knows the network functions `pf-1`, and `pf-2` that connects from elsewhere only.
async fn with_functions() -> Fixture {
    let name = |name: &str| name.parse().expect("a name");
    let lines = [
        NetworkFunction::line(&name("pf-1"), &verifier(), &[]),
        NetworkFunction::line(
            &name("pf-2"),
            &verifier(),
            &[parse_network("192.0.2.0/24").expect("a network")],
        ),
    ];
    let functions = Functions::parse(&lines.join("\n")).expect("two functions");
    Fixture::with(Options { functions, ..options() }).await
}

fn plain_as(subscriber: &str, function: &str, password: &str) -> String {
    format!("AUTHENTICATE PLAIN {}", STANDARD.encode(format!("{subscriber}\0{function}\0{password}")))
}

#[tokio::test]
async fn a_network_function_acts_for_the_subscriber_it_names() {
    let fixture = with_functions().await;
    let mut owner = fixture.log_in().await;
    owner.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    let mut function = fixture.connect().await;
    function.ok(&plain_as("tel:+1-555-000-0001", "pf-1", PASSWORD)).await;
    let said = function.ok("SELECT INBOX").await;
    assert!(said.contains(&"* 1 EXISTS".to_owned()), "{said:?}");
    // The connection is used again for another.
    function.ok("UNAUTHENTICATE").await;
    function.ok(&plain_as("alice@example.com", "pf-1", PASSWORD)).await;
    let said = function.ok("SELECT INBOX").await;
    assert!(said.contains(&"* 0 EXISTS".to_owned()), "{said:?}");

    let mut function = fixture.connect().await;
    let header = "n,a=sip:alice@example.com,";
    let end = scram(&mut function, "SCRAM-SHA-256", header, b"", "pf-1", PASSWORD).await;
    assert!(end.starts_with("OK "), "{end}");
}

/// S3-07: an event report of a device that comes by way of the network counts as that device's change.
#[tokio::test]
async fn s3_07_a_network_function_names_the_device() {
    let fixture = with_functions().await;
    let mut owner = fixture.log_in().await;
    owner.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    owner.append("INBOX", "Subject: y\r\n\r\nbody\r\n").await;
    let capabilities = owner.ok("CAPABILITY").await;
    assert!(!capabilities.iter().any(|line| line.contains("XCPM-DEVICE")), "{capabilities:?}");
    owner.ok("SELECT INBOX").await;
    let by_device = "UID STORE 1 (CPMDEVICE \"<urn:gsma:imei:1>\") +FLAGS.SILENT (\\Seen)";
    owner.expect(by_device, "NO [NOPERM]").await;

    let mut function = fixture.connect().await;
    function.ok(&plain_as("+15550000001", "pf-1", PASSWORD)).await;
    let capabilities = function.ok("CAPABILITY").await;
    assert!(capabilities.iter().any(|line| line.contains(" XCPM-DEVICE")), "{capabilities:?}");
    function.ok("SELECT INBOX").await;
    function.ok(by_device).await;
    // Without a device it is nobody's, and the word is good for one command.
    function.ok("UID STORE 2 +FLAGS.SILENT (\\Seen)").await;
    function.expect("UID STORE 1 (CPMDEVICE \"two words\") +FLAGS (\\Deleted)", "BAD ").await;
    let said = owner.ok("UID SEARCH HEADER Message-seen-identity \"\"").await;
    assert!(said.contains(&"* SEARCH 1".to_owned()), "{said:?}");
    let said = owner.ok("UID SEARCH HEADER Message-seen-identity imei:1").await;
    assert!(said.contains(&"* SEARCH 1".to_owned()), "{said:?}");
}

#[tokio::test]
async fn what_a_network_function_may_not() {
    let fixture = with_functions().await;
    fixture.add("gone@example.com", Credentials::Scram(verifier())).await;
    fixture.configure("gone@example.com", AccountState::Disabled, QuotaLimits::default()).await;
    let mut client = fixture.connect().await;
    for (subscriber, function, password, code) in [
        // Not known by its password: nothing is told of whom it may act for, or from where.
        ("+15550000001", "pf-1", "wrong", "AUTHENTICATIONFAILED"),
        ("nobody@example.com", "pf-1", "wrong", "AUTHENTICATIONFAILED"),
        ("+15550000001", "pf-2", PASSWORD, "AUTHENTICATIONFAILED"),
        ("+15550000001", "pf-3", PASSWORD, "AUTHENTICATIONFAILED"),
    ] {
        client = fixture.connect().await;
        client.expect(&plain_as(subscriber, function, password), &format!("NO [{code}]")).await;
    }
    // Refused as often as it asks, and never shut out.
    for _ in 0..30 {
        for subscriber in ["", "nobody@example.com", "gone@example.com", "pf-1", "not an address"] {
            client.expect(&plain_as(subscriber, "pf-1", PASSWORD), "NO [AUTHORIZATIONFAILED]").await;
        }
    }
    client.expect(&format!("LOGIN pf-1 \"{PASSWORD}\""), "NO [AUTHORIZATIONFAILED]").await;
    client.expect("SELECT INBOX", "BAD ").await;
    // A subscriber named as a function would be is no function.
    client.expect(&plain_as("alice@example.com", "+15550000001", PASSWORD), "NO [AUTHORIZATIONFAILED]").await;
    client.ok(&plain_as("+15550000001", "pf-1", PASSWORD)).await;
    // Taken from the list, its open sessions stay and it gets no new ones.
    fixture.server.set_functions(Functions::default());
    client.ok("SELECT INBOX").await;
    let mut client = fixture.connect().await;
    client.expect(&plain_as("+15550000001", "pf-1", PASSWORD), "NO [AUTHENTICATIONFAILED]").await;
}

/// A function that holds many sessions must not keep the owner out.
#[tokio::test]
async fn sessions_of_network_functions_are_counted_apart() {
    let mut options = Options {
        functions: Functions::parse(&NetworkFunction::line(&"pf".parse().expect("a name"), &verifier(), &[]))
            .expect("a function"),
        ..options()
    };
    options.limits.sessions_per_account_max = 1;
    let fixture = Fixture::with(options).await;
    let mut function = fixture.connect().await;
    function.ok(&plain_as("+15550000001", "pf", PASSWORD)).await;
    let mut second = fixture.connect().await;
    second.expect(&plain_as("+15550000001", "pf", PASSWORD), "NO [LIMIT]").await;
    fixture.log_in().await;
}
