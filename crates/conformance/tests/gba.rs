//! Keys that phones make from their SIM (GBA, 3GPP TS 33.222 §5.4). nginx answers in the place of a bootstrapping server
//! function, by what it is asked; OpenSSL is the phone.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use conformance::client::patience;
use conformance::nginx::Nginx;
use conformance::server::{Options, Server};
use serde_json::{Value, json};

const B_TID: &str = "c29tZSByYW5kb20gMTZieXRl@bsf.example.net";
/// One whose answer has ten octets a second.
const SLOW: &str = "c2xvdw";
const KEY_13: &str = "1313131313131313131313131313131313131313131313131313131313131313";
const KEY_12: &str = "1212121212121212121212121212121212121212121212121212121212121212";
const FILE_KEY: &str = "7d1f0c2ab3944e85a6c7d8e9f0010203";
const NAF: &str = "imap.example.net";
const SESSION: &str = "a CAPABILITY\r\nb AUTHENTICATE EXTERNAL =\r\nc SELECT INBOX\r\nd LOGOUT\r\n";
const TLS13: [&str; 1] = ["-tls1_3"];
const TLS12: [&str; 3] = ["-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256"];
/// How they stand in a question (3GPP TS 33.220 §H.3): TLS 1.3, and the suite above.
const PROTOCOLS: [(&str, &str); 2] = [("0100000007", "tls13"), ("01000100a8", "tls12")];

/// A bootstrapping server function as far as this one sees it: JSON by HTTP/2.
struct Bsf {
    nginx: Nginx,
}

impl Bsf {
    fn start() -> Self {
        let mut nginx = Nginx::new().expect("a folder");
        let (at, address, secure) = (nginx.folder().display(), nginx.address(), nginx.with_tls());
        // A body is known to those who pass it on alone: one server takes questions and a second has the answers, a file
        // for each B-TID and protocol.
        let mut files = String::new();
        for (protocol, file) in PROTOCOLS {
            let asked = format!(
                r#"^{{\"btId\":\"(?<b_tid_{file}>[A-Za-z0-9]+)@bsf\.example\.net\",\"nafId\":{{\"nafFqdn\":\"{NAF}\",\"uaSecProtId\":\"{protocol}\"}},\"gbaUAware\":true,\"gsIds\":\[7\]}}$"#
            );
            files.push_str(&format!("\"~{asked}\" $b_tid_{file}-{file}; "));
        }
        let http = format!(
            "log_format asked '$server_protocol $request_method $uri $status';
             map $http_x_asked $file {{ default unexpected; {files} }}
             map $file $rate {{ default 0; {SLOW}-tls13 10; }}
             server {{
               listen {address} http2 {secure};
               access_log {at}/taken asked;
               location = /root/nbsp-gba/v1/bootstrapping-info-retrieval {{
                 proxy_set_header X-Asked $request_body; proxy_method GET;
                 proxy_pass http://unix:{at}/answers:/answer;
               }}
             }}
             server {{
               listen unix:{at}/answers; access_log off; default_type application/json;
               root {at}/www; limit_rate $rate;
               location / {{ try_files /$file.json =404; }}
             }}"
        );
        std::fs::create_dir(nginx.folder().join("www")).expect("a folder");
        nginx.start(&http).expect("nginx listens");
        Self { nginx }
    }

    /// From now on it answers this for a B-TID used in that version of TLS.
    fn knows(&self, b_tid: &str, version: &str, answer: &str) {
        let random = b_tid.split('@').next().expect("a part by chance");
        let file = self.nginx.folder().join(format!("www/{random}-{version}.json"));
        std::fs::write(file, answer).expect("written");
    }

    fn forgets(&self, b_tid: &str, version: &str) {
        let random = b_tid.split('@').next().expect("a part by chance");
        std::fs::remove_file(self.nginx.folder().join(format!("www/{random}-{version}.json"))).expect("gone");
    }

    /// Questions so far, a line for each. nginx writes it after its answer: who looks at once may miss the last.
    fn asked(&self) -> Vec<String> {
        let mut text = self.nginx.taken();
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let later = self.nginx.taken();
            if later == text {
                return text.lines().map(str::to_owned).collect();
            }
            text = later;
        }
    }
}

struct Bench {
    bsf: Bsf,
    server: Server,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let bsf = Bsf::start();
        let folder = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let file = folder.path().join("keys");
        std::fs::write(&file, format!("phone-1 {FILE_KEY} tel:+15550000002\n")).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("allowed");
        let settings = [
            ("MSS_IMAP__PSK_LISTEN", address.to_string()),
            ("MSS_AUTH__PSK__FILE", file.display().to_string()),
            ("MSS_AUTH__PSK__BSF", format!("https://localhost:{}/root/", bsf.nginx.address().port())),
            ("MSS_AUTH__PSK__BSF_CA_FILE", bsf.nginx.certificate().display().to_string()),
            ("MSS_AUTH__PSK__NAF", NAF.to_owned()),
            ("MSS_AUTH__PSK__GSID", "7".to_owned()),
            ("MSS_LOG__LEVEL", "info,imap_server=debug,psk=debug".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let server =
            Server::start(&Options { accounts: 4, settings, ..Options::default() }).expect("a server");
        Self { bsf, server, address, _folder: folder }
    }

    /// What a phone sees of a session, and of why there was none.
    fn phone(&self, identity: &str, key: &str, version: &[&str]) -> String {
        let address = self.address.to_string();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-psk_identity", identity, "-psk", key])
            .args(version)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is missing: `cargo xtask deps` installs it (Debian package openssl)");
        let mut input = child.stdin.take().expect("its input");
        // It may have ended already, without a session.
        let _ = input.write_all(SESSION.as_bytes());
        // Its input stays open until the other side has ended.
        let output = child.wait_with_output().expect("it ends");
        drop(input);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

fn identity(b_tid: &str) -> String {
    format!("3GPP-bootstrapping;{b_tid}")
}

fn answer(key: &str, address: &str, more: Value) -> String {
    let mut answer = json!({"meKeyMaterial": key, "impi": "001010123456789@ims.mnc01.mcc001.3gppnetwork.org",
        "gbaType": "3G_GBA", "bootstrappingInfoCreationTime": "2026-01-01T00:00:00Z",
        "ussList": [{"uss": {"gsId": 7, "gsType": 0, "ueIds": [{"ueId": address}]}}]});
    answer.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    answer.to_string()
}

fn is_in(said: &str) -> bool {
    said.contains(" AUTH=EXTERNAL") && said.contains("b OK [CAPABILITY") && said.contains("c OK ")
}

#[test]
fn s0_03_tls_by_a_bootstrapped_key() {
    let bench = Bench::start();
    bench.bsf.knows(B_TID, "tls13", &answer(KEY_13, "tel:+15550000001", json!({})));
    bench.bsf.knows(B_TID, "tls12", &answer(KEY_12, "tel:+15550000001", json!({})));
    for (key, version) in [(KEY_13, &TLS13[..]), (KEY_12, &TLS12)] {
        let said = bench.phone(&identity(B_TID), key, version);
        assert!(is_in(&said), "{said}\n{}\n{:?}", bench.server.log(), bench.bsf.asked());
        // As 3GPP TS 36.508 writes it. What was said is known now.
        let said = bench.phone(&format!("3GPP-bootstrapping.{B_TID}"), key, version);
        assert!(is_in(&said), "{said}\n{}", bench.server.log());
        assert_eq!(said.contains("PSK identity hint: 3GPP-bootstrapping"), version == TLS12, "{said}");
    }
    let question = "HTTP/2.0 POST /root/nbsp-gba/v1/bootstrapping-info-retrieval 200";
    assert_eq!(bench.bsf.asked(), [question, question]);
    // The key of one use is none for another, and no identity of the file is asked for.
    assert!(!bench.phone(&identity(B_TID), KEY_12, &TLS13).contains("* OK"));
    assert!(is_in(&bench.phone("phone-1", FILE_KEY, &TLS13)), "{}", bench.server.log());
    assert!(!bench.phone("phone-2", FILE_KEY, &TLS13).contains("* OK"));
    assert_eq!(bench.bsf.asked().len(), 2);
    for key in [KEY_12, KEY_13] {
        assert!(!bench.server.log().contains(key), "no key is logged");
    }
}

#[test]
fn a_bootstrapped_key_ends() {
    let bench = Bench::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let time = |seconds: u64| {
        let date = Command::new("date")
            .args(["--utc", "--date", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
            .output()
            .expect("date runs");
        String::from_utf8(date.stdout).expect("text").trim().to_owned()
    };
    let until = |seconds| json!({"keyExpiryTime": time(seconds)});
    // Long enough for two sessions on a machine that is busy.
    let ends = now + 15;
    let (short, past) = ("c2hvcnQ@bsf.example.net", "cGFzdA@bsf.example.net");
    bench.bsf.knows(short, "tls13", &answer(KEY_13, "tel:+15550000001", until(ends)));
    bench.bsf.knows(past, "tls13", &answer(KEY_13, "tel:+15550000001", until(now - 1)));
    assert!(!bench.phone(&identity(past), KEY_13, &TLS13).contains("* OK"), "one that has ended");
    assert!(bench.server.log().contains("its key has ended"), "{}", bench.server.log());
    let asked = bench.bsf.asked().len();
    assert!(is_in(&bench.phone(&identity(short), KEY_13, &TLS13)), "{}", bench.server.log());
    bench.bsf.forgets(short, "tls13");
    assert!(is_in(&bench.phone(&identity(short), KEY_13, &TLS13)), "{}", bench.server.log());
    assert_eq!(bench.bsf.asked().len(), asked + 1, "known until it ends");
    let deadline = Instant::now() + patience() + Duration::from_secs(15);
    while bench.phone(&identity(short), KEY_13, &TLS13).contains("* OK") {
        assert!(Instant::now() < deadline, "{}", bench.server.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    // That it knows the key no more is known, too.
    let asked = bench.bsf.asked().len();
    assert!(!bench.phone(&identity(short), KEY_13, &TLS13).contains("* OK"));
    assert_eq!(bench.bsf.asked().len(), asked);
}

#[test]
fn a_bootstrapping_function_that_does_not_answer_costs_only_its_own() {
    let mut bench = Bench::start();
    let large = "bGFyZ2U@bsf.example.net";
    let padding = json!({ "padding": "x".repeat(66_000) });
    bench.bsf.knows(large, "tls13", &answer(KEY_13, "tel:+15550000001", padding));
    let slow = format!("{SLOW}@bsf.example.net");
    bench.bsf.knows(&slow, "tls13", &answer(KEY_13, "tel:+15550000001", json!({})));
    for (b_tid, told) in [(large, "length limit exceeded"), (&slow, "no answer within 3000 ms")] {
        assert!(!bench.phone(&identity(b_tid), KEY_13, &TLS13).contains("* OK"), "{b_tid}");
        let log = bench.server.log();
        assert!(log.contains(told), "{told}: {log}");
    }
    // Nobody has it: as a wrong key.
    bench.bsf.knows(B_TID, "tls13", &answer(KEY_13, "tel:+15550000001", json!({})));
    let alert = |said: &str| {
        let at = said.find("SSL alert number ").unwrap_or_else(|| panic!("no alert: {said}"));
        said[at..].lines().next().unwrap_or_default().to_owned()
    };
    let wrong = bench.phone(&identity(B_TID), KEY_12, &TLS13);
    let nobody = bench.phone(&identity("bm9ib2R5@bsf.example.net"), KEY_12, &TLS13);
    assert_eq!(alert(&wrong), alert(&nobody));

    bench.bsf.nginx.kill();
    let began = Instant::now();
    let gone = bench.phone(&identity("Z29uZQ@bsf.example.net"), KEY_13, &TLS13);
    assert_eq!(alert(&gone), alert(&wrong));
    assert!(began.elapsed() < patience());
    assert!(bench.server.log().contains("the bootstrapping function: "), "{}", bench.server.log());
    // What was known holds, and so does the file.
    assert!(is_in(&bench.phone(&identity(B_TID), KEY_13, &TLS13)), "{}", bench.server.log());
    assert!(is_in(&bench.phone("phone-1", FILE_KEY, &TLS13)), "{}", bench.server.log());
}
