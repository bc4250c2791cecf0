//! Checks and restores over a socket.

use bytes::Bytes;
use feed::Feed;
use futures::StreamExt as _;
use kv_embedded::EmbeddedEngine;
use model::{
    AccountId, AnnotationName, AnnotationPattern, CpmAddress, DeviceId, EntryScope, ErrorKind, Flags,
    Keyword, MailboxName, ModSeq, Uid, UidSet, UidValidity,
};
use store::Store;
use store_api::{
    AnnotationChange, AnnotationQuery, AppendBody, CheckEvent, CheckRequest, Credentials, Ctx, Identities,
    LetterId, MailStore, Maintenance, NewAccount, PushDevice, QuotaLimits, Requestor, RestoreFolder,
    RestoreMessage, RestoreProgress,
};
use store_rpc::{Endpoint, Gate, RemoteMaintenance, Services, ServicesOptions, connect};
use tokio_util::sync::CancellationToken;

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).expect("a name")
}

fn uid(n: u32) -> Uid {
    Uid::new(n).expect("positive")
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = kv_embedded::Options { free_bytes_min: 0, ..kv_embedded::Options::default() };
    let engine = EmbeddedEngine::open(directory.path(), options).expect("an engine");
    let local = Store::open(engine.clone(), store::Options::default()).await.expect("a store");
    let feed = Feed::new(engine, feed::Options::default());
    let stop = CancellationToken::new();
    let services = Services::new(local.clone(), feed, Gate::new(), ServicesOptions::default())
        .with_maintenance(local.clone());
    let router = services.router().await.expect("services");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint: Endpoint =
        format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an endpoint");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
    let remote = RemoteMaintenance::new(connect(&endpoint, None).expect("channels").remove(0));

    let operator = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };
    let new = NewAccount {
        address: CpmAddress::parse("tel:+15550001").expect("an address"),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    let id = local.create_account(&operator, new).await.expect("an account");
    let owner = Ctx { requestor: Requestor::owner(id), ..operator.clone() };

    let folder = RestoreFolder {
        name: name("old"),
        special_use: None,
        noselect: false,
        uid_validity: UidValidity::new(77).expect("positive"),
        uid_next: 10,
        highest_modseq: ModSeq(30),
        recent_uid: 1,
    };
    let begun = remote.restore_folder(&operator, id, folder.clone()).await.expect("begun");
    let RestoreProgress::Open { restore, next_uid: 1 } = begun else { panic!("{begun:?}") };
    let restored = |n: u32| RestoreMessage {
        uid: uid(n),
        modseq: ModSeq(u64::from(n) * 3),
        flags: Flags::SEEN,
        keywords: vec![Keyword::parse("k").expect("a keyword")],
        internal_date: (1_600_000_000, 60),
        saved_at: 1_600_000_001,
        identities: Identities { seen: DeviceId::parse(b"phone").ok(), deleted: None },
        annotations: vec![AnnotationChange {
            name: AnnotationName::parse(b"/comment").expect("a name"),
            scope: EntryScope::Private,
            value: Some(Bytes::from_static(b"kept")),
        }],
        body: AppendBody::Inline(Bytes::from_static(b"Subject: x\r\n\r\nx")),
    };
    let next = remote.restore_messages(&operator, id, restore, vec![restored(3), restored(9)]).await;
    assert_eq!(next.expect("restored"), 10);
    remote.finish_folder(&operator, id, restore).await.expect("finished");
    assert_eq!(
        remote.restore_folder(&operator, id, folder.clone()).await.expect("there"),
        RestoreProgress::Done
    );
    let tree = local.folders(&owner, id).await.expect("folders");
    let mailbox = tree.find(&name("old")).expect("the folder").id;
    let entries = vec![AnnotationPattern::parse(b"/%").expect("a pattern")];
    let query = AnnotationQuery { mailbox, uids: UidSet::range(uid(1), uid(9)), entries, scope: None };
    let page = local.annotations(&owner, id, &query).await.expect("annotations");
    let kept = |(uid, entries): &(Uid, store_api::Annotations)| {
        (uid.get(), entries.values().filter_map(|values| values.private.clone()).collect::<Vec<_>>())
    };
    let kept: Vec<_> = page.messages.iter().map(kept).collect();
    assert_eq!(
        (kept, page.next),
        ([3, 9].map(|uid| (uid, vec![Bytes::from_static(b"kept")])).to_vec(), None)
    );
    let old = local.folder(&owner, id, mailbox).await.expect("the folder");
    let known = local.identities(&owner, id, mailbox, &old.uids()).await.expect("devices");
    assert_eq!(known, [3, 9].map(|n| (uid(n), restored(n).identities)));
    assert_eq!(old.uids().to_string(), "3,9");
    assert_eq!(old.row(uid(9)).map(|row| (row.modseq, row.zone_minutes)), Some((ModSeq(27), 60)));
    let error = remote.restore_folder(&owner, id, folder).await.expect_err("not the operator");
    assert_eq!(error.kind(), ErrorKind::NoPermission);

    let phone = DeviceId::parse(b"phone").expect("an identity");
    let device =
        PushDevice { device: phone.clone(), push_address: "sip:a@push.example".into(), added_at: -3 };
    remote.set_push_device(&operator, id, device.clone()).await.expect("known");
    assert_eq!(remote.push_devices(&operator, id).await.expect("devices"), std::slice::from_ref(&device));
    let error = remote.set_push_device(&owner, id, device.clone()).await.expect_err("not the operator");
    assert_eq!(error.kind(), ErrorKind::NoPermission);
    let error = remote.set_push_device(&operator, AccountId(id.0 + 1), device).await.expect_err("nobody's");
    assert_eq!(error.kind(), ErrorKind::NoSuchAccount);
    assert!(remote.remove_push_device(&operator, id, &phone).await.expect("forgotten"));
    assert!(!remote.remove_push_device(&operator, id, &phone).await.expect("nothing to forget"));
    assert_eq!(remote.dead_letters(&operator, None).await.expect("letters"), []);
    let nothing = LetterId { partition: id.partition(), number: 7 };
    assert!(!remote.discard_dead_letter(&operator, nothing).await.expect("nothing to discard"));

    let request = CheckRequest { repair: true, octets: true, rate: 1_000_000, ..CheckRequest::default() };
    let told: Vec<_> = remote.inspect(&operator, request).await.expect("events").collect().await;
    let last = told.last().expect("progress").as_ref().expect("no failure");
    assert!(matches!(last, CheckEvent::Progress(progress) if progress.accounts == 1), "{last:?}");
    let nobody = CheckRequest {
        accounts: vec![CpmAddress::parse("tel:+999").expect("an address")],
        ..CheckRequest::default()
    };
    let told: Vec<_> = remote.inspect(&operator, nobody).await.expect("events").collect().await;
    assert_eq!(
        told.last().and_then(|event| event.as_ref().err()).map(model::Error::kind),
        Some(ErrorKind::NoSuchAccount)
    );
    stop.cancel();
}
