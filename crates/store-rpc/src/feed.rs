//! The change feed over gRPC: one stream a front end, however many accounts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use model::{AccountId, Error, ErrorKind, MailboxId, ModSeq, Result};
use parking_lot::Mutex;
use rand::Rng as _;
use store_api::{ChangeFeed, Ctx, Pulse, Requestor, Subscription};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::feed_pb::change_feed_client::ChangeFeedClient;
use crate::feed_pb::{ListenRequest, Pulse as WirePulse};
use crate::metadata::request;

/// Longest wait for the tier to confirm a subscription.
const CONFIRM_WAIT: Duration = Duration::from_secs(10);
/// Longest pause before a lost stream is opened again.
const REOPEN_MS_MAX: u64 = 2_000;
/// How often accounts that nobody listens to any more are given back.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// Accounts in one request; the contract's bound.
pub(crate) const ACCOUNTS_PER_REQUEST: usize = 1_000;
/// Requests under way on the stream before more wait.
const REQUESTS_AHEAD: usize = 16;
/// A stream without a deadline of its own is opened anew after this long.
const STREAM_LIFE: Duration = Duration::from_secs(3_000);

struct Listener {
    pulses: watch::Sender<Pulse>,
    confirmed: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    listeners: Mutex<HashMap<AccountId, Listener>>,
    wanted: Notify,
}

/// The tier's change feed as a front end elsewhere hears it. Dropping it ends its stream.
pub struct RemoteFeed {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl RemoteFeed {
    /// A feed over a channel to a storage node; keeps one stream open from now on, reopening it when it is lost. After
    /// a loss every listener hears a pulse, so that it looks again.
    pub fn new(channel: Channel) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(keep_listening(channel, shared.clone()));
        Self { shared, task }
    }
}

impl Drop for RemoteFeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl ChangeFeed for RemoteFeed {
    async fn subscribe(&self, account: AccountId) -> Result<Subscription> {
        let (pulses, mut confirmed) = {
            let mut listeners = self.shared.listeners.lock();
            let listener = listeners.entry(account).or_insert_with(|| {
                self.shared.wanted.notify_one();
                Listener {
                    pulses: watch::Sender::new(Pulse::default()),
                    confirmed: watch::Sender::new(false),
                }
            });
            (listener.pulses.subscribe(), listener.confirmed.subscribe())
        };
        match tokio::time::timeout(CONFIRM_WAIT, confirmed.wait_for(|yes| *yes)).await {
            Ok(Ok(_)) => Ok(Subscription::new(pulses)),
            _ => Err(Error::new(ErrorKind::Unavailable, "the change feed does not answer; try again later")),
        }
    }
}

async fn keep_listening(channel: Channel, shared: Arc<Shared>) {
    let mut failures = 0u32;
    loop {
        match listen(channel.clone(), &shared, &mut failures).await {
            Ok(()) => tracing::debug!("feed stream ended; opening it again"),
            Err(status) => tracing::warn!(%status, failures, "feed stream lost; opening it again"),
        }
        metrics::counter!("mss_feed_stream_losses_total").increment(1);
        for listener in shared.listeners.lock().values() {
            listener.confirmed.send_replace(false);
        }
        failures = failures.saturating_add(1);
        let ceiling = (10u64 << failures.min(8)).min(REOPEN_MS_MAX);
        let wait_ms = rand::rng().random_range(0..=ceiling);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// One life of the stream.
async fn listen(channel: Channel, shared: &Shared, failures: &mut u32) -> Result<(), tonic::Status> {
    let (asks, outgoing) = mpsc::channel(REQUESTS_AHEAD);
    let ctx = Ctx {
        request_id: rand::rng().random(),
        deadline: Some(std::time::Instant::now() + STREAM_LIFE),
        requestor: Requestor::Operator,
    };
    let mut told: std::collections::HashSet<AccountId> = std::collections::HashSet::new();
    shared.wanted.notify_one();
    let mut client = ChangeFeedClient::new(channel);
    let mut pulses = client.listen(request(&ctx, ReceiverStream::new(outgoing))).await?.into_inner();
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            pulse = pulses.next() => match pulse {
                Some(pulse) => {
                    *failures = 0;
                    deliver(shared, &pulse?);
                }
                None => return Ok(()),
            },
            () = shared.wanted.notified() => {
                let add: Vec<u64> =
                    shared.listeners.lock().keys().filter(|a| !told.contains(a)).map(|a| a.0).collect();
                for some in add.chunks(ACCOUNTS_PER_REQUEST) {
                    told.extend(some.iter().map(|a| AccountId(*a)));
                    if asks.send(ListenRequest { add: some.to_vec(), remove: Vec::new() }).await.is_err() {
                        return Ok(());
                    }
                }
            }
            _ = tidy.tick() => {
                let gone: Vec<u64> = {
                    let mut listeners = shared.listeners.lock();
                    let idle = |l: &Listener| l.pulses.receiver_count() == 0 && l.confirmed.receiver_count() == 0;
                    listeners.extract_if(|_, l| idle(l)).map(|(a, _)| a.0).collect()
                };
                for some in gone.chunks(ACCOUNTS_PER_REQUEST) {
                    for account in some {
                        told.remove(&AccountId(*account));
                    }
                    if asks.send(ListenRequest { add: Vec::new(), remove: some.to_vec() }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn deliver(shared: &Shared, wire: &WirePulse) {
    let listeners = shared.listeners.lock();
    let Some(listener) = listeners.get(&AccountId(wire.account)) else { return };
    // Also for a confirmation: what happened before it, while the stream was away, is looked up by the listener.
    listener.pulses.send_modify(|pulse| {
        *pulse = Pulse {
            generation: pulse.generation + 1,
            mailbox: (wire.mailbox != 0).then_some(MailboxId(wire.mailbox)),
            modseq: ModSeq(wire.modseq),
        };
    });
    if wire.generation == 0 {
        listener.confirmed.send_replace(true);
    }
}
