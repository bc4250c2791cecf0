//! nginx, which stands where the server asks or tells somebody by HTTP: whoever has a test says what it answers.
//!
//! It runs as one process in a folder of its own, which is gone with it, on a port of the system's choice.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::patience;

/// Where it keeps what is too long for its memory: each has a setting, and all have folders of the system by default.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// One nginx, running or not. It ends when this is dropped.
pub struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Nginx {
    /// A folder with a certificate for `localhost` that it signed itself, and a port; nothing runs yet.
    ///
    /// # Errors
    /// When the folder, its files or the port cannot be had.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self { folder, address: free_port()?, child: None })
    }

    /// Its folder. `taken` is for what it writes down, `errors` has its own log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens, by what `http` says; see [`Nginx::start`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder().join("cert.pem")
    }

    /// What stands behind the address in `listen` where it speaks TLS: that, and the certificate.
    pub fn with_tls(&self) -> String {
        let at = self.folder().display();
        format!("ssl; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem")
    }

    /// Runs it, and waits until it listens. `http` is its configuration, of which one server listens at
    /// [`Nginx::address`].
    ///
    /// # Errors
    /// When it is not there, ends at once, or does not listen; with what it says itself.
    pub fn start(&mut self, http: &str) -> io::Result<()> {
        self.stop();
        let at = self.folder().display();
        let temporary = TEMPORARY.map(|what| format!("{what}_temp_path {at}/{what}; ")).concat();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/errors;\n\
             events {{ worker_connections 512; }}\nhttp {{ {temporary}\n{http}\n}}\n"
        );
        let file = self.folder().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let packaged = Path::new("/usr/sbin/nginx");
        let program = if packaged.exists() { packaged } else { Path::new("nginx") };
        let mut child = Command::new(program)
            .arg("-p")
            .arg(self.folder())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let text = "nginx is missing: `cargo xtask deps` installs it (Debian package nginx-light)";
                io::Error::new(error.kind(), format!("{text}: {error}"))
            })?;
        let deadline = Instant::now() + patience();
        while TcpStream::connect(self.address).is_err() {
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::other(format!("nginx does not listen: {}", self.errors())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Ends it, once it has written down what it answered: connections are refused from now on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let deadline = Instant::now() + patience();
        let told = signal("-QUIT", &child);
        while told && matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It takes connections and says nothing, or goes on. Whether it was told so.
    pub fn freeze(&self, frozen: bool) -> bool {
        self.child.as_ref().is_some_and(|child| signal(if frozen { "-STOP" } else { "-CONT" }, child))
    }

    /// What it wrote down, in the file `taken`.
    pub fn taken(&self) -> String {
        std::fs::read_to_string(self.folder().join("taken")).unwrap_or_default()
    }

    /// Its own log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder().join("errors")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address on loopback that nobody listens at.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn signal(name: &str, child: &Child) -> bool {
    let told = Command::new("kill").args([name, &child.id().to_string()]).status();
    told.is_ok_and(|status| status.success())
}
