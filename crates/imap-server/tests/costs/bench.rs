//! A node with a front end in one, over an engine that counts; and its clients.

use std::sync::Arc;
use std::time::Duration;

use feed::Feed;
use imap_server::credentials::derive_scram_with;
use imap_server::{Limits, Options, Server};
use kv::count::CountingEngine;
use model::{CpmAddress, MailboxName};
use secrecy::SecretSlice;
use store::Store;
use store::keyspace::{Keyspace, Subspace};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Credentials, Ctx, MailStore, NewAccount, QuotaLimits, Requestor,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

pub const PASSWORD: &str = "secret";
const CTX: Ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };
/// Octets of each message.
const MESSAGE_BYTES: usize = 2_000;
/// Messages of one request while a folder is filled.
const PAGE: u32 = 200;

/// A message like those of phones.
pub fn message(number: u32) -> String {
    let mut text = format!(
        "From: <tel:+15550001>\r\nTo: <tel:+15550002>\r\nSubject: Shall we meet at noon?\r\n\
         Date: Wed, 17 Jul 2024 02:23:25 +0000\r\nConversation-ID: c{:08}\r\nContribution-ID: k{:08}\r\n\
         IMDN-Message-ID: m{number:08}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        number % 50,
        number % 500
    );
    while text.len() < MESSAGE_BYTES {
        text.push_str("The quick brown fox jumps over the lazy dog.\r\n");
    }
    text.truncate(MESSAGE_BYTES);
    text
}

pub struct Bench {
    engine: Arc<CountingEngine>,
    store: Arc<Store>,
    server: Server,
    /// What it tells sessions in IDLE comes from here.
    _feed: Arc<Feed>,
}

impl Bench {
    /// A node with nothing in its caches.
    pub async fn new(engine: Arc<CountingEngine>) -> Self {
        let options = store::Options { sweep: false, ..store::Options::default() };
        let store = Store::open(engine.clone(), options).await.expect("a store");
        let options = feed::Options { trim: false, ..feed::Options::default() };
        let feed = Feed::new(engine.clone(), options);
        // What a session at work looks up once a second is no command's cost.
        let limits = Limits { account_check_interval: Duration::from_secs(86_400), ..Limits::default() };
        let server = Server::new(store.clone(), feed.clone(), Options { limits, ..Options::default() });
        Self { engine, store, server, _feed: feed }
    }

    /// Makes an account whose INBOX has `size` messages.
    pub async fn fill(&mut self, user: &str, size: u32) {
        let secret = SecretSlice::from(PASSWORD.as_bytes().to_vec());
        let credentials = Credentials::Scram(derive_scram_with(&secret, vec![7; 16], 1).expect("a verifier"));
        let address = CpmAddress::parse(user).expect("an address");
        let new = NewAccount {
            address,
            credentials,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        let account = self.store.create_account(&CTX, new).await.expect("an account");
        let keys = Keyspace::new(&[]);
        self.engine.note(keys.subspace(account, Subspace::Chunk).begin);
        let numbers: Vec<u32> = (0..size).collect();
        for page in numbers.chunks(PAGE as usize) {
            let messages = page.iter().map(|number| AppendMessage {
                flags: model::Flags(0),
                keywords: Vec::new(),
                internal_date: None,
                annotations: Vec::new(),
                body: AppendBody::Inline(message(*number).into()),
            });
            let request = AppendRequest {
                mailbox: MailboxName::parse("INBOX").expect("a name"),
                messages: messages.collect(),
            };
            self.store.append(&CTX, account, request).await.expect("messages");
        }
    }

    /// Waits until what was left to do is done.
    pub async fn quiet(&self) {
        let real = self.engine_is_far();
        tokio::time::sleep(Duration::from_millis(if real { 300 } else { 20 })).await;
    }

    fn engine_is_far(&self) -> bool {
        kv::Engine::name(self.engine.as_ref()) != "memory"
    }

    /// A connection, greeted.
    pub async fn connect(&self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.server.attach(far);
        let mut client = Client { stream: BufReader::new(near), tags: 0, user: String::new() };
        client.until("OK").await;
        client
    }

    pub async fn login_as(&self, user: &str) -> Client {
        let mut client = self.connect().await;
        client.ok(&format!("LOGIN {user} {PASSWORD}")).await;
        client
    }
}

pub struct Client {
    stream: BufReader<DuplexStream>,
    tags: u32,
    pub user: String,
}

impl Client {
    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let read = self.stream.read_until(b'\n', &mut line).await.expect("a line");
            assert!(read > 0, "the connection has ended");
            let text = String::from_utf8_lossy(&line);
            let announced = text.strip_suffix("}\r\n").and_then(|text| text.rsplit_once('{')?.1.parse().ok());
            let Some(octets): Option<usize> = announced else { return text.into_owned() };
            let start = line.len();
            line.resize(start + octets, 0);
            self.stream.read_exact(&mut line[start..]).await.expect("a literal");
        }
    }

    /// Sends a command; its tag.
    pub async fn begin(&mut self, command: &str) -> String {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        if let Some(login) = command.strip_prefix("LOGIN ") {
            self.user = login.split(' ').next().unwrap_or_default().to_owned();
        }
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await.expect("sent");
        tag
    }

    /// Reads up to a response that holds `word`.
    pub async fn until(&mut self, word: &str) {
        while !self.line().await.contains(word) {}
    }

    /// Gives a command that must be answered OK; the untagged responses.
    pub async fn ok(&mut self, command: &str) -> Vec<String> {
        let (untagged, status) = self.run(command).await;
        assert!(status.starts_with("OK"), "{command:.60}: {status}");
        untagged
    }

    /// Gives a command; the untagged responses, and how it ended.
    pub async fn run(&mut self, command: &str) -> (Vec<String>, String) {
        let tag = self.begin(command).await;
        let mut untagged = Vec::new();
        loop {
            let line = self.line().await;
            match line.strip_prefix(&tag) {
                Some(status) => return (untagged, status.trim().to_owned()),
                None => untagged.push(line),
            }
        }
    }

    pub async fn append(&mut self, mailbox: &str, messages: &[String]) {
        let literals = messages.iter().map(|message| format!(" {{{}+}}\r\n{message}", message.len()));
        self.ok(&format!("APPEND {mailbox}{}", literals.collect::<String>())).await;
    }
}
