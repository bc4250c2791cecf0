//! The SIP/IP core: Kamailio, whose event server tells whoever subscribes what was published of a registration.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::patience;

/// Tables of Kamailio's database in text files, as its package brings them.
const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

pub struct Core {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    /// Longest subscription that it grants, seconds.
    granted_max: u32,
    child: Option<Child>,
    /// Who publishes: in an IMS core the registrar itself.
    registrar: UdpSocket,
    published: u32,
    /// What the last publication was answered with: the next takes its place.
    entity_tag: Option<String>,
}

impl Core {
    /// A core on a port of its own, over UDP and TCP, that grants subscriptions so many seconds at most.
    pub fn start(granted_max: u32) -> Self {
        let registrar = UdpSocket::bind("127.0.0.1:0").expect("a port");
        registrar.set_read_timeout(Some(Duration::from_millis(500))).expect("a bound");
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_port();
        let mut core =
            Self { folder, address, granted_max, child: None, registrar, published: 0, entity_tag: None };
        core.come_back();
        core
    }

    /// Runs again, and knows nothing of before.
    pub fn come_back(&mut self) {
        self.go_down();
        self.entity_tag = None;
        let at = self.folder.path();
        let tables = at.join("tables");
        std::fs::create_dir_all(&tables).expect("a folder");
        for table in ["version", "presentity", "active_watchers", "watchers"] {
            let from = Path::new(TABLES).join(table);
            std::fs::copy(&from, tables.join(table)).unwrap_or_else(|error| {
                panic!("{}: {error}; `cargo xtask deps` installs kamailio", from.display())
            });
        }
        let configuration = format!(
            r#"#!KAMAILIO
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
listen=udp:{address}
listen=tcp:{address}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "textopsx.so"
loadmodule "db_text.so"
loadmodule "presence.so"
loadmodule "presence_reginfo.so"
modparam("presence", "db_url", "text://{tables}")
modparam("presence", "server_address", "sip:core@{address}")
modparam("presence", "subs_db_mode", 0)
modparam("presence", "min_expires", 1)
request_route {{
  if (method == "PUBLISH") {{ handle_publish(); exit; }}
  if (method == "SUBSCRIBE") {{
    if ($(hdr(Expires){{s.int}}) > {granted_max}) {{
      remove_hf("Expires");
      append_hf("Expires: {granted_max}\r\n");
      msg_apply_changes();
    }}
    handle_subscribe();
    exit;
  }}
  sl_send_reply("405", "Method Not Allowed");
}}
"#,
            address = self.address,
            tables = tables.display(),
            granted_max = self.granted_max,
        );
        let file = at.join("kamailio.cfg");
        std::fs::write(&file, configuration).expect("a file");
        let log = std::fs::File::create(at.join("log")).expect("a file");
        let child = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "8", "-f"])
            .arg(&file)
            .arg("-Y")
            .arg(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // It is several processes: a group that ends together.
            .process_group(0)
            .spawn()
            .expect("kamailio runs; `cargo xtask deps` installs it");
        self.child = Some(child);
    }

    /// Publishes that `addresses` are registered with `addresses[0]`, by one device.
    pub fn publish(&mut self, addresses: &[&str]) {
        self.published += 1;
        let number = self.published;
        let mut registrations = String::new();
        for (at, aor) in addresses.iter().enumerate() {
            registrations.push_str(&format!(
                "<registration aor=\"{aor}\" id=\"r{at}\" state=\"active\">\
                 <contact id=\"c{at}\" state=\"active\" event=\"registered\"><uri>sip:ue@192.0.2.7</uri>\
                 <gr:pub-gruu uri=\"{aor};gr=urn:gsma:imei:90420156-025763-0\"/></contact></registration>"
            ));
        }
        let body = format!(
            "<?xml version=\"1.0\"?><reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" \
             xmlns:gr=\"urn:ietf:params:xml:ns:gruuinfo\" version=\"{number}\" state=\"full\">\
             {registrations}</reginfo>"
        );
        let instead =
            self.entity_tag.take().map(|tag| format!("SIP-If-Match: {tag}\r\n")).unwrap_or_default();
        let here = self.registrar.local_addr().expect("bound");
        let deadline = Instant::now() + patience();
        loop {
            assert!(Instant::now() < deadline, "kamailio takes nothing:\n{}", self.log());
            let request = format!(
                "PUBLISH {of} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKp{number}\r\nMax-Forwards: 70\r\n\
                 From: <sip:registrar@core.example>;tag=registrar\r\nTo: <{of}>\r\nCall-ID: p{number}@core.example\r\n\
                 CSeq: 1 PUBLISH\r\nContact: <sip:registrar@{here}>\r\nEvent: reg\r\nExpires: 3600\r\n{instead}\
                 Content-Type: application/reginfo+xml\r\nContent-Length: {length}\r\n\r\n{body}",
                of = addresses[0],
                length = body.len(),
            );
            self.registrar.send_to(request.as_bytes(), self.address).expect("sent");
            let mut space = [0; 4_096];
            if let Ok((length, _)) = self.registrar.recv_from(&mut space) {
                let answer = String::from_utf8_lossy(&space[..length]);
                if answer.contains(&format!("Call-ID: p{number}@")) {
                    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}\n{}", self.log());
                    let tag = answer.lines().find_map(|line| line.strip_prefix("SIP-ETag: "));
                    self.entity_tag = tag.map(str::to_owned);
                    return;
                }
            }
        }
    }

    pub fn wait_until_it_takes_connections(&self) {
        let deadline = Instant::now() + patience();
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "kamailio does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It takes what comes and says nothing.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args([signal, "--", &group]).status().expect("kill");
        assert!(sent.success(), "{signal} {group}");
    }

    /// Ends it as a power cut would.
    pub fn go_down(&mut self) {
        self.signal("-KILL");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// A port that is free now, for UDP and TCP.
pub fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
