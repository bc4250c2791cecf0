//! What a connection sends: collected, then written in few large writes.

use std::fmt;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::transport::Transport;
use crate::config::Tls;
use crate::reply::{After, Reply};
use crate::telemetry::SENT_BYTES;

/// From this size on octets are written from where they are, not copied.
const BY_REFERENCE_BYTES: usize = 4096;

/// Collects responses. They are sent when the client's next command has not arrived yet, so that the answers of a
/// pipeline leave together, or when more than the limit waits: handlers that may write much call
/// [`Output::relieve`] now and then, which waits for a slow reader.
///
/// Once the client is lost all is thrown away; handlers learn of it from `relieve` and `flush`.
pub(crate) struct Output {
    pub(super) transport: Transport,
    text: Vec<u8>,
    /// Octets by reference, each with the place in `text` that it goes before.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    bytes_max: usize,
    stall_max: Duration,
    lost: bool,
}

impl Output {
    pub fn new(transport: Transport, bytes_max: usize, stall_max: Duration) -> Self {
        Self {
            transport,
            text: Vec::new(),
            large: Vec::new(),
            large_bytes: 0,
            bytes_max,
            stall_max,
            lost: false,
        }
    }

    /// The TLS session, for channel binding.
    pub fn tls(&self) -> Option<&rustls::ServerConnection> {
        self.transport.tls()
    }

    /// What the client was shown when TLS began.
    pub fn shown(&self) -> Option<&Tls> {
        self.transport.shown()
    }

    /// Whether TLS keeps what is said from others: here, or up to a trusted proxy.
    pub fn is_private(&self) -> bool {
        self.transport.is_private()
    }

    /// Whether TLS of either kind ends here.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// Whether a trusted proxy stands between.
    pub fn is_proxied(&self) -> bool {
        self.transport.is_proxied()
    }

    pub fn is_deflated(&self) -> bool {
        self.transport.is_deflated()
    }

    /// Whether client and server are on one machine.
    pub fn is_loopback(&self) -> bool {
        self.transport.is_loopback()
    }

    /// Where encoders append protocol text.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Appends octets, copied.
    pub fn push(&mut self, octets: &[u8]) {
        self.text.extend_from_slice(octets);
    }

    /// Appends octets, by reference when they are many.
    pub fn push_bytes(&mut self, octets: Bytes) {
        if octets.len() < BY_REFERENCE_BYTES {
            self.text.extend_from_slice(&octets);
        } else {
            self.large_bytes += octets.len();
            self.large.push((self.text.len(), octets));
        }
    }

    /// Appends a line: the text and CRLF.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = std::io::Write::write_fmt(&mut self.text, text);
        self.text.extend_from_slice(b"\r\n");
    }

    /// Appends an untagged response: `* `, the text and CRLF.
    pub fn untagged(&mut self, text: fmt::Arguments<'_>) {
        self.text.extend_from_slice(b"* ");
        self.line(text);
    }

    /// Appends the line that ends a command.
    pub fn tagged(&mut self, tag: &[u8], reply: &Reply) {
        if reply.after == After::Lost {
            return;
        }
        self.push(tag);
        self.push(b" ");
        self.push(reply.status.name().as_bytes());
        if let Some(code) = &reply.code {
            self.push(b" [");
            self.push(code.as_bytes());
            self.push(b"]");
        }
        self.line(format_args!(" {}", reply.text));
    }

    /// Octets that wait.
    pub fn pending(&self) -> usize {
        self.text.len() + self.large_bytes
    }

    /// Sends what waits if it is more than the limit.
    ///
    /// # Errors
    /// The reply with which a handler ends when the client is lost.
    pub async fn relieve(&mut self) -> Result<(), Reply> {
        if self.pending() > self.bytes_max { self.flush().await } else { Ok(()) }
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// The reply with which a handler ends when the client is lost: the connection broke, or nothing was taken
    /// for too long.
    pub async fn flush(&mut self) -> Result<(), Reply> {
        if self.pending() > 0 && !self.lost {
            self.send().await;
        }
        self.text.clear();
        self.large.clear();
        self.large_bytes = 0;
        if self.lost { Err(Reply::lost()) } else { Ok(()) }
    }

    async fn send(&mut self) {
        let Self { transport, text, large, stall_max, .. } = self;
        let mut pieces = Vec::with_capacity(2 * large.len() + 1);
        let mut start = 0;
        for (at, octets) in large.iter() {
            pieces.push(IoSlice::new(&text[start..*at]));
            pieces.push(IoSlice::new(octets));
            start = *at;
        }
        pieces.push(IoSlice::new(&text[start..]));
        let sent = AtomicU64::new(0);
        let write = async {
            transport.write(&mut pieces, |n| _ = sent.fetch_add(n as u64, Ordering::Relaxed)).await?;
            transport.flush().await
        };
        let result = with_progress(write, *stall_max, &sent).await;
        SENT_BYTES.increment(sent.into_inner());
        if let Err(error) = result {
            tracing::debug!(%error, "the client is lost");
            self.lost = true;
        }
    }

    /// Gives the buffer's memory back; for when the client is silent.
    pub fn shrink(&mut self) {
        if self.text.is_empty() {
            self.text = Vec::new();
            self.large = Vec::new();
        }
    }
}

/// Runs `write` for as long as `sent` grows within each `stall_max`.
async fn with_progress(
    write: impl Future<Output = std::io::Result<()>>,
    stall_max: Duration,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    let mut write = std::pin::pin!(write);
    let mut before = 0;
    loop {
        if let Ok(result) = tokio::time::timeout(stall_max, write.as_mut()).await {
            return result;
        }
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        before = now;
    }
}
