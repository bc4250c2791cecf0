//! Measures the store in this process, over the embedded engine: `measure [seconds a step] [directory]`.
//!
//! Commits are synced as in service; CPU is that of the whole process, engine included. With `MEASURE_SYNC=never` the
//! engine leaves commits to the operating system, so that what is left is CPU.
#![allow(clippy::unwrap_used, reason = "a measurement that fails shall say where")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv::Engine;
use kv_embedded::EmbeddedEngine;
use model::{AccountId, CpmAddress, Flags, MailboxId, MailboxName, Uid, UidSet};
use store::{Options, Store};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Credentials, Ctx, FlagAction, FlagChange, MailStore,
    NewAccount, QuotaLimits, Requestor, StoreFlags,
};

const CTX: Ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn body(n: u64) -> bytes::Bytes {
    let mut text = format!(
        "From: <tel:+15550001>\r\nTo: <tel:+15550002>\r\nDate: Wed, 17 Jul 2024 02:23:25 +0000\r\n\
         Conversation-ID: f81d4fae-7dec-11d0-a765-{:012x}\r\nContribution-ID: abcdef-1234-5678-90ab-{:012x}\r\n\
         IMDN-Message-ID: m{n:016x}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        n % 50,
        n % 500
    );
    while text.len() < 2_000 {
        text.push_str("The quick brown fox jumps over the lazy dog.\r\n");
    }
    text.truncate(2_000);
    text.into()
}

fn message(n: u64) -> AppendMessage {
    AppendMessage {
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: None,
        annotations: Vec::new(),
        body: AppendBody::Inline(body(n)),
    }
}

struct Measure {
    store: Arc<Store>,
    step: Duration,
    next: AtomicU64,
}

impl Measure {
    async fn account(&self) -> AccountId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let new = NewAccount {
            address: CpmAddress::parse(&format!("+1777{n:07}")).unwrap(),
            credentials: Credentials::None,
            limits: QuotaLimits::default(),
            service: store_api::ServiceClass::default(),
        };
        self.store.create_account(&CTX, new).await.unwrap()
    }

    async fn inbox(&self, account: AccountId) -> MailboxId {
        self.store.folders(&CTX, account).await.unwrap().find(&MailboxName::inbox()).unwrap().id
    }

    async fn fill(&self, account: AccountId, count: u64) {
        for from in (0..count).step_by(500) {
            let messages = (from..(from + 500).min(count)).map(message).collect();
            self.store
                .append(&CTX, account, AppendRequest { mailbox: MailboxName::inbox(), messages })
                .await
                .unwrap();
        }
    }

    /// Runs `work` in `tasks` loops for the time of a step, and prints what it took.
    async fn run<F, W>(self: &Arc<Self>, what: &str, tasks: usize, work: W)
    where
        W: Fn(Arc<Self>, usize, u64) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let (started, cpu_before) = (Instant::now(), cpu());
        let end = started + self.step;
        let handles: Vec<_> = (0..tasks)
            .map(|task| {
                let (this, work) = (self.clone(), work.clone());
                tokio::spawn(async move {
                    let mut done = 0u64;
                    while Instant::now() < end {
                        work(this.clone(), task, done).await;
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for handle in handles {
            done += handle.await.unwrap();
        }
        let (took, used) = (started.elapsed(), cpu().saturating_sub(cpu_before));
        println!(
            "{what:<44} {:>10.0} /s {:>9.1} us CPU each {:>9.1} us each, one at a time",
            done as f64 / took.as_secs_f64(),
            used.as_secs_f64() * 1e6 / done.max(1) as f64,
            took.as_secs_f64() * 1e6 * tasks as f64 / done.max(1) as f64,
        );
    }
}

async fn append(m: Arc<Measure>, account: AccountId, n: u64) {
    let request = AppendRequest { mailbox: MailboxName::inbox(), messages: vec![message(n)] };
    m.store.append(&CTX, account, request).await.unwrap();
}

fn flags(mailbox: MailboxId, uids: UidSet, n: u64) -> StoreFlags {
    let action = if n.is_multiple_of(2) { FlagAction::Add } else { FlagAction::Remove };
    let change = FlagChange { action, flags: Flags::FLAGGED, keywords: Vec::new() };
    StoreFlags { mailbox, uids, change, unchanged_since: None }
}

#[tokio::main]
async fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(2.0, |text| text.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let directory = std::env::args().nth(2).map_or(temporary.path().to_owned(), Into::into);
    let never = std::env::var("MEASURE_SYNC").is_ok_and(|value| value == "never");
    let only = std::env::var("MEASURE_ONLY").unwrap_or_default();
    let sync = if never { kv_embedded::Sync::TestsOnlyNever } else { kv_embedded::Sync::Always };
    let options = kv_embedded::Options { sync, free_bytes_min: 0, ..kv_embedded::Options::default() };
    let engine: Arc<dyn Engine> = EmbeddedEngine::open(directory, options).unwrap();
    let store = Store::open(engine, Options::default()).await.unwrap();
    let m = Arc::new(Measure { store, step: Duration::from_secs_f64(seconds), next: AtomicU64::new(0) });
    let wanted = |what: &str| only.is_empty() || what.contains(&only);

    if wanted("parse") {
        let octets = body(1);
        m.run("parse of 2 kB", 1, move |_, _, _| {
            let octets = octets.clone();
            async move {
                for _ in 0..100 {
                    std::hint::black_box(cpm_mime::parse(&octets, &cpm_mime::Limits::default()));
                }
            }
        })
        .await;
    }
    for tasks in [1usize, 16, 64] {
        if wanted("append") {
            let account = m.account().await;
            let what = format!("append 2 kB, {tasks} tasks, one folder");
            m.run(&what, tasks, move |m, _, n| append(m, account, n)).await;
        }
        if wanted("accounts") {
            let mut accounts = Vec::new();
            for _ in 0..tasks {
                accounts.push(m.account().await);
            }
            let what = format!("append 2 kB, {tasks} tasks, accounts of their own");
            m.run(&what, tasks, move |m, task, n| append(m, accounts[task], n)).await;
        }
    }
    for count in [100u64, 10_000, 100_000] {
        if !wanted("folder") {
            continue;
        }
        let account = m.account().await;
        m.fill(account, count).await;
        let inbox = m.inbox(account).await;
        let what = format!("append 2 kB, 16 tasks, folder of {count}");
        m.run(&what, 16, move |m, _, n| append(m, account, n)).await;
        let what = format!("folder(), folder of {count}");
        m.run(&what, 1, move |m, _, _| async move {
            for _ in 0..100 {
                m.store.folder(&CTX, account, inbox).await.unwrap();
            }
        })
        .await;
        let what = format!("body 2 kB at random, 16 tasks, folder of {count}");
        m.run(&what, 16, move |m, task, n| async move {
            let snapshot = m.store.folder(&CTX, account, inbox).await.unwrap();
            for i in 0..100u64 {
                let uid = 1 + (n * 7919 + i * 104_729 + task as u64 * 31) % count;
                let row = *snapshot.row(Uid::new(uid as u32).unwrap()).unwrap();
                m.store.body(&CTX, account, inbox, row.body, None).await.unwrap();
            }
        })
        .await;
        let what = format!("store one flag, 16 tasks, folder of {count}");
        m.run(&what, 16, move |m, task, n| async move {
            let uid = Uid::new((1 + task as u32 * 5) % count as u32).unwrap();
            m.store.store_flags(&CTX, account, flags(inbox, UidSet::range(uid, uid), n)).await.unwrap();
        })
        .await;
        if count == 10_000 {
            m.run("store 1:10000", 1, move |m, _, n| async move {
                let all = UidSet::range(Uid::MIN, Uid::new(10_000).unwrap());
                m.store.store_flags(&CTX, account, flags(inbox, all, n)).await.unwrap();
            })
            .await;
            m.run("status", 1, move |m, _, _| async move {
                for _ in 0..100 {
                    m.store.status(&CTX, account, &[inbox]).await.unwrap();
                }
            })
            .await;
        }
    }
    println!("(folder(), body, status and parse: each counts 100)");
}
