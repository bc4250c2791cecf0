//! What changed while a device was away, through kills of the server (S2-03).

use conformance::client::Client;
use conformance::server::{Options, Server, User};

const NOTIFY: &str = "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))";

/// A connection of a device that has enabled notices, and the mailboxes that it was told of then.
fn enabled(server: &Server, user: &User, device: &str) -> (Client, Vec<String>) {
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a login");
    client.expect_ok(&format!("ID (\"device-id\" \"{device}\")")).expect("ID");
    let (said, _) = client.expect_ok(NOTIFY).expect("NOTIFY");
    let told =
        said.iter().map(conformance::client::Response::text).filter(|line| line.starts_with("* STATUS "));
    let mut names: Vec<String> = told.filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect();
    names.sort();
    (client, names)
}

fn store(server: &Server, user: &User, folder: &str) {
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a login");
    let (_, tagged) =
        client.literal(&format!("APPEND {folder}"), b"Subject: x\r\n\r\nx\r\n", "").expect("APPEND");
    assert_eq!(tagged.kind(), "OK");
}

#[test]
fn s2_03_after_kills() {
    let mut server = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let none: [&str; 0] = [];
    let (phone, told) = enabled(&server, &user, "phone");
    assert_eq!(told, none, "the first time there is nothing to make up for");
    store(&server, &user, "Default");
    // Killed with the device connected: what it was told last it may not have seen.
    server.kill();
    drop(phone);
    server.restart().expect("again");
    store(&server, &user, "INBOX");
    let (mut phone, told) = enabled(&server, &user, "phone");
    assert_eq!(told, ["Default", "INBOX"]);
    // A command after the answer shows that it was seen; that survives a kill.
    phone.expect_ok("NOOP").expect("NOOP");
    phone.expect_ok("NOOP").expect("NOOP");
    server.kill();
    drop(phone);
    server.restart().expect("again");
    let (mut phone, told) = enabled(&server, &user, "phone");
    assert_eq!(told, none);
    phone.expect_ok("LOGOUT").expect("LOGOUT");
    store(&server, &user, "RCSMessageStore");
    server.kill();
    server.restart().expect("again");
    // Whoever comes when: each device hears of it once, the one that never was here of nothing.
    let (mut phone, told) = enabled(&server, &user, "phone");
    assert_eq!(told, ["RCSMessageStore"]);
    phone.expect_ok("LOGOUT").expect("LOGOUT");
    assert_eq!(enabled(&server, &user, "phone").1, none);
    assert_eq!(enabled(&server, &user, "tablet").1, none);
}
