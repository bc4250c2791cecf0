use kv::fault::{FaultEngine, Faults};
use model::{ErrorKind, Flags, MailboxId, Uid};
use store::Options;
use store_api::{AccountState, CopyMode, CopyRequest, FlagAction, MailStore, Missing, QuotaLimits};

use crate::harness::{Harness, address, kind, name, operator, uids};

fn pairs(given: &[(u32, u32)]) -> Vec<(Uid, Uid)> {
    given.iter().map(|(a, b)| (Uid::new(*a).unwrap(), Uid::new(*b).unwrap())).collect()
}

#[tokio::test]
async fn copies_share_bodies() {
    let h = Harness::new().await;
    h.fill("INBOX", 5).await;
    h.try_flag("Default", "1", FlagAction::Add, Flags::default(), &[], None).await.unwrap();
    h.try_flag("INBOX", "2", FlagAction::Add, Flags::FLAGGED, &["one", "two"], None).await.unwrap();
    let done = h.try_copy(CopyMode::Copy, "INBOX", "2,4,9", "Default").await.unwrap();
    assert_eq!(done.pairs, pairs(&[(2, 1), (4, 2)]));
    let (source, target) = (h.folder("INBOX").await, h.folder("Default").await);
    let (from, to) = (source.row(Uid::new(2).unwrap()).unwrap(), target.row(Uid::MIN).unwrap());
    assert_eq!((from.body, from.size, from.internal_date), (to.body, to.size, to.internal_date));
    assert!(to.flags.contains(Flags::FLAGGED));
    assert_eq!(to.flags.keyword_indexes().count(), 2);
    assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap().usage.messages, 7);
    h.check().await;
    // The body stays as long as one has it.
    h.add_flags("INBOX", "1:*", Flags::DELETED).await;
    assert_eq!(h.expunge("INBOX", None).await, uids("1:5"));
    h.check().await;
    assert_eq!(h.octets("Default", 1).await, "Subject: 1\r\n\r\n1");
    h.add_flags("Default", "1", Flags::DELETED).await;
    h.expunge("Default", None).await;
    h.check().await;
    let gone = h.store.body(&h.ctx(), h.account, MailboxId(0), to.body, None).await;
    assert_eq!(kind(gone.map(drop)), ErrorKind::Expunged);
}

#[tokio::test]
async fn moves_leave_the_source() {
    let h = Harness::new().await;
    h.fill("INBOX", 300).await;
    let before = h.folder("INBOX").await.state.highest_modseq;
    let done = h.try_copy(CopyMode::Move, "INBOX", "100:200", "Default").await.unwrap();
    assert_eq!((done.pairs.len(), done.source_modseq), (101, before.next()));
    assert_eq!(h.folder("INBOX").await.uids(), uids("1:99,201:300"));
    assert_eq!(h.folder("Default").await.uids(), uids("1:101"));
    let vanished = h.store.vanished(&h.ctx(), h.account, h.id("INBOX").await, before).await.unwrap();
    assert_eq!(vanished, uids("100:200"));
    assert_eq!(h.octets("Default", 1).await, "Subject: 99\r\n\r\n99");
    h.check().await;
}

/// Two moves of the same message wait for one commit: if that fails, nobody is told that the message is gone.
#[tokio::test]
async fn what_was_not_committed_refuses_nobody() {
    let engine = FaultEngine::new(kv::memory::MemoryEngine::new(), 1, Faults::none());
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), Options::default()).await;
    h.fill("INBOX", 1).await;
    let request = |target: &str| CopyRequest {
        mode: CopyMode::Move,
        source: MailboxId(1),
        uids: uids("1"),
        target: name(target),
        missing: Missing::Refuse,
    };
    assert_eq!(h.id("INBOX").await, MailboxId(1));
    engine.set_faults(Faults { commit_unavailable: 1.0, ..Faults::none() });
    for _ in 0..20 {
        let ctx = h.ctx();
        let moves = ["Default", "RCSMessageStore", "Default"].map(request);
        let moves = moves.map(|request| h.store.copy(&ctx, h.account, request));
        for answer in futures::future::join_all(moves).await {
            assert_eq!(kind(answer), ErrorKind::Unavailable);
        }
    }
    engine.set_faults(Faults::none());
    assert_eq!(h.store.copy(&h.ctx(), h.account, request("Default")).await.unwrap().pairs, pairs(&[(1, 1)]));
    h.check().await;
}

#[tokio::test]
async fn into_the_same_folder() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    let copied = h.try_copy(CopyMode::Copy, "INBOX", "1:*", "INBOX").await.unwrap();
    assert_eq!(copied.pairs, pairs(&[(1, 4), (2, 5), (3, 6)]));
    let moved = h.try_copy(CopyMode::Move, "INBOX", "2:3", "INBOX").await.unwrap();
    assert_eq!(moved.pairs, pairs(&[(2, 7), (3, 8)]));
    assert_eq!(h.folder("INBOX").await.uids(), uids("1,4:8"));
    h.check().await;
}

#[tokio::test]
async fn more_than_a_page() {
    let h = Harness::new().await;
    h.fill("INBOX", 10_500).await;
    let done = h.try_copy(CopyMode::Copy, "INBOX", "1:*", "Default").await.unwrap();
    assert_eq!(done.pairs.len(), 10_500);
    assert!(done.pairs.iter().all(|(from, to)| from == to));
    let done = h.try_copy(CopyMode::Move, "Default", "1:*", "RCSMessageStore").await.unwrap();
    assert_eq!(done.pairs.len(), 10_500);
    assert_eq!(h.folder("Default").await.state.messages, 0);
    h.check().await;
}

#[tokio::test]
async fn all_or_none() {
    let h = Harness::new().await;
    h.fill("INBOX", 10_500).await;
    let limits = QuotaLimits { bytes: None, messages: Some(20_999) };
    h.store.configure_account(&operator(), &address(0), AccountState::Active, limits).await.unwrap();
    assert_eq!(kind(h.try_copy(CopyMode::Copy, "INBOX", "1:*", "Default").await), ErrorKind::OverQuota);
    assert_eq!(h.folder("Default").await.state.messages, 0);
    assert_eq!(kind(h.try_copy(CopyMode::Copy, "INBOX", "1", "nowhere").await), ErrorKind::NoSuchMailbox);
    // A move needs no room.
    h.try_copy(CopyMode::Move, "INBOX", "1:*", "Default").await.unwrap();
    let nothing = h.try_copy(CopyMode::Copy, "INBOX", "1:*", "Default").await.unwrap();
    assert!(nothing.pairs.is_empty());
    h.check().await;
}

#[tokio::test]
async fn keywords_find_their_place_or_none() {
    let h = Harness::new().await;
    h.fill("INBOX", 2).await;
    h.fill("Default", 1).await;
    let words: Vec<String> = (0..56).map(|n| format!("word{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    h.try_flag("Default", "1", FlagAction::Add, Flags::default(), &words, None).await.unwrap();
    h.try_flag("INBOX", "1", FlagAction::Add, Flags::default(), &["other", "word3"], None).await.unwrap();
    assert_eq!(kind(h.try_copy(CopyMode::Copy, "INBOX", "1:2", "Default").await), ErrorKind::Limit);
    h.try_flag("Default", "1", FlagAction::Remove, Flags::default(), &["word9"], None).await.unwrap();
    h.try_copy(CopyMode::Copy, "INBOX", "1:2", "Default").await.unwrap();
    let folder = h.folder("Default").await;
    let row = folder.row(Uid::new(2).unwrap()).unwrap();
    let mut found: Vec<_> =
        row.flags.keyword_indexes().map(|i| folder.state.keywords.get(i).unwrap().as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["other", "word3"]);
    h.check().await;
}
