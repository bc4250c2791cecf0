//! A full disk: `NO` and a clear log line, nothing lost, and service again when there is room.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use conformance::client::{Client, patience};
use conformance::clients;
use conformance::server::{Options, Server};

use crate::record::{Place, Record, compare, holdings, octets};

/// Size of the disk, MiB: the engine sets journals of some size aside.
const DISK_MIB: u64 = 512;

/// A small file system of its own, unmounted at the end.
struct Disk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        std::fs::create_dir(&path).expect("a mount point");
        let size = format!("size={DISK_MIB}m");
        clients::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path))
            .expect("this test mounts a small tmpfs: run it as root, where mount(2) is allowed");
        Self { path, _folder: folder }
    }

    /// Writes a file until nothing more fits.
    fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = File::create(&ballast).expect("the ballast");
        let piece = vec![0; 1 << 20];
        while file.write_all(&piece).is_ok() {}
        // What is less than a piece.
        while file.write_all(&[0; 512]).is_ok() {}
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // When this fails the folder stays mounted, which the next line of the test's output tells.
        let _ = clients::run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = Disk::mount();
    // The margin that the server keeps free, small as the disk is.
    let settings = vec![("MSS_DATA__FREE_BYTES_MIN".to_owned(), (16 << 20).to_string())];
    let options = Options { data: Some(disk.path.join("data")), settings, accounts: 1, ..Options::default() };
    let mut server = Server::start(&options).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    for mailbox in ["left", "right"] {
        client.expect_ok(&format!("CREATE {mailbox}")).expect("CREATE");
    }
    let mut record = Record::default();
    for number in 0..50 {
        assert!(append(&mut client, &mut record, &format!("before{number}")), "there is room");
    }
    let ballast = disk.fill();
    // Refused within a bounded amount of writing: the engine may have a little room of its own.
    let refused_at = (0..20_000).find(|number| !append(&mut client, &mut record, &format!("full{number}")));
    assert!(refused_at.is_some(), "nothing was refused on a full disk");
    // It still serves what it has, on this connection and on new ones.
    let held = [holdings(&mut client, 0), holdings(&mut client, 1)];
    compare(std::slice::from_mut(&mut record), &held).expect("nothing lost on a full disk");
    let mut other = Client::login(server.imap, &user.name, &user.password).expect("a session");
    other.expect_ok("STATUS left (MESSAGES)").expect("STATUS");
    let log = server.log();
    let told = log.lines().any(|line| {
        let line = line.to_lowercase();
        (line.contains("warn") || line.contains("error")) && (line.contains("space") || line.contains("disk"))
    });
    assert!(told, "the log does not say that the disk is full:\n{log}");
    // Room again, service again, without a restart.
    std::fs::remove_file(&ballast).expect("removed");
    let since = Instant::now();
    let mut number = 0;
    while !append(&mut other, &mut record, &format!("again{number}")) {
        assert!(since.elapsed() < patience(), "no service though there is room:\n{}", server.log());
        number += 1;
    }
    // And all of it is on the disk.
    server.kill();
    server.restart().expect("a restart");
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a session");
    let held = [holdings(&mut client, 0), holdings(&mut client, 1)];
    compare(std::slice::from_mut(&mut record), &held).expect("nothing lost after the restart");
    assert!(append(&mut client, &mut record, "afterwards"), "service after the restart");
}

/// Whether an APPEND was answered OK; its message is then on record. NO must leave nothing behind.
fn append(client: &mut Client, record: &mut Record, name: &str) -> bool {
    let (_, tagged) = client.literal("APPEND left", &octets(name), "").expect("an answer");
    match tagged.kind().as_str() {
        "OK" => {
            let uid = crate::worker::appended_uid(&tagged);
            let place = Place { mailbox: 0, uid: Some(uid), flags: BTreeSet::new() };
            record.places.insert(name.to_owned(), place);
            true
        }
        "NO" => false,
        other => panic!("{other}: {}", tagged.text()),
    }
}
