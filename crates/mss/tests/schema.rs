//! Data of a later release: every role refuses it in one sentence, with exit code 1, and leaves it as it is.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::path::Path;
use std::process::Command;

use kv::{Engine as _, ReadMode, TransactionOptions};
use kv_embedded::EmbeddedEngine;
use store::keyspace::{Keyspace, SCHEMA_VERSION};

fn engine(directory: &Path) -> std::sync::Arc<EmbeddedEngine> {
    let options = kv_embedded::Options { free_bytes_min: 0, ..kv_embedded::Options::default() };
    EmbeddedEngine::open(directory, options).unwrap()
}

async fn schema(directory: &Path, write: Option<u32>) -> Option<u32> {
    let engine = engine(directory);
    let key = Keyspace::new(b"").schema();
    let mut trx = engine.begin(TransactionOptions::default());
    let found = trx.get(&key, ReadMode::Snapshot).await.unwrap();
    if let Some(version) = write {
        trx.set(&key, &version.to_be_bytes());
    }
    trx.commit().await.unwrap();
    engine.close();
    found.map(|raw| u32::from_be_bytes(raw.as_ref().try_into().unwrap()))
}

#[tokio::test]
async fn a_later_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mss"))
            .args(arguments)
            .args(["--data", data])
            .env("MSS_ADMIN__LISTEN", "")
            .env("MSS_IMAP__LISTEN", "127.0.0.1:0")
            .env("MSS_DATA__FREE_BYTES_MIN", "0")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
    };
    // The first start writes the version that this release knows.
    let elsewhere = tempfile::tempdir().unwrap();
    let accounts = elsewhere.path().join("accounts.csv");
    std::fs::write(&accounts, "tel:+15550000001,secret\n").unwrap();
    assert_eq!(run(&["account", "import", accounts.to_str().unwrap()]), (Some(0), String::new()));
    assert_eq!(schema(directory.path(), Some(SCHEMA_VERSION + 1)).await, Some(SCHEMA_VERSION));
    for role in [&["serve"][..], &["store", "--rpc", "127.0.0.1:0"], &["account", "list"]] {
        let (code, said) = run(role);
        let last = said.lines().last().unwrap_or_default();
        let sentence = format!("the data has schema version {}", SCHEMA_VERSION + 1);
        assert!(code == Some(1) && last.starts_with("mss: ") && last.contains(&sentence), "{role:?}: {said}");
    }
    assert_eq!(schema(directory.path(), None).await, Some(SCHEMA_VERSION + 1), "it was left as it is");
}
