//! What has been \Deleted for long goes by itself: the notes that lead the sweeper to it, and what it does there.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::{RangeRequest, ReadMode, TransactionOptions};
use model::{AccountId, BlockNo, EntryScope, Flags, MailboxId, ModSeq, Uid};
use store::Options;
use store::keyspace::Keyspace;
use store::records::{ChangeKind, DeletedNote, FeedUids, StateRecord, day_of};
use store_api::{
    CopyMode, FindingKind, FlagAction, FlagChange, MailStore, Maintenance, Remedy, RestoreFolder,
    RestoreProgress, StoreFlags,
};

use crate::annotating::note;
use crate::checking::repair;
use crate::devices::{at, fed};
use crate::harness::{Harness, START, address, message, name, operator, uids};
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
        repair(&h).await;
        h.check().await;
        assert_eq!(notes(&h).await, [(day, h.account, inbox)]);
    }
    // No client synchronises anew for it.
    assert_eq!(h.folder("INBOX").await.state.highest_modseq, modseq);
}

/// A store that expunges what has been \Deleted for that many days.
async fn reaping(days: u64) -> Harness {
    Harness::with(Options { deleted_days: days, ..Options::default() }).await
}

async fn reaped(h: &Harness) -> u64 {
    h.store.sweep_all().await.unwrap().messages
}

/// Hour by hour: nothing goes before its time, and nothing more than a day after it.
#[tokio::test]
async fn each_goes_in_its_time() {
    const DAYS: i64 = 3;
    let h = reaping(DAYS as u64).await;
    h.fill("INBOX", 60).await;
    let mut deleted: BTreeMap<u32, i64> = BTreeMap::new();
    for hour in 0..240 {
        if hour % 7 == 0 && deleted.len() < 20 {
            let uid = deleted.len() as u32 * 2 + 1;
            h.add_flags("INBOX", &uid.to_string(), Flags::DELETED).await;
            deleted.insert(uid, hour);
        }
        reaped(&h).await;
        let there = h.folder("INBOX").await.uids();
        for (uid, since) in &deleted {
            let (is_there, hours) = (there.contains(Uid::new(*uid).unwrap()), hour - since);
            assert!(is_there || hours >= DAYS * 24, "{uid} went after {hours} hours");
            assert!(!is_there || hours <= (DAYS + 1) * 24, "{uid} is there after {hours} hours");
        }
        assert!(notes(&h).await.len() <= 1);
        h.pass(3_600);
    }
    let folder = h.folder("INBOX").await;
    assert_eq!((deleted.len(), folder.state.messages, folder.state.deleted), (20, 40, 0));
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    assert_eq!((usage.messages, usage.deleted_messages, usage.deleted_bytes), (40, 0, 0));
    assert_eq!(notes(&h).await, []);
    h.check().await;
}

#[tokio::test]
async fn what_is_withdrawn_stays_and_what_changes_waits_anew() {
    let h = reaping(30).await;
    h.fill("INBOX", 10).await;
    h.add_flags("INBOX", "1:6", Flags::DELETED).await;
    h.pass(20 * DAY);
    h.try_flag("INBOX", "1:2", FlagAction::Remove, Flags::DELETED, &[], None).await.unwrap();
    h.add_flags("INBOX", "3:4", Flags::SEEN).await;
    // What changes nothing is no change.
    h.add_flags("INBOX", "5", Flags::DELETED).await;
    h.pass(11 * DAY);
    assert_eq!(reaped(&h).await, 2);
    assert_eq!(h.folder("INBOX").await.uids(), uids("1:4,7:10"));
    h.pass(19 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.pass(DAY);
    assert_eq!(reaped(&h).await, 2);
    assert_eq!(h.folder("INBOX").await.uids(), uids("1:2,7:10"));
    h.check().await;
}

#[tokio::test]
async fn many_go_a_page_at_a_time() {
    let h = reaping(1).await;
    h.fill("INBOX", 2_600).await;
    h.add_flags("INBOX", "1:2500", Flags::DELETED).await;
    let before = h.folder("INBOX").await.state.highest_modseq;
    h.pass(2 * DAY);
    let swept = h.store.sweep_all().await.unwrap();
    assert_eq!((swept.messages, swept.bodies), (2_500, 2_500));
    let folder = h.folder("INBOX").await;
    assert_eq!(folder.uids(), uids("2501:2600"));
    assert_eq!(folder.state.highest_modseq.0, before.0 + 3, "three transactions");
    h.check().await;
}

#[tokio::test]
async fn without_the_setting_nothing_goes_until_it_is_set() {
    let mut h = Harness::new().await;
    h.fill("INBOX", 5).await;
    h.add_flags("INBOX", "1:2", Flags::DELETED).await;
    h.pass(3_000 * DAY);
    assert_eq!(reaped(&h).await, 0);
    assert_eq!(h.folder("INBOX").await.state.messages, 5);
    h.options.deleted_days = 30;
    h.store = h.sibling().await;
    assert_eq!(reaped(&h).await, 2, "they were noted all the time");
    h.check().await;
}

/// Where the log does not tell any more since when, the time begins anew: later is right, earlier is not.
#[tokio::test]
async fn without_its_log_a_folder_waits() {
    let h = reaping(30).await;
    let inbox = h.id("INBOX").await;
    h.fill("INBOX", 10).await;
    h.add_flags("INBOX", "1:2", Flags::DELETED).await;
    h.pass(10 * DAY);
    h.add_flags("INBOX", "3:4", Flags::DELETED).await;
    let keys = Keyspace::new(&h.options.prefix);
    let mut trx = h.engine.begin(TransactionOptions::default());
    let key = keys.state(h.account, inbox);
    let raw = trx.get(&key, ReadMode::Snapshot).await.unwrap().unwrap();
    let mut state = StateRecord::decode(&raw).unwrap();
    state.marks.log_from = state.folder.highest_modseq;
    trx.set(&key, &state.encode());
    let logs = keys.logs(h.account, inbox);
    trx.clear_range(&logs.begin, &logs.end);
    trx.commit().await.unwrap();
    h.check().await;
    h.pass(21 * DAY);
    assert_eq!(reaped(&h).await, 2, "by the note");
    assert_eq!(h.folder("INBOX").await.uids(), uids("3:10"));
    h.pass(29 * DAY);
    assert_eq!(reaped(&h).await, 0, "31 days and more after them, but who knows");
    h.pass(2 * DAY);
    assert_eq!(reaped(&h).await, 2);
    h.check().await;
}

#[tokio::test]
async fn folders_of_earlier_releases_are_found_by_a_check_or_by_their_next_change() {
    let h = reaping(30).await;
    let inbox = h.id("INBOX").await;
    let other = h.create("other").await;
    let keys = Keyspace::new(&h.options.prefix);
    for (folder, mailbox) in [("INBOX", inbox), ("other", other)] {
        h.fill(folder, 5).await;
        h.add_flags(folder, "1:2", Flags::DELETED).await;
        let key = keys.state(h.account, mailbox);
        let mut trx = h.engine.begin(TransactionOptions::default());
        let raw = trx.get(&key, ReadMode::Snapshot).await.unwrap().unwrap();
        let mut state = StateRecord::decode(&raw).unwrap();
        trx.clear(&keys.deleted(state.marks.deleted_day, h.account, mailbox));
        state.marks.deleted_day = 0;
        trx.set(&key, &state.encode());
        trx.commit().await.unwrap();
    }
    h.pass(100 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.add_flags("other", "5", Flags::SEEN).await;
    assert_eq!(notes(&h).await.len(), 1);
    repair(&h).await;
    assert_eq!(notes(&h).await.len(), 2);
    h.check().await;
    h.pass(30 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.pass(DAY);
    assert_eq!(reaped(&h).await, 4);
    h.check().await;
}

/// Several storage nodes sweep all partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_sweepers_do_it_once() {
    let h = reaping(1).await;
    for n in 0..40 {
        let folder = format!("f{n}");
        h.create(&folder).await;
        h.fill(&folder, 5).await;
        h.add_flags(&folder, "2:4", Flags::DELETED).await;
    }
    h.pass(2 * DAY);
    let other = h.sibling().await;
    let (one, two) = tokio::join!(h.store.sweep_all(), other.sweep_all());
    assert_eq!(one.unwrap().messages + two.unwrap().messages, 120);
    for n in 0..40 {
        let folder = h.folder(&format!("f{n}")).await;
        assert_eq!((folder.uids(), folder.state.highest_modseq), (uids("1,5"), ModSeq(4)));
    }
    h.check().await;
}

/// More folders than one round does, among them one that cannot be read.
#[tokio::test]
async fn rounds_go_on_where_the_last_one_ended() {
    let h = reaping(1).await;
    let mut deleted = message("x");
    deleted.flags = Flags::DELETED;
    for n in 0..1_100 {
        let folder = format!("f{n}");
        h.create(&folder).await;
        h.try_append(&folder, vec![deleted.clone()]).await.unwrap();
    }
    let keys = Keyspace::new(&h.options.prefix);
    let broken = keys.block(h.account, h.id("f7").await, BlockNo(0));
    put(&h, broken, Some(b"nonsense".to_vec())).await;
    h.pass(2 * DAY);
    // By a node that has none of it in memory.
    let store = h.sibling().await;
    let first = store.sweep_all().await.unwrap().messages;
    assert!((1_000..1_100).contains(&first), "{first}");
    let second = store.sweep_all().await.unwrap().messages;
    assert_eq!(first + second, 1_099, "all but the one that cannot be read");
    assert_eq!(notes(&h).await.len(), 1);
}

/// Clocks jump: then nothing is older than it was.
#[tokio::test]
async fn a_clock_that_jumps_makes_nothing_old() {
    let h = reaping(30).await;
    h.fill("INBOX", 5).await;
    h.add_flags("INBOX", "1:2", Flags::DELETED).await;
    h.jump(1_000 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.jump(-1_000 * DAY);
    h.pass(31 * DAY);
    assert_eq!(reaped(&h).await, 2);
    h.check().await;
}

/// As an EXPUNGE by nobody: the feed says which went, and all that belonged to them is gone.
#[tokio::test]
async fn the_feed_tells_and_nothing_is_left() {
    let h = reaping(1).await;
    let mut full = message("IMDN-Message-ID: a\r\nConversation-ID: c\r\n\r\nx");
    full.annotations = vec![note("/comment", EntryScope::Private, Some("remember"))];
    h.try_append("INBOX", vec![full, message("y")]).await.unwrap();
    let request = StoreFlags {
        mailbox: h.id("INBOX").await,
        uids: uids("1"),
        change: FlagChange { action: FlagAction::Add, flags: Flags::DELETED, keywords: Vec::new() },
        unchanged_since: None,
    };
    h.store.store_flags(&at(&h, "phone"), h.account, request).await.unwrap();
    h.pass(2 * DAY);
    assert_eq!(reaped(&h).await, 1);
    let keys = Keyspace::new(&h.options.prefix);
    let item = fed(&h).await.pop().unwrap();
    assert_eq!((item.kind, &item.device), (ChangeKind::Expunge, &None));
    assert_eq!(item.removed, FeedUids::of(&uids("1")));
    h.check().await;
    let account = keys.account(h.account);
    let mut trx = h.engine.begin(TransactionOptions::default());
    let page =
        trx.get_range(&RangeRequest::new(account.begin, account.end), ReadMode::Snapshot).await.unwrap();
    let holds = |needle: &[u8]| {
        page.pairs.iter().any(|pair| {
            [&pair.key[..], &pair.value[..]].concat().windows(needle.len()).any(|it| it == needle)
        })
    };
    assert!(!page.more && holds(b"INBOX") && !holds(b"remember") && !holds(b"phone") && !holds(b"IMDN"));
}

/// A node whose clock was behind dates a change too early; what had not come by then cannot have been \Deleted by then.
#[tokio::test]
async fn a_clock_that_was_behind_takes_nothing_new() {
    let h = reaping(30).await;
    h.fill("INBOX", 5).await;
    h.jump(-100 * DAY);
    h.add_flags("INBOX", "1:2", Flags::DELETED).await;
    h.jump(100 * DAY);
    assert_eq!(notes(&h).await[0].0, day_of(START - 100 * DAY));
    assert_eq!(reaped(&h).await, 0);
    assert_eq!(notes(&h).await[0].0, day_of(START), "from now on");
    h.pass(30 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.pass(DAY);
    assert_eq!(reaped(&h).await, 2);
    h.check().await;
}

/// More of the log than one transaction looks at stands between two messages that are due.
#[tokio::test]
async fn a_long_log_is_read_in_parts() {
    let h = reaping(30).await;
    h.fill("INBOX", 10).await;
    h.add_flags("INBOX", "1", Flags::DELETED).await;
    for n in 0..4_200 {
        let action = if n % 2 == 0 { FlagAction::Add } else { FlagAction::Remove };
        h.try_flag("INBOX", "9", action, Flags::SEEN, &[], None).await.unwrap();
    }
    h.add_flags("INBOX", "2", Flags::DELETED).await;
    h.pass(20 * DAY);
    h.add_flags("INBOX", "3", Flags::DELETED).await;
    h.pass(20 * DAY);
    assert_eq!(reaped(&h).await, 2);
    assert_eq!(h.folder("INBOX").await.uids(), uids("3:10"));
    h.pass(11 * DAY);
    assert_eq!(reaped(&h).await, 1);
    h.check().await;
}

/// A note that a clock dated far ahead would keep its folder waiting for as long: a check finds it.
#[tokio::test]
async fn a_note_of_a_time_to_come_is_found() {
    let h = reaping(30).await;
    h.fill("INBOX", 5).await;
    h.jump(1_000 * DAY);
    h.add_flags("INBOX", "1:2", Flags::DELETED).await;
    h.jump(-1_000 * DAY);
    let found = h.store.check().await.unwrap();
    assert_eq!(found.iter().map(|it| it.kind).collect::<Vec<_>>(), [FindingKind::DeletedNotes], "{found:?}");
    repair(&h).await;
    h.check().await;
    h.pass(30 * DAY);
    assert_eq!(reaped(&h).await, 0);
    h.pass(DAY);
    assert_eq!(reaped(&h).await, 2);
}
