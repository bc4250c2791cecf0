//! The tier's side: any store and feed behind the contract.

use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use model::{AccountId, AclChange, BodyId, CpmAddress, Error, ErrorKind, MailboxId, Result, limits};
use store_api::{
    BodyData, ChangeFeed, CopyRequest, Ctx, FlagChange, MailStore, Maintenance, Membership, Missing,
    NewAccount, NodeId, ReplaceRequest, SearchManyRequest, SearchRequest, StoreAnnotations, StoreFlags,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;

use crate::cluster::ClusterCalls;
use crate::cluster_pb::cluster_server::ClusterServer;
use crate::convert::{self, MESSAGE_BYTES_MAX};
use crate::error::{Call, invalid, to_status};
use crate::feed::ACCOUNTS_PER_REQUEST;
use crate::feed_pb::change_feed_server::{ChangeFeed as FeedService, ChangeFeedServer};
use crate::feed_pb::{ListenRequest, Pulse};
use crate::gate::{Gate, stopping};
use crate::metadata;
use crate::pb;
use crate::pb::mail_store_server::{MailStore as StoreService, MailStoreServer};
use crate::transport::Tls;

/// Bytes a page of a streamed answer aims at.
const PAGE_BYTES: usize = 256 * 1024;
/// Folders a page of a folder tree holds.
const FOLDERS_PER_PAGE: usize = 2_000;
/// Answers under way on a stream before the work waits for the reader.
const PAGES_AHEAD: usize = 2;
/// Accounts one feed stream may listen to.
const ACCOUNTS_PER_STREAM_MAX: usize = 1_000_000;
/// A connection is asked for a sign of life this often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// Options of [`Services`].
#[derive(Clone, Debug)]
pub struct ServicesOptions {
    /// Whether the contract can be asked for by gRPC reflection.
    pub reflection: bool,
    /// Calls at once on one connection.
    pub calls_per_connection_max: usize,
    /// Mutual TLS; none for a listener in clear.
    pub tls: Option<Tls>,
}

impl Default for ServicesOptions {
    fn default() -> Self {
        Self { reflection: true, calls_per_connection_max: 1_024, tls: None }
    }
}

/// What a node tells of the cluster.
#[derive(Clone)]
pub struct ClusterSide {
    /// Who is there.
    pub membership: Arc<dyn Membership>,
    /// The node that tells.
    pub own: NodeId,
    /// What all front ends have in common; a secret.
    pub decoy_key: [u8; 32],
}

/// A store and a feed, served; and maintenance, where a tool may ask for it.
pub struct Services {
    store: Arc<dyn MailStore>,
    feed: Arc<dyn ChangeFeed>,
    maintenance: Option<Arc<dyn Maintenance>>,
    cluster: Option<ClusterSide>,
    gate: Gate,
    options: ServicesOptions,
}

impl Services {
    /// Serves these, while `gate` is open.
    pub fn new(
        store: Arc<dyn MailStore>,
        feed: Arc<dyn ChangeFeed>,
        gate: Gate,
        options: ServicesOptions,
    ) -> Self {
        Self { store, feed, maintenance: None, cluster: None, gate, options }
    }

    /// Serves an operator's tools too.
    pub fn with_maintenance(self, maintenance: Arc<dyn Maintenance>) -> Self {
        Self { maintenance: Some(maintenance), ..self }
    }

    /// Serves what the node knows of the cluster, too.
    pub fn with_cluster(mut self, cluster: ClusterSide) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// A gRPC server with all services, health and reflection. Health answers `NOT_SERVING` once the gate is closed.
    ///
    /// # Errors
    /// When the contract's own descriptors cannot be read, or the certificate cannot be used.
    pub async fn router(self) -> Result<Router> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<MailStoreServer<StoreCalls>>().await;
        health.set_serving::<ChangeFeedServer<FeedCalls>>().await;
        let gate = self.gate.clone();
        tokio::spawn(async move {
            gate.closed().await;
            health.set_not_serving::<MailStoreServer<StoreCalls>>().await;
            health.set_not_serving::<ChangeFeedServer<FeedCalls>>().await;
            health.set_service_status("", ServingStatus::NotServing).await;
        });
        let store = MailStoreServer::new(StoreCalls { store: self.store, gate: self.gate.clone() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let feed = ChangeFeedServer::new(FeedCalls { feed: self.feed, gate: self.gate.clone() });
        let mut routes = RoutesBuilder::default();
        routes.add_service(health_service).add_service(store).add_service(feed);
        if let Some(maintenance) = self.maintenance {
            routes.add_service(crate::maintenance::server(maintenance));
        }
        if let Some(ClusterSide { membership, own, decoy_key }) = self.cluster {
            let calls = ClusterCalls { membership, own, decoy_key, gate: self.gate };
            routes.add_service(ClusterServer::new(calls));
        }
        if self.options.reflection {
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(crate::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .build_v1()
                .map_err(|e| Error::new(ErrorKind::Bug, "reflection cannot start").with_detail(e))?;
            routes.add_service(reflection);
        }
        let mut server = Server::builder();
        if let Some(tls) = &self.options.tls {
            server = server.tls_config(tls.server()).map_err(|error| {
                Error::new(ErrorKind::InvalidRequest, "the certificate cannot be used").with_detail(error)
            })?;
        }
        Ok(server
            .concurrency_limit_per_connection(self.options.calls_per_connection_max)
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .add_routes(routes.routes()))
    }
}

type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) struct StoreCalls {
    pub(crate) store: Arc<dyn MailStore>,
    pub(crate) gate: Gate,
}

impl StoreCalls {
    /// Runs one call with its `ctx`, within its deadline, and measures it.
    async fn call<Q, A, F>(
        &self,
        method: &'static str,
        request: Request<Q>,
        work: impl FnOnce(Arc<dyn MailStore>, Ctx, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A>>,
    {
        let began = Instant::now();
        let inside = self.gate.enter();
        let mut named = None;
        let admitted = inside.as_ref().map_err(Error::clone);
        let outcome = match admitted.and_then(|_| metadata::ctx(request.metadata())) {
            Ok(ctx) => {
                named = Some(ctx.request());
                let deadline = ctx.deadline.unwrap_or(began + Duration::from_secs(300));
                let late = || Error::new(ErrorKind::Deadline, "the request took too long; try again later");
                // A call that came too late is not begun, even if it could be answered at once.
                if deadline <= Instant::now() {
                    Err(late())
                } else {
                    let work = work(self.store.clone(), ctx, request.into_inner());
                    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late()))
                }
            }
            Err(error) => Err(error),
        };
        let result = outcome.as_ref().map_or_else(|e| e.kind().name(), |_| "ok");
        metrics::histogram!("mss_rpc_seconds", "method" => method, "result" => result)
            .record(began.elapsed());
        if let Some(request) = named {
            match &outcome {
                Err(error) if error.kind().wire().2 != model::error::Retry::Never => {
                    tracing::warn!(method, %request, %error, "the store refused");
                }
                _ => tracing::debug!(method, %request, result, "call ended"),
            }
        }
        outcome.map(Response::new).map_err(|e| to_status(&e))
    }
}

/// A stream fed by a task, which ends with its reader.
fn paged<T, F>(fill: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F) -> Pages<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (pages, incoming) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(fill(pages));
    Box::pin(ReceiverStream::new(incoming))
}

fn iterated<T: Send + 'static>(pages: Vec<T>) -> Pages<T> {
    Box::pin(futures::stream::iter(pages.into_iter().map(Ok)))
}

/// The octets that a call asks for; none for all.
fn octet_range(start: Option<u64>, end: Option<u64>) -> Result<Option<Range<u64>>> {
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    let (start, end) = (start.unwrap_or(0), end.unwrap_or(u64::MAX));
    if start > end { Err(invalid("start must not be above end")) } else { Ok(Some(start..end)) }
}

fn body_pieces(data: BodyData) -> Pages<pb::BodyPiece> {
    match data {
        BodyData::Whole(octets) => {
            let total = octets.len() as u64;
            let mut pieces: Vec<_> = octets
                .chunks(limits::BODY_PIECE_BYTES)
                .map(|piece| pb::BodyPiece { total: 0, octets: octets.slice_ref(piece) })
                .collect();
            if pieces.is_empty() {
                pieces.push(pb::BodyPiece::default());
            }
            pieces[0].total = total;
            iterated(pieces)
        }
        BodyData::Pieces(total, pieces) => {
            let first = pb::BodyPiece { total, octets: Bytes::new() };
            let rest = pieces.map(|piece| {
                piece.map(|octets| pb::BodyPiece { total: 0, octets }).map_err(|e| to_status(&e))
            });
            Box::pin(futures::stream::once(async move { Ok(first) }).chain(rest))
        }
    }
}

#[tonic::async_trait]
impl StoreService for StoreCalls {
    type GetChangesStream = Pages<pb::ChangesPage>;
    type ListFoldersStream = Pages<pb::FolderTreePage>;
    type GetFolderStream = Pages<pb::FolderPage>;
    type GetInfosStream = Pages<pb::InfoPage>;
    type ReadBodyStream = Pages<pb::BodyPiece>;
    type ReadReferencedStream = Pages<pb::BodyPiece>;

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        self.call("GetAccount", request, |store, ctx, q| async move {
            let account = store.account(&ctx, &convert::address(&q.address)?).await?;
            Ok(pb::GetAccountResponse { account: account.map(|a| convert::account_pb(&a)) })
        })
        .await
    }

    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        self.call("CreateAccount", request, |store, ctx, q| async move {
            let new = NewAccount {
                address: convert::address(&q.address)?,
                credentials: convert::credentials(q.credentials)?,
                limits: convert::limits(q.limits),
                service: convert::service(q.service),
            };
            Ok(pb::CreateAccountResponse { account: store.create_account(&ctx, new).await?.0 })
        })
        .await
    }

    async fn set_credentials(
        &self,
        request: Request<pb::SetCredentialsRequest>,
    ) -> Result<Response<pb::SetCredentialsResponse>, Status> {
        self.call("SetCredentials", request, |store, ctx, q| async move {
            let credentials = convert::credentials(q.credentials)?;
            store.set_credentials(&ctx, &convert::address(&q.address)?, credentials).await?;
            Ok(pb::SetCredentialsResponse {})
        })
        .await
    }

    async fn configure_account(
        &self,
        request: Request<pb::ConfigureAccountRequest>,
    ) -> Result<Response<pb::ConfigureAccountResponse>, Status> {
        self.call("ConfigureAccount", request, |store, ctx, q| async move {
            let (state, limits) = (convert::account_state(q.state)?, convert::limits(q.limits));
            store.configure_account(&ctx, &convert::address(&q.address)?, state, limits).await?;
            Ok(pb::ConfigureAccountResponse {})
        })
        .await
    }

    async fn set_service(
        &self,
        request: Request<pb::SetServiceRequest>,
    ) -> Result<Response<pb::SetServiceResponse>, Status> {
        self.call("SetService", request, |store, ctx, q| async move {
            store.set_service(&ctx, &convert::address(&q.address)?, convert::service(q.service)).await?;
            Ok(pb::SetServiceResponse {})
        })
        .await
    }

    async fn link_accounts(
        &self,
        request: Request<pb::LinkAccountsRequest>,
    ) -> Result<Response<pb::LinkAccountsResponse>, Status> {
        self.call("LinkAccounts", request, |store, ctx, q| async move {
            if !(1..=limits::ACCOUNTS_PER_SUBSCRIBER_MAX).contains(&q.addresses.len()) {
                return Err(invalid("addresses must be from 1 to 16"));
            }
            store.link_accounts(&ctx, &convert::addresses(&q.addresses)?).await?;
            Ok(pb::LinkAccountsResponse {})
        })
        .await
    }

    async fn unlink_account(
        &self,
        request: Request<pb::UnlinkAccountRequest>,
    ) -> Result<Response<pb::UnlinkAccountResponse>, Status> {
        self.call("UnlinkAccount", request, |store, ctx, q| async move {
            store.unlink_account(&ctx, &convert::address(&q.address)?).await?;
            Ok(pb::UnlinkAccountResponse {})
        })
        .await
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        self.call("ListAccounts", request, |store, ctx, q| async move {
            if !(1..=1000).contains(&q.limit) {
                return Err(invalid("limit must be from 1 to 1000"));
            }
            let after = if q.after.is_empty() { None } else { Some(convert::address(&q.after)?) };
            let accounts = store.list_accounts(&ctx, after.as_ref(), q.limit as usize).await?;
            Ok(pb::ListAccountsResponse {
                accounts: accounts.iter().map(|a| convert::account_pb(a)).collect(),
            })
        })
        .await
    }

    async fn remove_account(
        &self,
        request: Request<pb::RemoveAccountRequest>,
    ) -> Result<Response<pb::RemoveAccountResponse>, Status> {
        self.call("RemoveAccount", request, |store, ctx, q| async move {
            store.remove_account(&ctx, &convert::address(&q.address)?).await?;
            Ok(pb::RemoveAccountResponse {})
        })
        .await
    }

    async fn get_quota(
        &self,
        request: Request<pb::GetQuotaRequest>,
    ) -> Result<Response<pb::GetQuotaResponse>, Status> {
        self.call("GetQuota", request, |store, ctx, q| async move {
            let quota = store.quota(&ctx, AccountId(q.account)).await?;
            Ok(pb::GetQuotaResponse {
                bytes: quota.usage.bytes,
                messages: quota.usage.messages,
                deleted_bytes: quota.usage.deleted_bytes,
                deleted_messages: quota.usage.deleted_messages,
                limits: Some(convert::limits_pb(quota.limits)),
            })
        })
        .await
    }

    async fn list_folders(
        &self,
        request: Request<pb::ListFoldersRequest>,
    ) -> Result<Response<Self::ListFoldersStream>, Status> {
        self.call("ListFolders", request, |store, ctx, q| async move {
            let tree = store.folders(&ctx, AccountId(q.account)).await?;
            let version = tree.version;
            if q.known_version == version && version != 0 {
                return Ok(iterated(vec![pb::FolderTreePage {
                    version,
                    unchanged: true,
                    ..Default::default()
                }]));
            }
            let page =
                |folders, subscribed| pb::FolderTreePage { version, unchanged: false, folders, subscribed };
            let mut pages = vec![page(Vec::new(), Vec::new())];
            for some in tree.folders().chunks(FOLDERS_PER_PAGE) {
                pages.push(page(some.iter().map(convert::folder_entry_pb).collect(), Vec::new()));
            }
            let subscribed: Vec<_> = tree.subscribed().iter().map(ToString::to_string).collect();
            for some in subscribed.chunks(FOLDERS_PER_PAGE) {
                pages.push(page(Vec::new(), some.to_vec()));
            }
            Ok(iterated(pages))
        })
        .await
    }

    async fn create_folder(
        &self,
        request: Request<pb::CreateFolderRequest>,
    ) -> Result<Response<pb::CreateFolderResponse>, Status> {
        self.call("CreateFolder", request, |store, ctx, q| async move {
            let (name, special_use) = (convert::name(&q.name)?, convert::special_use(&q.special_use)?);
            let mailbox = store.create_folder(&ctx, AccountId(q.account), &name, special_use).await?;
            Ok(pb::CreateFolderResponse { mailbox: mailbox.0 })
        })
        .await
    }

    async fn delete_folder(
        &self,
        request: Request<pb::DeleteFolderRequest>,
    ) -> Result<Response<pb::DeleteFolderResponse>, Status> {
        self.call("DeleteFolder", request, |store, ctx, q| async move {
            store.delete_folder(&ctx, AccountId(q.account), &convert::name(&q.name)?).await?;
            Ok(pb::DeleteFolderResponse {})
        })
        .await
    }

    async fn rename_folder(
        &self,
        request: Request<pb::RenameFolderRequest>,
    ) -> Result<Response<pb::RenameFolderResponse>, Status> {
        self.call("RenameFolder", request, |store, ctx, q| async move {
            let (from, to) = (convert::name(&q.from)?, convert::name(&q.to)?);
            store.rename_folder(&ctx, AccountId(q.account), &from, &to).await?;
            Ok(pb::RenameFolderResponse {})
        })
        .await
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<pb::SubscribeResponse>, Status> {
        self.call("Subscribe", request, |store, ctx, q| async move {
            store.subscribe(&ctx, AccountId(q.account), &convert::name(&q.name)?, q.subscribed).await?;
            Ok(pb::SubscribeResponse {})
        })
        .await
    }

    async fn get_metadata(
        &self,
        request: Request<pb::GetMetadataRequest>,
    ) -> Result<Response<pb::GetMetadataResponse>, Status> {
        self.call("GetMetadata", request, |store, ctx, q| async move {
            let mailboxes: Vec<_> = q.mailboxes.into_iter().map(convert::mailbox_or_account).collect();
            let all = store.metadata(&ctx, AccountId(q.account), &mailboxes).await?;
            let answers = all.iter().map(convert::metadata_pb).collect();
            Ok(pb::GetMetadataResponse { answers })
        })
        .await
    }

    async fn set_metadata(
        &self,
        request: Request<pb::SetMetadataRequest>,
    ) -> Result<Response<pb::SetMetadataResponse>, Status> {
        self.call("SetMetadata", request, |store, ctx, q| async move {
            let mailbox = convert::mailbox_or_account(q.mailbox);
            let changes = q.changes.into_iter().map(convert::metadata_change).collect::<Result<_, _>>()?;
            store.set_metadata(&ctx, AccountId(q.account), mailbox, changes).await?;
            Ok(pb::SetMetadataResponse {})
        })
        .await
    }

    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        self.call("GetStatus", request, |store, ctx, q| async move {
            if q.mailboxes.len() > 1000 {
                return Err(invalid("at most 1000 folders may be asked for"));
            }
            let mailboxes: Vec<_> = q.mailboxes.into_iter().map(MailboxId).collect();
            let states = store.status(&ctx, AccountId(q.account), &mailboxes).await?;
            let answer = |state: &Option<_>| pb::get_status_response::Answer {
                state: state.as_ref().map(convert::folder_state_pb),
            };
            Ok(pb::GetStatusResponse { answers: states.iter().map(answer).collect() })
        })
        .await
    }

    async fn get_folder(
        &self,
        request: Request<pb::GetFolderRequest>,
    ) -> Result<Response<Self::GetFolderStream>, Status> {
        self.call("GetFolder", request, |store, ctx, q| async move {
            let (account, mailbox) = (AccountId(q.account), MailboxId(q.mailbox));
            let folder = store.folder(&ctx, account, mailbox).await?;
            let known = convert::modseq(q.known_modseq)?;
            let current = folder.state.uid_validity.get() == q.known_uid_validity && known.0 > 0;
            let delta = current && known <= folder.state.highest_modseq;
            let mut numbers: Vec<_> = folder
                .blocks()
                .iter()
                .filter(|(_, block)| !delta || block.modseq_max() > known)
                .map(|(number, _)| *number)
                .collect();
            if delta && folder.state.expunge_modseq > known {
                // A block that lost rows need not have a newer one left.
                let vanished = store.vanished(&ctx, account, mailbox, known).await?;
                for (first, last) in vanished.ranges() {
                    let blocks = first / limits::BLOCK_UIDS..=last / limits::BLOCK_UIDS;
                    numbers.extend(blocks.map(model::BlockNo));
                }
                numbers.sort_unstable();
                numbers.dedup();
            }
            let state = Some(convert::folder_state_pb(&folder.state));
            Ok(paged(move |pages| async move {
                let mut page = pb::FolderPage { state, whole: !delta, blocks: Vec::new() };
                let mut bytes = 0;
                for number in numbers {
                    let rows =
                        folder.block(number).map_or_else(|| model::Block::default().encode(), |b| b.encode());
                    bytes += rows.len();
                    page.blocks.push(pb::folder_page::Block { number: number.0, rows: Bytes::from(rows) });
                    if bytes >= PAGE_BYTES {
                        bytes = 0;
                        if pages.send(Ok(std::mem::take(&mut page))).await.is_err() {
                            return;
                        }
                    }
                }
                if page.state.is_some() || !page.blocks.is_empty() {
                    let _ = pages.send(Ok(page)).await;
                }
            }))
        })
        .await
    }

    async fn get_vanished(
        &self,
        request: Request<pb::GetVanishedRequest>,
    ) -> Result<Response<pb::GetVanishedResponse>, Status> {
        self.call("GetVanished", request, |store, ctx, q| async move {
            let since = convert::modseq(q.since)?;
            let uids = store.vanished(&ctx, AccountId(q.account), MailboxId(q.mailbox), since).await?;
            Ok(pb::GetVanishedResponse { uids: Some(convert::uid_set_pb(&uids)) })
        })
        .await
    }

    async fn claim_recent(
        &self,
        request: Request<pb::ClaimRecentRequest>,
    ) -> Result<Response<pb::ClaimRecentResponse>, Status> {
        self.call("ClaimRecent", request, |store, ctx, q| async move {
            store.claim_recent(&ctx, AccountId(q.account), MailboxId(q.mailbox), q.uid_next).await?;
            Ok(pb::ClaimRecentResponse {})
        })
        .await
    }

    async fn stage_body(
        &self,
        request: Request<Streaming<pb::StageBodyRequest>>,
    ) -> Result<Response<pb::StageBodyResponse>, Status> {
        use pb::stage_body_request::Part;
        self.call("StageBody", request, |store, ctx, mut parts| async move {
            let lost = |status: Status| crate::error::from_status(&status, Call::Read);
            let first = parts.next().await.transpose().map_err(lost)?.and_then(|p| p.part);
            let Some(Part::Header(header)) = first else {
                return Err(invalid("a staged body must begin with its header"));
            };
            let mut body = store.stage_body(&ctx, AccountId(header.account), header.size).await?;
            while let Some(part) = parts.next().await {
                match part.map_err(lost)?.part {
                    Some(Part::Octets(octets)) if octets.len() <= limits::BODY_PIECE_BYTES => {
                        body.write(octets).await?;
                    }
                    _ => {
                        return Err(invalid(
                            "after its header a staged body has pieces of at most 65536 octets",
                        ));
                    }
                }
            }
            Ok(pb::StageBodyResponse { body: body.finish().await?.0 })
        })
        .await
    }

    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        self.call("Append", request, |store, ctx, q| async move {
            if q.messages.is_empty() || q.messages.len() > limits::MULTIAPPEND_MESSAGES_MAX {
                return Err(invalid("an append must have from 1 to 2000 messages"));
            }
            let request = store_api::AppendRequest {
                mailbox: convert::name(&q.mailbox)?,
                messages: q.messages.into_iter().map(convert::append_message).collect::<Result<_>>()?,
            };
            Ok(convert::appended_pb(&store.append(&ctx, AccountId(q.account), request).await?))
        })
        .await
    }

    async fn replace(
        &self,
        request: Request<pb::ReplaceRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        self.call("Replace", request, |store, ctx, q| async move {
            let message = q.message.ok_or_else(|| invalid("a replace must have a message"))?;
            let request = ReplaceRequest {
                source: MailboxId(q.source),
                uid: convert::uid(q.uid)?,
                target: convert::name(&q.target)?,
                message: convert::append_message(message)?,
            };
            Ok(convert::appended_pb(&store.replace(&ctx, AccountId(q.account), request).await?))
        })
        .await
    }

    async fn store_flags(
        &self,
        request: Request<pb::StoreFlagsRequest>,
    ) -> Result<Response<pb::StoreFlagsResponse>, Status> {
        self.call("StoreFlags", request, |store, ctx, q| async move {
            let request = StoreFlags {
                mailbox: MailboxId(q.mailbox),
                uids: convert::uid_set(&q.uids.unwrap_or_default())?,
                change: FlagChange {
                    action: convert::flag_action(q.action)?,
                    flags: convert::system_flags(q.flags)?,
                    keywords: convert::keywords(&q.keywords)?,
                },
                unchanged_since: q.unchanged_since.map(convert::modseq).transpose()?,
            };
            let done = store.store_flags(&ctx, AccountId(q.account), request).await?;
            Ok(pb::StoreFlagsResponse {
                changed: Some(convert::uid_set_pb(&done.changed)),
                modified: Some(convert::uid_set_pb(&done.modified)),
                modseq: done.modseq.0,
                modseq_before: done.modseq_before.0,
            })
        })
        .await
    }

    async fn copy(&self, request: Request<pb::CopyRequest>) -> Result<Response<pb::CopyResponse>, Status> {
        self.call("Copy", request, |store, ctx, q| async move {
            let request = CopyRequest {
                mode: convert::copy_mode(q.mode)?,
                source: MailboxId(q.source),
                uids: convert::uid_set(&q.uids.unwrap_or_default())?,
                target: convert::name(&q.target)?,
                missing: if q.refuse_missing { Missing::Refuse } else { Missing::Skip },
            };
            Ok(convert::copied_pb(&store.copy(&ctx, AccountId(q.account), request).await?))
        })
        .await
    }

    async fn expunge(
        &self,
        request: Request<pb::ExpungeRequest>,
    ) -> Result<Response<pb::ExpungeResponse>, Status> {
        self.call("Expunge", request, |store, ctx, q| async move {
            let within = q.within.as_ref().map(convert::uid_set).transpose()?;
            let done = store.expunge(&ctx, AccountId(q.account), MailboxId(q.mailbox), within).await?;
            Ok(pb::ExpungeResponse { uids: Some(convert::uid_set_pb(&done.uids)), modseq: done.modseq.0 })
        })
        .await
    }

    async fn set_acl(
        &self,
        request: Request<pb::SetAclRequest>,
    ) -> Result<Response<pb::SetAclResponse>, Status> {
        self.call("SetAcl", request, |store, ctx, q| async move {
            let change = AclChange {
                identifier: convert::identifier(&q.identifier)?,
                action: convert::acl_action(q.action())?,
                rights: convert::rights(q.rights)?,
            };
            let owner = convert::address(&q.owner)?;
            store.set_acl(&ctx, AccountId(q.account), &owner, MailboxId(q.mailbox), &change).await?;
            Ok(pb::SetAclResponse {})
        })
        .await
    }

    async fn shared_with(
        &self,
        request: Request<pb::SharedWithRequest>,
    ) -> Result<Response<pb::SharedWithResponse>, Status> {
        self.call("SharedWith", request, |store, ctx, q| async move {
            let sharers = store.shared_with(&ctx, AccountId(q.account)).await?;
            let sharer = |(address, account): &(CpmAddress, AccountId)| pb::shared_with_response::Sharer {
                address: address.to_string(),
                account: account.0,
            };
            Ok(pb::SharedWithResponse { sharers: sharers.iter().map(sharer).collect() })
        })
        .await
    }

    async fn get_identities(
        &self,
        request: Request<pb::GetIdentitiesRequest>,
    ) -> Result<Response<pb::GetIdentitiesResponse>, Status> {
        self.call("GetIdentities", request, |store, ctx, q| async move {
            let uids = convert::uid_set(&q.uids.unwrap_or_default())?;
            let found = store.identities(&ctx, AccountId(q.account), MailboxId(q.mailbox), &uids).await?;
            let messages = found.into_iter().map(convert::identities_pb).collect();
            Ok(pb::GetIdentitiesResponse { messages })
        })
        .await
    }

    async fn get_annotations(
        &self,
        request: Request<pb::GetAnnotationsRequest>,
    ) -> Result<Response<pb::GetAnnotationsResponse>, Status> {
        self.call("GetAnnotations", request, |store, ctx, q| async move {
            let query = convert::annotations::query(&q)?;
            let page = store.annotations(&ctx, AccountId(q.account), &query).await?;
            Ok(convert::annotations::page_pb(page))
        })
        .await
    }

    async fn store_annotations(
        &self,
        request: Request<pb::StoreAnnotationsRequest>,
    ) -> Result<Response<pb::StoreAnnotationsResponse>, Status> {
        self.call("StoreAnnotations", request, |store, ctx, q| async move {
            let request = StoreAnnotations {
                mailbox: MailboxId(q.mailbox),
                uids: convert::uid_set(&q.uids.unwrap_or_default())?,
                changes: convert::annotations::changes(q.changes)?,
                unchanged_since: q.unchanged_since.map(convert::modseq).transpose()?,
            };
            let done = store.store_annotations(&ctx, AccountId(q.account), request).await?;
            Ok(pb::StoreAnnotationsResponse {
                changed: Some(convert::uid_set_pb(&done.changed)),
                modified: Some(convert::uid_set_pb(&done.modified)),
                modseq: done.modseq.0,
                modseq_before: done.modseq_before.0,
            })
        })
        .await
    }

    async fn get_annotation_news(
        &self,
        request: Request<pb::GetAnnotationNewsRequest>,
    ) -> Result<Response<pb::GetAnnotationNewsResponse>, Status> {
        self.call("GetAnnotationNews", request, |store, ctx, q| async move {
            let (account, mailbox) = (AccountId(q.account), MailboxId(q.mailbox));
            let since = convert::modseq(q.since)?;
            let news = store.annotation_news(&ctx, account, mailbox, since).await?;
            Ok(convert::annotations::news_pb(&news))
        })
        .await
    }

    async fn get_infos(
        &self,
        request: Request<pb::GetInfosRequest>,
    ) -> Result<Response<Self::GetInfosStream>, Status> {
        self.call("GetInfos", request, |store, ctx, q| async move {
            if q.bodies.len() > limits::INFOS_PER_REQUEST_MAX {
                return Err(invalid("facts of at most 1000 messages may be asked for"));
            }
            let bodies: Vec<_> = q.bodies.into_iter().map(BodyId).collect();
            let infos = store.infos(&ctx, AccountId(q.account), MailboxId(q.mailbox), &bodies).await?;
            let (mut pages, mut page, mut bytes) = (Vec::new(), pb::InfoPage::default(), 0);
            for info in infos {
                let index = info.map(|i| i.encode()).unwrap_or_default();
                bytes += index.len();
                page.answers.push(pb::info_page::Answer { index });
                if bytes >= PAGE_BYTES {
                    bytes = 0;
                    pages.push(std::mem::take(&mut page));
                }
            }
            pages.push(page);
            Ok(iterated(pages))
        })
        .await
    }

    async fn read_body(
        &self,
        request: Request<pb::ReadBodyRequest>,
    ) -> Result<Response<Self::ReadBodyStream>, Status> {
        self.call("ReadBody", request, |store, ctx, q| async move {
            let range = octet_range(q.start, q.end)?;
            let (account, mailbox) = (AccountId(q.account), MailboxId(q.mailbox));
            Ok(body_pieces(store.body(&ctx, account, mailbox, BodyId(q.body), range).await?))
        })
        .await
    }

    async fn sign_reference(
        &self,
        request: Request<pb::SignReferenceRequest>,
    ) -> Result<Response<pb::SignReferenceResponse>, Status> {
        self.call("SignReference", request, |store, ctx, q| async move {
            let reference = convert::reference(q.reference)?;
            let token = store.sign_reference(&ctx, AccountId(q.account), &reference).await?;
            Ok(pb::SignReferenceResponse { token })
        })
        .await
    }

    async fn reset_reference_keys(
        &self,
        request: Request<pb::ResetReferenceKeysRequest>,
    ) -> Result<Response<pb::ResetReferenceKeysResponse>, Status> {
        self.call("ResetReferenceKeys", request, |store, ctx, q| async move {
            let mailbox = convert::mailbox_or_account(q.mailbox);
            store.reset_reference_keys(&ctx, AccountId(q.account), mailbox).await?;
            Ok(pb::ResetReferenceKeysResponse {})
        })
        .await
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        self.call("GetCheckpoint", request, |store, ctx, q| async move {
            let found = store.checkpoint(&ctx, AccountId(q.account)).await?;
            Ok(pb::GetCheckpointResponse { checkpoint: found.as_ref().map(convert::checkpoint_pb) })
        })
        .await
    }

    async fn set_checkpoint(
        &self,
        request: Request<pb::SetCheckpointRequest>,
    ) -> Result<Response<pb::SetCheckpointResponse>, Status> {
        self.call("SetCheckpoint", request, |store, ctx, q| async move {
            let checkpoint = q.checkpoint.map(convert::checkpoint).transpose()?.unwrap_or_default();
            store.set_checkpoint(&ctx, AccountId(q.account), &checkpoint).await?;
            Ok(pb::SetCheckpointResponse {})
        })
        .await
    }

    async fn get_changes(
        &self,
        request: Request<pb::GetChangesRequest>,
    ) -> Result<Response<Self::GetChangesStream>, Status> {
        self.call("GetChanges", request, |store, ctx, q| async move {
            let changes = store.changes(&ctx, AccountId(q.account), convert::changes_since(&q)).await?;
            Ok(iterated(convert::changes_pb(&changes)))
        })
        .await
    }

    async fn get_referenced(
        &self,
        request: Request<pb::GetReferencedRequest>,
    ) -> Result<Response<pb::GetReferencedResponse>, Status> {
        self.call("GetReferenced", request, |store, ctx, q| async move {
            let referenced = store.referenced(&ctx, &convert::signed_reference(q.signed)?).await?;
            Ok(pb::GetReferencedResponse { size: referenced.size, index: referenced.index.encode() })
        })
        .await
    }

    async fn read_referenced(
        &self,
        request: Request<pb::ReadReferencedRequest>,
    ) -> Result<Response<Self::ReadReferencedStream>, Status> {
        self.call("ReadReferenced", request, |store, ctx, q| async move {
            let range = octet_range(q.start, q.end)?;
            let signed = convert::signed_reference(q.signed)?;
            Ok(body_pieces(store.referenced_body(&ctx, &signed, range).await?))
        })
        .await
    }

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchResponse>, Status> {
        self.call("Search", request, |store, ctx, q| async move {
            let request = SearchRequest {
                mailbox: MailboxId(q.mailbox),
                key: convert::search_key(q.key)?,
                within: q.within.as_ref().map(convert::uid_set).transpose()?,
            };
            let uids = store.search(&ctx, AccountId(q.account), &request).await?;
            Ok(pb::SearchResponse { uids: Some(convert::uid_set_pb(&uids)) })
        })
        .await
    }

    async fn search_many(
        &self,
        request: Request<pb::SearchManyRequest>,
    ) -> Result<Response<pb::SearchManyResponse>, Status> {
        self.call("SearchMany", request, |store, ctx, q| async move {
            let request = SearchManyRequest {
                mailboxes: q.mailboxes.into_iter().map(MailboxId).collect(),
                key: convert::search_key(q.key)?,
                messages_max: q.messages_max,
            };
            let found = store.search_many(&ctx, AccountId(q.account), &request).await?;
            let folder = |uids: &Option<model::UidSet>| pb::search_many_response::Found {
                uids: uids.as_ref().map(convert::uid_set_pb),
            };
            Ok(pb::SearchManyResponse { folders: found.iter().map(folder).collect() })
        })
        .await
    }
}

struct FeedCalls {
    feed: Arc<dyn ChangeFeed>,
    gate: Gate,
}

#[tonic::async_trait]
impl FeedService for FeedCalls {
    type ListenStream = Pages<Pulse>;

    async fn listen(
        &self,
        request: Request<Streaming<ListenRequest>>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let ctx = metadata::ctx(request.metadata()).map_err(|e| to_status(&e))?;
        drop(self.gate.enter().map_err(|e| to_status(&e))?);
        let (feed, gate) = (self.feed.clone(), self.gate.clone());
        let mut asks = request.into_inner();
        Ok(Response::new(paged(move |pulses| async move {
            let mut accounts: HashMap<u64, CancellationToken> = HashMap::new();
            let tasks = TaskTracker::new();
            let deadline = ctx.deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            loop {
                let ask = tokio::select! {
                    () = gate.closed() => {
                        let _ = pulses.send(Err(to_status(&stopping()))).await;
                        break;
                    }
                    () = pulses.closed() => break,
                    () = tokio::time::sleep_until(deadline.into()) => break,
                    ask = asks.next() => match ask {
                        Some(Ok(ask)) => ask,
                        _ => break,
                    },
                };
                let over = ask.add.len().max(ask.remove.len()) > ACCOUNTS_PER_REQUEST
                    || accounts.len() + ask.add.len() > ACCOUNTS_PER_STREAM_MAX;
                if over {
                    let error = invalid("a request may name 1000 accounts, and a stream listen to 1000000");
                    let _ = pulses.send(Err(to_status(&error))).await;
                    break;
                }
                for account in ask.remove {
                    if let Some(end) = accounts.remove(&account) {
                        end.cancel();
                    }
                }
                for account in ask.add {
                    let end = CancellationToken::new();
                    if let Some(old) = accounts.insert(account, end.clone()) {
                        old.cancel();
                    }
                    tasks.spawn(forward(feed.clone(), AccountId(account), pulses.clone(), end));
                }
            }
            for end in accounts.into_values() {
                end.cancel();
            }
        })))
    }
}

/// Forwards the pulses of one account until `end`, or until its reader is gone.
async fn forward(
    feed: Arc<dyn ChangeFeed>,
    account: AccountId,
    pulses: mpsc::Sender<Result<Pulse, Status>>,
    end: CancellationToken,
) {
    let mut subscription = match feed.subscribe(account).await {
        Ok(subscription) => subscription,
        Err(error) => {
            let _ = pulses.send(Err(to_status(&error))).await;
            return;
        }
    };
    let _ = subscription.pulse();
    let mut pulse = Pulse { account: account.0, generation: 0, mailbox: 0, modseq: 0 };
    loop {
        if pulses.send(Ok(pulse)).await.is_err() {
            return;
        }
        let alive = tokio::select! {
            () = end.cancelled() => return,
            () = pulses.closed() => return,
            alive = subscription.changed() => alive,
        };
        if !alive {
            let error = Error::new(ErrorKind::Unavailable, "the change feed ended; listen anew");
            let _ = pulses.send(Err(to_status(&error))).await;
            return;
        }
        let heard = subscription.pulse();
        pulse.generation += 1;
        pulse.mailbox = heard.mailbox.map_or(0, |m| m.0);
        pulse.modseq = heard.modseq.0;
    }
}
