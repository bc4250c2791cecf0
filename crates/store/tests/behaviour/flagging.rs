use model::{ErrorKind, Flags, ModSeq, Uid};
use store_api::{FlagAction, MailStore};

use crate::harness::{Harness, kind, uids};

#[tokio::test]
async fn flags_change_and_count() {
    let h = Harness::new().await;
    h.fill("INBOX", 10).await;
    let start = h.folder("INBOX").await.state.highest_modseq;
    let done = h.add_flags("INBOX", "2:4,40", Flags::SEEN).await;
    assert_eq!((done.changed.clone(), done.modseq_before, done.modseq), (uids("2:4"), start, start.next()));
    let folder = h.folder("INBOX").await;
    assert_eq!((folder.state.unseen, folder.state.deleted), (7, 0));
    assert_eq!(folder.rows_changed_since(start).count(), 3);
    // What stays the same keeps its MODSEQ, and so does the folder.
    let again = h.add_flags("INBOX", "2:3", Flags::SEEN).await;
    assert!(again.changed.is_empty() && again.modseq == done.modseq);
    assert_eq!(h.folder("INBOX").await.state.highest_modseq, done.modseq);
    let replaced =
        h.try_flag("INBOX", "1:3", FlagAction::Replace, Flags::DELETED, &["a"], None).await.unwrap();
    assert_eq!(replaced.changed, uids("1:3"));
    let folder = h.folder("INBOX").await;
    assert_eq!((folder.state.unseen, folder.state.deleted), (9, 3));
    assert!(folder.state.deleted_bytes > 0);
    let removed =
        h.try_flag("INBOX", "1:*", FlagAction::Remove, Flags::DELETED, &["A", "nobody"], None).await.unwrap();
    assert_eq!(removed.changed, uids("1:3"));
    let folder = h.folder("INBOX").await;
    assert_eq!((folder.state.deleted, folder.state.deleted_bytes), (0, 0));
    assert_eq!(folder.row(Uid::MIN).unwrap().flags, Flags::default());
    h.check().await;
}

#[tokio::test]
async fn unchanged_since_leaves_out_what_changed() {
    let h = Harness::new().await;
    h.fill("INBOX", 5).await;
    let first = h.add_flags("INBOX", "3", Flags::FLAGGED).await;
    let since = Some(first.modseq_before.0);
    let done = h.try_flag("INBOX", "1:4", FlagAction::Add, Flags::SEEN, &[], since).await.unwrap();
    assert_eq!((done.changed, done.modified), (uids("1:2,4"), uids("3")));
    // UNCHANGEDSINCE 0 fails for every message (RFC 7162 §3.1.3).
    let none = h.try_flag("INBOX", "1:5", FlagAction::Add, Flags::DRAFT, &[], Some(0)).await.unwrap();
    assert_eq!((none.changed.len(), none.modified), (0, uids("1:5")));
    h.check().await;
}

#[tokio::test]
async fn ten_thousand_at_once_and_more_than_a_page() {
    let h = Harness::new().await;
    h.fill("INBOX", 12_000).await;
    let done = h.add_flags("INBOX", "1:*", Flags::SEEN).await;
    assert_eq!(done.changed, uids("1:12000"));
    let folder = h.folder("INBOX").await;
    assert_eq!(folder.state.unseen, 0);
    assert!(folder.rows().all(|row| row.modseq > done.modseq_before && row.modseq <= done.modseq));
    // Another process sees the same, with a cold cache.
    let sibling = h.sibling().await;
    let other = sibling.folder(&h.ctx(), h.account, folder.mailbox).await.unwrap();
    assert!(other.rows().eq(folder.rows()) && other.state == folder.state);
    h.check().await;
}

#[tokio::test]
async fn keywords_fill_the_table_and_make_room_again() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    let words: Vec<String> = (0..56).map(|n| format!("word{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    h.try_flag("INBOX", "1", FlagAction::Add, Flags::default(), &words, None).await.unwrap();
    assert!(h.folder("INBOX").await.state.keywords.is_full());
    let over = h.try_flag("INBOX", "2", FlagAction::Add, Flags::default(), &["more"], None).await;
    assert_eq!(kind(over), ErrorKind::Limit);
    // On no message, a keyword asked to go is no new keyword.
    h.try_flag("INBOX", "2", FlagAction::Remove, Flags::default(), &["more"], None).await.unwrap();
    h.try_flag("INBOX", "1", FlagAction::Remove, Flags::default(), &["word7"], None).await.unwrap();
    let mut sibling = h.clone();
    sibling.store = h.sibling().await;
    sibling.try_flag("INBOX", "2", FlagAction::Add, Flags::default(), &["more"], None).await.unwrap();
    let folder = sibling.folder("INBOX").await;
    let index = folder.row(Uid::new(2).unwrap()).unwrap().flags.keyword_indexes().next().unwrap();
    assert_eq!(folder.state.keywords.get(index).unwrap().as_str(), "more");
    sibling.check().await;
}

#[tokio::test]
async fn a_store_that_changes_nothing_adds_no_keyword() {
    let h = Harness::new().await;
    h.fill("INBOX", 1).await;
    h.try_flag("INBOX", "7", FlagAction::Add, Flags::default(), &["new"], None).await.unwrap();
    let folder = h.folder("INBOX").await;
    assert!(folder.state.keywords.slots().is_empty());
    assert_eq!(folder.state.highest_modseq, ModSeq(2));
}

#[tokio::test]
async fn recent_is_claimed_once_and_never_goes_back() {
    let h = Harness::new().await;
    h.fill("INBOX", 5).await;
    let (inbox, before) = (h.id("INBOX").await, h.folder("INBOX").await.state.clone());
    for (claim, expected) in [(4, 4), (2, 4), (1 << 32, 6)] {
        h.store.claim_recent(&h.ctx(), h.account, inbox, claim).await.unwrap();
        assert_eq!(h.folder("INBOX").await.state.recent_uid, expected);
    }
    assert_eq!(h.folder("INBOX").await.state.highest_modseq, before.highest_modseq);
    let gone = h.store.claim_recent(&h.ctx(), h.account, model::MailboxId(999), 1).await;
    assert_eq!(kind(gone), ErrorKind::NoSuchMailbox);
    h.check().await;
}
