//! What a front end has of the storage tier: the nodes it believes in, over the network.
//!
//! It does as a front end must: reads go to the next node when one cannot be reached; a write does so only when it
//! certainly was not begun; and a write whose answer was lost ends with nobody knowing.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
use futures::future::BoxFuture;
use model::{
    AccountId, AclChange, BodyId, CpmAddress, Error, ErrorKind, FolderSnapshot, FolderState, MailboxId,
    MailboxName, ModSeq, Partition, Result, SpecialUse, Uid, UidSet,
};
use store_api::{
    Account, AccountState, AnnotationNews, AnnotationPage, AnnotationQuery, AppendRequest, Appended,
    BodyData, BodyWriter, ChangeFeed, Changes, ChangesSince, Checkpoint, CopyOutcome, CopyRequest,
    Credentials, Ctx, ExpungeOutcome, FolderTree, Identities, MailStore, Metadata, MetadataChange,
    NewAccount, Pulse, Quota, QuotaLimits, Reference, Referenced, ReplaceRequest, SearchManyRequest,
    SearchRequest, ServiceClass, SignedReference, StoreAnnotations, StoreFlags, StoreOutcome, Subscription,
};
use tokio::sync::watch;

use crate::net::{Net, Weather};
use crate::node::Node;

/// Longest time that a request takes in each direction, milliseconds.
const LATENCY_MS_MAX: u64 = 3;
/// Longest time until a front end gives up on an answer that was lost, milliseconds.
const LOST_MS_MAX: u64 = 3_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl Kind {
    /// What a caller is told who does not know what became of a request.
    fn lost(self) -> Error {
        match self {
            Self::Read => Error::new(ErrorKind::Unavailable, "no answer came"),
            Self::Write => Error::new(ErrorKind::CommitUnknown, "no answer came"),
        }
    }
}

/// The storage tier of one front end.
pub struct Link {
    front_end: usize,
    net: Arc<Net>,
}

impl Link {
    pub fn new(front_end: usize, net: Arc<Net>) -> Arc<Self> {
        Arc::new(Self { front_end, net })
    }

    async fn call<'a, T: Send>(
        &'a self,
        kind: Kind,
        partition: Partition,
        ask: impl Fn(Arc<Node>) -> BoxFuture<'a, Result<T>> + Send + Sync + 'a,
    ) -> Result<T> {
        let mut failure = Error::new(ErrorKind::Unavailable, "no storage node can be reached");
        for number in self.net.ranking(self.front_end, partition) {
            match self.ask(number, kind, &ask).await {
                // Nothing was begun, or nothing can have changed.
                Err(error) if error.kind() == ErrorKind::Unavailable => failure = error,
                answer => return answer,
            }
        }
        Err(failure)
    }

    async fn ask<'a, T: Send>(
        &self,
        number: usize,
        kind: Kind,
        ask: &(impl Fn(Arc<Node>) -> BoxFuture<'a, Result<T>> + Sync),
    ) -> Result<T> {
        let net = &self.net;
        net.pause(LATENCY_MS_MAX).await;
        let (weather, _) = net.way(self.front_end, number);
        let node = net.node(number).filter(|_| weather != Weather::Cut);
        let Some(node) = node else { return Err(Error::new(ErrorKind::Unavailable, "connection refused")) };
        let lost = |probability| net.happens(probability);
        if let Weather::Lossy(probability) = weather
            && lost(probability)
        {
            net.pause(LOST_MS_MAX).await;
            return Err(kind.lost());
        }
        let answer = tokio::select! {
            biased;
            () = node.dead.cancelled() => Err(kind.lost()),
            answer = ask(node.clone()) => answer,
        };
        if let Weather::Lossy(probability) = weather
            && lost(probability)
        {
            net.pause(LOST_MS_MAX).await;
            return Err(kind.lost());
        }
        net.pause(LATENCY_MS_MAX).await;
        answer
    }
}

macro_rules! calls {
    ($($kind:ident $name:ident($partition:expr; $($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl MailStore for Link {
            $(async fn $name(&self, ctx: &Ctx, $($argument: $type),*) -> Result<$answer> {
                self.call(Kind::$kind, $partition, move |node| {
                    $(let $argument = Clone::clone(&$argument);)*
                    Box::pin(async move { node.store.$name(ctx, $($argument),*).await })
                })
                .await
            })*
        }
    };
}

calls! {
    Read account(address.partition(); address: &CpmAddress) -> Option<Arc<Account>>;
    Write create_account(new.address.partition(); new: NewAccount) -> AccountId;
    Write set_credentials(address.partition(); address: &CpmAddress, credentials: Credentials) -> ();
    Write configure_account(address.partition(); address: &CpmAddress, state: AccountState, limits: QuotaLimits) -> ();
    Write set_service(address.partition(); address: &CpmAddress, service: ServiceClass) -> ();
    Write link_accounts(Partition(0); addresses: &[CpmAddress]) -> ();
    Write unlink_account(address.partition(); address: &CpmAddress) -> ();
    Read list_accounts(Partition(0); after: Option<&CpmAddress>, limit: usize) -> Vec<Arc<Account>>;
    Write remove_account(address.partition(); address: &CpmAddress) -> ();
    Read quota(account.partition(); account: AccountId) -> Quota;
    Read folders(account.partition(); account: AccountId) -> Arc<FolderTree>;
    Write create_folder(account.partition(); account: AccountId, name: &MailboxName, special_use: Option<SpecialUse>) -> MailboxId;
    Write delete_folder(account.partition(); account: AccountId, name: &MailboxName) -> ();
    Write rename_folder(account.partition(); account: AccountId, from: &MailboxName, to: &MailboxName) -> ();
    Write subscribe(account.partition(); account: AccountId, name: &MailboxName, subscribed: bool) -> ();
    Read status(account.partition(); account: AccountId, mailboxes: &[MailboxId]) -> Vec<Option<FolderState>>;
    Read folder(account.partition(); account: AccountId, mailbox: MailboxId) -> Arc<FolderSnapshot>;
    Read vanished(account.partition(); account: AccountId, mailbox: MailboxId, since: ModSeq) -> UidSet;
    Write claim_recent(account.partition(); account: AccountId, mailbox: MailboxId, uid_next: u64) -> ();
    Write stage_body(account.partition(); account: AccountId, size: u64) -> Box<dyn BodyWriter>;
    Write append(account.partition(); account: AccountId, request: AppendRequest) -> Appended;
    Write replace(account.partition(); account: AccountId, request: ReplaceRequest) -> Appended;
    Write store_flags(account.partition(); account: AccountId, request: StoreFlags) -> StoreOutcome;
    Write copy(account.partition(); account: AccountId, request: CopyRequest) -> CopyOutcome;
    Write expunge(account.partition(); account: AccountId, mailbox: MailboxId, within: Option<UidSet>) -> ExpungeOutcome;
    Read identities(account.partition(); account: AccountId, mailbox: MailboxId, uids: &UidSet) -> Vec<(Uid, Identities)>;
    Read annotations(account.partition(); account: AccountId, query: &AnnotationQuery) -> AnnotationPage;
    Write store_annotations(account.partition(); account: AccountId, request: StoreAnnotations) -> StoreOutcome;
    Read annotation_news(account.partition(); account: AccountId, mailbox: MailboxId, since: ModSeq) -> Vec<AnnotationNews>;
    Read infos(account.partition(); account: AccountId, mailbox: MailboxId, bodies: &[BodyId]) -> Vec<Option<Arc<MessageIndex>>>;
    Read body(account.partition(); account: AccountId, mailbox: MailboxId, body: BodyId, range: Option<Range<u64>>) -> BodyData;
    Read metadata(account.partition(); account: AccountId, mailboxes: &[Option<MailboxId>]) -> Vec<Metadata>;
    Write set_metadata(account.partition(); account: AccountId, mailbox: Option<MailboxId>, changes: Vec<MetadataChange>) -> ();
    Write set_acl(account.partition(); account: AccountId, owner: &CpmAddress, mailbox: MailboxId, change: &AclChange) -> ();
    Read shared_with(account.partition(); account: AccountId) -> Vec<(CpmAddress, AccountId)>;
    Write sign_reference(account.partition(); account: AccountId, reference: &Reference) -> Bytes;
    Write reset_reference_keys(account.partition(); account: AccountId, mailbox: Option<MailboxId>) -> ();
    Read checkpoint(account.partition(); account: AccountId) -> Option<Checkpoint>;
    Write set_checkpoint(account.partition(); account: AccountId, checkpoint: &Checkpoint) -> ();
    Read changes(account.partition(); account: AccountId, since: ChangesSince) -> Changes;
    Read referenced(signed.reference.owner.partition(); signed: &SignedReference) -> Referenced;
    Read referenced_body(signed.reference.owner.partition(); signed: &SignedReference, range: Option<Range<u64>>) -> BodyData;
    Read search(account.partition(); account: AccountId, request: &SearchRequest) -> UidSet;
    Read search_many(account.partition(); account: AccountId, request: &SearchManyRequest) -> Vec<Option<UidSet>>;
}

#[async_trait]
impl ChangeFeed for Link {
    async fn subscribe(&self, account: AccountId) -> Result<Subscription> {
        let partition = account.partition();
        for number in self.net.ranking(self.front_end, partition) {
            let subscribed = self
                .ask(number, Kind::Read, &|node: Arc<Node>| {
                    Box::pin(async move {
                        let mut subscription = node.feed.subscribe(account).await?;
                        // At once: what comes while the answer travels must not be taken for heard.
                        let heard = subscription.pulse().generation;
                        Ok((node, subscription, heard))
                    })
                })
                .await;
            let Ok((node, subscription, heard)) = subscribed else { continue };
            let (_, flow) = self.net.way(self.front_end, number);
            let (sender, receiver) = watch::channel(Pulse::default());
            let net = self.net.clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = node.dead.cancelled() => {}
                    () = flow.cancelled() => {}
                    () = sender.closed() => {}
                    () = relay(&net, subscription, heard, &sender) => {}
                }
            });
            return Ok(Subscription::new(receiver));
        }
        Err(Error::new(ErrorKind::Unavailable, "no storage node can be reached"))
    }
}

/// Tells a front end what a node is told, until the node's feed ends.
async fn relay(net: &Net, mut subscription: Subscription, mut heard: u64, sender: &watch::Sender<Pulse>) {
    while subscription.changed().await {
        net.pause(LATENCY_MS_MAX).await;
        let pulse = subscription.pulse();
        // What was merged stays countable.
        let merged = pulse.generation - std::mem::replace(&mut heard, pulse.generation);
        sender.send_modify(|told| *told = Pulse { generation: told.generation + merged, ..pulse });
    }
}
