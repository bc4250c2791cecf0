//! How long news take from one front end to another: `notices together|apart|foundationdb [CHANGES]`.
//!
//! A client waits in IDLE at one front end, another appends at the other; timed is from the appender's OK to the other's
//! EXISTS. With `foundationdb`, two storage nodes and two front ends on the cluster of `MSS_FDB_CLUSTER_FILE`. `MSS_BIN`
//! names the binary: a figure wants one that was built to be fast.

use std::time::{Duration, Instant};

use conformance::client::{Client, ClientError};
use conformance::foundationdb;
use conformance::server::{Layout, Options, Server};

const CHANGES: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let layout = match arguments.next().as_deref() {
        Some("together") => Layout::Together,
        Some("apart") => Layout::Apart { fronts: 2 },
        Some("foundationdb") => {
            Layout::OnFoundationDb { cluster_file: foundationdb::cluster_file()?, stores: 2, fronts: 2 }
        }
        _ => return Err("say together, apart or foundationdb".into()),
    };
    let changes = arguments.next().map_or(Ok(CHANGES), |text| text.parse())?;
    let server = Server::start(&Options { layout, accounts: 1, ..Options::default() })?;
    let user = server.fresh_user();
    let mut listener = Client::login(server.front(0), &user.name, &user.password)?;
    listener.expect_ok("SELECT INBOX")?;
    listener.send(b"i IDLE\r\n")?;
    while listener.response()?.tag() != b"+" {}
    let heard = std::thread::spawn(move || -> Result<Vec<Instant>, ClientError> {
        let mut times: Vec<Instant> = Vec::new();
        while times.len() < changes {
            let response = listener.response()?;
            if response.kind() == "EXISTS" {
                // One EXISTS may tell of several.
                times.resize(response.number().unwrap_or_default() as usize, Instant::now());
            }
        }
        Ok(times)
    });
    let mut appender = Client::login(server.front(1), &user.name, &user.password)?;
    let mut told = Vec::new();
    for number in 0..changes {
        let message = format!("Subject: {number}\r\n\r\nNews.\r\n");
        let (_, tagged) = appender.literal("APPEND INBOX", message.as_bytes(), "")?;
        told.push(Instant::now());
        if tagged.kind() != "OK" {
            return Err(tagged.text().into());
        }
        // Longer than a notice takes, so that each is told by itself.
        std::thread::sleep(Duration::from_millis(20));
    }
    let heard = heard.join().map_err(|_| "the listener panicked")??;
    let mut waits: Vec<Duration> =
        heard.iter().zip(&told).map(|(heard, told)| heard.saturating_duration_since(*told)).collect();
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("from OK to EXISTS, {changes} changes: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    Ok(())
}
