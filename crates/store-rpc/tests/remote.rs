//! The tier over a socket is the tier: every answer through gRPC equals the store's own, and folders kept by the client
//! stay exact through every change made behind its back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feed::Feed;
use futures::StreamExt as _;
use kv_embedded::EmbeddedEngine;
use model::{
    AccountId, AnnotationName, AnnotationPattern, BodyId, CpmAddress, EntryScope, ErrorKind, Flags, Keyword,
    MailboxId, MailboxName, ModSeq, Uid, UidSet,
};
use store::Store;
use store_api::{
    AccountState, AnnotationChange, AnnotationNews, AnnotationPage, AnnotationQuery, AppendBody,
    AppendMessage, AppendRequest, BodyData, CopyMode, CopyRequest, Credentials, Ctx, DateField, FlagAction,
    FlagChange, HeaderField, MailStore, Missing, NewAccount, QuotaLimits, ReplaceRequest, Requestor,
    ScramVerifier, SearchKey, SearchManyRequest, SearchRequest, StoreAnnotations, StoreFlags,
};
use store_rpc::{
    ClientCaches, ClientOptions, Endpoint, Gate, RemoteStore, Services, ServicesOptions, connect, listen,
};
use tokio_util::sync::CancellationToken;

struct Tier {
    local: Arc<Store>,
    remote: Arc<RemoteStore>,
    gate: Gate,
    endpoint: Endpoint,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Tier {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn tier() -> Tier {
    let directory = tempfile::tempdir().expect("a directory");
    let options = kv_embedded::Options { free_bytes_min: 0, ..kv_embedded::Options::default() };
    let engine = EmbeddedEngine::open(directory.path(), options).expect("an engine");
    let local = Store::open(engine.clone(), store::Options::default()).await.expect("a store");
    let feed = Feed::new(engine, feed::Options::default());
    let stop = CancellationToken::new();
    let gate = Gate::new();
    let services = Services::new(local.clone(), feed, gate.clone(), ServicesOptions::default());
    let router = services.router().await.expect("services");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint: Endpoint =
        format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an endpoint");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
    let channels = connect(&endpoint, None).expect("channels");
    let remote = Arc::new(RemoteStore::new(channels, ClientCaches::new(ClientOptions::default())));
    Tier { local, remote, gate, endpoint, stop, _directory: directory }
}

fn operator() -> Ctx {
    Ctx {
        request_id: 7,
        deadline: Some(Instant::now() + Duration::from_secs(30)),
        requestor: Requestor::Operator,
    }
}

fn owner(account: AccountId) -> Ctx {
    Ctx { requestor: Requestor::owner(account), ..operator() }
}

fn address(text: &str) -> CpmAddress {
    CpmAddress::parse(text).expect("an address")
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).expect("a name")
}

fn uid(n: u32) -> Uid {
    Uid::new(n).expect("positive")
}

async fn account(tier: &Tier) -> AccountId {
    let verifier =
        ScramVerifier { iterations: 4096, salt: vec![3; 16], stored_key: [1; 32], server_key: [2; 32] };
    let new = NewAccount {
        address: address("tel:+15550001"),
        credentials: Credentials::Scram(verifier),
        limits: QuotaLimits { bytes: Some(64 << 20), messages: None },
        service: store_api::ServiceClass::default(),
    };
    tier.remote.create_account(&operator(), new).await.expect("a new account")
}

async fn mailbox(tier: &Tier, account: AccountId, text: &str) -> MailboxId {
    let tree = tier.remote.folders(&owner(account), account).await.expect("folders");
    tree.find(&name(text)).expect("the folder").id
}

fn message(n: u32) -> AppendMessage {
    let text = format!(
        "From: a@example.com\r\nSubject: number {n}\r\nIMDN-Message-ID: id-{n}\r\n\r\nThis is the text of {n}.\r\n"
    );
    AppendMessage {
        flags: if n.is_multiple_of(2) { Flags::SEEN } else { Flags::default() },
        keywords: vec![Keyword::parse("$Forwarded").expect("a keyword")],
        internal_date: Some((1_700_000_000 + i64::from(n), 60)),
        annotations: Vec::new(),
        body: AppendBody::Inline(Bytes::from(text)),
    }
}

async fn octets(data: BodyData) -> Vec<u8> {
    match data {
        BodyData::Whole(octets) => octets.to_vec(),
        BodyData::Pieces(total, mut pieces) => {
            let mut all = Vec::new();
            while let Some(piece) = pieces.next().await {
                all.extend_from_slice(&piece.expect("a piece"));
            }
            assert_eq!(all.len() as u64, total, "the announced length");
            all
        }
    }
}

/// The folder as the client keeps it against the store's own.
async fn same_folder(tier: &Tier, account: AccountId, mailbox: MailboxId) {
    let ctx = owner(account);
    let ours = tier.local.folder(&ctx, account, mailbox).await.expect("local");
    let theirs = tier.remote.folder(&ctx, account, mailbox).await.expect("remote");
    assert_eq!(ours.state, theirs.state);
    assert!(ours.rows().eq(theirs.rows()), "rows differ at MODSEQ {}", ours.state.highest_modseq);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts() {
    let tier = tier().await;
    let id = account(&tier).await;
    let found = tier
        .remote
        .account(&operator(), &address("+15550001"))
        .await
        .expect("an answer")
        .expect("an account");
    let own =
        tier.local.account(&operator(), &address("+15550001")).await.expect("an answer").expect("an account");
    assert_eq!((found.id, found.state, &found.credentials), (id, own.state, &own.credentials));
    assert_eq!(found.limits, own.limits);
    assert!(tier.remote.account(&operator(), &address("+15550002")).await.expect("an answer").is_none());
    let again = NewAccount {
        address: address("tel:+1-555-0001"),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    let error = tier.remote.create_account(&operator(), again).await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AccountExists);
    tier.remote
        .set_credentials(&operator(), &address("+15550001"), Credentials::Argon2("$argon2id$x".into()))
        .await
        .expect("new credentials");
    tier.remote
        .configure_account(&operator(), &address("+15550001"), AccountState::Disabled, QuotaLimits::default())
        .await
        .expect("configured");
    let page = tier.remote.list_accounts(&operator(), None, 10).await.expect("a page");
    assert_eq!(page.len(), 1);
    assert_eq!(
        (page[0].state, &page[0].credentials),
        (AccountState::Disabled, &Credentials::Argon2("$argon2id$x".into()))
    );
    tier.remote.remove_account(&operator(), &address("+15550001")).await.expect("removed");
    let error = tier.remote.remove_account(&operator(), &address("+15550001")).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NoSuchAccount);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders() {
    let tier = tier().await;
    let id = account(&tier).await;
    let ctx = owner(id);
    for i in 0..30 {
        tier.remote.create_folder(&ctx, id, &name(&format!("Default/c{i}")), None).await.expect("created");
    }
    let sent = model::SpecialUse::Sent;
    tier.remote.create_folder(&ctx, id, &name("Sent/été"), Some(sent)).await.expect("created");
    tier.remote.subscribe(&ctx, id, &name("not/there"), true).await.expect("subscribed");
    tier.local.rename_folder(&ctx, id, &name("Default/c3"), &name("Default/x")).await.expect("renamed");
    tier.remote.delete_folder(&ctx, id, &name("Default/c4")).await.expect("deleted");
    for _ in 0..2 {
        let ours = tier.local.folders(&ctx, id).await.expect("local");
        let theirs = tier.remote.folders(&ctx, id).await.expect("remote");
        assert_eq!(ours.folders(), theirs.folders());
        assert_eq!(ours.subscribed(), theirs.subscribed());
    }
    let tree = tier.remote.folders(&ctx, id).await.expect("folders");
    let mut all: Vec<_> = tree.folders().iter().map(|f| f.id).collect();
    all.push(MailboxId(u64::MAX));
    assert_eq!(
        tier.remote.status(&ctx, id, &all).await.expect("remote"),
        tier.local.status(&ctx, id, &all).await.expect("local")
    );
    for (error, kind) in [
        (tier.remote.create_folder(&ctx, id, &name("INBOX"), None).await.err(), ErrorKind::MailboxExists),
        (tier.remote.delete_folder(&ctx, id, &name("Default")).await.err(), ErrorKind::Cannot),
        (tier.remote.delete_folder(&ctx, id, &name("no")).await.err(), ErrorKind::NoSuchMailbox),
        (tier.remote.folder(&ctx, id, MailboxId(u64::MAX)).await.err(), ErrorKind::NoSuchMailbox),
    ] {
        assert_eq!(error.map(|e| e.kind()), Some(kind));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages() {
    let tier = tier().await;
    let id = account(&tier).await;
    let ctx = owner(id);
    let inbox = mailbox(&tier, id, "INBOX").await;
    let request = AppendRequest { mailbox: name("INBOX"), messages: (1..=400).map(message).collect() };
    let appended = tier.remote.append(&ctx, id, request).await.expect("appended");
    assert_eq!(appended.uids.to_string(), "1:400");
    same_folder(&tier, id, inbox).await;

    let change = |action, flags| FlagChange {
        action,
        flags,
        keywords: vec![Keyword::parse("new").expect("a keyword")],
    };
    let store =
        |uids: UidSet, change, unchanged_since| StoreFlags { mailbox: inbox, uids, change, unchanged_since };
    let all = UidSet::range(uid(1), Uid::MAX);
    let done = tier
        .remote
        .store_flags(
            &ctx,
            id,
            store(UidSet::from_ranges([(5, 9), (300, 300)]), change(FlagAction::Add, Flags::DELETED), None),
        )
        .await
        .expect("stored");
    assert_eq!(done.changed.to_string(), "5:9,300");
    same_folder(&tier, id, inbox).await;
    let before = done.modseq_before;
    let refused = tier
        .remote
        .store_flags(&ctx, id, store(all.clone(), change(FlagAction::Remove, Flags::SEEN), Some(before)))
        .await
        .expect("stored");
    assert_eq!(refused.modified.to_string(), "5:9,300");
    same_folder(&tier, id, inbox).await;

    let copy = |mode, uids| CopyRequest {
        mode,
        source: inbox,
        uids,
        target: name("Default"),
        missing: Missing::Skip,
    };
    let copied = tier
        .remote
        .copy(&ctx, id, copy(CopyMode::Copy, UidSet::range(uid(2), uid(3))))
        .await
        .expect("copied");
    assert_eq!(copied.pairs, [(uid(2), uid(1)), (uid(3), uid(2))]);
    let gone =
        CopyRequest { missing: Missing::Refuse, ..copy(CopyMode::Copy, UidSet::range(uid(400), uid(401))) };
    let refused = tier.remote.copy(&ctx, id, gone).await.map(|c| c.pairs).map_err(|e| e.kind());
    assert_eq!(refused, Err(ErrorKind::Expunged));
    // A whole block goes, behind the client's back.
    let moved = tier
        .local
        .copy(&ctx, id, copy(CopyMode::Move, UidSet::range(uid(128), uid(255))))
        .await
        .expect("moved");
    assert_eq!(moved.pairs.len(), 128);
    same_folder(&tier, id, inbox).await;
    let gone =
        tier.remote.expunge(&ctx, id, inbox, Some(UidSet::range(uid(1), uid(7)))).await.expect("expunged");
    assert_eq!(gone.uids.to_string(), "5:7");
    same_folder(&tier, id, inbox).await;
    same_folder(&tier, id, mailbox(&tier, id, "Default").await).await;
    assert_eq!(
        tier.remote.vanished(&ctx, id, inbox, ModSeq(1)).await.expect("remote"),
        tier.local.vanished(&ctx, id, inbox, ModSeq(1)).await.expect("local")
    );
    tier.remote.claim_recent(&ctx, id, inbox, 401).await.expect("claimed");
    let entry = |text: &str| model::EntryName::parse(text.as_bytes()).expect("an entry");
    for mailbox in [Some(inbox), None] {
        let changes =
            vec![(entry("/private/a"), Some(Bytes::from_static(b"\0"))), (entry("/private/b"), None)];
        tier.remote.set_metadata(&ctx, id, mailbox, changes).await.expect("set");
    }
    let of = [Some(inbox), None, Some(MailboxId(u64::MAX))];
    let theirs = tier.remote.metadata(&ctx, id, &of).await.expect("remote");
    assert_eq!(theirs, tier.local.metadata(&ctx, id, &of).await.expect("local"));
    assert_eq!(theirs.iter().map(|m| m.iter().count()).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(
        tier.remote.quota(&ctx, id).await.expect("remote"),
        tier.local.quota(&ctx, id).await.expect("local")
    );

    let folder = tier.remote.folder(&ctx, id, inbox).await.expect("the folder");
    let mut bodies: Vec<BodyId> = folder.rows().map(|r| r.body).collect();
    bodies.insert(3, BodyId(u64::MAX));
    let ours = tier.local.infos(&ctx, id, MailboxId(0), &bodies).await.expect("local");
    for _ in 0..2 {
        let theirs = tier.remote.infos(&ctx, id, MailboxId(0), &bodies).await.expect("remote");
        assert!(theirs[3].is_none() && theirs.iter().filter(|i| i.is_none()).count() == 1);
        for (a, b) in ours.iter().zip(&theirs) {
            assert_eq!(a.as_ref().map(|i| i.encode()), b.as_ref().map(|i| i.encode()));
        }
    }
    let whole =
        octets(tier.remote.body(&ctx, id, MailboxId(0), bodies[0], None).await.expect("a body")).await;
    assert!(whole.starts_with(b"From: a@example.com\r\nSubject: number 1\r\n"));
    for range in [0..5, 3..3, 10..10_000, 10_000..10_001] {
        let cut = octets(
            tier.remote.body(&ctx, id, MailboxId(0), bodies[0], Some(range.clone())).await.expect("a body"),
        )
        .await;
        let end = (range.end as usize).min(whole.len());
        assert_eq!(cut, whole.get(range.start as usize..end).unwrap_or_default());
    }
    let error =
        tier.remote.body(&ctx, id, MailboxId(0), BodyId(u64::MAX), None).await.err().map(|e| e.kind());
    assert_eq!(error, Some(ErrorKind::Expunged));

    let key = SearchKey::And(vec![
        SearchKey::Or(
            Box::new(SearchKey::Header(HeaderField::Named("IMDN-Message-ID".into()), "id-300".into())),
            Box::new(SearchKey::Text("text of 31".into())),
        ),
        SearchKey::Not(Box::new(SearchKey::Flags(Flags::ANSWERED))),
        SearchKey::Since(DateField::Internal, 19_000),
    ]);
    let search = SearchRequest { mailbox: inbox, key, within: None };
    let found = tier.remote.search(&ctx, id, &search).await.expect("remote");
    assert_eq!(found.to_string(), "31,300,310:319");
    assert_eq!(found, tier.local.search(&ctx, id, &search).await.expect("local"));
    let default = mailbox(&tier, id, "Default").await;
    let mailboxes = vec![default, MailboxId(u64::MAX), inbox];
    let search = SearchManyRequest { mailboxes, key: search.key, messages_max: 9_999 };
    let found = tier.remote.search_many(&ctx, id, &search).await.expect("remote");
    assert_eq!(
        found.iter().map(|uids| uids.as_ref().map(UidSet::len)).collect::<Vec<_>>(),
        [Some(0), None, Some(12)]
    );
    assert_eq!(found, tier.local.search_many(&ctx, id, &search).await.expect("local"));
    let none = SearchManyRequest { mailboxes: Vec::new(), ..search };
    assert!(tier.remote.search_many(&ctx, id, &none).await.expect("remote").is_empty());

    let replaced =
        ReplaceRequest { source: inbox, uid: uid(1), target: name("INBOX"), message: message(999) };
    assert_eq!(tier.remote.replace(&ctx, id, replaced).await.expect("replaced").uids.to_string(), "401");
    same_folder(&tier, id, inbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies() {
    let tier = tier().await;
    let id = account(&tier).await;
    let ctx = owner(id);
    let text: Vec<u8> = b"Subject: large\r\n\r\n"
        .iter()
        .copied()
        .chain((0..3_000_000u32).map(|n| b'a' + (n % 23) as u8))
        .collect();
    let mut writer = tier.remote.stage_body(&ctx, id, text.len() as u64).await.expect("a writer");
    for piece in text.chunks(200_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.expect("written");
    }
    let body = writer.finish().await.expect("a body");
    let staged = AppendMessage { body: AppendBody::Staged(body), ..message(1) };
    let request = AppendRequest { mailbox: name("INBOX"), messages: vec![staged, message(2)] };
    tier.remote.append(&ctx, id, request).await.expect("appended");
    let read = octets(tier.remote.body(&ctx, id, MailboxId(0), body, None).await.expect("a body")).await;
    assert!(read == text, "the octets differ");
    let part = octets(
        tier.remote.body(&ctx, id, MailboxId(0), body, Some(1_000_000..1_000_100)).await.expect("a body"),
    )
    .await;
    assert_eq!(part, text[1_000_000..1_000_100]);

    let mut writer = tier.remote.stage_body(&ctx, id, 10).await.expect("a writer");
    assert_eq!(
        writer.write(Bytes::from_static(b"more than ten")).await.map_err(|e| e.kind()),
        Err(ErrorKind::TooBig)
    );
    let writer = tier.remote.stage_body(&ctx, id, 10).await.expect("a writer");
    assert!(writer.finish().await.is_err(), "octets are missing");
    let error = tier.remote.stage_body(&ctx, id, 1 << 40).await.err().map(|e| e.kind());
    assert_eq!(error, Some(ErrorKind::TooBig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_of_what_it_was_asked_and_ends_with_a_reason() {
    let tier = tier().await;
    let id = account(&tier).await;
    let channel = connect(&tier.endpoint, None).expect("channels").remove(0);
    let (asks, mut pulses) = listen(channel.clone()).await.expect("a stream");
    assert!(asks.add(&[id]).await);
    let heard = pulses.next().await.expect("told").expect("a pulse");
    assert!(heard.confirms && heard.account == id);
    for n in 0..20 {
        let request = AppendRequest { mailbox: name("INBOX"), messages: vec![message(n)] };
        let done = tier.local.append(&owner(id), id, request).await.expect("appended");
        let heard = pulses.next().await.expect("told").expect("a pulse");
        assert!(!heard.confirms && heard.mailbox == Some(done.mailbox) && heard.modseq == done.modseq);
    }
    assert!(asks.remove(&[id]).await);
    tier.gate.close();
    let error = pulses.next().await.expect_err("the node stops");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(listen(channel).await.is_err(), "no new stream");
}

/// A closed gate begins nothing, says so, and waits for what was begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops() {
    let tier = tier().await;
    let id = account(&tier).await;
    // Calls leave a moment after their answer.
    while tier.gate.inside() != 0 {
        tokio::task::yield_now().await;
    }
    let mut writer = tier.remote.stage_body(&owner(id), id, 200_000).await.expect("a writer");
    writer.write(Bytes::from(vec![b'x'; 100_000])).await.expect("written");
    while tier.gate.inside() == 0 {
        tokio::task::yield_now().await;
    }
    // A call is counted a few instructions before it is let in.
    tokio::time::sleep(Duration::from_millis(200)).await;
    tier.gate.close();
    let request = AppendRequest { mailbox: name("INBOX"), messages: vec![message(1)] };
    let error = tier.remote.append(&owner(id), id, request).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it certainly did not happen");
    assert!(tokio::time::timeout(Duration::from_millis(50), tier.gate.empty()).await.is_err());
    writer.write(Bytes::from(vec![b'y'; 100_000])).await.expect("written");
    writer.finish().await.expect("what was begun is ended");
    tokio::time::timeout(Duration::from_secs(30), tier.gate.empty()).await.expect("nobody is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_strangers() {
    let tier = tier().await;
    let id = account(&tier).await;
    let late = Ctx { deadline: Some(Instant::now()), ..owner(id) };
    let error = tier.remote.quota(&late, id).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    let nobody: Endpoint = "http://127.0.0.1:1".parse().expect("an endpoint");
    let lonely = RemoteStore::new(
        connect(&nobody, None).expect("channels"),
        ClientCaches::new(ClientOptions::default()),
    );
    let error = lonely.quota(&owner(id), id).await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn health() {
    let tier = tier().await;
    let channel = connect(&tier.endpoint, None).expect("channels").remove(0);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "mss.store.v1.MailStore", "mss.feed.v1.ChangeFeed"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.expect("an answer").into_inner();
        assert_eq!(
            answer.status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving,
            "{service:?}"
        );
    }
}

/// What tools such as grpcurl ask first: which services there are.
#[tokio::test]
async fn reflection() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let tier = tier().await;
    let channel = connect(&tier.endpoint, None).expect("channels").remove(0);
    let mut client = ServerReflectionClient::new(channel);
    let ask = |message_request| tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("mss.store.v1.MailStore".into())),
    ];
    let mut answers =
        client.server_reflection_info(futures::stream::iter(asked)).await.expect("an answer").into_inner();
    let first = answers.next().await.expect("an answer").expect("no failure").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = first else { panic!("{first:?}") };
    for name in ["mss.store.v1.MailStore", "mss.feed.v1.ChangeFeed", "grpc.health.v1.Health"] {
        assert!(list.service.iter().any(|service| service.name == name), "{name}: {list:?}");
    }
    let second = answers.next().await.expect("an answer").expect("no failure").message_response;
    assert!(matches!(second, Some(MessageResponse::FileDescriptorResponse(_))), "{second:?}");
}

/// A message beyond the bound is refused from its length alone, and the tier goes on.
#[tokio::test]
async fn oversized_messages() {
    let tier = tier().await;
    let channel = connect(&tier.endpoint, None).expect("channels").remove(0);
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a connection");
    let huge = tonic_health::pb::HealthCheckRequest { service: "x".repeat(64 << 20) };
    let path = "/mss.store.v1.MailStore/GetAccount".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<_, tonic_health::pb::HealthCheckResponse>::default();
    let refused = client.unary(tonic::Request::new(huge), path, codec).await.expect_err("refused");
    assert!(
        matches!(refused.code(), tonic::Code::OutOfRange | tonic::Code::Internal | tonic::Code::Unavailable),
        "{refused}"
    );
    assert!(tier.remote.account(&operator(), &CpmAddress::parse("tel:+15550000009").unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn references() {
    use store_api::{Reference, ReferenceAccess, SignedReference};
    let tier = tier().await;
    let id = account(&tier).await;
    let text = vec![b'x'; 200_000];
    let body = AppendBody::Inline([b"Subject: large\r\n\r\n", &text[..]].concat().into());
    let request =
        AppendRequest { mailbox: name("INBOX"), messages: vec![AppendMessage { body, ..message(1) }] };
    tier.remote.append(&owner(id), id, request).await.expect("appended");
    let inbox = mailbox(&tier, id, "INBOX").await;
    let validity = tier.local.folder(&owner(id), id, inbox).await.expect("the folder").state.uid_validity;
    let me = address("tel:+15550001");
    for access in [
        ReferenceAccess::Anonymous,
        ReferenceAccess::AuthUser,
        ReferenceAccess::User(me.clone()),
        ReferenceAccess::Submit(me.clone()),
    ] {
        let may = !matches!(access, ReferenceAccess::Submit(_));
        let reference = Reference {
            owner: me.clone(),
            mailbox: name("INBOX"),
            uid_validity: Some(validity.get()),
            uid: uid(1),
            expires: Some(i64::MAX),
            access,
            rump: Bytes::from_static(b"imap://x@h/INBOX/;UID=1;URLAUTH=x"),
        };
        let token = tier.remote.sign_reference(&owner(id), id, &reference).await.expect("a token");
        assert_eq!(tier.local.sign_reference(&owner(id), id, &reference).await.expect("a token"), token);
        let signed = SignedReference { reference, token };
        let ours = tier.local.referenced(&owner(id), &signed).await.map_err(|error| error.kind());
        let theirs = tier.remote.referenced(&owner(id), &signed).await.map_err(|error| error.kind());
        assert_eq!((&ours, ours.is_ok()), (&theirs, may));
        let data = tier.remote.referenced_body(&owner(id), &signed, None).await;
        if !may {
            assert_eq!(data.err().map(|error| error.kind()), Some(ErrorKind::Expunged));
        } else {
            assert!(octets(data.expect("octets")).await.ends_with(&text));
            let part = tier.remote.referenced_body(&owner(id), &signed, Some(9..14)).await.expect("octets");
            assert_eq!(octets(part).await, b"large");
        }
        tier.remote.reset_reference_keys(&owner(id), id, Some(inbox)).await.expect("reset");
        let gone = tier.remote.referenced(&owner(id), &signed).await.expect_err("revoked");
        assert_eq!(gone.kind(), ErrorKind::Expunged);
    }
    tier.remote.reset_reference_keys(&owner(id), id, None).await.expect("reset");
    let none = tier.remote.reset_reference_keys(&owner(id), id, Some(MailboxId(99))).await.expect_err("none");
    assert_eq!(none.kind(), ErrorKind::NoSuchMailbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations() {
    let tier = tier().await;
    let id = account(&tier).await;
    let (ctx, inbox) = (owner(id), mailbox(&tier, id, "INBOX").await);
    let name_of = |text: &str| AnnotationName::parse(text.as_bytes()).expect("a name");
    let change = |scope, value: Option<&'static [u8]>| AnnotationChange {
        name: name_of("/comment"),
        scope,
        value: value.map(Bytes::from_static),
    };
    let annotated =
        AppendMessage { annotations: vec![change(EntryScope::Shared, Some(b"ours"))], ..message(1) };
    let request = AppendRequest { mailbox: name("INBOX"), messages: vec![annotated, message(2)] };
    let before = tier.remote.append(&ctx, id, request).await.expect("appended").modseq;
    let both = vec![change(EntryScope::Private, Some(b"mi\0ne")), change(EntryScope::Shared, None)];
    let store = |changes, unchanged_since| StoreAnnotations {
        mailbox: inbox,
        uids: UidSet::range(uid(1), uid(2)),
        changes,
        unchanged_since,
    };
    let did = tier.remote.store_annotations(&ctx, id, store(both, None)).await.expect("stored");
    assert_eq!((did.changed.len(), did.modseq, did.modseq_before), (2, before.next(), before));
    let late = store(vec![change(EntryScope::Shared, Some(b"late"))], Some(before));
    let did = tier.remote.store_annotations(&ctx, id, late).await.expect("stored");
    assert_eq!((did.changed.len(), did.modified.len()), (0, 2));
    let entries = vec![AnnotationPattern::parse(b"*").expect("a pattern")];
    let uids = UidSet::range(uid(2), uid(9));
    let query = AnnotationQuery { mailbox: inbox, uids, entries: entries.clone(), scope: None };
    let AnnotationPage { messages, next: None } =
        tier.remote.annotations(&ctx, id, &query).await.expect("a page")
    else {
        panic!("there is more")
    };
    let [(found, of)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(*found, uid(2));
    let value = &of[&name_of("/comment")];
    assert_eq!((value.private.as_deref(), value.shared.as_deref()), (Some(&b"mi\0ne"[..]), None));
    let news = tier.remote.annotation_news(&ctx, id, inbox, before).await.expect("news");
    let both = UidSet::range(uid(1), uid(2));
    assert_eq!(news, [AnnotationNews { uids: both.clone(), entries: vec![name_of("/comment")] }]);
    let key = SearchKey::Annotation(entries[0].clone(), Some(EntryScope::Private), "mi".to_owned());
    let request = SearchRequest { mailbox: inbox, key, within: None };
    assert_eq!(tier.remote.search(&ctx, id, &request).await.expect("found"), both);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_an_account() {
    use store_api::{ChangeToken, ChangesSince};
    let tier = tier().await;
    let id = account(&tier).await;
    let ctx = owner(id);
    let name = |text: &str| MailboxName::parse(text).expect("a name");
    let start = tier.remote.changes(&ctx, id, ChangesSince::Now).await.expect("an answer").token;
    for folder in ["kept", "gone", "up/down"] {
        tier.remote.create_folder(&ctx, id, &name(folder), None).await.expect("made");
    }
    tier.remote.delete_folder(&ctx, id, &name("gone")).await.expect("deleted");
    tier.remote.subscribe(&ctx, id, &name("kept"), true).await.expect("subscribed");
    let entry = model::EntryName::parse(b"/private/comment").expect("an entry");
    tier.remote.set_metadata(&ctx, id, None, vec![(entry, Some("x".into()))]).await.expect("set");
    for since in [ChangesSince::Token(start), ChangesSince::Beginning, ChangesSince::Now] {
        let told = tier.remote.changes(&ctx, id, since).await.expect("an answer");
        assert_eq!(told, tier.local.changes(&ctx, id, since).await.expect("an answer"));
        let folders = match since {
            ChangesSince::Token(_) => 3,
            ChangesSince::Beginning => 6,
            ChangesSince::Now => 0,
        };
        assert_eq!(told.folders.len(), folders, "{told:?}");
        if folders == 3 {
            assert!(told.metadata && told.subscriptions && told.gone.len() == 1, "{told:?}");
        }
    }
    let forged = ChangeToken { era: start.era, change: u64::MAX };
    assert!(tier.remote.changes(&ctx, id, ChangesSince::Token(forged)).await.expect("an answer").whole);
    let refused = tier.remote.changes(&owner(AccountId(id.0 ^ 1)), id, ChangesSince::Now).await;
    assert_eq!(refused.expect_err("another's").kind(), ErrorKind::NoSuchMailbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_devices() {
    use model::DeviceId;
    use store_api::{Checkpoint, User};
    let tier = tier().await;
    let id = account(&tier).await;
    let user = User { device: DeviceId::parse(b"phone").ok(), ..User::owner(id) };
    let phone = Ctx { requestor: Requestor::User(Arc::new(user)), ..owner(id) };
    assert_eq!(tier.remote.checkpoint(&phone, id).await.expect("an answer"), None);
    for folders in [vec![], vec![(MailboxId(1), ModSeq(5)), (MailboxId(9), ModSeq::MAX)]] {
        let told = Checkpoint { tree_version: 7, folders };
        tier.remote.set_checkpoint(&phone, id, &told).await.expect("noted");
        assert_eq!(tier.local.checkpoint(&phone, id).await.expect("an answer"), Some(told.clone()));
        assert_eq!(tier.remote.checkpoint(&phone, id).await.expect("an answer"), Some(told));
    }
    assert_eq!(tier.remote.checkpoint(&owner(id), id).await.expect("an answer"), None);
    let refused =
        tier.remote.set_checkpoint(&owner(id), id, &Checkpoint::default()).await.expect_err("no device");
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
}
