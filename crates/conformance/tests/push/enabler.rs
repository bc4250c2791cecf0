//! The PUSH enabler: nginx, which writes down each request that it takes.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::patience;
use serde_json::Value;

/// What nginx answers.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// 200 and this text.
    Takes(&'static str),
    /// This status.
    Answers(u16),
}

pub struct Enabler {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    sink: SocketAddr,
    tls: bool,
    child: Option<Child>,
}

/// A request that was taken.
#[derive(Debug)]
pub struct Taken {
    pub authorization: String,
    pub content_type: String,
    pub body: String,
}

impl Taken {
    pub fn message(&self) -> Value {
        let read: Value = serde_json::from_str(&self.body).expect("JSON");
        read["push-message"].clone()
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

impl Enabler {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::begin(false)
    }

    /// The same over TLS, with a certificate that it signed itself.
    pub fn start_tls() -> Self {
        Self::begin(true)
    }

    fn begin(tls: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("a file");
            std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
        }
        let mut enabler = Self { folder, address: free(), sink: free(), tls, child: None };
        enabler.come_back(Mood::Takes("ok"));
        enabler
    }

    pub fn url(&self) -> String {
        if self.tls {
            return format!("https://localhost:{}/push", self.address.port());
        }
        format!("http://{}/push", self.address)
    }

    /// What it shows over TLS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Runs again, in this mood.
    pub fn come_back(&mut self, mood: Mood) {
        self.go_down();
        let at = self.folder.path();
        // A request body is read only where it goes on to another server.
        let answer = match mood {
            Mood::Takes(text) => format!("return 200 '{text}';"),
            Mood::Answers(status) => format!("return {status};"),
        };
        let mut temporary = String::new();
        for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            temporary.push_str(&format!("{what}_temp_path {}; ", at.join(what).display()));
        }
        let tls = if self.tls {
            format!("ssl; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem", at = at.display())
        } else {
            String::new()
        };
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/errors;
             events {{ worker_connections 512; }}
             http {{
               {temporary} access_log off; client_body_buffer_size 1m; client_max_body_size 1m;
               log_format taken escape=json '{{\"status\":\"$status\",\"authorization\":\"$http_authorization\",\"type\":\"$content_type\",\"body\":\"$request_body\"}}';
               server {{ listen {} {tls}; access_log {at}/taken taken; location / {{ proxy_pass http://{}; }} }}
               server {{ listen {}; location / {{ {answer} }} }}
             }}",
            self.address,
            self.sink,
            self.sink,
            at = at.display(),
        );
        let file = at.join("nginx.conf");
        std::fs::write(&file, configuration).expect("a file");
        let child = Command::new(program())
            .arg("-p")
            .arg(at)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs; `cargo xtask deps` installs it");
        self.child = Some(child);
        let deadline = Instant::now() + patience();
        while TcpStream::connect(self.address).is_err() || TcpStream::connect(self.sink).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen: {}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }

    /// Ends it: connections are refused.
    pub fn go_down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // What it answered it writes down first: killed between the two, it would have taken what nobody knows of.
            let pid = child.id().to_string();
            let told = Command::new("kill").args(["-QUIT", &pid]).status();
            let deadline = Instant::now() + patience();
            while told.is_ok() && matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It takes connections and says nothing, or goes on.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.child.as_ref().expect("nginx runs").id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }

    /// The requests that were answered with 200, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.answered("200")
    }

    /// The requests that were answered with this status, in order.
    pub fn answered(&self, status: &str) -> Vec<Taken> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut lines = String::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.path().join("taken")) {
            file.read_to_string(&mut lines).expect("a text");
        }
        let requests = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line"));
        requests
            .filter(|request| request["status"] == status)
            .map(|request| Taken {
                authorization: text(&request["authorization"]),
                content_type: text(&request["type"]),
                body: text(&request["body"]),
            })
            .collect()
    }

    /// Waits until `enough` of what was taken.
    pub fn wait(&self, what: &str, enough: impl Fn(&[Taken]) -> bool) -> Vec<Taken> {
        let deadline = Instant::now() + patience();
        loop {
            let taken = self.taken();
            if enough(&taken) {
                return taken;
            }
            assert!(Instant::now() < deadline, "{what}: {taken:#?}\n{}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Enabler {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.freeze(false);
        }
        self.go_down();
    }
}

fn program() -> &'static Path {
    let packaged = Path::new("/usr/sbin/nginx");
    if packaged.exists() { packaged } else { Path::new("nginx") }
}
