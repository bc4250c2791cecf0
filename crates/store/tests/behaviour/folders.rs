use model::{ErrorKind, Flags, MailboxName, SpecialUse};
use store_api::{CopyMode, MailStore};

use crate::harness::{Harness, kind, message, name, uids};

impl Harness {
    async fn names(&self) -> Vec<String> {
        let tree = self.store.folders(&self.ctx(), self.account).await.unwrap();
        tree.folders()
            .iter()
            .filter(|f| !["Default", "INBOX", "RCSMessageStore"].contains(&f.name.as_str()))
            .map(|f| format!("{}{}", f.name, if f.noselect { " (noselect)" } else { "" }))
            .collect()
    }

    async fn delete(&self, folder: &str) -> model::Result<()> {
        self.store.delete_folder(&self.ctx(), self.account, &name(folder)).await
    }

    async fn rename(&self, from: &str, to: &str) -> model::Result<()> {
        self.store.rename_folder(&self.ctx(), self.account, &name(from), &name(to)).await
    }

    async fn try_create(&self, folder: &str) -> model::Result<model::MailboxId> {
        self.store.create_folder(&self.ctx(), self.account, &name(folder), None).await
    }
}

#[tokio::test]
async fn create_makes_what_is_above() {
    let h = Harness::new().await;
    h.create("a/b/c").await;
    assert_eq!(h.names().await, ["a", "a/b", "a/b/c"]);
    assert_eq!(kind(h.try_create("a/b").await), ErrorKind::MailboxExists);
    assert_eq!(kind(h.try_create("Inbox").await), ErrorKind::MailboxExists);
    h.fill("a/b", 2).await;
    let special = |use_| {
        let (h, name) = (&h, name("s"));
        async move { h.store.create_folder(&h.ctx(), h.account, &name, Some(use_)).await }
    };
    assert_eq!(kind(special(SpecialUse::All).await), ErrorKind::Cannot);
    special(SpecialUse::Sent).await.unwrap();
    let tree = h.sibling().await.folders(&h.ctx(), h.account).await.unwrap();
    assert_eq!(tree.find(&name("s")).unwrap().special_use, Some(SpecialUse::Sent));
    h.check().await;
}

#[tokio::test]
async fn delete_frees_what_it_held() {
    let h = Harness::new().await;
    let first = h.create("a").await;
    h.fill("a", 500).await;
    h.add_flags("a", "1:7", Flags::DELETED).await;
    h.try_copy(CopyMode::Copy, "a", "1:3", "INBOX").await.unwrap();
    let validity = h.folder("a").await.state.uid_validity;
    h.delete("a").await.unwrap();
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    assert_eq!((usage.messages, usage.deleted_messages), (3, 3));
    assert_eq!(kind(h.store.folder(&h.ctx(), h.account, first).await), ErrorKind::NoSuchMailbox);
    assert_eq!(h.store.status(&h.ctx(), h.account, &[first]).await.unwrap(), [None]);
    assert_eq!(kind(h.delete("a").await), ErrorKind::NoSuchMailbox);
    let second = h.create("a").await;
    assert_ne!(first, second);
    let folder = h.folder("a").await;
    assert_eq!(folder.state.messages, 0);
    assert!(folder.state.uid_validity > validity);
    assert_eq!(h.store.check().await.unwrap(), []);
    assert_eq!(h.store.sweep_all().await.unwrap().bodies, 497);
    h.check().await;
    assert_eq!(h.octets("INBOX", 1).await, "Subject: 0\r\n\r\n0");
}

#[tokio::test]
async fn delete_with_children_leaves_the_name() {
    let h = Harness::new().await;
    h.create("a/b").await;
    h.fill("a", 3).await;
    h.delete("a").await.unwrap();
    assert_eq!(h.names().await, ["a (noselect)", "a/b"]);
    assert_eq!(kind(h.try_append("a", vec![message("x")]).await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(h.delete("a").await), ErrorKind::HasChildren);
    h.check().await;
    h.create("a").await;
    assert_eq!(h.names().await, ["a", "a/b"]);
    assert_eq!(h.folder("a").await.state.messages, 0);
    h.delete("a/b").await.unwrap();
    h.delete("a").await.unwrap();
    assert!(h.names().await.is_empty());
    for standing in ["INBOX", "Default", "RCSMessageStore"] {
        assert_eq!(kind(h.delete(standing).await), ErrorKind::Cannot);
    }
    h.check().await;
}

#[tokio::test]
async fn rename_takes_all_below_along() {
    let h = Harness::new().await;
    let id = h.create("a/b").await;
    h.create("ab").await;
    h.fill("a/b", 2).await;
    let state = h.folder("a/b").await.state.clone();
    h.rename("a", "x/y").await.unwrap();
    assert_eq!(h.names().await, ["ab", "x", "x/y", "x/y/b"]);
    assert_eq!((h.id("x/y/b").await, h.folder("x/y/b").await.state.clone()), (id, state));
    assert_eq!(kind(h.rename("nowhere", "z").await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(h.rename("x", "ab").await), ErrorKind::MailboxExists);
    assert_eq!(kind(h.rename("x", "x/z").await), ErrorKind::Cannot);
    assert_eq!(kind(h.rename("Default", "z").await), ErrorKind::Cannot);
    let long = MailboxName::parse(&vec!["l"; 31].join("/")).unwrap();
    assert_eq!(kind(h.rename("x", long.as_str()).await), ErrorKind::Limit);
    assert_eq!(h.names().await, ["ab", "x", "x/y", "x/y/b"]);
    h.check().await;
}

#[tokio::test]
async fn renaming_inbox_happens_whole_or_not_at_all() {
    let engine = kv::fault::FaultEngine::new(kv::memory::MemoryEngine::new(), 3, kv::fault::Faults::none());
    let h = Harness::over(engine.clone(), tempfile::tempdir().unwrap(), store::Options::default()).await;
    h.fill("INBOX", 500).await;
    let refused = kv::fault::Faults { commit_unavailable: 0.5, ..kv::fault::Faults::none() };
    for n in 0..20 {
        let to = format!("old{n}");
        engine.set_faults(refused);
        let renamed = h.rename("INBOX", &to).await;
        engine.set_faults(kv::fault::Faults::none());
        let there = h.names().await.contains(&to);
        assert_eq!(renamed.is_ok(), there, "{renamed:?}");
        assert_eq!(h.folder("INBOX").await.state.messages, if there { 0 } else { 500 });
        if there {
            assert_eq!(h.folder(&to).await.state.messages, 500);
            h.try_copy(CopyMode::Move, &to, "1:*", "INBOX").await.unwrap();
        }
    }
    h.check().await;
}

#[tokio::test]
async fn renaming_inbox_moves_its_messages() {
    let h = Harness::new().await;
    h.create("INBOX/below").await;
    h.fill("INBOX", 4).await;
    let inbox = h.id("INBOX").await;
    h.rename("INBOX", "old").await.unwrap();
    assert_eq!(h.names().await, ["INBOX/below", "old"]);
    assert_eq!(h.id("INBOX").await, inbox);
    assert_eq!(h.folder("INBOX").await.state.messages, 0);
    assert_eq!(h.folder("old").await.uids(), uids("1:4"));
    assert_eq!(kind(h.rename("INBOX", "old").await), ErrorKind::MailboxExists);
    h.check().await;
}

#[tokio::test]
async fn subscriptions_are_names() {
    let h = Harness::new().await;
    for (folder, subscribed) in [("INBOX", true), ("no/such", true), ("INBOX", true), ("x", false)] {
        h.store.subscribe(&h.ctx(), h.account, &name(folder), subscribed).await.unwrap();
    }
    let tree = h.store.folders(&h.ctx(), h.account).await.unwrap();
    let subscribed =
        |tree: &store_api::FolderTree| tree.subscribed().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(subscribed(&tree), ["INBOX", "no/such"]);
    h.store.subscribe(&h.ctx(), h.account, &name("INBOX"), false).await.unwrap();
    let other = h.sibling().await.folders(&h.ctx(), h.account).await.unwrap();
    assert_eq!(subscribed(&other), ["no/such"]);
    assert_eq!(other.version, tree.version + 1);
    h.check().await;
}

#[tokio::test]
async fn two_processes_see_each_other() {
    let h = Harness::new().await;
    let mut other = h.clone();
    other.store = h.sibling().await;
    for round in 0..50u32 {
        let (a, b) = if round % 2 == 0 { (&h, &other) } else { (&other, &h) };
        a.fill("INBOX", 1 + round as usize).await;
        assert!(a.folder("INBOX").await.rows().eq(b.folder("INBOX").await.rows()));
        b.add_flags("INBOX", &format!("1:{round}"), Flags(1 << (round % 6))).await;
        assert!(a.folder("INBOX").await.rows().eq(b.folder("INBOX").await.rows()));
        if round % 7 == 6 {
            a.add_flags("INBOX", &format!("{}:*", round * 3), Flags::DELETED).await;
            b.expunge("INBOX", None).await;
            assert!(a.folder("INBOX").await.rows().eq(b.folder("INBOX").await.rows()));
        }
        a.create(&format!("f{round}")).await;
        assert_eq!(a.names().await, b.names().await);
    }
    h.check().await;
}
