//! Who changed what.

use kv::{RangeRequest, ReadMode, TransactionOptions};
use model::{DeviceId, Flags, ModSeq};
use store::keyspace::Keyspace;
use store::records::{ChangeKind, FEED_RANGES_MAX, FeedEntry, FeedItem, FeedUids, FlagNames};
use store_api::{
    AppendRequest, CopyMode, CopyRequest, Ctx, FlagAction, FlagChange, MailStore, Missing, Requestor,
    StoreFlags, User,
};

use crate::harness::{Harness, keywords, message, name, uids};

/// The owner at a device.
fn at(h: &Harness, device: &str) -> Ctx {
    let user = User { device: DeviceId::parse(device.as_bytes()).ok(), ..User::owner(h.account) };
    Ctx { request_id: 9, deadline: None, requestor: Requestor::User(user.into()) }
}

/// All that the feed has of the account.
async fn fed(h: &Harness) -> Vec<FeedItem> {
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
