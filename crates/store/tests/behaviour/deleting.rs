//! DELETE that takes along what is below, by class of service.

use kv::count::CountingEngine;
use kv::fault::{FaultEngine, Faults};
use kv::memory::MemoryEngine;
use model::limits::DELETE_FOLDERS_MAX;
use model::{AclAction, AclChange, EntryName, ErrorKind, Flags, Identifier, Rights};
use store::Options;
use store::records::ChangeKind;
use store_api::{
    Credentials, Ctx, DeleteRule, FolderRule, MailStore, NewAccount, ObjectRule, QuotaLimits, Requestor,
    ServiceClass, User,
};

use crate::devices::fed;
use crate::harness::{Harness, address, kind, message, name, operator};

async fn serve(h: &Harness, delete: DeleteRule) {
    let class = ServiceClass { delete, ..ServiceClass::default() };
    h.store.set_service(&operator(), &address(0), class).await.unwrap();
}

async fn delete(h: &Harness, folder: &str) -> model::Result<()> {
    h.store.delete_folder(&h.ctx(), h.account, &name(folder)).await
}

/// The folders at or below one, `-` behind the name of one that cannot be selected.
async fn at_or_below(h: &Harness, top: &str) -> Vec<String> {
    let tree = h.store.folders(&h.ctx(), h.account).await.unwrap();
    let found = tree.folders().iter().filter(|entry| entry.name.as_str().starts_with(top));
    found.map(|entry| format!("{}{}", entry.name, if entry.noselect { "-" } else { "" })).collect()
}

#[tokio::test]
async fn a_conversation_goes_with_its_sessions() {
    let h = Harness::new().await;
    h.create("Default/talk/first/deep").await;
    h.create("Default/talk/second").await;
    h.create("Default/talks").await;
    h.create("work/box").await;
    h.fill("INBOX", 2).await;
    for (folder, count) in
        [("Default/talk", 2), ("Default/talk/first", 3), ("Default/talk/second", 300), ("Default/talks", 1)]
    {
        h.fill(folder, count).await;
    }
    h.add_flags("Default/talk/second", "1:2", Flags::DELETED).await;
    let comment = vec![(EntryName::parse(b"/shared/comment").unwrap(), Some("said".into()))];
    let second = h.id("Default/talk/second").await;
    h.store.set_metadata(&h.ctx(), h.account, Some(second), comment).await.unwrap();
    h.store.subscribe(&h.ctx(), h.account, &name("Default/talk/second"), true).await.unwrap();
    // The common class, as ever: a name stays for what is below it.
    delete(&h, "Default/talk/first").await.unwrap();
    assert_eq!(kind(delete(&h, "Default/talk/first").await), ErrorKind::HasChildren);
    let left = ["Default/talk/first-", "Default/talk/first/deep", "Default/talk/second"];
    assert_eq!(at_or_below(&h, "Default/talk/").await, left);

    serve(&h, DeleteRule::Recursive).await;
    let told_before = fed(&h).await.len();
    let gone = [h.id("Default/talk").await, h.id("Default/talk/first/deep").await, second];
    let other = h.sibling().await;
    let version = other.folders(&h.ctx(), h.account).await.unwrap().version;
    delete(&h, "Default/talk").await.unwrap();

    let tree = other.folders(&h.ctx(), h.account).await.unwrap();
    assert_eq!(tree.version, version + 1, "one change of the tree");
    assert_eq!(at_or_below(&h, "Default/talk").await, ["Default/talks"]);
    let names: Vec<_> = tree.subscribed().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Default/talk/second"], "subscriptions are names");
    let mut expected: Vec<_> = gone.iter().map(|mailbox| Some(*mailbox)).chain([None]).collect();
    expected.sort_unstable();
    let items = fed(&h).await.split_off(told_before);
    assert!(items.iter().all(|item| item.kind == ChangeKind::Folders));
    let mut heard: Vec<_> = items.iter().map(|item| item.mailbox).collect();
    heard.sort_unstable();
    assert_eq!(heard, expected);
    assert_eq!(other.status(&h.ctx(), h.account, &gone).await.unwrap(), [None, None, None]);
    for mailbox in gone {
        assert_eq!(kind(h.store.folder(&h.ctx(), h.account, mailbox).await), ErrorKind::NoSuchMailbox);
    }
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    assert_eq!((usage.messages, usage.deleted_messages), (3, 0));
    assert_eq!(kind(h.try_append("Default/talk/second", vec![message("x")]).await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(delete(&h, "Default/talk").await), ErrorKind::NoSuchMailbox);
    // What was deleted before the class changed goes with the sweeper, too.
    assert_eq!(h.store.check().await.unwrap(), []);
    assert_eq!(h.store.sweep_all().await.unwrap().bodies, 305);
    h.check().await;

    // Elsewhere IMAP's own rule holds.
    delete(&h, "work").await.unwrap();
    assert_eq!(at_or_below(&h, "work").await, ["work-", "work/box"]);
    h.create("RCSMessageStore/kept/box").await;
    delete(&h, "RCSMessageStore/kept").await.unwrap();
    assert_eq!(at_or_below(&h, "RCSMessageStore/").await, Vec::<String>::new());
    h.check().await;
}

/// A name that is left from before the class changed takes what is below it along.
#[tokio::test]
async fn a_name_goes_with_all_below_it() {
    let h = Harness::new().await;
    h.create("Default/talk/a/b").await;
    delete(&h, "Default/talk").await.unwrap();
    assert_eq!(at_or_below(&h, "Default/").await, ["Default/talk-", "Default/talk/a", "Default/talk/a/b"]);
    serve(&h, DeleteRule::Recursive).await;
    delete(&h, "Default/talk").await.unwrap();
    assert_eq!(at_or_below(&h, "Default").await, ["Default"]);
    serve(&h, DeleteRule::Rfc3501).await;
    h.create("Default/talk/a").await;
    delete(&h, "Default/talk").await.unwrap();
    assert_eq!(at_or_below(&h, "Default/").await, ["Default/talk-", "Default/talk/a"]);
    h.check().await;
}

/// INBOX and the folders that every account has stay, whoever asks and whatever the class.
#[tokio::test]
async fn standing_folders_stay_in_every_class() {
    let h = Harness::new().await;
    let network = User { network: true, ..User::owner(h.account) };
    let network = Ctx { requestor: Requestor::User(network.into()), ..h.ctx() };
    h.create("Default/talk").await;
    h.create("RCSMessageStore/kept").await;
    h.create("INBOX/below").await;
    for bits in 0..8 {
        let class = ServiceClass::from_bits(bits).expect("a class");
        h.store.set_service(&operator(), &address(0), class).await.unwrap();
        for ctx in [h.ctx(), network.clone(), operator()] {
            for folder in ["INBOX", "Default", "RCSMessageStore"] {
                let refused = h.store.delete_folder(&ctx, h.account, &name(folder)).await;
                assert_eq!(kind(refused), ErrorKind::Cannot, "{folder} {class:?}");
            }
        }
    }
    let strict =
        ServiceClass { objects: ObjectRule::Strict, folders: FolderRule::Cpm, delete: DeleteRule::Recursive };
    assert_eq!(ServiceClass::from_bits(7), Some(strict));
    assert_eq!(h.store.account(&operator(), &address(0)).await.unwrap().unwrap().service, strict);
    // The subscriber may, by any rule, and so may the others.
    delete(&h, "Default/talk").await.unwrap();
    h.store.delete_folder(&network, h.account, &name("RCSMessageStore/kept")).await.unwrap();
    h.check().await;
}

/// Whom the owner lets delete a folder has to have that right on all below it, or nothing happens.
#[tokio::test]
async fn the_right_is_needed_on_every_folder() {
    let h = Harness::new().await;
    serve(&h, DeleteRule::Recursive).await;
    let new = NewAccount {
        address: address(1),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: ServiceClass::default(),
    };
    let other = h.store.create_account(&operator(), new).await.unwrap();
    let them = Ctx { requestor: Requestor::owner(other), ..h.ctx() };
    for folder in ["RCSMessageStore/a", "RCSMessageStore/a/b", "RCSMessageStore/a/c", "RCSMessageStore/a/c/d"]
    {
        h.create(folder).await;
        h.fill(folder, 1).await;
    }
    let give = async |folder: &str, rights: &str| {
        let change = AclChange {
            identifier: Identifier::parse("+15550000001").unwrap(),
            action: AclAction::Set,
            rights: Rights::parse(rights).unwrap(),
        };
        h.store.set_acl(&h.ctx(), h.account, &address(0), h.id(folder).await, &change).await.unwrap();
    };
    let theirs = async |folder: &str| h.store.delete_folder(&them, h.account, &name(folder)).await;
    assert_eq!(kind(theirs("RCSMessageStore/a").await), ErrorKind::NoSuchMailbox);
    give("RCSMessageStore/a", "lx").await;
    give("RCSMessageStore/a/b", "lx").await;
    give("RCSMessageStore/a/c", "lx").await;
    for (rights, allowed) in [("", false), ("lrswipktean", false), ("x", true)] {
        give("RCSMessageStore/a/c/d", rights).await;
        let before = h.store.folders(&h.ctx(), h.account).await.unwrap();
        let outcome = theirs("RCSMessageStore/a").await;
        let after = h.store.folders(&h.ctx(), h.account).await.unwrap();
        if allowed {
            outcome.unwrap();
            assert_eq!(at_or_below(&h, "RCSMessageStore/").await, Vec::<String>::new());
        } else {
            assert_eq!(kind(outcome), ErrorKind::NoPermission, "{rights:?}");
            assert_eq!(after.version, before.version, "nothing happened");
            assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap().usage.messages, 4);
        }
    }
    assert_eq!(
        h.store.shared_with(&them, other).await.unwrap(),
        [],
        "nothing of the account is theirs any more"
    );
    assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap().usage.messages, 0);
    h.check().await;
}

/// What is stored below while it is deleted is stored before, and goes along, or finds no folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_meanwhile_goes_along_or_is_refused() {
    let h = Harness::new().await;
    serve(&h, DeleteRule::Recursive).await;
    let elsewhere = h.sibling().await;
    for round in 0..20 {
        h.create("Default/talk/a/b").await;
        let mut writers = Vec::new();
        for (store, folder) in [(&h.store, "Default/talk/a"), (&elsewhere, "Default/talk/a/b")] {
            let mut writer = h.clone();
            writer.store = store.clone();
            writers.push(tokio::spawn(async move {
                let mut stored = 0;
                loop {
                    match writer.try_append(folder, vec![message("Subject: x\r\n\r\nx")]).await {
                        Ok(_) => stored += 1,
                        Err(error) if error.kind() == ErrorKind::NoSuchMailbox => return stored,
                        // Two nodes in each other's way.
                        Err(error) if error.kind() == ErrorKind::Contended => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        tokio::time::sleep(std::time::Duration::from_millis(round % 5)).await;
        delete(&h, "Default/talk").await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(at_or_below(&h, "Default/").await, Vec::<String>::new());
        let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
        assert_eq!((usage.messages, usage.bytes), (0, 0));
    }
    h.check().await;
}

#[tokio::test]
async fn all_goes_or_nothing() {
    let engine = FaultEngine::new(MemoryEngine::new(), 5, Faults::none());
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), Options::default()).await;
    serve(&h, DeleteRule::Recursive).await;
    let refused = Faults { commit_unavailable: 0.9, ..Faults::none() };
    let mut outcomes = [0, 0];
    for _ in 0..40 {
        if at_or_below(&h, "Default/talk").await.is_empty() {
            h.create("Default/talk/a/b").await;
            h.create("Default/talk/c").await;
            h.fill("Default/talk/a/b", 3).await;
        }
        engine.set_faults(refused);
        let deleted = delete(&h, "Default/talk").await.is_ok();
        engine.set_faults(Faults::none());
        let left = at_or_below(&h, "Default/talk").await.len();
        assert_eq!(left, if deleted { 0 } else { 4 });
        let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
        assert_eq!(usage.messages, if deleted { 0 } else { 3 });
        outcomes[usize::from(deleted)] += 1;
    }
    assert!(outcomes.iter().all(|times| *times > 0), "{outcomes:?}");
    h.check().await;
}

/// The largest tree that goes at once, with what it takes of the engine; one more folder is too many.
#[tokio::test]
async fn the_largest_tree_fits_a_transaction() {
    const LEVELS: usize = 20;
    let engine = CountingEngine::new(MemoryEngine::new());
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), Options::default()).await;
    serve(&h, DeleteRule::Recursive).await;
    let below = vec!["l"; LEVELS - 1].join("/");
    for branch in 0..DELETE_FOLDERS_MAX / LEVELS {
        h.create(&format!("Default/talk/{branch}/{below}")).await;
    }
    assert_eq!(at_or_below(&h, "Default/talk").await.len(), DELETE_FOLDERS_MAX + 1);
    let refused = delete(&h, "Default/talk").await.expect_err("one too many");
    assert_eq!(refused.kind(), ErrorKind::Limit);
    assert!(refused.to_string().contains(&DELETE_FOLDERS_MAX.to_string()), "{refused}");
    assert_eq!(at_or_below(&h, "Default/talk").await.len(), DELETE_FOLDERS_MAX + 1);
    let leaf = format!("Default/talk/0/{below}");
    delete(&h, &leaf).await.unwrap();

    let mut cold = h.clone();
    cold.store = h.sibling().await;
    engine.take();
    delete(&cold, "Default/talk").await.unwrap();
    let cost = engine.take();
    let a_folder = cost.bytes_written as usize / DELETE_FOLDERS_MAX;
    println!("{DELETE_FOLDERS_MAX} folders: {cost:?}, {a_folder} octets a folder");
    assert!((100..400).contains(&a_folder), "{cost:?}");
    assert_eq!(cost.commits, 1);
    assert!(cost.round_trips < 20, "{cost:?}");
    assert_eq!(at_or_below(&h, "Default/").await, Vec::<String>::new());
    assert_eq!(h.store.check().await.unwrap(), []);
    h.check().await;
}
