//! Restoring exported folders: numbers and dates stay, nothing is doubled, nobody sees half a folder.

use bytes::Bytes;
use model::{DeviceId, EntryScope, ErrorKind, Flags, MailboxId, ModSeq, Uid, UidValidity};
use store_api::{
    AppendBody, Identities, MailStore, Maintenance, RESTORE_SECONDS_MAX, RestoreFolder, RestoreMessage,
    RestoreProgress,
};

use crate::annotating::{note, shown};
use crate::harness::{Harness, keywords, kind, message, name, operator, uids};

pub fn folder(text: &str) -> RestoreFolder {
    RestoreFolder {
        name: name(text),
        special_use: None,
        noselect: false,
        uid_validity: UidValidity::new(4_242).unwrap(),
        uid_next: 1_000,
        highest_modseq: ModSeq(5_000),
        recent_uid: 900,
    }
}

pub fn restored(uid: u32) -> RestoreMessage {
    RestoreMessage {
        uid: Uid::new(uid).unwrap(),
        modseq: ModSeq(u64::from(uid) * 5),
        flags: if uid.is_multiple_of(2) { Flags::SEEN } else { Flags::DELETED },
        keywords: keywords(if uid.is_multiple_of(3) { &["$third"] } else { &[] }),
        internal_date: (1_600_000_000 + i64::from(uid), -330),
        saved_at: 1_650_000_000 + i64::from(uid),
        identities: Identities {
            seen: DeviceId::parse(b"phone").ok().filter(|_| uid.is_multiple_of(2)),
            deleted: DeviceId::parse(format!("tablet-{uid}").as_bytes())
                .ok()
                .filter(|_| uid.is_multiple_of(5)),
        },
        annotations: if uid == 6 {
            vec![note("/comment", EntryScope::Private, Some("of 6"))]
        } else {
            Vec::new()
        },
        body: AppendBody::Inline(Bytes::from(format!("IMDN-Message-ID: r{uid}\r\n\r\n{uid}"))),
    }
}

async fn begin(h: &Harness, wanted: RestoreFolder) -> (MailboxId, u64) {
    match h.store.restore_folder(&operator(), h.account, wanted).await.unwrap() {
        RestoreProgress::Open { restore, next_uid } => (restore, next_uid),
        RestoreProgress::Done => panic!("it is there already"),
    }
}

async fn page(h: &Harness, restore: MailboxId, messages: Vec<RestoreMessage>) -> model::Result<u64> {
    h.store.restore_messages(&operator(), h.account, restore, messages).await
}

#[tokio::test]
async fn as_it_was() {
    let h = Harness::new().await;
    let before = h.folder("INBOX").await;
    let (restore, next_uid) = begin(&h, folder("INBOX")).await;
    assert_eq!(next_uid, 1);
    // Gaps, and pages that end within a block.
    let all: Vec<u32> = (2..=700).filter(|uid| uid % 7 != 0).collect();
    for some in all.chunks(90) {
        let next = page(&h, restore, some.iter().map(|uid| restored(*uid)).collect()).await.unwrap();
        assert_eq!(next, u64::from(*some.last().unwrap()) + 1);
        // A page that comes again, in part or whole, changes nothing.
        assert_eq!(page(&h, restore, some.iter().map(|uid| restored(*uid)).collect()).await.unwrap(), next);
        let (again, at) = begin(&h, folder("INBOX")).await;
        assert_eq!((again, at), (restore, next));
    }
    // Nobody sees it, and it counts for nothing.
    assert_eq!(h.folder("INBOX").await.mailbox, before.mailbox);
    assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap().usage.messages, 0);
    h.check().await;

    h.store.finish_folder(&operator(), h.account, restore).await.unwrap();
    let now = h.folder("INBOX").await;
    assert_eq!(now.rows().map(|row| row.uid.get()).collect::<Vec<_>>(), all);
    assert_eq!(now.state.uid_validity.get(), 4_242);
    assert_eq!((now.state.uid_next, now.state.highest_modseq), (1_000, ModSeq(5_000)));
    assert_eq!((now.state.recent_uid, now.state.messages), (900, all.len() as u64));
    let row = now.row(Uid::new(6).unwrap()).unwrap();
    assert_eq!((row.modseq, row.internal_date, row.zone_minutes), (ModSeq(30), 1_600_000_006, -330));
    assert_eq!(row.saved_at, 1_650_000_006);
    let third = now.state.keywords.find(&keywords(&["$third"])[0]).unwrap();
    assert_eq!(row.flags, Flags::SEEN.union(third));
    assert_eq!(h.octets("INBOX", 6).await, "IMDN-Message-ID: r6\r\n\r\n6");
    for uid in [2u32, 3, 5, 6, 30, 698] {
        let asked = uids(&uid.to_string());
        let of = h.store.identities(&h.ctx(), h.account, now.mailbox, &asked).await.unwrap();
        let found = of.first().map_or_else(Identities::default, |(_, of)| of.clone());
        assert_eq!(found, restored(uid).identities, "{uid}");
    }
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    let annotated = "/comment".len() as u64 + "of 6".len() as u64 + 8;
    assert_eq!((usage.messages, usage.bytes), (now.state.messages, now.state.bytes + annotated));
    assert_eq!(shown(&h, "INBOX", "/comment").await, ["6 /comment \"of 6\" -"]);
    // Who synchronised up to a MODSEQ hears what came after, and every UID that is gone.
    let id = now.mailbox;
    let gone = h.store.vanished(&h.ctx(), h.account, id, ModSeq(4_000)).await.unwrap();
    assert!(gone.contains(Uid::new(7).unwrap()) && gone.intersection(&now.uids()).is_empty());
    assert!(h.store.vanished(&h.ctx(), h.account, id, ModSeq(5_000)).await.unwrap().is_empty());
    assert_eq!(now.rows_changed_since(ModSeq(3_485)).count(), 2);
    h.check().await;

    // Done is done; what comes next goes on from there.
    let again = h.store.restore_folder(&operator(), h.account, folder("INBOX")).await.unwrap();
    assert_eq!(again, RestoreProgress::Done);
    let appended = h.try_append("INBOX", vec![message("new")]).await.unwrap();
    assert_eq!((appended.uids.to_set(), appended.modseq), (uids("1000"), ModSeq(5_001)));
    assert_eq!(kind(h.store.finish_folder(&operator(), h.account, restore).await), ErrorKind::NoSuchMailbox);
    h.check().await;
}

#[tokio::test]
async fn what_is_refused() {
    let h = Harness::new().await;
    h.try_append("INBOX", vec![message("here first")]).await.unwrap();
    let refused = h.store.restore_folder(&operator(), h.account, folder("INBOX")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::MailboxExists);
    assert!(refused.text().contains("INBOX has 1 messages"), "{}", refused.text());

    let (restore, _) = begin(&h, folder("a/b")).await;
    for (messages, expected) in [
        (vec![restored(5), restored(4)], ErrorKind::InvalidRequest),
        (vec![restored(1_000)], ErrorKind::InvalidRequest),
        (vec![RestoreMessage { modseq: ModSeq(5_001), ..restored(1) }], ErrorKind::InvalidRequest),
        (vec![RestoreMessage { modseq: ModSeq(0), ..restored(1) }], ErrorKind::InvalidRequest),
        (vec![], ErrorKind::InvalidRequest),
    ] {
        assert_eq!(kind(page(&h, restore, messages).await), expected);
    }
    let too_many: Vec<String> = (0..57).map(|n| format!("k{n}")).collect();
    let words: Vec<&str> = too_many.iter().map(String::as_str).collect();
    let crowded = RestoreMessage { keywords: keywords(&words), ..restored(1) };
    assert_eq!(kind(page(&h, restore, vec![crowded]).await), ErrorKind::Limit);
    assert_eq!(kind(page(&h, MailboxId(77), vec![restored(1)]).await), ErrorKind::NoSuchMailbox);
    page(&h, restore, vec![restored(1)]).await.unwrap();
    // A folder of that name that got messages meanwhile stays.
    h.create("a/b").await;
    h.try_append("a/b", vec![message("meanwhile")]).await.unwrap();
    assert_eq!(kind(h.store.finish_folder(&operator(), h.account, restore).await), ErrorKind::MailboxExists);
    h.check().await;
    let owner = h.store.restore_folder(&h.ctx(), h.account, folder("x")).await;
    assert_eq!(kind(owner), ErrorKind::NoPermission);
}

#[tokio::test]
async fn trees() {
    let h = Harness::new().await;
    let only_name = RestoreFolder { noselect: true, ..folder("a/b") };
    let done = h.store.restore_folder(&operator(), h.account, only_name).await.unwrap();
    assert_eq!(done, RestoreProgress::Done);
    for text in ["a/b/c", "a/b", "Default"] {
        let (restore, _) = begin(&h, folder(text)).await;
        page(&h, restore, vec![restored(3)]).await.unwrap();
        h.store.finish_folder(&operator(), h.account, restore).await.unwrap();
        assert_eq!(h.folder(text).await.state.messages, 1, "{text}");
        h.check().await;
    }
}

/// What was begun and given up goes with the sweeper, once it is old.
#[tokio::test]
async fn given_up() {
    let h = Harness::new().await;
    let (restore, _) = begin(&h, folder("x")).await;
    page(&h, restore, (1..=300).map(restored).collect()).await.unwrap();
    h.check().await;
    h.pass(RESTORE_SECONDS_MAX - 1);
    h.store.sweep_all().await.unwrap();
    assert_eq!(begin(&h, folder("x")).await, (restore, 301));
    h.pass(2);
    h.store.sweep_all().await.unwrap();
    h.check().await;
    assert_ne!(begin(&h, folder("x")).await.0, restore);
    assert_eq!(h.store.sweep_all().await.unwrap().bodies, 0);
}

#[tokio::test]
async fn large_bodies() {
    let h = Harness::new().await;
    let mut writer = h.store.stage_body(&operator(), h.account, 300_000).await.unwrap();
    writer.write(Bytes::from(vec![b'y'; 300_000])).await.unwrap();
    let body = AppendBody::Staged(writer.finish().await.unwrap());
    let (restore, _) = begin(&h, folder("x")).await;
    page(&h, restore, vec![restored(1), RestoreMessage { body, ..restored(2) }]).await.unwrap();
    h.check().await;
    h.store.finish_folder(&operator(), h.account, restore).await.unwrap();
    assert_eq!(h.octets("x", 2).await.len(), 300_000);
    h.check().await;
}
