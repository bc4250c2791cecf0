//! What each operation asks of the engine: on a cluster, round trips are what it costs. A change that adds one fails.

use kv::count::CountingEngine;
use kv::memory::MemoryEngine;
use model::Flags;
use store::Options;
use store_api::{CopyMode, MailStore};

use crate::harness::{Harness, address, message};

/// Transactions, and calls one after another that somebody waited for, commits among them.
fn expect(engine: &CountingEngine, what: &str, transactions: u64, round_trips: u64) {
    let cost = engine.take();
    assert_eq!((cost.transactions, cost.round_trips), (transactions, round_trips), "{what}: {cost:?}");
}

#[tokio::test]
async fn round_trips() {
    let engine = CountingEngine::new(MemoryEngine::new());
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), Options::default()).await;
    h.fill("INBOX", 300).await;
    h.try_append("INBOX", vec![message(vec![b'x'; 60_000])]).await.unwrap();
    let inbox = h.id("INBOX").await;
    let warm = h.store.clone();
    let cold = h.sibling().await;
    let ctx = h.ctx();
    warm.folder(&ctx, h.account, inbox).await.unwrap();
    engine.take();

    cold.account(&ctx, &address(0)).await.unwrap();
    expect(&engine, "an account", 1, 1);
    cold.folders(&ctx, h.account).await.unwrap();
    expect(&engine, "the tree, cold", 1, 1);
    cold.folders(&ctx, h.account).await.unwrap();
    expect(&engine, "the tree, cached", 1, 1);
    cold.status(&ctx, h.account, &[inbox]).await.unwrap();
    expect(&engine, "STATUS", 1, 1);
    cold.folder(&ctx, h.account, inbox).await.unwrap();
    expect(&engine, "a folder, cold", 1, 1);
    cold.folder(&ctx, h.account, inbox).await.unwrap();
    expect(&engine, "a folder, cached", 1, 1);
    h.try_append("INBOX", vec![message("x")]).await.unwrap();
    expect(&engine, "APPEND, warm", 1, 2);
    let folder = cold.folder(&ctx, h.account, inbox).await.unwrap();
    expect(&engine, "a folder that got a message", 1, 2);
    let body = |uid: u32| folder.row(model::Uid::new(uid).unwrap()).unwrap().body;
    cold.body(&ctx, h.account, model::MailboxId(0), body(5), None).await.unwrap();
    expect(&engine, "a small body", 1, 1);
    cold.body(&ctx, h.account, model::MailboxId(0), body(5), None).await.unwrap();
    expect(&engine, "a small body, cached", 0, 0);
    cold.body(&ctx, h.account, model::MailboxId(0), body(301), None).await.unwrap();
    expect(&engine, "a body of two chunks", 1, 2);
    let bodies: Vec<_> = (1..=300).map(body).collect();
    cold.infos(&ctx, h.account, model::MailboxId(0), &bodies).await.unwrap();
    expect(&engine, "facts of 300 messages", 1, 1);
    h.add_flags("INBOX", "1:300", Flags::DELETED).await;
    expect(&engine, "the tree, and STORE of 300 messages, warm", 2, 3);
    warm.expunge(&ctx, h.account, inbox, None).await.unwrap();
    expect(&engine, "EXPUNGE of 300 messages, warm", 1, 2);
    warm.sweep_all().await.unwrap();
    // The list of works; then twice the note, the references and facts of a page of bodies, and a commit.
    expect(&engine, "clearing of 300 bodies", 3, 9);
    warm.claim_recent(&ctx, h.account, inbox, 303).await.unwrap();
    expect(&engine, "the first to see messages as recent", 2, 3);
    warm.claim_recent(&ctx, h.account, inbox, 303).await.unwrap();
    expect(&engine, "the second", 0, 0);
    h.try_copy(CopyMode::Copy, "INBOX", "301:302", "Default").await.unwrap();
    expect(&engine, "the tree, and COPY into a folder not cached", 2, 4);

    let mut cold = h.clone();
    cold.store = h.sibling().await;
    engine.take();
    cold.try_append("INBOX", vec![message("x")]).await.unwrap();
    expect(&engine, "APPEND to a cold account", 1, 3);
    cold.try_append("RCSMessageStore", vec![message("x")]).await.unwrap();
    expect(&engine, "APPEND to a small folder not seen before", 1, 3);
    cold.try_append("RCSMessageStore", vec![message("x")]).await.unwrap();
    expect(&engine, "the next", 1, 2);
}

/// A round of the sweeper asks as much whatever the number of folders, and each that is due once.
#[tokio::test]
async fn what_is_long_deleted() {
    let engine = CountingEngine::new(MemoryEngine::new());
    let options = Options { deleted_days: 30, ..Options::default() };
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), options).await;
    for n in 0..50 {
        let folder = format!("f{n}");
        h.create(&folder).await;
        h.fill(&folder, 3).await;
        h.add_flags(&folder, "1", Flags::DELETED).await;
        h.pass(86_400);
    }
    h.store.sweep_all().await.unwrap();
    engine.take();
    let swept = h.store.sweep_all().await.unwrap();
    assert_eq!((swept.messages, swept.works), (0, 0));
    expect(&engine, "nothing is due: the notes, and the list of works", 2, 2);
    h.pass(86_400);
    let swept = h.store.sweep_all().await.unwrap();
    assert_eq!((swept.messages, swept.works), (1, 1));
    expect(&engine, "one folder is due, and the body of its message", 4, 10);
}
