//! The tier as a front end elsewhere sees it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::MessageIndex;
use futures::{StreamExt as _, TryStreamExt as _};
use model::{
    AccountId, AclChange, BodyId, CpmAddress, Error, ErrorKind, FolderSnapshot, FolderState, MailboxId,
    MailboxName, ModSeq, Result, SpecialUse, Uid, UidSet, limits,
};
use moka::sync::Cache;
use store_api::{
    Account, AccountState, AnnotationNews, AnnotationPage, AnnotationQuery, AppendRequest, Appended,
    BodyData, BodyWriter, Changes, ChangesSince, Checkpoint, CopyOutcome, CopyRequest, Credentials, Ctx,
    ExpungeOutcome, FolderTree, Identities, MailStore, Metadata, MetadataChange, Missing, NewAccount, Quota,
    QuotaLimits, QuotaUsage, Reference, Referenced, ReplaceRequest, SearchManyRequest, SearchRequest,
    ServiceClass, SignedReference, StoreAnnotations, StoreFlags, StoreOutcome,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::convert::{self, MESSAGE_BYTES_MAX};
use crate::error::{Call, from_status, invalid};
use crate::metadata::request;
use crate::pb;
use crate::pb::mail_store_client::MailStoreClient;

/// Folders asked for in one request for counters.
const STATUS_PER_REQUEST: usize = 1_000;
/// Folders searched for one request of a node that searches one at a time; their caller asks again for the others.
const SEARCHED_EACH_MAX: usize = 16;
/// Of these, searched at once.
const SEARCHES_AT_ONCE: usize = 4;
/// Pieces of a body under way before its writer waits.
const PIECES_AHEAD: usize = 4;

/// Bounds of what [`ClientCaches`] keep.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Folders, bytes.
    pub folder_bytes: u64,
    /// Facts of messages, bytes.
    pub info_bytes: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { folder_bytes: 128 << 20, info_bytes: 64 << 20 }
    }
}

/// What clients of one tier keep, whichever node it came from: each answer is checked by its version when it is used.
pub struct ClientCaches {
    folders: Cache<(AccountId, MailboxId), Arc<FolderSnapshot>>,
    trees: Cache<AccountId, Arc<FolderTree>>,
    infos: Cache<(AccountId, BodyId), Arc<MessageIndex>>,
}

impl ClientCaches {
    /// Empty, within these bounds.
    pub fn new(options: ClientOptions) -> Arc<Self> {
        let weight = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::new(Self {
            folders: Cache::builder()
                .weigher(move |_, folder: &Arc<FolderSnapshot>| weight(folder.weight()))
                .max_capacity(options.folder_bytes)
                .build(),
            trees: Cache::builder()
                .weigher(move |_, tree: &Arc<FolderTree>| weight(128 + tree.folders().len() * 96))
                .max_capacity(options.folder_bytes / 4)
                .build(),
            infos: Cache::builder()
                .weigher(move |_, info: &Arc<MessageIndex>| weight(256 + info.encode().len()))
                .max_capacity(options.info_bytes)
                .build(),
        })
    }
}

/// A storage node over gRPC.
pub struct RemoteStore {
    clients: Vec<MailStoreClient<Channel>>,
    next: AtomicUsize,
    caches: Arc<ClientCaches>,
}

impl RemoteStore {
    /// A client over these channels to one node; at least one.
    pub fn new(channels: Vec<Channel>, caches: Arc<ClientCaches>) -> Self {
        let limited = |channel| {
            MailStoreClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        Self { clients: channels.into_iter().map(limited).collect(), next: AtomicUsize::new(0), caches }
    }

    fn client(&self) -> MailStoreClient<Channel> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len().max(1);
        self.clients[at].clone()
    }
}

/// The message of an answer to a call that reads, or our error of a failure.
fn answer<T>(outcome: Result<Response<T>, Status>) -> Result<T> {
    outcome.map(Response::into_inner).map_err(|status| from_status(&status, Call::Read))
}

/// As [`answer`], of a call that changes something.
fn written<T>(outcome: Result<Response<T>, Status>) -> Result<T> {
    outcome.map(Response::into_inner).map_err(|status| from_status(&status, Call::Write))
}

/// Whether the node is of a version that does not know the call.
fn is_unknown_call(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Unavailable, "the storage tier's answer was cut short; try again")
}

#[async_trait]
impl MailStore for RemoteStore {
    async fn account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<Option<Arc<Account>>> {
        let message = pb::GetAccountRequest { address: address.to_string() };
        let got = answer(self.client().get_account(request(ctx, message)).await)?;
        got.account.map(|a| convert::account(a).map(Arc::new)).transpose()
    }

    async fn create_account(&self, ctx: &Ctx, new: NewAccount) -> Result<AccountId> {
        let message = pb::CreateAccountRequest {
            address: new.address.to_string(),
            credentials: Some(convert::credentials_pb(&new.credentials)),
            limits: Some(convert::limits_pb(new.limits)),
            service: Some(convert::service_pb(new.service)),
        };
        Ok(AccountId(written(self.client().create_account(request(ctx, message)).await)?.account))
    }

    async fn set_credentials(&self, ctx: &Ctx, address: &CpmAddress, credentials: Credentials) -> Result<()> {
        let message = pb::SetCredentialsRequest {
            address: address.to_string(),
            credentials: Some(convert::credentials_pb(&credentials)),
        };
        written(self.client().set_credentials(request(ctx, message)).await).map(drop)
    }

    async fn configure_account(
        &self,
        ctx: &Ctx,
        address: &CpmAddress,
        state: AccountState,
        limits: QuotaLimits,
    ) -> Result<()> {
        let message = pb::ConfigureAccountRequest {
            address: address.to_string(),
            state: convert::account_state_pb(state).into(),
            limits: Some(convert::limits_pb(limits)),
        };
        written(self.client().configure_account(request(ctx, message)).await).map(drop)
    }

    async fn set_service(&self, ctx: &Ctx, address: &CpmAddress, service: ServiceClass) -> Result<()> {
        let message = pb::SetServiceRequest {
            address: address.to_string(),
            service: Some(convert::service_pb(service)),
        };
        written(self.client().set_service(request(ctx, message)).await).map(drop)
    }

    async fn link_accounts(&self, ctx: &Ctx, addresses: &[CpmAddress]) -> Result<()> {
        let message =
            pb::LinkAccountsRequest { addresses: addresses.iter().map(ToString::to_string).collect() };
        written(self.client().link_accounts(request(ctx, message)).await).map(drop)
    }

    async fn unlink_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        let message = pb::UnlinkAccountRequest { address: address.to_string() };
        written(self.client().unlink_account(request(ctx, message)).await).map(drop)
    }

    async fn list_accounts(
        &self,
        ctx: &Ctx,
        after: Option<&CpmAddress>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>> {
        let message = pb::ListAccountsRequest {
            after: after.map(ToString::to_string).unwrap_or_default(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let got = answer(self.client().list_accounts(request(ctx, message)).await)?;
        got.accounts.into_iter().map(|a| convert::account(a).map(Arc::new)).collect()
    }

    async fn remove_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        let message = pb::RemoveAccountRequest { address: address.to_string() };
        written(self.client().remove_account(request(ctx, message)).await).map(drop)
    }

    async fn quota(&self, ctx: &Ctx, account: AccountId) -> Result<Quota> {
        let message = pb::GetQuotaRequest { account: account.0 };
        let got = answer(self.client().get_quota(request(ctx, message)).await)?;
        Ok(Quota {
            usage: QuotaUsage {
                bytes: got.bytes,
                messages: got.messages,
                deleted_bytes: got.deleted_bytes,
                deleted_messages: got.deleted_messages,
            },
            limits: convert::limits(got.limits),
        })
    }

    async fn folders(&self, ctx: &Ctx, account: AccountId) -> Result<Arc<FolderTree>> {
        // What others see of it is theirs alone, and has no version.
        let known = self.caches.trees.get(&account).filter(|_| ctx.requestor.owns(account));
        let known_version = known.as_ref().map_or(0, |t| t.version);
        let message = pb::ListFoldersRequest { account: account.0, known_version };
        let mut pages = answer(self.client().list_folders(request(ctx, message)).await)?;
        let (mut version, mut folders, mut subscribed) =
            (None, Vec::new(), std::collections::BTreeSet::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|s| from_status(&s, Call::Read))?;
            if page.unchanged {
                return known
                    .ok_or_else(|| invalid("an unchanged tree was answered to a caller without one"));
            }
            version = version.or(Some(page.version));
            for entry in &page.folders {
                folders.push(convert::folder_entry(entry)?);
            }
            for name in &page.subscribed {
                subscribed.insert(convert::name(name)?);
            }
        }
        let tree = Arc::new(FolderTree::new(version.ok_or_else(cut_short)?, folders, subscribed));
        if ctx.requestor.owns(account) {
            self.caches.trees.insert(account, tree.clone());
        }
        Ok(tree)
    }

    async fn create_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId> {
        let message = pb::CreateFolderRequest {
            account: account.0,
            name: name.to_string(),
            special_use: special_use.map(SpecialUse::attribute).unwrap_or_default().to_owned(),
        };
        Ok(MailboxId(written(self.client().create_folder(request(ctx, message)).await)?.mailbox))
    }

    async fn delete_folder(&self, ctx: &Ctx, account: AccountId, name: &MailboxName) -> Result<()> {
        let message = pb::DeleteFolderRequest { account: account.0, name: name.to_string() };
        written(self.client().delete_folder(request(ctx, message)).await).map(drop)
    }

    async fn rename_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        let message =
            pb::RenameFolderRequest { account: account.0, from: from.to_string(), to: to.to_string() };
        written(self.client().rename_folder(request(ctx, message)).await).map(drop)
    }

    async fn subscribe(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        subscribed: bool,
    ) -> Result<()> {
        let message = pb::SubscribeRequest { account: account.0, name: name.to_string(), subscribed };
        written(self.client().subscribe(request(ctx, message)).await).map(drop)
    }

    async fn status(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[MailboxId],
    ) -> Result<Vec<Option<FolderState>>> {
        let mut states = Vec::with_capacity(mailboxes.len());
        for some in mailboxes.chunks(STATUS_PER_REQUEST) {
            let message =
                pb::GetStatusRequest { account: account.0, mailboxes: some.iter().map(|m| m.0).collect() };
            let got = answer(self.client().get_status(request(ctx, message)).await)?;
            if got.answers.len() != some.len() {
                return Err(cut_short());
            }
            for one in &got.answers {
                states.push(one.state.as_ref().map(convert::folder_state).transpose()?);
            }
        }
        Ok(states)
    }

    async fn folder(&self, ctx: &Ctx, account: AccountId, mailbox: MailboxId) -> Result<Arc<FolderSnapshot>> {
        let known = self.caches.folders.get(&(account, mailbox));
        let message = pb::GetFolderRequest {
            account: account.0,
            mailbox: mailbox.0,
            known_modseq: known.as_ref().map_or(0, |f| f.state.highest_modseq.0),
            known_uid_validity: known.as_ref().map_or(0, |f| f.state.uid_validity.get()),
        };
        let mut pages = answer(self.client().get_folder(request(ctx, message)).await)?;
        let (mut state, mut whole, mut blocks) = (None, false, Vec::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|s| from_status(&s, Call::Read))?;
            if let Some(wire) = &page.state {
                state = Some(convert::folder_state(wire)?);
                whole = page.whole;
            }
            for block in &page.blocks {
                blocks.push(convert::block(block)?);
            }
        }
        let state = state.ok_or_else(cut_short)?;
        let folder = match known {
            Some(known) if !whole => {
                if known.state == state && blocks.is_empty() {
                    return Ok(known);
                }
                Arc::new(known.with_changes(state, blocks))
            }
            _ if !whole => return Err(invalid("changes were answered to a caller without a folder")),
            _ => Arc::new(FolderSnapshot::new(mailbox, state, blocks)),
        };
        self.caches.folders.insert((account, mailbox), folder.clone());
        Ok(folder)
    }

    async fn vanished(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<UidSet> {
        let message = pb::GetVanishedRequest { account: account.0, mailbox: mailbox.0, since: since.0 };
        let got = answer(self.client().get_vanished(request(ctx, message)).await)?;
        convert::uid_set(&got.uids.unwrap_or_default())
    }

    async fn metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[Option<MailboxId>],
    ) -> Result<Vec<Metadata>> {
        let mailboxes = mailboxes.iter().map(|mailbox| mailbox.map_or(0, |mailbox| mailbox.0)).collect();
        let message = pb::GetMetadataRequest { account: account.0, mailboxes };
        let got = answer(self.client().get_metadata(request(ctx, message)).await)?;
        got.answers.into_iter().map(|answer| convert::metadata(answer.entries)).collect()
    }

    async fn set_metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
    ) -> Result<()> {
        let changes = changes.into_iter().map(convert::metadata_change_pb).collect();
        let mailbox = mailbox.map_or(0, |mailbox| mailbox.0);
        let message = pb::SetMetadataRequest { account: account.0, mailbox, changes };
        answer(self.client().set_metadata(request(ctx, message)).await).map(drop)
    }

    async fn set_acl(
        &self,
        ctx: &Ctx,
        account: AccountId,
        owner: &CpmAddress,
        mailbox: MailboxId,
        change: &AclChange,
    ) -> Result<()> {
        let message = pb::SetAclRequest {
            account: account.0,
            owner: owner.to_string(),
            mailbox: mailbox.0,
            identifier: change.identifier.to_string(),
            action: convert::acl_action_pb(change.action).into(),
            rights: change.rights.bits().into(),
        };
        written(self.client().set_acl(request(ctx, message)).await).map(drop)
    }

    async fn shared_with(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<(CpmAddress, AccountId)>> {
        let message = pb::SharedWithRequest { account: account.0 };
        let got = answer(self.client().shared_with(request(ctx, message)).await)?;
        let sharer = |one: &pb::shared_with_response::Sharer| {
            Ok((convert::address(&one.address)?, AccountId(one.account)))
        };
        got.sharers.iter().map(sharer).collect()
    }

    async fn claim_recent(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uid_next: u64,
    ) -> Result<()> {
        let message = pb::ClaimRecentRequest { account: account.0, mailbox: mailbox.0, uid_next };
        written(self.client().claim_recent(request(ctx, message)).await).map(drop)
    }

    async fn stage_body(&self, ctx: &Ctx, account: AccountId, size: u64) -> Result<Box<dyn BodyWriter>> {
        if size > limits::APPEND_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooBig,
                format!("a message may have at most {} octets", limits::APPEND_BYTES_MAX),
            ));
        }
        let (pieces, incoming) = mpsc::channel(PIECES_AHEAD);
        let (done, outcome) = oneshot::channel();
        let header = pb::stage_body_request::Header { account: account.0, size };
        let part = pb::stage_body_request::Part::Header(header);
        // The channel is new and has room.
        let _ = pieces.try_send(pb::StageBodyRequest { part: Some(part) });
        let (mut client, request) = (self.client(), request(ctx, ReceiverStream::new(incoming)));
        let task = tokio::spawn(async move {
            let _ = done.send(answer(client.stage_body(request).await).map(|r| BodyId(r.body)));
        });
        Ok(Box::new(RemoteBody { pieces: Some(pieces), outcome, left: size, task: AbortOnDrop(task) }))
    }

    async fn append(&self, ctx: &Ctx, account: AccountId, req: AppendRequest) -> Result<Appended> {
        let message = pb::AppendRequest {
            account: account.0,
            mailbox: req.mailbox.to_string(),
            messages: req.messages.into_iter().map(convert::append_message_pb).collect(),
        };
        convert::appended(&written(self.client().append(request(ctx, message)).await)?)
    }

    async fn replace(&self, ctx: &Ctx, account: AccountId, req: ReplaceRequest) -> Result<Appended> {
        let message = pb::ReplaceRequest {
            account: account.0,
            source: req.source.0,
            uid: req.uid.get(),
            target: req.target.to_string(),
            message: Some(convert::append_message_pb(req.message)),
        };
        convert::appended(&written(self.client().replace(request(ctx, message)).await)?)
    }

    async fn store_flags(&self, ctx: &Ctx, account: AccountId, req: StoreFlags) -> Result<StoreOutcome> {
        let message = pb::StoreFlagsRequest {
            account: account.0,
            mailbox: req.mailbox.0,
            uids: Some(convert::uid_set_pb(&req.uids)),
            action: convert::flag_action_pb(req.change.action).into(),
            flags: req.change.flags.0,
            keywords: convert::keyword_texts(&req.change.keywords),
            unchanged_since: req.unchanged_since.map(|m| m.0),
        };
        let got = written(self.client().store_flags(request(ctx, message)).await)?;
        Ok(StoreOutcome {
            changed: convert::uid_set(&got.changed.unwrap_or_default())?,
            modified: convert::uid_set(&got.modified.unwrap_or_default())?,
            modseq: convert::modseq(got.modseq)?,
            modseq_before: convert::modseq(got.modseq_before)?,
        })
    }

    async fn copy(&self, ctx: &Ctx, account: AccountId, req: CopyRequest) -> Result<CopyOutcome> {
        let message = pb::CopyRequest {
            account: account.0,
            mode: convert::copy_mode_pb(req.mode).into(),
            source: req.source.0,
            uids: Some(convert::uid_set_pb(&req.uids)),
            target: req.target.to_string(),
            refuse_missing: req.missing == Missing::Refuse,
        };
        convert::copied(&written(self.client().copy(request(ctx, message)).await)?)
    }

    async fn expunge(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        within: Option<UidSet>,
    ) -> Result<ExpungeOutcome> {
        let message = pb::ExpungeRequest {
            account: account.0,
            mailbox: mailbox.0,
            within: within.as_ref().map(convert::uid_set_pb),
        };
        let got = written(self.client().expunge(request(ctx, message)).await)?;
        Ok(ExpungeOutcome {
            uids: convert::uid_set(&got.uids.unwrap_or_default())?,
            modseq: convert::modseq(got.modseq)?,
        })
    }

    async fn identities(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uids: &UidSet,
    ) -> Result<Vec<(Uid, Identities)>> {
        let message = pb::GetIdentitiesRequest {
            account: account.0,
            mailbox: mailbox.0,
            uids: Some(convert::uid_set_pb(uids)),
        };
        let got = answer(self.client().get_identities(request(ctx, message)).await)?;
        got.messages.into_iter().map(convert::identities).collect()
    }

    async fn annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        query: &AnnotationQuery,
    ) -> Result<AnnotationPage> {
        let message = pb::GetAnnotationsRequest {
            account: account.0,
            mailbox: query.mailbox.0,
            uids: Some(convert::uid_set_pb(&query.uids)),
            entries: query.entries.iter().map(ToString::to_string).collect(),
            scope: convert::annotations::scope_pb(query.scope),
        };
        convert::annotations::page(answer(self.client().get_annotations(request(ctx, message)).await)?)
    }

    async fn store_annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        req: StoreAnnotations,
    ) -> Result<StoreOutcome> {
        let message = pb::StoreAnnotationsRequest {
            account: account.0,
            mailbox: req.mailbox.0,
            uids: Some(convert::uid_set_pb(&req.uids)),
            changes: convert::annotations::changes_pb(req.changes),
            unchanged_since: req.unchanged_since.map(|m| m.0),
        };
        let got = written(self.client().store_annotations(request(ctx, message)).await)?;
        Ok(StoreOutcome {
            changed: convert::uid_set(&got.changed.unwrap_or_default())?,
            modified: convert::uid_set(&got.modified.unwrap_or_default())?,
            modseq: convert::modseq(got.modseq)?,
            modseq_before: convert::modseq(got.modseq_before)?,
        })
    }

    async fn annotation_news(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<Vec<AnnotationNews>> {
        let message = pb::GetAnnotationNewsRequest { account: account.0, mailbox: mailbox.0, since: since.0 };
        convert::annotations::news(answer(self.client().get_annotation_news(request(ctx, message)).await)?)
    }

    async fn infos(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        bodies: &[BodyId],
    ) -> Result<Vec<Option<Arc<MessageIndex>>>> {
        // Whether somebody else may have them is for the tier to say, each time.
        let known =
            |body: &BodyId| self.caches.infos.get(&(account, *body)).filter(|_| ctx.requestor.owns(account));
        let mut infos: Vec<_> = bodies.iter().map(known).collect();
        let missing: Vec<usize> = (0..bodies.len()).filter(|at| infos[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(infos);
        }
        let message = pb::GetInfosRequest {
            account: account.0,
            bodies: missing.iter().map(|at| bodies[*at].0).collect(),
            mailbox: mailbox.0,
        };
        let mut pages = answer(self.client().get_infos(request(ctx, message)).await)?;
        let mut places = missing.into_iter();
        while let Some(page) = pages.next().await {
            for one in page.map_err(|s| from_status(&s, Call::Read))?.answers {
                let at = places.next().ok_or_else(|| invalid("more facts were answered than asked for"))?;
                if one.index.is_empty() {
                    continue;
                }
                // A copy: the slice at hand would hold on to the whole page.
                let info = MessageIndex::decode(Bytes::copy_from_slice(&one.index)).map_err(|error| {
                    Error::new(ErrorKind::Corrupt, "the facts of a message cannot be read").with_detail(error)
                })?;
                let info = Arc::new(info);
                self.caches.infos.insert((account, bodies[at]), info.clone());
                infos[at] = Some(info);
            }
        }
        if places.next().is_some() {
            return Err(cut_short());
        }
        Ok(infos)
    }

    async fn body(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        body: BodyId,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        let message = pb::ReadBodyRequest {
            account: account.0,
            mailbox: mailbox.0,
            body: body.0,
            start: range.as_ref().map(|r| r.start),
            end: range.as_ref().map(|r| r.end),
        };
        body_data(answer(self.client().read_body(request(ctx, message)).await)?).await
    }

    async fn sign_reference(&self, ctx: &Ctx, account: AccountId, reference: &Reference) -> Result<Bytes> {
        let reference = Some(convert::reference_pb(reference));
        let message = pb::SignReferenceRequest { account: account.0, reference };
        Ok(written(self.client().sign_reference(request(ctx, message)).await)?.token)
    }

    async fn reset_reference_keys(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
    ) -> Result<()> {
        let mailbox = mailbox.map_or(0, |mailbox| mailbox.0);
        let message = pb::ResetReferenceKeysRequest { account: account.0, mailbox };
        written(self.client().reset_reference_keys(request(ctx, message)).await).map(drop)
    }

    async fn checkpoint(&self, ctx: &Ctx, account: AccountId) -> Result<Option<Checkpoint>> {
        let message = pb::GetCheckpointRequest { account: account.0 };
        let found = answer(self.client().get_checkpoint(request(ctx, message)).await)?.checkpoint;
        found.map(convert::checkpoint).transpose()
    }

    async fn set_checkpoint(&self, ctx: &Ctx, account: AccountId, checkpoint: &Checkpoint) -> Result<()> {
        let checkpoint = Some(convert::checkpoint_pb(checkpoint));
        let message = pb::SetCheckpointRequest { account: account.0, checkpoint };
        written(self.client().set_checkpoint(request(ctx, message)).await).map(drop)
    }

    async fn changes(&self, ctx: &Ctx, account: AccountId, since: ChangesSince) -> Result<Changes> {
        let message = convert::changes_since_pb(account.0, since);
        let mut pages = answer(self.client().get_changes(request(ctx, message)).await)?;
        let mut changes: Option<Changes> = None;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|s| from_status(&s, Call::Read))?;
            match &mut changes {
                None => changes = Some(convert::changes(&page)?),
                Some(changes) => {
                    for folder in &page.folders {
                        changes.folders.push(convert::changed_folder(folder)?);
                    }
                }
            }
        }
        changes.ok_or_else(cut_short)
    }

    async fn referenced(&self, ctx: &Ctx, signed: &SignedReference) -> Result<Referenced> {
        let message = pb::GetReferencedRequest { signed: Some(convert::signed_reference_pb(signed)) };
        let got = answer(self.client().get_referenced(request(ctx, message)).await)?;
        let index = MessageIndex::decode(got.index).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the facts of a message cannot be read").with_detail(error)
        })?;
        Ok(Referenced { size: got.size, index: Arc::new(index) })
    }

    async fn referenced_body(
        &self,
        ctx: &Ctx,
        signed: &SignedReference,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        let message = pb::ReadReferencedRequest {
            signed: Some(convert::signed_reference_pb(signed)),
            start: range.as_ref().map(|r| r.start),
            end: range.as_ref().map(|r| r.end),
        };
        body_data(answer(self.client().read_referenced(request(ctx, message)).await)?).await
    }

    async fn search(&self, ctx: &Ctx, account: AccountId, req: &SearchRequest) -> Result<UidSet> {
        let message = pb::SearchRequest {
            account: account.0,
            mailbox: req.mailbox.0,
            key: Some(convert::search_key_pb(&req.key)),
            within: req.within.as_ref().map(convert::uid_set_pb),
        };
        let got = answer(self.client().search(request(ctx, message)).await)?;
        convert::uid_set(&got.uids.unwrap_or_default())
    }

    async fn search_many(
        &self,
        ctx: &Ctx,
        account: AccountId,
        req: &SearchManyRequest,
    ) -> Result<Vec<Option<UidSet>>> {
        let message = pb::SearchManyRequest {
            account: account.0,
            mailboxes: req.mailboxes.iter().map(|mailbox| mailbox.0).collect(),
            key: Some(convert::search_key_pb(&req.key)),
            messages_max: req.messages_max,
        };
        let got = match self.client().search_many(request(ctx, message)).await {
            Err(status) if is_unknown_call(&status) => return self.search_each(ctx, account, req).await,
            outcome => answer(outcome)?,
        };
        if got.folders.len() > req.mailboxes.len() || got.folders.is_empty() != req.mailboxes.is_empty() {
            return Err(cut_short());
        }
        got.folders.iter().map(|found| found.uids.as_ref().map(convert::uid_set).transpose()).collect()
    }
}

impl RemoteStore {
    /// Searches the first folders one by one, as a node of a version without [`MailStore::search_many`] can.
    async fn search_each(
        &self,
        ctx: &Ctx,
        account: AccountId,
        req: &SearchManyRequest,
    ) -> Result<Vec<Option<UidSet>>> {
        let mut searches = Vec::new();
        for mailbox in req.mailboxes.iter().take(SEARCHED_EACH_MAX) {
            let request = SearchRequest { mailbox: *mailbox, key: req.key.clone(), within: None };
            searches.push(async move {
                match self.search(ctx, account, &request).await {
                    Ok(uids) => Ok(Some(uids)),
                    Err(error) => match error.kind() {
                        ErrorKind::NoSuchMailbox | ErrorKind::NoPermission => Ok(None),
                        _ => Err(error),
                    },
                }
            });
        }
        futures::stream::iter(searches).buffered(SEARCHES_AT_ONCE).try_collect().await
    }
}

/// Octets as they come.
async fn body_data(mut pieces: tonic::Streaming<pb::BodyPiece>) -> Result<BodyData> {
    let first = pieces.next().await.ok_or_else(cut_short)?.map_err(|s| from_status(&s, Call::Read))?;
    let total = first.total;
    if first.octets.len() as u64 == total {
        return Ok(BodyData::Whole(first.octets));
    }
    let rest = pieces.map(|piece| piece.map(|p| p.octets).map_err(|s| from_status(&s, Call::Read)));
    let all = futures::stream::once(async move { Ok(first.octets) }).chain(rest);
    Ok(BodyData::Pieces(total, Box::pin(all)))
}

/// A body on its way to the tier.
struct RemoteBody {
    pieces: Option<mpsc::Sender<pb::StageBodyRequest>>,
    outcome: oneshot::Receiver<Result<BodyId>>,
    left: u64,
    task: AbortOnDrop,
}

/// A writer that is dropped half-way takes its call with it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl BodyWriter for RemoteBody {
    async fn write(&mut self, mut octets: Bytes) -> Result<()> {
        self.left = self
            .left
            .checked_sub(octets.len() as u64)
            .ok_or_else(|| Error::new(ErrorKind::TooBig, "the message is longer than announced"))?;
        while !octets.is_empty() {
            let piece = octets.split_to(octets.len().min(limits::BODY_PIECE_BYTES));
            let part = pb::stage_body_request::Part::Octets(piece);
            let Some(pieces) = &self.pieces else { return Err(cut_short()) };
            if pieces.send(pb::StageBodyRequest { part: Some(part) }).await.is_err() {
                // The call ended early; it says why.
                self.pieces = None;
                return Err((&mut self.outcome)
                    .await
                    .unwrap_or_else(|_| Err(cut_short()))
                    .err()
                    .unwrap_or_else(cut_short));
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<BodyId> {
        if self.left > 0 {
            return Err(invalid("the message is shorter than announced"));
        }
        self.pieces = None;
        let outcome = (&mut self.outcome).await.unwrap_or_else(|_| Err(cut_short()));
        drop(self.task);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use kv::memory::MemoryEngine;
    use model::Flags;
    use store::Store;
    use store_api::{AppendBody, AppendMessage, Requestor, SearchKey};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::body::Body;
    use tonic::codegen::{Service, http};

    use super::*;
    use crate::pb::mail_store_server::MailStoreServer;
    use crate::server::StoreCalls;
    use crate::{Endpoint, Gate, connect};

    /// A node of a version before SearchMany answers as gRPC does for a call that it does not know.
    #[tokio::test]
    async fn a_node_that_searches_one_folder_at_a_time() {
        let store = Store::open(MemoryEngine::new(), store::Options::default()).await.expect("a store");
        let server = MailStoreServer::new(StoreCalls { store: store.clone(), gate: Gate::new() });
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let old = tower::service_fn(move |request: http::Request<Body>| {
            let is_known = !request.uri().path().ends_with("/SearchMany");
            count.fetch_add(1, Ordering::Relaxed);
            let mut server = server.clone();
            async move {
                if is_known {
                    return server.call(request).await;
                }
                Ok(Status::unimplemented("").into_http())
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint: Endpoint =
            format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an endpoint");
        tokio::spawn(
            tonic::transport::Server::builder().serve_with_incoming(old, TcpListenerStream::new(listener)),
        );
        let remote = RemoteStore::new(
            connect(&endpoint, None).expect("channels"),
            ClientCaches::new(ClientOptions::default()),
        );

        let ctx = Ctx { request_id: 1, deadline: None, requestor: Requestor::Operator };
        let new = NewAccount {
            address: CpmAddress::parse("tel:+15550001").expect("an address"),
            credentials: Credentials::None,
            limits: QuotaLimits::default(),
            service: ServiceClass::default(),
        };
        let account = store.create_account(&ctx, new).await.expect("an account");
        let message = AppendMessage {
            flags: Flags::default(),
            keywords: Vec::new(),
            internal_date: None,
            annotations: Vec::new(),
            body: AppendBody::Inline(Bytes::from_static(b"Subject: x\r\n\r\n")),
        };
        let request =
            AppendRequest { mailbox: MailboxName::parse("INBOX").expect("a name"), messages: vec![message] };
        store.append(&ctx, account, request).await.expect("a message");
        let tree = store.folders(&ctx, account).await.expect("folders");
        let inbox = tree.find(&MailboxName::parse("INBOX").expect("a name")).expect("INBOX").id;

        let mut mailboxes = vec![MailboxId(u64::MAX); SEARCHED_EACH_MAX + 3];
        mailboxes[1] = inbox;
        let request = SearchManyRequest { mailboxes, key: SearchKey::All, messages_max: 100 };
        asked.store(0, Ordering::Relaxed);
        let found = remote.search_many(&ctx, account, &request).await.expect("an answer");
        let mut expected = vec![None; SEARCHED_EACH_MAX];
        expected[1] = Some(UidSet::from_ranges([(1, 1)]));
        assert_eq!(found, expected);
        assert_eq!(asked.load(Ordering::Relaxed), 1 + SEARCHED_EACH_MAX);
        assert_eq!(store.search_many(&ctx, account, &request).await.expect("an answer").len(), 19);
    }
}
