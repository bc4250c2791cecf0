//! Times of indexing and of reading an index: `cargo bench -p cpm-mime [--profile fast]`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cpm_mime::search::{Needle, body_contains};
use cpm_mime::{IndexBuilder, Limits, MessageIndex, Section, parse};

/// Prints the median of 15 samples, each of about 50 ms.
fn time<T>(name: &str, octets: usize, mut work: impl FnMut() -> T) {
    let begin = Instant::now();
    let mut rounds = 0u32;
    while begin.elapsed() < Duration::from_millis(50) {
        black_box(work());
        rounds += 1;
    }
    let mut samples: Vec<Duration> = (0..15)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..rounds {
                black_box(work());
            }
            begin.elapsed() / rounds
        })
        .collect();
    samples.sort();
    let median = samples[samples.len() / 2];
    let rate = octets as f64 / median.as_secs_f64() / 1e6;
    println!("{name:<44} {:>12.3} µs {rate:>10.0} MB/s", median.as_secs_f64() * 1e6);
}

fn cpim(body: &str) -> String {
    format!(
        "From: \"Alice Example\" <tel:+14085551212>\r\nTo: <tel:+14085551213>\r\nDate: Mon, 12 Jan 2026 10:00:00 +0000\r\n\
         Conversation-ID: f81d4fae-7dec-11d0-a765-00a0c91e6bf6\r\nContribution-ID: abcdef-1234-5678-90ab-cdef01234567\r\n\
         IMDN-Message-ID: Xk3JkOUbGwlN0a5qzRZpvN\r\nMessage-Direction: received\r\n\
         P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg\r\nMessage-ID: <1234567890@example.org>\r\n\
         MIME-Version: 1.0\r\nContent-Type: Message/CPIM\r\n\r\n\
         From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: Xk3JkOUbGwlN0a5qzRZpvN\r\nDateTime: 2026-01-12T10:00:00Z\r\n\r\n\
         Content-Type: text/plain;charset=utf-8\r\n\r\n{body}"
    )
}

fn mail() -> String {
    let mut message = String::new();
    for hop in 0..4 {
        message += &format!(
            "Received: from relay{hop}.example.net (relay{hop}.example.net [192.0.2.{hop}])\r\n\tby mx.example.org (Postfix) with ESMTPS id 4Q{hop}xyz\r\n\tfor <bob@example.org>; Mon, 12 Jan 2026 10:00:0{hop} +0000\r\n"
        );
    }
    message += "From: =?utf-8?q?Zo=C3=AB?= Example <zoe@example.net>\r\nTo: Bob <bob@example.org>, Carol <carol@example.org>\r\n\
        Subject: Re: [list] =?utf-8?q?d=C3=A9j=C3=A0?= vu\r\nDate: Mon, 12 Jan 2026 10:00:00 +0000\r\n\
        Message-ID: <1234567890@example.net>\r\nIn-Reply-To: <0987654321@example.org>\r\n\
        References: <1111111111@example.org> <0987654321@example.org>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/alternative; boundary=\"=_b1_0123456789\"\r\n\r\n\
        --=_b1_0123456789\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    message += &"Some text, caf=C3=A9 and so on, in lines of usual length.\r\n".repeat(8);
    message += "--=_b1_0123456789\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
    message += &"<p>Some text, <b>and so on</b>, in lines of usual length.</p>\r\n".repeat(8);
    message += "--=_b1_0123456789--\r\n";
    message
}

fn main() {
    let limits = Limits::default();
    let chat = cpim(&"Are we meeting tonight? ".repeat(55));
    let mail = mail();
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3\r\n";
    let large = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/jpeg\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}--b--\r\n",
        line.repeat(100 * 1024 * 1024 / line.len())
    );
    for (name, message) in [("CPIM", &chat), ("mail", &mail)] {
        let index = parse(message.as_bytes(), &limits);
        let stored = index.encode();
        println!("{name}: message {} octets, index {} octets", message.len(), stored.len());
        time(&format!("{name}: index"), message.len(), || parse(message.as_bytes(), &limits));
        time(&format!("{name}: read the stored index"), stored.len(), || {
            MessageIndex::decode(stored.clone())
        });
        time(&format!("{name}: BODY[1]"), 0, || index.section(&[1], Section::Body));
        time(&format!("{name}: BODYSTRUCTURE"), 0, || index.bodystructure());
        time(&format!("{name}: BODY"), 0, || index.body());
        let needle = Needle::new("nowhere to be found");
        time(&format!("{name}: SEARCH BODY"), message.len(), || {
            body_contains(message.as_bytes(), &index, &needle)
        });
    }
    time("100 MB: index in pieces of 64 kB", large.len(), || {
        let mut builder = IndexBuilder::new(limits);
        large.as_bytes().chunks(64 * 1024).for_each(|piece| builder.push(piece));
        builder.finish()
    });
    for (name, message) in hostile() {
        time(&format!("hostile: {name}"), message.len(), || parse(message.as_bytes(), &limits));
    }
}

/// Messages that cost a scanner most an octet.
fn hostile() -> Vec<(&'static str, String)> {
    let stem = "b".repeat(195);
    let mut nested = String::new();
    for level in 100..149 {
        nested +=
            &format!("Content-Type: multipart/mixed; boundary={stem}{level}\r\n\r\n--{stem}{level}\r\n");
    }
    nested += "\r\n";
    let near = format!("--{stem}999\r\n").repeat(50_000);
    vec![
        ("lines like 49 open boundaries", nested + &near),
        (
            "a million parts",
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(1_000_000)),
        ),
        ("a million fields", "X: y\r\n".repeat(1_000_000)),
        ("addresses", format!("To: {}\r\n\r\n", "(a) \"b\" <c@d>, ".repeat(1_000_000))),
        ("encoded words", format!("Subject: {}\r\n\r\n", "=?a?q?x ".repeat(1_000_000))),
        ("deep messages", "Content-Type: message/rfc822\r\n\r\n".repeat(1_000_000)),
        ("parameters", format!("Content-Type: a/b{}\r\n\r\n", ";x*1=y".repeat(1_000_000))),
        (
            "short lines of dashes",
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--\n".repeat(3_000_000)),
        ),
    ]
}
