//! Folders and changes larger than one transaction, over the engine in memory.

use std::sync::Arc;

use kv::Engine;
use kv::count::CountingEngine;
use kv::fault::{FaultEngine, Faults};
use kv::memory::MemoryEngine;
use model::{BlockNo, Flags, FolderSnapshot, ModSeq, Uid, UidSet};
use store::keyspace::{Keyspace, Subspace};
use store::{Options, Store};
use store_api::{CopyMode, FlagAction, FlagChange, MailStore, StoreFlags};

use crate::harness::{Harness, address, name, operator, uids};

async fn harness(engine: Arc<dyn Engine>) -> Harness {
    Harness::over(engine, tempfile::tempdir().unwrap(), Options::default()).await
}

/// Messages in INBOX: a few appended, then copied until there are enough.
async fn grow(h: &Harness, doublings: u32) {
    h.fill("INBOX", 1 << 13).await;
    for _ in 0..doublings {
        h.try_copy(CopyMode::Copy, "INBOX", "1:*", "INBOX").await.unwrap();
    }
}

/// A folder of parts that were read at different versions would count something that is not there.
fn is_of_one_version(folder: &FolderSnapshot) {
    let rows = || folder.rows();
    let state = &folder.state;
    assert_eq!(rows().count() as u64, state.messages);
    assert_eq!(rows().filter(|row| !row.flags.contains(Flags::SEEN)).count() as u64, state.unseen);
    assert_eq!(rows().filter(|row| row.flags.contains(Flags::DELETED)).count() as u64, state.deleted);
    assert_eq!(rows().map(|row| u64::from(row.size)).sum::<u64>(), state.bytes);
    assert!(
        rows().all(|row| row.modseq <= state.highest_modseq && u64::from(row.uid.get()) < state.uid_next)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_read_in_parts_is_of_one_version() {
    let memory = MemoryEngine::new();
    let h = harness(memory.clone()).await;
    grow(&h, 3).await;
    let inbox = h.id("INBOX").await;
    let changing = tokio::spawn({
        let h = h.clone();
        async move {
            for n in 0u32.. {
                let at = (n * 7919) % 60_000 + 1;
                let set = format!("{at},{}", at + 200);
                let flags = if n.is_multiple_of(2) { Flags::SEEN } else { Flags::DELETED };
                h.add_flags("INBOX", &set, flags).await;
                h.fill("INBOX", 3).await;
                if n % 8 == 7 {
                    h.expunge("INBOX", None).await;
                }
                // Not so fast that reading it anew each time is all that is left.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    });
    // Every third read ends its transaction, so that a folder of several pages takes several.
    let faults = Faults { read_too_old: 0.34, ..Faults::none() };
    for seed in 0..6 {
        let faulty = FaultEngine::new(memory.clone(), seed, Faults::none());
        let store = Store::open(faulty.clone(), h.options.clone()).await.unwrap();
        faulty.set_faults(faults);
        let since = h.folder("INBOX").await;
        let folder = store.folder(&h.ctx(), h.account, inbox).await.unwrap();
        is_of_one_version(&folder);
        assert!(folder.state.highest_modseq >= since.state.highest_modseq);
        let cold = Store::open(faulty.clone(), h.options.clone()).await.unwrap();
        let gone = cold.vanished(&h.ctx(), h.account, inbox, since.state.highest_modseq).await.unwrap();
        let now = h.folder("INBOX").await;
        assert!(gone.intersection(&now.uids()).is_empty());
        assert!(since.uids().difference(&folder.uids()).difference(&gone).is_empty());
    }
    changing.abort();
    let _ = changing.await;
    h.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_folder_is_read_once() {
    let engine = CountingEngine::new(MemoryEngine::new());
    let h = harness(engine.clone()).await;
    grow(&h, 1).await;
    let inbox = h.id("INBOX").await;
    let blocks = h.folder("INBOX").await.blocks().len() as u64;
    engine.note(Keyspace::new(&[]).subspace(h.account, Subspace::Block).begin);
    let cold = h.sibling().await;
    let readers = (0..32).map(|_| {
        let (cold, h) = (cold.clone(), h.clone());
        tokio::spawn(async move { cold.folder(&h.ctx(), h.account, inbox).await.unwrap() })
    });
    for reader in readers.collect::<Vec<_>>() {
        is_of_one_version(&reader.await.unwrap());
    }
    assert_eq!(engine.noted(), [blocks]);
}

#[tokio::test]
async fn changes_of_a_cold_folder_too_large_for_a_transaction() {
    let engine = CountingEngine::new(MemoryEngine::new());
    let h = harness(engine.clone()).await;
    grow(&h, 4).await;
    let before = h.folder("INBOX").await;
    assert_eq!(before.state.messages, 1 << 17);
    // A cache too small for the folder: what was read for a change must last until it has happened.
    let options = Options { folder_cache_bytes: 1 << 20, ..h.options.clone() };
    let cold = Store::open(engine.clone(), options).await.unwrap();
    // One message in each block: the blocks are more than one transaction may write.
    let sparse: UidSet = (0..1 << 10).map(|block| Uid::new(block * 128 + 5).unwrap()).collect();
    let request = StoreFlags {
        mailbox: h.id("INBOX").await,
        uids: sparse.clone(),
        change: FlagChange { action: FlagAction::Add, flags: Flags::DELETED, keywords: Vec::new() },
        unchanged_since: None,
    };
    let done = cold.store_flags(&h.ctx(), h.account, request.clone()).await.unwrap();
    assert_eq!((done.changed, done.modseq_before), (sparse.clone(), before.state.highest_modseq));
    assert_eq!(done.modseq, ModSeq(before.state.highest_modseq.0 + 2), "two pages");
    engine.take();
    let gone = cold.expunge(&h.ctx(), h.account, request.mailbox, None).await.unwrap();
    assert_eq!(gone.uids, sparse);
    let folder = h.folder("INBOX").await;
    is_of_one_version(&folder);
    assert_eq!(folder.uids(), before.uids().difference(&sparse));
    let moved = h.try_copy(CopyMode::Move, "INBOX", "1:*", "Default").await.unwrap();
    assert_eq!(moved.pairs.len() as u64, folder.state.messages);
    assert_eq!(h.folder("INBOX").await.state.messages, 0);
    assert_eq!(h.folder("Default").await.uids().len(), folder.state.messages);
    assert_eq!(h.folder("Default").await.blocks().first().unwrap().0, BlockNo(0));
    h.check().await;
}

#[tokio::test]
async fn a_large_copy_that_fails_is_taken_back() {
    let engine = FaultEngine::new(MemoryEngine::new(), 5, Faults::none());
    let h = harness(engine.clone()).await;
    grow(&h, 2).await;
    h.fill("Default", 7).await;
    // Four pages. The engine serves nobody from the second on, for a while.
    let failing = tokio::spawn({
        let (h, engine) = (h.clone(), engine.clone());
        async move {
            while h.folder("Default").await.state.messages == 7 {
                tokio::task::yield_now().await;
            }
            engine.set_faults(Faults { commit_unavailable: 1.0, ..Faults::none() });
            tokio::task::yield_now().await;
            engine.set_faults(Faults::none());
        }
    });
    let copied = h.try_copy(CopyMode::Copy, "INBOX", "1:*", "Default").await;
    failing.await.unwrap();
    let target = h.folder("Default").await;
    is_of_one_version(&target);
    match copied {
        Ok(done) => assert_eq!(target.state.messages as usize, 7 + done.pairs.len()),
        Err(_) => assert_eq!(target.uids(), uids("1:7"), "as before"),
    }
    h.check().await;
}

#[tokio::test]
async fn a_large_rename_of_inbox_leaves_it_empty() {
    let h = harness(MemoryEngine::new()).await;
    grow(&h, 1).await;
    h.store.rename_folder(&h.ctx(), h.account, &name("INBOX"), &name("old")).await.unwrap();
    assert_eq!(h.folder("INBOX").await.state.messages, 0);
    assert_eq!(h.folder("old").await.uids(), uids("1:16384"));
    h.check().await;
}

/// Where a range costs no more than a key, an account goes at once.
#[tokio::test]
async fn an_account_of_any_size_is_removed_in_few_steps() {
    let engine = CountingEngine::new(MemoryEngine::new());
    let h = harness(engine.clone()).await;
    grow(&h, 0).await;
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    engine.take();
    h.store.sweep_all().await.unwrap();
    let cost = engine.take();
    assert!(cost.round_trips < 20, "{cost:?}");
    let left = Keyspace::new(&[]).account(h.account);
    let mut trx = engine.begin(kv::TransactionOptions::default());
    let request = kv::RangeRequest::new(left.begin, left.end);
    assert!(trx.get_range(&request, kv::ReadMode::Snapshot).await.unwrap().pairs.is_empty());
}
