//! A search of 5 000 folders with a message each, in another process as far as gRPC can tell: one call a folder, and one
//! for many, in turn. `cargo bench -p store-rpc --bench search_many` prints the median of each and their ratio.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feed::Feed;
use futures::{StreamExt, TryStreamExt, stream};
use kv::memory::MemoryEngine;
use model::{AccountId, CpmAddress, Flags, MailboxId, MailboxName};
use store::Store;
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Credentials, Ctx, HeaderField, MailStore, NewAccount,
    QuotaLimits, Requestor, SearchKey, SearchManyRequest, SearchRequest, ServiceClass,
};
use store_rpc::{
    ClientCaches, ClientOptions, Endpoint, Gate, RemoteStore, Services, ServicesOptions, connect,
};

const FOLDERS: usize = 5_000;
const ROUNDS: usize = 9;
/// As the front end does both.
const AT_ONCE: usize = 4;
const FOLDERS_PER_CALL: usize = 64;
const CTX: Ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };

async fn fill(store: &Store) -> (AccountId, Vec<MailboxId>) {
    let new = NewAccount {
        address: CpmAddress::parse("tel:+15550001").expect("an address"),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: ServiceClass::default(),
    };
    let account = store.create_account(&CTX, new).await.expect("an account");
    let mut folders = Vec::with_capacity(FOLDERS);
    for n in 0..FOLDERS {
        let mailbox = MailboxName::parse(&format!("conversation-{n:05}")).expect("a name");
        folders.push(store.create_folder(&CTX, account, &mailbox, None).await.expect("a folder"));
        let text = format!("Subject: hello\r\nIMDN-Message-ID: id-{n:05}\r\n\r\nhello\r\n");
        let message = AppendMessage {
            flags: Flags::default(),
            keywords: Vec::new(),
            internal_date: None,
            annotations: Vec::new(),
            body: AppendBody::Inline(Bytes::from(text)),
        };
        let request = AppendRequest { mailbox, messages: vec![message] };
        store.append(&CTX, account, request).await.expect("a message");
    }
    (account, folders)
}

async fn one_by_one(store: &RemoteStore, account: AccountId, folders: &[MailboxId], key: &SearchKey) -> u64 {
    let searches = folders.iter().map(|mailbox| async move {
        let request = SearchRequest { mailbox: *mailbox, key: key.clone(), within: None };
        store.search(&CTX, account, &request).await.map(|uids| uids.len())
    });
    let found: Vec<u64> = stream::iter(searches).buffered(AT_ONCE).try_collect().await.expect("results");
    found.into_iter().sum()
}

async fn many(store: &RemoteStore, account: AccountId, folders: &[MailboxId], key: &SearchKey) -> u64 {
    let searches = folders.chunks(FOLDERS_PER_CALL).map(|some| async move {
        let request =
            SearchManyRequest { mailboxes: some.to_vec(), key: key.clone(), messages_max: u64::MAX };
        let found = store.search_many(&CTX, account, &request).await?;
        assert_eq!(found.len(), some.len());
        let found = found.into_iter().flatten().map(|uids| uids.len());
        Ok::<u64, model::Error>(found.sum())
    });
    let found: Vec<u64> = stream::iter(searches).buffered(AT_ONCE).try_collect().await.expect("results");
    found.into_iter().sum()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::main]
async fn main() {
    let engine = MemoryEngine::new();
    let store = Store::open(engine.clone(), store::Options::default()).await.expect("a store");
    let feed = Feed::new(engine, feed::Options::default());
    let (account, folders) = fill(&store).await;
    let services = Services::new(store, feed, Gate::new(), ServicesOptions::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint: Endpoint =
        format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an endpoint");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener).inspect(|accepted| {
        // As a storage node does: the answer would else wait for an acknowledgement that is held back for 40 ms.
        let _ = accepted.as_ref().map(|stream| stream.set_nodelay(true));
    });
    tokio::spawn(services.router().await.expect("services").serve_with_incoming(incoming));
    let channels = connect(&endpoint, None).expect("channels");
    let remote = Arc::new(RemoteStore::new(channels, ClientCaches::new(ClientOptions::default())));

    let header = HeaderField::Named("IMDN-Message-ID".to_owned());
    for (what, key, expected) in [
        ("not seen", SearchKey::Not(Box::new(SearchKey::Flags(Flags::SEEN))), FOLDERS as u64),
        ("by IMDN-Message-ID", SearchKey::Header(header, "id-04711".to_owned()), 1),
    ] {
        let (mut singly, mut together) = (Vec::new(), Vec::new());
        // The first round fills what caches there are.
        for _ in 0..=ROUNDS {
            let began = Instant::now();
            assert_eq!(one_by_one(&remote, account, &folders, &key).await, expected);
            singly.push(began.elapsed());
            let began = Instant::now();
            assert_eq!(many(&remote, account, &folders, &key).await, expected);
            together.push(began.elapsed());
        }
        let (singly, together) = (median(singly.split_off(1)), median(together.split_off(1)));
        println!(
            "{FOLDERS} folders, {what}: {:.1} ms in {FOLDERS} calls, {:.1} ms in {} calls, ratio {:.1}",
            singly.as_secs_f64() * 1e3,
            together.as_secs_f64() * 1e3,
            FOLDERS.div_ceil(FOLDERS_PER_CALL),
            singly.as_secs_f64() / together.as_secs_f64(),
        );
    }
}
