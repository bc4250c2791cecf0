//! Messages of 100 MB: memory stays near flat while they come and go. Alone in its file, so that no other test of the
//! process is measured with it.

#[path = "support/harness.rs"]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::{TestServer, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: u64 = 1 << 20;
const MESSAGE_BYTES: u64 = 100 * MIB;
/// What memory may grow by over what an idle server has: buffers of sockets, of the engine's tables and its journal's
/// pages; a message held once would be twice this.
const GROWTH_BYTES_MAX: u64 = 50 * MIB;

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024
}

/// Watches the peak of resident memory until it is dropped.
struct Watch {
    peak: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Self {
        let this = Self { peak: Arc::default(), ended: Arc::default() };
        let (peak, ended) = (this.peak.clone(), this.ended.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        this
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// The octets of the message at a place of 64 KiB steps: lines that differ, so that a lost or moved piece is seen.
fn piece(at: u64, out: &mut Vec<u8>) {
    out.clear();
    while out.len() < 64 * 1024 {
        out.extend_from_slice(format!("{:014}\r\n", at + out.len() as u64).as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_through() {
    let server = TestServer::start().await;
    let mut c = server.select().await;
    c.append("INBOX", b"a: b\r\n\r\nwarm").await;
    c.ok("FETCH 1 BODY[]").await;
    let before = resident();
    let watch = Watch::start();
    let mut expected = Vec::new();

    c.send(format!("big APPEND INBOX {{{MESSAGE_BYTES}+}}\r\n").as_bytes()).await;
    for at in (0..MESSAGE_BYTES).step_by(64 * 1024) {
        piece(at, &mut expected);
        c.stream.write_all(&expected).await.expect("sent");
    }
    c.send(b"\r\n").await;
    let answer = c.answer("big").await;
    assert!(answer.tagged.starts_with("OK [APPENDUID "), "{answer:?}");
    let after_append = watch.peak();

    c.send(b"get FETCH 2 BODY.PEEK[]\r\n").await;
    assert_eq!(text(&c.line().await), "* 2 FETCH (BODY[] {104857600}\r\n");
    let mut got = vec![0; 64 * 1024];
    for at in (0..MESSAGE_BYTES).step_by(64 * 1024) {
        piece(at, &mut expected);
        c.stream.read_exact(&mut got).await.expect("octets");
        assert!(got == expected, "octets at {at}");
    }
    assert_eq!(text(&c.line().await), ")\r\n");
    assert!(c.answer("get").await.tagged.starts_with("OK"));
    let grown = watch.peak().saturating_sub(before);
    println!(
        "resident: {} MiB before, {} MiB more while appending, {} MiB more at most",
        before / MIB,
        after_append.saturating_sub(before) / MIB,
        grown / MIB
    );
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {} MiB", grown / MIB);
}
