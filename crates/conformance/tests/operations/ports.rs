//! The admin and the gRPC port under junk, and under clients that say nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use conformance::client::patience;

use crate::node::Node;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(patience())).expect("a bound");
    stream
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: mss\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end of the connection");
    answer
}

/// Junk of several kinds, the same every time.
fn junk() -> Vec<Vec<u8>> {
    let mut octets: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    octets.extend(b"\r\n\r\n");
    let header = b"GET /metrics HTTP/1.1\r\nx: ".iter().copied().chain(std::iter::repeat_n(b'x', 1 << 20));
    vec![
        octets,
        header.collect(),
        b"GET /metrics HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 100_000],
    ]
}

/// Sends junk on many connections; whether the other side takes it all does not matter.
fn bombard(address: SocketAddr) {
    for round in 0..20 {
        for octets in junk() {
            let mut stream = connect(address);
            let _ = stream.write_all(&octets[..octets.len().saturating_sub(round)]);
        }
    }
}

#[test]
fn the_admin_port_stands_junk_and_silence() {
    let mut node = Node::start(&[]);
    let admin = node.address("admin").expect("an admin listener");
    bombard(admin);
    // More than it takes at once, all of them silent: they are let go one by one.
    let silent: Vec<TcpStream> = (0..300).map(|_| connect(admin)).collect();
    assert!(get(admin, "/healthz").ends_with("ok\n"));
    assert!(get(admin, "/readyz").ends_with("ready\n"));
    assert!(get(admin, "/metrics").contains("mss_build_info{"));
    assert!(get(admin, "/nothing").starts_with("HTTP/1.1 404"));
    drop(silent);
    let mut post = connect(admin);
    post.write_all(b"POST /metrics HTTP/1.1\r\nHost: mss\r\nContent-Length: 4\r\n\r\njunk").expect("sent");
    let mut answer = String::new();
    post.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(node.child.try_wait().expect("a process").is_none(), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

#[test]
fn the_grpc_port_stands_junk_and_silence() {
    let mut node = Node::start(&[("MSS_STORE__RPC_LISTEN", "127.0.0.1:0")]);
    let rpc = node.address("rpc").expect("a gRPC listener");
    bombard(rpc);
    let silent: Vec<TcpStream> = (0..300).map(|_| connect(rpc)).collect();
    node.login().expect_ok("STATUS INBOX (MESSAGES)").expect("served all the while");
    drop(silent);
    assert!(node.child.try_wait().expect("a process").is_none(), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
