//! A store over an engine in a temporary directory, and short forms of what tests ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kv::Engine;
use kv_embedded::{EmbeddedEngine, Sync};
use model::{
    AccountId, CpmAddress, ErrorKind, Flags, FolderSnapshot, Keyword, MailboxId, MailboxName, Result, Uid,
    UidSet,
};
use store::{Environment, Options, Store};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Appended, BodyData, CopyMode, CopyOutcome, CopyRequest,
    Credentials, Ctx, FlagAction, FlagChange, MailStore, Missing, NewAccount, QuotaLimits, Requestor,
    StoreFlags, StoreOutcome,
};

/// A clock that tests move: what a clock on the wall shows, and how much of that was time that passed.
pub struct TestClock {
    wall: AtomicI64,
    jumped: AtomicI64,
}

impl Environment for TestClock {
    fn now(&self) -> i64 {
        self.wall.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs((self.now() - self.jumped.load(Ordering::Relaxed)) as u64)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

#[derive(Clone)]
pub struct Harness {
    pub store: Arc<Store>,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<TestClock>,
    pub account: AccountId,
    pub options: Options,
    _directory: Arc<tempfile::TempDir>,
}

pub const START: i64 = 1_700_000_000;

pub fn operator() -> Ctx {
    Ctx { request_id: 7, deadline: None, requestor: Requestor::Operator }
}

pub fn address(n: u64) -> CpmAddress {
    CpmAddress::parse(&format!("tel:+1555{n:07}")).unwrap()
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

pub fn uids(text: &str) -> UidSet {
    UidSet::from_ranges(text.split(',').map(|part| {
        let (a, b) = part.split_once(':').unwrap_or((part, part));
        let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap() };
        (number(a), number(b))
    }))
}

pub fn keywords(words: &[&str]) -> Vec<Keyword> {
    words.iter().map(|word| Keyword::parse(word).unwrap()).collect()
}

pub fn message(octets: impl Into<Bytes>) -> AppendMessage {
    AppendMessage {
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: None,
        annotations: Vec::new(),
        body: AppendBody::Inline(octets.into()),
    }
}

pub fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error.kind(),
    }
}

impl Harness {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// A store that sweeps when told to, so that tests see both sides of it.
    pub async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine_options = kv_embedded::Options {
            sync: Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        let engine: Arc<dyn Engine> = EmbeddedEngine::open(directory.path(), engine_options).unwrap();
        Self::over(engine, directory, options).await
    }

    pub async fn over(engine: Arc<dyn Engine>, directory: tempfile::TempDir, options: Options) -> Self {
        let clock = Arc::new(TestClock { wall: AtomicI64::new(START), jumped: AtomicI64::new(0) });
        let options = Options { sweep: false, environment: clock.clone(), ..options };
        let store = Store::open(engine.clone(), options.clone()).await.unwrap();
        let account = store
            .create_account(
                &operator(),
                NewAccount {
                    address: address(0),
                    credentials: Credentials::None,
                    limits: QuotaLimits::default(),
                    service: store_api::ServiceClass::default(),
                },
            )
            .await
            .unwrap();
        Self { store, engine, clock, account, options, _directory: Arc::new(directory) }
    }

    /// Another process over the same engine, as far as the store can tell.
    pub async fn sibling(&self) -> Arc<Store> {
        Store::open(self.engine.clone(), self.options.clone()).await.unwrap()
    }

    pub fn ctx(&self) -> Ctx {
        Ctx { request_id: 9, deadline: None, requestor: Requestor::owner(self.account) }
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.wall.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The clock jumps; no time passes.
    pub fn jump(&self, seconds: i64) {
        self.clock.jumped.fetch_add(seconds, Ordering::Relaxed);
        self.clock.wall.fetch_add(seconds, Ordering::Relaxed);
    }

    pub async fn id(&self, folder: &str) -> MailboxId {
        let tree = self.store.folders(&self.ctx(), self.account).await.unwrap();
        tree.find(&name(folder)).unwrap_or_else(|| panic!("no folder {folder}")).id
    }

    pub async fn folder(&self, folder: &str) -> Arc<FolderSnapshot> {
        let id = self.id(folder).await;
        self.store.folder(&self.ctx(), self.account, id).await.unwrap()
    }

    pub async fn create(&self, folder: &str) -> MailboxId {
        self.store.create_folder(&self.ctx(), self.account, &name(folder), None).await.unwrap()
    }

    pub async fn try_append(&self, folder: &str, messages: Vec<AppendMessage>) -> Result<Appended> {
        let request = AppendRequest { mailbox: name(folder), messages };
        self.store.append(&self.ctx(), self.account, request).await
    }

    /// Appends that many small messages.
    pub async fn fill(&self, folder: &str, count: usize) {
        for from in (0..count).step_by(1000) {
            let messages =
                (from..count.min(from + 1000)).map(|n| message(format!("Subject: {n}\r\n\r\n{n}")));
            self.try_append(folder, messages.collect()).await.unwrap();
        }
    }

    pub async fn try_flag(
        &self,
        folder: &str,
        set: &str,
        action: FlagAction,
        flags: Flags,
        words: &[&str],
        unchanged_since: Option<u64>,
    ) -> Result<StoreOutcome> {
        let request = StoreFlags {
            mailbox: self.id(folder).await,
            uids: uids(set),
            change: FlagChange { action, flags, keywords: keywords(words) },
            unchanged_since: unchanged_since.map(model::ModSeq),
        };
        self.store.store_flags(&self.ctx(), self.account, request).await
    }

    pub async fn add_flags(&self, folder: &str, set: &str, flags: Flags) -> StoreOutcome {
        self.try_flag(folder, set, FlagAction::Add, flags, &[], None).await.unwrap()
    }

    pub async fn try_copy(&self, mode: CopyMode, from: &str, set: &str, to: &str) -> Result<CopyOutcome> {
        let request = CopyRequest {
            mode,
            source: self.id(from).await,
            uids: uids(set),
            target: name(to),
            missing: Missing::Skip,
        };
        self.store.copy(&self.ctx(), self.account, request).await
    }

    pub async fn expunge(&self, folder: &str, within: Option<&str>) -> UidSet {
        let id = self.id(folder).await;
        self.store.expunge(&self.ctx(), self.account, id, within.map(uids)).await.unwrap().uids
    }

    pub async fn octets(&self, folder: &str, uid: u32) -> Bytes {
        let row = *self.folder(folder).await.row(Uid::new(uid).unwrap()).unwrap();
        whole(self.store.body(&self.ctx(), self.account, MailboxId(0), row.body, None).await.unwrap()).await
    }

    /// Nothing may be wrong with what is stored, before and after a sweep.
    pub async fn check(&self) {
        assert_eq!(self.store.check().await.unwrap(), []);
        self.store.sweep_all().await.unwrap();
        assert_eq!(self.store.check().await.unwrap(), []);
    }
}

/// All octets of an answer.
pub async fn whole(data: BodyData) -> Bytes {
    use futures::TryStreamExt;
    match data {
        BodyData::Whole(octets) => octets,
        BodyData::Pieces(len, mut pieces) => {
            let mut all = Vec::new();
            while let Some(piece) = pieces.try_next().await.unwrap() {
                assert!(piece.len() <= model::limits::BODY_PIECE_BYTES);
                all.extend_from_slice(&piece);
            }
            assert_eq!(all.len() as u64, len);
            all.into()
        }
    }
}
