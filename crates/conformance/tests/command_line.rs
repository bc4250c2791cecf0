//! `mss account` against a stopped and against a running server, and the exit codes that scripts rely on.

use std::io::Write as _;
use std::process::{Command, Stdio};

use conformance::client::Client;
use conformance::server::{Options, Server, binary, run};

fn exit_code(arguments: &[&str]) -> Option<i32> {
    let program = binary().expect("the binary");
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("mss runs");
    status.code()
}

#[test]
fn exit_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    assert_eq!(exit_code(&["--help"]), Some(0));
    assert_eq!(exit_code(&["serve", "--help"]), Some(0));
    assert_eq!(exit_code(&[]), Some(2));
    assert_eq!(exit_code(&["serve", "--no-such-option"]), Some(2));
    assert_eq!(exit_code(&["account", "nonsense"]), Some(2));
    assert_eq!(exit_code(&["account", "show", "tel:+15550000001", "--data", &data]), Some(1));
    assert_eq!(exit_code(&["account", "import", "/no/such/file.csv", "--data", &data]), Some(1));
    assert_eq!(exit_code(&["serve", "--config", "/no/such/file.toml", "--data", &data]), Some(1));
}

#[test]
fn accounts_are_linked_and_unlinked() {
    let server = Server::start(&Options { accounts: 3, ..Options::default() }).expect("a server");
    let data = server.data().expect("ours").display().to_string();
    let account = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["account"].iter().chain(arguments).chain(&["--data", &data]).copied().collect();
        run(&arguments, b"")
    };
    let names = [1, 2, 3].map(|number| server.user(number).name);
    let [one, two, three] = names.each_ref().map(String::as_str);
    let linked = |of: &str| {
        let shown = account(&["show", of]).expect("show");
        let lines = shown.lines().filter_map(|line| line.strip_prefix("linked"));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert!(linked(one).is_empty());
    account(&["link", one, two]).expect("link");
    assert_eq!((linked(one), linked(two)), (vec![two.to_owned()], vec![one.to_owned()]));
    // What was linked stays linked with what comes to it.
    account(&["link", three, two]).expect("link");
    assert_eq!(
        (linked(one), linked(three)),
        (vec![two.to_owned(), three.to_owned()], vec![one.to_owned(), two.to_owned()])
    );
    let mut client = Client::login(server.imap, one, &server.user(1).password).expect("login");
    client.expect_ok(&format!("SELECTA {three}")).expect("to a linked account");
    account(&["unlink", three]).expect("unlink");
    assert_eq!((linked(one), linked(three)), (vec![two.to_owned()], vec![]));
    // A removed account is in nobody's set.
    account(&["remove", two, "--yes"]).expect("remove");
    assert!(linked(one).is_empty());

    for (arguments, says) in [
        (&["link", one][..], "2 values"),
        (&["link", one, "tel:+15559999999"], "there is no account tel:+15559999999"),
        (&["unlink", "tel:+15559999999"], "no such account"),
        (&["link", one, "not an address"], "not a CPM address"),
    ] {
        let error = account(arguments).expect_err(says).to_string();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    assert!(linked(one).is_empty(), "what failed changed nothing");
}

/// Removes an account as somebody at a terminal does who types `typed`: whether that was done, and what was said.
fn remove_at_terminal(data: &str, address: &str, typed: &str) -> (bool, String) {
    let program = binary().expect("the binary");
    let command = format!("'{}' account remove '{address}' --data '{data}'", program.display());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of util-linux");
    let mut input = terminal.stdin.take().expect("its input");
    writeln!(input, "{typed}").expect("typed");
    let output = terminal.wait_with_output().expect("an end");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One life of an account, its commands given to the directory itself or to the server that runs on it.
fn life_of_an_account(data: &str, login: &dyn Fn(&str, &str) -> bool) {
    let account = |arguments: &[&str], input: &str| {
        let arguments: Vec<&str> =
            ["account"].iter().chain(arguments).chain(&["--data", data]).copied().collect();
        run(&arguments, input.as_bytes())
    };
    account(&["add", "tel:+15550001000", "--password-stdin"], "first secret\n").expect("add");
    assert!(account(&["add", "tel:+15550001000", "--password-stdin"], "other\n").is_err(), "twice");
    assert!(account(&["add", "not an address", "--password-stdin"], "x\n").is_err());
    assert!(account(&["list"], "").expect("list").lines().any(|line| line == "tel:+15550001000"));
    assert!(login("tel:+15550001000", "first secret"));
    assert!(login("+15550001000", "first secret"), "the scheme may be left out");
    assert!(!login("tel:+15550001000", "other"), "the second add changed nothing");
    account(&["passwd", "tel:+15550001000", "--password-stdin"], "second secret\n").expect("passwd");
    assert!(login("tel:+15550001000", "second secret"));
    assert!(!login("tel:+15550001000", "first secret"), "the old password is gone, from caches, too");
    let shown = account(&["show", "tel:+15550001000"], "").expect("show");
    assert!(shown.contains("tel:+15550001000") && !shown.contains("secret"), "{shown}");
    account(&["add", "sip:Alice@Example.COM", "--password-stdin"], "third secret\n").expect("add");
    assert!(login("alice@example.com", "third secret") || login("Alice@example.com", "third secret"));
    let unasked = account(&["remove", "tel:+15550001000"], "tel:+15550001000\n").expect_err("no terminal");
    assert!(unasked.to_string().contains("--yes"), "{unasked}");
    let (wrong, said) = remove_at_terminal(data, "tel:+15550001000", "tel:+15550001001");
    assert!(!wrong && said.contains("0 messages") && said.contains("nothing is removed"), "{said}");
    assert!(login("tel:+15550001000", "second secret"), "not removed");
    let (right, said) = remove_at_terminal(data, "tel:+15550001000", "+1-555-000-1000");
    assert!(right, "{said}");
    assert!(!login("tel:+15550001000", "second secret"), "removed");
    assert!(account(&["show", "tel:+15550001000"], "").is_err(), "removed");
}

#[test]
fn against_a_running_server() {
    let server = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let data = server.data().expect("ours").display().to_string();
    life_of_an_account(&data, &|user, password| Client::login(server.imap, user, password).is_ok());
    assert!(!server.log().contains("secret"), "passwords stay out of the log:\n{}", server.log());
}

#[test]
fn against_a_stopped_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    // Each login is answered by a server that starts on what the command left, and is killed after it.
    life_of_an_account(&data.display().to_string(), &|user, password| {
        let server =
            Server::start(&Options { data: Some(data.clone()), ..Options::default() }).expect("a server");
        Client::login(server.imap, user, password).is_ok()
    });
}
