//! The check: every kind of record broken on purpose through the engine, named, and put right where it can be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use kv::{RangeRequest, ReadMode, Transaction};
use kv_embedded::{EmbeddedEngine, Sync};
use model::{
    AccountId, AclAction, AclChange, Block, BlockNo, BodyId, DeviceId, Flags, Identifier, MailboxId,
    MessageRow, ModSeq, Partition, Rights, Uid,
};
use store::Options;
use store::keyspace::{IndexedHeader, Keyspace, PendingKind, Subspace};
use store::records::{
    CheckpointRecord, DeviceRecord, FolderRecord, Ledger, LogBatch, MetadataRecord, MoveRecord, Pending,
    Place, ReferenceKey, StateRecord,
};
use store_api::{
    CheckEvent, CheckProgress, CheckRequest, Checkpoint, CopyMode, Finding, FindingKind, MailStore,
    Maintenance, Remedy,
};

use crate::harness::{Harness, address, kind, message, name, operator};

async fn run(h: &Harness, request: CheckRequest) -> (Vec<Finding>, CheckProgress) {
    let mut events = h.store.inspect(&operator(), request).await.unwrap();
    let (mut findings, mut progress) = (Vec::new(), CheckProgress::default());
    while let Some(event) = events.next().await {
        match event.unwrap() {
            CheckEvent::Finding(finding) => findings.push(finding),
            CheckEvent::Progress(told) => progress = told,
        }
    }
    (findings, progress)
}

pub async fn repair(h: &Harness) -> Vec<Finding> {
    run(h, CheckRequest { repair: true, octets: true, ..CheckRequest::default() }).await.0
}

/// An account with a bit of everything.
async fn furnished() -> Harness {
    let h = Harness::new().await;
    h.fill("INBOX", 300).await;
    h.create("work/deep").await;
    let cpm = "IMDN-Message-ID: Abc\r\nConversation-ID: C1\r\nContribution-ID: D1\r\n\r\nhello";
    h.try_append("work/deep", vec![message(cpm), message("Subject: b\r\n\r\nb")]).await.unwrap();
    h.try_append("work/deep", vec![message(vec![b'x'; 200_000])]).await.unwrap();
    h.try_copy(CopyMode::Copy, "INBOX", "1:20", "work/deep").await.unwrap();
    h.try_copy(CopyMode::Move, "INBOX", "100:140", "Default").await.unwrap();
    h.add_flags("INBOX", "5:9", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    h.store.sweep_all().await.unwrap();
    assert_eq!(h.store.check().await.unwrap(), []);
    h
}

/// Changes stored values behind the store's back.
async fn break_it(h: &Harness, change: impl AsyncFn(&mut dyn Transaction, &Keyspace)) {
    let keys = Keyspace::new(&h.options.prefix);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    change(trx.as_mut(), &keys).await;
    trx.commit().await.unwrap();
}

async fn get(trx: &mut dyn Transaction, key: &Bytes) -> Bytes {
    trx.get(key, ReadMode::Snapshot).await.unwrap().unwrap()
}

/// Breaks something, and expects it named, then repaired or left as it was.
async fn check(
    kinds: &[FindingKind],
    remedy: Remedy,
    change: impl AsyncFn(&mut dyn Transaction, &Keyspace, AccountId, &Places),
) {
    check_in(furnished().await, kinds, remedy, change).await;
}

async fn check_in(
    h: Harness,
    kinds: &[FindingKind],
    remedy: Remedy,
    change: impl AsyncFn(&mut dyn Transaction, &Keyspace, AccountId, &Places),
) {
    let places =
        Places { inbox: h.id("INBOX").await, deep: h.id("work/deep").await, body: first_body(&h).await };
    break_it(&h, async |trx, keys| change(trx, keys, h.account, &places).await).await;
    let named = |findings: &[Finding]| findings.iter().map(|finding| finding.kind).collect::<BTreeSet<_>>();
    let expected: BTreeSet<FindingKind> = kinds.iter().copied().collect();
    let told = h.store.check().await.unwrap();
    assert_eq!(named(&told), expected, "{told:?}");
    assert!(
        told.iter().all(|it| it.account.is_none() || it.address.is_none() || it.address == Some(address(0)))
    );
    let repaired = repair(&h).await;
    // What follows from what was repaired a moment before is not told again.
    assert!(!repaired.is_empty() && named(&repaired).is_subset(&expected), "{repaired:?}");
    match remedy {
        Remedy::None => {
            assert!(told.iter().all(|it| it.remedy == Remedy::None), "{told:?}");
            let after = h.store.check().await.unwrap();
            assert_eq!(named(&after), expected, "{after:?}");
        }
        _ => {
            assert!(told.iter().all(|it| it.remedy == Remedy::Repairable), "{told:?}");
            assert!(repaired.iter().all(|it| it.remedy == Remedy::Repaired), "{repaired:?}");
            // What depends on what was repaired shows in a second run, and then all is well.
            h.check().await;
            h.folder("INBOX").await;
        }
    }
}

/// What tests break.
struct Places {
    inbox: MailboxId,
    deep: MailboxId,
    /// The body of the first message of `deep`, which has headers that are indexed.
    body: BodyId,
}

async fn first_body(h: &Harness) -> BodyId {
    h.folder("work/deep").await.row(Uid::MIN).unwrap().body
}

async fn edit_state(
    trx: &mut dyn Transaction,
    keys: &Keyspace,
    account: AccountId,
    mailbox: MailboxId,
    edit: impl Fn(&mut StateRecord),
) {
    let key = keys.state(account, mailbox);
    let mut state = StateRecord::decode(&get(trx, &key).await).unwrap();
    edit(&mut state);
    trx.set(&key, &state.encode());
}

async fn edit_ledger(
    trx: &mut dyn Transaction,
    keys: &Keyspace,
    account: AccountId,
    edit: impl Fn(&mut Ledger),
) {
    let key = keys.ledger(account);
    let mut ledger = Ledger::decode(&get(trx, &key).await).unwrap();
    edit(&mut ledger);
    trx.set(&key, &ledger.encode());
}

async fn edit_rows(
    trx: &mut dyn Transaction,
    keys: &Keyspace,
    account: AccountId,
    mailbox: MailboxId,
    edit: impl Fn(&mut Vec<MessageRow>),
) {
    let key = keys.block(account, mailbox, BlockNo(0));
    let mut rows = Block::decode(&get(trx, &key).await).unwrap().rows().to_vec();
    edit(&mut rows);
    trx.set(&key, &Block::new(rows).encode());
}

#[tokio::test]
async fn ledgers() {
    use FindingKind::{Account, Ledger as LedgerKind, LedgerMarks, Usage};
    check(&[Usage], Remedy::Repaired, async |trx, keys, account, _| {
        edit_ledger(trx, keys, account, |ledger| ledger.usage.bytes += 7).await;
    })
    .await;
    check(&[LedgerMarks], Remedy::Repaired, async |trx, keys, account, _| {
        edit_ledger(trx, keys, account, |ledger| {
            ledger.next_id = 5;
            ledger.last_uid_validity = 1;
        })
        .await;
    })
    .await;
    check(&[LedgerKind], Remedy::None, async |trx, keys, account, _| {
        trx.set(&keys.ledger(account), b"nonsense");
    })
    .await;
    check(&[Account, FindingKind::Orphan], Remedy::None, async |trx, keys, _, _| {
        trx.set(&keys.directory(&address(0)), b"nonsense");
    })
    .await;
}

#[tokio::test]
async fn trees_and_states() {
    use FindingKind::{State, Stray, Tree, Usage};
    check(&[Tree, State], Remedy::None, async |trx, keys, account, places| {
        trx.set(&keys.folder(account, places.deep), b"nonsense");
    })
    .await;
    check(&[State], Remedy::None, async |trx, keys, account, places| {
        trx.set(&keys.state(account, places.deep), b"nonsense");
    })
    .await;
    // Of a folder that has a name nothing is swept, whatever it lost.
    check(&[State], Remedy::None, async |trx, keys, account, places| {
        trx.clear(&keys.state(account, places.deep));
        edit_ledger(trx, keys, account, |ledger| {
            ledger.usage.messages -= 23;
            ledger.usage.bytes = 0;
        })
        .await;
        let inbox = StateRecord::decode(&get(trx, &keys.state(account, places.inbox)).await).unwrap().folder;
        let default =
            StateRecord::decode(&get(trx, &keys.state(account, MailboxId(2))).await).unwrap().folder;
        edit_ledger(trx, keys, account, |ledger| ledger.usage.bytes = inbox.bytes + default.bytes).await;
    })
    .await;
    check(&[Stray, Usage], Remedy::Repaired, async |trx, keys, account, places| {
        trx.clear(&keys.folder(account, places.deep));
        trx.clear(&keys.state(account, places.deep));
    })
    .await;
    check(&[Tree], Remedy::None, async |trx, keys, account, _| {
        // A number that no folder has.
        let folder = FolderRecord {
            name: name("INBOX"),
            special_use: None,
            noselect: true,
            acl: model::Acl::default(),
        };
        trx.set(&keys.folder(account, MailboxId(6)), &folder.encode());
    })
    .await;
    check(&[Tree], Remedy::Repaired, async |trx, keys, account, places| {
        // The level above `work/deep` was made just before it.
        let work = MailboxId(places.deep.0 - 1);
        trx.clear(&keys.folder(account, work));
        trx.clear(&keys.state(account, work));
    })
    .await;
}

#[tokio::test]
async fn counters_and_marks() {
    use FindingKind::{Counters, FolderMarks, Usage};
    check(&[Counters, Usage], Remedy::Repaired, async |trx, keys, account, places| {
        edit_state(trx, keys, account, places.inbox, |state| state.folder.messages += 1).await;
    })
    .await;
    check(&[Counters], Remedy::Repaired, async |trx, keys, account, places| {
        edit_state(trx, keys, account, places.inbox, |state| state.folder.unseen = 0).await;
    })
    .await;
    check(&[FolderMarks], Remedy::Repaired, async |trx, keys, account, places| {
        edit_state(trx, keys, account, places.inbox, |state| state.folder.uid_next = 300).await;
    })
    .await;
    check(&[FolderMarks], Remedy::Repaired, async |trx, keys, account, places| {
        edit_state(trx, keys, account, places.deep, |state| state.folder.highest_modseq = ModSeq(2)).await;
    })
    .await;
    check(&[FolderMarks], Remedy::Repaired, async |trx, keys, account, places| {
        edit_state(trx, keys, account, places.inbox, |state| state.folder.expunge_modseq = ModSeq(2)).await;
    })
    .await;
}

#[tokio::test]
async fn rows_and_logs() {
    use FindingKind::{Counters, FolderMarks, Log, Rows};
    // The bodies of rows that cannot be read are nobody's to clear.
    check(&[Rows], Remedy::None, async |trx, keys, account, places| {
        trx.set(&keys.block(account, places.inbox, BlockNo(1)), b"nonsense");
    })
    .await;
    check(&[Rows], Remedy::None, async |trx, keys, account, places| {
        edit_rows(trx, keys, account, places.deep, |rows| rows[0].flags = Flags::keyword(40)).await;
    })
    .await;
    check(&[Counters], Remedy::Repaired, async |trx, keys, account, places| {
        edit_rows(trx, keys, account, places.deep, |rows| rows[0].flags = Flags::SEEN).await;
    })
    .await;
    check(&[Log], Remedy::Repaired, async |trx, keys, account, places| {
        edit_rows(trx, keys, account, places.deep, |rows| rows[0].modseq = rows[1].modseq.next()).await;
    })
    .await;
    let first_of_log = async |trx: &mut dyn Transaction, keys: &Keyspace, account, places: &Places| {
        let range = keys.logs(account, places.deep);
        let page =
            trx.get_range(&RangeRequest::new(range.begin, range.end), ReadMode::Snapshot).await.unwrap();
        page.pairs[0].clone()
    };
    check(&[Log], Remedy::Repaired, async |trx, keys, account, places| {
        let pair = first_of_log(trx, keys, account, places).await;
        trx.clear(&pair.key);
    })
    .await;
    check(&[Log], Remedy::Repaired, async |trx, keys, account, places| {
        let pair = first_of_log(trx, keys, account, places).await;
        trx.set(&pair.key, b"nonsense");
    })
    .await;
    check(&[Log, FolderMarks], Remedy::Repaired, async |trx, keys, account, places| {
        // A removal of what is there.
        let pair = first_of_log(trx, keys, account, places).await;
        let mut batch = LogBatch::decode(&pair.value).unwrap();
        batch.entries[0].removed = std::mem::take(&mut batch.entries[0].changed);
        trx.set(&pair.key, &batch.encode());
    })
    .await;
}

#[tokio::test]
async fn bodies() {
    use FindingKind::{Facts, Headers, Octets, References, Unheld};
    check(&[Facts, Headers], Remedy::Repaired, async |trx, keys, account, places| {
        trx.clear(&keys.info(account, places.body));
    })
    .await;
    check(&[Facts], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.info(account, places.body), b"nonsense");
    })
    .await;
    check(&[Octets], Remedy::None, async |trx, keys, account, places| {
        trx.clear(&keys.chunk(account, places.body, 0));
    })
    .await;
    check(&[Octets], Remedy::None, async |trx, keys, account, places| {
        // The large body came two after: only who reads every octet sees that.
        trx.clear(&keys.chunk(account, BodyId(places.body.0 + 2), 3));
    })
    .await;
    check(&[References], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.shares(account, places.body), &5u64.to_le_bytes());
    })
    .await;
    check(&[References], Remedy::Repaired, async |trx, keys, account, places| {
        let (begin, end) =
            (keys.subspace(account, Subspace::Shares).begin, keys.shares(account, places.body));
        // Those copied from INBOX have shares.
        trx.clear_range(&begin, &end);
    })
    .await;
    // Numbers that are given, but of no body.
    check(&[Unheld], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.chunk(account, BodyId(1), 0), b"\x01a");
    })
    .await;
    check(&[Unheld], Remedy::Repaired, async |trx, keys, account, places| {
        let info = get(trx, &keys.info(account, BodyId(places.body.0 + 1))).await;
        let octets = get(trx, &keys.chunk(account, BodyId(places.body.0 + 1), 0)).await;
        trx.set(&keys.info(account, BodyId(1)), &info);
        trx.set(&keys.chunk(account, BodyId(1), 0), &octets);
    })
    .await;
    check(&[Headers], Remedy::Repaired, async |trx, keys, account, places| {
        trx.clear(&keys.header(account, IndexedHeader::ImdnMessageId, b"abc", places.body));
    })
    .await;
    check(&[Headers], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.header(account, IndexedHeader::ConversationId, b"other", places.body), b"");
    })
    .await;
}

#[tokio::test]
async fn works_orphans_and_feeds() {
    use FindingKind::{Feed, Orphan, Work};
    check(&[Work], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.pending(account, PendingKind::Released, 1), b"nonsense");
        trx.set(&keys.pending(account, PendingKind::Log, 1), b"nonsense");
    })
    .await;
    check(&[Work], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.pending(account, PendingKind::Folder, places.inbox.0), &Pending::Marked.encode());
    })
    .await;
    check(&[Work], Remedy::Repaired, async |trx, keys, account, _| {
        let stranger = AccountId(account.0 ^ 1);
        trx.set(&keys.pending(stranger, PendingKind::Log, 1), &Pending::Marked.encode());
    })
    .await;
    check(&[Orphan], Remedy::Repaired, async |trx, keys, account, places| {
        let stranger = AccountId(account.0 ^ 1);
        trx.set(&keys.info(stranger, places.body), b"left behind");
    })
    .await;
    check(&[Orphan], Remedy::None, async |trx, keys, _, _| trx.clear(&keys.directory(&address(0)))).await;
    check(&[Feed], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.feed_head(account.partition()), &[0; 10]);
    })
    .await;
    check(&[Feed], Remedy::Repaired, async |trx, keys, account, _| {
        let range = keys.feed_log_after(account.partition(), None);
        let page =
            trx.get_range(&RangeRequest::new(range.begin, range.end), ReadMode::Snapshot).await.unwrap();
        trx.set(&page.pairs[0].key, b"nonsense");
    })
    .await;
    assert!(Partition(0).0 < model::PARTITIONS);
}

#[tokio::test]
async fn metadata() {
    let comment = model::EntryName::parse(b"/private/comment").unwrap();
    let record = MetadataRecord { entries: [(comment, Bytes::from_static(b"x"))].into() };
    check(&[FindingKind::Metadata], Remedy::Repaired, async |trx, keys, account, _| {
        let key = keys.metadata(account, Some(MailboxId(u64::MAX - 1)), model::EntryScope::Private);
        trx.set(&key, &record.encode());
        // That of the account itself is no stray.
        trx.set(&keys.metadata(account, None, model::EntryScope::Private), &record.encode());
    })
    .await;
    check(&[FindingKind::Metadata], Remedy::None, async |trx, keys, account, places| {
        let key = keys.metadata(account, Some(places.deep), model::EntryScope::Shared);
        trx.set(&key, b"nonsense");
    })
    .await;
}

#[tokio::test]
async fn reference_keys() {
    check(&[FindingKind::ReferenceKey], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.reference_key(account, MailboxId(u64::MAX - 1)), &ReferenceKey([7; 32]).encode());
        // That of a folder which is there is none.
        trx.set(&keys.reference_key(account, places.deep), &ReferenceKey([8; 32]).encode());
    })
    .await;
    check(&[FindingKind::ReferenceKey], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.reference_key(account, places.deep), b"nonsense");
    })
    .await;
}

#[tokio::test]
async fn notes_of_moves_and_notifications() {
    let to = Place { mailbox: MailboxId(1), uid: Uid::MIN };
    let record = MoveRecord { from: model::UidSet::range(Uid::MIN, Uid::MIN), to }.encode();
    check(&[FindingKind::Moves], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.moved(account, MailboxId(u64::MAX - 1), ModSeq(3)), &record);
        // Of a folder that is there.
        trx.set(&keys.moved(account, places.deep, ModSeq(3)), &record);
    })
    .await;
    check(&[FindingKind::Moves], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.moved(account, places.deep, ModSeq(3)), b"nonsense");
    })
    .await;
    // Of what is no notification, and of what is not there.
    check(&[FindingKind::Headers], Remedy::Repaired, async |trx, keys, account, places| {
        trx.set(&keys.notified(account, b"Abc", places.body), &to.encode());
        trx.set(&keys.notified(account, b"Abc", BodyId(u64::MAX - 1)), &to.encode());
    })
    .await;
}

#[tokio::test]
async fn notices() {
    let phone = DeviceId::parse(b"phone").expect("an identity");
    check(&[FindingKind::Notices], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.device(account, &phone), b"nonsense");
        let known = DeviceRecord { push_address: String::new(), added_at: 1 };
        trx.set(&keys.device(account, &DeviceId::parse(b"tablet").expect("an identity")), &known.encode());
    })
    .await;
    check(&[FindingKind::Notices], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.dead_letter(account.partition(), 7), b"nonsense");
    })
    .await;
}

#[tokio::test]
async fn checkpoints() {
    let phone = DeviceId::parse(b"phone").expect("an identity");
    let record = |tree_version, folders: &[(MailboxId, u64)]| {
        let folders = folders.iter().map(|(folder, modseq)| (*folder, ModSeq(*modseq))).collect();
        CheckpointRecord { at: 1, told: Checkpoint { tree_version, folders } }.encode()
    };
    let h = furnished().await;
    let (inbox, deep) = (h.id("INBOX").await, h.id("work/deep").await);
    h.create("gone").await;
    let gone = h.id("gone").await;
    let now = h.folder("INBOX").await.state.highest_modseq.0;
    h.store.delete_folder(&h.ctx(), h.account, &name("gone")).await.unwrap();
    // What is, and what was.
    let keys = Keyspace::new(&h.options.prefix);
    let known = keys.checkpoint(h.account, &phone);
    break_it(&h, async |trx, _| trx.set(&known, &record(1, &[(inbox, now), (deep, 1), (gone, 900)]))).await;
    h.check().await;

    let ctx = {
        let user = store_api::User { device: Some(phone.clone()), ..store_api::User::owner(h.account) };
        store_api::Ctx { requestor: store_api::Requestor::User(Arc::new(user)), ..h.ctx() }
    };
    for (damage, left) in [
        (b"nonsense".to_vec(), record(0, &[])),
        (record(1, &[(inbox, now + 1), (deep, 1)]), record(1, &[(deep, 1)])),
        (record(1, &[(inbox, now), (MailboxId(u64::MAX >> 1), 1)]), record(1, &[(inbox, now)])),
        (record(1 << 40, &[(inbox, now)]), record(0, &[(inbox, now)])),
    ] {
        break_it(&h, async |trx, _| trx.set(&known, &damage)).await;
        for (findings, remedy) in
            [(h.store.check().await.unwrap(), Remedy::Repairable), (repair(&h).await, Remedy::Repaired)]
        {
            let told: Vec<_> = findings.iter().map(|finding| (finding.kind, finding.remedy)).collect();
            assert_eq!(told, [(FindingKind::Checkpoints, remedy)], "{findings:?}");
        }
        h.check().await;
        let told = h.store.checkpoint(&ctx, h.account).await.unwrap();
        assert_eq!(told, CheckpointRecord::decode(&left).map(|record| record.told));
    }
    check(&[FindingKind::Checkpoints], Remedy::Repaired, async |trx, keys, account, _| {
        trx.set(&keys.subspace(account, Subspace::Checkpoint).begin, &record(1, &[]));
    })
    .await;
}

/// A furnished account that shares a folder with another, and that other one.
async fn sharing() -> (Harness, AccountId) {
    let h = furnished().await;
    let new = store_api::NewAccount {
        address: address(1),
        credentials: store_api::Credentials::None,
        limits: store_api::QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    let other = h.store.create_account(&operator(), new).await.unwrap();
    let change = AclChange {
        identifier: Identifier::parse("+15550000001").unwrap(),
        action: AclAction::Set,
        rights: Rights::parse("lr").unwrap(),
    };
    let folder = h.id("work/deep").await;
    h.store.set_acl(&h.ctx(), h.account, &address(0), folder, &change).await.unwrap();
    h.check().await;
    (h, other)
}

#[tokio::test]
async fn notes_of_sharing() {
    let (h, other) = sharing().await;
    check_in(h.clone(), &[FindingKind::Sharing], Remedy::Repaired, async |trx, keys, account, _| {
        trx.clear(&keys.sharer(other, account));
    })
    .await;
    let them = store_api::Ctx { requestor: store_api::Requestor::owner(other), ..h.ctx() };
    assert_eq!(h.store.shared_with(&them, other).await.unwrap(), [(address(0), h.account)]);
    for wrong in ["tel:+15550000001", "nonsense"] {
        check_in(h.clone(), &[FindingKind::Sharing], Remedy::Repaired, async |trx, keys, account, _| {
            trx.set(&keys.sharer(other, account), wrong.as_bytes());
        })
        .await;
        assert_eq!(h.store.shared_with(&them, other).await.unwrap(), [(address(0), h.account)]);
    }
    // Of one that shares nothing, and of one that is not there.
    for sharer in [other, AccountId(other.0 ^ 1)] {
        check_in(h.clone(), &[FindingKind::Sharing], Remedy::Repaired, async |trx, keys, account, _| {
            trx.set(&keys.sharer(account, sharer), address(1).as_str().as_bytes());
        })
        .await;
        assert_eq!(h.store.shared_with(&h.ctx(), h.account).await.unwrap(), []);
    }
}

/// While a list cannot be read, nobody knows whom it gives something.
#[tokio::test]
async fn notes_of_a_list_that_cannot_be_read() {
    let (h, other) = sharing().await;
    let deep = h.id("work/deep").await;
    break_it(&h, async |trx, keys| trx.set(&keys.folder(h.account, deep), b"nonsense")).await;
    let found = repair(&h).await;
    assert!(found.iter().all(|finding| finding.kind != FindingKind::Sharing), "{found:?}");
    let keys = Keyspace::new(&h.options.prefix);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    assert!(trx.get(&keys.sharer(other, h.account), ReadMode::Snapshot).await.unwrap().is_some());
}

/// Who is told of a folder is not told any more when its account is removed.
#[tokio::test]
async fn notes_go_with_the_account_that_gave() {
    let (h, other) = sharing().await;
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    h.check().await;
    let keys = Keyspace::new(&h.options.prefix);
    let range = keys.sharers(other);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    let request = RangeRequest::new(range.begin, range.end);
    let page = trx.get_range(&request, ReadMode::Snapshot).await.unwrap();
    assert!(page.pairs.is_empty(), "{page:?}");
}

/// A repaired folder is learned anew by whoever knew it.
#[tokio::test]
async fn caches_learn_of_repairs() {
    let h = furnished().await;
    let before = h.folder("INBOX").await;
    let inbox = before.mailbox;
    break_it(&h, async |trx, keys| {
        edit_rows(trx, keys, h.account, inbox, |rows| rows.truncate(10)).await;
    })
    .await;
    assert!(!repair(&h).await.is_empty());
    let after = h.folder("INBOX").await;
    assert_eq!(after.uids().len(), after.state.messages);
    assert!(after.state.messages < before.state.messages);
    assert!(after.state.highest_modseq > before.state.highest_modseq);
    let gone = h.store.vanished(&h.ctx(), h.account, inbox, before.state.highest_modseq).await.unwrap();
    assert!(gone.contains(Uid::new(20).unwrap()));
    h.check().await;
}

#[tokio::test]
async fn what_is_asked_for() {
    let h = furnished().await;
    for n in 1..=3 {
        let new = store_api::NewAccount {
            address: address(n),
            credentials: store_api::Credentials::None,
            limits: store_api::QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        h.store.create_account(&operator(), new).await.unwrap();
    }
    let (_, all) = run(&h, CheckRequest::default()).await;
    assert_eq!((all.accounts, all.last), (4, Some(address(3))));
    let (_, rest) = run(&h, CheckRequest { after: Some(address(1)), ..CheckRequest::default() }).await;
    assert_eq!(rest.accounts, 2);
    let one = CheckRequest { accounts: vec![address(2)], ..CheckRequest::default() };
    let (findings, of_one) = run(&h, one.clone()).await;
    assert_eq!((findings, of_one.accounts), (Vec::new(), 1));
    assert!(of_one.records < all.records / 4);

    let started = std::time::Instant::now();
    let rate = of_one.records * 4;
    run(&h, CheckRequest { rate, ..one }).await;
    assert!(started.elapsed().as_millis() >= 240, "{:?}", started.elapsed());

    let nobody = CheckRequest { accounts: vec![address(9)], ..CheckRequest::default() };
    let error = h.store.inspect(&operator(), nobody).await.unwrap().next().await.unwrap();
    assert_eq!(kind(error), model::ErrorKind::NoSuchAccount);
    let denied = h.store.inspect(&h.ctx(), CheckRequest::default()).await.map(drop);
    assert_eq!(kind(denied), model::ErrorKind::NoPermission);
}

/// A check beside writers of every kind finds nothing, and neither does one that repairs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_false_alarms() {
    let directory = tempfile::tempdir().unwrap();
    let engine_options = kv_embedded::Options {
        sync: Sync::TestsOnlyNever,
        free_bytes_min: 0,
        ..kv_embedded::Options::default()
    };
    let engine = EmbeddedEngine::open(directory.path(), engine_options).unwrap();
    let options = Options { log_changes_max: 50, deleted_days: 1, ..Options::default() };
    let h = Harness::over(engine, directory, options).await;
    h.create("other").await;
    h.fill("INBOX", 1_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 0..4u32 {
        let (h, stop) = (h.clone(), stop.clone());
        writers.push(tokio::spawn(async move {
            let mut n = seed;
            while !stop.load(Ordering::Relaxed) {
                n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (from, to) = if n & 256 == 0 { ("INBOX", "other") } else { ("other", "INBOX") };
                let set = format!("{}:{}", n % 900 + 1, n % 900 + 10);
                match n >> 28 {
                    0..=4 => {
                        let text = format!("IMDN-Message-ID: {n}\r\nConversation-ID: c\r\n\r\n{n}");
                        h.try_append(from, vec![message(text.clone()), message(text)]).await.map(drop)
                    }
                    5..=7 => {
                        let flags = if n & 512 == 0 { Flags::SEEN } else { Flags::DELETED };
                        h.try_flag(from, &set, store_api::FlagAction::Add, flags, &[], None).await.map(drop)
                    }
                    8..=9 => h.try_copy(CopyMode::Copy, from, &set, to).await.map(drop),
                    10..=11 => h.try_copy(CopyMode::Move, from, &set, to).await.map(drop),
                    12..=13 => {
                        h.expunge(from, Some(&set)).await;
                        Ok(())
                    }
                    14 => {
                        let folder = name(&format!("made/{seed}"));
                        let _ = h.store.create_folder(&h.ctx(), h.account, &folder, None).await;
                        let _ = h.try_append(folder.as_str(), vec![message("x")]).await;
                        let _ = h.store.delete_folder(&h.ctx(), h.account, &folder).await;
                        Ok(())
                    }
                    _ => {
                        let address = address(10 + u64::from(seed));
                        let new = store_api::NewAccount {
                            address: address.clone(),
                            credentials: store_api::Credentials::None,
                            limits: store_api::QuotaLimits::default(),
                            service: store_api::ServiceClass::default(),
                        };
                        let _ = h.store.create_account(&operator(), new).await;
                        let _ = h.store.remove_account(&operator(), &address).await;
                        Ok(())
                    }
                }
                .unwrap();
            }
        }));
    }
    let sweeping = {
        let (h, stop) = (h.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                h.store.sweep_all().await.unwrap();
                // What has \Deleted goes beside all else.
                h.pass(14_400);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
    };
    for round in 0..12 {
        let request = CheckRequest { octets: true, repair: round % 2 == 1, ..CheckRequest::default() };
        let (findings, progress) = run(&h, request).await;
        assert_eq!(findings, [], "round {round}");
        assert!(progress.records > 1_000);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    sweeping.await.unwrap();
    h.check().await;
}
