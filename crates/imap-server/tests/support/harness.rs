//! A real server over a real store in a directory of its own, and a client that speaks octets.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imap_server::credentials::derive_scram_with;
use imap_server::{Options, Security, Server};
use model::{AccountId, CpmAddress};
use secrecy::SecretSlice;
use store::Store;
use store_api::{
    ChangeFeed, Credentials, Ctx, MailStore, NewAccount, Pulse, QuotaLimits, Requestor, Subscription,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The password of every account.
pub const PASSWORD: &str = "secret";

/// A feed in which nothing is ever told: commands are told of changes by the store alone.
struct SilentFeed(watch::Sender<Pulse>);

#[async_trait]
impl ChangeFeed for SilentFeed {
    async fn subscribe(&self, _: AccountId) -> model::Result<Subscription> {
        Ok(Subscription::new(self.0.subscribe()))
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub store: Arc<Store>,
    pub server: Server,
    engine: Arc<kv_embedded::EmbeddedEngine>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    /// A server with the account +15550001.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Small buffers, so that what a test sees of memory is the server's.
        let engine_options = kv_embedded::Options {
            sync: kv_embedded::Sync::TestsOnlyNever,
            memtable_bytes: 4 << 20,
            cache_bytes: 4 << 20,
            ..Default::default()
        };
        let engine = kv_embedded::EmbeddedEngine::open(directory.path(), engine_options).expect("an engine");
        let store = Store::open(engine.clone(), store::Options::default()).await.expect("a store");
        let feed = Arc::new(SilentFeed(watch::channel(Pulse::default()).0));
        let server = Server::new(store.clone(), feed, options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener, Security::Cleartext).await }
        });
        let this = Self { address, store, server, engine, _directory: directory };
        this.add_account("tel:+15550001", QuotaLimits::default()).await;
        this
    }

    pub async fn add_account(&self, address: &str, limits: QuotaLimits) -> AccountId {
        let ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::Operator };
        let password = SecretSlice::from(PASSWORD.as_bytes().to_vec());
        // One round: these tests are not about passwords.
        let verifier = derive_scram_with(&password, vec![7; 16], 1).expect("a verifier");
        let address = CpmAddress::parse(address).expect("an address");
        let new = NewAccount {
            address,
            credentials: Credentials::Scram(verifier),
            limits,
            service: store_api::ServiceClass::default(),
        };
        self.store.create_account(&ctx, new).await.expect("an account")
    }

    /// A connection, greeted.
    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let mut client = Client { stream: BufReader::new(stream), number: 0 };
        let greeting = client.line().await;
        assert!(greeting.starts_with(b"* OK"), "{}", text(&greeting));
        client
    }

    /// A connection that is logged in.
    pub async fn login(&self) -> Client {
        self.login_as("+15550001").await
    }

    pub async fn login_as(&self, address: &str) -> Client {
        let mut client = self.connect().await;
        client.ok(&format!("LOGIN {address} {PASSWORD}")).await;
        client
    }

    /// A connection with INBOX selected.
    pub async fn select(&self) -> Client {
        let mut client = self.login().await;
        client.ok("SELECT INBOX").await;
        client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.engine.close();
    }
}

/// What a command was answered.
#[derive(Debug)]
pub struct Answer {
    /// Untagged responses with the octets of their literals, without the last line end.
    pub untagged: Vec<Vec<u8>>,
    /// The tagged response without the tag.
    pub tagged: String,
}

impl Answer {
    /// The untagged responses as text.
    pub fn lines(&self) -> Vec<String> {
        self.untagged.iter().map(|line| text(line)).collect()
    }

    /// The response code of the tagged response, without brackets.
    pub fn code(&self) -> Option<&str> {
        self.tagged.split_once('[')?.1.split_once(']').map(|(code, _)| code)
    }
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

pub struct Client {
    pub stream: BufReader<TcpStream>,
    number: u32,
}

impl Client {
    pub async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.expect("sent");
    }

    /// A response as far as its first line end.
    pub async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let read = tokio::io::AsyncBufReadExt::read_until(&mut self.stream, b'\n', &mut line);
        tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .expect("an answer in time")
            .expect("a line");
        assert!(line.ends_with(b"\r\n"), "the connection ended after {:?}", text(&line));
        line
    }

    /// A whole response, literals included, without the last line end.
    pub async fn response(&mut self) -> Vec<u8> {
        let mut response = Vec::new();
        loop {
            response.extend(self.line().await);
            let Some(size) = literal_size(&response) else { break };
            let start = response.len();
            response.resize(start + size, 0);
            self.stream.read_exact(&mut response[start..]).await.expect("a literal");
        }
        response.truncate(response.len() - 2);
        response
    }

    pub fn tag(&mut self) -> String {
        self.number += 1;
        format!("a{}", self.number)
    }

    /// Sends a command, which may have non-synchronizing literals, and reads to its tagged response.
    pub async fn command(&mut self, command: impl AsRef<[u8]>) -> Answer {
        let tag = self.tag();
        let mut octets = format!("{tag} ").into_bytes();
        octets.extend_from_slice(command.as_ref());
        octets.extend_from_slice(b"\r\n");
        self.send(&octets).await;
        self.answer(&tag).await
    }

    /// Reads to the tagged response of `tag`.
    pub async fn answer(&mut self, tag: &str) -> Answer {
        let mut untagged = Vec::new();
        loop {
            let response = self.response().await;
            if let Some(rest) = response.strip_prefix(format!("{tag} ").as_bytes()) {
                return Answer { untagged, tagged: text(rest) };
            }
            untagged.push(response);
        }
    }

    /// A command that must be answered OK.
    #[track_caller]
    pub fn ok<'a>(
        &'a mut self,
        command: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> impl Future<Output = Answer> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.command(command.as_ref()).await;
            let shown = &command.as_ref()[..command.as_ref().len().min(200)];
            assert!(answer.tagged.starts_with("OK"), "{caller}: {:?}: {answer:?}", text(shown));
            answer
        }
    }

    /// A command whose untagged responses and the beginning of whose tagged response are known.
    #[track_caller]
    pub fn expect<'a>(
        &'a mut self,
        command: &'a str,
        untagged: &'a [&'a str],
        tagged: &'a str,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.command(command).await;
            assert_eq!(answer.lines(), untagged, "{caller}: {command:?}: {}", answer.tagged);
            assert!(answer.tagged.starts_with(tagged), "{caller}: {command:?}: {}", answer.tagged);
        }
    }

    /// Appends a message to a mailbox.
    pub async fn append(&mut self, mailbox: &str, message: &[u8]) -> Answer {
        let mut command = format!("APPEND {mailbox} {{{}+}}\r\n", message.len()).into_bytes();
        command.extend_from_slice(message);
        self.ok(&command).await
    }

    /// The octets of the only literal, or of the string, after `name` in the only FETCH response of `command`.
    pub async fn fetch(&mut self, command: &str, name: &str) -> Option<Vec<u8>> {
        let answer = self.ok(command).await;
        let response = answer.untagged.iter().find(|r| text(r).contains(" FETCH ")).expect("a response");
        value_of(response, name)
    }
}

/// The string after `name` in a response; none for NIL.
pub fn value_of(response: &[u8], name: &str) -> Option<Vec<u8>> {
    let name = format!("{name} ");
    let at = response
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .unwrap_or_else(|| panic!("no {name:?} in {:?}", text(&response[..response.len().min(300)])));
    let rest = &response[at + name.len()..];
    if rest.starts_with(b"NIL") {
        return None;
    }
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let end = quoted.iter().position(|b| *b == b'"').expect("the string's end");
        return Some(quoted[..end].to_vec());
    }
    let end = rest.iter().position(|b| *b == b'\n').expect("the literal's line");
    let size = literal_size(&rest[..=end]).expect("a literal");
    Some(rest[end + 1..end + 1 + size].to_vec())
}

fn literal_size(text: &[u8]) -> Option<usize> {
    let text = text.strip_suffix(b"}\r\n")?;
    let brace = text.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&text[brace + 1..]).ok()?.parse().ok()
}
