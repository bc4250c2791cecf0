//! The change feed of one node: one stream, however many accounts.

use futures::StreamExt as _;
use model::{AccountId, MailboxId, ModSeq, Result};
use rand::Rng as _;
use store_api::{Ctx, Requestor};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::error::{Call, from_status};
use crate::feed_pb::change_feed_client::ChangeFeedClient;
use crate::feed_pb::{ListenRequest, Pulse};
use crate::metadata::{STREAM_LIFE, request};

/// Accounts in one request; the contract's bound.
pub(crate) const ACCOUNTS_PER_REQUEST: usize = 1_000;
/// Requests under way on the stream before more wait.
const REQUESTS_AHEAD: usize = 16;

/// Begins to hear a node's change feed; of no account yet.
///
/// # Errors
/// `Unavailable` when the node cannot be reached or stops.
pub async fn listen(channel: Channel) -> Result<(Asks, Pulses)> {
    let (asks, outgoing) = mpsc::channel(REQUESTS_AHEAD);
    let ctx = Ctx {
        request_id: rand::rng().random(),
        deadline: Some(std::time::Instant::now() + STREAM_LIFE),
        requestor: Requestor::Operator,
    };
    let request = request(&ctx, ReceiverStream::new(outgoing));
    let pulses = ChangeFeedClient::new(channel).listen(request).await;
    let pulses = pulses.map_err(|status| from_status(&status, Call::Read))?.into_inner();
    Ok((Asks(asks), Pulses(pulses)))
}

/// Says which accounts a stream is to tell of.
pub struct Asks(mpsc::Sender<ListenRequest>);

impl Asks {
    /// Tells of these, too, from a pulse of [`Heard::confirms`] on. False when the stream has ended.
    pub async fn add(&self, accounts: &[AccountId]) -> bool {
        self.send(accounts, |accounts| ListenRequest { add: accounts, remove: Vec::new() }).await
    }

    /// Tells no more of these. False when the stream has ended.
    pub async fn remove(&self, accounts: &[AccountId]) -> bool {
        self.send(accounts, |accounts| ListenRequest { add: Vec::new(), remove: accounts }).await
    }

    async fn send(&self, accounts: &[AccountId], request: impl Fn(Vec<u64>) -> ListenRequest) -> bool {
        for some in accounts.chunks(ACCOUNTS_PER_REQUEST) {
            if self.0.send(request(some.iter().map(|account| account.0).collect())).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// One pulse of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whose.
    pub account: AccountId,
    /// It answers [`Asks::add`]: every change committed after it will be heard.
    pub confirms: bool,
    /// The folder of the last change, as in [`store_api::Pulse`].
    pub mailbox: Option<MailboxId>,
    /// Its MODSEQ.
    pub modseq: ModSeq,
}

/// What a node tells.
pub struct Pulses(Streaming<Pulse>);

impl Pulses {
    /// The next pulse; none when the stream's life is over. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable` when the node stops or the connection broke.
    pub async fn next(&mut self) -> Result<Option<Heard>> {
        match self.0.next().await {
            None => Ok(None),
            Some(Err(status)) => Err(from_status(&status, Call::Read)),
            Some(Ok(pulse)) => Ok(Some(Heard {
                account: AccountId(pulse.account),
                confirms: pulse.generation == 0,
                mailbox: (pulse.mailbox != 0).then_some(MailboxId(pulse.mailbox)),
                modseq: ModSeq(pulse.modseq),
            })),
        }
    }
}
