//! The least of an IMAP client: lines, literals and a log of both directions. Blocking, one thread a connection.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::value::{Spaces, Value, ValueError, parse_response};

/// How long one read may wait before the server counts as hung. `MSS_CONFORMANCE_SECONDS` overrides it.
pub fn patience() -> Duration {
    let seconds = std::env::var("MSS_CONFORMANCE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Octets of one logged response shown at most.
const LOGGED_BYTES_MAX: usize = 2_000;
/// Most log lines kept; long tests would otherwise hold everything they said.
const LOG_LINES_MAX: usize = 2_000;

/// What a connection can be: a socket, TLS over it, deflate over either.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One response: its octets without the final CRLF (literals inside as they came), and the tokens.
#[derive(Debug, Clone)]
pub struct Response {
    /// As it came.
    pub octets: Vec<u8>,
    /// Parsed; the first is `*`, `+` or the tag.
    pub values: Vec<Value>,
}

impl Response {
    /// The tag, `*` or `+`.
    pub fn tag(&self) -> &[u8] {
        self.values.first().and_then(Value::octets).unwrap_or_default()
    }

    /// For `* 3 EXISTS` the number.
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.values.get(1)?.octets()?).ok()?.parse().ok()
    }

    /// The word that says what kind of response this is, in upper case: `OK`, `FETCH`, `LIST` …
    pub fn kind(&self) -> String {
        let at = if self.number().is_some() && self.tag() == b"*" { 2 } else { 1 };
        self.values.get(at).and_then(Value::keyword).unwrap_or_default()
    }

    /// The text as far as it is text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets).into_owned()
    }
}

/// What goes wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed, or nothing came within [`patience`].
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// What came is no response.
    #[error("malformed response: {0}: {1}")]
    Malformed(ValueError, String),
    /// A command was answered otherwise than the caller needs.
    #[error("{0}")]
    Refused(String),
}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    buffer: Vec<u8>,
    next_tag: u32,
    log: Vec<String>,
    name: String,
    started: Instant,
}

impl Client {
    /// Connects; the greeting is not yet read.
    pub fn connect(address: SocketAddr, name: &str) -> Result<Self, ClientError> {
        let socket = TcpStream::connect_timeout(&address, patience())?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience()))?;
        socket.set_write_timeout(Some(patience()))?;
        Ok(Self {
            stream: Box::new(socket.try_clone()?),
            socket,
            buffer: Vec::new(),
            next_tag: 0,
            log: Vec::new(),
            name: name.to_owned(),
            started: Instant::now(),
        })
    }

    /// Connects, reads the greeting and logs in.
    pub fn login(address: SocketAddr, user: &str, password: &str) -> Result<Self, ClientError> {
        let mut client = Self::connect(address, user)?;
        let greeting = client.response()?;
        if greeting.kind() != "OK" {
            return Err(ClientError::Refused(greeting.text()));
        }
        client.expect_ok(&format!("LOGIN {} {}", quote(user), quote(password)))?;
        Ok(client)
    }

    /// Puts another layer (TLS, compression) over the socket. What was read and not used is lost: there must be none.
    pub fn layer<S: Stream + 'static>(
        mut self,
        over: impl FnOnce(Box<dyn Stream>) -> S,
    ) -> Result<Self, ClientError> {
        if !self.buffer.is_empty() {
            return Err(ClientError::Refused(format!("octets before the new layer: {:?}", self.buffer)));
        }
        self.stream = Box::new(over(self.stream));
        Ok(self)
    }

    /// The socket itself, for tests that look at it.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// A fresh tag.
    pub fn tag(&mut self) -> String {
        self.next_tag += 1;
        format!("t{}", self.next_tag)
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> Result<(), ClientError> {
        self.note("C", octets);
        self.stream.write_all(octets)?;
        self.stream.flush()?;
        Ok(())
    }

    /// Reads one response: a line, and the literals that lines end in.
    pub fn response(&mut self) -> Result<Response, ClientError> {
        let octets = match self.take_response() {
            Ok(octets) => octets,
            Err(error) => {
                self.note("!", error.to_string().as_bytes());
                return Err(error);
            }
        };
        self.note("S", &octets);
        let values = parse_response(&octets, Spaces::Strict)
            .map_err(|error| ClientError::Malformed(error, String::from_utf8_lossy(&octets).into_owned()))?;
        Ok(Response { octets, values })
    }

    /// Sends a command and reads to its tagged response. `NO` and `BAD` are results, not errors.
    pub fn command(&mut self, command: &str) -> Result<(Vec<Response>, Response), ClientError> {
        let tag = self.tag();
        self.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.until(&tag)
    }

    /// Reads to the response with this tag.
    pub fn until(&mut self, tag: &str) -> Result<(Vec<Response>, Response), ClientError> {
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            if response.tag() == tag.as_bytes() {
                return Ok((untagged, response));
            }
            untagged.push(response);
        }
    }

    /// A command that must be answered OK.
    pub fn expect_ok(&mut self, command: &str) -> Result<(Vec<Response>, Response), ClientError> {
        let (untagged, tagged) = self.command(command)?;
        if tagged.kind() == "OK" {
            return Ok((untagged, tagged));
        }
        let shown = command.split(' ').next().unwrap_or_default();
        Err(ClientError::Refused(format!("{shown}: {}", tagged.text())))
    }

    /// A command that ends in one synchronizing literal; what follows the literal may be given as `after`.
    pub fn literal(
        &mut self,
        command: &str,
        literal: &[u8],
        after: &str,
    ) -> Result<(Vec<Response>, Response), ClientError> {
        let tag = self.tag();
        self.send(format!("{tag} {command} {{{}}}\r\n", literal.len()).as_bytes())?;
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            match response.tag() {
                b"+" => break,
                other if other == tag.as_bytes() => return Ok((untagged, response)),
                _ => untagged.push(response),
            }
        }
        self.send(literal)?;
        self.send(format!("{after}\r\n").as_bytes())?;
        let (more, tagged) = self.until(&tag)?;
        untagged.extend(more);
        Ok((untagged, tagged))
    }

    /// Everything said on this connection, both ways, as (time since its start, line).
    pub fn log(&self) -> &[String] {
        &self.log
    }

    fn note(&mut self, direction: &str, octets: &[u8]) {
        if self.log.len() >= LOG_LINES_MAX {
            self.log.drain(..LOG_LINES_MAX / 2);
        }
        let mut line = String::new();
        let ms = self.started.elapsed().as_millis();
        let _ = write!(line, "{ms:>6} ms {}{direction}: ", self.name);
        let shown = &octets[..octets.len().min(LOGGED_BYTES_MAX)];
        line.push_str(&show(shown));
        if shown.len() < octets.len() {
            let _ = write!(line, " … {} octets in all", octets.len());
        }
        self.log.push(line);
    }

    fn take_response(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut at = 0;
        loop {
            let end = self.line_end(at)?;
            let Some(length) = literal_length(&self.buffer[at..end]) else {
                let octets = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Ok(octets);
            };
            at = end + 2 + length;
            while self.buffer.len() < at {
                self.fill()?;
            }
        }
    }

    /// Where the CRLF that ends the line starting at `from` begins.
    fn line_end(&mut self, from: usize) -> Result<usize, ClientError> {
        let mut searched = from;
        loop {
            if let Some(found) = self.buffer[searched..].windows(2).position(|pair| pair == b"\r\n") {
                return Ok(searched + found);
            }
            searched = self.buffer.len().saturating_sub(1).max(from);
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        let mut piece = [0; 16 * 1024];
        let n = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Closed);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(ClientError::Closed);
                }
                other => break other?,
            }
        };
        if n == 0 {
            return Err(ClientError::Closed);
        }
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(())
    }
}

/// A quoted string (RFC 9051 §9).
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Octets as a line of a log: printable, with escapes for the rest.
pub fn show(octets: &[u8]) -> String {
    let mut line = String::new();
    for &octet in octets {
        match octet {
            b'\r' => line.push_str("\\r"),
            b'\n' => line.push_str("\\n"),
            b' '..=b'~' => line.push(octet as char),
            _ => {
                let _ = write!(line, "\\x{octet:02x}");
            }
        }
    }
    line
}

/// The length announced by a line that ends in `{n}`.
fn literal_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let open = line.iter().rposition(|&octet| octet == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}
