//! COMPRESS=DEFLATE (RFC 4978): raw deflate in both directions, with the inflater's own idea of it.

use std::io::{self, Read, Write};

use conformance::client::{Client, Stream};
use conformance::server::{Options, Server};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Deflate over another stream, flushed at every write as RFC 4978 §3 wants.
struct Deflated {
    under: Box<dyn Stream>,
    compress: Compress,
    decompress: Decompress,
    input: Vec<u8>,
}

impl Deflated {
    fn new(under: Box<dyn Stream>) -> Self {
        Self {
            under,
            compress: Compress::new(Compression::default(), false),
            decompress: Decompress::new(false),
            input: Vec::new(),
        }
    }
}

impl Read for Deflated {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let (before_in, before_out) = (self.decompress.total_in(), self.decompress.total_out());
            let status = self
                .decompress
                .decompress(&self.input, out, FlushDecompress::Sync)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let used = (self.decompress.total_in() - before_in) as usize;
            let made = (self.decompress.total_out() - before_out) as usize;
            self.input.drain(..used);
            if made > 0 || status == Status::StreamEnd {
                return Ok(made);
            }
            let mut piece = [0; 16 * 1024];
            let n = self.under.read(&mut piece)?;
            if n == 0 {
                return Ok(0);
            }
            self.input.extend_from_slice(&piece[..n]);
        }
    }
}

impl Write for Deflated {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut rest = octets;
        let mut out = vec![0; 64 * 1024];
        loop {
            let (before_in, before_out) = (self.compress.total_in(), self.compress.total_out());
            self.compress
                .compress(rest, &mut out, FlushCompress::Sync)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let used = (self.compress.total_in() - before_in) as usize;
            let made = (self.compress.total_out() - before_out) as usize;
            self.under.write_all(&out[..made])?;
            rest = &rest[used..];
            if rest.is_empty() && made < out.len() {
                return Ok(octets.len());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.under.flush()
    }
}

fn compressed() -> (Server, Client) {
    let server = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("COMPRESS DEFLATE").expect("COMPRESS");
    let client = client.layer(Deflated::new).expect("a new layer");
    (server, client)
}

#[test]
fn a_session_under_deflate() {
    let (_server, mut client) = compressed();
    client.expect_ok("SELECT INBOX").expect("SELECT");
    // One that deflates well, and one that does not at all.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b' ' + (state >> 24) as u8 % 90
        })
        .collect();
    for body in [b"all the same line\r\n".repeat(20_000), noise] {
        let message = [&b"Subject: x\r\n\r\n"[..], &body].concat();
        let (_, tagged) = client.literal("APPEND INBOX", &message, "").expect("APPEND");
        assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
        client.expect_ok("NOOP").expect("NOOP");
        let (untagged, _) = client.expect_ok("FETCH * BODY.PEEK[]").expect("FETCH");
        let fetched = untagged.iter().find(|response| response.kind() == "FETCH").expect("a FETCH");
        assert!(fetched.octets.windows(message.len()).any(|window| window == message));
    }
}

#[test]
fn notices_are_flushed_under_idle() {
    let (server, mut client) = compressed();
    client.expect_ok("SELECT INBOX").expect("SELECT");
    client.send(b"i IDLE\r\n").expect("sent");
    assert_eq!(client.response().expect("a continuation").tag(), b"+");
    let user = server.user(1);
    let mut other = Client::login(server.imap, &user.name, &user.password).expect("a session");
    let (_, tagged) = other.literal("APPEND INBOX", b"Subject: y\r\n\r\n.", "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK");
    let notice = loop {
        let response = client.response().expect("a notice");
        if response.kind() == "EXISTS" {
            break response;
        }
    };
    assert_eq!(notice.number(), Some(1));
    client.send(b"DONE\r\n").expect("sent");
    client.until("i").expect("the end of IDLE");
}

#[test]
fn only_once() {
    let (_server, mut client) = compressed();
    let (_, tagged) = client.command("COMPRESS DEFLATE").expect("an answer");
    assert_eq!(tagged.kind(), "NO");
    assert!(tagged.text().contains("[COMPRESSIONACTIVE]"), "{}", tagged.text());
    let (untagged, _) = client.expect_ok("CAPABILITY").expect("CAPABILITY");
    assert!(!untagged.iter().any(|response| response.text().contains("COMPRESS")), "no more of it to be had");
}

#[test]
fn octets_that_are_no_deflate_end_the_connection_and_nothing_else() {
    let server = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    client.expect_ok("COMPRESS DEFLATE").expect("COMPRESS");
    client.send(&[0xff; 4096]).expect("sent");
    let mut socket = client.socket().try_clone().expect("the socket");
    let mut sink = Vec::new();
    // Closed or reset; what matters is that it ends.
    let _ = socket.read_to_end(&mut sink);
    let mut other = Client::login(server.imap, &user.name, &user.password).expect("a session");
    other.expect_ok("NOOP").expect("NOOP");
}
