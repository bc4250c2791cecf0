//! A connection's octets: TCP or a pipe within the process, TLS over TCP, DEFLATE over any.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::deflate::Deflate;
use crate::config::Tls;

/// Octets taken from the socket at once while no command is known to be larger.
const READ_BYTES: usize = 8 * 1024;

enum Stream {
    Plain(TcpStream),
    Pipe(DuplexStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS with a key that both sides know.
    Psk(Box<psk::Stream>),
    /// While TLS begins, and after it failed to.
    Closed,
}

/// Both directions of one connection. Holds no buffer while it waits, but what TLS and DEFLATE need.
pub(crate) struct Transport {
    stream: Stream,
    deflate: Option<Box<Deflate>>,
    /// Both ends are this machine.
    loopback: bool,
    /// A trusted proxy stands between, and whether the client's way to it is private.
    proxied: Option<bool>,
    /// What the client was shown when TLS began; certificates change while connections last.
    shown: Option<Arc<Tls>>,
}

impl Transport {
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        // Answers leave in few large writes; waiting for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let local = stream.local_addr().map_or(peer.ip(), |a| a.ip());
        let loopback = peer.ip().to_canonical().is_loopback() && local.to_canonical().is_loopback();
        Self { stream: Stream::Plain(stream), deflate: None, loopback, proxied: None, shown: None }
    }

    /// One whose other end is in this process.
    pub fn pipe(stream: DuplexStream) -> Self {
        Self { stream: Stream::Pipe(stream), deflate: None, loopback: true, proxied: None, shown: None }
    }

    /// One that a trusted proxy made for its client.
    pub fn proxied(stream: TcpStream, peer: SocketAddr, private: bool) -> Self {
        Self { loopback: false, proxied: Some(private), ..Self::new(stream, peer) }
    }

    /// Whether a trusted proxy stands between; TLS is its business then.
    pub fn is_proxied(&self) -> bool {
        self.proxied.is_some()
    }

    /// Whether TLS keeps what is said from others: here, or as a trusted proxy says, up to it.
    pub fn is_private(&self) -> bool {
        self.is_encrypted() || self.proxied == Some(true)
    }

    /// Whether TLS of either kind ends here.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_) | Stream::Psk(_))
    }

    /// What the client was shown when TLS began.
    pub fn shown(&self) -> Option<&Tls> {
        self.shown.as_deref()
    }

    /// Whether both ends are this machine.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The TLS session.
    pub fn tls(&self) -> Option<&rustls::ServerConnection> {
        match &self.stream {
            Stream::Tls(tls) => Some(tls.get_ref().1),
            Stream::Plain(_) | Stream::Pipe(_) | Stream::Psk(_) | Stream::Closed => None,
        }
    }

    pub fn is_deflated(&self) -> bool {
        self.deflate.is_some()
    }

    /// Takes part in the TLS handshake.
    pub async fn start_tls(&mut self, tls: Arc<Tls>) -> io::Result<()> {
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(io::Error::other("TLS is on already, or this is no network connection"));
        };
        // The handshake's state is several kB: it must not stay a part of the connection's task.
        let secured = Box::pin(TlsAcceptor::from(tls.config.clone()).accept(tcp)).await?;
        self.stream = Stream::Tls(Box::new(secured));
        self.shown = Some(tls);
        Ok(())
    }

    /// Takes part in a handshake with a key that both sides know; whom it names.
    pub async fn start_psk(&mut self, acceptor: &psk::Acceptor) -> io::Result<Arc<psk::Entry>> {
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(io::Error::other("TLS is on already, or this is no network connection"));
        };
        let (secured, entry) = Box::pin(acceptor.accept(tcp)).await?;
        self.stream = Stream::Psk(Box::new(secured));
        Ok(entry)
    }

    /// Compresses from here on. `received`: octets that came ahead, the first of the compressed ones.
    pub fn start_deflate(&mut self, received: &[u8]) {
        self.deflate = Some(Box::new(Deflate::new(received)));
    }

    /// Ends compression in both directions; what was compressed for the client has been flushed. Reads to the end of
    /// the client's last flush and returns what came behind it, in clear.
    ///
    /// # Errors
    /// When the client's stream does not end there.
    pub async fn end_deflate(&mut self) -> io::Result<BytesMut> {
        let Self { stream, deflate, .. } = self;
        let Some(mut ending) = deflate.take() else { return Ok(BytesMut::new()) };
        while !ending.end_flush()? {
            let received = ending.received();
            if std::future::poll_fn(|cx| stream.poll_append(cx, received, 0)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(ending.received().split())
    }

    /// Appends what arrives to `buffer`, at least one octet; 0 at the end of the stream. Waits without a buffer.
    /// `expected`: octets known to come, for which room is made, within reason.
    pub async fn read(&mut self, buffer: &mut BytesMut, expected: usize) -> io::Result<usize> {
        if self.deflate.is_some() {
            return self.read_deflated(buffer).await;
        }
        std::future::poll_fn(|cx| self.stream.poll_append(cx, buffer, expected)).await
    }

    async fn read_deflated(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let Self { stream, deflate, .. } = self;
        let Some(deflate) = deflate else { return Ok(0) };
        loop {
            // A small input may become a large one without a wait for the socket: others have their turn.
            tokio::task::consume_budget().await;
            let inflated = deflate.inflate(buffer)?;
            if inflated > 0 {
                return Ok(inflated);
            }
            let received = deflate.received();
            if std::future::poll_fn(|cx| stream.poll_append(cx, received, 0)).await? == 0 {
                return Ok(0);
            }
        }
    }

    /// Writes all of `pieces`. Cancelling it loses octets: only end the connection then.
    pub async fn write(&mut self, pieces: &mut [IoSlice<'_>], progress: impl Fn(usize)) -> io::Result<()> {
        let Self { stream, deflate, .. } = self;
        let Some(deflate) = deflate else { return stream.write_all(pieces, &progress).await };
        for piece in pieces.iter() {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let (taken, compressed) = deflate.compress(rest)?;
                rest = &rest[taken..];
                stream.write_all(&mut [IoSlice::new(compressed)], &progress).await?;
            }
        }
        while let Some(compressed) = deflate.finish_flush()? {
            stream.write_all(&mut [IoSlice::new(compressed)], &progress).await?;
        }
        Ok(())
    }

    /// Sends what TLS still holds.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| match &mut self.stream {
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Stream::Psk(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Stream::Plain(_) | Stream::Pipe(_) | Stream::Closed => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Says goodbye in TLS and TCP.
    pub async fn shut_down(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Stream::Psk(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        })
        .await
    }
}

impl Stream {
    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        expected: usize,
    ) -> Poll<io::Result<usize>> {
        if expected >= READ_BYTES {
            buffer.reserve(expected.min(8 * READ_BYTES));
            return match self {
                Self::Plain(tcp) => tokio_util::io::poll_read_buf(Pin::new(tcp), cx, buffer),
                Self::Pipe(pipe) => tokio_util::io::poll_read_buf(Pin::new(pipe), cx, buffer),
                Self::Tls(tls) => tokio_util::io::poll_read_buf(Pin::new(tls.as_mut()), cx, buffer),
                Self::Psk(tls) => tokio_util::io::poll_read_buf(Pin::new(tls.as_mut()), cx, buffer),
                Self::Closed => Poll::Ready(Ok(0)),
            };
        }
        // On the stack of this call only, so that a task that waits holds no buffer.
        let mut space = [std::mem::MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut read),
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, &mut read),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut read),
            Self::Psk(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut read),
            Self::Closed => Poll::Ready(Ok(())),
        })?;
        buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    async fn write_all(&mut self, pieces: &mut [IoSlice<'_>], progress: impl Fn(usize)) -> io::Result<()> {
        let mut rest = pieces;
        // Empty pieces at the front would make a write of nothing look like the end of the stream.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = std::future::poll_fn(|cx| match self {
                Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, rest),
                Self::Pipe(pipe) => Pin::new(pipe).poll_write_vectored(cx, rest),
                Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, rest),
                Self::Psk(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, rest),
                Self::Closed => Poll::Ready(Ok(0)),
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            progress(written);
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}
