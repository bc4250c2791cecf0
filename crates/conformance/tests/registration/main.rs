//! A server that asks the SIP/IP core which addresses are registered together. The core is Kamailio.
//!
//! Source: OMA-TS-CPM_MessageStorage, Authenticate Operation; RFC 3680; 3GPP TS 24.229 §5.7.1.1.

mod core;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use conformance::client::{Client, patience};
use conformance::process::{Listener, Process};
use conformance::server::run;

use crate::core::{Core, free_port};

const ONE: &str = "sip:alice@example.com";
const TWO: &str = "tel:+15550000002";
const THREE: &str = "sip:carol@example.com";
const PASSWORD: &str = "Zwiebelfisch";

/// A server with three accounts that asks a core.
struct Bench {
    core: Core,
    server: Process,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start(transport: &str, granted_max: u32, settings: &[(&str, &str)]) -> Self {
        let core = Core::start(granted_max);
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        for address in [ONE, TWO, THREE] {
            let place = data.display().to_string();
            let arguments = ["account", "add", address, "--password-stdin", "--data", &place];
            run(&arguments, format!("{PASSWORD}\n").as_bytes()).expect("mss account");
        }
        let (proxy, listen) = (core.address.to_string(), free_port().to_string());
        let sip = [
            ("PROVIDER", "sip"),
            ("SIP_PROXY", &proxy),
            ("SIP_TRANSPORT", transport),
            ("SIP_LISTEN", &listen),
            ("SIP_URI", "sip:mss@store.example"),
        ];
        let settings = sip.iter().chain(settings);
        let settings = settings.map(|(key, value)| (format!("MSS_REGISTRATION__{key}"), (*value).to_owned()));
        let listeners = vec![Listener::any("--imap", "imap"), Listener::any("--admin", "admin")];
        let arguments = vec!["--data".into(), data.into_os_string()];
        let log = folder.path().join("log");
        let server =
            Process::start("serve", arguments, listeners, settings.collect(), log).expect("a server");
        Self { core, server, _folder: folder }
    }

    fn login(&self, address: &str) -> Client {
        Client::login(self.server.address("imap").expect("IMAP"), address, PASSWORD).expect("a login")
    }

    /// Whether a new login to `of` reaches `address`.
    fn reaches(&self, of: &str, address: &str) -> bool {
        let (_, answer) = self.login(of).command(&format!("SELECTA {address}")).expect("an answer");
        answer.kind() == "OK"
    }

    /// Waits until a new login to ONE reaches `address`, or no more: what the core tells is known soon, not at once.
    fn wait_reaches(&self, address: &str, whether: bool) {
        let deadline = Instant::now() + patience();
        while self.reaches(ONE, address) != whether {
            assert!(Instant::now() < deadline, "{}\n{}", self.server.log(), self.core.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.server.address("admin").expect("admin")).expect("the port");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }
}

fn set_of_the_core(transport: &str) {
    let mut bench = Bench::start(transport, 600, &[]);
    bench.core.publish(&[ONE, TWO]);
    let mut client = bench.login(ONE);
    client.expect_ok(&format!("SELECTA {TWO}")).expect("an address of the set");
    client.expect_ok("SELECT INBOX").expect("its folder");
    let (_, refused) = client.command(&format!("SELECTA {THREE}")).expect("an answer");
    assert_eq!(refused.kind(), "NO", "{}", refused.text());
    // By the other command, too.
    let mut client =
        Client::connect(bench.server.address("imap").expect("IMAP"), "phone").expect("a connection");
    let plain = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("\0{ONE}\0{PASSWORD}"))
    };
    client.expect_ok(&format!("AUTHENTICATE PLAIN {plain}")).expect("authenticated");
    client.expect_ok(&format!("SELECTA {TWO}")).expect("an address of the set");
    // The subscriber takes on another address instead.
    bench.core.publish(&[ONE, THREE]);
    bench.wait_reaches(THREE, true);
    assert!(bench.metric("mss_reg_event_lost_total") < 0.5, "{}", bench.server.log());
}

#[test]
fn s0_06_the_core_is_asked_over_udp() {
    set_of_the_core("udp");
}

#[test]
fn s0_06_the_core_is_asked_over_tcp() {
    set_of_the_core("tcp");
}

/// Granted two seconds at a time, it is renewed again and again: news come later, and nothing was lost between.
#[test]
fn a_subscription_is_renewed_in_time() {
    let mut bench = Bench::start("udp", 2, &[]);
    bench.core.publish(&[ONE, TWO]);
    bench.wait_reaches(TWO, true);
    std::thread::sleep(Duration::from_secs(6));
    bench.core.publish(&[ONE, THREE]);
    bench.wait_reaches(THREE, true);
    assert!(bench.metric("mss_reg_event_lost_total") < 0.5, "{}", bench.server.log());
}

fn core_that_forgot(transport: &str) {
    let mut bench = Bench::start(transport, 4, &[("WAIT_SECONDS_MAX", "1")]);
    bench.core.publish(&[ONE, TWO]);
    bench.wait_reaches(TWO, true);
    bench.core.go_down();
    // What was known last counts meanwhile.
    std::thread::sleep(Duration::from_secs(3));
    assert!(bench.reaches(ONE, TWO));
    bench.core.come_back();
    bench.core.publish(&[ONE, THREE]);
    bench.wait_reaches(THREE, true);
    assert!(!bench.reaches(ONE, TWO));
    assert!(bench.metric("mss_reg_event_lost_total") > 0.5);
}

/// Killed and started again, a core has forgotten all subscriptions: they are made anew.
#[test]
fn a_core_that_starts_again_is_subscribed_to_again_over_udp() {
    core_that_forgot("udp");
}

#[test]
fn a_core_that_starts_again_is_subscribed_to_again_over_tcp() {
    core_that_forgot("tcp");
}

/// Five seconds, as it is set from the start: not less, since the core may still answer; and no more.
#[test]
fn a_core_that_never_answers_costs_a_login_five_seconds() {
    for transport in ["udp", "tcp"] {
        let bench = Bench::start(transport, 600, &[]);
        // Ready to answer, and then it does not: connections to it are taken all the same.
        bench.core.wait_until_it_takes_connections();
        bench.core.freeze();
        let began = Instant::now();
        let mut client = bench.login(ONE);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(4_900), "{transport}: {took:?}");
        assert!(took < Duration::from_secs(8), "{transport}: {took:?}");
        client.expect_ok("SELECT INBOX").expect("its own");
        let (_, refused) = client.command(&format!("SELECTA {TWO}")).expect("an answer");
        assert_eq!(refused.kind(), "NO", "{}", refused.text());
    }
}
