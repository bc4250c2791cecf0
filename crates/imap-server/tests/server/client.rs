//! A client that sends lines and reads lines; literals are read into the line that announces them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an expected answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Client {
    pub stream: Box<dyn Stream>,
    received: Vec<u8>,
    tags: u32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream)
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), received: Vec::new(), tags: 0 }
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.expect("sent");
        self.stream.flush().await.expect("flushed");
    }

    /// The next line without its end; none when the server closed.
    pub async fn try_line(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.read_line()).await.expect("an answer in time")
    }

    pub async fn line(&mut self) -> String {
        self.try_line().await.expect("a line, not the end")
    }

    async fn read_line(&mut self) -> Option<String> {
        let mut from = 0;
        loop {
            if let Some(at) = self.received[from..].windows(2).position(|w| w == b"\r\n") {
                let end = from + at;
                let literal = literal_size(&self.received[..end]);
                if let Some(size) = literal {
                    from = end + 2 + size;
                    while self.received.len() < from {
                        self.receive().await?;
                    }
                    continue;
                }
                let line = self.received[..end].to_vec();
                self.received.drain(..end + 2);
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Option<()> {
        let mut space = [0; 16 * 1024];
        match self.stream.read(&mut space).await {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.received.extend_from_slice(&space[..n]);
                Some(())
            }
        }
    }

    /// Whether nothing comes within a short time.
    pub async fn is_silent(&mut self) -> bool {
        self.received.is_empty()
            && tokio::time::timeout(Duration::from_millis(150), self.receive()).await.is_err()
    }

    /// Sends a command; its tag.
    pub async fn begin(&mut self, command: &str) -> String {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(format!("{tag} {command}\r\n")).await;
        tag
    }

    /// Reads to the end of the command with that tag: the untagged lines, and the tagged one without its tag.
    pub async fn end(&mut self, tag: &str) -> (Vec<String>, String) {
        let mut untagged = Vec::new();
        loop {
            let line = self.line().await;
            match line.strip_prefix(tag) {
                Some(rest) if rest.starts_with(' ') => return (untagged, rest[1..].to_owned()),
                _ => untagged.push(line),
            }
        }
    }

    /// Executes a command: the untagged lines and how it ended.
    pub async fn run(&mut self, command: &str) -> (Vec<String>, String) {
        let tag = self.begin(command).await;
        self.end(&tag).await
    }

    /// Executes a command that must succeed: the untagged lines.
    pub async fn ok(&mut self, command: &str) -> Vec<String> {
        let (untagged, end) = self.run(command).await;
        assert!(end.starts_with("OK "), "{command}: {end}");
        untagged
    }

    /// Executes a command that must end with what is given, for example `NO [CANNOT]`: the untagged lines.
    pub async fn expect(&mut self, command: &str, status: &str) -> Vec<String> {
        let (untagged, end) = self.run(command).await;
        assert!(end.starts_with(status), "{command}: {end}, expected {status}");
        untagged
    }

    /// Executes a command that must succeed with exactly these untagged lines.
    pub async fn says(&mut self, command: &str, lines: &[&str]) {
        let untagged = self.ok(command).await;
        assert_eq!(untagged, lines, "{command}");
    }

    pub async fn append(&mut self, mailbox: &str, message: &str) {
        self.ok(&format!("APPEND {mailbox} {{{}+}}\r\n{message}", message.len())).await;
    }
}

/// The size of the literal that a line announces at its end.
fn literal_size(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let at = line.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&line[at + 1..]).ok()?.parse().ok()
}
