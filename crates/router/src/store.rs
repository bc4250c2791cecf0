//! Every operation of the store, at the node it belongs to.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
use futures::StreamExt as _;
use model::{
    AccountId, AclChange, BodyId, CpmAddress, ErrorKind, FolderSnapshot, FolderState, MailboxId, MailboxName,
    ModSeq, Partition, Result, SpecialUse, Uid, UidSet,
};
use store_api::{
    Account, AccountState, AnnotationNews, AnnotationPage, AnnotationQuery, AppendRequest, Appended,
    BodyData, BodyPieces, BodyWriter, Changes, ChangesSince, Checkpoint, CopyOutcome, CopyRequest,
    Credentials, Ctx, ExpungeOutcome, FolderTree, Identities, MailStore, Metadata, MetadataChange,
    NewAccount, Quota, QuotaLimits, Reference, Referenced, ReplaceRequest, SearchManyRequest, SearchRequest,
    ServiceClass, SignedReference, StoreAnnotations, StoreFlags, StoreOutcome,
};

use crate::fleet::Node;
use crate::limits::BODY_MOVES_MAX;
use crate::route::Effect;
use crate::staging::Staging;
use crate::{Router, Shared};

/// Asks the node of a partition, and others if need be.
macro_rules! ask {
    ($self:ident, $ctx:ident, $partition:expr, $effect:ident, $method:ident($($argument:expr),*)) => {
        $self
            .shared
            .route($ctx, $partition, Effect::$effect, |node: Arc<Node>| async move {
                node.store.$method($ctx, $($argument),*).await
            })
            .await
    };
}

#[async_trait]
impl MailStore for Router {
    async fn account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<Option<Arc<Account>>> {
        ask!(self, ctx, address.partition(), None, account(address))
    }

    async fn create_account(&self, ctx: &Ctx, new: NewAccount) -> Result<AccountId> {
        let new = &new;
        ask!(self, ctx, new.address.partition(), Once, create_account(new.clone()))
    }

    async fn set_credentials(&self, ctx: &Ctx, address: &CpmAddress, credentials: Credentials) -> Result<()> {
        let credentials = &credentials;
        ask!(self, ctx, address.partition(), Idempotent, set_credentials(address, credentials.clone()))
    }

    async fn configure_account(
        &self,
        ctx: &Ctx,
        address: &CpmAddress,
        state: AccountState,
        limits: QuotaLimits,
    ) -> Result<()> {
        ask!(self, ctx, address.partition(), Idempotent, configure_account(address, state, limits))
    }

    async fn set_service(&self, ctx: &Ctx, address: &CpmAddress, service: ServiceClass) -> Result<()> {
        ask!(self, ctx, address.partition(), Idempotent, set_service(address, service))
    }

    async fn link_accounts(&self, ctx: &Ctx, addresses: &[CpmAddress]) -> Result<()> {
        let partition = addresses.first().map_or(Partition(0), CpmAddress::partition);
        ask!(self, ctx, partition, Idempotent, link_accounts(addresses))
    }

    async fn unlink_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        ask!(self, ctx, address.partition(), Idempotent, unlink_account(address))
    }

    async fn list_accounts(
        &self,
        ctx: &Ctx,
        after: Option<&CpmAddress>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>> {
        ask!(self, ctx, Partition(0), None, list_accounts(after, limit))
    }

    async fn remove_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        ask!(self, ctx, address.partition(), Once, remove_account(address))
    }

    async fn quota(&self, ctx: &Ctx, account: AccountId) -> Result<Quota> {
        ask!(self, ctx, account.partition(), None, quota(account))
    }

    async fn folders(&self, ctx: &Ctx, account: AccountId) -> Result<Arc<FolderTree>> {
        ask!(self, ctx, account.partition(), None, folders(account))
    }

    async fn create_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId> {
        ask!(self, ctx, account.partition(), Once, create_folder(account, name, special_use))
    }

    async fn delete_folder(&self, ctx: &Ctx, account: AccountId, name: &MailboxName) -> Result<()> {
        ask!(self, ctx, account.partition(), Once, delete_folder(account, name))
    }

    async fn rename_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        ask!(self, ctx, account.partition(), Once, rename_folder(account, from, to))
    }

    async fn subscribe(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        subscribed: bool,
    ) -> Result<()> {
        ask!(self, ctx, account.partition(), Idempotent, subscribe(account, name, subscribed))
    }

    async fn status(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[MailboxId],
    ) -> Result<Vec<Option<FolderState>>> {
        ask!(self, ctx, account.partition(), None, status(account, mailboxes))
    }

    async fn metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[Option<MailboxId>],
    ) -> Result<Vec<Metadata>> {
        ask!(self, ctx, account.partition(), None, metadata(account, mailboxes))
    }

    async fn set_metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
    ) -> Result<()> {
        let changes = &changes;
        ask!(self, ctx, account.partition(), Once, set_metadata(account, mailbox, changes.clone()))
    }

    async fn set_acl(
        &self,
        ctx: &Ctx,
        account: AccountId,
        owner: &CpmAddress,
        mailbox: MailboxId,
        change: &AclChange,
    ) -> Result<()> {
        // `+` and `-` repeated change nothing more, yet another's change may have come between.
        ask!(self, ctx, account.partition(), Once, set_acl(account, owner, mailbox, change))
    }

    async fn shared_with(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<(CpmAddress, AccountId)>> {
        ask!(self, ctx, account.partition(), None, shared_with(account))
    }

    async fn folder(&self, ctx: &Ctx, account: AccountId, mailbox: MailboxId) -> Result<Arc<FolderSnapshot>> {
        ask!(self, ctx, account.partition(), None, folder(account, mailbox))
    }

    async fn vanished(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<UidSet> {
        ask!(self, ctx, account.partition(), None, vanished(account, mailbox, since))
    }

    async fn claim_recent(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uid_next: u64,
    ) -> Result<()> {
        ask!(self, ctx, account.partition(), Idempotent, claim_recent(account, mailbox, uid_next))
    }

    async fn stage_body(&self, ctx: &Ctx, account: AccountId, size: u64) -> Result<Box<dyn BodyWriter>> {
        Ok(Staging::open(&self.shared, ctx, account, size).await?)
    }

    async fn append(&self, ctx: &Ctx, account: AccountId, request: AppendRequest) -> Result<Appended> {
        let request = &request;
        ask!(self, ctx, account.partition(), Once, append(account, request.clone()))
    }

    async fn replace(&self, ctx: &Ctx, account: AccountId, request: ReplaceRequest) -> Result<Appended> {
        let request = &request;
        ask!(self, ctx, account.partition(), Once, replace(account, request.clone()))
    }

    async fn store_flags(&self, ctx: &Ctx, account: AccountId, request: StoreFlags) -> Result<StoreOutcome> {
        let request = &request;
        ask!(self, ctx, account.partition(), Once, store_flags(account, request.clone()))
    }

    async fn copy(&self, ctx: &Ctx, account: AccountId, request: CopyRequest) -> Result<CopyOutcome> {
        let request = &request;
        ask!(self, ctx, account.partition(), Once, copy(account, request.clone()))
    }

    async fn expunge(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        within: Option<UidSet>,
    ) -> Result<ExpungeOutcome> {
        let within = &within;
        ask!(self, ctx, account.partition(), Once, expunge(account, mailbox, within.clone()))
    }

    async fn identities(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uids: &UidSet,
    ) -> Result<Vec<(Uid, Identities)>> {
        ask!(self, ctx, account.partition(), None, identities(account, mailbox, uids))
    }

    async fn annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        query: &AnnotationQuery,
    ) -> Result<AnnotationPage> {
        ask!(self, ctx, account.partition(), None, annotations(account, query))
    }

    async fn store_annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: StoreAnnotations,
    ) -> Result<StoreOutcome> {
        let request = &request;
        ask!(self, ctx, account.partition(), Once, store_annotations(account, request.clone()))
    }

    async fn annotation_news(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<Vec<AnnotationNews>> {
        ask!(self, ctx, account.partition(), None, annotation_news(account, mailbox, since))
    }

    async fn infos(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        bodies: &[BodyId],
    ) -> Result<Vec<Option<Arc<MessageIndex>>>> {
        ask!(self, ctx, account.partition(), None, infos(account, mailbox, bodies))
    }

    async fn body(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        body: BodyId,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        read_on(&self.shared, ctx, Octets::Body(account, mailbox, body), range).await
    }

    async fn sign_reference(&self, ctx: &Ctx, account: AccountId, reference: &Reference) -> Result<Bytes> {
        ask!(self, ctx, account.partition(), Idempotent, sign_reference(account, reference))
    }

    async fn reset_reference_keys(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
    ) -> Result<()> {
        ask!(self, ctx, account.partition(), Idempotent, reset_reference_keys(account, mailbox))
    }

    async fn checkpoint(&self, ctx: &Ctx, account: AccountId) -> Result<Option<Checkpoint>> {
        ask!(self, ctx, account.partition(), None, checkpoint(account))
    }

    async fn set_checkpoint(&self, ctx: &Ctx, account: AccountId, checkpoint: &Checkpoint) -> Result<()> {
        ask!(self, ctx, account.partition(), Idempotent, set_checkpoint(account, checkpoint))
    }

    async fn changes(&self, ctx: &Ctx, account: AccountId, since: ChangesSince) -> Result<Changes> {
        ask!(self, ctx, account.partition(), None, changes(account, since))
    }

    async fn referenced(&self, ctx: &Ctx, signed: &SignedReference) -> Result<Referenced> {
        ask!(self, ctx, signed.reference.owner.partition(), None, referenced(signed))
    }

    async fn referenced_body(
        &self,
        ctx: &Ctx,
        signed: &SignedReference,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        read_on(&self.shared, ctx, Octets::Reference(Arc::new(signed.clone())), range).await
    }

    async fn search(&self, ctx: &Ctx, account: AccountId, request: &SearchRequest) -> Result<UidSet> {
        ask!(self, ctx, account.partition(), None, search(account, request))
    }

    async fn search_many(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: &SearchManyRequest,
    ) -> Result<Vec<Option<UidSet>>> {
        ask!(self, ctx, account.partition(), None, search_many(account, request))
    }
}

/// Whose octets are read.
#[derive(Clone)]
enum Octets {
    Body(AccountId, MailboxId, BodyId),
    Reference(Arc<SignedReference>),
}

async fn read(shared: &Shared, ctx: &Ctx, octets: &Octets, range: Option<Range<u64>>) -> Result<BodyData> {
    let range = &range;
    let partition = match octets {
        Octets::Body(account, ..) => account.partition(),
        Octets::Reference(signed) => signed.reference.owner.partition(),
    };
    let call = |node: Arc<Node>| async move {
        match octets {
            Octets::Body(account, mailbox, body) => {
                node.store.body(ctx, *account, *mailbox, *body, range.clone()).await
            }
            Octets::Reference(signed) => node.store.referenced_body(ctx, signed, range.clone()).await,
        }
    };
    shared.route(ctx, partition, Effect::None, call).await
}

/// Octets that go on at another node when theirs goes away.
async fn read_on(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    octets: Octets,
    range: Option<Range<u64>>,
) -> Result<BodyData> {
    let start = range.as_ref().map_or(0, |range| range.start);
    match read(shared, ctx, &octets, range).await? {
        BodyData::Pieces(total, pieces) => {
            let reading = Reading {
                shared: shared.clone(),
                ctx: ctx.clone(),
                octets,
                next: start,
                end: start + total,
                pieces,
                moves: 0,
            };
            Ok(BodyData::Pieces(total, Box::pin(futures::stream::unfold(reading, Reading::piece))))
        }
        whole @ BodyData::Whole(_) => Ok(whole),
    }
}

/// A body that is being read, and where to go on when its node goes away.
struct Reading {
    shared: Arc<Shared>,
    ctx: Ctx,
    octets: Octets,
    /// The next octet, and the one after the last.
    next: u64,
    end: u64,
    pieces: BodyPieces,
    moves: u32,
}

impl Reading {
    /// The next piece; after a failure that another node may not have, from that one.
    async fn piece(mut self) -> Option<(Result<Bytes>, Self)> {
        loop {
            let error = match self.pieces.next().await {
                Some(Ok(octets)) => {
                    self.next += octets.len() as u64;
                    return Some((Ok(octets), self));
                }
                None if self.next >= self.end => return None,
                None => crate::nobody_answers(),
                Some(Err(error)) => error,
            };
            if error.kind() != ErrorKind::Unavailable || self.moves >= BODY_MOVES_MAX {
                self.next = self.end;
                self.pieces = Box::pin(futures::stream::empty());
                return Some((Err(error), self));
            }
            self.moves += 1;
            let rest = Some(self.next..self.end);
            self.pieces = match read(&self.shared, &self.ctx, &self.octets, rest).await {
                Ok(BodyData::Pieces(_, pieces)) => pieces,
                Ok(BodyData::Whole(octets)) => Box::pin(futures::stream::iter([Ok(octets)])),
                Err(error) => Box::pin(futures::stream::iter([Err(error)])),
            };
        }
    }
}
