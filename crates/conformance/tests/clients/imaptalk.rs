//! Perl's Mail::IMAPTalk: access control, metadata and annotations.

use std::process::Command;

use conformance::clients;
use conformance::server::{Server, User};

pub fn works(server: &Server, owner: &User) {
    let other = server.fresh_user();
    let said = clients::run(Command::new("perl").arg(clients::folder().join("imaptalk_session.pl")).args([
        &server.imap.ip().to_string(),
        &server.imap.port().to_string(),
        &owner.name,
        &other.name,
        &owner.password,
    ]))
    .expect("Mail::IMAPTalk is content");
    assert_eq!(said.trim(), "ok");
    let left: Vec<String> =
        super::held(server, owner, "perl").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(left, ["number 1", "number 2", "number 3"]);
}
