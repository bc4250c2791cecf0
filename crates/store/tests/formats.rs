//! Stored formats: what earlier releases wrote is read today, and octets that nothing wrote are refused.
//!
//! `fixtures/v1` holds everything of an account, written by the first release: a key and a value in hexadecimal a line.
//! It is never written again. A new format takes a new folder, made by `STORE_WRITE_FIXTURE=vN cargo test -p store
//! --test formats`, beside the old ones.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use kv::{Engine, RangeRequest, ReadMode, TransactionOptions};
use kv_embedded::EmbeddedEngine;
use model::{CpmAddress, Flags, Keyword, MailboxName, ModSeq, SpecialUse, Uid, UidSet};
use proptest::prelude::*;
use store::{Environment, Options, Store, fuzzing};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, BodyData, CheckRequest, CopyMode, CopyRequest, Credentials,
    Ctx, FindingKind, FlagAction, FlagChange, MailStore, Maintenance, Missing, NewAccount, QuotaLimits,
    Requestor, ScramVerifier, StoreFlags,
};

const CTX: Ctx = Ctx { request_id: 300, deadline: None, requestor: Requestor::Operator };

struct Fixed(AtomicI64);

impl Environment for Fixed {
    fn now(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) as u64
    }
}

fn engine(directory: &std::path::Path) -> Arc<dyn Engine> {
    let options = kv_embedded::Options {
        sync: kv_embedded::Sync::TestsOnlyNever,
        free_bytes_min: 0,
        ..kv_embedded::Options::default()
    };
    EmbeddedEngine::open(directory, options).unwrap()
}

fn options() -> Options {
    Options {
        sweep: false,
        environment: Arc::new(Fixed(AtomicI64::new(1_700_000_000))),
        ..Options::default()
    }
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn address() -> CpmAddress {
    CpmAddress::parse("tel:+33612345678").unwrap()
}

fn uids(first: u32, last: u32) -> UidSet {
    UidSet::from_ranges([(first, last)])
}

/// Does one of everything that writes a kind of value.
async fn write(store: &Store) {
    let keys =
        ScramVerifier { iterations: 4096, salt: vec![5; 16], stored_key: [6; 32], server_key: [7; 32] };
    let new = NewAccount {
        address: address(),
        credentials: Credentials::Scram(keys),
        limits: QuotaLimits { bytes: Some(1 << 30), messages: None },
        service: store_api::ServiceClass::default(),
    };
    let account = store.create_account(&CTX, new).await.unwrap();
    let message = |text: &str| AppendMessage {
        flags: Flags::SEEN,
        keywords: vec![Keyword::parse("$Forwarded").unwrap()],
        internal_date: Some((1_600_000_000, -300)),
        annotations: Vec::new(),
        body: AppendBody::Inline(text.to_owned().into()),
    };
    let text =
        "Subject: one\r\nConversation-ID: c1\r\nContribution-ID: k1\r\nIMDN-Message-ID: m1\r\n\r\nHello";
    let messages = vec![message(text), message("Subject: two\r\n\r\n"), message("three")];
    store.append(&CTX, account, AppendRequest { mailbox: name("INBOX"), messages }).await.unwrap();
    store.create_folder(&CTX, account, &name("Été/Sent"), Some(SpecialUse::Sent)).await.unwrap();
    store.delete_folder(&CTX, account, &name("Été")).await.unwrap();
    store.subscribe(&CTX, account, &name("Été/Sent"), true).await.unwrap();
    let tree = store.folders(&CTX, account).await.unwrap();
    let inbox = tree.find(&name("INBOX")).unwrap().id;
    let copy = CopyRequest {
        mode: CopyMode::Copy,
        source: inbox,
        uids: uids(1, 2),
        target: name("Default"),
        missing: Missing::Skip,
    };
    store.copy(&CTX, account, copy).await.unwrap();
    let change = FlagChange { action: FlagAction::Add, flags: Flags::DELETED, keywords: Vec::new() };
    let request = StoreFlags { mailbox: inbox, uids: uids(2, 3), change, unchanged_since: None };
    store.store_flags(&CTX, account, request).await.unwrap();
    store.expunge(&CTX, account, inbox, Some(uids(3, 3))).await.unwrap();
    let mut writer = store.stage_body(&CTX, account, 40_000).await.unwrap();
    writer.write(vec![b'x'; 40_000].into()).await.unwrap();
    writer.finish().await.unwrap();
}

async fn dump(engine: &dyn Engine) -> String {
    let hex = |octets: &[u8]| {
        octets.iter().fold(String::new(), |mut out, octet| {
            write!(out, "{octet:02x}").unwrap();
            out
        })
    };
    let mut request = RangeRequest::new(&b""[..], &b"\xff"[..]);
    let mut out = String::new();
    let mut trx = engine.begin(TransactionOptions::default());
    loop {
        let page = trx.get_range(&request, ReadMode::Snapshot).await.unwrap();
        for pair in &page.pairs {
            writeln!(out, "{} {}", hex(&pair.key), hex(&pair.value)).unwrap();
        }
        let Some(last) = page.pairs.last().filter(|_| page.more) else { return out };
        request.begin = [&last.key[..], &[0]].concat().into();
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn fixture(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version).join("account.hex")
}

#[tokio::test]
async fn what_the_first_release_wrote_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    if let Ok(version) = std::env::var("STORE_WRITE_FIXTURE") {
        let store = Store::open(engine.clone(), options()).await.unwrap();
        write(&store).await;
        let path = fixture(&version);
        assert!(!path.exists(), "fixtures are never written again");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, dump(engine.as_ref()).await).unwrap();
        return;
    }
    let mut trx = engine.begin(TransactionOptions::default());
    for line in std::fs::read_to_string(fixture("v1")).unwrap().lines() {
        let (key, value) = line.split_once(' ').unwrap();
        trx.set(&unhex(key), &unhex(value));
    }
    trx.commit().await.unwrap();
    let store = Store::open(engine.clone(), options()).await.unwrap();
    // That release had no notes of \Deleted; all else is as it is today.
    let kinds: Vec<_> = store.check().await.unwrap().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::DeletedNotes]);
    let request = CheckRequest { repair: true, ..CheckRequest::default() };
    let repaired: Vec<_> = store.inspect(&CTX, request).await.unwrap().try_collect().await.unwrap();
    assert!(!repaired.is_empty());
    assert_eq!(store.check().await.unwrap(), []);

    let found = store.account(&CTX, &address()).await.unwrap().unwrap();
    assert!(
        matches!(&found.credentials, Credentials::Scram(keys) if keys.salt == [5; 16] && keys.server_key == [7; 32])
    );
    let account = found.id;
    let quota = store.quota(&CTX, account).await.unwrap();
    assert_eq!(
        (quota.usage.messages, quota.usage.deleted_messages, quota.limits.bytes),
        (4, 1, Some(1 << 30))
    );
    let tree = store.folders(&CTX, account).await.unwrap();
    assert!(tree.find(&name("Été")).unwrap().noselect && tree.subscribed().contains(&name("Été/Sent")));
    assert_eq!(tree.find(&name("Été/Sent")).unwrap().special_use, Some(SpecialUse::Sent));
    let inbox = tree.find(&name("INBOX")).unwrap().id;
    let folder = store.folder(&CTX, account, inbox).await.unwrap();
    assert_eq!((folder.uids(), folder.state.highest_modseq), (uids(1, 2), ModSeq(4)));
    let row = *folder.row(Uid::MIN).unwrap();
    assert_eq!((row.internal_date, row.zone_minutes), (1_600_000_000, -300));
    assert_eq!(folder.state.keywords.get(0).unwrap().as_str(), "$Forwarded");
    let BodyData::Whole(octets) = store.body(&CTX, account, inbox, row.body, None).await.unwrap() else {
        panic!("pieces")
    };
    assert!(octets.starts_with(b"Subject: one\r\n") && octets.ends_with(b"Hello"));
    let info = store.infos(&CTX, account, inbox, &[row.body]).await.unwrap().remove(0).unwrap();
    assert_eq!(info.imdn_message_id(), Some(&b"m1"[..]));
    assert_eq!(store.vanished(&CTX, account, inbox, ModSeq(2)).await.unwrap(), uids(3, 3));
    // One message was expunged; the one of the deleted folder was none.
    assert_eq!(store.sweep_all().await.unwrap().bodies, 1);
    assert_eq!(store.check().await.unwrap(), []);
}

/// All values of the fixture, as seeds.
fn values() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(fixture("v1")).unwrap_or_default();
    text.lines()
        .map(|line| unhex(line.split_once(' ').unwrap().1))
        .filter(|value| value.len() < 2_000)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_are_too_odd(input in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::stored_values(&input);
        fuzzing::stored_keys(&input);
    }

    #[test]
    fn nor_what_was_altered(
        value in prop::sample::select(values()),
        at: prop::sample::Index,
        to: u8,
        cut: prop::sample::Index,
        shorter: bool,
    ) {
        let mut value = value;
        if !value.is_empty() {
            let at = at.index(value.len());
            value[at] = to;
            if shorter {
                value.truncate(cut.index(value.len()));
            }
        }
        fuzzing::stored_values(&value);
    }
}
