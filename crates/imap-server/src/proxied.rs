//! What a trusted proxy says of the client that it connects: a PROXY protocol header, version 1 or 2, before all else.
//!
//! Source: The PROXY protocol, versions 1 & 2 (haproxy.org, doc/proxy-protocol.txt).

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use ppp::v2::{Addresses, Command};
use ppp::{HeaderResult, PartialResult as _, v1};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Octets of a header, at most: those of version 1 have 107, of version 2 what addresses and TLVs need, a client's
/// certificate among them. The proxy sees it.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Octets of a header of version 1, at most (§2.1).
const V1_BYTES_MAX: usize = 107;

/// TLV of what is known of the client's TLS (§2.2.6 of version 2), and the bit of its first octet that says there is TLS.
const SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;
/// Its part that names the version of TLS.
const SSL_VERSION: u8 = 0x21;
/// Longest name of a version that goes to the log.
const VERSION_BYTES_MAX: usize = 16;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The client; none when the proxy speaks for itself, to see whether the server lives, or does not know.
    pub client: Option<SocketAddr>,
    /// How the client reached the proxy.
    pub leg: Leg,
}

/// How a client reached the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// The header says nothing of it: the operator does, by naming the proxy.
    Untold,
    /// With TLS of this version.
    Tls(String),
    /// In clear.
    Clear,
}

impl Leg {
    /// Whether a password may come this way.
    pub fn is_private(&self) -> bool {
        !matches!(self, Self::Clear)
    }
}

/// Reads the header, and what came behind it.
///
/// # Errors
/// `InvalidData` for what is no header or too long a one; `UnexpectedEof`; what the connection fails with.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<(Proxied, BytesMut)> {
    let mut received = BytesMut::with_capacity(256);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (proxied, length) = match parse(&received) {
            Parsed::Header(proxied, length) => (proxied, length),
            Parsed::Incomplete if received.len() < HEADER_BYTES_MAX => continue,
            Parsed::Incomplete | Parsed::Wrong => return Err(io::ErrorKind::InvalidData.into()),
        };
        return Ok((proxied, received.split_off(length)));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A header and its length.
    Header(Proxied, usize),
    Incomplete,
    Wrong,
}

fn parse(received: &[u8]) -> Parsed {
    // A line that is cut behind a port looks wrong to the parser: it is asked about whole lines only.
    if received.starts_with(b"PROXY") && received.len() < V1_BYTES_MAX && !received.contains(&b'\n') {
        return Parsed::Incomplete;
    }
    let result = HeaderResult::parse(received);
    if result.is_incomplete() {
        return Parsed::Incomplete;
    }
    match result {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
                v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
            };
            Parsed::Header(Proxied { client, leg: Leg::Untold }, header.header.len())
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match (header.command, header.addresses) {
                (Command::Proxy, Addresses::IPv4(a)) => Some((a.source_address, a.source_port).into()),
                (Command::Proxy, Addresses::IPv6(a)) => Some((a.source_address, a.source_port).into()),
                (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => None,
            };
            let mut leg = Leg::Untold;
            for tlv in header.tlvs() {
                let Ok(tlv) = tlv else { return Parsed::Wrong };
                if tlv.kind == SSL {
                    leg = match read_ssl(&tlv.value) {
                        Some(leg) => leg,
                        None => return Parsed::Wrong,
                    };
                }
            }
            Parsed::Header(Proxied { client, leg }, header.len())
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Parsed::Wrong,
    }
}

/// `client` (an octet of bits), `verify` (four octets), then TLVs.
fn read_ssl(value: &[u8]) -> Option<Leg> {
    let (head, mut rest) = value.split_at_checked(5)?;
    if head[0] & CLIENT_SSL == 0 {
        return Some(Leg::Clear);
    }
    let mut version = String::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(3)?;
        let (part, after) = after.split_at_checked(usize::from(u16::from_be_bytes([head[1], head[2]])))?;
        if head[0] == SSL_VERSION {
            let printable = part.iter().copied().filter(u8::is_ascii_graphic).map(char::from);
            version = printable.take(VERSION_BYTES_MAX).collect();
        }
        rest = after;
    }
    Some(Leg::Tls(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2 from 192.0.2.7 port 4660.
    fn v2(command: u8, tlvs: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, 0x11]);
        header.extend((12 + tlvs.len() as u16).to_be_bytes());
        header.extend([192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x34, 0, 143]);
        header.extend(tlvs);
        header
    }

    const TLS_1_3: &[u8] =
        &[0x04, 0, 1, 0, 0x20, 0, 15, 1, 0, 0, 0, 0, 0x21, 0, 7, b'T', b'L', b'S', b'v', b'1', b'.', b'3'];

    #[test]
    fn headers() {
        let client = Some("192.0.2.7:4660".parse().expect("an address"));
        let six = Some("[2001:db8::7]:4660".parse().expect("an address"));
        for (octets, expected_client, leg) in [
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 4660 143\r\n".to_vec(), client, Leg::Untold),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 143\r\n".to_vec(), six, Leg::Untold),
            (b"PROXY UNKNOWN\r\n".to_vec(), None, Leg::Untold),
            (v2(1, &[]), client, Leg::Untold),
            (v2(0, &[]), None, Leg::Untold),
            (v2(1, &[0x20, 0, 5, 0, 0, 0, 0, 1]), client, Leg::Clear),
            (v2(1, TLS_1_3), client, Leg::Tls("TLSv1.3".into())),
        ] {
            let expected = Parsed::Header(Proxied { client: expected_client, leg }, octets.len());
            for behind in ["", "a NOOP\r\n"] {
                assert_eq!(parse(&[&octets, behind.as_bytes()].concat()), expected, "{octets:?}");
            }
            for cut in 0..octets.len() {
                assert_eq!(parse(&octets[..cut]), Parsed::Incomplete, "{:?}", &octets[..cut]);
            }
        }
    }

    #[test]
    fn what_is_no_header() {
        for octets in [
            b"a LOGIN x y\r\n".to_vec(),
            b"PROXY TCP4 here there 1 2\r\n".to_vec(),
            [b"PROXY ".to_vec(), vec![b'x'; 200]].concat(),
            v2(7, &[]),
            v2(1, &[0x20, 0, 9, 1]),
            v2(1, &[0x20, 0, 2, 1, 0]),
            v2(1, &[0x20, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 9]),
        ] {
            assert_eq!(parse(&octets), Parsed::Wrong, "{octets:?}");
        }
    }
}
