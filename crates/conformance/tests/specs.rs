//! Transcripts, documents and capabilities know each other.

use conformance::client::Client;
use conformance::server::{Options, Server};
use conformance::specs::{Status, capabilities, document_of, documents, requirement_tests};
use conformance::transcript::{all, root};

#[test]
fn every_source_has_a_row_and_every_row_its_transcripts() {
    let documents = documents().expect("specs.tsv");
    let transcripts = all(&root()).expect("transcripts");
    let mut wrong = Vec::new();
    for transcript in &transcripts {
        for source in &transcript.sources {
            let name = document_of(source);
            if !documents.iter().any(|row| row.name == name) {
                wrong.push(format!("{}: {name} has no row in specs.tsv", transcript.name));
            }
        }
    }
    for row in documents.iter().filter(|row| !row.is_requirement()) {
        for folder in &row.transcripts {
            let shown = transcripts.iter().any(|transcript| {
                transcript.name.starts_with(&format!("{folder}/"))
                    && transcript.sources.iter().any(|source| document_of(source) == row.name)
            });
            if !shown {
                wrong.push(format!("specs.tsv: nothing in transcripts/{folder} shows {}", row.name));
            }
        }
        let elsewhere = row.note.contains("tests/");
        if row.status != Status::None && row.transcripts.is_empty() && !elsewhere {
            wrong.push(format!("specs.tsv: {} is shown nowhere", row.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_requirement_has_its_tests_and_every_such_test_its_requirement() {
    let rows: Vec<_> = documents()
        .expect("specs.tsv")
        .into_iter()
        .filter(conformance::specs::Document::is_requirement)
        .collect();
    let tests = requirement_tests().expect("sources");
    let mut named: Vec<String> = all(&root())
        .expect("transcripts")
        .into_iter()
        .filter_map(|transcript| transcript.name.strip_prefix("requirements/").map(str::to_owned))
        .collect();
    named.extend(tests);
    let mut wrong = Vec::new();
    for row in &rows {
        let [dashes, underscores] = [row.name.to_lowercase(), row.name.to_lowercase().replace('-', "_")];
        for shown in &row.transcripts {
            if !shown.starts_with(&dashes) && !shown.starts_with(&underscores) {
                wrong.push(format!("specs.tsv: {shown} is not named after {}", row.name));
            }
            if !named.contains(shown) {
                wrong.push(format!("specs.tsv: {shown} is neither a test nor in transcripts/requirements"));
            }
        }
        if row.transcripts.is_empty() != (row.status == Status::None) {
            wrong
                .push(format!("specs.tsv: {} is {:?}, shown by {:?}", row.name, row.status, row.transcripts));
        }
    }
    for name in &named {
        if !rows.iter().any(|row| row.transcripts.contains(name)) {
            wrong.push(format!("no requirement of specs.tsv says that {name} shows it"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_capability_has_a_document_that_is_followed() {
    let server = Server::start(&Options { accounts: 1, ..Options::default() }).expect("a server");
    let user = server.fresh_user();
    let mut client = Client::connect(server.imap, "").expect("connect");
    client.response().expect("greeting");
    let (mut responses, _) = client.expect_ok("CAPABILITY").expect("capability");
    let login = format!("LOGIN {} \"{}\"", user.name, user.password);
    client.expect_ok(&login).expect("login");
    responses.extend(client.expect_ok("CAPABILITY").expect("capability").0);
    let table = capabilities().expect("capabilities.tsv");
    let documents = documents().expect("specs.tsv");
    let mut wrong = Vec::new();
    for response in responses.iter().filter(|response| response.kind() == "CAPABILITY") {
        for value in &response.values[2..] {
            let word = value.keyword().unwrap_or_default();
            let row =
                table.iter().find(|(name, _)| word == *name || name.ends_with('=') && word.starts_with(name));
            match row {
                None => wrong.push(format!("{word} is not in capabilities.tsv")),
                Some((_, document)) => {
                    if !documents.iter().any(|row| row.name == *document && row.status != Status::None) {
                        wrong.push(format!(
                            "{word} comes from {document}, which specs.tsv does not say we follow"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
