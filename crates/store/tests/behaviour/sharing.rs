//! What somebody who does not own an account may do in it, and what they learn of the rest: nothing.

use std::sync::Arc;

use kv::{RangeRequest, ReadMode, TransactionOptions};
use model::{
    AccountId, AclAction, AclChange, CpmAddress, EntryName, ErrorKind, Flags, Identifier, MailboxId, ModSeq,
    Result, Rights, Uid,
};
use store::keyspace::Keyspace;
use store::records::FeedEntry;
use store_api::{
    AppendRequest, CopyMode, CopyRequest, Credentials, Ctx, FlagAction, FlagChange, MailStore, Missing,
    NewAccount, QuotaLimits, ReplaceRequest, Requestor, SearchKey, SearchManyRequest, SearchRequest,
    StoreFlags, User,
};

use crate::harness::{Harness, address, keywords, kind, message, name, operator, uids};

/// A second subscriber, to whom the first gives rights.
struct Two {
    h: Harness,
    other: AccountId,
}

impl Two {
    async fn new() -> Self {
        let h = Harness::new().await;
        h.fill("INBOX", 3).await;
        h.store.create_folder(&h.ctx(), h.account, &name("Shared"), None).await.unwrap();
        h.fill("Shared", 3).await;
        let other = account(&h, &address(1)).await;
        Self { h, other }
    }

    fn them(&self) -> Ctx {
        Ctx { request_id: 8, deadline: None, requestor: Requestor::owner(self.other) }
    }

    fn sibling(&self) -> Ctx {
        let user = User { siblings: vec![self.h.account], ..User::owner(self.other) };
        Ctx { request_id: 9, deadline: None, requestor: Requestor::User(Arc::new(user)) }
    }

    async fn id(&self, folder: &str) -> MailboxId {
        let tree = self.h.store.folders(&self.h.ctx(), self.h.account).await.unwrap();
        tree.find(&name(folder)).unwrap().id
    }

    async fn give(&self, folder: &str, identifier: &str, rights: &str) {
        self.change(&self.h.ctx(), folder, identifier, AclAction::Set, rights).await.unwrap();
    }

    async fn change(
        &self,
        ctx: &Ctx,
        folder: &str,
        identifier: &str,
        action: AclAction,
        rights: &str,
    ) -> Result<()> {
        let change = AclChange {
            identifier: Identifier::parse(identifier).unwrap(),
            action,
            rights: Rights::parse(rights).unwrap(),
        };
        let folder = self.id(folder).await;
        self.h.store.set_acl(ctx, self.h.account, &address(0), folder, &change).await
    }

    /// Every operation on a folder, by name, as `ctx`: its kind of failure, none for success.
    async fn everything(
        &self,
        ctx: &Ctx,
        folder: &str,
        mailbox: MailboxId,
    ) -> Vec<(&'static str, Option<ErrorKind>)> {
        let (store, account, folder) = (&self.h.store, self.h.account, name(folder));
        let below = name(&format!("{folder}/new"));
        let append =
            || AppendRequest { mailbox: folder.clone(), messages: vec![message("Subject: x\r\n\r\nx")] };
        let copy = |mode| CopyRequest {
            mode,
            source: mailbox,
            uids: uids("1"),
            target: folder.clone(),
            missing: Missing::Skip,
        };
        let flags = |flags| StoreFlags {
            mailbox,
            uids: uids("1"),
            change: FlagChange { action: FlagAction::Add, flags, keywords: Vec::new() },
            unchanged_since: None,
        };
        let entry = EntryName::parse(b"/shared/comment").unwrap();
        let replace = ReplaceRequest {
            source: mailbox,
            uid: Uid::MIN,
            target: folder.clone(),
            message: message("Subject: y\r\n\r\ny"),
        };
        let search = SearchRequest { mailbox, key: SearchKey::All, within: None };
        let failed = |result: Result<()>| result.err().map(|error| error.kind());
        let acl = AclChange {
            identifier: Identifier::parse("anyone").unwrap(),
            action: AclAction::Add,
            rights: Rights::NONE,
        };
        vec![
            ("folder", failed(store.folder(ctx, account, mailbox).await.map(drop))),
            ("vanished", failed(store.vanished(ctx, account, mailbox, ModSeq(0)).await.map(drop))),
            ("search", failed(store.search(ctx, account, &search).await.map(drop))),
            ("infos", failed(store.infos(ctx, account, mailbox, &[]).await.map(drop))),
            ("append", failed(store.append(ctx, account, append()).await.map(drop))),
            ("copy", failed(store.copy(ctx, account, copy(CopyMode::Copy)).await.map(drop))),
            ("flag", failed(store.store_flags(ctx, account, flags(Flags::FLAGGED)).await.map(drop))),
            ("seen", failed(store.store_flags(ctx, account, flags(Flags::SEEN)).await.map(drop))),
            ("deleted", failed(store.store_flags(ctx, account, flags(Flags::DELETED)).await.map(drop))),
            ("claim", failed(store.claim_recent(ctx, account, mailbox, 2).await)),
            ("metadata", failed(store.set_metadata(ctx, account, Some(mailbox), vec![(entry, None)]).await)),
            ("acl", failed(store.set_acl(ctx, account, &address(0), mailbox, &acl).await)),
            ("create", failed(store.create_folder(ctx, account, &below, None).await.map(drop))),
            ("replace", failed(store.replace(ctx, account, replace).await.map(drop))),
            ("move", failed(store.copy(ctx, account, copy(CopyMode::Move)).await.map(drop))),
            ("expunge", failed(store.expunge(ctx, account, mailbox, None).await.map(drop))),
            ("delete", failed(store.delete_folder(ctx, account, &folder).await)),
        ]
    }
}

async fn account(h: &Harness, address: &CpmAddress) -> AccountId {
    let new = NewAccount {
        address: address.clone(),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    h.store.create_account(&operator(), new).await.unwrap()
}

/// Each right alone, beside `l`: exactly the operations that RFC 4314 §4 gives to it succeed.
#[tokio::test]
async fn each_right_allows_what_it_is_for_and_nothing_else() {
    for (right, allowed) in [
        ("r", &["folder", "vanished", "search", "infos"][..]),
        ("rs", &["folder", "vanished", "search", "infos", "seen", "claim"]),
        ("rw", &["folder", "vanished", "search", "infos", "flag", "metadata"]),
        ("rt", &["folder", "vanished", "search", "infos", "deleted"]),
        ("i", &["append"]),
        ("ri", &["folder", "vanished", "search", "infos", "append", "copy"]),
        (
            "rite",
            &[
                "folder", "vanished", "search", "infos", "append", "copy", "deleted", "replace", "move",
                "expunge",
            ],
        ),
        ("p", &[]),
        ("k", &["create"]),
        ("x", &["delete"]),
        ("e", &["expunge"]),
        ("a", &["acl"]),
        ("", &[]),
    ] {
        let two = Two::new().await;
        two.give("Shared", "+15550000001", &format!("l{right}")).await;
        let shared = two.id("Shared").await;
        for (what, failed) in two.everything(&two.them(), "Shared", shared).await {
            let expected = (!allowed.contains(&what)).then_some(ErrorKind::NoPermission);
            assert_eq!(failed, expected, "l{right}: {what}");
        }
    }
}

/// A search of several folders passes over those that may not be read as over those that are not there.
#[tokio::test]
async fn a_search_of_several_folders_looks_at_the_rights_in_each() {
    let two = Two::new().await;
    let (shared, inbox) = (two.id("Shared").await, two.id("INBOX").await);
    let mailboxes = vec![inbox, shared, MailboxId(4711)];
    let request = SearchManyRequest { mailboxes, key: SearchKey::All, messages_max: 99 };
    let ask = async || two.h.store.search_many(&two.them(), two.h.account, &request).await;
    assert_eq!(kind(ask().await), ErrorKind::NoSuchMailbox);
    for (rights, found) in [("l", None), ("lr", Some(uids("1:3"))), ("lswitkxea", None)] {
        two.give("Shared", "+15550000001", rights).await;
        assert_eq!(ask().await.unwrap(), [None, found, None], "{rights}");
    }
}

#[tokio::test]
async fn without_a_right_a_folder_is_not_there() {
    let two = Two::new().await;
    let (inbox, absent) = (two.id("INBOX").await, MailboxId(4711));
    for ctx in [two.them(), Ctx { requestor: Requestor::owner(AccountId(42)), ..two.them() }] {
        let hidden = two.everything(&ctx, "INBOX", inbox).await;
        assert_eq!(hidden, two.everything(&ctx, "Nowhere", absent).await);
        assert!(hidden.iter().all(|(_, failed)| *failed == Some(ErrorKind::NoSuchMailbox)), "{hidden:?}");
        let (store, account) = (&two.h.store, two.h.account);
        assert_eq!(kind(store.folders(&ctx, account).await), ErrorKind::NoSuchMailbox);
        assert_eq!(kind(store.status(&ctx, account, &[inbox, absent]).await), ErrorKind::NoSuchMailbox);
        assert_eq!(kind(store.metadata(&ctx, account, &[Some(inbox), None]).await), ErrorKind::NoSuchMailbox);
        // As for an account that is not there.
        assert_eq!(kind(store.folders(&ctx, AccountId(4711)).await), ErrorKind::NoSuchMailbox);
        assert_eq!(kind(store.stage_body(&ctx, account, 5).await.map(drop)), ErrorKind::NoSuchMailbox);
        assert_eq!(kind(store.quota(&ctx, account).await), ErrorKind::NoSuchMailbox);
        assert_eq!(kind(store.shared_with(&ctx, account).await), ErrorKind::NoSuchMailbox);
        assert_eq!(
            kind(store.subscribe(&ctx, account, &name("INBOX"), true).await),
            ErrorKind::NoSuchMailbox
        );
    }
    // A right on one folder opens no other; nor is one right enough where `l` is missing.
    two.give("Shared", "+15550000001", "lrswipkxtea").await;
    let hidden = two.everything(&two.them(), "INBOX", inbox).await;
    assert!(hidden.iter().all(|(_, failed)| *failed == Some(ErrorKind::NoSuchMailbox)), "{hidden:?}");
    two.give("Shared", "+15550000001", "i").await;
    let shared = two.id("Shared").await;
    for (what, failed) in two.everything(&two.them(), "Shared", shared).await {
        assert_eq!(failed, (what != "append").then_some(ErrorKind::NoSuchMailbox), "{what}");
    }
}

#[tokio::test]
async fn a_message_is_read_where_it_may_be_and_nowhere_else() {
    let two = Two::new().await;
    let (store, account) = (&two.h.store, two.h.account);
    two.give("Shared", "+15550000001", "lr").await;
    let secret = two.h.folder("INBOX").await.row(Uid::MIN).unwrap().body;
    let shared = two.h.folder("Shared").await;
    let open = shared.row(Uid::MIN).unwrap().body;
    let (them, inbox) = (two.them(), two.id("INBOX").await);
    assert!(store.body(&them, account, shared.mailbox, open, None).await.is_ok());
    for (mailbox, body, expected) in [
        (shared.mailbox, secret, ErrorKind::Expunged),
        (shared.mailbox, model::BodyId(4711), ErrorKind::Expunged),
        (inbox, secret, ErrorKind::NoSuchMailbox),
        (inbox, open, ErrorKind::NoSuchMailbox),
    ] {
        assert_eq!(kind(store.body(&them, account, mailbox, body, None).await.map(drop)), expected);
    }
    let infos = store.infos(&them, account, shared.mailbox, &[open, secret]).await.unwrap();
    assert!(infos[0].is_some() && infos[1].is_none());
    // A copy into the shared folder is a message of it.
    two.h.try_copy(CopyMode::Copy, "INBOX", "1", "Shared").await.unwrap();
    assert!(store.body(&them, account, shared.mailbox, secret, None).await.is_ok());
}

#[tokio::test]
async fn flags_that_may_not_be_set_stay_as_they_are() {
    let two = Two::new().await;
    let (store, account, them) = (&two.h.store, two.h.account, two.them());
    two.h.add_flags("Shared", "1", Flags::DELETED.union(Flags::FLAGGED)).await;
    two.give("Shared", "+15550000001", "lrsi").await;
    let mailbox = two.id("Shared").await;
    let change = |action, flags, words: &[&str]| StoreFlags {
        mailbox,
        uids: uids("1"),
        change: FlagChange { action, flags, keywords: keywords(words) },
        unchanged_since: None,
    };
    // A part of it is allowed, and done (RFC 4314 §4).
    let part = change(FlagAction::Replace, Flags::SEEN.union(Flags::ANSWERED), &["word"]);
    store.store_flags(&them, account, part).await.unwrap();
    let flags = async |uid: u32| two.h.folder("Shared").await.row(Uid::new(uid).unwrap()).unwrap().flags;
    assert_eq!(flags(1).await, Flags::SEEN.union(Flags::DELETED).union(Flags::FLAGGED));
    let part = change(FlagAction::Replace, Flags::default(), &[]);
    store.store_flags(&them, account, part).await.unwrap();
    assert_eq!(flags(1).await, Flags::DELETED.union(Flags::FLAGGED));
    for nothing in [
        change(FlagAction::Remove, Flags::DELETED, &[]),
        change(FlagAction::Add, Flags::default(), &["word"]),
    ] {
        assert_eq!(kind(store.store_flags(&them, account, nothing).await), ErrorKind::NoPermission);
    }
    // What comes in keeps of its flags what who brings it may set.
    let mut new = message("Subject: new\r\n\r\n");
    new.flags = Flags::SEEN.union(Flags::FLAGGED).union(Flags::DELETED);
    new.keywords = keywords(&["word"]);
    let request = AppendRequest { mailbox: name("Shared"), messages: vec![new] };
    store.append(&them, account, request).await.unwrap();
    assert_eq!(flags(4).await, Flags::SEEN);
    let copy = CopyRequest {
        mode: CopyMode::Copy,
        source: mailbox,
        uids: uids("1,4"),
        target: name("Shared"),
        missing: Missing::Refuse,
    };
    store.copy(&them, account, copy).await.unwrap();
    assert_eq!((flags(5).await, flags(6).await), (Flags::default(), Flags::SEEN));
    assert!(two.h.folder("Shared").await.state.keywords.iter().next().is_none());
    two.h.check().await;
}

#[tokio::test]
async fn what_others_see_of_the_tree() {
    let two = Two::new().await;
    let (store, account) = (&two.h.store, two.h.account);
    store.subscribe(&two.h.ctx(), account, &name("Shared"), true).await.unwrap();
    two.give("Shared", "+15550000001", "lr").await;
    let seen = store.folders(&two.them(), account).await.unwrap();
    let names: Vec<_> = seen.folders().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!((names, seen.version, seen.subscribed().len()), (vec!["Shared"], 0, 0));
    assert_eq!(seen.folders()[0].rights.to_string(), "lr");
    assert!(seen.folders()[0].acl.is_empty());
    two.give("Shared", "+15550000001", "a").await;
    let seen = store.folders(&two.them(), account).await.unwrap();
    assert_eq!(seen.folders()[0].acl.entries().len(), 1);
    // Rights that show nothing.
    two.give("Shared", "+15550000001", "swpte").await;
    assert_eq!(kind(store.folders(&two.them(), account).await), ErrorKind::NoSuchMailbox);
    // Taken away from everybody, or from one.
    two.give("Shared", "anyone", "lr").await;
    two.give("Shared", "-+15550000001", "r").await;
    assert_eq!(store.folders(&two.them(), account).await.unwrap().folders()[0].rights.to_string(), "lswpte");
}

#[tokio::test]
async fn siblings_do_all_but_give_rights() {
    let two = Two::new().await;
    let (store, account, ctx) = (&two.h.store, two.h.account, two.sibling());
    assert_eq!(store.folders(&ctx, account).await.unwrap().folders().len(), 4);
    let shared = two.id("Shared").await;
    for (what, failed) in two.everything(&ctx, "Shared", shared).await {
        assert_eq!(failed, (what == "acl").then_some(ErrorKind::NoPermission), "{what}");
    }
    store.create_folder(&ctx, account, &name("Top"), None).await.unwrap();
    assert_eq!(
        kind(store.rename_folder(&ctx, account, &name("INBOX"), &name("Old")).await),
        ErrorKind::Cannot
    );
    assert_eq!(kind(store.quota(&ctx, account).await), ErrorKind::NoSuchMailbox);
}

#[tokio::test]
async fn lists_are_inherited_kept_and_found_again() {
    let two = Two::new().await;
    let (h, them) = (&two.h, two.them());
    let seen = async || {
        let tree = h.store.folders(&them, h.account).await.unwrap();
        tree.folders().iter().map(|entry| format!("{}:{}", entry.name, entry.rights)).collect::<Vec<_>>()
    };
    let sharers = async || h.store.shared_with(&them, two.other).await.unwrap();
    assert_eq!(sharers().await, []);
    two.give("Shared", "+15550000001", "lrk").await;
    assert_eq!(sharers().await, [(address(0), h.account)]);
    h.store.create_folder(&h.ctx(), h.account, &name("Shared/a/b"), None).await.unwrap();
    h.store.create_folder(&them, h.account, &name("Shared/c"), None).await.unwrap();
    assert_eq!(seen().await, ["Shared:lrk", "Shared/a:lrk", "Shared/a/b:lrk", "Shared/c:lrk"]);
    // A name that stays because of those below it stays as it was.
    h.store.delete_folder(&h.ctx(), h.account, &name("Shared/a")).await.unwrap();
    h.store.rename_folder(&h.ctx(), h.account, &name("Shared"), &name("Moved")).await.unwrap();
    assert_eq!(seen().await, ["Moved:lrk", "Moved/a:lrk", "Moved/a/b:lrk", "Moved/c:lrk"]);
    // Another process reads the same.
    let tree = h.sibling().await.folders(&them, h.account).await.unwrap();
    assert_eq!(tree.folders().len(), 4);
    for (folder, left) in [("Moved", 1), ("Moved/a", 1), ("Moved/a/b", 1), ("Moved/c", 0)] {
        two.give(folder, "+15550000001", "").await;
        assert_eq!(sharers().await.len(), left, "{folder}");
    }
    two.give("Moved", "+15550000001", "l").await;
    h.check().await;
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    assert_eq!(sharers().await, []);
    assert_eq!(kind(h.store.folders(&them, h.account).await), ErrorKind::NoSuchMailbox);
}

/// Whom something is given for the first time hears of it on the feed of their own account, also where that is in the log
/// of the owner's; the owner's own entry is there, too.
#[tokio::test]
async fn who_is_given_something_for_the_first_time_hears_of_it() {
    let h = Harness::new().await;
    let partition = h.account.partition();
    let number = (2..1_000_000).find(|n| address(*n).partition() == partition).unwrap();
    let two = Two { other: account(&h, &address(number)).await, h };
    let (near, far) = (two.other, account(&two.h, &address(1)).await);
    two.h.create("Shared").await;
    two.h.create("More").await;
    let heard = async |account: AccountId| {
        let range = Keyspace::new(&[]).feed_log_after(account.partition(), None);
        let mut trx = two.h.engine.begin(TransactionOptions::default());
        let request = RangeRequest::new(range.begin, range.end);
        let page = trx.get_range(&request, ReadMode::Snapshot).await.unwrap();
        let entries = page.pairs.iter().map(|pair| FeedEntry::decode(&pair.value).unwrap());
        entries.filter(|entry| entry.account == account).count()
    };
    let owners = heard(two.h.account).await;
    let (near_address, far_address) = (address(number).to_string(), address(1).to_string());
    for (folder, whom, rights, expected) in [
        ("Shared", &near_address, "lr", [1, 0]),
        ("More", &near_address, "lr", [1, 0]),
        ("Shared", &far_address, "lr", [1, 1]),
        ("Shared", &far_address, "l", [1, 1]),
        ("Shared", &far_address, "", [1, 1]),
        ("More", &far_address, "r", [1, 2]),
    ] {
        two.give(folder, whom, rights).await;
        assert_eq!([heard(near).await, heard(far).await], expected, "{folder} {whom} {rights}");
    }
    assert_eq!(heard(two.h.account).await, owners + 6);
    two.h.check().await;
}

#[tokio::test]
async fn an_entry_is_about_an_account_not_about_who_gets_its_number() {
    let two = Two::new().await;
    let h = &two.h;
    // An address without an account is answered as any other, and who gets it later gets nothing.
    two.give("Shared", "+15550000002", "lr").await;
    let late = account(h, &address(2)).await;
    let ctx = |account| Ctx { request_id: 1, deadline: None, requestor: Requestor::owner(account) };
    assert_eq!(kind(h.store.folders(&ctx(late), h.account).await), ErrorKind::NoSuchMailbox);
    // Nor does who gets the number of somebody who had rights.
    two.give("Shared", "+15550000001", "lr").await;
    h.store.remove_account(&operator(), &address(1)).await.unwrap();
    let next = account(h, &address(1)).await;
    assert_eq!(kind(h.store.folders(&ctx(next), h.account).await), ErrorKind::NoSuchMailbox);
    two.change(&h.ctx(), "Shared", "+15550000001", AclAction::Add, "l").await.unwrap();
    let tree = h.store.folders(&ctx(next), h.account).await.unwrap();
    assert_eq!(tree.folders()[0].rights.to_string(), "l");
    assert_eq!(kind(h.store.folders(&two.them(), h.account).await), ErrorKind::NoSuchMailbox);
}

#[tokio::test]
async fn lists_are_bounded() {
    let two = Two::new().await;
    let change = |identifier: String, rights: &'static str| {
        let two = &two;
        async move { two.change(&two.h.ctx(), "Shared", &identifier, AclAction::Set, rights).await }
    };
    for n in 0..model::limits::ACL_ENTRIES_MAX {
        change(format!("+1666{n}"), "lr").await.unwrap();
    }
    assert_eq!(kind(change("+17".into(), "l").await), ErrorKind::Limit);
    // What is there may still be changed.
    change("+16660".into(), "l").await.unwrap();
    change("+16661".into(), "").await.unwrap();
    change("+17".into(), "l").await.unwrap();
    assert_eq!(kind(change("+15550000000".into(), "l").await), ErrorKind::Cannot);
    let wrong = AclChange {
        identifier: Identifier::parse("anyone").unwrap(),
        action: AclAction::Set,
        rights: Rights::LOOKUP,
    };
    let shared = two.id("Shared").await;
    let answer = two.h.store.set_acl(&two.h.ctx(), two.h.account, &address(1), shared, &wrong).await;
    assert_eq!(kind(answer), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn metadata_of_others() {
    let two = Two::new().await;
    let (store, account, them) = (&two.h.store, two.h.account, two.them());
    let entry = |text: &str| EntryName::parse(text.as_bytes()).unwrap();
    let shared = two.id("Shared").await;
    let set = vec![
        (entry("/private/comment"), Some("mine".into())),
        (entry("/shared/comment"), Some("ours".into())),
    ];
    store.set_metadata(&two.h.ctx(), account, Some(shared), set.clone()).await.unwrap();
    two.give("Shared", "+15550000001", "lr").await;
    let read = async || {
        let all = store.metadata(&them, account, &[Some(shared), None]).await.unwrap();
        all.iter().map(|one| one.iter().map(|(name, _)| name.to_string()).collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(read().await, [vec!["/shared/comment".to_owned()], vec![]]);
    assert_eq!(
        kind(store.set_metadata(&them, account, Some(shared), set.clone()).await),
        ErrorKind::NoPermission
    );
    two.give("Shared", "+15550000001", "lw").await;
    assert_eq!(
        kind(store.set_metadata(&them, account, Some(shared), set.clone()).await),
        ErrorKind::NoPermission
    );
    assert_eq!(kind(store.set_metadata(&them, account, None, vec![]).await), ErrorKind::NoSuchMailbox);
    store.set_metadata(&them, account, Some(shared), set[1..].to_vec()).await.unwrap();
    two.give("Shared", "+15550000001", "l").await;
    assert_eq!(read().await, [Vec::<String>::new(), vec![]]);
}
