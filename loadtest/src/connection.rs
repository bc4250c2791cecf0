//! One IMAP connection: just enough of a client to keep a server busy at little cost of its own.
//!
//! Commands are written into one buffer that is kept; responses are read into one buffer per thread and handed
//! out by [`crate::scan`]. Answers are matched by tag, since a server may finish pipelined commands out of order.

use std::cell::RefCell;
use std::io;
use std::io::Write as _;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::message::Messages;
use crate::scan::{Kind, Response, Scanner, Status, TooLong};
use crate::target::{Target, Tls};
use crate::transport::{Transport, tls_connector, tls_handshake};

/// Octets read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long a server may take from the connect to its greeting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest literal that LITERAL- lets a client send without waiting (RFC 7888 §5).
const LITERAL_MINUS_BYTES_MAX: usize = 4_096;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The socket or TLS failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server closed the stream.
    #[error("the server closed the connection")]
    Closed,
    /// See [`TooLong`].
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A command of the preparation or of the session's start was refused.
    #[error("{command:?} was answered {answer:?}")]
    Refused {
        /// The command, without a password.
        command: String,
        /// The server's text.
        answer: String,
    },
    /// Nothing came in time.
    #[error("no answer in time to {0}")]
    Late(&'static str),
}

/// The capabilities that change what this client sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// LITERAL+ (RFC 7888).
    pub literal_plus: bool,
    /// LITERAL- (RFC 7888); IMAP4rev2 contains it.
    pub literal_minus: bool,
    /// MULTIAPPEND (RFC 3502).
    pub multiappend: bool,
    /// Any capability was seen at all.
    pub known: bool,
}

impl Capabilities {
    fn parse(words: &[u8]) -> Self {
        let mut found = Self { known: true, ..Self::default() };
        for word in words.split(|&b| b == b' ') {
            match word.to_ascii_uppercase().as_slice() {
                b"LITERAL+" => found.literal_plus = true,
                b"LITERAL-" | b"IMAP4REV2" => found.literal_minus = true,
                b"MULTIAPPEND" => found.multiappend = true,
                _ => {}
            }
        }
        found
    }

    /// May a literal of so many octets be sent without waiting for the server?
    pub fn sends_at_once(self, literal_bytes: usize) -> bool {
        self.literal_plus || (self.literal_minus && literal_bytes <= LITERAL_MINUS_BYTES_MAX)
    }
}

/// A connection, logged in or not.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    scanner: Scanner,
    out: Vec<u8>,
    written: usize,
    last_tag: u32,
    quickack: bool,
    capabilities: Capabilities,
}

impl Connection {
    /// Connects, secures the stream as `target` says and reads the greeting.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn open(target: &Target) -> Result<Self, Fault> {
        tokio::time::timeout(CONNECT_TIMEOUT, Self::open_patiently(target))
            .await
            .unwrap_or(Err(Fault::Late("the connect")))
    }

    async fn open_patiently(target: &Target) -> Result<Self, Fault> {
        let (host, port) =
            target.host_and_port().ok_or_else(|| io::Error::other("the address is not host:port"))?;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let transport = match target.tls {
            Tls::Implicit => {
                let connector = tls_connector().map_err(io::Error::other)?;
                tls_handshake(&connector, host, stream).await?
            }
            Tls::None | Tls::Starttls => Transport::Plain(stream),
        };
        let mut connection = Self {
            transport,
            scanner: Scanner::default(),
            out: Vec::new(),
            written: 0,
            last_tag: 0,
            quickack: target.quickack,
            capabilities: Capabilities::default(),
        };
        let mut greeting = Vec::new();
        connection
            .exchange(|response| {
                greeting.extend_from_slice(response.text);
                true
            })
            .await?;
        if !greeting.starts_with(b"* OK") && !greeting.starts_with(b"* PREAUTH") {
            return Err(refused("the connect", &greeting));
        }
        connection.note_capabilities(&greeting);
        if target.tls == Tls::Starttls {
            connection.command("STARTTLS", |_| {}).await?;
            let Transport::Plain(stream) = connection.transport else {
                return Err(Fault::Closed);
            };
            let connector = tls_connector().map_err(io::Error::other)?;
            connection.transport = tls_handshake(&connector, host, stream).await?;
            connection.capabilities = Capabilities::default();
        }
        Ok(connection)
    }

    /// LOGIN.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn login(&mut self, user: &str, password: &str) -> Result<(), Fault> {
        let tag = self.begin();
        self.out.extend_from_slice(b"LOGIN ");
        push_quoted(&mut self.out, user);
        self.out.push(b' ');
        push_quoted(&mut self.out, password);
        self.end();
        let mut answer = Vec::new();
        let mut capabilities = Vec::new();
        let status = self
            .finish(tag, |response| match response.kind {
                Kind::Tagged(..) => answer.extend_from_slice(response.text),
                Kind::Untagged if response.rest().starts_with(b"CAPABILITY ") => {
                    capabilities.extend_from_slice(response.text);
                }
                _ => {}
            })
            .await?;
        if status != Status::Ok {
            return Err(refused(&format!("LOGIN {user}"), &answer));
        }
        self.note_capabilities(&capabilities);
        self.note_capabilities(&answer);
        Ok(())
    }

    /// What the server can do, asking it when it has not said so by itself since the login.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn capabilities(&mut self) -> Result<Capabilities, Fault> {
        if !self.capabilities.known {
            let mut text = Vec::new();
            self.command("CAPABILITY", |response| {
                if response.kind == Kind::Untagged {
                    text.extend_from_slice(response.text);
                }
            })
            .await?;
            self.note_capabilities(&text);
        }
        Ok(self.capabilities)
    }

    /// Starts a command: writes its tag and a space.
    pub fn begin(&mut self) -> u32 {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.out.push(b't');
        push_number(&mut self.out, u64::from(self.last_tag));
        self.out.push(b' ');
        self.last_tag
    }

    /// The buffer that a started command is written to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Ends a started command. It is sent with the next exchange.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Runs one command and wants `OK`; `each` sees every response until then.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn command(&mut self, text: &str, mut each: impl FnMut(&Response<'_>)) -> Result<(), Fault> {
        let tag = self.begin();
        self.out.extend_from_slice(text.as_bytes());
        self.end();
        let mut answer = Vec::new();
        let status = self
            .finish(tag, |response| {
                if matches!(response.kind, Kind::Tagged(..)) {
                    answer.extend_from_slice(response.text);
                }
                each(response);
            })
            .await?;
        if status == Status::Ok { Ok(()) } else { Err(refused(text, &answer)) }
    }

    /// Sends what is written and reads until command `tag` is answered.
    ///
    /// # Errors
    /// [`Fault`], but never `Refused`: the status is the answer.
    pub async fn finish(&mut self, tag: u32, mut each: impl FnMut(&Response<'_>)) -> Result<Status, Fault> {
        let mut answered = None;
        self.exchange(|response| {
            each(&response);
            if let Kind::Tagged(got, status) = response.kind
                && got == tag
            {
                answered = Some(status);
            }
            answered.is_some()
        })
        .await?;
        answered.ok_or(Fault::Closed)
    }

    /// Sends what is written and waits for a continuation. `Err(Refused)` when the command is answered instead.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn until_continued(&mut self) -> Result<(), Fault> {
        let mut answer = None;
        self.exchange(|response| match response.kind {
            Kind::Continue => true,
            Kind::Tagged(..) => {
                answer = Some(response.text.to_vec());
                true
            }
            _ => false,
        })
        .await?;
        answer.map_or(Ok(()), |text| Err(refused("a literal or IDLE", &text)))
    }

    /// Writes an APPEND of `count` messages from number `first` on and returns its tag. Without leave to send
    /// literals at once it waits for the server before each.
    ///
    /// # Errors
    /// [`Fault`], of every kind.
    pub async fn append(
        &mut self,
        capabilities: Capabilities,
        folder: &str,
        messages: &Messages,
        first: u64,
        count: u32,
    ) -> Result<u32, Fault> {
        let at_once = capabilities.sends_at_once(messages.bytes());
        let tag = self.begin();
        self.out.extend_from_slice(b"APPEND ");
        push_quoted(&mut self.out, folder);
        for number in first..first + u64::from(count) {
            self.out.extend_from_slice(b" {");
            push_number(&mut self.out, messages.bytes() as u64);
            if at_once {
                self.out.push(b'+');
            }
            self.out.extend_from_slice(b"}\r\n");
            if !at_once {
                self.until_continued().await?;
            }
            messages.write(number, &mut self.out);
        }
        self.end();
        Ok(tag)
    }

    /// Sends what is written and reads; `each` sees every response and says when enough has come. Responses that
    /// came in the same read as the last one wanted are handed out as well, none is lost. May be dropped at any
    /// await and called again.
    ///
    /// # Errors
    /// [`Fault`], but never `Refused`.
    pub async fn exchange(&mut self, mut each: impl FnMut(Response<'_>) -> bool) -> Result<(), Fault> {
        std::future::poll_fn(|cx| self.poll_exchange(cx, &mut each)).await
    }

    /// [`Connection::exchange`] for callers that wait for more than one connection.
    pub fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        each: &mut impl FnMut(Response<'_>) -> bool,
    ) -> Poll<Result<(), Fault>> {
        loop {
            self.poll_send(cx)?;
            let Self { transport, scanner, .. } = self;
            let mut enough = false;
            let read = READ_BUFFER.with_borrow_mut(|buffer| -> Poll<Result<usize, Fault>> {
                let read = ready!(transport.poll_read(cx, buffer))?;
                scanner.feed(&buffer[..read], |response| enough |= each(response))?;
                Poll::Ready(Ok(read))
            });
            let read = ready!(read)?;
            if read == 0 {
                return Poll::Ready(Err(Fault::Closed));
            }
            if self.quickack {
                // Advice to the kernel, which forgets it by itself; nothing depends on its success.
                let _ = rustix::net::sockopt::set_tcp_quickack(self.transport.socket(), true);
            }
            if enough {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends what the socket takes of what is written; never waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.out.is_empty() {
            return Ok(());
        }
        while self.written < self.out.len() {
            match self.transport.poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(Fault::Closed),
                Poll::Ready(Ok(sent)) => self.written += sent,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(()),
            }
        }
        match self.transport.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.out.clear();
                self.written = 0;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// LOGOUT, then reads to the end of the stream.
    ///
    /// # Errors
    /// [`Fault`], of every kind; that the server closes early is none.
    pub async fn logout(mut self) -> Result<(), Fault> {
        match self.command("LOGOUT", |_| {}).await {
            Ok(()) | Err(Fault::Closed) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Gives back buffers before a long silence.
    pub fn shrink(&mut self) {
        self.out.shrink_to(0);
        self.scanner.shrink();
    }

    fn note_capabilities(&mut self, text: &[u8]) {
        let Some(at) = text.windows(11).position(|window| window.eq_ignore_ascii_case(b"CAPABILITY ")) else {
            return;
        };
        let words = &text[at + 11..];
        let end = words.iter().position(|&b| b == b']').unwrap_or(words.len());
        self.capabilities = Capabilities::parse(&words[..end]);
    }
}

/// Writes `text` as an IMAP quoted string. The names and passwords used here have no line breaks.
pub fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &octet in text.as_bytes() {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Writes a decimal number.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

fn refused(command: &str, answer: &[u8]) -> Fault {
    Fault::Refused { command: command.to_owned(), answer: String::from_utf8_lossy(answer).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_decide_how_literals_are_sent() {
        let plus = Capabilities::parse(b"IMAP4rev1 LITERAL+ MULTIAPPEND");
        assert!(plus.multiappend && plus.sends_at_once(1 << 20));
        let minus = Capabilities::parse(b"IMAP4rev1 literal-");
        assert!(minus.sends_at_once(4_096) && !minus.sends_at_once(4_097));
        assert!(!Capabilities::parse(b"IMAP4rev1").sends_at_once(1));
    }

    #[test]
    fn quoted_strings_are_escaped() {
        let mut out = Vec::new();
        push_quoted(&mut out, r#"a"b\c"#);
        assert_eq!(out, br#""a\"b\\c""#);
    }
}
