//! Two front ends, each with a store of its own, over one engine that suffers faults; and a third store that looks at
//! the engine itself, without caches and without faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use feed::Feed;
use imap_server::credentials::derive_scram_with;
use imap_server::{Options, Security, Server};
use kv::Engine;
use kv::fault::{FaultEngine, Faults};
use kv_embedded::EmbeddedEngine;
use model::{AccountId, CpmAddress, Flags};
use secrecy::SecretSlice;
use store::Store;
use store_api::{Credentials, Ctx, MailStore, NewAccount, QuotaLimits, Requestor};
use tokio::net::TcpListener;

use crate::program::{FlagSet, Weather};
use crate::world::{Folder, Message, World};

pub const USER: &str = "+15550001";
pub const PASSWORD: &str = "secret";
const CTX: Ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::Operator };

/// The engine of all programs of this process; each has its own prefix in it.
fn engine() -> Arc<dyn Engine> {
    static ENGINE: OnceLock<(Arc<EmbeddedEngine>, tempfile::TempDir)> = OnceLock::new();
    let (engine, _) = ENGINE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            free_bytes_min: 0,
            ..kv_embedded::Options::default()
        };
        (EmbeddedEngine::open(directory.path(), options).expect("an engine"), directory)
    });
    engine.clone()
}

pub struct Bench {
    pub addresses: Vec<SocketAddr>,
    faulty: Arc<FaultEngine>,
    witness: Arc<Store>,
    account: AccountId,
    servers: Vec<(Server, tokio::task::JoinHandle<()>, Arc<Feed>)>,
}

impl Bench {
    pub async fn new(seed: u64) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = format!("model/{number}/").into_bytes();
        let faulty = FaultEngine::new(engine(), seed, Faults::none());
        let mut addresses = Vec::new();
        let mut servers = Vec::new();
        let mut first_store = None;
        for sweep in [true, false] {
            let options = store::Options { prefix: prefix.clone(), sweep, ..store::Options::default() };
            let store = Store::open(faulty.clone(), options).await.expect("a store");
            let options = feed::Options {
                prefix: prefix.clone(),
                // Watches that are lost without a word must not make IDLE slow.
                recheck: Duration::from_millis(100),
                trim: false,
                ..feed::Options::default()
            };
            let feed = Feed::new(faulty.clone(), options);
            let server = Server::new(store.clone(), feed.clone(), Options::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address"));
            let serving = tokio::spawn({
                let server = server.clone();
                async move { server.serve(listener, Security::Cleartext).await }
            });
            servers.push((server, serving, feed));
            first_store.get_or_insert(store);
        }
        let options = store::Options {
            prefix,
            sweep: false,
            folder_cache_bytes: 0,
            tree_cache_bytes: 0,
            ..store::Options::default()
        };
        let witness = Store::open(engine(), options).await.expect("a store");
        let secret = SecretSlice::from(PASSWORD.as_bytes().to_vec());
        let credentials = Credentials::Scram(derive_scram_with(&secret, vec![7; 16], 1).expect("a verifier"));
        let address = CpmAddress::parse(USER).expect("an address");
        let new = NewAccount {
            address,
            credentials,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        let store = first_store.expect("there are two");
        let account = store.create_account(&CTX, new).await.expect("an account");
        Self { addresses, faulty, witness, account, servers }
    }

    pub fn weather(&self, weather: Weather) {
        self.faulty.set_faults(match weather {
            Weather::Calm => Faults::none(),
            Weather::Rough => Faults { delay_ms_max: 2, ..Faults::survivable() },
            Weather::Stormy => Faults {
                conflict: 0.2,
                unknown_committed: 0.2,
                unknown_lost: 0.2,
                commit_unavailable: 0.2,
                delay_ms_max: 2,
                ..Faults::survivable()
            },
        });
    }

    /// All folders as the engine has them.
    pub async fn world(&self) -> Result<World, String> {
        let tree = self.witness.folders(&CTX, self.account).await.map_err(|error| error.to_string())?;
        let mut folders = BTreeMap::new();
        for entry in tree.folders() {
            let snapshot = self.witness.folder(&CTX, self.account, entry.id).await;
            let snapshot = snapshot.map_err(|error| format!("{}: {error}", entry.name.as_str()))?;
            let state = &snapshot.state;
            let mut rows = BTreeMap::new();
            for row in snapshot.rows() {
                let system =
                    Flags::SYSTEM.into_iter().filter(|(flag, _)| row.flags.contains(*flag)).map(|(_, n)| n);
                let keywords = row.flags.keyword_indexes().filter_map(|at| state.keywords.get(at));
                let flags = FlagSet::parse_all(system.chain(keywords.map(model::Keyword::as_str)))?;
                rows.insert(row.uid.get(), Message { flags, size: row.size, modseq: row.modseq.0 });
            }
            if state.messages != rows.len() as u64 {
                return Err(format!("{} counts {} messages: {rows:?}", entry.name.as_str(), state.messages));
            }
            let folder = Folder {
                id: entry.id.0,
                uid_validity: state.uid_validity.get(),
                uid_next: state.uid_next,
                highest: state.highest_modseq.0,
                rows,
            };
            folders.insert(entry.name.as_str().to_owned(), folder);
        }
        Ok(World { folders })
    }

    /// Ends the servers, then looks for what does not add up in what is stored.
    pub async fn end(self) -> Result<(), String> {
        self.weather(Weather::Calm);
        for (server, serving, feed) in self.servers {
            server.shut_down(Duration::from_secs(5)).await;
            serving.abort();
            drop(feed);
        }
        let findings = self.witness.check().await.map_err(|error| error.to_string())?;
        if findings.is_empty() {
            return Ok(());
        }
        Err(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}
