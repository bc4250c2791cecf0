//! The PUSH enabler: nginx, which writes down each request that it takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use conformance::client::patience;
use conformance::nginx::{Nginx, free_port};
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
    nginx: Nginx,
    sink: SocketAddr,
    tls: bool,
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
        let sink = free_port().expect("a port");
        let mut enabler = Self { nginx: Nginx::new().expect("a folder"), sink, tls };
        enabler.come_back(Mood::Takes("ok"));
        enabler
    }

    pub fn url(&self) -> String {
        if self.tls {
            return format!("https://localhost:{}/push", self.nginx.address().port());
        }
        format!("http://{}/push", self.nginx.address())
    }

    /// What it shows over TLS.
    pub fn certificate(&self) -> PathBuf {
        self.nginx.certificate()
    }

    /// Runs again, in this mood.
    pub fn come_back(&mut self, mood: Mood) {
        // A request body is read only where it goes on to another server.
        let answer = match mood {
            Mood::Takes(text) => format!("return 200 '{text}';"),
            Mood::Answers(status) => format!("return {status};"),
        };
        let (at, address, sink) = (self.nginx.folder().display(), self.nginx.address(), self.sink);
        let secure = if self.tls { self.nginx.with_tls() } else { String::new() };
        let http = format!(
            "access_log off; client_body_buffer_size 1m; client_max_body_size 1m;
             log_format taken escape=json '{{\"status\":\"$status\",\"authorization\":\"$http_authorization\",\"type\":\"$content_type\",\"body\":\"$request_body\"}}';
             server {{ listen {sink}; location / {{ {answer} }} }}
             server {{ listen {address} {secure}; access_log {at}/taken taken; location / {{ proxy_pass http://{sink}; }} }}"
        );
        self.nginx.start(&http).expect("nginx listens");
    }

    /// Ends it: connections are refused.
    pub fn go_down(&mut self) {
        self.nginx.stop();
    }

    /// It takes connections and says nothing, or goes on.
    pub fn freeze(&self, frozen: bool) {
        assert!(self.nginx.freeze(frozen), "nginx runs");
    }

    /// The requests that were answered with 200, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.answered("200")
    }

    /// The requests that were answered with this status, in order.
    pub fn answered(&self, status: &str) -> Vec<Taken> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines = self.nginx.taken();
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
            assert!(Instant::now() < deadline, "{what}: {taken:#?}\n{}", self.nginx.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
