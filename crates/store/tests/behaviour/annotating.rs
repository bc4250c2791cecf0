//! Annotations of messages.

use bytes::Bytes;
use futures::TryStreamExt;
use kv::{ReadMode, TransactionOptions};
use model::limits::{
    ANNOTATION_VALUE_BYTES_MAX, ANNOTATIONS_PER_MESSAGE_MAX, ANNOTATORS_PER_MESSAGE_MAX, BODY_CHUNK_BYTES,
};
use model::{
    AccountId, AclAction, AclChange, AnnotationName, AnnotationPattern, DeviceId, EntryScope, ErrorKind,
    Flags, Identifier, MailboxId, ModSeq, Result, Rights, Uid, UidSet,
};
use store::keyspace::{Annotator, Keyspace};
use store::records::{AnnotationRecord, FolderMarks, StateRecord};
use store_api::{
    AnnotationChange, AnnotationQuery, AppendBody, AppendMessage, AppendRequest, CheckRequest, CopyMode,
    CopyRequest, Credentials, Ctx, FindingKind, FlagAction, FlagChange, MailStore, Maintenance, Missing,
    NewAccount, QuotaLimits, ReplaceRequest, Requestor, SearchKey, SearchRequest, StoreAnnotations,
    StoreFlags, StoreOutcome, User,
};

use crate::harness::{Harness, address, kind, message, name, operator, uids};

const PRIVATE: EntryScope = EntryScope::Private;
const SHARED: EntryScope = EntryScope::Shared;

/// A change of one annotation.
pub fn note(name: &str, scope: EntryScope, value: Option<&str>) -> AnnotationChange {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    AnnotationChange { name: AnnotationName::parse(name.as_bytes()).unwrap(), scope, value }
}

async fn set_as(
    h: &Harness,
    ctx: &Ctx,
    folder: &str,
    set: &str,
    changes: Vec<AnnotationChange>,
    unchanged_since: Option<u64>,
) -> Result<StoreOutcome> {
    let unchanged_since = unchanged_since.map(ModSeq);
    let request = StoreAnnotations { mailbox: h.id(folder).await, uids: uids(set), changes, unchanged_since };
    h.store.store_annotations(ctx, h.account, request).await
}

async fn set(h: &Harness, folder: &str, set: &str, changes: Vec<AnnotationChange>) -> StoreOutcome {
    set_as(h, &h.ctx(), folder, set, changes, None).await.unwrap()
}

async fn shown_to(h: &Harness, ctx: &Ctx, folder: &str, pattern: &str) -> Vec<String> {
    let entries = vec![AnnotationPattern::parse(pattern.as_bytes()).unwrap()];
    let mut query = AnnotationQuery { mailbox: h.id(folder).await, uids: uids("1:*"), entries, scope: None };
    let mut lines = Vec::new();
    loop {
        let page = h.store.annotations(ctx, h.account, &query).await.unwrap();
        for (uid, entries) in page.messages {
            for (name, values) in entries {
                let value = |value: Option<Bytes>| match value {
                    Some(value) => format!("{:?}", String::from_utf8_lossy(&value)),
                    None => "-".to_owned(),
                };
                lines.push(format!("{uid} {name} {} {}", value(values.private), value(values.shared)));
            }
        }
        let Some(next) = page.next else { return lines };
        query.uids = query.uids.intersection(&UidSet::range(next, Uid::MAX));
    }
}

/// The annotations of a folder that its owner sees: "uid entry private shared".
pub async fn shown(h: &Harness, folder: &str, pattern: &str) -> Vec<String> {
    shown_to(h, &h.ctx(), folder, pattern).await
}

/// Octets that the quota counts beside those of messages.
async fn counted(h: &Harness) -> u64 {
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage;
    let tree = h.store.folders(&h.ctx(), h.account).await.unwrap();
    let mut messages = 0;
    for entry in tree.folders() {
        messages += h.store.folder(&h.ctx(), h.account, entry.id).await.unwrap().state.bytes;
    }
    usage.bytes - messages
}

async fn other(h: &Harness, n: u64) -> (AccountId, Ctx) {
    let account = NewAccount {
        address: address(n),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    let id = h.store.create_account(&operator(), account).await.unwrap();
    (id, Ctx { request_id: 8, deadline: None, requestor: Requestor::owner(id) })
}

async fn give(h: &Harness, folder: &str, n: u64, rights: &str) {
    let change = AclChange {
        identifier: Identifier::parse(address(n).as_str()).unwrap(),
        action: AclAction::Set,
        rights: Rights::parse(rights).unwrap(),
    };
    let mailbox = h.id(folder).await;
    h.store.set_acl(&h.ctx(), h.account, &address(0), mailbox, &change).await.unwrap();
}

#[tokio::test]
async fn values_come_change_and_go() {
    let h = Harness::new().await;
    h.fill("INBOX", 4).await;
    let before = h.folder("INBOX").await.state.highest_modseq;
    let did = set(
        &h,
        "INBOX",
        "2:3,9",
        vec![
            note("/comment", PRIVATE, Some("mine")),
            note("/comment", SHARED, Some("ours")),
            note("/vendor/acme/x", SHARED, Some("a\0b")),
            note("/altsubject", SHARED, None),
        ],
    )
    .await;
    assert_eq!((did.changed.clone(), did.modseq, did.modseq_before), (uids("2:3"), before.next(), before));
    let both = ["/comment \"mine\" \"ours\"", "/vendor/acme/x - \"a\\0b\""];
    let of = |uid: u32| both.map(|line| format!("{uid} {line}"));
    assert_eq!(shown(&h, "INBOX", "*").await, [of(2), of(3)].concat());
    assert_eq!(
        shown(&h, "INBOX", "/%").await,
        ["2 /comment \"mine\" \"ours\"", "3 /comment \"mine\" \"ours\""]
    );
    assert_eq!(shown(&h, "INBOX", "/vendor/*/y").await, [""; 0]);
    let rows: Vec<ModSeq> = h.folder("INBOX").await.rows().map(|row| row.modseq).collect();
    assert_eq!(rows[1..3], [did.modseq; 2]);
    assert!(rows[0] < did.modseq && rows[3] < did.modseq);
    // What is the same already is no change.
    let again = set(&h, "INBOX", "3", vec![note("/comment", SHARED, Some("ours"))]).await;
    assert_eq!((again.changed, again.modseq), (UidSet::new(), did.modseq));
    // A message that changed since is left alone.
    let late = vec![note("/comment", SHARED, Some("late"))];
    let did = set_as(&h, &h.ctx(), "INBOX", "1:2", late, Some(before.0)).await.unwrap();
    assert_eq!((did.changed, did.modified), (uids("1"), uids("2")));
    let gone = vec![note("/comment", PRIVATE, None), note("/vendor/acme/x", SHARED, None)];
    set(&h, "INBOX", "2", gone).await;
    assert_eq!(
        shown(&h, "INBOX", "*").await,
        [
            "1 /comment - \"late\"",
            "2 /comment - \"ours\"",
            "3 /comment \"mine\" \"ours\"",
            "3 /vendor/acme/x - \"a\\0b\""
        ]
    );
    h.check().await;
    // The last one takes the folder's mark along.
    let all =
        ["/comment", "/vendor/acme/x"].map(|name| [note(name, PRIVATE, None), note(name, SHARED, None)]);
    set(&h, "INBOX", "1:*", all.concat()).await;
    assert_eq!((shown(&h, "INBOX", "*").await.len(), counted(&h).await), (0, 0));
    h.check().await;
}

#[tokio::test]
async fn limits() {
    let h = Harness::new().await;
    h.fill("INBOX", 2).await;
    let full = |n: usize| note(&format!("/vendor/acme/{n}"), SHARED, Some("x"));
    set(&h, "INBOX", "1", (0..ANNOTATIONS_PER_MESSAGE_MAX).map(full).collect()).await;
    let one = || note("/comment", SHARED, Some("one more"));
    let ctx = h.ctx();
    assert_eq!(kind(set_as(&h, &ctx, "INBOX", "1", vec![one()], None).await), ErrorKind::Limit);
    // All or nothing.
    assert_eq!(kind(set_as(&h, &ctx, "INBOX", "1:2", vec![one()], None).await), ErrorKind::Limit);
    assert_eq!(shown(&h, "INBOX", "/comment").await, [""; 0]);
    // In the place of another there is room, and for what is private.
    set(&h, "INBOX", "1", vec![full(0), note("/vendor/acme/0", SHARED, None), one()]).await;
    set(&h, "INBOX", "1", vec![note("/comment", PRIVATE, Some("mine"))]).await;
    // Ten of the largest fit; eleven do not.
    let large = "x".repeat(ANNOTATION_VALUE_BYTES_MAX);
    let large = |n: usize| note(&format!("/vendor/acme/{n}"), SHARED, Some(&large));
    set(&h, "INBOX", "2", (0..10).map(large).collect()).await;
    let eleventh = set_as(&h, &h.ctx(), "INBOX", "2", vec![large(10)], None).await;
    assert_eq!(kind(eleventh), ErrorKind::Limit);
    for wrong in [
        note("/vendor/acme/0", SHARED, Some(&"x".repeat(ANNOTATION_VALUE_BYTES_MAX + 1))),
        note("/flags", SHARED, Some("x")),
        note(AnnotationName::SEEN_IDENTITY, SHARED, Some("x")),
    ] {
        let refused = set_as(&h, &h.ctx(), "INBOX", "2", vec![wrong], None).await;
        assert_eq!(kind(refused), ErrorKind::InvalidRequest);
    }
    h.check().await;
}

#[tokio::test]
async fn parts_must_exist() {
    let h = Harness::new().await;
    let two =
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
    h.try_append("INBOX", vec![message(two), message("Subject: x\r\n\r\nx")]).await.unwrap();
    let second = || vec![note("/2/comment", SHARED, Some("of part 2"))];
    set(&h, "INBOX", "1", second()).await;
    let ctx = h.ctx();
    for (set, changes) in [
        ("1:2", second()),
        ("1", vec![note("/2.1/comment", SHARED, Some("x"))]),
        ("1", vec![note("/99999999999/comment", SHARED, Some("x"))]),
    ] {
        assert_eq!(kind(set_as(&h, &ctx, "INBOX", set, changes, None).await), ErrorKind::NoSuchPart);
    }
    let annotated = |octets: &str| AppendMessage { annotations: second(), ..message(octets.to_owned()) };
    let appended = h.try_append("INBOX", vec![annotated(two), annotated("Subject: x\r\n\r\nx")]).await;
    assert_eq!(kind(appended), ErrorKind::NoSuchPart);
    h.try_append("INBOX", vec![annotated(two)]).await.unwrap();
    // A body written ahead is looked at, too.
    let long = [two.as_bytes(), &[b'x'].repeat(BODY_CHUNK_BYTES)].concat();
    for (octets, stored) in [(long, true), (vec![b'x'; BODY_CHUNK_BYTES], false)] {
        let mut writer = h.store.stage_body(&h.ctx(), h.account, octets.len() as u64).await.unwrap();
        writer.write(octets.into()).await.unwrap();
        let body = AppendBody::Staged(writer.finish().await.unwrap());
        let appended = h.try_append("INBOX", vec![AppendMessage { body, ..annotated("") }]).await;
        assert_eq!(appended.is_ok(), stored, "{appended:?}");
    }
    let lines = shown(&h, "INBOX", "/%/comment").await;
    assert_eq!(lines, [1, 3, 4].map(|uid| format!("{uid} /2/comment - \"of part 2\"")));
    h.check().await;
}

#[tokio::test]
async fn others_see_what_is_shared_and_what_is_their_own() {
    let h = Harness::new().await;
    h.fill("INBOX", 1).await;
    h.create("Kept").await;
    let (them, ctx) = other(&h, 1).await;
    let mine = vec![note("/comment", PRIVATE, Some("mine")), note("/comment", SHARED, Some("ours"))];
    set(&h, "INBOX", "1", mine).await;
    let theirs = || vec![note("/comment", PRIVATE, Some("theirs"))];
    let shared = || vec![note("/altsubject", SHARED, Some("s"))];
    assert_eq!(kind(set_as(&h, &ctx, "INBOX", "1", theirs(), None).await), ErrorKind::NoSuchMailbox);
    give(&h, "INBOX", 1, "lr").await;
    set_as(&h, &ctx, "INBOX", "1", theirs(), None).await.unwrap();
    assert_eq!(kind(set_as(&h, &ctx, "INBOX", "1", shared(), None).await), ErrorKind::NoPermission);
    give(&h, "INBOX", 1, "lrn").await;
    set_as(&h, &ctx, "INBOX", "1", shared(), None).await.unwrap();
    assert_eq!(
        shown_to(&h, &ctx, "INBOX", "*").await,
        ["1 /altsubject - \"s\"", "1 /comment \"theirs\" \"ours\""]
    );
    assert_eq!(shown(&h, "INBOX", "*").await, ["1 /altsubject - \"s\"", "1 /comment \"mine\" \"ours\""]);
    // Each hears of changes that they see.
    let inbox = h.id("INBOX").await;
    let news = async |ctx: &Ctx| {
        let news = h.store.annotation_news(ctx, h.account, inbox, ModSeq(2)).await.unwrap();
        news.into_iter().map(|news| format!("{} {:?}", news.uids, news.entries)).collect::<Vec<_>>()
    };
    let entry = |name: &str| format!("1 {:?}", [AnnotationName::parse(name.as_bytes()).unwrap()]);
    assert_eq!(news(&ctx).await, [entry("/comment"), entry("/comment"), entry("/altsubject")]);
    assert_eq!(news(&h.ctx()).await, [entry("/comment"), entry("/altsubject")]);
    // A search looks at the same.
    let search = async |ctx: &Ctx, text: &str, scope| {
        let pattern = AnnotationPattern::parse(b"*").unwrap();
        let key = SearchKey::Annotation(pattern, scope, text.to_owned());
        let request = SearchRequest { mailbox: inbox, key, within: None };
        !h.store.search(ctx, h.account, &request).await.unwrap().is_empty()
    };
    assert!(search(&ctx, "HEIRS", None).await && !search(&ctx, "mine", None).await);
    assert!(search(&h.ctx(), "mine", Some(PRIVATE)).await && !search(&h.ctx(), "mine", Some(SHARED)).await);
    assert!(search(&h.ctx(), "", None).await && !search(&h.ctx(), "theirs", None).await);
    // Copies take along what is shared and the copier's own, where the target takes it.
    let copy = |ctx: Ctx, mode| {
        let request = CopyRequest {
            mode,
            source: inbox,
            uids: uids("1"),
            target: name("Kept"),
            missing: Missing::Skip,
        };
        let h = h.clone();
        async move { h.store.copy(&ctx, h.account, request).await.unwrap() }
    };
    for (rights, lines) in [
        ("li", &[][..]),
        ("lri", &["1 /comment \"theirs\" -"][..]),
        ("lrin", &["1 /altsubject - \"s\"", "1 /comment \"theirs\" \"ours\""]),
    ] {
        give(&h, "Kept", 1, rights).await;
        copy(ctx.clone(), CopyMode::Copy).await;
        give(&h, "Kept", 1, "lr").await;
        let found = shown_to(&h, &ctx, "Kept", "*").await;
        assert_eq!(found, lines, "{rights}");
        h.add_flags("Kept", "1:*", Flags::DELETED).await;
        h.expunge("Kept", None).await;
        h.store.delete_folder(&h.ctx(), h.account, &name("Kept")).await.unwrap();
        h.create("Kept").await;
    }
    copy(h.ctx(), CopyMode::Move).await;
    assert_eq!(shown(&h, "Kept", "*").await, ["1 /altsubject - \"s\"", "1 /comment \"mine\" \"ours\""]);
    give(&h, "Kept", 1, "lr").await;
    assert_eq!(shown_to(&h, &ctx, "Kept", "/comment").await, ["1 /comment - \"ours\""]);
    h.check().await;
    // A stranger's go with the message, as all others.
    set_as(&h, &ctx, "Kept", "1", theirs(), None).await.unwrap();
    h.add_flags("Kept", "1", Flags::DELETED).await;
    h.expunge("Kept", None).await;
    assert_eq!(counted(&h).await, 0);
    assert_ne!(them, h.account);
    h.check().await;
}

#[tokio::test]
async fn only_so_many_others_annotate_a_message() {
    let h = Harness::new().await;
    h.fill("INBOX", 1).await;
    let theirs = || vec![note("/comment", PRIVATE, Some("theirs"))];
    for n in 1..=ANNOTATORS_PER_MESSAGE_MAX as u64 + 1 {
        let (_, ctx) = other(&h, n).await;
        give(&h, "INBOX", n, "lr").await;
        let did = set_as(&h, &ctx, "INBOX", "1", theirs(), None).await;
        assert_eq!(did.is_ok(), n <= ANNOTATORS_PER_MESSAGE_MAX as u64, "{n}: {did:?}");
    }
    set(&h, "INBOX", "1", theirs()).await;
    h.check().await;
}

#[tokio::test]
async fn they_go_with_the_message_and_count_towards_the_quota() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    h.create("Kept").await;
    let comment = || note("/comment", SHARED, Some("1234"));
    let each = "/comment".len() as u64 + 4 + 8;
    set(&h, "INBOX", "1:3", vec![comment()]).await;
    assert_eq!(counted(&h).await, 3 * each);
    h.try_copy(CopyMode::Copy, "INBOX", "1:2", "Kept").await.unwrap();
    h.try_copy(CopyMode::Copy, "INBOX", "3", "INBOX").await.unwrap();
    h.try_copy(CopyMode::Move, "INBOX", "3", "INBOX").await.unwrap();
    assert_eq!(counted(&h).await, 6 * each);
    let of = |uid: u32| format!("{uid} /comment - \"1234\"");
    assert_eq!(shown(&h, "INBOX", "*").await, [of(1), of(2), of(4), of(5)]);
    let request = ReplaceRequest {
        source: h.id("INBOX").await,
        uid: Uid::new(1).unwrap(),
        target: name("Kept"),
        message: AppendMessage { annotations: vec![comment()], ..message("Subject: new\r\n\r\n") },
    };
    h.store.replace(&h.ctx(), h.account, request).await.unwrap();
    assert_eq!((shown(&h, "Kept", "*").await.len(), counted(&h).await), (3, 6 * each));
    h.add_flags("INBOX", "4", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    h.check().await;
    // RENAME of INBOX takes all of them along, and so does one of another folder.
    h.store.rename_folder(&h.ctx(), h.account, &name("INBOX"), &name("Old")).await.unwrap();
    h.store.rename_folder(&h.ctx(), h.account, &name("Old"), &name("Older")).await.unwrap();
    assert_eq!(shown(&h, "Older", "*").await, [of(1), of(2)]);
    assert_eq!((shown(&h, "INBOX", "*").await.len(), counted(&h).await), (0, 5 * each));
    h.store.delete_folder(&h.ctx(), h.account, &name("Kept")).await.unwrap();
    assert_eq!(counted(&h).await, 2 * each);
    h.check().await;
    let usage = h.store.quota(&h.ctx(), h.account).await.unwrap().usage.bytes;
    let limits = QuotaLimits { bytes: Some(usage + each - 1), messages: None };
    let state = store_api::AccountState::Active;
    h.store.configure_account(&operator(), &address(0), state, limits).await.unwrap();
    let ctx = h.ctx();
    let more = set_as(&h, &ctx, "Older", "1", vec![note("/altsubject", SHARED, Some("1"))], None).await;
    assert_eq!(kind(more), ErrorKind::OverQuota);
    set(&h, "Older", "1", vec![note("/comment", SHARED, Some("12345"))]).await;
    h.check().await;
}

/// Pages of all operations end where there are too many octets of annotations.
#[tokio::test]
async fn many_and_large() {
    let h = Harness::new().await;
    h.fill("INBOX", 150).await;
    h.create("Kept").await;
    let large = "x".repeat(ANNOTATION_VALUE_BYTES_MAX);
    let changes = (0..10).map(|n| note(&format!("/vendor/acme/{n}"), SHARED, Some(&large))).collect();
    // 9 MB: more than one transaction writes.
    let did = set(&h, "INBOX", "1:*", changes).await;
    assert_eq!(did.changed, uids("1:150"));
    assert_eq!(shown(&h, "INBOX", "*").await.len(), 1_500);
    h.try_copy(CopyMode::Copy, "INBOX", "1:*", "Kept").await.unwrap();
    assert_eq!(shown(&h, "Kept", "/vendor/%/3").await.len(), 150);
    let (even, odd): (Vec<u32>, Vec<u32>) = (1..=150).partition(|uid| uid % 2 == 0);
    let text = |some: &[u32]| some.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    h.try_copy(CopyMode::Move, "INBOX", &text(&even), "Kept").await.unwrap();
    h.add_flags("INBOX", &text(&odd), Flags::DELETED).await;
    assert_eq!(h.expunge("INBOX", None).await, uids(&text(&odd)));
    assert_eq!(shown(&h, "Kept", "/vendor/%/3").await.len(), 225);
    assert_eq!(shown(&h, "INBOX", "*").await, [""; 0]);
    h.check().await;
}

/// S3-11: the devices that read and deleted a message show as annotations that nobody sets.
#[tokio::test]
async fn s3_07_devices_show_as_annotations() {
    let h = Harness::new().await;
    h.fill("INBOX", 9_000).await;
    let device = DeviceId::parse(b"<urn:gsma:imei:1>").ok();
    let user = User { device, ..User::owner(h.account) };
    let phone = Ctx { request_id: 9, deadline: None, requestor: Requestor::User(user.into()) };
    let inbox = h.id("INBOX").await;
    for (set, flags) in [("1,9000", Flags::SEEN), ("2,9000", Flags::DELETED)] {
        let change = FlagChange { action: FlagAction::Add, flags, keywords: Vec::new() };
        let request = StoreFlags { mailbox: inbox, uids: uids(set), change, unchanged_since: None };
        h.store.store_flags(&phone, h.account, request).await.unwrap();
    }
    set(&h, "INBOX", "1,8999", vec![note("/comment", PRIVATE, Some("c"))]).await;
    let (seen, deleted) = (AnnotationName::SEEN_IDENTITY, AnnotationName::DELETE_IDENTITY);
    let by = "- \"<urn:gsma:imei:1>\"";
    assert_eq!(
        shown(&h, "INBOX", "/vendor/oma/*").await,
        [
            format!("1 {seen} {by}"),
            format!("2 {deleted} {by}"),
            format!("9000 {deleted} {by}"),
            format!("9000 {seen} {by}"),
        ]
    );
    assert_eq!(shown(&h, "INBOX", "*").await.len(), 6);
    let pattern = AnnotationPattern::parse(seen.as_bytes()).unwrap();
    let key = SearchKey::Annotation(pattern, None, "IMEI".to_owned());
    let request = SearchRequest { mailbox: inbox, key, within: None };
    assert_eq!(h.store.search(&h.ctx(), h.account, &request).await.unwrap(), uids("1,9000"));
    h.check().await;
}

/// Records that nothing holds, and a state that counts wrong, are found and put right.
#[tokio::test]
async fn the_check_looks_at_annotations() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    set(&h, "INBOX", "1:2", vec![note("/comment", SHARED, Some("x"))]).await;
    h.check().await;
    let (keys, inbox) = (Keyspace::new(&[]), h.id("INBOX").await);
    let mut record = AnnotationRecord::default();
    record.entries.insert(AnnotationName::parse(b"/comment").unwrap(), Bytes::from_static(b"x"));
    let mut trx = h.engine.begin(TransactionOptions::default());
    for (mailbox, uid) in [(inbox, 77), (MailboxId(999), 1)] {
        let key = keys.annotations(h.account, mailbox, Uid::new(uid).unwrap(), Annotator::All);
        trx.set(&key, &record.encode());
    }
    let state_key = keys.state(h.account, inbox);
    let raw = trx.get(&state_key, ReadMode::Snapshot).await.unwrap().unwrap();
    let state = StateRecord::decode(&raw).unwrap();
    let marks = FolderMarks { annotation_bytes: 0, ..state.marks };
    trx.set(&state_key, &StateRecord { marks, ..state }.encode());
    trx.commit().await.unwrap();
    let found = h.store.check().await.unwrap();
    let kinds: Vec<FindingKind> = found.iter().map(|finding| finding.kind).collect();
    use FindingKind::{Annotations, Usage};
    assert_eq!(kinds, [Annotations, Annotations, Annotations, Usage], "{found:?}");
    let request = CheckRequest { repair: true, ..CheckRequest::default() };
    let events = h.store.inspect(&operator(), request).await.unwrap();
    events.try_collect::<Vec<_>>().await.unwrap();
    h.check().await;
    assert_eq!(shown(&h, "INBOX", "*").await, ["1 /comment - \"x\"", "2 /comment - \"x\""]);
}

#[tokio::test]
async fn appended_with_a_message() {
    let h = Harness::new().await;
    let (_, ctx) = other(&h, 1).await;
    let annotations = vec![note("/comment", PRIVATE, Some("mine")), note("/altsubject", SHARED, Some("s"))];
    let annotated = AppendMessage { annotations, ..message("Subject: x\r\n\r\nx") };
    h.try_append("INBOX", vec![annotated.clone(), message("Subject: y\r\n\r\n")]).await.unwrap();
    assert_eq!(shown(&h, "INBOX", "*").await, ["1 /altsubject - \"s\"", "1 /comment \"mine\" -"]);
    // What is not allowed is refused, not passed over (RFC 5257 §3.4).
    for (rights, stored) in [("lri", false), ("lin", false), ("lrin", true)] {
        give(&h, "INBOX", 1, rights).await;
        let request = AppendRequest { mailbox: name("INBOX"), messages: vec![annotated.clone()] };
        assert_eq!(h.store.append(&ctx, h.account, request).await.is_ok(), stored, "{rights}");
    }
    h.check().await;
}
