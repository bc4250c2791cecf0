use model::{Flags, ModSeq, UidSet};
use store::Options;
use store_api::MailStore;

use crate::harness::{Harness, uids};

#[tokio::test]
async fn only_what_is_deleted_goes() {
    let h = Harness::new().await;
    h.fill("INBOX", 300).await;
    h.add_flags("INBOX", "5,100:200", Flags::DELETED).await;
    assert_eq!(h.expunge("INBOX", Some("1:150")).await, uids("5,100:150"));
    assert_eq!(h.expunge("INBOX", None).await, uids("151:200"));
    assert_eq!(h.expunge("INBOX", None).await, UidSet::new());
    let folder = h.folder("INBOX").await;
    assert_eq!(folder.uids(), uids("1:4,6:99,201:300"));
    assert_eq!((folder.state.messages, folder.state.deleted, folder.state.uid_next), (198, 0, 301));
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    assert_eq!((usage.messages, usage.deleted_messages, usage.deleted_bytes), (198, 0, 0));
    h.check().await;
}

#[tokio::test]
async fn bodies_go_with_the_sweep() {
    let h = Harness::new().await;
    h.fill("INBOX", 600).await;
    h.add_flags("INBOX", "1:*", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    let swept = h.store.sweep_all().await.unwrap();
    assert_eq!((swept.works, swept.bodies), (1, 600));
    assert_eq!(h.store.sweep_all().await.unwrap().works, 0);
    h.check().await;
}

#[tokio::test]
async fn vanished_since_any_point() {
    let h = Harness::new().await;
    h.fill("INBOX", 20).await;
    let inbox = h.id("INBOX").await;
    let mut points = vec![h.folder("INBOX").await];
    for set in ["3:5", "1,7", "20", "9:12"] {
        h.add_flags("INBOX", set, Flags::DELETED).await;
        points.push(h.folder("INBOX").await);
        h.expunge("INBOX", None).await;
        h.fill("INBOX", 1).await;
        points.push(h.folder("INBOX").await);
    }
    let now = h.folder("INBOX").await;
    for point in &points {
        let since = point.state.highest_modseq;
        let vanished = h.store.vanished(&h.ctx(), h.account, inbox, since).await.unwrap();
        assert_eq!(vanished.intersection(&point.uids()), point.uids().difference(&now.uids()));
        assert!(vanished.intersection(&now.uids()).is_empty());
    }
}

#[tokio::test]
async fn past_the_log_more_vanished_than_did() {
    let h = Harness::with(Options { log_days: 1, log_changes_max: 10, ..Options::default() }).await;
    h.fill("INBOX", 9_000).await;
    let inbox = h.id("INBOX").await;
    h.add_flags("INBOX", "1:10", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    let since = h.folder("INBOX").await.state.highest_modseq;
    // Enough changes that the log is looked at.
    for n in 0..8_300u32 {
        let flags = if n % 2 == 0 { Flags::SEEN } else { Flags::FLAGGED };
        h.add_flags("INBOX", &format!("{}", 11 + n / 2), flags).await;
    }
    h.pass(2 * 86_400);
    h.store.sweep_all().await.unwrap();
    h.check().await;
    let vanished = h.store.vanished(&h.ctx(), h.account, inbox, ModSeq(1)).await.unwrap();
    assert_eq!(vanished, uids("1:10"));
    h.add_flags("INBOX", "20", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    let vanished = h.store.vanished(&h.ctx(), h.account, inbox, since).await.unwrap();
    assert_eq!(vanished, uids("1:10,20"), "all that is not there");
    let cold = h.sibling().await.folder(&h.ctx(), h.account, inbox).await.unwrap();
    assert!(cold.rows().eq(h.folder("INBOX").await.rows()));
}
