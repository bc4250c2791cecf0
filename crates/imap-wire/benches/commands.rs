//! Time from octets in a buffer to a command, and from values to a response, for what busy sessions send and get.
//!
//! `cargo bench -p imap-wire` prints the median of 101 rounds. No statistics beyond that: the figures are for
//! seeing a change of a tenth, on one machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use imap_wire::response::fetch::FetchWriter;
use imap_wire::{Limits, Reader, Step, encode, response};

/// Pipelined copies of a command in one read.
const COMMANDS: usize = 64;
const ROUNDS: usize = 101;

/// Runs `round` a number of times and prints the median time of one of its `count` parts.
fn measure(name: &str, count: usize, mut round: impl FnMut()) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{:>9.1} ns  {name}", times[ROUNDS / 2]);
}

fn read(text: &str) {
    let octets = format!("a123 {text}\r\n").repeat(COMMANDS);
    let mut reader = Reader::new(Arc::new(Limits::default()));
    let mut buffer = BytesMut::with_capacity(octets.len());
    measure(text, COMMANDS, || {
        buffer.reserve(octets.len());
        buffer.extend_from_slice(octets.as_bytes());
        for _ in 0..COMMANDS {
            let step = reader.next(&mut buffer);
            assert!(matches!(step, Step::Command(_)));
            black_box(&step);
        }
    });
}

fn main() {
    println!("reading a command");
    read("NOOP");
    read("IDLE");
    read("FETCH 1 FLAGS");
    read("UID FETCH 4711 (UID FLAGS BODY.PEEK[])");
    read("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)");
    read("FETCH 1:100 (BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT TO MESSAGE-ID)])");
    read("STORE 1 +FLAGS (\\Seen)");
    read("UID STORE 4711 +FLAGS.SILENT (\\Seen \\Answered)");
    read("SELECT INBOX");
    read("STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)");
    read("UID SEARCH UNDELETED SINCE 1-Feb-2026 FROM \"someone\"");
    read("LOGIN tel:+15550100 \"secret\"");

    println!("reading an APPEND of 2 kB, message included");
    let message =
        format!("a123 APPEND INBOX (\\Seen) {{2048+}}\r\n{}\r\n", "x".repeat(2048)).repeat(COMMANDS);
    let mut reader = Reader::new(Arc::new(Limits::default()));
    let mut buffer = BytesMut::with_capacity(message.len());
    measure("APPEND", COMMANDS, || {
        buffer.reserve(message.len());
        buffer.extend_from_slice(message.as_bytes());
        for _ in 0..COMMANDS {
            loop {
                let step = black_box(reader.next(&mut buffer));
                if step == Step::AppendEnd {
                    break;
                }
            }
        }
    });

    println!("writing");
    let mut out = Vec::with_capacity(1 << 20);
    measure("* n FETCH (UID FLAGS MODSEQ)", 1000, || {
        out.clear();
        for n in 1..=1000u32 {
            let mut fetch = FetchWriter::begin(&mut out, n);
            fetch.uid(&mut out, n + 4711);
            fetch.flags(&mut out, ["\\Seen", "\\Answered", "$Forwarded"]);
            fetch.mod_seq(&mut out, 1 << 40);
            fetch.end(&mut out);
        }
        black_box(&out);
    });
    measure("number in * SEARCH", 10_000, || {
        out.clear();
        response::search(&mut out, 100_000..110_000, None);
        black_box(&out);
    });
    measure("string of 40 octets", 1000, || {
        out.clear();
        for _ in 0..1000 {
            encode::string(&mut out, black_box(b"Re: something about the next meeting we do"), false);
        }
        black_box(&out);
    });
}
