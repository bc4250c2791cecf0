//! Stopping, being supervised, and the limit of open files.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use conformance::client::patience;

use crate::node::Node;

/// A client in the middle of a literal holds a drain up, as it must: the command runs.
fn hold_up(node: &Node) -> conformance::client::Client {
    let mut client = node.login();
    client.send(b"a APPEND INBOX {1000}\r\n").expect("sent");
    assert_eq!(client.response().expect("go ahead").tag(), b"+");
    client
}

#[test]
fn a_signal_drains() {
    let mut node = Node::start(&[]);
    let mut client = node.login();
    node.signal("TERM");
    let bye = client.response().expect("a last word");
    assert_eq!(bye.kind(), "BYE", "{}", bye.text());
    assert_eq!(node.ended(patience()).and_then(|status| status.code()), Some(0), "{}", node.log());
}

#[test]
fn a_drain_is_bounded_by_its_setting() {
    let mut node = Node::start(&[("MSS_LIMITS__DRAIN_SECONDS_MAX", "1"), ("MSS_FRONT__GRACE_SECONDS", "0")]);
    let _client = hold_up(&node);
    let began = Instant::now();
    node.signal("TERM");
    assert_eq!(node.ended(patience()).and_then(|status| status.code()), Some(0), "{}", node.log());
    assert!(began.elapsed() >= Duration::from_millis(900), "it waited for the command");
}

#[test]
fn a_second_signal_cuts_off() {
    let mut node = Node::start(&[("MSS_LIMITS__DRAIN_SECONDS_MAX", "600")]);
    let _client = hold_up(&node);
    node.signal("TERM");
    node.log_line(|line| line.contains("draining"));
    assert!(node.ended(Duration::from_millis(300)).is_none(), "the first waits");
    node.signal("INT");
    assert_eq!(node.ended(patience()).and_then(|status| status.code()), Some(0), "{}", node.log());
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let node = Node::start_as("ulimit -Sn 256; exec \"$0\" serve", &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.child.id())).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let [soft, hard] = [3, 4].map(|at| files.split_whitespace().nth(at));
    assert_eq!(soft, hard, "{files}");
}

/// What systemd hears of a service of type notify: that it is ready, that it lives, that it stops.
#[test]
fn a_service_manager_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(patience())).expect("a bound");
    let mut node =
        Node::start(&[("NOTIFY_SOCKET", &path.display().to_string()), ("WATCHDOG_USEC", "300000")]);
    let heard = || {
        let mut octets = [0; 256];
        let n = manager.recv(&mut octets).expect("a message in time");
        String::from_utf8_lossy(&octets[..n]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!([heard(), heard()], ["WATCHDOG=1", "WATCHDOG=1"]);
    node.signal("TERM");
    while heard() != "STOPPING=1" {}
    assert_eq!(node.ended(patience()).and_then(|status| status.code()), Some(0));
}
