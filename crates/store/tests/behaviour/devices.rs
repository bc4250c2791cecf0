//! Who changed what.

use futures::TryStreamExt;
use kv::{RangeRequest, ReadMode, TransactionOptions};
use model::{BlockNo, DeviceId, Flags, ModSeq, Uid, UidSet};
use store::keyspace::{Keyspace, Subspace};
use store::records::{
    ChangeKind, FEED_RANGES_MAX, FeedEntry, FeedItem, FeedUids, FlagNames, FolderMarks, IdentityBlock,
    StateRecord,
};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, CheckRequest, CopyMode, CopyRequest, Ctx, FindingKind,
    FlagAction, FlagChange, HeaderField, Identities, MailStore, Maintenance, Missing, ReplaceRequest,
    Requestor, SearchKey, SearchRequest, StoreFlags, User,
};

use crate::harness::{Harness, keywords, message, name, operator, uids};

/// The owner at a device.
pub fn at(h: &Harness, device: &str) -> Ctx {
    let user = User { device: DeviceId::parse(device.as_bytes()).ok(), ..User::owner(h.account) };
    Ctx { request_id: 9, deadline: None, requestor: Requestor::User(user.into()) }
}

/// All that the feed has of the account.
pub async fn fed(h: &Harness) -> Vec<FeedItem> {
    let range = Keyspace::new(&[]).feed_log_after(h.account.partition(), None);
    let mut trx = h.engine.begin(TransactionOptions::default());
    let page = trx.get_range(&RangeRequest::new(range.begin, range.end), ReadMode::Snapshot).await.unwrap();
    assert!(!page.more);
    page.pairs.iter().flat_map(|pair| FeedEntry::decode(&pair.value).unwrap().items).collect()
}

/// S3-12: a notice can name the device that triggered the change, and what the change was.
#[tokio::test]
async fn s3_12_the_feed_names_device_uids_and_flags() {
    let h = Harness::new().await;
    h.create("Kept").await;
    let inbox = h.id("INBOX").await;
    let (phone, tablet) = (at(&h, "<urn:gsma:imei:1>"), at(&h, "tablet"));
    let messages = (0..3).map(|n| message(format!("Subject: {n}\r\n\r\n"))).collect();
    h.store.append(&phone, h.account, AppendRequest { mailbox: name("INBOX"), messages }).await.unwrap();
    h.try_flag("INBOX", "2", FlagAction::Add, Flags::FLAGGED, &[], None).await.unwrap();
    let change =
        FlagChange { action: FlagAction::Replace, flags: Flags::SEEN, keywords: keywords(&["kept"]) };
    let request = StoreFlags { mailbox: inbox, uids: uids("2:3"), change, unchanged_since: None };
    h.store.store_flags(&tablet, h.account, request).await.unwrap();
    let copy = CopyRequest {
        mode: CopyMode::Move,
        source: inbox,
        uids: uids("3"),
        target: name("Kept"),
        missing: Missing::Skip,
    };
    h.store.copy(&phone, h.account, copy).await.unwrap();
    h.add_flags("INBOX", "1", Flags::DELETED).await;
    h.store.expunge(&tablet, h.account, inbox, None).await.unwrap();
    h.store.subscribe(&phone, h.account, &name("Kept"), true).await.unwrap();

    let few = |set: &str| if set.is_empty() { FeedUids::default() } else { FeedUids::Few(uids(set)) };
    let names = |system: Flags, words: &[&str]| FlagNames { system, keywords: keywords(words) };
    let none = || names(Flags::default(), &[]);
    let found: Vec<_> = fed(&h)
        .await
        .into_iter()
        .filter(|item| item.kind != ChangeKind::Folders)
        .map(|item| {
            let device = item.device.map(|device| device.as_str().to_owned()).unwrap_or_default();
            (item.kind, device, item.changed, item.removed, item.flags_added, item.flags_removed)
        })
        .collect();
    let phone = "<urn:gsma:imei:1>".to_owned();
    let tablet = "tablet".to_owned();
    let expected = [
        (ChangeKind::Append, phone.clone(), few("1:3"), few(""), none(), none()),
        (ChangeKind::Flags, String::new(), few("2"), few(""), names(Flags::FLAGGED, &[]), none()),
        (
            ChangeKind::Flags,
            tablet.clone(),
            few("2:3"),
            few(""),
            names(Flags::SEEN, &["kept"]),
            names(Flags::FLAGGED, &[]),
        ),
        (ChangeKind::Move, phone.clone(), few(""), few("3"), none(), none()),
        (ChangeKind::Move, phone.clone(), few("1"), few(""), none(), none()),
        (ChangeKind::Flags, String::new(), few("1"), few(""), names(Flags::DELETED, &[]), none()),
        (ChangeKind::Expunge, tablet, few(""), few("1"), none(), none()),
        (ChangeKind::Subscriptions, phone, few(""), few(""), none(), none()),
    ];
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.into_iter().zip(expected) {
        assert_eq!(found, expected);
    }
    h.check().await;
}

#[tokio::test]
async fn scattered_messages_are_many() {
    let h = Harness::new().await;
    h.fill("INBOX", 2 * FEED_RANGES_MAX + 2).await;
    let every_other = |count: usize| (1..=count).map(|n| (2 * n).to_string()).collect::<Vec<_>>().join(",");
    h.add_flags("INBOX", &every_other(FEED_RANGES_MAX), Flags::SEEN).await;
    h.add_flags("INBOX", &every_other(FEED_RANGES_MAX + 1), Flags::FLAGGED).await;
    let items = fed(&h).await;
    let [.., few, many] = &items[..] else { panic!("{items:?}") };
    assert_eq!(few.changed, FeedUids::Few(uids(&every_other(FEED_RANGES_MAX))));
    assert_eq!(many.changed, FeedUids::Many);
    assert!(many.modseq > ModSeq(0) && many.flags_added.system == Flags::FLAGGED);
}

async fn flag(h: &Harness, ctx: &Ctx, folder: &str, set: &str, action: FlagAction, flags: Flags) {
    let change = FlagChange { action, flags, keywords: Vec::new() };
    let request = StoreFlags { mailbox: h.id(folder).await, uids: uids(set), change, unchanged_since: None };
    h.store.store_flags(ctx, h.account, request).await.unwrap();
}

/// Who read and who deleted the messages of a folder: "uid seen deleted", `-` for nobody known.
async fn known(h: &Harness, folder: &str) -> Vec<String> {
    let (mailbox, all) = (h.id(folder).await, uids("1:1000"));
    let found = h.store.identities(&h.ctx(), h.account, mailbox, &all).await.unwrap();
    let name = |device: &Option<DeviceId>| {
        device.as_ref().map_or("-".to_owned(), |device| device.as_str().to_owned())
    };
    found.iter().map(|(uid, of)| format!("{uid} {} {}", name(&of.seen), name(&of.deleted))).collect()
}

async fn found_by(h: &Harness, header: &str, text: &str) -> UidSet {
    let key = SearchKey::Header(HeaderField::Named(header.into()), text.into());
    let request = SearchRequest { mailbox: h.id("INBOX").await, key, within: None };
    h.store.search(&h.ctx(), h.account, &request).await.unwrap()
}

/// S3-07: the device that read and the one that deleted a message are kept with it.
#[tokio::test]
async fn s3_07_who_read_and_who_deleted() {
    let h = Harness::new().await;
    h.fill("INBOX", 300).await;
    let (phone, tablet, unknown) = (at(&h, "phone"), at(&h, "tablet"), h.ctx());
    let (add, remove) = (FlagAction::Add, FlagAction::Remove);
    flag(&h, &unknown, "INBOX", "1", add, Flags::SEEN).await;
    assert_eq!(known(&h, "INBOX").await, [""; 0]);
    flag(&h, &phone, "INBOX", "1:3,130", add, Flags::SEEN).await;
    // The first that sets \\Seen is the one that read it; with the flag goes what is known.
    flag(&h, &tablet, "INBOX", "1:4", add, Flags::SEEN.union(Flags::DELETED)).await;
    assert_eq!(
        known(&h, "INBOX").await,
        ["1 - tablet", "2 phone tablet", "3 phone tablet", "4 tablet tablet", "130 phone -"]
    );
    flag(&h, &unknown, "INBOX", "2", remove, Flags::SEEN).await;
    flag(&h, &unknown, "INBOX", "3:4", FlagAction::Replace, Flags::SEEN.union(Flags::FLAGGED)).await;
    assert_eq!(
        known(&h, "INBOX").await,
        ["1 - tablet", "2 - tablet", "3 phone -", "4 tablet -", "130 phone -"]
    );
    // Flags that say nothing of it leave it alone.
    flag(&h, &tablet, "INBOX", "1:300", add, Flags::ANSWERED).await;
    assert_eq!(known(&h, "INBOX").await.len(), 5);
    assert_eq!(found_by(&h, "message-SEEN-identity", "phone").await, uids("3,130"));
    assert_eq!(found_by(&h, "Message-seen-identity", "").await, uids("3:4,130"));
    assert_eq!(found_by(&h, "Message-delete-identity", "TABLET").await, uids("1:2"));
    // Another process, whose caches know nothing, finds and keeps the same.
    let mut sibling = h.clone();
    sibling.store = h.sibling().await;
    flag(&sibling, &tablet, "INBOX", "3,5", add, Flags::SEEN).await;
    flag(&sibling, &phone, "INBOX", "5", remove, Flags::SEEN).await;
    assert_eq!(
        known(&h, "INBOX").await,
        ["1 - tablet", "2 - tablet", "3 phone -", "4 tablet -", "130 phone -"]
    );
    h.check().await;
}

#[tokio::test]
async fn identities_go_where_their_messages_go() {
    let h = Harness::new().await;
    h.fill("INBOX", 200).await;
    h.fill("Default", 5).await;
    let phone = at(&h, "phone");
    flag(&h, &phone, "INBOX", "1:4,150", FlagAction::Add, Flags::SEEN).await;
    flag(&h, &phone, "INBOX", "4", FlagAction::Add, Flags::DELETED).await;
    h.try_copy(CopyMode::Copy, "INBOX", "2:3,7,150", "Default").await.unwrap();
    assert_eq!(known(&h, "Default").await, ["6 phone -", "7 phone -", "9 phone -"]);
    h.try_copy(CopyMode::Move, "INBOX", "3:4", "Default").await.unwrap();
    assert_eq!(
        known(&h, "Default").await,
        ["6 phone -", "7 phone -", "9 phone -", "10 phone -", "11 phone phone"]
    );
    assert_eq!(known(&h, "INBOX").await, ["1 phone -", "2 phone -", "150 phone -"]);
    h.try_copy(CopyMode::Move, "INBOX", "1", "INBOX").await.unwrap();
    assert_eq!(known(&h, "INBOX").await, ["2 phone -", "150 phone -", "201 phone -"]);
    h.check().await;
    flag(&h, &phone, "INBOX", "150,201", FlagAction::Add, Flags::DELETED).await;
    h.expunge("INBOX", Some("150")).await;
    h.expunge("Default", None).await;
    assert_eq!(known(&h, "INBOX").await, ["2 phone -", "201 phone phone"]);
    assert_eq!(known(&h, "Default").await.len(), 4);
    h.store.rename_folder(&h.ctx(), h.account, &name("INBOX"), &name("Old")).await.unwrap();
    assert_eq!(known(&h, "Old").await, ["1 phone -", "197 phone phone"]);
    h.check().await;
    // With the folder go its records.
    h.store.delete_folder(&h.ctx(), h.account, &name("Old")).await.unwrap();
    h.check().await;
    let keys = Keyspace::new(&[]).subspace(h.account, Subspace::Identities);
    let mut trx = h.engine.begin(TransactionOptions::default());
    let left = trx.get_range(&RangeRequest::new(keys.begin, keys.end), ReadMode::Snapshot).await.unwrap();
    assert_eq!(left.pairs.len(), 1, "those of Default");
}

/// S3-07: an object that comes with the identities in its header has them from the start.
#[tokio::test]
async fn s3_07_an_object_may_bring_them() {
    let h = Harness::new().await;
    let text =
        "Subject: x\r\nMessage-seen-identity: <urn:uuid:1>\r\nMessage-delete-identity: two words\r\n\r\n";
    let large = [text.as_bytes(), &vec![b'x'; 300_000][..]].concat();
    let mut writer = h.store.stage_body(&h.ctx(), h.account, large.len() as u64).await.unwrap();
    writer.write(large.into()).await.unwrap();
    let staged = writer.finish().await.unwrap();
    let messages = vec![
        message("Subject: none\r\n\r\n"),
        message(text),
        AppendMessage { body: AppendBody::Staged(staged), ..message("") },
    ];
    h.try_append("INBOX", messages).await.unwrap();
    assert_eq!(known(&h, "INBOX").await, ["2 <urn:uuid:1> -", "3 <urn:uuid:1> -"]);
    // It was read before it came here, so whoever sets \\Seen is not the first.
    flag(&h, &at(&h, "phone"), "INBOX", "1:2", FlagAction::Add, Flags::SEEN).await;
    assert_eq!(known(&h, "INBOX").await, ["1 phone -", "2 <urn:uuid:1> -", "3 <urn:uuid:1> -"]);
    let message = AppendMessage { ..message("Subject: new\r\n\r\n") };
    let inbox = h.id("INBOX").await;
    let replace = ReplaceRequest { source: inbox, uid: Uid::MIN, target: name("INBOX"), message };
    h.store.replace(&h.ctx(), h.account, replace).await.unwrap();
    assert_eq!(known(&h, "INBOX").await, ["2 <urn:uuid:1> -", "3 <urn:uuid:1> -"]);
    h.check().await;
}

/// Records that nothing holds, and a state that hides some, are found and put right.
#[tokio::test]
async fn the_check_looks_at_identities() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    let keys = Keyspace::new(&[]);
    let inbox = h.id("INBOX").await;
    flag(&h, &at(&h, "phone"), "INBOX", "1", FlagAction::Add, Flags::SEEN).await;
    h.check().await;
    let key = keys.identities(h.account, inbox, BlockNo(0));
    let mut record = IdentityBlock::default();
    for uid in [1, 77] {
        let identities = Identities { seen: DeviceId::parse(b"phone").ok(), deleted: None };
        record.set(Uid::new(uid).unwrap(), identities);
    }
    let mut trx = h.engine.begin(TransactionOptions::default());
    trx.set(&key, &record.encode());
    trx.set(&keys.identities(h.account, model::MailboxId(999), BlockNo(0)), &record.encode());
    let state_key = keys.state(h.account, inbox);
    let raw = trx.get(&state_key, ReadMode::Snapshot).await.unwrap().unwrap();
    let state = StateRecord::decode(&raw).unwrap();
    let marks = FolderMarks { identities: false, ..state.marks };
    let state = StateRecord { marks, ..state };
    trx.set(&state_key, &state.encode());
    trx.commit().await.unwrap();
    let found = h.store.check().await.unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|finding| finding.kind == FindingKind::Identities));
    let request = CheckRequest { repair: true, ..CheckRequest::default() };
    let events = h.store.inspect(&operator(), request).await.unwrap();
    events.try_collect::<Vec<_>>().await.unwrap();
    h.check().await;
    assert_eq!(known(&h, "INBOX").await, ["1 phone -"]);
    flag(&h, &h.ctx(), "INBOX", "1", FlagAction::Remove, Flags::SEEN).await;
    assert_eq!(known(&h, "INBOX").await, [""; 0]);
}
