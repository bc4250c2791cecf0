//! TLS with keys that client and server both know (RFC 4279, RFC 8446 §2.2). OpenSSL and GnuTLS are the other side.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::{Client, patience};
use conformance::server::{Options, Server, User, binary};

const KEY: &str = "7d1f0c2ab3944e85a6c7d8e9f0010203";
const OTHER_KEY: &str = "00000000000000000000000000000001";
const IDENTITY: &str = "3GPP-bootstrapping;Zm9vYmFy@bsf.example.net";
const HINT: &str = "3GPP-bootstrapping;imap.example.net";
const SESSION: &str = "a CAPABILITY\r\nb AUTHENTICATE EXTERNAL =\r\nc SELECT INBOX\r\nd LOGOUT\r\n";

struct Bench {
    server: Server,
    address: SocketAddr,
    folder: tempfile::TempDir,
    user: User,
}

impl Bench {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let file = folder.path().join("keys");
        // The number of the first account of every server.
        write(&file, &format!("{IDENTITY} {KEY} tel:+15550000001\n"));
        let settings = [
            ("MSS_IMAP__PSK_LISTEN", address.to_string()),
            ("MSS_AUTH__PSK__FILE", file.display().to_string()),
            ("MSS_AUTH__PSK__HINT", HINT.to_owned()),
            ("MSS_RELOAD__SECONDS", "1".to_owned()),
            ("MSS_LOG__LEVEL", "info,imap_server=debug,psk=debug".to_owned()),
        ];
        let mut settings = settings.map(|(key, value)| (key.to_owned(), value)).to_vec();
        settings.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let server =
            Server::start(&Options { accounts: 4, settings, ..Options::default() }).expect("a server");
        let user = server.fresh_user();
        Self { server, address, folder, user }
    }

    /// What OpenSSL's client shows of a session, and of why there was none.
    fn openssl(&self, identity: &str, key: &str, more: &[&str]) -> String {
        self.say(SESSION, identity, key, more)
    }

    fn say(&self, session: &str, identity: &str, key: &str, more: &[&str]) -> String {
        let address = self.address.to_string();
        let mut arguments = vec!["s_client", "-connect", &address, "-psk_identity", identity, "-psk", key];
        arguments.extend(more);
        converse("openssl", &arguments, session)
    }

    fn gnutls(&self, identity: &str, key: &str, priority: &str) -> String {
        let port = self.address.port().to_string();
        converse(
            "gnutls-cli",
            &[
                "--port",
                &port,
                "--pskusername",
                identity,
                "--pskkey",
                key,
                "--priority",
                priority,
                "127.0.0.1",
            ],
            SESSION,
        )
    }

    fn keys(&self, lines: &str) {
        write(&self.folder.path().join("keys"), lines);
    }

    /// Waits for a line of the log.
    fn told(&self, line: &str) {
        let deadline = Instant::now() + patience();
        while !self.server.log().contains(line) {
            assert!(Instant::now() < deadline, "{line}: {}", self.server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A figure of the server.
    fn figure(&self, series: &str) -> u64 {
        let admin = self.server.fronts[0].address("admin").expect("an admin port");
        let mut stream = TcpStream::connect(admin).expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: mss\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let value = answer.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {series} in {answer}"))
    }
}

/// At once, as whoever looks sees it.
fn write(file: &Path, text: &str) {
    let staged = file.with_extension("new");
    std::fs::write(&staged, text).expect("written");
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o600)).expect("allowed");
    std::fs::rename(staged, file).expect("put in place");
}

/// Says a session through a program and keeps its input open until the other side has ended.
fn converse(program: &str, arguments: &[&str], session: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: `cargo xtask deps` installs it"));
    let mut input = child.stdin.take().expect("its input");
    // It may have ended already, without a session.
    let _ = input.write_all(session.as_bytes());
    let mut said = String::new();
    let mut read = |output: &mut dyn std::io::Read| {
        let mut octets = Vec::new();
        output.read_to_end(&mut octets).expect("its output");
        said.push_str(&String::from_utf8_lossy(&octets));
    };
    read(&mut child.stdout.take().expect("its output"));
    read(&mut child.stderr.take().expect("its errors"));
    child.wait().expect("it ends");
    said
}

fn is_in(said: &str) -> bool {
    said.contains(" AUTH=EXTERNAL") && said.contains("b OK [CAPABILITY") && said.contains("c OK ")
}

#[test]
fn s0_03_tls_by_a_key_that_both_know() {
    let bench = Bench::start();
    assert_eq!(bench.user.name, "tel:+15550000001");
    for (version, suite) in [
        (["-tls1_2", "-cipher", "ECDHE-PSK-CHACHA20-POLY1305"], "ECDHE-PSK-CHACHA20-POLY1305"),
        (["-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256"], "PSK-AES128-GCM-SHA256"),
        (["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
    ] {
        let said = bench.openssl(IDENTITY, KEY, &version);
        assert!(is_in(&said) && said.contains(suite), "{said}\n{}", bench.server.log());
        // TLS is on already.
        assert!(!said.contains("STARTTLS") && !said.contains("LOGINDISABLED"), "{said}");
        assert_eq!(said.contains(HINT), version[0] == "-tls1_2", "{said}");
        assert!(!said.contains("BEGIN CERTIFICATE"), "{said}");
    }
    // In TLS 1.2 this program of release 3.7 crashes before it has said anything with a key from the command line.
    let said = bench.gnutls(IDENTITY, KEY, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK:+PSK");
    assert!(is_in(&said), "{said}\n{}", bench.server.log());
    // Versions and suites that are too weak for this.
    for weak in [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "PSK-AES128-CBC-SHA"]] {
        assert!(!bench.openssl(IDENTITY, KEY, &weak).contains("* OK"), "{weak:?}");
    }
    assert!(!bench.server.log().contains(KEY), "no key is logged");
}

#[test]
fn a_wrong_key_is_as_an_unknown_identity() {
    let bench = Bench::start();
    let alert = |said: &str| {
        let at = said.find("SSL alert number ").unwrap_or_else(|| panic!("no alert: {said}"));
        said[at..].lines().next().unwrap_or_default().to_owned()
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let wrong = bench.openssl(IDENTITY, OTHER_KEY, &[version]);
        let unknown = bench.openssl("nobody", OTHER_KEY, &[version]);
        assert!(!wrong.contains("* OK") && !unknown.contains("* OK"), "{version}: {wrong}{unknown}");
        assert_eq!(alert(&wrong), alert(&unknown), "{version}");
    }
    assert_eq!(bench.figure("mss_imap_psk_handshakes_total{outcome=\"failed\"}"), 4);
    assert_eq!(bench.figure("mss_imap_psk_handshakes_total{outcome=\"done\"}"), 0);
    // Without a key there is no way in, nor without TLS.
    let address = bench.address.to_string();
    assert!(!converse("openssl", &["s_client", "-connect", &address], SESSION).contains("* OK"));
    let mut clear = Client::connect(bench.address, "clear").expect("connect");
    clear.send(b"a CAPABILITY\r\n").expect("sent");
    assert!(clear.response().is_err(), "nothing is said in clear");
}

#[test]
fn keys_are_read_anew() {
    let bench = Bench::start();
    bench.keys("nonsense");
    bench.told("psk changed and cannot be used, what was there stays: line 1: ");
    assert!(is_in(&bench.openssl(IDENTITY, KEY, &["-tls1_3"])), "what was there stays");
    bench.keys(&format!("second {OTHER_KEY} tel:+15550000002\n"));
    bench.told("psk read anew");
    assert!(is_in(&bench.openssl("second", OTHER_KEY, &["-tls1_2"])));
    assert!(!bench.openssl(IDENTITY, KEY, &["-tls1_2"]).contains("* OK"), "a key that was taken back");
}

/// A key says who its holder may be, and nothing else.
#[test]
fn a_key_opens_the_accounts_of_its_line_alone() {
    let bench = Bench::start();
    bench.keys(&format!("{IDENTITY} {KEY} tel:+15550000001 tel:+15550000002\nbare {OTHER_KEY}\n"));
    bench.told("psk read anew");
    let (second, third) = ("dGVsOisxNTU1MDAwMDAwMg==", "dGVsOisxNTU1MDAwMDAwMw==");
    let session =
        format!("a AUTHENTICATE EXTERNAL {third}\r\nb AUTHENTICATE EXTERNAL {second}\r\nc LOGOUT\r\n");
    let said = bench.say(&session, IDENTITY, KEY, &["-tls1_3"]);
    assert!(said.contains("a NO [AUTHORIZATIONFAILED]") && said.contains("b OK [CAPABILITY"), "{said}");

    // Without accounts it is TLS, and no more: passwords say who.
    let password = &bench.user.password;
    let session = format!(
        "a CAPABILITY\r\nb AUTHENTICATE EXTERNAL =\r\nc LOGIN tel:+15550000001 \"{password}\"\r\nd LOGOUT\r\n"
    );
    let said = bench.say(&session, "bare", OTHER_KEY, &["-tls1_2"]);
    assert!(!said.contains("AUTH=EXTERNAL") && said.contains("b NO ") && said.contains("c OK "), "{said}");
}

/// Whoever connects and says nothing, or half of something, is sent away when the time for login is over.
#[test]
fn a_handshake_takes_no_longer_than_a_login_may() {
    let bench = Bench::start_with(&[
        ("MSS_LIMITS__LOGIN_SECONDS_MAX", "2"),
        ("MSS_LIMITS__CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ]);
    // The head of a record of TLS that never comes.
    let mut slow: Vec<TcpStream> = [&b""[..], &[22, 3, 1, 2, 0, 1]]
        .into_iter()
        .map(|begun| {
            let mut stream = TcpStream::connect(bench.address).expect("connected");
            stream.write_all(begun).expect("sent");
            stream.set_read_timeout(Some(patience())).expect("a bound");
            stream
        })
        .collect();
    let began = Instant::now();
    for stream in &mut slow {
        let mut said = Vec::new();
        // Closed, or reset for what was not read.
        let _ = stream.read_to_end(&mut said);
        assert!(said.is_empty(), "{said:?}");
    }
    assert!(began.elapsed() > Duration::from_millis(1_000), "the bound, not a refusal");
    // Their places are free again.
    let deadline = Instant::now() + patience();
    while !is_in(&bench.openssl(IDENTITY, KEY, &["-tls1_3"])) {
        assert!(Instant::now() < deadline, "{}", bench.server.log());
    }
}

/// What is wrong with the file is told by its key and line, and never what a key is.
#[test]
fn a_file_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    let good = format!("first {KEY} tel:+15550000001\n");
    for (text, mode, told) in [
        (format!("{good}second {KEY}0 tel:+15550000002\n"), 0o600, "line 2: "),
        (format!("{good}# {KEY}\nthird {KEY} {KEY}\n"), 0o600, "line 3: "),
        (format!("{good}{good}"), 0o600, "line 2: "),
        (good, 0o644, "everybody may read"),
    ] {
        write(&file, &text);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("allowed");
        let output = Command::new(binary().expect("the binary"))
            .arg("serve")
            .env("MSS_DATA__DIR", folder.path().join("data"))
            .env("MSS_IMAP__LISTEN", "127.0.0.1:0")
            .env("MSS_ADMIN__LISTEN", "127.0.0.1:0")
            .env("MSS_IMAP__PSK_LISTEN", "127.0.0.1:0")
            .env("MSS_AUTH__PSK__FILE", &file)
            .stdin(Stdio::null())
            .output()
            .expect("mss runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().filter(|line| line.starts_with("mss: ")).count();
        assert_eq!((output.status.code(), lines), (Some(1), 1), "{said}");
        assert!(said.contains("auth.psk.file") && said.contains(told), "{said}");
        assert!(!said.contains(KEY), "{said}");
    }
}
