//! What has been \Deleted for long goes by itself: the notes that lead the sweeper to it.

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, TransactionOptions};
use model::{AccountId, Flags, MailboxId};
use store::keyspace::Keyspace;
use store::records::{DeletedNote, day_of};
use store_api::{
    CheckRequest, CopyMode, FindingKind, FlagAction, MailStore, Maintenance, Remedy, RestoreFolder,
    RestoreProgress,
};

use crate::harness::{Harness, START, address, message, name, operator};
use crate::restoring::{folder, restored};

const DAY: i64 = 86_400;

/// Every note there is: its day and its folder.
async fn notes(h: &Harness) -> Vec<(u32, AccountId, MailboxId)> {
    let keys = Keyspace::new(&h.options.prefix);
    let range = keys.all_deleted();
    let request = RangeRequest::new(range.begin, range.end);
    let mut trx = h.engine.begin(TransactionOptions::default());
    let page = trx.get_range(&request, ReadMode::Snapshot).await.unwrap();
    let note = |pair: &kv::KeyValue| {
        let (day, account, mailbox) = keys.deleted_of(&pair.key).unwrap();
        assert_eq!(DeletedNote::decode(&pair.value).unwrap().day(), day);
        (day, account, mailbox)
    };
    page.pairs.iter().map(note).collect()
}

/// Writes a key behind the store's back, or clears it.
async fn put(h: &Harness, key: Bytes, value: Option<Vec<u8>>) {
    let mut trx = h.engine.begin(TransactionOptions::default());
    match value {
        Some(value) => trx.set(&key, &value),
        None => trx.clear(&key),
    }
    trx.commit().await.unwrap();
}

#[tokio::test]
async fn one_note_a_folder() {
    let h = Harness::new().await;
    let inbox = h.id("INBOX").await;
    h.fill("INBOX", 10).await;
    assert_eq!(notes(&h).await, []);
    for uid in 1..=5 {
        h.add_flags("INBOX", &uid.to_string(), Flags::DELETED).await;
        h.pass(DAY);
    }
    let first = day_of(START);
    assert_eq!(notes(&h).await, [(first, h.account, inbox)], "it stands where the first put it");
    for _ in 0..100 {
        h.try_flag("INBOX", "1:*", FlagAction::Remove, Flags::DELETED, &[], None).await.unwrap();
        assert_eq!(notes(&h).await, []);
        h.pass(DAY);
        h.add_flags("INBOX", "1:*", Flags::DELETED).await;
        assert_eq!(notes(&h).await.len(), 1);
    }
    assert_eq!(notes(&h).await, [(first + 105, h.account, inbox)]);
    h.check().await;
    h.expunge("INBOX", Some("1:9")).await;
    assert_eq!(notes(&h).await.len(), 1);
    h.expunge("INBOX", None).await;
    assert_eq!(notes(&h).await, []);
    h.check().await;
}

#[tokio::test]
async fn whatever_brings_deleted_messages_leaves_a_note() {
    let h = Harness::new().await;
    let mut deleted = message("x");
    deleted.flags = Flags::DELETED;
    h.create("appended").await;
    h.try_append("appended", vec![deleted, message("y")]).await.unwrap();
    h.create("copied").await;
    h.try_copy(CopyMode::Copy, "appended", "1:2", "copied").await.unwrap();
    h.create("moved").await;
    h.try_copy(CopyMode::Move, "appended", "1", "moved").await.unwrap();
    let wanted = RestoreFolder { name: name("restored"), ..folder("restored") };
    let begun = h.store.restore_folder(&operator(), h.account, wanted).await.unwrap();
    let RestoreProgress::Open { restore, .. } = begun else { panic!("it is there already") };
    h.store.restore_messages(&operator(), h.account, restore, vec![restored(1), restored(2)]).await.unwrap();
    let noted = async || notes(&h).await.into_iter().map(|(.., folder)| folder).collect::<Vec<_>>();
    assert_eq!(noted().await, [h.id("copied").await, h.id("moved").await]);
    h.store.finish_folder(&operator(), h.account, restore).await.unwrap();
    assert_eq!(noted().await, [h.id("copied").await, h.id("moved").await, h.id("restored").await]);
    h.check().await;
    // A note goes with its folder, and with the account.
    h.store.delete_folder(&h.ctx(), h.account, &name("moved")).await.unwrap();
    assert_eq!(noted().await, [h.id("copied").await, h.id("restored").await]);
    h.check().await;
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    assert_eq!(noted().await, []);
}

#[tokio::test]
async fn missing_and_stray_notes_are_found() {
    let h = Harness::new().await;
    let inbox = h.id("INBOX").await;
    h.fill("INBOX", 10).await;
    h.add_flags("INBOX", "1:3", Flags::DELETED).await;
    let keys = Keyspace::new(&h.options.prefix);
    let modseq = h.folder("INBOX").await.state.highest_modseq;
    let day = day_of(START);
    let stray = DeletedNote { modseq, at: START }.encode();
    for (key, value) in [
        (keys.deleted(day, h.account, inbox), None),
        (keys.deleted(day, h.account, inbox), Some(b"nonsense".to_vec())),
        (keys.deleted(day + 1, h.account, inbox), Some(stray.clone())),
        (keys.deleted(day, h.account, MailboxId(7_777)), Some(stray.clone())),
        (keys.deleted(day, AccountId(5), inbox), Some(stray)),
        ([&keys.all_deleted().begin[..], b"odd"].concat().into(), Some(Vec::new())),
    ] {
        put(&h, key.clone(), value).await;
        let found = h.store.check().await.unwrap();
        assert_eq!(found.len(), 1, "{key:?}: {found:?}");
        assert_eq!((found[0].kind, found[0].remedy), (FindingKind::DeletedNotes, Remedy::Repairable));
        let request = CheckRequest { repair: true, ..CheckRequest::default() };
        let mut events = h.store.inspect(&operator(), request).await.unwrap();
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            event.unwrap();
        }
        h.check().await;
        assert_eq!(notes(&h).await, [(day, h.account, inbox)]);
    }
    // No client synchronises anew for it.
    assert_eq!(h.folder("INBOX").await.state.highest_modseq, modseq);
}
