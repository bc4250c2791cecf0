//! CONVERT under hostile parts: its bounds are settings, and the server outlives what a worker dies of.

use std::io::Write as _;

use base64::Engine as _;
use conformance::client::Client;

use crate::node::{ADDRESS, Node};

/// A message whose parts are these, of these types, in base64.
fn message(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text =
        format!("To: {ADDRESS}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n\r\n");
    for (media_type, octets) in parts {
        let encoded = base64::engine::general_purpose::STANDARD.encode(octets);
        text.push_str(&format!(
            "--cut\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        ));
        for line in encoded.as_bytes().chunks(76) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push_str("\r\n");
        }
    }
    text.push_str("--cut--\r\n");
    text.into_bytes()
}

fn append(client: &mut Client, message: &[u8]) {
    let tag = client.tag();
    let begin = format!("{tag} APPEND INBOX {{{}+}}\r\n", message.len());
    client.send(&[begin.as_bytes(), message, b"\r\n"].concat()).expect("sent");
    let (_, tagged) = client.until(&tag).expect("an answer");
    assert_eq!(tagged.kind(), "OK", "{}", tagged.text());
}

/// A PNG of so many black pixels of one bit.
fn png(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..height {
        deflated.write_all(&vec![0; (width as usize).div_ceil(8) + 1]).expect("into memory");
    }
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let data = deflated.finish().expect("into memory");
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &data), &chunk(b"IEND", b"")]
        .concat()
}

/// What `command` is told, its untagged responses before its tagged one.
fn said(client: &mut Client, command: &str) -> String {
    let (untagged, tagged) = client.command(command).expect("an answer");
    untagged.iter().map(|line| line.text() + "\n").collect::<String>() + &tagged.text()
}

#[test]
fn s2_02_previews_outlive_bombs() {
    let mut node =
        Node::start(&[("MSS_CONVERT__MEMORY_BYTES_MAX", "67108864"), ("MSS_CONVERT__WORKERS", "1")]);
    let mut client = node.login();
    // 24 MB of HTML: read, they need more memory than a worker may have.
    let long = vec![b'x'; 24 << 20];
    let parts: [(&str, &[u8]); 4] = [
        ("image/png", &png(60_000, 6_000)),
        ("text/html; charset=iso-8859-1", &long),
        ("image/png", b"\x89PNG\r\n\x1a\nthat is all"),
        ("image/png", &png(64, 48)),
    ];
    append(&mut client, &message(&parts));
    client.expect_ok("SELECT INBOX").expect("selected");
    for _ in 0..2 {
        for (part, target) in [(1, "image/jpeg"), (2, "text/plain"), (3, "image/jpeg")] {
            let said = said(&mut client, &format!("CONVERT 1 (\"{target}\") BINARY[{part}]"));
            assert!(said.contains("(ERROR ") && said.contains(" BADPARAMETERS "), "{part}: {said}");
            assert!(said.contains(" NO all conversions failed"), "{part}: {said}");
        }
        let thumbnail = "CONVERT 1 (\"image/jpeg\" (\"pix-x\" \"16\" \"pix-y\" \"16\")) BODYPARTSTRUCTURE[4]";
        let said = said(&mut client, thumbnail);
        assert!(said.contains("\"JPEG\"") && said.contains(" OK "), "{said}");
    }
    assert!(node.child.try_wait().expect("a process").is_none(), "the server lives");
    let metrics = std::process::Command::new("curl")
        .args(["-s", &format!("http://{}/metrics", node.address("admin").expect("an admin port"))])
        .output()
        .expect("curl");
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    let figure = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse::<f64>().expect("a number")
    };
    assert!(figure("mss_convert_worker_deaths_total{cause=\"abort\"}") >= 1.0, "of memory");
    assert!(figure("mss_convert_lookups_total{kept=\"yes\"}") >= 4.0, "the second time they are known");
}

#[test]
fn settings_of_conversions_take_effect() {
    let none = Node::start(&[("MSS_CONVERT__WORKERS", "0")]);
    let mut client = none.login();
    assert!(!said(&mut client, "CAPABILITY").contains(" CONVERT"), "convert.workers");
    assert!(said(&mut client, "CONVERSIONS \"*\" \"*\"").contains(" BAD "), "convert.workers");
    drop(none);

    let node = Node::start(&[
        ("MSS_CONVERT__MESSAGES_MAX", "1"),
        ("MSS_CONVERT__PARTS_MAX", "1"),
        ("MSS_CONVERT__SOURCE_BYTES_MAX", "2048"),
        ("MSS_CONVERT__PICTURE", "webp"),
        ("MSS_CONVERT__CACHE_BYTES", "0"),
        ("MSS_CONVERT__CPU_SECONDS_MAX", "7"),
        ("MSS_CONVERT__SECONDS_MAX", "60"),
    ]);
    let mut client = node.login();
    let text = "text/plain; charset=iso-8859-1";
    append(&mut client, &message(&[(text, b"caf\xe9"), (text, &[b'x'; 4_096]), ("image/png", &png(9, 9))]));
    append(&mut client, &message(&[(text, b"caf\xe9")]));
    client.expect_ok("SELECT INBOX").expect("selected");
    for (command, expected) in [
        ("CONVERT 1:2 (\"text/plain\") BINARY[1]", "NO [MAXCONVERTMESSAGES 1]"),
        ("CONVERT 1 (\"text/plain\") (BINARY[1] BINARY.SIZE[2])", "NO [MAXCONVERTPARTS 1]"),
        ("CONVERT 1 (\"text/plain\") (BINARY[1] BINARY.SIZE[1])", "BINARY.SIZE[1] 5)"),
        ("CONVERT 1 (\"text/plain\") BINARY.SIZE[2]", "(ERROR \"the part is larger"),
        ("CONVERT 1 (NIL) BODYPARTSTRUCTURE[3]", "(\"IMAGE\" \"WEBP\""),
    ] {
        let said = said(&mut client, command);
        assert!(said.contains(expected), "{command}: {said}");
    }
    // A worker has its bounds on its command line.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.child.id())).expect("tasks");
    let children: String = tasks
        .map(|task| {
            std::fs::read_to_string(task.expect("a task").path().join("children")).unwrap_or_default()
        })
        .collect();
    let worker = children.split_ascii_whitespace().next().expect("a worker is there");
    let line = std::fs::read_to_string(format!("/proc/{worker}/cmdline")).expect("its command line");
    let words: Vec<&str> = line.split('\0').collect();
    assert!(words.contains(&"convert-worker") && words.contains(&"7"), "convert.cpu_seconds_max: {words:?}");
}
