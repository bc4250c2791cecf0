//! What keeps a process from starting, and what a command line may say: one sentence, and the exit code that scripts go by.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use conformance::server::binary;

use crate::node::{ADDRESS, Node};

fn mss(arguments: &[&str]) -> Output {
    Command::new(binary().expect("the binary"))
        .args(arguments)
        .env("MSS_ADMIN__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .expect("mss runs")
}

/// The one sentence of a start that failed.
fn refusal(data: &Path, imap: &str) -> String {
    let output = mss(&["serve", "--data", &data.display().to_string(), "--imap", imap]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "it never was ready");
    assert_eq!(said.lines().filter(|line| line.starts_with("mss: ")).count(), 1, "{said}");
    said
}

#[test]
fn a_start_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let said = refusal(&folder.path().join("new"), &address);
    assert!(said.contains("imap.listen") && said.contains(&address), "{said}");

    let node = Node::start(&[]);
    let said = refusal(&node.folder.path().join("data"), "127.0.0.1:0");
    assert!(said.contains(&format!("process {}", node.child.id())), "{said}");

    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("a folder");
    std::fs::write(foreign.join("letters.txt"), "mine").expect("a file");
    let said = refusal(&foreign, "127.0.0.1:0");
    assert!(said.contains("data.dir") && said.contains("letters.txt"), "{said}");
    assert_eq!(std::fs::read_dir(&foreign).expect("a folder").count(), 1, "nothing was put into it");

    let said = refusal(&foreign.join("letters.txt"), "127.0.0.1:0");
    assert!(said.contains("data.dir"), "{said}");
    let said = refusal(Path::new("/proc/no/such"), "127.0.0.1:0");
    assert!(said.contains("data.dir"), "{said}");
}

/// Every command: 0 for help, 2 for what it does not understand, 1 for what it cannot do.
#[test]
fn exit_codes_of_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere").display().to_string();
    let commands: [&[&str]; 9] = [
        &[],
        &["serve"],
        &["account"],
        &["account", "add"],
        &["account", "passwd"],
        &["account", "configure"],
        &["account", "show"],
        &["account", "remove"],
        &["account", "import"],
    ];
    for command in commands {
        let help = mss(&[command, &["--help"]].concat());
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert_eq!(help.status.code(), Some(0), "{command:?}");
        assert!(text.contains("Usage: mss") && text.lines().count() > 8, "{command:?}: {text}");
        assert_eq!(mss(&[command, &["--no-such-flag"]].concat()).status.code(), Some(2), "{command:?}");
    }
    let data = ["--data", nowhere.as_str()];
    let missing: [&[&str]; 5] = [
        &["account", "list"],
        &["account", "show", ADDRESS],
        &["account", "passwd", ADDRESS, "--password-stdin"],
        &["account", "configure", ADDRESS, "--disable"],
        &["account", "remove", ADDRESS, "--yes"],
    ];
    for command in missing {
        let output = mss(&[command, &data].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
    }
    assert!(!Path::new(&nowhere).exists(), "a slip of the pen makes no store");
    let wrong: [&[&str]; 6] = [
        &["account", "add", "not an address", "--password-stdin"],
        &["account", "configure", ADDRESS],
        &["account", "configure", ADDRESS, "--disable", "--enable"],
        &["account", "list", "--store", "somewhere"],
        &["serve", "--imap", "localhost"],
        &["serve", "--data", ""],
    ];
    for command in wrong {
        let output = mss(command);
        let code = output.status.code();
        // An empty directory name is a setting's fault, not the command line's.
        let expected = if command[1] == "--data" { Some(1) } else { Some(2) };
        assert_eq!(code, expected, "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Lines that cannot be used are named with their number and the reason; the others are done, and doing it again harms
/// nothing.
#[test]
fn an_import_names_the_lines_that_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let file = folder.path().join("accounts.csv");
    let lines: [&[u8]; 8] = [
        b"address,password",
        b"tel:+15550000001,one",
        b"tel:+15550000002",
        b"nobody,two",
        b"tel:+15550000003,",
        b"\xff\xfe,three",
        b"tel:+15550000001,again",
        b"tel:+15550000004,\"fo,ur\"",
    ];
    std::fs::write(&file, lines.join(&b'\n')).expect("a file");
    let import = || mss(&["account", "import", &file.display().to_string(), "--data", &data]);
    let first = import();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(1), "{said}");
    for (line, reason) in
        [(3, "two"), (4, "tel:+<digits>"), (5, "from 1 to"), (6, "UTF-8"), (7, "exists already")]
    {
        let told = said.lines().find(|text| text.contains(&format!("line {line}:")));
        assert!(told.is_some_and(|text| text.contains(reason)), "line {line}, {reason}: {said}");
    }
    let listed = || String::from_utf8_lossy(&mss(&["account", "list", "--data", &data]).stdout).into_owned();
    assert_eq!(listed(), "tel:+15550000001\ntel:+15550000004\n");
    assert_eq!(import().status.code(), Some(1));
    assert_eq!(listed(), "tel:+15550000001\ntel:+15550000004\n", "again: nothing new, nothing gone");
}
