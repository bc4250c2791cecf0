//! `mss function`, and what a network function may: act for every subscriber, by a name and password of its own.

use std::path::Path;
use std::process::Command;

use conformance::client::Client;
use conformance::server::{Options, Server, User, binary, run};

/// base64 without a library: enough for a SASL response.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn authenticate(server: &Server, subscriber: &User, function: &str, password: &str) -> (Client, String) {
    let mut client = Client::connect(server.imap, function).expect("connect");
    client.response().expect("greeting");
    let response = base64(format!("{}\0{function}\0{password}", subscriber.name).as_bytes());
    let (_, tagged) = client.command(&format!("AUTHENTICATE PLAIN {response}")).expect("an answer");
    let said = tagged.text();
    (client, said)
}

fn function(file: &Path, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let file = file.display().to_string();
    run(&[&["function"], arguments, &["--file", &file]].concat(), input).map_err(|error| error.to_string())
}

#[test]
fn q25_a_network_function_acts_for_a_subscriber() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("functions");
    function(&file, &["add", "pf-1", "--password-stdin"], b"sesame\n").expect("added");
    let far = ["add", "far", "--password-stdin", "--from", "192.0.2.0/24", "--from", "2001:db8::1"];
    function(&file, &far, b"sesame\n").expect("added");
    assert_eq!(
        function(&file, &["list"], b"").expect("listed"),
        "pf-1\tanywhere\nfar\t192.0.2.0/24,2001:db8::1/128\n"
    );
    let again = function(&file, &["add", "pf-1", "--password-stdin"], b"x\n").expect_err("there already");
    assert!(again.contains("pf-1 is there already"), "{again}");
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(!text.contains("sesame"), "no password is kept: {text}");

    let settings = vec![("MSS_NETWORK_FUNCTIONS__FILE".to_owned(), file.display().to_string())];
    let server = Server::start(&Options { accounts: 4, settings, ..Options::default() }).expect("a server");
    let (one, two) = (server.fresh_user(), server.fresh_user());
    let mut owner = Client::login(server.imap, &one.name, &one.password).expect("a login");
    let (_, tagged) = owner.literal("APPEND INBOX", b"Subject: x\r\n\r\nx\r\n", "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK");
    for (subscriber, messages) in [(&one, "1"), (&two, "0")] {
        let (mut client, said) = authenticate(&server, subscriber, "pf-1", "sesame");
        assert!(said.contains(" OK "), "{said}");
        let (untagged, _) = client.expect_ok("SELECT INBOX").expect("SELECT");
        let exists = untagged.iter().find(|line| line.kind() == "EXISTS").expect("EXISTS").text();
        assert!(exists.contains(&format!(" {messages} ")), "{exists}");
    }
    let nobody = User { name: "tel:+19990000000".to_owned(), password: String::new() };
    for (subscriber, name, password, code) in [
        (&nobody, "pf-1", "sesame", "[AUTHORIZATIONFAILED]"),
        (&one, "pf-1", "wrong", "[AUTHENTICATIONFAILED]"),
        (&one, "far", "sesame", "[AUTHENTICATIONFAILED]"),
        // A subscriber may act for nobody else.
        (&two, &one.name, &one.password, "[AUTHORIZATIONFAILED]"),
    ] {
        let (_, said) = authenticate(&server, subscriber, name, password);
        assert!(said.contains(code), "{name} for {}: {said}", subscriber.name);
    }
    let log = server.log();
    assert!(!log.contains("sesame") && !log.contains("SCRAM-SHA-256$"), "{log}");

    function(&file, &["passwd", "pf-1", "--password-stdin"], b"other\n").expect("changed");
    let changed = std::fs::read_to_string(&file).expect("the file");
    assert!(changed != text && changed.lines().count() == 2, "{changed}");
    function(&file, &["remove", "pf-1"], b"").expect("removed");
    assert_eq!(function(&file, &["list"], b"").expect("listed"), "far\t192.0.2.0/24,2001:db8::1/128\n");
    assert!(function(&file, &["remove", "pf-1"], b"").is_err());
}

/// A function that does not know whether a deposit arrived repeats it, and is told what it was not told. Subscribers who
/// store twice have two.
#[test]
fn a_deposit_that_is_repeated_is_answered_as_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("functions");
    function(&file, &["add", "pf-1", "--password-stdin"], b"sesame\n").expect("added");
    let settings = vec![("MSS_NETWORK_FUNCTIONS__FILE".to_owned(), file.display().to_string())];
    let server = Server::start(&Options { accounts: 2, settings, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let object = b"From: <tel:+33687654321>\r\nConversation-ID: c\r\nIMDN-Message-ID: Mjkx9a1f\r\n\
        Message-Direction: received\r\nContent-Type: Message/CPIM\r\n\r\n\
        From: <tel:+33687654321>\r\n\r\nContent-Type: text/plain\r\n\r\nnoon?\r\n";
    let append = |client: &mut Client| {
        let (_, tagged) = client.literal("APPEND Default", object, "").expect("APPEND");
        let text = tagged.text();
        text[text.find('[').expect("APPENDUID")..].to_owned()
    };
    let (mut first, _) = authenticate(&server, &user, "pf-1", "sesame");
    let answer = append(&mut first);
    drop(first);
    let (mut again, _) = authenticate(&server, &user, "pf-1", "sesame");
    assert_eq!(append(&mut again), answer);
    let messages = |client: &mut Client| {
        let (said, _) = client.expect_ok("STATUS Default (MESSAGES)").expect("STATUS");
        said.iter().find(|line| line.kind() == "STATUS").expect("STATUS").text()
    };
    assert!(messages(&mut again).contains("(MESSAGES 1)"));
    // One of several is known wherever it stands, and told in its place.
    let object = std::str::from_utf8(object).expect("text");
    let other = |id: &str| object.replace("Mjkx9a1f", id);
    let literal = |octets: &str| format!("{{{}+}}\r\n{octets}", octets.len());
    let all = [&other("a"), object, &other("b"), &other("a")].map(literal).join(" ");
    let (_, tagged) = again.command(&format!("APPEND Default {all}")).expect("APPEND");
    let validity = answer.split(' ').nth(1).expect("UIDVALIDITY");
    assert!(tagged.text().contains(&format!("[APPENDUID {validity} 2,1,3,2]")), "{}", tagged.text());
    assert!(messages(&mut again).contains("(MESSAGES 3)"));
    let mut owner = Client::login(server.imap, &user.name, &user.password).expect("a login");
    let (_, tagged) = owner.literal("APPEND Default", object.as_bytes(), "").expect("APPEND");
    assert!(tagged.text().contains(&format!("[APPENDUID {validity} 4]")), "{}", tagged.text());
    assert!(messages(&mut owner).contains("(MESSAGES 4)"));
}

#[test]
fn a_file_that_cannot_be_read_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("functions");
    std::fs::write(&file, "# remarks\npf-1 sesame\n").expect("a file");
    let output = Command::new(binary().expect("the binary"))
        .args(["serve", "--imap", "127.0.0.1:0", "--admin", ""])
        .env("MSS_DATA__DIR", folder.path().join("data"))
        .env("MSS_NETWORK_FUNCTIONS__FILE", &file)
        .output()
        .expect("mss runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("network_functions.file: ") && said.contains(" line 2: "), "{said}");
    assert!(!said.contains("sesame"), "{said}");
}
